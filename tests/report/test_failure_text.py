"""The text of a failed instance: location, line, traceback, command to repeat it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ductaflow.core.record import Failure, Record, Status
from pytest_ductaflow.report.failure_text import failure_lines

TRACEBACK = """\
ValueError                                Traceback (most recent call last)
flows/x.py:12 in cell [3]
----> 2 boom()

File lib.py:3, in boom()
----> 3 raise ValueError("no")

ValueError: no"""


def a_record(stem: str = "x", error: Failure | None = None, **more) -> Record:
    values = {"status": Status.ERROR, "run_dir": "runs/s/A", **more}
    return Record(flow=f"flows/{stem}.py", step="s", instance="A", error=error, **values)


def text_of(record: Record, root: Path = Path("/p"), here: Path = Path("/p")) -> list[str]:
    return [line.text for line in failure_lines(record, root, here, "pytest --ductaflow 'c.py::s::A'")]


def test_a_failure_tells_flow_cell_line_message_directory_and_how_to_repeat_it():
    failure = Failure(
        "ValueError", "no\nluck", 3, "x = 1\nboom()\n", 2, 12, "ValueError …\nFile x\n\nValueError: no"
    )
    assert text_of(a_record(error=failure)) == [
        "x failed in cell [3], flows/x.py:12",
        "",
        "  11  x = 1",
        "> 12  boom()",
        "E   ValueError: no",
        "E   luck",
        "",
        "run directory: runs/s/A",
        "output:        runs/s/A/x_execution_output.txt",
        "repeat:        pytest --ductaflow 'c.py::s::A'",
    ]


def test_a_failure_after_retries_tells_why_the_attempts_before_it_failed():
    inner = a_record("y", Failure("E", "no"), run_dir="runs/s/A/runs/y")
    build = a_record(
        error=Failure("FlowFailed", "y failed"),
        flows=(inner,),
        failed_attempts=("OSError: busy (line 3)", "y failed"),
    )
    assert text_of(build)[-4:-1] == [
        "output:        runs/s/A/runs/y/y_execution_output.txt",
        "attempt 1:     OSError: busy (line 3)",
        "attempt 2:     y failed",
    ]


def test_a_failure_after_a_good_run_says_where_that_is_and_how_to_get_it_back():
    """It names the good run of the instance, even if one of a build's flows has failed."""
    inner = a_record("y", Failure("E", "no"), run_dir="runs/s/A/runs/y", last_good="runs/.earlier/s/A/runs/y")
    build = a_record(error=Failure("FlowFailed", "y failed"), flows=(inner,), last_good="runs/.earlier/s/A")
    assert text_of(build)[-5:] == [
        "run directory: runs/s/A/runs/y",
        "output:        runs/s/A/runs/y/y_execution_output.txt",
        "last good run: runs/.earlier/s/A",
        "bring it back: ductaflow restore runs/s/A",
        "repeat:        pytest --ductaflow 'c.py::s::A'",
    ]


def test_the_failed_line_and_the_message_stand_out():
    failure = Failure("E", "no", 1, "a\nb", 2, 2)
    styles = {
        line.text: line.style for line in failure_lines(a_record(error=failure), Path("/p"), Path("/p"), "c")
    }
    assert styles["> 2  b"] == ("bold",)
    assert styles["  1  a"] == ()
    assert styles["E   E: no"] == ("red", "bold")


@pytest.mark.parametrize(
    ("number", "at", "file_line", "first", "last", "marked"),
    [
        (30, 15, 115, "  111  15", "  119  15", "> 115  15"),
        (30, 1, 101, "> 101  15", "  109  15", "> 101  15"),
        (30, 30, 130, "  126  15", "> 130  15", "> 130  15"),
        (9, 9, 9, "  1  15", "> 9  15", "> 9  15"),
        (12, 10, 10, "   6  15", "  12  15", "> 10  15"),
        (3, 2, None, "  1  15", "  3  15", "> 2  15"),
        (3, None, 50, "  50  15", "  52  15", None),
        (30, None, None, "  1  15", "  9  15", None),
        (1, 1, 1, "> 1  15", "> 1  15", "> 1  15"),
    ],
)
def test_the_code_around_the_line_is_shown_with_the_numbers_of_the_file(
    number, at, file_line, first, last, marked
):
    failure = Failure("E", "", 1, "15\n" * number, at, file_line)
    code = [line for line in text_of(a_record(error=failure)) if line.endswith("  15")]
    assert (code[0], code[-1]) == (first, last)
    assert [line for line in code if line.startswith(">")] == ([marked] if marked else [])


@pytest.mark.parametrize(
    "failure",
    [
        Failure("E", "", None, "", None, None),
        Failure("E", "", 1, "a\n", 99, 99),
        Failure("E", "", 1, "\n\n", 1, 1),
        Failure("E", "\x1b", 1, "a\fb\u2028c", 1, 1),
    ],
)
def test_a_failure_of_which_little_is_known_says_what_is_known(failure):
    lines = text_of(a_record(error=failure))
    assert lines[0].startswith("x failed")
    assert any(line.startswith("E   E") for line in lines)
    assert lines[-1].startswith("repeat: ")


def test_a_traceback_with_more_than_one_frame_is_shown_whole():
    lines = text_of(a_record(error=Failure("ValueError", "no", 3, "boom()", 1, 12, TRACEBACK)))
    assert "\n".join(TRACEBACK.splitlines()) in "\n".join(lines)


def test_a_traceback_with_the_one_frame_that_is_shown_as_code_is_left_out():
    short = TRACEBACK.partition("File lib")[0] + "ValueError: no"
    lines = text_of(a_record(error=Failure("ValueError", "no", 3, "boom()", 1, 12, short)))
    assert not any("Traceback" in line for line in lines)


def test_without_a_traceback_the_last_lines_of_output_are_shown(tmp_path):
    run_dir = tmp_path / "runs" / "s" / "A"
    run_dir.mkdir(parents=True)
    log = "".join(f"line {number} ä\n" for number in range(30)) + "KernelDied: killed\n"
    (run_dir / "x_execution_output.txt").write_text(log, encoding="utf-8")
    lines = text_of(a_record(error=Failure("KernelDied", "killed")), tmp_path, tmp_path)
    start = lines.index("last output:")
    assert lines[start + 1 : start + 11] == [f"  line {number} ä" for number in range(20, 30)]
    assert lines[start + 11] == ""


def test_of_a_long_log_the_end_is_read(tmp_path):
    run_dir = tmp_path / "runs" / "s" / "A"
    run_dir.mkdir(parents=True)
    (run_dir / "x_execution_output.txt").write_text("x" * 200_000 + "\nlast words\nkilled\n")
    lines = text_of(a_record(error=Failure("KernelDied", "killed")), tmp_path, tmp_path)
    start = lines.index("last output:")
    assert lines[start + 1].startswith("  …xxx")
    assert len(lines[start + 1]) < 11_000
    assert lines[start + 2] == "  last words"


def test_a_log_that_is_not_there_does_not_matter(tmp_path):
    assert "last output:" not in text_of(a_record(error=Failure("KernelDied", "killed")), tmp_path, tmp_path)


def test_of_a_build_the_flow_that_failed_first_is_shown_and_the_way_to_it():
    cause = a_record("deep", Failure("ValueError", "no", 3, "boom()", 1, 12))
    middle = a_record("middle", Failure("FlowExecutionError", "deep failed"), flows=(cause,))
    fine = a_record("fine", status=Status.SUCCESS)
    later = a_record("later", Failure("OSError", "too late"))
    lines = text_of(a_record("build", Failure("FlowExecutionError", "m"), flows=(fine, middle, later)))
    assert lines[:3] == [
        "s/A: its flow middle failed",
        "middle: its flow deep failed",
        "deep failed in cell [3], flows/deep.py:12",
    ]
    assert not any("late" in line for line in lines)
    assert any(line.startswith("output:") and line.endswith("deep_execution_output.txt") for line in lines)


def test_a_flow_that_was_still_running_when_its_build_died_is_the_cause():
    running = a_record("inner", status=Status.RUNNING)
    lines = text_of(a_record("build", Failure("KernelDied", "killed"), flows=(running,)))
    assert lines[:2] == ["s/A: its flow inner failed", "inner: running"]


def test_a_flow_that_was_interrupted_when_its_build_was_out_of_time_is_not_the_cause():
    stopped = a_record("inner", Failure("Interrupted", "stopped by the keyboard"))
    late = a_record("build", Failure("Timeout", "took longer than 12 s"), flows=(stopped,))
    assert "keyboard" not in "".join(text_of(late))
    assert "took longer than 12 s" in "".join(text_of(late))
    by_keyboard = a_record("build", Failure("Interrupted", "stopped by the keyboard"), flows=(stopped,))
    assert text_of(by_keyboard)[0] == "s/A: its flow inner failed"


def test_an_instance_that_failed_for_its_warnings_shows_them():
    record = a_record(status=Status.WARNING, warnings=("⚠️ low", "WARNING: high"), warning_count=2)
    assert text_of(record)[:3] == ["x: warning", "  ⚠️ low", "  WARNING: high"]


@pytest.mark.parametrize(
    ("here", "run_dir", "expected"),
    [
        ("/p", "runs/s/A", "runs/s/A"),
        ("/", "runs/s/A", "p/runs/s/A"),
        ("/p/flows", "runs/s/A", "../runs/s/A"),
        ("/p", "/elsewhere/A", "../elsewhere/A"),
        ("/p", "runs/s/a b", "runs/s/a b"),
    ],
)
def test_paths_are_shown_as_one_would_type_them_here(here, run_dir, expected):
    lines = text_of(a_record(error=Failure("E", "no"), run_dir=run_dir), here=Path(here))
    assert f"run directory: {expected}" in lines
