"""Read and extend JSON with comments and trailing commas, as VS Code writes its settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(
    r"""
    (?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<text>"(?:\\.|[^"\\\n])*")
    |(?P<sign>[{}\[\],:])
    |(?P<word>[^\s{}\[\],:"/]+)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    begin: int
    end: int


def read(text: str) -> Any:
    """Return the value that JSON with comments and trailing commas stands for.

    Raises:
        ValueError: If it is anything else.
    """
    tokens = list(_tokens(text))
    kept = [
        token.text
        for token, after in zip(tokens, [*tokens[1:], None], strict=True)
        if not (token.text == "," and after is not None and after.text in ("}", "]"))
    ]
    return json.loads(" ".join(kept))


def with_item(text: str, key: str, item: Any) -> str:
    """Return the text of an object with an item added to the list under a key; nothing else changes.

    Args:
        text: JSON with comments.
        key: Key of the outermost object, whose value is a list.
        item: The item, put before the others.

    Raises:
        ValueError: If the text is no such object.
    """
    before = read(text)
    if not isinstance(before, dict) or not isinstance(before.get(key), list):
        raise ValueError(f"it is no object with a list under {key!r}")
    place = _begin_of_list(text, key)
    line = text.rfind("\n", 0, place) + 1
    found = re.match(r"[ \t]*", text[line:])
    outer = found[0] if found is not None else ""
    indent = outer + ("\t" if "\t" in outer else "    ")
    written = json.dumps(item, indent=4, ensure_ascii=False).replace("\n", f"\n{indent}")
    comma = "," if before[key] else ""
    rest = text[place:]
    ending = "" if comma or rest.lstrip(" \t").startswith(("\n", "\r")) else f"\n{outer}"
    extended = f"{text[:place]}\n{indent}{written}{comma}{ending}{rest}"
    if read(extended) != {**before, key: [item, *before[key]]}:
        raise ValueError(f"the list under {key!r} cannot be extended")
    return extended


def _tokens(text: str) -> Iterator[_Token]:
    """Yield the tokens of a text without comments and spaces.

    Raises:
        ValueError: If there is anything else in it.
    """
    place = 1 if text.startswith("\ufeff") else 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(
                f"line {text.count(chr(10), 0, place) + 1} is not JSON: {text[place : place + 20]!r}"
            )
        if found.lastgroup != "space":
            yield _Token(str(found.lastgroup), found[0], found.start(), found.end())
        place = found.end()


def _begin_of_list(text: str, key: str) -> int:
    """Return the place behind the bracket that opens the list under a key of the outermost object.

    Raises:
        ValueError: If there is none.
    """
    depth, found = 0, None
    tokens = list(_tokens(text))
    for first, second, third in zip(tokens, tokens[1:], tokens[2:], strict=False):
        depth += (first.text in ("{", "[")) - (first.text in ("}", "]"))
        is_key = depth == 1 and first.kind == "text" and second.text == ":" and json.loads(first.text) == key
        if is_key and third.text == "[":
            found = third.end  # JSON takes the last one, too, if a key is there twice
    if found is None:
        raise ValueError(f"it has no list under {key!r}")
    return found
