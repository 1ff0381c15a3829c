"""What a process has imported is noted, and any change to it is found."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.projects import lay

from pytest_ductaflow.core.forking.freshness import first_change

IMPORTS_AND_NOTES = """
import sys
from pytest_ductaflow.core.forking.freshness import Imports
imports = Imports(watches=True)
import library
imports.write(sys.argv[1])
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder of packages with one that reads a file when it is imported."""
    lay(
        tmp_path / "site/library/__init__.py",
        "from . import part\nopen(__file__[:-11] + 'settings.txt').read()",
    )
    lay(tmp_path / "site/library/part.py", "value = 1")
    lay(tmp_path / "site/library/settings.txt", "a = 1")
    return tmp_path / "site"


@pytest.fixture
def notes(site: Path, tmp_path: Path) -> Path:
    """Return the folder with the notes of a process that has imported that package."""
    folder = tmp_path / "notes"
    folder.mkdir()
    home = tmp_path / "home"
    lay(home / ".config/matplotlib/matplotlibrc", "lines.linewidth: 1")
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        os.utime(path, (1e9, 1e9))  # what is younger than the process counts as changed
    environment = {**os.environ, "PYTHONPATH": str(site), "HOME": str(home)}
    command = [sys.executable, "-c", IMPORTS_AND_NOTES, str(folder)]
    subprocess.run(command, env=environment, check=True)
    return folder


def edited_in_place(path: Path) -> None:
    """Change a file, but neither its size nor the time of its last change."""
    before = path.stat()
    path.write_text(path.read_text()[:-1] + "2")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)


CHANGES: dict[str, Callable[[Path], object]] = {
    "a module": lambda site: edited_in_place(site / "library/part.py"),
    "a module is gone": lambda site: (site / "library/part.py").unlink(),
    "a file that an import reads": lambda site: edited_in_place(site / "library/settings.txt"),
    "a module that would come first": lambda site: lay(site / "library/part/__init__.py"),
    "a package that may come first": lambda site: lay(site / "pandas.py"),
    "settings": lambda site: edited_in_place(site.parent / "home/.config/matplotlib/matplotlibrc"),
    "new settings": lambda site: lay(site.parent / "home/.config/matplotlib/stylelib.yaml"),
    "settings of another package": lambda site: lay(site.parent / "home/.config/pandas/pandas.toml"),
}


def test_nothing_has_changed(notes, site):
    """Also where Python has compiled something, or a folder of modules has other files as well."""
    (site / "library/__pycache__").mkdir(exist_ok=True)
    lay(site / "report.html")
    lay(site / ".cache/new.py")
    assert first_change([str(notes)]) is None


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found(change, notes, site):
    CHANGES[change](site)
    assert first_change([str(notes)]) is not None


def test_what_is_opened_after_the_imports_is_not_noted(tmp_path):
    """The hook cannot be removed, and a flow may open millions of files."""
    code = "from pytest_ductaflow.core.forking.freshness import Imports\n"
    code += "imports = Imports(watches=True)\nopen(__import__('os').devnull).close()\n"
    code += "noted = len(imports._opened)\nimports.watches = False\n"
    code += "open('/etc/hosts').close()\nprint(noted > 0, len(imports._opened) - noted)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout == b"True 0\n"


def test_a_file_that_changes_while_it_is_imported_counts_as_changed(site, tmp_path):
    lay(site / "library/__init__.py", "import pathlib\npathlib.Path(__file__).touch()")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    subprocess.run([sys.executable, "-c", IMPORTS_AND_NOTES, str(tmp_path)], env=environment, check=True)
    assert first_change([str(tmp_path)]) == str(site / "library/__init__.py")
