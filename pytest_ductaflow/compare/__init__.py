"""Whether a file is what was expected: by its content, with a tolerance, in the way of its kind."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from ..model import Difference
from .digests import compare_bytes, compare_digest, digest_of
from .reading import NotReadable, Unreadable
from .tolerance import Tolerance, Tolerances

__all__ = ["Tolerance", "Tolerances", "Unreadable", "compare", "compare_digest", "known_suffixes"]


class _Comparison(Protocol):
    """What the module of a kind of file offers."""

    def read(self, path: Path, tolerance: Tolerance, /) -> Any: ...

    def compare(self, expected: Any, found: Any, tolerance: Tolerance, findings: Any, /) -> None: ...


@dataclass(frozen=True)
class _Kind:
    """A kind of file.

    Attributes:
        title: What people call it.
        module: That reads and compares it; imported when there is such a file.
        extra: The extra of this package that brings the libraries for it.
    """

    title: str
    module: str
    extra: str = ""

    def load(self) -> _Comparison:
        return cast("_Comparison", importlib.import_module(f".{self.module}", __name__))


_TEXT = ".txt .md .log .out .rst .tex .sql .xml .html .py .sh .cfg .ini .toml"
_KINDS = {
    ".csv": _Kind("CSV", "csv_tables"),
    ".tsv": _Kind("TSV", "csv_tables"),
    ".parquet": _Kind("Parquet", "columnar", "parquet"),
    ".feather": _Kind("Feather", "columnar", "parquet"),
    ".arrow": _Kind("an Arrow file", "columnar", "parquet"),
    ".xlsx": _Kind("Excel", "excel", "excel"),
    ".xlsm": _Kind("Excel", "excel", "excel"),
    ".json": _Kind("JSON", "structures"),
    ".geojson": _Kind("JSON", "structures"),
    ".jsonl": _Kind("lines of JSON", "structures"),
    ".ndjson": _Kind("lines of JSON", "structures"),
    ".yaml": _Kind("YAML", "structures"),
    ".yml": _Kind("YAML", "structures"),
    ".npy": _Kind("a NumPy array", "arrays"),
    ".npz": _Kind("NumPy arrays", "arrays"),
    ".svg": _Kind("SVG", "images", "images"),
    **dict.fromkeys(_TEXT.split(), _Kind("text", "texts")),
    **dict.fromkeys(
        (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"),
        _Kind("an image", "images", "images"),
    ),
}


def known_suffixes() -> tuple[str, ...]:
    """Of the files whose content is compared; all others are, byte by byte."""
    return tuple(_KINDS)


def compare(
    expected: Path, found: Path, tolerance: Tolerance, *, name: str, figures: Path
) -> Difference | None:
    """Compare a file with what is expected of it.

    Args:
        expected: The file as it should be; its suffix says of which kind both are.
        found: The file as it is. If it cannot be read, that is a difference.
        tolerance: What is allowed.
        name: The file's name in the run directory.
        figures: Folder for pictures of what differs between images; made if there are any.

    Returns:
        How they differ, None if all is as expected.

    Raises:
        Unreadable: If what is expected cannot be read, or a library that reads it is missing.
    """
    kind = _KINDS.get(expected.suffix.lower())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of readers, about what is not compared, such as styles
        if kind is None:
            return _compare_bytes(expected, found, name)
        return _compare_content(kind, expected, found, tolerance, name, figures)


def _compare_content(
    kind: _Kind, expected: Path, found: Path, tolerance: Tolerance, name: str, figures: Path
) -> Difference | None:
    try:
        comparison = kind.load()
        ours = comparison.read(expected, tolerance)
    except ImportError as error:
        raise _library_missing(kind, expected, error) from error
    except Exception as error:  # each library has its own
        raise _unreadable(expected, _why(error, kind.title)) from error
    if not tolerance.keys and _same_bytes(expected, found):  # keys might not be what they should be
        return None
    try:
        theirs = comparison.read(found, tolerance)
    except ImportError as error:
        raise _library_missing(kind, found, error) from error
    except Exception as error:
        return Difference(name, _why(error, kind.title))

    from .findings import Findings

    findings = Findings(name, figures)
    try:
        comparison.compare(ours, theirs, tolerance, findings)
    except Exception as error:  # of a library, about values that it cannot compare
        return Difference(name, f"cannot be compared: {type(error).__name__}: {_first_line(error)}")
    return findings.difference()


def _compare_bytes(expected: Path, found: Path, name: str) -> Difference | None:
    try:
        ours = digest_of(expected)
    except OSError as error:
        raise _unreadable(expected, _why(error, "a file")) from error
    try:
        return compare_bytes(ours, digest_of(found), name)
    except OSError as error:
        return Difference(name, _why(error, "a file"))


def _same_bytes(expected: Path, found: Path) -> bool:
    try:
        return digest_of(expected) == digest_of(found)  # filecmp remembers what a file was before
    except OSError:
        return False


def _why(error: Exception, title: str) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"cannot be read as {title}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if isinstance(error, NotReadable) else lines[0][:200]


def _unreadable(path: Path, why: str) -> Unreadable:
    return Unreadable(f"{path}: {why} (if the run that wrote it is right, store the instance again)")


def _library_missing(kind: _Kind, path: Path, error: ImportError) -> Unreadable:
    remedy = f'pip install "pytest-ductaflow{f"[{kind.extra}]" if kind.extra else ""}"'
    return Unreadable(f"{path}: reading {kind.title} needs a library ({error.name or error}): {remedy}")
