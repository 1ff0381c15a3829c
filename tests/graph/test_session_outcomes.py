"""How instances ended, told from process to process."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from pytest_ductaflow.graph.session_outcomes import SessionOutcomes


@pytest.fixture(params=["memory", "file"])
def outcomes(request, tmp_path) -> SessionOutcomes:
    return SessionOutcomes(tmp_path / "statuses" if request.param == "file" else None)


def test_nothing_has_ended_at_first(outcomes):
    """Before anything has ended there are no outcomes, and there need not be a file."""
    assert dict(outcomes.read()) == {}


def test_what_is_written_is_read(outcomes):
    """Each outcome is known by the number of its instance."""
    for number, outcome in enumerate(("passed", "failed", "blocked", "skipped")):
        outcomes.write(number, outcome)
    assert dict(outcomes.read()) == {0: "passed", 1: "failed", 2: "blocked", 3: "skipped"}


def test_last_word_counts(outcomes):
    """A worker that dies after its instance ended well has failed it all the same."""
    outcomes.write(7, "passed")
    assert outcomes.read()[7] == "passed"
    outcomes.write(7, "failed")
    assert outcomes.read()[7] == "failed"


def test_processes_hear_of_each_other(tmp_path):
    """What one process writes, another reads, also after it has read before."""
    ours, theirs = SessionOutcomes(tmp_path / "statuses"), SessionOutcomes(tmp_path / "statuses")
    for number in range(3):
        theirs.write(number, "passed")
        ours.write(number + 10, "blocked")
        assert ours.read() == theirs.read()
    assert sorted(ours.read()) == [0, 1, 2, 10, 11, 12]


def test_line_that_is_not_whole_is_read_when_it_is(tmp_path):
    """A line without its end is left for the next time."""
    file = tmp_path / "statuses"
    outcomes = SessionOutcomes(file)
    file.write_bytes(b"1 passed\n2 fai")
    assert dict(outcomes.read()) == {1: "passed"}
    with file.open("ab") as stream:
        stream.write(b"led\n")
    assert dict(outcomes.read()) == {1: "passed", 2: "failed"}


def test_line_that_nobody_understands_is_no_verdict(tmp_path):
    """Garbage says nothing, and does not hide what stands around it."""
    file = tmp_path / "statuses"
    file.write_bytes(b"1 passed\n\xff\xfe\n-2 passed\n3 splendid\n4\n\n5 skipped\n")
    assert dict(SessionOutcomes(file).read()) == {1: "passed", 5: "skipped"}


def _write(file: Path, numbers: range) -> None:
    outcomes = SessionOutcomes(file)
    for number in numbers:
        outcomes.write(number, "passed")


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    """Lines of several processes never mix."""
    context = multiprocessing.get_context("spawn")
    ranges = [range(start, start + 500) for start in (0, 10_000, 1_000_000)]
    writers = [context.Process(target=_write, args=(tmp_path / "statuses", numbers)) for numbers in ranges]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    expected = {number: "passed" for numbers in ranges for number in numbers}
    assert dict(SessionOutcomes(tmp_path / "statuses").read()) == expected


def test_what_there_is_no_room_for_is_known_here_and_told_with_the_next_line(tmp_path):
    """A full disk takes nothing, or a part of a line; the session goes on."""
    file = tmp_path / "later" / "statuses"
    writer, reader = SessionOutcomes(file), SessionOutcomes(file)
    writer.write(1, "passed")
    assert writer.read() == {1: "passed"}
    file.parent.mkdir()
    file.write_bytes(b"2 fai")  # torn
    writer.write(3, "failed")
    writer.write(4, "passed")
    assert reader.read() == {1: "passed", 3: "failed", 4: "passed"}
    assert writer.read() == {1: "passed", 3: "failed", 4: "passed"}
