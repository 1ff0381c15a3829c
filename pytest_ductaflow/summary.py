"""What a session's end tells of its instances, in lines for the terminal: few, however many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .model import Record, Status, stem_of

_SHOWN = 20  # lines of each kind
_LIGHTS = {
    Status.SUCCESS: {"green": True},
    Status.WARNING: {"yellow": True},
    Status.ERROR: {"red": True},
    Status.BLOCKED: {},
    Status.RUNNING: {},
}


class Summary:
    """Gathers what is to be told at the end."""

    def __init__(self) -> None:
        self._warned: list[str] = []
        self._blocked: list[str] = []
        self._undeclared: list[str] = []
        self._out_of_date: list[str] = []
        self._unchanged = 0

    def ended(self, node_id: str, record: Record) -> None:
        """An instance has run, or was unchanged."""
        self._unchanged += record.unchanged
        if record.status is Status.WARNING:
            self._warned.append(f"{node_id} - {record.message or ''}")
        if record.undeclared and not record.unchanged:
            self._undeclared.append(f"{node_id} read files of {', '.join(record.undeclared)}")

    def blocked(self, node_id: str, reason: str) -> None:
        """An instance was not run, because of another."""
        self._blocked.append(f"{node_id} - {reason}")

    def out_of_date(self, line: str) -> None:
        """An upstream was not selected, and would have run."""
        self._out_of_date.append(line)

    def show(self, terminal: Any) -> None:
        """Write all lines."""
        _show(terminal, "WARNED", self._warned, yellow=True)
        _show(terminal, "BLOCKED", self._blocked)
        _show(terminal, "undeclared input", self._undeclared, yellow=True)
        if self._undeclared:
            terminal.line("From now on they wait for these; name the files in their configs, or say after=.")
        _show(terminal, "OUT OF DATE", self._out_of_date, yellow=True)
        if self._unchanged:
            terminal.line(f"{self._unchanged} unchanged, so not run again")


def _show(terminal: Any, word: str, lines: Sequence[str], **style: bool) -> None:
    for line in lines[:_SHOWN]:
        terminal.write(word, **style)
        terminal.line(f" {line}")
    if len(lines) > _SHOWN:
        terminal.line(f"… and {len(lines) - _SHOWN} more: {word}")


def show_flows(terminal: Any, flows: Sequence[Record], indent: str = "    ") -> None:
    """The flows of a build with their lights, in lines below its own."""
    for flow in flows:
        took = f"{flow.duration:.1f} s" if flow.duration is not None else ""
        terminal.line("")  # pytest ends a line when it begins the next
        terminal.write(f"{indent}* ", bold=True, **_LIGHTS[flow.status])
        terminal.write(f"{stem_of(flow.flow)} {'unchanged' if flow.unchanged else took}")
        terminal.write(f"  {flow.message}" if flow.message else "", **_LIGHTS[flow.status])
        show_flows(terminal, flow.flows, indent + "    ")
