"""Report instances that need not run without the phases of a test, which take longer than the decision.

A phase captures output, keeps log messages, and sets up and tears down what the item needs: for nothing,
where nothing runs. All other hooks are called as for any item.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from .items import InstanceItem
from .retrying import is_rerun_by_plugin

_NEEDS_PHASES = ("setupshow", "setuponly", "usepdb", "trace")  # options
_SEEING = ("setup", "call", "teardown", "makereport")  # the hooks that may use what phases leave
_OWN = ("setup", "runtest", "teardown")  # of an item, which a plugin may replace
# Plugins that do something for test functions only, or for what fails.
_OF_FUNCTIONS = (
    "_hypothesis_pytestplugin",
    "pytest_asyncio.plugin",
    "pytest_benchmark.plugin",
    "pytest_html.plugin",
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

    def pytest_plugin_registered(self) -> None:
        """Look again who takes part in the phases."""
        self._are_phases_seen.clear()

    def _needs_no_phases(self, item: InstanceItem, nextitem: pytest.Item | None) -> bool:
        """Return whether nobody would notice if an instance that is unchanged had no phases."""
        if not (self._may_skip and _is_still_needed(item.session, nextitem)):
            return False
        if item.path not in self._are_phases_seen:
            self._are_phases_seen[item.path] = _are_phases_seen(item)
        is_ordinary = next(item.iter_markers(), None) is None and item.__dict__.keys().isdisjoint(_OWN)
        return is_ordinary and not self._are_phases_seen[item.path]


def _is_still_needed(session: pytest.Session, nextitem: pytest.Item | None) -> bool:
    """Return whether all that has been set up is for the next item, too, and nothing to be torn down."""
    needed = nextitem.listchain() if nextitem is not None else ()
    return all(node in needed for node in session._setupstate.stack)  # noqa: SLF001 - pytest has no other way


def _are_phases_seen(item: pytest.Item) -> bool:
    """Return whether a package, a plugin or a conftest file takes part in the phases of a file's items."""
    if any(isinstance(node, pytest.Package) for node in item.listchain()) or is_rerun_by_plugin(item):
        return True
    seeing = [each for name in _SEEING for each in _implementations(item, name)]
    running = [each for each in _implementations(item, "protocol") if not (each.wrapper or each.hookwrapper)]
    return not all(_needs_no_phases_itself(each.function.__module__) for each in (*seeing, *running))


def _implementations(item: pytest.Item, name: str) -> list[Any]:
    """Return the implementations of a hook of pytest that are called for an item."""
    return list(getattr(item.ihook, f"pytest_runtest_{name}").get_hookimpls())


def _needs_no_phases_itself(module: str) -> bool:
    return module.startswith(("_pytest.", f"{__package__}.")) or module in _OF_FUNCTIONS


def _nothing() -> None:
    """Do what a phase does that is left out."""
