"""Convert the cells of a control table to plain JSON; empty ones (None, NaN, NaT, NA, "") are "not set".

Types of NumPy and pandas are checked without importing these: before that, no value can have such a type.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import re
import sys
import uuid
from collections import UserString
from collections.abc import KeysView, Mapping, Sequence, ValuesView
from pathlib import PurePath
from typing import Any

# Tuples, as isinstance() is called for every cell, and `str | int` would be built again each time.
_PLAIN = (str, int)
_TEXTS = (str, bytes, bytearray, memoryview, UserString)  # sequences that do not count as lists
_NEVER_EMPTY = (int, Mapping, list, tuple)
# No leading zeros: 007 is a name.
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]*)?|\.[0-9]+)(?P<power>[eE][+-]?[0-9]+)?")
_DIGITS = 4000  # digits of an integer that Python parses; longer ones are texts


def is_a(value: object, module: str, *types: str) -> bool:
    """Return whether a value has one of some types of a module that need not be imported."""
    found = sys.modules.get(module)
    return found is not None and isinstance(value, tuple(getattr(found, name) for name in types))


def is_mapping(value: object) -> bool:
    """Return whether a value has keys and values like a dict, even if its class is not a Mapping."""
    if isinstance(value, Mapping):
        return True
    kind = type(value)
    has_keys = hasattr(kind, "keys") and hasattr(kind, "__getitem__")
    return has_keys and not is_a(value, "pandas", "Series", "DataFrame")


def is_sequence(value: object) -> bool:
    """Return whether a value behaves like a list: `range`, `deque`, a list of OmegaConf; not a text."""
    return isinstance(value, Sequence | KeysView | ValuesView) and not isinstance(value, _TEXTS)


def is_unset(value: Any) -> bool:
    """Return whether a cell is empty."""
    if isinstance(value, str):
        return not value.strip()
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, _NEVER_EMPTY):
        return False
    if isinstance(value, decimal.Decimal):
        return value.is_nan()
    if is_a(value, "numpy", "floating", "datetime64", "timedelta64"):
        return bool(value != value)  # noqa: PLR0124 - true only of NaN and NaT
    return _is_missing(value)


def _is_missing(value: object) -> bool:
    """Return whether a value is pandas' NaT or NA."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and (value is pandas.NaT or value is pandas.NA)


def number_in(text: str) -> int | float | None:
    """Return the number that a text represents, None if it would be none in JSON; `007` is a name.

    Whole numbers without point and exponent are integers, as in JSON.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    if match["fraction"] is None and match["power"] is None and "." not in text:
        return int(text) if len(text) < _DIGITS else None
    return float(text)


def plain(value: Any, *, lenient: bool = False) -> Any:
    """Return a value as plain JSON.

    Args:
        value: NumPy and pandas scalars, dates, paths, enums and containers of them, including mappings and
            sequences of other libraries, become JSON types; dates and times ISO 8601 text, durations ISO
            8601 durations.
        lenient: Keep NaN and infinities, and turn everything else into text, as ductaflow did.

    Raises:
        ValueError: If JSON cannot represent it; the message says what it is.
    """
    if value is None or (isinstance(value, _PLAIN) and not isinstance(value, enum.Enum)):
        return value
    try:
        return _plain(value, lenient)
    except RecursionError:
        raise ValueError("a circular reference, or nested too deeply, has no place in JSON") from None


def _plain(value: Any, lenient: bool) -> Any:
    if isinstance(value, float):
        if math.isfinite(value) or lenient:
            return float(value)
        raise ValueError(f"{value} has no place in JSON")
    if is_mapping(value):
        value = dict(value)
        return {_key(key, lenient): plain(item, lenient=lenient) for key, item in value.items()}
    if is_sequence(value):
        return [plain(item, lenient=lenient) for item in value]
    if is_a(value, "numpy", "ndarray") or is_a(value, "pandas", "Series", "Index"):
        return plain(_unpacked(value), lenient=lenient)
    converted = _simpler(value)
    if converted is not value:
        return plain(converted, lenient=lenient)
    if lenient:
        return str(value)
    raise ValueError(f"{value!r} ({type(value).__name__}) has no place in JSON")


def _key(key: Any, lenient: bool) -> str:
    if isinstance(key, str) or lenient:
        return str(key)
    raise ValueError(f"key {key!r} is not text")


def _simpler(value: Any) -> Any:
    """Return the nearest simpler value, or the value itself if there is none."""
    if _is_missing(value):  # before dates: NaT is one
        return None
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime.timedelta) or is_a(value, "numpy", "datetime64", "timedelta64"):
        return _of_pandas(value)
    if isinstance(value, datetime.date | datetime.time):  # datetime and Timestamp among them
        return value.isoformat()
    if isinstance(value, PurePath | uuid.UUID | UserString) or is_a(value, "pandas", "Period"):
        return str(value)
    if isinstance(value, decimal.Decimal) or is_a(value, "numpy", "floating"):
        return float(value)
    if is_a(value, "numpy", "generic") and not is_a(value, "numpy", "clongdouble"):  # whose item() is itself
        return value.item()
    return value


def _of_pandas(value: Any) -> Any:
    """Return a duration as ISO 8601 text; a date or duration of NumPy as the pandas type, or NaT."""
    import pandas as pd

    if isinstance(value, datetime.timedelta):
        return pd.Timedelta(value).isoformat()
    return pd.Timestamp(value) if is_a(value, "numpy", "datetime64") else pd.Timedelta(value)


def _unpacked(values: Any) -> Any:
    """Return an array, Series or Index as a list, or as a scalar if it has no dimensions."""
    if is_a(values, "numpy", "ndarray"):
        if values.ndim == 0:
            return values[()]
        if values.dtype.kind in "mM" and values.dtype != "datetime64[D]":
            return list(values)  # tolist() gives bare numbers for units that datetime lacks (nanoseconds)
    return values.tolist()
