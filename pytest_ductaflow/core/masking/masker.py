"""Mask secrets in texts, also where they are escaped as in JSON, Python, URLs, HTML or Base64."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

from ..record import Failure
from .config import LEAST, MASK

_LEAST_LINE = 8  # characters of a line of a longer secret that is masked by itself, as in a log


class Masker:
    """A function that masks secrets in a text; false if there are none.

    Args:
        values: The secrets.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        forms = {form for value in values for form in _forms(value) if len(form) >= LEAST}
        ordered = sorted(forms, key=len, reverse=True)
        any_form = "|".join(map(re.escape, ordered))
        self._pattern = re.compile(any_form) if ordered else None
        self._at_each_place = re.compile(f"(?=({any_form}))")  # also where another one has begun

    def __bool__(self) -> bool:
        return self._pattern is not None

    def __call__(self, text: str) -> str:
        if self._pattern is None or self._pattern.search(text) is None:
            return text
        parts, place = [], 0
        for begin, end in self._spans(text):
            parts += [text[place:begin], MASK]
            place = end
        return "".join([*parts, text[place:]])

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where secrets begin and end in a text; those that overlap are one."""
        begin = end = -1
        for found in self._at_each_place.finditer(text):
            if found.start(1) >= end:
                if end >= 0:
                    yield begin, end
                begin = found.start(1)
            end = max(end, found.end(1))
        if end >= 0:
            yield begin, end

    def in_failure(self, failure: Failure) -> Failure:
        """Return a failure with all its texts masked."""
        message, source, traceback = map(self, (failure.message, failure.source, failure.traceback))
        return replace(failure, message=message, source=source, traceback=traceback)

    def in_json(self, data: Any) -> Any:
        """Return nested dicts and lists with all texts in them masked, keys as well."""
        if isinstance(data, str):
            return self(data)
        if isinstance(data, dict):
            return type(data)({self.in_json(key): self.in_json(value) for key, value in data.items()})
        return [*map(self.in_json, data)] if isinstance(data, list) else data


def _forms(value: str) -> Iterator[str]:
    """Yield a secret as it may be printed."""
    yield value
    yield from (line for line in value.splitlines() if len(line) >= _LEAST_LINE)
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    data = value.encode(errors="surrogatepass")
    yield repr(data)[2:-1]
    yield quote(data)
    yield quote(data, safe="")
    yield quote_plus(data)
    yield html.escape(value)
    if len(value) >= _LEAST_LINE:
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(data).decode().rstrip("=")
            yield from _within_base64(data, encode)
        yield data.hex()
        yield data.hex().upper()


def _within_base64(data: bytes, encode: Callable[[bytes], bytes]) -> Iterator[str]:
    """Yield the characters that are of some bytes alone, within a longer text in Base64.

    Three bytes are four characters, so that there are three ways in which they may begin.
    """
    for before, mixed in ((0, 0), (1, 2), (2, 3)):  # bytes before these, and characters in which they are
        text = encode(bytes(before) + data).decode()
        yield text[mixed : (before + len(data)) * 8 // 6]
