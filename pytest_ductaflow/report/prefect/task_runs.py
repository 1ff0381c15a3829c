"""Task runs as Prefect's own engine reports them: by events, many at a time, with the times that they had.

Each state of an instance is an event, from which the server makes, or updates, the task run. So a server that
is slow holds nobody up, and an end that is told late still has its own time.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.instance import Instance
from ...core.run_directory.layout import RunFiles
from .names import Clean
from .states import State

_MOST_UPSTREAMS = 1_000  # that an event names
_TICK = datetime.timedelta(microseconds=1)


@dataclass(frozen=True)
class Task:
    """What a task run is made of.

    Attributes:
        node_id: Node id of the instance.
        instance: The instance.
        command: Command that repeats just this instance.
        upstreams: Numbers of the tasks in this session that have to end well before it.
    """

    node_id: str
    instance: Instance
    command: str
    upstreams: Sequence[int] = ()

    @property
    def label(self) -> str:
        return f"{self.instance.step}/{self.instance.name}"

    @property
    def project(self) -> str:
        return Path(self.instance.project_root).name

    @property
    def run_dir(self) -> Path:
        return Path(self.instance.run_dir)

    @property
    def page(self) -> Path:
        """The HTML page of its notebook, which may not be there."""
        return RunFiles.of(self.instance).html


class TaskRuns:
    """The task runs of one flow run.

    Args:
        tasks: What they are made of.
        flow_run: Id of the flow run.
        tags: Tags that all of them have.
        clean: Function that masks secrets in a text, and takes out what cannot be stored.
        began: When the session began.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        flow_run: str,
        tags: Sequence[str],
        clean: Clean,
        began: datetime.datetime,
    ) -> None:
        self._tasks = tasks
        self._flow_run = flow_run
        self._tags = tags
        self._clean = clean
        self._began = began
        self._told: dict[int, State] = {}  # the last state of each that has been an event

    def id_of(self, number: int) -> str:
        """Return the id of a task run: the same one if the flow run is tried again."""
        return str(uuid.uuid5(uuid.UUID(self._flow_run), self._tasks[number].node_id))

    def events(self, states: Sequence[tuple[int, State]]) -> list[dict[str, Any]]:
        """Return the events that tell the states of instances."""
        return [self._event(number, state) for number, state in states]

    def _event(self, number: int, state: State) -> dict[str, Any]:
        before = self._told.get(number)
        # The server takes a state only if it is later than the one before.
        at = state.at if before is None else max(state.at, before.at + _TICK)
        self._told[number] = State(
            state.type, state.name, state.message, at, state.started, state.seconds, state.runs
        )
        task, message = self._tasks[number], self._clean(state.message)
        label = self._clean(task.label)
        return {
            "id": str(uuid.uuid4()),
            "occurred": at.isoformat(),
            "event": f"prefect.task-run.{state.name}",
            "resource": {
                "prefect.resource.id": f"prefect.task-run.{self.id_of(number)}",
                "prefect.resource.name": label,
                "prefect.run-count": str(state.runs),
                "prefect.state-message": message,
                "prefect.state-name": state.name,
                "prefect.state-timestamp": at.isoformat(),
                "prefect.state-type": state.type,
                "prefect.orchestration": "client",
            },
            "related": [
                {
                    "prefect.resource.id": f"prefect.flow-run.{self._flow_run}",
                    "prefect.resource.role": "flow-run",
                }
            ],
            "payload": {
                "intended": {"from": before.type if before is not None else None, "to": state.type},
                "initial_state": _state(before, self._clean(before.message)) if before is not None else None,
                "validated_state": _state(state, message),
                "task_run": {**self._fixed(number), "name": label, **self._times(state, at)},
            },
        }

    def _fixed(self, number: int) -> dict[str, Any]:
        """Return what a task run has in all of its states."""
        task = self._tasks[number]
        upstreams = [{"input_type": "task_run", "id": self.id_of(each)} for each in task.upstreams]
        return {
            "task_key": self._clean(task.instance.step),
            "dynamic_key": self._clean(task.node_id),
            "tags": list(self._tags),
            "labels": {
                "ductaflow.id": self._clean(task.node_id),
                "ductaflow.flow": self._clean(task.instance.flow),
                "ductaflow.run_directory": self._clean(str(task.run_dir)),
            },
            "task_inputs": {"upstreams": upstreams[:_MOST_UPSTREAMS]},
        }

    def _times(self, state: State, at: datetime.datetime) -> Mapping[str, Any]:
        times: dict[str, Any] = {"expected_start_time": self._began.isoformat(), "run_count": state.runs}
        if state.started is not None:
            times["start_time"] = state.started.isoformat()
        if state.is_final:
            times |= {"end_time": at.isoformat(), "total_run_time": state.seconds}
        return times


def _state(state: State, message: str) -> dict[str, Any]:
    return {
        "type": state.type,
        "name": state.name,
        "message": message,
        "state_details": {},
        "data": None,
    }
