"""Texts as Prefect takes them: without characters that it refuses, and not longer than it allows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

LONGEST_LOG = 20_000  # bytes of a log as JSON; Prefect Cloud takes 25,000, with all that belongs to it
_CUT = "… (the beginning is left out)\n"
_LONGEST_NAME = 200  # characters
_REFUSED_IN_FLOWS = re.compile(r"[/%&<>]+")
_REFUSED_IN_KEYS = re.compile(r"[^a-z0-9]+")

Clean = Callable[[str], str]


def storable(text: str) -> str:
    """Return a text that UTF-8 and PostgreSQL can hold: without NUL, and half characters escaped."""
    return text.replace("\0", "").encode("utf-8", "backslashreplace").decode()


def flow_name(text: str) -> str:
    """Return a name for a flow, which cannot have `/`, `%`, `&`, `<` or `>`."""
    return _REFUSED_IN_FLOWS.sub("-", text).strip("-'\" ")[:_LONGEST_NAME] or "ductaflow"


def artifact_key(text: str) -> str:
    """Return a key for an artifact, which has lower-case letters, digits and dashes only."""
    return _REFUSED_IN_KEYS.sub("-", text.lower()).strip("-")[:_LONGEST_NAME].strip("-") or "ductaflow"


def last_part(text: str, room: int = LONGEST_LOG) -> str:
    """Return the last part of a text, of at most `room` bytes as JSON, with a line on what is left out."""
    kept, cut = text[-room:], len(text) > room
    while (size := len(json.dumps(kept))) > room - len(_CUT):
        if not cut and size <= room:
            break
        kept, cut = kept[max(1, len(kept) * (size - room) // size + len(_CUT)) :], True
    return _CUT + kept if cut else kept
