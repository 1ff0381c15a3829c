"""Shared by all tests: pytester, and projects on disk in a line or two."""

from __future__ import annotations

import compileall
import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from helpers.projects import write_project
from helpers.sessions import WITHOUT_HYPOTHESIS

import pytest_ductaflow
from pytest_ductaflow.core.system.machine import usable_cores

with contextlib.suppress(ImportError):
    # It registers types with pyarrow, once per process, and pytester makes Python forget imports.
    import pandas.core.arrays.arrow.extension_types  # noqa: F401

os.environ.pop("GITHUB_ACTIONS", None)  # otherwise sessions of the tests write to the service that runs us

# Where tests take long, the longest file first.
SLOW = (
    *("equivalence", "sessions/test_what_runs_again.py", "sessions/test_disturbed.py", "test_readme.py"),
    *("running/test_runaway.py", "sessions", "projects", "kernels", "browser", "planning", "running"),
)
pytest_plugins = ["pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "run only this part of the tests, the second of three say: each test is in one of them"
    parser.addoption("--part", help=text, type=_part, metavar="N/M")


def _part(text: str) -> tuple[int, int]:
    """Return the number of a part, and how many parts there are."""
    number, _, parts = text.partition("/")
    if not 1 <= int(number) <= int(parts):
        raise ValueError(f"{text} is no part")
    return int(number), int(parts)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the package for the sessions of the tests; report the slowest tests, or what is asked for."""
    if not hasattr(config, "workerinput"):  # where Python writes no bytecode, each session would compile it
        compileall.compile_dir(Path(pytest_ductaflow.__file__).parent, quiet=2)
    config.option.loadscopereorder = False  # xdist: by our order, not by the number of tests
    if config.option.durations is None:
        config.option.durations, config.option.durations_min = 40, 4.0
    if config.getoption("dist", "no") == "no":  # else the workers do it, which need the plugin themselves
        os.environ["PYTEST_ADDOPTS"] = WITHOUT_HYPOTHESIS


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Use more workers than cores: tests that wait for processes leave a quarter of the time unused."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    return usable_cores() + max(1, usable_cores() // 4)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that the last one is no long one.

    A run of all tests leaves out the thorough ones, unless `-m` says something else.
    """
    is_whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    if is_whole and not config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        items[:] = [item for item in items if not item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)
    if (part := config.getoption("part")) is not None:
        select_part(config, items, *part)
    here = Path(__file__).parent
    slow = [here / name for name in SLOW]
    ranks = {
        path: next((rank for rank, place in enumerate(slow) if path.is_relative_to(place)), len(slow))
        for path in {item.path for item in items}
    }
    items.sort(key=lambda item: ranks[item.path])


def select_part(config: pytest.Config, items: list[pytest.Item], number: int, parts: int) -> None:
    """Keep one part of the tests, which is the same whatever other tests there are."""
    chosen = [item for item in items if crc32(_of_one_part(item).encode()) % parts == number - 1]
    left_out = list(set(items).difference(chosen))
    items[:] = chosen
    config.hook.pytest_deselected(items=left_out)


def _of_one_part(item: pytest.Item) -> str:
    """Return what decides in which part a test is."""
    mark = item.get_closest_marker("together")
    return str(mark.args[0]) if mark is not None else item.nodeid


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Mapping[str, str]], Path]:
    """Return a function that writes files of a project; flows and builds get a parameters cell on top."""

    def write_files(files: Mapping[str, object]) -> Path:
        return write_project(tmp_path, files)

    return write_files


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `os.stat` return what it returns on Windows for files that were all created at one moment."""
    stat = os.stat

    def as_on_windows(path: str, **options: Any) -> os.stat_result:
        status = stat(path, **options)
        made = {"st_ctime_ns": 10**9, "st_birthtime_ns": 10**9}
        return os.stat_result(status, {"st_mtime_ns": status.st_mtime_ns, **made})

    monkeypatch.setattr(os, "stat", as_on_windows)
