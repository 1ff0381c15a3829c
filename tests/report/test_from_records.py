"""`ductaflow report` makes the page of records alone, and an archive of it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers.projects import write_project
from helpers.sessions import own_environment, run_session

from pytest_ductaflow.command_line.main import main
from pytest_ductaflow.core.record import Failure, Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import write_config, write_record
from pytest_ductaflow.core.system.instance_lock import held
from pytest_ductaflow.report.page import read

REPORT = "conductor_status_report.html"


def leave(root: Path, name: str, status: Status = Status.SUCCESS, **results: float) -> Path:
    """Leave the run directory of an instance of flows/fit.py."""
    files = RunFiles(root / "runs/fit" / name, "fit")
    write_config(files, {"name": name, "_project_root": str(root)})
    files.log.write_text("done\n")
    files.html.write_text("page")
    (files.directory / "results.json").write_text(json.dumps(results))
    error = Failure("ValueError", "no data", cell=2) if status is Status.ERROR else None
    outputs = {"results.json": "1f"}
    started = "2030-01-01T10:00:00.000+00:00"
    record = Record(status, "flows/fit.py", "fit", name, f"runs/fit/{name}", started, 60.0, outputs=outputs)
    write_record(files, record.with_(error=error, source="conductor.py"))
    return files.directory


@pytest.fixture(name="project")
def write_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("flows").mkdir()
    for name in ("flows/fit.py", "conductor.py"):
        Path(name).write_text("")
    leave(tmp_path, "a", rmse=0.5)
    leave(tmp_path, "b", Status.ERROR)
    leave(tmp_path, "c", Status.RUNNING)
    return tmp_path


def report(*args: str) -> Result:
    return CliRunner().invoke(main, ["report", *args], catch_exceptions=False)


def test_the_report_is_made_of_records(project):
    result = report()
    assert (result.exit_code, result.output) == (0, f"report: runs/{REPORT}\n")
    data = read(project / "runs" / REPORT)
    assert [(row["instance"], row["status"]) for row in data["rows"]] == [
        ("a", "success"),
        ("b", "error"),
        ("c", "error"),
    ]
    first = data["rows"][0]
    assert first["config"] == {"name": "a"}
    assert first["results"] == {"results": {"rmse": 0.5}}
    assert first["links"]["log"] == "fit/a/fit_execution_output.txt"
    assert (first["id"], first["command"]) == ("conductor.py::fit::a", "pytest --ductaflow runs/fit/a")
    assert (data["started"], data["finished"]) == (
        "2030-01-01T10:00:00.000+00:00",
        "2030-01-01T10:01:00.000+00:00",
    )
    assert [cause["message"] for cause in data["causes"]] == ["no data", "cut off when the session ended"]


def test_what_a_session_is_running_is_not_told_as_cut_off(project):
    files = RunFiles(project / "runs/fit/c", "fit")
    with held(files, project, "fit/c", wait=False, say=print):
        assert report().exit_code == 0
    data = read(project / "runs" / REPORT)
    row = data["rows"][2]
    assert (row["instance"], row["status"], row["message"]) == ("c", "running", None)
    assert row["started"] == "2030-01-01T10:00:00.000+00:00"
    assert (data["finished"], data["outcome"]) == (None, None)
    assert [cause["message"] for cause in data["causes"]] == ["no data"]


@pytest.mark.parametrize("named", ["runs", "."])
def test_runs_may_be_named_by_its_project(project, named):
    assert report(named).exit_code == 0
    assert (project / "runs" / REPORT).is_file()


def test_without_records_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    result = report()
    assert result.exit_code == 2
    assert "no record of an instance in it" in result.output
    assert not Path("runs", REPORT).exists()


def test_an_archive_has_all_that_the_report_links_to(project):
    Path("secret.txt").write_text("outside")
    log = project / "runs/fit/b/fit_execution_output.txt"
    log.unlink()
    log.symlink_to(project / "secret.txt")
    result = report("--zip", "sent.zip")
    assert (
        result.output.splitlines()[1]
        == "archive: sent.zip; 1 linked files are not in it, as they are not in runs/"
    )
    with zipfile.ZipFile("sent.zip") as archive:
        names = set(archive.namelist())
    top = f"{project.name}-report"
    assert f"{top}/{REPORT}" in names
    expected = {f"{top}/fit/a/fit_{end}" for end in ("executed.html", "execution_output.txt", "config.json")}
    assert expected <= names
    assert f"{top}/fit/b/fit_execution_output.txt" not in names


@pytest.mark.slow
def test_a_session_can_leave_the_report_to_a_later_command(tmp_path, monkeypatch):
    table = 'from pytest_ductaflow import conduct\nconduct("flows/x.py", [{"instance_name": "a"}])\n'
    write_project(tmp_path, {"flows/x.py": "print(1)\n", "conductor.py": table})
    command = ("-p", "no:cacheprovider", "--ductaflow", "conductor.py", "--no-ductaflow-report")
    done = run_session(tmp_path, *command, environment=own_environment())
    done.check_returncode()
    assert "report:" not in done.stdout
    assert not (tmp_path / "runs" / REPORT).exists()
    monkeypatch.chdir(tmp_path)
    assert report().exit_code == 0
    (row,) = read(tmp_path / "runs" / REPORT)["rows"]
    assert (row["id"], row["status"]) == ("conductor.py::x::a", "success")


@pytest.mark.slow
def test_a_session_that_runs_nothing_changes_nothing(tmp_path):
    table = (
        'from pytest_ductaflow import conduct\nconduct("flows/x.py", [{"instance_name": n} for n in "ab"])\n'
    )
    write_project(tmp_path, {"flows/x.py": "print(1)\n", "conductor.py": table})
    command = ("-p", "no:cacheprovider", "--ductaflow")
    run_session(tmp_path, *command, "conductor.py", environment=own_environment()).check_returncode()
    page = tmp_path / "runs" / REPORT
    before = page.read_bytes()
    done = run_session(tmp_path, *command, "conductor.py", "-k", "nothing", environment=own_environment())
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert page.read_bytes() == before
    again = run_session(tmp_path, *command, "runs/x/a", environment=own_environment())
    again.check_returncode()
    rows = read(page)["rows"]
    assert [(row["id"], row["earlier"]) for row in rows] == [
        ("conductor.py::x::a", False),
        ("conductor.py::x::b", True),
    ]
