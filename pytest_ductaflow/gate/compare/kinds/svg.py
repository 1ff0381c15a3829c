"""Compare SVG files by how they render and by all their texts, rendered or not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from xml.etree import ElementTree

import resvg_py

from ....core.errors import Unreadable
from ..findings import Findings
from ..tolerance import Tolerance
from . import images

_DPI = 96.0  # as in browsers
_PER_INCH = {"pt": 72, "pc": 6, "in": 1, "cm": 2.54, "mm": 25.4, "px": _DPI, "": _DPI}
_LENGTH = re.compile(r"\s*([\d.]+(?:[eE][+-]?\d+)?)\s*(px|pt|pc|in|cm|mm)?\s*")
_SMALLEST = 500  # pixels of the longer side: in a smaller drawing, differences would not be visible
_LARGEST = 50_000_000  # pixels
_NOT_SHOWN = {"metadata", "style", "script"}  # they hold the date and the program that drew it
_NOTED = 10  # texts that differ


@dataclass(frozen=True)
class Drawing:
    """The content of an SVG file.

    Attributes:
        frames: The drawing as pixels.
        texts: All texts, in document order.
    """

    frames: images.Frames
    texts: tuple[str, ...]


def read(path: Path, _tolerance: Tolerance) -> Drawing:
    """Read a file and render it.

    Raises:
        Unreadable: If it is not SVG, or too large to be rendered safely.
    """
    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314 - written by a flow of the user
    except ElementTree.ParseError as error:
        raise Unreadable(str(error)) from error
    width, height = _size(root)
    if width * height > _LARGEST:
        raise Unreadable(f"it would have more than {_LARGEST:,} pixels; make it smaller")
    zoom = max(1.0, _SMALLEST / max(width, height))
    # Without a resolution, sizes in points, as matplotlib writes them, would not count as sizes.
    drawn = resvg_py.svg_to_bytes(svg_path=str(path), resources_dir=str(path.parent), dpi=_DPI, zoom=zoom)
    return Drawing(images.frames_of(drawn, "PNG"), tuple(_texts(root)))


def _size(root: ElementTree.Element) -> tuple[float, float]:
    """Return width and height in pixels."""
    found = [_LENGTH.fullmatch(root.get(name, "")) for name in ("width", "height")]
    lengths = [float(length[1]) * _DPI / _PER_INCH[length[2] or ""] for length in found if length]
    if len(lengths) < 2:
        box = [part for part in re.split(r"[\s,]+", root.get("viewBox", "").strip()) if part]
        lengths = [float(part) for part in box[2:]] if len(box) == 4 else [_SMALLEST, _SMALLEST]
    width, height = lengths
    if not (width > 0 and height > 0):
        raise Unreadable("it has no size")
    return width, height


def _texts(root: ElementTree.Element) -> Iterator[str]:
    waiting = [root]
    while waiting:
        element = waiting.pop()
        if str(element.tag).rpartition("}")[2] in _NOT_SHOWN:
            continue
        texts = (element.text, *(child.tail for child in element))
        yield from (" ".join(text.split()) for text in texts if text and text.strip())
        waiting += reversed(element)


def compare(expected: Drawing, found: Drawing, tolerance: Tolerance, findings: Findings) -> None:
    """Compare renderings, then all texts, as some are not rendered on every system or by every program."""
    images.compare(expected.frames, found.frames, tolerance, findings)
    pairs = [pair for pair in zip_longest(expected.texts, found.texts) if pair[0] != pair[1]]
    for ours, theirs in pairs[:_NOTED]:
        findings.note(f"text {_said(ours)} expected, {_said(theirs)} found")
    if len(pairs) > _NOTED:
        findings.note(f"… and {len(pairs) - _NOTED} more texts")


def _said(text: str | None) -> str:
    return "none" if text is None else repr(text if len(text) <= 60 else f"{text[:60]}…")
