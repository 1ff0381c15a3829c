"""Read text files, and report why one cannot be read."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import Unreadable

_LONGEST_CELL = 2**31 - 1


def text_of(path: Path, encoding: str, cure: str = '"encoding" among its tolerances names another') -> str:
    """Return the text of a file, without a byte order mark.

    Args:
        path: The file.
        encoding: Python's name of the encoding.
        cure: Remedy if it has another.

    Raises:
        Unreadable: If a byte is not valid in the encoding, or is NUL, which no text has.
    """
    data = path.read_bytes()
    codec = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(codec, "replace").count("\n") + 1
        raise Unreadable(
            f"line {line}: byte 0x{data[error.start]:02x} is no {encoding} text ({cure})"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise Unreadable(f"line {line} has a NUL byte, which no text has")
    return text


@contextmanager
def long_cells() -> Iterator[None]:
    """Allow CSV cells of more than 128 KB, such as outlines of areas; the limit is process-wide."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)
