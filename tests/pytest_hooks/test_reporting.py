"""How the reporting process treats reports without a record, and warnings."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ductaflow.pytest_hooks.items import _tell_warning
from pytest_ductaflow.pytest_hooks.outcomes import FlowWarning, Waiting
from pytest_ductaflow.pytest_hooks.reporting import _first_line


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
