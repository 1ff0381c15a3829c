"""Tell a Prefect server what happens in a session (`--ductaflow-prefect`).

The hooks are those of the reporting process: the only one, or xdist's controller.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ...core.instance import RUNS
from ...core.masking.config import environment_for, values_to_mask
from ...core.masking.masker import Masker
from ...core.number_text import listed
from ...core.record import INTERRUPTED, Record
from ...core.run_directory.layout import REPORT, RunFiles
from ...core.run_directory.record_files import read_record
from ...core.settings import FLOW_RUN
from ...core.system.lineage import session_id
from ...planning.plan import Plan
from ...report.prefect import states
from ...report.prefect.api import AUTH, KEY, PrefectApi, is_disabled
from ...report.prefect.mirror import PrefectMirror, SessionFacts
from ...report.prefect.names import Clean, storable
from ...report.prefect.states import State
from ...report.prefect.task_runs import Task
from ..collection import node_ids
from ..distribution.worker_times import TIMES
from ..items import PLAN, SETTINGS, id_of_after, node_id_of, only_planned, repeat_command
from ..ordering import BLOCKED
from ..outcomes import record_of

_SOURCES = 3  # that the name of the flow has


def register_mirror(config: pytest.Config, address: str) -> None:
    """Register the hooks, unless `PREFECT_DISABLED` is set.

    Raises:
        pytest.UsageError: If the address has a password, which would be shown in many places.
    """
    if "@" in address:
        raise pytest.UsageError(
            f"--ductaflow-prefect: leave user and password out of the address, and set {AUTH}=USER:PASSWORD"
        )
    flow_run = os.environ.pop(FLOW_RUN, "")  # not for the sessions that flows start
    if not is_disabled(os.environ):
        hooks = PrefectHooks(config, PrefectApi(address, os.environ), flow_run)
        config.pluginmanager.register(hooks, "ductaflow-prefect")


class PrefectHooks:
    """The hooks that follow a session.

    Args:
        config: pytest's config.
        api: The server.
        flow_run: Id of the flow run that has started the session; "" if there is none.
    """

    def __init__(self, config: pytest.Config, api: PrefectApi, flow_run: str) -> None:
        self._config = config
        self._api = api
        self._flow_run = flow_run
        self._mirror: PrefectMirror | None = None
        self._tasks: list[Task] = []
        self._numbers: dict[str, int] = {}  # of the tasks, by node id
        self._plan_numbers: dict[str, int] = {}
        self._running: dict[str, None] = {}
        self._problem: str | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if self._config.getoption("dist", "no") == "no":
            self._begin({item.nodeid for item in only_planned(session.items)})

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        if self._mirror is None:
            self._begin(set(ids))

    def _begin(self, selected: Collection[str]) -> None:
        config = self._config
        plan = config.stash[PLAN]
        self._tasks, self._plan_numbers = _tasks_of(plan, config, selected)
        if config.getoption("collectonly") or not self._tasks:
            return
        self._numbers = {task.node_id: number for number, task in enumerate(self._tasks)}
        facts = _facts(plan, config, self._tasks, self._flow_run)
        tasks, environment = self._tasks, dict(os.environ)
        self._mirror = PrefectMirror(self._api, facts, tasks, lambda: _clean_for(tasks, environment))
        self._mirror.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self._mirror is not None and (number := self._numbers.get(nodeid)) is not None:
            self._running[nodeid] = None
            times = self._config.stash.get(TIMES, None)
            begun = times.begun.get(self._plan_numbers.get(nodeid, -1)) if times is not None else None
            self._mirror.now_is(number, states.running(begun[0] if begun is not None else ""))

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        number = self._numbers.get(report.nodeid)
        if self._mirror is None or number is None:
            return
        if str(report.outcome) == "rerun":  # another plugin tries it again
            self._mirror.now_is(number, states.running(again=True))
            return
        record = record_of(report)
        state = self._state(report, record)
        if state is not None:
            self._running.pop(report.nodeid, None)
            failure = str(report.longrepr) if report.failed else ""
            self._mirror.ended(number, state, record=record, failure=failure)

    def _state(self, report: pytest.TestReport, record: Record | None) -> State | None:
        """Return how an instance has ended; None if the report does not tell."""
        if record is not None:
            return states.of_record(record, self._config.stash[SETTINGS].warnings)
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            text = str(crash.message if crash is not None else report.longrepr).strip()
            has_crashed = hasattr(report, "ductaflow_crash")
            first = (text.splitlines() or ["failed"])[0]
            return states.without_record(
                *(("CRASHED", "Crashed") if has_crashed else ("FAILED", "Failed")), first
            )
        if report.skipped and report.when in ("setup", "call"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            name = "Blocked" if hasattr(report, BLOCKED) else "Skipped"
            return states.without_record("CANCELLED", name, reason.removeprefix("Skipped: "))
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """Tell how the session has ended, after the records of what was running are closed."""
        try:
            yield
        finally:
            if self._mirror is not None:
                for number in self._mirror.not_ended:
                    self._cut_off(self._mirror, number)
                self._problem = self._mirror.finish(_end_of(int(session.exitstatus)))

    def _cut_off(self, mirror: PrefectMirror, number: int) -> None:
        """Tell that an instance has not come to its end, or has not begun."""
        task = self._tasks[number]
        if task.node_id not in self._running:
            state = states.without_record("CANCELLED", "NotRun", "the session ended before its turn")
            mirror.ended(number, state)
            return
        record, _ = read_record(RunFiles.of(task.instance).record)
        if record is not None and record.error is not None and record.error.type == INTERRUPTED:
            mirror.ended(number, states.of_record(record, "xfail"), record=record)
        else:
            mirror.ended(number, states.without_record("CANCELLED", "Interrupted", "the session ended"))

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._problem is not None:
            terminalreporter.line(self._problem, yellow=True)
        elif self._mirror is not None and self._mirror.page is not None:
            terminalreporter.line(f"Prefect: {self._mirror.page}")


def _end_of(exit_code: int) -> State:
    """Return the last state of the flow run."""
    match exit_code:
        case pytest.ExitCode.OK | pytest.ExitCode.NO_TESTS_COLLECTED:
            return State("COMPLETED", "Completed", "", states.now())
        case pytest.ExitCode.TESTS_FAILED:
            return State("FAILED", "Failed", "", states.now())
        case pytest.ExitCode.INTERRUPTED:
            return State("CANCELLED", "Cancelled", "the session was interrupted", states.now())
        case _:
            return State("CRASHED", "Crashed", f"pytest ended with exit code {exit_code}", states.now())


def _tasks_of(
    plan: Plan, config: pytest.Config, selected: Collection[str]
) -> tuple[list[Task], dict[str, int]]:
    """Return what the task runs of a session are made of, and the numbers of their instances in the plan."""
    rootpath, here = config.rootpath, config.invocation_params.dir
    instances = node_ids(plan, rootpath)
    sources = [(path, each) for path, found in plan.instances.items() for each in found]
    ids = [node_id_of(path, instance, rootpath) for path, instance in sources]
    before: list[Sequence[int]] = list(plan.graph.upstreams)
    for path in plan.afters:
        ids.append(id_of_after(path, rootpath))
        before.append(plan.numbers[path])
    mine = [number for number, node_id in enumerate(ids) if node_id in selected]
    places = {number: place for place, number in enumerate(mine)}
    tasks = [
        Task(
            ids[number],
            instances[ids[number]],
            repeat_command(ids[number], rootpath, here),
            [places[up] for up in before[number] if up in places],
        )
        for number in mine
    ]
    return tasks, {ids[number]: number for number in mine}


def _facts(plan: Plan, config: pytest.Config, tasks: Sequence[Task], flow_run: str) -> SessionFacts:
    settings, here = config.stash[SETTINGS], config.invocation_params.dir
    command = " ".join(["pytest", *map(str, config.invocation_params.args)])
    roots = list(dict.fromkeys(task.instance.project_root for task in tasks))
    names = [Path(os.path.relpath(path, here)).as_posix() for path, found in plan.instances.items() if found]
    parameters: dict[str, Any] = {"command": command, "directory": here, "instances": len(tasks)}
    parameters |= {"where": settings.where} if settings.where else {}
    parameters |= {"shard": "/".join(map(str, settings.shard))} if settings.shard else {}
    writes_report = settings.report and len(roots) == 1
    return SessionFacts(
        name=session_id(),
        flow=f"{Path(roots[0]).name}: {listed(names, _SOURCES)}",
        command=command,
        tags=settings.tag,
        parameters=parameters,
        report=Path(roots[0], RUNS, REPORT) if writes_report else None,
        flow_run=flow_run,
    )


def _clean_for(tasks: Sequence[Task], environment: Mapping[str, str]) -> Clean:
    """Return the function that takes secrets, and what cannot be stored, out of a text."""
    by_variables = {task.instance.variables: environment_for(task.instance) for task in tasks}
    values = values_to_mask([task.instance for task in tasks], environment)
    for other in by_variables.values():
        values |= values_to_mask((), other)
    pair = environment.get(AUTH, "")
    values |= {environment.get(KEY, ""), pair, pair.partition(":")[2]}
    masker = Masker(values)
    return lambda text: storable(masker(text))
