"""The graph as part of a session's plan, and what earlier runs add to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.projects import write_project

from pytest_ductaflow.core.errors import PlanError
from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory import record_files
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.graph.dependencies import Graph, make_graph
from pytest_ductaflow.planning import reserved_columns
from pytest_ductaflow.planning.discovery import Source
from pytest_ductaflow.planning.history.earlier_runs import EarlierRuns, earlier_runs
from pytest_ductaflow.planning.make_plan import make_plan
from pytest_ductaflow.planning.plan import Plan

FLOWS = {"flows/etl.py": "", "flows/model.py": ""}


def ran(instance: Instance, **more) -> None:
    """Write the record of an earlier run."""
    files = RunFiles.of(instance)
    files.directory.mkdir(parents=True, exist_ok=True)
    values = {"status": Status.SUCCESS, "duration": 2.5, **more}
    record_files.write_record(
        files, Record(flow="flows/x.py", step="s", instance="A", run_dir="runs/s/A", **values)
    )


def an_instance(root: Path, label: str) -> Instance:
    step, _, name = label.partition("/")
    return Instance(
        flow=f"{root}/flows/{step}.py",
        step=step,
        name=name,
        config={},
        run_dir=f"{root}/runs/{label}",
        project_root=str(root),
    )


def planned(root: Path, table: str, **more: str) -> Plan:
    write_project(root, {**FLOWS, "table.csv": table, **more})
    sources = [Source(root / name, "table", root) for name in ("table.csv", *more)]
    return make_plan(sources, Settings())


def test_a_plan_without_instances_has_an_empty_graph():
    plan = Plan({})
    assert plan.graph == Graph()
    assert Plan.loads(plan.dumps()) == plan


def test_more_cores_than_there_are_are_told_once(tmp_path, monkeypatch):
    monkeypatch.setattr(reserved_columns, "usable_cores", lambda: 2)
    rows = "flow,instance_name,_cores\netl,A,3\netl,B,4\netl,C,2\n"
    plan = planned(tmp_path, rows, **{"more.csv": "flow,instance_name,_cores\nmodel,A,3\n"})
    assert plan.notes == (
        "_cores is up to 4 (table.csv, more.csv), and this machine has 2 cores: such instances get all",
    )
    assert planned(tmp_path, "flow,instance_name,_cores\netl,A,2\netl,B,\n").notes == ()


def test_a_plan_travels_with_graph_and_durations(tmp_path):
    instances = [an_instance(tmp_path, label) for label in ("etl/A", "etl/B", "model/A")]
    graph, _ = make_graph([instances], {2: ["etl/A"]})
    plan = Plan(
        {tmp_path / "c.py": instances[:2], tmp_path / "d.csv": instances[2:]}, graph, {0: 1.5, 2: 0.25}
    )
    assert Plan.loads(plan.dumps()) == plan


def test_a_table_makes_a_plan_with_its_graph(tmp_path):
    plan = planned(
        tmp_path,
        "instance_name,flow,table,_after\nA,etl,,\nB,etl,,\nM,model,runs/etl/A/t.csv,\nN,model,,\nO,model,,etl/B\n",
    )
    assert plan.graph.labels == ("etl/A", "etl/B", "model/M", "model/N", "model/O")
    assert plan.graph.upstreams == ((), (), (0,), (), (1,))
    assert plan.graph.order([2, 1, 0]) == [0, 2, 1]  # N and B share a table: neither waits for the other
    assert plan.graph.order([4, 0, 1]) == [1, 4, 0]
    assert plan.durations == {}


def test_all_that_is_wrong_with_the_order_is_told_at_once(tmp_path):
    with pytest.raises(PlanError) as caught:
        planned(
            tmp_path,
            "instance_name,flow,_after\nA,etl,model/A\nA,model,etl/A\nB,model,elt/A\nC,model,model\n",
            **{"more.csv": "instance_name,flow\nA,etl\n"},
        )
    collision, unknown, itself, circle = str(caught.value).splitlines()
    assert "has the same run directory as" in collision
    assert unknown.startswith("table.csv, row 3: _after: there is no step or instance 'elt/A' (did you mean")
    assert "model/C is its own upstream" in itself
    assert "wait for each other" in circle


def test_names_of_rows_that_are_wrong_themselves_do_not_seem_unknown(tmp_path):
    with pytest.raises(PlanError) as caught:
        planned(tmp_path, "instance_name,flow,_after,_retries\nA,etl,,many\nB,model,etl/A,\n")
    (only,) = str(caught.value).splitlines()
    assert only.startswith("table.csv, row 1, column '_retries'")


def test_earlier_records_teach_upstreams_and_durations(tmp_path):
    ran(an_instance(tmp_path, "etl/A"), duration=40.0)
    ran(an_instance(tmp_path, "model/M"), undeclared=("etl/A",), duration=3.0)
    plan = planned(tmp_path, "instance_name,flow\nA,etl\nB,etl\nM,model\nN,model\n")
    assert plan.graph.upstreams == ((), (), (0,), ())
    assert plan.graph.learned == {(0, 2)}
    assert plan.durations == {0: 40.0, 2: 3.0}


@pytest.mark.parametrize(
    ("status", "duration", "expected"),
    [
        (Status.SUCCESS, 2.5, {0: 2.5}),
        (Status.WARNING, 2.5, {0: 2.5}),
        (Status.ERROR, 2.5, {0: 2.5}),
        (Status.SUCCESS, 0.0, {0: 0.0}),
        (Status.RUNNING, None, {}),
        (Status.RUNNING, 2.5, {}),
        (Status.BLOCKED, 0.0, {}),
        (Status.ERROR, None, {}),
    ],
)
def test_a_duration_is_that_of_a_run_that_ended(tmp_path, status, duration, expected):
    instance = an_instance(tmp_path, "etl/A")
    ran(instance, status=status, duration=duration)
    assert earlier_runs([instance]).durations == expected


def test_what_cannot_be_read_teaches_nothing(tmp_path):
    torn, empty, absent = (an_instance(tmp_path, f"etl/{name}") for name in "ABC")
    ran(torn)
    RunFiles.of(torn).record.write_text('{"status": ', encoding="utf-8")
    RunFiles.of(empty).directory.mkdir()
    assert earlier_runs([torn, empty, absent]) == EarlierRuns()


def test_no_file_is_looked_for_in_run_directories_that_are_not_there(tmp_path, monkeypatch):
    looked_at = []
    monkeypatch.setattr(
        "pytest_ductaflow.planning.history.earlier_runs.read_record",
        lambda path: looked_at.append(path) or (None, None),
    )
    there = an_instance(tmp_path, "etl/there")
    ran(there)
    earlier_runs([*(an_instance(tmp_path, f"etl/{n}") for n in range(100)), there])
    assert looked_at == [RunFiles.of(there).record]
