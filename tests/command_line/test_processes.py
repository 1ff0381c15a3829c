"""`cancel` and `warm`: running sessions are stopped as by Ctrl-C, and only these."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import ductaflow, make_run, write_sample
from helpers.projects import write_project
from helpers.sessions import PATIENCE, running, wait_for
from helpers.terminal import AtTerminal
from helpers.waiting import PROJECT, SESSION, kernel_pids

from pytest_ductaflow.core.record import Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import read_record
from pytest_ductaflow.core.system.instance_lock import this_process
from pytest_ductaflow.core.system.running_now import announce, note_kernel, running_sessions

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")


def error_of(root: Path, name: str) -> str:
    record, _ = read_record(root / f"runs/wait/{name}/wait_record.json")
    assert record is not None
    return record.error.type if record.error is not None else ""


@pytest.mark.slow
def test_an_instance_and_then_the_session_are_stopped(tmp_path: Path) -> None:
    root = write_project(tmp_path, PROJECT)
    with running(root, *SESSION, "-n", "2") as process:
        wait_for(lambda: len(kernel_pids(root)) == 2 or None, "the kernels")
        data = json.loads(ductaflow(root, "status", "--json").out)
        assert [each["pid"] for each in data["sessions"]] == [process.pid]
        assert sorted(each["run"] for each in data["running"]) == ["wait/a", "wait/b"]
        done = ductaflow(root / "flows", "cancel", "wait/a", is_real=True)
        assert (done.code, done.out) == (0, "stopped: wait/a: KeyboardInterrupt\n")
        assert process.poll() is None
        done = ductaflow(root, "cancel", is_real=True)
        assert done.code == 0, done.err
        assert "; stopped: wait/b;" in done.out
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert (error_of(root, "a"), error_of(root, "b")) == ("KeyboardInterrupt", "Interrupted")
    assert list((root / "runs/.locks").glob("*.session")) == []
    assert list((root / "runs/.locks").glob("*.kernel")) == []


@pytest.mark.slow
def test_a_session_at_a_debugger_is_stopped(tmp_path: Path) -> None:
    files = {
        "flows/fails.py": "raise OSError('not there')",
        "conductor.py": """\
        from pytest_ductaflow import conduct
        conduct("flows/fails.py", [{"instance_name": name} for name in "ab"])
        """,
    }
    root = write_project(tmp_path, files)
    with AtTerminal(root, "conductor.py", "--pdb") as session:
        session.until_prompt()
        done = ductaflow(root, "cancel", is_real=True)
        assert done.code == 0, done.err
        assert "the session has ended" in done.out
        assert "1 failed" in session.rest()


@pytest.mark.slow
def test_a_script_is_stopped(tmp_path: Path) -> None:
    root = write_project(tmp_path, PROJECT)
    with running(root, sys.executable, "conductor.py") as process:
        wait_for(lambda: kernel_pids(root) or None, "the kernel")
        assert ductaflow(root, "cancel").out.startswith("stopping: python conductor.py (process ")
        process.communicate(timeout=PATIENCE)
    assert error_of(root, "a") == "Interrupted"


def test_nothing_is_stopped_where_nothing_runs(tmp_path: Path) -> None:
    root = write_sample(tmp_path)
    done = ductaflow(root, "cancel")
    assert (done.code, done.err) == (2, "Error: no session is running instances of the project .\n")
    done = ductaflow(root, "cancel", "clean/A")
    assert (done.code, done.err) == (2, "Error: clean/A is not running: its last run ended with success\n")
    done = ductaflow(root, "cancel", "fit/B")
    assert (done.code, done.err) == (2, "Error: fit/B runs on nowhere-near: call ductaflow cancel there\n")


def test_a_process_that_got_the_id_of_a_session_is_left_alone(tmp_path: Path) -> None:
    """The note is of an earlier process, and so is the note on the kernel."""
    root = write_sample(tmp_path)
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        owner = {"host": socket.gethostname(), "pid": other.pid, "started": 1.0}
        folder = root / "runs/.locks"
        folder.mkdir(exist_ok=True)
        note = {"owner": owner, "command": "pytest", "began": "2026-03-01T12:00:00+00:00"}
        (folder / "x.session").write_text(json.dumps(note))
        assert ductaflow(root, "cancel").code == 2
        files = RunFiles(root / "runs/wait/a", "wait")
        make_run(root, "wait/a", "flows/wait.py", status=Status.RUNNING, owner=this_process())
        note_kernel(files, root, other.pid)
        kernel = next(folder.glob("*.kernel"))
        kernel.write_text(json.dumps({"pid": other.pid, "started": 1.0}))
        done = ductaflow(root, "cancel", "wait/a")
        assert (done.code, done.err) == (2, "Error: wait/a has no kernel yet, or not any more: try again\n")
        assert other.poll() is None
    finally:
        other.communicate(b"\n")


def test_several_sessions_have_to_be_told_apart(tmp_path: Path) -> None:
    root = write_sample(tmp_path)
    withdraw = announce(root, "pytest one")
    try:
        note = next((root / "runs/.locks").glob("*.session"))
        (note.parent / "other.session").write_text(note.read_text().replace("one", "two"))
        done = ductaflow(root, "cancel")
        assert done.code == 2
        assert "2 sessions are running: " in done.err
        assert len(running_sessions(root)) == 2
    finally:
        withdraw()
    assert not note.exists()


def test_warm_lists_what_is_kept(tmp_path: Path) -> None:
    done = ductaflow(tmp_path, "warm", is_real=True, PYTHON_OF_TESTS="none of these")
    assert (done.code, done.out) == (0, "no process is kept warm\n")
