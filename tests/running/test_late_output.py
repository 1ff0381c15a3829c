"""What is printed after the last cell: by threads, exit handlers and programs."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.thorough import one_in

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.running.run_instance import run

pytestmark = pytest.mark.slow

PRINTS_LATE = {
    "thread": """
        import threading
        ends = threading.Event()
        threading._register_atexit(ends.set)  # when threads are waited for
        def wait():
            ends.wait()
            print("⚠️ late")
        threading.Thread(target=wait).start()
        print("early")
        """,
    "exit handler": """
        import atexit, sys
        atexit.register(print, "⚠️ late")
        print("early")
        """,
    "log record": """
        import atexit, logging
        atexit.register(logging.getLogger("own").error, "late")
        print("early")
        """,
    "after a failure": """
        import atexit
        atexit.register(print, "⚠️ late")
        print("early")
        raise ValueError
        """,
}


@pytest.fixture(autouse=True)
def _wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUCTAFLOW_FORK", raising=False)


def run_flow(root: Path, code: str, *, fork: bool) -> tuple[Record, list[str]]:
    write_project(root, {"flows/x.py": code})
    instance = Instance(f"{root}/flows/x.py", "x", "a", {}, f"{root}/runs/x/a", str(root))
    record = run(instance, Settings(force=True, fork=fork, html="none"))
    return record, (root / "runs/x/a/x_execution_output.txt").read_text().splitlines()


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "ordinary"])
@pytest.mark.parametrize("how", one_in(2, PRINTS_LATE))
def test_a_warning_line_that_is_printed_after_the_last_cell_is_logged_and_counts(tmp_path, how, fork):
    record, log = run_flow(tmp_path, PRINTS_LATE[how], fork=fork)
    assert log[0] == "early"
    assert "late" in log[-1]
    assert [line.rpartition(" ")[2] for line in record.warnings] == ["late"]


def test_what_a_program_prints_at_the_exit_of_a_forked_kernel_is_logged(tmp_path):
    code = """
        import atexit, os
        atexit.register(os.write, 1, b"by a number\\n")
        atexit.register(os.system, "echo by a program")
        """
    assert run_flow(tmp_path, code, fork=True)[1] == ["by a program", "by a number"]


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "ordinary"])
def test_nothing_is_logged_twice_and_nothing_of_the_kernel_itself(tmp_path, fork):
    code = """
        import threading
        stop, speaks = threading.Event(), threading.Event()
        threading._register_atexit(stop.set)
        def speak():
            for number in range(10**9):
                # In one piece: ipykernel files each under the current cell.
                print(f"line {number}\\n", end="")
                speaks.set()
                if stop.wait(0.001):
                    return
        threading.Thread(target=speak).start()
        speaks.wait()

        # %%
        print("last cell\\n", end="")
        """
    log = run_flow(tmp_path, code, fork=fork)[1]
    log.remove("last cell")
    assert len(log) == len(set(log))
    assert all(line.startswith("line ") for line in log)
