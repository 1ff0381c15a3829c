"""Write notebooks as pages: at once, or in a separate process where a core is idle.

The process reads one notebook per line from its stdin, and reports those that it could not render. It
ends when its stdin is closed, and thus with the process that started it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from ...core.forking.client import ForkedProcess, WarmProcess
from ...core.run_directory import atomic, record_files
from ...core.run_directory.layout import RunFiles
from ...core.system.priority import behind_others

_LOOK = 3.0  # seconds between checks whether the process makes progress
_STUCK = 300.0  # seconds without a page after which it does not
_exporting = threading.Lock()  # nbconvert's exporter is shared
_INSTEAD = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{name}</title></head>
<body><p>{name} could not be made a page: {why}</p></body></html>
"""


def write_page(files: RunFiles, runs: Path) -> str | None:
    """Write the page of a notebook, or one that says why there is none.

    Args:
        files: Paths of both.
        runs: The folder of the stylesheet that all pages share.

    Returns:
        A warning of what went wrong; None if nothing did.
    """
    from .notebook_html import write_html

    try:
        with _exporting:
            lost = write_html(files.notebook, files.html, runs)
    except Exception as error:  # a display that nbconvert cannot render must not fail the run
        why = f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            atomic.write_atomic(
                files.html, _INSTEAD.format(name=escape(files.notebook.name), why=escape(why))
            )
        return f"NotebookWarning: {files.notebook.name} has no page: {why}"
    return f"NotebookWarning: {files.notebook.name}: {'; '.join(lost)}" if lost else None


def add_warning(files: RunFiles, problem: str) -> None:
    """Add to a record what went wrong with the page."""
    record, _ = record_files.read_record(files.record)
    if record is not None and record.owner is None:  # else another process is running it again
        with contextlib.suppress(OSError):  # the disk may be full; the summary reports it
            record_files.write_record(files, record.with_(python_warnings=(*record.python_warnings, problem)))


class PageWriter:
    """The writer of this process's pages, which starts and feeds a child process.

    Attributes:
        warm: A warm process to fork it from, if there is one.
    """

    warm: WarmProcess | None = None

    def __init__(self) -> None:
        self._lock = threading.RLock()  # instances may run in several threads
        self._process: subprocess.Popen[str] | ForkedProcess | None = None
        self._asked: list[tuple[RunFiles, Path]] = []
        self._is_given_up = False

    def ask(self, files: RunFiles, runs: Path) -> str | None:
        """Request a page, to be written before `finish` returns; write it now if no process can be started.

        Returns:
            A warning of what went wrong, if that is known already.
        """
        with self._lock:
            process = self.start()
            if process is not None:
                number = len(self._asked)
                self._asked.append((files, runs))
                files.html.unlink(missing_ok=True)
                job = [number, str(files.directory), files.stem, files.output_suffix, str(runs)]
                with contextlib.suppress(OSError):  # it has died; `finish` writes what is missing
                    print(json.dumps(job), file=process.stdin, flush=True)
                return None
        return write_page(files, runs)

    def start(self) -> subprocess.Popen[str] | ForkedProcess | None:
        """Start the process, unless it runs; return it, None if it cannot be started."""
        with self._lock:
            if self._process is None:
                try:
                    self._process = self._started()
                except OSError:  # no room for its temporary file, or too many processes
                    return None
                atexit.register(self.finish)
            return self._process

    def give_up(self) -> None:
        """Kill the process, and make `finish` skip the pages that are missing."""
        self._is_given_up = True
        if self._process is not None:  # without the lock, which `finish` holds
            self._process.kill()

    def _started(self) -> subprocess.Popen[str] | ForkedProcess:
        # delete=False: on Windows, another process cannot open a file that deletes itself.
        self._told = tempfile.NamedTemporaryFile(  # noqa: SIM115 - finish
            "r", prefix="dk", encoding="utf-8", delete=False
        )
        module, arguments = f"{__package__}.page_process", [self._told.name]
        if self.warm is not None:
            own, pipe = Path(tempfile.gettempdir()), subprocess.PIPE
            return self.warm.popen(module, arguments, folder=own, environment=os.environ, stdin=pipe)
        # -P: the session's working directory may hold modules of any name.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C must not stop the pages of instances that have ended
        )

    def finish(self) -> list[str]:
        """Wait for the pages, and add a warning to the records of notebooks without one.

        Other threads that ask for a page wait, too.

        Returns:
            The warnings.
        """
        with self._lock:
            return self._finish()

    def _finish(self) -> list[str]:
        process, asked = self._process, self._asked
        if process is None:
            return []
        atexit.unregister(self.finish)
        if not asked:
            process.kill()
        frozen = _wait_for(process, [files for files, _ in asked])
        self._process, self._asked = None, []
        with self._told as told_by_it:
            problems = _answers(told_by_it)
        Path(told_by_it.name).unlink(missing_ok=True)
        for number, (files, runs) in enumerate(asked):
            if _is_missing(files) and not self._is_given_up:
                problems[number] = write_page(files, runs)
        told = [(asked[number][0], problem) for number, problem in problems.items() if problem]
        for files, problem in told:
            add_warning(files, problem)
        left_out = sum(_is_missing(files) for files, _ in asked)
        more = [f"NotebookWarning: {left_out} pages were left out, as the session was stopped"]
        return [*frozen, *(problem for _, problem in told), *(more if self._is_given_up and left_out else ())]


def _wait_for(process: subprocess.Popen[str] | ForkedProcess, asked: Sequence[RunFiles]) -> list[str]:
    """Wait until the process has written its pages; kill it if it is stuck, and return a warning then."""
    import psutil

    with contextlib.suppress(OSError):
        process.stdin.close()  # type: ignore[union-attr]
    missing, since = len(asked), time.monotonic()
    while True:
        try:
            process.wait(_LOOK)
        except subprocess.TimeoutExpired:
            still = sum(map(_is_missing, asked))
            if still < missing:
                missing, since = still, time.monotonic()
            with contextlib.suppress(psutil.Error):
                is_stopped = psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
                if is_stopped or time.monotonic() - since > _STUCK:
                    why = "was stopped" if is_stopped else f"did nothing for {_STUCK:g} s"
                    process.kill()
                    process.wait()
                    return [f"NotebookWarning: the process that writes pages {why}, and was ended"]
        else:
            return []


def _is_missing(files: RunFiles) -> bool:
    return not files.html.exists() and files.notebook.exists()


def _answers(lines: Iterable[str]) -> dict[int, str | None]:
    """Return the process's reports by page number; a line may be cut off where the disk is full."""
    answers: dict[int, str | None] = {}
    for line in lines:
        with contextlib.suppress(ValueError):
            number, problem = json.loads(line)
            answers[number] = problem
    return answers


def _warm_up() -> None:
    """Import and compile what every page needs, before there is one to write."""
    from .notebook_html import stylesheet

    stylesheet()


def main() -> None:
    """Write the pages that stdin names, as long as the parent process exists, and end this process."""
    sys.stdin.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    asker = os.getppid()
    with (
        behind_others(),
        contextlib.suppress(Exception),
    ):  # a broken nbconvert is reported with the first page
        _warm_up()
    for line in sys.stdin:
        if os.getppid() != asker:
            break
        number, directory, stem, suffix, runs = json.loads(line)
        files = RunFiles(Path(directory), stem, suffix)
        if files.notebook.exists() and (problem := write_page(files, Path(runs))) is not None:
            atomic.add_line(Path(sys.argv[1]), [number, problem])
    os._exit(0)  # a session waits for this, and nothing is left to be written


if __name__ == "__main__":
    main()
