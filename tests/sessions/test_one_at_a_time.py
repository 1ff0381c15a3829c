"""A run directory is used by one process at a time: several real sessions over one project."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.forked_sessions import ForkedSession
from helpers.projects import write_project
from helpers.sessions import start_session

from pytest_ductaflow.core.errors import InUse
from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Owner, Record, Status
from pytest_ductaflow.core.run_directory import listing, record_files
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import read_record
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.core.system import instance_lock
from pytest_ductaflow.core.system.instance_lock import held, is_alive, is_free, this_process
from pytest_ductaflow.running import run_instance

PATIENCE = 60.0  # seconds; only a bug waits that long
posix = pytest.mark.skipif(os.name != "posix", reason="signals and process groups are POSIX")

FILES = {
    # It reports to the test that it has begun, and continues when the test lets it.
    "flows/slow.py": """
        import os, socket
        with open("lines.txt", "a") as lines:
            lines.write(f"{n} begins\\n")
        with socket.create_connection(("127.0.0.1", port)) as test:
            test.sendall(f"{n} {os.getpid()}\\n".encode())
            assert test.recv(2) == b"go"
        with open("lines.txt", "a") as lines:
            lines.write(f"{n} ends\\n")
        """,
    "flows/total.py": """
        from pathlib import Path
        Path("total.txt").write_text(str(len(Path(config["_project_root"], lines).read_text().split())))
        """,
    "conductor.py": """
        import json
        from pathlib import Path
        from pytest_ductaflow import conduct
        base = json.loads(Path("base.json").read_text())
        conduct("flows/slow.py", [{"instance_name": "i"}], base=base)
        conduct("flows/total.py", [{"instance_name": "i", "lines": "runs/slow/i/lines.txt"}])
        """,
}
TWICE = "1 begins\n1 ends\n"


class Flows:
    """A server to which the flows of a project report that they have begun."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(PATIENCE)
        self.port = self._server.getsockname()[1]

    @contextlib.contextmanager
    def next(self) -> Iterator[tuple[str, int]]:
        """Yield parameter and process of the next flow that begins; let it continue after the block."""
        connection, _ = self._server.accept()
        with connection:
            connection.settimeout(PATIENCE)
            n, pid = connection.makefile().readline().split()
            yield n, int(pid)
            with contextlib.suppress(OSError):  # its process was killed
                connection.sendall(b"go")

    def none_waits(self) -> bool:
        """Return whether no other flow has begun."""
        self._server.settimeout(0)
        try:
            connection, _ = self._server.accept()
        except BlockingIOError:
            return True
        connection.close()
        return False

    def close(self) -> None:
        self._server.close()


@dataclass
class Session:
    """A session that runs while the test does something else."""

    process: subprocess.Popen[str] | ForkedSession

    def wait_for_line(self, pattern: str) -> str:
        """Return the first line of its output in which a pattern is found."""
        assert self.process.stdout is not None
        seen = []
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        for line in self.process.stdout:
            seen.append(line)
            if re.search(pattern, line):
                watchdog.cancel()
                return line
        pytest.fail(f"no line like {pattern!r}:\n{''.join(seen)}")

    def rest(self) -> str:
        return self.process.communicate(timeout=PATIENCE)[0]


@pytest.fixture
def flows() -> Iterator[Flows]:
    made = Flows()
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path, flows: Flows) -> Path:
    write_base(tmp_path, flows, 1)
    return write_project(tmp_path, FILES)


def write_base(root: Path, flows: Flows, n: int) -> None:
    (root / "base.json").write_text(json.dumps({"n": n, "port": flows.port}))


@pytest.fixture
def start(root: Path) -> Iterator[Callable[..., Session]]:
    """Yield a function that starts sessions, each in a process group of its own."""
    sessions: list[Session] = []
    command = ("-v", "-p", "no:cacheprovider", "--ductaflow", "conductor.py")

    def run(*arguments: str, is_real: bool = False) -> Session:
        sessions.append(Session(start_session(root, *command, *arguments, is_real=is_real)))
        return sessions[-1]

    yield run
    for session in sessions:
        if session.process.poll() is None:
            os.killpg(session.process.pid, signal.SIGKILL)
        session.process.communicate(timeout=PATIENCE)


def record_of(root: Path, step: str) -> Record:
    record, _ = read_record(root / f"runs/{step}/i/{step}_record.json")
    assert record is not None
    return record


def lines(root: Path) -> str:
    return (root / "runs/slow/i/lines.txt").read_text()


WORKERS = pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
RATHER_ALONE = pytest.mark.parametrize(
    "workers", [[], pytest.param(["-n", "2"], marks=pytest.mark.thorough)], ids=["alone", "xdist"]
)


@posix
@pytest.mark.slow
@WORKERS
def test_a_second_session_waits_and_finds_the_instance_unchanged(root, flows, start, workers):
    first = start(*workers)
    with flows.next():
        second = start(*workers)
        line = second.wait_for_line("waiting")
        owner = record_of(root, "slow").owner
        who = f"process {owner.pid} on {re.escape(owner.host)}"
        assert re.search(rf"slow/i is being run by {who} since \d\d:\d\d: waiting", line)
    for session, word in ((first, "PASSED"), (second, "UNCHANGED")):
        output = session.rest()
        assert session.process.returncode == 0, output
        assert re.search(rf"slow::i {word}|{word} conductor.py::slow::i", output), output
    assert flows.none_waits()
    assert lines(root) == TWICE
    assert (root / "runs/total/i/total.txt").read_text() == "4"
    assert record_of(root, "slow").owner is None


@posix
@pytest.mark.slow
def test_a_second_session_with_another_config_runs_after_the_first(root, flows, start):
    first = start("-k", "slow")  # its next instance would read what the second one replaces
    with flows.next():
        write_base(root, flows, 2)
        second = start()
        second.wait_for_line("waiting")
    with flows.next() as (n, _):
        assert n == "2"
    for session in (first, second):
        output = session.rest()
        assert session.process.returncode == 0, output
    assert lines(root) == "2 begins\n2 ends\n"
    assert json.loads((root / "runs/slow/i/slow_config.json").read_text())["n"] == 2
    assert (root / "runs/.earlier/slow/i/lines.txt").read_text() == TWICE


@posix
@pytest.mark.slow
@RATHER_ALONE
def test_what_a_killed_session_was_running_is_taken_over_from_a_clean_start(root, flows, start, workers):
    first = start(*workers, is_real=True)
    with flows.next():
        second = start(*workers)
        second.wait_for_line("waiting")
        os.killpg(first.process.pid, signal.SIGKILL)
        with flows.next():
            assert lines(root) == "1 begins\n"
    output = second.rest()
    assert second.process.returncode == 0, output
    assert lines(root) == TWICE
    assert record_of(root, "slow").status is Status.SUCCESS


@posix
@pytest.mark.slow
def test_without_waiting_the_instance_fails_at_once_and_is_not_touched(root, flows, start):
    first = start()
    with flows.next():
        names = ("slow_config.json", "slow_record.json", "lines.txt")
        before = {name: (root / "runs/slow/i" / name).stat().st_mtime_ns for name in names}
        second = start("--ductaflow-no-wait")
        output = second.rest()
        assert second.process.returncode == 1
        pid = record_of(root, "slow").owner.pid
        assert re.search(rf"InUse: slow/i is being run by process {pid} on .* since \d\d:\d\d\n", output)
        assert "upstream slow/i failed" in output
        assert before == {name: (root / "runs/slow/i" / name).stat().st_mtime_ns for name in names}
    assert first.rest()
    assert first.process.returncode == 0
    assert lines(root) == TWICE


@posix
@pytest.mark.slow
@RATHER_ALONE
def test_ctrl_c_ends_a_session_that_waits_and_nothing_else(root, flows, start, workers):
    first = start()
    with flows.next():
        second = start(*workers)
        second.wait_for_line("waiting")
        os.killpg(second.process.pid, signal.SIGINT)
        assert second.rest()
        assert second.process.returncode == pytest.ExitCode.INTERRUPTED
        assert record_of(root, "slow").status is Status.RUNNING
    assert first.rest()
    assert first.process.returncode == 0
    assert lines(root) == TWICE


# --- builds, which hold a lock while their flows hold others


def run_build(root: Path, code: str) -> Record:
    write_project(root, {"builds/b.py": code, "flows/x.py": 'open("x.txt", "x").write(str(n))\n'})
    instance = Instance(str(root / "builds/b.py"), "b", "i", {"n": 1}, str(root / "runs/b/i"), str(root))
    return run_instance.run(instance, Settings(html="none", force=True))


@pytest.mark.slow
def test_a_build_and_a_flow_in_one_run_directory_do_not_wait_for_each_other(tmp_path):
    code = """
        from pytest_ductaflow import run_notebook
        run_notebook("flows/x.py", config={"n": n}, execution_dir=".")
        open("b.txt", "x").write("b")
        """
    for _ in range(2):
        record = run_build(tmp_path, code)
        assert record.status is Status.SUCCESS, record.error
    assert (tmp_path / "runs/b/i/x.txt").read_text() == "1"


@pytest.mark.slow
def test_a_build_that_runs_itself_fails_at_once(tmp_path):
    code = """
        from pytest_ductaflow import run_notebook
        run_notebook("builds/b.py", config={"n": n}, execution_dir=".")
        """
    record = run_build(tmp_path, code)
    assert "would be run within itself" in record.error.message


@pytest.mark.slow
def test_the_flows_of_a_build_clear_their_own_and_those_unchanged_are_not_run_again(tmp_path):
    code = """
        from pytest_ductaflow import run_notebook
        for name in "pq":
            run_notebook("flows/x.py", config={"n": n, "name": name}, execution_dir=f"runs/{name}")
        run_notebook("flows/x.py", config={"n": n}, execution_dir="beside")
        open("b.txt", "x").write("b")
        """
    write_project(tmp_path, {"builds/b.py": code, "flows/x.py": 'open("x.txt", "x").write(str(n))\n'})

    def run(n: int, **more: object) -> Record:
        flow, run_dir = str(tmp_path / "builds/b.py"), str(tmp_path / "runs/b/i")
        instance = Instance(flow, "b", "i", {"n": n, **more}, run_dir, str(tmp_path))
        return run_instance.run(instance, Settings(html="none"))

    assert run(1).status is Status.SUCCESS
    assert [flow.unchanged for flow in run(1, other=2).flows] == [True, True, True]
    record = run(2)
    assert record.status is Status.SUCCESS, record.error
    assert [flow.unchanged for flow in record.flows] == [False, False, False]
    assert (tmp_path / "runs/b/i/runs/p/x.txt").read_text() == "2"
    assert (tmp_path / "runs/.earlier/b/i/runs/p/x.txt").read_text() == "1"


@pytest.mark.slow
def test_flows_that_a_build_does_not_run_any_more_leave_no_folder(tmp_path):
    """Code that reads everything in the build's `runs/` finds what a fresh clone has."""
    code = """
        from pytest_ductaflow import run_notebook
        for name in names:
            run_notebook("flows/x.py", config={"n": n}, execution_dir=f"runs/{name}")
        assert not fails
        """
    write_project(tmp_path, {"builds/b.py": code, "flows/x.py": 'open("x.txt", "x").write(str(n))\n'})
    flow, run_dir = str(tmp_path / "builds/b.py"), str(tmp_path / "runs/b/i")
    instance = Instance(flow, "b", "i", {}, run_dir, str(tmp_path))

    def run(names: str, *, fails: bool = False) -> list[str]:
        config = {"n": 1, "names": names, "fails": fails}
        run_instance.run(instance.with_(config=config), Settings(html="none"))
        return sorted(path.name for path in Path(run_dir, "runs").glob("*"))

    assert run("pq") == ["p", "q"]
    assert run("pr", fails=True) == ["p", "q", "r"]
    assert run("p") == ["p"]
    assert (tmp_path / "runs/.earlier/b/i/runs/q/x.txt").exists()
    (tmp_path / "runs/b/i/runs/mine.txt").touch()
    assert run("q") == ["mine.txt", "q"]


# --- the lock alone

HOLD = """
import sys
import threading
from pathlib import Path
from pytest_ductaflow.core.system.instance_lock import held
from pytest_ductaflow.core.run_directory.layout import RunFiles
with held(RunFiles(Path(sys.argv[2]), "x"), sys.argv[1], "x/A", wait=True, say=print):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextlib.contextmanager
def another_process(root: Path, run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that holds the lock until it gets a line."""
    command = [sys.executable, "-c", HOLD, str(root), str(run_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        if process.poll() is None:
            process.communicate("\n", timeout=PATIENCE)


@pytest.mark.parametrize("place", ["runs/x/A", "elsewhere"])
def test_a_lock_is_held_for_one_record_and_free_when_its_process_is_killed(tmp_path, place):
    files = RunFiles(tmp_path / place, "x")
    with another_process(tmp_path, files.directory) as other:
        assert not is_free(files, tmp_path)
        assert is_free(RunFiles(files.directory, "y"), tmp_path)
        text = "^x/A is being run by another process$"
        with (
            pytest.raises(InUse, match=text),
            held(files, tmp_path, "x/A", wait=False, say=print),
        ):
            pass
        other.kill()
        other.wait()
        with held(files, tmp_path, "x/A", wait=False, say=print):
            pass
    assert is_free(files, tmp_path)
    assert not files.directory.exists()


def test_where_a_project_cannot_be_written_to_the_lock_is_in_the_run_directory(tmp_path):
    (tmp_path / "runs").write_text("no folder")
    files = RunFiles(tmp_path / "scratch", "x")
    with held(files, tmp_path, "x/A", wait=False, say=print):
        assert not is_free(files, tmp_path)
    assert listing.contents(files) == {}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_has_a_marker_in_place_of_a_lock(tmp_path, monkeypatch, number):
    def none(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    files = RunFiles(tmp_path / "runs/x/A", "x")
    with held(files, tmp_path, "x/A", wait=False, say=print):
        with pytest.raises(InUse), held(files, tmp_path, "x/A", wait=False, say=print):
            pass
        assert len(list((tmp_path / "runs/.locks").glob("*.held"))) == 1
    with held(files, tmp_path, "x/A", wait=False, say=print):
        pass


def test_who_waits_is_told_once_and_then_knows_that_time_has_passed(tmp_path):
    files, told = RunFiles(tmp_path / "runs/x/A", "x"), []
    owner = Owner("far", 7, 0.0)
    running = Record(
        Status.RUNNING, "flows/x.py", "x", "A", "runs/x/A", "2026-01-01T11:27+00:00", owner=owner
    )
    files.directory.mkdir(parents=True)
    record_files.write_record(files, running)
    with another_process(tmp_path, files.directory) as other:

        def say(line: str) -> None:
            told.append(line)
            other.communicate("\n", timeout=PATIENCE)

        with held(files, tmp_path, "x/A", wait=True, say=say) as has_waited:
            assert has_waited
    assert len(told) == 1
    assert re.fullmatch(r"x/A is being run by process 7 on far since \d\d:\d\d: waiting", told[0])
    with held(files, tmp_path, "x/A", wait=True, say=say) as has_waited:
        assert not has_waited


def test_a_thread_waits_for_another_one_of_its_process(tmp_path):
    files, holds, go, told = RunFiles(tmp_path / "runs/x/A", "x"), threading.Event(), threading.Event(), []
    started = "2026-01-01T11:27+00:00"
    running = Record(Status.RUNNING, "flows/x.py", "x", "A", "runs/x/A", started, owner=this_process())
    files.directory.mkdir(parents=True)
    record_files.write_record(files, running)

    def hold() -> None:
        with held(files, tmp_path, "x/A", wait=False, say=print):
            holds.set()
            go.wait(PATIENCE)

    def say(line: str) -> None:
        told.append(line)
        go.set()

    other = threading.Thread(target=hold)
    other.start()
    assert holds.wait(PATIENCE)
    assert not is_free(files, tmp_path)
    with held(files, tmp_path, "x/A", wait=True, say=say) as has_waited:
        assert has_waited
    other.join(PATIENCE)
    assert len(told) == 1
    assert re.fullmatch(r"x/A is being run by another thread since \d\d:\d\d: waiting", told[0])


def test_a_process_is_known_by_number_and_start():
    me = this_process()
    assert is_alive(me)
    assert not is_alive(Owner(me.host, me.pid, me.started - 100))
    assert is_alive(Owner("another host", me.pid, 0.0))
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        assert not is_alive(Owner(me.host, process.pid, me.started))


@posix
def test_the_kernel_of_a_killed_process_is_waited_for(tmp_path, monkeypatch):
    """It may write for a moment longer; a user's shell in the folder is no kernel."""
    me = this_process()
    dead = Owner(me.host, me.pid, me.started - 100)
    code = "import sys; print('here', flush=True); sys.stdin.readline()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as kernel:
        assert kernel.stdout is not None
        kernel.stdout.readline()
        slept = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            kernel.communicate("\n", timeout=PATIENCE)

        monkeypatch.setattr(instance_lock, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
        instance_lock.wait_for_orphans(me, tmp_path)
        assert slept == []
        instance_lock.wait_for_orphans(dead, tmp_path)
        assert len(slept) == 1
