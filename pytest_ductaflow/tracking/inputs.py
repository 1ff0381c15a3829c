"""Find what an instance used: files seen, files named in config and code, and outputs of its upstreams.

If an observer saw every open, these files count. If only Python was observed, files that config and code name
count as well, and `unknown` says what else may have been read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import cached_property

from ..core.instance import RUNS, Instance, Neighbours
from ..core.record import Record
from ..core.system.file_state import stat_of
from .guessed_files import GuessedFiles
from .observed import ALL, Used
from .paths_in_config import files_named_exactly, named_files
from .seen_files import SeenFiles
from .used_files import Inputs

_LAG = 10**9  # ns by which clocks may seem to differ only because the machine is busy


class InputSearch:
    """A search for the inputs of one run; created before the run begins, finished after it has ended.

    Args:
        instance: The instance.
        upstream_files: Absolute paths of files that its upstreams have written.
        earlier: Record of its earlier run.
        made_beside: `Neighbours.made_beside`: names in a folder that are not its inputs.
    """

    def __init__(
        self,
        instance: Instance,
        upstream_files: Iterable[str],
        earlier: Record | None,
        made_beside: Callable[[str], Collection[str]] = Neighbours.made_beside,
    ) -> None:
        self.made_beside = made_beside
        self.instance = instance
        self.upstream_files = set(upstream_files)
        self.earlier_inputs = set(earlier.inputs) if earlier else set()
        self.earlier_outputs = set(earlier.outputs) if earlier else set()
        self.named_exactly = files_named_exactly(instance)
        self.named = self.named_exactly | set(named_files(instance))
        self.before = {path: stat_of(path) for path in self.named}

    def finish(
        self,
        used: Used,
        outputs: Iterable[str],
        began_ns: int,
        lag_ns: int = 0,
        *,
        of_flows: Iterable[str] = (),
    ) -> Inputs:
        """Return what the run used.

        Args:
            used: What was observed of it.
            outputs: Paths, relative to the run directory, of files that it wrote there.
            began_ns: Start by the clock of the file system, in nanoseconds since the epoch.
            lag_ns: Nanoseconds by which that clock is behind this machine's.
            of_flows: Absolute paths of files that the flows of a build have written.
        """
        used = used.renamed(self._real_names)
        if lag_ns > _LAG:
            used = replace(used, since={path: moment - lag_ns for path, moment in used.since.items()})
        finder = SeenFiles if used.observed == ALL else GuessedFiles
        return finder(self, used, set(outputs), began_ns, set(of_flows)).inputs()

    @cached_property
    def _real_names(self) -> dict[str, str]:
        """Our paths of folders behind links, by real path, deepest first: a kernel sees the real paths."""
        instance = self.instance
        given = (instance.run_dir, os.path.join(instance.project_root, RUNS), instance.project_root)
        real = {os.path.realpath(path): path for path in given}
        return {there: path for there, path in real.items() if there != path}
