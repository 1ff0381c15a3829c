"""The inputs of a run in which only Python was observed: files that config and code name count as well."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

from ..core.run_directory.layout import display_path
from ..core.system.file_state import stat_of
from ..kernels.inside.trace import ASKED, DATABASE, LISTED, MODULE, NAMED, OPENED, WRITTEN
from ..kernels.observer.access_log import FOLDER
from .observed import NOTHING
from .paths_in_code import Guesses
from .paths_in_config import folders_down_to
from .used_files import Inputs, UsedFiles

# Readers of formats in which a file may refer to other files, and databases in which a view may.
_LEAD_ELSEWHERE = ("h5py", "netCDF4", "tables", "rasterio", "fiona", "pyogrio", "osgeo.gdal", "osgeo.ogr")
_DATABASES = (".duckdb", ".db", ".ddb", ".sqlite", ".sqlite3")


class GuessedFiles(UsedFiles):
    """A run in which only the files that Python opened were observed, or not even those."""

    def inputs(self) -> Inputs:
        used, search = self.used, self.search
        folders = {path for path in used.of(LISTED) if self.counts(path) and not self.is_own(path)}
        guesses = Guesses(self.sources, self.instance, self._folders_of(used.of(OPENED)) | folders)
        guessed = guesses.files | used.of(NAMED)
        known = used.of(OPENED, WRITTEN, DATABASE, MODULE) | set(used.modules) | guessed
        guessed |= {path for path in guesses.in_folders_without(known) if not self._is_known(path)}
        named = {path for path in search.named if path in search.named_exactly or not self._is_known(path)}
        read = used.of(OPENED, DATABASE) | named | search.upstream_files
        guessed -= self._made_beside_own()
        read |= {path for path in guessed | guesses.missing if self._is_read(path)}
        missing = {path for path in used.of(ASKED, OPENED) if not os.path.exists(path)}
        missing = {path for path in missing if self.may_come(path) and not self.is_setting(path)}
        if used.readers:
            folders |= {path for path in guesses.searched if self.counts(path) and not self.is_own(path)}
        written = used.of(WRITTEN) | {path for path in read if self._is_written(path)}
        # Files from upstreams always count; one that this run has changed counts with its final content.
        read_only = read - written - self.by_flows
        files = {path for path in read_only if self._counts(path)} | search.upstream_files | self.sources
        files |= missing - written
        folders |= self.own_folders()
        elsewhere = self.elsewhere(written | {path for path in read if self._is_remade(path)})
        inputs = self.digested(files, folders, written, elsewhere)
        inputs = self.with_questions(inputs, self._asked(files | folders | written), _state_of)
        unknown = tuple(self._unknown(guesses, (guessed | search.named) - used.of(OPENED)))
        return replace(inputs, unknown=unknown)

    def _asked(self, known: set[str]) -> Iterable[str]:
        """Return the paths that the flow's own code checked for existence and that do exist."""
        asked = self.used.of(ASKED) - known - self.by_flows - {*self.used.path}
        around = folders_down_to({*known, self.run_dir, *asked}, os.sep)
        there = (path for path in asked - around if os.path.exists(path) and not self.is_own(path))
        return (path for path in there if self.counts(path) and not self.is_changed(path))

    def _is_known(self, path: str) -> bool:
        """Return whether a read would have been observed: only Python reads files, and it used the folder."""
        if self.used.observed == NOTHING or self.used.readers or self.used.programs:
            return False
        return not self._used_folders.isdisjoint({path, *folders_down_to({path}, os.sep)})

    @cached_property
    def _used_folders(self) -> set[str]:
        opened = {os.path.dirname(path) for path in self.used.of(OPENED)}
        inside = {folder for folder in opened | self.used.of(LISTED) if self.is_in_project(folder)}
        return {folder for folder in inside if not self.is_own(folder)}

    def _made_beside_own(self) -> set[str]:
        """Return what others made in folders into which the flow writes, too: patterns in code match it."""
        folders = {os.path.dirname(path) for path in self.used.of(WRITTEN) if not self.is_own(path)}
        return {os.path.join(folder, name) for folder in folders for name in self.search.made_beside(folder)}

    def _counts(self, path: str) -> bool:
        return self.counts(path.removesuffix("/**"))

    def _folders_of(self, files: set[str]) -> set[str]:
        folders = {os.path.dirname(path) for path in files if self.counts(path)}
        return {folder for folder in folders if not self.is_own(folder)}

    def _unknown(self, guesses: Guesses, guessed: set[str]) -> Iterable[str]:
        """Yield the reasons why what was read is not known in full."""
        if self.used.observed == NOTHING:
            yield "what it reads could not be seen"
        if programs := self.used.programs_that_read:
            yield f"what {programs[0]} reads could not be seen"
        if self.used.readers:
            leading = [name for name in self.used.readers if name in _LEAD_ELSEWHERE]
            reader = (*leading, *self.used.readers)[0].partition(".")[0]
            databases = (path for path in guessed if path.endswith(_DATABASES))
            if leading or any(map(os.path.isfile, databases)):
                yield f"what {reader} reads could not be seen: a file may lead to others"
            elif unresolved := guesses.unresolved(self.own):
                yield f"what {reader} reads could not be seen: {unresolved[0]!r} may mean any file"
            elif not any(os.path.isfile(path) and self.counts(path) for path in guessed):
                yield f"what {reader} reads could not be seen, and no path in config or code tells it"

    def _is_read(self, path: str) -> bool:
        """Return whether a file named in code was probably read, not written, without other evidence."""
        if (
            os.path.dirname(path) == self.root
            and os.path.join(self.run_dir, os.path.basename(path)) in self.own
        ):
            return False  # the file in the run directory is meant
        return not self.is_changed(path) or display_path(path, self.root) in self.search.earlier_inputs

    def _is_written(self, path: str) -> bool:
        """Return whether the flow has written to a file in a way that its kernel does not notice."""
        if not self.is_changed(path):
            return False
        if (
            path in self.used.of(DATABASE)
            or os.path.relpath(path, self.run_dir) in self.search.earlier_outputs
        ):
            return True
        is_new = path in self.search.named and self.search.before[path] is None
        return path not in self.used.of(OPENED) and is_new

    def _is_remade(self, path: str) -> bool:
        """Return whether a file was written during the run, before it was read."""
        since = self.used.since.get(path)
        return self.is_changed(path) and (since is None or not self.is_changed(path, since))


def _state_of(path: str) -> str | None:
    """Return the state of a path in the format of `observer.access_log`."""
    return FOLDER if os.path.isdir(path) else stat_of(path)
