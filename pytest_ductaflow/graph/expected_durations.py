"""Expect how long instances will take, from what they took when they last ran."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ..core.instance import Instance


def expected_durations(instances: Sequence[Instance], known: Mapping[int, float]) -> list[float]:
    """Return the seconds of each instance; if unknown, the median of its flow, else of all, else 1.

    Args:
        instances: All instances of a plan.
        known: Seconds that some took when they last ran, by number.
    """
    by_flow: dict[str, list[float]] = defaultdict(list)
    for number, seconds in known.items():
        by_flow[instances[number].flow].append(seconds)
    of_any = statistics.median(known.values()) if known else 1.0
    of_flow = {flow: statistics.median(seconds) for flow, seconds in by_flow.items()}
    return [known.get(number, of_flow.get(each.flow, of_any)) for number, each in enumerate(instances)]
