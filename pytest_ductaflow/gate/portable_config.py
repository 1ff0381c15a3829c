"""Make the config of a run portable: valid for a replay in any clone, with copies of what the run read."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ..core.instance import JSON, RUNS
from ..core.record import Record
from ..core.run_directory.layout import display_path
from .instance_file import INPUTS, PROJECT_ROOT, with_texts


class Portable:
    """A run that is to be replayed.

    Args:
        config: Its config, without `_project_root`.
        run_dir: Its run directory, absolute.
        replay: Run directory of the replay.
        root: Project root.
        folder: Folder of the stored instance.
    """

    def __init__(
        self, config: Mapping[str, JSON], run_dir: Path, replay: Path, root: Path, folder: Path
    ) -> None:
        self._config, self._run_dir, self._replay = config, run_dir, replay
        self._root, self._runs, self._folder = root, root / RUNS, folder

    def inputs(self, record: Record) -> tuple[list[Path], list[Path]]:
        """Return the existing files of other instances on which the run depends.

        Returns:
            Files that a text in the config leads to; and all files of instances that no text leads to. A
            record lists all outputs of an upstream, whether they were read or not.
        """
        names = {name for each in record.with_flows() for name in each.inputs if not name.endswith("/")}
        paths = sorted(self._root / name for name in names if name.startswith(f"{RUNS}/"))
        theirs = [path for path in paths if self._run_dir not in path.parents and path.is_file()]
        places = [place for text in texts_in(self._config) for _, place in self._places(text)]
        named = [path for path in theirs if any(_holds(place, path) for place in places)]
        folders = {path.parent for path in named}
        return named, [path for path in theirs if path not in named and not folders & {*path.parents}]

    def config(self, copies: Iterable[Path]) -> dict[str, JSON]:
        """Return the config for the replay.

        Paths to copied files are changed to their copies, absolute paths in the project to ones valid in any
        clone, and paths relative to the run directory to ones relative to that of the replay.
        """
        copied = list(copies)
        return dict(with_texts(self._config, lambda text: self._text(text, copied)))

    def copy_of(self, path: Path) -> Path:
        """Return the path of the copy of a file or folder in `runs/`."""
        return self._folder / INPUTS / path.relative_to(self._runs)

    def _text(self, text: str, copies: Iterable[Path]) -> str:
        for base, place in self._places(text):
            if any(_holds(place, path) for path in copies):
                return self._said(text, base, self.copy_of(place))
        if os.path.isabs(text):
            return self._said(text, self._root, Path(os.path.normpath(text)))
        place = Path(os.path.normpath(self._run_dir / text))
        if text.startswith("..") and place.exists():
            return self._said(text, self._run_dir, place)
        return text

    def _places(self, text: str) -> Iterator[tuple[Path, Path]]:
        """Yield the paths in `runs/` that a text may stand for, each with the base it is relative to."""
        for base in (self._run_dir, self._root):
            place = Path(os.path.normpath(base / text))
            if self._runs in place.parents:
                yield base, place

    def _said(self, text: str, base: Path, path: Path) -> str:
        """Write a path in the style of a text: relative to the run directory, to the root, or absolute."""
        inside = display_path(path, self._root)
        end = "/" if text.endswith(("/", os.sep)) else ""
        if not os.path.isabs(text):
            relative = os.path.relpath(path, self._replay).replace(os.sep, "/")
            return (relative if base == self._run_dir else inside) + end
        if os.path.isabs(inside):
            return text
        return PROJECT_ROOT + (f"/{inside}" if inside != "." else "") + end


def _holds(place: Path, path: Path) -> bool:
    """Return whether a file is at or below a place, or matches it if the place is a pattern."""
    if glob.has_magic(str(place)):
        return any(path == Path(found) for found in glob.iglob(str(place), recursive=True))
    return path == place or place in path.parents


def texts_in(value: JSON) -> Iterator[str]:
    """Yield all texts of a config."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)
