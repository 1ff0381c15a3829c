"""Whether an instance has to run: the record of its last run compared with the present state."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import hypothesis.strategies as st
import pytest
from helpers.projects import PARAMETERS, lay
from helpers.sessions import wait_for
from hypothesis import HealthCheck, given, settings

from pytest_ductaflow.core.instance import Instance, Neighbours
from pytest_ductaflow.core.record import INTERRUPTED, Failure, Record, Status
from pytest_ductaflow.core.run_directory import atomic
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.system.file_state import settled, stat_of, state_in
from pytest_ductaflow.sources.installed_versions import own_path, python_version
from pytest_ductaflow.tracking import digests, up_to_date
from pytest_ductaflow.tracking.digests import (
    ABSENT,
    UNSTABLE,
    code_digest,
    config_digest,
    input_digest,
    stat_of_input,
)
from pytest_ductaflow.tracking.up_to_date import SHOWN, Check, check, missing
from pytest_ductaflow.tracking.upstreams import with_upstreams

FLOW = "flows/model.py"
RUN = "runs/model/A"
FILES = {
    FLOW: f"{PARAMETERS}# %%\nx = 1  # one\n",
    "flows/helper.py": "y = 2  # two\n",
    "data/zones.csv": "zones",
    "data/years/2030.csv": "2030",
    "data/years/2040.csv": "2040",
    "runs/etl/B/etl.csv": "etl",
    f"{RUN}/model_executed.ipynb": "{}",
    f"{RUN}/out.csv": "out",
    f"{RUN}/maps/a.png": "png",
}
INPUTS = (FLOW, "flows/helper.py", "data/zones.csv", "data/override.csv", "data/years/", "data/years/**")
CONFIG = {"year": 2030, "modes": ["rail", "road"], "costs": {"rail": 1.5, "road": None}}
KERNEL = "python3"


def an_instance(root: Path, config: Mapping[str, Any] = CONFIG, **more: Any) -> Instance:
    return Instance(str(root / FLOW), "model", "A", config, str(root / RUN), str(root)).with_(**more)


def a_record(root: Path, **more: Any) -> Record:
    """Return the record of a run that has just ended."""
    record = Record(
        Status.SUCCESS,
        FLOW,
        "model",
        "A",
        RUN,
        observed="all",
        kernel=KERNEL,
        config_digest=config_digest(CONFIG),
        inputs={name: input_digest(f"{root}/{name}") for name in INPUTS},
        code={name: str(code_digest(root / name)) for name in INPUTS if name.endswith(".py")},
        outputs={"out.csv": "sha256:1", "maps/a.png": "sha256:2"},
        environment={"python": str(python_version(sys.executable)), "executable": sys.executable},
    )
    return record.with_(**more)


def settle(monkeypatch: pytest.MonkeyPatch, is_settled: Callable[[str], bool]) -> None:
    """Set for which files, by their `stat_of`, a later change is sure to show."""
    for module in (digests, up_to_date):
        monkeypatch.setattr(module, "settled", is_settled)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a project with an instance that has run."""
    for name, text in FILES.items():
        lay(tmp_path / "project" / name, text)
    atomic.write_json(RunFiles.of(an_instance(tmp_path / "project")).config, CONFIG | {"_project_root": "/p"})
    return tmp_path / "project"


def reasons(root: Path, record: Record | None, instance: Instance | None = None, **more: Any) -> list[str]:
    upstreams, kernel = more.get("upstreams", ()), more.get("kernel", KERNEL)
    return list(check(instance or an_instance(root), record, upstreams, kernel).reasons)


# Why an instance runs


def test_an_instance_without_a_record_is_new(root):
    assert reasons(root, None) == ["new"]


@pytest.mark.parametrize(
    ("status", "reason"), [(Status.ERROR, "it failed"), (Status.RUNNING, "it did not end")]
)
def test_an_instance_that_did_not_end_well_runs_again(root, status, reason):
    assert reasons(root, a_record(root, status=status)) == [reason]


def test_an_instance_that_ctrl_c_stopped_did_not_fail(root):
    record = a_record(root, status=Status.ERROR, error=Failure(INTERRUPTED, "stopped by the keyboard"))
    assert reasons(root, record) == ["it was interrupted"]


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.WARNING])
def test_an_instance_that_ended_well_is_kept_if_nothing_changed(root, status):
    record = a_record(root, status=status)
    assert check(an_instance(root), record, [], KERNEL).record.status == status
    assert reasons(root, record) == []


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: lay(root / name, text)


def delete(name: str) -> Callable[[Path], object]:
    return lambda root: rmtree(root / name) if (root / name).is_dir() else (root / name).unlink()


def touch(root: Path) -> None:
    for name in FILES:
        if "years" not in name:  # a folder of very many files, for which only times are compared
            os.utime(root / name, (1, 1))


EDITS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "nothing": (lambda _: None, []),
    "times": (touch, []),
    "comment in the flow": (write(FLOW, FILES[FLOW].replace("# one", "# One.")), []),
    "comment in a module": (write("flows/helper.py", "y = 2\n"), []),
    "flow": (write(FLOW, FILES[FLOW].replace("x = 1", "x = 2")), [f"flow {FLOW} changed"]),
    "flow gone": (delete(FLOW), [f"flow {FLOW} is gone"]),
    "module": (write("flows/helper.py", "y = 3\n"), ["module flows/helper.py changed"]),
    "module gone": (delete("flows/helper.py"), ["module flows/helper.py is gone"]),
    "file": (write("data/zones.csv", "zonen"), ["input data/zones.csv changed"]),
    "file gone": (delete("data/zones.csv"), ["input data/zones.csv is gone"]),
    "file that became a folder": (
        lambda root: (delete("data/zones.csv")(root), lay(root / "data/zones.csv/x")),
        ["input data/zones.csv is gone"],
    ),
    "file new": (write("data/override.csv", ""), ["input data/override.csv is new"]),
    "size of one of many": (write("data/years/2030.csv", "20300"), ["input data/years/** changed"]),
    "other files": (
        write("data/years/2050.csv", ""),
        ["other files in data/years/", "input data/years/** changed"],
    ),
    "folder gone": (
        delete("data/years"),
        ["input data/years/ is gone", "input data/years/** is gone"],
    ),
    "hidden file": (write("data/years/.cache", ""), []),
    "file that was not read": (write("data/new.csv", ""), []),
    "output gone": (delete(f"{RUN}/out.csv"), ["output out.csv is gone"]),
    "output in a folder gone": (delete(f"{RUN}/maps"), ["output maps/a.png is gone"]),
    "output edited": (write(f"{RUN}/out.csv", "by hand"), []),
    "notebook gone": (delete(f"{RUN}/model_executed.ipynb"), ["model_executed.ipynb is gone"]),
    "config file edited": (write(f"{RUN}/model_config.json", "{}"), []),
}


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_is_told_in_words(root, kind):
    edit, expected = EDITS[kind]
    record = a_record(root)
    assert reasons(root, record) == []
    edit(root)
    assert reasons(root, record) == expected


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({**CONFIG, "year": 2040}, "config: year 2030 → 2040"),
        ({**CONFIG, "year": "2030"}, 'config: year 2030 → "2030"'),
        ({**CONFIG, "year": 2030.0}, "config: year 2030 → 2030.0"),
        ({**CONFIG, "year": None}, "config: year 2030 → null"),
        ({**CONFIG, "costs": {"rail": 2.5, "road": None}}, "config: costs.rail 1.5 → 2.5"),
        ({**CONFIG, "costs": {"rail": 1.5}}, "config: costs.road is not set any more"),
        ({**CONFIG, "costs": 1}, 'config: costs {"rail": 1.5, "road": null} → 1'),
        ({**CONFIG, "modes": ["rail"]}, 'config: modes ["rail", "road"] → ["rail"]'),
        ({**CONFIG, "new": "x" * 50}, f"config: new = {'x' * 39}… is new"),
        ({"modes": ["rail", "road"], "year": 1}, "config: year 2030 → 1, costs is not set any more"),
        ({**CONFIG, "modes": [1, 2]}, 'config: modes ["rail", "road"] → [1, 2]'),
    ],
)
def test_a_change_of_the_config_is_told_by_its_keys(root, config, reason):
    assert reasons(root, a_record(root), an_instance(root, config)) == [reason]


def test_the_order_of_keys_in_a_config_is_no_change(root):
    config = dict(reversed(CONFIG.items()))
    assert reasons(root, a_record(root), an_instance(root, config)) == []


@pytest.mark.parametrize("text", ["", "{", "[]", '{"year": 1}', None])
def test_a_change_of_the_config_is_told_also_when_the_earlier_one_is_not_known_any_more(root, text):
    path = RunFiles.of(an_instance(root)).config
    path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    assert reasons(root, a_record(root), an_instance(root, {"year": 1})) == ["config changed"]


def test_a_difference_that_only_types_make_is_told(root):
    atomic.write_json(RunFiles.of(an_instance(root)).config, {"modes": [1]})
    record = a_record(root, config_digest=config_digest({"modes": [1]}))
    assert reasons(root, record, an_instance(root, {"modes": [1.0]})) == ["config changed"]


@pytest.mark.parametrize(
    ("recorded", "reason"), [("ir", "kernel: ir → python3"), ("", "kernel: none → python3")]
)
def test_another_kernel_is_told(root, recorded, reason):
    assert reasons(root, a_record(root, kernel=recorded)) == [reason]


def test_another_flow_with_the_same_files_is_told(root):
    lay(root / "builds" / "model.py", FILES[FLOW])
    instance = an_instance(root, flow=str(root / "builds" / "model.py"))
    assert reasons(root, a_record(root), instance) == [f"flow: {FLOW} → builds/model.py"]


def test_a_run_directory_that_was_copied_is_not_that_of_another_instance(root):
    copytree(root / RUN, root / "runs/model/B")
    instance = an_instance(root, name="B", run_dir=str(root / "runs/model/B"))
    assert reasons(root, a_record(root), instance) == [f"run directory: {RUN} → runs/model/B"]


def test_a_project_that_was_moved_is_unchanged(root, tmp_path):
    record = a_record(root)
    root.rename(tmp_path / "elsewhere")
    assert reasons(tmp_path / "elsewhere", record) == []


def test_no_more_reasons_are_looked_for_than_are_shown(root):
    record = a_record(root)
    edits = ("flow", "module", "file", "file new", "output gone")
    for kind in edits:
        EDITS[kind][0](root)
    expected = [reason for kind in edits for reason in EDITS[kind][1]]
    assert reasons(root, record) == expected[:SHOWN]


@pytest.mark.parametrize("name", [FLOW, "flows/helper.py", "data/zones.csv"])
def test_what_changed_while_the_flow_ran_makes_it_run_again_even_if_its_code_is_known(root, name):
    record = a_record(root)
    unstable = record.with_(inputs={**record.inputs, name: UNSTABLE})
    (reason,) = reasons(root, unstable)
    assert reason.endswith(f"{name} changed while it ran")


# Upstreams


def upstream(*outputs: str, **more: Any) -> tuple[str, Record]:
    return "etl/B", Record(
        Status.SUCCESS, "flows/etl.py", "etl", "B", "runs/etl/B", outputs=dict.fromkeys(outputs, "1"), **more
    )


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([], []),
        (["etl.csv"], []),
        (["etl.csv", "new.csv"], ["input runs/etl/B/new.csv of etl/B is new"]),
        (["etl.csv", "../../../data/zones.csv"], []),
        (["../../../data/new.csv"], ["input data/new.csv of etl/B is new"]),
    ],
)
def test_files_that_an_upstream_writes_for_the_first_time_are_told(root, outputs, expected):
    record = a_record(root)
    name = "runs/etl/B/etl.csv"
    record = record.with_(inputs={**record.inputs, name: input_digest(f"{root}/{name}")})
    assert reasons(root, record, upstreams=[upstream(*outputs)]) == expected


def test_files_that_the_flows_of_an_upstream_write_are_told(root):
    flow = Record(Status.SUCCESS, "f", "f", "A", "runs/etl/B/runs/f/A", outputs={"x.csv": "1"})
    expected = ["input runs/etl/B/runs/f/A/x.csv of etl/B is new"]
    assert reasons(root, a_record(root), upstreams=[upstream(flows=(flow,))]) == expected


def test_another_result_of_an_upstream_is_told_although_it_was_not_read(root):
    label, before = upstream("etl.csv", "log.csv")
    record = a_record(root, upstreams={label: before.digest_of_outputs})
    assert reasons(root, record, upstreams=[(label, before)]) == []
    for now in (upstream("etl.csv")[1], before.with_(outputs={**before.outputs, "log.csv": "2"})):
        assert reasons(root, record, upstreams=[(label, now)]) == ["what etl/B wrote has changed"]


def test_of_what_it_has_read_the_file_is_told(root):
    label, before = upstream("etl.csv", "log.csv")
    name = "runs/etl/B/etl.csv"
    record = a_record(root, upstreams={label: before.digest_of_outputs})
    record = record.with_(inputs={**record.inputs, name: "1"})
    now = before.with_(outputs={**before.outputs, "etl.csv": input_digest(f"{root}/{name}")})
    assert reasons(root, record, upstreams=[(label, now)]) == [f"input {name} changed"]


def test_a_record_names_an_upstream_and_not_each_of_its_files(root):
    label, before = upstream(*(f"{n}.csv" for n in range(100)))
    instance, neighbours = an_instance(root), Neighbours(declared=((label, an_instance(root)),))
    record = with_upstreams(a_record(root), instance, neighbours, [(label, before)])
    assert record.upstreams == {label: before.digest_of_outputs}
    assert Record.from_json(record.to_json()).upstreams == record.upstreams


# Versions


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the installed versions, to be changed."""
    there = {"numpy": "2.0", "duckdb": "1.0"}
    monkeypatch.setattr(up_to_date, "installed", lambda path: there if path == own_path() else {})
    return there


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"numpy": "2.1"}, ["numpy 2.0 → 2.1"]),
        ({"numpy": None}, ["numpy 2.0 → not installed"]),
        ({"other": "1"}, []),
        ({"numpy": "2.1", "duckdb": "1.1"}, ["numpy 2.0 → 2.1", "duckdb 1.0 → 1.1"]),
    ],
)
def test_other_versions_of_what_was_imported_are_told(root, versions, change, expected):
    record = a_record(root, packages=dict(versions))
    versions.update(change)
    for name in [name for name, version in versions.items() if version is None]:
        del versions[name]
    assert reasons(root, record) == expected


@pytest.mark.parametrize(
    ("environment", "reason"),
    [({"python": "3.9.1"}, "Python 3.9.1 → {now}"), ({}, "Python unknown → {now}")],
)
def test_another_python_is_told(root, environment, reason):
    record = a_record(root, environment=environment)
    assert reasons(root, record) == [reason.format(now=python_version(sys.executable))]


@pytest.mark.parametrize(
    ("python", "version", "expected"),
    [
        ("3.99.1", "2.0", []),
        ("3.99.2", "2.0", ["Python 3.99.1 → 3.99.2"]),
        (None, "2.0", ["Python 3.99.1 → not there"]),
        ("3.99.1", "2.1", ["numpy 2.0 → 2.1"]),
    ],
)
def test_a_kernel_of_another_interpreter_is_compared_with_that_one(
    root, monkeypatch, python, version, expected
):
    path = os.pathsep.join(["/other/lib", "/other/site"])
    asked = {"/other/lib": 0}
    monkeypatch.setattr(
        up_to_date, "python_version", lambda executable: {"/other/python": python}[executable]
    )
    monkeypatch.setattr(
        up_to_date,
        "installed",
        lambda path: {"numpy": version} if set(path) == {*asked, "/other/site"} else {},
    )
    environment = {"python": "3.99.1", "executable": "/other/python", "kernel_path": path}
    assert reasons(root, a_record(root, environment=environment, packages={"numpy": "2.0"})) == expected


# Times only save hashing


def test_a_file_whose_stat_is_known_is_not_read(root, monkeypatch):
    record = a_record(root)
    monkeypatch.setattr(digests, "settled", lambda _: True)
    stats = {name: stat_of_input(f"{root}/{name}") for name in INPUTS if name[-1] != "/"}
    record = record.with_(stats={name: stat for name, stat in stats.items() if stat is not None})
    monkeypatch.setattr(up_to_date, "code_digest", None)
    monkeypatch.setattr(digests, "digest", None)
    assert check(an_instance(root), record, [], KERNEL) == Check(record=record)


def test_a_file_whose_stat_differs_is_read(root):
    record = a_record(root)
    record = record.with_(stats={"data/zones.csv": stat_of(root / "data/zones.csv")})
    lay(root / "data/zones.csv", "more zones")
    assert reasons(root, record) == ["input data/zones.csv changed"]


def test_a_record_is_refreshed_with_stats_of_files_that_have_settled(root, monkeypatch):
    settle(monkeypatch, lambda stat: stat == stat_of(root / "data/zones.csv"))
    found = check(an_instance(root), a_record(root), [], KERNEL)
    assert found.refreshed
    assert found.record == a_record(root, stats={"data/zones.csv": stat_of(root / "data/zones.csv")})
    assert check(an_instance(root), found.record, [], KERNEL) == Check(record=found.record)


def test_a_record_is_refreshed_with_the_digest_of_an_edited_comment(root):
    record = a_record(root)
    EDITS["comment in a module"][0](root)
    found = check(an_instance(root), record, [], KERNEL)
    assert found.refreshed
    assert found.record.inputs == {
        **record.inputs,
        "flows/helper.py": input_digest(f"{root}/flows/helper.py"),
    }
    assert found.record.code == record.code


def test_a_record_is_not_refreshed_when_there_is_nothing_new_to_it(root, monkeypatch):
    settle(monkeypatch, lambda _stat: False)
    record = a_record(root)
    assert check(an_instance(root), record, [], KERNEL) == Check(record=record)


# Builds

NESTED = f"{RUN}/runs/part/A"


def a_flow(root: Path, name: str = "part", **more: Any) -> Record:
    """Return the record of a flow within the build."""
    run_dir = f"{RUN}/runs/{name}/A"
    lay(root / run_dir / f"{name}.csv", name)
    outputs = {f"{name}.csv": input_digest(f"{root}/{run_dir}/{name}.csv")}
    record = a_record(root, flow=f"flows/{name}.py", step=name, run_dir=run_dir, code={}, outputs=outputs)
    inputs = {"data/zones.csv": input_digest(f"{root}/data/zones.csv")}
    return record.with_(**{"inputs": inputs, "config_digest": "other", "kernel": "", **more})


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda _: None, []),
        (write("data/zones.csv", "new"), ["input data/zones.csv changed"]),
        (delete(f"{NESTED}/part.csv"), ["output part.csv of flow flows/part.py is gone"]),
    ],
)
@pytest.mark.parametrize("depth", [1, 2])
def test_a_build_runs_again_if_one_of_its_flows_would(root, edit, expected, depth):
    flows = (a_flow(root),)
    if depth == 2:
        flows = (a_flow(root, "outer", flows=flows, inputs={}),)
    record = a_record(root, inputs={}, flows=flows)
    edit(root)
    assert reasons(root, record) == expected


def test_a_build_runs_again_if_one_of_its_flows_failed_or_has_other_versions(root):
    flows = (a_flow(root, status=Status.ERROR), a_flow(root, environment={"python": "2.7"}))
    now = python_version(sys.executable)
    expected = ["flow flows/part.py did not end well", f"Python 2.7 → {now}"]
    assert reasons(root, a_record(root, flows=flows)) == expected


def in_turns(root: Path) -> Record:
    """Return a build with two flows that read each other's output, and wrote again after that."""
    demand, supply = a_flow(root, "demand", started="2"), a_flow(root, "supply", started="1")
    names = {flow.step: f"{flow.run_dir}/{flow.step}.csv" for flow in (demand, supply)}
    demand = demand.with_(inputs={names["supply"]: "sha256:of an earlier turn", f"{RUN}/runs/": "sha256:0"})
    supply = supply.with_(inputs={names["demand"]: "sha256:of an earlier turn", f"{RUN}/plan.csv": ABSENT})
    lay(root / RUN / "plan.csv", "plan")
    outputs = {"plan.csv": input_digest(f"{root}/{RUN}/plan.csv")}
    return a_record(root, inputs={}, outputs=outputs, flows=(demand, supply))


def test_a_build_that_runs_its_flows_in_turns_is_unchanged(root):
    assert reasons(root, in_turns(root)) == []


@pytest.mark.parametrize("name", [f"{RUN}/runs/supply/A/supply.csv", f"{RUN}/plan.csv"])
def test_a_file_between_the_flows_of_a_build_that_was_edited_is_told(root, name):
    record = in_turns(root)
    lay(root / name, "by hand")
    assert reasons(root, record) == [f"input {name} changed"]


def test_of_two_flows_that_wrote_the_same_file_the_later_one_counts(root):
    path = lay(root / RUN / "shared.csv", "second")
    name = "../../../shared.csv"
    second = a_flow(root, "demand", started="2", outputs={name: input_digest(str(path))})
    first = a_flow(root, "supply", started="1", outputs={name: "sha256:first"})
    reader = a_flow(root, "part", started="3", inputs={f"{RUN}/shared.csv": "sha256:first"})
    assert reasons(root, a_record(root, flows=(second, first, reader))) == []


def test_what_is_missing_is_named_for_the_instance_and_for_its_flows(root):
    record = a_record(root, flows=(a_flow(root),))
    assert list(missing(an_instance(root), record)) == []
    for name in (f"{RUN}/out.csv", f"{RUN}/model_executed.ipynb", f"{NESTED}/part.csv"):
        (root / name).unlink()
    expected = ["output out.csv", "model_executed.ipynb", "output part.csv of flow flows/part.py"]
    assert list(missing(an_instance(root), record)) == expected


# All of it at once


def states_below(root):
    """Yield the states of all files in a folder and below."""
    return (state_in(path.stat()) for path in root.rglob("*") if path.is_file())


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
@given(kinds=st.sets(st.sampled_from(sorted(EDITS)), max_size=4), other_config=st.booleans())
def test_an_instance_is_kept_exactly_if_nothing_that_counts_was_edited(tmp_path_factory, kinds, other_config):
    root = tmp_path_factory.mktemp("project", numbered=True)
    for name, text in FILES.items():
        lay(root / name, text)
    record = a_record(root)
    done = []
    for kind in sorted(kinds):
        try:
            EDITS[kind][0](root)
        except OSError:  # an earlier edit has removed its file
            continue
        done.append(kind)
    instance = an_instance(root, {**CONFIG, "year": 1} if other_config else CONFIG)
    differs = {name for name, digest in record.inputs.items() if input_digest(f"{root}/{name}") != digest}
    differs -= {name for name, digest in record.code.items() if code_digest(root / name) == digest}
    gone = list(missing(instance, record))
    found = check(instance, record, [], KERNEL)
    assert bool(found.reasons) == bool(differs or gone or other_config)
    assert (found.record is None) == bool(found.reasons)
    if not any(EDITS[kind][1] for kind in done) and not other_config:
        assert found.reasons == ()
    if found.record is not None:
        wait_for(lambda: all(map(settled, states_below(root))) or None, "files known by their times")
        kept = check(instance, found.record, [], KERNEL).record
        assert kept is not None
        assert check(instance, kept, [], KERNEL).record == kept
        assert Record.from_json(json.loads(json.dumps(found.record.to_json()))) == found.record
        stats = found.record.stats.items()
        assert all(settled(stat) for name, stat in stats if not name.endswith("/**"))
