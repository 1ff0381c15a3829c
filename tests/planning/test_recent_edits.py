"""A project may have changed if a file is newer than its report."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from helpers.projects import lay, write_project
from helpers.sessions import run_session

from pytest_ductaflow.core.run_directory.layout import REPORT
from pytest_ductaflow.planning.history.recent_edits import may_have_changed

LAST_SESSION = 2_000_000_000.0


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a project whose files are older than its report."""
    lay(tmp_path / "flows/a.py")
    lay(tmp_path / "conductor.py")
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        os.utime(path, (LAST_SESSION - 1, LAST_SESSION - 1))
    os.utime(lay(tmp_path / "runs" / REPORT), (LAST_SESSION, LAST_SESSION))
    return tmp_path


def edited(path: Path) -> None:
    os.utime(lay(path), (LAST_SESSION + 1, LAST_SESSION + 1))


def test_nothing_is_newer(project):
    assert not may_have_changed(project)


@pytest.mark.parametrize("name", ["conductor.py", "flows/a.py", "data/new.csv", "a/b/c/d.txt"])
def test_a_file_is_newer(name, project):
    edited(project / name)
    assert may_have_changed(project)


@pytest.mark.parametrize("name", ["runs/a/i/a_record.json", ".git/index", "a/__pycache__/a.pyc", "a/b/c/d/e"])
def test_a_file_that_is_not_looked_at(name, project):
    edited(project / name)
    assert not may_have_changed(project)


def test_there_was_no_session(project):
    (project / "runs" / REPORT).unlink()
    assert may_have_changed(project)


FILES = {
    "flows/a.py": "print(1)",
    "conductor.py": """
        import psutil
        from pytest_ductaflow import conduct
        started = psutil.Process().parent().children(recursive=True)
        commands = [" ".join(each.cmdline()) for each in started]
        with open("seen.txt", "a") as file:
            print(any("forkserver" in command for command in commands), file=file)
        conduct("flows/a.py", [{"instance_name": "i"}])
        """,
}


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")
def test_the_server_of_kernels_starts_before_the_conductor_if_something_may_have_to_run(tmp_path):
    write_project(tmp_path, FILES)
    command = ("-p", "no:cacheprovider", "--ductaflow", "conductor.py")
    for step in ("new", "unchanged", "edited"):
        if step == "edited":
            write_project(tmp_path, {"flows/a.py": "print(2)"})
        # No process is kept warm for this variable.
        run_session(tmp_path, *command, is_real=True, PYTHON_COLD="1").check_returncode()
    assert (tmp_path / "seen.txt").read_text().split() == ["True", "False", "True"]
