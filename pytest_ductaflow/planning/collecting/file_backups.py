"""Copy files that a conductor overwrites while it is collected, and restore those whose content differs.

Many conductors write their table, or a list of their scenarios, each time. Whether anything is lost is known
only when the conductor has ended: the process that started it then compares, and restores files that differ.
Files that later calls read keep their new content, and are restored if nothing runs.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import secrets
import shutil
from pathlib import Path

LARGEST = 50_000_000  # bytes of the largest file that is copied
_JOURNAL = "journal"


def set_aside(file: str, folder: Path, message: str, calls: int | None = None) -> bool:
    """Copy a file that is about to be overwritten.

    Args:
        file: The file.
        folder: The folder for copies.
        message: The message if the content differs in the end; "" to restore it silently.
        calls: The bytes in the file of recorded calls, if the new content stays for later calls.

    Returns:
        Whether there is a copy; False if the file is too large.
    """
    if os.path.getsize(file) > LARGEST:
        return False
    folder.mkdir(exist_ok=True)
    journal = folder / _JOURNAL
    copy = folder / secrets.token_hex(8)
    shutil.copy2(file, copy)
    with open(journal, "a", encoding="utf-8") as stream:
        stream.write(f"{json.dumps([file, str(copy), message, calls])}\n")
    return True


def put_back(folder: Path, calls: Path | None = None) -> list[str]:
    """Restore all files whose content has changed and that have not been restored before.

    Args:
        folder: The folder of the copies.
        calls: The file of recorded calls, if files written before the last call keep their new content.

    Returns:
        The messages for the restored files.
    """
    try:
        lines = (folder / _JOURNAL).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    messages: list[str] = []
    kept: list[str] = []
    size = calls.stat().st_size if calls is not None and calls.exists() else 0
    for line in reversed(lines):  # the first copy is restored last
        file, copy, message, known = json.loads(line)
        if not _is_same(file, copy):
            if known is not None and known < size:
                kept.insert(0, f"{line}\n")
                continue
            messages.insert(0, message)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with contextlib.suppress(OSError):
                shutil.copyfile(copy, file)
        with contextlib.suppress(OSError):
            shutil.copystat(copy, file)
    (folder / _JOURNAL).write_text("".join(kept), encoding="utf-8")
    return [message for message in messages if message]


def _is_same(file: str, copy: str) -> bool:
    try:
        return filecmp.cmp(file, copy, shallow=False)
    except OSError:
        return False
