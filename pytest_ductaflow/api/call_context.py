"""Find out where a call comes from: its project, its run directory, its settings."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.instance import RUNS
from ..core.run_directory import build_variable, layout
from ..core.settings import Settings
from ..kernels.observation import unobserved
from ..planning import recorded_calls
from ..planning.afterwards import answers
from ..planning.caller import Origin
from ..sources.notebooks import project_root_of
from . import pytest_imports


def refuse_while_pytest_imports(call: str, origin: Origin) -> None:
    """Refuse a call made while pytest, without `--ductaflow`, imports the module to look for tests.

    Raises:
        Refused: In that case, before anything is done.
    """
    if pytest_imports.is_importing():
        line = f":{origin.line}" if origin.line else ""
        pytest_imports.refuse(f"{layout.display_path(origin.file, Path.cwd())}{line}: {call}()")


def root_of(origin: Origin) -> Path:
    """Return the project of the calling file, or of the working directory if there is none (a notebook)."""
    if (told := recorded_calls.project_root()) is not None:
        return told
    if (given := answers.current()) is not None:
        return given.root
    with unobserved():
        path = Path(origin.file)
        return project_root_of(path.resolve() if path.is_file() else Path.cwd())


_started_in = os.getcwd()


def changed_directory(root: Path) -> Path | None:
    """Return the working directory if code has changed it to another directory of the project, else None.

    Projects made for early releases of ductaflow change into the run directory and call `run_notebook`.
    """
    here = os.getcwd()
    inside = os.path.join(os.path.realpath(root), "")
    began = _started_in if build_variable.surrounding_build() is None else build_variable.build_began_in()
    has_changed = os.path.realpath(here) not in (os.path.realpath(began), inside.rstrip(os.sep))
    is_inside = os.path.join(os.path.realpath(here), "").startswith(inside)
    return run_directory(here, root) if has_changed and is_inside else None


def run_directory(given: str | Path, root: Path) -> Path:
    """Return a run directory under the root without resolving links: `runs/` may link to a larger disk."""
    path = os.path.abspath(given)
    real_root = os.path.realpath(root)
    inside = os.path.relpath(path, real_root)
    is_inside = not inside.startswith(os.pardir) and not os.path.isabs(inside)
    return root / inside if is_inside else Path(path)


def from_here(directory: str | Path) -> Path:
    """Return a directory as a call means it: in a build relative to the build's, wherever the build runs."""
    return (build_variable.place_in_build() or Path.cwd()) / directory


def runs_of_this_build() -> Path | None:
    """Return the folder for a build's flows without their own directory; None outside of a build."""
    place = build_variable.place_in_build()
    return None if place is None else place / RUNS


def settings_of_call() -> Settings:
    if (build := build_variable.surrounding_build()) is not None:
        return Settings.loads(build[1])
    if (given := answers.current()) is not None:
        return Settings.loads(given.settings)
    return Settings(force=True)  # an explicit call always runs
