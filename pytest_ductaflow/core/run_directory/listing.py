"""List what a flow has in its run directory, with the state or the digest of each file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ..system.file_state import state_in
from .atomic import is_temporary
from .layout import OURS_WITHIN, RECORD_END, RunFiles
from .record_files import read_record


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
        not_ours = [name for name in folders if start or name not in ours | OURS_WITHIN]
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
    for path in files.directory.glob(f"*{RECORD_END}"):
        if read_record(path)[0] is not None:  # else it is a file of the flow's with such a name
            ours |= RunFiles(files.directory, path.name.removesuffix(RECORD_END)).names
    return ours


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


def digest(path: Path) -> str:
    """Return `sha256:` and the hexadecimal digest of a file's content."""
    with open(path, "rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
