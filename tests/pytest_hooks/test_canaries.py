"""Which instances of a step are its canaries, and what waits for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Failure, Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import write_record
from pytest_ductaflow.core.system.lineage import session_id
from pytest_ductaflow.graph.dependencies import Graph
from pytest_ductaflow.graph.digraph import cyclic_components
from pytest_ductaflow.pytest_hooks.canaries import Canaries


def instances(*configs: Mapping[str, Any], step: str = "s", root: Path = Path("/p")) -> list[Instance]:
    return [
        Instance(f"{root}/flows/x.py", step, f"i{n}", config, f"{root}/runs/{step}/i{n}", str(root))
        for n, config in enumerate(configs)
    ]


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        ([{"a": n, "b": n % 3, "c": n % 2, "d": 1} for n in range(6)], {0, 1}),
        ([{"a": n, "b": n % 3} for n in range(6)], {0, 1, 2}),
        ([{"a": n} for n in range(6)], {0}),
        ([{"a": 1}] * 3, {0}),
        ([{"m": {"kind": kind}} for kind in "aab"] + [{}], {0}),
        ([{"m": {"kind": kind}} for kind in "aabb"], {0, 2}),
        ([{"a": 1}, {"a": 1}, {}, {}], {0, 2}),
        ([{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": True, "b": 2}, {"a": True, "b": 3}], {0, 2}),
        ([{"a": 1}], set()),
        ([{"a": [1]}, {"a": [2]}], {0}),
    ],
)
def test_the_column_with_the_fewest_values_has_a_canary_for_each(configs, expected):
    assert Canaries(instances(*configs), range(len(configs))).numbers == expected


def test_each_step_has_its_own_and_only_what_is_selected_counts():
    both = instances({}, {}, {}) + instances({}, {}, step="t")
    canaries = Canaries(both, {1, 2, 3, 4})
    assert canaries.numbers == {1, 3}
    assert [*canaries.headlines()] == [
        "ductaflow: step s: 1 canary before 1 more",
        "ductaflow: step t: 1 canary before 1 more",
    ]
    assert Canaries(both, ()).numbers == set()


@given(st.data())
def test_others_wait_for_canaries_and_never_in_a_circle(data):
    count = data.draw(st.integers(1, 10))
    order = data.draw(st.permutations(range(count)))
    before: list[set[int]] = [set() for _ in range(count)]
    for place, number in enumerate(order):
        before[number] = data.draw(st.sets(st.sampled_from(order[:place]))) if place else set()
    found = []
    for number in range(count):
        step, kind = data.draw(st.sampled_from("st")), data.draw(st.integers(0, 2))
        place = f"/p/runs/{step}/{number}"
        found.append(Instance("/p/flows/x.py", step, str(number), {"kind": kind}, place, "/p"))
    canaries = Canaries(found, range(count))
    graph = canaries.ordered(Graph(before=tuple(map(tuple, before))))
    assert cyclic_components(graph.before) == []
    ordered = graph.order(sorted(range(count), key=lambda number: number not in canaries.numbers))
    assert sorted(ordered) == list(range(count))
    for number, earlier in enumerate(before):
        assert all(ordered.index(each) < ordered.index(number) for each in earlier)
    if not any(before):
        first = len(canaries.numbers)
        assert {*ordered[:first]} == canaries.numbers


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        (["ValueError: year 2030 of car", "ValueError: year 2040 of bus"], "ValueError: year … of …"),
        (["ValueError: no such thing", "ValueError: no such thing"], "ValueError: no such thing"),
        (["ValueError: no such thing", "ValueError: no such place"], None),
        (["ValueError: no such thing", "KeyError: no such thing"], None),
        (["ValueError: no such thing", None], None),
        (["ValueError: no such thing", "of another session"], None),
    ],
)
def test_the_rest_is_blocked_if_all_canaries_have_failed_alike(tmp_path, errors, expected):
    mine = instances(*({"mode": mode} for mode in ("car", "bus") * 3), root=tmp_path)
    canaries = Canaries(mine, range(6))
    outcomes: dict[int, Any] = {}
    for number, error in enumerate(errors):
        assert canaries.obstacle(2, outcomes) is None
        outcomes[number] = "failed" if error else "passed"
        record = Record(Status.ERROR, "flows/x.py", "s", f"i{number}", f"runs/s/i{number}")
        kind, _, message = (error or "").partition(": ")
        session = session_id() if message else "another"
        files = RunFiles.of(mine[number])
        files.directory.mkdir(parents=True)
        write_record(files, record.with_(error=Failure(kind, message), lineage={"session": session}))
    assert canaries.obstacle(0, outcomes) is None
    found = canaries.obstacle(3, outcomes)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert (found.outcome, found.of_failure) == ("blocked", True)
        assert found.reason == f"blocked by its canaries s/i0, s/i1, which all failed alike: {expected}"
