"""What Prefect shows to read: the logs of an instance, its artifact, and the summary of a session."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.config_markdown import generate_config_markdown, readable_config
from ...core.number_text import escaped, fenced, listed
from ...core.record import Record
from ...core.run_directory.layout import RunFiles
from ..analysis.causes import Cause, causes_of
from ..failure_text import last_lines
from ..rows import cause_of
from .names import Clean, last_part
from .states import State
from .task_runs import Task

_INFO, _WARNING, _ERROR = 20, 30, 40  # levels of logging
_LOGGER = "ductaflow"
_LISTED = 200  # instances in the table of a summary
_NAMED = 5  # instances of a cause
_MOST_CAUSES = 50
_LONGEST_TEXT = 100_000  # bytes of a failure text in an artifact
_LIGHTS = {"FAILED": 0, "CRASHED": 0, "CANCELLED": 1}  # first in a table


@dataclass(frozen=True)
class Ended:
    """How an instance has ended.

    Attributes:
        task: What its task run is made of.
        state: Its last state.
        record: Its record, if it has one.
        failure: The text of its failure, as in the terminal.
    """

    task: Task
    state: State
    record: Record | None = None
    failure: str = ""

    @property
    def has_run(self) -> bool:
        return self.record is not None and not self.record.unchanged

    @property
    def is_worth_a_page(self) -> bool:
        """Whether somebody will want to know more: it failed, or warned."""
        return self.state.type in ("FAILED", "CRASHED") or (self.has_run and self.state.name == "Warned")


def link(path: Path, shown: Clean) -> str:
    """Return a Markdown link to a file or folder, for those whose browser may open it."""
    return f"[{shown(path.name)}]({path.as_uri().replace('(', '%28').replace(')', '%29')})"


def log_entries(ended: Ended, clean: Clean) -> Iterator[tuple[int, str]]:
    """Yield level and text of the logs of an instance: its places, what it printed last, why it failed."""
    yield _INFO, last_part(clean(_places(ended)))
    if ended.has_run:
        printed = "\n".join(last_lines(RunFiles.of(ended.task.instance).log))
        if printed.strip():
            yield _INFO, last_part(clean(printed))
    for line in ended.record.warnings if ended.has_run and ended.record is not None else ():
        yield _WARNING, last_part(clean(line))
    if ended.failure:
        yield _ERROR, last_part(clean(ended.failure))


def log_of(entry: tuple[int, str], at: str, flow_run: str, task_run: str) -> dict[str, Any]:
    """Return an entry of a log as Prefect takes it."""
    level, message = entry
    ids = {"flow_run_id": flow_run, "task_run_id": task_run}
    return {"name": _LOGGER, "level": level, "message": message, "timestamp": at, **ids}


def _places(ended: Ended) -> str:
    task = ended.task
    lines = [f"{task.label}: {ended.state.name.lower()}"]
    if task.run_dir.exists():
        lines.append(f"run directory: {task.run_dir}")
    if task.page.exists() or ended.has_run:
        lines.append(f"notebook: {task.page.as_uri()}")
    if task.instance.config:
        lines.append(f"config: {json.dumps(readable_config(task.instance.config), ensure_ascii=False)}")
    return "\n".join([*lines, f"repeat: {task.command}"])


def artifact_of(ended: Ended, clean: Clean) -> str:
    """Return the page of an instance that failed or warned."""
    task, shown = ended.task, _shown(clean)
    parts = [
        f"# {shown(task.label)}: {shown(ended.state.name)}\n",
        shown(ended.state.message.partition("\n")[0]) + "\n",
        f"- notebook: {link(task.page, shown)}\n- run directory: {link(task.run_dir, shown)}\n",
        f"Repeat it:\n\n{fenced(clean(task.command))}",
    ]
    if ended.failure:
        parts.append(fenced(last_part(clean(ended.failure), _LONGEST_TEXT)))
    if task.instance.config:
        parts.append(clean(generate_config_markdown(readable_config(task.instance.config))))
    return "\n".join(parts)


def _shown(clean: Clean) -> Clean:
    """Return a function that masks secrets before it escapes a text, when they are still as they are."""
    return lambda text: escaped(clean(text))


def counts(states: Iterable[State]) -> str:
    """Return how many instances have ended in which way: "2 failed, 6 completed"."""
    found = Counter(state.name for state in sorted(states, key=_place))
    return ", ".join(f"{number} {_spelt(name)}" for name, number in found.items())


def _spelt(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _place(state: State) -> int:
    return _LIGHTS.get(state.type, 2 if state.name == "Warned" else 3)


def summary(ended: Sequence[Ended], command: str, report: Path | None, clean: Clean) -> str:
    """Return the summary of a session: counts, failures and warnings by cause, and its instances.

    Args:
        ended: How its instances ended.
        command: The command that started it.
        report: The HTML report, if there is one.
        clean: Function that masks secrets in a text.
    """
    shown = _shown(clean)
    parts = [f"# {counts(each.state for each in ended) or 'nothing has run'}\n", fenced(clean(command))]
    if report is not None:
        parts.append(f"Report: {link(report, shown)}\n")
    causes = causes_of([_row(each) for each in ended])
    if causes:
        parts.append("## By cause\n")
        parts += [_told(cause, ended, shown) for cause in causes[:_MOST_CAUSES]]
        if len(causes) > _MOST_CAUSES:
            parts.append(f"… and {len(causes) - _MOST_CAUSES} more causes: see the report\n")
    parts.append(_table(sorted(ended, key=lambda each: _place(each.state)), shown))
    return "\n".join(parts)


def _row(ended: Ended) -> dict[str, Any]:
    """Return what causes are found by."""
    cause = cause_of(ended.record) if ended.record is not None else None
    kinds = {"FAILED": "error", "CRASHED": "error", "CANCELLED": "blocked"}
    status = kinds.get(ended.state.type, "warning" if ended.state.name == "Warned" else "success")
    instance = ended.task.instance
    message = ended.record.message if ended.record is not None else ended.state.message
    return {
        "status": status,
        "step": instance.step,
        "instance": instance.name,
        "message": message,
        "cause": cause,
    }


def _told(cause: Cause, ended: Sequence[Ended], shown: Clean) -> str:
    mine = [ended[number] for number in cause.rows]
    word = {"error": "failed", "blocked": "not run", "warning": "warned"}[cause.status]
    where = f", cell [{cause.cell}] of {shown(cause.flow)}" if cause.cell is not None else ""
    what = shown(f"{cause.type}: {cause.message}" if cause.type else cause.message)
    names = shown(listed((each.task.label for each in mine), _NAMED))
    first = f" (first: {link(mine[0].task.page, shown)})" if mine[0].has_run else ""
    return f"- **{len(mine)} {word}**{where}: {what}\n  {names}{first}\n"


def _table(ended: Sequence[Ended], shown: Clean) -> str:
    lines = [
        "## Instances\n",
        "| instance | state | seconds | notebook | run directory |",
        "|---|---|---|---|---|",
    ]
    for each in ended[:_LISTED]:
        page = link(each.task.page, shown) if each.has_run or each.task.page.exists() else ""
        took = f"{each.state.seconds:.1f}" if each.has_run else ""
        cells = (shown(each.task.label), shown(each.state.name), took, page, link(each.task.run_dir, shown))
        lines.append(f"| {' | '.join(cells)} |")
    if len(ended) > _LISTED:
        lines.append(f"\n… and {len(ended) - _LISTED} more")
    return "\n".join(lines) + "\n"
