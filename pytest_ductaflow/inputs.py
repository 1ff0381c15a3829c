"""What an instance used: as its kernel saw it, as config and code name it, as its upstreams left it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import takewhile
from pathlib import Path

from .fingerprint import (
    ABSENT,
    UNSTABLE,
    changed_since,
    code_digest,
    file_digest,
    input_digest,
    listing_digest,
    settled,
    stat_of,
)
from .kernel_trace import DATABASE, LISTED, MODULE, NAMED, OPENED, WRITTEN
from .model import RUNS, Instance, Neighbours, Record
from .named import named_files, what_is_at
from .named_in_code import files_named_in_code, folders_named_in_code, missing_files_named_in_code
from .outside import left_out_of_listing
from .store import REPORT, STYLESHEET, RunFiles, shown
from .uses import Used

_SYSTEM = re.compile(
    r"/(?:bin|dev|etc|lib\w*|proc|run(?!/media/)|sbin|sys|usr|var/(?:cache|lib|log|run|tmp)|Library|System)/"
)
_PACKAGE = os.path.join(Path(__file__).parent, "")


@dataclass(frozen=True)
class Inputs:
    """What an instance used, by path as records show it, and what it wrote outside of its run directory."""

    digests: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    stats: Mapping[str, str] = field(default_factory=dict)
    written_elsewhere: tuple[str, ...] = ()


class InputSearch:
    """Finds the inputs of one run; made before it begins, asked when it has ended.

    Args:
        instance: The instance.
        upstream_files: What its upstreams have written, absolute.
        earlier: The record of its earlier run.
        made_beside: As of its neighbours: names in a folder that are none of its inputs.
    """

    def __init__(
        self,
        instance: Instance,
        upstream_files: Iterable[str],
        earlier: Record | None,
        made_beside: Callable[[str], Collection[str]] = Neighbours.made_beside,
    ) -> None:
        self._instance = instance
        self._made_beside = made_beside
        self._root = instance.project_root
        self._run_dir = instance.run_dir
        self._upstream_files = set(upstream_files)
        self._earlier_inputs = set(earlier.inputs) if earlier else set()
        self._earlier_outputs = set(earlier.outputs) if earlier else set()
        self._named = set(named_files(instance))
        self._before = {path: stat_of(path) for path in self._named}

    def finish(
        self, used: Used, outputs: Iterable[str], began_ns: int, *, of_flows: Iterable[str] = ()
    ) -> Inputs:
        """What the run used.

        Args:
            used: What its kernel told.
            outputs: Paths relative to the run directory of what it wrote there.
            began_ns: When it began, in nanoseconds since the epoch.
            of_flows: What the flows of a build have written, absolute.
        """
        self._used = used.renamed(self._real_names)
        self._began = began_ns
        self._own = {os.path.join(self._run_dir, name) for name in outputs}
        modules = self._used.of(MODULE) | set(self._used.modules)
        sources = {path for path in modules if self._counts(path)} | {self._instance.flow}
        folders = {path for path in self._used.of(LISTED) if self._counts(path) and not self._is_own(path)}
        read = self._used.of(OPENED, DATABASE) | self._named | self._upstream_files
        guessed = files_named_in_code(sources, folders, self._instance) | self._used.of(NAMED)
        guessed |= self._in_folders_of_unseen_readers(sources, guessed)
        guessed |= missing_files_named_in_code(sources, self._instance)
        read |= {path for path in guessed - self._made_beside_own() if self._is_read(path)}
        written = self._used.of(WRITTEN) | {path for path in read if self._is_written(path)}
        by_flows = set(of_flows)
        # What an upstream has written always counts: if it is changed here, as it was left.
        read_only = read - written - by_flows
        files = {path for path in read_only if self._counts(path)} | self._upstream_files | sources
        elsewhere = (written | {path for path in read if self._is_remade(path)}) - by_flows
        elsewhere = {path for path in elsewhere if not self._is_own(path) and self._counts(path)}
        return replace(
            self._inputs(files, folders, written, elsewhere),
            written_elsewhere=tuple(
                sorted(os.path.relpath(path, self._run_dir) for path in elsewhere if os.path.isfile(path))
            ),
        )

    def _made_beside_own(self) -> set[str]:
        """What others have made in the folders into which the flow writes, too: patterns in code fit it."""
        folders = {os.path.dirname(path) for path in self._used.of(WRITTEN) if not self._is_own(path)}
        return {os.path.join(folder, name) for folder in folders for name in self._made_beside(folder)}

    def _inputs(self, files: set[str], folders: set[str], written: set[str], elsewhere: set[str]) -> Inputs:
        digests, code, stats = {}, {}, {}
        for path in sorted(files):
            name, stat = shown(path, self._root), stat_of(path)
            if path.endswith("/**"):
                digests[name] = input_digest(path)
            elif stat is None:
                digests[name] = ABSENT
            elif os.path.isdir(path):
                folders.add(path)
            elif path not in written and changed_since(stat, self._used.since.get(path, self._began)):
                digests[name] = UNSTABLE
            else:
                digests[name] = file_digest(path, stat)
                if settled(stat):
                    stats[name] = stat
                is_code = path == self._instance.flow or path.endswith(".py")
                if is_code and (found := code_digest(path)):
                    code[name] = found
        for path in sorted(folders):
            left_out = left_out_of_listing(path, elsewhere, files, self._made_beside)
            digests[f"{shown(path, self._root)}/"] = listing_digest(path, left_out)
        return Inputs(digests, code, stats)

    def _in_folders_of_unseen_readers(self, sources: set[str], guessed: set[str]) -> set[str]:
        """What is in folders that code names, where nothing else tells of files in them."""
        seen = self._used.of(OPENED, WRITTEN, DATABASE, MODULE) | set(self._used.modules) | guessed
        return {
            path
            for folder in folders_named_in_code(sources, self._instance)
            if not any(file.startswith(os.path.join(folder, "")) for file in seen)
            for path in what_is_at(folder, self._instance)
        }

    def _is_read(self, path: str) -> bool:
        """Whether a file that code names is rather read than written by it, when nothing else tells."""
        if (
            os.path.dirname(path) == self._root
            and os.path.join(self._run_dir, os.path.basename(path)) in self._own
        ):
            return False  # meant is the one in the run directory
        return not self._is_changed(path) or shown(path, self._root) in self._earlier_inputs

    def _is_written(self, path: str) -> bool:
        """Whether the flow has put something into a file in a way that its kernel does not see."""
        if not self._is_changed(path):
            return False
        if path in self._used.of(DATABASE) or os.path.relpath(path, self._run_dir) in self._earlier_outputs:
            return True
        return path not in self._used.of(OPENED) and path in self._named and self._before[path] is None

    def _is_remade(self, path: str) -> bool:
        """Whether a file was written while the flow ran, before it was read: if so again, it is its own."""
        since = self._used.since.get(path)
        return self._is_changed(path) and (since is None or not self._is_changed(path, since))

    def _is_changed(self, path: str, moment_ns: int | None = None) -> bool:
        """Whether a file was changed since a moment, by default since the run began."""
        stat = stat_of(path)
        return stat is not None and changed_since(stat, self._began if moment_ns is None else moment_ns)

    def _is_own(self, path: str) -> bool:
        return os.path.join(path, "").startswith(os.path.join(self._run_dir, ""))

    def _counts(self, path: str) -> bool:
        """Whether a file is the user's, and not the machinery's, the system's or made by the run itself."""
        if self._is_own(path):
            inside = os.path.relpath(path, self._run_dir)
            is_ours = path in self._own or inside in self._our_files or inside.split(os.sep)[0] == RUNS
            return not is_ours and not _is_hidden(inside) and os.path.exists(path)
        if path.startswith(_PACKAGE):
            return False
        if path.startswith(os.path.join(self._root, "")):
            inside = os.path.relpath(path, self._root)
            in_runs = inside in (os.path.join(RUNS, REPORT), os.path.join(RUNS, STYLESHEET))
            is_hidden = _is_hidden(inside if os.path.isdir(path) else os.path.dirname(inside))
            return not in_runs and not self._is_installed(path) and (not is_hidden or path in self._named)
        # A root above the project, whose names change for reasons of their own, is no input as a folder.
        if f"{self._root}{os.sep}".startswith(os.path.join(path, "")):
            return path == self._root
        if _SYSTEM.match(path):
            return False
        if os.path.join(path, "").startswith(_temporary()):  # a scratch disk has data, too
            return os.path.isfile(path) and not self._is_changed(path)
        is_hidden = _is_hidden(_apart(path, self._root))
        return not self._is_installed(path) and (not is_hidden or path in self._named)

    def _is_installed(self, path: str) -> bool:
        prefixes = (os.path.join(prefix, "") for prefix in self._used.prefixes)
        return any(
            path.startswith(prefix) and not f"{self._root}{os.sep}".startswith(prefix) for prefix in prefixes
        )

    @cached_property
    def _real_names(self) -> dict[str, str]:
        """What the system calls folders to which links lead, deepest first: a kernel sees these names."""
        given = (self._run_dir, os.path.join(self._root, RUNS), self._root)
        real = {os.path.realpath(path): path for path in given}
        return {there: path for there, path in real.items() if there != path}

    @cached_property
    def _our_files(self) -> set[str]:
        return RunFiles.of(self._instance).names


def _apart(path: str, root: str) -> str:
    """What of a path is not the way to the root as well."""
    parts = path.split(os.sep)
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(parts, root.split(os.sep), strict=False))
    return os.sep.join(parts[len(list(shared)) :])


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.split(os.sep) if part != "..")


@lru_cache(maxsize=1)
def _temporary() -> tuple[str, str]:
    given = tempfile.gettempdir()
    return os.path.join(given, ""), os.path.join(os.path.realpath(given), "")
