"""Control tables: turning their rows into configs and names.

A cell becomes plain JSON; an empty one (None, NaN, NaT, NA, "") means "not set".
"""

from __future__ import annotations

import datetime
import decimal
import enum
import itertools
import json
import math
import os
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from .errors import DuctaflowError, Problem
from .model import config_hash, slug
from .store import EARLIER, LOCKS
from .table_files import TEXT_COLUMNS, read_table

# Columns that say what an instance is; the others are its config.
NAME, STEP = TEXT_COLUMNS[:2]
FLOW_COLUMNS = TEXT_COLUMNS[2:]
_NAME_BYTES = 255  # of one part of a path, on every common file system
_PATH_BYTES = 1_000  # of a whole name: some systems end at 1,024, and files go below it
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_READABLE = 80  # bytes of a name made from values; what is more becomes a hash
_READABLE_VALUE = 32  # the same of one value in it
# Tuples, as isinstance() is asked for every cell, and `str | int` would be made anew each time.
_PLAIN: tuple[Any, ...] = (str, int)
_MAY_BE_NAN: tuple[Any, ...] = (float, np.floating, np.datetime64, np.timedelta64, decimal.Decimal)
_WINDOWS_FORBIDDEN = set('<>:"|?*\\')
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in "123456789"}


def as_frame(table: object, roots: Sequence[Path]) -> tuple[pd.DataFrame, str]:
    """A table in any accepted form as a DataFrame, and the file that it came from ("" if none).

    Raises:
        DuctaflowError: If it is none of them, or has a column twice, be it as 1 and "1".
    """
    origin = ""
    if isinstance(table, str | Path):
        candidates = [root / table for root in roots]
        # Not Path.is_file(): it raises for a text that is too long for a path.
        path = next((found for found in candidates if os.path.isfile(found)), None)
        if path is None:
            looked = " and ".join(dict.fromkeys(str(root) for root in roots))
            raise DuctaflowError(f"table {str(table)!r} not found in {looked}")
        frame, origin = read_table(path), str(path)
    elif isinstance(table, pd.DataFrame):
        frame = table
    elif isinstance(table, list | tuple) and all(isinstance(row, Mapping) for row in table):
        frame = pd.DataFrame([dict(row) for row in table], dtype=object)
    else:
        raise DuctaflowError(
            f"a table must be a DataFrame, a list of dicts or a file, not {type(table).__name__}"
        )
    columns = pd.Series(map(str, frame.columns), dtype=object)  # as text: 1 and "1" are one key of JSON
    twice = columns[columns.duplicated()].tolist()
    if twice:
        raise DuctaflowError(f"{origin or 'table'}: column {twice[0]!r} is there more than once")
    return frame, origin


def grid(**axes: Iterable[Any]) -> pd.DataFrame:
    """All combinations of some values, as a control table.

    Args:
        **axes: A column each: its name and the values that it takes. Dotted names, which nest in
            the config, are given as `grid(**{"processing.method": ["a", "b"]})`.

    Returns:
        One row per combination, the last axis varying fastest, with readable names in the column
        `instance_name`, unless that is an axis itself. They have all axes, so that they stay as they are
        when an axis gets more values.

    Raises:
        TypeError: If an axis is a single value; a text is a single value, too.

    Examples:
        >>> grid(degree=[1, 2], harmonics=[3])["instance_name"].tolist()
        ['degree=1,harmonics=3', 'degree=2,harmonics=3']
    """
    for name, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"grid({name}=…): expected a list of values, got {values!r}")
    combinations = list(itertools.product(*axes.values())) if axes else []
    table = pd.DataFrame(combinations, columns=list(axes), dtype=object)
    if NAME not in axes:
        table.insert(0, NAME, readable_names(table))
    return table


def readable_names(table: pd.DataFrame) -> list[str]:
    """Names made from a table's values, `year=2040,mode=rail`, each from nothing but its own row.

    So a name stays as it is when rows are added, or an axis of a grid gets more values. Empty cells are
    left out. Where a name does not tell all of its row's values (texts with characters that it cannot have,
    what is too long), a hash of them is added: `mode=light_rail~1b2c3d4e`.
    """
    columns = [name for name in table.columns if name not in TEXT_COLUMNS and not str(name).startswith("_")]
    if not columns:
        return ["1"] * len(table)
    labels = _labels([str(column) for column in columns])
    rows = list(zip(*(table[column].tolist() for column in columns), strict=True))
    return _told_apart([_name_of(labels, row) for row in rows], rows)


def _labels(columns: Sequence[str]) -> list[str]:
    """The columns as names have them: a dotted one by its last part, unless another ends alike."""
    ends = Counter(column.rpartition(".")[2] for column in columns)
    last = [column.rpartition(".")[2] for column in columns]
    return [
        _slug(end if end and ends[end] == 1 else column) for column, end in zip(columns, last, strict=True)
    ]


def _name_of(labels: Sequence[str], row: Sequence[Any]) -> str:
    words = [_word(value) for value in row]
    pairs = [f"{label}={word}" for label, (word, _) in zip(labels, words, strict=True) if word]
    name = ",".join(pairs or [f"{label}=None" for label in labels])
    if all(exact for _, exact in words) and len(name.encode()) <= _READABLE:
        return name
    return f"{_shortened(name, _READABLE - 9)}~{_hash_of(row)}"


def _shortened(name: str, most: int) -> str:
    """The beginning of a name, with whole pairs if possible."""
    if len(name.encode()) <= most:
        return name
    start = name.encode()[: most + 1].decode(errors="ignore")
    return start.rpartition(",")[0] or start[:-1]


def _told_apart(names: list[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The names, with a hash where values that differ are written alike: 1 and "1", 0.1 + 0.2 and 0.3."""
    if len(set(names)) == len(names):
        return names
    hashes = [_hash_of(row) for row in rows]
    meanings = Counter(name for name, _ in set(zip(names, hashes, strict=True)))
    return [
        f"{name}~{row_hash}" if meanings[name] > 1 else name
        for name, row_hash in zip(names, hashes, strict=True)
    ]


def _word(value: Any) -> tuple[str, bool]:
    """A value as a name has it ("" if it is empty), and whether that tells all of it."""
    if is_unset(value):
        return "", True
    if isinstance(value, Mapping | list | tuple | np.ndarray):
        return _hash_of(value), True
    if isinstance(value, float):
        value = f"{value:.12g}"
    text = str(value)
    word = _slug(text)
    is_told = word == text or not isinstance(value, str)  # what dates and the like are made of stays apart
    if len(word.encode()) <= _READABLE_VALUE:
        return word, is_told
    return word.encode()[: _READABLE_VALUE - 1].decode(errors="ignore"), False


def _slug(text: str) -> str:
    return slug(text).replace("/", "_")


def _hash_of(value: Any) -> str:
    return config_hash({"value": plain(value, lenient=True)})


def is_unset(value: Any) -> bool:
    """Whether a cell is empty."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, _MAY_BE_NAN):
        return bool(pd.isna(value))
    return value is None or value is pd.NaT or value is pd.NA


def plain(value: Any, *, lenient: bool = False) -> Any:
    """A value as plain JSON.

    Args:
        value: NumPy and pandas scalars, dates, paths, enums and containers of them become what JSON
            knows; dates and times ISO 8601 text, durations ISO 8601 durations.
        lenient: Keep NaN and infinities, and make text of all else, as ductaflow did.

    Raises:
        ValueError: If JSON has nothing for it, saying what it is.
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
    if isinstance(value, Mapping):
        return {_key(key, lenient): plain(item, lenient=lenient) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, lenient=lenient) for item in value]
    if isinstance(value, np.ndarray | pd.Series | pd.Index):
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
    """The nearest simpler value, or the value itself if there is none."""
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    if isinstance(value, np.timedelta64):
        return pd.Timedelta(value)  # or NaT
    if isinstance(value, datetime.timedelta):
        return pd.Timedelta(value).isoformat()
    if isinstance(value, datetime.date | datetime.time):  # datetime and Timestamp among them
        return value.isoformat()
    if isinstance(value, PurePath | uuid.UUID | pd.Period):
        return str(value)
    if isinstance(value, decimal.Decimal | np.floating):
        return float(value)
    if isinstance(value, np.generic) and not isinstance(value, np.clongdouble):  # whose item() is itself
        return value.item()
    return value


def _unpacked(values: Any) -> Any:
    """An array, Series or Index as a list, or as a scalar if it has no dimensions."""
    if isinstance(values, np.ndarray):
        if values.ndim == 0:
            return values[()]
        if values.dtype.kind in "mM" and values.dtype != "datetime64[D]":
            return list(values)  # tolist() makes bare numbers of units that datetime lacks, as nanoseconds
    return values.tolist()


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested dicts: `{"a.b": 1}` gives `{"a": {"b": 1}}`; groups are merged.

    Raises:
        ValueError: If a key is both a value and a group, or a value twice, naming it.
    """
    result: dict[str, Any] = {}
    for column, value in flat.items():
        inner, key = result, column
        if "." in column:
            *groups, key = column.split(".")
            for group in groups:
                inner = _group(inner, group, column)
        _put(inner, key, value, column)
    return result


def _put(config: dict[str, Any], key: str, value: Any, column: str) -> None:
    """Set a key that is not there yet; dicts are merged, and never shared with whoever gave them."""
    if isinstance(value, dict):
        inner = _group(config, key, column)
        for name, item in value.items():
            _put(inner, name, item, column)
    elif key not in config:
        config[key] = value
    elif isinstance(config[key], dict):
        raise ValueError(f"{key!r} is a value and, in another column, a group")
    else:
        raise ValueError(f"{key!r} is a value in column {column!r} and in another one")


def _group(config: dict[str, Any], key: str, column: str) -> dict[str, Any]:
    group = config.setdefault(key, {})
    if isinstance(group, dict):
        return group
    raise ValueError(f"{key!r} is a value and, in column {column!r}, a group")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two configs, the second over the first, group by group."""
    result = dict(base)
    for key, value in over.items():
        under = result.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        result[key] = merged(under, value) if both else value  # type: ignore[arg-type]
    return result


def flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A config's values with dotted keys, the reverse of `nested`."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def rows_of(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows as dicts without their empty cells, each value with its own type."""
    columns = [str(column) for column in table.columns]
    values = [table[column].tolist() for column in table.columns]
    rows: Iterable[tuple[Any, ...]] = zip(*values, strict=True) if columns else [()] * len(table)
    for row in rows:
        yield {name: value for name, value in zip(columns, row, strict=True) if not is_unset(value)}


def names_of(table: pd.DataFrame) -> list[str]:
    """The instance names of a table: its column, else its labelled index, else made from its values.

    Integers are no labels: they are row numbers, of which a filter leaves some.
    """
    if NAME in table.columns:
        return ["" if is_unset(name) else str(name).strip() for name in table[NAME].tolist()]
    if table.index.inferred_type != "integer" and table.index.is_unique:
        return [str(label) for label in table.index]
    return readable_names(table)


@lru_cache(maxsize=1024)  # a step has thousands of instances
def check_name(name: str, what: str) -> str | None:
    """Why a name cannot be that of a folder under `runs/`, or None.

    Args:
        name: A step's or instance's name; `/` makes folders in folders.
        what: What it is called in the message.
    """
    if not name:
        return f"{what} is empty"
    parts = name.split("/")
    if PurePosixPath(name).is_absolute() or ".." in parts or "." in parts or PurePath(name).drive:
        return f"{what} {name!r} would leave runs/"
    if {EARLIER, LOCKS} & set(parts):
        return f"{what} {name!r} is the name of a folder that runs/ has for itself"
    if "" in parts:
        return f"{what} {name!r} has an empty part"
    if _CONTROLS.search(name):
        return f"{what} {name!r} has a control character"
    if _SURROGATES.search(name):
        return f"{what} {name!r} has half of a character (a lone surrogate)"
    if any(len(os.fsencode(part)) > _NAME_BYTES for part in parts):
        return f"{what} {name[:40] + '…'!r} is longer than a file name can be ({_NAME_BYTES} bytes)"
    if len(os.fsencode(name)) > _PATH_BYTES:
        return f"{what} {name[:40] + '…'!r} is longer than a path should be ({_PATH_BYTES:,} bytes)"
    if os.name == "nt" and any(_windows_refuses(part) for part in parts):
        return f"{what} {name!r} is not a name that Windows allows"
    return None


def _windows_refuses(part: str) -> bool:
    device = part.partition(".")[0].lower() in _WINDOWS_DEVICES
    return device or part[-1] in " ." or bool(_WINDOWS_FORBIDDEN & set(part))


def select(expression: str, table: pd.DataFrame) -> list[bool]:
    """Which rows an expression of `DataFrame.eval` keeps; those for which it gives NA are not.

    Raises:
        DuctaflowError: If it cannot be evaluated or is not true or false of each row, naming the
            columns that there are.
    """
    try:
        result = table.reset_index(drop=True).eval(expression, engine="python")
        what = "" if _is_mask(result, len(table)) else "not true or false of each row"
    except Exception as error:  # the expression is the user's: anything can come of it
        what = f"{type(error).__name__}: {error}"
    if what:
        columns = ", ".join(str(column) for column in table.columns)
        raise DuctaflowError(f"--ductaflow-where {expression!r}: {what}. Columns here: {columns}")
    return [bool(keep) for keep in pd.Series(result, dtype="boolean").fillna(False)]


def _is_mask(result: Any, length: int) -> bool:
    # Objects, too: the parts of a text column with empty cells are True, False and NaN.
    inferred = pd.api.types.infer_dtype(result, skipna=True) if np.ndim(result) == 1 else ""
    return inferred in ("boolean", "empty") and len(result) == length


def problems_of_schema(config: Mapping[str, Any], schema: Any, where: str) -> list[Problem]:
    """How a config fails its JSON Schema; reserved keys and the name are not looked at.

    A schema that is none, or refers to what is not there, is a problem as well.
    """
    validator, wrong = _validator(json.dumps(schema))
    if wrong:
        return [Problem(where, f"the flow's JSON Schema is not valid: {wrong}")]
    known = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    plain_config = {
        key: value
        for key, value in config.items()
        if key in known or not (key.startswith("_") or key == NAME)
    }
    try:
        return [
            Problem(f"{where}, column {'.'.join(map(str, error.absolute_path)) or '(all)'!r}", error.message)
            for error in validator.iter_errors(plain_config)
        ]
    except Exception as error:  # of references that cannot be followed and patterns that are none
        return [Problem(where, f"the flow's JSON Schema cannot be used: {type(error).__name__}: {error}")]


@lru_cache(maxsize=64)  # checking a schema takes longer than checking a config, and rows share theirs
def _validator(text: str) -> tuple[Any, str]:
    """The validator of a schema, given as JSON, and what is wrong with the schema ("" if nothing)."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    schema = json.loads(text)
    kind = validator_for(schema if isinstance(schema, dict) else True)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        return None, error.message
    return kind(schema), ""
