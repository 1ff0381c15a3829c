"""Notes for the owner of a stored instance, one sentence each."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..core.record import Record
from ..core.run_directory.layout import display_path
from ..tracking.digests import code_digest
from ..tracking.paths_in_config import output_files
from .compare.files import compare
from .compare.tolerance import Tolerances
from .instance_file import OUTPUTS, StoredInstance, is_compared
from .portable_config import texts_in

_NAMED = 5  # files in a note


def notes_on_run(record: Record, root: Path) -> Iterator[str]:
    """Yield a note if code changed after the run: a replay may then not reproduce what is stored."""
    known = {name: digest for each in record.with_flows() for name, digest in each.code.items()}
    changed = [name for name, digest in sorted(known.items()) if code_digest(str(root / name)) != digest]
    if changed:
        yield f"{', '.join(changed)} changed after the run: what is stored is of the code before"


def notes_on_inputs(reads: Sequence[str], *, copies: bool) -> Iterator[str]:
    if reads:
        more = f" and {len(reads) - 1} more" if len(reads) > 1 else ""
        which = f"it reads {reads[0]}{more}, which a fresh clone does not have"
        remedy = (
            "no text in its config leads there, so no copy is stored" if copies else "--inputs stores copies"
        )
        yield f"{which}: {remedy}"


def notes_on_outputs(record: Record, root: Path, stored: StoredInstance) -> Iterator[str]:
    """Yield a note on written files that are not compared, except kinds that never are.

    Such files were not chosen, or lie outside of the run directory.
    """
    run_dir = root / record.run_dir
    compared = {str(run_dir / name) for name in stored.names}
    written = {path for path in output_files(record, str(root)) if is_compared(path, OUTPUTS)}
    left_out = sorted(written - compared)
    names = [path.removeprefix(f"{run_dir}{os.sep}").replace(os.sep, "/") for path in left_out]
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"it also wrote {', '.join(names[:_NAMED])}{more}, which is not compared"


def notes_on_tolerances(stored: StoredInstance, files: Mapping[str, Path]) -> Iterator[str]:
    """Yield notes on its tolerances that match nothing, or by whose keys no rows can be matched.

    Args:
        stored: A stored instance with readable files.
        files: Expected files, by name.
    """
    tolerances = Tolerances(stored.tolerances)
    names: dict[str, set[str] | None] = dict.fromkeys(stored.names)
    for name, path in files.items() if stored.tolerances else ():
        own = compare(path, path, tolerances.of(name), name=name, figures=path.parent, names=names)
        if own is not None:
            yield f"with its tolerances {name} differs even from itself: {own.message}"
        names[name] = names[name] or None  # unknown for files compared as bytes, which a hook may compare
    for note in tolerances.without_effect(names) if names else ():
        yield f"the tolerances of {note}"


def notes_on_folder(folder: Path, stored: StoredInstance) -> Iterator[str]:
    """Yield notes on what a stored instance lacks or what would be missing in another clone."""
    if not stored.names:
        yield "no output is stored: the gate only sees whether the flow runs to its end"
    for text in dict.fromkeys(texts_in(stored.config)):
        if os.path.isabs(text) and os.path.exists(text):
            yield f"its config names {text}, which lies outside of the project"
    if ignored := _ignored_by_git(folder):
        names = ", ".join(display_path(path, folder) for path in ignored)
        yield f"git ignores {names}: use git add -f, or other clones will not have it"


def keep_from_gitignore(folder: Path) -> None:
    """Override gitignore patterns, such as `runs/` or `*.csv`, that are meant for the outputs of sweeps."""
    if _ignored_by_git(folder):
        with contextlib.suppress(OSError):
            (folder / ".gitignore").write_text("!*\n", encoding="utf-8")


def _ignored_by_git(folder: Path) -> list[Path]:
    """Return the files of a folder that git ignores."""
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
