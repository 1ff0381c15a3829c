"""Control tables: cells become plain JSON, empty ones are not set, names are folders."""

from __future__ import annotations

import array
import collections
import datetime
import decimal
import enum
import json
import math
import re
import subprocess
import sys
import textwrap
import types
import uuid
from collections import OrderedDict, namedtuple
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
from helpers.projects import stable_repr
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.core.errors import DuctaflowError, TableError
from pytest_ductaflow.core.scalars import flattened
from pytest_ductaflow.sources.designs.combinations import grid
from pytest_ductaflow.sources.row_filter import select
from pytest_ductaflow.sources.schemas.check import problems_of_schema
from pytest_ductaflow.sources.table_cells import is_unset, plain
from pytest_ductaflow.sources.table_files import read_table
from pytest_ductaflow.sources.tables import (
    as_table,
    check_name,
    merged,
    nested,
)

DAY = datetime.date(2040, 2, 29)
MOMENT = datetime.datetime(2040, 2, 29, 12, 30, tzinfo=datetime.UTC)


def rows_of(table):
    return list(as_table(table, ()).filled())


def names_of(table):
    return as_table(table, ()).names()


Point = namedtuple("Point", "x y")  # noqa: PYI024 - the untyped kind is meant


class Mode(enum.Enum):
    RAIL = "rail"
    DAY = DAY
    NOTHING = object()


class Level(enum.IntEnum):
    HIGH = 3


class Word(enum.StrEnum):
    RAIL = "rail"


class Flag(enum.Flag):
    A = 1
    B = 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (7, 7),
        (2**80, 2**80),
        (0.1, 0.1),
        ("ä\n⚠️", "ä\n⚠️"),
        ("", ""),
        (np.int8(-1), -1),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float16(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (pd.NaT, None),
        (pd.NA, None),
        (np.datetime64("NaT"), None),
        (np.datetime64("2040-02-29"), "2040-02-29T00:00:00"),
        (pd.Timestamp("2040-02-29 12:30"), "2040-02-29T12:30:00"),
        (pd.Timestamp("2040-02-29", tz="Europe/Vienna"), "2040-02-29T00:00:00+01:00"),
        (pd.Period("2040Q1"), "2040Q1"),
        (pd.Timedelta("1D 2h"), "P1DT2H0M0S"),
        (datetime.timedelta(days=1, hours=2), "P1DT2H0M0S"),
        (np.timedelta64(90, "m"), "P0DT1H30M0S"),
        (DAY, "2040-02-29"),
        (MOMENT, "2040-02-29T12:30:00+00:00"),
        (datetime.time(6, 5), "06:05:00"),
        (decimal.Decimal("1.50"), 1.5),
        (Path("a") / "b", str(Path("a") / "b")),
        (PureWindowsPath("C:\\a"), "C:\\a"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Mode.RAIL, "rail"),
        (Mode.DAY, "2040-02-29"),
        (Level.HIGH, 3),
        (Word.RAIL, "rail"),
        (Flag.A | Flag.B, 3),
        ([1, (2, [np.int64(3)])], [1, [2, [3]]]),
        (Point(1, np.float64(2)), [1, 2.0]),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array([], dtype=float), []),
        (np.array([True, None], dtype=object), [True, None]),
        (np.array(["2040-02-29"], dtype="datetime64[D]"), ["2040-02-29"]),
        (np.ma.masked_array([1, 2], [False, True]), [1, None]),
        (pd.Series([1, 2], index=["a", "b"]), [1, 2]),
        (pd.Series(pd.to_datetime(["2040-02-29", None])), ["2040-02-29T00:00:00", None]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Index(["a"]), ["a"]),
        (pd.Series(["a"], dtype="category"), ["a"]),
        ({"a": {"b": np.int64(1)}}, {"a": {"b": 1}}),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": DAY}), {"a": "2040-02-29"}),
        ({np.str_("a"): 1}, {"a": 1}),
        ({}, {}),
        ([], []),
        (np.longdouble(0.5), 0.5),
        (np.timedelta64("NaT"), None),
        (np.array("2040-02-29", dtype="datetime64[ns]"), "2040-02-29T00:00:00"),
        (np.array([["2040-02-29", "NaT"]], dtype="datetime64[ns]"), [["2040-02-29T00:00:00", None]]),
        (np.array(5), 5),
        (np.array(["2040-02-29"], dtype="datetime64[ns]"), ["2040-02-29T00:00:00"]),
        (np.array([90], dtype="timedelta64[ns]").astype("timedelta64[ns]"), ["P0DT0H0M0.00000009S"]),
    ],
    ids=stable_repr,
)
def test_values_become_plain_json(value, expected):
    converted = plain(value)
    assert converted == expected
    assert json.loads(json.dumps(converted, allow_nan=False)) == expected
    assert type(converted) is type(expected) or isinstance(value, str)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (np.float32("-inf"), "-inf"),
        (np.float64("nan"), "nan"),
        (decimal.Decimal("Infinity"), "inf"),
        (decimal.Decimal("sNaN"), "NaN"),
        (1j, "complex"),
        (np.complex128(1j), "complex"),
        (np.clongdouble(1j), "clongdouble"),
        (np.array([1], dtype="timedelta64[Y]"), "Y"),
        (b"x", "bytes"),
        (np.bytes_(b"x"), "bytes"),
        ({1, 2}, "set"),
        (object, "type"),
        (len, "builtin_function_or_method"),
        (pd.Interval(0, 1), "Interval"),
        (Mode.NOTHING, "object"),
        ([1, [math.nan]], "nan"),
        ({"a": {"b": {3}}}, "set"),
        ({"a": {1: 2}}, "key 1"),
        ({None: 2}, "key None"),
        ({("a", "b"): 2}, "key"),
        (np.array([1.0, math.nan]), "nan"),
        (np.timedelta64(1, "Y"), "Y"),
    ],
    ids=stable_repr,
)
def test_what_json_lacks_is_an_error_that_says_what_it_is(value, named):
    with pytest.raises(ValueError, match=named):
        plain(value)


def test_a_list_that_holds_itself_is_an_error_too():
    circle: list[object] = []
    circle.append(circle)
    with pytest.raises(ValueError, match=r"(?i)circular"):
        plain(circle)


class Keys:
    """An object with keys and values that is registered as no mapping, like `ml_collections.ConfigDict`."""

    def keys(self) -> list[str]:
        return ["a"]

    def __getitem__(self, key: str) -> object:
        return range(2)


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (range(3), [0, 1, 2]),
        (collections.deque([1, (2,)]), [1, [2]]),
        (collections.UserList(["a", collections.UserDict(a=range(1))]), ["a", {"a": [0]}]),
        (collections.UserString("abc"), "abc"),
        (array.array("d", [0.5]), [0.5]),
        (types.MappingProxyType({"a": collections.ChainMap({"b": 1})}), {"a": {"b": 1}}),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.values(), [1]),
        (Keys(), {"a": [0, 1]}),
    ],
    ids=stable_repr,
)
def test_mappings_and_sequences_of_any_library_become_dicts_and_lists(value, expected, lenient):
    assert plain({"x": value}, lenient=lenient) == {"x": expected}


def test_a_table_may_be_a_sequence_of_mappings_of_any_library():
    table = as_table(collections.UserList([Keys(), {"b": 1}]), ())
    assert table.columns == ["a", "b"]
    assert table.rows[0][0] == range(2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.inf, math.inf),
        ({1: {2, 3}.__class__}, {"1": "<class 'set'>"}),
        (b"x", "b'x'"),
        (1j, "1j"),
        (pd.Interval(0, 1), "(0, 1]"),
        ([{None: 1}], [{"None": 1}]),
        (np.array([math.inf]), [math.inf]),
        (DAY, "2040-02-29"),
    ],
    ids=stable_repr,
)
def test_leniently_all_else_becomes_text(value, expected):
    assert plain(value, lenient=True) == expected


def test_leniently_nan_stays():
    assert math.isnan(plain(np.float32("nan"), lenient=True))


def test_a_plain_value_shares_no_container_with_what_it_was_made_from():
    config = {"a": {"b": [1]}}
    converted = plain(config)
    converted["a"]["b"].append(2)
    assert config == {"a": {"b": [1]}}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.dates()
    | st.datetimes()
    | st.times()
    | st.uuids()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.timedeltas(datetime.timedelta(days=-9999), datetime.timedelta(days=9999))
    | st.integers(0, 255).map(np.uint8)
    | st.floats(width=32, allow_nan=False, allow_infinity=False).map(np.float32)
    | st.booleans().map(np.bool_)
    | st.text().map(PurePosixPath)
    | st.sampled_from([pd.NaT, pd.NA, Mode.RAIL, Level.HIGH, pd.Timestamp("2040")])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(), inner, max_size=3)
        | st.lists(st.integers(0, 9), max_size=3).map(np.array)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_a_plain_value_can_always_be_written_as_json_and_stays_as_it_is(value):
    converted = plain(value)
    assert json.loads(json.dumps(converted, allow_nan=False)) == converted
    assert plain(converted) == converted


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, True),
        ("", True),
        (" \t\n", True),
        ("\N{NO-BREAK SPACE}", True),
        (math.nan, True),
        (np.float32("nan"), True),
        (pd.NaT, True),
        (pd.NA, True),
        (np.datetime64("NaT"), True),
        (np.timedelta64("NaT"), True),
        (decimal.Decimal("NaN"), True),
        (0, False),
        (0.0, False),
        (False, False),
        ("0", False),
        ("NaN", False),
        ([], False),
        ({}, False),
        (np.array([]), False),
        (math.inf, False),
        (np.array([math.nan]), False),
        (pd.Series([None]), False),
    ],
    ids=stable_repr,
)
def test_these_cells_are_empty_and_those_are_not(value, expected):
    assert is_unset(value) is expected


@pytest.mark.parametrize(
    ("flat", "expected"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ({"a.b": 1, "a.c.d": 2, "e": 3}, {"a": {"b": 1, "c": {"d": 2}}, "e": 3}),
        ({"a": {"x": 1}, "a.b": 2}, {"a": {"x": 1, "b": 2}}),
        ({"a.b": 2, "a": {"x": 1}}, {"a": {"b": 2, "x": 1}}),
        ({"a.b": {"x": 1}, "a.b.c": 2}, {"a": {"b": {"x": 1, "c": 2}}}),
        ({"a.b": [], "a.c": {}}, {"a": {"b": [], "c": {}}}),
        ({"größe.ä": 1}, {"größe": {"ä": 1}}),
        ({"a.b.c": 2, "a.b": {"x": 1}}, {"a": {"b": {"c": 2, "x": 1}}}),
    ],
    ids=stable_repr,
)
def test_dotted_columns_nest(flat, expected):
    assert nested(flat) == expected


@pytest.mark.parametrize(
    ("flat", "named"),
    [
        ({"a": 1, "a.b": 2}, "'a'"),
        ({"a.b": 2, "a": 1}, "'a'"),
        ({"a.b": 1, "a.b.c": 2}, "'b'"),
        ({"a": None, "a.b": 2}, "'a'"),
        ({"a.b.c": 2, "a.b": 1}, "b"),
        ({"a.b.c": 2, "a": {"b": 1}}, "b"),
        ({"a": {"b": 1}, "a.b.c": 2}, "b"),
    ],
    ids=stable_repr,
)
def test_a_column_that_is_a_value_and_a_group_is_an_error_that_names_it(flat, named):
    with pytest.raises(ValueError, match=f"{named}.* is a value and"):
        nested(flat)


def test_a_value_that_is_given_twice_is_an_error_too():
    with pytest.raises(ValueError, match="'b' is a value in column 'a' and in another one"):
        nested({"a.b": 1, "a": {"b": 2}})


def test_nesting_leaves_what_it_is_given_as_it_is():
    given_ = {"x": 1}
    nested({"a": given_, "a.b": 2})
    assert given_ == {"x": 1}


KEYS = st.text(st.characters(exclude_characters="."), min_size=1, max_size=5)
CONFIGS = st.dictionaries(
    KEYS,
    st.recursive(
        st.integers() | st.text() | st.lists(st.integers(), max_size=2) | st.none(),
        lambda inner: st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(CONFIGS)
def test_flattening_and_nesting_are_each_others_reverse(config):
    assert nested(dict(flattened(config))) == config


@given(CONFIGS)
def test_a_flattened_config_has_no_groups_left(config):
    assert not any(isinstance(value, dict) and value for _, value in flattened(config))


@pytest.mark.parametrize(
    ("base", "over", "expected"),
    [
        ({}, {"a": 1}, {"a": 1}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3, "c": 2}}),
        ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
        ({"a": {"b": 2}}, {"a": None}, {"a": None}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}, {"a": {"b": {"c": 1, "d": 2}}}),
    ],
)
def test_the_row_goes_over_the_base_group_by_group(base, over, expected):
    before = json.dumps(base)
    assert merged(base, over) == expected
    assert json.dumps(base) == before


@given(CONFIGS, CONFIGS)
def test_of_two_configs_the_second_always_holds(base, over):
    together = merged(base, over)
    assert merged(together, over) == together
    assert set(together) == {*base, *over}
    assert merged({}, over) == over == merged(over, {})


# Names


@pytest.mark.parametrize(
    "name",
    [
        "A",
        "007",
        "NA",
        "year=2040,mode=rail",
        "Größe ⚠️",
        "a b",
        "a/b/c",
        "...",
        "..a",
        "a..",
        ".hidden",
        "-x",
        "x" * 255,
        "ä" * 127,
        "/".join(["x" * 255] * 3),
        "~",
        "{}",
    ],
)
def test_these_names_can_be_folders(name):
    assert check_name(name, "instance_name") is None


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is empty"),
        ("..", "would leave runs/"),
        (".earlier", "is the name of a folder that runs/ has for itself"),
        ("a/.locks", "is the name of a folder that runs/ has for itself"),
        ("../x", "would leave runs/"),
        ("a/../../b", "would leave runs/"),
        ("a/..", "would leave runs/"),
        (".", "would leave runs/"),
        ("a/./b", "would leave runs/"),
        ("/etc", "would leave runs/"),
        ("//x", "would leave runs/"),
        ("a//b", "has an empty part"),
        ("a/", "has an empty part"),
        ("a\0b", "has a control character"),
        ("a\nb", "has a control character"),
        ("a\tb", "has a control character"),
        ("\x1b[31m", "has a control character"),
        ("a\x7fb", "has a control character"),
        ("a\x9bb", "has a control character"),
        ("x" * 256, "is longer than a file name can be"),
        ("x" * 300, "is longer than a file name can be"),
        ("ä" * 128, "is longer than a file name can be"),
        ("a/" + "⚠️" * 50, "is longer than a file name can be"),
        ("\ud800", ""),
        ("/".join(["x" * 200] * 30), "is longer than"),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_these_names_cannot(name, why):
    problem = check_name(name, "instance_name")
    assert problem is not None
    assert problem.startswith("instance_name ")
    assert why in problem
    assert "\n" not in problem
    assert len(problem) < 400


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_a_name_that_is_let_through_stays_under_runs(name):
    if check_name(name, "x") is None:
        path = PurePosixPath("/runs") / name
        assert path.is_relative_to("/runs")
        assert path != PurePosixPath("/runs")
        assert ".." not in path.parts


# grid


def test_a_grid_has_all_combinations_with_the_last_axis_fastest():
    table = grid(year=[2030, 2040], mode=["rail", "road"])
    assert table["instance_name"].tolist() == [
        "year=2030,mode=rail",
        "year=2030,mode=road",
        "year=2040,mode=rail",
        "year=2040,mode=road",
    ]
    assert rows_of(table)[1] == {"instance_name": "year=2030,mode=road", "year": 2030, "mode": "road"}


@pytest.mark.parametrize(
    ("axes", "names"),
    [
        ({"a": [1]}, ["a=1"]),
        ({"a": [1], "b": [2]}, ["a=1,b=2"]),
        ({"a": [1, 2], "b": ["same"]}, ["a=1,b=same", "a=2,b=same"]),
        ({"a": (n for n in range(2))}, ["a=0", "a=1"]),
        ({"a": np.arange(2)}, ["a=0", "a=1"]),
        ({"a": pd.Series([0.1, 0.30000000000000004])}, ["a=0.1", "a=0.3"]),
        ({"a": [True, False]}, ["a=True", "a=False"]),
        ({"p.method": ["xy", "x-z"]}, ["method=xy", "method=x-z"]),
        ({"p.m": [1], "q.m": [None, 2]}, ["p.m=1", "p.m=1,q.m=2"]),
        ({"a": ["ä"], "b": [DAY]}, [f"a=ä,b={DAY}"]),
        ({"_timeout": [5, 6], "a": [1]}, ["a=1", "a=1"]),
        ({"a": []}, []),
        ({"a": [], "b": [1]}, []),
        ({}, []),
    ],
    ids=stable_repr,
)
def test_a_grid_names_its_rows_after_all_of_its_axes(axes, names):
    assert grid(**axes)["instance_name"].tolist() == names


@pytest.mark.parametrize(
    "axes",
    [
        {"a": ["x" * 100 + "1", "x" * 100 + "2"]},
        {"a": [[1], [2]]},
        {"a": [{"b": 1}, {"b": 2}]},
        {"a": [np.zeros(2), np.ones(2)]},
        {"a": [1e-13, 2e-13]},
        {"a": [None, 1]},
        {"a": ["x y", "x_y"]},
        {"a": [1, "1"]},
        {"a": [0.1, 0.1 + 1e-14]},
        {"a.m": [None, 1], "b.m": [None, 1]},
        {"a": [np.zeros(2000), np.r_[np.zeros(1000), 1, np.zeros(999)]]},
        {"a": [{1: 2, "x": 3}, {}]},
    ],
    ids=lambda axes: repr(axes)[:60],
)
def test_different_rows_of_a_grid_have_different_names(axes):
    names = grid(**axes)["instance_name"].tolist()
    assert len(set(names)) == len(names)
    assert not any(check_name(name, "name") for name in names)


@pytest.mark.parametrize("value", ["rail", 5, None, 1.5, True])
def test_an_axis_that_is_a_single_value_is_an_error_that_names_it(value):
    with pytest.raises(TypeError, match="mode"):
        grid(year=[1], mode=value)


def test_the_values_of_a_grid_keep_their_types():
    row = rows_of(grid(a=[1], b=[1.5], c=[True], d=[[1, 2]], e=[{"f": None}], g=[DAY]))[0]
    assert {key: type(value) for key, value in row.items() if key != "instance_name"} == {
        "a": int,
        "b": float,
        "c": bool,
        "d": list,
        "e": dict,
        "g": datetime.date,
    }


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,5}", fullmatch=True),
        st.lists(st.integers(-5, 5), min_size=1, max_size=3, unique=True),
        min_size=1,
        max_size=3,
    )
)
def test_a_grid_has_as_many_rows_as_the_product_of_its_axes_each_with_its_own_name(axes):
    names = grid(**axes)["instance_name"].tolist()
    assert len(names) == len(set(names)) == math.prod(len(values) for values in axes.values())


# Names and rows of frames


def test_names_come_from_their_column_first():
    table = pd.DataFrame({"instance_name": [" A ", 7, None], "x": [1, 2, 3]}, index=["p", "q", "r"])
    assert names_of(table) == ["A", "7", ""]


def test_names_come_from_a_labelled_index_second():
    assert names_of(pd.DataFrame({"x": [1, 2]}, index=["p", "q"])) == ["p", "q"]


@pytest.mark.parametrize("index", [None, ["p", "p"]])
def test_names_are_made_of_the_values_in_the_end(index):
    assert names_of(pd.DataFrame({"x": [1, 2]}, index=index)) == ["x=1", "x=2"]


def test_an_axis_may_be_the_names():
    table = grid(instance_name=["A", "B"], x=[1])
    assert rows_of(table) == [{"instance_name": "A", "x": 1}, {"instance_name": "B", "x": 1}]
    assert names_of(table) == ["A", "B"]


def test_only_names_that_do_not_tell_all_of_their_values_have_a_hash():
    first, second, third = grid(a=["x y", "x_y", "z"])["instance_name"]
    assert (second, third) == ("a=x_y", "a=z")
    assert re.fullmatch(r"a=x_y~[0-9a-f]{8}", first)
    assert grid(a=["x_y", "x y"])["instance_name"].tolist() == [second, first]
    assert grid(a=["x y"])["instance_name"].tolist() == [first]
    assert grid(a=[None, 1])["instance_name"].tolist() == ["a=None", "a=1"]


def test_a_long_value_and_many_columns_leave_a_name_that_can_be_read_and_be_a_folder():
    (name,) = grid(source=["data/" + "zones_" * 20 + ".csv"], year=[2040])["instance_name"]
    assert re.fullmatch(r"source=data_zones_[zones_]+,year=2040~[0-9a-f]{8}", name)
    many = {f"column_{number}": [number] for number in range(30)}
    (name,) = grid(**many)["instance_name"]
    assert re.fullmatch(r"column_0=0,column_1=1,column_2=2(,column_\d=\d)+~[0-9a-f]{8}", name)
    (name,) = grid(**{"ä" * 200: ["😀" * 200, "é" * 200]})["instance_name"][:1]
    assert len(name.encode()) <= 80
    assert check_name(name, "name") is None


CELLS = (
    st.none()
    | st.integers(-3, 3)
    | st.text(max_size=40)
    | st.booleans()
    | st.lists(st.integers(), max_size=2)
)


@given(
    st.dictionaries(
        st.sampled_from(["a", "b.c", "d.c", "ä x"]), st.lists(CELLS, min_size=1, max_size=3), min_size=1
    )
)
def test_a_name_depends_on_no_other_row(axes):
    table = grid(**axes)
    alone = [names_of(table.iloc[[number]])[0] for number in range(len(table))]
    names = table["instance_name"].tolist()
    assert all(len(name.encode()) <= 89 and check_name(name, "name") is None for name in names)
    for name, own in zip(names, alone, strict=True):
        # Only values that are written alike, 1 and "1", must be distinguished from each other.
        assert name == own or (name.startswith(f"{own}~") and alone.count(own) > 1)


def test_adding_rows_or_values_renames_nothing():
    """https://github.com/pulkitag/pycaffe-utils/issues/1: a new parameter renamed all experiments."""
    narrow, wide = grid(rate=[0.01], years=[25]), grid(rate=[0.01, 0.02], years=[25, 50])
    assert narrow["instance_name"].tolist() == ["rate=0.01,years=25"]
    assert wide["instance_name"].tolist()[0] == "rate=0.01,years=25"
    rows = pd.DataFrame({"mode": ["rail"], "toll": [5]})
    more = pd.concat([rows, pd.DataFrame({"mode": ["road", "rail"], "toll": [5, 6]})])
    assert names_of(more)[:1] == names_of(rows) == ["mode=rail,toll=5"]


def test_a_filter_does_not_change_the_names_of_the_rows_that_it_leaves():
    table = pd.DataFrame({"x": [1, 2, 3, 4]})
    assert names_of(table[table["x"] != 2]) == ["x=1", "x=3", "x=4"]


def test_reserved_and_text_columns_are_no_part_of_names_made_from_values():
    table = pd.DataFrame({"x": [1, 2], "step": ["a", "b"], "flow": ["f", "g"], "_timeout": [1, 2]})
    assert names_of(table) == ["x=1", "x=2"]


def test_rows_have_no_empty_cells_and_each_value_has_its_own_type():
    table = pd.DataFrame(
        {
            "i": pd.array([1, None], dtype="Int64"),
            "f": [0.5, math.nan],
            "b": pd.array([None, True], dtype="boolean"),
            "t": [" ", "x"],
            "d": pd.to_datetime([None, "2040-02-29"]),
        }
    )
    rows = rows_of(table)
    assert rows == [{"i": 1, "f": 0.5}, {"b": True, "t": "x", "d": pd.Timestamp("2040-02-29")}]
    assert type(rows[0]["i"]) is int


def test_integer_column_names_become_text():
    assert rows_of(pd.DataFrame([[1, 2]])) == [{"0": 1, "1": 2}]


def test_a_table_without_columns_has_rows_too():
    table = pd.DataFrame(index=range(2))
    assert len(rows_of(table)) == len(names_of(table)) == 2


# Files


def rows_in(path: Path) -> list[dict[str, object]]:
    return rows_of(read_table(path))


def a_csv(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_csv_is_read_whatever_its_line_ends_and_mark(tmp_path, end, encoding):
    text = end.join(["instance_name,größe,on", "007,1,true", "Ä,,", '"b, c",3,false', ""])
    assert rows_in(a_csv(tmp_path, text, encoding)) == [
        {"instance_name": "007", "größe": 1, "on": True},
        {"instance_name": "Ä"},
        {"instance_name": "b, c", "größe": 3, "on": False},
    ]


def test_integers_with_empty_cells_stay_integers(tmp_path):
    values = [row.get("x") for row in rows_in(a_csv(tmp_path, "instance_name,x\nA,1\nB,\nC,3\n"))]
    assert values == [1, None, 3]
    assert type(values[0]) is int


@pytest.mark.parametrize("column", ["instance_name", "step", "flow", "build"])
@pytest.mark.parametrize(
    "text",
    [
        "007",
        "1.50",
        "True",
        "1e3",
        "NA",
        "null",
        "None",
        "nan",
    ],
)
def test_names_in_a_csv_stay_text(tmp_path, column, text):
    assert rows_in(a_csv(tmp_path, f"{column},x\nother,1\n{text} ,2\n"))[1] == {column: text, "x": 2}


def test_spaces_after_commas_are_no_part_of_names_or_columns(tmp_path):
    assert rows_in(a_csv(tmp_path, "instance_name, x\nA, 1\n")) == [{"instance_name": "A", "x": 1}]


def test_spaces_before_commas_are_no_part_of_columns(tmp_path):
    assert rows_in(a_csv(tmp_path, "instance_name ,x \nA,1\n")) == [{"instance_name": "A", "x": 1}]


def test_a_column_that_is_twice_but_for_spaces_is_said_to_be(tmp_path):
    with pytest.raises(DuctaflowError, match=r"table\.csv: column 'x' is there more than once"):
        read_table(a_csv(tmp_path, "x ,y,x\n1,2,3\n"))


def test_words_in_a_csv_that_only_pandas_takes_for_empty_are_words(tmp_path):
    text = "country,x\nNA,\nNone,NaN\nnull,<NA>\nn/a,NaT\nnan,5\n"
    rows = [{"country": "NA"}, {"country": "None"}, {"country": "null"}, {"country": "n/a"}, {"x": 5}]
    assert rows_in(a_csv(tmp_path, text)) == rows


def test_blank_rows_of_a_csv_are_no_rows(tmp_path):
    table = read_table(a_csv(tmp_path, "instance_name,x,t\n\nA,1,\n,,\n , , \nB,,b\n\n"))
    assert rows_of(table) == [{"instance_name": "A", "x": 1}, {"instance_name": "B", "t": "b"}]
    assert table.index.tolist() == [0, 1]


@pytest.mark.parametrize("value", [0.1, 0.1 + 0.2, 1e300, 2.2250738585072014e-308, 123456.789012345678])
def test_numbers_in_a_csv_are_read_to_the_last_digit(tmp_path, value):
    assert rows_in(a_csv(tmp_path, f"x\n{value!r}\n")) == [{"x": value}]


def test_a_csv_with_a_header_alone_has_no_rows(tmp_path):
    assert rows_in(a_csv(tmp_path, "instance_name,x\n")) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("instance_name,x\nA,1,\nB,2,\n", id="comma at the end"),
        pytest.param("instance_name,x\nA,1,7\nB,2,8\n", id="more values than columns"),
    ],
)
def test_rows_that_are_longer_than_the_header_are_not_shifted(tmp_path, text):
    with pytest.raises(DuctaflowError, match=r"table\.csv: .*some rows have more cells than the header"):
        read_table(a_csv(tmp_path, text))


def test_a_comma_at_the_end_of_every_line_is_no_column(tmp_path):
    assert rows_in(a_csv(tmp_path, "instance_name,x,\nA,1,\n")) == [{"instance_name": "A", "x": 1}]


def test_a_column_that_is_twice_in_a_csv_is_said_to_be(tmp_path):
    with pytest.raises(DuctaflowError, match="column 'x' is there more than once"):
        as_table(a_csv(tmp_path, "instance_name,x,x\nA,1,2\n"), (tmp_path,))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", b""),
        ("t.csv", "instance_name\nÄ\n".encode("latin-1")),
        ("t.csv", b"a,b\n1,2\n1,2,3\n"),
        ("t.json", b""),
        ("t.json", b"[{"),
        ("t.json", b"5"),
        ("t.jsonl", b'{"a": 1}\n{"a"'),
        ("t.parquet", b"PAR1"),
        ("t.parquet", b""),
        ("t.xlsx", b"PK"),
        ("t.xlsx", b""),
        ("t.txt", b"a\n1\n"),
        ("t", b"a\n1\n"),
    ],
)
def test_what_is_no_table_is_an_error_that_names_the_file(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DuctaflowError) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.parquet", "t.xlsx"])
def test_a_table_that_is_gone_is_an_error_that_names_the_file(tmp_path, name):
    with pytest.raises(DuctaflowError, match=f"{name}: cannot be read"):
        read_table(tmp_path / name)


def test_the_suffix_may_be_in_capitals(tmp_path):
    (tmp_path / "T.CSV").write_text("x\n1\n", encoding="utf-8")
    assert rows_in(tmp_path / "T.CSV") == [{"x": 1}]


RECORDS = [
    {
        "instance_name": "007",
        "i": 1,
        "f": 0.5,
        "b": True,
        "date": "2040-02-29",
        "l": [1, [2]],
        "d": {"a": 1.5},
    },
    {"instance_name": "NA", "i": None, "b": None, "t": "007", "d": None},
]


def a_json(tmp_path: Path, records: object, *, lines: bool = False) -> Path:
    path = tmp_path / ("t.jsonl" if lines else "t.json")
    text = "\n".join(map(json.dumps, records)) if lines else json.dumps(records)
    path.write_text(text, encoding="utf-8")
    return path


def test_reading_json_warns_of_nothing(tmp_path):
    assert len(read_table(a_json(tmp_path, RECORDS))) == 2


@pytest.mark.parametrize("lines", [False, True])
def test_a_json_table_keeps_the_types_of_its_values(tmp_path, lines):
    rows = rows_in(a_json(tmp_path, RECORDS, lines=lines))
    assert rows == [{key: value for key, value in row.items() if value is not None} for row in RECORDS]
    assert type(rows[0]["i"]) is int


@pytest.mark.parametrize(
    "value",
    [
        0.1 + 0.2,
        2**53 + 1,
        -(2**63),
        "2040-02-29",
        "1",
        "NaN",
        [],
        {},
        {"a": {"b": [None, {"c": 1}]}},
        "ä⚠️",
        False,
        1.7976931348623157e308,
        5e-324,
        2**70,
    ],
    ids=stable_repr,
)
def test_a_value_in_a_json_table_is_what_json_says(tmp_path, value):
    assert rows_in(a_json(tmp_path, [{"x": value}])) == [{"x": value}]


def test_a_whole_float_in_a_json_table_stays_a_float(tmp_path):
    assert type(rows_in(a_json(tmp_path, [{"x": 1.0}]))[0]["x"]) is float


def test_an_integer_beside_a_float_in_a_json_table_stays_an_integer(tmp_path):
    assert type(rows_in(a_json(tmp_path, [{"x": 1}, {"x": 2.5}]))[0]["x"]) is int


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_a_json_table_may_begin_with_a_byte_order_mark(tmp_path, name):
    (tmp_path / name).write_text('[{"x": 1}]' if name == "t.json" else '{"x": 1}', encoding="utf-8-sig")
    assert rows_in(tmp_path / name) == [{"x": 1}]


def test_an_empty_json_list_has_no_rows(tmp_path):
    assert rows_in(a_json(tmp_path, [])) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "row 1: expected an object"),
        ([{"x": 1}, None], "row 2: expected an object"),
        ({"x": [1]}, "a JSON table is a list of objects, .*, not dict"),
        ("x", "a JSON table is a list of objects, .*, not str"),
    ],
    ids=stable_repr,
)
def test_json_that_is_no_list_of_objects_is_no_table(tmp_path, content, said):
    with pytest.raises(DuctaflowError, match=rf"t\.json: {said}"):
        read_table(a_json(tmp_path, content))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"x": 1}\n\n{"x": }\n', "line 3, column 7: not JSON"),
        ('{"x": 1}\n[1]\n', "line 2: expected an object"),
    ],
)
def test_a_bad_line_of_a_jsonl_table_is_told_by_its_number(tmp_path, text, said):
    (tmp_path / "t.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(DuctaflowError, match=rf"t\.jsonl: {said}"):
        read_table(tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.json", '[{"x": 1}, {"v": 1, "v": 2}]', r"key 'v' is there more than once in \{'v': 1, 'v': 2\}"),
        ("t.json", '[{"x": {"v": 1, "v": 1}}]', "key 'v' is there more than once"),
        ("t.jsonl", '{"x": 1}\n{"v": 1, "v": 2}', "line 2: key 'v' is there more than once"),
    ],
)
def test_a_key_that_is_twice_in_an_object_is_refused(tmp_path, name, text, said):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(TableError, match=rf"{name}: {said}"):
        read_table(tmp_path / name)


def test_blank_lines_and_unicode_s_line_separators_do_not_break_a_jsonl_table(tmp_path):
    text = '{"x": "a\u2028b"}\r\n\r\n{"x": 2}\r\n'
    (tmp_path / "t.jsonl").write_text(text, encoding="utf-8", newline="")
    assert rows_in(tmp_path / "t.jsonl") == [{"x": "a\u2028b"}, {"x": 2}]


def a_workbook(tmp_path: Path, *rows: list[object]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    return tmp_path / "t.xlsx"


def test_an_excel_table_keeps_integers_names_and_dates(tmp_path):
    path = a_workbook(
        tmp_path,
        ["instance_name", "i", "f", "on", "when", "text"],
        [7, 1, 0.5, True, datetime.datetime(2040, 2, 29), "ä"],  # noqa: DTZ001 - Excel knows no zones
        ["007", None, 1.5, None, None, "b"],
    )
    assert rows_in(path) == [
        {"instance_name": "7", "i": 1, "f": 0.5, "on": True, "when": pd.Timestamp("2040-02-29"), "text": "ä"},
        {"instance_name": "007", "f": 1.5, "text": "b"},
    ]


def test_an_instance_in_excel_may_be_named_na(tmp_path):
    assert rows_in(a_workbook(tmp_path, ["instance_name"], ["NA"])) == [{"instance_name": "NA"}]


def test_a_table_in_excel_may_have_blank_rows_and_spaces_around_its_columns(tmp_path):
    path = a_workbook(
        tmp_path,
        [],
        [" instance_name", "x ", "country", "code"],
        [" A ", 1, "NA", "007"],
        [None, " ", None],
        ["nan", 0.5, "nan", None],
    )
    assert rows_in(path) == [
        {"instance_name": "A", "x": 1, "country": "NA", "code": "007"},
        {"instance_name": "nan", "x": 0.5},
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [([["x", "y", "x "], [1, 2, 3]], "column 'x' is there more than once"), ([], "no header")],
)
def test_a_table_in_excel_without_a_good_header_is_an_error(tmp_path, rows, said):
    with pytest.raises(DuctaflowError, match=rf"t\.xlsx: .*{said}"):
        read_table(a_workbook(tmp_path, *rows))


def test_a_cell_without_a_name_in_excel_is_empty(tmp_path):
    assert names_of(read_table(a_workbook(tmp_path, ["instance_name", "x"], [None, 1]))) == [""]


def test_a_parquet_table_keeps_integers_lists_and_its_index(tmp_path):
    pytest.importorskip("pyarrow")
    table = pd.DataFrame(
        {"i": pd.array([1, None], dtype="Int64"), "l": [[1, 2], None], "d": [DAY, None]},
        index=pd.Index(["007", "NA"], name="instance_name"),
    )
    table.to_parquet(tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet")
    assert names_of(read) == ["007", "NA"]
    assert [plain(row) for row in rows_of(read)] == [{"i": 1, "l": [1, 2], "d": "2040-02-29"}, {}]


@pytest.mark.parametrize(
    "values",
    [
        [[1, None], [2]],
        [[True, None]],
        [{"a": 1, "b": None}, {"a": None, "b": 2}],
        [{"a": [1, None]}, {"a": None}],
        [[{"a": 1}, {"a": None}]],
        [2**53 + 1],
    ],
    ids=stable_repr,
)
def test_what_is_missing_in_a_parquet_cell_changes_nothing_else(tmp_path, values):
    arrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table({"x": values}), tmp_path / "t.parquet")
    found = [plain(row["x"]) for row in rows_of(read_table(tmp_path / "t.parquet"))]
    assert json.dumps(found) == json.dumps(values)


@pytest.mark.parametrize(
    ("name", "modules", "extra"),
    [("t.xlsx", ["openpyxl"], "excel"), ("t.parquet", ["pyarrow", "fastparquet"], "parquet")],
)
def test_a_missing_reader_is_an_error_that_says_what_to_install(tmp_path, monkeypatch, name, modules, extra):
    if name == "t.xlsx":
        a_workbook(tmp_path, ["x"], [1])
    else:
        (tmp_path / name).write_bytes(b"PAR1")
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DuctaflowError) as caught:
        read_table(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert f"pip install 'pytest-ductaflow[{extra}]'" in str(caught.value)


# Forms of tables


def test_a_table_is_looked_for_in_each_root(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "t.csv").write_text("x\n1\n", encoding="utf-8")
    table = as_table("t.csv", (tmp_path / "a", tmp_path / "b"))
    assert list(table.filled()) == [{"x": 1}]
    assert table.file == str(tmp_path / "b" / "t.csv")


def test_dicts_and_frames_are_tables_too(tmp_path):
    frame = pd.DataFrame({"x": [1]})
    assert rows_of(frame) == frame.to_dict("records")
    assert rows_of([{"x": 1}, {"y": [2]}]) == [{"x": 1}, {"y": [2]}]
    assert rows_of([{"x": 1}, {"x": 2.5}, {"x": True}]) == [
        {"x": 1},
        {"x": 2.5},
        {"x": True},
    ]
    assert rows_of([]) == []


def test_a_list_of_dicts_needs_no_pandas(tmp_path):
    (tmp_path / "flow.py").write_text('# %% tags=["parameters"]\nconfig = {}\n')
    code = """
        import datetime, decimal, enum, sys
        from pathlib import Path
        from pytest_ductaflow import conduct
        from pytest_ductaflow.planning.caller import Origin
        from pytest_ductaflow.planning.declare_table import TableDeclaration
        here = Path.cwd()
        values = [None, "", 1, 0.5, float("nan"), decimal.Decimal("nan"), datetime.date(2040, 2, 29), here]
        rows = [{"value": value, "more": [value]} for value in values]
        found = TableDeclaration("flow.py", rows, Origin("conductor.py"), here).declare()
        print([each.config.get("value", "unset") for each in found.instances], len(found.problems))
        print({"pandas", "numpy"} & set(sys.modules))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [f"['unset', 'unset', 1, 0.5, '2040-02-29', '{tmp_path}'] 2", "set()"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (None, "not NoneType"),
        ({"x": [1]}, "not dict"),
        ([1, 2], "not list"),
        (pd.Series([1]), "not Series"),
        (np.zeros((2, 2)), "not ndarray"),
        ("t.csv", "table 't.csv' not found"),
        ("folder", "table 'folder' not found"),
        ("", "table '' not found"),
        ("a\0b.csv", "not found"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), "column 'x' is there more than once"),
        ("a,b\n1,2\n" * 50, "not found"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "column '1' is there more than once"),
        ([{1: 1, "1": 2}], "column '1' is there more than once"),
    ],
    ids=lambda value: stable_repr(value)[:30],
)
def test_what_is_no_table_is_said_to_be_none(tmp_path, table, said):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DuctaflowError, match=said):
        as_table(table, (tmp_path,))


# Selection


TABLE = pd.DataFrame(
    {
        "year": pd.array([2030, 2040, None], dtype="Int64"),
        "mode": ["rail", "road", "rail"],
        "p.method": ["a", "b", "a"],
        "flag": [1, 0, 0],
    },
    index=["x", "y", "x"],
)


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("year == 2040 and mode == 'road'", [False, True, False]),
        ("year > 2000", [True, True, False]),
        ("year.isna()", [False, False, True]),
        ("`p.method` == 'a'", [True, False, True]),
        ("mode in ['rail', 'air']", [True, False, True]),
        ("mode.str.startswith('r')", [True, True, True]),
        ("year < 0", [False, False, False]),
        ("not (mode == 'rail')", [False, True, False]),
        ("index == 1", [False, True, False]),
    ],
)
def test_an_expression_keeps_the_rows_for_which_it_holds(expression, kept):
    assert select(expression, TABLE) == kept


def test_a_row_for_which_an_expression_is_neither_true_nor_false_is_not_kept():
    table = pd.DataFrame({"t": pd.Series(["ab", None, "c"], dtype=object), "on": [True, None, False]})
    assert select("t.str.startswith('a')", table) == [True, False, False]
    assert select("on", table) == [True, False, False]


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "yaer == 2040",
        "year = 2040",
        "year ==",
        "p.method == 'a'",
        "mode > 3",
        "import os",
        "@os",
        "year.nope()",
        "mode",
        "year + 1",
        "True",
        "year.isna().head(1)",
        "1",
        "flag",
    ],
)
def test_an_expression_that_cannot_be_evaluated_is_an_error_that_names_the_columns(expression):
    with pytest.raises(DuctaflowError) as caught:
        select(expression, TABLE)
    assert f"--ductaflow-where {expression!r}" in str(caught.value)
    assert "year, mode, p.method, flag" in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "kept"),
    [
        ("mode in ('rail',) & (year > 2000)", [True, False, False]),
        ("(year > 2035) | ~(flag == 0)", [True, True, False]),
        ("2000 < year <= 2030", [True, False, False]),
        ("year == year.max()", [False, True, False]),
        ("year.between(2030, 2035)", [True, False, False]),
        ("year.isin([2040]) or flag == 1", [True, True, False]),
        ("mode.str.contains('RA', case=False)", [True, False, True]),
        ("mode.str.upper().str.len() == 4", [True, True, True]),
        ("mode != '@os `year` ' and -year < -2035", [False, True, False]),
        ("`year` // 10 == 203 and `p.method` not in ['b']", [True, False, False]),
        ("abs(year - 2041) < 2", [False, True, False]),
        ("year.fillna(0) % 2 == 0", [True, True, True]),
    ],
)
def test_columns_constants_operators_and_their_own_methods_make_an_expression(expression, kept):
    assert select(expression, TABLE) == kept


@pytest.mark.parametrize(
    "expression",
    [
        "mode == @os.system('touch seen')",
        "mode == @__import__('os').system('touch seen')",
        "mode == __import__('os').system('touch seen')",
        "mode == __pd_eval_local_os.system('touch seen')",
        "mode.to_csv('seen') == 1",
        "mode.to_pickle(path='seen') == 1",
        "mode.apply('to_csv', path_or_buf='seen') == 1",
        "mode.agg('to_csv') == 1",
        "mode.str.to_csv('seen') == 1",
        "mode.__class__ == 1",
        "mode.str == 1",
        "mode.values.tofile('seen') == 1",
        "`mode`.to_csv('seen') == 1",
        "Timestamp.__init__.__globals__ == 1",
        "(mode == 'rail').to_csv('seen') == 1",
        "'seen'.format(mode) == mode",
        "[open('seen', 'w')] == mode",
        "open('seen', 'w') == 1",
        "mode[mode.to_csv('seen')] == 1",
        "(lambda: 1)() == year",
        "[x for x in mode] == mode",
        "f'{mode}' == mode",
        "mode.isin(*[1])",
        "mode.isin(**year)",
        "year == 9 ** 9 ** 9 ** 9",
        "(" * 5_000 + "year" + ")" * 5_000,
        "year == 1\nmode == 'rail'",
    ],
)
def test_nothing_else_can_be_reached_by_an_expression(expression, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DuctaflowError) as caught:
        select(expression, TABLE)
    assert not list(tmp_path.iterdir())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("mode.to_csv('f') == 1", "the method 'to_csv' cannot be used"),
        ("mode.str.nope()", "the method 'str.nope' cannot be used"),
        ("mode.size == 1", "'mode.size' cannot be used"),
        ("@os == mode", "'@' cannot be used"),
        ("`yaer` == 1", "there is no column 'yaer'"),
        ("yaer == 1", "there is no column 'yaer'"),
        ("p.method == 'a'", "'p.method' cannot be used"),
        ("open('f') == mode", "the function 'open' cannot be used"),
    ],
)
def test_what_an_expression_cannot_use_is_told_with_what_it_can(expression, said):
    with pytest.raises(DuctaflowError) as caught:
        select(expression, TABLE)
    assert said in str(caught.value)
    assert "`p.method`" in str(caught.value) or "Columns here" in str(caught.value)


# JSON Schema

SCHEMA = {
    "type": "object",
    "properties": {
        "year": {"type": "integer", "minimum": 2000},
        "p": {"properties": {"m": {"enum": ["a", "b"]}}},
    },
    "required": ["year"],
    "additionalProperties": False,
}
YEAR = "expected an integer, at least 2000"


@pytest.mark.parametrize(
    ("config", "problems"),
    [
        ({"year": 2040}, []),
        ({"year": 2040, "instance_name": "A", "_project_root": "/p", "_x": 1}, []),
        ({"year": 2040, "p": {"m": "b"}}, []),
        ({}, ["t.csv, row 1, column 'year': is missing (expected an integer, at least 2000)"]),
        ({"year": "2040"}, [f"t.csv, row 1, column 'year': '2040' is not of type 'integer' ({YEAR})"]),
        (
            {"year": 2040, "p": {"m": "c"}},
            ["t.csv, row 1, column 'p.m': 'c' is not one of ['a', 'b'] (expected one of 'a', 'b')"],
        ),
        (
            {"year": 1, "yaer": 2},
            [
                "t.csv, row 1, column 'yaer': is not in the flow's JSON Schema (did you mean 'year'?)",
                f"t.csv, row 1, column 'year': 1 is less than the minimum of 2000 ({YEAR})",
            ],
        ),
    ],
    ids=stable_repr,
)
def test_each_failure_of_the_schema_is_a_problem_at_its_column(config, problems):
    assert sorted(map(str, problems_of_schema(config, SCHEMA, "t.csv, row 1"))) == problems


def test_a_reserved_or_name_column_is_looked_at_if_the_schema_knows_it():
    schema = {"properties": {"instance_name": {"maxLength": 1}}}
    assert len(problems_of_schema({"instance_name": "AB"}, schema, "x")) == 1


@pytest.mark.parametrize(("schema", "number"), [(True, 0), (False, 1), ({}, 0)])
def test_a_schema_can_be_true_or_false(schema, number):
    assert len(problems_of_schema({"a": 1}, schema, "x")) == number


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "intger"},
        {"properties": 5},
        {"$ref": "nowhere.json"},
        5,
        [],
        {"properties": {"a": {"type": "x"}}},
    ],
    ids=stable_repr,
)
def test_a_schema_that_is_none_is_one_problem(schema):
    (problem,) = problems_of_schema({"a": 1}, schema, "x")
    assert str(problem).startswith("x: the flow's JSON Schema ")
