"""Report a session from the reporting process: the live HTML report and lines in the terminal.

Under xdist this process is the controller, which runs nothing itself; records arrive with the reports.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import pytest
from _pytest._code.code import ReprFileLocation

from ..core.instance import Instance
from ..core.number_text import listed
from ..core.record import INTERRUPTED, Record
from ..core.run_directory.layout import RunFiles
from ..core.run_directory.record_files import close_record
from ..core.system.running_now import announce
from ..graph.step_edges import StepEdge, step_edges
from ..graph.waits import Wait
from ..planning.history import left_over_runs
from ..planning.history.declared_rows import is_declared_in
from ..planning.history.stale_upstreams import out_of_date
from ..planning.plan import Plan
from ..report.failure_text import Line
from ..report.live import CUT_OFF, LiveReport
from ..report.terminal_summary import Summary, show_flows
from ..report.time_left import TimeLeft
from ..running.debugging.terminal import terminal_here
from ..sources.notebooks import TABLE_SUFFIXES
from .collection import node_ids
from .distribution.worker_times import TIMES
from .items import PLAN, SETTINGS, after_of, id_of_after, node_id_of, only_planned, repeat_command, write_now
from .ordering import BLOCKED, REFUSED
from .outcomes import FailureRepr, Waiting, failure_repr, record_of
from .sharding import DIVISION
from .terminal.progress import Progress
from .terminal.similar_failures import FailedInstance, SimilarFailures

_SOURCES = 5  # sources named in the header


def _count(number: int) -> str:
    return f"{number} instance{'s' * (number != 1)}"


def _nothing_found(names: Sequence[str]) -> str:
    """Return a line on what was searched for when no conductor or table was found."""
    searched = f"folders are searched for {' or '.join(names)} (--ductaflow-files names others)"
    return f"no conductor found: {searched}; what has another name, a flow and a table are run by their paths"


class ReportingHooks:
    """The hooks that write each project's report and the terminal's lines about flows."""

    def __init__(self, config: pytest.Config, progress: Progress, alike: SimilarFailures) -> None:
        self._config = config
        self._progress = progress
        self._instances: dict[str, Instance] = {}
        self._reports: dict[str, LiveReport] = {}  # by project root
        self._summary = Summary()
        self._alike = alike
        self._problems: list[str] = []
        self._selected: set[str] = set()  # node ids of what this session runs
        self._numbers: dict[str, int] = {}  # of the instances in the plan, by node id
        self._running: dict[str, None] = {}  # node ids, in the order of their start

    def pytest_report_header(self) -> list[str]:
        plan = self._config.stash.get(PLAN, None)
        if plan is None:
            return []
        here = self._config.invocation_params.dir
        lines = [
            f"ductaflow: {_count(len(found))} in {os.path.relpath(path, here)}"
            for path, found in plan.instances.items()
        ]
        rest = list(plan.instances.values())[_SOURCES:]
        more = f"ductaflow: {_count(sum(map(len, rest)))} in {len(rest)} more" if rest else ""
        return [*lines[:_SOURCES], *filter(None, [more])]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if self._workers == 0:
            self._begin({item.nodeid for item in only_planned(session.items)}, 1)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        if not self._instances:
            self._begin(set(ids), self._workers)

    @property
    def _workers(self) -> int:
        """The number of xdist workers; 0 without xdist."""
        return len(self._config.getoption("tx", None) or []) if self._distributed else 0

    @property
    def _distributed(self) -> bool:
        return bool(self._config.getoption("dist", "no") != "no")

    def _begin(self, selected: set[str], workers: int) -> None:
        config = self._config
        if config.getoption("collectonly"):
            return
        self._selected = selected
        self._instances = node_ids(config.stash[PLAN], config.rootpath)
        settings, division = config.stash[SETTINGS], config.stash.get(DIVISION, {})
        shards = {config.stash[PLAN].all[number].key: shard for number, shard in division.items()}
        shard = f"{settings.shard[0]}/{settings.shard[1]}" if settings.shard else None
        here = config.invocation_params.dir
        command = " ".join(["pytest", *map(str, config.invocation_params.args)])
        plan = config.stash[PLAN]
        ids, _ = _selected_numbers(plan, config.rootpath, selected)
        self._numbers = {node_id: number for number, node_id in enumerate(ids)}
        for node_id, instance in self._instances.items():
            root = instance.project_root
            if root not in self._reports:
                self._reports[root] = LiveReport(Path(root), command, workers, settings.html, shard)
            repeat = repeat_command(node_id, config.rootpath, here)
            earlier, its_shard = node_id not in selected, shards.get(instance.key)
            upstreams = _Upstreams(plan, self._numbers.get(node_id))
            self._reports[root].add(
                node_id, instance, repeat, earlier=earlier, shard=its_shard, upstreams=upstreams
            )
        is_at_terminal = terminal_here() is not None
        for root in {self._instances[each].project_root for each in selected & self._instances.keys()}:
            config.add_cleanup(announce(Path(root), command, may_be_debugged=is_at_terminal))
        labels = {
            node_id: f"{each.step}/{each.name}"
            for node_id, each in self._instances.items()
            if node_id in selected
        }
        self._progress.begin(labels, self._time_left(workers))
        left_over_runs.note(config.stash[PLAN])
        self._drop_idle_reports()
        for root, live in self._reports.items():
            self._tell_of_plan(live, root, ids, workers)
            if settings.shard is None:  # shards are merged: each has the same rows
                live.keep_others(_planned(config.stash[PLAN], config.rootpath), is_declared_in(Path(root)))
            live.follow()

    def _tell_of_plan(self, live: LiveReport, root: str, ids: Sequence[str], workers: int) -> None:
        """Have a report show what waits for what, how long it takes, and when workers are idle."""
        plan = self._config.stash[PLAN]
        steps = [(node_id.partition("::")[0], each.step) for node_id, each in zip(ids, plan.all, strict=True)]
        of_root = {step for step, each in zip(steps, plan.all, strict=True) if each.project_root == root}
        edges = [*step_edges(plan.graph, steps), *_edges_to_afters(plan, self._config.rootpath)]
        of_root |= {edge.later for edge in edges if edge.earlier in of_root}
        live.show_edges([edge for edge in edges if edge.later in of_root])
        live.expect(self._time_left(workers))
        if (times := self._config.stash.get(TIMES, None)) is not None:
            live.show_idle(times.idle.spans)

    def _time_left(self, workers: int) -> TimeLeft:
        plan = self._config.stash[PLAN]
        return TimeLeft(plan.all, plan.graph.before, plan.durations, self._numbers, workers)

    def _drop_idle_reports(self) -> None:
        """Leave the reports of projects of which this session runs nothing as they are, or all if told so."""
        settings = self._config.stash[SETTINGS]
        if settings.shard is None:  # what merges shards reads their reports
            ran = self._selected & self._instances.keys() if settings.report else ()
            used = {self._instances[node_id].project_root for node_id in ran}
            self._reports = {root: live for root, live in self._reports.items() if root in used}

    def _tell_of_empty_sources(self, terminal: Any) -> None:
        """Print why a source that was named, or found, has nothing to run."""
        plan, here = self._config.stash.get(PLAN, None), self._config.invocation_params.dir
        for path, found in plan.instances.items() if plan is not None else ():
            if not found:
                is_table = path.suffix in TABLE_SUFFIXES
                call = "it made no call of conduct or run_notebook, or with empty tables only"
                why = "the table has no rows" if is_table else call
                terminal.line(f"nothing to run in {os.path.relpath(path, here)}: {why}", yellow=True)

    def _look_at_upstreams(self, here: Path) -> None:
        """Add unselected out-of-date upstreams to the summary; those that block are reported elsewhere."""
        plan, rootpath = self._config.stash[PLAN], self._config.rootpath
        if len(self._selected) >= len(plan.all):
            return
        ids, numbers = _selected_numbers(plan, rootpath, self._selected)
        for found in out_of_date(plan, numbers, self._config.stash[SETTINGS]):
            if found.has_good_record:
                command = repeat_command(ids[found.number], rootpath, here)
                self._summary.out_of_date(found.line(command))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Report running instances after Ctrl-C instead of a line of our code, except with --full-trace."""
        try:
            return (yield)
        except KeyboardInterrupt:
            waiting = self._summary.waiting
            if self._config.getoption("fulltrace", False) or not (self._running or waiting):
                raise
            doing = (
                f"running {listed(self._running)}"
                if self._running
                else f"{listed(waiting)} waited for a retry"
            )
            pytest.exit(f"stopped while {doing}")

    def _report_of(self, node_id: str) -> LiveReport | None:
        instance = self._instances.get(node_id)
        return self._reports.get(instance.project_root) if instance else None

    def begun_elsewhere(self, node_id: str, slots: int) -> None:
        """Show an instance as running, which an engine has begun that runs so many at a time."""
        for live in self._reports.values():
            live.set_workers(slots)
        self.pytest_runtest_logstart(node_id)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if nodeid not in self._running and (live := self._report_of(nodeid)) is not None:
            self._running[nodeid] = None
            live.started(nodeid, *self._begun(nodeid))

    def _begun(self, node_id: str) -> tuple[str | None, Wait | None]:
        """Return the worker that runs an instance, and what the instance has waited for, as far as known."""
        times = self._config.stash.get(TIMES, None)
        begun = times.begun.get(self._numbers.get(node_id, -1)) if times is not None else None
        return begun if begun is not None else (None, None)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        """Set the failure text before others see the report; show a build's flows after its line."""
        record = record_of(report)
        self._explain(report, record)
        yield
        if getattr(report, BLOCKED, False):
            _keep_for_last_failed(self._config, report)
        if hasattr(report, "ductaflow_crash") and report.failed:
            self._config.hook.pytest_runtest_logreport(report=_last_phase(report))
        live = self._report_of(report.nodeid)
        if live is not None:
            if report.when == "teardown":
                self._running.pop(report.nodeid, None)
            self._follow(live, report, record)

    def _explain(self, report: pytest.TestReport, record: Record | None) -> None:
        """Give a failure the text that users see, which is not sent between processes."""
        instance = self._instances.get(report.nodeid)
        if record is not None and instance is not None and report.failed:
            shown = report.longrepr  # of an item of this process; workers send it as a plain text
            root, here = Path(instance.project_root), self._config.invocation_params.dir
            if not isinstance(shown, FailureRepr):
                command = repeat_command(report.nodeid, self._config.rootpath, here)
                shown = failure_repr(record, root, here, command, self._config.getoption("tbstyle", "auto"))
                report.longrepr = shown
            self._show_once(report, FailedInstance.of(record, root, here), shown)
        elif (reason := getattr(report, REFUSED, None)) is not None:
            file, line = (instance.source, instance.line) if instance is not None else report.location[:2]
            report.longrepr = shown = _refusal_repr(file, line, reason)
            place = (REFUSED, file, line, reason.partition(":")[0])
            self._show_once(report, FailedInstance(self._name(report), "not started", reason, place), shown)
        elif report.failed and instance is not None:
            self._show_once(report, FailedInstance(self._name(report), "without a record", "", None))

    def _name(self, report: pytest.TestReport) -> str:
        instance = self._instances.get(report.nodeid)
        return f"{instance.step}/{instance.name}" if instance is not None else report.nodeid

    def _show_once(
        self, report: pytest.TestReport, failed: FailedInstance, shown: FailureRepr | None = None
    ) -> None:
        """Hide a failure in the terminal if it shows one with the same cause already."""
        if self._alike.merge_into_earlier(failed, shown):
            # The only way to have pytest's terminal count a failure but omit it from FAILURES.
            report._pdbshown = True  # type: ignore[attr-defined]  # noqa: SLF001

    def _follow(self, live: LiveReport, report: pytest.TestReport, record: Record | None) -> None:
        if record is not None and record.retry_at is not None:
            self._running.pop(report.nodeid, None)
            live.failed_once(report.nodeid, record)
            self._summary.waits(report.nodeid, record)
            _keep_for_last_failed(self._config, report)  # if the session stops before the next attempt
        elif record is not None:
            live.ended(report.nodeid, record)
            instance = self._instances[report.nodeid]
            self._summary.ended(report.nodeid, record, instance.project_root)
            self._show_flows(record)
        elif report.failed:
            live.failed(report.nodeid, _first_line(report))
        elif report.skipped and report.when in ("setup", "call"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            live.blocked(report.nodeid, reason)
            if hasattr(report, BLOCKED):
                self._summary.blocked(report.nodeid, reason.removeprefix("Skipped: "))

    def _show_flows(self, record: Record) -> None:
        """Show a build's flows with their lights, below its line, with `-v`."""
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and terminal.verbosity >= 1:
            show_flows(terminal, record.flows)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Write an xdist worker's `Waiting` message at once."""
        if isinstance(warning_message.message, Waiting):
            write_now(self._config, str(warning_message.message))

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, report: pytest.TestReport) -> None:
        """Complete a crashed xdist worker's report, which others drop without a phase; close the record."""
        report.when = "call"
        report.ductaflow_crash = True  # type: ignore[attr-defined]
        instance = self._instances.get(report.nodeid)
        from ..core.system.instance_lock import is_free

        if instance is None or not is_free(RunFiles.of(instance), instance.project_root):
            return  # another session has taken it over
        if (record := close_record(instance, str(report.longrepr))) is not None:
            report.ductaflow = record.sparse_json()  # type: ignore[attr-defined]

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Close records and reports after xdist's workers have ended, which may still close theirs."""
        try:
            yield
        finally:
            self._close_records()
            exit_code = int(session.exitstatus)
            outcome = "interrupted" if exit_code == pytest.ExitCode.INTERRUPTED else "finished"
            for live in self._reports.values():
                if problem := live.finish(outcome, exit_code):
                    self._problems.append(problem)

    def _close_records(self) -> None:
        """Close the records of instances that ran in processes that could not do it themselves."""
        if not self._running:
            return
        from ..core.system.instance_lock import is_free

        for instance in filter(None, map(self._instances.get, self._running)):
            if is_free(RunFiles.of(instance), instance.project_root):  # else another session has it
                close_record(instance, CUT_OFF, INTERRUPTED)

    def pytest_terminal_summary(self, terminalreporter: Any, exitstatus: int) -> None:
        self._tell_of_empty_sources(terminalreporter)
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and not self._config.stash[PLAN].instances:
            terminalreporter.line(_nothing_found(self._config.stash[SETTINGS].files), yellow=True)
        if not self._instances:
            return
        if terminalreporter.verbosity >= 0:
            terminalreporter.section("ductaflow", "-")
            self._show_summary(terminalreporter, exitstatus)
        for problem in self._problems:
            terminalreporter.line(problem, yellow=True)
        if self._problems or terminalreporter.verbosity < 0:
            return
        here = self._config.invocation_params.dir
        for live in self._reports.values():
            terminalreporter.line(f"report: {Path(os.path.relpath(live.path, here)).as_posix()}")

    def _show_summary(self, terminalreporter: Any, exitstatus: int) -> None:
        """Write what is to be known of the session, besides its failures."""
        here = self._config.invocation_params.dir
        self._look_at_upstreams(here)
        self._summary.show(terminalreporter)
        if exitstatus == pytest.ExitCode.INTERRUPTED:
            stopped = f"stopped: {', '.join(self._running)}; " if self._running else ""
            terminalreporter.line(f"{stopped}the same command goes on with what has not ended", yellow=True)
        for line in left_over_runs.lines(self._config.stash[PLAN], here):
            terminalreporter.line(line)


def _edges_to_afters(plan: Plan, rootpath: Path) -> Iterator[StepEdge[tuple[str, str]]]:
    """Yield the edges from the steps of each conductor to its work after their instances."""
    for path in plan.afters:
        source = id_of_after(path, rootpath).partition("::")[0]
        after = after_of(path, plan)
        for step in dict.fromkeys(each.step for each in plan.instances[path]):
            yield StepEdge((source, step), (source, after.step), 1)


class _Upstreams(Sequence[str]):
    """The labels of the upstreams of an instance, of which a row needs the first ones and their number."""

    def __init__(self, plan: Plan, number: int | None) -> None:
        self._labels = plan.graph.labels
        self._numbers = () if number is None else plan.graph.upstreams[number]

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return [self._labels[number] for number in self._numbers[place]]
        return self._labels[self._numbers[place]]


def _planned(plan: Plan, rootpath: Path) -> set[str]:
    """Return the sources of a plan whose instances are all known, as rows of the report name them."""
    return {
        node_id_of(path, found[0], rootpath).partition("::")[0]
        for path, found in left_over_runs.whole_sources(plan).items()
    }


def _selected_numbers(plan: Plan, rootpath: Path, selected: Collection[str]) -> tuple[list[str], set[int]]:
    """Return the node ids of a plan's instances by their numbers, and the numbers of those selected."""
    ids = [node_id_of(path, i, rootpath) for path, found in plan.instances.items() for i in found]
    return ids, {number for number, node_id in enumerate(ids) if node_id in selected}


def _first_line(report: pytest.TestReport) -> str:
    """Return why an item without a record failed; pytest's text begins with code around the exception."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message if crash is not None else report.longrepr).strip()
    return text.splitlines()[0] if text else "failed"


def _refusal_repr(file: str, line: int | None, reason: str) -> FailureRepr:
    """Return the one-line failure of an instance that was not started; the summary shows it as well."""
    return FailureRepr([Line(reason, ("red",))], ReprFileLocation(file, line or 1, reason))


def _last_phase(crash: Any) -> pytest.TestReport:
    """Return the teardown report that a crashed worker cannot send; other reports need it to show an item."""
    report = pytest.TestReport(crash.nodeid, crash.location, {}, "passed", None, "teardown")
    report.node = crash.node  # type: ignore[attr-defined]
    return report


def _keep_for_last_failed(config: pytest.Config, report: pytest.TestReport) -> None:
    """Make `--lf` run blocked items together with failed ones; to pytest they are merely skipped."""
    plugin = config.pluginmanager.get_plugin("lfplugin")
    last_failed = getattr(plugin, "lastfailed", None)
    if isinstance(last_failed, dict):
        last_failed[getattr(report, "id", report.nodeid)] = True  # by NodeId since pytest 9.2
