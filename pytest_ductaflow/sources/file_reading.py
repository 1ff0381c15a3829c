"""What reading a file can come to: its content, or a sentence that says why there is none."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import DuctaflowError

_LONGEST_CELL = 2**31 - 1


class ExpectedUnreadable(DuctaflowError):
    """What is expected cannot be read as what its suffix says, so that nothing can be compared with it."""


class LibraryMissing(ExpectedUnreadable):
    """The library is not installed that reads such files."""


class NotReadable(Exception):
    """A file is not what its suffix says; the message is the reason, without the file's name."""


def text_of(path: Path, encoding: str, cure: str = '"encoding" among its tolerances names another') -> str:
    """The text of a file, without a byte order mark.

    Args:
        path: The file.
        encoding: As Python calls it.
        cure: What to do if it has another.

    Raises:
        NotReadable: If a byte is none of the encoding, or a NUL, which no text has.
    """
    data = path.read_bytes()
    codec = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    try:
        text = data.decode(codec)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(codec, "replace").count("\n") + 1
        raise NotReadable(
            f"line {line}: byte 0x{data[error.start]:02x} is no {encoding} text ({cure})"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise NotReadable(f"line {line} has a NUL byte, which no text has")
    return text


@contextmanager
def long_cells() -> Iterator[None]:
    """Cells of more than 128 KB, such as outlines of areas; the limit is one of the whole process."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)
