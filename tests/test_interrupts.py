"""Real signals to real sessions: what was done stays, what was running is told, nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from conftest import write_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX"),
]

PROJECT = {
    "flows/wait.py": """
        import os, time
        print("pid", os.getpid(), flush=True)
        time.sleep(600)
        """,
    "conductor.py": """
        from pytest_ductaflow import conduct
        conduct("flows/wait.py", [{"instance_name": name} for name in "ab"])
        """,
}
T = TypeVar("T")
PATIENCE = 60.0  # seconds; only a bug waits that long


def wait_for(look: Callable[[], T | None], what: str) -> T:
    """Look again and again until there is something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(0.02)
    pytest.fail(f"waited {PATIENCE:g} s for {what}")


def kernel_pids(root: Path) -> list[int]:
    """The kernels that flows have told of in their logs."""
    logs = root.glob("runs/wait/*/wait_execution_output.txt")
    return [
        int(line.split()[1])
        for log in logs
        for line in log.read_text().splitlines()
        if line.startswith("pid ")
    ]


def is_gone(pid: int) -> bool | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return None


@pytest.fixture(params=[[], ["-n", "2"]], ids=["alone", "xdist"])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A session whose instances are running, in a process group of its own."""
    write_project(tmp_path, PROJECT)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--ductaflow",
            "conductor.py",
            *request.param,
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # A shell's background job ignores SIGINT and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    count = 2 if request.param else 1
    wait_for(lambda: len(kernel_pids(tmp_path)) == count or None, "the kernels")
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_the_end_of_a_batch_job_save_the_notebook_and_leave_no_kernel(
    session: subprocess.Popen[str], tmp_path: Path, sent: signal.Signals
) -> None:
    pids = kernel_pids(tmp_path)
    os.killpg(session.pid, sent)
    output, _ = session.communicate(timeout=PATIENCE)
    assert session.returncode == pytest.ExitCode.INTERRUPTED, output
    for pid in pids:
        wait_for(lambda pid=pid: is_gone(pid), f"the end of kernel {pid}")
    record = json.loads((tmp_path / "runs/wait/a/wait_record.json").read_text())
    assert record["status"] != "success"
    notebook = json.loads((tmp_path / "runs/wait/a/wait_executed.ipynb").read_text())
    assert notebook["cells"]
    report = (tmp_path / "runs/conductor_status_report.html").read_text()
    assert '"outcome":"interrupted"' in report


def test_kill_9_of_pytest_leaves_no_kernel_and_no_good_record(
    session: subprocess.Popen[str], tmp_path: Path
) -> None:
    pids = kernel_pids(tmp_path)
    os.killpg(session.pid, signal.SIGKILL)
    session.communicate(timeout=PATIENCE)
    for pid in pids:
        wait_for(lambda pid=pid: is_gone(pid), f"the end of kernel {pid}")
    record = json.loads((tmp_path / "runs/wait/a/wait_record.json").read_text())
    assert record["status"] == "running"
    assert not list(tmp_path.rglob("*.tmp"))
