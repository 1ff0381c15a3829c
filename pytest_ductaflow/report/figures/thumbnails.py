"""Make small copies of images, which a page of thousands shows in their place."""

from __future__ import annotations

import importlib.util
import os
import secrets
from pathlib import Path
from typing import Any

SIDE = 640  # pixels of the longer side
_SMALL_ENOUGH = 30_000  # bytes of an image that is shown itself
# Modes of images in colours or greys: in others, pixels are numbers.
_COLOURS = frozenset(("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"))
_LONGEST = 50  # times the shorter side, which would vanish otherwise


class BrokenImageError(Exception):
    """An image cannot be decoded."""


def can_make_thumbnails() -> bool:
    """Return whether Pillow is installed."""
    return importlib.util.find_spec("PIL") is not None


def thumbnail_of(image: Path, digest: str, folder: Path) -> str:
    """Make a small copy of an image, unless there is one.

    Args:
        image: The image, as `can_be_shown.problem_of` lets it pass.
        digest: Digest of its content, in hexadecimal digits.
        folder: Folder for the copy.

    Returns:
        The copy's name; "" if the image is to be shown itself: it is small, or an SVG, or Pillow is missing.

    Raises:
        BrokenImageError: If the image cannot be decoded.
    """
    name = f"{digest}-{SIDE}.webp"
    if (folder / name).exists():
        return name
    if image.suffix.lower() == ".svg" or not can_make_thumbnails():
        return ""
    picture = _decoded(image)
    if picture is None or image.stat().st_size < _SMALL_ENOUGH or not _has_webp():
        return ""
    picture.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    temporary = folder / f".{name}.{secrets.token_hex(8)}.tmp"
    try:
        picture.save(temporary, "WEBP", quality=82, method=2)
        os.replace(temporary, folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    return name


def _decoded(image: Path) -> Any:
    """Return an image in colours, of at least the size of a copy; None if its pixels are no colours."""
    from PIL import Image

    try:
        with Image.open(image, formats=("PNG", "JPEG", "GIF", "WEBP")) as picture:
            picture.draft("RGB", (SIDE, SIDE))
            picture.load()
            if picture.mode not in _COLOURS or max(picture.size) > _LONGEST * min(picture.size):
                return None
            has_alpha = "A" in picture.mode or "transparency" in picture.info
            return picture.convert("RGBA" if has_alpha else "RGB")
    except Exception as error:  # Pillow's decoders raise what they like
        raise BrokenImageError(f"{type(error).__name__}: {error}") from None


def _has_webp() -> bool:
    from PIL import features

    return bool(features.check("webp"))
