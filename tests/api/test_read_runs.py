"""What can be read from `runs/` after a session: results, lights, lists."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from pytest_ductaflow.api import read_runs
from pytest_ductaflow.api.read_runs import (
    analyze_execution_logs,
    generate_status_report,
    get_available_instances,
    print_available_instances,
    print_pipeline_status,
    results,
)
from pytest_ductaflow.core.record import Failure, Record, Status
from pytest_ductaflow.core.run_directory import record_files
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.report.page import data_of


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    (tmp_path / "flows").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(
    directory: Path,
    *,
    stem: str = "x",
    status: Status = Status.SUCCESS,
    config: object = None,
    outputs: dict[str, object] | None = None,
    log: str = "",
) -> None:
    """Write the files that an instance leaves."""
    files = RunFiles(directory, stem)
    record_files.write_config(files, {"_project_root": "/p", **(config or {})})
    for name, content in (outputs or {}).items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    files.log.write_text(log, encoding="utf-8")
    record = Record(
        status,
        f"flows/{stem}.py",
        directory.parent.name,
        directory.name,
        f"runs/{directory.parent.name}/{directory.name}",
        duration=1.5,
        outputs=dict.fromkeys(outputs or {}, "sha256:0"),
    )
    record_files.write_record(files, record)


def row_of(project: Path, **more) -> dict[str, object]:
    ran(project / "runs" / "s" / "A", **more)
    (row,) = results().to_dict("records")
    return row


def test_a_result_has_status_config_and_the_scalars_that_the_instance_wrote(project):
    row = row_of(
        project,
        status=Status.WARNING,
        config={"year": 2040, "p": {"m": "a", "n": {"o": 1}}, "list": [1, 2]},
        outputs={
            "fit.json": {"score": 0.5, "name": "ä", "ok": True, "deep": {"er": 1}, "none": None, "many": [1]}
        },
    )
    assert row == {
        "step": "s",
        "instance": "A",
        "status": "warning",
        "duration": 1.5,
        "year": 2040,
        "p.m": "a",
        "p.n.o": 1,
        "list": [1, 2],
        "score": 0.5,
        "name": "ä",
        "ok": True,
        "deep.er": 1,
    }


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"fit.json": {"year": 1}}, {"config.year": 2040, "year": 1}),
        ({"fit.json": {"year": 2040}}, {"config.year": 2040, "year": 2040}),
        (
            {"fit.json": {"status": "fine", "step": 3}},
            {"status": "success", "fit.status": "fine", "fit.step": 3},
        ),
        ({"a.json": {"z": 1}, "b.json": {"z": 2}}, {"a.z": 1, "b.z": 2}),
    ],
)
def test_names_that_config_and_results_or_two_files_share_are_told_apart(project, outputs, expected):
    row = row_of(project, config={"year": 2040}, outputs=outputs)
    assert expected.items() <= row.items()


@pytest.mark.parametrize("column", ["duration", "status", "step", "instance"])
def test_the_first_four_columns_are_those_of_the_record_whatever_the_config_says(project, column):
    expected = {"step": "s", "instance": "A", "status": "success", "duration": 1.5}
    assert row_of(project, config={column: "mine"})[column] == expected[column]


@pytest.mark.parametrize(
    "outputs",
    [
        {"torn.json": "{"},
        {"list.json": [1, 2]},
        {"number.json": 5},
        {"sub/deep.json": {"a": 1}},
        {"table.csv": "a\n1\n"},
        {"notjson.json": "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")},
    ],
    ids=lambda outputs: next(iter(outputs)),
)
def test_other_outputs_are_no_results(project, outputs):
    assert set(row_of(project, outputs=outputs)) == {"step", "instance", "status", "duration"}


def test_an_output_that_is_gone_does_not_matter(project):
    ran(project / "runs" / "s" / "A", outputs={"fit.json": {"a": 1}})
    (project / "runs" / "s" / "A" / "fit.json").unlink()
    assert results().shape == (1, 4)


def test_results_come_sorted_one_row_for_each_flow_in_a_directory(project):
    ran(project / "runs" / "t" / "A")
    ran(project / "runs" / "s" / "B", stem="x")
    ran(project / "runs" / "s" / "B", stem="y")
    ran(project / "runs" / "s" / "B" / "runs" / "inner" / "I")
    table = results()
    assert list(zip(table["step"], table["instance"], strict=True)) == [("s", "B"), ("s", "B"), ("t", "A")]


@pytest.mark.parametrize("make", [True, False])
def test_without_any_instance_there_are_the_columns_and_no_rows(project, make):
    if make:
        (project / "runs").mkdir()
    table = results()
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == ["step", "instance", "status", "duration"]
    assert len(table) == 0


def test_results_can_be_asked_of_any_folder(project, monkeypatch):
    ran(project / "elsewhere" / "s" / "A")
    assert len(results("elsewhere")) == len(results(project / "elsewhere")) == 1


def test_results_are_found_from_the_project_of_the_calling_file(project, monkeypatch):
    ran(project / "runs" / "s" / "A")
    script = project / "flows" / "look.py"
    script.write_text("from pytest_ductaflow import results\ntable = results()\n", encoding="utf-8")
    (project / "other").mkdir()
    monkeypatch.chdir(project / "other")
    variables: dict[str, pd.DataFrame] = {}
    exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), variables)
    assert len(variables["table"]) == 1


@pytest.mark.parametrize(
    ("statuses", "light"),
    [
        ([], "success"),
        (["success"], "success"),
        (["success", "warning"], "warning"),
        (["warning", "error", "success"], "error"),
        (["running"], "error"),
        (["blocked"], "error"),
    ],
)
def test_the_light_of_a_folder_is_the_worst_of_its_records(tmp_path, statuses, light):
    for number, status in enumerate(statuses):
        ran(tmp_path / "s" / str(number), status=Status(status), log="ERROR: the record knows better\n")
    assert analyze_execution_logs(tmp_path) == light


@pytest.mark.parametrize(
    ("log", "light"),
    [
        ("all fine\n", "success"),
        ("", "success"),
        ("line\n⚠️ low\n", "warning"),
        ("WARNING: low\n", "warning"),
        ("far behind: warning: low\n", "success"),
        ("❌ no\n⚠️ low\n", "error"),
        ("Error: no\n", "error"),
        ("ValueError: no\n", "error"),
        ("Exception: no\n", "error"),
        ("it FAILED: no\n", "error"),
        ("what comes late is no error: fine\n", "success"),
        ("x.py:3: UserWarning: old\n", "success"),
        (b"\xff\xfe", "error"),
    ],
)
def test_a_run_without_a_record_is_judged_by_its_log(tmp_path, log, light):
    path = tmp_path / "deep" / "x_execution_output.txt"
    path.parent.mkdir()
    path.write_bytes(log if isinstance(log, bytes) else log.encode())
    assert analyze_execution_logs(tmp_path) == light


def test_a_run_with_a_torn_record_is_judged_by_its_log_too(tmp_path):
    (tmp_path / "x_execution_output.txt").write_text("⚠️ low\n", encoding="utf-8")
    (tmp_path / "x_record.json").write_text("{", encoding="utf-8")
    assert analyze_execution_logs(tmp_path) == "warning"


def test_the_instances_of_a_step_are_listed_by_name(project, capsys):
    for name, status in (("b", Status.ERROR), ("Ä", Status.SUCCESS), ("a", Status.WARNING)):
        ran(project / "runs" / "s" / name, status=status)
    (project / "runs" / "s" / "file.txt").touch()
    (project / "runs" / "s" / "empty").mkdir()
    assert get_available_instances("s") == ["a", "b", "empty", "Ä"]
    print_available_instances("s", " of today")
    assert capsys.readouterr().out.splitlines() == [
        "s of today: 4 instances",
        "  a  warning",
        "  b  error",
        "  empty",
        "  Ä  success",
    ]


@pytest.mark.parametrize("step", ["nowhere", "x.csv"])
def test_a_step_that_is_not_there_has_no_instances(project, capsys, step):
    (project / "runs").mkdir()
    (project / "runs" / "x.csv").touch()
    assert get_available_instances(step) == []
    print_available_instances(step)
    assert capsys.readouterr().out == f"{step}: 0 instances\n"


def test_the_status_of_all_steps_is_printed_in_a_line_each(project, capsys):
    for step, name, status in (
        ("t", "A", "success"),
        ("s", "A", "error"),
        ("s", "B", "success"),
        ("s", "C", "success"),
    ):
        ran(project / "runs" / step / name, status=Status(status))
    print_pipeline_status()
    assert capsys.readouterr().out.splitlines() == [
        "s: 3 instances (1 error, 2 success)",
        "t: 1 instance (1 success)",
    ]


def test_where_nothing_has_run_this_is_what_is_said(project, capsys):
    (project / "runs").mkdir()
    print_pipeline_status()
    assert capsys.readouterr().out == f"Nothing has run yet in {project / 'runs'}\n"


def rows_of(page: str) -> list[dict[str, object]]:
    return data_of(page)["rows"]


def test_the_report_of_a_list_of_results_has_a_row_for_each(project):
    page = generate_status_report(
        [
            {"scenario": "A", "status": "success", "duration_minutes": 2, "folder": Path("x"), "year": 2040},
            {"scenario": "B <b>", "status": "failed", "error": "no luck"},
        ],
        project,
    )
    good, bad = rows_of(page)
    assert (good["instance"], good["status"], good["duration"]) == ("A", "success", 120.0)
    assert good["config"]["year"] == 2040
    assert (bad["instance"], bad["status"], bad["message"]) == ("B <b>", "error", "no luck")
    assert "B <b>" not in page


def test_the_report_believes_a_record_more_than_the_list(project):
    directory = project / "Model_Runs" / "A"
    ran(directory, status=Status.ERROR)
    record, _ = record_files.read_record(RunFiles(directory, "x").record)
    record_files.write_record(RunFiles(directory, "x"), record.with_(error=Failure("ValueError", "no luck")))
    (row,) = rows_of(generate_status_report([{"scenario": "A", "status": "success"}], project))
    assert (row["status"], row["message"]) == ("error", "ValueError: no luck")


def test_the_report_of_no_results_has_no_rows(project):
    assert rows_of(generate_status_report([], project)) == []


@pytest.mark.parametrize("runs", ["runs", Path("runs")])
def test_the_folder_of_runs_is_that_of_the_working_directory_if_it_is_there(project, runs):
    (project / "runs").mkdir()
    assert read_runs._runs_folder(runs) == project.resolve() / "runs"
