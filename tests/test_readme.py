"""The README is correct: its files and commands are tried, its tables compared with the code."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from helpers.command_line import ductaflow
from helpers.projects import write_project
from helpers.readme import README, blocks
from helpers.sessions import own_environment, run_python, run_session

import pytest_ductaflow
from pytest_ductaflow.command_line.main import COMMANDS
from pytest_ductaflow.core.settings import OPTIONS, Option

# Run by .ci/run on a fresh machine, and by hand; neither is for a test run.
ELSEWHERE = {"setup-run", "setup-test", "benchmark"}


@pytest.fixture
def short_folder() -> Iterator[str]:
    """Return a folder with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="rm", dir="/tmp" if os.name == "posix" else None) as folder:
        yield folder


@pytest.mark.slow
@pytest.mark.thorough
def test_newcomers_files_and_commands_work_in_the_order_of_the_readme(
    tmp_path: Path, short_folder: str
) -> None:
    """Every file block is written, every command run, and each ends well."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "TMPDIR": short_folder}  # `warm --stop` is to end no process of other tests
    environment = own_environment(pages=True, **own)
    commands = 0
    for block in blocks():
        if block.name in ELSEWHERE or block.language == "text":
            continue
        if block.name is not None:
            path = tmp_path / block.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            continue
        assert block.language == "bash", f"a block that nothing tries: {block}"
        for command in block.text.splitlines():
            done = subprocess.run(
                command,
                shell=True,
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            commands += 1
    assert commands >= 8
    folder = tmp_path / "runs/growth/rate=0.01,years=10"
    listed = next(block.text for block in blocks() if block.language == "text")
    files = {line.split()[0] for line in listed.splitlines()[1:]}
    assert {path.name for path in folder.iterdir()} == files


@pytest.mark.slow
def test_what_the_readme_shows_of_a_gate_that_fails_is_what_is_seen(tmp_path: Path) -> None:
    """The stored instance of the README is compared after a change of one digit."""
    files = {block.name: block.text for block in blocks() if block.name and block.language == "python"}
    text = next(block.text for block in blocks() if block.text.startswith("growth ran, but"))
    (tmp_path / "flows").mkdir()
    for name in ("flows/growth.py", "conductor.py"):
        (tmp_path / name).write_text(files[name], encoding="utf-8")

    def run(*command: str) -> str:
        return run_python(tmp_path, "-m", *command).stdout

    run("pytest", "--ductaflow", "conductor.py::growth::rate=0.02,years=10")
    run("pytest_ductaflow.command_line", "store", "runs/growth/rate=0.02,years=10")
    code = files["flows/growth.py"].replace("(1 + config", "(1.001 + config")
    (tmp_path / "flows/growth.py").write_text(code, encoding="utf-8")
    assert text in run("pytest", "--ductaflow", "tests/instances")


def _normal(text: str) -> list[str]:
    """Return the lines of an output without what differs from run to run: times, sizes, widths of columns."""
    for pattern, word in (
        (r"\d{4}-\d\d-\d\d \d\d:\d\d", "TIME"),
        (r"\d+(\.\d)? s\b|\d+ min \d+ s\b", "DURATION"),
        (r"just now|\d+ min ago", "AGO"),
        (r"[\d.]+ MB", "MEMORY"),
    ):
        text = re.sub(pattern, word, text)
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.slow
def test_what_the_readme_shows_of_commands_is_what_they_print(tmp_path: Path) -> None:
    files = {block.name: block.text for block in blocks() if block.name and block.language == "python"}
    names = ("flows/growth.py", "conductor.py", "flows/compare.py", "chain_conductor.py")
    root = write_project(tmp_path / "project", {name: files[name] for name in names})
    done = run_session(root, "-p", "no:cacheprovider", "--ductaflow", "conductor.py", "chain_conductor.py")
    assert done.returncode == 0, done.stdout
    for page in root.glob("runs/*/*/*_executed.ipynb"):  # without pages, which take long
        page.with_suffix(".html").touch()
    text = next(block.text for block in blocks() if block.text.startswith("$ ductaflow status"))
    examples = text.removeprefix("$ ").split("\n$ ")
    for example in examples:
        command, _, shown = example.partition("\n")
        told = ductaflow(root, *shlex.split(command)[1:])
        assert _normal(told.out + told.err) == _normal(shown.rstrip("\n")), command
    assert {example.split()[1] for example in examples} >= {"status", "ls", "show", "logs", "why", "diff"}


def test_every_command_is_in_the_table_of_the_readme() -> None:
    section = README.read_text(encoding="utf-8").partition("## The command line")[2].partition("```")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {re.split(r"\W", name)[0] for cell in cells for name in re.findall(r"`(\w+)", cell)} == {*COMMANDS}


def test_the_workflow_in_the_readme_is_one() -> None:
    """It names actions and commands that exist; only GitHub can validate it fully."""
    block = next(block for block in blocks() if block.language == "yaml")
    jobs = yaml.safe_load(block.text)["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert jobs["merge"]["needs"] == "shard"
    flags = {option.flag for option in OPTIONS}
    assert {flag for command in commands for flag in re.findall(r"--ductaflow[\w-]*", command)} <= flags
    assert any(command.startswith("ductaflow merge ") for command in commands)


def _on_or_off(option: Option) -> str:
    return "on" if option.default else "off"


def test_table_of_options_says_what_the_code_says() -> None:
    rows = [
        line
        for line in README.read_text(encoding="utf-8").splitlines()
        if line.startswith(("| `--ductaflow", "| `--no-ductaflow", "| `ductaflow_"))
    ]
    assert len(rows) == len(OPTIONS)
    for row, option in zip(rows, OPTIONS, strict=True):
        flag, default, text = (cell.strip() for cell in row.strip("|").split("|"))
        assert flag.strip("`").split()[0] == (option.flag if option.on_command_line else option.ini)
        assert text == option.help
        words = option.default if isinstance(option.default, tuple) else (option.default or "",)
        assert default.strip("`") == (_on_or_off(option) if option.is_switch else " ".join(map(str, words)))


def test_every_call_in_the_table_is_part_of_the_api() -> None:
    section = README.read_text(encoding="utf-8").partition("## In Python")[2].partition("## Moving")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    names = [name for row in rows for name in re.findall(r"`(\w+)\(", row)]
    assert len(names) >= len(rows)
    assert set(names) <= set(pytest_ductaflow.__all__)
