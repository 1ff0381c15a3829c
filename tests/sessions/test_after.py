"""Code after a conductor's instances: refused while pytest collects, executed when they have ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from helpers.projects import write_project
from helpers.sessions import interruptible, own_environment, run_python, run_session

from pytest_ductaflow.core.run_directory import layout
from pytest_ductaflow.report.page import read

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

GROW = """\
    import json
    if rate < 0:
        raise ValueError(f"negative rate {rate}")
    with open("result.json", "w") as file:
        json.dump({"value": rate * 10}, file)
    """
LOOP = """\
import json, shutil
from pathlib import Path
from ductaflow import run_step_flow

FACTOR = 1
total = 0
for rate in (1, 2):
    run_step_flow("flows/grow.py", "grow", f"r{rate}", {"rate": rate * FACTOR})
    result = Path(f"runs/grow/r{rate}/result.json")
    if result.exists(): total += json.loads(result.read_text())["value"]
    if Path(f"delivery/r{rate}").exists(): shutil.rmtree(f"delivery/r{rate}")
    if result.parent.exists(): shutil.copytree(result.parent, f"delivery/r{rate}")
Path("summary.json").write_text(json.dumps({"total": total}))
"""
CURED = """\
import json, shutil
from pathlib import Path
from ductaflow import is_collecting, run_step_flow

FACTOR = 1
total = 0
for rate in (1, 2):
    executed = run_step_flow("flows/grow.py", "grow", f"r{rate}", {"rate": rate * FACTOR})
    if not is_collecting():
        total += json.loads((executed.parent / "result.json").read_text())["value"]
        shutil.rmtree(f"delivery/r{rate}", ignore_errors=True)
        shutil.copytree(executed.parent, f"delivery/r{rate}")
if not is_collecting():
    Path("summary.json").write_text(json.dumps({"total": total}))
    print("delivered", total)
"""
# Declares three instances that end as the config file says, and reports on them afterwards.
TOLD = """\
import json
from pathlib import Path
from pytest_ductaflow import conduct, is_collecting, results, run_step_flow

rates = json.loads(Path("rates.json").read_text())
made = conduct("flows/grow.py", [{"instance_name": f"r{n}", "rate": rate} for n, rate in enumerate(rates)])
if not is_collecting():
    table = results()
    told = [sorted(table["instance"]), [i.name for i in made], is_collecting()]
    Path("told.json").write_text(json.dumps(told))
    print("told of", len(made))
"""


def session(folder: Path, *args: str) -> tuple[int, str]:
    """Run a session, and return exit code and output."""
    done = run_session(folder, "--ductaflow", *args, timeout=200)
    return done.returncode, done.stdout + done.stderr


def python(folder: Path, *args: str) -> tuple[int, str]:
    done = run_python(folder, *args, timeout=200)
    return done.returncode, done.stdout + done.stderr


def outcomes(output: str) -> dict[str, str]:
    """Return how each item of a session with `-v` ended, by its name after the conductor's."""
    found = re.findall(r"^(?:\[gw\d\] \[ *\d+%\] (\w+) )?\S*?\.py::(\S+)(?: (\w+))?", output, re.MULTILINE)
    return {name: before or behind for before, name, behind in found if before or behind}


def value(file: Path) -> object:
    return json.loads(file.read_text(encoding="utf-8"))


def delivered(folder: Path) -> dict[str, object]:
    return {path.parent.name: value(path)["value"] for path in sorted(folder.glob("delivery/*/result.json"))}


def rows(folder: Path) -> dict[str, Mapping[str, object]]:
    return {row["id"]: row for row in read(folder / "runs" / layout.REPORT)["rows"]}


@pytest.fixture
def grow(tmp_path: Path) -> Path:
    return write_project(tmp_path, {"flows/grow.py": GROW, "conductor.py": LOOP})


@pytest.fixture
def three(tmp_path: Path) -> Path:
    return write_project(tmp_path, {"flows/grow.py": GROW, "conductor.py": TOLD, "rates.json": [1, 2, 3]})


def test_the_delivery_of_an_older_project_is_never_lost_and_never_stale(grow):
    """Script, factor changed, pytest alone, with workers, collecting only, in a fresh clone: refused."""
    assert python(grow, "conductor.py")[0] == 0
    assert (delivered(grow), value(grow / "summary.json")) == ({"r1": 10, "r2": 20}, {"total": 30})
    (grow / "conductor.py").write_text(LOOP.replace("FACTOR = 1", "FACTOR = 100"))
    for args in ((), ("-n", "2"), ("--collect-only",)):
        code, output = session(grow, "conductor.py", *args)
        assert code == pytest.ExitCode.USAGE_ERROR
        says = "conductor.py:10 looks for runs/grow/r1/result.json, which grow/r1 is going to write: put it"
        assert f"{says} under `if not is_collecting():`" in output
        assert (delivered(grow), value(grow / "summary.json")) == ({"r1": 10, "r2": 20}, {"total": 30})
        assert value(grow / "runs/grow/r1/result.json") == {"value": 10}
    shutil.rmtree(grow / "runs")
    for line in (10, 11, 12, 13):
        left = [text for n, text in enumerate(LOOP.splitlines(keepends=True), 1) if n not in range(10, line)]
        (grow / "conductor.py").write_text("".join(left))
        code, output = session(grow, "conductor.py", "--collect-only")
        assert (code, "conductor.py:10 " in output) == (pytest.ExitCode.USAGE_ERROR, True)
        assert delivered(grow) == {"r1": 10, "r2": 20}
        assert value(grow / "summary.json") == {"total": 30}


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=" ".join)
def test_the_cured_conductor_delivers_as_its_script_does(grow, workers):
    """Everything under `if not is_collecting():` runs after the instances, with their results."""
    (grow / "conductor.py").write_text(CURED)
    assert python(grow, "conductor.py")[0] == 0
    files = sorted(path.relative_to(grow).as_posix() for path in grow.rglob("delivery/**/*.json"))
    assert (delivered(grow), value(grow / "summary.json")) == ({"r1": 10, "r2": 20}, {"total": 30})
    (grow / "conductor.py").write_text(CURED.replace("FACTOR = 1", "FACTOR = 100"))
    code, output = session(grow, "conductor.py", "-v", *workers)
    assert (code, outcomes(output)) == (
        0,
        {"grow::r1": "PASSED", "grow::r2": "PASSED", "after": "PASSED"},
    ), output
    assert (delivered(grow), value(grow / "summary.json")) == ({"r1": 1000, "r2": 2000}, {"total": 3000})
    assert files == sorted(path.relative_to(grow).as_posix() for path in grow.rglob("delivery/**/*.json"))
    assert "delivered 3000" in (grow / "runs/.after/conductor/conductor_execution_output.txt").read_text()
    row = rows(grow)["conductor.py::after"]
    assert (row["status"], row["instance"]) == ("success", "conductor.py")
    assert row["links"]["log"] == ".after/conductor/conductor_execution_output.txt"


def test_a_conductor_that_does_not_ask_has_nothing_after(three):
    (three / "conductor.py").write_text(TOLD.partition("if not")[0])
    _, output = session(three, "conductor.py", "--collect-only", "-q")
    assert "::after" not in output
    assert "3 tests collected" in output


def test_collected_and_selected_as_any_item(three):
    """It is listed, found by `-k` and by `::`, and does nothing then."""
    _, output = session(three, "conductor.py", "--collect-only", "-q")
    assert output.splitlines()[3] == "conductor.py::after"
    _, output = session(three, "conductor.py", "--collect-only", "-q", "-k", "after")
    assert "1/4 tests collected" in output
    code, output = session(three, "conductor.py::after", "-v", "-rs")
    assert (code, outcomes(output)) == (0, {"after": "SKIPPED"})
    assert (
        "grow/r0, grow/r1, grow/r2 were not selected and have no good record; run them first: pytest"
        in output
    )
    assert not (three / "told.json").exists()
    assert rows(three)["conductor.py::after"]["status"] == "blocked"
    session(three, "conductor.py", "-k", "grow")
    code, output = session(three, "conductor.py::after", "-v")
    assert (code, outcomes(output)) == (0, {"after": "PASSED"})
    assert value(three / "told.json") == [["r0", "r1", "r2"], ["r0", "r1", "r2"], False]


def test_it_is_unchanged_while_all_that_it_depends_on_is(three):
    """Runs of any session, the conductor, what it read and wrote; also if it was left out in between."""

    def again(*args: str) -> str:
        return outcomes(session(three, "conductor.py", "-v", *args)[1])["after"]

    assert again() == "PASSED"
    assert again() == "UNCHANGED"
    assert again("-n", "2") == "UNCHANGED"
    (three / "rates.json").write_text("[1,2,3]")  # read by the conductor, with the same result
    assert again() == "PASSED"
    assert again() == "UNCHANGED"
    (three / "told.json").unlink()
    assert again() == "PASSED"
    session(three, "conductor.py::grow::r1", "--ductaflow-force")
    assert again() == "PASSED"
    assert again() == "UNCHANGED"
    (three / "conductor.py").write_text(TOLD.replace("told of", "spoken of"))
    _, output = session(three, "conductor.py", "--ductaflow-explain")
    assert "conductor.py::after  conductor.py changed" in output
    assert again() == "PASSED"
    assert again("--ductaflow-force") == "PASSED"
    _, output = session(three, "conductor.py", "--ductaflow-explain")
    assert "0 would run, 0 may run, 4 unchanged" in output


def test_what_it_asks_for_in_vain_counts(three):
    (three / "conductor.py").write_text(TOLD + "if not is_collecting():\n    Path('flag').exists()\n")
    assert outcomes(session(three, "conductor.py", "-v")[1])["after"] == "PASSED"
    assert outcomes(session(three, "conductor.py", "-v")[1])["after"] == "UNCHANGED"
    (three / "flag").touch()
    _, output = session(three, "conductor.py", "--ductaflow-explain")
    assert "conductor.py::after  flag changed" in output


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=" ".join)
def test_it_waits_for_all_to_end_well(three, workers):
    """If an instance fails, it is skipped with the reason, and `--lf` selects both again."""
    (three / "rates.json").write_text("[1, -2, 3]")
    code, output = session(three, "conductor.py", "-v", *workers)
    assert code == 1
    assert outcomes(output)["after"] == "SKIPPED"
    assert "BLOCKED conductor.py::after - grow/r1 failed" in output
    (three / "rates.json").write_text("[1, 2, 3]")
    code, output = session(three, "conductor.py", "-v", "--lf", *workers)
    assert (code, outcomes(output)) == (0, {"grow::r1": "PASSED", "after": "PASSED"})


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=" ".join)
def test_always_calls_raise_as_in_a_script(three, workers):
    """With `always` it runs however they ended: a call of an instance that failed raises as in a script."""
    conductor = """\
        import json
        from pathlib import Path
        from ductaflow import FlowExecutionError, SweepFailed, conduct, is_collecting, run_step_flow

        told = []
        for number, rate in enumerate(json.loads(Path("rates.json").read_text())):
            try:
                told.append(run_step_flow("flows/grow.py", "grow", f"r{number}", {"rate": rate}).name)
            except FlowExecutionError as error:
                told.append(f"{error} {error.ename}")
        try:
            conduct("flows/grow.py", [{"instance_name": "a", "rate": -1}, {"instance_name": "b", "rate": 1}])
        except SweepFailed as error:
            told.append(str(error))
        if not is_collecting():
            Path("told.json").write_text(json.dumps(told))
        """
    write_project(three, {"conductor.py": conductor, "rates.json": [1, -2]})
    assert python(three, "conductor.py")[0] == 0
    as_script = value(three / "told.json")
    assert [as_script[0], as_script[2]] == ["grow_executed.ipynb", "1 of 2 instances failed: grow/a"]
    assert re.fullmatch(
        r"grow failed in cell \d+ \(flows/grow.py:\d+\): ValueError: negative.*", as_script[1]
    )
    (three / "told.json").unlink()
    code, output = session(three, "conductor.py", "-v", "--ductaflow-after=always", *workers)
    assert (code, outcomes(output)["after"]) == (1, "PASSED")
    assert value(three / "told.json") == as_script


def test_never_and_the_ini_file(three):
    (three / "pytest.ini").write_text("[pytest]\nductaflow_after = never\n")
    code, output = session(three, "conductor.py", "-v", "-rs")
    assert (code, outcomes(output)["after"]) == (0, "SKIPPED")
    assert "ductaflow_after is never" in output
    assert "BLOCKED" not in output
    assert outcomes(session(three, "conductor.py", "-v", "--ductaflow-after=well")[1])["after"] == "PASSED"


def test_one_that_fails_shows_the_line_and_what_it_printed(three):
    """The failure has only the user's frames, the output, and the command that repeats it."""
    helper = "def fail(number):\n    return 1 / number\n"
    code = TOLD.replace('print("told of", len(made))', 'print("so far"); import helper; helper.fail(0)')
    write_project(three, {"helper.py": helper, "conductor.py": code})
    code, output = session(three, "conductor.py", "-v")
    assert (code, outcomes(output)["after"]) == (1, "FAILED")
    assert "E   ZeroDivisionError: division by zero" in output
    assert "conductor failed, conductor.py:11" in output
    assert 'File "helper.py", line 2, in fail' in output
    assert "so far" in output
    assert "repeat:        pytest --ductaflow conductor.py::after" in output
    assert "pytest_ductaflow" not in output.partition("= FAILURES =")[2].partition("- ductaflow -")[0]
    row = rows(three)["conductor.py::after"]
    assert (row["status"], row["message"]) == ("error", "ZeroDivisionError: division by zero")
    (three / "helper.py").write_text("def fail(number):\n    pass\n")
    code, output = session(three, "conductor.py", "-v", "--lf")
    assert (code, outcomes(output)) == (0, {"after": "PASSED"})


@pytest.mark.parametrize(
    ("last", "outcome", "says"),
    [
        ("print('⚠️ few data')", "WARNED", "⚠️ few data"),
        ("import sys; sys.exit(3)", "FAILED", "exit code 3"),
        ("import sys; sys.exit()", "PASSED", ""),
        ("import sys; sys.exit('no more')", "FAILED", "SystemExit: no more"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "FAILED",
            "its process was killed by SIGKILL before it was done",
        ),
        ("import os; os._exit(7)", "FAILED", "its process ended with exit code 7 before it was done"),
        ("import warnings; warnings.warn('an old way')", "PASSED", "UserWarning: an old way"),
    ],
)
def test_how_it_may_end(three, last, outcome, says):
    (three / "conductor.py").write_text(f"{TOLD}    {last}\n")
    _, output = session(three, "conductor.py", "-v", "-k", "after or r0 or r1 or r2")
    assert outcomes(output)["after"] == outcome, output
    assert says in output


def test_a_call_that_was_not_collected_runs_there_and_then(three):
    """A loop over results runs as in a script, once; the report of the session is kept."""
    code = f"""{TOLD}
    best = max(table["value"])
    path = run_step_flow("flows/grow.py", "refined", f"best_{{best}}", {{"rate": best}})
    Path("refined.json").write_text((path.parent / "result.json").read_text())
    conduct("flows/grow.py", [{{"instance_name": "x", "rate": 7}}], step="more")
"""
    (three / "conductor.py").write_text(code)
    code, output = session(three, "conductor.py", "-v")
    assert (code, outcomes(output)["after"]) == (0, "PASSED"), output
    assert value(three / "refined.json") == {"value": 300}
    assert value(three / "runs/more/x/result.json") == {"value": 70}
    assert set(rows(three)) == {f"conductor.py::grow::r{n}" for n in range(3)} | {"conductor.py::after"}


def test_a_call_with_another_config_in_a_run_directory_of_another_is_refused(three):
    """What was recorded is not mistaken for the new call."""
    code = f"""{TOLD}
rate = 1 if is_collecting() else 5
run_step_flow("flows/grow.py", "final", "one", {{"rate": rate}})
"""
    (three / "conductor.py").write_text(code)
    code, output = session(three, "conductor.py", "-v")
    assert (code, outcomes(output)["after"]) == (1, "FAILED")
    assert "final/one has run with another config than it is called with now (rate: 1 → 5)" in output
    assert value(three / "runs/final/one/result.json") == {"value": 10}


def test_names_that_change_with_the_time_are_told(three):
    code = TOLD.replace('f"r{n}"', 'f"r{n}" if is_collecting() else f"later{n}"')
    (three / "conductor.py").write_text(code)
    _, output = session(three, "conductor.py", "-v")
    assert outcomes(output)["after"] == "WARNED"
    assert (
        "collected, and not asked for: grow/r0, grow/r1, grow/r2. If their names depend on the time" in output
    )


def test_two_conductors_in_one_session(tmp_path):
    """Each waits only for its own instances, in its own folder."""
    files = {
        "flows/grow.py": GROW,
        "a_conductor.py": TOLD.replace("told.json", "a.json"),
        "sub/b_conductor.py": TOLD.replace("told.json", "b.json").replace(
            '"flows/grow.py", [', '"flows/grow.py", step="b", table=['
        ),
        "rates.json": [1, -2],
    }
    write_project(tmp_path, files)
    (tmp_path / "a_conductor.py").write_text(
        files["a_conductor.py"]
        .replace("rate in", "rate in reversed")
        .replace("enumerate(rates)", "enumerate([3, 4])")
        .replace("rate in reversed", "rate in")
    )
    code, output = session(tmp_path, ".", "-v", "-n", "2")
    assert code == 1
    ended = {
        line.split("::")[0].split()[-1]: line for line in output.splitlines() if line.endswith("::after ")
    }
    assert " PASSED " in ended["a_conductor.py"]
    assert " SKIPPED " in ended["sub/b_conductor.py"]
    assert value(tmp_path / "a.json")[1] == ["r0", "r1"]
    assert not (tmp_path / "b.json").exists()
    assert (tmp_path / "runs/.after/a_conductor").is_dir()


def test_it_comes_last_with_workers_and_random_order(three):
    """Other plugins may put items in any order."""
    write_project(
        three,
        {
            "conftest.py": "def pytest_collection_modifyitems(items):\n    items.reverse()\n",
            "rates.json": list(range(1, 9)),
        },
    )
    for workers in ((), ("-n", "2")):
        shutil.rmtree(three / "runs", ignore_errors=True)
        code, output = session(three, "conductor.py", "-v", *workers)
        assert code == 0
        assert list(outcomes(output))[-1] == "after"
        assert outcomes(output)["after"] == "PASSED"


def test_stopped_sessions_and_other_modes_do_nothing_afterwards(three):
    """`-x`, `--ductaflow-accept` and `--ductaflow-where`, in a project in which not everything is well."""
    (three / "rates.json").write_text("[-1, 2, 3]")
    _, output = session(three, "conductor.py", "-v", "-x")
    assert "after" not in outcomes(output)
    (three / "rates.json").write_text("[1, 2, 3]")
    _, output = session(three, "conductor.py", "-v", "--ductaflow-where", "rate > 1")
    assert outcomes(output)["after"] == "SKIPPED"
    assert "grow/r0 was not selected and has no good record" in output
    session(three, "conductor.py", "-k", "grow")
    _, output = session(three, "conductor.py", "-v", "--ductaflow-accept")
    assert outcomes(output)["after"] == "SKIPPED"
    _, output = session(three, "conductor.py", "-v", "--ductaflow-where", "rate > 1")
    assert outcomes(output)["after"] == "PASSED"


def test_results_do_not_count_it(three):
    """Its files in `runs/` are no instance, and no past run."""
    session(three, "conductor.py")
    assert value(three / "told.json")[0] == ["r0", "r1", "r2"]
    session(three, "conductor.py", "--ductaflow-force")
    assert value(three / "told.json")[0] == ["r0", "r1", "r2"]
    _, output = session(three, "runs", "--collect-only", "-q")
    assert "3 tests collected" in output


def test_what_it_has_started_and_left_behind_does_not_hold_the_session_up(three):
    left = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(90)'])"
    (three / "conductor.py").write_text(f"{TOLD}    {left}\n")
    began = time.monotonic()
    _, output = session(three, "conductor.py", "-v")
    assert outcomes(output)["after"] == "PASSED"
    assert time.monotonic() - began < 80


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_the_session(three, how):
    """Whether the session is interrupted or killed, its process ends and does not count as done."""
    waits = (
        "import os, time; Path('pid').write_text(str(os.getpid())); os.rename('pid', 'here'); time.sleep(90)"
    )
    (three / "conductor.py").write_text(f"{TOLD}    {waits}\n")
    environment = own_environment()
    command = [sys.executable, "-m", "pytest", "--ductaflow", "conductor.py"]
    with subprocess.Popen(
        command,
        cwd=three,
        env=environment,
        stdout=subprocess.DEVNULL,
        preexec_fn=interruptible,  # noqa: PLW1509
    ) as pytest_session:
        while not (three / "here").exists():
            assert pytest_session.poll() is None
            time.sleep(0.05)
        pid = int((three / "here").read_text())
        pytest_session.send_signal(how)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(20)
    assert not psutil.pid_exists(pid)
    record = value(three / "runs/.after/conductor/conductor_record.json")
    assert record["status"] == ("error" if how is signal.SIGINT else "running")
    (three / "conductor.py").write_text(TOLD)
    assert outcomes(session(three, "conductor.py", "-v")[1])["after"] == "PASSED"


def test_a_script_is_as_before(three):
    """`python conductor.py` runs its calls and then the rest; nothing specific to pytest is left behind."""
    code, output = python(three, "conductor.py")
    assert code == 0
    assert "told of 3" in output
    assert not (three / "runs/.after").exists()
    assert value(three / "told.json") == [["r0", "r1", "r2"], ["r0", "r1", "r2"], False]
