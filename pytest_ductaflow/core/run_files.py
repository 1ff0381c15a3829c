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

Files are written by atomic rename of a temporary file beside the target; unreadable records are treated as
missing, with a one-line reason.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from .instance import RUNS, Instance
from .record import Failure, Record, Status
from .system.fence import raise_if_given_up
from .system.file_state import settled, state_in

REPORT = "conductor_status_report.html"
STYLESHEET = "notebook.css"
PLOTLY_SCRIPT = "plotly.min.js"
SHARED_BY_PAGES = (STYLESHEET, PLOTLY_SCRIPT)
_RECORD_END = "_record.json"
_CONFIG_END = "_config.json"
# Folders beside the steps, not run directories: earlier runs, locks, conductors' after-work and declarations,
# figures of the report, and how the last runs ended.
EARLIER, LOCKS, AFTER, DECLARED = ".earlier", ".locks", ".after", ".declared"
FIGURES, HISTORY = ".figures", ".history"
OURS_BESIDE = (EARLIER, LOCKS, AFTER, DECLARED, FIGURES, HISTORY)
_OURS_BESIDE = frozenset({RUNS, *OURS_BESIDE})  # folders in a run directory that are not the flow's
_TEMPORARY = re.compile(r"\.(.+)\.\w+\.tmp")
_BUILD_VARIABLE = "_DUCTAFLOW_BUILD"  # set in the kernel of a build


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
        return self.directory / f"{self.stem}{_RECORD_END}"

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
    stems = [name.removesuffix(_RECORD_END) for name in names if name.endswith(_RECORD_END)]
    ends = (_CONFIG_END, _RECORD_END, ".ipynb", ".html", "_execution_output.txt", "_differences")
    return {
        RUNS,
        *(name for stem in stems for name in names if name.startswith(stem) and name.endswith(ends)),
    }


def write_atomic(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Raises:
        GivenUp: If the attempt that runs in this thread was given up.
    """
    # Not the pid: threads share it, and so can processes on machines that share a disk.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        # A lone surrogate (from undecodable output) becomes an escape that JSON reads back.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        raise_if_given_up()
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_folder(new: Path, target: Path, *, aside: Path) -> None:
    """Replace a folder by another; if that fails, the old one is restored.

    Args:
        new: New folder, on the same disk.
        target: Path of the folder to replace.
        aside: Path to which the old folder is moved.
    """
    if os.path.lexists(target):
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(target, aside)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(new, target)
    except OSError:
        if os.path.lexists(aside):
            os.rename(aside, target)
        raise


def write_json(path: Path, data: Any) -> None:
    """Write JSON for people: indented, keys in order of insertion, text not escaped."""
    write_atomic(path, json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")


def write_config(files: RunFiles, config: Mapping[str, Any]) -> None:
    """Write the exact config into the run directory, creating the directory if necessary."""
    files.directory.mkdir(parents=True, exist_ok=True)
    write_json(files.config, config)


def write_record(files: RunFiles, record: Record) -> None:
    write_json(files.record, record.to_json())


def write_failure(files: RunFiles, record: Record) -> None:
    """Write the record of a failed run; on a full disk, overwrite the one that says it is running."""
    try:
        write_record(files, record)
    except OSError:
        text = json.dumps(record.to_json(), separators=(",", ":"), default=str)
        with contextlib.suppress(OSError), open(files.record, "r+b", buffering=0) as file:
            file.write(text.encode(errors="backslashreplace"))  # into a block that the file already has
            file.truncate()


def read_record(path: Path) -> tuple[Record | None, str | None]:
    """Return a record, or None and the reason; no reason if the file is missing."""
    try:
        state = state_in(os.stat(path))
        # A file written just now may be written again without a change of its times.
        read = _parse if settled(state) else _parse.__wrapped__
        return read(str(path), state), None
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        return None, f"{path}: not a readable record ({error}); treated as if it were not there"


@lru_cache(maxsize=4_096)
def _parse(path: str, _state: str) -> Record:
    """Return the record in a file, cached as long as the file's state does not change."""
    with open(path, encoding="utf-8") as file:
        return Record.from_json(json.load(file))


def is_record(path: str) -> bool:
    """Return whether a file is named like a record."""
    return path.endswith(_RECORD_END)


def records_in(directory: Path) -> dict[str, Record]:
    """Return the records in one folder by the stem of their flows."""
    read = {
        path.name.removesuffix(_RECORD_END): read_record(path)[0]
        for path in directory.glob(f"*{_RECORD_END}")
    }
    return {stem: record for stem, record in read.items() if record is not None}


def close_record(instance: Instance, message: str, kind: str = "WorkerDied") -> Record | None:
    """Mark the record of an instance whose process died as failed, so that it does not stay `running`.

    Args:
        instance: Instance that no longer runs.
        message: What has happened.
        kind: Type of the failure.

    Returns:
        The new record; None if there was no record with status `running`.
    """
    files = RunFiles.of(instance)
    record, _ = read_record(files.record)
    if record is None or record.status is not Status.RUNNING:
        return None
    failure = Failure(kind, message.strip())
    closed = record.with_(status=Status.ERROR, error=failure, owner=None)
    with contextlib.suppress(OSError):
        write_record(files, closed)
    return closed


def records(runs: Path) -> Iterator[tuple[Path, Record]]:
    """Yield every instance's record under `runs`, without those of the flows inside builds.

    Yields:
        The run directory and its record, sorted by path.
    """
    of_builds: set[tuple[str, str]] = set()
    for folder, folders, names in os.walk(runs):
        read = (read_record(Path(folder, name))[0] for name in sorted(names) if name.endswith(_RECORD_END))
        found = [record for record in read if record is not None]
        flows = (flow for record in found for nested in record.flows for flow in nested.with_flows())
        of_builds |= {(flow.run_dir, flow.flow) for flow in flows}
        for record in found:
            if (record.run_dir, record.flow) not in of_builds:
                yield Path(folder), record
        folders[:] = _folders_of_runs(folders, in_run=bool(found))


def record_files(runs: Path, known: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder below `runs` that holds records, with the names of these files, unread.

    Args:
        runs: A `runs/`, or a folder in it.
        known: Run directories that need not be searched for further ones.
    """
    folders = [str(runs)]
    while folders:
        folder = folders.pop()
        try:
            if folder in known:
                yield folder, sorted(filter(is_record, os.listdir(folder)))
                continue
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not entry.name.startswith(".")]
        except OSError:
            continue
        names = sorted(entry.name for entry in entries if is_record(entry.name))
        if names:
            yield folder, names
        below = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
        folders += sorted((e.path for e in below if not (names and e.name == RUNS)), reverse=True)


def past_configs(directory: Path) -> list[Path]:
    """Return the configs of earlier runs in a directory and below, without those inside builds."""
    configs: list[Path] = []
    for folder, folders, names in os.walk(directory):
        found = sorted(Path(folder, name) for name in names if is_past_config(Path(folder, name)))
        configs += found
        folders[:] = _folders_of_runs(folders, in_run=bool(found))
    return configs


def _folders_of_runs(folders: Iterable[str], *, in_run: bool) -> list[str]:
    """Return the folders to search for runs, without those of a build's flows and those of our own files."""
    left_out = _OURS_BESIDE if in_run else OURS_BESIDE
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


def stem_of_config(config: Path) -> str:
    """Return the stem of the flow to which a `{flow}_config.json` belongs."""
    return config.name.removesuffix(_CONFIG_END)


def is_past_config(path: Path) -> bool:
    """Return whether a file is the config of an earlier run, not a flow's own file with such a name."""
    if not path.name.endswith(_CONFIG_END):
        return False
    files = RunFiles(path.parent, stem_of_config(path))
    return any(file.exists() for file in (files.record, files.log, files.notebook))


def is_run_directory(path: Path) -> bool:
    """Return whether a path is a folder in which a flow has run."""
    return path.is_dir() and any(map(is_past_config, path.iterdir()))


def add_to_journal(journal: Path, record: Record) -> None:
    """Append the record of a flow that has begun or ended to its build's journal: one line, one write."""
    add_line(journal, record.to_json())


def add_line(path: Path, data: Any) -> None:
    """Append a line of JSON to a file, in one write."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(data, default=str) + "\n")


def read_journal(journal: Path) -> tuple[Record, ...]:
    """Return the latest record of each flow of a build, in the order in which they began."""
    latest: dict[tuple[str, str], Record] = {}
    with contextlib.suppress(OSError):
        for line in journal.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                record = Record.from_json(json.loads(line))
                latest[record.run_dir, record.flow] = record
    return tuple(latest.values())


def build_environment(
    files: RunFiles,
    settings: str,
    began_in: str,
    variables: Mapping[str, str],
    lineage: Mapping[str, Any] | None = None,
    references: Iterable[str] = (),
) -> dict[str, str]:
    """Return what the flows inside a build need to know of it and the builds around it, as a variable.

    Args:
        files: Files of the build.
        settings: Settings as text.
        began_in: Working directory in which the build begins.
        variables: Environment variables as in its record.
        lineage: Lineage as in its record.
        references: Names of environment variables whose values its config has.
    """
    data = {
        "journal": str(files.journal),
        "settings": settings,
        "around": [str(journal) for journal in (*builds_around(), files.journal)],
        "began_in": began_in,
        "variables": variables,
        "lineage": dict(lineage or {}),
        "references": [*references_of_build(), *references],
    }
    return {_BUILD_VARIABLE: json.dumps(data)}


@contextlib.contextmanager
def outside_of_builds() -> Iterator[None]:
    """Let code in this process run outside of the build that has started the process.

    `builds_around` still returns the builds: an instance that waited for one of them would wait forever.
    """
    text = os.environ.get(_BUILD_VARIABLE)
    if text is not None:
        os.environ[_BUILD_VARIABLE] = json.dumps({"around": json.loads(text)["around"]})
    try:
        yield
    finally:
        if text is not None:
            os.environ[_BUILD_VARIABLE] = text


def build_began_in() -> str:
    """Return the working directory in which the build around this code began; "" outside of one."""
    data = _build_data()
    return "" if data is None else str(data["began_in"])


def place_in_build() -> Path | None:
    """Return the folder to which relative run directories refer in a build; None outside of one.

    That is its run directory, wherever it was started, or the directory into which it has changed.
    """
    build = surrounding_build()
    if build is None:
        return None
    here = os.getcwd()
    has_changed = os.path.realpath(here) != os.path.realpath(build_began_in())
    return Path(here) if has_changed else build[0].parent


def variables_of(instance: Instance) -> dict[str, str]:
    """Return digests of the environment variables given to an instance and the builds around it, by name."""
    data = _build_data()
    return {**(data["variables"] if data is not None else {}), **instance.digests_of_variables}


def lineage_of_build() -> dict[str, Any]:
    """Return the lineage of the build in whose kernel this code runs; empty outside of one."""
    data = _build_data()
    return {} if data is None else dict(data.get("lineage", {}))


def references_of_build() -> list[str]:
    """Return the names of environment variables whose values are in the configs of the builds around."""
    data = _build_data()
    return [] if data is None else list(data.get("references", ()))


def surrounding_build() -> tuple[Path, str] | None:
    """Return journal and settings of the build in whose kernel this code runs; None outside of one."""
    data = _build_data()
    return (Path(data["journal"]), data["settings"]) if data is not None else None


def builds_around() -> list[Path]:
    """Return the journals of all builds that have to wait for this code to end, the outermost first."""
    text = os.environ.get(_BUILD_VARIABLE)
    return [Path(journal) for journal in json.loads(text)["around"]] if text is not None else []


def _build_data() -> dict[str, Any] | None:
    """Return the data passed by the build in whose kernel this code runs; None outside of one."""
    text = os.environ.get(_BUILD_VARIABLE)
    data = _parsed(text) if text is not None else None
    return data if data is not None and "journal" in data else None


@lru_cache(maxsize=1)
def _parsed(text: str) -> dict[str, Any]:
    """Return the data in the variable of a build, which every flow in it asks for several times."""
    data: dict[str, Any] = json.loads(text)
    return data


def publish(files: RunFiles, record: Record) -> None:
    """Write a record, and append it to the journal of the build around it, if any."""
    write_record(files, record)
    tell_build(record)


def tell_build(record: Record) -> None:
    """Append a record to the journal of the build around this code, if any."""
    if (build := surrounding_build()) is not None:
        journal, _ = build
        add_to_journal(journal, record)


def display_path(path: str | Path, root: str | Path) -> str:
    """Return a path as records and messages show it: relative to the project root if it lies there."""
    inside = f"{root}{os.sep}"
    name = str(path)
    return "." if name == str(root) else name.removeprefix(inside).replace(os.sep, "/")


def digest(path: Path) -> str:
    """Return `sha256:` and the hexadecimal digest of a file's content."""
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def contents(files: RunFiles, besides: Iterable[str] = ()) -> dict[str, str | None]:
    """Return what is in the run directory and is not ours.

    Args:
        files: Files of the run.
        besides: Absolute paths of folders in it to leave out as well.

    Returns:
        State of every file (see `file_state`) by path relative to the run directory; None for folders
        (names that end in `/`), dangling links and pipes. The run directories of a build's flows are left
        out.
    """
    ours = _our_names(files)
    left_out = {os.path.normpath(folder) for folder in besides}
    found: dict[str, str | None] = {}
    for folder, folders, names in os.walk(files.directory):
        inside = Path(folder).relative_to(files.directory).as_posix()
        start = "" if inside == "." else f"{inside}/"
        not_ours = [name for name in folders if start or name not in ours | _OURS_BESIDE]
        folders[:] = [
            name for name in not_ours if name != "__pycache__" and os.path.join(folder, name) not in left_out
        ]
        found |= {f"{start}{name}/": None for name in folders if not os.path.islink(f"{folder}/{name}")}
        found |= {f"{start}{name}": None for name in folders if os.path.islink(f"{folder}/{name}")}
        for name in names:
            if start or not (name in ours or is_temporary(name, ours)):
                found[f"{start}{name}"] = _stat_of_file(os.path.join(folder, name))
    return found


def _our_names(files: RunFiles) -> set[str]:
    """Return the names of our own files in a run directory, for all flows that share it."""
    ours = set(files.names)
    for path in files.directory.glob(f"*{_RECORD_END}"):
        if read_record(path)[0] is not None:  # else it is a file of the flow's with such a name
            ours |= RunFiles(files.directory, path.name.removesuffix(_RECORD_END)).names
    return ours


def is_temporary(name: str, ours: Iterable[str]) -> bool:
    """Return whether a name is that of a temporary file of ours, which a killed process may have left."""
    match = _TEMPORARY.fullmatch(name)
    return match is not None and match[1] in ours


def _stat_of_file(path: str) -> str | None:
    with contextlib.suppress(OSError):  # a dangling link, or gone in the meantime
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode):  # reading a pipe would wait for a writer
            return state_in(status)
    return None


def digests(directory: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the digests of files by name, without files that cannot be read."""
    result = {}
    for name in sorted(names):
        with contextlib.suppress(OSError):
            result[name] = digest(directory / name)
    return result
