"""Editors: test explorers show conductor, step and instance, and run one by a click; cells run, too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.command_line import ductaflow
from helpers.projects import write_project
from helpers.sessions import own_environment, run_python, run_session
from jupyter_client.manager import start_new_kernel

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]
FILES = {
    "pytest.ini": "[pytest]\nductaflow = true\n",
    "flows/tiny.py": """
        print(config)
        if config.get("rate") == 0.5:
            raise ValueError("half")
        """,
    "conductor.py": """\
        # %%
        from pytest_ductaflow import conduct, grid, is_collecting, results

        # %%
        conduct("flows/tiny.py", grid(rate=[0.25, 0.5]))
        conduct("flows/tiny.py", [{"instance_name": "rate=0.25"}], step="other")

        # %%
        if not is_collecting():
            print(results()[["instance", "status"]].to_string(index=False))
        """,
    "calls.py": """\
        from pytest_ductaflow import conduct


        def go():
            conduct("flows/tiny.py", [{"instance_name": "a"}], step="called")
        """,
    "calls_conductor.py": "import calls\n\ncalls.go()\n",
    "scenarios.csv": "instance_name,flow,rate\na,tiny,1\nb,tiny,2\n",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("editors"), FILES)


def explored(root: Path, *arguments: str) -> dict[str, Any]:
    """Return what VS Code would show of a session, without any option of ours."""
    told = root / "told.json"
    variables = {"EXPLORER_FILE": str(told), "PYTHONPATH": str(TESTS)}
    done = run_session(root, "-p", "helpers.explorer", f"--rootdir={root}", *arguments, **variables)
    assert told.exists(), done.stdout + done.stderr
    return json.loads(told.read_text(encoding="utf-8")) | {"output": done.stdout}


def lines_of(steps: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {step: {name: node["line"] for name, node in nodes.items()} for step, nodes in steps.items()}


def test_a_test_explorer_shows_conductor_step_and_instance_with_their_lines(project: Path) -> None:
    files = ["conductor.py", "calls_conductor.py", "scenarios.csv"]
    tree = explored(project, "--collect-only", *files)["tree"]
    conductor, calls, table = (tree[str(project / file)] for file in files)
    assert conductor.pop("after") == {"id": f"{project}/conductor.py::after", "line": 1}
    assert lines_of(conductor) == {"tiny": {"rate=0.25": 5, "rate=0.5": 5}, "other": {"rate=0.25": 6}}
    assert conductor["tiny"]["rate=0.5"]["id"] == f"{project}/conductor.py::tiny::rate=0.5"
    assert lines_of(calls) == {"called": {"a": 1}}  # its own, not one of the module that makes the call
    assert lines_of(table) == {"tiny": {"a": 2, "b": 3}}


@pytest.mark.parametrize(
    ("named", "ran"),
    [
        pytest.param("tiny::rate=0.25", ["tiny::rate=0.25"], marks=pytest.mark.thorough),
        ("tiny::rate=0::25", ["tiny::rate=0.25"]),  # as PyCharm passes a target
        pytest.param(
            "other::rate=0_25", ["other::rate=0.25"], marks=pytest.mark.thorough
        ),  # as its tree names it
        ("tiny", ["tiny::rate=0.25", "tiny::rate=0.5"]),
    ],
)
def test_one_instance_runs_by_its_id_without_our_option(project: Path, named: str, ran: list[str]) -> None:
    told = explored(project, f"{project}/conductor.py::{named}")
    assert [*told["results"]] == [f"conductor.py::{name}" for name in ran]
    failed = told["results"].get("conductor.py::tiny::rate=0.5")
    assert failed is None or "E   ValueError: half" in failed["text"]


def test_a_name_that_means_nothing_gets_a_suggestion(project: Path) -> None:
    done = run_session(project, "conductor.py::tiny::rate=0_75")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "did you mean" in done.stderr


@pytest.mark.thorough
def test_a_session_that_is_traced_runs_as_others_do(project: Path) -> None:
    code = (
        "import sys, threading, pytest\n"
        "lines = set()\n"
        "def trace(frame, event, argument):\n"
        "    lines.add(frame.f_code.co_filename)\n"
        "    return trace if 'ductaflow' in frame.f_code.co_filename else None\n"
        "threading.settrace(trace); sys.settrace(trace)\n"
        "code = pytest.main(['conductor.py::tiny::rate=0.25', '--ductaflow-force'])\n"
        "sys.settrace(None); print('traced', any('run_instance' in line for line in lines)); sys.exit(code)\n"
    )
    done = run_python(project, "-c", code, is_real=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "traced True" in done.stdout


@pytest.mark.thorough
def test_a_debugger_that_follows_all_processes_breaks_nothing_and_is_told_its_limits(project: Path) -> None:
    command = [
        sys.executable,
        "-Xfrozen_modules=off",
        "-m",
        "debugpy",
        "--listen",
        "127.0.0.1:0",
        "-m",
        "pytest",
    ]
    done = subprocess.run(
        [*command, "--capture=no", f"{project}/conductor.py::tiny::rate=0.25", "--ductaflow-force"],
        cwd=project,
        env=own_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "note: an editor's debugger does not see the kernels that run flows" in done.stdout


def test_the_cells_of_a_conductor_run_in_an_interactive_window(tmp_path: Path) -> None:
    """In a real kernel, in the folder of the conductor, as VS Code and PyCharm run them."""
    root = write_project(tmp_path, {name: FILES[name] for name in ("flows/tiny.py", "conductor.py")})
    text = (root / "conductor.py").read_text(encoding="utf-8").replace("[0.25, 0.5]", "[0.75]")
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(root))
    printed: list[str] = []

    def listen(message: dict[str, Any]) -> None:
        printed.append(message["content"].get("text", ""))

    try:
        for cell in text.split("# %%\n"):
            reply = client.execute_interactive(cell, output_hook=listen, timeout=120)
            assert reply["content"]["status"] == "ok", reply["content"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    rows = re.findall(r"rate=0\.\d+ +success", "".join(printed))
    assert len(rows) == 2
    assert len([*root.glob("runs/*/*/tiny_record.json")]) == 2


def test_what_init_writes_shows_all_instances_and_tests_in_vs_code(tmp_path: Path) -> None:
    root = tmp_path / "made"
    assert ductaflow(tmp_path, "init", "made").code == 0
    settings = json.loads((root / ".vscode/settings.json").read_text(encoding="utf-8"))
    assert settings["python.testing.pytestEnabled"] is True
    tree = explored(root, "--collect-only", *settings["python.testing.pytestArgs"])["tree"]
    assert [*tree] == [
        str(root / "conductor.py"),
        str(root / "tests/instances/prepare/lowest=0,highest=10/instance.json"),
    ]
    lines = (root / "conductor.py").read_text(encoding="utf-8").splitlines()
    for node in tree[str(root / "conductor.py")]["prepare"].values():
        assert lines[node["line"] - 1].startswith("conduct(")
