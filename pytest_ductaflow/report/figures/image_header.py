"""Read from the first bytes of an image how many pixels it has, without decoding it."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

Size = tuple[int, int]  # width and height in pixels
_PNG = b"\x89PNG\r\n\x1a\n"
_NO_SIZE = {0xC4, 0xC8, 0xCC}  # JPEG segments between SOF0 and SOF15 that tell no size
_HEAD = 32  # bytes; all formats but JPEG have their size in there
_MOST_SEGMENTS = 500  # of a JPEG before its size


def size_of(file: BinaryIO) -> Size | None:
    """Return the size of a PNG, GIF, WebP or JPEG image; None if it is none of these.

    Args:
        file: The image, open for reading at its beginning.
    """
    head = file.read(_HEAD)
    try:
        if head.startswith(_PNG) and head[12:16] == b"IHDR":
            return struct.unpack(">II", head[16:24])
        if head.startswith((b"GIF87a", b"GIF89a")):
            return struct.unpack("<HH", head[6:10])
        if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
            return _size_of_webp(head)
        if head.startswith(b"\xff\xd8\xff"):
            return _size_of_jpeg(file)
    except struct.error:  # it ends before its size
        pass
    return None


def is_png(data: bytes) -> bool:
    return data.startswith(_PNG)


def is_broken_png(data: bytes) -> bool:
    """Return whether the bytes of a PNG are cut off or not those that were written, by its checksums."""
    at = len(_PNG)
    try:
        while True:
            (length,) = struct.unpack_from(">I", data, at)
            (check,) = struct.unpack_from(">I", data, at + 8 + length)
            if zlib.crc32(data[at + 4 : at + 8 + length]) != check:
                return True
            if data[at + 4 : at + 8] == b"IEND":
                return False
            at += 12 + length
    except struct.error:
        return True


def _size_of_webp(head: bytes) -> Size | None:
    match head[12:16]:
        case b"VP8X":
            width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
            return width, height
        case b"VP8L":
            bits = int.from_bytes(head[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack("<HH", head[26:30])
            return width & 0x3FFF, height & 0x3FFF
    return None


def _size_of_jpeg(file: BinaryIO) -> Size | None:
    file.seek(2)
    for _ in range(_MOST_SEGMENTS):
        marker, kind = struct.unpack(">BB", file.read(2))
        while kind == 0xFF:  # fill bytes
            (kind,) = struct.unpack(">B", file.read(1))
        if marker != 0xFF:
            return None
        (length,) = struct.unpack(">H", file.read(2))
        if 0xC0 <= kind <= 0xCF and kind not in _NO_SIZE:
            _, height, width = struct.unpack(">BHH", file.read(5))
            return width, height
        file.seek(length - 2, 1)
    return None
