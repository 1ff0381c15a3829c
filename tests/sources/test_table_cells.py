"""Cells of control tables in files: each has its own type, and invalid values are refused or reported."""

from __future__ import annotations

import csv
import datetime
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.core.errors import DuctaflowError, TableError
from pytest_ductaflow.planning.caller import Origin
from pytest_ductaflow.planning.declare_table import TableDeclaration
from pytest_ductaflow.sources.tables import as_table

openpyxl = pytest.importorskip("openpyxl")


def csv_of(folder: Path, *rows: list[str]) -> Path:
    stream = io.StringIO()
    csv.writer(stream).writerows(rows)
    path = folder / "t.csv"
    path.write_text(stream.getvalue(), encoding="utf-8", newline="")
    return path


def workbook(folder: Path, *rows: list[object], change=None) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    if change is not None:
        change(book.active)
    book.save(folder / "t.xlsx")
    return folder / "t.xlsx"


def rows_in(path: Path) -> list[dict[str, object]]:
    return list(as_table(path, (Path(),)).filled())


def notes_of(table: object) -> tuple[str, ...]:
    return as_table(table, (Path(),)).notes


# CSV: the type of a cell


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("0", 0),
        ("+5", 5),
        ("2.5", 2.5),
        ("1.0", 1.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e5", 1e5),
        ("1E-3", 1e-3),
        ("12345678901234567890", 12345678901234567890),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("01001", "01001"),
        ("-007", "-007"),
        ("00", "00"),
        ("00.5", "00.5"),
        ("1,5", "1,5"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("5 %", "5 %"),
        ("2040-02-29", "2040-02-29"),
        ("12:30", "12:30"),
        ("tRUE", "tRUE"),
        ("yes", "yes"),
        ("NA", "NA"),
        ("٣", "٣"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("infinity", "infinity"),
        ("inf", "inf"),
        ("-inf", "-inf"),
        ("+inf", "+inf"),
        ("Inf", "Inf"),
        ("NAN", "NAN"),
        ("1" * 5000, "1" * 5000),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("others", [(), ("2.5",), ("all",), ("007",), ("NA", "true", "")])
def test_a_cell_of_a_csv_has_its_own_type_whatever_stands_around_it(tmp_path, text, value, others):
    rows = rows_in(csv_of(tmp_path, ["id", "x"], *(["a", other] for other in (text, *others))))
    assert (rows[0]["x"], type(rows[0]["x"])) == (value, type(value))


CELLS = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"0[0-9]{1,5}", fullmatch=True),
    st.sampled_from(["true", "False", "NA", "", "nan", "1e5", "all", "1,5"]),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=8),
)


@given(CELLS, st.lists(CELLS, max_size=4), st.integers(0, 4))
def test_the_value_of_a_cell_depends_on_no_other_row(tmp_path_factory, cell, others, place):
    folder = tmp_path_factory.mktemp("property")
    (alone,) = rows_in(csv_of(folder, ["id", "x"], ["a", cell]))
    texts = [*others[:place], cell, *others[place:]]
    among = rows_in(csv_of(folder, ["id", "x"], *(["a", text] for text in texts)))
    found = among[min(place, len(others))]
    assert (found, type(found.get("x"))) == (alone, type(alone.get("x")))


@given(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.from_regex(r"0[0-9]{1,5}", fullmatch=True),
        st.from_regex(r"[a-z]{4,8}", fullmatch=True).filter(lambda word: word not in ("true", "false")),
    )
)
def test_a_csv_and_json_give_the_same_value(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("property")
    (folder / "t.json").write_text(json.dumps([{"x": value}]), encoding="utf-8")
    text = value if isinstance(value, str) else json.dumps(value)
    of_json, of_csv = rows_in(folder / "t.json"), rows_in(csv_of(folder, ["x"], [text]))
    assert of_json == of_csv
    assert type(of_json[0]["x"]) is type(of_csv[0]["x"])


@pytest.mark.parametrize("word", ["NaN", "nan", "NaT", "<NA>", " nan "])
def test_what_pandas_and_numpy_write_for_no_value_is_empty(tmp_path, word):
    assert rows_in(csv_of(tmp_path, ["id", "x"], ["a", word])) == [{"id": "a"}]


def test_texts_with_leading_zeros_beside_numbers_are_told(tmp_path):
    path = csv_of(tmp_path, ["ags", "x"], ["05334", "1"], ["11000", "2"])
    assert rows_in(path) == [{"ags": "05334", "x": 1}, {"ags": 11000, "x": 2}]
    (note,) = notes_of(path)
    assert "column 'ags'" in note
    assert "11000" in note
    assert "05334" in note


# CSV: its format


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as a table: it is empty"),
        (b"\n \n", "cannot be read as a table: it is empty"),
        (b'a,b\n1,"2\n', "cannot be read as a table: line 2: unexpected end of data"),
        (
            b"a,b\n1,2\n1,2,3\n",
            "some rows have more cells than the header, which has 2: row 2 (line 3) has 3",
        ),
        (b"a;b\n1;2\n", "its cells seem to be separated by ';', expected ','"),
        (b"a\tb\n1\t2\n", "its cells seem to be separated by '\\t', expected ','"),
        (b"a|b\n1|2\n", "its cells seem to be separated by '|', expected ','"),
        ("a,b\n1,ü\n".encode("cp1252"), "cannot be read as a table: line 2: byte 0xfc is no utf-8 text"),
        ("a,b\n1,ü\n".encode("utf-16"), "cannot be read as a table: line 1: byte 0xff is no utf-8 text"),
        (b"a,b\n1,\0\n", "cannot be read as a table: line 2 has a NUL byte"),
    ],
)
def test_a_csv_that_cannot_be_read_is_told_with_its_line_and_one_path(tmp_path, content, said):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(TableError) as caught:
        as_table(path, (Path(),))
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    (problem,) = declared(path).problems
    assert str(problem).startswith("t.csv: ")
    assert str(tmp_path) not in str(problem)


@pytest.mark.parametrize("name", ["t.csv", "t.json", "t.jsonl"])
def test_another_encoding_is_told_with_the_cure(tmp_path, name):
    (tmp_path / name).write_bytes('[{"x": "ü"}]'.encode("cp1252"))
    with pytest.raises(DuctaflowError, match="save it as UTF-8, or read it with pandas"):
        as_table(name, (tmp_path,))


def test_cells_may_be_longer_than_the_limit_of_the_csv_module(tmp_path):
    outline = "POLYGON" + " 1.5" * 100_000
    assert rows_in(csv_of(tmp_path, ["x"], [outline])) == [{"x": outline}]


def test_a_cell_may_have_several_lines_and_rows_may_be_short(tmp_path):
    path = csv_of(tmp_path, ["x", "y", "z"], ["a\nb", "1"], ["c"])
    assert rows_in(path) == [{"x": "a\nb", "y": 1}, {"x": "c"}]


# Excel


def declared(path: Path):
    return TableDeclaration("flow.py", path, Origin(str(path)), path.parent).declare()


def test_errors_and_formulas_without_a_value_are_refused_all_at_once(tmp_path):
    path = workbook(
        tmp_path,
        ["instance_name", "toll", "growth"],
        ["good", 5, 0.02],
        [],
        ["broken", "#REF!", 0.02],
        ["formula", 5, "=0.01*7"],
        ["#N/A", "=A1", "#DIV/0!"],
    )
    assert [str(problem) for problem in declared(path).problems] == [
        "t.xlsx, row 2, column 'toll': cell B4 is the error #REF! (mend it in Excel)",
        (
            "t.xlsx, row 3, column 'growth': cell C5 is a formula that nothing has calculated, =0.01*7 "
            "(open and save it in Excel or LibreOffice)"
        ),
        "t.xlsx, row 4, column 'instance_name': cell A6 is the error #N/A (mend it in Excel)",
        (
            "t.xlsx, row 4, column 'toll': cell B6 is a formula that nothing has calculated, =A1 "
            "(open and save it in Excel or LibreOffice)"
        ),
        "t.xlsx, row 4, column 'growth': cell C6 is the error #DIV/0! (mend it in Excel)",
    ]


def test_an_error_in_the_header_is_refused_one_beside_the_table_is_not(tmp_path):
    with pytest.raises(TableError, match=r"header: cell B1 is the error #NAME\?"):
        as_table(workbook(tmp_path, ["x", "#NAME?"], [1, 2]), (Path(),))
    assert rows_in(workbook(tmp_path, ["x", None, None], [1, None, "#REF!"])) == [{"x": 1}]


def test_a_formula_that_gave_an_empty_text_is_an_empty_cell(tmp_path):
    import re
    import zipfile

    path, calculated = workbook(tmp_path, ["x", "y"], [1, '=IF(A2>0,"",5)']), tmp_path / "calculated.xlsx"
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(calculated, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name.endswith("sheet1.xml"):
                content = re.sub(
                    rb'<c r="B2"( t="[a-z]+")?>(.*?)<v ?/>', rb'<c r="B2" t="str">\2<v></v>', content
                )
            after.writestr(name, content)
    assert rows_in(calculated) == [{"x": 1}]


def test_each_cell_of_a_workbook_has_its_own_type(tmp_path):
    day = datetime.datetime(2040, 2, 29)  # noqa: DTZ001 - Excel knows no zones
    values = [1, 2.5, 3.0, True, "007", "1", day]
    found = [row["x"] for row in rows_in(workbook(tmp_path, ["x"], *([value] for value in values)))]
    assert found == [1, 2.5, 3, True, "007", "1", day]
    assert [type(value) for value in found[:4]] == [int, float, int, bool]


def test_merged_cells_and_what_is_hidden_are_told(tmp_path):
    def change(sheet):
        sheet.merge_cells("B2:B3")
        sheet.merge_cells("F2:G2")  # beside the table
        sheet.row_dimensions[4].hidden = True
        sheet.row_dimensions[9].hidden = True  # below it
        sheet.column_dimensions["C"].hidden = True

    path = workbook(tmp_path, ["name", "x", "y"], ["a", 1, 2], ["b", None, 3], ["c", 4, 5], change=change)
    assert rows_in(path) == [
        {"name": "a", "x": 1, "y": 2},
        {"name": "b", "y": 3},
        {"name": "c", "x": 4, "y": 5},
    ]
    assert notes_of(path) == (
        "merged cells B2:B3: only the first of each has the value, the others are empty",
        "row 3 (4 in Excel) is hidden, and counts like the others",
        "column C is hidden, and counts like the others",
    )


def test_further_sheets_that_are_tables_are_told(tmp_path):
    def change(sheet):
        for name, first, state in (
            ("high", ["x", "name"], "visible"),
            ("notes", ["what", "who"], "visible"),
            ("empty", [], "visible"),
            ("old", ["name", "x"], "hidden"),
        ):
            other = sheet.parent.create_sheet(name)
            other.sheet_state = state
            other.append([])
            other.append(first)

    path = workbook(tmp_path, ["name", "x"], ["a", 1], change=change)
    assert rows_in(path) == [{"name": "a", "x": 1}]
    how = "conduct(…, pandas.read_excel(file, sheet_name=…)) takes another"
    assert notes_of(path) == (f"only the first sheet, 'Sheet', is read, and not 'high': {how}",)


# Columns without a name


@pytest.mark.parametrize("header", ["rate ", " rate", "rate\n", "rate\u00a0", "model. rate", "model .rate "])
def test_blanks_around_the_name_of_a_column_count_in_no_kind_of_table(tmp_path, header):
    frame = pd.DataFrame({header: [0.5]})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    workbook(tmp_path, [header], [0.5])
    (tmp_path / "t.json").write_text(json.dumps([{header: 0.5}]))
    files = [tmp_path / f"t.{suffix}" for suffix in ("parquet", "csv", "xlsx", "json")]
    for table in (frame, [{header: 0.5}], *files):
        assert list(as_table(table, (Path(),)).filled()) == [{header.strip().replace(" ", ""): 0.5}]


def test_a_column_that_is_twice_but_for_blanks_is_refused_in_dicts_too():
    with pytest.raises(DuctaflowError, match="'rate' is there more than once"):
        as_table([{"rate": 1, "rate ": 2}], ())


@pytest.mark.parametrize("header", ["", "Unnamed: 0", "  "])
def test_the_index_that_pandas_and_r_write_is_left_out_and_told(tmp_path, header):
    path = csv_of(tmp_path, [header, "x"], ["0", "1"], ["1", "2"])
    assert rows_in(path) == [{"x": 1}, {"x": 2}]
    (note,) = notes_of(path)
    assert note == "column 1 has no name, and is left out (it holds 0, 1)"


def test_it_is_left_out_of_all_kinds_of_tables(tmp_path):
    frame = pd.read_csv(csv_of(tmp_path, ["", "x"], ["0", "1"]))
    frame.to_json(tmp_path / "t.json", orient="records")
    frame.to_parquet(tmp_path / "t.parquet")
    book = workbook(tmp_path, ["x", None, None], [1, None, "a remark"])
    for table in (frame, frame.to_dict("records"), tmp_path / "t.json", tmp_path / "t.parquet", book):
        found = as_table(table, (Path(),))
        assert list(found.filled()) == [{"x": 1}]
        assert found.names() == ["x=1"]
        assert len(found.notes) == 1


def test_an_empty_column_without_a_name_needs_no_word(tmp_path):
    assert notes_of(csv_of(tmp_path, ["x", ""], ["1", ""])) == ()


# Tables without rows


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("t.csv", "the table has a header, but no rows: nothing is run"),
        ("t.xlsx", "the table has a header, but no rows: nothing is run"),
        ("t.json", "the table has no rows: nothing is run"),
        ("t.jsonl", "the table has no rows: nothing is run"),
        ([], "the table has no rows: nothing is run"),
        (pd.DataFrame({"x": []}), "the table has a header, but no rows: nothing is run"),
    ],
    ids=lambda value: str(value)[:8],
)
def test_a_table_without_rows_says_so(tmp_path, table, said):
    csv_of(tmp_path, ["instance_name", "x"])
    workbook(tmp_path, ["instance_name", "x"])
    (tmp_path / "t.json").write_text("[]", encoding="utf-8")
    (tmp_path / "t.jsonl").write_text("", encoding="utf-8")
    assert as_table(table, (tmp_path,)).notes == (said,)
