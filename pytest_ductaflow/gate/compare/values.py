"""Compare values with expected ones: numbers within a tolerance, all others exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from .tolerance import Tolerance

Array: TypeAlias = NDArray[Any]
_Number: TypeAlias = int | float | Decimal


@dataclass(frozen=True)
class Gaps:
    """The values of two sequences that differ by more than the tolerance.

    Attributes:
        positions: Positions of the values that differ.
        absolute: |found - expected| of each, NaN if they are not both finite numbers.
        relative: The same, divided by |expected|; NaN if there is none or expected is 0.
        zeros: Number of values that differ only because 0 is expected, where `rtol` allows no difference.
    """

    positions: Array
    absolute: Array
    relative: Array
    zeros: int = 0

    def of(self, positions: Array) -> Gaps:
        """Return these gaps as positions in a longer sequence, of which only `positions` were compared."""
        return replace(self, positions=positions[self.positions])


def without_measure(positions: Array) -> Gaps:
    """Return gaps between values that are not numbers."""
    nothing = np.full(len(positions), np.nan)
    return Gaps(positions, nothing, nothing)


def gaps_of_arrays(expected: Array, found: Array, tolerance: Tolerance) -> Gaps:
    """Return where two one-dimensional arrays of the same length differ.

    If integers are expected, whole numbers must be equal unless the tolerance applies to integers, too. NaN
    equals NaN, and NaT equals NaT. Differences between integers are exact, whatever their size.
    """
    numbers = expected.dtype.kind in "iufc" and found.dtype.kind in "iufc"
    integers = expected.dtype.kind in "iu" and found.dtype.kind in "iu"
    if integers and expected.dtype.kind != found.dtype.kind:
        expected, found = expected.astype(object), found.astype(object)
    positions = np.flatnonzero(~_same(expected, found))
    expected, found = expected[positions], found[positions]
    if not numbers:
        return without_measure(positions)
    if integers:
        absolute = np.abs(found.astype(object) - expected.astype(object)).astype(float)
        size = np.abs(expected.astype(object)).astype(float)
        return _beyond(absolute, size, np.full(len(size), True), tolerance).of(positions)
    were_integers = expected.dtype.kind in "iu"
    wide = np.result_type(*(a.dtype for a in (expected, found)), np.float64)
    expected, found = expected.astype(wide), found.astype(wide)
    with np.errstate(all="ignore"):
        absolute, size = np.abs(found - expected), np.abs(expected)
        whole = np.full(len(size), were_integers) & (found == np.rint(found))
    return _beyond(absolute, size, whole, tolerance).of(positions)


def _same(expected: Array, found: Array) -> Array:
    same = np.asarray(expected == found)
    if expected.dtype.kind in "fcmM" and found.dtype.kind in "fcmM":
        missing = np.isnat if expected.dtype.kind in "mM" else np.isnan
        same = same | (missing(expected) & missing(found))
    return same


def gaps_of_cells(expected: Sequence[object], found: Sequence[object], tolerance: Tolerance) -> Gaps:
    """Return where two lists of plain Python values differ; bool is not a number, NaN equals NaN.

    Nested lists and objects (dicts) differ if a part of them does.
    """
    if set(map(type, expected)) | set(map(type, found)) == {float}:  # fast path, as for a rounded column
        return gaps_of_arrays(np.array(expected), np.array(found), tolerance)
    pairs = enumerate(zip(expected, found, strict=True))
    unequal = [
        (position, e, f)
        for position, (e, f) in pairs
        if not same_cell(e, f) and not _same_parts(e, f, lambda one, other: is_within(one, other, tolerance))
    ]
    measured = [_measured(e, f) for _, e, f in unequal]
    positions = np.array([position for position, _, _ in unequal], dtype=int)
    absolute = np.array([absolute for absolute, _, _ in measured], dtype=float)
    size = np.array([size for _, size, _ in measured], dtype=float)
    integers = np.array([integers for _, _, integers in measured], dtype=bool)
    return _beyond(absolute, size, integers, tolerance).of(positions)


def same_cell(expected: object, found: object) -> bool:
    """Return whether two values are the same: 3 equals 3.0, but True does not equal 1; NaN equals NaN."""
    if isinstance(expected, list | dict):
        return _same_parts(expected, found, same_cell)
    if isinstance(expected, bool) != isinstance(found, bool):
        return False
    return bool(expected == found) or (_is_nan(expected) and _is_nan(found))


def _same_parts(expected: object, found: object, same: Callable[[object, object], bool]) -> bool:
    """Return whether two values are both lists or both objects with the same parts."""
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(same(expected[key], found[key]) for key in expected)
    return False


def is_within(expected: object, found: object, tolerance: Tolerance) -> bool:
    """Return whether a value differs from the expected one by no more than the tolerance."""
    return not len(gaps_of_cells([expected], [found], tolerance).positions)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _is_number(value: object) -> TypeGuard[_Number]:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _measured(expected: object, found: object) -> tuple[float, float, bool]:
    """Return the absolute difference, the expected value's magnitude, and whether both are whole numbers.

    An integer that became a float, as in a column that gets a NaN, still counts as a whole number.
    """
    if not _is_number(expected) or not _is_number(found):
        return math.nan, math.nan, False
    integers = isinstance(expected, int) and _is_whole(found)
    if _is_exact(expected) and _is_exact(found):
        return _float(abs(Fraction(found) - Fraction(expected))), abs(_float(expected)), integers
    return abs(_float(found) - _float(expected)), abs(_float(expected)), integers


def _is_whole(value: _Number) -> bool:
    return isinstance(value, int) or (math.isfinite(value) and value == int(value))


def _is_exact(value: _Number) -> bool:
    return isinstance(value, int) or (isinstance(value, Decimal) and value.is_finite())


def _float(value: _Number | Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _beyond(absolute: Array, size: Array, integers: Array, tolerance: Tolerance) -> Gaps:
    """Return those unequal values that differ by more than the tolerance."""
    with np.errstate(all="ignore"):
        bound = np.maximum(tolerance.atol, tolerance.rtol * size)
        # bound > 0: a difference may be too small for a float (computed as 0) and still count.
        within = (bound > 0) & (absolute <= bound) & np.isfinite(absolute) & np.isfinite(size)
        if not tolerance.integers:
            within &= ~integers
        relative = np.where(size > 0, absolute / size, np.nan)
    beyond = np.flatnonzero(~within)
    zeros = ~within & (size == 0) & np.isfinite(absolute) & (tolerance.atol == 0)
    if not tolerance.integers:
        zeros &= ~integers
    absolute, relative = absolute[beyond].astype(float), relative[beyond].astype(float)
    absolute[~np.isfinite(absolute)] = np.nan
    relative[~np.isfinite(relative)] = np.nan
    return Gaps(beyond, absolute, relative, int(np.sum(zeros)))
