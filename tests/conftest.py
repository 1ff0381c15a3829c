"""Shared by all tests: pytester, and projects on disk in a line or two."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import pytest_ductaflow

with contextlib.suppress(ImportError):
    # It registers types with pyarrow, once in a process, and pytester makes Python forget imports.
    import pandas.core.arrays.arrow.extension_types  # noqa: F401

os.environ.pop("GITHUB_ACTIONS", None)  # else the sessions of the tests speak to the service that runs us

pytest_plugins = ["pytester"]

# Hypothesis' plugin imports all of it at the end of each session, which takes half a second.
WITHOUT_HYPOTHESIS = "-p no:hypothesispytest"
PARAMETERS = '# %% tags=["parameters"]\nconfig = {}\n\n'


def interruptible() -> None:
    """Let a new process hear Ctrl-C and hang-ups: background jobs and `nohup` make it ignore them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package for the sessions of the tests; tell which tests take longest, or what is asked."""
    if not hasattr(config, "workerinput"):  # where Python is told to write no bytecode, each would compile it
        compileall.compile_dir(Path(pytest_ductaflow.__file__).parent, quiet=2)
    if config.option.durations is None:
        config.option.durations, config.option.durations_min = 40, 4.0
    if config.getoption("dist", "no") == "no":  # else workers do it, which need the plugin themselves
        os.environ["PYTEST_ADDOPTS"] = WITHOUT_HYPOTHESIS


def own_environment(**more: str) -> dict[str, str]:
    """Return the environment of a session of its own: nothing of the pytest around it is in there."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return {**given, "PYTEST_ADDOPTS": WITHOUT_HYPOTHESIS, **more}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Write files of a project; `flows/` and `builds/` get a parameters cell on top of their code."""

    def write_files(files: Mapping[str, object]) -> Path:
        return write_project(tmp_path, files)

    return write_files


def write_project(root: Path, files: Mapping[str, object]) -> Path:
    """Write `{relative path: text or JSON}` under `root`; code of flows gets its parameters cell."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = dedent(content) if isinstance(content, str) else json.dumps(content)
        is_flow = path.parent.name in {"flow", "flows", "build", "builds"} and path.suffix == ".py"
        if is_flow and "parameters" not in text:
            text = f"{PARAMETERS}# %%\n{text}"
        path.write_text(text, encoding="utf-8")
    return root


def lay(path: Path, text: str = "") -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def stable_repr(value: object) -> str:
    """A test id that is the same in every process: without addresses."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `os.stat` tell what it tells on Windows of files that were all made at one moment."""
    stat = os.stat

    def as_on_windows(path: str, **options: Any) -> os.stat_result:
        status = stat(path, **options)
        made = {"st_ctime_ns": 10**9, "st_birthtime_ns": 10**9}
        return os.stat_result(status, {"st_mtime_ns": status.st_mtime_ns, **made})

    monkeypatch.setattr(os, "stat", as_on_windows)
