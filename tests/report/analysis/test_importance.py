"""How much inputs explain, compared with cases whose answer is known."""

from __future__ import annotations

import random

import pytest
from helpers.browser import make_row

from pytest_ductaflow.report.analysis.importance import explained, importances
from pytest_ductaflow.report.analysis.sweep import sweep_of
from pytest_ductaflow.report.packed_rows import PackedRows


def test_a_group_that_tells_the_value_explains_all():
    assert explained([0, 0, 1, 1, 2, 2], [1.0, 1.0, 5.0, 5.0, -3.0, -3.0]) == pytest.approx(1)


def test_groups_with_the_same_mean_explain_nothing():
    assert explained([0, 0, 1, 1], [1.0, 3.0, 1.0, 3.0]) == 0


def test_the_share_is_that_of_the_analysis_of_variance():
    """Three groups of three with means 2, 3 and 7: between 42, within 6, so that η² is 42/48."""
    groups, values = [0, 0, 0, 1, 1, 1, 2, 2, 2], [1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 6.0, 7.0, 8.0]
    assert explained(groups, values) == pytest.approx(1 - (1 - 42 / 48) * 8 / 6)


def test_rows_without_a_group_are_not_looked_at():
    groups, values = [0, 0, 1, 1, -1, -1], [1.0, 2.0, 5.0, 6.0, 1000.0, -7.0]
    assert explained(groups, values) == pytest.approx(explained(groups[:4], values[:4]))


def test_large_values_lose_no_digits():
    groups, values = [0, 0, 1, 1], [1e9 + 1.0, 1e9 + 2.0, 1e9 + 5.0, 1e9 + 6.0]
    assert explained(groups, values) == pytest.approx(explained(groups, [1.0, 2.0, 5.0, 6.0]))


def test_many_values_of_a_column_do_not_explain_by_chance():
    draw = random.Random(1)
    values = [draw.gauss(0, 1) for _ in range(200)]
    assert explained([n // 2 for n in range(200)], values) < 0.3
    assert explained(list(range(200)), values) == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_planted_input_matters_most(seed):
    draw = random.Random(seed)
    rows = []
    for number in range(300):
        config = {
            "toll": draw.choice([0, 5, 10]),
            "alpha": draw.random(),
            "seed": number,
            "kind": draw.choice("ab"),
        }
        cost = 2 * config["toll"] + 3 * config["alpha"] + draw.gauss(0, 1)
        status = "error" if config["kind"] == "a" and draw.random() < 0.9 else "success"
        rows.append(make_row(str(number), status, config=config, results={"r": {"cost": cost, "note": "x"}}))
    packed = PackedRows()
    found = {
        each.target: dict(each.inputs)
        for each in importances(sweep_of([(r, packed.pack(r)) for r in rows], packed))
    }
    assert set(found) == {"failing", "cost"}
    assert next(iter(found["cost"])) == "toll"
    assert found["cost"]["toll"] > 0.9
    assert "kind" not in found["cost"]
    assert next(iter(found["failing"])) == "kind"
    assert found["failing"]["kind"] > 0.7
