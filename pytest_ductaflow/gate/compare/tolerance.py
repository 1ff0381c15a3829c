"""How exactly the outputs of a stored instance must be what was expected: the `tolerances` of its file."""

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
    """What is allowed in one file.

    A number is as expected if `|found - expected| <= max(atol, rtol * |expected|)`. NaN equals NaN.

    Attributes:
        rtol: Relative tolerance, a share.
        atol: Absolute tolerance, in the unit of the values.
        integers: Whether these also hold for integers, which else must be equal: they often are names.
        columns: By name or pattern of a column (or key), a tolerance of its own.
        keys: Columns that identify a row; with them the order of rows does not matter.
        ignore: Names or patterns of columns (or keys, of whole paths of keys, of arrays) not compared.
        colour: Of images: how different a pixel may look, from 0 to 1 (black and white).
        pixels: Of images: the share of pixels that may look more different than that.
        encoding: Of text files and tables in text.
        decimal: The sign before the fraction of a number in CSV files, `.` or `,`.
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
        """The tolerance of a column or key; the last pattern that fits counts."""
        found = [own for pattern, own in self.columns.items() if matches(name, pattern)]
        return found[-1] if found else self

    def ignores(self, name: str) -> bool:
        """Whether a column, key or path of keys is not compared."""
        return any(matches(name, pattern) for pattern in self.ignore)

    def misspelt(self, names: Collection[str]) -> Iterator[str]:
        """What it says of names that are nearly those of columns or keys, and may be meant to be these.

        Args:
            names: Those that there are.
        """
        for what, given in (("ignore", self.ignore), ("columns", self.columns)):
            for pattern in given:
                if "." in pattern or any(matches(name, pattern) for name in names):  # a path of keys has dots
                    continue
                if near := near_to(pattern, names):
                    yield f"{what!r} names {pattern!r}, which is not there{near}"

    def described(self, names: Sequence[str]) -> Iterator[str]:
        """What it says in words, `rtol 1e-06`: its numbers, and what is not as it is by default.

        Args:
            names: Those of the attributes that count.
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
        """This tolerance, changed by what a user wrote.

        Args:
            given: Values by the names above, less `integers`.
            integers: Whether numbers given here hold for integers, too.

        Raises:
            ValueError: With a sentence that names the value that cannot be.
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
    """Whether a pattern stands for a name, or is it, as `speed [km/h]`, which is a pattern of others, too."""
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def near_to(pattern: str, names: Collection[str]) -> str:
    """The question whether a name is meant that is nearly what was written; empty if there is none."""
    near = difflib.get_close_matches(pattern, names, 1)
    return f": did you mean {near[0]!r}?" if near else ""


def fits(name: str, pattern: str) -> bool:
    """Whether a pattern is of a file's name: of all of it, or without `/` of its last part."""
    last = name.rpartition("/")[2]
    return matches(name, pattern) or ("/" not in pattern and matches(last, pattern))


class Tolerances:
    """The tolerance of each file.

    Args:
        given: By name or pattern of files, what differs from the default; later ones add to earlier ones.

    Raises:
        ValueError: With a sentence that names the pattern and the value that cannot be.
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
        """What it says of names that match nothing, so that they may be misspelt.

        Args:
            names: Of each file the names of columns and keys, and the lines, to which `ignore` and `columns`
                may refer; None if they are not known.
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
        """The tolerance of a file, by its name in the run directory."""
        tolerance = Tolerance()
        for pattern, values in self._given.items():
            if fits(name, pattern):
                tolerance = tolerance.with_(values, integers=pattern != "*")
        return tolerance
