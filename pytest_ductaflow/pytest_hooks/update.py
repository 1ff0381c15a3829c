"""Make the outputs of stored instances their expected outputs: `--ductaflow-update`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ..core.instance import Instance
from ..core.number_text import in_line
from ..core.record import Record
from ..core.settings import Settings
from ..report.failure_text import difference_lines
from .collection import node_ids
from .items import PLAN, SETTINGS
from .outcomes import record_of


def refuse_in_ci(settings: Settings, environment: Mapping[str, str]) -> None:
    """Refuse `--ductaflow-update` in CI unless forced.

    Raises:
        pytest.UsageError: If `CI` is set and `--ductaflow-force` is not.
    """
    if environment.get("CI", "").lower() not in ("", "0", "false") and not settings.force:
        raise pytest.UsageError(
            "--ductaflow-update: CI is set, and there nobody looks at what changes; update where you work "
            "and commit that, or say --ductaflow-force as well"
        )


class UpdateHooks:
    """The hooks that collect differences, show them at the end and update what is expected."""

    def __init__(self) -> None:
        self._updates: dict[str, Record] = {}

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record = record_of(report)
        if record is not None and record.differences and record.status.good and not report.failed:
            self._updates[report.nodeid] = record

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        from ..gate.update_expected import update_expected

        instances = node_ids(config.stash[PLAN], config.rootpath)
        is_for_nothing = not any(instance.stored_in for instance in instances.values())
        if is_for_nothing or config.getoption("collectonly"):
            return
        terminalreporter.section("updated stored instances", "-")
        for node_id, record in self._updates.items():
            instance = instances[node_id]
            _show(terminalreporter, instance, record, config.invocation_params.dir)
            try:
                for note in update_expected(instance, record, config.stash[SETTINGS].store_limit):
                    terminalreporter.line(f"note: {note}", yellow=True)
            except Exception as error:
                terminalreporter.line(f"NOT UPDATED: {error}", red=True)
                self._session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if not self._updates:
            terminalreporter.line("nothing to update")


def _show(terminal: Any, instance: Instance, record: Record, here: Path) -> None:
    """Print what changes in one stored instance."""
    terminal.line(Path(os.path.relpath(instance.stored_in, here)).as_posix(), bold=True)
    for difference in record.differences:
        terminal.line(in_line(f"  {difference.file}: {difference.message}"), yellow=True)
        for line in difference_lines(difference, Path(instance.run_dir), here):
            terminal.line(line.text)
