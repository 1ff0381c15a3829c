"""The report from session to session: the overview is kept, and results and changes are in it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from helpers.sessions import PATIENCE, wait_for

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Failure, Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import write_config, write_record
from pytest_ductaflow.report.live import LiveReport
from pytest_ductaflow.report.page import read

CONDUCTOR = "conductor.py"


def instance_of(root: Path, name: str, step: str = "fit") -> Instance:
    flow, directory = root / "flows/fit.py", root / "runs" / step / name
    return Instance(str(flow), step, name, {"name": f"config of {name}"}, str(directory), str(root))


def end(
    live: LiveReport, instance: Instance, node_id: str, status: Status = Status.SUCCESS, **results: Any
) -> None:
    """Leave the files of an instance that has ended, and tell the report."""
    files = RunFiles.of(instance)
    write_config(files, instance.full_config)
    (files.directory / "results.json").write_text(json.dumps(results))
    error = Failure("ValueError", "no data", cell=2) if status is Status.ERROR else None
    record = Record(
        status, "flows/fit.py", instance.step, instance.name, f"runs/{instance.step}/{instance.name}",
        duration=1.0, error=error, outputs={"results.json": "1f", "data/more.json": "2f"},
    )  # fmt: skip
    write_record(files, record)
    live.ended(node_id, record)


def session(
    root: Path, *names: str, source: str = CONDUCTOR, kept: bool = True, **values: float
) -> dict[str, Any]:
    """Run a session of some instances, each with the results {"x": value}; return the data of its report."""
    live = LiveReport(root, "pytest")
    for name in names:
        live.add(f"{source}::fit::{name}", instance_of(root, name), f"pytest {source}::fit::{name}")
    live.keep_others({source} if source == CONDUCTOR else set(), lambda _: kept)
    for name in names:
        end(live, instance_of(root, name), f"{source}::fit::{name}", x=values.get(name, 1.0))
    assert live.finish("finished", 0) is None
    return read(live.path)


def shown(data: dict[str, Any]) -> dict[str, bool]:
    return {row["instance"]: row["earlier"] for row in data["rows"]}


def test_one_instance_again_by_its_folder_keeps_the_overview(tmp_path):
    session(tmp_path, "a", "b", "c")
    data = session(tmp_path, "b", source="runs/fit/b")
    assert shown(data) == {"a": True, "b": False, "c": True}
    row = data["rows"][1]
    assert (row["id"], row["source"]) == (f"{CONDUCTOR}::fit::b", CONDUCTOR)
    assert row["command"] == f"pytest {CONDUCTOR}::fit::b"
    assert [each["results"] for each in data["rows"]] == [{"results": {"x": 1.0}}] * 3


def test_a_session_of_other_instances_keeps_them_after_its_own(tmp_path):
    session(tmp_path, "a", "b")
    data = session(tmp_path, "gate", source="tests/instances/fit/gate")
    assert shown(data) == {"gate": False, "a": True, "b": True}


def test_what_is_declared_no_more_is_dropped(tmp_path):
    session(tmp_path, "a", "b")
    assert shown(session(tmp_path, "b", source="runs/fit/b", kept=False)) == {"b": False}
    session(tmp_path, "a", "b")
    assert shown(session(tmp_path, "b", "c")) == {"b": False, "c": False}


@pytest.mark.parametrize("text", ["", "no page", '<script id="ductaflow-data">{"rows":[[]]}</script>', None])
def test_a_report_that_cannot_be_read_counts_as_none(tmp_path, text):
    path = tmp_path / "runs/conductor_status_report.html"
    path.parent.mkdir()
    if text is None:
        path.mkdir()
    else:
        path.write_text(text)
    live = LiveReport(tmp_path, "pytest")
    assert live._data["previous"] is None
    if text is not None:
        assert shown(session(tmp_path, "a")) == {"a": False}


def test_a_session_is_compared_with_the_one_before(tmp_path):
    first = session(tmp_path, "a", "b", a=1.0, b=1.0)
    assert first["changes"] == {"rows": {}, "moved": [], "compared": 0}
    second = session(tmp_path, "a", "b", a=1.0, b=1.5)
    assert second["previous"] == first["finished"]
    assert second["changes"]["moved"] == [{"name": "x", "rows": [1], "largest": 0.5}]
    assert second["changes"]["compared"] == 2


def test_a_session_that_was_killed_is_no_reason_to_compare_with_nothing(tmp_path):
    session(tmp_path, "a", "b", a=1.0, b=1.0)
    live = LiveReport(tmp_path, "pytest")
    for name in ("a", "b"):
        live.add(f"{CONDUCTOR}::fit::{name}", instance_of(tmp_path, name), "pytest")
    live._write()  # and nothing more
    data = session(tmp_path, "a", "b", a=2.0, b=1.0)
    assert [moved["rows"] for moved in data["changes"]["moved"]] == [[0]]


def test_results_have_the_columns_of_results(tmp_path):
    """Names that two columns would have are told apart in the same way."""
    live = LiveReport(tmp_path, "pytest")
    instance = instance_of(tmp_path, "a")
    live.add("a", instance, "pytest")
    end(live, instance, "a", name="x", fit={"rmse": 0.5}, duration=3)
    live.finish("finished", 0)
    data = read(live.path)
    assert [column["name"] for column in data["columns"]["results"]] == [
        "name",
        "fit.rmse",
        "results.duration",
    ]
    assert [column["name"] for column in data["columns"]["config"]] == ["config.name"]


def test_a_large_file_is_data_and_no_results(tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_ductaflow.report.live.LARGEST_RESULTS", 20)
    live = LiveReport(tmp_path, "pytest")
    for name, text in (("a", "short"), ("b", "x" * 30)):
        live.add(name, instance_of(tmp_path, name), "pytest")
        end(live, instance_of(tmp_path, name), name, t=text)
    live.finish("finished", 0)
    assert [row["results"] for row in read(live.path)["rows"]] == [{"results": {"t": "short"}}, {}]


def test_what_another_session_runs_meanwhile_has_no_results_of_before(tmp_path):
    instance = instance_of(tmp_path, "a")
    session(tmp_path, "a", a=5.0)
    live = LiveReport(tmp_path, "pytest")
    live.add("a", instance, "pytest", earlier=True)
    live.add("b", instance_of(tmp_path, "b"), "pytest")
    live._write()  # as the thread does
    assert [row["results"] for row in read(live.path)["rows"]] == [{"results": {"x": 5.0}}, {}]
    files = RunFiles.of(instance)
    (files.directory / "results.json").unlink()
    record = Record(Status.ERROR, "flows/fit.py", "fit", "a", "runs/fit/a", error=Failure("ValueError", ""))
    write_record(files, record)
    live.finish("finished", 0)
    row = read(live.path)["rows"][0]
    assert (row["status"], row["results"]) == ("error", {})


def test_a_failure_has_its_cause(tmp_path):
    live = LiveReport(tmp_path, "pytest")
    live.add("a", instance_of(tmp_path, "a"), "pytest")
    end(live, instance_of(tmp_path, "a"), "a", Status.ERROR)
    live.finish("finished", 1)
    data = read(live.path)
    assert data["rows"][0]["cause"] == {"flow": "fit", "cell": 2, "type": "ValueError", "message": "no data"}
    (cause,) = data["causes"]
    assert (cause["step"], cause["type"], cause["message"], cause["rows"]) == (
        "fit",
        "ValueError",
        "no data",
        [0],
    )


def test_a_failure_has_code_and_last_output_and_all_have_files_and_neighbours(tmp_path):
    live = LiveReport(tmp_path, "pytest")
    instance = instance_of(tmp_path, "a")
    live.add("a", instance, "pytest")
    files = RunFiles.of(instance)
    files.directory.mkdir(parents=True)
    files.log.write_text("".join(f"line {n}\n" for n in range(30)) + "x" * 900 + "\n")
    code = "one = 1\nraise ValueError\n"
    record = Record(
        Status.ERROR,
        "flows/fit.py",
        "fit",
        "a",
        "runs/fit/a",
        error=Failure("ValueError", "", cell=2, source=code, line=2, file_line=12),
        inputs={"flows/fit.py": "1f", "data/": "2f", "data/zones.csv": "3f"},
        outputs={f"{n}.csv": "1f" for n in range(40)},
        upstreams=("prepare/a",),
    )
    live.ended("a", record)
    live.finish("finished", 1)
    (row,) = read(live.path)["rows"]
    assert row["code"] == "  11  one = 1\n> 12  raise ValueError"
    assert row["tail"] == [*(f"line {n}" for n in range(21, 30)), "x" * 500]
    assert (row["inputs"], row["upstreams"]) == (["flows/fit.py", "data/zones.csv"], ["prepare/a"])
    assert (len(row["outputs"]), row["outputs"][-1]) == (31, "… and 10 more")


def test_a_running_instance_has_its_last_line(tmp_path):
    live = LiveReport(tmp_path, "pytest")
    instance = instance_of(tmp_path, "a")
    live.add("a", instance, "pytest")
    live.started("a")
    assert not live._logs_moved()
    files = RunFiles.of(instance)
    files.directory.mkdir(parents=True)
    files.log.write_text("epoch 1\nepoch 2\n\nepo")
    assert live._logs_moved()
    assert not live._logs_moved()
    assert live._rows["a"]["last_line"] == "epoch 2"
    end(live, instance, "a")
    assert "last_line" not in live._rows["a"]


def writes_of(live: LiveReport, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list in which each write of a report is noted."""
    written: list[float] = []
    write = live._write
    monkeypatch.setattr(live, "_write", lambda: (written.append(time.monotonic()), write()))
    return written


def unchanged_record(name: str) -> Record:
    return Record(Status.SUCCESS, "flows/fit.py", "fit", name, f"runs/fit/{name}", unchanged=True)


def test_a_session_in_which_all_are_unchanged_writes_the_page_once(tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_ductaflow.report.live.ALL_UNCHANGED", 60.0)
    live = LiveReport(tmp_path, "pytest")
    written = writes_of(live, monkeypatch)
    glanced, wait = threading.Event(), live._has_run.wait
    monkeypatch.setattr(live._has_run, "wait", lambda seconds: glanced.set() or wait(seconds))
    for name in "abcde":
        live.add(name, instance_of(tmp_path, name), "pytest")
    live.follow()
    for name in "abcde":
        live.started(name)
        glanced.clear()
        assert glanced.wait(PATIENCE)
        live.ended(name, unchanged_record(name))
    assert not written
    live.finish("finished", 0)
    assert len(written) == 1
    assert all(row["unchanged"] for row in read(live.path)["rows"])


@pytest.mark.parametrize("runs_long", [True, False])
def test_the_page_follows_as_soon_as_an_instance_runs(tmp_path, monkeypatch, runs_long):
    monkeypatch.setattr("pytest_ductaflow.report.live.ALL_UNCHANGED", 600.0)
    live = LiveReport(tmp_path, "pytest")
    for name in "ab":
        live.add(name, instance_of(tmp_path, name), "pytest")
    live.follow()
    live.started("a")
    live.ended("a", unchanged_record("a"))
    live.started("b")
    if not runs_long:
        end(live, instance_of(tmp_path, "b"), "b")
    expected = "running" if runs_long else "success"

    def page_of_now() -> dict[str, Any] | None:
        page = read(live.path) if live.path.exists() else None
        return page if page is not None and page["rows"][1]["status"] == expected else None

    page = wait_for(page_of_now, "the first page")
    assert page["finished"] is None
    assert [row["unchanged"] for row in page["rows"]] == [True, False]
    live.finish("finished", 0)


def test_the_page_follows_if_all_being_unchanged_takes_longer_than_it_should(tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_ductaflow.report.live.ALL_UNCHANGED", 0.1)
    monkeypatch.setattr("pytest_ductaflow.report.live.GLANCE", 0.01)
    live = LiveReport(tmp_path, "pytest")
    glances, wait = itertools.count(), live._has_run.wait
    names = [f"i{number}" for number in range(5)]
    for name in names:
        live.add(name, instance_of(tmp_path, name), "pytest")

    def another_begins(seconds: float) -> bool:
        live.started(names[next(glances) % len(names)])
        return wait(seconds)

    monkeypatch.setattr(live._has_run, "wait", another_begins)
    began = time.monotonic()
    live.follow()
    wait_for(lambda: live.path.exists() or None, "the first page")
    assert time.monotonic() - began > 0.4  # of 0.1 s for each of five
    assert read(live.path)["finished"] is None
    live.finish("finished", 0)
