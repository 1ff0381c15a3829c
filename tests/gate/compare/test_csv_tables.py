"""CSV files are compared by their cells, numbers with a tolerance, rows by position or by keys."""

from __future__ import annotations

import csv
import io

import pytest
from helpers.comparing import compared, said
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.core.errors import ExpectedUnreadable
from pytest_ductaflow.gate.compare.tolerance import Tolerance, Tolerances

TRIPS = "zone,mode,trips\n1,bus,12.5\n2,tram,3\n3,bus,1e3\n"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (TRIPS, "is the same"),
        (TRIPS.replace("\n", "\r\n"), "has other line endings"),
        ("\ufeff" + TRIPS, "has a byte order mark"),
        (TRIPS.replace("bus", '"bus"'), "has quotes that mean nothing"),
        (TRIPS + "\n\n", "has empty lines at its end"),
        (TRIPS.replace("12.5", "12.50"), "writes a number in another way"),
        (TRIPS.replace("1e3", "1000"), "writes a number in another way"),
        (TRIPS.replace("12.5", "12.500001"), "is within the relative tolerance"),
    ],
)
def test_a_table_is_as_expected_though_it(tmp_path, found, why):
    assert compared(tmp_path, "trips.csv", TRIPS, found) is None, why


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            TRIPS.replace("12.5", "13"),
            (
                "1 of 9 values differs; "
                "largest absolute difference 0.5 (row 1, trips: 12.5 expected, 13 found), "
                "largest relative 4 %"
            ),
        ),
        (
            TRIPS.replace("12.5", "13").replace("1e3", "1001"),
            (
                "2 of 9 values differ; "
                "largest absolute difference 1 (row 3, trips: 1e3 expected, 1001 found), "
                "largest relative 4 % (row 1, trips: 12.5 expected, 13 found)"
            ),
        ),
        (TRIPS.replace("tram", "train"), "1 of 9 values differs; row 2, mode: tram expected, train found"),
        (TRIPS.replace("bus", "bike"), "2 of 9 values differ; first: row 1, mode: bus expected, bike found"),
        (
            TRIPS.replace("tram", "train").replace("12.5", "13"),
            (
                "2 of 9 values differ; "
                "largest absolute difference 0.5 (row 1, trips: 12.5 expected, 13 found), "
                "largest relative 4 %; 1 is not a pair of numbers: row 2, mode: tram expected, train found"
            ),
        ),
        (
            TRIPS.replace("bus", "bike").replace("12.5", "13"),
            (
                "3 of 9 values differ; "
                "largest absolute difference 0.5 (row 1, trips: 12.5 expected, 13 found), "
                "largest relative 4 %; 2 are not pairs of numbers, "
                "first: row 1, mode: bus expected, bike found"
            ),
        ),
        (TRIPS.replace("12.5", ""), "1 of 9 values differs; row 1, trips: 12.5 expected, missing found"),
        (TRIPS + "4,bus,2\n", "3 rows expected, 4 found"),
        (TRIPS.replace("3,bus,1e3\n", ""), "3 rows expected, 2 found"),
        ("zone,trips\n1,12.5\n2,3\n3,1e3\n", "column missing: mode"),
        ("zone,mode,trips,x\n1,bus,12.5,\n2,tram,3,\n3,bus,1e3,\n", "column not expected: x"),
        (
            "mode,zone,trips\nbus,1,12.5\ntram,2,3\nbus,3,1e3\n",
            "columns in another order: zone, mode, trips expected, mode, zone, trips found",
        ),
        (TRIPS + "4,bus\n", "cannot be read as CSV: line 5 has 2 fields, expected 3"),
    ],
)
def test_what_differs_is_told_in_a_line(tmp_path, found, message):
    difference = compared(tmp_path, "trips.csv", TRIPS, found)
    assert (difference.file, difference.message) == ("trips.csv", message)


def test_values_are_compared_by_name_where_columns_have_another_order(tmp_path):
    found = "mode,zone,trips\nbus,1,12.5\ntram,2,4\nbus,3,1e3\n"
    words = said(compared(tmp_path, "trips.csv", TRIPS, found))
    assert "row 2, trips: 3 expected, 4 found" in words[0]
    assert words[1:] == ["columns in another order: zone, mode, trips expected, mode, zone, trips found"]


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("NaN", "", True),
        ("NA", "None", False),
        ("null", "nan", False),
        ("", "0", False),
        ("007", "7", False),
        ("0", "0.0", True),
        ("5", "6", False),
        ("5", "5.000001", True),
        ("inf", "Infinity", True),
        ("inf", "-inf", False),
        ("inf", "1e308", False),
        ("0.5", ".5", True),
        ("1_000", "1000", False),
        ("x", "X", False),
        ("9007199254740993", "9007199254740992", False),
        ("1" * 5000, "1" * 4999 + "2", False),
        ("1e-13", "2e-13", False),
        ("true", "1", False),
    ],
)
def test_a_cell_is_taken_for_what_people_take_it_for(tmp_path, expected, found, same):
    difference = compared(tmp_path, "x.csv", f"a,b\nx,{expected}\n", f"a,b\nx,{found}\n")
    assert (difference is None) == same


@pytest.mark.parametrize(
    ("given_", "expected", "found", "same"),
    [
        ({"*": {"rtol": 0.1}}, "1.0", "1.05", True),
        ({"*": {"rtol": 0.1}}, "1.0", "1.15", False),
        ({"*": {"rtol": 0.1}}, "20", "21", False),
        ({"x.csv": {"rtol": 0.1}}, "20", "21", True),
        ({"x.csv": {"rtol": 0, "atol": 1}}, str(2**60), str(2**60 + 1), True),
        ({"x.csv": {"rtol": 0, "atol": 1}}, str(2**60), str(2**60 + 2), False),
        ({"x.csv": {"rtol": 0, "atol": 0}}, "0.1", "0.10000000000000002", False),
        ({"*": {"columns": {"b": {"atol": 0.5}}}}, "20", "20.4", True),
        ({"*": {"columns": {"b": {"atol": 2}}}}, "20", "22", True),
        ({"*": {"columns": {"a": {"atol": 2}}}}, "20", "22", False),
        ({"*": {"columns": {"b*": {"atol": 2}, "b": {"atol": 0}}}}, "20", "22", False),
        ({"*": {"ignore": ["b"]}}, "20", "x", True),
        ({"*": {"ignore": ["[bc]"]}}, "20", "x", True),
    ],
)
def test_the_tolerance_of_a_file_and_of_a_column_holds(tmp_path, given_, expected, found, same):
    tolerance = Tolerances(given_).of("x.csv")
    difference = compared(tmp_path, "x.csv", f"a,b\nx,{expected}\n", f"a,b\nx,{found}\n", tolerance)
    assert (difference is None) == same


def test_with_keys_rows_may_be_in_any_order_and_those_without_partner_are_listed(tmp_path):
    tolerance = Tolerance(keys=("zone", "mode"))
    found = "zone,mode,trips\n3.0,bus,1e3\n4,bus,7\n1,bus,13\n"
    difference = compared(tmp_path, "trips.csv", TRIPS, found, tolerance)
    assert difference.message.startswith("1 of 2 values differs")
    assert difference.worst[0].where == "zone=1, mode=bus, trips"
    assert difference.notes == (
        "1 row missing: (zone=2, mode=tram)",
        "1 row not expected: (zone=4, mode=bus)",
    )


def test_of_many_rows_without_partner_ten_are_listed(tmp_path):
    rows = "".join(f"{number},1\n" for number in range(1200))
    difference = compared(tmp_path, "x.csv", "id,n\n" + rows, "id,n\n", Tolerance(keys=("id",)))
    assert difference.message.startswith("1,200 rows missing: id=0, id=1, ")
    assert difference.message.endswith("id=9 and 1,190 more")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("mode",), "rows cannot be matched: in the expected table several rows have mode=bus"),
        (
            ("area",),
            (
                "rows cannot be matched: 'area' is a key, but no column of the expected table "
                "(columns: zone, mode, trips)"
            ),
        ),
    ],
)
def test_keys_that_identify_no_row_are_told_even_of_equal_files(tmp_path, keys, message):
    difference = compared(tmp_path, "trips.csv", TRIPS, TRIPS, Tolerance(keys=keys))
    assert difference.message == message


def test_the_worst_ten_values_come_first_texts_before_numbers(tmp_path):
    expected = "a,b\n" + "x,0\n" * 20
    found = "a,b\n" + "".join(f"{'x' if row else 'y'},{row * 1000}\n" for row in range(20))
    worst = compared(tmp_path, "x.csv", expected, found).worst
    assert [value.absolute for value in worst] == [None, *range(19000, 10000, -1000)]
    assert worst[1].relative is None


def test_a_long_cell_is_cut_to_where_it_differs(tmp_path):
    long = "x" * 200
    value = compared(tmp_path, "x.csv", f"a\n{long}1{long}\n", f"a\n{long}2{long}\n").worst[0]
    assert (len(value.expected), len(value.found)) == (60, 60)
    assert "x1x" in value.expected
    assert "x2x" in value.found


@pytest.mark.parametrize(
    ("name", "expected", "found", "encoding"),
    [
        ("x.tsv", "a\tb\n1\t2\n", "a\tb\n1\t3\n", "utf-8"),
        ("x.csv", "a;b\n1;2\n", "a;b\n1;3\n", "utf-8"),
        ("x.CSV", "ä,b\n1,2\n".encode("cp1252"), "ä,b\n1,3\n".encode("cp1252"), "cp1252"),
        ("x.csv", "a,b\n1,2\n".encode("utf-16"), "a,b\n1,3\n".encode("utf-16"), "utf-16"),
    ],
)
def test_other_delimiters_and_encodings_are_read(tmp_path, name, expected, found, encoding):
    difference = compared(tmp_path, name, expected, found, Tolerance(encoding=encoding))
    assert difference.worst[0].where == "row 1, b"


def test_an_empty_line_of_a_single_column_is_a_missing_value(tmp_path):
    assert compared(tmp_path, "x.csv", "a\n1\n\n2\n", "a\n1\nNaN\n2\n") is None
    assert compared(tmp_path, "x.csv", "a\n1\n\n", "a\n1\n").message == "2 rows expected, 1 found"


def test_a_cell_may_be_longer_than_the_limit_of_the_csv_module(tmp_path):
    before = csv.field_size_limit()
    outline = "POLYGON" + " 1.5" * 100_000
    assert compared(tmp_path, "x.csv", f"a\n{outline}\n", f"a\n{outline}\n") is None
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "line 1 has no header"),
        ("\n1,2\n", "line 1 has no header"),
        ("a,a\n1,2\n", "line 1: column 'a' is there 2 times"),
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 fields, expected 2"),
        ("a,b\n1,2\n\n1,2\n", "line 3 is empty, expected 2 fields"),
        ("a,b\n1,2\n1\n", "line 3 has 1 field, expected 2"),
        ('a,b\n1,"2\n', "line 2: unexpected end of data"),
        ("a,b\n1,\0\n", "line 2 has a NUL byte"),
        (b"a,b\n1,\xff\n", "line 2: byte 0xff is no utf-8 text"),
    ],
)
def test_a_malformed_table_is_never_as_expected(tmp_path, content, reason):
    with pytest.raises(ExpectedUnreadable, match=r"expected.x\.csv: cannot be read as CSV: ") as caught:
        compared(tmp_path, "x.csv", content, content)
    assert reason in str(caught.value)
    difference = compared(tmp_path, "x.csv", "a,b\n1,2\n", content)
    assert difference.message.startswith(f"cannot be read as CSV: {reason}")


CELLS = st.one_of(
    st.floats().map(repr), st.integers().map(str), st.text(st.characters(exclude_categories=("Cs", "Cc")))
)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=5)
)


def absolute_differences(difference):
    return [value.absolute for value in difference.worst] if difference else None


def as_csv(rows, *, identified=True):
    stream = io.StringIO()
    header = [*(["id"] if identified else []), *(f"c{number}" for number in range(len(rows[0]) - identified))]
    csv.writer(stream).writerows([header, *rows])
    return stream.getvalue()


@given(TABLES, st.randoms(use_true_random=False))
def test_with_keys_a_table_is_equal_to_itself_in_any_order_of_rows(tmp_path_factory, rows, random):
    rows = [[f"r{number}", *row] for number, row in enumerate(rows)]
    shuffled = random.sample(rows, len(rows))
    folder = tmp_path_factory.mktemp("property")
    assert compared(folder, "x.csv", as_csv(rows), as_csv(shuffled), Tolerance(keys=("id",))) is None


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1), st.sampled_from((0.0, 0.5, 1e6)))
def test_with_an_absolute_tolerance_it_does_not_matter_which_file_is_expected(tmp_path_factory, pairs, atol):
    tolerance = Tolerance(rtol=0, atol=atol, integers=True)
    one, other = (as_csv([["x", pair[side]] for pair in pairs]) for side in (0, 1))
    folder = tmp_path_factory.mktemp("property")
    there = compared(folder, "x.csv", one, other, tolerance)
    back = compared(folder, "x.csv", other, one, tolerance)
    assert absolute_differences(there) == absolute_differences(back)


def test_a_column_of_time_stamps_is_pointed_out(tmp_path):
    expected, found = (f"zone,made\n1,2030-01-0{n}\n2,2030-01-0{n}\n" for n in (1, 2))
    notes = said(compared(tmp_path, "x.csv", expected, found))[1:]
    column = "column made: no value is as expected, and none is a number"
    assert notes == [f'{column}; "ignore": ["made"] leaves it out, if it is a time stamp']
    assert compared(tmp_path, "x.csv", expected, found, Tolerance(ignore=("made",))) is None


ORDER = 'its rows are those expected, in another order: "keys" names the columns that tell them apart'


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ("id,n\n3,0.1\n2,10000002\n1,10000001\n", "large integers"),
        ("id,n\n3,0.1000000001\n2,10000002.0\n1,10000001\n", "numbers within the tolerance"),
    ],
)
def test_rows_in_another_order_are_told_as_such(tmp_path, found, why):
    expected = "id,n\n1,10000001\n2,10000002\n3,0.1\n"
    assert said(compared(tmp_path, "x.csv", expected, found))[1:] == [ORDER], why


@pytest.mark.parametrize(
    ("expected", "found", "tolerance"),
    [
        ("n\n10000001\n", "n\n10000002\n", Tolerance()),
        ("c,n\nx,10000001\ny,3\n", "c,n\nx,10000002\ny,3\n", Tolerance()),
        ("c,n\nx,10000001\ny,3\n", "c,n\ny,3\nx,10000002\n", Tolerance()),
        ("n\n0.1234561\n2\n", "n\n0.1234562\n2\n", Tolerance(rtol=0)),
        ("n\n0.1234561\n2\n", "n\n2\n0.1234562\n", Tolerance(columns={"n": Tolerance(rtol=0)})),
        ("n\n1\n1\n2\n", "n\n1\n2\n2\n", Tolerance()),
        ("n\n1\n2\n", "n\n2\n1\n1\n", Tolerance()),
        ("n\n\n1\n", "n\n1\nx\n", Tolerance()),
    ],
)
def test_values_that_differ_are_not_told_to_be_rows_in_another_order(tmp_path, expected, found, tolerance):
    assert ORDER not in said(compared(tmp_path, "x.csv", expected, found, tolerance))


def test_rows_whose_first_digits_are_the_same_are_found_in_another_order(tmp_path):
    rows = [f"{100 + number * 1e-6},{number}" for number in range(5)]
    expected, found = ("\n".join(["a,b", *lines, ""]) for lines in (rows, rows[::-1]))
    assert ORDER in said(compared(tmp_path, "x.csv", expected, found, Tolerance(rtol=1e-12)))


def test_a_line_break_is_told_from_the_two_characters_that_stand_for_it(tmp_path):
    value = compared(tmp_path, "x.csv", 'a,b\n"x\ny",1\n', 'a,b\n"x\\ny",1\n').worst[0]
    assert (value.expected, value.found) == (r"'x\ny'", r"'x\\ny'")
