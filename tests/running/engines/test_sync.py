"""Projects that go to workers without shared files, and run directories that come back from them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.projects import write_project

from pytest_ductaflow.core.errors import EngineError
from pytest_ductaflow.core.instance import Instance, Neighbours
from pytest_ductaflow.core.record import Status
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.core.system.lineage import session_id
from pytest_ductaflow.running.engines.elsewhere import Elsewhere, prepared
from pytest_ductaflow.running.engines.protocol import Ended
from pytest_ductaflow.running.engines.sync import pack_project, place_of, receive, remove

BUILD = """\
    from ductaflow import run_step_flow
    run_step_flow("flows/grow.py", "grow", "a", {"x": 1})
    """
LIMIT = 10.0  # megabytes


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the id of a session whose workers have temporary files of their own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield session_id()
    remove(session_id())


@pytest.mark.slow
def test_run_directories_of_the_flows_of_a_build_come_back(tmp_path: Path, session: str) -> None:
    files = {"builds/all.py": BUILD, "flows/grow.py": 'open("grown.txt", "w").write("1")'}
    root = write_project(tmp_path / "project", files)
    instance = Instance(str(root / "builds/all.py"), "all", "one", {}, str(root / "runs/all/one"), str(root))
    run = prepared(instance, Settings(html="none", sync=True), Neighbours(), print)
    assert isinstance(run, Elsewhere)
    work = run.work(0, Neighbours().made_beside, priority=1.0, cores=1, memory=None, resources={})
    receive(session, {str(root): pack_project(str(root), LIMIT)})
    record = run.completed(Ended(0, work.run("one")), None)
    assert record.status is Status.SUCCESS
    (flow,) = record.flows
    assert flow.run_dir == "runs/all/one/runs/grow/a"
    assert (root / flow.run_dir / "grown.txt").read_text() == "1"
    assert (root / flow.run_dir / "grow_record.json").exists()


LEAVES = """\
    import os
    from pathlib import Path
    Path("empty").mkdir(exist_ok=True)
    Path("real").mkdir()
    Path("real/in.txt").write_text("1")
    os.symlink("real", "link")
    """


@pytest.mark.slow
def test_empty_folders_and_links_to_folders_come_back(tmp_path: Path, session: str) -> None:
    root = write_project(tmp_path / "project", {"flows/a.py": LEAVES})
    instance = Instance(str(root / "flows/a.py"), "a", "one", {}, str(root / "runs/a/one"), str(root))
    receive(session, {str(root): pack_project(str(root), LIMIT)})
    for name in ("one", "two"):
        run = prepared(instance, Settings(html="none", sync=True, force=True), Neighbours(), print)
        assert isinstance(run, Elsewhere)
        work = run.work(0, Neighbours().made_beside, priority=1.0, cores=1, memory=None, resources={})
        record = run.completed(Ended(0, work.run(name)), None)
        assert record.status is Status.SUCCESS, record.error
        assert (root / "runs/a/one/empty").is_dir()
        assert os.readlink(root / "runs/a/one/link") == "real"
        assert (root / "runs/a/one/link/in.txt").read_text() == "1"


def test_project_goes_without_its_runs_but_with_other_folders_of_that_name(
    tmp_path: Path, session: str
) -> None:
    files = {"data/runs/a.csv": "1", "runs/a/b.csv": "2", "flows/venv/c.py": "3", "flows/d.py": "4"}
    root = write_project(tmp_path / "project", files)
    receive(session, {str(root): pack_project(str(root), LIMIT)})
    place = place_of(session, str(root))
    there = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    assert there == {"data/runs/a.csv", "flows/d.py"}


def test_project_that_cannot_be_written_is_told(tmp_path: Path, session: str) -> None:
    root = write_project(tmp_path / "project", {"flows/a.py": ""})
    data = pack_project(str(root), LIMIT)
    place_of(session, str(root)).parent.parent.write_text("a file")
    with pytest.raises(EngineError, match="cannot be written"):
        receive(session, {str(root): data})
