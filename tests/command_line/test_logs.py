"""`logs`: what a run has printed, also while it runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import COMMAND, ductaflow, make_run, write_sample
from helpers.sessions import own_environment

from pytest_ductaflow.core.record import Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import write_record
from pytest_ductaflow.core.system.instance_lock import this_process


@pytest.fixture(scope="module", name="root")
def fixture_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("logs"))


def test_a_log_is_printed_as_it_is(root: Path) -> None:
    assert ductaflow(root, "logs", "clean/A").out == "reading\n10 people\n"
    assert ductaflow(root, "logs", "clean/A", "-f").out == "reading\n10 people\n"  # it has ended


def test_lines_can_be_chosen(root: Path) -> None:
    assert ductaflow(root, "logs", "clean/A", "--grep", r"\d+ peo").out == "10 people\n"
    done = ductaflow(root, "logs", "clean/A", "--grep", "(")
    assert done.code == 2
    assert done.err.startswith("Error: --grep '(' is no regular expression: ")


def test_a_long_log_is_printed_in_few_writes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"line {number}\n" for number in range(100_000)) + "no end"
    make_run(root, "long/x", "flows/clean.py", log=text)
    written: list[str] = []
    monkeypatch.setattr("click.echo", lambda text, nl: written.append(text))
    ductaflow(root, "logs", "long/x")
    assert "".join(written) == f"{text}\n"
    assert len(written) < 1_000
    written.clear()
    ductaflow(root, "logs", "long/x", "--grep", "99")
    chosen = [line for line in text.splitlines() if "99" in line]
    assert "".join(written).splitlines() == chosen


def test_an_instance_that_has_not_run_has_no_log(root: Path) -> None:
    done = ductaflow(root, "logs", "fit/C")
    assert (done.code, done.out) == (2, "")
    assert "has printed nothing yet" in done.err


def test_a_log_is_followed_until_the_instance_ends(root: Path) -> None:
    """Characters of several bytes, and a last line without an end, arrive whole."""
    running = make_run(
        root, "live/x", "flows/clean.py", log="one\n", status=Status.RUNNING, owner=this_process()
    )
    files = RunFiles(root / "runs/live/x", "clean")
    process = subprocess.Popen(
        [str(COMMAND), "logs", "live/x", "-f"],
        cwd=root,
        env=own_environment(PYTHONIOENCODING="utf-8", PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "one\n"
    with open(files.log, "ab", buffering=0) as log:
        log.write(b"t\xc3")
        log.write(b"\xbcr\n")
        assert process.stdout.readline() == "tür\n"
        log.write(b"last")
        write_record(files, running.with_(status=Status.SUCCESS, owner=None))
    rest, _ = process.communicate(timeout=60)
    assert (rest, process.returncode) == ("last\n", 0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it pauses")
def test_a_watch_returns_when_a_file_is_written(tmp_path: Path) -> None:
    import threading
    import time

    from pytest_ductaflow.command_line.shared.file_events import FolderWatch

    with FolderWatch(tmp_path) as watch:
        threading.Timer(0.05, (tmp_path / "log").write_text, ["x"]).start()
        began = time.monotonic()
        watch.wait(60)
        assert time.monotonic() - began < 30
