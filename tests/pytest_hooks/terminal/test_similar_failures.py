"""Failures of one cause: they are counted, one is shown, and the others are named with it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from _pytest._io import TerminalWriter

from pytest_ductaflow.core.record import OUTPUTS_DIFFER, Difference, Failure, Record, Status
from pytest_ductaflow.pytest_hooks.outcomes import FailureRepr, failure_repr
from pytest_ductaflow.pytest_hooks.terminal.similar_failures import FailedInstance, SimilarFailures

TIMES = "\N{MULTIPLICATION SIGN}"
TRACEBACK = "flows/x.py:12 in cell [3]\n----> 2 boom()\n\nFile lib.py:{}, in boom()\n----> 3 raise"


def a_record(name: str = "A", message: str = "no", *, line: int = 12, deep: int = 3, **more) -> Record:
    failure = Failure("ValueError", message, 3, "a = 1\nboom()\nb = 2", 2, line, TRACEBACK.format(deep))
    values = {"status": Status.ERROR, "run_dir": f"runs/s/{name}", "error": failure, **more}
    return Record(flow="flows/x.py", step="s", instance=name, **values)


def failed(record: Record) -> FailedInstance:
    return FailedInstance.of(record, Path("/p"), Path("/p"))


def shown(records: list[Record], *, verbosity: int = 0, style: str = "auto", width: int = 80) -> str:
    """Return what the terminal shows of failures, as pytest writes it."""
    alike = SimilarFailures(verbosity, style)
    reprs: list[FailureRepr] = []
    for record in records:
        made = failure_repr(record, Path("/p"), Path("/p"), f"repeat {record.instance}", style)
        if not alike.merge_into_earlier(failed(record), made):
            reprs.append(made)
    text = io.StringIO()
    writer = TerminalWriter(text)
    writer.fullwidth = width
    for made in reprs:
        made.toterminal(writer)
        if style == "line":
            writer.line(str(made.reprcrash))
    return text.getvalue()


def counted(records: list[Record], width: int = 200) -> list[str]:
    alike = SimilarFailures(0)
    for record in records:
        alike.merge_into_earlier(failed(record))
    return alike.headline(width)


def test_failures_of_one_cause_are_shown_once_and_the_others_in_a_line_each():
    text = shown([a_record(f"r{number}", f"no zones in {2000 + number}") for number in range(300)])
    assert len(text.splitlines()) < 40
    assert "repeat:        repeat r0" in text
    lines = text.splitlines()
    head = lines.index("299 more of this cause (each in full: -v; one: ductaflow show runs/s/r1)")
    assert lines[head + 1] == "  s/r1: ValueError: no zones in 2001"
    assert lines[-1] == "  and 279 more"


def test_one_failure_alone_says_nothing_of_others():
    assert "cause" not in shown([a_record()])
    assert counted([a_record()]) == []


def test_verbose_shows_all_in_full():
    records = [a_record(f"r{number}") for number in range(9)]
    assert shown(records, verbosity=1).count("x failed in cell [3]") == 9
    assert "cause" not in shown(records, verbosity=1)


def test_a_line_is_no_wider_than_the_terminal():
    text = shown([a_record("a", 90 * "long "), a_record("b", 90 * "long ")], width=40)
    assert len(text.splitlines()[-1]) == 40


@pytest.mark.parametrize(
    "other",
    [
        a_record("B", line=13),
        a_record("B", deep=4),
        a_record("B", "yes"),
        a_record("B", error=Failure("KeyError", "no", 3, file_line=12)),
        a_record("B", error=None),
    ],
    ids=["another line of the flow", "another line of a module", "other words", "another error", "a warning"],
)
def test_what_failed_elsewhere_or_otherwise_is_shown_by_itself(other):
    assert "cause" not in shown([a_record(), other])


def test_messages_that_are_all_different_are_one_cause_in_the_end():
    words = ["rail", "road", "foot", "ship", "bus", "tram", "taxi", "lift", "boat"]
    records = [a_record(f"r{number}", f"'{word}'") for number, word in enumerate(words)]
    text = shown(records)
    assert text.count("x failed in cell [3]") == 6
    assert "3 more of this cause" in text
    lines = counted(records)
    assert lines[:2] == ["9 failed:", f"  4 {TIMES} ValueError in x cell 3 (various messages)"]
    assert f"  1 {TIMES} ValueError in x cell 3 (ValueError: 'bus')" in lines


def test_the_headline_counts_causes():
    zones = [a_record(f"r{n}", f"no zones in {n} of /data/{n}.csv") for n in range(29)]
    other = [a_record(f"k{n}", error=Failure("KeyError", "'x'", 4, file_line=20)) for n in range(2)]
    assert counted([*other, *zones]) == [
        f"31 failed: 29 {TIMES} ValueError in x cell 3, 2 {TIMES} KeyError in x cell 4"
    ]
    assert counted([*other, *zones], width=40) == [
        "31 failed:",
        f"  29 {TIMES} ValueError in x cell 3",
        f"   2 {TIMES} KeyError in x cell 4",
    ]


def test_causes_that_are_called_alike_are_told_apart():
    kind, message = "ValueError in x cell 3", "ValueError: no zones in …"
    records = [a_record(f"r{n}", "no zones in 3") for n in range(3)]
    assert counted([*records, a_record("t", "no trips"), a_record("u", "no trips")]) == [
        f"5 failed: 3 {TIMES} {kind} (ValueError: no zones in …), 2 {TIMES} {kind} (ValueError: no trips)"
    ]
    elsewhere = a_record("v", "no zones in 4", line=14)
    assert counted([*records, elsewhere]) == [
        f"4 failed: 3 {TIMES} {kind} line 12 ({message}), 1 {TIMES} {kind} line 14 ({message})"
    ]


def test_only_the_most_frequent_causes_are_named():
    records = [a_record(f"r{line}_{n}", line=line) for line in range(12, 22) for n in range(22 - line)]
    lines = counted(records, width=20)
    assert lines[0] == "55 failed:"
    assert len(lines) == 8
    assert lines[-1] == "  10 of 4 other causes"


def test_a_build_is_like_another_only_if_its_flows_failed_alike():
    def build(name: str, inner: Record) -> Record:
        return a_record(name, error=Failure("FlowFailed", "x failed", 1, file_line=7), flows=(inner,))

    assert "1 more of this cause" in shown([build("a", a_record()), build("b", a_record())])
    assert "cause" not in shown([build("a", a_record()), build("b", a_record(line=13))])


def test_stored_instances_that_differ_are_shown_each():
    failure = Failure(OUTPUTS_DIFFER, "a.csv: 1 of 2 values differs")
    differs = {"error": failure, "differences": (Difference("a.csv", "1 of 2 values differs"),)}
    assert "cause" not in shown([a_record(**differs), a_record("B", **differs)])
    assert counted([a_record(**differs), a_record("B", **differs)]) == [
        f"2 failed: 2 {TIMES} x with other outputs than stored"
    ]


def test_tb_short_leaves_out_code_traceback_and_places():
    assert shown([a_record()], style="short").splitlines() == [
        "x failed in cell [3], flows/x.py:12",
        "> 12  boom()",
        "E   ValueError: no",
        "repeat: repeat A",
    ]


def test_tb_line_is_a_line_for_each():
    lines = ["/p/flows/x.py:12: ValueError: no"]
    assert shown([a_record(), a_record("B")], style="line").splitlines() == 2 * lines


@pytest.mark.parametrize("style", ["auto", "short", "line"])
def test_files_have_all_of_a_failure_whatever_the_terminal_shows(style):
    text = str(failure_repr(a_record(), Path("/p"), Path("/p"), "again", style))
    assert "run directory: runs/s/A" in text
    assert "File lib.py:3, in boom()" in text
