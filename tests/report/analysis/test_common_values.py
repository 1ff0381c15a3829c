"""What failures have in common is found, and chance is not told as a cause."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest
from helpers.browser import make_row

from pytest_ductaflow.report.analysis.common_values import Common, common_values
from pytest_ductaflow.report.analysis.sweep import Sweep, sweep_of
from pytest_ductaflow.report.packed_rows import PackedRows

YEARS, MODES, SEEDS = (2030, 2035, 2040, 2045), ("car", "rail", "bus"), range(8)


def sweep_from(*rows: dict[str, Any]) -> Sweep:
    packed = PackedRows()
    return sweep_of([(row, packed.pack(row)) for row in rows], packed)


def told(common: Common) -> set[str]:
    return {f"{each.column} {each.sign} {', '.join(map(str, each.values))}" for each in common.conditions}


def planted(fails: Callable[[dict[str, Any]], bool]) -> Common:
    """Return what the failures of a grid have in common, of those rows for which a function is true."""
    configs = [
        {"year": year, "mode": mode, "seed": seed}
        for year, mode, seed in itertools.product(YEARS, MODES, SEEDS)
    ]
    rows = [make_row(f"{n}", "error" if fails(c) else "success", config=c) for n, c in enumerate(configs)]
    members = [number for number, row in enumerate(rows) if row["status"] == "error"]
    return common_values(sweep_from(*rows), members)


@pytest.mark.parametrize(
    ("fails", "conditions"),
    [
        (lambda c: c["mode"] == "rail", {"mode = rail"}),
        (lambda c: c["mode"] == "rail" and c["year"] >= 2040, {"mode = rail", "year ≥ 2040"}),
        (lambda c: c["year"] <= 2030, {"year = 2030"}),
        (lambda c: c["year"] <= 2035, {"year ≤ 2035"}),
        (lambda c: c["mode"] != "car", {"mode in bus, rail"}),
        (
            lambda c: c["mode"] == "bus" and 2035 <= c["year"] <= 2040,
            {"mode = bus", "year ≥ 2035", "year ≤ 2040"},
        ),
    ],
)
def test_a_planted_cause_is_named(fails, conditions):
    common = planted(fails)
    assert (told(common), common.also) == (conditions, 0)


def test_a_cause_that_some_others_have_as_well_is_told_with_their_number():
    common = planted(lambda c: c["mode"] == "rail" and c["seed"] % 2 == 0)
    assert (told(common), common.also) == ({"mode = rail"}, 16)


def test_random_failures_have_nothing_in_common():
    draw = random.Random(1)
    for _ in range(20):
        common = planted(lambda _: draw.random() < 0.1)
        assert told(common) == set()


def small_sweep(
    fails: Callable[[dict[str, Any]], bool], is_blocked: Callable[[dict[str, Any]], bool] = lambda _: False
) -> Common:
    """Return what the failures of 30 instances have in common, each of which reads a file of its own."""
    configs = [
        {"mode": mode, "year": year, "toll": toll, "source": f"runs/{mode},{year},{toll}.json"}
        for mode, year, toll in itertools.product(MODES, (2020, *YEARS), (2, 4))
    ]
    rows = [make_row(f"{n}", "error" if fails(c) else "success", config=c) for n, c in enumerate(configs)]
    rows = [{**row, "status": "blocked"} if is_blocked(row["config"]) else row for row in rows]
    rows += [make_row("summary", "blocked", step="after")]
    members = [number for number, row in enumerate(rows) if row["status"] == "error"]
    return common_values(sweep_from(*rows), members)


def test_values_that_only_name_the_failures_are_not_told():
    common = small_sweep(lambda c: c["mode"] == "bus" and c["toll"] == 4 and c["year"] > 2035)
    assert not any(each.column == "source" for each in common.conditions)


def test_conditions_that_only_together_are_no_chance_are_told():
    common = small_sweep(
        lambda c: c["mode"] == "bus" and c["toll"] == 4 and c["year"] > 2020,
        lambda c: c["mode"] == "rail" and c["year"] >= 2035,
    )
    assert (told(common), common.also) == ({"mode = bus", "toll = 4", "year ≥ 2030"}, 0)


def test_few_random_failures_have_nothing_in_common():
    draw = random.Random(3)
    failing = [draw.sample(range(30), draw.choice((2, 3, 4, 5))) for _ in range(100)]
    found = []
    for numbers in failing:
        count = itertools.count()
        found.append(told(small_sweep(lambda _, n=numbers, c=count: next(c) in n)))
    assert sum(map(bool, found)) <= 3


def test_one_failure_has_nothing_in_common():
    assert told(planted(lambda c: c == {"year": 2030, "mode": "car", "seed": 0})) == set()


def test_only_rows_of_the_same_step_that_have_ended_are_compared():
    rows = [
        *(make_row(f"e{n}", "error", config={"mode": "rail"}) for n in range(4)),
        *(make_row(f"s{n}", config={"mode": "car"}) for n in range(4)),
        make_row("w", "waiting", config={"mode": "rail"}),
        make_row("other", step="report", config={"mode": "rail"}),
    ]
    common = common_values(sweep_from(*rows), range(4))
    assert (told(common), common.also, common.others) == ({"mode = rail"}, 0, 4)


def test_a_key_that_is_not_set_is_told():
    rows = [
        *(make_row(f"e{n}", "error", config={"a": 1}) for n in range(4)),
        *(make_row(f"s{n}", config={"a": 1, "toll": n}) for n in range(4)),
    ]
    (condition,) = common_values(sweep_from(*rows), range(4)).conditions
    assert (condition.column, condition.sign) == ("toll", "unset")
