"""Show a session in a Prefect server while it runs, from a thread that nothing waits for.

The session only notes what has happened. The thread sends it, as fast as the server takes it, and tries again
when the server is away. At the end it has a few seconds to send the rest.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.number_text import in_line
from .api import PrefectApi, Rejected, Unreachable
from .names import Clean, artifact_key, flow_name
from .outbox import Outbox
from .states import State, now, pending
from .task_runs import Task, TaskRuns
from .texts import Ended, artifact_of, counts, log_entries, log_of, summary

PATIENCE = 5.0  # seconds that the end of a session waits for what is still to be sent
_LITTLE_PATIENCE = 1.0  # the same if the server has not answered lately
_PAUSE = 0.5  # seconds in which states are gathered
_LONGEST_PAUSE = 30.0  # seconds between attempts while the server is away
_BATCH = 100  # states that are sent at a time
_WAITING = 50  # instances that have not begun, and are sent only as fast as the server can record them
_LOGS = 1_000_000  # bytes of logs that are sent at a time
_MOST_PAGES = 200
_TOO_MUCH = (413, 422)  # what a server answers that does not take just this
_NO_LONGER = f"the session has waited {PATIENCE:g} s, and no longer"


@dataclass(frozen=True)
class SessionFacts:
    """What a flow run shows of the session.

    Attributes:
        name: Name of the flow run.
        flow: Name of the flow: the project, and what it runs.
        command: The command that started the session.
        tags: Tags of the flow run and of its task runs.
        parameters: What the user may want to see of the command.
        report: The HTML report, if there is one.
        flow_run: Id of the flow run in which the session runs, of which it is a part; "" if it gets its own.
    """

    name: str
    flow: str
    command: str
    tags: Sequence[str] = ()
    parameters: Mapping[str, Any] | None = None
    report: Path | None = None
    flow_run: str = ""


class PrefectMirror:
    """A session, as a Prefect server is told of it.

    Args:
        api: The server.
        facts: What is said of the session.
        tasks: The instances that it may run.
        make_clean: Function that returns the function that masks secrets in a text; called by the thread.
    """

    def __init__(
        self, api: PrefectApi, facts: SessionFacts, tasks: Sequence[Task], make_clean: Callable[[], Clean]
    ) -> None:
        self._api = api
        self._facts = facts
        self._tasks = tasks
        self._make_clean = make_clean
        self._clean: Clean = str
        self._outbox = Outbox(len(tasks))
        self._ended: dict[int, Ended] = {}
        self._began = now()
        self._flow = self._flow_run = ""  # ids
        self._task_runs: TaskRuns | None = None
        self._last: State | None = None  # of the flow run
        self._is_ended = False  # whether the flow run has its last state
        self._is_closed = False  # whether it has its summary as well
        self._pages = 0
        self._recorded_first = 0  # task runs that have to be recorded before further ones that wait
        self._refused: str | None = None  # why nothing more is sent
        self._left_out: str | None = None  # why the server has not taken some text
        self._away: str | None = None  # why the last attempt failed
        self._ending = threading.Event()
        self._is_over = False  # whether nobody waits any longer
        self._thread = threading.Thread(target=self._work, name="ductaflow-prefect", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def page(self) -> str | None:
        """The address at which people see the flow run; None if there is none."""
        return self._api.page_of(self._flow_run) if self._flow_run else None

    def now_is(self, number: int, state: State) -> None:
        """Note that an instance runs, or is tried again."""
        self._outbox.put(number, state)

    def ended(self, number: int, state: State, **more: Any) -> None:
        """Note how an instance has ended; `more` are further fields of `Ended`."""
        self._ended[number] = ended = Ended(self._tasks[number], state, **more)
        self._outbox.put_end(number, ended)

    @property
    def not_ended(self) -> list[int]:
        return [number for number in range(len(self._tasks)) if number not in self._ended]

    def finish(self, state: State) -> str | None:
        """Tell the server how the session has ended, and wait a few seconds until it knows all.

        Args:
            state: How it has ended; the message is completed by what has ended in which way.

        Returns:
            A line on what the server does not know, and why; None if it knows all.
        """
        told = counts(each.state for each in self._ended.values())
        text = "; ".join(filter(None, (told, state.message)))
        self._last = State(state.type, state.name, text, state.at)
        patience = PATIENCE if self._away is None or self._flow_run else _LITTLE_PATIENCE
        self._ending.set()
        with contextlib.suppress(KeyboardInterrupt):  # whoever presses Ctrl-C now wants no more waiting
            self._thread.join(patience)
        self._is_over = True
        return self._problem()

    def _problem(self) -> str | None:
        missing = self._outbox.unsent
        reason = self._refused or self._away
        if self._is_closed and not missing:
            if left := self._outbox.unsent_details:
                return self._about(f"logs of {left} instances are missing there", reason or _NO_LONGER)
            return self._about("some texts are missing there", self._left_out) if self._left_out else None
        if not self._flow_run:
            return self._about("the session is not shown there", reason or f"no answer within {PATIENCE:g} s")
        what = f"{missing} of {len(self._tasks)} instances are not up to date there" if missing else ""
        what = what or "the end of the session is not shown there"
        return self._about(what, reason or _NO_LONGER)

    def _about(self, what: str, why: str) -> str:
        return f"Prefect ({self._api.address}): {what}: {in_line(self._clean(why))}"

    def _work(self) -> None:
        """Send what there is until the session has ended, and nothing is left."""
        failures = 0
        try:
            self._clean = self._make_clean()
            while not self._is_over:
                is_last = self._ending.is_set()
                try:
                    self._send_all()
                except Unreachable as error:
                    failures, self._away = failures + 1, str(error)
                    if is_last and (error.is_gone or not self._flow_run):
                        return
                    self._ending.wait(min(_PAUSE * 2**failures, _LONGEST_PAUSE))
                    if is_last:
                        time.sleep(_PAUSE)
                else:
                    failures, self._away = 0, None
                    if is_last:
                        return
                    self._ending.wait(_PAUSE)
        except Rejected as error:
            self._refused = str(error)
        except Exception as error:  # a mirror breaks nothing, whatever a server says
            self._refused = f"{type(error).__name__}: {error}"

    def _send_all(self) -> None:
        """Send what there is, what matters most first.

        Raises:
            Unreachable, Rejected: If the server does not take something; it is kept.
        """
        task_runs = self._begin()
        self._send_states(task_runs)
        is_last = self._last is not None and self._ending.is_set()
        if not is_last:
            self._send_logs(task_runs)
            self._send_waiting(task_runs)
            self._send_page()
            return
        self._close()
        self._send_logs(task_runs)
        while self._send_page():
            pass

    def _begin(self) -> TaskRuns:
        """Make the flow run, unless it is there, and return its task runs."""
        if self._task_runs is not None:
            return self._task_runs
        facts = self._facts
        tags = [*dict.fromkeys(self._clean(tag) for tag in ("ductaflow", *facts.tags))]
        self._flow_run = facts.flow_run or self._make_flow_run(tags)
        self._task_runs = TaskRuns(self._tasks, self._flow_run, tags, self._clean, self._began)
        return self._task_runs

    def _make_flow_run(self, tags: Sequence[str]) -> str:
        if not self._flow:
            self._flow = str(self._post("/flows/", {"name": flow_name(self._clean(self._facts.flow))}))
        parameters = {key: self._clean(str(value)) for key, value in (self._facts.parameters or {}).items()}
        made = self._post(
            "/flow_runs/",
            {
                "flow_id": self._flow,
                "name": self._clean(self._facts.name),
                "parameters": parameters,
                "tags": tags,
                "state": {"type": "RUNNING", "name": "Running"},
                # A second attempt, after an answer that was lost, gets the same flow run.
                "idempotency_key": self._clean(self._facts.name),
            },
        )
        return str(made)

    def _post(self, path: str, data: object) -> Any:
        """Send something that becomes an object there, and return its id."""
        made = self._api.post(path, data)
        if not isinstance(made, dict) or not made.get("id"):
            raise Rejected("what answers is no Prefect API", 200)
        return made["id"]

    def _post_text(self, path: str, data: object) -> None:
        """Send what is only to be read, which is left out if the server finds fault with it."""
        try:
            self._api.post(path, data)
        except Rejected as error:
            if error.status not in _TOO_MUCH:
                raise
            self._left_out = str(error)

    def _send_states(self, task_runs: TaskRuns) -> None:
        while states := self._outbox.states(_BATCH):
            try:
                self._api.post("/events", task_runs.events(states))
            except BaseException:
                self._outbox.put_back(states)
                raise

    def _send_waiting(self, task_runs: TaskRuns) -> None:
        """Send instances that wait, as many as the server has shown to be able to record."""
        if self._recorded_first:
            only_mine = {"flow_runs": {"id": {"any_": [self._flow_run]}}}
            recorded = self._api.post("/task_runs/count", only_mine)
            if not isinstance(recorded, int) or recorded < self._recorded_first:
                return
        waiting = self._outbox.waiting(_WAITING)
        if not waiting:
            return
        try:
            self._api.post(
                "/events", task_runs.events([(number, pending(self._began)) for number in waiting])
            )
        except BaseException:
            self._outbox.put_back_waiting(waiting)
            raise
        self._recorded_first += len(waiting)

    def _send_logs(self, task_runs: TaskRuns) -> None:
        batch: list[dict[str, Any]] = []
        numbers: list[int] = []
        size = 0
        for number, ended in self._outbox.logs():
            at, task_run = ended.state.at.isoformat(), task_runs.id_of(number)
            entries = [log_of(each, at, self._flow_run, task_run) for each in log_entries(ended, self._clean)]
            batch, numbers, size = [*batch, *entries], [*numbers, number], size + len(json.dumps(entries))
            if size > _LOGS:
                self._post_text("/logs/", batch)
                self._outbox.sent_logs(numbers)
                batch, numbers, size = [], [], 0
        if batch:
            self._post_text("/logs/", batch)
            self._outbox.sent_logs(numbers)

    def _send_page(self) -> bool:
        """Send the page of an instance that failed or warned; return whether there was one."""
        found = self._outbox.page()
        if found is None:
            return False
        number, ended = found
        if self._pages < _MOST_PAGES and self._task_runs is not None:
            page = artifact_of(ended, self._clean)
            where = {"flow_run_id": self._flow_run, "task_run_id": self._task_runs.id_of(number)}
            key = artifact_key(f"{ended.task.project} {ended.task.label}")
            try:
                self._post_text("/artifacts/", {"key": key, "type": "markdown", "data": page, **where})
            except BaseException:
                self._outbox.put_back_page(number, ended)
                raise
            self._pages += 1
        return True

    def _close(self) -> None:
        """Send the last state of a flow run that is the session's own, and the summary."""
        if self._last is None:
            return
        message = self._clean(self._last.message)
        if not (self._is_ended or self._facts.flow_run):
            state = {"type": self._last.type, "name": self._last.name, "message": message}
            self._api.post(f"/flow_runs/{self._flow_run}/set_state", {"state": state, "force": True})
        self._is_ended = True
        if not self._is_closed:
            text = summary(list(self._ended.values()), self._facts.command, self._facts.report, self._clean)
            key = artifact_key(f"{self._facts.flow} summary")
            data = {"key": key, "type": "markdown", "data": text, "description": message}
            self._post_text("/artifacts/", {**data, "flow_run_id": self._flow_run})
            self._is_closed = True
