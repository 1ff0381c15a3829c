"""What must not pass the gate, and how it is reported: words, small numbers, brackets, lists, order."""

from __future__ import annotations

import math

import openpyxl
import pandas as pd
import pytest
from helpers.comparing import compared, said
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.gate.compare.tolerance import Tolerance, Tolerances
from pytest_ductaflow.gate.instance_file import StoredInstance, is_compared

WORDS = ("NA", "None", "null", "NULL", "N/A")


def parquet(**columns):
    return lambda path: pd.DataFrame(columns).to_parquet(path)


# Words


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("other", ["", *WORDS])
@pytest.mark.parametrize("beside", ["DE", "", "NA"])
def test_in_a_column_of_texts_words_are_words(tmp_path, word, other, beside):
    one, two = (f"id,x\n1,{cell}\n2,{beside}\n" for cell in (word, other))
    assert (compared(tmp_path, "x.csv", one, two) is None) == (word == other)


@pytest.mark.parametrize("word", ["NA", "None", "null", "nan", ""])
@pytest.mark.parametrize("other", ["NA", "None", "null", "NaN", ""])
def test_in_a_column_of_numbers_they_are_missing_values(tmp_path, word, other):
    one, two = (f"id,x\n1,{cell}\n2,1.5\n" for cell in (word, other))
    assert compared(tmp_path, "x.csv", one, two) is None


def test_nan_and_an_empty_cell_are_the_same_everywhere(tmp_path):
    assert compared(tmp_path, "x.csv", "id,x\n1,nan\n2,DE\n", "id,x\n1,\n2,DE\n") is None


def test_a_column_of_numbers_into_which_a_text_has_come_is_none_of_numbers(tmp_path):
    one, two = "id,x\n1,NA\n2,1\n", "id,x\n1,\n2,one\n"
    assert compared(tmp_path, "x.csv", one, two).message.startswith("2 of 4 values differ")


def test_words_in_keys_are_words_too(tmp_path):
    tolerance = Tolerance(keys=("country",))
    one, two = (f"country,x\n{cell},1\nDE,2\n" for cell in ("NA", ""))
    assert said(compared(tmp_path, "x.csv", one, two, tolerance)) == [
        "1 row missing: country=NA",
        "1 row not expected: country=missing",
    ]


# Small numbers


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("1e-13", "9e-13", False),
        ("2e-13", "-7e-13", False),
        ("1e-300", "2e-300", False),
        ("1e-13", "1.0000001e-13", True),
        ("0.0", "1e-13", False),
        ("0.0", "-0.0", True),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.json"])
def test_small_numbers_are_told_apart(tmp_path, name, expected, found, same):
    one, two = (f"a\n{v}\n" if name == "x.csv" else v for v in (expected, found))
    assert (compared(tmp_path, name, one, two) is None) == same


def test_where_0_is_expected_it_says_what_would_allow_a_difference(tmp_path):
    words = said(compared(tmp_path, "x.csv", "a\n0.0\n0.0\n1.0\n", "a\n1e-17\n2e-17\n1.5\n"))
    remedy = '"atol" is the difference that it may have'
    assert words[1:] == [f"where 0 is expected (2 values), rtol allows nothing: {remedy}"]
    assert said(compared(tmp_path, "x.csv", "a\n0.0\n", "a\n2.0\n", Tolerance(atol=1.0)))[1:] == []
    assert said(compared(tmp_path, "x.csv", "a\n0\n", "a\n2\n"))[1:] == []


# Names with brackets


@pytest.mark.parametrize("name", ["speed [km/h]", "time[s]", "x[1]", "[a]", "what?", "a*b"])
def test_a_name_fits_itself(tmp_path, name):
    one, two = (f'"{name}",y\n1.0,{value}\n' for value in (1, 1))
    two = two.replace("1.0", "1.2")
    assert compared(tmp_path, "x.csv", one, two) is not None
    assert compared(tmp_path, "x.csv", one, two, Tolerance(ignore=(name,))) is None
    own = Tolerances({"*": {"columns": {name: {"rtol": 0.5}}}}).of("x.csv")
    assert compared(tmp_path, "x.csv", one, two, own) is None
    assert compared(tmp_path, "x.txt", f"{name}\n1\n", "1\n", Tolerance(ignore=(name,))) is None
    file = f"{name.replace('/', '')}.csv"
    assert Tolerances({file: {"rtol": 0.5}}).of(file).rtol == 0.5
    assert is_compared(file, [file])
    assert not is_compared(file, ["*", f"!{file}"])


def test_patterns_with_brackets_still_are_patterns():
    assert Tolerance(ignore=("x[12]",)).ignores("x1")
    assert not Tolerance(ignore=("x[12]",)).ignores("x3")


@pytest.mark.parametrize("pattern", ["y[1].csv", "x[23].csv", "y.csv"])
def test_a_misspelt_name_with_brackets_is_told(pattern):
    data = {"schema": 1, "flow": "f", "step": "s", "instance": "i", "config": {}, "expected": ["x[1].csv"]}
    with pytest.raises(ValueError, match="is none of the files that are compared"):
        StoredInstance.from_json({**data, "tolerances": {pattern: {"rtol": 1}}})
    assert StoredInstance.from_json({**data, "tolerances": {"x[1].csv": {"rtol": 1}, "*.json": {}}})


# Columns that can hold missing values, and those that cannot


@pytest.mark.parametrize(
    ("nullable", "plain"),
    [
        (pd.array([1, None, 3], dtype="Int64"), [1.0, math.nan, 3.0]),
        (pd.array([True, None, False], dtype="boolean"), [True, None, False]),
        (pd.array([0.5, None, 1.5], dtype="Float64"), [0.5, math.nan, 1.5]),
        (pd.array(["a", None, "b"], dtype="string"), ["a", None, "b"]),
        (pd.Series(pd.Categorical(["a", None, "b"])), pd.Series(["a", None, "b"], dtype="string")),
    ],
)
def test_missing_values_are_equal_whatever_the_types_and_the_rest_is_compared(tmp_path, nullable, plain):
    plain = (
        pd.Series(plain, dtype=None if isinstance(plain[0], float) else object)
        if isinstance(plain, list)
        else plain
    )
    km = [1, 2, 3]
    for one, two in ((nullable, plain), (plain, nullable)):
        words = said(compared(tmp_path, "x.parquet", parquet(x=one, km=km), parquet(x=two, km=[1, 9, 3])))
        assert words[0].startswith(
            "1 of 6 values differs; largest absolute difference 7 (row 2, km: 2 expected"
        )
        kinds = [word for word in words[1:] if word.startswith("column x: ")]
        assert len(kinds) == (nullable.dtype != "string")


# Lists and structs in cells


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ([0.3], [0.30000000000000004], True),
        ([[0.3, None], [1.0]], [[0.30000000000000004, None], [1.0]], True),
        ({"a": 0.3, "b": "x"}, {"a": 0.30000000000000004, "b": "x"}, True),
        ({"a": [{"b": 0.3}]}, {"a": [{"b": 0.30000000000000004}]}, True),
        ([0.3], [0.4], False),
        ([0.3], [0.3, 0.3], False),
        ([1], [2], False),
        (["a"], ["b"], False),
        ([True], [False], False),
        ({"a": 1.0}, {"a": 1.5}, False),
        ([math.nan], [math.nan], True),
    ],
)
def test_lists_and_structs_have_the_tolerance_of_their_column(tmp_path, one, two, same):
    files = parquet(x=[one, one]), parquet(x=[two, one])
    assert (compared(tmp_path, "x.parquet", *files) is None) == same
    if not same:
        assert compared(tmp_path, "x.parquet", *files).message.startswith("1 of 2 values differs; row 1, x: ")


def test_integers_in_lists_have_only_a_tolerance_of_their_own(tmp_path):
    files = parquet(x=[[1, 2]]), parquet(x=[[1, 3]])
    assert compared(tmp_path, "x.parquet", *files, Tolerance(atol=1)) is not None
    own = Tolerance(columns={"x": Tolerance(atol=1, integers=True)})
    assert compared(tmp_path, "x.parquet", *files, own) is None


def test_rows_may_have_lists_for_keys(tmp_path):
    files = parquet(x=[[1], [2]], y=[1, 2]), parquet(x=[[2], [1]], y=[2, 1])
    assert compared(tmp_path, "x.parquet", *files, Tolerance(keys=("x",))) is None


# Decimal commas


def test_numbers_with_a_comma_have_a_tolerance_if_that_is_said(tmp_path):
    one, two = "a;b\n1,5;2\n0,3;-1,5e3\n", "a;b\n1,50;2\n0,30000000000000004;-1500,0\n"
    assert compared(tmp_path, "x.csv", one, two, Tolerance(decimal=",")) is None
    notes = said(compared(tmp_path, "x.csv", one, two))
    assert 'column a: if its texts are numbers, "decimal": "," reads them as such' in notes
    assert not any("decimal" in note for note in said(compared(tmp_path, "x.csv", "a\nx\n", "a\ny\n")))
    with pytest.raises(ValueError, match=r"decimal: expected '\.' or ',', found ';'"):
        Tolerances({"*.csv": {"decimal": ";"}})


# Keys that are fractions


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_keys_that_are_fractions_have_a_tolerance(tmp_path, name):
    one = pd.DataFrame({"t": [0.1, 0.3, 0.5], "m": ["a", "a", "b"], "y": [1.5, 2.5, 3.5]})
    two = one.assign(t=[0.1, 0.30000000000000004, 0.5])[::-1].reset_index(drop=True)

    def writer(table):
        return lambda path: table.to_csv(path, index=False) if name == "x.csv" else table.to_parquet(path)

    tables = one, two, two.assign(t=[0.5, 0.4, 0.1]), two.assign(y=[3.5, 2.6, 1.5])
    write = [writer(table) for table in tables]
    tolerance = Tolerance(keys=("t", "m"))
    assert compared(tmp_path, name, write[0], write[1], tolerance) is None
    assert said(compared(tmp_path, name, write[0], write[2], tolerance)) == [
        "1 row missing: (t=0.3, m=a)",
        "1 row not expected: (t=0.4, m=a)",
    ]
    assert compared(tmp_path, name, write[0], write[3], tolerance).worst[0].where == "t=0.3, m=a, y"


def test_integers_as_keys_are_exact(tmp_path):
    one, two = "id,y\n1000000000,1\n", "id,y\n1000000001,1\n"
    assert compared(tmp_path, "x.csv", one, two, Tolerance(keys=("id",), rtol=1.0)) is not None


@given(
    st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 2)), min_size=1, max_size=8, unique=True),
    st.randoms(use_true_random=False),
)
def test_noise_in_keys_changes_nothing(tmp_path_factory, keys, random):
    folder = tmp_path_factory.mktemp("property")
    rows = [f"{key!r},{number}" for number, key in enumerate(keys)]
    noisy = [f"{key * (1 + 1e-12)!r},{number}" for number, key in enumerate(keys)]
    random.shuffle(noisy)
    one, two = ("t,y\n" + "".join(f"{row}\n" for row in each) for each in (rows, noisy))
    assert compared(folder, "x.csv", one, two, Tolerance(keys=("t",))) is None


# Rows in another order


def test_rows_that_are_only_in_another_order_are_told(tmp_path):
    hint = 'its rows are those expected, in another order: "keys" names the columns that tell them apart'
    one, two = "a,b\n1,x\n2,y\n3,z\n", "a,b\n3.0,z\n1,x\n2,y\n"
    assert hint in said(compared(tmp_path, "x.csv", one, two))
    assert hint not in said(compared(tmp_path, "x.csv", one, two.replace("z", "q")))
    files = parquet(a=[[1], [2]], b=[0.5, None]), parquet(a=[[2], [1]], b=[None, 0.5])
    assert hint in said(compared(tmp_path, "x.parquet", *files))


# Errors in Excel


def test_errors_in_a_workbook_are_told_apart(tmp_path):
    def book(error):
        def write(path):
            made = openpyxl.Workbook()
            made.active.append(["a"])
            made.active.append([error])
            made.save(path)

        return write

    assert compared(tmp_path, "x.xlsx", book("#N/A"), book("#N/A")) is None
    message = compared(tmp_path, "x.xlsx", book("#N/A"), book("#DIV/0!")).message
    assert message == "1 of 1 values differs; row 1, a: #N/A expected, #DIV/0! found"
