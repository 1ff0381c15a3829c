"""Write files by atomic rename of a temporary file beside the target, so that none is ever half-written."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..system.fence import raise_if_given_up

_short = json.JSONEncoder(ensure_ascii=False, default=str).encode
_long = json.JSONEncoder(ensure_ascii=False, default=str, indent=2).encode
_text = json.encoder.encode_basestring
_TEMPORARY = re.compile(r"\.(.+)\.\w+\.tmp")


def write_atomic(path: Path, text: str | Iterable[str]) -> None:
    """Write a file so that a reader sees the old content or the new, never a part.

    Args:
        path: The file.
        text: What it is to contain, or the parts of that.

    Raises:
        GivenUp: If the attempt that runs in this thread was given up.
    """
    # Not the pid: threads share it, and so can processes on machines that share a disk.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        # A lone surrogate (from undecodable output) becomes an escape that JSON reads back.
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines([text] if isinstance(text, str) else text)
        raise_if_given_up()
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, data: Any) -> None:
    """Write JSON for people: indented, keys in order of insertion, text not escaped."""
    write_atomic(path, f"{indented(data)}\n")


def indented(data: Any) -> str:
    """Return what `json.dumps` returns with `indent=2`.

    With an indent it does not use its encoder in C. Most values of a record are short, and need none.
    """
    if not isinstance(data, dict) or not data or not all(type(key) is str for key in data):
        return _long(data)
    inner = ",\n".join([f"  {_text(key)}: {_within(value)}" for key, value in data.items()])
    return f"{{\n{inner}\n}}"


def _within(value: Any) -> str:
    if value is None:
        return "null"
    if type(value) is str:
        return _text(value)
    if isinstance(value, list | tuple | dict) and value:
        return _long(value).replace("\n", "\n  ")
    return _short(value)


def add_line(path: Path, data: Any) -> None:
    """Append a line of JSON to a file, in one write."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(data, default=str) + "\n")


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


def is_temporary(name: str, ours: Iterable[str]) -> bool:
    """Return whether a name is that of a temporary file of ours, which a killed process may have left."""
    match = _TEMPORARY.fullmatch(name)
    return match is not None and match[1] in ours
