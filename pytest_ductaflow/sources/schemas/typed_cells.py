"""Give cells of a control table the type that the JSON Schema of their flow says.

Only the type tells 007 from 7 and 1.10 from 1.1 in a CSV file. Where a schema says what a column holds, that
decides, and not what the cell looks like. A cell that cannot be what is expected stays as it is, and is told
when its config is checked.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from ...core.instance import TEXT_COLUMNS
from ..table_cells import is_unset, number_in
from ..tables import Table

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")
_ZEROS = re.compile(r"^([+-]?)0+(?=\d)")
_DEEPEST = 16  # references and alternatives within each other


@dataclass(frozen=True)
class Expected:
    """What a schema allows in a column.

    Attributes:
        types: Names of JSON types; None for any.
        members: The only values; None for any.
    """

    types: frozenset[str] | None = None
    members: tuple[Any, ...] | None = None

    @property
    def is_anything(self) -> bool:
        return self.types is None and self.members is None


ANYTHING = Expected()


def typed_table(table: Table, schema_of: Callable[[Mapping[str, Any]], Any]) -> Table:
    """Return a table whose cells have the types that the schemas of their rows say.

    Args:
        table: The table.
        schema_of: Function from a row without its empty cells to the schema of its flow, or None.
    """
    known: dict[int, list[Expected]] = {}
    rows = list(table.rows)
    for number, filled in enumerate(table.filled()):
        schema = schema_of(filled)
        if schema is None:
            continue
        if id(schema) not in known:
            known[id(schema)] = [_expected_in(schema, column) for column in table.columns]
        texts = table.texts[number] if table.texts else (None,) * len(table.columns)
        rows[number] = tuple(
            value if each.is_anything or is_unset(value) else typed(value, text, each)
            for value, text, each in zip(rows[number], texts, known[id(schema)], strict=True)
        )
    return replace(table, rows=rows) if known else table


def typed(value: Any, text: str | None, expected: Expected) -> Any:
    """Return a cell's value in the type that is expected of it, or as it is if it cannot have that type.

    Args:
        value: The value that it has been read as.
        text: What the file says, in CSV; None where values have a type of their own.
        expected: What its column may hold.
    """
    if expected.members is not None:
        return _member(value, text, expected.members)
    types = expected.types or frozenset()
    kind = _type_of(value)
    if kind == "number" and value.is_integer() and "integer" in types and "number" not in types:
        return int(value)
    if kind in types or (kind == "integer" and "number" in types) or text is None:
        return value
    if types & {"integer", "number"} and (number := _number(text, types)) is not None:
        return number
    if "boolean" in types and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    return text if "string" in types else value


def _type_of(value: Any) -> str:
    kinds = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "")


def _member(value: Any, text: str | None, members: Iterable[Any]) -> Any:
    """Return the member of an enumeration that a cell means, by its value or else by its text."""
    equal = [member for member in members if member == value]
    for member in equal:
        if _type_of(member) == _type_of(value):
            return member
    for member in equal:
        if _type_of(member) in ("integer", "number") and _type_of(value) in ("integer", "number"):
            return member
    if text is None:
        return value
    return next((member for member in members if _is_said(member, text)), value)


def _is_said(member: Any, text: str) -> bool:
    if isinstance(member, bool):
        return _BOOLEANS.get(text.lower()) is member
    if isinstance(member, int | float):
        return _number(text, frozenset({"number"})) == member
    return bool(member == text)


def _number(text: str, types: frozenset[str]) -> int | float | None:
    """Return the number that a cell says, also with leading zeros; None if it says none of these types."""
    if _INTEGER.fullmatch(text):
        return int(text)
    number = number_in(_ZEROS.sub(r"\1", text))
    if isinstance(number, float) and "number" not in types:
        return int(number) if number.is_integer() else None
    return number


def _expected_in(schema: Any, column: str) -> Expected:
    """Return what a schema allows in a column, whose dotted name leads through nested objects."""
    if column in TEXT_COLUMNS or column.startswith("_"):
        return ANYTHING
    inner = schema
    for key in column.split("."):
        inner = _property(inner, key, schema)
        if inner is None:
            return ANYTHING
    return _expected(inner, schema, 0)


def _property(schema: Any, key: str, root: Any) -> Any:
    """Return what a schema says of a key by its name, else by a pattern, else of all others; or None."""
    parts = list(_parts(schema, root, 0))
    for part in parts:
        if key in (properties := _mapping(part, "properties")):
            return properties[key]
    for part in parts:
        for pattern, found in _mapping(part, "patternProperties").items():
            with contextlib.suppress(re.error):  # which is told when configs are checked
                if re.search(pattern, key):
                    return found
    return next((part["additionalProperties"] for part in parts if "additionalProperties" in part), None)


def _mapping(schema: Mapping[str, Any], word: str) -> Mapping[str, Any]:
    found = schema.get(word)
    return found if isinstance(found, Mapping) else {}


def _parts(schema: Any, root: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield a schema, and those that hold as well: by its reference, and by `allOf`."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return
    yield schema
    if "$ref" in schema:
        yield from _parts(_resolved(schema, root), root, depth + 1)
    for each in schema["allOf"] if isinstance(schema.get("allOf"), list) else ():
        yield from _parts(each, root, depth + 1)


def _expected(schema: Any, root: Any, depth: int) -> Expected:
    schema = _resolved(schema, root)
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return ANYTHING
    if "const" in schema:
        return Expected(members=(schema["const"],))
    if isinstance(schema.get("enum"), list):
        return Expected(members=tuple(schema["enum"]))
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        return Expected(types=frozenset(map(str, kinds)))
    for word in ("anyOf", "oneOf"):
        if isinstance(schema.get(word), list):
            return _either([_expected(each, root, depth + 1) for each in schema[word]])
    for each in schema["allOf"] if isinstance(schema.get("allOf"), list) else ():
        if not (found := _expected(each, root, depth + 1)).is_anything:
            return found
    return ANYTHING


def _either(found: list[Expected]) -> Expected:
    """Return what one of several alternatives allows."""
    if any(each.is_anything for each in found):
        return ANYTHING
    if all(each.members is not None for each in found):
        return Expected(members=tuple(member for each in found for member in each.members or ()))
    types = {kind for each in found for kind in each.types or ()}
    return Expected(types=frozenset(types | {_type_of(m) for each in found for m in each.members or ()}))


def _resolved(schema: Any, root: Any) -> Any:
    """Return a schema, or the one within the same file to which its reference leads."""
    for _ in range(_DEEPEST):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            return schema
        schema = root
        for part in reference[2:].split("/"):
            schema = _member_at(schema, unquote(part).replace("~1", "/").replace("~0", "~"))
    return None


def _member_at(value: Any, key: str) -> Any:
    """Return the member of an object or a list that a part of a reference names, or None."""
    if isinstance(value, list):
        return value[int(key)] if key.isdecimal() and int(key) < len(value) else None
    return value.get(key) if isinstance(value, Mapping) else None
