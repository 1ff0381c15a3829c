"""Make image files, whole ones and hostile ones."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from PIL import Image, ImageDraw


def draw_figure(path: Path, text: str = "", size: tuple[int, int] = (640, 400), shade: int = 200) -> Path:
    """Write an image whose left half has one grey and whose right half has another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (shade, shade, shade))
    draw = ImageDraw.Draw(image)
    draw.rectangle((size[0] // 2, 0, *size), fill=(255 - shade, 0, 0))
    draw.text((20, 20), text, fill="black")
    image.save(path)
    return path


def noisy(path: Path, size: tuple[int, int] = (900, 600)) -> Path:
    """Write an image that takes many bytes, so that a small copy of it is worth its while."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 80).convert("RGB").save(path)
    return path


def bomb(path: Path, side: int = 60_000) -> Path:
    """Write a PNG of a few hundred bytes that says to have billions of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    return path


SVG_WITH_SCRIPT = """\
<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200" onload="parent.document.title = 'ran'">
<script>window.top.ran = true; document.title = "ran"; fetch("https://example.org/from-svg")</script>
<image href="https://example.org/x.png" width="10" height="10"/>
<foreignObject width="100" height="50"><body xmlns="http://www.w3.org/1999/xhtml">
<iframe src="https://example.org/"/></body></foreignObject>
<rect width="300" height="200" fill="teal"/></svg>
"""
