"""How the reporting process treats reports without a record, and warnings."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import write_record
from pytest_ductaflow.planning.history.declared_history import note_plan
from pytest_ductaflow.pytest_hooks.items import _tell_warning
from pytest_ductaflow.pytest_hooks.outcomes import FlowWarning, Waiting
from pytest_ductaflow.pytest_hooks.reporting import _first_line, is_declared_in


@pytest.mark.parametrize(
    ("longrepr", "line"),
    [
        (SimpleNamespace(reprcrash=SimpleNamespace(message="Failed: too late\nmore")), "Failed: too late"),
        ("worker 'gw0' crashed\nwhile running", "worker 'gw0' crashed"),
        (SimpleNamespace(reprcrash=SimpleNamespace(message="")), "failed"),
        ("", "failed"),
    ],
)
def test_the_report_has_the_first_line_of_the_exception_not_of_the_code_around_it(longrepr: Any, line: str):
    assert _first_line(SimpleNamespace(longrepr=longrepr)) == line


class Listener:
    """A plugin that records the content of pytest's warnings summary."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        told = warning_message
        self.lines.append(
            warnings.formatwarning(
                str(told.message), told.category, told.filename, told.lineno, told.line
            ).strip()
        )


@pytest.mark.parametrize("kind", [FlowWarning, Waiting])
def test_a_warning_has_no_line_that_there_is_not(pytester, kind):
    """The line that caused it is unknown, so it is given as the first, and shown without its code."""
    flow = pytester.makepyfile(up="# %% a flow")
    config = pytester.parseconfig()
    config.pluginmanager.register(listener := Listener())
    _tell_warning(config, "this is told", str(flow), "conductor.py::up::A", kind)
    ours = [line for line in listener.lines if "PytestAssertRewriteWarning" not in line]
    assert ours == [f"{flow}:1: {kind.__name__}: this is told"]


@pytest.mark.parametrize("directory", ["instances/x/a", ".after/conductor"])
def test_replays_and_after_work_stay_in_the_report_as_long_as_their_source(tmp_path, directory):
    files = RunFiles(tmp_path / "runs" / directory, "x")
    files.directory.mkdir(parents=True)
    row = {"directory": directory, "flow": "x"}
    assert not is_declared_in(tmp_path)(row)
    write_record(
        files, Record(Status.SUCCESS, "flows/x.py", "x", "a", f"runs/{directory}", source="source.py")
    )
    assert not is_declared_in(tmp_path)(row)
    (tmp_path / "source.py").touch()
    assert is_declared_in(tmp_path)(row)


def test_other_instances_stay_as_long_as_a_source_that_is_there_declares_them(tmp_path):
    source = tmp_path / "conductor.py"
    run_dir = str(tmp_path / "runs/x/a")
    instance = Instance(str(tmp_path / "flows/x.py"), "x", "a", {}, run_dir, str(tmp_path))
    row = {"directory": "x/a", "flow": "x"}
    source.touch()
    assert not is_declared_in(tmp_path)(row)
    note_plan(tmp_path, source, [instance])
    assert is_declared_in(tmp_path)(row)
    source.unlink()
    assert not is_declared_in(tmp_path)(row)
