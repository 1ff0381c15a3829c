"""Figures in the reports of sessions, of records alone, of merged shards, and in archives."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL")

from click.testing import CliRunner
from helpers.pictures import SVG_WITH_SCRIPT, draw_figure, noisy
from helpers.projects import write_project
from helpers.sessions import own_environment, run_session

from pytest_ductaflow.command_line.main import main
from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.listing import digest
from pytest_ductaflow.core.run_directory.record_files import write_config, write_record
from pytest_ductaflow.report.live import LiveReport
from pytest_ductaflow.report.page import read, render

REPORT = "conductor_status_report.html"


def leave(root: Path, name: str) -> tuple[Instance, Record]:
    """Leave the run directory of an instance with two figures."""
    run_dir = root / "runs/fit" / name
    instance = Instance(str(root / "flows/fit.py"), "fit", name, {"name": name}, str(run_dir), str(root))
    write_config(RunFiles.of(instance), instance.full_config)
    noisy(run_dir / "a.png")
    (run_dir / "b.svg").write_text(SVG_WITH_SCRIPT)
    outputs = {each: digest(run_dir / each) for each in ("a.png", "b.svg")}
    record = Record(Status.SUCCESS, "flows/fit.py", "fit", name, f"runs/fit/{name}", "2030", outputs=outputs)
    record = record.with_(source="conductor.py")
    write_record(RunFiles.of(instance), record)
    return instance, record


def small_of(record: Record) -> str:
    return f"{record.outputs['a.png'][7:27]}-640.webp"


def figures(page: Path) -> dict[str, Any]:
    return {row["instance"]: row.get("figures") for row in read(page)["rows"]}


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(name="project")
def make_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flows").mkdir()
    for name in ("flows/fit.py", "conductor.py"):
        (tmp_path / name).write_text("")
    return tmp_path


def test_a_session_shows_images_at_once_and_its_page_gets_small_copies_later(project):
    instance, record = leave(project, "one")
    live = LiveReport(project, "pytest")
    live.add("x", instance, "pytest")
    live.ended("x", record)
    live.finish("finished", 0)
    assert figures(live.path)["one"] in ([["a.png"], ["b.svg"]], [["a.png", small_of(record)], ["b.svg"]])
    wait_for(lambda: figures(live.path)["one"] == [["a.png", small_of(record)], ["b.svg"]])
    assert (project / "runs/.figures" / small_of(record)).is_file()
    assert read(live.path)["outcome"] == "finished"


def test_the_next_session_has_them_from_the_start(project):
    instance, record = leave(project, "one")
    CliRunner().invoke(main, ["report"], catch_exceptions=False)
    live = LiveReport(project, "pytest")
    live.add("x", instance, "pytest", earlier=True)
    live.finish("finished", 0)
    assert figures(live.path)["one"] == [["a.png", small_of(record)], ["b.svg"]]
    assert live._figures._process is None


def test_while_a_session_runs_its_page_gets_small_copies(project):
    instance, record = leave(project, "one")
    live = LiveReport(project, "pytest")
    live.add("x", instance, "pytest")
    live.add("y", leave(project, "two")[0], "pytest")
    live.started("y")
    live.follow()
    live.ended("x", record)
    wait_for(
        lambda: live.path.exists() and figures(live.path)["one"] == [["a.png", small_of(record)], ["b.svg"]]
    )
    assert read(live.path)["finished"] is None
    live.finish("interrupted", 2)


def test_a_page_of_another_session_is_left_alone(project):
    """The process of the one before is not quite done when the next begins."""
    from pytest_ductaflow.report.figures.index import Index
    from pytest_ductaflow.report.figures.rewrite import rewrite

    instance, _ = leave(project, "one")
    live = LiveReport(project, "pytest")
    live.add("x", instance, "pytest")
    live._write()
    before = live.path.read_text()
    index = Index(project / "runs")
    index.folder.mkdir()
    index.add(("fit/one", "fit", "2030"), [["a.png"]])
    assert not rewrite(live.path, index)
    assert live.path.read_text() == before
    assert not rewrite(project / "none.html", index)


def test_an_archive_has_figures_and_small_copies_and_nothing_of_elsewhere(project, tmp_path_factory):
    secret = draw_figure(tmp_path_factory.mktemp("elsewhere") / "secret.png")
    _, record = leave(project, "one")
    (project / "runs/fit/one/link.png").symlink_to(secret)
    outputs = {**record.outputs, "link.png": digest(secret)}
    write_record(RunFiles(project / "runs/fit/one", "fit"), record.with_(outputs=outputs))
    result = CliRunner().invoke(main, ["report", "--zip", "sent.zip"], catch_exceptions=False)
    assert result.output.splitlines()[1] == "archive: sent.zip"
    top = f"{project.name}-report"
    with zipfile.ZipFile("sent.zip") as archive:
        names = {name.removeprefix(f"{top}/") for name in archive.namelist()}
        archive.extractall("unpacked")
    assert {"fit/one/a.png", "fit/one/b.svg", f".figures/{small_of(record)}"} <= names
    assert not any("link.png" in name or digest(secret)[7:27] in name for name in names)
    assert figures(Path("unpacked", top, REPORT))["one"][2][3] == "a link that leads out of its folder"


def test_merged_shards_keep_small_copies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = "1" * 20 + "-640.webp"
    for number, name in enumerate(("one", "two"), 1):
        runs = tmp_path / name
        rows = [
            {
                "id": f"c.py::fit::{each}", "source": "c.py", "step": "fit", "instance": each, "flow": "fit",
                "shard": shard, "status": "success", "earlier": shard != number, "directory": f"fit/{each}",
                "figures": [["a.png", small], ["x.png", "../../secret.webp"]] if shard == number else [],
            }
            for shard, each in enumerate(("one", "two"), 1)
        ]  # fmt: skip
        draw_figure(runs / "fit" / name / "a.png")
        draw_figure(runs / ".figures" / small)
        header = {"schema": 2, "title": "p", "shard": f"{number}/2", "outcome": "finished", "exit_code": 0}
        times = {"started": "2030", "finished": "2031", "updated": "2031", "workers": 1}
        (runs / REPORT).write_text(render({**header, **times, "rows": rows}), encoding="utf-8")
    result = CliRunner().invoke(main, ["merge", "one", "two"])
    assert result.exit_code == 0, result.output
    assert [path.name for path in Path("runs/.figures").iterdir()] == [small]
    assert Path("runs/fit/two/a.png").is_file()


FLOW = """
# %% tags=["parameters"]
config = {}
# %%
import base64, pathlib
from IPython.display import Image, display
from PIL import Image as Picture
Picture.effect_noise((900, 600), 80).save("noise.png")
display(Image(filename="noise.png"))
"""


@pytest.mark.slow
def test_a_session_of_pytest_leaves_figures_of_files_and_of_notebooks(tmp_path):
    table = 'from pytest_ductaflow import conduct\nconduct("flows/x.py", [{"instance_name": "a"}])\n'
    write_project(tmp_path, {"conductor.py": table, "flows/x.py": FLOW})
    command = ("-p", "no:cacheprovider", "--ductaflow", "conductor.py")
    run_session(tmp_path, *command, environment=own_environment()).check_returncode()
    page = tmp_path / "runs" / REPORT
    wait_for(lambda: len((figures(page)["a"] or [[]])[-1]) == 3)
    (file, small), (cell, small_of_cell, own) = figures(page)["a"]
    assert (file, cell) == ("noise.png", "x, cell 3")  # after the parameters, and those of the run
    assert small == small_of_cell
    assert (tmp_path / "runs/.figures" / own).read_bytes() == (tmp_path / "runs/x/a/noise.png").read_bytes()
    assert not os.path.exists(tmp_path / "runs/x/a/.figures")
