"""Compare a file with the expected one: by content, within a tolerance, as its kind requires."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ...core.errors import ExpectedUnreadable, LibraryMissing, Unreadable
from ...core.record import Difference
from .compressed import is_compressed, unpacked
from .kinds.any_bytes import compare_bytes, digest_of
from .tolerance import Tolerance

if TYPE_CHECKING:
    from .findings import Findings


class _Reader(Protocol):
    """The interface of a module for a kind of file."""

    def read(self, path: Path, tolerance: Tolerance, /) -> Any: ...

    def compare(self, expected: Any, found: Any, tolerance: Tolerance, findings: Any, /) -> None: ...


@dataclass(frozen=True)
class _Kind:
    """A kind of file.

    Attributes:
        title: Name for people.
        module: Module that reads and compares it; imported when there is such a file.
        extra: Extra of this package that installs the libraries for it.
        allowed: Attributes of `Tolerance` that apply to it.
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


def comparison_description(name: str, tolerance: Tolerance) -> str:
    """Return how files of a name are compared, in words: `CSV, rtol 1e-06, atol 0, keys zone`."""
    path = Path(name)
    if is_compressed(path):
        return f"unpacked, {comparison_description(path.stem, tolerance)}"
    kind = _KINDS.get(path.suffix.lower())
    return "byte by byte" if kind is None else ", ".join([kind.title, *tolerance.described(kind.allowed)])


def read_expected(path: Path, tolerance: Tolerance) -> Any:
    """Read an expected file; return None if it is of an unknown kind.

    Raises:
        ExpectedUnreadable: If it is not what its suffix says, or a library to read it is missing.
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
    except Exception as error:  # each library has its own exceptions
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
    """Compare a file with the expected one.

    Args:
        expected: Expected file; its suffix gives the kind of both.
        found: Found file. If it cannot be read, that is a difference.
        tolerance: Tolerance for this file.
        name: The file's name in the run directory.
        figures: Folder for pictures of differences between images; created if there are any.
        names: Dict to be filled, by file name, with the names of all columns, keys and arrays, and one
            ignored line for each pattern; a file that was not read gets no entry.

    Returns:
        The difference, None if all is as expected. Compressed files are unpacked first. If the library to
        read such files is missing, equal bytes are enough.

    Raises:
        ExpectedUnreadable: If the expected file cannot be read, or a library to read it is missing.
    """
    if is_compressed(expected):
        with _unpacked_expected(expected) as ours, contextlib.ExitStack() as stack:
            try:
                theirs = stack.enter_context(unpacked(found))
            except Unreadable as error:
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
    """Compare two files of a known kind."""
    try:
        ours = read_expected(expected, tolerance)
    except LibraryMissing:
        if _same_bytes(expected, found):
            return None
        raise
    # With names in the tolerances, files with equal bytes are read, too, to notice a misspelt name.
    if not (tolerance.keys or tolerance.ignore or tolerance.columns) and _same_bytes(expected, found):
        return None
    try:
        theirs = _read(kind, found, tolerance)
    except Exception as error:  # each library has its own exceptions
        return Difference(findings.file, _why(error, kind.title))
    findings.was_read = True
    try:
        with _quiet():
            kind.load().compare(ours, theirs, tolerance, findings)
    except Exception as error:  # from a library, about values that it cannot compare
        return Difference(findings.file, f"cannot be compared: {type(error).__name__}: {_first_line(error)}")
    difference = findings.difference()
    if difference is None or not (misspelt := tuple(tolerance.misspelt(findings.names))):
        return difference
    return replace(difference, notes=(*misspelt, *difference.notes))


@contextlib.contextmanager
def _unpacked_expected(path: Path) -> Iterator[Path]:
    """Unpack an expected file for the duration of the context; errors name the packed file."""
    with contextlib.ExitStack() as stack:
        try:
            inside = stack.enter_context(unpacked(path))
        except Unreadable as error:
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
    """Suppress warnings of libraries, which concern what is not compared, such as styles."""
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
        return digest_of(expected) == digest_of(found)  # filecmp caches results and may return stale ones
    except OSError:
        return False


def _why(error: Exception, title: str) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"cannot be read as {title}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0] if isinstance(error, Unreadable) else lines[0][:200]


def _library_missing(kind: _Kind, path: Path, error: ImportError) -> LibraryMissing:
    remedy = f'pip install "pytest-ductaflow{f"[{kind.extra}]" if kind.extra else ""}"'
    return LibraryMissing(f"{path}: reading {kind.title} needs a library ({error.name or error}): {remedy}")
