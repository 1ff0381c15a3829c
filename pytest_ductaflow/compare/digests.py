"""Files of which nothing is known but their bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..model import Difference
from .reading import Unreadable

_SHA256 = "sha256:"


@dataclass(frozen=True)
class Digest:
    """A file's bytes in short."""

    text: str
    size: int


def digest_of(path: Path) -> Digest:
    with path.open("rb") as stream:
        return Digest(_SHA256 + hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size)


def compare_bytes(expected: Digest, found: Digest, name: str) -> Difference | None:
    """Compare two files by their digests."""
    if expected == found:
        return None
    if expected.size == found.size:
        sizes = f"both have {expected.size:,} bytes, but other ones"
    else:
        sizes = f"{expected.size:,} bytes expected, {found.size:,} found"
    kind = Path(name).suffix or "files without a suffix"
    return Difference(name, f"not the same: {sizes}; compared byte by byte since nothing is known of {kind}")


def compare_digest(digest: str, found: Path, name: str) -> Difference | None:
    """Compare a file with the digest of what is expected, `sha256:…`.

    Raises:
        Unreadable: If it is no such digest.
    """
    hexadecimal = digest.removeprefix(_SHA256)
    if len(hexadecimal) != 64 or digest == hexadecimal or not set(hexadecimal) <= set("0123456789abcdef"):
        raise Unreadable(
            f"{name}: {digest!r} is not a digest of what is expected, `sha256:` and 64 digits; store it again"
        )
    try:
        actual = digest_of(found)
    except OSError as error:
        return Difference(name, f"cannot be read: {error.strerror or error}")
    if actual.text == digest:
        return None
    return Difference(
        name,
        f"not the same: {_SHA256}{hexadecimal[:12]}… expected, {actual.text[:19]}… found "
        f"({actual.size:,} bytes); compared byte by byte since only the digest is stored",
    )
