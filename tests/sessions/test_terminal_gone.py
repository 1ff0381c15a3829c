"""Sessions whose terminal or pipe goes away, and those stopped in haste, leave correct files."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from helpers.projects import write_project
from helpers.sessions import PATIENCE, interruptible, is_gone, own_environment, wait_for
from helpers.waiting import SESSION, kernel_pids, outcomes

from pytest_ductaflow.report.page import read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.skipif(os.name != "posix", reason="terminals are POSIX"),
]

WAITING = {
    "flows/wait.py": """
        import os, time
        print("pid", os.getpid(), flush=True)
        while not os.path.exists(os.path.join(config["_project_root"], "go")):
            time.sleep(0.02)
        """,
    "conductor.py": """
        from pytest_ductaflow import conduct
        conduct("flows/wait.py", [{"instance_name": name} for name in "abcd"])
        """,
}
WORKERS = pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])


def report_of(root: Path) -> dict[str, object]:
    """Return the data of the report's page."""
    return read(root / "runs/conductor_status_report.html")


def statuses(root: Path) -> dict[str, str]:
    """Return the status of each instance in the report."""
    rows = report_of(root)["rows"]
    assert isinstance(rows, list)
    return {row["instance"]: row["status"] for row in rows}


def record_of(root: Path, name: str) -> dict[str, object]:
    record: dict[str, object] = json.loads((root / f"runs/wait/{name}/wait_record.json").read_text())
    return record


def left_in(folder: Path) -> list[str]:
    """Return the temporary files that sessions have left; pytest itself keeps some."""
    return [path.name for path in folder.iterdir() if not path.name.startswith("pytest-of-")]


def environment_with(workers: list[str]) -> dict[str, str]:
    """Return the environment of a session, which without workers also makes pages."""
    return own_environment(pages=not workers)


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Yield a folder for temporary files of sessions; its path is short, as it holds sockets."""
    with tempfile.TemporaryDirectory(prefix="dt") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


@WORKERS
def test_a_terminal_that_is_closed_ends_the_session_as_sigterm_does(
    tmp_path: Path, temporary: Path, workers: list[str]
) -> None:
    write_project(tmp_path, WAITING)
    pid, terminal = pty.fork()
    if pid == 0:
        interruptible()
        os.chdir(tmp_path)
        os.execve(sys.executable, [*SESSION, *workers], environment_with(workers))
    count = 2 if workers else 1
    pids = wait_for(lambda: p if len(p := kernel_pids(tmp_path)) == count else None, "the kernels")
    os.close(terminal)  # the system sends SIGHUP, and the terminal accepts no more output
    wait_for(lambda: os.waitpid(pid, os.WNOHANG)[0] or None, "the end of the session")
    for kernel in pids:
        wait_for(lambda kernel=kernel: is_gone(kernel), f"the end of kernel {kernel}")
    report = report_of(tmp_path)
    assert (report["outcome"], report["exit_code"]) == ("interrupted", 2)
    assert "running" not in statuses(tmp_path).values()
    assert record_of(tmp_path, "a")["error"]["type"] == "Interrupted"
    assert left_in(temporary) == []
    (tmp_path / "go").touch()
    assert outcomes(tmp_path, *workers) == dict.fromkeys("abcd", "PASSED")


@WORKERS
def test_a_reader_that_has_read_enough_does_not_stop_the_session(
    tmp_path: Path, temporary: Path, workers: list[str]
) -> None:
    write_project(tmp_path, WAITING)
    reading, writing = os.pipe()
    command = [*SESSION, "-v", *workers]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment_with(workers),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        (tmp_path / "go").touch()
        _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, told
    assert re.fullmatch(r"ductaflow: standard output takes no more \(.*\); the session goes on.*\n", told)
    assert (report_of(tmp_path)["outcome"], report_of(tmp_path)["exit_code"]) == ("finished", 0)
    assert statuses(tmp_path) == dict.fromkeys("abcd", "success")
    assert record_of(tmp_path, "d")["status"] == "success"
    assert left_in(temporary) == []


@WORKERS
@pytest.mark.parametrize("shown", ["-v", "-s"])
def test_a_session_goes_on_where_both_streams_are_of_a_closed_terminal(
    tmp_path: Path, workers: list[str], shown: str
) -> None:
    """For example with nohup or disown: the signal does not end it."""
    write_project(tmp_path, WAITING)
    pid, terminal = pty.fork()
    if pid == 0:
        interruptible()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.chdir(tmp_path)
        os.execve(sys.executable, [*SESSION, shown, *workers], environment_with(workers))
    wait_for(lambda: kernel_pids(tmp_path) or None, "the first kernel")
    os.close(terminal)
    (tmp_path / "go").touch()
    status = wait_for(
        lambda: ((w := os.waitpid(pid, os.WNOHANG))[0] and w) or None, "the end of the session"
    )[1]
    assert os.waitstatus_to_exitcode(status) == 0
    assert (report_of(tmp_path)["outcome"], report_of(tmp_path)["exit_code"]) == ("finished", 0)
    assert statuses(tmp_path) == dict.fromkeys("abcd", "success")


@WORKERS
@pytest.mark.parametrize("presses", [2, 6])
def test_ctrl_c_pressed_again_leaves_a_true_report_and_no_traceback(
    tmp_path: Path, temporary: Path, workers: list[str], presses: int
) -> None:
    """The presses follow each other as fast as a user can press."""
    write_project(tmp_path, WAITING)
    with subprocess.Popen(
        [*SESSION, *workers],
        cwd=tmp_path,
        env=environment_with(workers),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=interruptible,  # noqa: PLW1509
    ) as process:
        count = 2 if workers else 1
        wait_for(lambda: len(kernel_pids(tmp_path)) == count or None, "the kernels")
        for _ in range(presses):
            if report_of(tmp_path)["outcome"] is not None:
                break  # it may end now, and pytest may no longer handle Ctrl-C
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.15)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "Traceback" not in output
    assert "Error" not in output
    assert (report_of(tmp_path)["outcome"], report_of(tmp_path)["exit_code"]) == ("interrupted", 2)
    assert "running" not in statuses(tmp_path).values()
    assert record_of(tmp_path, "a")["status"] == "error"
    assert left_in(temporary) == []


QUICK = {
    "flows/quick.py": "print(1)\n",
    "conductor.py": """
        from pytest_ductaflow import conduct
        conduct("flows/quick.py", [{"instance_name": f"i{number:02}"} for number in range(12)])
        """,
}


@pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="pages are written in the background on an idle core")
@pytest.mark.parametrize(
    "helper", ["pytest_ductaflow.kernels.forkserver", "pytest_ductaflow.running.html.page_process"]
)
def test_a_helper_process_that_is_frozen_does_not_hold_up_the_session(tmp_path: Path, helper: str) -> None:
    root = write_project(tmp_path, QUICK)

    def helping() -> psutil.Process | None:
        for process in sorted(psutil.Process(session.pid).children(recursive=True), key=lambda p: p.pid):
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if (
                    command[-3:-1] == ["-m", helper]
                    and command[-4] in ("-P", sys.executable)
                    and len(command) < 6
                ):
                    return process
        return None

    alone = own_environment(pages=True)
    with subprocess.Popen(
        [*SESSION, "-rA"], cwd=root, env=alone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as session:
        wait_for(lambda: list(root.glob("runs/quick/*/quick_record.json")) or None, "the first instance")
        wait_for(helping, "the helper").send_signal(signal.SIGSTOP)
        output, _ = session.communicate(timeout=5 * PATIENCE)  # it waits for the helper several times
    assert session.returncode == 0, output
    assert "12 passed" in output
    assert "stopped" in output
    pages = list(root.glob("runs/quick/*/quick_executed.html"))
    assert len(pages) == 12
