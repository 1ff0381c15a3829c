"""Execute a conductor's file as `python conductor.py` does, and report what stopped it."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from ..core.errors import DuctaflowError, Refused
from ..core.system.places import PACKAGE
from ..sources.notebooks import project_root_of, read_flow, source_as_script
from .collecting.deferral import can_wait, deferring, names

_ASKS = "is_collecting"
_DECLARES = re.compile(r"ductaflow|\binstance_name\b")  # by a call, or by a table with this column
_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+([A-Za-z_][\w.]*)", re.MULTILINE)
_CELL = re.compile(r"^#[ \t]*%%(?:[ \t]|$)", re.MULTILINE)


@dataclass(frozen=True)
class Stopped:
    """The reason why a conductor ended before its last line.

    Attributes:
        type: Class name of the exception.
        message: Its text.
        line: The line of the conductor (1-based), if known.
        source: The text of that line.
        frames: The frames in the user's own code, one text each, innermost last.
        is_ours: Whether the message alone says what to do.
        exit_code: The argument of `sys.exit`, if it ended that way.
        can_wait: Whether this is no error, and the rest of the conductor is to be executed later.
    """

    type: str
    message: str
    line: int | None = None
    source: str = ""
    frames: tuple[str, ...] = ()
    is_ours: bool = False
    exit_code: str | None = None
    can_wait: bool = False


def run(path: Path, has_left_out: Callable[[], bool] | None = None) -> tuple[ModuleType, Stopped | None]:
    """Execute a conductor as the main module of this process.

    Args:
        path: The conductor.
        has_left_out: Test whether anything was skipped so far; if given, what `guard` refuses is skipped.

    Returns:
        Its module, and what stopped it; None if nothing did, or a refusal that `guard` has reported.
    """
    # A project may still have its copy of the old ductaflow.py, which the conductor must not import.
    importlib.import_module("pytest_ductaflow.api.as_ductaflow")
    sys.argv[:] = [str(path)]
    # Not before: a project module may have the name of a standard one.
    sys.path.insert(0, str(path.parent))
    module = ModuleType("__main__")
    module.__file__ = str(path)
    sys.modules["__main__"] = module
    try:
        code: str | ast.Module = source_as_script(path)
        if has_left_out is not None:
            module.__dict__.update(names(has_left_out))
            code = deferring(ast.parse(code, str(path)))
        exec(compile(code, str(path), "exec"), module.__dict__)  # noqa: S102
    except Refused as error:
        return module, None if has_left_out is None else replace(_stopped(path, error), can_wait=True)
    except SystemExit as exit_:
        good = exit_.code in (None, 0)
        return module, None if good else Stopped("SystemExit", str(exit_.code), exit_code=str(exit_.code))
    except BaseException as error:
        waits = has_left_out is not None and isinstance(error, can_wait(has_left_out=has_left_out()))
        return module, replace(_stopped(path, error), can_wait=waits)
    return module, None


def _stopped(path: Path, error: BaseException) -> Stopped:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((PACKAGE, "<frozen"))
    ]
    last = next((frame for frame in reversed(frames) if frame.filename == str(path)), None)
    line, source = (last.lineno, last.line or "") if last is not None else (None, "")
    if isinstance(error, SyntaxError):
        line = error.lineno
    told = tuple(text.rstrip() for text in traceback.format_list(frames))
    return Stopped(type(error).__name__, str(error), line, source, told, isinstance(error, DuctaflowError))


def asks_whether_collecting(path: Path) -> bool:
    """Return whether a conductor uses `is_collecting`, and so has something to do after its runs."""
    try:
        tree = ast.parse(source_as_script(path))
    except (SyntaxError, ValueError):
        return False
    names = {_ASKS} | {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == _ASKS and alias.asname
    }
    return any(
        (isinstance(node, ast.Name) and node.id in names)
        or (isinstance(node, ast.Attribute) and node.attr == _ASKS)
        for node in ast.walk(tree)
    )


def is_mere_notebook(path: Path) -> bool:
    """Return whether a file is a notebook without instances, to be run and not executed as a conductor."""
    if path.suffix == ".py":
        code = path.read_text(encoding="utf-8-sig", errors="replace")
        return _CELL.search(code) is not None and not _may_declare(code, path, set())
    try:
        source = read_flow(path)
    except DuctaflowError:
        return True  # running it will report what is wrong with it
    code = "\n".join(cell.source for cell in source.code_cells)
    return source.language != "python" or not _may_declare(code, path, set())


def _may_declare(code: str, path: Path, seen: set[Path]) -> bool:
    """Return whether code may declare instances, or imports a project module that may."""
    if _DECLARES.search(code):
        return True
    for name in _IMPORT.findall(code):
        for folder in {path.parent, project_root_of(path)}:
            place = folder.joinpath(*name.split("."))
            for module in (place.with_suffix(".py"), place / "__init__.py"):
                if module in seen or not module.is_file():
                    continue
                seen.add(module)
                if _may_declare(module.read_text(encoding="utf-8-sig", errors="replace"), module, seen):
                    return True
    return False
