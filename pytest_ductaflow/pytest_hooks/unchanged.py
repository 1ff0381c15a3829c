"""Report instances that need not run without the phases of a test, which take longer than the decision.

A phase captures output, keeps log messages, and sets up and tears down what the item needs: for nothing,
where nothing runs. All other hooks are called as for any item.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from .items import InstanceItem

_NEEDS_PHASES = ("setupshow", "setuponly", "usepdb", "trace")  # options
_PHASES = ("pytest_runtest_setup", "pytest_runtest_call", "pytest_runtest_teardown")
# Plugins that do something in a phase of test functions only, or of what fails.
_OF_FUNCTIONS = (
    "_hypothesis_pytestplugin",
    "pytest_asyncio.plugin",
    "pytest_benchmark.plugin",
    "pytest_rerunfailures",
    "pytest_timeout",
)


class UnchangedHooks:
    """The hook that reports instances that are unchanged."""

    def __init__(self, config: pytest.Config) -> None:
        self._may_skip = not any(config.getoption(name, False) for name in _NEEDS_PHASES)
        self._are_phases_seen: dict[Path, bool] = {}  # of the items of each file

    @pytest.hookimpl
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Report an instance that is unchanged; leave any other one to pytest."""
        if not isinstance(item, InstanceItem) or not self._needs_no_phases(item, nextitem):
            return None
        passes = False
        with contextlib.suppress(Exception):  # raised again in the phase to which it belongs
            passes = item.passes_unchanged()
        if not passes:
            return None
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for when in ("setup", "call", "teardown"):
            call = pytest.CallInfo.from_call(_nothing, when)
            report = hook.pytest_runtest_makereport(item=item, call=call)
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _needs_no_phases(self, item: InstanceItem, nextitem: pytest.Item | None) -> bool:
        """Return whether nobody would notice if an instance that is unchanged had no phases."""
        if not (self._may_skip and _is_still_needed(item.session, nextitem)):
            return False
        if item.path not in self._are_phases_seen:
            self._are_phases_seen[item.path] = _are_phases_seen(item)
        return not self._are_phases_seen[item.path] and next(item.iter_markers(), None) is None


def _is_still_needed(session: pytest.Session, nextitem: pytest.Item | None) -> bool:
    """Return whether all that has been set up is for the next item, too, and nothing to be torn down."""
    needed = nextitem.listchain() if nextitem is not None else ()
    return all(node in needed for node in session._setupstate.stack)  # noqa: SLF001 - pytest has no other way


def _are_phases_seen(item: pytest.Item) -> bool:
    """Return whether a plugin or conftest file takes part in the phases of an item."""
    callers = (getattr(item.ihook, name) for name in _PHASES)
    modules = (each.function.__module__ for caller in callers for each in caller.get_hookimpls())
    return not all(name.startswith("_pytest.") or name in _OF_FUNCTIONS for name in modules)


def _nothing() -> None:
    """Do what a phase does that is left out."""
