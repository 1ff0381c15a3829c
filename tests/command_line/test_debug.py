"""`debug`: a notebook or an entry for VS Code with the exact config and working directory of a run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from helpers.command_line import FAILURE, ductaflow, make_run
from helpers.projects import write_project

from pytest_ductaflow.command_line.shared import json_comments
from pytest_ductaflow.core.record import FLOW_FAILED, Failure, Status


@pytest.fixture(name="root")
def fixture_root(tmp_path: Path) -> Path:
    write_project(
        tmp_path,
        {
            "flows/a.py": """\
                import os
                print(config["size"], os.path.basename(os.getcwd()))
                """,
        },
    )
    make_run(tmp_path, "a/x", "flows/a.py", config={"size": 7}, kernel="python3")
    return tmp_path


def test_the_notebook_works_where_the_run_did(root: Path) -> None:
    done = ductaflow(root, "debug", "a/x", "--no-open")
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "notebook: runs/a/x/a_debug.ipynb"
    assert done.lines[1].endswith("pytest_ductaflow.api.debugging flows/a.py runs/a/x/a_config.json")
    notebook = nbformat.read(root / "runs/a/x/a_debug.ipynb", 4)
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    told = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=True)
    assert told.stdout == "7 x\n"


def test_another_working_directory_is_kept(root: Path) -> None:
    make_run(root, "a/p", "flows/a.py", config={"size": 8}, cwd="project")
    done = ductaflow(root, "debug", "a/p", "--no-open")
    assert "works in: ." in done.lines
    command = done.lines[-1].partition("-c continue ")[2].split()
    told = subprocess.run([sys.executable, *command], cwd=root, capture_output=True, text=True, check=True)
    assert told.stdout == f"8 {root.name}\n"


def test_of_a_build_it_is_the_flow_that_failed(root: Path) -> None:
    inner = make_run(
        root, "b/x/runs/in", "flows/a.py", config={"size": 9}, status=Status.ERROR, error=FAILURE
    )
    failure = Failure(FLOW_FAILED, "a failed")
    make_run(root, "b/x", "flows/b.py", status=Status.ERROR, error=failure, flows=(inner,))
    lines = ductaflow(root, "debug", "b/x", "--no-open").lines
    assert lines[0] == "b/x failed in its flow flows/a.py, run directory runs/b/x/runs/in"
    assert lines[1] == "notebook: runs/b/x/runs/in/a_debug.ipynb"


def test_vs_code_gets_a_configuration_once(root: Path) -> None:
    done = ductaflow(root, "debug", "a/x", "--vscode")
    assert done.lines[0] == ".vscode/launch.json: added 'ductaflow: a/x'"
    configuration = json.loads((root / ".vscode/launch.json").read_text())["configurations"][0]
    assert configuration["module"] == "pytest_ductaflow.api.debugging"
    assert configuration["args"] == [
        "${workspaceFolder}/flows/a.py",
        "${workspaceFolder}/runs/a/x/a_config.json",
    ]
    arguments = [each.replace("${workspaceFolder}", str(root)) for each in configuration["args"]]
    command = [sys.executable, "-m", configuration["module"], *arguments]
    told = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    assert told.stdout == "7 x\n"
    assert (
        ductaflow(root, "debug", "a/x", "--vscode").lines[0]
        == ".vscode/launch.json has 'ductaflow: a/x' already"
    )


def test_what_is_in_launch_json_stays(root: Path) -> None:
    file = root / ".vscode/launch.json"
    file.parent.mkdir()
    text = '{\n  // of the team\n  "configurations": [\n    {"name": "other",}, // first\n  ],\n}\n'
    file.write_text(text)
    assert ductaflow(root, "debug", "a/x", "--vscode").code == 0
    assert all(line in file.read_text() for line in text.splitlines())
    names = [each["name"] for each in json_comments.read(file.read_text())["configurations"]]
    assert names == ["ductaflow: a/x", "other"]


@pytest.mark.parametrize("text", ['{"configurations": {}}', "{'a': 1}", '{"configurations": ['])
def test_a_launch_json_that_cannot_be_extended_is_left_alone(root: Path, text: str) -> None:
    file = root / ".vscode/launch.json"
    file.parent.mkdir()
    file.write_text(text)
    done = ductaflow(root, "debug", "a/x", "--vscode")
    assert (done.code, file.read_text()) == (0, text)
    assert done.lines[0].startswith(".vscode/launch.json is left as it is, ")
    assert '"module": "pytest_ductaflow.api.debugging"' in done.out


def test_a_flow_that_is_gone_cannot_be_debugged(root: Path) -> None:
    (root / "flows/a.py").unlink()
    done = ductaflow(root, "debug", "a/x", "--no-open")
    assert (done.code, done.err) == (2, "Error: a/x: its flow flows/a.py is not there any more\n")
