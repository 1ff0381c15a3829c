"""How the last runs of instances ended is kept in a file for each step, and shown in the report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import folders_with_records, records
from pytest_ductaflow.planning.history.remove_runs import undeclared
from pytest_ductaflow.report import history
from pytest_ductaflow.report.history import MOST_LINES, RUNS_KEPT, RunHistory, most_shown
from pytest_ductaflow.report.live import LiveReport
from pytest_ductaflow.report.page import read


def ended(name: str, started: str, status: str = "success", seconds: float = 1.0) -> dict[str, Any]:
    return {
        "step": "fit",
        "directory": f"fit/{name}",
        "flow": "fit",
        "started": started,
        "status": status,
        "duration": seconds,
    }


def lines(runs: Path, step: str = "fit") -> list[dict[str, Any]]:
    text = (runs / f".history/{step}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(name="runs")
def make_runs(tmp_path: Path) -> Path:
    for name in "ab":
        (tmp_path / "runs/fit" / name).mkdir(parents=True)
    return tmp_path / "runs"


def test_runs_are_kept_with_their_numbers(runs):
    kept = RunHistory(runs)
    kept.add(ended("a", "2030-01-01"), {"results": {"rmse": 0.5, "kind": "ols", "ok": True, "n": 2**70}})
    kept.add(ended("a", "2030-01-02", "error", 3.0), {"results": {"rmse": 0.25, "more": 1}})
    kept.add(ended("b", "2030-01-03"), {})
    kept.flush()
    assert [(line["directory"], line["results"]) for line in lines(runs)] == [
        ("fit/a", {"results": {"rmse": 0.5}}),
        ("fit/a", {"results": {"rmse": 0.25, "more": 1}}),
        ("fit/b", {}),
    ]
    for each in (kept, RunHistory(runs)):
        assert each.shown(ended("a", ""), 20) == {
            "runs": [["2030-01-01", "success", 1.0, 0.5, None], ["2030-01-02", "error", 3.0, 0.25, 1]],
            "places": [["results", "rmse"], ["results", "more"]],
            "kept": 2,
        }
    assert RunHistory(runs).shown(ended("c", ""), 20) is None
    assert RunHistory(runs).shown(ended("a", ""), 1)["runs"] == [["2030-01-02", "error", 3.0, 0.25, 1]]


def test_a_run_that_is_known_is_not_kept_twice(runs):
    for _ in range(2):
        kept = RunHistory(runs)
        kept.add(ended("a", "2030-01-01"), {})
        kept.add(ended("a", "2030-01-01"), {})
        kept.add({**ended("a", ""), "started": None}, {})
        kept.flush()
    assert len(lines(runs)) == 1


def test_the_oldest_runs_and_instances_that_are_gone_are_left_out_at_times(runs, monkeypatch):
    monkeypatch.setattr(history, "_SLACK", 5)
    kept = RunHistory(runs)
    kept.add(ended("gone", "2029"), {})
    for n in range(60):
        kept.add(ended("a", f"2030-{n:03}"), {})
        kept.flush()
    assert len(lines(runs)) <= RUNS_KEPT + 1 + 6
    assert "fit/gone" not in {line["directory"] for line in lines(runs)}
    shown = RunHistory(runs).shown(ended("a", ""), 100)["runs"]
    assert [run[0] for run in shown] == [f"2030-{n:03}" for n in range(40, 60)]


def test_large_steps_keep_fewer_runs():
    assert history._kept_of(10) == history._kept_of(MOST_LINES // RUNS_KEPT) == RUNS_KEPT
    assert history._kept_of(10_000) == 2
    assert [most_shown(rows) for rows in (0, 500, 1_000, 10_000, 50_000)] == [20, 20, 10, 1, 0]


@pytest.mark.parametrize(
    "text",
    ["", "torn", "[1]\n{}\nnull\n", '{"directory": 3}\n', "\x00\xff\n", '{"a": ' * 5000],
    ids=["empty", "torn", "others", "types", "binary", "deep"],
)
def test_what_is_no_history_is_left_and_added_to(runs, text):
    (runs / ".history").mkdir()
    (runs / ".history/fit.jsonl").write_text(text, encoding="latin-1")
    kept = RunHistory(runs)
    kept.add(ended("a", "2030"), {})
    kept.flush()
    assert len(RunHistory(runs).shown(ended("a", ""), 20)["runs"]) == 1


def test_a_folder_that_cannot_be_written_keeps_no_history(runs):
    (runs / ".history").write_text("in the way")
    kept = RunHistory(runs)
    kept.add(ended("a", "2030"), {})
    kept.flush()
    assert kept.shown(ended("a", ""), 20)["kept"] == 1


WRITER = """
import sys
from pathlib import Path
from pytest_ductaflow.report import history
history._SLACK = 30
runs, me = Path(sys.argv[1]), sys.argv[2]
kept = history.RunHistory(runs)
for n in range(40):
    row = {"step": "fit", "directory": f"fit/{me}", "flow": "fit", "started": f"{n:03}", "status": "success",
           "duration": 1.0}
    kept.add(row, {"results": {"n": n}})
    kept.flush()
"""


def test_sessions_at_the_same_time_lose_nothing(runs):
    """Each writes a line at a time, and the file is shortened in between."""
    command = [sys.executable, "-c", WRITER, str(runs)]
    writers = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for name in "ab":
        shown = RunHistory(runs).shown(ended(name, ""), 20)["runs"]
        assert [run[3] for run in shown] == list(range(20, 40))


def test_it_is_no_run_directory_and_nobody_s_leftover(runs):
    kept = RunHistory(runs)
    kept.add({**ended("a", "2030"), "step": "deep/fit"}, {})
    kept.flush()
    assert lines(runs, "deep/fit")
    assert not [*records(runs)]
    assert not [*folders_with_records(runs, ())]
    assert undeclared(runs) == []
    assert not [*runs.glob("*/*.json*")]


# ---- In the report


def run_once(root: Path, started: str, status: Status, rmse: float) -> dict[str, Any]:
    """Let a session with a report run an instance; return its row."""
    directory = root / "runs/fit/a"
    directory.mkdir(parents=True, exist_ok=True)
    instance = Instance(str(root / "flows/fit.py"), "fit", "a", {}, str(directory), str(root))
    (directory / "results.json").write_text(json.dumps({"rmse": rmse}))
    RunFiles.of(instance).log.write_text("one\ntwo\n")
    report = LiveReport(root, "pytest")
    report.add("c.py::fit::a", instance, "pytest c.py::fit::a")
    record = Record(status, "flows/fit.py", "fit", "a", "runs/fit/a", started, 2.0)
    report.ended("c.py::fit::a", record.with_(outputs={"results.json": "1f"}, worker="gw3"))
    report.finish("finished")
    (row,) = read(report.path)["rows"]
    return row


def test_a_session_adds_its_runs(tmp_path):
    run_once(tmp_path, "2030-01-01T10:00:00.000+00:00", Status.SUCCESS, 0.5)
    row = run_once(tmp_path, "2030-01-02T10:00:00.000+00:00", Status.WARNING, 0.25)
    assert row["history"]["runs"] == [
        ["2030-01-01T10:00:00.000+00:00", "success", 2.0, 0.5],
        ["2030-01-02T10:00:00.000+00:00", "warning", 2.0, 0.25],
    ]
    assert row["tail"] == ["one", "two"]
    assert row["worker"] == "gw3"


def test_an_unchanged_instance_adds_none(tmp_path):
    for _ in range(2):
        row = run_once(tmp_path, "2030-01-01T10:00:00.000+00:00", Status.SUCCESS, 0.5)
    assert len(row["history"]["runs"]) == 1
