"""Tolerances are given by patterns of files and of columns; later ones add to earlier ones."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.comparing import compared, said

from pytest_ductaflow.gate.compare.tolerance import Tolerance, Tolerances


def test_without_anything_said_the_default_holds():
    assert Tolerances({}).of("x.csv") == Tolerance()


def test_later_patterns_add_to_earlier_ones():
    given = {
        "*": {"rtol": 0.1, "columns": {"cost": {"rtol": 0.2}}},
        "*.csv": {"keys": ["zone"], "columns": {"trips*": {"atol": 3}}},
        "*.json": {"rtol": 0.5},
    }
    tolerance = Tolerances(given).of("sub/x.csv")
    assert (tolerance.rtol, tolerance.keys, tolerance.integers) == (0.1, ("zone",), False)
    assert tolerance.of_column("cost").rtol == 0.2
    assert (tolerance.of_column("trips_a").atol, tolerance.of_column("trips_a").integers) == (3, True)
    assert tolerance.of_column("other") is tolerance


def test_a_tolerance_of_a_file_holds_for_integers_that_of_all_files_does_not():
    tolerances = Tolerances({"*": {"atol": 1}, "x.csv": {"atol": 2}})
    assert tolerances.of("x.csv").integers
    assert not tolerances.of("y.csv").integers


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x.csv": 3}, r"'x\.csv': expected names and values, found 3"),
        ({"x.csv": {"tol": 3}}, r"'x\.csv': 'tol' is not one of rtol, atol, columns"),
        ({"*": {"rtol": -1}}, r"rtol: expected a number of 0 or more, found -1"),
        ({"*": {"rtol": True}}, r"rtol: expected a number of 0 or more, found True"),
        ({"*": {"atol": float("nan")}}, r"atol: expected a number of 0 or more, found nan"),
        ({"*": {"keys": "zone"}}, r"keys: expected a list of names, found 'zone'"),
        ({"*": {"columns": ["a"]}}, r"columns: expected tolerances by column, found \['a'\]"),
        ({"*": {"columns": {"a": {"keys": []}}}}, r"columns: 'a': expected rtol and atol"),
        ({"*": {"encoding": "utf-9"}}, r"encoding: 'utf-9' is not known"),
    ],
)
def test_what_cannot_be_a_tolerance_is_named(given, message):
    with pytest.raises(ValueError, match=message):
        Tolerances(given)


def test_colour_may_be_spelt_in_two_ways():
    assert Tolerance().with_({"color": 0.3}, integers=False).colour == 0.3
    with pytest.raises(ValueError, match="'color' is 'colour', which is there as well"):
        Tolerance().with_({"colour": 0.1, "color": 0.3}, integers=False)


FILES = {
    "x.csv": ("zone,created\n1,2\n", "zone,created\n1,3\n"),
    "x.json": ('{"a": [{"created": 1, "zone": 2}]}', '{"a": [{"created": 7, "zone": 2}]}'),
    "x.npz": tuple(
        (lambda path, n=n: np.savez(path, created=np.array([n]), zone=np.array([1]))) for n in (1, 2)
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_misspelt_name_is_told_with_that_which_may_be_meant(tmp_path, name):
    tolerance = Tolerance().with_({"ignore": ["creatd"], "columns": {"zoen": {"atol": 1}}}, integers=True)
    told = said(compared(tmp_path, name, *FILES[name], tolerance))
    assert told[1:3] == [
        "'ignore' names 'creatd', which is not there: did you mean 'created'?",
        "'columns' names 'zoen', which is not there: did you mean 'zone'?",
    ]


@pytest.mark.parametrize("name", FILES)
def test_names_that_are_there_patterns_and_what_other_files_have_are_no_mistakes(tmp_path, name):
    given = {"ignore": ["zone", "z*", "weather"], "columns": {"created": {"atol": 0.5}, "cost": {"atol": 1}}}
    told = said(compared(tmp_path, name, *FILES[name], Tolerance().with_(given, integers=True)))
    assert len(told) == 1
    right = Tolerance().with_({"ignore": ["created", "zome"]}, integers=True)
    assert said(compared(tmp_path, name, *FILES[name], right)) == []
