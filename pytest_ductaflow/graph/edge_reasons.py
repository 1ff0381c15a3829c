"""Keep the reason for each dependency of an instance on an upstream.

When thousands of instances depend on a whole step, they share one tuple of thousands of numbers, in memory
and in JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

MANY = 8  # from this length on, a tuple is stored once and a barrier stands for its numbers

Cause = tuple[str, tuple[int, ...]]  # a reason and the upstreams it names


class Reasons(Mapping[tuple[int, int], str]):
    """A mapping from (upstream, instance) to the reason for that dependency.

    It is stored by instance and reason, so that thousands of dependents of a whole step share one tuple.
    """

    def __init__(self, causes: Sequence[Sequence[Cause]]) -> None:
        self.causes = causes

    def __getitem__(self, edge: tuple[int, int]) -> str:
        upstream, instance = edge
        if 0 <= instance < len(self.causes):
            for reason, upstreams in self.causes[instance]:
                if upstream in upstreams:
                    return reason
        raise KeyError(edge)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        for instance, causes in enumerate(self.causes):
            for upstream in dict.fromkeys(u for _, upstreams in causes for u in upstreams):
                yield upstream, instance

    def __len__(self) -> int:
        return sum(len({u for _, upstreams in causes for u in upstreams}) for causes in self.causes)


class Shared:
    """Deduplicate large tuples in JSON: store each once and refer to it by index."""

    def __init__(self) -> None:
        self.all: list[tuple[int, ...]] = []
        self._numbers: dict[int, int] = {}

    def packed(self, numbers: tuple[int, ...]) -> tuple[int, ...] | int:
        if len(numbers) < MANY:
            return numbers
        if id(numbers) not in self._numbers:
            self._numbers[id(numbers)] = len(self.all)
            self.all.append(numbers)
        return self._numbers[id(numbers)]


def causes_of(reasons: Mapping[tuple[int, int], str], count: int) -> Sequence[Sequence[Cause]]:
    if isinstance(reasons, Reasons):
        return reasons.causes
    causes: list[list[Cause]] = [[] for _ in range(count)]
    for (upstream, instance), reason in reasons.items():
        causes[instance].append((reason, (upstream,)))
    return causes


def all_upstreams(causes: Sequence[Cause]) -> tuple[int, ...]:
    """Return all upstreams of an instance; if one cause has them all, the very same tuple."""
    if not causes:
        return ()
    most = max((upstreams for _, upstreams in causes), key=len)
    if len(causes) == 1:
        return most
    merged = set().union(*(upstreams for _, upstreams in causes))
    return most if len(merged) == len(most) else tuple(sorted(merged))
