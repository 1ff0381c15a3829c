"""What the end of a session, and the line of a build, show of instances."""

from __future__ import annotations

import io

import pytest
from _pytest._io import TerminalWriter

from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.report.terminal_summary import Summary, show_flows


def flow(name: str, run_dir: str) -> Record:
    return Record(
        status=Status.SUCCESS, flow=f"flows/{name}.py", step="s", instance="i", run_dir=run_dir, duration=1.0
    )


def test_flows_of_a_build_with_one_name_are_told_apart_by_their_folders():
    text = io.StringIO()
    runs = [
        flow("growth", "runs/b/runs/soon"),
        flow("growth", "runs/b/runs/later"),
        flow("map", "runs/b/runs/map"),
    ]
    show_flows(TerminalWriter(text), runs)
    names = [line.strip() for line in text.getvalue().splitlines() if line]
    assert names == ["* growth soon 1.0 s", "* growth later 1.0 s", "* map 1.0 s"]


@pytest.mark.parametrize(
    ("ids", "said"),
    [(["a"], "a"), (["a", "b"], "a and b"), (list("abcdefg"), "a, b, c, d, e and 2 more")],
)
def test_what_one_failure_blocks_is_one_line(ids, said):
    text, summary = io.StringIO(), Summary()
    for node_id in ids:
        summary.blocked(node_id, "upstream s/x failed")
    summary.blocked("z", "upstream s/y failed")
    summary.show(TerminalWriter(text))
    lines = [f"BLOCKED {said} - upstream s/x failed", "BLOCKED z - upstream s/y failed"]
    assert text.getvalue().splitlines() == lines
