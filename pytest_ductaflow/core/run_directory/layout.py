"""The layout of `runs/`: the only module that knows the names of files and folders there.

    runs/{step}/{instance}/
        {flow}_config.json  {flow}_executed.ipynb  {flow}_executed.html
        {flow}_execution_output.txt  {flow}_record.json  and what the flow writes
        {flow}_differences/  for a stored instance with figures that differ from the expected ones
        runs/…              the run directories of a build's flows, same layout
    .earlier/{step}/{instance}/  the files of the last good run, if another one has begun since
    .locks/                 files that are locked while an instance runs, and notes on what is running
    .figures/               small copies of figures for the report, and those that are only in notebooks
    .history/{step}.jsonl   how the last runs of each instance ended, a line each

`{flow}` is the name of the flow's file without its ending.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from ..instance import RUNS, Instance

REPORT = "conductor_status_report.html"
STYLESHEET = "notebook.css"
PLOTLY_SCRIPT = "plotly.min.js"
SHARED_BY_PAGES = (STYLESHEET, PLOTLY_SCRIPT)
RECORD_END = "_record.json"
_CONFIG_END = "_config.json"
# Folders beside the steps, not run directories: earlier runs, locks, conductors' after-work and declarations,
# figures of the report, and how the last runs ended.
EARLIER, LOCKS, AFTER, DECLARED = ".earlier", ".locks", ".after", ".declared"
FIGURES, HISTORY = ".figures", ".history"
OURS_BESIDE = (EARLIER, LOCKS, AFTER, DECLARED, FIGURES, HISTORY)
OURS_WITHIN = frozenset({RUNS, *OURS_BESIDE})  # folders in a run directory that are not the flow's


@dataclass(frozen=True)
class RunFiles:
    """The files that belong to one flow in one run directory."""

    directory: Path
    stem: str
    output_suffix: str = "_executed"

    @classmethod
    def of(cls, instance: Instance) -> RunFiles:
        return _files_in(instance.run_dir, instance.stem, instance.output_suffix)

    @property
    def config(self) -> Path:
        return self.directory / f"{self.stem}{_CONFIG_END}"

    @cached_property
    def notebook(self) -> Path:
        return self.directory / f"{self.stem}{self.output_suffix}.ipynb"

    @property
    def html(self) -> Path:
        return self.directory / f"{self.stem}{self.output_suffix}.html"

    @property
    def log(self) -> Path:
        return self.directory / f"{self.stem}_execution_output.txt"

    @cached_property
    def record(self) -> Path:
        return self.directory / f"{self.stem}{RECORD_END}"

    @property
    def journal(self) -> Path:
        """The file to which the flows of a build append their records while it runs."""
        return self.directory / f".{self.stem}_flows.jsonl"

    @property
    def list_of_pages(self) -> Path:
        """The file in which the flows of a build note that they want pages."""
        return list_of_pages(self.journal)

    @property
    def list_of_kernels(self) -> Path:
        """The file in which the flows of a build note their kernels while these run."""
        return list_of_kernels(self.journal)

    @property
    def differences(self) -> Path:
        """The folder with figures that show how the outputs of a stored instance differ."""
        return self.directory / f"{self.stem}_differences"

    @property
    def names(self) -> set[str]:
        files = (self.config, self.notebook, self.html, self.log, self.record, self.differences)
        return {file.name for file in (*files, self.journal, self.list_of_pages, self.list_of_kernels)}


@lru_cache(maxsize=16_384)
def _files_in(run_dir: str, stem: str, output_suffix: str) -> RunFiles:
    return RunFiles(Path(run_dir), stem, output_suffix)


def list_of_pages(journal: Path) -> Path:
    """Return the file in which flows note that they want pages, for the build with this journal."""
    return journal.with_suffix(".pages")


def list_of_kernels(journal: Path) -> Path:
    """Return the file in which flows note their kernels, for the build with this journal."""
    return journal.with_suffix(".kernels")


def names_of_ours(run_dir: str) -> set[str]:
    """Return our own names in a run directory: records, and the files that belong to them."""
    try:
        names = os.listdir(run_dir)
    except OSError:
        return set()
    stems = [name.removesuffix(RECORD_END) for name in names if name.endswith(RECORD_END)]
    ends = (_CONFIG_END, RECORD_END, ".ipynb", ".html", "_execution_output.txt", "_differences")
    return {
        RUNS,
        *(name for stem in stems for name in names if name.startswith(stem) and name.endswith(ends)),
    }


def is_record(path: str) -> bool:
    """Return whether a file is named like a record."""
    return path.endswith(RECORD_END)


def config_of(run_dir: str, stem: str) -> str:
    """Return the path of the config of a flow in a run directory."""
    return os.path.join(run_dir, f"{stem}{_CONFIG_END}")


def stem_of_config(config: Path) -> str:
    """Return the stem of the flow to which a `{flow}_config.json` belongs."""
    return config.name.removesuffix(_CONFIG_END)


def is_past_config(path: Path) -> bool:
    """Return whether a file is the config of an earlier run, not a flow's own file with such a name."""
    if not path.name.endswith(_CONFIG_END):
        return False
    files = RunFiles(path.parent, stem_of_config(path))
    return any(file.exists() for file in (files.record, files.log, files.notebook))


def past_configs(directory: Path) -> list[Path]:
    """Return the configs of earlier runs in a directory and below, without those inside builds."""
    configs: list[Path] = []
    for folder, folders, names in os.walk(directory):
        found = sorted(Path(folder, name) for name in names if is_past_config(Path(folder, name)))
        configs += found
        folders[:] = folders_of_runs(folders, in_run=bool(found))
    return configs


def is_run_directory(path: Path) -> bool:
    """Return whether a path is a folder in which a flow has run."""
    return path.is_dir() and any(map(is_past_config, path.iterdir()))


def folders_of_runs(folders: Iterable[str], *, in_run: bool) -> list[str]:
    """Return the folders to search for runs, without those of a build's flows and those of our own files."""
    left_out = OURS_WITHIN if in_run else OURS_BESIDE
    return sorted(folder for folder in folders if folder not in left_out)


def place_of_earlier(files: RunFiles, root: str | Path) -> tuple[Path, str]:
    """Return where the earlier files of a run are.

    Returns:
        The folder that holds `.earlier`, and the run directory's name in it: the project's `runs/`, or, for
        a run directory elsewhere, that directory itself and ".".
    """
    runs = Path(root) / RUNS
    if files.directory != runs and files.directory.is_relative_to(runs):
        return runs, files.directory.relative_to(runs).as_posix()
    return files.directory, "."


def display_path(path: str | Path, root: str | Path) -> str:
    """Return a path as records and messages show it: relative to the project root if it lies there."""
    inside = f"{root}{os.sep}"
    name = str(path)
    return "." if name == str(root) else name.removeprefix(inside).replace(os.sep, "/")
