"""Projects for the first and the last early release of ductaflow run unchanged, with the same files.

As a script, under pytest and with workers: in a fresh folder, a second time, and after inputs were edited. No
line of them is changed; pytest gets the option `--ductaflow-defer`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.ages import COMMANDS, SESSIONS, STEPS
from helpers.projects import write_project
from helpers.sessions import run

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

PYTEST = (
    *("-m", "pytest", "-p", "no:cacheprovider", "-v", "conductor.py"),
    *("--ductaflow", "--ductaflow-html=all", "--ductaflow-defer"),
)
WAYS = {"script": ("conductor.py",), "pytest": PYTEST, "workers": (*PYTEST, "-n", "2")}


def outcomes(result: pytest.RunResult) -> dict[str, str]:
    """Return how each item of a session ended."""
    text = result.stdout.str()
    found = re.findall(r"^(?:\[gw\d\] \[ *\d+%\] (\w+) )?conductor\.py::(\S+)(?: (\w+))?", text, re.MULTILINE)
    return {name: before or behind for before, name, behind in found if before or behind}


def read(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


def statuses(root: Path) -> dict[str, str]:
    """Return the status of all runs, by run directory."""
    return {
        path.parent.relative_to(root / "runs").as_posix(): read(path)["status"]
        for path in sorted((root / "runs").rglob("*_record.json"))
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    }


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def left(stem: str) -> set[str]:
    """Return the names of the files that each run of a flow leaves."""
    ends = ("config.json", "executed.ipynb", "executed.html", "execution_output.txt", "record.json")
    return {f"{stem}_{end}" for end in ends}


def rounds(root: Path, way: str, edits: dict[str, str]) -> Iterator[tuple[str, pytest.RunResult]]:
    """Run a project in a fresh folder, again, and after edits; a script runs everything each time."""
    for round_ in ("fresh", "again", "edited") if way != "script" else ("fresh", "edited"):
        if round_ == "edited":
            write_project(root, edits)
        result = run(root, *WAYS[way])
        assert result.ret == 0, result.stdout.str() + result.stderr.str()
        yield round_, result


STEPS_RUNS = {
    "clean/counts": "success",
    "forecast/NET_2030": "success",
    "forecast/NET_2040": "warning",
    "forecast/NET_2040_BUS": "success",
    "report/detailed_report": "success",
    "report/summary_report": "success",
}
STEPS_EDITS = {
    "raw/counts.csv": "zone,trips\nnorth,100\nsouth,\nwest,60\n",
    "study.json": '{"source": "raw/counts.csv", "missing": 20, "rate": 2}',
}


@pytest.mark.parametrize("way", WAYS)
def test_a_project_that_changes_into_its_run_directories_and_delivers_each_run(tmp_path, way):
    root = write_project(tmp_path / "project", STEPS)
    for round_, result in rounds(root, way, STEPS_EDITS):
        is_edited = round_ == "edited"
        over = {name: "warning" for name in STEPS_RUNS if name.startswith("forecast")} if is_edited else {}
        assert statuses(root) == STEPS_RUNS | over
        west, growths = (60, (1.2, 1.4, 1.3)) if is_edited else (40, (1.1, 1.2, 1.1))
        folders = ("roads/NET_2030", "roads/NET_2040", "planning/NET_2040_BUS")
        for name, growth in zip(folders, growths, strict=True):
            trips = {"north": 100, "south": 20, "west": west}
            delivered = root / "client" / name
            run_dir = root / "runs/forecast" / delivered.name
            assert read(delivered / "forecast.json") == {k: round(v * growth) for k, v in trips.items()}
            assert (
                names(delivered) == left("02_forecast") | {"CONFIG.json", "forecast.json"} == names(run_dir)
            )
            config = read(run_dir / "CONFIG.json")
            assert config["growth"] == pytest.approx(growth)
            given = read(run_dir / "02_forecast_config.json")
            assert (
                given == {**config, "_project_root": str(root)} == read(delivered / "02_forecast_config.json")
            )
        total = 252 if is_edited else 192
        assert read(root / "client/reports.json") == {"reports": [f"detailed: {total}", f"summary: {total}"]}
        if way != "script":
            ended = {"success": "PASSED", "warning": "WARNED"}
            expected = {name.replace("/", "::"): ended[status] for name, status in statuses(root).items()}
            expected["after"] = "PASSED"
            if round_ == "again":
                expected = {
                    name: "WARNED" if how == "WARNED" else "UNCHANGED" for name, how in expected.items()
                }
            assert outcomes(result) == expected


SESSIONS_RUNS = {
    "assessment/Double": "warning",
    "assessment/Double/execution/assign": "warning",
    "assessment/Double/execution/prepare": "success",
    "assessment/Today": "success",
    "assessment/Today/execution/assign": "success",
    "assessment/Today/execution/prepare": "success",
    "overall/evaluate": "success",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_project_of_builds_with_loggers_that_collects_results_at_its_end(tmp_path, way):
    root = write_project(tmp_path / "project", SESSIONS)
    if way == "script":
        (root / "ductaflow.py").unlink()  # Python would find it before any installed package
    edited = SESSIONS["conductor.py"].replace('"capacity": 70', '"capacity": 90')
    edits = {"data/trips.csv": "zone,trips\na,20\nb,30\n", "conductor.py": edited}
    for round_, result in rounds(root, way, edits):
        is_edited = round_ == "edited"
        assert statuses(root) == SESSIONS_RUNS
        today, double = (50.0, 100.0) if is_edited else (40.0, 80.0)
        assert read(root / "delivery/summary.json") == {"Today": today, "Double": double}
        ranking = ["scenario,load", f"Double,{double}", f"Today,{today}"]
        assert (root / "delivery/ranking.csv").read_text().split() == ranking
        assert names(root / "delivery") == {"Today.csv", "Double.csv", "ranking.csv", "summary.json"}
        for name in ("Today", "Double"):
            run_dir = root / "runs/assessment" / name
            assert names(run_dir) == left("assessment") | {"config.json", "execution"}
            assert read(run_dir / "config.json")["capacity"] == (90 if is_edited else 70)
            assert names(run_dir / "execution/assign") == left("assign") | {"loads.csv"}
            assert read(run_dir / "execution/assign/assign_config.json")["_flow_name"] == "assign"
        log = (root / "runs/assessment/Double/execution/assign/assign_execution_output.txt").read_text()
        assert "starting assign" in log
        assert f"⚠️ {double} is more than {90 if is_edited else 70}" in log
        told = read(root / "runs/conductor_results.json")["results"]
        assert [(each["scenario"], each["status"]) for each in told] == [
            ("Today", "success"),
            ("Double", "success"),
        ]
        (session_log,) = (root / "session_outputs").iterdir()
        assert "all scenarios completed" in session_log.read_text(encoding="utf-8")
        if way == "script":
            continue
        kept = round_ == "again"
        assert outcomes(result) == {
            "assessment::Today": "UNCHANGED" if kept else "PASSED",
            "assessment::Double": "WARNED",
            "overall::evaluate": "UNCHANGED" if kept else "PASSED",
            "after": "UNCHANGED" if kept else "PASSED",
        }


@pytest.mark.parametrize("way", WAYS)
def test_a_conductor_that_starts_flows_as_programs(tmp_path, way):
    root = write_project(tmp_path / "project", COMMANDS)
    edits = {"conductor.py": COMMANDS["conductor.py"].replace('"number": 2', '"number": 5')}
    for round_, result in rounds(root, way, edits):
        two = 10 if round_ == "edited" else 4
        assert (root / "total.txt").read_text() == str(2 + two)
        assert read(root / "runs/double/two/double.json") == {"value": two}
        log = (root / "runs/double/two/double_execution_output.txt").read_text(encoding="utf-8")
        assert f"doubled {two // 2}" in log
        if way == "script":
            continue
        assert statuses(root) == {"double/one": "success", "double/two": "success"}
        changed = "UNCHANGED" if round_ == "again" else "PASSED"
        expected = {"double::one": "PASSED" if round_ == "fresh" else "UNCHANGED", "double::two": changed}
        assert outcomes(result) == expected | {"after": changed}
        told = (root / "runs/.after/conductor/conductor_execution_output.txt").read_text(encoding="utf-8")
        assert "doubled" not in told  # nothing has run twice


def test_without_the_option_it_is_said_what_waits_and_what_to_type(tmp_path):
    root = write_project(tmp_path / "project", STEPS)
    result = run(root, *(word for word in PYTEST if word != "--ductaflow-defer"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "conductor.py:40 lists runs/clean, which clean/counts is going to write" in result.stderr.str()
    assert "--ductaflow-defer" in result.stderr.str()
    assert not (root / "client").exists()


def test_a_flow_runs_from_the_command_line_with_its_own_config(tmp_path):
    root = write_project(tmp_path / "project", {n: t for n, t in SESSIONS.items() if n != "ductaflow.py"})
    result = run(root, "flows/prepare.py")
    assert result.ret == 0, result.stderr.str()
    assert read(root / "demand.json") == {"a": 20.0, "b": 60.0}
    result = run(
        root, "flows/prepare.py", "--config", "config/flows/prepare.json", "--output-dir", "runs/by_hand"
    )
    assert result.ret == 0, result.stderr.str()
    assert read(root / "runs/by_hand/demand.json") == {"a": 20.0, "b": 60.0}
    assert read(root / "runs/by_hand/prepare_config.json")["factor"] == 2
    shutil.rmtree(root / "runs")
    result = run(root, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "flows/prepare.py")
    result.assert_outcomes(passed=1)
