"""Flows that do unusual things to their surroundings, in real kernels."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment, run_session

from pytest_ductaflow.report.page import read

pytestmark = pytest.mark.slow

FLOWS = {
    "exits_with_0": "import sys\nsys.exit(0)",
    "exits_with_false": "import sys\nsys.exit(False)",
    "exits_with_text": 'import sys\nsys.exit("0")',
    "exits_with_no_text": 'import sys\nsys.exit("")',
    "captures_warnings": 'import logging, warnings\nlogging.captureWarnings(True)\nwarnings.warn("low data")',
    "captures_and_prints": """
        import logging, warnings
        logging.basicConfig()
        logging.captureWarnings(True)
        warnings.warn("low data")
        """,
    "captures_into_a_file": """
        import logging, warnings
        logging.basicConfig(filename="own.log")
        logging.captureWarnings(True)
        warnings.warn("low data")
        """,
    "deletes_all": """
        import glob, os
        print("first")
        for name in glob.glob("*"):
            os.remove(name)
        print("last")
        """,
    "reads_as_on_windows": "open(table)",
    "reads_as_on_windows_from_root": 'open(config["_project_root"] + "/" + table)',
    "imports_once_more": """
        import numpy, sys
        for name in [name for name in sys.modules if name.partition(".")[0] == "numpy"]:
            del sys.modules[name]
        import numpy
        """,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with all these flows after one run."""
    root = tmp_path_factory.mktemp("odd")
    write_project(root, {f"flows/{name}.py": code for name, code in FLOWS.items()})
    calls = [
        f"conduct('flows/{name}.py', [{{'instance_name': 'a', 'table': r'data\\zones.csv'}}])"
        for name in FLOWS
    ]
    lines = ["from pytest_ductaflow import conduct", *calls]
    write_project(root, {"data/zones.csv": "zone\n", "conductor.py": "\n".join(lines)})
    environment = own_environment(pages=True)
    command = ("-p", "no:cacheprovider", "--ductaflow", "conductor.py")
    done = run_session(root, *command, environment=environment)
    assert "INTERNALERROR" not in done.stdout + done.stderr
    return root


def record_of(root: Path, flow: str) -> dict[str, Any]:
    return json.loads((root / f"runs/{flow}/a/{flow}_record.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("flow", ["exits_with_0", "exits_with_false"])
def test_an_exit_with_0_is_a_success(project, flow):
    assert record_of(project, flow)["status"] == "success"


@pytest.mark.parametrize(("flow", "message"), [("exits_with_text", "0"), ("exits_with_no_text", "")])
def test_an_exit_with_a_text_is_a_failure_whatever_it_says_as_it_is_for_python(project, flow, message):
    error = record_of(project, flow)["error"]
    assert (error["type"], error["message"], error["file_line"]) == ("SystemExit", message, 6)


@pytest.mark.parametrize("flow", ["captures_warnings", "captures_and_prints", "captures_into_a_file"])
def test_python_warnings_that_logging_has_captured_are_told_once(project, flow):
    record = record_of(project, flow)
    assert (record["status"], record["warning_count"]) == ("success", 0)
    (told,) = record["python_warnings"]
    assert told.endswith("UserWarning: low data")
    log = project / f"runs/{flow}/a/{flow}_execution_output.txt"
    assert log.read_text().count("UserWarning: low data") == 1


def test_a_flow_that_deletes_all_that_is_in_its_folder_has_config_and_log(project):
    folder = project / "runs/deletes_all/a"
    assert record_of(project, "deletes_all")["status"] == "success"
    assert (folder / "deletes_all_execution_output.txt").read_text() == "first\nlast\n"
    assert json.loads((folder / "deletes_all_config.json").read_text())["instance_name"] == "a"
    rows = read(project / "runs/conductor_status_report.html")["rows"]
    links = next(row["links"] for row in rows if row["step"] == "deletes_all")
    assert [name for name, link in links.items() if not (project / "runs" / str(link)).is_file()] == []


@pytest.mark.skipif(os.sep != "/", reason="there, both signs separate folders")
@pytest.mark.parametrize("flow", ["reads_as_on_windows", "reads_as_on_windows_from_root"])
def test_a_path_of_windows_that_would_be_there_with_slashes_is_told_so(project, flow):
    error = record_of(project, flow)["error"]
    assert error["type"] == "FileNotFoundError"
    assert error["message"].endswith("is there: \\ separates folders on Windows only, / everywhere)")
    assert "data/zones.csv is there" in error["message"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernels are forked on Linux")
def test_an_import_that_a_forked_kernel_cannot_repeat_is_told_so(project):
    error = record_of(project, "imports_once_more")["error"]
    assert error["type"] == "ImportError"
    assert "--no-ductaflow-fork" in error["message"]
