"""`--ductaflow-shard`: sessions that divide the instances among them.

Instances of sessions here name a kernel that is not installed: they fail without starting one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.thorough import one_in
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.graph.dependencies import Graph, make_graph
from pytest_ductaflow.planning.plan import Plan
from pytest_ductaflow.pytest_hooks.sharding import bound_together, divide, division_of, headline
from pytest_ductaflow.report.page import data_of

CONDUCTOR = """\
from ductaflow import run_notebook

for name in ("a", "b", "c"):
    config = {"instance_name": name, "_marks": "rare" if name == "c" else ""}
    run_notebook("flows/first.py", config=config, kernel_name="nosuch")
for name in ("a", "b", "c"):
    config = {"instance_name": name, "first_instance": name, "_marks": "rare" if name == "c" else ""}
    run_notebook("flows/second.py", config=config, kernel_name="nosuch")
"""


def make_instance(name: str, flow: str = "fit", **changes: object) -> Instance:
    made = Instance(f"/p/flows/{flow}.py", flow, name, {}, f"/p/runs/{flow}/{name}", "/p")
    return made.with_(**changes)


def graph_of(upstreams: Sequence[Sequence[int]]) -> Graph:
    return Graph(upstreams=tuple(map(tuple, upstreams)))


def divided(
    upstreams: Sequence[Sequence[int]],
    loads: Sequence[float],
    shards: int,
    chosen: Sequence[int] | None = None,
) -> dict[int, int]:
    numbers = range(len(loads)) if chosen is None else chosen
    links = bound_together(numbers, graph_of(upstreams), [f"/p/runs/{n}/x" for n in range(len(loads))])
    return divide(numbers, links, loads, shards)


def test_the_longest_goes_first_to_the_shard_with_the_least():
    assert divided([[], [], [], []], [10, 6, 5, 4], 2) == {0: 1, 1: 2, 2: 2, 3: 1}


def test_a_group_counts_as_long_as_all_of_it():
    assert divided([[], [0], []], [3, 3, 5], 2) == {0: 1, 1: 1, 2: 2}


def test_instances_that_take_no_time_are_spread_all_the_same():
    assert sorted(divided([[]] * 6, [0.0] * 6, 3).values()) == [1, 1, 2, 2, 3, 3]


def test_an_upstream_that_is_not_chosen_binds_nobody():
    assert len(set(divided([[], [0], [0]], [1, 1, 1], 2, chosen=[1, 2]).values())) == 2
    assert len(set(divided([[], [0], [0]], [1, 1, 1], 2).values())) == 1


def test_upstreams_that_many_share_bind_all_of_these():
    shared = (0, 1)
    graph = Graph(upstreams=((), (), shared, shared, (), shared))
    run_dirs = [f"/p/runs/{n}/x" for n in range(6)]
    assert bound_together(range(6), graph, run_dirs) == {0: 0, 1: 0, 2: 0, 3: 0, 4: 4, 5: 0}
    assert bound_together([2, 3, 5], graph, run_dirs) == {2: 2, 3: 3, 5: 5}


def test_mere_order_binds_nobody():
    graph, problems = make_graph([[make_instance("a", "first"), make_instance("a", "second")]])
    assert not problems
    assert graph.before[1]
    assert bound_together([0, 1], graph, ["/p/runs/first/a", "/p/runs/second/a"]) == {0: 0, 1: 1}


@pytest.mark.parametrize("other", ["/p/runs/fit/a", "/p/runs/fit/a/b/c"])
def test_instances_that_share_a_run_directory_go_together(other):
    run_dirs = ["/p/runs/fit/ab", "/p/runs/fit/a", other]
    assert bound_together([0, 1, 2], graph_of([[], [], []]), run_dirs) == {0: 0, 1: 1, 2: 1}


@st.composite
def works(draw: st.DrawFn) -> tuple[list[list[int]], list[float]]:
    count = draw(st.integers(1, 12))
    upstreams = [draw(st.lists(st.integers(0, n - 1), max_size=2)) if n else [] for n in range(count)]
    return upstreams, draw(st.lists(st.floats(0, 100), min_size=count, max_size=count))


@given(works(), st.integers(1, 5), st.randoms())
def test_every_instance_has_one_shard_that_of_its_upstreams_however_the_chosen_are_listed(
    work, shards, random
):
    upstreams, loads = work
    division = divided(upstreams, loads, shards)
    assert set(division) == set(range(len(loads)))
    assert set(division.values()) <= set(range(1, shards + 1))
    assert all(division[up] == division[number] for number, ups in enumerate(upstreams) for up in ups)
    shuffled = list(range(len(loads)))
    random.shuffle(shuffled)
    assert divided(upstreams, loads, shards, shuffled) == division


def plan_of(durations: Mapping[int, float]) -> Plan:
    instances = [make_instance(str(number)) for number in range(4)]
    return Plan({Path("/p/conductor.py"): instances}, graph_of([[]] * 4), dict(durations))


@pytest.mark.parametrize(
    ("durations", "said"),
    [
        ({}, "ductaflow: shard 1/2: 2 of 4 instances"),
        ({0: 40, 1: 20}, "ductaflow: shard 1/2: 2 of 4 instances, about 60 s of 120 s"),
        ({0: 0.4}, "ductaflow: shard 1/2: 2 of 4 instances, about 0.8 s of 1.6 s"),
    ],
)
def test_the_headline_tells_the_part_of_this_session(durations, said):
    plan = plan_of(durations)
    assert headline(plan, division_of(plan, range(4), 2), 1, 2) == said


@pytest.fixture
def project(pytester, monkeypatch):
    for name in ("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_ADDOPTS", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    write_project(pytester.path, {"flows/first.py": "", "flows/second.py": "", "conductor.py": CONDUCTOR})
    return pytester


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("--ductaflow", "conductor.py", *args)


def collected(pytester: pytest.Pytester, *args: str) -> list[str]:
    result = run(pytester, "--collect-only", "-q", *args)
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    return [line.removeprefix("conductor.py::") for line in result.outlines if "::" in line]


def rows_of(pytester: pytest.Pytester) -> dict[str, dict]:
    page = (pytester.path / "runs/conductor_status_report.html").read_text(encoding="utf-8")
    data = data_of(page)
    return {"": data} | {row["id"].removeprefix("conductor.py::"): row for row in data["rows"]}


def test_sessions_divide_the_instances_and_keep_chains_whole(project):
    parts = [collected(project, "--ductaflow-shard", f"{part}/2") for part in (1, 2)]
    assert parts == [["first::a", "first::c", "second::a", "second::c"], ["first::b", "second::b"]]


@pytest.mark.parametrize("narrowed", [("-m", "not rare"), ("--ductaflow-where", "instance != 'c'")])
def test_what_is_left_out_anyway_is_no_work(project, narrowed):
    parts = [collected(project, "--ductaflow-shard", f"{part}/2", *narrowed) for part in (1, 2)]
    assert parts == [["first::a", "second::a"], ["first::b", "second::b"]]


def test_recorded_durations_decide(project):
    run(project)
    for record in (project.path / "runs").rglob("*_record.json"):
        data = json.loads(record.read_text(encoding="utf-8"))
        data["duration"] = 100 if record.parent.name == "b" else 10
        record.write_text(json.dumps(data), encoding="utf-8")
    assert collected(project, "--ductaflow-shard", "1/2") == ["first::b", "second::b"]


@pytest.mark.parametrize("text", ["3/2", "0/2", "2", "x/y"])
def test_a_wrong_shard_is_a_usage_error(project, text):
    result = run(project, "--ductaflow-shard", text)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: ductaflow_shard: '{text}': expected a part*"])


def test_a_shard_runs_its_part_and_leaves_the_rest(project):
    """The upstreams of what it runs are included: nothing requires what was deselected."""
    result = run(project, "--ductaflow-shard=2/2")
    result.assert_outcomes(failed=1, skipped=1, deselected=4)
    result.stdout.fnmatch_lines(["ductaflow: shard 2/2: 2 of 6 instances", "BLOCKED *second::b - upstream*"])
    rows = rows_of(project)
    assert (rows[""]["shard"], rows[""]["exit_code"]) == ("2/2", 1)
    assert {name for name, row in rows.items() if name and not row["earlier"]} == {"first::b", "second::b"}
    assert [rows[f"first::{name}"]["shard"] for name in "abc"] == [1, 2, 1]


@pytest.mark.thorough
@pytest.mark.slow
def test_a_shard_is_the_same_with_workers(project):
    result = project.runpytest_subprocess("--ductaflow", "conductor.py", "-n2", "--ductaflow-shard=1/2")
    result.assert_outcomes(failed=2, skipped=2)
    result.stdout.fnmatch_lines(["ductaflow: shard 1/2: 4 of 6 instances"])
    rows = rows_of(project)
    ran = {name for name, row in rows.items() if name and not row["earlier"]}
    assert ran == {"first::a", "first::c", "second::a", "second::c"}
    assert [rows[f"second::{name}"]["shard"] for name in "abc"] == [1, 2, 1]


@pytest.mark.parametrize("workers", one_in(2, [("-n2",), ()]), ids=["with workers", "alone"])
def test_a_shard_for_which_nothing_is_left_is_no_failure(project, workers):
    result = project.runpytest_subprocess("--ductaflow", "conductor.py", "--ductaflow-shard=4/4", *workers)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["ductaflow: shard 4/4 has nothing to do: *"])
    assert (rows_of(project)[""]["exit_code"], rows_of(project)[""]["outcome"]) == (0, "finished")


def test_a_session_that_leaves_everything_out_by_itself_ends_as_ever(project):
    result = run(project, "--ductaflow-shard=1/2", "-k", "nosuch")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.no_fnmatch_line("*has nothing to do*")


def test_an_argument_that_names_nothing_is_told_as_ever(project):
    result = project.runpytest_inprocess("--ductaflow", "conductor.py::nosuch", "--ductaflow-shard=1/2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: not found: *nosuch"])


def test_ordinary_tests_run_in_every_shard(project):
    write_project(project.path, {"test_plain.py": "def test_plain(): pass\n"})
    result = run(project, "test_plain.py", "--ductaflow-shard=4/4")
    result.assert_outcomes(passed=1, deselected=6)
