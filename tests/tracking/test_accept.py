"""The outputs of an instance are accepted for its present inputs."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.projects import PARAMETERS, lay

from pytest_ductaflow.core.errors import NothingToAccept
from pytest_ductaflow.core.instance import Instance, Neighbours
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory import record_files
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.sources.installed_versions import python_version
from pytest_ductaflow.tracking import up_to_date, used_files
from pytest_ductaflow.tracking.accept import accept
from pytest_ductaflow.tracking.digests import UNSTABLE, code_digest, config_digest, file_digest, input_digest
from pytest_ductaflow.tracking.up_to_date import check

FLOW = "flows/model.py"
RUN = "runs/model/A"
PART = f"{RUN}/runs/part/A"
CONFIG = {"year": 2030}
FILES = {
    FLOW: f"{PARAMETERS}# %%\nimport helper\n",
    "flows/helper.py": "from src_helper import x\n",
    "flows/part.py": f"{PARAMETERS}# %%\nx = 1\n",
    "src/src_helper.py": "x = 2\n",
    "data/zones.csv": "zones",
    "data/years/2030.csv": "2030",
    "runs/etl/B/etl.csv": "etl",
    f"{RUN}/model_executed.ipynb": "{}",
    f"{RUN}/out.csv": "out",
    f"{PART}/part.csv": "part",
    "shared/results.csv": "results",
}
INPUTS = (FLOW, "flows/helper.py", "src/src_helper.py", "data/zones.csv", "data/none.csv", "data/years/")


@pytest.fixture(autouse=True)
def _temporary_files_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the folder of temporary files: test projects lie in it, and temporary files are no inputs."""
    monkeypatch.setattr(used_files, "_temporary", lambda: ("/temporary/", "/temporary/"))


def an_instance(root: Path, config: Mapping[str, Any] = CONFIG, **more: Any) -> Instance:
    return Instance(str(root / FLOW), "model", "A", config, str(root / RUN), str(root)).with_(**more)


def a_record(root: Path, **more: Any) -> Record:
    record = Record(
        Status.WARNING,
        FLOW,
        "model",
        "A",
        RUN,
        observed="all",
        started="2026-01-01T00:00:00.000+00:00",
        duration=36_000.0,
        reason="new",
        warnings=("⚠️ slow",),
        config_digest=config_digest(CONFIG),
        inputs={name: input_digest(f"{root}/{name}") for name in INPUTS},
        code={name: str(code_digest(root / name)) for name in INPUTS if name.endswith(".py")},
        outputs={"out.csv": file_digest(root / RUN / "out.csv"), "../../../shared/results.csv": "sha256:1"},
        environment={"python": str(python_version(sys.executable)), "executable": sys.executable},
    )
    return record.with_(**more)


def a_flow(root: Path, **more: Any) -> Record:
    """Return the record of a flow that the instance, as a build, has run."""
    flow = a_record(root, flow="flows/part.py", step="part", run_dir=PART, outputs={"part.csv": "sha256:1"})
    inputs = {name: input_digest(f"{root}/{name}") for name in ("flows/part.py", "data/zones.csv")}
    code = {"flows/part.py": str(code_digest(root / "flows/part.py"))}
    return flow.with_(inputs=inputs, code=code, **more)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a project with an instance that has run."""
    for name, text in FILES.items():
        lay(tmp_path / "project" / name, text)
    return tmp_path / "project"


def lay_record(root: Path, record: Record) -> None:
    record_files.write_record(RunFiles(root / record.run_dir, Path(record.flow).stem), record)


def read(root: Path, run_dir: str = RUN, stem: str = "model") -> Record:
    record, _ = record_files.read_record(RunFiles(root / run_dir, stem).record)
    assert record is not None
    return record


def reasons(root: Path, instance: Instance | None = None) -> tuple[str, ...]:
    return check(instance or an_instance(root), read(root), [], "").reasons


def accepted(root: Path, instance: Instance | None = None, **neighbours: Any) -> Record:
    return accept(instance or an_instance(root), Settings(), neighbours=Neighbours(**neighbours))


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: lay(root / name, text)


def move(old: str, new: str) -> Callable[[Path], object]:
    return lambda root: (root / old).rename(root / new)


EDITS = {
    "flow": write(FLOW, f"{PARAMETERS}# %%\nimport helper as h\n"),
    "module": write("src/src_helper.py", "x = 3\n"),
    "module gone": lambda root: (root / "src/src_helper.py").unlink(),
    "module that became a package": move("flows/helper.py", "flows/__init__.py"),
    "file": write("data/zones.csv", "new"),
    "file gone": lambda root: (root / "data/zones.csv").unlink(),
    "file new": write("data/none.csv", "new"),
    "other files": write("data/years/2040.csv", "2040"),
}


@pytest.mark.parametrize("kind", EDITS)
def test_what_was_accepted_is_unchanged_until_the_next_edit(root, kind):
    lay_record(root, a_record(root))
    EDITS[kind](root)
    (reason,) = reasons(root)
    record = accepted(root)
    assert record.unchanged
    assert record == read(root).with_(unchanged=True)
    assert record.reason == f"accepted: {reason}"
    assert reasons(root) == ()
    lay(root / "data/zones.csv", "newer")
    assert len(reasons(root)) == 1


def test_the_run_itself_is_told_as_it_was(root):
    earlier = a_record(root)
    lay_record(root, earlier)
    EDITS["flow"](root)
    record = accepted(root)
    for name in ("status", "started", "duration", "warnings", "run_dir"):
        assert getattr(record, name) == getattr(earlier, name)
    assert record.outputs["out.csv"] == file_digest(root / RUN / "out.csv")


def test_an_unchanged_instance_is_left_as_it_is(root):
    lay_record(root, a_record(root))
    before = RunFiles.of(an_instance(root)).record.read_bytes()
    assert accepted(root) == a_record(root, unchanged=True)
    assert RunFiles.of(an_instance(root)).record.read_bytes() == before


@pytest.mark.parametrize(
    ("record", "what"),
    [
        (None, "has no good record"),
        ({"status": Status.ERROR}, "has no good record"),
        ({"status": Status.RUNNING}, "has no good record"),
        ({"outputs": {"out.csv": "1", "gone.csv": "2"}}, "gone.csv is not there any more"),
    ],
)
def test_without_a_good_record_or_an_output_there_is_nothing_to_accept(root, record, what):
    if record is not None:
        lay_record(root, a_record(root, **record))
    with pytest.raises(NothingToAccept, match=rf"^model/A:? {what}.*: it has to run$"):
        accepted(root)


@pytest.mark.parametrize("name", [f"{RUN}/model_executed.ipynb", f"{PART}/part.csv"])
def test_without_the_notebook_or_what_a_flow_wrote_there_is_nothing_to_accept(root, name):
    lay_record(root, a_record(root, flows=(a_flow(root),)))
    (root / name).unlink()
    before = read(root)
    with pytest.raises(NothingToAccept, match=f"{os.path.basename(name)}.* is not there any more"):
        accepted(root)
    assert read(root) == before


def test_another_config_is_accepted_and_laid_into_the_run_directory(root):
    lay_record(root, a_record(root))
    instance = an_instance(root, {"year": 2040})
    accepted(root, instance)
    assert reasons(root, instance) == ()
    assert reasons(root) == ("config: year 2040 → 2030",)


def test_another_name_of_the_flow_and_another_kernel_are_accepted(root):
    lay_record(root, a_record(root, kernel="ir"))
    (root / FLOW).rename(root / "builds.py")
    (root / "builds").mkdir()
    (root / "builds.py").rename(root / "builds/model.py")
    instance = an_instance(root, flow=str(root / "builds/model.py"))
    accepted(root, instance)
    assert reasons(root, instance) == ()


def test_a_run_directory_that_was_renamed_is_accepted(root):
    lay_record(root, a_record(root))
    (root / RUN).rename(root / "runs/model/B")
    instance = an_instance(root, name="B", run_dir=str(root / "runs/model/B"))
    record = accepted(root, instance)
    assert (record.instance, record.run_dir) == ("B", "runs/model/B")
    assert check(instance, read(root, "runs/model/B"), [], "").reasons == ()


def test_versions_are_accepted(root, monkeypatch):
    there = {"numpy": "2.0", "duckdb": "1.0"}
    monkeypatch.setattr(up_to_date, "installed", lambda _path: there)
    environment = {"python": "2.7", "executable": "/old/python"}
    lay_record(root, a_record(root, packages={"numpy": "1.0", "gone": "1.0"}, environment=environment))
    record = accepted(root)
    assert record.packages == {"numpy": "2.0"}
    assert record.environment == {"python": python_version(sys.executable), "executable": sys.executable}
    assert reasons(root) == ()


def test_versions_of_another_interpreter_are_accepted(root, monkeypatch):
    monkeypatch.setattr(up_to_date, "installed", lambda path: {"numpy": "2.0"} if path == ("/lib",) else {})
    monkeypatch.setattr(up_to_date, "python_version", {"/other/python": "3.99.2"}.get)
    environment = {"python": "3.99.1", "executable": "/other/python", "kernel_path": "/lib"}
    lay_record(root, a_record(root, packages={"numpy": "1.0"}, environment=environment))
    assert accepted(root).environment == {**environment, "python": "3.99.2"}
    assert reasons(root) == ()


@pytest.mark.parametrize("name", [FLOW, "flows/helper.py", "data/zones.csv"])
def test_what_changed_while_the_flow_ran_is_accepted_as_it_is(root, name):
    record = a_record(root)
    lay_record(root, record.with_(inputs={**record.inputs, name: UNSTABLE}))
    assert accepted(root).inputs[name] == file_digest(root / name)
    assert reasons(root) == ()


@pytest.mark.parametrize(
    ("file", "code", "module"),
    [
        (FLOW, "import new", "flows/new.py"),
        (FLOW, "import new", "new.py"),
        (FLOW, "from pack import new", "pack/new.py"),
        ("flows/helper.py", "import new", "flows/new.py"),
        ("src/src_helper.py", "x = 2\nimport new", "src/new.py"),
        ("src/src_helper.py", "x = 2\nfrom .new import y", "src/new.py"),
    ],
)
def test_a_module_that_the_code_imports_now_is_an_input_from_then_on(root, file, code, module):
    lay_record(root, a_record(root))
    lay(root / file, f"{PARAMETERS}# %%\nimport helper\n{code}\n" if file == FLOW else f"{code}\n")
    lay(root / module, "y = 1\n")
    accepted(root)
    assert reasons(root) == ()
    lay(root / module, "y = 1  # one\n")
    assert reasons(root) == ()
    lay(root / module, "y = 2\n")
    assert reasons(root) == (f"module {module} changed",)


def test_what_the_config_names_now_is_an_input_from_then_on(root):
    lay_record(root, a_record(root))
    lay(root / "data/trips.csv", "trips")
    instance = an_instance(root, {"table": "data/trips.csv"})
    accepted(root, instance)
    lay(root / "data/trips.csv", "more trips")
    assert reasons(root, instance) == ("input data/trips.csv changed",)


def test_what_the_instance_wrote_elsewhere_does_not_become_an_input(root):
    lay(root / FLOW, f"{PARAMETERS}# %%\nimport helper\nwrite(root / 'shared' / 'results.csv')\n")
    lay_record(root, a_record(root))
    EDITS["module"](root)
    assert "shared/results.csv" not in accepted(root).inputs


def test_what_upstreams_have_written_is_accepted(root):
    lay_record(root, a_record(root))
    etl = Instance(str(root / "flows/etl.py"), "etl", "B", {}, str(root / "runs/etl/B"), str(root))
    record = Record(Status.SUCCESS, "flows/etl.py", "etl", "B", "runs/etl/B", outputs={"etl.csv": "sha256:1"})
    lay_record(root, record)
    accepted(root, declared=(("etl/B", etl),))
    assert check(an_instance(root), read(root), [("etl/B", record)], "").reasons == ()
    lay(root / "runs/etl/B/etl.csv", "other")
    assert reasons(root) == ("input runs/etl/B/etl.csv changed",)


# Builds


@pytest.fixture
def build(root: Path) -> Path:
    flow = a_flow(root)
    lay_record(root, flow)
    lay_record(root, a_record(root, flows=(flow,)))
    return root


def test_a_build_is_accepted_with_its_flows(build):
    lay(build / "flows/part.py", f"{PARAMETERS}# %%\nimport parts\n")
    lay(build / "flows/parts.py", "y = 1\n")
    accepted(build)
    assert reasons(build) == ()
    (nested,) = read(build).flows
    assert read(build, PART, "part") == nested
    assert set(nested.inputs) == {"flows/part.py", "flows/parts.py", "data/zones.csv"}
    lay(build / "flows/parts.py", "y = 2\n")
    assert reasons(build) == ("module flows/parts.py changed",)


@pytest.mark.parametrize("state", ["newer", "gone"])
def test_a_flow_that_ran_again_since_or_is_gone_keeps_what_it_has(build, state):
    files = RunFiles(build / PART, "part")
    if state == "newer":
        lay_record(build, a_flow(build, started="2026-02-02T00:00:00.000+00:00"))
    else:
        files.record.unlink()
    before = record_files.read_record(files.record)
    lay(build / "flows/part.py", f"{PARAMETERS}# %%\nx = 2\n")
    accepted(build)
    assert reasons(build) == ()
    assert record_files.read_record(files.record) == before
