"""The inputs of a run in which every open was observed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from functools import cached_property

from ..core.system.file_state import changed_since, stat_of
from ..kernels.inside.trace import ASKED, DATABASE, FOLLOWED, LISTED, OPENED, STARTED, WRITTEN
from ..kernels.observer.access_log import FOLDER
from .digests import UNSTABLE
from .paths_in_config import folders_down_to, what_is_at
from .used_files import Inputs, UsedFiles

_LANGUAGES = ("R", "julia", "octave-cli", "node", "ruby", "java", "MATLAB", "stata", "gams", "ghc")


class SeenFiles(UsedFiles):
    """A run in which every open was observed."""

    def inputs(self) -> Inputs:
        written = self._written
        read = self.used.of(OPENED, DATABASE, STARTED) | self.search.named_exactly
        # A file read through a link that the run has made lies elsewhere.
        links = (path for path in read if self.is_own(path) and os.path.islink(path))
        read |= {os.path.realpath(path) for path in links}
        files = {path for path in read - written - self.by_flows if self._is_input(path)}
        # An upstream's file that this run has changed counts; of those not read, the record has a digest.
        files |= self.search.upstream_files & written | self.sources
        listed = {path for path in self.used.of(LISTED) if not self.is_own(path)}
        files |= {path for path in listed if not os.path.isdir(path) and self._is_input(path)}
        folders = {path for path in listed if os.path.isdir(path) and self.counts(path)}
        folders |= self.own_folders()
        elsewhere = self.elsewhere(path for path in written if self._is_left_changed(path))
        inputs = self.digested(files, folders, written, elsewhere)
        return self.with_questions(inputs, self._asked(files | folders), self.used.states.__getitem__)

    @cached_property
    def _written(self) -> set[str]:
        """The files that the run has made or changed: one opened for writing may stay unchanged."""
        made = {path for path in self.used.of(WRITTEN) if self.used.states.get(path) is None}
        opened = self.used.of(WRITTEN, DATABASE)
        written = made | {path for path in opened if self._is_left_changed(path)}
        folders = {path for path in written if os.path.isdir(path)}
        moved = {file for folder in folders for file in what_is_at(folder, self.instance)}
        # Through a link a file has a second name, under which it may have been read.
        real = {os.path.realpath(path) for path in written}
        aliases = {
            path
            for path in self.used.of(OPENED) - written
            if path in real or (self.is_changed(path) and os.path.realpath(path) in real)
        }
        return written | moved | aliases

    def listing(self, folder: str, left_out: Collection[str]) -> str:
        state = self.used.states.get(folder)
        is_same = state is None or state == f"{FOLDER} {os.stat(folder).st_mtime_ns}"
        if is_same or any(path.startswith(os.path.join(folder, "")) for path in self._written):
            return super().listing(folder, left_out)
        return UNSTABLE  # changed by another process

    def _is_left_changed(self, path: str) -> bool:
        return stat_of(path) != self.used.states.get(path)

    def _is_input(self, path: str) -> bool:
        if self.used.states.get(path, "") is None and not os.path.exists(path):
            return self.may_come(path)
        # The program of another language stands for its version, wherever the program lies.
        is_language = path in self._programs and os.path.basename(path) in _LANGUAGES
        return self.counts(path) or is_language

    @cached_property
    def _programs(self) -> set[str]:
        return self.used.of(STARTED)

    def _asked(self, known: set[str]) -> Iterable[str]:
        """Yield the paths that the flow only checked for existence."""
        asked = self.used.of(ASKED, FOLLOWED) - known - self._written - self.by_flows - {*self.used.path}
        around = folders_down_to({*known, self.run_dir, *asked, *self._written}, os.sep)
        for path in asked - around:
            is_there = self.used.states.get(path) is not None
            if is_there:
                counts = self.counts(path) and not self.is_own(path)
            else:  # if it is a folder now, the run has made it
                counts = self.may_come(path) and not os.path.isdir(path) and not self.is_setting(path)
            if counts:
                yield path

    def was_there(self, path: str) -> bool:
        state = self.used.states.get(path)
        if state is None:
            return False
        if state.startswith(FOLDER):  # one that the run has made has a recent time
            return os.path.isdir(path) and int(state.split()[1]) <= self.began
        return not changed_since(state, self.began)

    def is_unstable(self, path: str, stat: str) -> bool:
        if path in self.used.states:
            return stat != self.used.states[path]
        return super().is_unstable(path, stat)
