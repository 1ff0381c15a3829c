"""The README is true: its files and commands are tried, its tables compared with the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from readme import README, blocks

import pytest_ductaflow
from pytest_ductaflow.settings import OPTIONS, Option

# Run by .ci/run on a fresh machine, and by hand; neither is for a test run.
ELSEWHERE = {"setup-run", "setup-test", "benchmark"}


@pytest.mark.slow
def test_newcomers_files_and_commands_work_in_the_order_of_the_readme(tmp_path: Path) -> None:
    """Every file block is written, every command run, and each ends well."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        environment.pop(name, None)
    commands = 0
    for block in blocks():
        if block.name in ELSEWHERE or block.language == "text":
            continue
        if block.name is not None:
            path = tmp_path / block.name
            path.parent.mkdir(exist_ok=True)
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
