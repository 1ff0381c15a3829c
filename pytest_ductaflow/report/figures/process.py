"""Prepare figures in a process of the lowest priority, which no instance and no session waits for.

It finds jobs in a file, a line of JSON each: a pipe could be full, and its writer then wait. What it has done
it notes in the index, where the session reads it. After the last job it writes the page once more with all
figures, unless another session has begun. That its stdin ends tells it that the session has, however it did:
after one that was killed it does nothing more.

    python -P -m pytest_ductaflow.report.figures.process RUNS JOBS
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from ...core.run_directory.layout import REPORT
from .entries import Job
from .index import Index
from .prepare import prepare
from .rewrite import rewrite

END = "end"  # the line after the last job of a session that has ended; without it, the session was killed
_LOWEST = 19  # niceness
_LOOK = 0.3  # seconds between looks for new jobs


def main() -> None:
    """Do the jobs in a file, and end this process."""
    if hasattr(os, "nice"):
        os.nice(_LOWEST)
    warnings.simplefilter("ignore")  # Pillow's, of images that are odd but can be read
    runs, path = Path(sys.argv[1]), Path(sys.argv[2])
    index = Index(runs)
    index.read()
    for line in _lines(path):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            prepare(runs, Job.from_json(json.loads(line)), index)
    path.unlink(missing_ok=True)
    rewrite(runs / REPORT, index)
    os._exit(0)


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file to which a session adds some, until it has ended."""
    is_over = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(is_over,), daemon=True).start()
    with open(path, encoding="utf-8") as file:
        begun = ""
        while True:
            was_over = is_over.is_set()
            begun += file.readline()
            if begun.endswith("\n"):
                line, begun = begun.strip(), ""
                if line == END:
                    return
                yield line
            elif was_over:  # killed, or unable to write
                path.unlink(missing_ok=True)
                os._exit(1)
            else:
                time.sleep(_LOOK)


def _wait_for_the_end(is_over: threading.Event) -> None:
    """Wait until the session closes its end of the pipe, which happens however it ends."""
    sys.stdin.read()
    is_over.set()


if __name__ == "__main__":
    main()
