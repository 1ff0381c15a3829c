"""Designs: tables with readable and lasting names, sums and products of them, rows by expression."""

from __future__ import annotations

import builtins
import doctest
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from helpers.projects import write_project

from pytest_ductaflow.core.errors import DuctaflowError
from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.planning.caller import Origin
from pytest_ductaflow.planning.declare_table import TableDeclaration
from pytest_ductaflow.sources.designs import combinations, sampling, scenario_table
from pytest_ductaflow.sources.designs.combinations import grid, one_at_a_time, zipped
from pytest_ductaflow.sources.designs.sampling import sample
from pytest_ductaflow.sources.designs.scenario_table import ScenarioTable, cross
from pytest_ductaflow.sources.tables import DESIGN, as_table

NAMES = "instance_name"
FURTHER = [{NAMES: "mine", "mode": "rail"}]


def rows_of(table):
    return list(as_table(table, ()).filled())


def names_of(table):
    return as_table(table, ()).names()


@pytest.mark.parametrize("module", [combinations, sampling, scenario_table])
def test_examples_in_docstrings_are_right(module):
    names = {each.__name__: each for each in (grid, zipped, one_at_a_time, sample, cross)}
    found = doctest.DocTestFinder().find(module, extraglobs=names)
    assert not any(doctest.DocTestRunner().run(test).failed for test in found)


# sample


@pytest.mark.parametrize("design", ["sobol", "halton", "random"])
def test_a_larger_sample_begins_with_the_rows_of_a_smaller_one(design):
    axes = {"rate": (0.01, 0.08), "years": (10, 1_000_000), "mode": ["rail", "road"], "population": 50_000}
    few, many = sample(100, design=design, seed=3, **axes), sample(200, design=design, seed=3, **axes)
    assert len(few) == 100
    assert many[:100].equals(few)


@pytest.mark.parametrize("design", ["lhs", "sobol", "halton", "random"])
def test_a_sample_depends_on_its_seed_alone(design):
    table = sample(8, design=design, seed=1, rate=(0.0, 1.0))
    assert table.equals(sample(8, design=design, seed=1, rate=(0.0, 1.0)))
    assert not table.equals(sample(8, design=design, seed=2, rate=(0.0, 1.0)))


def test_a_latin_hypercube_has_one_point_in_each_part_of_each_range():
    table = sample(16, rate=(0.0, 16.0), year=(1, 16))
    assert sorted(int(rate) for rate in table["rate"]) == list(range(16))
    assert sorted(table["year"]) == list(range(1, 17))


@pytest.mark.parametrize(("low", "width", "seed"), [(0, 1, 1), (-5, 9, 2), (3, 4, 3)])
def test_a_range_of_integers_has_both_ends_and_nothing_beyond(low, width, seed):
    values = set(sample(200, design="random", seed=seed, x=(low, low + width))["x"])
    assert values == set(range(low, low + width + 1))
    assert {type(value) for value in values} == {int}


@pytest.mark.parametrize("high", [2**62, 2**63, 10**20, 10**300])
def test_a_range_of_integers_may_be_larger_than_a_machine_word(high):
    values = list(sample(50, design="random", x=(-high, high))["x"])
    assert all(type(value) is int and -high <= value <= high for value in values)
    assert len(set(values)) == 50
    assert max(values) > high // 2
    assert min(values) < -high // 2


def test_what_does_not_vary_is_the_same_in_all_rows_and_costs_no_dimension():
    with_constant = sample(4, rate=(0.0, 1.0), when=None, name="a", group={"x": 1})
    assert with_constant["rate"].equals(sample(4, rate=(0.0, 1.0))["rate"])
    assert rows_of(with_constant)[0]["group"] == {"x": 1}


def test_values_are_short_enough_that_names_show_them_in_full():
    table = sample(50, rate=(0.01, 0.08), cost=(1e6, 3e6))
    for row in rows_of(table):
        assert row[NAMES] == f"rate={row['rate']:.12g},cost={row['cost']:.12g}"
        assert 0.01 <= row["rate"] <= 0.08


def test_points_that_give_the_same_row_make_one_and_a_note_says_so():
    table = sample(30, design="random", mode=["rail", "road"])
    assert sorted(table["mode"]) == ["rail", "road"]
    assert as_table(table, ()).notes == ("sample(30) has 2 rows: other points gave the same values",)
    assert as_table(table.where("mode == 'rail'"), ()).notes == as_table(table, ()).notes


@pytest.mark.parametrize(
    ("arguments", "axes", "what"),
    [
        ((0,), {"x": (0, 1)}, "1 or more"),
        ((2.5,), {"x": (0, 1)}, "whole number"),
        ((3,), {"x": (0, 1, 2)}, "a tuple is a range of two numbers"),
        ((3,), {"x": ("a", "b")}, "choices are a list"),
        ((3,), {"x": (False, True)}, "choices are a list"),
        ((3,), {"x": (0.0, float("inf"))}, "range of two numbers"),
        ((3,), {"x": (2, 1)}, "smaller to a larger"),
        ((3,), {"x": (-1e308, 1e308)}, "too large"),
        ((3,), {"x": (0, 10**400)}, "too large"),
        ((3,), {"x": {"rail", "road"}}, "a set has no order"),
        ((3,), {"x": frozenset([1])}, "a set has no order"),
        ((3,), {"x": []}, "no choices"),
        ((3,), {"x": 1}, "expected a range"),
        ((3,), {"x": (0, 1), "design": "grid"}, "expected one of lhs, sobol"),
        ((3,), {"x": (0, 1), "seed": None}, "seed=None"),
    ],
)
def test_what_is_no_sample_is_refused(arguments, axes, what):
    with pytest.raises((TypeError, ValueError), match=what):
        sample(*arguments, **axes)


def test_without_scipy_one_sentence_says_what_to_install(monkeypatch):
    original = builtins.__import__

    def without(name, *rest):
        if name.startswith("scipy"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DuctaflowError, match=r"pip install 'pytest-ductaflow\[designs\]'"):
        sample(4, x=(0, 1))
    assert len(sample(4, design="random", x=(0.0, 1.0))) == 4


# the others


def test_one_at_a_time_changes_one_value_of_the_base_case_in_each_row():
    base = {"rate": 0.01, "model": {"degree": 1, "kind": "a"}}
    table = one_at_a_time(base, rate=[0.02, 0.01], **{"model.degree": [2]})
    assert rows_of(table) == [
        {NAMES: "base", "rate": 0.01, "model.degree": 1, "model.kind": "a"},
        {NAMES: "rate=0.02", "rate": 0.02, "model.degree": 1, "model.kind": "a"},
        {NAMES: "degree=2", "rate": 0.01, "model.degree": 2, "model.kind": "a"},
    ]


def test_one_at_a_time_asks_for_a_base_case_that_has_the_axes():
    with pytest.raises(ValueError, match="no value for raet"):
        one_at_a_time({"rate": 1}, raet=[2])
    with pytest.raises(TypeError, match="dict with the base case"):
        one_at_a_time([1], rate=[2])
    with pytest.raises(TypeError, match="list of values"):
        one_at_a_time({"rate": 1}, rate=2)


def test_lists_side_by_side_are_equally_long():
    assert rows_of(zipped(a=[1, 2], b=["x", "y"]))[1] == {NAMES: "a=2,b=y", "a": 2, "b": "y"}
    with pytest.raises(ValueError, match="but a has 1, b has 2, c has 1"):
        zipped(a=[1], b=[1, 2], c=[3])


# sums, products, selections


def test_a_sum_has_the_rows_of_both_with_their_names_and_each_once():
    table = grid(rate=[1, 2]) + zipped(rate=[2, 3], mode=["", "rail"])
    assert names_of(table) == ["rate=1", "rate=2", "rate=3,mode=rail"]
    assert rows_of(table)[0] == {NAMES: "rate=1", "rate": 1}
    assert names_of(table + FURTHER) == [*names_of(table), "mine"]
    assert names_of(FURTHER + table) == ["mine", *names_of(table)]
    assert names_of(pd.DataFrame({"rate": [9]}) + table) == ["rate=9", *names_of(table)]
    nothing: list[dict[str, object]] = []
    assert names_of(table + nothing) == names_of(nothing + table) == names_of(table)


def test_different_rows_with_a_name_made_of_their_values_are_told_apart_and_own_names_stay():
    first, second = names_of(grid(**{"a.x": [1]}) + grid(**{"b.x": [1]}))
    assert first != second
    assert {name.partition("~")[0] for name in (first, second)} == {"x=1"}
    assert names_of(grid(instance_name=["A"], x=[1]) + grid(instance_name=["A"], x=[2])) == ["A", "A"]


def test_a_table_is_a_dataframe_all_the_same():
    table = grid(a=[1, 2], b=[3])
    assert isinstance(table, pd.DataFrame)
    assert (table[["a", "b"]] + 1).to_numpy().tolist() == [[2, 4], [3, 4]]
    assert (table["a"] + table["b"]).tolist() == [4, 5]
    assert list(table.drop(columns=["a"]).columns) == [NAMES, "b"]
    assert table.drop(0)["a"].tolist() == [2]
    assert table[["a"]].where(table[["a"]] > 1, 0)["a"].tolist() == [0, 2]
    assert table[table["a"] > 1].where("b == 3")["a"].tolist() == [2]
    assert pickle.loads(pickle.dumps(table)).attrs == table.attrs


def test_a_product_has_all_pairs_of_rows_and_refuses_a_column_of_both():
    table = cross(zipped(year=[2030, 2040], price=[55, 80]), grid(mode=["rail", "road"]))
    assert names_of(table)[:2] == ["year=2030,price=55,mode=rail", "year=2030,price=55,mode=road"]
    assert len(table) == 4
    assert names_of(cross([{NAMES: "high", "price": 90}], grid(mode=["rail"]))) == ["high,mode=rail"]
    with pytest.raises(ValueError, match="both tables have a column 'mode'"):
        cross(grid(mode=[1]), grid(mode=[2]))


def test_rows_are_selected_by_expressions_and_keep_their_names():
    table = grid(rate=[0.01, 0.08], mode=["rail", "road"]) + FURTHER
    fast = table.where("rate > 0.05 and mode == 'rail'")
    assert names_of(fast) == ["rate=0.08,mode=rail"]
    assert names_of(table.drop("rate > 0.05")) == ["rate=0.01,mode=rail", "rate=0.01,mode=road", "mine"]
    with pytest.raises(DuctaflowError, match=r"^where\('raet > 1'\): there is no column 'raet'.*rate, mode"):
        table.where("raet > 1")
    with pytest.raises(DuctaflowError, match="cannot be used"):
        table.drop("__import__('os')")


# what is kept of them


def test_a_design_says_how_a_table_was_made_and_is_short():
    table = cross(sample(4, seed=7, rate=(0.0, 1.0)), grid(n=range(100))).where("n < 3") + FURTHER
    design = table.attrs[DESIGN]
    assert design["kind"] == "sum"
    where, rest = design["of"]
    assert (where["kind"], where["expression"], rest) == ("where", "n < 3", {"kind": "table", "n": 1})
    sampled, axes = where["of"][0]["of"]
    assert sampled == {
        "kind": "sample",
        "n": 4,
        "design": "lhs",
        "seed": 7,
        "axes": {"rate": {"from": 0.0, "to": 1.0}},
    }
    assert axes["axes"]["n"] == {"values": list(range(20)), "n": 100}
    assert len(json.dumps(design)) < 500


def test_a_design_is_plain_json_and_stays_with_what_pandas_makes_of_a_table():
    table = sample(
        4, when=[np.datetime64("2040-01-01"), pd.Timestamp("2041-01-01")], x=(np.int64(1), np.int64(9))
    )
    design = json.loads(json.dumps(table.attrs[DESIGN]))
    assert design["axes"]["x"] == {"from": 1, "to": 9}
    assert as_table(table.assign(y=1).query("x > 0"), ()).design == table.attrs[DESIGN]
    assert as_table([{"x": 1}], ()).design == {}


def test_a_design_has_neither_long_values_nor_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "tok-from-environment")
    write_project(tmp_path, {"flows/f.py": ""})
    table = cross(
        sample(2, design="random", x=(0.0, 1.0), password="s3cr3t-9"),
        grid(token=["s3cr3t-8"], text=["long" * 99], copy=["tok-from-environment"]),
    )
    made = TableDeclaration("flows/f.py", table, Origin(str(tmp_path / "c.py")), tmp_path).declare()
    assert len(made.instances) == 2
    text = json.dumps(made.instances[0].design)
    assert "s3cr3t" not in text
    assert "tok-from" not in text
    assert len(text) < 500


def test_an_instance_carries_its_design_to_other_processes():
    instance = Instance("f.py", "f", "a", {}, "runs/f/a", ".", design={"kind": "grid"})
    assert Instance.from_json(json.loads(json.dumps(instance.to_json()))) == instance
    assert "design" not in Instance("f.py", "f", "a", {}, "runs/f/a", ".").to_json()


def test_an_empty_design_is_an_empty_table():
    assert len(grid()) == len(zipped()) == 0
    assert isinstance(grid(a=[]), ScenarioTable)
