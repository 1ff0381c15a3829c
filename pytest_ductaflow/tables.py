"""Control tables: reading them, and turning their rows into configs and names.

The home of pandas. A cell becomes plain JSON; an empty one (None, NaN, NaT, NA, "") means "not set".
"""

from __future__ import annotations

import datetime
import decimal
import enum
import itertools
import math
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from .errors import DuctaflowError, Problem
from .model import config_hash, slug

# Columns that say what an instance is; the others are its config.
NAME, STEP = "instance_name", "step"
FLOW_COLUMNS = ("flow", "build")
_TEXT_COLUMNS = (NAME, STEP, *FLOW_COLUMNS)
_NAME_BYTES = 255  # of one part of a path, on every common file system
_READABLE = 80  # characters of a name made from values, before a hash is shorter
_WINDOWS_FORBIDDEN = set('<>:"|?*\\')
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in "123456789"}


def read_table(path: Path) -> pd.DataFrame:
    """A control table from a file; integers with empty cells stay integers, names stay text.

    Args:
        path: A `.csv`, `.parquet`, `.xlsx`, `.json` or `.jsonl` file.

    Raises:
        DuctaflowError: If it cannot be read, or pandas lacks the package that reads it.
    """
    as_text: Any = dict.fromkeys(_TEXT_COLUMNS, lambda cell: str(cell).strip())
    readers: dict[str, tuple[Callable[[], pd.DataFrame], str]] = {
        ".csv": (
            lambda: pd.read_csv(
                path, dtype_backend="numpy_nullable", converters=as_text, skipinitialspace=True
            ),
            "",
        ),
        ".parquet": (lambda: pd.read_parquet(path, dtype_backend="numpy_nullable"), "parquet"),
        ".xlsx": (
            lambda: pd.read_excel(path, dtype_backend="numpy_nullable", converters=as_text),
            "excel",
        ),
        ".json": (lambda: _from_json(path, lines=False), ""),
        ".jsonl": (lambda: _from_json(path, lines=True), ""),
    }
    if path.suffix not in readers:
        raise DuctaflowError(f"{path}: not a table that can be read (known: {', '.join(readers)})")
    reader, extra = readers[path.suffix]
    try:
        table = reader()
    except ImportError as error:
        raise DuctaflowError(
            f"{path}: reading {path.suffix} files needs another package ({error.name or error}): "
            f"pip install 'pytest-ductaflow[{extra}]'"
        ) from error
    except Exception as error:  # each reader has its own exceptions
        raise DuctaflowError(f"{path}: cannot be read as a table: {error}") from error
    return table


def _from_json(path: Path, *, lines: bool) -> pd.DataFrame:
    # dtype and date guessing off: "007" stays text and a key called "date" is not parsed.
    return pd.read_json(
        path, lines=lines, orient="records", dtype=False, convert_dates=False, dtype_backend="numpy_nullable"
    )


def as_frame(table: object, roots: Sequence[Path]) -> tuple[pd.DataFrame, str]:
    """A table in any accepted form as a DataFrame, and the file that it came from ("" if none).

    Raises:
        DuctaflowError: If it is none of them, or has a column twice.
    """
    origin = ""
    if isinstance(table, str | Path):
        candidates = [root / table for root in roots]
        path = next((found for found in candidates if found.is_file()), None)
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
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DuctaflowError(f"{origin or 'table'}: column {twice[0]!r} is there more than once")
    return frame, origin


def grid(**axes: Iterable[Any]) -> pd.DataFrame:
    """All combinations of some values, as a control table.

    Args:
        **axes: A column each: its name and the values that it takes. Dotted names, which nest in
            the config, are given as `grid(**{"processing.method": ["a", "b"]})`.

    Returns:
        One row per combination, the last axis varying fastest, with readable names in the column
        `instance_name`: `grid(degree=[1, 2], window=["short"])` gives `degree=1,window=short`, …

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
    table.insert(0, NAME, readable_names(table))
    return table


def readable_names(table: pd.DataFrame) -> list[str]:
    """Names made from a table's values, `year=2040,mode=rail`; columns that never vary are left out."""
    columns = [name for name in table.columns if name not in _TEXT_COLUMNS and not str(name).startswith("_")]
    texts = {column: [_word(value) for value in table[column].tolist()] for column in columns}
    varying = [column for column in columns if len(set(texts[column])) > 1] or columns
    labels = [str(column).rpartition(".")[2] for column in varying]
    names = []
    for words in zip(*(texts[column] for column in varying), strict=True):
        pairs = zip(labels, words, strict=True)
        name = ",".join(f"{label}={word}" for label, word in pairs if word)
        long = len(name) > _READABLE
        names.append(f"{name[: _READABLE - 9]}~{config_hash({'name': name})}" if long else name)
    return names or ["1"] * len(table)


def _word(value: Any) -> str:
    if is_unset(value):
        return ""
    if isinstance(value, Mapping | list | tuple | np.ndarray):
        return config_hash({"value": value})
    if isinstance(value, float):
        value = f"{value:.12g}"
    return slug(str(value)).replace("/", "_")


def is_unset(value: Any) -> bool:
    """Whether a cell is empty."""
    if value is None or value is pd.NaT or value is pd.NA:
        return True
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, float | np.floating) and math.isnan(value)


def plain(value: Any, *, lenient: bool = False) -> Any:
    """A value as plain JSON.

    Args:
        value: NumPy and pandas scalars, dates, paths, enums and containers of them become what JSON
            knows; dates and times ISO 8601 text, durations ISO 8601 durations.
        lenient: Keep NaN and infinities, and make text of all else, as ductaflow did.

    Raises:
        ValueError: If JSON has nothing for it, saying what it is.
    """
    if value is None or (isinstance(value, str | bool | int) and not isinstance(value, enum.Enum)):
        return value
    if isinstance(value, float):
        if math.isfinite(value) or lenient:
            return float(value)
        raise ValueError(f"{value} has no place in JSON")
    if isinstance(value, Mapping):
        return {_key(key, lenient): plain(item, lenient=lenient) for key, item in value.items()}
    if isinstance(value, np.ndarray | pd.Series | pd.Index):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item, lenient=lenient) for item in value]
    converted = _scalar(value)
    if converted is not value:
        return plain(converted, lenient=lenient)
    if lenient:
        return str(value)
    raise ValueError(f"{value!r} ({type(value).__name__}) has no place in JSON")


def _key(key: Any, lenient: bool) -> str:
    if isinstance(key, str) or lenient:
        return str(key)
    raise ValueError(f"key {key!r} is not text")


def _scalar(value: Any) -> Any:
    """The nearest simpler value, or the value itself if there is none."""
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, np.datetime64):
        return pd.Timestamp(value)
    if isinstance(value, np.timedelta64 | datetime.timedelta):
        return pd.Timedelta(value).isoformat()
    if isinstance(value, datetime.date | datetime.time):  # datetime and Timestamp among them
        return value.isoformat()
    if isinstance(value, PurePath | uuid.UUID | pd.Period):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, np.generic):
        return value.item()
    return value


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested dicts: `{"a.b": 1}` gives `{"a": {"b": 1}}`.

    Raises:
        ValueError: If a key is both a value and a group, naming it.
    """
    result: dict[str, Any] = {}
    for key, value in flat.items():
        if "." not in key:
            if isinstance(result.get(key), dict) and not isinstance(value, dict):
                raise ValueError(f"{key!r} is a value and, in another column, a group")
            result[key] = {**result[key], **value} if isinstance(result.get(key), dict) else value
            continue
        *groups, last = key.split(".")
        inner = result
        for group in groups:
            inner = inner.setdefault(group, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{group!r} is a value and, in column {key!r}, a group")
        inner[last] = value
    return result


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
    for row in zip(*values, strict=True) if columns else ():
        yield {name: value for name, value in zip(columns, row, strict=True) if not is_unset(value)}


def names_of(table: pd.DataFrame) -> list[str]:
    """The instance names of a table: its column, else its labelled index, else made from its values."""
    if NAME in table.columns:
        return ["" if is_unset(name) else str(name).strip() for name in table[NAME].tolist()]
    if not isinstance(table.index, pd.RangeIndex) and table.index.is_unique:
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
    if "" in parts:
        return f"{what} {name!r} has an empty part"
    if any(ord(character) < 32 for character in name):
        return f"{what} {name!r} has a control character"
    if any(len(os.fsencode(part)) > _NAME_BYTES for part in parts):
        return f"{what} {name[:40] + '…'!r} is longer than a file name can be ({_NAME_BYTES} bytes)"
    if os.name == "nt" and any(_windows_refuses(part) for part in parts):
        return f"{what} {name!r} is not a name that Windows allows"
    return None


def _windows_refuses(part: str) -> bool:
    device = part.partition(".")[0].lower() in _WINDOWS_DEVICES
    return device or part[-1] in " ." or bool(_WINDOWS_FORBIDDEN & set(part))


def select(expression: str, table: pd.DataFrame) -> list[bool]:
    """Which rows an expression of `DataFrame.query` keeps.

    Raises:
        DuctaflowError: If it cannot be evaluated, naming the columns that there are.
    """
    try:
        kept = table.reset_index(drop=True).query(expression, engine="python").index
    except Exception as error:  # the expression is the user's: anything can come of it
        columns = ", ".join(str(column) for column in table.columns)
        raise DuctaflowError(
            f"--ductaflow-where {expression!r}: {type(error).__name__}: {error}. Columns here: {columns}"
        ) from error
    chosen = set(kept)
    return [number in chosen for number in range(len(table))]


def problems_of_schema(config: Mapping[str, Any], schema: Any, where: str) -> list[Problem]:
    """How a config fails its JSON Schema; reserved keys and the name are not looked at."""
    import jsonschema

    known = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    plain_config = {
        key: value
        for key, value in config.items()
        if key in known or not (key.startswith("_") or key == NAME)
    }
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [
        Problem(f"{where}, column {'.'.join(map(str, error.absolute_path)) or '(all)'!r}", error.message)
        for error in validator.iter_errors(plain_config)
    ]
