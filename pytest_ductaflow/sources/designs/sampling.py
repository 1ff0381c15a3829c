"""Designs that sample ranges: Latin hypercube, Sobol' and Halton sequences, random numbers.

SciPy's `scipy.stats.qmc` makes the first three; it is imported when one of them is asked for.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np

from ...core.errors import DuctaflowError
from ..table_cells import is_mapping
from .scenario_table import ScenarioTable, axis_of_list, brief, named_by_values

SampleDesign = Literal["lhs", "sobol", "halton", "random"]
_DESIGNS: tuple[SampleDesign, ...] = get_args(SampleDesign)
_DIGITS = (
    6  # decimal places below the size of a range to which values are rounded, so that names can show them
)


def sample(n: int, /, *, design: SampleDesign = "lhs", seed: int = 0, **axes: Any) -> ScenarioTable:
    """Return a sample of ranges and choices, as a control table.

    Args:
        n: How many points. Points that give the same row (few choices, short ranges of integers) make one
            row together.
        design: `lhs` (Latin hypercube: each of n equal parts of a range has one point), `sobol` or `halton`
            (low discrepancy sequences, scrambled; for `sobol`, a power of two is best), or `random`. All
            but `random` need SciPy. A larger n keeps the rows of a smaller one and adds others, except with
            `lhs`, which has to place all points anew.
        seed: Seed of the random numbers: the same arguments give the same table, in every process.
        **axes: For each column a range, as a tuple of two numbers (of integers, both ends included, if both
            are integers); choices, as a list; or one value for all rows. Values of continuous ranges are
            rounded to about a millionth of the range.

    Returns:
        At most n rows, with readable names made from their values.

    Raises:
        ValueError, TypeError: If an argument is not as above.
        DuctaflowError: If SciPy is needed and not installed.

    Examples:
        >>> sample(2, design="random", seed=1, rate=(0.0, 1.0), mode=["a", "b"])["instance_name"].tolist()
        ['rate=0.511822,mode=b', 'rate=0.14416,mode=b']
    """
    _check(n, design, seed)
    read = {name: _axis(name, given) for name, given in axes.items()}
    varied = [axis for axis in read.values() if axis.is_varied]
    if not varied:
        raise ValueError(
            "sample(): expected a range, as in rate=(0.01, 0.08), or choices, mode=['rail', 'road']"
        )
    points = iter(_points(n, len(varied), design, seed).T)
    columns = [next(points) if axis.is_varied else np.zeros(n) for axis in read.values()]
    places = [axis.places(column) for axis, column in zip(read.values(), columns, strict=True)]
    distinct = list(dict.fromkeys(zip(*places, strict=True)))
    rows = [tuple(axis.value(at) for axis, at in zip(read.values(), row, strict=True)) for row in distinct]
    told = {"kind": "sample", "n": n, "design": design, "seed": seed}
    if len(rows) < n:
        told["rows"] = len(rows)
    described = {name: axis.described() for name, axis in read.items()}
    return named_by_values(list(read), rows, {**told, "axes": described})


def _check(n: Any, design: Any, seed: Any) -> None:
    """Check the arguments of `sample` but its axes.

    Raises:
        ValueError: If one of them is invalid.
    """
    if not _is_whole(n, 1):
        raise ValueError(f"sample({n!r}): expected a whole number of points, 1 or more")
    if not _is_whole(seed, 0):
        raise ValueError(f"sample(seed={seed!r}): expected a whole number, 0 or more")
    if design not in _DESIGNS:
        raise ValueError(f"sample(design={design!r}): expected one of {', '.join(_DESIGNS)}")


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True)
class _Range:
    """A range of numbers: whole ones from low to high, or fractions rounded to some decimal places."""

    low: float
    high: float
    decimals: int | None  # None for integers
    is_varied = True

    def places(self, points: Any) -> list[float]:
        """Return the values at points of the unit interval."""
        if self.decimals is None:
            low, high = int(self.low), int(self.high)
            return [min(low + int(point * (high - low + 1)), high) for point in points.tolist()]
        values = (self.low + points * (self.high - self.low)).tolist()
        return [min(max(round(value, self.decimals), self.low), self.high) for value in values]

    def value(self, place: float) -> float:
        return place

    def described(self) -> dict[str, Any]:
        return {"from": self.low, "to": self.high}


@dataclass(frozen=True)
class _Choices:
    """Values one of which a row has."""

    values: Sequence[Any]
    is_constant: bool = False

    @property
    def is_varied(self) -> bool:
        return not self.is_constant

    def places(self, points: Any) -> list[int]:
        """Return the indices of the values at points of the unit interval."""
        last = len(self.values) - 1
        return [min(place, last) for place in np.floor(points * len(self.values)).astype(int).tolist()]

    def value(self, place: int) -> Any:
        return self.values[place]

    def described(self) -> dict[str, Any]:
        if self.is_constant:
            return {"value": brief(self.values[0])}
        return axis_of_list(self.values)


def _axis(name: str, given: Any) -> Any:
    """Return a range, choices, or a single choice.

    Raises:
        TypeError, ValueError: If it is a tuple, but no range, or an empty list.
    """
    if isinstance(given, tuple):
        return _range(name, given)
    if isinstance(given, str | bytes) or is_mapping(given) or not isinstance(given, Iterable):
        return _Choices([given], is_constant=True)
    if isinstance(given, set | frozenset):
        raise TypeError(
            f"sample({name}={given!r}): a set has no order, so that a seed means nothing; choices are a list"
        )
    values = list(given)
    if not values:
        raise ValueError(f"sample({name}=…): the list has no choices")
    return _Choices(values)


def _range(name: str, given: tuple[Any, ...]) -> _Range:
    are_numbers = all(isinstance(end, Real) and not isinstance(end, bool | np.bool_) for end in given)
    if len(given) != 2 or not are_numbers or not all(map(_is_finite, given)):
        raise TypeError(
            f"sample({name}={given!r}): a tuple is a range of two numbers, from and to; choices are a list"
        )
    low, high = (end.item() if isinstance(end, np.generic) else end for end in given)
    if not low < high:
        raise ValueError(f"sample({name}={given!r}): expected a range from a smaller to a larger number")
    if not _fits(low, high):
        raise ValueError(f"sample({name}={given!r}): the range is too large for floating-point numbers")
    if isinstance(low, int) and isinstance(high, int):
        return _Range(low, high, None)
    return _Range(float(low), float(high), _DIGITS - math.floor(math.log10(high - low)))


def _is_finite(number: Any) -> bool:
    return isinstance(number, int) or math.isfinite(number)  # an integer may be too large for a float


def _fits(low: Any, high: Any) -> bool:
    """Return whether the ends of a range, and its size, can be floats."""
    try:
        return math.isfinite(float(high) - float(low))
    except OverflowError:
        return False


def _points(n: int, dimensions: int, design: SampleDesign, seed: int) -> Any:
    """Return n points of the unit cube, an array of shape (n, dimensions).

    Raises:
        DuctaflowError: If SciPy is needed and not installed.
    """
    if design == "random":
        return np.random.default_rng(seed).random((n, dimensions))
    try:
        from scipy.stats import qmc
    except ImportError as error:
        raise DuctaflowError(
            f"sample(design={design!r}) needs SciPy: pip install 'pytest-ductaflow[designs]', "
            "or take design='random'"
        ) from error
    kinds = {"lhs": qmc.LatinHypercube, "sobol": qmc.Sobol, "halton": qmc.Halton}
    engine = kinds[design](dimensions, seed=np.random.default_rng(seed))
    with warnings.catch_warnings():
        # that Sobol' points are balanced only if their number is a power of two, as our documentation says
        warnings.filterwarnings("ignore", message=".*balance properties of Sobol", category=UserWarning)
        return engine.random(n)
