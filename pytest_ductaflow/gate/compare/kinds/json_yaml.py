"""Compare JSON and YAML files: nested objects and lists."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from ....core.errors import Unreadable
from ....sources.file_reading import text_of
from ..findings import Findings, with_kinds
from ..tolerance import Tolerance
from ..values import gaps_of_cells, same_cell

_DEEPEST = 200  # levels
_LARGEST = 20_000_000  # values: a few lines of YAML with anchors can stand for any number of them
_Pair: TypeAlias = tuple[str, object, object]  # path, expected, found


_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader, if built, is three times as fast


class _Loader(_Parser):  # type: ignore[misc]
    """A loader of plain values only that rejects duplicate keys."""

    def construct_document(self, node: yaml.Node) -> Any:
        nodes, seen = [node], {id(node)}
        while nodes:
            inner = nodes.pop()
            parts = inner.value if isinstance(inner, yaml.CollectionNode) else []
            if isinstance(inner, yaml.MappingNode):
                _check_keys(key.value for key, _ in parts if isinstance(key, yaml.ScalarNode))
                parts = [part for pair in parts for part in pair]
            nodes += [part for part in parts if id(part) not in seen]
            seen.update(map(id, parts))
        return super().construct_document(node)


def read(path: Path, tolerance: Tolerance) -> object:
    """Read the value in a file; several YAML documents, and the lines of JSON lines, become a list.

    Raises:
        Unreadable: If it is empty, malformed, has a key twice or is nested too deeply.
    """
    text = text_of(path, tolerance.encoding)
    if not text.strip():
        raise Unreadable("it is empty")
    try:
        value = _READERS.get(path.suffix.lower(), _json)(text)
    except RecursionError:
        raise Unreadable(f"it is nested deeper than {_DEEPEST} levels") from None
    _check_size(value)
    return value


def _json(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise Unreadable(f"line {error.lineno}, column {error.colno}: {error.msg}") from error


def _json_lines(text: str) -> object:
    values = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            values += [json.loads(line, object_pairs_hook=_object)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise Unreadable(f"line {number}, column {error.colno}: {error.msg}") from error
        except Unreadable as error:
            raise Unreadable(f"line {number}: {error}") from error
    return values


def _yaml(text: str) -> object:
    try:
        _check_depth(text)
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in (error.problem or ""):  # a limit of the parser, since PyYAML 6.0.4
            raise RecursionError from error
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise Unreadable(f"{line}{error.problem or error.context}") from error
    return documents[0] if len(documents) == 1 else documents


def _check_depth(text: str) -> None:
    """Refuse deep nesting before the C parser recurses so far that it crashes the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise RecursionError


_READERS = {".jsonl": _json_lines, ".ndjson": _json_lines, ".yaml": _yaml, ".yml": _yaml}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_keys(key for key, _ in pairs)
    return dict(pairs)


def _check_keys(keys: Iterable[str]) -> None:
    known = set()
    for key in keys:
        if key in known:
            raise Unreadable(f"key {key!r} is there twice in one object")
        known.add(key)


def _check_size(value: object) -> None:
    level, seen = [value], 0
    for _ in range(_DEEPEST + 1):
        seen += sum(len(_parts(outer)) for outer in level)
        if seen > _LARGEST:
            raise Unreadable(f"it stands for more than {_LARGEST:,} values")
        level = [part for outer in level for part in _parts(outer)]
        if not level:
            return
    raise Unreadable(f"it is nested deeper than {_DEEPEST} levels")


def _parts(value: object) -> Collection[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def compare(expected: object, found: object, tolerance: Tolerance, findings: Findings) -> None:
    walk = _Walk(tolerance, findings)
    walk.compare("", tolerance, expected, found)
    for own, pairs in walk.unequal.values():
        _add(pairs, own, findings)


def _add(pairs: list[_Pair], tolerance: Tolerance, findings: Findings) -> None:
    ours, theirs = ([pair[side] for pair in pairs] for side in (1, 2))
    findings.add(
        gaps_of_cells(ours, theirs, tolerance),
        lambda position: pairs[position][0] or "its value",
        lambda position: with_kinds(ours[position], theirs[position], _shown),
    )


class _Walk:
    """A parallel walk through two structures that notes where they differ.

    Attributes:
        unequal: Values that are not the same, with the tolerance that applies to them.
    """

    def __init__(self, tolerance: Tolerance, findings: Findings) -> None:
        self._tolerance = tolerance
        self._findings = findings
        self._of_key: dict[str, Tolerance] = {}
        self.unequal: dict[int, tuple[Tolerance, list[_Pair]]] = {}

    def compare(self, path: str, own: Tolerance, expected: object, found: object) -> None:
        if isinstance(expected, dict) and isinstance(found, dict):
            self._objects(path, expected, found)
        elif isinstance(expected, list) and isinstance(found, list):
            if len(expected) != len(found):
                self._findings.note(
                    f"{path or 'the list'}: {len(expected):,} elements expected, {len(found):,} found"
                )
            for number, (ours, theirs) in enumerate(zip(expected, found, strict=False)):
                self.compare(f"{path}[{number}]", own, ours, theirs)
        elif isinstance(expected, dict | list) or isinstance(found, dict | list):
            self._findings.note(f"{path or 'all'}: {_kind(expected)} expected, {_kind(found)} found")
        else:
            self._findings.compared += 1
            if not same_cell(expected, found):
                self.unequal.setdefault(id(own), (own, []))[1].append((path, expected, found))

    def _objects(self, path: str, expected: dict[Any, Any], found: dict[Any, Any]) -> None:
        alike = {str(key) for key in expected if key not in found}
        alike &= {str(key) for key in found if key not in expected}
        for key in [*expected, *(key for key in found if key not in expected)]:
            name = str(key)
            inner = f"{path}.{name}" if path else name
            self._findings.names.add(name)
            if self._tolerance.ignores(name) or self._tolerance.ignores(inner):
                self._findings.names |= {inner, *_keys_in((expected.get(key), found.get(key)), inner)}
                continue
            kind = f" ({type(key).__name__})" if name in alike else ""
            if key not in found:
                self._findings.note(f"missing: {inner}{kind}")
            elif key not in expected:
                self._findings.note(f"not expected: {inner}{kind}")
            else:
                self.compare(inner, self._of(name), expected[key], found[key])

    def _of(self, name: str) -> Tolerance:
        if name not in self._of_key:
            self._of_key[name] = self._tolerance.of_column(name)
        return self._of_key[name]


def _keys_in(values: Iterable[object], path: str) -> Iterator[str]:
    """Yield the keys of all objects in values that are not compared, alone and with their path."""
    for value in values:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from (str(key), f"{path}.{key}")
                yield from _keys_in([inner], f"{path}.{key}")
        elif isinstance(value, list):
            yield from _keys_in(value, path)


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else _shown(value)


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
