"""Keep papermill's metadata in the executed notebook, and decide when to save it."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

import nbformat

from ...core.masking.masker import Masker
from ...core.run_directory.atomic import write_atomic
from .cell_outputs import mask_outputs
from .papermill_parts import NotebookExecutionManager

_SAVE_AFTER = 0.2  # seconds after a change
_SAVE_SHARE = 0.05  # share of the time that saving may take while cells run


class NotebookFile(NotebookExecutionManager):  # type: ignore[misc]
    """papermill's execution manager; saves the notebook soon after a change, and atomically."""

    def __init__(self, notebook: Any, path: Path, mask: Masker | None = None) -> None:
        super().__init__(notebook, output_path=str(path), progress_bar=False)
        self._mask = mask or Masker()
        self._path = path
        self._due: float | None = None
        self._not_before = 0.0

    def save(self, **_: Any) -> None:
        """Schedule a save, because something has changed."""
        if self._due is None:
            self._due = time.monotonic() + _SAVE_AFTER

    def autosave_cell(self) -> None:
        """Schedule a save, as for any other change."""
        self.save()

    def cell_complete(self, cell: Any, *arguments: Any, **options: Any) -> None:
        """Complete a cell as papermill does, without its parser for any form of time, the slowest part."""
        told = cell.metadata.papermill
        start = told.pop("start_time", None)
        super().cell_complete(cell, *arguments, **options)
        if start is not None:
            end = datetime.datetime.fromisoformat(told["end_time"])
            duration = (end - datetime.datetime.fromisoformat(start)).total_seconds()
            told.update(start_time=start, duration=duration)

    @property
    def due_at(self) -> float | None:
        """The time to write, on the clock of `time.monotonic`; None if there is nothing to write."""
        return None if self._due is None else max(self._due, self._not_before)

    def write(self) -> None:
        """Write the notebook now."""
        began = time.monotonic()
        if self._mask:
            mask_outputs(self.nb, self._mask)
        # As nbformat does, but without validating again.
        write_atomic(self._path, nbformat.v4.writes(self.nb) + "\n")
        ended = time.monotonic()
        self._due, self._not_before = None, ended + (ended - began) / _SAVE_SHARE
