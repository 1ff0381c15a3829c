"""Say which rows of a report are of instances that are still declared, and make those that it lacks."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.instance import RUNS
from ...core.run_directory.layout import AFTER, RunFiles, display_path
from ...core.run_directory.record_files import read_record
from ...gate.instance_file import REPLAYS
from .declared_history import DeclaredRecords

if TYPE_CHECKING:
    from ...report.packed_rows import Row


def is_declared_in(root: Path) -> Callable[[Row], bool]:
    """Return a function that says whether the instance of a row of an earlier report is still declared."""
    known = DeclaredRecords(root)

    def is_declared(row: Row) -> bool:
        record = _record_of(root, row)
        if row["directory"].startswith((f"{AFTER}/", f"{REPLAYS}/")):  # of these there are no notes
            found, _ = read_record(record)
            return found is not None and (root / found.source).exists()
        return display_path(record, root) in known.of_sources_that_exist

    return is_declared


def rows_besides(root: Path, rows: Collection[Row]) -> Iterator[Row]:
    """Yield rows of the declared instances that have run, without those that are given."""
    from ...report.from_records import row_of  # which conductors need at their end only

    known = {display_path(_record_of(root, row), root) for row in rows}
    for name in sorted(DeclaredRecords(root).of_sources_that_exist - known):
        record, _ = read_record(root / name)
        if record is not None:
            yield row_of((root / name).parent, record, root / RUNS)


def _record_of(root: Path, row: Row) -> Path:
    return RunFiles(Path(os.path.normpath(root / RUNS / row["directory"])), row["flow"]).record
