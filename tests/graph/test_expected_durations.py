"""How long instances will take is expected from what they took."""

from __future__ import annotations

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.graph.expected_durations import expected_durations

INSTANCES = [
    Instance(flow, "s", str(number), {}, f"/r/{number}", "/r") for number, flow in enumerate("aaabc")
]


def test_an_unknown_duration_is_the_median_of_the_flow_else_of_all():
    assert expected_durations(INSTANCES, {0: 2.0, 1: 4.0, 3: 10.0}) == [2.0, 4.0, 3.0, 10.0, 4.0]


def test_where_nothing_is_known_each_instance_takes_a_second():
    assert expected_durations(INSTANCES, {}) == [1.0] * 5
