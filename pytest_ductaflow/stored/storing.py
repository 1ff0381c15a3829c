"""Making a stored instance of a run, and approving of what one has written."""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import store
from ..compare.files import read_expected
from ..compare.reading import ExpectedUnreadable, LibraryMissing
from ..compare.tolerance import Tolerances, fits
from ..errors import DuctaflowError
from ..model import JSON, RUNS, Instance, Record
from ..store import RunFiles, shown
from .baseline import compared_outputs, files_in, outputs_of
from .instance import (
    EXPECTED,
    FILE,
    INPUTS,
    OUTPUTS,
    REPLAYS,
    StoredError,
    StoredInstance,
    is_compared,
    is_wild,
    read_stored,
    write_stored,
)
from .notes import keep_from_gitignore, notes_on_folder, notes_on_inputs, notes_on_outputs, notes_on_run
from .portable import Portable

DEFAULT_FOLDER = "tests/instances"
_MEGABYTE = 1_000_000


class NotStored(DuctaflowError):
    """A run that cannot be stored; nothing has been written."""


@dataclass(frozen=True)
class StoreOptions:
    """What is to be stored of a run, and where.

    Attributes:
        to: Folder of stored instances.
        flow: The flow that is meant where several share the run directory.
        outputs: Patterns of outputs; () for all but notebooks, HTML pages and logs.
        digests: Patterns of outputs of which only a digest is stored.
        limit: Megabytes that an output may have.
        inputs: Whether what it read in `runs/` is copied.
        replaces: Whether a stored instance that is there already is replaced.
        default_kernel: The kernel that needs no mention.
        not_entered: Patterns of folders into which pytest does not go.
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


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        folder: The folder of the stored instance.
        stored: What its file says.
        notes: What its owner should know, a sentence each.
    """

    folder: Path
    stored: StoredInstance
    notes: tuple[str, ...] = ()


def store_run(run_dir: Path, root: Path, options: StoreOptions) -> Written:
    """Write a run into the repo, so that it can be replayed and compared.

    Args:
        run_dir: The run directory of an instance that ended well, absolute.
        root: The project root.
        options: What is to be stored, and where.

    Raises:
        DuctaflowError: If it cannot be; then nothing is written.
    """
    record = _record_in(run_dir, root, options.flow)
    step = record.step.removeprefix(f"{REPLAYS}/")
    folder = options.to.joinpath(*_folder_names(f"{step}/{record.instance}", options.not_entered))
    if not folder.is_relative_to(root):
        raise NotStored(f"{folder} lies outside of the project {root}, where its flow would not be found")
    earlier = _earlier(folder, replaces=options.replaces)
    chosen = (*options.outputs, *options.digests) if options.outputs else ()
    patterns = chosen or (earlier.outputs if earlier else OUTPUTS)
    outputs = _outputs(record, root, patterns, (*options.outputs, *options.digests))
    as_before = earlier.digests if earlier else {}
    digests = {name for name in outputs if name in as_before or is_compared(name, options.digests)}
    copied = {name: path for name, path in outputs.items() if name not in digests}
    portable = Portable(
        _config_of(record, run_dir), run_dir, root / RUNS / REPLAYS / step / record.instance, root, folder
    )
    named, unnamed = portable.inputs(record)
    inputs = named if options.inputs or (folder / INPUTS).is_dir() else []
    stored = StoredInstance(
        flow=record.flow,
        step=step,
        instance=record.instance,
        config={**portable.config(inputs), **record.reserved},
        outputs=patterns,
        expected=tuple(copied),
        digests={name: store.digest(outputs[name]) for name in sorted(digests)},
        kernel=record.kernel if record.kernel != options.default_kernel else None,
        duration=record.duration,
    )
    if earlier is not None:
        stored = replace(stored, tolerances=_still_meant(earlier.tolerances, stored.names))
    _check(stored, copied, options.limit)
    _write(folder, stored, copied, {portable.copy_of(path): path for path in inputs})
    keep_from_gitignore(folder)
    reads = [shown(path, root) for path in (*named, *unnamed) if path not in inputs]
    about_run = (
        *notes_on_run(record, root),
        *notes_on_inputs(reads, copies=bool(inputs)),
        *notes_on_outputs(record, root, stored),
    )
    return Written(folder, stored, (*about_run, *notes_on_folder(folder, stored)))


def _record_in(run_dir: Path, root: Path, flow: str | None) -> Record:
    example = f"{RUNS}/analysis/scenario_A"
    if not run_dir.is_dir():
        raise NotStored(f"{run_dir} is not there: expected a run directory, such as {example}")
    found = [record for folder, record in store.records(run_dir) if folder == run_dir]
    if flow is not None:
        found = [record for record in found if Path(record.flow).stem == Path(flow).stem]
    if not found:
        whose = f" of a flow {flow}" if flow else ""
        raise NotStored(f"{run_dir} has no record{whose}: expected the directory of a run, such as {example}")
    if len(found) > 1:
        stems = [Path(record.flow).stem for record in found]
        several = f"{run_dir} has the runs of several flows ({', '.join(stems)})"
        raise NotStored(f"{several}: say which, --flow {stems[0]}")
    record = found[0]
    if not record.status.good:
        why = f": {record.message}" if record.message else ""
        raise NotStored(f"{run_dir}: this run ended with {record.status}{why}; store one that ended well")
    if os.path.isabs(record.flow):
        raise NotStored(f"{record.flow} lies outside of the project {root}, and would not be in its repo")
    return record


def _folder_names(path: str, not_entered: Iterable[str]) -> Iterator[str]:
    """The folders for a step and an instance, called such that pytest goes into them."""
    for name in path.split("/"):
        is_entered = name != RUNS and not any(fnmatch.fnmatch(name, pattern) for pattern in not_entered)
        yield name if is_entered else f"_{name}_"


def _earlier(folder: Path, *, replaces: bool) -> StoredInstance | None:
    """The stored instance that is to be replaced, whose patterns, digests and tolerances are kept."""
    if not folder.exists():
        return None
    if not (folder / FILE).is_file():
        raise NotStored(f"{folder} is there, and is no stored instance: choose another place, --to")
    if not replaces:
        raise NotStored(
            f"{folder} is there already: run it with --ductaflow-update to approve of what it writes now, "
            "or replace it with --replace"
        )
    try:
        return read_stored(folder)
    except StoredError as error:
        raise NotStored(f"{error}: mend it, as its tolerances are kept, or delete {folder}") from None


def _outputs(
    record: Record, root: Path, patterns: Sequence[str], asked_for: Sequence[str]
) -> dict[str, Path]:
    """The chosen outputs, by name, as the run has left them."""
    everything = outputs_of(record, str(root))
    for pattern in asked_for:
        if not any(is_compared(name, [pattern.removeprefix("!")]) for name in everything):
            written = ", ".join(everything) or "nothing"
            raise NotStored(f"no output is called like {pattern!r}; the run has written {written}")
    found = {name: path for name, path in everything.items() if is_compared(name, patterns)}
    digests = dict(_digests(record, root))
    for name, path in found.items():
        if not path.is_file():
            raise NotStored(f"{name} is not there any more: run the instance again")
        if store.digest(path) != digests[os.path.normpath(path)]:
            raise NotStored(f"{name} has been changed after the run: run the instance again")
    return found


def _digests(record: Record, root: Path) -> Iterator[tuple[str, str]]:
    """The digest of each output as it was written, by absolute path."""
    for each in record.with_flows():
        for name, digest in each.outputs.items():
            yield os.path.normpath(root / each.run_dir / name), digest


def _still_meant(
    tolerances: Mapping[str, Mapping[str, JSON]], names: Iterable[str]
) -> dict[str, Mapping[str, JSON]]:
    """Tolerances, less those of single files that are not compared any more."""
    gone = {pattern for pattern in tolerances if not is_wild(pattern)}
    gone -= {pattern for pattern in gone if any(fits(name, pattern) for name in names)}
    return {pattern: values for pattern, values in tolerances.items() if pattern not in gone}


def _check(stored: StoredInstance, files: Mapping[str, Path], limit: float) -> None:
    """Let nothing be stored that could not pass, or that is too large for a repo.

    Raises:
        NotStored: With what to do.
    """
    try:
        StoredInstance.from_json(stored.to_json())
    except ValueError as error:
        raise NotStored(f"cannot be stored: {error}") from None
    sizes = {name: path.stat().st_size / _MEGABYTE for name, path in files.items()}
    large = [f"{name} ({size:.1f} MB)" for name, size in sizes.items() if size > limit]
    if large:
        raise NotStored(
            f"larger than {limit:g} MB: {', '.join(large)}. Store a digest (--digest NAME), choose other "
            "outputs (--output PATTERN), or raise the limit (--limit MB, or ini ductaflow_store_limit)"
        )
    tolerances = Tolerances(stored.tolerances)
    for name, path in files.items():
        try:
            read_expected(path, tolerances.of(name))
        except LibraryMissing as error:
            raise NotStored(str(error)) from None
        except ExpectedUnreadable as error:
            raise NotStored(
                f"{error}. Nothing can be compared with it: store a digest (--digest {name!r}), or leave it "
                f"out (--output '*' --output '!{name}')"
            ) from None


def _config_of(record: Record, run_dir: Path) -> dict[str, JSON]:
    file = RunFiles(run_dir, Path(record.flow).stem).config
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotStored(f"{file}: cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise NotStored(
            f"{file}: expected a config, found {type(config).__name__}; the flow may have written it"
        )
    return {key: value for key, value in config.items() if key != "_project_root"}


def _write(
    folder: Path, stored: StoredInstance, outputs: Mapping[str, Path], inputs: Mapping[Path, Path]
) -> None:
    """Write the folder, as a whole if it is new, else each part; the file that lists them comes last.

    Args:
        folder: Where it goes.
        stored: What its file says.
        outputs: The files that are expected, by name.
        inputs: The files that it reads, by the path of the copy.
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
                    store.replace_folder(new / part, folder / part, aside=Path(name, part))
                elif (folder / part).is_dir():
                    (folder / part).rename(Path(name, part))
            write_stored(folder, stored)
    except OSError as error:
        raise NotStored(f"{folder}: cannot be written: {error}") from error


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _copy_all(sources: Mapping[Path, Path]) -> None:
    """Copy files, by target; none is replaced before all have been copied to its side."""
    temporaries = {target: target.with_name(f".{target.name}.new") for target in sources}
    try:
        for target, temporary in temporaries.items():
            _copy(sources[target], temporary)
        for target, temporary in temporaries.items():
            os.replace(temporary, target)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def _refuse_links(folder: Path, names: Iterable[str]) -> None:
    """Let nothing be written or deleted that lies elsewhere.

    Raises:
        NotStored: If a link leads from the folder to another.
    """
    inside = os.path.realpath(folder.parent)
    for name in names:
        place = os.path.join(inside, folder.name, os.path.dirname(name)).rstrip(os.sep)
        if os.path.normcase(os.path.realpath(place)) != os.path.normcase(os.path.normpath(place)):
            raise NotStored(f"a link leads from {place} elsewhere, where nothing is to be changed")


def approve(instance: Instance, record: Record, limit: float) -> tuple[str, ...]:
    """Take what a stored instance has written as what is expected of it from now on.

    Args:
        instance: The stored instance.
        record: Its record, with the differences that are approved of.
        limit: Megabytes that an output may have.

    Returns:
        What its owner should know, a sentence each.

    Raises:
        OSError: If a file cannot be written. They are replaced when all are there, their list after them.
        DuctaflowError: If `instance.json` has become unreadable, or an output cannot be stored.
    """
    folder = Path(instance.stored_in)
    before = read_stored(folder)
    found = compared_outputs(record, instance.project_root, before)
    digests = {name: store.digest(found[name]) for name in before.digests if name in found}
    copied = {name: path for name, path in found.items() if name not in digests}
    stored = replace(
        before,
        expected=tuple(copied),
        digests=digests,
        tolerances=_still_meant(before.tolerances, found),
    )
    changed = {difference.file for difference in record.differences}.intersection(copied)
    _check(stored, {name: copied[name] for name in changed}, limit)
    _refuse_links(folder / EXPECTED, {*copied, *before.expected})
    # Before files come: where the case of names does not count, `R.csv` is what `r.csv` was.
    for name in {*files_in(folder / EXPECTED), *before.expected} - copied.keys():
        (folder / EXPECTED / name).unlink(missing_ok=True)
    _copy_all({folder / EXPECTED / name: copied[name] for name in sorted(changed)})
    write_stored(folder, stored)
    keep_from_gitignore(folder)
    return tuple(notes_on_folder(folder, stored))
