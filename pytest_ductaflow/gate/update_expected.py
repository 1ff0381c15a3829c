"""Make what a stored instance wrote its new expected outputs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ..core.errors import NotStored
from ..core.instance import Instance
from ..core.record import Record
from ..core.run_directory import listing
from .instance_file import EXPECTED, read_stored, write_stored
from .judge import compared_outputs, files_in
from .owner_notes import keep_from_gitignore, notes_on_folder
from .storable import check_fitness, still_meant


def update_expected(instance: Instance, record: Record, limit: float) -> tuple[str, ...]:
    """Replace the expected outputs of a stored instance by what it has written.

    Args:
        instance: The stored instance.
        record: Its record, with the differences.
        limit: Largest size of an output in megabytes.

    Returns:
        Notes for its owner, one sentence each.

    Raises:
        OSError: If a file cannot be written. Files are replaced once all are copied, their list last.
        DuctaflowError: If `instance.json` has become unreadable, or an output cannot be stored.
    """
    folder = Path(instance.stored_in)
    before = read_stored(folder)
    found = compared_outputs(record, instance.project_root, before)
    digests = {name: listing.digest(found[name]) for name in before.digests if name in found}
    copied = {name: path for name, path in found.items() if name not in digests}
    stored = replace(
        before,
        expected=tuple(copied),
        digests=digests,
        tolerances=still_meant(before.tolerances, found),
    )
    changed = {difference.file for difference in record.differences}.intersection(copied)
    check_fitness(stored, {name: copied[name] for name in changed}, limit)
    _refuse_links(folder / EXPECTED, {*copied, *before.expected})
    with _staged({folder / EXPECTED / name: copied[name] for name in sorted(changed)}):
        # Delete before the new files move in: if names are case-insensitive, `R.csv` is the old `r.csv`.
        for name in {*files_in(folder / EXPECTED), *before.expected} - copied.keys():
            (folder / EXPECTED / name).unlink(missing_ok=True)
    write_stored(folder, stored)
    keep_from_gitignore(folder)
    return tuple(notes_on_folder(folder, stored))


@contextlib.contextmanager
def _staged(sources: Mapping[Path, Path]) -> Iterator[None]:
    """Copy files next to their targets; at the end, move each into place by an atomic rename."""
    temporaries = {target: target.with_name(f".{target.name}.new") for target in sources}
    try:
        for target, temporary in temporaries.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sources[target], temporary)
        yield
        for target, temporary in temporaries.items():
            os.replace(temporary, target)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def _refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Refuse to write or delete through links.

    Raises:
        NotStored: If a link leads out of the folder.
    """
    inside = os.path.realpath(folder.parent)
    for name in names:
        place = os.path.join(inside, folder.name, os.path.dirname(name)).rstrip(os.sep)
        if os.path.normcase(os.path.realpath(place)) != os.path.normcase(os.path.normpath(place)):
            raise NotStored(f"a link leads from {place} elsewhere, where nothing is to be changed")
