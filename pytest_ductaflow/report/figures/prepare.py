"""Prepare the figures of a run for the page: those of notebooks become files, all get small copies."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ...core.run_directory.layout import FIGURES
from ...core.run_directory.listing import digest
from .can_be_shown import problem_of
from .entries import Entry, Job, entry, short_digest
from .index import Index
from .notebook_images import images_of, may_have_images
from .thumbnails import BrokenImageError, can_make_thumbnails, thumbnail_of

_BROKEN = "a broken image"


def files_as_they_are(runs: Path, job: Job) -> list[Entry]:
    """Return the entries of a run's image files without small copies, which is done at once."""
    if not job.files:
        return []
    within = _folders_of(runs, job)
    found = (problem_of(_path(runs, job, key), within) for key, _ in job.files)
    return [entry(key, reason=problem or "") for (key, _), problem in zip(job.files, found, strict=True)]


def needs_preparing(runs: Path, job: Job) -> bool:
    """Return whether there is more to do than `files_as_they_are` does."""
    if job.files and can_make_thumbnails():
        return True
    directory = runs / job.place[0]
    return any(may_have_images(directory / path) for path, _ in job.notebooks)


def prepare(runs: Path, job: Job, index: Index) -> list[Entry]:
    """Prepare all figures of a run, and note them in the index.

    Raises:
        OSError: If nothing can be written.
    """
    index.folder.mkdir(parents=True, exist_ok=True)
    within = _folders_of(runs, job)
    entries = [_of_file(runs, job, key, content, within) for key, content in job.files]
    for path, name in job.notebooks:
        entries += _of_notebook(runs, _path(runs, job, path), name)
    index.add(job.place, entries)
    return entries


def _folders_of(runs: Path, job: Job) -> tuple[str, str]:
    """Return where figures may lie: in `runs/`, and in the run directory."""
    return os.path.realpath(runs), os.path.realpath(runs / job.place[0])


def _path(runs: Path, job: Job, name: str) -> str:
    return os.path.join(runs, job.place[0], name)


def _of_file(runs: Path, job: Job, key: str, content: str, within: tuple[str, ...]) -> Entry:
    path = _path(runs, job, key)
    if problem := problem_of(path, within):
        return entry(key, reason=problem)
    return _with_copy(runs, key, Path(path), short_digest(content) or short_digest(digest(Path(path))))


def _of_notebook(runs: Path, notebook: str, name: str) -> Iterator[Entry]:
    folder = runs / FIGURES
    for cell, suffix, data in images_of(Path(notebook)):
        key, content = f"{name}, {cell}", short_digest(hashlib.sha256(data).hexdigest())
        own = f"{content}{suffix}"
        _write_once(folder / own, data)
        if problem := problem_of(str(folder / own), (os.path.realpath(folder),)):
            (folder / own).unlink(missing_ok=True)
            yield entry(key, reason=problem)
        else:
            yield _with_copy(runs, key, folder / own, content, own)


def _with_copy(runs: Path, key: str, image: Path, content: str, own: str = "") -> Entry:
    try:
        return entry(key, thumbnail_of(image, content, runs / FIGURES), own)
    except BrokenImageError:
        return entry(key, reason=_BROKEN)


def _write_once(path: Path, data: bytes) -> None:
    if path.exists():
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
