"""What keeps an instance from running, according to verdicts and records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import write_record
from pytest_ductaflow.graph.dependencies import Graph
from pytest_ductaflow.graph.preconditions import Obstacle, Preconditions
from pytest_ductaflow.graph.session_outcomes import SessionOutcomes
from pytest_ductaflow.planning.plan import Plan
from pytest_ductaflow.pytest_hooks import collection


def gate(
    root: Path,
    upstreams: Sequence[Sequence[int]],
    *,
    selected: Sequence[int] | None = None,
    externals: dict[int, tuple[str, ...]] | None = None,
    orphans: dict[int, tuple[tuple[str, str], ...]] | None = None,
) -> Preconditions:
    """Return a gate for instances `etl/n0`, `etl/n1`, … of a project, all selected by default."""
    instances = [
        Instance(str(root / "flows/etl.py"), "etl", f"n{n}", {}, str(root / f"runs/etl/n{n}"), str(root))
        for n in range(len(upstreams))
    ]
    edges = tuple(map(tuple, upstreams))
    labels = tuple(f"{i.step}/{i.name}" for i in instances)
    graph = Graph(labels, edges, edges, externals=externals or {}, orphans=orphans or {})
    made = Preconditions(
        graph, instances, SessionOutcomes(), lambda what: f"pytest {' '.join(map(str, what))}"
    )
    made.selected = range(len(upstreams)) if selected is None else selected
    return made


def leave_record(run_dir: Path, status: Status) -> None:
    run_dir.mkdir(parents=True, exist_ok=True)
    write_record(RunFiles(run_dir, "etl"), Record(status, "flows/etl.py", "etl", run_dir.name, str(run_dir)))


def test_instance_without_upstreams_is_let_through(tmp_path):
    """Nothing could block it."""
    assert gate(tmp_path, [[]]).obstacle(0) is None


def test_upstreams_that_ended_well_let_it_through(tmp_path):
    """All of them have to."""
    made = gate(tmp_path, [[], [], [0, 1]])
    made.outcomes.write(0, "passed")
    assert made.obstacle(2) == Obstacle("blocked", "upstream etl/n1 has not ended")
    made.outcomes.write(1, "passed")
    assert made.obstacle(2) is None


@pytest.mark.parametrize(
    ("outcomes", "reason", "of_failure"),
    [
        (["failed", "blocked", "skipped"], "upstream etl/n0 failed", True),
        (["failed", "failed", "passed"], "upstream etl/n0 failed (and 1 more)", True),
        (["passed", "passed", "skipped"], "upstream etl/n2 was skipped", False),
        (["skipped", "failed", "passed"], "upstream etl/n1 failed", True),
    ],
)
def test_worst_upstream_is_named(tmp_path, outcomes, reason, of_failure):
    """Failures come before others; the number of further ones of that kind is shown."""
    made = gate(tmp_path, [[], [], [], [0, 1, 2]])
    for number, outcome in enumerate(outcomes):
        made.outcomes.write(number, outcome)
    assert made.obstacle(3) == Obstacle("blocked", reason, of_failure=of_failure)


@pytest.mark.parametrize(("outcome", "verb"), [("failed", "failed"), ("skipped", "was skipped")])
def test_blame_is_found_at_the_far_end_of_a_long_chain(tmp_path, outcome, verb):
    """A chain as long as a plan may be."""
    length = 10_000
    made = gate(tmp_path, [[], *([number] for number in range(length - 1))])
    made.outcomes.write(0, outcome)
    for number in range(1, length - 1):
        made.outcomes.write(number, "blocked")
    expected = f"upstream etl/n{length - 2} is blocked: upstream etl/n0 {verb}"
    assert made.obstacle(length - 1) == Obstacle("blocked", expected, of_failure=outcome == "failed")


def test_skipped_upstream_with_a_good_record_lets_it_through(tmp_path):
    """What an earlier run wrote still exists."""
    made = gate(tmp_path, [[], [0]])
    made.outcomes.write(0, "skipped")
    assert made.obstacle(1) is not None
    leave_record(tmp_path / "runs/etl/n0", Status.WARNING)
    assert made.obstacle(1) is None


@pytest.mark.parametrize("status", [None, Status.ERROR, Status.RUNNING, Status.BLOCKED])
def test_upstream_that_is_not_selected_needs_a_good_record(tmp_path, status):
    """Otherwise it has to be run first, and the message says how."""
    made = gate(tmp_path, [[], [0]], selected=[1])
    if status is not None:
        leave_record(tmp_path / "runs/etl/n0", status)
    reason = "upstream etl/n0 was not selected and has no good record; run it first: pytest 0"
    assert made.obstacle(1) == Obstacle("failed", reason)
    leave_record(tmp_path / "runs/etl/n0", Status.SUCCESS)
    assert made.obstacle(1) is None


def test_only_some_of_many_upstreams_are_named(tmp_path):
    """A line stays readable, and its command short enough to type."""
    made = gate(tmp_path, [*[[]] * 7, range(7)], selected=[7])
    assert made.obstacle(7) == Obstacle(
        "failed",
        "upstreams etl/n0, etl/n1, etl/n2, etl/n3, etl/n4 and 2 more were not selected and have no good "
        "record; run them first: pytest 0 1 2 3 4",
    )


def test_failure_in_this_session_is_told_before_what_was_not_selected(tmp_path):
    """The instance is blocked then, whatever else is missing."""
    made = gate(tmp_path, [[], [], [0, 1]], selected=[1, 2])
    made.outcomes.write(1, "failed")
    assert made.obstacle(2) == Obstacle("blocked", "upstream etl/n1 failed", of_failure=True)


def test_run_directory_outside_of_the_plan_must_hold_no_bad_record(tmp_path):
    """A directory without any record, made by other means, is accepted."""
    outside = tmp_path / "runs/old/A"
    outside.mkdir(parents=True)
    assert gate(tmp_path, [[]], externals={0: (str(outside),)}).obstacle(0) is None
    leave_record(outside, Status.ERROR)
    reason = f"upstream runs/old/A has no good record; run it first: pytest {outside}"
    assert gate(tmp_path, [[]], externals={0: (str(outside),)}).obstacle(0) == Obstacle("failed", reason)


@pytest.mark.parametrize(
    ("path", "there", "near"),
    [
        ("runs/etl/Z/out.csv", "runs/etl/Z/out.csv", "; step etl has n0, n1"),
        ("../Z/out.csv", "runs/etl/Z/out.csv", "; step etl has n0, n1"),
        ("runs/fit/Z/out.csv", "runs/fit/Z/out.csv", ""),
        ("runs/etl/n0/../Z", "runs/etl/Z", "; step etl has n0, n1"),
        ("{root}/runs/etl/Z", "runs/etl/Z", "; step etl has n0, n1"),
    ],
)
def test_path_into_runs_that_nothing_writes_must_be_there(tmp_path, path, there, near):
    """The path may be relative to the project, to the run directory, or absolute."""
    text = path.format(root=tmp_path)
    made = gate(tmp_path, [[], []], orphans={1: (("table", text),)})
    reason = f"config key 'table': {text} is not there, and no instance writes it{near}"
    assert made.obstacle(1) == Obstacle("failed", reason)
    (tmp_path / there).mkdir(parents=True)
    assert made.obstacle(1) is None


@pytest.mark.parametrize("text", ["runs/" + "long" * 100, "runs/\0"])
def test_text_that_no_file_system_holds_is_not_there(tmp_path, text):
    """It is reported like any other path that does not exist."""
    made = gate(tmp_path, [[]], orphans={0: (("table", text),)})
    found = made.obstacle(0)
    assert found is not None
    assert "is not there" in found.reason


def upstream_and_reader(
    root: Path, config: dict[str, object], outputs: Sequence[str], **more
) -> Obstacle | None:
    """Return what keeps `etl/n1` from reading what a path in its config names of `etl/n0`."""
    made = gate(root, [[], [0]])
    made._instances = [made._instances[0], made._instances[1].with_(config=config)]
    files = RunFiles.of(made._instances[0])
    files.directory.mkdir(parents=True, exist_ok=True)
    record = Record(Status.SUCCESS, "flows/etl.py", "etl", "n0", "runs/etl/n0", **more)
    write_record(files, record.with_(outputs=dict.fromkeys(outputs, "")))
    made.outcomes.write(0, "passed")
    return made.obstacle(1)


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("runs/etl/n0/a.csv", ["a.csv"]),
        ("../n0/a.csv", ["a.csv"]),
        ("runs/etl/n0", []),
        ("runs/etl/n0/*.csv", []),
        ("runs/etl/n0/etl_record.json", []),
        ("runs/etl/n0/etl_executed.ipynb", []),
        ("runs/etl/n0/shape", ["shape.shp", "shape.dbf"]),
        ("runs/etl/n0/a.gpkg|roads", ["a.gpkg"]),
        ("runs/etl/n0/made", []),
        ("runs/etl/n0/runs/x/i/b.csv", []),
        ("runs/etl/n0/runs/x/i/x_config.json", []),
        ("data/a.csv", []),
        ("a text about runs/etl/n0/a.csv", []),
    ],
)
def test_paths_to_what_an_upstream_wrote_let_it_through(tmp_path, text, outputs):
    """The paths may also be its own files, those of a build's flows, and the start of several names."""
    inner = Record(Status.SUCCESS, "flows/x.py", "x", "i", "runs/etl/n0/runs/x/i", outputs={"b.csv": ""})
    config = {"deep": {"list": [text]}}
    assert upstream_and_reader(tmp_path, config, outputs, flows=(inner,), made=("made/",)) is None


@pytest.mark.parametrize("is_there", [False, True])
def test_a_path_to_what_an_upstream_did_not_write_keeps_it(tmp_path, is_there):
    if is_there:
        (tmp_path / "runs/etl/n0").mkdir(parents=True)
        (tmp_path / "runs/etl/n0/old.csv").touch()
    reason = "config key 'deep.src': runs/etl/n0/old.csv is not among what etl/n0 wrote last"
    config = {"deep": {"src": "runs/etl/n0/old.csv"}}
    assert upstream_and_reader(tmp_path, config, ["new.csv"]) == Obstacle("failed", reason)


def test_a_file_that_the_instance_itself_writes_into_an_upstreams_folder_is_let_through(tmp_path):
    config = {"output_file": "runs/etl/n0/mine.csv"}
    assert upstream_and_reader(tmp_path, config, []) is None
    (tmp_path / "runs/etl/n0/mine.csv").touch()
    assert upstream_and_reader(tmp_path, config, []) is not None
    run_dir = tmp_path / "runs/etl/n1"
    run_dir.mkdir(parents=True)
    outputs = {"../n0/mine.csv": ""}
    write_record(
        RunFiles(run_dir, "etl"),
        Record(Status.SUCCESS, "flows/etl.py", "etl", "n1", "runs/etl/n1", outputs=outputs),
    )
    assert upstream_and_reader(tmp_path, config, []) is None


def test_the_command_in_a_reason_makes_the_ids_of_what_it_names_only(tmp_path, monkeypatch):
    """Otherwise a reason for each of thousands of instances would compute thousands of ids each."""
    made = []
    node_id_of = collection.node_id_of
    monkeypatch.setattr(collection, "node_id_of", lambda *args: made.append(args) or node_id_of(*args))
    instances = [
        Instance(
            str(tmp_path / "flows/etl.py"),
            "etl",
            f"n{n}",
            {},
            str(tmp_path / f"runs/etl/n{n}"),
            str(tmp_path),
        )
        for n in range(9)
    ]
    plan = Plan({tmp_path / "a.py": instances[:4], tmp_path / "b.py": [], tmp_path / "c.py": instances[4:]})
    config = SimpleNamespace(rootpath=tmp_path, invocation_params=SimpleNamespace(dir=tmp_path))
    command = collection._command_for(config, plan, [3, 4, 8])
    assert command == "pytest --ductaflow a.py::etl::n3 c.py::etl::n4 c.py::etl::n8"
    assert len(made) == 3
