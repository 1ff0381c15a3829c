"""Have an engine run the instances of a session, in place of pytest's own loop."""

from __future__ import annotations

import datetime
from collections.abc import Generator
from pathlib import Path

import pytest

from ...core.errors import EngineError, EngineLost
from ...running.engines.find import find_engine
from ...running.engines.protocol import Engine
from ..items import ELSEWHERE, PLAN, InstanceItem, PlannedItem
from .engine_loop import EngineLoop

LOST = 3  # exit code: that of an internal error


class LookAhead(pytest.Item):
    """An item that never runs, and stands for the next one, which is not known yet."""

    def runtest(self) -> None:
        """Do nothing."""

    def reportinfo(self) -> tuple[Path, int | None, str]:
        return self.path, None, "what comes next"


class EngineHooks:
    """The hooks that replace pytest's loop if there are instances.

    Args:
        config: pytest's config.
        text: The value of `--ductaflow-engine`.

    Raises:
        pytest.UsageError: If there is no such engine, or an option needs instances to run in this process.
    """

    def __init__(self, config: pytest.Config, text: str) -> None:
        if config.getoption("dist", "no") != "no":
            raise pytest.UsageError(
                f"--ductaflow-engine {text}: the engine runs instances, and pytest-xdist would have "
                "nothing to do; leave out -n (or say -n 0, if the ini file has it)"
            )
        for option, name in (("usepdb", "--pdb"), ("ductaflow_keep_kernel", "--ductaflow-keep-kernel")):
            if config.getoption(option):
                raise pytest.UsageError(
                    f"{name} needs the kernels on this machine: leave out --ductaflow-engine {text}"
                )
        try:
            self._engine: Engine = find_engine(text)
        except EngineError as error:
            raise pytest.UsageError(f"--ductaflow-engine {error}") from None

    @pytest.hookimpl
    def pytest_runtestloop(self, session: pytest.Session) -> object:
        """Run all items: instances in the engine, ordinary tests in this process meanwhile."""
        config = session.config
        stops = session.testsfailed and not config.option.continue_on_collection_errors
        has_instances = any(isinstance(item, InstanceItem) for item in session.items)
        if config.option.collectonly or stops or not has_instances:
            return None  # pytest's own loop says what there is to say
        look_ahead = LookAhead.from_parent(session, name="next")
        loop = config.stash[ELSEWHERE] = EngineLoop(session, config.stash[PLAN], self._engine, look_ahead)
        try:
            loop.run()
        except EngineError as error:
            raise pytest.UsageError(str(error)) from None
        except EngineLost as error:
            pytest.exit(
                f"{error}; what had ended is kept, and the same command goes on with the rest",
                returncode=LOST,
            )
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Report the times of the run, not those of its replay."""
        if isinstance(item, PlannedItem) and call.when == "call" and item.record is not None:
            record = item.record
            if not record.unchanged and record.duration is not None and record.started:
                began = datetime.datetime.fromisoformat(record.started).timestamp()
                call.start, call.stop, call.duration = began, began + record.duration, record.duration
        return (yield)
