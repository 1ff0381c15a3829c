"""Turn instances into pytest items: the tree conductor → step → instance, and its leaves' reports."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import pytest
from _pytest.outcomes import Skipped

from ..core.errors import InstanceFailed, PreconditionsUnmet, Warned
from ..core.instance import Instance, Neighbours, slug
from ..core.outcome import outcome_of
from ..core.record import Record
from ..core.run_directory.layout import RunFiles
from ..core.settings import Settings
from ..gate.instance_file import FILE as STORED_FILE
from ..gate.instance_file import is_stored
from ..graph.preconditions import Obstacle, Preconditions
from ..planning.afterwards.after import STEP
from ..planning.afterwards.after import instance_of as instance_of_after
from ..planning.plan import Plan
from ..report.failure_text import quoted
from ..running.debugging.breakpoints import may_stop
from ..running.debugging.terminal import terminal_here
from .outcomes import (
    FlowWarning,
    Waiting,
    attach_record,
    failure_repr,
    forget_phases,
    forget_records,
    sendable,
)

if TYPE_CHECKING:
    from ..gate.compare.tolerance import Tolerance
    from ..planning.afterwards.after import After

SETTINGS = pytest.StashKey[Settings]()
PLAN = pytest.StashKey[Plan]()
PRECONDITIONS = pytest.StashKey[Preconditions]()
MAY_RUN = pytest.StashKey[bool]()  # whether some instances may have to run
_OF_BACKGROUND_WORK = tuple(
    f"pytest_ductaflow.running.{name}" for name in ("children.runner", "run_instance")
)
SERVERS = "pytest_ductaflow.kernels.server_pool"
_RARELY = 10_000, 20, 50  # thresholds of garbage collections
_LINES_ABOVE = {".csv": 1, ".jsonl": 0}  # the first row, in tables of which each row is a line
RERUN: Any = "rerun"  # outcome of an attempt that is followed by another, as of pytest-rerunfailures
EXCHANGE = pytest.StashKey[Path]()  # under xdist: a folder that all processes of the session share


class RunsElsewhere(Protocol):
    """What runs the instances of this session, if this process does not."""

    def record_of(self, item: InstanceItem) -> Record:
        """Return the record of an instance whose protocol runs."""


ELSEWHERE = pytest.StashKey[RunsElsewhere]()


class SourceFile(pytest.File):
    """A conductor, control table, flow or past config."""

    def __init__(self, *, first_number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first_number = first_number  # number in the plan of its first instance

    def collect(self) -> Iterator[pytest.Collector | pytest.Item]:
        steps: dict[str, list[tuple[int, Instance]]] = {}
        mine = self.config.stash[PLAN].instances[self.path]
        for number, instance in enumerate(mine, self.first_number):
            steps.setdefault(instance.step, []).append((number, instance))
        for step, instances in steps.items():
            if all(instance.stored_in for _, instance in instances):  # alone in its file
                yield from _items(self, instances)
                continue
            yield Step.from_parent(self, name=slug(step), instances=instances)
        plan = self.config.stash[PLAN]
        if self.path in plan.afters:
            after = after_of(self.path, plan)
            number = plan.number_of_after(self.path)
            yield AfterItem.from_parent(self, name=STEP, instance=after, number=number)


def after_of(conductor: Path, plan: Plan) -> Instance:
    """Return a conductor's work after its instances, in the form of an instance."""
    return instance_of_after(conductor, Path(plan.instances[conductor][0].project_root))


class Step(pytest.Class):
    """The instances of one step, which test explorers show as they show the methods of a class."""

    def __init__(self, *, instances: list[tuple[int, Instance]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.instances = instances

    def _getobj(self) -> type:
        """Return a class for plugins that look at those of tests; there is none in a conductor."""
        return type(self.name, (), {})

    def collect(self) -> Iterator[pytest.Item]:
        yield from _items(self, self.instances)


def _items(parent: pytest.Collector, instances: list[tuple[int, Instance]]) -> Iterator[pytest.Item]:
    for number, instance in instances:
        yield InstanceItem.from_parent(parent, name=slug(instance.name), instance=instance, number=number)


class RetryLater(Skipped):
    """An attempt has failed, and another one follows later."""


class PlannedItem(pytest.Item):
    """An item that has a place in the plan's order and leaves a record.

    Attributes:
        retry_at: For an attempt that is followed by another: when, in seconds since the epoch.
    """

    def __init__(self, *, instance: Instance, number: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.instance = instance
        self.number = number  # in the plan
        self.retry_at: float | None = None
        self.record: Record | None = None
        self.obstacle: Obstacle | None = None
        for mark in instance.marks:
            self.add_marker(mark)

    def find_obstacle(self) -> Obstacle | None:
        """Return what prevents the item from being run; None if nothing does."""
        raise NotImplementedError

    def execute(self, settings: Settings) -> Record:
        """Run what the item stands for, and return its record."""
        raise NotImplementedError

    def setup(self) -> None:
        """Check whether all that the item depends on has ended well.

        Raises:
            pytest.skip.Exception: If something of this session has not.
        """
        self.record = self.retry_at = None
        self.obstacle = self.find_obstacle()
        if self.obstacle is not None and self.obstacle.outcome == "blocked":
            pytest.skip(self.obstacle.reason)

    def runtest(self) -> None:
        """Run the item.

        Raises:
            RetryLater: If it failed and is to be run again.
            InstanceFailed: If it ended with an error, or with a warning and warnings count as failures.
            Warned: If it ended with a warning that is to be shown as one.
        """
        if self.obstacle is not None:
            raise PreconditionsUnmet(self.obstacle.reason)
        settings = self.config.stash[SETTINGS]
        record = self.record = self.execute(settings)
        self.retry_at = record.retry_at
        if record.retry_at is not None:
            raise RetryLater(record.message or "failed", _use_item_location=True)
        for text in record.python_warnings:  # into pytest's warnings summary
            _tell_warning(self.config, text, self.instance.flow, self.nodeid)
        outcome = outcome_of(record.status, settings.warnings)
        if outcome == "failed":
            raise InstanceFailed(record.message or str(record.status), record)
        if outcome == "warned":
            raise Warned("\n".join(dict.fromkeys([record.message or "warning", *record.warnings])))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, InstanceFailed) and isinstance(excinfo.value.record, Record):
            here = self.config.invocation_params.dir
            command = repeat_command(self.nodeid, self.config.rootpath, here)
            root, tb = Path(self.instance.project_root), self.config.getoption("tbstyle", "auto")
            return failure_repr(excinfo.value.record, root, here, command, tb)
        if isinstance(excinfo.value, PreconditionsUnmet | Warned):
            return str(excinfo.value)
        if isinstance(excinfo.value, KeyboardInterrupt) and not self.config.getoption("fulltrace", False):
            return "stopped while it ran"  # with --pdb pytest makes a failure of it
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        source = self.path if self._is_declared_here else self.instance.source
        line = self.instance.line or 1  # rows of a file have none, and pytest's marks need one
        return source, line - 1, f"{self.instance.step}/{self.instance.name}"

    @property
    def _is_declared_here(self) -> bool:
        """Whether the file of the item makes the call, or has the row, that declares the instance."""
        return self.instance.source in ("", str(self.path))

    @cached_property
    def location(self) -> tuple[str, int | None, str]:
        """Where test explorers show the item: in the file to which it belongs, at its call or row.

        They take the line for one of that file, also where a module makes the calls of a conductor.
        """
        file, line, domain = super().location
        if not self._is_declared_here:
            return self.nodeid.partition("::")[0], 0, domain
        above = _LINES_ABOVE.get(self.path.suffix)
        if above is not None and self.instance.row is not None:
            line = above + self.instance.row - 1
        return file, line, domain


class InstanceItem(PlannedItem):
    """One instance as a test item.

    Attributes:
        seconds: Time that pytest-timeout allows an instance without `_timeout`; None if it was not set.
        leaves_retries: Whether a retry that has to wait is left to `RetryHooks`.
    """

    seconds: float | None = None
    leaves_retries = False

    def find_obstacle(self) -> Obstacle | None:
        return self.config.stash[PRECONDITIONS].obstacle(self.number)

    def execute(self, settings: Settings) -> Record:
        return self._accept(settings) if settings.accept else self._run(settings)

    def _run(self, settings: Settings) -> Record:
        echo = sys.stdout if self.config.getoption("capture") == "no" else None
        if (elsewhere := self.config.stash.get(ELSEWHERE, None)) is not None:
            record = elsewhere.record_of(self)
            if echo is not None and not record.unchanged:
                self._echo_log(echo)
            return record
        from ..running.children.runner import runner_of_this_session
        from ..running.run_instance import run

        return run(
            self.instance,
            self.settings_here,
            neighbours=self.neighbours,
            echo=echo,
            judge=self.judge,
            say=self.say,
            page_may_follow=True,
            runner=runner_of_this_session() if settings.fork and not self._may_be_debugged else None,
            leaves_retries=self.leaves_retries,
        )

    def passes_unchanged(self) -> bool:
        """Take the record of the last run if the instance certainly passes without being run."""
        settings = self.config.stash[SETTINGS]
        if settings.accept or ELSEWHERE in self.config.stash or self.find_obstacle() is not None:
            return False
        from ..running.run_instance import unchanged_record

        record = unchanged_record(self.instance, self.settings_here, self.neighbours)
        if (
            record is None
            or record.python_warnings
            or outcome_of(record.status, settings.warnings) != "passed"
        ):
            return False
        self.record, self.obstacle, self.retry_at = record, None, None
        return True

    @property
    def _may_be_debugged(self) -> bool:
        """Whether a debugger may open, at the terminal of this process."""
        if self.config.getoption("usepdb"):
            return True
        return terminal_here() is not None and may_stop(self.instance)

    @property
    def settings_here(self) -> Settings:
        """The settings of the session, with pytest-timeout's limit if that is less."""
        settings = self.config.stash[SETTINGS]
        seconds = self.seconds or getattr(self.config, "_env_timeout", None)  # pytest-timeout's own name
        if not seconds or (settings.timeout and settings.timeout <= seconds):
            return settings
        return replace(settings, timeout=seconds)

    def _echo_log(self, stream: TextIO) -> None:
        """Print what a flow has printed elsewhere."""
        with contextlib.suppress(OSError):
            stream.write(RunFiles.of(self.instance).log.read_text(encoding="utf-8", errors="replace"))

    def say(self, line: str) -> None:
        """Write a line to the terminal at once; an xdist worker can reach it only by a warning."""
        if hasattr(self.config, "workerinput"):
            _tell_warning(self.config, line, self.instance.flow, self.nodeid, Waiting)
        else:
            write_now(self.config, line)

    @property
    def judge(self) -> Callable[[Record], Record] | None:
        """The function that compares a stored instance's outputs with the expected ones."""
        if not self.instance.stored_in:
            return None
        from ..gate.judge import Judge

        def comparer(name: str, expected: Path, found: Path, tolerance: Tolerance) -> Any:
            hook = self.ihook.pytest_ductaflow_compare  # of the conftest files above the instance
            return hook(name=name, expected=expected, found=found, tolerance=tolerance)

        updates = self.config.stash[SETTINGS].update
        return Judge(self.instance, updates=updates, comparer=comparer).judged

    def _accept(self, settings: Settings) -> Record:
        from ..core.errors import NothingToAccept
        from ..tracking.accept import accept

        try:
            return accept(self.instance, settings, neighbours=self.neighbours)
        except NothingToAccept as error:
            raise PreconditionsUnmet(str(error)) from None

    @property
    def neighbours(self) -> Neighbours:
        return self.config.stash[PLAN].neighbours(self.number)


class AfterItem(PlannedItem):
    """A conductor's work after its instances, as a test item."""

    def setup(self) -> None:
        """Check whether the item is enabled, and whether all instances have ended well.

        Raises:
            pytest.skip.Exception: If not, with the reason.
        """
        settings = self.config.stash[SETTINGS]
        self.record = self.obstacle = None
        if settings.accept:
            pytest.skip("--ductaflow-accept runs nothing")
        if settings.after == "never":
            pytest.skip("ductaflow_after is never")
        super().setup()

    def find_obstacle(self) -> Obstacle | None:
        if self.config.stash[SETTINGS].after == "always":
            return None
        return self.config.stash[PRECONDITIONS].obstacle_after(self._numbers)

    def execute(self, settings: Settings) -> Record:
        return self.after.run(settings, sys.stdout)

    @property
    def after(self) -> After:
        """The conductor, and how its instances have ended."""
        from ..planning.afterwards.after import After

        plan, preconditions = self.config.stash[PLAN], self.config.stash[PRECONDITIONS]
        outcomes = preconditions.outcomes.read()
        ended = [
            (plan.all[number], outcomes.get(number) if number in preconditions.selected else None)
            for number in self._numbers
        ]
        return After(self.instance, ended)

    @property
    def _numbers(self) -> range:
        """The numbers of the conductor's instances in the plan."""
        return self.config.stash[PLAN].numbers[self.path]


def write_now(config: pytest.Config, line: str) -> None:
    """Write a line to the terminal, also while the output of a test is captured."""
    capture = config.pluginmanager.getplugin("capturemanager")
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if terminal is None:  # the user wants none
        return
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        terminal.ensure_newline()
        if terminal._tw.width_of_current_line:  # noqa: SLF001 - after dots with -n, of which pytest knows nothing
            terminal.write("\n")
        terminal.write_line(line)
        terminal.flush()


def _tell_warning(
    config: pytest.Config, text: str, file: str, node_id: str = "", kind: type[FlowWarning] = FlowWarning
) -> None:
    message = warnings.WarningMessage(kind(text), kind, file, 1, line="")  # without a line, as in sys:1
    told = {"warning_message": message, "when": "runtest", "nodeid": node_id, "location": None}
    config.hook.pytest_warning_recorded.call_historic(kwargs=told)


def hurry() -> None:
    """End the session without waiting for background work."""
    for module in _OF_BACKGROUND_WORK:
        if (loaded := sys.modules.get(module)) is not None:
            loaded.hurry()


class OutcomeHooks:
    """The hooks that put records into reports, and apply pytest-timeout's limits.

    Args:
        config: pytest's config.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._reported: set[str] = set()  # ids of the items that have a record and have not ended
        self._thresholds = contextlib.ExitStack()  # restores those of garbage collection
        config.add_cleanup(self._thresholds.close)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Have garbage collected less often: most of what instances leave stays to the end of the session."""
        before = gc.get_threshold()
        if before[0]:  # 0: the user wants no collections
            gc.set_threshold(*map(max, before, _RARELY))
            self._thresholds.callback(_restore_thresholds, before, gc.get_threshold())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Have garbage collected as usual if there are tests, whose objects might matter."""
        if not _has_only_planned(session):
            self._thresholds.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Finish all writing for instances before the session ends, while servers of kernels end."""
        if _has_only_planned(session):
            _skip_search_for_unraisable_exceptions(session.config)
        if (pool := sys.modules.get(SERVERS)) is not None:
            pool.servers.begin_to_end()
        for module in _OF_BACKGROUND_WORK:
            if (loaded := sys.modules.get(module)) is not None:
                for problem in loaded.finish():
                    _tell_warning(session.config, problem, "ductaflow")

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> bool | None:
        """Apply pytest-timeout's limit as the instance's own time-out, which reports where time went."""
        if not isinstance(item, InstanceItem):
            return None
        item.seconds = settings.timeout
        return True

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_timeout_cancel_timer(self, item: pytest.Item) -> bool | None:
        return True if isinstance(item, InstanceItem) else None

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add the record to a report before other plugins see it."""
        report = yield
        if isinstance(item, PlannedItem) and call.when == "call" and item.record is not None:
            record = item.record.brief()  # as pytest keeps all reports
            attach_record(report, record, is_sent=hasattr(item.config, "workerinput"))
            if call.excinfo is not None and isinstance(call.excinfo.value, Warned):
                report.longrepr = sendable(str(call.excinfo.value))
                report.outcome = "skipped"
                report.wasxfail = item.record.message or "warning"
            if item.retry_at is not None:
                report.longrepr = sendable(item.record.message or "failed")
                report.outcome = RERUN
            elif not getattr(item, "leaves_retries", False):
                report.duration = max(report.duration - sum(item.record.waited), 0.0)
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "ductaflow"):
            self._reported.add(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Drop what would be kept of an instance, now that all hooks have seen its reports."""
        if nodeid in self._reported:
            self._reported.discard(nodeid)
            forget_records(nodeid)
            forget_phases(self._config, nodeid)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> Any:
        if hasattr(report, "ductaflow") and report.outcome == RERUN:
            return "rerun", "R", ("RERUN", {"yellow": True})
        if hasattr(report, "ductaflow") and hasattr(report, "wasxfail"):
            return "warned", "w", ("WARNED", {"yellow": True})
        if report.passed and getattr(report, "ductaflow", {}).get("unchanged"):
            # Counted as passed, since a good result should not stand out.
            return "passed", "u", ("UNCHANGED", {"green": True})
        return None


def _restore_thresholds(before: tuple[int, ...], ours: tuple[int, ...]) -> None:
    """Restore when garbage is collected, unless somebody else has decided on that in the meantime."""
    if gc.get_threshold() == ours:
        gc.set_threshold(*before)


def _has_only_planned(session: pytest.Session) -> bool:
    """Return whether this process has items, and no tests among them, whose objects might matter."""
    items = getattr(session, "items", ())
    return bool(items) and all(isinstance(item, PlannedItem) for item in items)


def _skip_search_for_unraisable_exceptions(config: pytest.Config) -> None:
    """Leave out pytest's last garbage collection, which is for objects of tests and slow with many items."""
    with contextlib.suppress(ImportError):  # an earlier or later pytest
        from _pytest.unraisableexception import gc_collect_iterations_key

        config.stash.setdefault(gc_collect_iterations_key, 0)


def node_id_of(path: Path, instance: Instance, rootpath: Path) -> str:
    """Return the node id of an instance that `path` declares, without collecting it."""
    step = "" if instance.stored_in else f"::{slug(instance.step)}"
    return f"{_below(path, rootpath)}{step}::{slug(instance.name)}"


@lru_cache(maxsize=100)
def _below(path: Path, rootpath: Path) -> str:
    """Return a path as node ids have it."""
    return (path.relative_to(rootpath) if path.is_relative_to(rootpath) else path).as_posix()


def id_of_after(conductor: Path, rootpath: Path) -> str:
    """Return the node id of a conductor's work after its instances."""
    return f"{_below(conductor, rootpath)}::{STEP}"


def repeat_command(names: str | Iterable[str], rootpath: Path, here: Path) -> str:
    """Return the command that runs just these instances.

    Args:
        names: Node ids, or paths of run directories.
        rootpath: pytest's root, to which node ids are relative.
        here: The user's working directory.
    """
    arguments = []
    for name in [names] if isinstance(names, str) else names:
        file, colons, rest = name.partition("::")
        if os.path.basename(file) == STORED_FILE and is_stored(rootpath / file):
            file, colons, rest = os.path.dirname(file), "", ""  # a stored instance is alone in its folder
        arguments.append(quoted(f"{_seen_from(here, rootpath, file)}{colons}{rest}"))
    return f"pytest --ductaflow {' '.join(arguments)}"


@lru_cache(maxsize=100)
def _seen_from(here: Path, rootpath: Path, file: str) -> str:
    return Path(os.path.relpath(rootpath / file, here)).as_posix()


def only_planned(items: Iterable[pytest.Item]) -> list[PlannedItem]:
    return [item for item in items if isinstance(item, PlannedItem)]


def only_instances(items: Iterable[pytest.Item]) -> list[InstanceItem]:
    return [item for item in items if isinstance(item, InstanceItem)]
