"""The figures of one run, as the page has them.

An entry is a list of texts, of which empty ones at the end are left out:

    key     what the figure is called: a path in the run directory, or "fit, cell 5" of a notebook's image
    small   name in `.figures/` of a small copy
    own     name in `.figures/` of the image itself, if it was only in a notebook
    reason  why it cannot be shown

"The same figure" of two instances has the same key. `script/gallery.js` reads entries, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from ...core.instance import stem_of
from ...core.record import Record
from ...core.run_directory.layout import FIGURES, RunFiles
from .can_be_shown import SUFFIXES

Entry = list[str]
Place = tuple[str, str, str]  # run directory as seen from `runs/`, stem of the flow, and when it started
_MOST = 300  # figures of a run
_DIGITS = 20  # of a digest in the name of a file
NAME = re.compile(r"[0-9a-f]{20}[-\w]*\.\w+")  # of a file in `.figures/`


def entry(key: str, small: str = "", own: str = "", reason: str = "") -> Entry:
    """Return an entry without its empty end."""
    parts = [key, small, own, reason]
    while not parts[-1] and len(parts) > 1:
        parts.pop()
    return parts


def short_digest(digest: str) -> str:
    """Return the part of a digest (`sha256:…`) that names files; "" if it is none."""
    digits = digest.rpartition(":")[2][:_DIGITS]
    return digits if re.fullmatch(r"[0-9a-f]{20}", digits) else ""


@dataclass(frozen=True, slots=True)
class Job:
    """The figures of a run that are to be prepared.

    Attributes:
        place: The run.
        files: Key and digest of each image file that it wrote.
        notebooks: Path in the run directory of each executed notebook, and what its images are called.
    """

    place: Place
    files: tuple[tuple[str, str], ...]
    notebooks: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, directory: str, record: Record, suffix: str = "_executed") -> Self:
        """Return the job for a record, with the flows of a build.

        Args:
            directory: Its run directory as seen from `runs/`.
            record: The record.
            suffix: End of the names of executed notebooks.
        """
        files: list[tuple[str, str]] = []
        notebooks: list[tuple[str, str]] = []
        for each in record.with_flows():
            inside = _inside(each.run_dir, record.run_dir)
            if inside is None:
                continue
            notebooks.append(_notebook(inside, stem_of(each.flow), suffix))
            files += [
                (f"{inside}{name}", digest)
                for name, digest in each.outputs.items()
                if name.lower().endswith(SUFFIXES) and _is_in_its_folder(name)
            ]
        place = directory, stem_of(record.flow), record.started
        return cls(place, tuple(files[:_MOST]), tuple(notebooks))

    def to_json(self) -> Mapping[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        directory, flow, started = data["place"]
        files = tuple((key, digest) for key, digest in data["files"])
        return cls((directory, flow, started), files, tuple((path, name) for path, name in data["notebooks"]))


@lru_cache(maxsize=1_024)
def _notebook(inside: str, stem: str, suffix: str) -> tuple[str, str]:
    """Return the path of an executed notebook, and what its images are called."""
    return f"{inside}{RunFiles(Path(), stem, suffix).notebook.name}", f"{inside}{stem}"


def _is_in_its_folder(name: str) -> bool:
    return not name.startswith("/") and ".." not in name.split("/")


def _inside(folder: str, around: str) -> str | None:
    """Return a folder's path within another one, with a `/` at its end; None if it lies elsewhere."""
    if folder == around:
        return ""
    return f"{folder.removeprefix(f'{around}/')}/" if folder.startswith(f"{around}/") else None


def is_entry(thing: Any) -> bool:
    """Return whether something that was read is an entry."""
    return isinstance(thing, list) and 1 <= len(thing) <= 4 and all(isinstance(each, str) for each in thing)


def entries_in(row: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield the entries of a row, whoever has written it; names that are not of our files are left out."""
    figures = row.get("figures")
    for each in figures if isinstance(figures, list) else ():
        if is_entry(each):
            key, small, own, reason = [*each, "", "", ""][:4]
            small, own = (name if NAME.fullmatch(name) else "" for name in (small, own))
            yield [key, small, own, reason]


def files_in(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths, relative to the report, of the files that the figures of a row need."""
    for key, small, own, reason in entries_in(row):
        if not reason:
            yield f"{FIGURES}/{own}" if own else f"{row['directory']}/{key}"
            if small:
                yield f"{FIGURES}/{small}"
