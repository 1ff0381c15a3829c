"""Locks on files: of one thread of one process at a time, and free once that has ended, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pytest_ductaflow.core.system import file_lock
from pytest_ductaflow.core.system.file_lock import lock_on, marker_beside

HOLDS = """
import sys
from pathlib import Path
from pytest_ductaflow.core.system import file_lock

file_lock.HAS_FLOCK = bool(int(sys.argv[1]))
lock = file_lock.lock_on(Path(sys.argv[2]))
print(lock.take(), flush=True)
"""
WAITS = "sys.stdin.read()\n"
FORKS = """
import os
if os.fork() == 0:
    os.close(1)
    sys.stdin.read()
    os._exit(0)
sys.stdout.close()
os.kill(os.getpid(), 9)
"""


@pytest.fixture(name="file", params=[True, False], ids=["flock", "library"])
def with_and_without_flock(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param and not file_lock.HAS_FLOCK:
        pytest.skip("there is no flock")
    monkeypatch.setattr(file_lock, "HAS_FLOCK", request.param)
    return tmp_path / "a.lock"


def other_process(file: Path, code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDS + code, str(int(file_lock.HAS_FLOCK)), str(file)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_lock_is_taken_once_and_again_after_its_release(file):
    first, second = lock_on(file), lock_on(file)
    second.release()  # it was not taken
    for _ in range(2):
        assert first.take()
        assert not second.take()
        first.release()
    assert second.take()
    second.release()


def test_another_thread_does_not_get_it(file):
    lock, found = lock_on(file), []
    assert lock.take()
    thread = threading.Thread(target=lambda: found.append(lock_on(file).take()))
    thread.start()
    thread.join()
    lock.release()
    assert found == [False]


def test_a_process_that_is_killed_leaves_it_free(file):
    with other_process(file, WAITS) as other:
        assert other.stdout.readline() == "True\n"
        lock = lock_on(file)
        assert not lock.take()
        other.kill()
        other.wait()
    assert lock.take()
    lock.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_does_not_keep_what_its_parent_had(file):
    with other_process(file, FORKS) as other:
        assert other.stdout.readline() == "True\n"
        assert other.stdout.read() == ""  # the parent has ended, and its fork still waits
        assert other.wait() == -signal.SIGKILL
        lock = lock_on(file)
        assert lock.take()
        lock.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_fork_does_not_release_what_its_parent_has(file):
    lock = lock_on(file)
    assert lock.take()
    if (child := os.fork()) == 0:
        lock.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert not lock_on(file).take()
    lock.release()


def test_the_file_belongs_to_all_who_may_write_to_the_folder(file):
    before = os.umask(0o002)
    try:
        lock = lock_on(file)
        assert lock.take()
        lock.release()
    finally:
        os.umask(before)
    if file_lock.HAS_FLOCK:
        assert file.stat().st_mode & 0o777 == 0o664


@pytest.mark.skipif(not file_lock.HAS_FLOCK, reason="there is no flock")
def test_a_file_that_may_only_be_read_can_be_locked(tmp_path, monkeypatch):
    file, opened = tmp_path / "a.lock", os.open

    def refusing(path: Path, flags: int, *mode: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *mode)

    file.touch()
    monkeypatch.setattr(os, "open", refusing)
    first, second = lock_on(file), lock_on(file)
    assert first.take()
    assert not second.take()
    first.release()
    with pytest.raises(PermissionError):
        lock_on(tmp_path / "missing.lock").take()


@pytest.mark.skipif(not file_lock.HAS_FLOCK, reason="there is no flock")
def test_a_file_that_is_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    import fcntl

    file, locked = tmp_path / "a.lock", fcntl.flock
    removals = [file]

    def removing(descriptor: int, how: int) -> None:
        if removals:
            removals.pop().unlink()
        locked(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", removing)
    first = lock_on(file)
    assert first.take()
    assert file.exists()
    assert not lock_on(file).take()
    first.release()


def test_a_file_that_cannot_be_made_is_no_lock_that_somebody_has(file):
    file.write_text("no folder")
    with pytest.raises(OSError, match=r"a\.lock"):
        lock_on(file / "a.lock").take()


def test_a_marker_is_a_file_while_it_is_taken(tmp_path):
    first, second = (marker_beside(tmp_path / "a.lock") for _ in range(2))
    assert first.take()
    assert not second.take()
    assert (tmp_path / "a.lock.held").exists()
    first.release()
    assert second.take()
    second.release()
