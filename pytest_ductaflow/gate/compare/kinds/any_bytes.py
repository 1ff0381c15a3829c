"""Compare files of unknown kinds by their bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ....core.record import Difference
from ....core.run_directory.listing import digest

_SHOWN = len("sha256:") + 12  # characters of a digest


@dataclass(frozen=True)
class Digest:
    """The digest of a file and its size in bytes."""

    text: str
    size: int


def digest_of(path: Path) -> Digest:
    return Digest(digest(path), path.stat().st_size)


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


def compare_digest(expected: str, found: Path, name: str) -> Difference | None:
    """Compare a file with the digest of the expected one, `sha256:…`."""
    try:
        actual = digest_of(found)
    except OSError as error:
        return Difference(name, f"cannot be read: {error.strerror or error}")
    if actual.text == expected:
        return None
    return Difference(
        name,
        f"not the same: {expected[:_SHOWN]}… expected, {actual.text[:_SHOWN]}… found "
        f"({actual.size:,} bytes); compared byte by byte since only the digest is stored",
    )
