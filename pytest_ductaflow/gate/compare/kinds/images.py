"""Compare images by differences that people can see."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from ....core.errors import Unreadable
from ....core.number_text import percent
from ..findings import Findings
from ..tolerance import Tolerance
from ..values import Array
from .numpy_arrays import compare_arrays

_FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
_RASTERS = (".tif", ".tiff")  # their shades of grey are counts or classes rather than a picture
_ENDS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}  # end markers, which Pillow does not require
_NUMBERS = ("I", "F")  # modes of pixels that are measurements rather than colours, including `I;16`
_VIA_RGB = ("CMYK", "YCbCr", "LAB", "HSV")
# Y. Kotsarenko, F. Ramos: Measuring perceived color difference using YIQ NTSC transmission color space
# in mobile applications. Programación Matemática y Software 2 (2), 2010.
_YIQ = np.array(
    [
        [0.29889531, 0.58662247, 0.11448223],
        [0.59597799, -0.27417610, -0.32180189],
        [0.21147017, -0.52261711, 0.31114694],
    ],
    dtype=np.float32,
)
_WEIGHTS = np.array([0.5053, 0.299, 0.1957], dtype=np.float32)
_RED = (214, 0, 0)
Frames: TypeAlias = list[Array]  # RGBA in bytes, or one channel of numbers


def read(path: Path, _tolerance: Tolerance) -> Frames:
    """Read all frames of an image.

    Raises:
        Unreadable: If it has another format, is truncated or is too large to be read safely.
    """
    is_raster = path.suffix.lower() in _RASTERS
    return frames_of(path.read_bytes(), _FORMATS[path.suffix.lower()], numbers=_NUMBERS + ("L",) * is_raster)


def frames_of(data: bytes, kind: str, numbers: tuple[str, ...] = _NUMBERS) -> Frames:
    """Return the frames in the bytes of an image.

    Args:
        data: Bytes of the image.
        kind: Pillow's name of its format.
        numbers: Modes of pixels that are measurements.

    Raises:
        Unreadable: As in `read`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=[kind]) as image:
                frames = [_pixels(frame, numbers) for frame in ImageSequence.Iterator(image)]
        except UnidentifiedImageError as error:
            raise Unreadable(f"its content is no {kind} image") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            limit = Image.MAX_IMAGE_PIXELS or 0
            raise Unreadable(f"it has more than {limit:,} pixels; make it smaller") from error
    # A truncated GIF may lack its last frames.
    if _ENDS.get(kind, b"") not in data or (kind == "GIF" and not data.endswith(b";")):
        raise Unreadable("its end is missing")
    return frames


def _pixels(image: Image.Image, numbers: tuple[str, ...]) -> Array:
    image.load()
    if image.mode.partition(";")[0] in numbers:
        return np.array(image)
    return np.array(image.convert("RGB" if image.mode in _VIA_RGB else image.mode).convert("RGBA"))


def compare(expected: Frames, found: Frames, tolerance: Tolerance, findings: Findings) -> None:
    """Compare frame by frame; pixels that are numbers rather than colours are compared as numbers."""
    if len(expected) != len(found):
        findings.note(f"{len(expected):,} frames expected, {len(found):,} found")
    worst = 0.0
    for number, (ours, theirs) in enumerate(zip(expected, found, strict=False), start=1):
        prefix = f"frame {number}: " if len(expected) > 1 else ""
        if ours.ndim == 2 or theirs.ndim == 2:
            _compare_numbers(prefix, ours, theirs, tolerance, findings)
            continue
        distances = _distances(ours, theirs)
        share = float(np.mean(distances > tolerance.colour))
        if ours.shape != theirs.shape:
            sizes = [f"{frame.shape[1]:,} by {frame.shape[0]:,}" for frame in (ours, theirs)]
            message, share = f"{prefix}{sizes[0]} pixels expected, {sizes[1]} found", 2.0
        elif share > tolerance.pixels:
            y, x = np.unravel_index(np.argmax(distances), distances.shape)
            allowed = f" ({percent(tolerance.pixels)} allowed)" if tolerance.pixels else ""
            message = f"{prefix}{percent(share)} of the pixels look different{allowed}, most at ({x}, {y})"
        else:
            continue
        if share > worst:
            worst, findings.message = share, message
            _write(ours, theirs, distances > tolerance.colour, findings)


def _compare_numbers(
    prefix: str, expected: Array, found: Array, tolerance: Tolerance, findings: Findings
) -> None:
    if expected.ndim != found.ndim:
        kinds = ["numbers" if frame.ndim == 2 else "colours" for frame in (expected, found)]
        findings.note(f"{prefix}pixels that are {kinds[0]} expected, {kinds[1]} found")
    else:
        compare_arrays(prefix.rstrip(": "), expected, found, tolerance, findings)


def _distances(expected: Array, found: Array) -> Array:
    """Return how different pixels look, from 0 to 1 (black against white); 1 where one image has none."""
    height, width = (min(expected.shape[axis], found.shape[axis]) for axis in (0, 1))
    largest = [max(expected.shape[axis], found.shape[axis]) for axis in (0, 1)]
    distances = np.ones(largest, dtype=np.float32)
    gap = (_on_white(expected[:height, :width]) - _on_white(found[:height, :width])) @ _YIQ.T
    distances[:height, :width] = np.minimum(np.sqrt(gap**2 @ (_WEIGHTS / _WEIGHTS[0])), 1)
    return distances


def _on_white(pixels: Array) -> Array:
    scaled = pixels.astype(np.float32) / 255
    alpha = scaled[:, :, 3:]
    return np.asarray(scaled[:, :, :3] * alpha + (1 - alpha))


def _write(expected: Array, found: Array, differs: Array, findings: Findings) -> None:
    """Write the expected image, the found one, and the expected in pale grey with differences in red."""
    marked = np.full((*differs.shape, 3), 255, dtype=np.uint8)
    height, width = expected.shape[:2]
    grey = 191 + 64 * (_on_white(expected) @ _YIQ[0])
    marked[:height, :width] = np.clip(grey, 0, 255).astype(np.uint8)[:, :, None]
    marked[differs] = _RED
    for role, pixels in (("expected", expected), ("found", found), ("difference", marked)):
        path = findings.folder / f"{findings.file}.{role}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        findings.pictures[role] = path
