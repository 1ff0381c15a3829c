"""Attempts in other processes: those that were given up end and write nothing, those that ended count."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
from helpers.projects import write_project
from helpers.sessions import wait_for

from pytest_ductaflow.core.instance import Instance, Neighbours
from pytest_ductaflow.core.record import Status
from pytest_ductaflow.core.run_directory.record_files import read_record
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.running.engines import attempt
from pytest_ductaflow.running.engines.attempt import MOST_LOST, forget, give_up, lost_workers, read_attempt
from pytest_ductaflow.running.engines.elsewhere import Elsewhere, prepared
from pytest_ductaflow.running.engines.protocol import Ended, Work

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="processes are frozen by signals"),
]

# The first one waits until it may go on; each says which one it is.
FLOW = """\
    import os, time
    from pathlib import Path
    root = Path(config["_project_root"])
    first = not (root / "begun").exists()
    (root / "begun").touch()
    Path("out.txt").write_text("first" if first else "second")
    while first and not (root / "go on").exists():
        time.sleep(0.02)
    try:
        Path("late.txt").write_text("first" if first else "second")
    except FileNotFoundError:
        pass  # its folder is gone
    (root / ("first ended" if first else "second ended")).touch()
    """


@pytest.fixture
def run(tmp_path: Path) -> Elsewhere:
    root = write_project(tmp_path / "project", {"flows/a.py": FLOW})
    run_dir = root / "runs/a/one"
    instance = Instance(str(root / "flows/a.py"), "a", "one", {}, str(run_dir), str(root))
    found = prepared(instance, Settings(html="none"), Neighbours(), print)
    assert isinstance(found, Elsewhere)
    return found


def work_of(run: Elsewhere) -> Work:
    return run.work(0, Neighbours().made_beside, priority=1.0, cores=1, memory=None, resources={})


def marker_of(run: Elsewhere) -> Path:
    return attempt._marker(run.task)


def test_attempt_that_has_ended_is_not_repeated_for_the_same_work(run: Elsewhere) -> None:
    (Path(run.task.instance.project_root) / "go on").touch()
    work = work_of(run)
    outcome = work.run("one")
    assert outcome.record is not None
    assert outcome.record.worker == "one"
    again = work.run("two")
    assert again == outcome
    record = run.completed(Ended(0, again), None)
    assert read_record(run.task.files.record)[0] == record
    assert record.status is Status.SUCCESS
    assert read_attempt(marker_of(run)) is None


def test_work_that_the_session_has_finished_with_is_not_begun(run: Elsewhere) -> None:
    """An engine that has lost a worker with a result runs it again, though the session has that result."""
    root = Path(run.task.instance.project_root)
    (root / "go on").touch()
    work = work_of(run)
    record = run.completed(Ended(0, work.run("one")), None)
    with pytest.raises(RuntimeError, match="nobody waits for it any more"):
        work.run("two")
    assert not (root / "second ended").exists()
    assert read_record(run.task.files.record)[0] == record
    assert not list((root / "runs/.locks").glob("*.attempt"))


def test_work_that_the_session_gives_up_while_it_begins_is_not_begun(
    run: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(run.task.instance.project_root)
    work, write = work_of(run), attempt._write

    def write_late(mine: attempt.Attempt, marker: Path) -> None:
        forget(run.task)
        write(mine, marker)

    monkeypatch.setattr(attempt, "_write", write_late)
    with pytest.raises(RuntimeError, match="nobody waits for it any more"):
        work.run("one")
    assert not (root / "begun").exists()
    assert read_attempt(marker_of(run)) is None


def test_instance_that_takes_down_one_worker_after_the_other_is_given_up(run: Elsewhere) -> None:
    """Each lost attempt leaves its token, which the next one finds."""
    work = work_of(run)
    marker = marker_of(run)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for number in range(MOST_LOST):
        before = read_attempt(marker)
        lost = before.lost_with_it if before is not None else ()
        owner = replace(attempt.this_process(), pid=dead.pid)
        marker.parent.mkdir(parents=True, exist_ok=True)
        attempt._write(attempt.Attempt(work.token, f"{number}", f"w{number}", owner, lost), marker)
    lost = lost_workers(run.task, work.token)
    assert [each.partition(" on ")[0] for each in lost] == ["w0", "w1", "w2"]
    outcome = work.run("w3")
    record = run.completed(Ended(0, outcome), None)
    assert record.error is not None
    assert record.error.message == f"killed {MOST_LOST} workers (memory?): {', '.join(lost)}"
    assert record.failed_attempts[0] == f"WorkerLost: {lost[0]}"
    assert not (Path(run.task.instance.project_root) / "begun").exists()


def test_attempt_that_was_given_up_ends_at_once_and_writes_nothing_more(run: Elsewhere) -> None:
    work, errors = work_of(run), []

    def first() -> None:
        with contextlib.suppress(RuntimeError):
            work.run("first")
            errors.append("it has ended as if nothing had happened")

    thread = threading.Thread(target=first)
    thread.start()
    out = run.task.files.directory / "out.txt"
    wait_for(lambda: out.exists() or None, "the first attempt")
    outcome = work.run("second")
    thread.join()
    assert errors == []
    assert outcome.record is not None
    assert outcome.record.status is Status.SUCCESS
    assert [each.partition(" on ")[0] for each in outcome.lost] == ["first"]
    assert (out.read_text(), out.with_name("late.txt").read_text()) == ("second", "second")
    assert not list(marker_of(run).parent.glob("*.ended"))


@pytest.mark.skipif(sys.platform != "linux", reason="a kernel that outlives a frozen worker needs forks")
def test_frozen_worker_that_comes_back_cannot_overwrite(
    run: Elsewhere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernel goes on while another attempt ends, in a folder that nobody reads any more."""
    root = Path(run.task.instance.project_root)
    work = work_of(run)
    pickled = tmp_path / "work"
    pickled.write_bytes(pickle.dumps(work))
    code = dedent(f"""\
        import pickle
        pickle.load(open({str(pickled)!r}, "rb")).run("frozen")
        """)
    frozen = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: (root / "begun").exists() or None, "the first attempt")
        os.kill(frozen.pid, signal.SIGSTOP)
        monkeypatch.setattr(attempt, "_PATIENCE", 0.1)
        outcome = work.run("second")
        assert outcome.record is not None
        assert {"out.txt", "late.txt"} <= outcome.record.outputs.keys()
        record = run.completed(Ended(0, outcome), None)
        assert record.attempts == 2
        (root / "go on").touch()
        wait_for(lambda: (root / "first ended").exists() or None, "the kernel of the frozen worker")
        os.kill(frozen.pid, signal.SIGCONT)
        assert "this attempt was given up" in frozen.communicate(timeout=60)[1]
    finally:
        frozen.kill()
        frozen.wait()
    assert (run.task.files.directory / "late.txt").read_text() == "second"
    assert read_record(run.task.files.record)[0] == record


def test_work_that_nobody_wants_any_more_is_stopped(run: Elsewhere) -> None:
    work, wanted = work_of(run), threading.Event()
    wanted.set()
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(work.run("one", wanted.is_set)))
    thread.start()
    wait_for(lambda: (run.task.files.directory / "out.txt").exists() or None, "the flow")
    wanted.clear()
    thread.join(60)
    assert [outcome.interrupted for outcome in outcomes] == [True]
    with pytest.raises(KeyboardInterrupt):
        run.completed(Ended(0, outcomes[0]), None, "stopped, as a test wants it")
    record, _ = read_record(run.task.files.record)
    assert record is not None
    assert record.error is not None
    assert record.error.message == "stopped, as a test wants it"


def test_work_in_the_main_thread_of_a_process_is_stopped_as_well(run: Elsewhere, tmp_path: Path) -> None:
    pickled, stop = tmp_path / "work", tmp_path / "stop"
    pickled.write_bytes(pickle.dumps(work_of(run)))
    code = dedent(f"""\
        import pickle
        from pathlib import Path
        work = pickle.load(open({str(pickled)!r}, "rb"))
        print(work.run("one", lambda: not Path({str(stop)!r}).exists()).interrupted)
        """)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (run.task.files.directory / "out.txt").exists() or None, "the flow")
        stop.touch()
        assert process.communicate(timeout=60)[0] == "True\n"


def test_work_of_a_session_that_is_lost_is_given_up_from_outside(run: Elsewhere) -> None:
    work = work_of(run)
    errors: list[str] = []

    def attempted() -> None:
        try:
            work.run("one")
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=attempted)
    thread.start()
    wait_for(lambda: (run.task.files.directory / "out.txt").exists() or None, "the flow")
    run.abandon("the engine is lost")
    give_up(run.task)
    thread.join(60)
    assert errors == ["a/one: this attempt was given up, another one has taken its place"]
    data = json.loads(run.task.files.record.read_text())
    assert data["error"]["message"] == "the engine is lost"
    forget(run.task)
