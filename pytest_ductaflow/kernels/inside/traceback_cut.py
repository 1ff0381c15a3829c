"""Cuts deep tracebacks in a Python kernel before IPython formats them: that takes it about 10 ms a frame.

Standalone like `setup`: it is sent to the kernel as text.
"""

from __future__ import annotations

import builtins
import contextlib
import linecache
import re
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

_MOST = 200  # frames of an error and of those that it comes from, up to which nothing is left out
_KEPT = 60  # frames that are left otherwise
_FEW = 8  # frames that are left of each error, however many they are
_ERRORS = 20  # that are left of those that come one from the other
_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())  # which Python itself formats, and fast
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_STANDIN = re.compile(r"\s*(?:File )?<(… [\d,]+ \w+ left out …)>")


def cut_tracebacks() -> None:
    """From now on, leave out the middle of tracebacks that are too deep to be shown."""
    shell = sys.modules["IPython"].get_ipython()
    put = shell._showtraceback  # noqa: SLF001

    def put_readable(type_: Any, error: Any, parts: list[str] | None) -> None:
        put(type_, error, list(map(_readable, parts or ())))  # an error may say that it is not to be shown

    shell._showtraceback = put_readable  # noqa: SLF001
    for name in ("showtraceback", "_format_exception_for_storage"):  # the second one is new in IPython 9
        if hasattr(shell, name):
            setattr(shell, name, _with_short_tracebacks(getattr(shell, name)))


def _with_short_tracebacks(formatting: Callable[..., Any]) -> Callable[..., Any]:
    """A function of IPython whose first argument is an error, as it is or as `sys.exc_info` has it."""

    def formatting_less(*arguments: Any, **options: Any) -> Any:
        error = arguments[0] if arguments else options.get("exc_tuple")
        is_error = isinstance(error, BaseException)
        value = error if is_error else (error or sys.exc_info())[1] or getattr(sys, "last_value", None)
        with shortened(value):
            return formatting(*arguments, **options)

    return formatting_less


def _readable(part: str) -> str:
    """A part of what IPython has formatted; of a frame that stands for others, only how many these are."""
    found = _STANDIN.match(_COLOUR.sub("", part))
    return f"{found[1]}\n" if found else part


@contextlib.contextmanager
def shortened(error: BaseException | None) -> Iterator[None]:
    """Take the middle out of tracebacks that are too deep, and put it back at the end.

    Args:
        error: This one, those that it comes from, and those in a group.
    """
    with contextlib.ExitStack() as undo:
        errors = list(_chain(error))
        if len(errors) > _ERRORS:
            errors = _cut_chain(errors, undo)
        room = max(_FEW, _KEPT // max(len(errors), 1))
        least = _MOST if any(isinstance(each, _GROUP) for each in errors) else 2 * room
        entries = [_entries(each) for each in _with_members(errors)]
        if sum(map(len, entries)) > _MOST:
            for each in entries:
                if len(each) > least:
                    _cut_frames(each, room, undo)
        yield


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those from which it comes, as far as they are shown."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)


def _with_members(errors: list[BaseException]) -> list[BaseException]:
    """Errors, and those in groups among them."""
    found = {id(error): error for error in errors}
    left = list(errors)
    while left:
        members = left.pop()
        if isinstance(members, _GROUP):
            new = [each for member in members.exceptions for each in _chain(member) if id(each) not in found]
            found |= {id(each): each for each in new}
            left += new
    return list(found.values())


def _entries(error: BaseException) -> list[TracebackType]:
    found: list[TracebackType] = []
    entry = error.__traceback__
    while entry is not None:
        found.append(entry)
        entry = entry.tb_next
    return found


def _cut_chain(errors: list[BaseException], undo: contextlib.ExitStack) -> list[BaseException]:
    """Let the last errors come from the first ones, and say in the traceback in between what is left out."""
    last, first = errors[: _ERRORS // 2], errors[-_ERRORS // 2 :]
    above, below = last[-1], first[0]
    put = BaseException.__setattr__  # one that is a frozen dataclass forbids it
    for name in ("__suppress_context__", "__context__", "__cause__", "__traceback__"):  # undone from behind
        undo.callback(put, above, name, getattr(above, name))
    if above.__cause__ is not None:
        put(above, "__cause__", below)
    put(above, "__context__", below)
    number = len(errors) - len(last) - len(first)
    put(above, "__traceback__", _standin(f"{number:,} errors", above.__traceback__, undo))
    return [*last, *first]


def _cut_frames(entries: list[TracebackType], room: int, undo: contextlib.ExitStack) -> None:
    before, after = entries[room // 3 - 1], entries[-(room - room // 3)]
    undo.callback(setattr, before, "tb_next", before.tb_next)
    before.tb_next = _standin(f"{len(entries) - room:,} frames", after, undo)


def _standin(what: str, following: TracebackType | None, undo: contextlib.ExitStack) -> TracebackType:
    """An entry of a traceback in place of others, with a line of code, as these have one."""
    name = f"<… {what} left out …>"
    linecache.cache[name] = (4, None, ["...\n"], name)
    undo.callback(linecache.cache.pop, name, None)
    try:
        exec(compile("1/0", name, "exec"), {})  # noqa: S102 - only what fails has a traceback
    except ZeroDivisionError as error:
        own: Any = error.__traceback__
    return TracebackType(following, own.tb_next.tb_frame, own.tb_next.tb_lasti, 1)
