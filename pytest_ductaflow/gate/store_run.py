"""Make a stored instance from a run."""

from __future__ import annotations

import fnmatch
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..core.errors import NotStored, StoredError
from ..core.instance import JSON, RESERVED_FOR, RUNS
from ..core.record import Record
from ..core.run_directory import atomic, listing
from ..core.run_directory.layout import display_path
from .compare.files import comparison_description
from .compare.tolerance import Tolerances
from .instance_file import (
    EXPECTED,
    FILE,
    INPUTS,
    OUTPUTS,
    REPLAYS,
    StoredInstance,
    is_compared,
    read_stored,
    write_stored,
)
from .judge import files_in
from .owner_notes import (
    keep_from_gitignore,
    notes_on_folder,
    notes_on_inputs,
    notes_on_outputs,
    notes_on_run,
    notes_on_tolerances,
)
from .past_run import chosen_outputs, config_of, record_in
from .portable_config import Portable
from .storable import check_fitness, still_meant

DEFAULT_FOLDER = "tests/instances"


@dataclass(frozen=True)
class StoreOptions:
    """The options for what to store of a run, and where.

    Attributes:
        to: Folder of stored instances.
        flow: Flow to store if several share the run directory.
        outputs: Patterns of outputs; () for all but notebooks, HTML pages and logs.
        digests: Patterns of outputs for which only a digest is stored.
        limit: Largest size of an output in megabytes.
        inputs: Whether to copy what the run read in `runs/`.
        replaces: Whether to replace an existing stored instance.
        default_kernel: Kernel that is not recorded.
        not_entered: Patterns of folders that pytest does not enter.
        only_checks: Whether to check only and write nothing.
    """

    to: Path
    flow: str | None = None
    outputs: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    limit: float = 5.0
    inputs: bool = False
    replaces: bool = False
    default_kernel: str = "python3"
    not_entered: tuple[str, ...] = ()
    only_checks: bool = False


@dataclass(frozen=True)
class StoredResult:
    """A stored instance that was written, or would be.

    Attributes:
        folder: Folder of the stored instance.
        stored: Content of its file.
        notes: Notes for its owner, one sentence each.
    """

    folder: Path
    stored: StoredInstance
    notes: tuple[str, ...] = ()


def store_run(run_dir: Path, root: Path, options: StoreOptions) -> StoredResult:
    """Write a run into the repo, so that it can be replayed and compared.

    Args:
        run_dir: Run directory of an instance that ended well, absolute.
        root: Project root.
        options: Options for what to store, and where.

    Raises:
        DuctaflowError: If it cannot be stored; then nothing is written.
    """
    record = record_in(run_dir, root, options.flow)
    step = record.step.removeprefix(f"{REPLAYS}/")
    folder = options.to.joinpath(*_folder_names(f"{step}/{record.instance}", options.not_entered))
    if not folder.is_relative_to(root):
        raise NotStored(f"{folder} lies outside of the project {root}, where its flow would not be found")
    earlier = _earlier(folder, replaces=options.replaces or options.only_checks)
    replay = root / RUNS / REPLAYS / step / record.instance
    portable = Portable(config_of(record, run_dir), run_dir, replay, root, folder)
    named, unnamed = portable.inputs(record)
    inputs = named if options.inputs or (folder / INPUTS).is_dir() else []
    stored, copied = _with_outputs(
        StoredInstance(
            flow=record.flow,
            step=step,
            instance=record.instance,
            config={**portable.config(inputs), **_reserved(record)},
            kernel=record.kernel if record.kernel not in ("", options.default_kernel) else None,
            duration=record.duration,
        ),
        record,
        root,
        options,
        earlier,
    )
    check_fitness(stored, copied, options.limit)
    if not options.only_checks:
        _write(folder, stored, copied, {portable.copy_of(path): path for path in inputs})
        keep_from_gitignore(folder)
    reads = [display_path(path, root) for path in (*named, *unnamed) if path not in inputs]
    notes = (
        *notes_on_run(record, root),
        *notes_on_inputs(reads, copies=bool(inputs)),
        *notes_on_outputs(record, root, stored),
        *notes_on_tolerances(stored, copied),
        *notes_on_folder(folder, stored),
    )
    return StoredResult(folder, stored, notes)


def stored_before(folder: Path) -> StoredResult:
    """Read the folder of a stored instance and check that a replay can be compared with it.

    Raises:
        DuctaflowError: If it cannot be.
    """
    stored = read_stored(folder)
    files = {name: folder / EXPECTED / name for name in stored.expected}
    if missing := sorted(name for name, path in files.items() if not path.is_file()):
        raise NotStored(f"{folder / EXPECTED}: {', '.join(missing)} not there: is it ignored by git?")
    if stray := sorted(set(files_in(folder / EXPECTED)) - set(stored.expected)):
        raise NotStored(f"{folder / EXPECTED}: {', '.join(stray)} not listed under `expected` in {FILE}")
    check_fitness(stored, files, limit=math.inf)
    notes = (*notes_on_tolerances(stored, files), *notes_on_folder(folder, stored))
    return StoredResult(folder, stored, notes)


def ways_of_comparing(stored: StoredInstance) -> Iterator[tuple[str, str]]:
    """Yield the name of each compared output and a description of how it is compared."""
    tolerances = Tolerances(stored.tolerances)
    for name in sorted(stored.names):
        is_digest = name in stored.digests and name not in stored.expected
        yield (
            name,
            "byte by byte (digest)" if is_digest else comparison_description(name, tolerances.of(name)),
        )


def _with_outputs(
    stored: StoredInstance, record: Record, root: Path, options: StoreOptions, earlier: StoredInstance | None
) -> tuple[StoredInstance, dict[str, Path]]:
    """Return the stored instance with its expected outputs added, and the files to copy for that."""
    asked_for = (*options.outputs, *options.digests)
    patterns = asked_for if options.outputs else earlier.outputs if earlier else OUTPUTS
    outputs = chosen_outputs(record, root, patterns, asked_for)
    as_before = earlier.digests if earlier else {}
    digests = {name for name in outputs if name in as_before or is_compared(name, options.digests)}
    copied = {name: path for name, path in outputs.items() if name not in digests}
    stored = replace(
        stored,
        outputs=patterns,
        expected=tuple(copied),
        digests={name: listing.digest(outputs[name]) for name in sorted(digests)},
    )
    if earlier is not None:
        stored = replace(stored, tolerances=still_meant(earlier.tolerances, stored.names))
    return stored, copied


def _folder_names(path: str, not_entered: Iterable[str]) -> Iterator[str]:
    """Yield the folder names for a step and an instance, changed where pytest would not enter them."""
    for name in path.split("/"):
        is_entered = name != RUNS and not any(fnmatch.fnmatch(name, pattern) for pattern in not_entered)
        yield name if is_entered else f"_{name}_"


def _earlier(folder: Path, *, replaces: bool) -> StoredInstance | None:
    """Return the stored instance to be replaced, whose patterns, digests and tolerances are kept."""
    if not folder.exists():
        return None
    if not (folder / FILE).is_file():
        raise NotStored(f"{folder} is there, and is no stored instance: choose another place, --to")
    if not replaces:
        raise NotStored(
            f"{folder} is there already: run it with --ductaflow-update, which makes what it writes now the "
            "expected outputs, or replace it with --replace"
        )
    try:
        return read_stored(folder)
    except StoredError as error:
        raise NotStored(f"{error}: mend it, as its tolerances are kept, or delete {folder}") from None


def _write(
    folder: Path, stored: StoredInstance, outputs: Mapping[str, Path], inputs: Mapping[Path, Path]
) -> None:
    """Write the folder, as a whole if it is new, else part by part; the file that lists them comes last.

    Args:
        folder: Target folder.
        stored: Content of its file.
        outputs: Expected files, by name.
        inputs: Files that it reads, by the path of the copy.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".ductaflow-") as name:
            new = Path(name, "new")
            new.mkdir()
            for file, path in outputs.items():
                _copy(path, new / EXPECTED / file)
            for target, path in inputs.items():
                _copy(path, new / target.relative_to(folder))
            if not folder.exists():
                write_stored(new, stored)
                new.rename(folder)
                return
            for part in (EXPECTED, INPUTS):
                if (new / part).is_dir():
                    atomic.replace_folder(new / part, folder / part, aside=Path(name, part))
                elif (folder / part).is_dir():
                    (folder / part).rename(Path(name, part))
            write_stored(folder, stored)
    except OSError as error:
        raise NotStored(f"{folder}: cannot be written: {error}") from error


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _reserved(record: Record) -> dict[str, JSON]:
    """Return the reserved columns in a record, except those of earlier versions."""
    return {key: value for key, value in record.reserved.items() if key in RESERVED_FOR}
