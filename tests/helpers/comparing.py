"""Compare two files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytest_ductaflow.core.record import Difference
from pytest_ductaflow.gate.compare.files import compare
from pytest_ductaflow.gate.compare.tolerance import Tolerance

Content = str | bytes | Callable[[Path], object]


def written(folder: Path, name: str, content: Content) -> Path:
    """Write a file with a text, bytes, or by a function that gets its path; return the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def compared(
    folder: Path, name: str, expected: Content, found: Content, tolerance: Tolerance | None = None
) -> Difference | None:
    return compare(
        written(folder / "expected", name, expected),
        written(folder / "found", name, found),
        tolerance or Tolerance(),
        name=name,
        figures=folder / "run" / "figures",
    )


def said(difference: Difference | None) -> list[str]:
    """Return all messages about the difference; nothing if there is none."""
    return [difference.message, *difference.notes] if difference else []
