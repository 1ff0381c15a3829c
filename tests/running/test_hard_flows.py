"""Flows that are hard to report correctly: each of them was once reported incorrectly."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment, run_session

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.running.run_instance import run

pytestmark = pytest.mark.slow

FLOWS = {
    "logs_error": "import logging\nlogging.error('pump is dry')",
    "logs_its_own_way": """
        import logging
        logging.basicConfig(force=True, format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("x.y").warning("valve is stuck")
        """,
    "logs_to_a_file": """
        import logging
        logger = logging.getLogger("quiet")
        logger.propagate = False
        logger.addHandler(logging.FileHandler("own.log"))
        logger.critical("tank is empty")
        """,
    "logs_with_level": "import logging\nlogging.getLogger('a').warning('once')",
    "blank_lines": "\n\n\nx = 1\nraise ValueError('here')",
    "exits": "exit(3)\n\n# %%\nprint('ran on')",
    "exits_well": "exit()\n\n# %%\nprint('ran on')",
    "group": "raise ExceptionGroup('several', [ValueError('one'), TypeError('two')])",
    "surrogate": "open(b'Z\\xfcrich.csv', 'w').close()\nimport os\nprint(os.listdir('.'))",
    "huge": "raise ValueError('x' * 3_000_000)",
    "shows_nonsense": "from IPython.display import display\ndisplay({'image/svg+xml': 5}, raw=True)",
    "removes_itself": "import os, shutil\nshutil.rmtree(os.getcwd())",
    "outruns_its_reader": """
        import os, signal, subprocess
        from IPython.display import display
        reader = int(os.environ["SESSION"])
        should_the_kernel_die = subprocess.Popen(["sh", "-c", f"sleep 30; kill -CONT {reader}"])
        os.kill(reader, signal.SIGSTOP)
        for number in range(4_000):
            display(f"{number:3000}")
        os.kill(reader, signal.SIGCONT)
        should_the_kernel_die.kill()
        """,
}
CONDUCTOR = "\n".join(
    [
        "from pytest_ductaflow import conduct",
        *(f"conduct('flows/{name}.py', [{{'instance_name': 'a'}}])" for name in FLOWS),
    ]
)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a project with all these flows after one run, and pytest's output."""
    root = tmp_path_factory.mktemp("hard")
    write_project(root, {f"flows/{name}.py": code for name, code in FLOWS.items()})
    (root / "flows/blank_lines.py").write_text(
        '# %% tags=["parameters"]\nconfig = {}\n# %%\n\n\n\nx = 1\nraise ValueError("here")\n'
    )
    (root / "conductor.py").write_text(CONDUCTOR)
    pytest_ = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "conductor.py"]
    command = ["sh", "-c", 'SESSION=$$ exec "$@"', "sh", *pytest_]
    environment = own_environment()
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert "INTERNALERROR" not in done.stdout + done.stderr
    return root, done.stdout


def record_of(root: Path, flow: str) -> dict[str, Any]:
    return json.loads((root / f"runs/{flow}/a/{flow}_record.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("flow", "text"),
    [
        ("logs_error", "pump is dry"),
        ("logs_its_own_way", "valve is stuck"),
        ("logs_to_a_file", "tank is empty"),
        ("logs_with_level", "once"),
    ],
)
def test_what_is_logged_as_a_warning_or_worse_turns_orange_however_it_is_handled(session, flow, text):
    record = record_of(session[0], flow)
    assert record["status"] == "warning"
    assert record["warning_count"] == 1
    assert text in record["warnings"][0]


def test_the_line_is_right_in_a_cell_that_begins_with_blank_lines(session):
    error = record_of(session[0], "blank_lines")["error"]
    assert error["file_line"] == 8
    assert error["source"].splitlines()[error["line"] - 1].startswith("raise ValueError")
    assert "flows/blank_lines.py:8" in session[1]


def test_exit_ends_a_flow_as_it_ends_a_script(session):
    assert record_of(session[0], "exits")["error"]["type"] == "SystemExit"
    assert record_of(session[0], "exits_well")["warnings"] == [
        "⚠️ SystemExit at line 5: what comes after it has not run"
    ]
    for flow in ("exits", "exits_well"):
        assert "ran on" not in (session[0] / f"runs/{flow}/a/{flow}_execution_output.txt").read_text()


def test_an_exception_group_is_told_by_its_name(session):
    error = record_of(session[0], "group")["error"]
    assert error["type"] == "ExceptionGroup"
    assert "several" in error["message"]


def test_a_file_name_that_is_no_text_can_be_printed(session):
    assert record_of(session[0], "surrogate")["status"] == "success"
    assert "rich.csv" in (session[0] / "runs/surrogate/a/surrogate_execution_output.txt").read_text()


def test_a_huge_message_is_shortened_in_the_record(session):
    assert (session[0] / "runs/huge/a/huge_record.json").stat().st_size < 100_000
    assert "3,000,000 characters" in record_of(session[0], "huge")["error"]["message"]


def test_a_flow_that_removes_its_directory_fails_in_a_sentence(session):
    failure = session[1].partition("removes_itself/a")[2].partition("repeat:")[0]
    assert "removes_itself failed" in failure
    assert "pytest_ductaflow" not in failure


def test_outputs_wait_for_a_reader_that_is_slower(session):
    notebook = nbformat.read(session[0] / "runs/outruns_its_reader/a/outruns_its_reader_executed.ipynb", 4)
    shown = [output.data["text/plain"] for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [int(text.strip("'")) for text in shown] == list(range(4_000))


def test_no_failure_shows_a_frame_of_ours(session):
    assert not re.search(
        r"pytest_ductaflow[/\\]\w+\.py", session[1].partition("= FAILURES")[2].partition("- ductaflow -")[0]
    )


def test_a_display_that_no_notebook_can_hold_is_told_with_its_cell(session):
    error = record_of(session[0], "shows_nonsense")["error"]
    assert error["type"] == "InvalidOutput"
    assert error["message"].startswith("this cell shows something that a notebook cannot hold: 5 is not")
    assert error["cell"] is not None


def test_the_threads_of_an_ordinary_kernel_do_not_wait_for_each_other_at_its_end(tmp_path):
    """The control thread's last write, after ipykernel's publishing thread has just stopped, is never read.

    Two threads meet there by chance once in a hundred kernels; here they do each time.
    """
    code = """
        import sys, threading, time

        def meet(loop, stream, sleep, thread, main):  # the namespace of the flow is cleared before the end
            close, flush = loop.close, stream.flush

            def close_and_go_on(**options):
                close(**options)
                sleep(2)

            def flush_late():
                if thread() is not main:
                    sleep(0.5)
                flush()

            loop.close, stream.flush = close_and_go_on, flush_late

        loop = get_ipython().kernel.iopub_thread.io_loop
        meet(loop, sys.stdout, time.sleep, threading.current_thread, threading.main_thread())
        """
    root = write_project(tmp_path, {"flows/ends.py": code})
    (root / "conductor.py").write_text(
        "from pytest_ductaflow import conduct\nconduct('flows/ends.py', [{'instance_name': 'a'}])\n"
    )
    run_session(root, "-p", "no:cacheprovider", "--ductaflow", "conductor.py", "--no-ductaflow-fork")
    assert (record_of(root, "ends")["status"], record_of(root, "ends")["warnings"]) == ("success", [])


@pytest.mark.parametrize("fork", [True, False])
def test_of_a_flow_that_fails_deep_down_the_first_and_the_last_frames_are_told(tmp_path, fork):
    code = """
        import sys
        sys.setrecursionlimit(30_000)

        def down(floor):
            return up(floor + 1)

        def up(floor):
            return down(floor + 1) if floor < 15_000 else 1 / 0

        try:
            down(0)
        except ZeroDivisionError as error:
            raise KeyError("at the top") from error
        """
    root = write_project(tmp_path, {"flows/deep.py": code})
    flow, run_dir = f"{root}/flows/deep.py", f"{root}/runs/deep/a"
    instance = Instance(flow, step="deep", name="a", config={}, run_dir=run_dir, project_root=str(root))
    error = run(instance, Settings(fork=fork, html="none")).error
    assert (error.type, error.message, error.file_line) == ("KeyError", "'at the top'", 18)
    above, between, below = error.traceback.partition("\n… 14,973 frames left out …\n")
    assert between
    for part in (above, below):
        assert {
            "flows/deep.py:10 in cell [3], in down(floor)",
            "flows/deep.py:13 in cell [3], in up(floor)",
        } <= {*part.splitlines()}
    assert "ZeroDivisionError: division by zero\n" in below
    assert below.endswith("\nKeyError: 'at the top'")
