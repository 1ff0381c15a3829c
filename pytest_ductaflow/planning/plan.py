"""The plan of a session: its instances, and which waits for which.

It is made once, in the reporting process, before anything is collected; pytest workers read it from a file.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

from ..core.instance import JSON, Instance, Neighbours
from ..graph.dependencies import Graph
from ..tracking.outside_files import Outside


@dataclass(frozen=True)
class Plan:
    """The instances of each source, in the order of their declaration.

    Attributes:
        instances: Instances by the source's path.
        graph: Graph of which instances wait for which others; an instance's node is its index in `all`.
        durations: Seconds that instances took when they last ran, by the same numbers, if known.
        afters: Conductors that have something to do after their instances; that work is numbered after the
            last node of the graph.
        writers: Numbers of the instances that have written each file outside of run directories.
        began_ns: Time when the plan was made, in nanoseconds since the epoch.
        notes: Valid but possibly unintended declarations in the sources, one sentence each.
    """

    instances: dict[Path, list[Instance]]
    graph: Graph = field(default_factory=Graph)
    durations: dict[int, float] = field(default_factory=dict)
    afters: tuple[Path, ...] = ()
    writers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    began_ns: int = 0
    notes: tuple[str, ...] = ()

    def dumps(self, emptied: Collection[str] = ()) -> str:
        """Return the plan as text for other processes, with some attributes of its instances emptied."""
        instances = {str(path): [i.to_json() for i in found] for path, found in self.instances.items()}
        for instance in chain.from_iterable(instances.values()):
            instance.update({name: type(instance[name])() for name in emptied if name in instance})
        data = {
            "instances": instances,
            "graph": self.graph.to_json(),
            "durations": list(self.durations.items()),
            "afters": list(map(str, self.afters)),
            "writers": self.writers,
            "began_ns": self.began_ns,
        }
        return json.dumps(data)

    @classmethod
    def loads(cls, text: str) -> Plan:
        data = json.loads(text)
        return cls(
            instances_from_json(data["instances"]),
            Graph.from_json(data["graph"]),
            dict(map(tuple, data["durations"])),
            tuple(map(Path, data["afters"])),
            {path: tuple(numbers) for path, numbers in data["writers"].items()},
            data["began_ns"],
        )

    @cached_property
    def all(self) -> list[Instance]:
        return [instance for found in self.instances.values() for instance in found]

    @cached_property
    def numbers(self) -> Mapping[Path, range]:
        """The numbers of the instances of each source."""
        found, first = {}, 0
        for path, instances in self.instances.items():
            found[path] = range(first, first + len(instances))
            first += len(instances)
        return found

    def source_of(self, number: int) -> Path:
        """Return the source that declares an instance."""
        return next(path for path, numbers in self.numbers.items() if number in numbers)

    def number_of_after(self, conductor: Path) -> int:
        """Return the number of a conductor's work after its instances."""
        return len(self.graph.before) + self.afters.index(conductor)

    @cached_property
    def order(self) -> Graph:
        """The graph of what waits for what, including the conductors' work after their instances."""
        return self._followed_by_afters(self.graph.before)

    @cached_property
    def order_as_asked(self) -> Graph:
        """The same for instances named by the user: the order in which flows were declared is ignored."""
        barriers = len(self.graph.before) - len(self.graph.upstreams)
        return self._followed_by_afters((*self.graph.upstreams, *[()] * barriers))

    def _followed_by_afters(self, before: tuple[tuple[int, ...], ...]) -> Graph:
        afters = tuple(tuple(self.numbers[conductor]) for conductor in self.afters)
        return replace(self.graph, before=before + afters)

    @cached_property
    def _run_dirs(self) -> Mapping[str, list[str]]:
        """The labels of the instances in each run directory."""
        found: dict[str, list[str]] = {}
        for label, instance in zip(self.graph.labels, self.all, strict=True):
            found.setdefault(instance.run_dir, []).append(label)
        return found

    @cached_property
    def _outside(self) -> Outside:
        return Outside(self.writers, self.all, self.graph.before, self.began_ns)

    def neighbours(self, number: int) -> Neighbours:
        """Return what the instance with this number needs to know about other instances."""
        graph, instances = self.graph, self.all
        learned = [up for up in graph.upstreams[number] if (up, number) in graph.learned]
        declared = [up for up in graph.upstreams[number] if up not in learned]
        return Neighbours(
            declared=tuple((graph.labels[up], instances[up]) for up in declared),
            learned=tuple(graph.labels[up] for up in learned),
            run_dirs=self._run_dirs,
            last_written=self._outside.last_written(number),
            made_beside=partial(self._outside.made_beside, number),
        )


def instances_from_json(data: Mapping[str, list[dict[str, JSON]]]) -> dict[Path, list[Instance]]:
    return {Path(path): [Instance.from_json(i) for i in found] for path, found in data.items()}
