"""Files that a conductor writes anew while it is collected: as they were before, unless they are the same.

Many a conductor writes its table, or a list of its scenarios, each time. Whether anything is lost by that is
known when it has ended: by then the process that started it compares, and puts back what differs. What
calls that come later read stays as it was written, and is put back if nothing runs.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import secrets
import shutil
from pathlib import Path

LARGEST = 50_000_000  # bytes of a file that is worth a copy
_JOURNAL = "journal"


def set_aside(file: str, folder: Path, message: str, calls: int | None = None) -> bool:
    """Keep a copy of a file that is about to be written anew.

    Args:
        file: The file.
        folder: Where copies are kept.
        message: What to say if it is not the same in the end; "" to put it back without a word.
        calls: The size of the file of recorded calls, if the new content stays for calls that come later.

    Returns:
        Whether there is a copy now; not of what is too large.
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
    """Put back all files that are not as they were, and that have not been put back before.

    Args:
        folder: Where the copies are.
        calls: The file of recorded calls, if files that were written before the last of them stay.

    Returns:
        The messages of these.
    """
    try:
        lines = (folder / _JOURNAL).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    messages: list[str] = []
    kept: list[str] = []
    size = calls.stat().st_size if calls is not None and calls.exists() else 0
    for line in reversed(lines):  # the first copy has the last word
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
