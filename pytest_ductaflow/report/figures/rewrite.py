"""Write the page of a session that has ended once more, with the figures that were prepared since."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...core.run_directory.atomic import write_atomic
from ...core.system.file_state import stat_of
from ..page import read, render
from .entries import entries_in
from .index import Index


def rewrite(page: Path, index: Index) -> bool:
    """Write a page with what the index says of figures, unless it says all that, or is changed meanwhile.

    Returns:
        Whether it was written.
    """
    try:
        before = stat_of(page)
        data = read(page)
        if not data.get("finished") or not _updated(data["rows"], index):
            return False
        text = render(data)
        if stat_of(page) != before:  # another session has begun
            return False
        write_atomic(page, text)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
    return True


def names_needed(rows: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the names in `.figures/` that rows need."""
    return {name for row in rows for _, small, own, _ in entries_in(row) for name in (small, own) if name}


def _updated(rows: Iterable[dict[str, Any]], index: Index) -> bool:
    """Put figures into rows; return whether any are others than before."""
    is_new = False
    for row in rows:
        entries = index.entries((row["directory"], row["flow"], row.get("started") or ""))
        if entries and entries != row.get("figures"):
            row["figures"] = entries
            is_new = True
    with contextlib.suppress(OSError):
        index.tidy(names_needed(rows))
    return is_new
