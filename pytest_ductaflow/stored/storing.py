"""Making a stored instance of a run, and approving of what one has written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import store
from ..errors import DuctaflowError
from ..model import JSON, RUNS, Instance, Record
from ..store import RunFiles, shown
from .baseline import found_outputs
from .instance import (
    EXPECTED,
    INPUTS,
    OUTPUTS,
    REPLAYS,
    StoredError,
    StoredInstance,
    is_compared,
    read_stored,
    write_stored,
)
from .portable import Portable, texts_in

DEFAULT_FOLDER = "tests/instances"
_MEGABYTE = 1_000_000


class NotStored(DuctaflowError):
    """A run that cannot be stored; nothing has been written."""


@dataclass(frozen=True)
class Wishes:
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
    """

    to: Path
    flow: str | None = None
    outputs: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    limit: float = 5.0
    inputs: bool = False
    replaces: bool = False
    default_kernel: str = "python3"


@dataclass(frozen=True)
class Stored:
    """What was written.

    Attributes:
        folder: The folder of the stored instance.
        instance: What its file says.
        notes: What its owner should know, a sentence each.
    """

    folder: Path
    instance: StoredInstance
    notes: tuple[str, ...] = ()


def store_run(run_dir: Path, root: Path, wishes: Wishes) -> Stored:
    """Write a run into the repo, so that it can be replayed and compared.

    Args:
        run_dir: The run directory of an instance that ended well, absolute.
        root: The project root.
        wishes: What is to be stored, and where.

    Raises:
        DuctaflowError: If it cannot be; then nothing is written.
    """
    record = _record_in(run_dir, root, wishes.flow)
    step = record.step.removeprefix(f"{REPLAYS}/")
    folder = wishes.to / step / record.instance
    earlier = _earlier(folder, replaces=wishes.replaces)
    patterns = wishes.outputs or (earlier.outputs if earlier else OUTPUTS)
    outputs = _outputs(record, root, patterns)
    digests = {name for name in outputs if is_compared(name, wishes.digests)}
    copied = {name: path for name, path in outputs.items() if name not in digests}
    _refuse_large(copied, wishes.limit)
    replay = root / RUNS / REPLAYS / step / record.instance
    portable = Portable(_config_of(record, run_dir), run_dir, replay, root, folder)
    inputs = portable.copies(record) if wishes.inputs else {}
    instance = StoredInstance(
        flow=record.flow,
        step=step,
        instance=record.instance,
        config=portable.config(inputs),
        outputs=patterns,
        expected=tuple(copied),
        digests={name: store.digest(outputs[name]) for name in sorted(digests)},
        kernel=record.kernel if record.kernel != wishes.default_kernel else None,
        duration=record.duration,
    )
    if earlier is not None:
        instance = replace(instance, tolerances=earlier.tolerances)
    _write(folder, instance, copied, {name: path for path, name in inputs.items()})
    _keep_from_gitignore(folder)
    reads = [] if wishes.inputs else [shown(path, root) for path in portable.inputs(record)]
    return Stored(folder, instance, tuple(_notes(folder, instance, reads)))


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


def _earlier(folder: Path, *, replaces: bool) -> StoredInstance | None:
    """The stored instance that is to be replaced, whose patterns and tolerances are kept."""
    if not folder.exists():
        return None
    if not replaces:
        raise NotStored(
            f"{folder} is there already: run it with --ductaflow-update to approve of what it writes now, "
            "or replace it with --replace"
        )
    try:
        return read_stored(folder)
    except StoredError:
        return None


def _outputs(record: Record, root: Path, patterns: Sequence[str]) -> dict[str, Path]:
    """The chosen outputs, by name, as the run has left them."""
    everything = found_outputs(record, str(root), StoredInstance("", "", "", {}, outputs=("*",)))
    for pattern in patterns:
        fits = any(is_compared(name, [pattern.removeprefix("!")]) for name in everything)
        if not fits and pattern not in OUTPUTS:
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
    for name, digest in record.outputs.items():
        yield os.path.normpath(root / record.run_dir / name), digest
    for flow in record.flows:
        yield from _digests(flow, root)


def _refuse_large(files: Mapping[str, Path], limit: float) -> None:
    sizes = {name: path.stat().st_size / _MEGABYTE for name, path in files.items()}
    large = [f"{name} ({size:.1f} MB)" for name, size in sizes.items() if size > limit]
    if large:
        raise NotStored(
            f"larger than {limit:g} MB: {', '.join(large)}. Store a digest (--digest NAME), choose other "
            "outputs (--output PATTERN), or raise the limit (--limit MB, or ini ductaflow_store_limit)"
        )


def _config_of(record: Record, run_dir: Path) -> dict[str, JSON]:
    file = RunFiles(run_dir, Path(record.flow).stem).config
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotStored(f"{file}: cannot be read: {error}") from None
    return {key: value for key, value in config.items() if key != "_project_root"}


def _write(
    folder: Path, instance: StoredInstance, outputs: Mapping[str, Path], inputs: Mapping[str, Path]
) -> None:
    """Write the folder as a whole, or nothing."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".ductaflow-") as name:
            new = Path(name, "new")
            new.mkdir()
            for below, files in ((EXPECTED, outputs), (INPUTS, inputs)):
                for file, path in files.items():
                    _copy(path, new / below / file)
            write_stored(new, instance)
            if folder.exists():
                folder.rename(Path(name, "old"))
            new.rename(folder)
    except OSError as error:
        raise NotStored(f"{folder}: cannot be written: {error}") from error


def _copy(source: Path, target: Path) -> None:
    """Copy a file; whoever reads the target sees the old content or the new."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, temporary)
    os.replace(temporary, target)


def _notes(folder: Path, instance: StoredInstance, reads: Sequence[str]) -> Iterator[str]:
    """What the owner of a stored instance should know."""
    if not instance.names:
        yield "no output is stored: the gate only sees whether the flow runs to its end"
    if reads:
        more = f" and {len(reads) - 1} more" if len(reads) > 1 else ""
        yield f"it reads {reads[0]}{more}, which a fresh clone does not have: --inputs stores copies"
    for text in dict.fromkeys(texts_in(instance.config)):
        if os.path.isabs(text) and os.path.exists(text):
            yield f"its config names {text}, which lies outside of the project"
    if ignored := _ignored_by_git(folder):
        names = ", ".join(shown(path, folder) for path in ignored)
        yield f"git ignores {names}: use git add -f, or other clones will not have it"


def _keep_from_gitignore(folder: Path) -> None:
    """Let git take what patterns such as `runs/` or `*.csv`, meant for what sweeps write, would leave out."""
    if _ignored_by_git(folder):
        with contextlib.suppress(OSError):
            (folder / ".gitignore").write_text("!*\n", encoding="utf-8")


def _ignored_by_git(folder: Path) -> list[Path]:
    """The files of a folder that git would leave out."""
    names = "\0".join(str(path) for path in folder.rglob("*") if path.is_file())
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(
            ["git", "check-ignore", "-z", "--stdin"],  # noqa: S607
            cwd=folder,
            input=os.fsencode(names),
            capture_output=True,
            timeout=30,
            check=False,
        )
        return sorted(Path(os.fsdecode(name)) for name in told.stdout.split(b"\0") if name)
    return []


def approve(instance: Instance, record: Record) -> None:
    """Take what a stored instance has written as what is expected of it from now on.

    Args:
        instance: The stored instance.
        record: Its record, with the differences that are approved of.

    Raises:
        OSError: If a file cannot be written; each is replaced as a whole, their list after them.
        StoredError: If `instance.json` has become unreadable.
    """
    folder = Path(instance.stored)
    stored = read_stored(folder)
    found = found_outputs(record, instance.project_root, stored)
    digests = {name: store.digest(found[name]) for name in stored.digests if name in found}
    expected = tuple(sorted(found.keys() - digests.keys()))
    for name in {difference.file for difference in record.differences}.intersection(expected):
        _copy(found[name], folder / EXPECTED / name)
    write_stored(folder, replace(stored, expected=expected, digests=digests))
    for path in [path for path in (folder / EXPECTED).rglob("*") if path.is_file()]:
        name = path.relative_to(folder / EXPECTED).as_posix()
        if name not in expected and not path.name.startswith("."):
            path.unlink()
