"""Parquet, Feather and Excel files are compared by their cells and, if columns are typed, by the types."""

from __future__ import annotations

import datetime
from decimal import Decimal

import duckdb
import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pytest
from helpers.comparing import compared, said
from pyarrow import feather, parquet

from pytest_ductaflow.core.errors import ExpectedUnreadable
from pytest_ductaflow.gate.compare.tolerance import Tolerance

ZONES = pd.DataFrame(
    {
        "zone": [1, 2, 3],
        "trips": [12.5, float("nan"), 1e3],
        "mode": ["bus", None, "tram"],
        "open": [True, False, True],
        "kind": pd.Categorical(["a", "b", None]),
        "when": pd.to_datetime(["2030-01-01", None, "2030-01-03"]),
        "parts": [[1, 2], [], None],
        "count": pd.array([1, None, 3], dtype="Int64"),
        "price": [Decimal("1.10"), Decimal("2.20"), None],
        "day": [datetime.date(2030, 1, 1), None, datetime.date(2030, 1, 2)],
    }
)
NAMES = ("zones.parquet", "zones.feather", "zones.arrow")


def as_file(table):
    return lambda path: table.to_parquet(path) if path.suffix == ".parquet" else table.to_feather(path)


def changed(row, column, value):
    table = ZONES.copy()
    cells = list(table[column])
    cells[row] = value
    table[column] = pd.Series(cells, dtype=table[column].dtype)
    return table


@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_all_types_is_equal_to_itself_written_again(tmp_path, name):
    again = pa.Table.from_pandas(ZONES)
    written_again = (
        (lambda path: parquet.write_table(again, path, compression="none"))
        if name.endswith(".parquet")
        else as_file(ZONES)
    )
    assert compared(tmp_path, name, as_file(ZONES), written_again) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("row", "column", "value", "place"),
    [
        (0, "zone", 5, "row 1, zone: 1 expected, 5 found"),
        (0, "trips", 13.0, "row 1, trips: 12.5 expected, 13.0 found"),
        (1, "trips", 13.0, "row 2, trips: missing expected, 13.0 found"),
        (1, "mode", "bus", "row 2, mode: missing expected, bus found"),
        (0, "open", False, "row 1, open: True expected, False found"),
        (0, "kind", "b", "row 1, kind: a expected, b found"),
        (1, "when", pd.Timestamp("2030-01-02"), "row 2, when: missing expected, 2030-01-02 00:00:00 found"),
        (0, "parts", [1, 3], "row 1, parts: [1, 2] expected, [1, 3] found"),
        (1, "count", 2, "row 2, count: missing expected, 2 found"),
        (2, "count", 4, "row 3, count: 3 expected, 4 found"),
        (0, "price", Decimal("1.20"), "row 1, price: 1.10 expected, 1.20 found"),
        (0, "day", datetime.date(2030, 1, 3), "row 1, day: 2030-01-01 expected, 2030-01-03 found"),
    ],
)
def test_a_value_that_differs_is_told_whatever_its_type(tmp_path, name, row, column, value, place):
    difference = compared(tmp_path, name, as_file(ZONES), as_file(changed(row, column, value)))
    assert difference.message.startswith("1 of 30 values differs; ")
    assert place in difference.message
    assert difference.notes == ()


def test_numbers_have_a_tolerance_integers_only_one_of_their_own(tmp_path):
    found = as_file(ZONES.assign(trips=ZONES.trips * (1 + 1e-9), zone=ZONES.zone + 1))
    assert "3 of 30 values differ" in compared(tmp_path, "z.parquet", as_file(ZONES), found).message
    own = Tolerance(columns={"zone": Tolerance(atol=1, integers=True)})
    assert compared(tmp_path, "z.parquet", as_file(ZONES), found, own) is None


def test_large_integers_are_compared_exactly(tmp_path):
    one, other = (as_file(pd.DataFrame({"n": [2**60 + more]})) for more in (0, 1))
    assert compared(tmp_path, "n.parquet", one, other).worst[0].absolute == 1


def test_another_type_of_a_column_is_told_and_its_values_are_compared(tmp_path):
    found = as_file(ZONES.assign(zone=[1.0, 2.0, 3.5], mode=ZONES["mode"].astype(object)))
    words = said(compared(tmp_path, "z.parquet", as_file(ZONES), found))
    assert "row 3, zone: 3 expected, 3.5 found" in words[0]
    assert words[1:] == ["column zone: int64 expected, float64 found"]


def test_an_index_counts_as_columns_unless_it_only_numbers_the_rows(tmp_path):
    named, unnamed = ZONES.set_index("zone"), ZONES.set_axis(["a", "b", "c"])
    assert compared(tmp_path, "z.parquet", as_file(ZONES), as_file(named)) is None
    difference = compared(tmp_path, "z.parquet", as_file(ZONES), as_file(unnamed))
    assert difference.message == "column not expected: index"
    by_key = Tolerance(keys=("zone",))
    assert compared(tmp_path, "z.parquet", as_file(ZONES), as_file(ZONES[::-1]), by_key) is None


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path):
    assert compared(tmp_path / "year=2030", "z.parquet", as_file(ZONES), as_file(ZONES)) is None


def test_a_missing_text_is_told_from_the_text_missing(tmp_path):
    one, other = (as_file(pd.DataFrame({"a": ["x", text]})) for text in (None, "missing"))
    value = compared(tmp_path, "a.parquet", one, other).worst[0]
    assert value.expected != value.found


def test_a_column_that_is_there_twice_is_unreadable(tmp_path):
    table = pa.table([[1], [2]], names=["a", "a"])
    with pytest.raises(ExpectedUnreadable, match=r"z\.parquet: cannot be read as Parquet"):
        compared(tmp_path, "z.parquet", lambda path: parquet.write_table(table, path), b"")


def test_wrong_offsets_of_texts_make_a_file_unreadable_instead_of_crashing(tmp_path):
    texts = pa.table({"a": pa.array(["one", "two", "six"], pa.string())})
    right, wrong = (np.array(offsets, "<i4").tobytes() for offsets in ([0, 3, 6, 9], [0, 3, 2**30, 9]))

    def write(path):
        feather.write_feather(texts, path, compression="uncompressed")
        content = path.read_bytes()
        assert content.count(right) == 1
        path.write_bytes(content.replace(right, wrong))

    with pytest.raises(ExpectedUnreadable, match=r"x\.feather: cannot be read as Feather"):
        compared(tmp_path, "x.feather", write, write)


def arrow_file(**columns):
    """Write a file without pandas metadata, as DuckDB and polars do."""
    table = pa.table(columns)
    return lambda path: (parquet.write_table if path.suffix == ".parquet" else feather.write_feather)(
        table, path
    )


def of_type(kind):
    return lambda number: pa.array([number, None, 3], kind)


WITH_A_MISSING_INTEGER = {
    **{str(kind): of_type(kind) for kind in (pa.int32(), pa.uint32(), pa.int64(), pa.uint64())},
    "categories": lambda number: pa.array([number, None]).dictionary_encode(),
    "list": lambda number: pa.array([[number, None], None]),
    "lists of one length": lambda number: pa.array([[number, None]], pa.list_(pa.int64(), 2)),
    "struct": lambda number: pa.array([{"a": number}, {"a": None}]),
    "map": lambda number: pa.array([[("a", number), ("b", None)]], pa.map_(pa.string(), pa.int64())),
    "structs in lists": lambda number: pa.array([[{"a": [number, None]}]]),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("column", WITH_A_MISSING_INTEGER.values(), ids=WITH_A_MISSING_INTEGER)
def test_integers_are_equal_or_differ_also_where_one_is_missing(tmp_path, name, column):
    expected, found = (arrow_file(trips=column(10_000_000 + more), one=column(1)) for more in (0, 1))
    assert "row 1, trips: " in compared(tmp_path, name, expected, found).message
    assert compared(tmp_path, name, expected, expected, Tolerance(ignore=("x",))) is None


@pytest.mark.parametrize("column", WITH_A_MISSING_INTEGER.values(), ids=WITH_A_MISSING_INTEGER)
def test_a_tolerance_for_integers_holds_where_one_is_missing(tmp_path, column):
    expected, found = (arrow_file(trips=column(10_000_000 + more)) for more in (0, 1))
    assert compared(tmp_path, "x.parquet", expected, found, Tolerance(integers=True)) is None


@pytest.mark.parametrize(("one", "other"), [(2**53 + 1, 2**53), (2**64 - 1, 2**64 - 2)])
def test_integers_that_no_float_holds_are_compared_exactly_where_one_is_missing(tmp_path, one, other):
    expected, found = (arrow_file(id=pa.array([number, None], pa.uint64())) for number in (one, other))
    assert compared(tmp_path, "x.parquet", expected, found).worst[0].absolute == 1


def test_integers_of_duckdb_of_which_one_is_missing_are_compared_exactly(tmp_path):
    expected, found = (
        lambda path, n=n: duckdb.sql(f"select * from (values ({n}), (null)) t(trips)").write_parquet(
            str(path)
        )
        for n in (10_000_000, 10_000_001)
    )
    assert compared(tmp_path, "x.parquet", expected, found).worst[0].where == "row 1, trips"


@pytest.mark.parametrize("encoded", [False, True], ids=["integers", "categories"])
def test_large_integers_are_keys_also_where_one_is_missing(tmp_path, encoded):
    def table(*ids):
        column = pa.array(ids, pa.int64())
        trips = [float((number or 0) % 7) for number in ids]
        return arrow_file(id=column.dictionary_encode() if encoded else column, trips=trips)

    ids = [2**53, 2**53 + 1, None]
    assert (
        compared(tmp_path, "x.parquet", table(*ids), table(*reversed(ids)), Tolerance(keys=("id",))) is None
    )
    difference = compared(tmp_path, "x.parquet", table(*ids), table(*ids[1:]), Tolerance(keys=("id",)))
    assert difference.message == "1 row missing: id=9007199254740992"


@pytest.mark.parametrize("index", [["id"], ["id", "x"], ["x", "id"]], ids=str)
def test_integers_of_an_index_are_exact_also_where_one_is_missing(tmp_path, index):
    expected, found = (
        pd.DataFrame({"v": [1, 2], "id": pd.array([number, None], dtype="Int64"), "x": ["a", "b"]})
        for number in (2**53, 2**53 + 1)
    )
    one, other = (table.set_index(index).to_parquet for table in (expected, found))
    assert compared(tmp_path, "x.parquet", one, other).worst[0].where == "row 1, id"


def test_a_missing_integer_is_told_as_such_and_not_as_another_type(tmp_path):
    expected, found = (arrow_file(n=pa.array([1, number])) for number in (2, None))
    for one, other in ((expected, found), (found, expected)):
        difference = compared(tmp_path, "x.parquet", one, other)
        assert "row 2, n: " in difference.message
        assert difference.notes == ()


def test_integers_and_floats_are_other_types_also_where_one_is_missing(tmp_path):
    expected, found = (arrow_file(n=pa.array([1, None], kind)) for kind in (pa.int64(), pa.float64()))
    difference = compared(tmp_path, "x.parquet", expected, found)
    assert difference.message == "column n: Int64 expected, float64 found"


def test_nullable_types_of_pandas_count_as_types(tmp_path):
    for dtype, nullable, numbers in (("int64", "Int64", [1, 2]), ("float64", "Float64", [1.5, None])):
        one, other = (as_file(pd.DataFrame({"n": pd.array(numbers, dtype=d)})) for d in (dtype, nullable))
        difference = compared(tmp_path, "x.parquet", one, other)
        assert difference.message == f"column n: {dtype} expected, {nullable} found"


@pytest.mark.parametrize("name", NAMES)
def test_times_in_nanoseconds_are_compared(tmp_path, name):
    times = [0, 12 * 3600 * 10**9 + 1_000, 7, None]
    expected, found = (arrow_file(t=pa.array([*times, n], pa.time64("ns"))) for n in (1, 2))
    assert compared(tmp_path, name, expected, expected, Tolerance(ignore=("x",))) is None
    difference = compared(tmp_path, name, expected, found)
    assert difference.message.startswith("1 of 5 values differs; row 5, t: ")
    assert difference.worst[0].expected.endswith("00:00:00.000000001")


def test_times_in_nanoseconds_and_in_microseconds_are_the_same(tmp_path):
    times = pa.array([5_000_000, None], pa.time64("us"))
    expected, found = (arrow_file(t=times.cast(pa.time64(unit))) for unit in ("us", "ns"))
    assert compared(tmp_path, "x.parquet", expected, found) is None


def workbook(**sheets):
    def write(path):
        book = openpyxl.Workbook()
        book.remove(book.active)
        for name, rows in sheets.items():
            sheet = book.create_sheet(name)
            for row in rows:
                sheet.append(row)
        book.save(path)

    return write


ROWS = [["zone", "trips"], [1, 12.5], [2, None], ["x", True]]


def with_cell(value, row=1, column=1):
    rows = [list(cells) for cells in ROWS]
    rows[row][column] = value
    return rows


@pytest.mark.parametrize("value", [12.5, 12.500001])
def test_a_workbook_is_as_expected_within_the_tolerance(tmp_path, value):
    found = workbook(a=[*with_cell(value), [None, None]])
    assert compared(tmp_path, "x.xlsx", workbook(a=ROWS), found) is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"a": with_cell(13)}, "row 1, trips: 12.5 expected, 13 found"),
        ({"a": with_cell("12.5")}, "row 1, trips: 12.5 (float) expected, 12.5 (str) found"),
        ({"a": with_cell(1, row=3)}, "row 3, trips: True expected, 1 found"),
        ({"a": with_cell("=1+1", row=2)}, "row 2, trips: missing expected, =1+1 found"),
        ({"a": with_cell("#N/A", row=2)}, "row 2, trips: missing expected, #N/A found"),
        ({"a": ROWS, "b": ROWS}, "sheet not expected: b"),
        ({"b": ROWS}, "sheet missing: a"),
        ({"a": ROWS[:-1]}, "3 rows expected, 2 found"),
        ({"a": [row[:1] for row in ROWS]}, "column missing: trips"),
    ],
)
def test_what_differs_in_a_workbook_is_told(tmp_path, found, words):
    assert words in said(compared(tmp_path, "x.xlsx", workbook(a=ROWS), workbook(**found)))[0]


def test_a_place_names_the_sheet_where_there_are_several(tmp_path):
    difference = compared(tmp_path, "x.xlsx", workbook(a=ROWS, b=ROWS), workbook(a=ROWS, b=with_cell(13)))
    assert difference.worst[0].where == "sheet b, row 1, trips"


def test_columns_without_names_are_called_by_their_letters(tmp_path):
    rows = [[1] * 28, [2] * 28]
    found = [[1] * 28, [2] * 27 + [3]]
    assert compared(tmp_path, "x.xlsx", workbook(a=rows), workbook(a=found)).worst[0].where == "row 2, AB"


def test_the_name_of_one_column_may_be_empty(tmp_path):
    frame = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])
    difference = compared(tmp_path, "x.xlsx", frame.to_excel, frame.replace(2, 3).to_excel)
    assert difference.worst[0].where == "row 2, a"


def test_formulas_that_nothing_has_calculated_are_compared_as_such(tmp_path):
    one, other = (workbook(a=with_cell(f"=A2+{n}")) for n in (1, 2))
    assert compared(tmp_path, "x.xlsx", one, one) is None
    assert "=A2+1 expected, =A2+2 found" in compared(tmp_path, "x.xlsx", one, other).message


def test_rows_of_a_sheet_are_matched_by_keys(tmp_path):
    reordered = workbook(a=[ROWS[0], ROWS[2], ROWS[3], ROWS[1]])
    assert compared(tmp_path, "x.xlsx", workbook(a=ROWS), reordered, Tolerance(keys=("zone",))) is None
