"""How instances ended, told from process to process."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from pytest_ductaflow.graph.verdicts import Statuses


@pytest.fixture(params=["memory", "file"])
def statuses(request, tmp_path) -> Statuses:
    return Statuses(tmp_path / "statuses" if request.param == "file" else None)


def test_nothing_has_ended_at_first(statuses):
    """Before anything has ended there are no verdicts, and there need not be a file."""
    assert dict(statuses.read()) == {}


def test_what_is_written_is_read(statuses):
    """Each verdict is known by the number of its instance."""
    for number, verdict in enumerate(("ok", "failed", "blocked", "skipped")):
        statuses.write(number, verdict)
    assert dict(statuses.read()) == {0: "ok", 1: "failed", 2: "blocked", 3: "skipped"}


def test_last_word_counts(statuses):
    """A worker that dies after its instance ended well has failed it all the same."""
    statuses.write(7, "ok")
    assert statuses.read()[7] == "ok"
    statuses.write(7, "failed")
    assert statuses.read()[7] == "failed"


def test_processes_hear_of_each_other(tmp_path):
    """What one process writes, another reads, also after it has read before."""
    ours, theirs = Statuses(tmp_path / "statuses"), Statuses(tmp_path / "statuses")
    for number in range(3):
        theirs.write(number, "ok")
        ours.write(number + 10, "blocked")
        assert ours.read() == theirs.read()
    assert sorted(ours.read()) == [0, 1, 2, 10, 11, 12]


def test_line_that_is_not_whole_is_read_when_it_is(tmp_path):
    """A line without its end is left for the next time."""
    file = tmp_path / "statuses"
    statuses = Statuses(file)
    file.write_bytes(b"1 ok\n2 fai")
    assert dict(statuses.read()) == {1: "ok"}
    with file.open("ab") as stream:
        stream.write(b"led\n")
    assert dict(statuses.read()) == {1: "ok", 2: "failed"}


def test_line_that_nobody_understands_is_no_verdict(tmp_path):
    """Garbage says nothing, and does not hide what stands around it."""
    file = tmp_path / "statuses"
    file.write_bytes(b"1 ok\n\xff\xfe\n-2 ok\n3 splendid\n4\n\n5 skipped\n")
    assert dict(Statuses(file).read()) == {1: "ok", 5: "skipped"}


def _write(file: Path, numbers: range) -> None:
    statuses = Statuses(file)
    for number in numbers:
        statuses.write(number, "ok")


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    """Lines of several processes never mix."""
    context = multiprocessing.get_context("spawn")
    ranges = [range(start, start + 500) for start in (0, 10_000, 1_000_000)]
    writers = [context.Process(target=_write, args=(tmp_path / "statuses", numbers)) for numbers in ranges]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    expected = {number: "ok" for numbers in ranges for number in numbers}
    assert dict(Statuses(tmp_path / "statuses").read()) == expected


def test_what_there_is_no_room_for_is_known_here_and_told_with_the_next_line(tmp_path):
    """A full disk takes nothing, or a part of a line; the session goes on."""
    file = tmp_path / "later" / "statuses"
    writer, reader = Statuses(file), Statuses(file)
    writer.write(1, "ok")
    assert writer.read() == {1: "ok"}
    file.parent.mkdir()
    file.write_bytes(b"2 fai")  # torn
    writer.write(3, "failed")
    writer.write(4, "ok")
    assert reader.read() == {1: "ok", 3: "failed", 4: "ok"}
    assert writer.read() == {1: "ok", 3: "failed", 4: "ok"}
