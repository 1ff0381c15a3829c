"""Decide which of the files that a run has used count as its inputs, and compute their digests."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from ..core.instance import RUNS
from ..core.run_directory.layout import OURS_BESIDE, REPORT, SHARED_BY_PAGES, RunFiles, display_path
from ..core.system.file_state import changed_since, settled, stat_of
from ..core.system.places import PACKAGE, belongs_to_others, is_in_environment, is_shared_library
from ..kernels.inside.trace import FOLLOWED, LISTED, MODULE
from ..kernels.preloading.rules import READ_AT_IMPORT
from .digests import (
    ABSENT,
    UNSTABLE,
    code_digest,
    file_digest,
    input_digest,
    link_digest,
    listing_digest,
    state_digest,
    tree_stat,
)
from .module_search import absent_modules, absent_packages
from .observed import ALL, Used
from .outside_files import left_out_of_listing, own_names
from .paths_in_code import absolute_paths_in_code, imports_of
from .paths_in_config import folders_down_to, named_places

if TYPE_CHECKING:
    from .inputs import InputSearch

_OURS_IN_RUNS = tuple(os.path.join(RUNS, name) for name in (REPORT, *SHARED_BY_PAGES, *OURS_BESIDE))
_NEVER = ("/proc/", "/sys/", "/dev/pts/", "/dev/fd/")


@dataclass(frozen=True)
class Inputs:
    """What an instance used, by path as shown in records, and what it wrote outside of its run directory.

    Attributes:
        digests: Digest of each input; see `Record.inputs`.
        code: Digest of the code of each source file.
        stats: Size and times of an input when it had that digest.
        written_elsewhere: Paths, relative to the run directory, of files written outside of it.
        observed: How much was observed, as in `Used`.
        unknown: Why what it read is not known in full, in words; empty if it is.
        imports: Top-level names in the import statements of the flow and its modules.
    """

    digests: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    stats: Mapping[str, str] = field(default_factory=dict)
    written_elsewhere: tuple[str, ...] = ()
    observed: str = ALL
    unknown: tuple[str, ...] = ()
    imports: frozenset[str] = frozenset()


class UsedFiles:
    """Base for runs observed in full and others: decides which files count, and computes their digests."""

    def __init__(
        self, search: InputSearch, used: Used, outputs: set[str], began: int, by_flows: set[str]
    ) -> None:
        self.search, self.used, self.began, self.by_flows = search, used, began, by_flows
        self.instance = search.instance
        self.root, self.run_dir = self.instance.project_root, self.instance.run_dir
        self.outputs = outputs
        self.own = {os.path.join(self.run_dir, name) for name in outputs}
        modules = used.of(MODULE) | set(used.modules)
        self.sources = {path for path in modules if self.counts(path)} | {self.instance.flow}

    def inputs(self) -> Inputs:
        raise NotImplementedError

    def digested(
        self, files: set[str], folders: set[str], written: set[str], elsewhere: Collection[str]
    ) -> Inputs:
        """Return inputs with the digests of files, names in folders, links, and modules that may appear.

        Args:
            files: Paths that were read; one that ends in `/**` is a folder with all files in it.
            folders: Folders that were listed.
            written: Files that the run has written itself.
            elsewhere: Files that count as its outputs outside of its run directory.
        """
        digests: dict[str, str] = {}
        code: dict[str, str] = {}
        stats: dict[str, str] = {}
        for path in sorted(files):
            if os.path.isdir(path):
                folders.add(path)
                continue
            name = display_path(path, self.root)
            digests[name], stat = self._digest_and_stat(path, is_written=path in written)
            if stat is not None:
                stats[name] = stat
            if self._is_code(path) and digests[name] not in (ABSENT, UNSTABLE):
                code |= {name: found} if (found := code_digest(path)) else {}
        for path in sorted(folders):
            left_out = own_names(path, self.run_dir, self.outputs) or left_out_of_listing(
                path, elsewhere, files, self.search.made_beside
            )
            digests[f"{display_path(path, self.root)}/"] = self.listing(path, left_out)
        for path in self._links(files, written):
            digests.setdefault(display_path(path, self.root), link_digest(path))
        scripts = {path for path in files if path.endswith(".py") and not self._is_installed(path)}
        scripts |= self.sources
        for path in self._absent_code(scripts):
            digests.setdefault(display_path(path, self.root), ABSENT)
        return Inputs(
            digests,
            code,
            stats,
            tuple(sorted(os.path.relpath(path, self.run_dir) for path in elsewhere)),
            observed=self.used.observed,
            unknown=self.used.unseen,
            imports=self._imports_of(scripts),
        )

    def _is_code(self, path: str) -> bool:
        """Return whether only the code of a file counts, as of flows and modules."""
        is_build = self.instance.is_build or bool(self.by_flows)
        return path == self.instance.flow or (path.endswith(".py") and (is_build or path in self.sources))

    def with_questions(
        self, inputs: Inputs, asked: Iterable[str], state_of: Callable[[str], str | None]
    ) -> Inputs:
        """Add paths that the flow only checked for existence and has not used in another way."""
        names = ((display_path(path, self.root), path) for path in asked)
        questions = {
            name: state_digest(state_of(path))
            for name, path in names
            if name not in inputs.digests and f"{name}/" not in inputs.digests
        }
        return replace(inputs, digests={**inputs.digests, **questions})

    def _links(self, read: set[str], written: set[str]) -> Iterable[str]:
        """Yield links to paths that were used under their real name, as the links' targets may change.

        The flow has resolved them, or has entered a folder through them.

        Args:
            read: Files that it has read.
            written: Files that it has written, including its own links.
        """
        followed = self.used.of(FOLLOWED, LISTED)
        ours = {self.run_dir, *folders_down_to({self.run_dir}, os.sep)}
        around = folders_down_to({*read, *followed}, os.sep)
        for path in {*followed, *folders_down_to(followed, os.sep)} - ours - written:
            if self.is_own(path) or not os.path.islink(path) or not self.counts(path):
                continue
            target = os.path.realpath(path)
            is_used = target in around or target in read
            if is_used or (self.is_in_project(path) and path in followed):
                yield path

    def _absent_code(self, scripts: Collection[str]) -> Iterable[str]:
        """Yield missing modules and packages that would be imported, and missing files read at import.

        The latter are not observed in a forked kernel, whose packages were imported earlier, elsewhere.

        Args:
            scripts: The flow, its modules, and other Python files that were read, perhaps to be run.
        """
        yield from filter(self.counts, absent_modules(self.sources, self.used, self.instance))
        beside = {os.path.dirname(path) for path in scripts}
        yield from absent_packages(self._imports_of(scripts), self.used, self.instance, beside)
        for name, package in READ_AT_IMPORT.items():
            path = os.path.join(self.instance.working_directory, name)
            if package in self.used.packages and not os.path.lexists(path):
                yield path

    @staticmethod
    def _imports_of(sources: Iterable[str]) -> frozenset[str]:
        """Return the top-level names in the import statements of source files."""
        found = (imports_of(source) for source in sources)
        return frozenset(name.partition(".")[0] for names in found for name, level in names if not level)

    def _digest_and_stat(self, path: str, *, is_written: bool) -> tuple[str, str | None]:
        """Return the digest of a file, or of all files in a folder, and the stat that saves hashing again."""
        if path.endswith("/**"):
            return input_digest(path), tree_stat(path[:-3])
        stat = stat_of(path)
        if stat is None:
            return ABSENT, None
        if not is_written and self.is_unstable(path, stat):
            return UNSTABLE, None
        digest = file_digest(path, stat)
        if stat_of(path) != stat:  # written by another process meanwhile
            return UNSTABLE, None
        return digest, stat if settled(stat) else None

    def is_unstable(self, path: str, stat: str) -> bool:
        """Return whether another process changed a file after this run had read it."""
        if changed_since(stat, self.used.since.get(path, self.began)):
            return True
        # Windows keeps no time of a move: an older file may have been moved here, before or after the read.
        return stat != self.search.before.get(path, stat) and not changed_since(stat, self.began)

    def listing(self, folder: str, left_out: Collection[str]) -> str:
        return listing_digest(folder, left_out)

    def elsewhere(self, paths: Iterable[str]) -> set[str]:
        """Return the written files that count as outputs outside of the run directory."""
        outside = {path for path in paths if path not in self.by_flows and not self.is_own(path)}
        return {path for path in outside if os.path.isfile(path) and self.counts(path)}

    def is_changed(self, path: str, moment_ns: int | None = None) -> bool:
        """Return whether a file was changed since a moment, by default since the run began."""
        stat = stat_of(path)
        return stat is not None and changed_since(stat, self.began if moment_ns is None else moment_ns)

    def is_own(self, path: str) -> bool:
        return os.path.join(path, "").startswith(os.path.join(self.run_dir, ""))

    def is_in_project(self, path: str) -> bool:
        return path.startswith(os.path.join(self.root, ""))

    def counts(self, path: str) -> bool:
        """Return whether a file or folder is the user's, not a library's, a tool's, or the run's own."""
        if path.startswith(_NEVER):
            return False
        if self.is_own(path):
            inside = os.path.relpath(path, self.run_dir)
            is_ours = path in self.own or inside in self._our_files or inside.split(os.sep)[0] == RUNS
            return not is_ours and not _is_hidden(inside) and os.path.exists(path)
        if path.startswith(PACKAGE):
            return False
        if self.is_in_project(path):
            inside = os.path.relpath(path, self.root)
            if inside.startswith(_OURS_IN_RUNS):
                return False
            return (not self._is_installed(path) and not belongs_to_others(inside)) or self.is_named(path)
        # A folder above the project is not an input unless code opens it: its names change for other reasons.
        if f"{self.root}{os.sep}".startswith(os.path.join(path, "")):
            return path == self.root or path in self.used.opened_by_code
        if self.is_named(path):
            return not self._is_temporary(path) or self.was_there(path)
        if belongs_to_others(path) or self._is_installed(path):
            return False
        if self._is_temporary(path):  # a scratch disk may hold data, too
            return os.path.join(path, "") not in _temporary() and self.was_there(path)
        return True

    def was_there(self, path: str) -> bool:
        """Return whether a file or folder exists, and did so before the run."""
        return os.path.exists(path) and not self.is_changed(path)

    def may_come(self, path: str) -> bool:
        """Return whether it matters that a file does not exist."""
        if "\n" in path or path in self.used.path:  # a displayed text may be tried as a file name
            return False
        if self.is_own(path):
            inside = os.path.relpath(path, self.run_dir)
            is_ours = path in self.own or inside in self._our_files or inside == "__init__.py"
            return not is_ours and not _is_hidden(inside)
        if is_shared_library(path) and not self.is_in_project(path) and not self.is_named(path):
            return False  # the system searches many places for it
        is_lasting = self.is_in_project(path) or not self._is_temporary(path)
        return self.counts(path) and (is_lasting or self.is_named(path))

    def is_setting(self, path: str) -> bool:
        """Return whether a path is hidden in the home directory, where tools look for settings."""
        inside = os.path.relpath(path, _home())
        is_hidden = inside.startswith(".") and not inside.startswith(os.pardir)
        return is_hidden and not self.is_in_project(path) and not self.is_named(path)

    def own_folders(self) -> set[str]:
        """Return the run directory, if it was listed, and listed folders in it that hold others' files.

        If flows of a build have written, too, the result is empty: the owners of files are not known.
        """
        listed = () if self.by_flows else self.used.of(LISTED)
        own = {path for path in listed if self.is_own(path) and os.path.isdir(path)}
        return {path for path in own if os.path.normpath(path) == self.run_dir or self._holds_others(path)}

    def _holds_others(self, folder: str) -> bool:
        """Return whether a folder in the run directory holds anything that the run has not made."""
        is_build = os.path.relpath(folder, self.run_dir).split(os.sep)[0] == RUNS
        names = {name for name in os.listdir(folder) if not name.startswith(".")}
        return not is_build and bool(names - own_names(folder, self.run_dir, self.outputs))

    def is_named(self, path: str) -> bool:
        """Return whether config or code name a file or a parent folder, or the flow's code opens it."""
        if path in self._names or path in self.used.opened_by_code:
            return True
        folder = os.path.dirname(path)
        while folder != os.path.dirname(folder):
            if folder in self._names:
                return not f"{self.root}{os.sep}".startswith(os.path.join(folder, ""))
            folder = os.path.dirname(folder)
        return False

    @cached_property
    def _names(self) -> set[str]:
        modules = (path for path in self.used.modules if not path.startswith(PACKAGE))
        return named_places(self.instance) | absolute_paths_in_code({self.instance.flow, *modules})

    def _is_installed(self, path: str) -> bool:
        return any(
            is_in_environment(path, prefix)
            and not f"{self.root}{os.sep}".startswith(os.path.join(prefix, ""))
            for prefix in self.used.prefixes
        )

    @staticmethod
    def _is_temporary(path: str) -> bool:
        return os.path.join(path, "").startswith(_temporary())

    @cached_property
    def _our_files(self) -> set[str]:
        return RunFiles.of(self.instance).names


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.split(os.sep) if part != "..")


@lru_cache(maxsize=1)
def _home() -> str:
    return os.path.expanduser("~")


@lru_cache(maxsize=1)
def _temporary() -> tuple[str, str]:
    given = tempfile.gettempdir()
    return os.path.join(given, ""), os.path.join(os.path.realpath(given), "")
