"""Digests of files, folders, code and configs: equal digests mean equal content.

A file is not hashed again while its state (see `file_state`) is the same as when it was last hashed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from ..core.errors import DuctaflowError
from ..core.instance import JSON
from ..core.record import Record
from ..core.run_directory.layout import REPORT, SHARED_BY_PAGES, is_record
from ..core.run_directory.listing import digest
from ..core.run_directory.record_files import read_record
from ..core.system.file_state import settled, stat_of, state_in, tracks_names
from ..sources.notebooks import looks_like_flow, read_flow
from ..sources.python_code import normalised

ABSENT = "absent"
SPECIAL = "no regular file"  # a pipe or device: reading it would consume data meant for others
FOLDER, FILE = "folder", "file of "  # paths only checked for existence by a flow; a file with its size
LINK = "link to "  # a link whose target the flow has read or used
UNSTABLE = "changed while it was being used"  # equals no digest, so what used it runs again
MANY = 1_000  # files in a folder; beyond that, the folder is one input
_delegate: Callable[[str], str | None] | None = None
_UNSEEN = (".", "__pycache__", REPORT, *SHARED_BY_PAGES)  # beginnings of names that come and go by themselves


@lru_cache(maxsize=100_000)
def _digest_of_file(path: str, _stat: str) -> str:
    if is_record(path) and (record := read_record(Path(path))[0]) is not None:
        return _essence(record)
    return digest(Path(path)) if os.path.isfile(path) or os.path.isdir(path) else SPECIAL


def _essence(record: Record) -> str:
    """Return the digest of a record as an input: its status, outputs and messages, not its times."""
    said = (record.warnings, record.python_warnings, record.message)
    return text_digest(json.dumps([record.status, dict(record.outputs), record.config_digest, *said]))


def text_digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def file_digest(path: str | Path, stat: str | None = None) -> str:
    """Return the digest of a file's current content; `ABSENT` if it is missing or cannot be read.

    Args:
        path: The file.
        stat: Its `stat_of`, if already known.
    """
    stat = stat or stat_of(path)
    if stat is None:
        return ABSENT
    read = _digest_of_file if settled(stat) else _digest_of_file.__wrapped__
    try:
        return read(str(path), stat)
    except OSError:
        return ABSENT


def listing_digest(folder: str | Path, left_out: Collection[str] = ()) -> str:
    """Return the digest of the names in a folder (not hidden ones and some others), folders marked as such.

    `ABSENT` if there is no such folder.
    """
    try:
        status = os.stat(folder)
        stat = state_in(status)
        if not left_out and settled(stat) and tracks_names(status):
            known = _digest_of_names(str(folder), stat)
            if known is not None:
                return known
        return _listing(folder, left_out)[0]
    except (OSError, ValueError):
        return ABSENT


@lru_cache(maxsize=10_000)
def _digest_of_names(folder: str, _stat: str) -> str | None:
    """Return the digest of the names in a folder; None if there are links, as the stat ignores targets."""
    listed, has_links = _listing(folder, ())
    return None if has_links else listed


def _listing(folder: str | Path, left_out: Collection[str]) -> tuple[str, bool]:
    """Return the digest of the names in a folder, and whether any is a link."""
    with os.scandir(folder) as found:
        entries = [e for e in found if not e.name.startswith(_UNSEEN) and e.name not in left_out]
        names = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries)
        return text_digest("\n".join(names)), any(entry.is_symlink() for entry in entries)


def tree_digest(folder: str | Path) -> str:
    """Return the digest of a folder with very many files, from their names and contents."""
    if not os.path.isdir(folder):
        return ABSENT
    inside = len(os.path.join(folder, ""))
    files = (f"{path[inside:]} {file_digest(path)}" for path in files_below(folder))
    return text_digest("\n".join(files))


def tree_stat(folder: str | Path) -> str | None:
    """Return a digest of the names, sizes, times and inodes in a folder, which saves hashing the files.

    None if there is no such folder, or if one of the files has only just changed.
    """
    inside = len(os.path.join(folder, ""))
    stats = [(path[inside:], stat_of(path) or "") for path in files_below(folder)]
    if not os.path.isdir(folder) or not all(settled(stat) for _, stat in stats if stat):
        return None
    return text_digest("\n".join(f"{name} {stat}" for name, stat in stats))


def stat_of_input(path: str) -> str | None:
    """Return what saves hashing an input: `stat_of` a file, or `tree_stat` of a folder (`…/**`)."""
    return tree_stat(path[:-3]) if path.endswith("/**") else stat_of(path)


def files_below(folder: str | Path) -> Iterator[str]:
    """Yield the files in a folder and below it, except hidden ones, sorted by name.

    Links are followed, but only once to each folder.
    """
    linked = {os.path.realpath(folder)}
    for current, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(_UNSEEN) and _is_new(os.path.join(current, name), linked)
        )
        yield from (os.path.join(current, name) for name in sorted(names) if not name.startswith(_UNSEEN))


def _is_new(folder: str, linked: set[str]) -> bool:
    """Return whether a folder is not a link, or a link with a new target that is not a parent of it."""
    if not os.path.islink(folder):
        return True
    target = os.path.realpath(folder)
    around = os.path.join(os.path.realpath(os.path.dirname(folder)), "")
    if target in linked or around.startswith(os.path.join(target, "")):
        return False
    linked.add(target)
    return True


def input_digest(path: str) -> str:
    """Return the digest of an input: a file, the names in a folder (`…/`), or all of its files (`…/**`)."""
    if path.endswith("/**"):
        return tree_digest(path[:-3])
    if path.endswith("/"):
        return listing_digest(path)
    return file_digest(path)


def state_digest(state: str | None) -> str:
    """Return the digest for a path that a flow only checks for existence: its kind, and a file's size.

    Args:
        state: State as in `observer.access_log`, or a file's `stat_of`.
    """
    if state is None:
        return ABSENT
    return FOLDER if state.startswith(FOLDER) else f"{FILE}{state.split()[0]} bytes"


def link_digest(path: str | Path) -> str:
    """Return the target that a link contains; `ABSENT` if it is not a link."""
    try:
        return f"{LINK}{os.readlink(path)}"
    except OSError:
        return ABSENT


def digest_like(recorded: str, path: str) -> str:
    """Return the current digest of an input, of the same kind as a recorded one."""
    if recorded == ABSENT:
        return ABSENT if not os.path.lexists(path) else input_digest(path).replace(ABSENT, "there")
    if recorded == FOLDER or recorded.startswith(FILE):
        return state_digest(FOLDER if os.path.isdir(path) else stat_of(path))
    if recorded.startswith(LINK):
        return link_digest(path)
    return input_digest(path)


def config_digest(config: Mapping[str, JSON]) -> str:
    """Return the digest of a config, independent of the order of its keys."""
    return text_digest(json.dumps(config, sort_keys=True, ensure_ascii=False, default=str))


def delegate_code_digests(delegate: Callable[[str], str | None] | None) -> None:
    """Have digests of code worked out by a process that has imported already what reading notebooks takes.

    Args:
        delegate: Function that does `digest_of_code`; None to work them out here.
    """
    global _delegate  # noqa: PLW0603 - a process has one
    _delegate = delegate


def code_digest(path: str | Path) -> str | None:
    """Return the digest of a file's code, without comments, layout and markdown cells; None if unreadable."""
    stat = stat_of(path)
    if stat is None:
        return None
    read = _code_digest if settled(stat) else _code_digest.__wrapped__
    return read(str(path), stat)


@lru_cache(maxsize=10_000)
def _code_digest(path: str, _stat: str) -> str | None:
    if _delegate is not None:
        return _delegate(path)
    return digest_of_code(path)


def digest_of_code(path: str) -> str | None:
    """Return `code_digest`, worked out here and now."""
    try:
        code = [(normalised(code), tags) for code, tags in code_cells(Path(path))]
    except (DuctaflowError, OSError, UnicodeDecodeError):
        return None
    return text_digest(json.dumps([cell for cell in code if any(cell)]))


def code_cells(path: Path) -> list[tuple[str, list[str]]]:
    """Return the code cells of a flow with their tags, and its kernel as a last cell; a module is one cell.

    Cells in a language other than Python begin with its name, as a cell magic: much of R and of shells can be
    parsed as Python but means something else.

    Raises:
        DuctaflowError, OSError, UnicodeDecodeError: If the file cannot be read.
    """
    if path.suffix == ".py" and not looks_like_flow(path):
        return [(path.read_text(encoding="utf-8-sig"), [])]
    source = read_flow(path)
    head = "" if source.language == "python" else f"%%{source.language}\n"
    cells = [(head + cell.source, sorted(cell.metadata.get("tags", ()))) for cell in source.code_cells]
    kernel = source.notebook.metadata.get("kernelspec", {}).get("name")
    return cells if kernel is None else [*cells, (f"%kernel {kernel}", [])]
