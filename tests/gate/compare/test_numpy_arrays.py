"""NumPy's files are compared by shape, type and values."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.comparing import compared

from pytest_ductaflow.core.errors import ExpectedUnreadable
from pytest_ductaflow.gate.compare.tolerance import Tolerance

GRID = np.arange(12.0).reshape(3, 4)
POINTS = np.array([(1, (2.5, 3.5)), (2, (4.5, 5.5))], dtype=[("n", "i4"), ("at", [("x", "f8"), ("y", "f8")])])
BOTH = np.array([np.nan, np.inf, 1.0])


def saved(array):
    return lambda path: np.save(path, array, allow_pickle=True)


def archive(save=np.savez, **arrays):
    return lambda path: save(path, **arrays)


def set_at(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (GRID, GRID * (1 + 1e-9)),
        (GRID, np.asfortranarray(GRID)),
        (GRID, GRID.astype(">f8")),
        (BOTH, BOTH.copy()),
        (GRID + 1j, GRID * (1 + 1e-9) + 1j),
        (POINTS, POINTS.copy()),
        (np.array("2030-01-01", "M8[s]"), np.array("2030-01-01", "M8[s]")),
        (np.array(["NaT"], "M8[s]"), np.array(["NaT"], "M8[s]")),
        (np.zeros((0, 3)), np.zeros((0, 3))),
    ],
)
def test_an_array_is_as_expected_within_the_tolerance(tmp_path, expected, found):
    assert compared(tmp_path, "x.npy", saved(expected), saved(found)) is None


@pytest.mark.parametrize(
    ("expected", "found", "message"),
    [
        (
            GRID,
            set_at(GRID, (1, 2), 7),
            (
                "1 of 12 values differs; largest absolute difference 1 ([1, 2]: 6.0 expected, 7.0 found), "
                "largest relative 16.7 %"
            ),
        ),
        (BOTH, set_at(BOTH, 0, 1), "1 of 3 values differs; [0]: nan expected, 1.0 found"),
        (BOTH, set_at(BOTH, 1, -np.inf), "1 of 3 values differs; [1]: inf expected, -inf found"),
        (GRID, GRID.T, "shape (3, 4) expected, (4, 3) found"),
        (GRID, GRID.astype("f4"), "type float64 expected, float32 found"),
        (GRID, GRID.astype(str), "type float64 expected, <U32 found"),
        (np.array([True]), np.array([False]), "1 of 1 values differs; [0]: True expected, False found"),
        (np.array(["a"]), np.array(["b"]), "1 of 1 values differs; [0]: a expected, b found"),
        (
            np.array(1 + 2j),
            np.array(1 + 3j),
            (
                "1 of 1 values differs; largest absolute difference 1 (its value: (1+2j) expected, "
                "(1+3j) found), largest relative 44.7 %"
            ),
        ),
        (
            POINTS,
            set_at(POINTS, 1, (2, (4.5, 6.5))),
            (
                "1 of 6 values differs; largest absolute difference 1 ([1].at.y: 5.5 expected, 6.5 found), "
                "largest relative 18.2 %"
            ),
        ),
        (
            np.array([2**63 - 1, 1]),
            np.array([2**63 - 2, 1]),
            (
                "1 of 2 values differs; largest absolute difference 1 ([0]: 9223372036854775807 expected, "
                "9223372036854775806 found), largest relative 1.08e-17 %"
            ),
        ),
    ],
)
def test_what_differs_is_told_with_its_index(tmp_path, expected, found, message):
    assert compared(tmp_path, "x.npy", saved(expected), saved(found)).message == message


def test_values_that_numpy_cannot_compare_differ(tmp_path):
    years, seconds = (saved(np.array([1], f"m8[{unit}]")) for unit in "Ys")
    difference = compared(tmp_path, "x.npy", years, seconds)
    assert difference.message.startswith(("type timedelta64[Y] expected", "cannot be compared: "))


def test_integers_of_other_types_are_compared_exactly(tmp_path):
    signed, unsigned = np.array([2**62], "i8"), np.array([2**62 + 1], "u8")
    difference = compared(tmp_path, "x.npy", saved(signed), saved(unsigned))
    assert difference.worst[0].absolute == 1
    assert difference.notes == ("type int64 expected, uint64 found",)


@pytest.mark.parametrize(
    ("tolerance", "same"),
    [
        (Tolerance(), False),
        (Tolerance(atol=1), False),
        (Tolerance(atol=1, integers=True), True),
        (Tolerance(ignore=("cou*",)), True),
        (Tolerance(columns={"count": Tolerance(atol=1, integers=True)}), True),
        (Tolerance(columns={"weights": Tolerance(atol=1, integers=True)}), False),
    ],
)
def test_arrays_of_an_archive_have_tolerances_by_name(tmp_path, tolerance, same):
    expected = archive(weights=GRID, count=np.array([1, 2]))
    found = archive(np.savez_compressed, weights=GRID, count=np.array([1, 3]))
    assert (compared(tmp_path, "x.npz", expected, found, tolerance) is None) == same


def test_arrays_that_are_missing_or_not_expected_are_told(tmp_path):
    found = archive(weights=set_at(GRID, (2, 3), 12), y=GRID)
    difference = compared(tmp_path, "x.npz", archive(weights=GRID, x=GRID), found)
    assert difference.worst[0].where == "weights[2, 3]"
    assert difference.notes == ("array missing: x", "array not expected: y")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.npy", saved(np.array([{}, []], dtype=object)), "it holds Python objects"),
        ("x.npz", archive(a=np.array([{}], dtype=object)), "array a: it holds Python objects"),
        ("x.npy", b"garbage", "it does not begin as a NumPy array does"),
        ("x.npz", b"\x93NUMPY", "File is not a zip file"),
    ],
)
def test_what_is_no_array_is_never_as_expected(tmp_path, name, content, reason):
    with pytest.raises(ExpectedUnreadable, match=reason):
        compared(tmp_path, name, content, content)


def test_bytes_after_an_array_make_it_unreadable(tmp_path):
    def write(path):
        np.save(path, GRID)
        path.write_bytes(path.read_bytes() + b"x")

    with pytest.raises(ExpectedUnreadable, match="there is more in it than the array"):
        compared(tmp_path, "x.npy", write, write)
