"""JSON and YAML files are compared by their data, key by key and element by element."""

from __future__ import annotations

import json

import pytest
import yaml
from helpers.comparing import compared, said
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.core.errors import ExpectedUnreadable
from pytest_ductaflow.gate.compare.tolerance import Tolerance

TOTALS = {"totals": {"cost": [1, 2.5, 4.0], "mode": "bus"}, "open": True, "none": None, "created": "today"}


def changed(**changes):
    return {**TOTALS, **changes}


def with_cost(cost):
    return changed(totals={"cost": cost, "mode": "bus"})


FORMATS = pytest.mark.parametrize(
    ("name", "dump"),
    [("x.json", json.dumps), ("x.geojson", json.dumps), ("x.yaml", yaml.dump), ("x.YML", yaml.safe_dump)],
)


@FORMATS
@pytest.mark.parametrize(
    "found",
    [TOTALS, dict(reversed(TOTALS.items())), with_cost([1, 2.5000001, 4]), with_cost([1.0, 2.5, 4.0])],
)
def test_a_structure_is_as_expected_within_the_tolerance(tmp_path, name, dump, found):
    assert compared(tmp_path, name, dump(TOTALS), dump(found)) is None


@FORMATS
@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            with_cost([1, 2.6, 4]),
            [
                (
                    "1 of 7 values differs; largest absolute difference 0.1 (totals.cost[1]: 2.5 expected, "
                    "2.6 found), largest relative 4 %"
                )
            ],
        ),
        (with_cost([2, 2.5, 4]), ["1 of 7 values differs; largest absolute difference 1 (totals.cost[0]: "]),
        (with_cost([1, "2.5", 4]), ['1 of 7 values differs; totals.cost[1]: 2.5 expected, "2.5" found']),
        (with_cost([True, 2.5, 4]), ["1 of 7 values differs; totals.cost[0]: 1 expected, true found"]),
        (changed(none=0), ["1 of 7 values differs; none: null expected, 0 found"]),
        (with_cost([1, 2.5]), ["totals.cost: 3 elements expected, 2 found"]),
        (changed(totals=[1]), ["totals: an object expected, a list found"]),
        (changed(totals=3), ["totals: an object expected, 3 found"]),
        (changed(extra={"a": 1}), ["not expected: extra"]),
        (changed(totals={"cost": []}), ["totals.cost: 3 elements expected, 0 found", "missing: totals.mode"]),
    ],
)
def test_what_differs_is_told_with_its_path(tmp_path, name, dump, found, words):
    told = said(compared(tmp_path, name, dump(TOTALS), dump(found)))
    assert [line[: len(word)] for line, word in zip(told, words, strict=False)] == words


@pytest.mark.parametrize(
    ("tolerance", "found", "same"),
    [
        (Tolerance(rtol=0.1), with_cost([1, 2.6, 4]), True),
        (Tolerance(rtol=0.1), with_cost([2, 2.5, 4]), False),
        (Tolerance(atol=1, integers=True), with_cost([2, 2.5, 4]), True),
        (Tolerance(columns={"cost": Tolerance(atol=1, integers=True)}), with_cost([2, 2.5, 4]), True),
        (Tolerance(columns={"costs": Tolerance(atol=1, integers=True)}), with_cost([2, 2.5, 4]), False),
        (Tolerance(ignore=("created",)), changed(created="yesterday"), True),
        (Tolerance(ignore=("cost",)), with_cost([7]), True),
        (Tolerance(ignore=("totals.c*",)), with_cost([7]), True),
        (Tolerance(ignore=("totals.m*",)), with_cost([7]), False),
        (Tolerance(ignore=("extra",)), changed(extra=1), True),
    ],
)
def test_tolerances_and_what_to_ignore_go_by_key(tmp_path, tolerance, found, same):
    difference = compared(tmp_path, "x.json", json.dumps(TOTALS), json.dumps(found), tolerance)
    assert (difference is None) == same


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("NaN", "NaN", True),
        ("NaN", "null", False),
        ("NaN", "1", False),
        ("Infinity", "-Infinity", False),
        ("123456789012345678901234567890", "123456789012345678901234567891", False),
        ("1", "1.0", True),
        ("[]", "{}", False),
        ('"a"', '"a" ', True),
    ],
)
def test_a_value_alone_is_compared_too(tmp_path, expected, found, same):
    assert (compared(tmp_path, "x.json", expected, found) is None) == same


@pytest.mark.parametrize("name", ["x.jsonl", "x.ndjson"])
def test_lines_of_json_are_compared_as_a_list(tmp_path, name):
    difference = compared(tmp_path, name, '{"a": 1}\n{"a": 2}\n', '{"a": 1}\n\n{"a": 3}\n{"a": 4}\n')
    assert difference.worst[0].where == "[1].a"
    assert difference.notes == ("the list: 2 elements expected, 3 found",)


def test_all_documents_of_yaml_are_compared(tmp_path):
    difference = compared(tmp_path, "x.yaml", "a: 1\n---\nb: 2\n", "a: 1\n---\nb: 3\n")
    assert difference.worst[0].where == "[1].b"


def test_yaml_may_take_over_the_keys_of_another_mapping(tmp_path):
    text = "x: {y: &m {a: 2}}\ntop: {<<: *m, b: 1}\n"
    assert compared(tmp_path, "x.yaml", text, text.replace("a: 2", "a: 3")).worst[1].where == "top.a"


@pytest.mark.parametrize(
    ("expected", "found", "words"),
    [
        ("2020-01-01", '"2020-01-01"', '"2020-01-01" (date) expected, "2020-01-01" (str) found'),
        (
            "'2020-01-01 12:00:00'",
            "2020-01-01 12:00:00",
            '"2020-01-01 12:00:00" (str) expected, "2020-01-01 12:00:00" (datetime) found',
        ),
        ("!!binary eA==", "\"b'x'\"", "\"b'x'\" (bytes) expected, \"b'x'\" (str) found"),
    ],
)
def test_values_of_other_kinds_that_look_alike_are_told_with_their_kinds(tmp_path, expected, found, words):
    message = compared(tmp_path, "x.yaml", f"x: {expected}\n", f"x: {found}\n").message
    assert message == f"1 of 1 values differs; x: {words}"


@pytest.mark.parametrize(
    ("one", "other", "kind"), [("1", '"1"', "int"), ("2020-01-01", "'2020-01-01'", "date")]
)
def test_keys_of_other_kinds_that_look_alike_are_told_with_their_kinds(tmp_path, one, other, kind):
    key = other.strip("\"'")
    told = said(compared(tmp_path, "x.yaml", f"a: {{{one}: 3}}\n", f"a: {{{other}: 3}}\n"))
    assert told == [f"missing: a.{key} ({kind})", f"not expected: a.{key} (str)"]


BOMB = "a0: &a0 [1]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 100)}]\n" for n in range(5))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.json", "", "it is empty"),
        ("x.json", " \n", "it is empty"),
        ("x.json", '{"a": 1', "line 1, column 8: Expecting ',' delimiter"),
        ("x.json", '{"a": 1}\n}', "line 2, column 1: Extra data"),
        ("x.json", '{"a": {"b": 1, "b": 1}}', "key 'b' is there twice in one object"),
        ("x.json", "[" * 100_000, "it is nested deeper than 200 levels"),
        ("x.json", "[" * 202 + "]" * 202, "it is nested deeper than 200 levels"),
        ("x.json", b'{"a": "\xff"}', "line 1: byte 0xff is no utf-8 text"),
        ("x.jsonl", '{"a": 1}\n{"a": 2', "line 2, column 8"),
        ("x.jsonl", '{"a": 1}\n{"a": 2, "a": 2}', "line 2: key 'a' is there twice"),
        ("x.yaml", "", "it is empty"),
        ("x.yaml", "a: [1, 2", "line "),
        ("x.yaml", "a: 1\na: 1\n", "key 'a' is there twice in one object"),
        ("x.yaml", "a: !new 1\n", "line 1: could not determine a constructor for the tag '!new'"),
        ("x.yaml", "a: !!python/object:os.system {}\n", "line 1: could not determine a constructor"),
        ("x.yaml", "&a [*a]\n", "it is nested deeper than 200 levels"),
        ("x.yaml", "[" * 100_000, "it is nested deeper than 200 levels"),
        ("x.yaml", BOMB, "it stands for more than 20,000,000 values"),
    ],
)
def test_a_malformed_structure_is_never_as_expected(tmp_path, name, content, reason):
    with pytest.raises(ExpectedUnreadable) as caught:
        compared(tmp_path, name, content, content)
    assert f"{tmp_path / 'expected' / name}: cannot be read as " in str(caught.value)
    assert reason in str(caught.value)


def test_a_structure_of_two_hundred_levels_is_compared(tmp_path):
    one, other = ("[" * 200 + value + "]" * 200 for value in "12")
    assert compared(tmp_path, "x.json", one, other).worst[0].where == "[0]" * 200


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(VALUES)
def test_a_structure_is_equal_to_itself_written_in_another_way(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("property")
    assert compared(folder, "x.json", json.dumps(value), json.dumps(value, indent=1, sort_keys=True)) is None
