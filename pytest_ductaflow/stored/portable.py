"""The config of a run, made to hold for a replay elsewhere: in any clone, with copies of what it read."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import DuctaflowError
from ..model import JSON, RUNS, Record
from ..store import shown
from .instance import INPUTS, PROJECT_ROOT, with_texts


class NotPortable(DuctaflowError):
    """A copy of an input would not be found by the flow."""


class Portable:
    """A run, seen as what is to be replayed.

    Args:
        config: Its config, without `_project_root`.
        run_dir: Its run directory, absolute.
        replay: The run directory of the replay.
        root: The project root.
        folder: The folder of the stored instance.
    """

    def __init__(
        self, config: Mapping[str, JSON], run_dir: Path, replay: Path, root: Path, folder: Path
    ) -> None:
        self._config, self._run_dir, self._replay = config, run_dir, replay
        self._root, self._runs, self._folder = root, root / RUNS, folder

    def inputs(self, record: Record) -> list[Path]:
        """The files of other instances that it read in `runs/` and that are still there, sorted."""
        names = (name for name in _inputs(record) if name.startswith(f"{RUNS}/"))
        paths = {self._root / name for name in names if not name.endswith("/")}
        return sorted(path for path in paths if self._run_dir not in path.parents and path.is_file())

    def copies(self, record: Record) -> dict[Path, str]:
        """The name of each input among the copies.

        Raises:
            NotPortable: If a copy would not be found, as no text in the config leads to the file.
        """
        found = self.inputs(record)
        texts = list(texts_in(self._config))
        for path in found:
            if not any(_holds(place, path) for text in texts for _, place in self._places(text)):
                raise NotPortable(
                    f"the run has read {shown(path, self._root)}, but no text in its config leads there, so "
                    "a copy would not be found: name the path in the config, run again, and store that"
                )
        return {path: path.relative_to(self._runs).as_posix() for path in found}

    def config(self, copies: Mapping[Path, str]) -> dict[str, JSON]:
        """The config for the replay.

        Texts that lead to what was copied lead to the copies, absolute paths in the project are said of
        any clone, and what is relative to the run directory becomes relative to that of the replay.
        """
        return dict(with_texts(self._config, lambda text: self._text(text, copies)))

    def _text(self, text: str, copies: Mapping[Path, str]) -> str:
        for base, place in self._places(text):
            if any(_holds(place, path) for path in copies):
                return self._said(text, base, self._folder / INPUTS / place.relative_to(self._runs))
        if os.path.isabs(text):
            return self._said(text, self._root, Path(os.path.normpath(text)))
        place = Path(os.path.normpath(self._run_dir / text))
        if text.startswith("..") and place.exists():
            return self._said(text, self._run_dir, place)
        return text

    def _places(self, text: str) -> Iterator[tuple[Path, Path]]:
        """The places in `runs/` that a text may mean, each with what it would be relative to."""
        for base in (self._run_dir, self._root):
            place = Path(os.path.normpath(base / text))
            if self._runs in place.parents:
                yield base, place

    def _said(self, text: str, base: Path, path: Path) -> str:
        """A path in the manner of a text: relative to the run directory, to the root, or absolute."""
        inside = shown(path, self._root)
        if os.path.isabs(text):
            known = inside if inside != "." else ""
            return text if os.path.isabs(inside) else f"{PROJECT_ROOT}/{known}".rstrip("/")
        return os.path.relpath(path, self._replay).replace(os.sep, "/") if base == self._run_dir else inside


def _holds(place: Path, path: Path) -> bool:
    """Whether a file is a place, or in it, or matches it if it is a pattern."""
    if glob.has_magic(str(place)):
        return any(path == Path(found) for found in glob.iglob(str(place), recursive=True))
    return path == place or place in path.parents


def _inputs(record: Record) -> Iterator[str]:
    yield from record.inputs
    for flow in record.flows:
        yield from _inputs(flow)


def texts_in(value: JSON) -> Iterator[str]:
    """All texts of a config."""
    found: list[str] = []

    def note(text: str) -> str:
        found.append(text)
        return text

    with_texts(value, note)
    yield from found
