"""Pack the rows of the report: what many rows have in common is in the page once.

    texts    texts that rows refer to by number; NUL in one stands for the instance's name
    values   distinct config values
    shapes   for each kind of config its keys, each a path such as ["model", "degree"]
    places   where scalar results come from: [stem of the file, dotted key]
    sets     for each combination of results its places, by number
    rows     for each row a list: see `PackedRows.pack`

A row without the fields that every row has is kept as it is. `script/rows.js` reads the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.scalars import Place
from .page_json import encode, encode_exact, is_exact

Row = dict[str, Any]
NAME = "\0"  # stands for the name of the instance
TEXTS = (
    *("id", "source", "step", "kind", "status", "directory", "flow", "command"),
    *("message", "traceback", "code", "reason", "last_good"),
    *("worker", "waited_for", "held_by", "debug"),
    *("design", "lineage"),
)
TEXT_LISTS = ("inputs", "outputs", "upstreams")
NUMBERS = ("shard", "started", "duration", "peak_memory", "ready")
LISTS = (*TEXT_LISTS, "warnings", "python_warnings", "differences", "failed_attempts", "undeclared", "flows")
_NEEDED = ("id", "instance", "step", "status", "earlier")
_PACKED = frozenset(
    (*TEXTS, *TEXT_LISTS, *NUMBERS, "instance", "earlier", "unchanged", "links", "config", "results")
)


@dataclass(frozen=True, slots=True)
class PackedRow:
    """A row as text, and what of it is analysed.

    Attributes:
        text: JSON for the page.
        shape: Number of its config's shape, -1 without one.
        codes: Numbers of its config values, in the order of the shape.
        places: Numbers of the places of its results.
        results: Its results, in the order of `places`.
    """

    text: str
    shape: int = -1
    codes: tuple[int, ...] = ()
    places: tuple[int, ...] = ()
    results: tuple[Any, ...] = ()


@dataclass
class _Numbered:
    """Distinct things in the order of their first use, each with its JSON."""

    numbers: dict[Any, int] = field(default_factory=dict)
    encoded: list[str] = field(default_factory=list)
    things: list[Any] = field(default_factory=list)

    def number(self, key: Any, thing: Any) -> int:
        if (number := self.numbers.get(key)) is None:
            number = self.numbers[key] = len(self.encoded)
            self.encoded.append(encode(thing))
            self.things.append(thing)
        return number


class PackedRows:
    """The dictionaries of a page, which grow with each row that is packed."""

    def __init__(self) -> None:
        self._texts = _Numbered()
        self._values = _Numbered()
        self._shapes = _Numbered()
        self._places = _Numbered()
        self._sets = _Numbered()

    @property
    def shapes(self) -> list[list[tuple[str, ...]]]:
        """The keys of each shape of config, as paths."""
        return self._shapes.things

    @property
    def values(self) -> list[Any]:
        """The distinct config values."""
        return self._values.things

    @property
    def places(self) -> list[Place]:
        """Where results come from."""
        return [(stem, key) for stem, key in self._places.things]

    def dictionaries(self) -> str:
        """Return the dictionaries as members of a JSON object."""
        parts = ("texts", self._texts), ("values", self._values), ("shapes", self._shapes)
        more = ("places", self._places), ("sets", self._sets)
        return ",".join(f'"{name}":[{",".join(each.encoded)}]' for name, each in (*parts, *more))

    def pack(self, row: Any) -> PackedRow:
        """Pack a row: name, texts, lists, links, marks, numbers, config, results, and what else it says."""
        if not _can_be_packed(row):
            return PackedRow(encode(row))
        name = row["instance"]
        texts = _without_end([self._text(row.get(key), name) for key in TEXTS], -1)
        links = row.get("links")
        linked = [self._text(part, name) for pair in links.items() for part in pair] if links else []
        lists = [[self._text(text, name) for text in row.get(key) or ()] for key in TEXT_LISTS]
        marks = row["earlier"] + 2 * bool(row.get("unchanged"))
        numbers = _without_end([row.get(key) for key in NUMBERS], None)
        shape, codes = self._config(row.get("config"))
        places, results = self._results(row.get("results"))
        set_of_places = self._sets.number(places, list(places)) if places else -1
        packed = [name, texts, lists, linked, marks, numbers, shape, codes, set_of_places, results]
        text = encode_exact(packed) if all(map(is_exact, numbers)) else encode(packed)
        if rest := {key: value for key, value in row.items() if key not in _PACKED and _is_said(value)}:
            text = f"{text[:-1]},{encode(rest)}]"
        return PackedRow(text, shape, tuple(codes), places, tuple(results))

    def _text(self, text: str | None, name: str) -> int:
        if text is None:
            return -1
        template = text.replace(NAME, "\ufffd") if NAME in text else text
        template = template.replace(name, NAME) if name else template
        number = self._texts.numbers.get(template)  # most are known: a call would take longer than this
        return self._texts.number(template, template) if number is None else number

    def _config(self, config: Mapping[str, Any] | None) -> tuple[int, list[int]]:
        if config is None:
            return -1, []
        paths: list[tuple[str, ...]] = []
        codes: list[int] = []
        known = self._values.numbers
        for path, value in _leaves(config):
            paths.append(path)
            key = (value.__class__, value) if isinstance(value, str | int | float) else encode([value])
            code = known.get(key)
            codes.append(self._values.number(key, value) if code is None else code)
        return self._shapes.number(tuple(paths), paths), codes

    def _results(self, results: Mapping[str, Mapping[str, Any]] | None) -> tuple[tuple[int, ...], list[Any]]:
        found = [
            (self._places.number((stem, key), [stem, key]), value)
            for stem, values in (results or {}).items()
            for key, value in values.items()
        ]
        values = [value if is_exact(value) else str(value) for _, value in found]
        return tuple(place for place, _ in found), values


def unpack(data: Mapping[str, Any]) -> list[Any]:
    """Return the rows of a page as they were before they were packed.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: If they were not packed by `PackedRows`.
    """
    return [_unpacked(row, data) if isinstance(row, list) else row for row in data["rows"]]


def _unpacked(packed: list[Any], data: Mapping[str, Any]) -> Row:
    name, texts, lists, linked, marks, numbers, shape, codes, places, results, *rest = packed

    def text(number: int) -> str | None:
        return None if number < 0 else data["texts"][number].replace(NAME, name)

    row: Row = {key: text(number) for key, number in zip(TEXTS, _filled(texts, TEXTS, -1), strict=True)}
    row |= dict(zip(NUMBERS, _filled(numbers, NUMBERS, None), strict=True))
    row |= {"instance": name, "earlier": bool(marks & 1), "unchanged": bool(marks & 2)}
    row["links"] = {text(key): text(path) for key, path in zip(linked[::2], linked[1::2], strict=True)}
    paths = data["shapes"][shape] if shape >= 0 else []
    row["config"] = _nested(paths, [data["values"][code] for code in codes])
    row["results"] = {}
    for place, value in zip(data["sets"][places] if places >= 0 else (), results, strict=True):
        stem, key = data["places"][place]
        row["results"].setdefault(stem, {})[key] = value
    row |= {key: [] for key in LISTS}
    row |= {key: [text(each) for each in found] for key, found in zip(TEXT_LISTS, lists, strict=True)}
    return row | (rest[0] if rest else {})


def _can_be_packed(row: Any) -> bool:
    """Return whether a row has what every row has, with the types that it needs."""
    if not isinstance(row, dict) or any(key not in row for key in _NEEDED):
        return False
    texts = [row.get(key) for key in TEXTS]
    texts += [text for key in TEXT_LISTS for text in row.get(key) or ()]
    links, config = row.get("links"), row.get("config")
    return (
        isinstance(row["instance"], str)
        and isinstance(row["earlier"], bool)
        and all(text is None or isinstance(text, str) for text in texts)
        and (links is None or isinstance(links, dict))
        and all(value is None or isinstance(value, str) for value in (links or {}).values())
        and (config is None or isinstance(config, dict))
    )


def _without_end(values: list[Any], nothing: Any) -> list[Any]:
    """Return a list without the last ones that say nothing."""
    while values and values[-1] == nothing:
        values.pop()
    return values


def _filled(values: list[Any], names: Sequence[str], nothing: Any) -> list[Any]:
    """Return a list with what `_without_end` has left out."""
    return [*values, *[nothing] * (len(names) - len(values))]


def without_empty(row: Row) -> Row:
    """Return a row without the values that say nothing; a page shows it as the same."""
    return {key: value for key, value in row.items() if _is_said(value)}


def _is_said(value: Any) -> bool:
    return value not in (None, [], {}, ())


def _leaves(config: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the values of a config that are no groups, with their paths."""
    for key, value in config.items():
        if value and isinstance(value, dict):
            for path, leaf in _leaves(value):
                yield (key, *path), leaf
        else:
            yield (key,), value


def _nested(paths: list[list[str]], values: list[Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for path, value in zip(paths, values, strict=True):
        group = config
        for key in path[:-1]:
            group = group.setdefault(key, {})
        group[path[-1]] = value
    return config
