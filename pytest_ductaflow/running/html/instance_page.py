"""Write the page of one instance's notebook: at once, or in the process that writes pages.

Pages of flows that a build runs are written by the process that runs the build, when that has ended: the
build does not wait for them, nor import what they take.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from ...core.forking.client import WarmProcess
from ...core.instance import RUNS, Instance
from ...core.run_directory import build_variable, layout
from ...core.run_directory.layout import RunFiles
from ...core.settings import Settings
from ...core.system.machine import has_idle_core, is_shared
from .page_process import PageWriter, add_warning, write_page


class InstancePage:
    """The page of an instance's executed notebook.

    Args:
        instance: The instance.
        files: Paths of notebook and page.
        settings: Setting of which notebooks get pages.
        may_follow: Whether the page may be written after the record.

    Attributes:
        is_written: Whether the page shows the notebook of the last attempt, or will.
        problems: Warnings of what kept it from being written.
    """

    def __init__(self, instance: Instance, files: RunFiles, settings: Settings, *, may_follow: bool) -> None:
        self.is_written = False
        self.problems: tuple[str, ...] = ()
        self._files, self._mode = files, settings.html if instance.html else "none"
        self._runs = Path(instance.project_root) / RUNS
        self._may_follow = may_follow

    def write(self, *, failed: bool = False) -> None:
        """Write the page, if it is wanted and there is a notebook."""
        wanted = self._mode == "all" or (self._mode == "failed" and failed)
        if not wanted or not self._files.notebook.exists():
            return
        self.is_written = True
        if (build := build_variable.surrounding_build()) is not None:
            _leave_to(build[0], self._files, self._runs)
        elif (problem := self._written(self._files, self._runs)) is not None:
            self.problems = (problem,)

    def _written(self, files: RunFiles, runs: Path, *, hurry: bool = False) -> str | None:
        """Write a page, or have it written; return a warning of what went wrong, if that is known already."""
        is_apart = self._may_follow and (hurry or has_idle_core() or is_shared())
        return (_pages.ask if is_apart else write_page)(files, runs)

    def write_those_of_flows(self, *, hurry: bool) -> None:
        """Write the pages of the flows that this build has run, unless another build is around it.

        Args:
            hurry: Whether the user waits for the end, and not for pages.
        """
        build = build_variable.surrounding_build()
        for files, runs in _left_to(self._files):
            if build is not None:
                _leave_to(build[0], files, runs)
            elif files.notebook.exists() and (problem := self._written(files, runs, hurry=hurry)) is not None:
                add_warning(files, problem)


def _leave_to(journal: Path, files: RunFiles, runs: Path) -> None:
    """Note in the run directory of a build that a page is wanted."""
    files.html.unlink(missing_ok=True)
    line = json.dumps([str(files.directory), files.stem, files.output_suffix, str(runs)])
    with open(layout.list_of_pages(journal), "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _left_to(build: RunFiles) -> dict[tuple[RunFiles, Path], None]:
    """Return, once, the notebooks of a build's flows that want pages, with the folder of the stylesheet."""
    found: dict[tuple[RunFiles, Path], None] = {}
    for line in _lines_once(build.list_of_pages):
        with contextlib.suppress(ValueError):  # cut off where the build was killed
            directory, stem, suffix, runs = json.loads(line)
            found[RunFiles(Path(directory), stem, suffix), Path(runs)] = None
    return found


def _lines_once(path: Path) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        yield from path.read_text(encoding="utf-8").splitlines()
        path.unlink()


_pages = PageWriter()


def fork_writer_from(warm: WarmProcess) -> None:
    """Have pages written by a child of a warm process, which has imported what that takes."""
    _pages.warm = warm


def start_writer() -> None:
    """Start the process that writes pages, as some are going to be asked for."""
    _pages.start()


def finish_pages() -> list[str]:
    """Wait for pages that are still being written; return their warnings, which are also in the records."""
    return _pages.finish()


def give_pages_up() -> None:
    """Make `finish_pages` skip the pages that are missing."""
    _pages.give_up()
