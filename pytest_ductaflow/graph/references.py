"""Find what a config refers to: instances by path or name, runs outside of the plan, or nothing known."""

from __future__ import annotations

import difflib
import os
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from glob import has_magic
from itertools import islice

from ..core.instance import JSON, RUNS, Instance
from ..core.paths_in_text import paths_in
from ..core.problem import Problem
from ..sources.instance_names import declared_at, original_name
from ..tracking.paths_in_config import is_written_place
from .run_dir_index import RunDirIndex
from .runs_in_code import paths_in_code

AFTER = "_after"
_NAME = "instance_name"  # config key; even if its value looks like a path, it is no reference
_BY_NAME = "_instance"  # suffix of a key that names an instance; the step precedes it
_NAMES_SHOWN = 5
_NAMES_COMPARED = 20_000  # in the search for similar names, for all messages of a plan together


@dataclass
class References:
    """The references of one instance.

    Attributes:
        upstreams: Origin of each reference (`_after`, "config key 'zones.table'") and the instances' numbers.
        in_folders: The same for instances in a folder that it names, except those that themselves name a
            folder with this instance.
        in_code: The same for what its flow is sure to read, by its code.
        mentioned: The same for what its flow's code only mentions.
        externals: Run directories outside of the plan.
        orphans: Config key and path, as written, of paths in `runs/` that lie in no instance's directory.
        problems: Names that match nothing.
    """

    upstreams: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    in_folders: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    in_code: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    mentioned: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    externals: list[str] = field(default_factory=list)
    orphans: list[tuple[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def references(instances: Sequence[Instance]) -> list[References]:
    """Return what each instance of a plan refers to: by `after`, in its config, and in its flow's code."""
    paths, names = RunDirIndex(instances), Names(instances)
    found = [References() for _ in instances]
    folders, read, mentioned = (_Folders(instances, paths) for _ in range(3))
    for number, (mine, instance) in enumerate(zip(found, instances, strict=True)):
        for label in dict.fromkeys(instance.after or ()):
            names.refer_by_label(mine, number, label)
        for key, value in leaves(instance.config):
            if isinstance(value, str) and _refer_by_path(mine, paths, folders, number, key, value):
                continue
            if instance.stored_in:
                continue  # its inputs may be copies from instances that are no longer in any plan
            if key.endswith(_BY_NAME) and value not in (None, "") and not isinstance(value, bool):
                names.refer_by_key(mine, number, key, str(value))
        if not instance.stored_in:
            _refer_in_code(mine, paths, read, mentioned, number, instance)
    folders.add_to([mine.in_folders for mine in found])
    read.add_to([mine.in_code for mine in found])
    mentioned.add_to([mine.mentioned for mine in found])
    return found


def leaves(config: Mapping[str, JSON]) -> Iterator[tuple[str, JSON]]:
    """Yield (dotted key, value) for each config value except the name; list items have the list's key."""
    rest: list[tuple[str, JSON]] = [item for item in config.items() if item[0] != _NAME][::-1]
    while rest:
        key, value = rest.pop()
        if isinstance(value, dict):
            rest += [(f"{key}.{name}", below) for name, below in reversed(value.items())]
        elif isinstance(value, list | tuple):
            rest += [(key, below) for below in reversed(value)]
        else:
            yield key, value


def _refer_by_path(
    mine: References, paths: RunDirIndex, folders: _Folders, number: int, key: str, text: str
) -> bool:
    """Add to `mine` what a text points to; return whether any part is a path into `runs/` or a run dir."""
    is_path = False
    for readings in paths_in(text, partial(paths.may_begin, number)):
        found = [(reading, paths.targets_of(number, reading)) for reading in readings]
        path, pointed = next((each for each in found if each[1]), found[0])
        mine.upstreams += ((_key_reason(key), numbers) for numbers in pointed.others)
        for folder in pointed.folders if not is_written_place(key) else ():
            folders.refer(number, _key_reason(key), folder)
        is_prose = not is_path and not text.lstrip("[\"'( \t\n").startswith(path)
        is_many = "{" in text or has_magic(path)
        if pointed.in_runs and not (pointed or is_prose or is_many or is_written_place(key)):
            mine.orphans.append((key, path))
        is_path |= bool(pointed) or pointed.in_runs
    return is_path


def _refer_in_code(
    mine: References, paths: RunDirIndex, read: _Folders, mentioned: _Folders, number: int, instance: Instance
) -> None:
    """Add to `mine` what the flow's code names, other than its own directory and all of `runs/`."""
    for path in paths_in_code(instance):
        reason, pointed = f"code {path.text!r}", paths.targets_of(number, path.text)
        found = mine.in_code if path.is_read else mine.mentioned
        found += ((reason, numbers) for numbers in pointed.others)
        for folder in pointed.folders:
            if not paths.is_all(number, folder):
                (read if path.is_read else mentioned).refer(number, reason, folder)


class _Folders:
    """The folders of run directories that are named; all instances in them are upstreams."""

    def __init__(self, instances: Sequence[Instance], paths: RunDirIndex) -> None:
        self._instances = instances
        self._paths = paths
        self._named: dict[str, dict[int, str]] = defaultdict(dict)  # by folder and instance, the reason

    def refer(self, number: int, reason: str, folder: str) -> None:
        """Note that an instance names a folder."""
        if not self._instances[number].stored_in:
            self._named[folder].setdefault(number, reason)

    def add_to(self, causes: Sequence[list[tuple[str, tuple[int, ...]]]]) -> None:
        """Add what the folders stand for to the causes of the instances that name them."""
        for number, reason, members in self._upstreams():
            causes[number].append((reason, members))

    def _upstreams(self) -> Iterator[tuple[int, str, tuple[int, ...]]]:
        """Yield, for each instance that names a folder, the reason and the instances in the folder.

        Rows of a table that all name their own folder do not wait for each other. All of `runs/` stands for
        the instances declared before the flow: later ones cannot be meant, and often have to wait.
        """
        for folder, named in self._named.items():
            below = [
                number
                for number in self._paths.instances_below(folder)
                if number not in named and not self._instances[number].stored_in
            ]
            members: dict[int | None, tuple[int, ...]] = {None: tuple(below)}
            for number, reason in named.items():
                end = self._first_of_flow[number] if self._paths.is_all(number, folder) else None
                if end is not None and end not in members:
                    members[end] = tuple(below[: bisect_left(below, end)])
                mine, beside = members[end], self._paths.beside(number)
                if len(beside) > 1:
                    mine = tuple(other for other in mine if other not in beside)
                if mine:
                    yield number, reason, mine

    @cached_property
    def _first_of_flow(self) -> list[int]:
        """For each instance, the first one of its source that runs the same flow in the same step."""
        firsts: dict[tuple[str, str, str], int] = {}
        return [
            firsts.setdefault((instance.source, instance.flow, instance.step), number)
            for number, instance in enumerate(self._instances)
        ]


def _key_reason(key: str) -> str:
    return f"config key {key!r}"


def _word(text: str) -> str:
    """Return a step in the form it can take in a config key."""
    return re.sub(r"\W", "_", text)


@dataclass
class _Step:
    """The instances of a step, by name and by the name before it was made unique."""

    members: tuple[int, ...]
    by_name: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    by_first_name: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def named(self, name: str) -> tuple[int, ...]:
        return tuple(self.by_name.get(name) or self.by_first_name.get(name) or ())


class _Project:
    """The steps of a project in a plan."""

    def __init__(self, root: str, instances: Sequence[tuple[int, Instance]]) -> None:
        self._runs = os.path.join(os.path.normpath(root), RUNS)
        members: dict[str, list[int]] = defaultdict(list)
        for number, instance in instances:
            members[instance.step].append(number)
        self.steps = {step: _Step(tuple(numbers)) for step, numbers in members.items()}
        self.by_label: dict[str, list[int]] = defaultdict(list)
        self.by_first_label: dict[str, list[int]] = defaultdict(list)
        for number, instance in instances:
            step, first_name = self.steps[instance.step], original_name(instance)
            step.by_name[instance.name].append(number)
            self.by_label[f"{instance.step}/{instance.name}"].append(number)
            step.by_first_name[first_name].append(number)
            self.by_first_label[f"{instance.step}/{first_name}"].append(number)
        self._by_word = _by_word(self.steps, whole=True)
        self._by_last_word = _by_word(self.steps, whole=False)

    def labelled(self, label: str) -> tuple[int, ...]:
        return tuple(self.by_label.get(label) or self.by_first_label.get(label) or ())

    def steps_like(self, text: str) -> list[str]:
        """Return the steps that a word in a config key matches: by full name, else by its last part."""
        word = _word(text)
        return self._by_word.get(word) or self._by_last_word.get(word) or []

    def directory(self, *parts: str) -> str | None:
        """Return an existing directory below `runs/`; the last part must not lead out of the others."""
        above = os.path.join(self._runs, *parts[:-1], "")
        path = os.path.normpath(os.path.join(above, parts[-1]))
        return path if path.startswith(above) and os.path.isdir(path) else None


def _by_word(steps: Iterable[str], *, whole: bool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for step in steps:
        found[_word(step if whole else step.rpartition("/")[2])].append(step)
    return found


class Names:
    """An index of a plan's instances by name."""

    def __init__(self, instances: Sequence[Instance]) -> None:
        self._instances = instances
        by_root: dict[str, list[tuple[int, Instance]]] = defaultdict(list)
        for number, instance in enumerate(instances):
            named = by_root[instance.project_root]
            if not instance.stored_in:  # a replay is never an upstream by name
                named.append((number, instance))
        self._projects = {root: _Project(root, found) for root, found in by_root.items()}
        self._comparisons_left = _NAMES_COMPARED

    def refer_by_label(self, mine: References, number: int, label: str) -> None:
        """Add what a label in `after` stands for: `step/name`, or a step for all its instances."""
        project = self._project_of(number)
        if numbers := project.labelled(label):
            self._add(mine, number, AFTER, numbers)
        elif label == self._instances[number].step:
            self._add(mine, number, AFTER, (number,))
        elif label in project.steps:
            mine.upstreams.append((AFTER, project.steps[label].members))
        elif external := project.directory(label):
            mine.externals.append(external)
        else:
            step, _, name = label.rpartition("/")
            if step in project.steps:
                what, names = self._unknown(name, step, project)
            else:
                what = f"there is no step or instance {label!r}"
                name, names = label, [*project.steps, *project.by_label]
            self._complain(mine, number, f"{AFTER}: {what}", self._hint(name, names))

    def refer_by_key(self, mine: References, number: int, key: str, name: str) -> None:
        """Add what a key such as `etl_instance` stands for, if there is such a step."""
        project = self._project_of(number)
        step = key.rpartition(".")[2].removesuffix(_BY_NAME)
        if not step:
            return
        steps = project.steps_like(step)
        numbers = sorted(other for like in steps for other in project.steps[like].named(name))
        directories = (project.directory(like, name) for like in steps or [step])
        if numbers:
            self._add(mine, number, _key_reason(key), tuple(numbers))
        elif external := next(filter(None, directories), None):
            mine.externals.append(external)
        elif steps:
            what, names = self._unknown(name, steps[0], project)
            self._complain(mine, number, f"{_key_reason(key)}: {what}", self._hint(name, names))

    def _project_of(self, number: int) -> _Project:
        return self._projects[self._instances[number].project_root]

    def _add(self, mine: References, number: int, reason: str, numbers: tuple[int, ...]) -> None:
        instance = self._instances[number]
        if any(self._instances[other].key == instance.key for other in numbers):
            what = f"{instance.step}/{instance.name} is its own upstream ({reason})"
            self._complain(mine, number, what, "an instance cannot wait for itself")
        else:
            mine.upstreams.append((reason, numbers))

    def _unknown(self, name: str, step: str, project: _Project) -> tuple[str, Collection[str]]:
        return f"there is no instance {name!r} of step {step}", project.steps[step].by_name

    def _complain(self, mine: References, number: int, what: str, remedy: str) -> None:
        instance = self._instances[number]
        mine.problems.append(Problem(declared_at(instance, instance.project_root), what, remedy))

    def _hint(self, name: str, names: Collection[str]) -> str:
        """Return a hint: the most similar name, else the first of the known names."""
        if len(names) <= self._comparisons_left:
            self._comparisons_left -= len(names)
            if near := difflib.get_close_matches(name, names, 1):
                return f"did you mean {near[0]!r}?"
        more = len(names) - _NAMES_SHOWN
        return f"known are {', '.join(islice(names, _NAMES_SHOWN))}" + (
            f" and {more} more" if more > 0 else ""
        )
