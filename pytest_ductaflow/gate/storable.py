"""Check whether a run can be a stored instance: readable, not too large, and able to pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..core.errors import ExpectedUnreadable, LibraryMissing, NotStored
from ..core.instance import JSON
from .compare.files import read_expected
from .compare.tolerance import Tolerances, fits
from .instance_file import StoredInstance, is_wild

_MEGABYTE = 1_000_000


def check_fitness(stored: StoredInstance, files: Mapping[str, Path], limit: float) -> None:
    """Refuse a stored instance that could not pass or is too large for a repo.

    Raises:
        NotStored: With a remedy.
    """
    try:
        StoredInstance.from_json(stored.to_json())
    except ValueError as error:
        raise NotStored(f"cannot be stored: {error}") from None
    sizes = {name: path.stat().st_size / _MEGABYTE for name, path in files.items()}
    large = [f"{name} ({size:.1f} MB)" for name, size in sizes.items() if size > limit]
    if large:
        raise NotStored(
            f"larger than {limit:g} MB: {', '.join(large)}. Store a digest (--digest NAME), choose other "
            "outputs (--output PATTERN), or raise the limit (--limit MB, or ini ductaflow_store_limit)"
        )
    tolerances = Tolerances(stored.tolerances)
    for name, path in files.items():
        try:
            read_expected(path, tolerances.of(name))
        except LibraryMissing as error:
            raise NotStored(str(error)) from None
        except ExpectedUnreadable as error:
            raise NotStored(
                f"{error}. Nothing can be compared with it: store a digest (--digest {name!r}), or leave it "
                f"out (--output '*' --output '!{name}')"
            ) from None


def still_meant(
    tolerances: Mapping[str, Mapping[str, JSON]], names: Iterable[str]
) -> dict[str, Mapping[str, JSON]]:
    """Return the tolerances, except those for single files that are no longer compared."""
    gone = {pattern for pattern in tolerances if not is_wild(pattern)}
    gone -= {pattern for pattern in gone if any(fits(name, pattern) for name in names)}
    return {pattern: values for pattern, values in tolerances.items() if pattern not in gone}
