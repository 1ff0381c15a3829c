"""The tolerances with which outputs of a stored instance are compared: `tolerances` in its file."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

_NUMBERS = ("rtol", "atol", "colour", "pixels")
_LISTS = ("keys", "ignore")
_AS_WELL = {"color": "colour"}  # other spellings


@dataclass(frozen=True)
class Tolerance:
    """The tolerance for one file.

    A number is as expected if `|found - expected| <= max(atol, rtol * |expected|)`. NaN equals NaN.

    Attributes:
        rtol: Relative tolerance, as a fraction.
        atol: Absolute tolerance, in the unit of the values.
        integers: Whether these also apply to integers, which else must be equal: they often are identifiers.
        columns: Separate tolerance by name or pattern of a column (or key).
        keys: Columns that identify a row; with them the order of rows does not matter.
        ignore: Names or patterns of columns (or keys, whole paths of keys, arrays) not compared.
        colour: For images, how different a pixel may look, from 0 to 1 (black against white).
        pixels: For images, the fraction of pixels that may look more different than that.
        encoding: Encoding of text files and tables in text.
        decimal: Decimal separator in CSV files, `.` or `,`.
    """

    rtol: float = 1e-6
    atol: float = 0.0
    integers: bool = False
    columns: Mapping[str, Tolerance] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    colour: float = 0.05
    pixels: float = 0.0
    encoding: str = "utf-8"
    decimal: str = "."

    def of_column(self, name: str) -> Tolerance:
        """Return the tolerance of a column or key; the last matching pattern counts."""
        found = [own for pattern, own in self.columns.items() if matches(name, pattern)]
        return found[-1] if found else self

    def ignores(self, name: str) -> bool:
        """Return whether a column, key or path of keys is not compared."""
        return any(matches(name, pattern) for pattern in self.ignore)

    def misspelt(self, names: Collection[str]) -> Iterator[str]:
        """Yield notes on names that do not exist but are similar to those of columns or keys.

        Args:
            names: Existing names.
        """
        for what, given in (("ignore", self.ignore), ("columns", self.columns)):
            for pattern in given:
                if "." in pattern or any(matches(name, pattern) for name in names):  # a path of keys has dots
                    continue
                if near := near_to(pattern, names):
                    yield f"{what!r} names {pattern!r}, which is not there{near}"

    def described(self, names: Sequence[str]) -> Iterator[str]:
        """Yield its settings in words, `rtol 1e-06`: all numbers, and others that differ from the default.

        Args:
            names: Attributes to describe.
        """
        for name in names:
            value = getattr(self, name)
            if name == "columns":
                for column, own in value.items():
                    yield f"column {column}: rtol {own.rtol:g} atol {own.atol:g}"
            elif name in _NUMBERS:
                yield f"{name} {value:g}"
            elif value != getattr(type(self), name, ()):
                yield f"{name} {' '.join([value] if isinstance(value, str) else value)}"

    def with_(self, given: Mapping[str, Any], *, integers: bool) -> Self:
        """Return a copy of this tolerance changed by what a user wrote.

        Args:
            given: Values by the names above, except `integers`.
            integers: Whether numbers given here apply to integers, too.

        Raises:
            ValueError: With a sentence that names the invalid value.
        """
        known = [f.name for f in fields(self) if f.name != "integers"]
        changes: dict[str, Any] = {}
        for name, value in given.items():
            meant = _AS_WELL.get(name, name)
            if meant not in known:
                raise ValueError(f"{name!r} is not one of {', '.join(known)}")
            if meant != name and meant in given:
                raise ValueError(f"{name!r} is {meant!r}, which is there as well: leave one of them out")
            changes[meant] = _checked(meant, value)
        if integers and {"rtol", "atol"} & changes.keys():
            changes["integers"] = True
        own = changes.pop("columns", None)
        result = replace(self, **changes)
        if own is not None:
            columns = {}
            for pattern, column in own.items():
                if not isinstance(column, Mapping) or not column.keys() <= {"rtol", "atol"}:
                    raise ValueError(f"columns: {pattern!r}: expected rtol and atol, found {column!r}")
                columns[pattern] = result.with_(column, integers=True)
            result = replace(result, columns={**result.columns, **columns})
        return result


def _checked(name: str, value: Any) -> Any:
    if name in _NUMBERS:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value < float("inf"):
            raise ValueError(f"{name}: expected a number of 0 or more, found {value!r}")
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{name}: the number is too large") from None
    if name in _LISTS:
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise ValueError(f"{name}: expected a list of names, found {value!r}")
        return tuple(value)
    if name == "columns" and not isinstance(value, Mapping):
        raise ValueError(f"columns: expected tolerances by column, found {value!r}")
    if name == "encoding":
        try:
            "".encode(value)
        except (LookupError, TypeError):
            raise ValueError(f"encoding: {value!r} is not known") from None
    if name == "decimal" and value not in (".", ","):
        raise ValueError(f"decimal: expected '.' or ',', found {value!r}")
    return value


def matches(name: str, pattern: str) -> bool:
    """Return whether a pattern matches a name or equals it, as `speed [km/h]` does, also a pattern."""
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def near_to(pattern: str, names: Collection[str]) -> str:
    """Return the question whether the most similar name was meant, empty if there is none."""
    near = difflib.get_close_matches(pattern, names, 1)
    return f": did you mean {near[0]!r}?" if near else ""


def fits(name: str, pattern: str) -> bool:
    """Return whether a pattern matches a file's whole name or, if it has no `/`, its last part."""
    last = name.rpartition("/")[2]
    return matches(name, pattern) or ("/" not in pattern and matches(last, pattern))


class Tolerances:
    """The tolerances of all files.

    Args:
        given: Changes to the default by name or pattern of files; later ones add to earlier ones.

    Raises:
        ValueError: With a sentence that names the pattern and the invalid value.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        for pattern, values in given.items():
            if not isinstance(values, Mapping):
                raise ValueError(f"{pattern!r}: expected names and values, found {values!r}")
            try:
                Tolerance().with_(values, integers=False)
            except ValueError as error:
                raise ValueError(f"{pattern!r}: {error}") from None

    def without_effect(self, names: Mapping[str, Collection[str] | None]) -> Iterator[str]:
        """Yield notes on names that match nothing and so may be misspelt.

        Args:
            names: For each file, the columns, keys and lines to which `ignore` and `columns` may refer; None
                if they are not known.
        """
        for pattern, values in self._given.items():
            inside = [found for name, found in names.items() if fits(name, pattern)]
            if not inside:
                yield f"{pattern!r}: no output that is compared has such a name"
            known = [found for found in inside if found is not None]
            if not inside or len(known) < len(inside):
                continue
            there = set().union(*known)
            for what in ("ignore", "columns"):
                for name in values.get(what, ()):
                    if not any(matches(other, name) for other in there):
                        text = f"{pattern!r}: {what!r} names {name!r}, which is in none of its files"
                        yield f"{text}{near_to(name, there)}"

    def of(self, name: str) -> Tolerance:
        """Return the tolerance of a file, by its name in the run directory."""
        tolerance = Tolerance()
        for pattern, values in self._given.items():
            if fits(name, pattern):
                tolerance = tolerance.with_(values, integers=pattern != "*")
        return tolerance
