"""Find the run directory that a path in a config leads into.

Most strings in a config are not such paths, and 10,000 configs hold many: strings that cannot be one are
rejected before anything is normalised.
"""

from __future__ import annotations

import fnmatch
import os
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import has_magic
from itertools import chain, takewhile

from ..core.instance import RUNS, Instance
from ..sources.instance_names import path_key

_MAGIC = re.compile(r"[*?[]")
_LONGEST_PATH = 4096  # characters; a longer text is not a path


@dataclass(frozen=True)
class PathTargets:
    """The places that a text leads to, over all the paths it may stand for.

    Attributes:
        others: The instances of each run directory of others, or of all that a pattern matches.
        own: Whether one of the paths lies in the instance's own run directory.
        folders: Folders in `runs/` that hold run directories, or patterns for such folders.
        in_runs: Whether one of the paths lies in the project's `runs/`.
    """

    others: tuple[tuple[int, ...], ...] = ()
    own: bool = False
    folders: tuple[str, ...] = ()
    in_runs: bool = False

    def __bool__(self) -> bool:
        """Return whether the text leads to any run directory."""
        return bool(self.others or self.own or self.folders)


_NOWHERE = PathTargets()


@dataclass(frozen=True)
class _Matched:
    """What a pattern matches; thousands of instances that have the same one share it.

    `runs/etl/*/zones.csv` is an example of files in run directories, `runs/et*` of folders above them.

    Attributes:
        run_dirs: The run directories in which files can match.
        instances: The numbers of their instances.
        below: The run directories in folders that match.
    """

    run_dirs: frozenset[str]
    instances: tuple[int, ...]
    below: list[str]

    def without(self, own: str, members: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        """Return the instances, except those of a run directory."""
        if own not in self.run_dirs:
            return self.instances
        return tuple(number for number in self.instances if number not in members[own])


class RunDirIndex:
    """An index of a plan's run directories that can be searched by any path inside them."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        self._roots = [_normal(instance.project_root) for instance in instances]
        self._own = [_normal(instance.run_dir) for instance in instances]
        self._working = [_normal(instance.working_directory) for instance in instances]
        self._bases = [tuple(dict.fromkeys(map(_normal, instance.path_bases))) for instance in instances]
        members: dict[str, list[int]] = defaultdict(list)
        for number, run_dir in enumerate(self._own):
            members[run_dir].append(number)
        self._members = {run_dir: tuple(numbers) for run_dir, numbers in members.items()}
        self._matched: dict[str, _Matched] = {}
        self._below: dict[str, tuple[int, ...]] = {}
        roots = set(self._roots)
        self._common = _common_start({*self._members, *roots}) if roots else ""
        self._heads = _heads({*roots, *self._members, *chain.from_iterable(self._bases)}, self._members)
        for root in roots:
            self._heads.setdefault(root, set()).add(path_key(RUNS))

    def targets_of(self, number: int, text: str) -> PathTargets:
        """Return where a text in an instance's config leads if it is read as a path.

        The path may be absolute, or relative to the project root, the instance's run directory or its
        working directory.
        """
        paths = self._meanings(number, text)
        if not paths:
            return _NOWHERE
        own, runs = self._own[number], os.path.join(self._roots[number], path_key(RUNS), "")
        holders = dict.fromkeys(map(self._holder, paths))
        in_runs = any(
            os.path.join(path, "").startswith(runs) for path in self._as_it_runs(number, text, paths)
        )
        folders = [path for path in paths if in_runs and path in self._folders]
        others = [self._members[holder] for holder in holders if holder is not None and holder != own]
        for path in paths if has_magic(text) else ():
            found = self._matching(path)
            if not found.run_dirs <= holders.keys():
                others.append(found.without(own, self._members))
            folders += [path] if path.startswith(runs) and found.below else []
            if own in found.run_dirs:
                holders[own] = None
        return PathTargets(tuple(filter(None, others)), own in holders, tuple(folders), in_runs)

    def _as_it_runs(self, number: int, text: str, paths: list[str]) -> list[str]:
        """Drop the reading relative to the run directory if the flow runs in another directory."""
        if os.path.isabs(text) or self._own[number] == self._working[number]:
            return paths
        return [path for path in paths if path != _normal(os.path.join(self._own[number], text))]

    def may_begin(self, number: int, text: str) -> bool:
        """Return whether a path to or into a run directory can begin with a text."""
        if os.altsep:
            text = text.replace(os.altsep, os.sep)
        if os.path.isabs(text):
            return bool(self._meanings(number, text))
        head = path_key(text.partition(os.sep)[0])
        heads = (self._heads.get(base, ()) for base in self._bases[number])
        return head in (".", "..") or any(head in known for known in heads)

    def is_all(self, number: int, folder: str) -> bool:
        """Return whether a folder, or a pattern for folders, covers all of the project's `runs/`."""
        runs = os.path.join(self._roots[number], path_key(RUNS))
        return folder in (runs, os.path.join(runs, "*"))

    def beside(self, number: int) -> tuple[int, ...]:
        """Return the instances that share an instance's run directory, including itself."""
        return self._members[self._own[number]]

    def instances_below(self, folder: str) -> tuple[int, ...]:
        """Return, sorted, the instances whose run directories lie below a folder or a matching folder."""
        if folder not in self._below:
            run_dirs = self._folders.get(folder) or self._matching(folder).below
            self._below[folder] = tuple(sorted(n for run_dir in run_dirs for n in self._members[run_dir]))
        return self._below[folder]

    @cached_property
    def _folders(self) -> dict[str, list[str]]:
        """The run directories below each folder of a `runs/` that is not a run directory itself."""
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
        """Return the absolute paths a text may stand for, except those that cannot lie in a run directory."""
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

    def _matching(self, pattern: str) -> _Matched:
        if pattern not in self._matched:
            inside, below = self._tree.matching(pattern.split(os.sep))
            numbers = tuple(sorted(number for run_dir in inside for number in self._members[run_dir]))
            self._matched[pattern] = _Matched(frozenset(inside), numbers, below)
        return self._matched[pattern]

    def _holder(self, path: str) -> str | None:
        """Return the innermost run directory that contains a path."""
        while path not in self._members:
            above = os.path.dirname(path)
            if above == path:
                return None
            path = above
        return path


class _Tree:
    """A tree of run directories by path part, so that a pattern is compared with few of many."""

    def __init__(self) -> None:
        self.children: dict[str, _Tree] = {}
        self.run_dir: tuple[int, str] | None = None  # number and path of the run directory that ends here

    def add(self, run_dir: str, number: int) -> None:
        tree = self
        for part in run_dir.split(os.sep):
            tree = tree.children.setdefault(part, _Tree())
        tree.run_dir = (number, run_dir)

    def matching(self, pattern: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return, by number, the run directories whose files can match, and those in matching folders."""
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
        """Return the children with a name, or those that match a pattern."""
        if has_magic(wanted):
            start = wanted[: _MAGIC.search(wanted).start()]  # type: ignore[union-attr]
            return [
                self.children[part] for part in self._starting(start) if fnmatch.fnmatchcase(part, wanted)
            ]
        return [self.children[wanted]] if wanted in self.children else []

    def _starting(self, start: str) -> Iterator[str]:
        """Yield the names of children that start with a text."""
        names = self._sorted_names
        return takewhile(lambda name: name.startswith(start), names[bisect_left(names, start) :])

    @cached_property
    def _sorted_names(self) -> list[str]:
        return sorted(self.children)  # the tree is complete before anybody searches it

    def everything(self) -> Iterator[tuple[int, str]]:
        """Yield the number and path of every run directory in the tree."""
        left = [self]
        while left:
            tree = left.pop()
            if tree.run_dir is not None:
                yield tree.run_dir
            left += tree.children.values()


def _folders_above(run_dir: str, all_runs: Collection[str]) -> list[str]:
    """Return the folders that contain a run directory, up to a `runs/`; none if it is not in one."""
    found, folder = [], os.path.dirname(run_dir)
    while folder not in all_runs:
        above = os.path.dirname(folder)
        if above == folder:
            return []
        found.append(folder)
        folder = above
    return [*found, folder]


def _common_start(paths: Collection[str]) -> str:
    """Return the longest common prefix of paths, by character."""
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(min(paths), max(paths), strict=False))
    return "".join(letter for letter, _ in alike)


def _heads(bases: set[str], run_dirs: Iterable[str]) -> dict[str, set[str]]:
    """Return, for each base directory, the first parts of all relative paths to run directories."""
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
