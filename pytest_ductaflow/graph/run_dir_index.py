"""Which run directory a path in a config leads into.

Most texts of a config are no such path, and 10,000 configs have many: what cannot be one is told apart
before anything is normalised.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, takewhile

from ..core.model import RUNS, Instance
from ..sources.names import path_key

_WILD = re.compile(r"[*?\[]")
_LONGEST_PATH = 4096  # a longer text is something else


@dataclass(frozen=True)
class Pointed:
    """Where the paths lie that a text may mean.

    Attributes:
        others: Run directories of other instances.
        own: Whether one lies in the instance's own run directory.
        folders: Folders in `runs/` that hold run directories, or patterns of such folders.
        in_runs: Whether one lies in the project's `runs/`.
    """

    others: tuple[str, ...] = ()
    own: bool = False
    folders: tuple[str, ...] = ()
    in_runs: bool = False

    def __bool__(self) -> bool:
        """Whether the text leads to any run directory."""
        return bool(self.others or self.own or self.folders)


_NOWHERE = Pointed()


class RunPaths:
    """The run directories of a plan, to be found by any path in them."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        self._roots = [_normal(instance.project_root) for instance in instances]
        self._own = [_normal(instance.run_dir) for instance in instances]
        self._working = [_normal(instance.working_directory) for instance in instances]
        self._bases = [
            tuple(dict.fromkeys(bases)) for bases in zip(self._roots, self._own, self._working, strict=True)
        ]
        members: dict[str, list[int]] = defaultdict(list)
        for number, run_dir in enumerate(self._own):
            members[run_dir].append(number)
        self._members = {run_dir: tuple(numbers) for run_dir, numbers in members.items()}
        self._matched: dict[str, tuple[list[str], list[str]]] = {}
        self._below: dict[str, tuple[int, ...]] = {}
        roots = set(self._roots)
        self._common = _common_start({*self._members, *roots}) if roots else ""
        self._heads = _heads({*roots, *self._members, *chain.from_iterable(self._bases)}, self._members)
        for root in roots:
            self._heads.setdefault(root, set()).add(path_key(RUNS))

    def instances_in(self, run_dir: str) -> tuple[int, ...]:
        return self._members[run_dir]

    def pointed_to(self, number: int, text: str) -> Pointed:
        """Where a text in the config of an instance leads, taken as a path.

        It may be absolute, or relative to the project root, to the instance's run directory or to where
        it runs.
        """
        paths = self._meanings(number, text)
        if not paths:
            return _NOWHERE
        own, runs = self._own[number], os.path.join(self._roots[number], path_key(RUNS), "")
        holders: list[str | None] = [self._holder(path) for path in paths]
        in_runs = any(
            os.path.join(path, "").startswith(runs) for path in self._as_it_runs(number, text, paths)
        )
        folders = [path for path in paths if in_runs and path in self._folders]
        if _WILD.search(text):
            holders += [run_dir for path in paths for run_dir in self._matching(path)[0]]
            folders += [path for path in paths if path.startswith(runs) and self._matching(path)[1]]
        others = dict.fromkeys(holder for holder in holders if holder is not None and holder != own)
        return Pointed(tuple(others), own in holders, tuple(folders), in_runs)

    def _as_it_runs(self, number: int, text: str, paths: list[str]) -> list[str]:
        """Of what a text may mean, what it means for a flow that runs elsewhere than in its run directory."""
        if os.path.isabs(text) or self._own[number] == self._working[number]:
            return paths
        return [path for path in paths if path != _normal(os.path.join(self._own[number], text))]

    def may_begin(self, number: int, text: str) -> bool:
        """Whether a path that leads into a run directory, or to one, can begin with a text."""
        if os.altsep:
            text = text.replace(os.altsep, os.sep)
        if os.path.isabs(text):
            return bool(self._meanings(number, text))
        head = path_key(text.partition(os.sep)[0])
        heads = (self._heads.get(base, ()) for base in self._bases[number])
        return head in (".", "..") or any(head in known for known in heads)

    def is_all(self, number: int, folder: str) -> bool:
        """Whether a folder, or a pattern of folders, is all of the project's `runs/`."""
        runs = os.path.join(self._roots[number], path_key(RUNS))
        return folder in (runs, os.path.join(runs, "*"))

    def beside(self, number: int) -> tuple[int, ...]:
        """The instances in the run directory of an instance, itself among them."""
        return self._members[self._own[number]]

    def instances_below(self, folder: str) -> tuple[int, ...]:
        """The instances whose run directories are in a folder, or in one that a pattern means; sorted."""
        if folder not in self._below:
            run_dirs = self._folders.get(folder) or self._matching(folder)[1]
            self._below[folder] = tuple(sorted(n for run_dir in run_dirs for n in self._members[run_dir]))
        return self._below[folder]

    @cached_property
    def _folders(self) -> dict[str, list[str]]:
        """The run directories below each folder of a `runs/`, less folders that are run directories."""
        all_runs = {os.path.join(root, path_key(RUNS)) for root in self._roots}
        found: dict[str, list[str]] = defaultdict(list)
        for run_dir in self._members:
            folders = _folders_above(run_dir, all_runs)
            for folder in folders:
                if folder not in self._members:
                    found[folder].append(run_dir)
        return dict(found)

    @cached_property
    def _tree(self) -> _Tree:
        tree = _Tree()
        for number, run_dir in enumerate(self._members):
            tree.add(run_dir, number)
        return tree

    def _meanings(self, number: int, text: str) -> list[str]:
        """The absolute paths that a text may mean, less those that cannot lie in a run directory."""
        if not 0 < len(text) <= _LONGEST_PATH or "\0" in text:
            return []
        if os.altsep:
            text = text.replace(os.altsep, os.sep)
        roundabout = text[0] == "." or f"{os.sep}." in text or f"{os.sep}{os.sep}" in text
        if os.path.isabs(text):
            possible = roundabout or path_key(text).startswith(self._common)
            return [_normal(text)] if possible else []
        head = path_key(text.partition(os.sep)[0])
        return [
            _normal(os.path.join(base, text))
            for base in self._bases[number]
            if roundabout or head in self._heads.get(base, ())
        ]

    def _matching(self, pattern: str) -> tuple[list[str], list[str]]:
        """The run directories in which files can match a pattern, and those in folders that match it.

        In `runs/etl/*/zones.csv` the first are meant, in `runs/et*` the second.
        """
        if pattern not in self._matched:
            self._matched[pattern] = self._tree.matching(pattern.split(os.sep))
        return self._matched[pattern]

    def _holder(self, path: str) -> str | None:
        """The innermost run directory in which a path lies."""
        while path not in self._members:
            above = os.path.dirname(path)
            if above == path:
                return None
            path = above
        return path


class _Tree:
    """Run directories by the parts of their paths: of many, a pattern is compared with few."""

    def __init__(self) -> None:
        self.children: dict[str, _Tree] = {}
        self.run_dir: tuple[int, str] | None = None  # that ends here, with its number

    def add(self, run_dir: str, number: int) -> None:
        tree = self
        for part in run_dir.split(os.sep):
            tree = tree.children.setdefault(part, _Tree())
        tree.run_dir = (number, run_dir)

    def matching(self, pattern: Sequence[str]) -> tuple[list[str], list[str]]:
        """By number, the run directories in which files can match a pattern, and those in folders that do."""
        inside: list[tuple[int, str]] = []
        below: list[tuple[int, str]] = []
        level = [self]
        for wanted in pattern:
            if wanted == "**":
                inside += chain.from_iterable(tree.everything() for tree in level)
                level = []
                break
            inside += (tree.run_dir for tree in level if tree.run_dir is not None)
            level = [found for tree in level for found in tree.called(wanted)]
        for tree in level:
            for found in tree.everything():
                (inside if found is tree.run_dir else below).append(found)
        return [run_dir for _, run_dir in sorted(inside)], [run_dir for _, run_dir in sorted(below)]

    def called(self, wanted: str) -> list[_Tree]:
        """The trees below a name, or below those that a pattern stands for."""
        if _WILD.search(wanted):
            return [tree for part, tree in self.children.items() if fnmatch.fnmatchcase(part, wanted)]
        return [self.children[wanted]] if wanted in self.children else []

    def everything(self) -> Iterator[tuple[int, str]]:
        """The run directories in it."""
        left = [self]
        while left:
            tree = left.pop()
            if tree.run_dir is not None:
                yield tree.run_dir
            left += tree.children.values()


def _folders_above(run_dir: str, all_runs: Collection[str]) -> list[str]:
    """The folders in which a run directory lies, up to a `runs/`; none if it lies in no such folder."""
    found, folder = [], os.path.dirname(run_dir)
    while folder not in all_runs:
        above = os.path.dirname(folder)
        if above == folder:
            return []
        found.append(folder)
        folder = above
    return [*found, folder]


def _common_start(paths: Collection[str]) -> str:
    """The characters with which all of them begin."""
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(min(paths), max(paths), strict=False))
    return "".join(letter for letter, _ in alike)


def _heads(bases: set[str], run_dirs: Iterable[str]) -> dict[str, set[str]]:
    """For directories to which paths may be relative, the first parts of all ways to run directories."""
    heads: dict[str, set[str]] = {}
    for run_dir in run_dirs:
        base, part = os.path.split(run_dir)
        while part:
            if base in bases:
                heads.setdefault(base, set()).add(part)
            base, part = os.path.split(base)
    return heads


def _normal(path: str) -> str:
    return path_key(os.path.normpath(path))
