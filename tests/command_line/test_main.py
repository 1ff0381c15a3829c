"""The command as a whole: its help, what it imports, and how it says that something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from helpers.command_line import ductaflow, make_run
from helpers.projects import write_project
from helpers.sessions import own_environment

from pytest_ductaflow.command_line import main as commands
from pytest_ductaflow.command_line.main import main

HEIGHT, WIDTH = 24, 100  # of a screen
NAMES = list(commands.COMMANDS)


@pytest.mark.parametrize("name", ["", *NAMES])
def test_the_help_of_a_command_fits_a_screen(name: str) -> None:
    with click.Context(main, info_name="ductaflow") as around:
        command = main.get_command(around, name) if name else main
        assert command is not None
        with click.Context(command, info_name=name, parent=around, terminal_width=WIDTH) as context:
            lines = command.get_help(context).splitlines()
    assert len(lines) <= HEIGHT
    assert max(map(len, lines)) <= WIDTH


def test_help_and_version_are_printed_by_the_installed_command(tmp_path: Path) -> None:
    told = ductaflow(tmp_path, "--help", is_real=True)
    assert (told.code, told.err) == (0, "")
    assert [line.split()[0] for line in told.lines if line.startswith("  ")] == NAMES
    assert ductaflow(tmp_path, "--version").out.startswith("ductaflow, version ")


def test_an_unknown_command_names_what_may_be_meant(tmp_path: Path) -> None:
    done = ductaflow(tmp_path, "statsu")
    told = "Error: there is no command 'statsu'; did you mean status; all there are: ductaflow -h\n"
    assert (done.code, done.out, done.err) == (2, "", told)


def test_outside_of_a_project_one_message_says_what_is_expected(tmp_path: Path) -> None:
    done = ductaflow(tmp_path, "status")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"Error: there is no project in {tmp_path} or above it: expected")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [("ls", "nothing"), ("show", "nothing"), ("why", "nothing"), ("diff", "a", "b"), ("lineage", "nothing")],
)
def test_with_json_an_error_is_data_too(tmp_path: Path, words: tuple[str, ...]) -> None:
    make_run(tmp_path, "clean/A", "flows/clean.py")
    write_project(tmp_path, {"flows/clean.py": ""})
    plain = ductaflow(tmp_path, *words)
    done = ductaflow(tmp_path, *words, "--json")
    assert (plain.code, plain.out) == (2, "")
    assert (done.code, done.err) == (2, plain.err)
    assert json.loads(done.out) == {"error": plain.err.removeprefix("Error: ").strip()}


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "latin-1"])
def test_data_is_json_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    write_project(tmp_path, {"flows/clean.py": ""})
    make_run(tmp_path, "clean/A", "flows/clean.py", config={"name": "größe 🟢 ⚠"})
    command = [sys.executable, "-m", "pytest_ductaflow.command_line", "show", "clean/A", "--json"]
    done = subprocess.run(
        command, cwd=tmp_path, env=own_environment(PYTHONIOENCODING=encoding), capture_output=True, check=True
    )
    assert json.loads(done.stdout.decode(encoding))["config"] == {"name": "größe 🟢 ⚠"}


def test_the_module_is_the_command(tmp_path: Path) -> None:
    write_project(tmp_path, {"flows/a.py": ""})
    command = [sys.executable, "-m", "pytest_ductaflow.command_line", "status"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "nothing has run yet" in done.stdout


def test_an_error_of_ours_is_a_message_and_a_traceback_only_if_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pytest_ductaflow.command_line import overview

    write_project(tmp_path, {"flows/a.py": ""})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(overview, "entries", lambda _: 1 / 0)
    with pytest.raises(SystemExit) as ended:
        main(["status"])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith("Error: an error of ductaflow itself, ZeroDivisionError: division by zero; with ")
    monkeypatch.setenv("DUCTAFLOW_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main(["status"])


HEAVY = {
    *("IPython", "_pytest", "filelock", "jinja2", "jsonschema", "jupyter_client", "jupytext", "nbformat"),
    *("numpy", "pandas", "papermill", "psutil", "pytest", "tqdm", "yaml", "zmq"),
}


def test_what_only_looks_at_records_waits_for_no_heavy_library(tmp_path: Path) -> None:
    write_project(tmp_path, {"flows/a.py": ""})
    make_run(tmp_path, "a/x", "flows/a.py", log="hello\n")
    code = (
        "import sys\nfrom pytest_ductaflow.command_line.main import main\n"
        "for call in (['status'], ['ls'], ['show', 'a/x'], ['logs', 'a/x'], ['-h']):\n"
        "    main(call, standalone_mode=False)\n"
        f"print('loaded:', *sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded:"
