"""Write the page of one instance's notebook, at once or in the process that writes pages."""

from __future__ import annotations

from pathlib import Path

from ...core import run_files
from ...core.forking.client import WarmProcess
from ...core.instance import RUNS, Instance
from ...core.run_files import RunFiles
from ...core.settings import Settings
from ...core.system.machine import has_idle_core, is_shared
from .process import PageWriter, write_page


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
        is_apart = self._may_follow and run_files.surrounding_build() is None
        if is_apart and (has_idle_core() or is_shared()):
            problem = _pages.ask(self._files, self._runs)
        else:
            problem = write_page(self._files, self._runs)
        if problem is not None:
            self.problems = (problem,)


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
