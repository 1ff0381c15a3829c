"""Summarise a session's instances at its end, in few terminal lines however many instances there are."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from ..core.instance import stem_of
from ..core.number_text import in_line
from ..core.record import Record, Status
from ..core.run_directory.layout import display_path
from ..tracking.outside_files import files_outside

_SHOWN = 20  # lines of each kind
_NAMED = 5  # most instances in one line
_STYLES = {
    Status.SUCCESS: {"green": True},
    Status.WARNING: {"yellow": True},
    Status.ERROR: {"red": True},
    Status.BLOCKED: {},
    Status.RUNNING: {},
}


class Summary:
    """A collector of what is printed at the end of the session."""

    def __init__(self) -> None:
        self._warned: list[str] = []
        self._blocked: dict[str, list[str]] = defaultdict(list)  # by reason
        self._retried: list[str] = []
        self._waiting: dict[str, str] = {}  # what the last attempt of those said that wait for another
        self._undeclared: list[str] = []
        self._out_of_date: list[str] = []
        self._writers: dict[str, list[str]] = defaultdict(list)
        self._unchanged = 0

    def ended(self, node_id: str, record: Record, root: str) -> None:
        """Add an instance that has run or was unchanged."""
        for path in dict.fromkeys(files_outside(record, root)):
            self._writers[display_path(path, root)].append(f"{record.step}/{record.instance}")
        self._unchanged += record.unchanged
        self._waiting.pop(node_id, None)
        if record.status is Status.WARNING:
            self._warned.append(f"{node_id} - {record.message or ''}")
        if record.failed_attempts and record.status.good and not record.unchanged:
            failed = "; ".join(f"attempt {n}: {why}" for n, why in enumerate(record.attempts_told, 1))
            self._retried.append(f"{node_id} - ended well in attempt {record.attempts}; {failed}")
        if record.undeclared and not record.unchanged:
            self._undeclared.append(f"{node_id} read files of {', '.join(record.undeclared)}")

    def waits(self, node_id: str, record: Record) -> None:
        """Add an instance that has failed and is to be tried again."""
        self._waiting[node_id] = f"{node_id} - {record.message or ''}"

    @property
    def waiting(self) -> list[str]:
        """The ids of those that have failed and are to be tried again."""
        return list(self._waiting)

    def blocked(self, node_id: str, reason: str) -> None:
        """Add an instance that was not run because of another."""
        self._blocked[reason].append(node_id)

    def out_of_date(self, line: str) -> None:
        """Add a line on an upstream that was not selected but would have run."""
        self._out_of_date.append(line)

    def show(self, terminal: Any) -> None:
        """Write all lines to the terminal."""
        _show(terminal, "WARNED", self._warned, yellow=True)
        blocked = [f"{_named(ids)} - {reason}" for reason, ids in self._blocked.items()]
        _show(terminal, "BLOCKED", blocked)
        _show(terminal, "RETRIED", self._retried, yellow=True)
        _show(terminal, "NOT TRIED AGAIN", list(self._waiting.values()), red=True)
        _show(terminal, "undeclared input", self._undeclared, yellow=True)
        if self._undeclared:
            terminal.line("From now on they wait for these; name the files in their configs, or say after=.")
        several = {path: names for path, names in self._writers.items() if len(set(names)) > 1}
        lines = [f"{path} by {_named(names)}" for path, names in sorted(several.items())]
        _show(terminal, "WRITTEN BY SEVERAL", lines, yellow=True)
        if several:
            terminal.line("What is there is what the last of them wrote; give each a file of its own.")
        _show(terminal, "OUT OF DATE", self._out_of_date, yellow=True)
        if self._unchanged:
            terminal.line(f"{self._unchanged} unchanged, so not run again")


def _named(labels: Sequence[str]) -> str:
    labels = list(dict.fromkeys(labels))
    if len(labels) > _NAMED:
        return f"{', '.join(labels[:_NAMED])} and {len(labels) - _NAMED} more"
    return " and ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))


def _show(terminal: Any, word: str, lines: Sequence[str], **style: bool) -> None:
    for line in lines[:_SHOWN]:
        terminal.write(word, **style)
        terminal.line(f" {in_line(line)}")
    if len(lines) > _SHOWN:
        terminal.line(f"… and {len(lines) - _SHOWN} more: {word}")


def show_flows(terminal: Any, flows: Sequence[Record], indent: str = "    ") -> None:
    """Write the flows of a build with their lights, in lines below the build's own."""
    stems = Counter(stem_of(flow.flow) for flow in flows)
    for flow in flows:
        stem = stem_of(flow.flow)
        name = f"{stem} {flow.run_dir.rpartition('/')[2]}" if stems[stem] > 1 else stem
        took = f"{flow.duration:.1f} s" if flow.duration is not None else ""
        terminal.line("")  # pytest only ends a line when it begins the next
        terminal.write(f"{indent}* ", bold=True, **_STYLES[flow.status])
        terminal.write(f"{name} {'unchanged' if flow.unchanged else took}")
        terminal.write(f"  {flow.message}" if flow.message else "", **_STYLES[flow.status])
        show_flows(terminal, flow.flows, indent + "    ")
