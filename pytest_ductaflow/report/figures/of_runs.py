"""Prepare the figures of all that is in `runs/` at once, for a report that is made of records."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...core.record import Record
from ...core.system.machine import usable_cores
from .entries import Entry, Job
from .index import Index
from .prepare import files_as_they_are, needs_preparing, prepare


def figures_of_runs(runs: Path, ended: Iterable[tuple[str, Record]]) -> list[list[Entry]]:
    """Return the figures of each run, and make what is needed to show them.

    Args:
        runs: The folder of the report.
        ended: Run directory as seen from there, and record, of each run.
    """
    index = Index(runs)
    index.read()

    def entries_of(job: Job) -> list[Entry]:
        if (known := index.entries(job.place)) is not None:
            return known
        if needs_preparing(runs, job):
            with contextlib.suppress(OSError):
                return prepare(runs, job, index)
        return files_as_they_are(runs, job)

    jobs = [Job.of(directory, record) for directory, record in ended]
    with warnings.catch_warnings(), ThreadPoolExecutor(usable_cores()) as pool:
        warnings.simplefilter("ignore")  # Pillow's, of images that are odd but can be read
        return list(pool.map(entries_of, jobs))
