"""Unpack compressed files, so that their content is compared and not their time of compression."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...core.errors import Unreadable

_OPENERS: Mapping[str, tuple[str, Callable[[Path], Any]]] = {
    ".gz": ("gzip", gzip.open),
    ".bz2": ("bzip2", bz2.open),
    ".xz": ("xz", lzma.open),
}
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)


def is_compressed(path: Path) -> bool:
    return path.suffix.lower() in _OPENERS


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack a file for the duration of the context: `trips.csv` from `trips.csv.gz`.

    Raises:
        Unreadable: If it is not in the format of its suffix, or its end is missing.
    """
    kind, open_ = _OPENERS[path.suffix.lower()]
    with tempfile.TemporaryDirectory(prefix="ductaflow-") as folder:
        inside = Path(folder, path.stem)
        try:
            with open_(path) as packed, inside.open("wb") as target:
                shutil.copyfileobj(packed, target)
        except _BROKEN as error:
            raise Unreadable(f"it cannot be unpacked as {kind}: {error}") from error
        yield inside
