"""Mask secrets in texts, also where they are escaped as in JSON, Python, URLs, HTML or Base64."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
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
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def __call__(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub(MASK, text)

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
        yield base64.b64encode(data).decode().rstrip("=")
        yield base64.urlsafe_b64encode(data).decode().rstrip("=")
        yield data.hex()
