"""Encode data as JSON that can stand within a page and that JavaScript reads exactly."""

from __future__ import annotations

import json
import math
import re
from typing import Any

# Output of Python's json that JavaScript cannot read, or not exactly: see _plain().
_SUSPECT = re.compile(r"\bNaN\b|\bInfinity\b|(?<![.\d])\d{16}")
_EXACT = 2**53


_json = json.JSONEncoder(separators=(",", ":"), default=str).encode


def encode(data: Any) -> str:
    """Return JSON that no HTML parser mistakes for markup."""
    text = _json(data)
    return without_markup(_json(_plain(data)) if _SUSPECT.search(text) else text)


def encode_exact(data: Any) -> str:
    """Return the same for data whose numbers are known to be exact in JavaScript, in less time."""
    return without_markup(_json(data))


def without_markup(text: str) -> str:
    """Return JSON in which no character is markup."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def is_exact(value: Any) -> bool:
    """Return whether JavaScript has a scalar as it is: a text, a truth value, a number not too large."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= _EXACT


def _plain(value: Any) -> Any:
    """Return `value` with numbers that JavaScript cannot represent, such as NaN and 2**60, as text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) > _EXACT:
        return str(value)
    return value
