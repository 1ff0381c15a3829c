"""Whether a file is what was expected: by its content, with a tolerance, in the way of its kind."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ...core.model import Difference
from ...sources.file_reading import ExpectedUnreadable, LibraryMissing, NotReadable
from .compressed import is_compressed, unpacked
from .kinds.any_bytes import compare_bytes, digest_of
from .tolerance import Tolerance

if TYPE_CHECKING:
    from .findings import Findings


class _Reader(Protocol):
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
        allowed: The names in `Tolerance` that say how exactly it is compared.
    """

    title: str
    module: str
    extra: str = ""
    allowed: tuple[str, ...] = ("rtol", "atol", "columns", "ignore")

    def load(self) -> _Reader:
        return cast("_Reader", importlib.import_module(f".kinds.{self.module}", __package__))


_LINES = ("ignore", "encoding")
_PIXELS = ("colour", "pixels")
_TABLE = ("rtol", "atol", "keys", "columns", "ignore")
_CSV = (*_TABLE, "encoding", "decimal")
_STRUCTURE = ("rtol", "atol", "columns", "ignore", "encoding")
_TEXT = ".txt .md .log .out .rst .tex .sql .xml .html .py .sh .cfg .ini .toml"
_KINDS = {
    ".csv": _Kind("CSV", "csv_tables", allowed=_CSV),
    ".tsv": _Kind("TSV", "csv_tables", allowed=_CSV),
    ".parquet": _Kind("Parquet", "parquet", "parquet", _TABLE),
    ".feather": _Kind("Feather", "parquet", "parquet", _TABLE),
    ".arrow": _Kind("an Arrow file", "parquet", "parquet", _TABLE),
    ".xlsx": _Kind("Excel", "excel", "excel", _TABLE),
    ".xlsm": _Kind("Excel", "excel", "excel", _TABLE),
    ".json": _Kind("JSON", "json_yaml", allowed=_STRUCTURE),
    ".geojson": _Kind("JSON", "json_yaml", allowed=_STRUCTURE),
    ".jsonl": _Kind("lines of JSON", "json_yaml", allowed=_STRUCTURE),
    ".ndjson": _Kind("lines of JSON", "json_yaml", allowed=_STRUCTURE),
    ".yaml": _Kind("YAML", "json_yaml", allowed=_STRUCTURE),
    ".yml": _Kind("YAML", "json_yaml", allowed=_STRUCTURE),
    ".npy": _Kind("a NumPy array", "numpy_arrays"),
    ".npz": _Kind("NumPy arrays", "numpy_arrays"),
    ".svg": _Kind("SVG", "svg", "images", _PIXELS),
    **dict.fromkeys(_TEXT.split(), _Kind("text", "texts", allowed=_LINES)),
    **dict.fromkeys(
        (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"),
        _Kind("an image", "images", "images", _PIXELS),
    ),
}


def known_suffixes() -> tuple[str, ...]:
    """Of the files whose content is compared; all others are, byte by byte."""
    return tuple(_KINDS)


def way_of(name: str, tolerance: Tolerance) -> str:
    """How files of a name are compared, in words: `CSV, rtol 1e-06, atol 0, keys zone`."""
    path = Path(name)
    if is_compressed(path):
        return f"unpacked, {way_of(path.stem, tolerance)}"
    kind = _KINDS.get(path.suffix.lower())
    return "byte by byte" if kind is None else ", ".join([kind.title, *tolerance.described(kind.allowed)])


def read_expected(path: Path, tolerance: Tolerance) -> Any:
    """What is in a file with which others are to be compared; None if nothing is known of such files.

    Raises:
        ExpectedUnreadable: If it is not what its suffix says, or a library that reads it is missing.
    """
    if is_compressed(path):
        with _unpacked_expected(path) as inside:
            return read_expected(inside, tolerance)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        return None
    try:
        return _read(kind, path, tolerance)
    except ImportError as error:
        raise _library_missing(kind, path, error) from error
    except Exception as error:  # each library has its own
        raise ExpectedUnreadable(f"{path}: {_why(error, kind.title)}") from error


def compare(
    expected: Path,
    found: Path,
    tolerance: Tolerance,
    *,
    name: str,
    figures: Path,
    names: dict[str, set[str] | None] | None = None,
) -> Difference | None:
    """Compare a file with what is expected of it.

    Args:
        expected: The file as it should be; its suffix says of which kind both are.
        found: The file as it is. If it cannot be read, that is a difference.
        tolerance: What is allowed.
        name: The file's name in the run directory.
        figures: Folder for pictures of what differs between images; made if there are any.
        names: Gets, by the file's name, those of all columns, keys and arrays, and one ignored line for each
            pattern; nothing for a file that was not read.

    Returns:
        How they differ, None if all is as expected. Compressed files are unpacked first. Where the library
        is missing that reads such files, equal bytes are enough.

    Raises:
        ExpectedUnreadable: If what is expected cannot be read, or a library that reads it is missing.
    """
    if is_compressed(expected):
        with _unpacked_expected(expected) as ours, contextlib.ExitStack() as stack:
            try:
                theirs = stack.enter_context(unpacked(found))
            except NotReadable as error:
                return Difference(name, str(error))
            return compare(ours, theirs, tolerance, name=name, figures=figures, names=names)
    kind = _KINDS.get(expected.suffix.lower())
    if kind is None:
        if names is not None:
            names[name] = set()
        return _compare_bytes(expected, found, name)
    from .findings import Findings

    findings = Findings(name, figures)
    difference = _compare_content(kind, expected, found, tolerance, findings)
    if names is not None and findings.was_read:
        names[name] = findings.names
    return difference


def _compare_content(
    kind: _Kind, expected: Path, found: Path, tolerance: Tolerance, findings: Findings
) -> Difference | None:
    """Compare two files of a kind that is known."""
    try:
        ours = read_expected(expected, tolerance)
    except LibraryMissing:
        if _same_bytes(expected, found):
            return None
        raise
    # A misspelt name in the tolerances shall be noticed though the bytes are equal.
    if not (tolerance.keys or tolerance.ignore or tolerance.columns) and _same_bytes(expected, found):
        return None
    try:
        theirs = _read(kind, found, tolerance)
    except Exception as error:  # each library has its own
        return Difference(findings.file, _why(error, kind.title))
    findings.was_read = True
    try:
        with _quiet():
            kind.load().compare(ours, theirs, tolerance, findings)
    except Exception as error:  # of a library, about values that it cannot compare
        return Difference(findings.file, f"cannot be compared: {type(error).__name__}: {_first_line(error)}")
    difference = findings.difference()
    if difference is None or not (misspelt := tuple(tolerance.misspelt(findings.names))):
        return difference
    return replace(difference, notes=(*misspelt, *difference.notes))


@contextlib.contextmanager
def _unpacked_expected(path: Path) -> Iterator[Path]:
    """What is packed in an expected file; what is wrong with it is said of that file."""
    with contextlib.ExitStack() as stack:
        try:
            inside = stack.enter_context(unpacked(path))
        except NotReadable as error:
            raise ExpectedUnreadable(f"{path}: {error}") from error
        try:
            yield inside
        except ExpectedUnreadable as error:
            raise type(error)(str(error).replace(str(inside), str(path))) from error


def _read(kind: _Kind, path: Path, tolerance: Tolerance) -> Any:
    with _quiet():
        return kind.load().read(path, tolerance)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of libraries, which are about what is not compared, such as styles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _compare_bytes(expected: Path, found: Path, name: str) -> Difference | None:
    try:
        ours = digest_of(expected)
    except OSError as error:
        raise ExpectedUnreadable(f"{expected}: {_why(error, 'a file')}") from error
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


def _library_missing(kind: _Kind, path: Path, error: ImportError) -> LibraryMissing:
    remedy = f'pip install "pytest-ductaflow{f"[{kind.extra}]" if kind.extra else ""}"'
    return LibraryMissing(f"{path}: reading {kind.title} needs a library ({error.name or error}): {remedy}")
