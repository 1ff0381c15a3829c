"""Read the scalar results of a run: what `results()` and the report show in columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .record import Record

Place = tuple[str, str]  # stem of the JSON file that holds a result, and its dotted key in there


def flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a config's values with dotted keys, the reverse of `nested`."""
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def files_with_scalars(record: Record) -> list[str]:
    """Return the names of the outputs that may hold scalars: JSON files directly in the run directory."""
    return [name for name in record.outputs if name.endswith(".json") and "/" not in name]


def scalars_in(directory: Path, names: Iterable[str], *, largest: int | None = None) -> dict[Place, Any]:
    """Return the scalars (numbers, texts, truth values) in an instance's JSON files.

    Args:
        directory: The run directory.
        names: Names of the files.
        largest: Size in bytes above which a file is left out; None for no limit.
    """
    return {
        (Path(name).stem, key): value
        for name in names
        for key, value in flattened(json_object(directory / name, largest=largest))
        if isinstance(value, str | int | float | bool)
    }


def result_names(places: Iterable[Place], taken: Collection[str]) -> dict[Place, str]:
    """Return the column of each result, the same for all instances.

    Args:
        places: Where the results of all instances are, in order of appearance.
        taken: Columns that others have.
    """
    distinct = dict.fromkeys(places)
    files = Counter(key for _, key in distinct)
    return {(stem, key): f"{stem}.{key}" if files[key] > 1 or key in taken else key for stem, key in distinct}


def config_name(key: str, taken: Collection[str]) -> str:
    """Return the column of a config key: a result of the same name, or a first column, goes before it."""
    return f"config.{key}" if key in taken else key


def json_object(path: Path, *, largest: int | None = None) -> Mapping[str, Any]:
    """Return the object in a JSON file; an empty one if it holds none, cannot be read or is too large."""
    try:
        if largest is not None and path.stat().st_size > largest:
            return {}
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, Mapping) else {}
