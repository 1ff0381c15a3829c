"""Read the reserved columns of control tables, such as `_timeout` and `_after`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.instance import JSON, RESERVED_FOR, WORKPLACES, Instance, Workplace
from ..core.number_text import bytes_in, in_bytes, listed, seconds_in
from ..core.run_directory.layout import display_path
from ..core.settings import check_keep
from ..core.system.machine import usable_cores, usable_memory

After = str | Instance | Iterable[Any] | None
FIELDS = {**RESERVED_FOR, "_after": "after"}
RESERVED = tuple(FIELDS)
_LEAST = {"_retries": 0, "_cores": 1}  # of whole numbers
_LONGEST_DELAY = 30 * 24 * 3600.0  # seconds; clocks and dates end somewhere
IGNORED = ("_project_root", "_no_execute")


def upstreams(after: After) -> tuple[str, ...] | None:
    """Return `after=`, in any accepted form, as `step/instance` texts; None if it was not given.

    Raises:
        ValueError: If it has none of the accepted forms.
    """
    if after is None:
        return None
    if isinstance(after, Instance):
        return (f"{after.step}/{after.name}",)
    if isinstance(after, str):
        return tuple(part.strip() for part in after.split(";") if part.strip())
    if isinstance(after, Mapping) or not isinstance(after, Iterable):
        raise ValueError(f"after={after!r}: expected instances, or names as step/instance")
    return tuple(name for item in after for name in upstreams(item) or ())


def reserved_value(key: str, value: JSON) -> Any:
    """Return the value of a reserved key in the form that Instance stores.

    Raises:
        ValueError: If the value is invalid.
    """
    number = _number(value)
    if key == "_timeout":
        if number is None or not number > 0:
            raise ValueError(f"{value!r}: expected a number above 0")
        return float(number)
    if (least := _LEAST.get(key)) is not None:
        if number is None or number < least or number != int(number):
            raise ValueError(f"{value!r}: expected a whole number, {least} or more")
        return int(number)
    if key in ("_retry_delay", "_memory"):
        return _retry_delay(value, number) if key == "_retry_delay" else _memory(value, number)
    if key == "_marks":
        marks = value.replace(",", " ").split() if isinstance(value, str) else value
        if not isinstance(marks, Sequence) or not all(str(mark).isidentifier() for mark in marks):
            raise ValueError(f"{value!r}: expected names of marks, separated by commas")
        return tuple(str(mark) for mark in marks)
    readers: dict[str, Callable[[Any], Any]] = {
        "_resources": resources,
        "_after": upstreams,
        "_keep": patterns,
        "_cwd": workplace,
        "_kernel": _kernel_name,
    }
    return readers[key](value)


def resources(value: object) -> dict[str, float]:
    """Return amounts of resources by name, given as a mapping or as a text such as `GPU=1, licence=2`.

    Raises:
        ValueError: If the value is neither, or an amount is no number above 0.
    """
    given = value
    if isinstance(value, str):
        parts = (part.partition("=") for part in value.replace(",", " ").split())
        value = {name: amount if equals else None for name, equals, amount in parts}
    if not isinstance(value, Mapping):
        raise ValueError(f"{given!r}: expected names and numbers, such as GPU=1 or {{'GPU': 1}}")
    amounts = {str(name).strip(): _number(amount) for name, amount in value.items()}
    for name, amount in amounts.items():
        if not name or amount is None or not amount > 0:
            raise ValueError(f"{given!r}: expected a number above 0 for each name, such as GPU=1")
    return {name: amount for name, amount in amounts.items() if amount is not None}


def _retry_delay(value: JSON, number: float | None) -> float:
    try:
        is_number = number is not None and number >= 0
        seconds = float(number or 0) if is_number else seconds_in(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"{value!r}: expected seconds, or a time such as 10s, 2min or 1h") from None
    if seconds > _LONGEST_DELAY:
        raise ValueError(f"{value!r}: expected a time of at most {_LONGEST_DELAY / 3600:g} hours")
    return seconds


def _memory(value: JSON, number: float | None) -> int:
    try:
        is_text = isinstance(value, str) and number is None
        return bytes_in(value if is_text else f"{number or 0:.0f}")
    except ValueError as error:
        raise ValueError(f"{value!r}: {error}") from None


def notes_on_memory(instances: Iterable[Instance], default: int | None = None) -> Iterator[str]:
    """Yield a note about instances that may have more memory than there is.

    Args:
        instances: The instances.
        default: What those may have that do not say it.
    """
    there = usable_memory()
    asking = [instance for instance in instances if (instance.memory or default or 0) > there]
    if asking:
        most = max(instance.memory or default or 0 for instance in asking)
        where = listed(dict.fromkeys(display_path(i.source, Path(i.project_root)) for i in asking))
        said = f"_memory is up to {in_bytes(most)} ({where}), and this machine has {in_bytes(there)}"
        yield f"{said}: such instances run alone"


def notes_on_cores(instances: Iterable[Instance]) -> Iterator[str]:
    """Yield a note about instances that ask for more cores than there are."""
    there = usable_cores()
    asking = [instance for instance in instances if (instance.cores or 0) > there]
    if asking:
        most = max(instance.cores or 0 for instance in asking)
        where = listed(dict.fromkeys(display_path(i.source, Path(i.project_root)) for i in asking))
        cores = "1 core" if there == 1 else f"{there} cores"
        yield f"_cores is up to {most:.12g} ({where}), and this machine has {cores}: such instances get all"


def notes_on_resources(instances: Iterable[Instance]) -> Iterator[str]:
    """Yield a note about instances that ask for resources, where nothing has any."""
    asking = [instance for instance in instances if instance.resources]
    if asking:
        where = listed(dict.fromkeys(display_path(i.source, Path(i.project_root)) for i in asking))
        why = "only workers of an engine have such resources (--ductaflow-engine)"
        yield f"_resources ({where}) have no effect here: {why}"


def _kernel_name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r}: expected the name of a Jupyter kernel")
    return value.strip()


def workplace(value: object) -> Workplace:
    """Return the validated word for the folder in which an instance runs.

    Raises:
        ValueError: If it is not one of `WORKPLACES`.
    """
    if value not in WORKPLACES:
        raise ValueError(f"{value!r}: expected {', '.join(WORKPLACES[:-1])} or {WORKPLACES[-1]}")
    return value


def patterns(value: object) -> tuple[str, ...]:
    """Return the patterns of kept files, given as a list or a comma-separated text.

    Raises:
        ValueError: If the value is neither, or a pattern leads out of the run directory.
    """
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, Sequence) or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{value!r}: expected patterns of files, separated by commas")
    return tuple(check_keep(item.strip()) for item in items if item.strip())


def _number(value: JSON) -> float | None:
    """Return a finite number, also one given as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
