"""Failures at one place: one is shown, and the others are named with it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from _pytest._io import TerminalWriter

from pytest_ductaflow.core.record import OUTPUTS_DIFFER, Difference, Failure, Record, Status
from pytest_ductaflow.pytest_hooks.outcomes import FailureRepr, failure_repr
from pytest_ductaflow.pytest_hooks.similar_failures import AlikeFailures
from pytest_ductaflow.report.failure_text import message_of, place_of

TRACEBACK = "flows/x.py:12 in cell [3]\n----> 2 boom()\n\nFile lib.py:{}, in boom()\n----> 3 raise"


def a_record(name: str = "A", message: str = "no", *, line: int = 12, deep: int = 3, **more) -> Record:
    failure = Failure("ValueError", message, 3, "a = 1\nboom()\nb = 2", 2, line, TRACEBACK.format(deep))
    values = {"status": Status.ERROR, "run_dir": f"runs/s/{name}", "error": failure, **more}
    return Record(flow="flows/x.py", step="s", instance=name, **values)


def shown(records: list[Record], *, verbosity: int = 0, style: str = "auto") -> str:
    """Return what the terminal shows of failures, as pytest writes it."""
    alike = AlikeFailures(verbosity)
    reprs: list[FailureRepr] = []
    for record in records:
        made = failure_repr(record, Path("/p"), Path("/p"), f"repeat {record.instance}", style)
        if not alike.merge_into_earlier(place_of(record), record.instance, message_of(record), made):
            reprs.append(made)
    text = io.StringIO()
    writer = TerminalWriter(text)
    for made in reprs:
        made.toterminal(writer)
        if style == "line":
            writer.line(str(made.reprcrash))
    return text.getvalue()


def test_equal_failures_are_shown_once_with_the_first_names():
    text = shown([a_record(f"r{number}") for number in range(300)])
    assert len(text.splitlines()) < 20
    assert "repeat:        repeat r0" in text
    assert text.splitlines()[-1] == (
        "299 more at the same place with the same error: r1, r2, r3, r4, r5 and 294 more "
        "(-v names all, -vv shows all)"
    )


def test_one_failure_alone_says_nothing_of_others():
    assert "same place" not in shown([a_record()])


def test_verbose_names_all_and_more_verbose_shows_all():
    records = [a_record(f"r{number}") for number in range(9)]
    assert shown(records, verbosity=1).splitlines()[-1].endswith("error: r1, r2, r3, r4, r5, r6, r7, r8")
    assert shown(records, verbosity=2).count("x failed in cell [3]") == 9


def test_messages_that_differ_are_told_with_the_names():
    text = shown([a_record(f"r{number}", f"{number} is too much\nreally") for number in range(8)])
    assert text.splitlines()[-7:] == [
        "7 more at the same place with the same kind of error:",
        *(f"  r{number}: ValueError: {number} is too much" for number in range(1, 6)),
        "  and 2 more (-v names all, -vv shows all)",
    ]


@pytest.mark.parametrize(
    "other",
    [
        a_record("B", line=13),
        a_record("B", deep=4),
        a_record("B", error=Failure("KeyError", "no", 3, file_line=12)),
        a_record("B", error=None),
    ],
    ids=["another line of the flow", "another line of a module", "another error", "a warning"],
)
def test_what_failed_elsewhere_or_otherwise_is_shown_by_itself(other):
    assert "same place" not in shown([a_record(), other])


def test_a_build_is_like_another_only_if_its_flows_failed_alike():
    def build(name: str, inner: Record) -> Record:
        return a_record(name, error=Failure("FlowFailed", "x failed", 1, file_line=7), flows=(inner,))

    assert "1 more at the same place" in shown([build("a", a_record()), build("b", a_record())])
    assert "same place" not in shown([build("a", a_record()), build("b", a_record(line=13))])


def test_stored_instances_that_differ_are_shown_each():
    failure = Failure(OUTPUTS_DIFFER, "a.csv: 1 of 2 values differs")
    differs = {"error": failure, "differences": (Difference("a.csv", "1 of 2 values differs"),)}
    assert "same place" not in shown([a_record(**differs), a_record("B", **differs)])


def test_tb_short_leaves_out_code_traceback_and_places():
    assert shown([a_record()], style="short").splitlines() == [
        "x failed in cell [3], flows/x.py:12",
        "> 12  boom()",
        "E   ValueError: no",
        "repeat: repeat A",
    ]


def test_tb_line_is_one_line_with_the_others_below_it():
    assert shown([a_record(), a_record("B")], style="line").splitlines() == [
        "/p/flows/x.py:12: ValueError: no",
        "1 more at the same place with the same error: B",
    ]


@pytest.mark.parametrize("style", ["auto", "short", "line"])
def test_files_have_all_of_a_failure_whatever_the_terminal_shows(style):
    text = str(failure_repr(a_record(), Path("/p"), Path("/p"), "again", style))
    assert "run directory: runs/s/A" in text
    assert "File lib.py:3, in boom()" in text
