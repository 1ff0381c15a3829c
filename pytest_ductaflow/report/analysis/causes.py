"""Group failed, blocked and orange instances by their cause."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ...core.record import Status

_LONGEST = 400  # characters of a message that are looked at
_ID = re.compile(
    r"\b0x[0-9a-f]+\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r"|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b",
    re.IGNORECASE,
)
_PATH = re.compile(r"(?:[A-Za-z]:)?[\w.~=,@+%…-]*(?:[/\\][\w.~=,@+%…-]+)+[/\\]?")
_NUMBER = re.compile(r"(?<![A-Za-z_])[-+]?\d[\d_]*(?:[.,:]\d+)*(?:[eE][-+]?\d+)?%?")
_REPEATED = re.compile(r"…(?:[,.=:_-]*…)+")
LEFT_OUT = "…"  # in place of a number, path or id

Key = tuple[str, str, str, int | None, str, str]


@dataclass(frozen=True)
class Cause:
    """Instances that ended in the same way at the same place.

    Attributes:
        status: `error`, `blocked` or `warning`.
        step: Their step.
        flow: Stem of the flow; of a build, that of the flow that failed first.
        cell: Number of the cell that failed, where known.
        type: Type of the error; "" for what is no exception.
        message: The first line of the message, with numbers, paths and ids taken out if they differ.
        rows: Numbers of the rows, in their order.
    """

    status: str
    step: str
    flow: str
    cell: int | None
    type: str
    message: str
    rows: tuple[int, ...]


def causes_of(rows: Sequence[Mapping[str, Any]]) -> list[Cause]:
    """Return the causes of rows that are red, white or orange: by colour, those of most rows first."""
    found: dict[Key, list[int]] = {}
    for number, row in enumerate(rows):
        if row["status"] in _ORDER:
            found.setdefault(_key_of(row), []).append(number)
    causes = [_cause(key, numbers, rows) for key, numbers in found.items()]
    return sorted(causes, key=lambda cause: (_ORDER.index(cause.status), -len(cause.rows)))


_ORDER = (Status.ERROR.value, Status.BLOCKED.value, Status.WARNING.value)


def _cause(key: Key, numbers: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> Cause:
    messages = {_said(rows[number])[3] for number in numbers}
    message = messages.pop() if len(messages) == 1 else key[5]
    return Cause(*key[:5], message, tuple(numbers))


def _key_of(row: Mapping[str, Any]) -> Key:
    flow, cell, kind, message = _said(row)
    return row["status"], row["step"], flow, cell, kind, without_details(message, row["instance"])


def _said(row: Mapping[str, Any]) -> tuple[str, int | None, str, str]:
    """Return flow, cell, type of error and first line of the message."""
    cause = row.get("cause") or {}
    lines = str(cause.get("message") or row.get("message") or "").strip().splitlines()
    first = lines[0][:_LONGEST] if lines else ""
    return str(cause.get("flow", "")), cause.get("cell"), str(cause.get("type", "")), first


@lru_cache(maxsize=1 << 15)
def without_details(message: str, instance: str = "") -> str:
    """Return a message without what differs between instances: its name, numbers, paths and ids."""
    text = message.replace(instance, LEFT_OUT) if len(instance) > 1 else message
    text = _PATH.sub(lambda found: LEFT_OUT if _is_path(found[0]) else found[0], text)
    text = _NUMBER.sub(LEFT_OUT, _ID.sub(LEFT_OUT, text))
    return " ".join(_REPEATED.sub(LEFT_OUT, text).split())


def _is_path(text: str) -> bool:
    """Return whether a text with a slash is a path and not "and/or"."""
    return (
        text.count("/") + text.count("\\") > 1 or text[0] in "/\\~" or any(c in "=.…0123456789" for c in text)
    )
