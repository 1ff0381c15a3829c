"""Say which image files a page may show: whole images of a known kind, not too large, and of the project."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from typing import BinaryIO

from ...core.number_text import in_bytes
from .image_header import is_broken_png, is_png, size_of

RASTERS = (".png", ".jpg", ".jpeg", ".gif", ".webp")
SUFFIXES = (*RASTERS, ".svg")
MOST_BYTES = 30_000_000
MOST_BYTES_OF_SVG = 3_000_000  # each of its shapes is drawn anew
MOST_PIXELS = 50_000_000  # four bytes each in the browser
_SVG = re.compile(rb"<(?:\w+:)?svg[\s>/]", re.IGNORECASE)
_ENTITY = re.compile(rb"<!ENTITY", re.IGNORECASE)


def problem_of(path: str, within: Sequence[str]) -> str | None:
    """Return why an image file cannot be shown, in words; None if it can.

    Args:
        path: The file.
        within: Folders, without links in their paths, in one of which the file itself has to lie.
    """
    try:
        real = os.path.realpath(path)
        if not any(real.startswith(os.path.join(folder, "")) for folder in within):
            return "a link that leads out of its folder"
        status = os.stat(real)
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for a writer
            return "no file"
        is_svg = path.lower().endswith(".svg")
        if status.st_size > (MOST_BYTES_OF_SVG if is_svg else MOST_BYTES):
            return f"too large to be shown: {in_bytes(status.st_size)}"
        with open(real, "rb") as file:
            return _problem_of_svg(file) if is_svg else _problem_of_raster(file)
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError) as error:
        return f"not readable: {getattr(error, 'strerror', None) or error}"


def _problem_of_svg(file: BinaryIO) -> str | None:
    text = file.read()
    if not _SVG.search(text):
        return "no SVG"
    return "an SVG that declares entities" if _ENTITY.search(text) else None


def _problem_of_raster(file: BinaryIO) -> str | None:
    size = size_of(file)
    if size is None:
        return "no PNG, JPEG, GIF or WebP image"
    width, height = size
    if not width or not height:
        return "an image without pixels"
    if width * height > MOST_PIXELS:
        return f"too large to be shown: {width} by {height} pixels"
    file.seek(0)
    data = file.read()
    return "a broken PNG" if is_png(data) and is_broken_png(data) else None
