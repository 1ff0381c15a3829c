"""A warm process forks children that are like new processes, and outlives what goes wrong with one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from helpers.projects import lay
from helpers.sessions import wait_for

from pytest_ductaflow.core.forking.client import WarmProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps processes warm")

SERVES = """
import importlib, sys
from pathlib import Path
from pytest_ductaflow.core.forking.server import listening, serve
job = serve(listening(Path(sys.argv[1])), float(sys.argv[2]), lambda: None)
if job is not None:
    importlib.import_module(job.module).main()
"""
MODULE = """
import os, signal, sys
def main():
    if "sleep" in sys.argv:
        signal.pause()
    os.write(3, b"further")
    print(sys.argv[1:], os.getcwd(), os.environ.get("GIVEN"), sys.stdin.read(), flush=True)
    print("told", file=sys.stderr)
    sys.exit(7)
"""


class Warm(WarmProcess):
    """A warm process of a test, with the folder of its module."""

    def __init__(self, folder: Path, seconds: float = 60.0) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="kw", dir="/tmp"), "socket"))
        lay(folder / "modules/job.py", MODULE)
        environment = {**os.environ, "PYTHONPATH": str(folder / "modules")}
        command = [sys.executable, "-c", SERVES, str(self.path), str(seconds)]
        self.process = subprocess.Popen(command, env=environment)
        wait_for(lambda: self.listens() or None, "a warm process")

    def listens(self) -> bool:
        """Return whether it takes connections: its socket is there a moment earlier."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.path))
            return True
        return False


@pytest.fixture
def warm(tmp_path: Path) -> Iterator[Warm]:
    found = Warm(tmp_path)
    yield found
    found.process.kill()
    found.process.wait()


def test_a_child_has_arguments_folder_environment_and_descriptors_of_its_own(warm, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    reader, writer = os.pipe()
    with open(tmp_path / "out", "wb") as out, open(tmp_path / "err", "wb") as err:
        child = warm.popen(
            "job",
            ["one", "two"],
            folder=folder,
            environment={"GIVEN": "ü"},
            stdin=subprocess.PIPE,
            stdout=out.fileno(),
            stderr=err.fileno(),
            descriptors=[writer],
        )
    child.stdin.write("said")
    child.stdin.close()
    assert child.wait(30) == child.poll() == 7
    assert (tmp_path / "out").read_text() == f"['one', 'two'] {folder} ü said\n"
    assert (tmp_path / "err").read_text() == "told\n"
    assert os.read(reader, 100) == b"further"
    os.close(reader)
    os.close(writer)


def started(warm: Warm, folder: Path, *arguments: str, module: str = "job"):
    return warm.popen(module, arguments, folder=folder, environment=os.environ)


def test_a_child_that_is_killed_is_told_by_its_signal(warm, tmp_path):
    child = started(warm, tmp_path, "sleep")
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.0)
    assert child.poll() is None
    child.kill()
    assert child.wait(30) == -signal.SIGKILL


def test_a_child_ends_with_the_connection_of_its_client(warm, tmp_path):
    child = started(warm, tmp_path, "sleep")
    child.close()
    wait_for(lambda: None if psutil.pid_exists(child.pid) else True, "the end of a child")
    assert warm.ask("state")["children"] == 0


def test_a_child_ends_with_the_warm_process(warm, tmp_path):
    child = started(warm, tmp_path, "sleep")
    warm.process.kill()
    assert child.wait(30) == -signal.SIGKILL
    wait_for(lambda: None if psutil.pid_exists(child.pid) else True, "the end of a child")


@pytest.mark.parametrize("wrong", ["folder", "module"])
def test_a_child_that_cannot_start_fails_alone(wrong, warm, tmp_path):
    folder = tmp_path / "missing" if wrong == "folder" else tmp_path
    child = started(warm, folder, module="job" if wrong == "folder" else "nowhere")
    assert child.wait(30) == 1
    assert warm.ask("state")["children"] == 0
    assert len(psutil.Process(warm.process.pid).children()) == 0


@pytest.mark.parametrize(
    "message", [b"", b"\0\0", b"\0" * 7 + b"\2{}", b"\0" * 7 + b"\5[1,2]", b"\xff" * 8], ids=repr
)
def test_what_is_no_message_is_ignored(message, warm):
    with warm._connected() as connection:
        connection.sendall(message)
    assert warm.ask("state")["stale"] is None


def test_it_ends_when_nobody_has_needed_it_for_long(tmp_path):
    warm = Warm(tmp_path, seconds=0.5)
    child = started(warm, tmp_path, "sleep")
    with pytest.raises(subprocess.TimeoutExpired):
        warm.process.wait(1.0)  # longer than it would stay without a child
    child.kill()
    child.wait(30)
    assert warm.process.wait(30) == 0


def test_it_ends_on_request_with_its_last_child(warm, tmp_path):
    child = started(warm, tmp_path, "sleep")
    assert warm.ask("stop") == {"children": 1}
    assert not warm.path.exists()
    assert child.poll() is None
    child.kill()
    child.wait(30)
    assert warm.process.wait(30) == 0


def test_keeping_it_changes_its_time(warm):
    warm.ask("keep", seconds=0.1)
    assert warm.process.wait(30) == 0
