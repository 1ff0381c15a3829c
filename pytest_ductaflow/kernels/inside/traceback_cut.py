"""Shorten deep tracebacks in a kernel before IPython formats them, which takes about 10 ms per frame.

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

_MOST = 200  # frames of an error and its causes up to which nothing is left out
_KEPT = 60  # frames that are kept otherwise
_FEW = 8  # frames that are kept of each error, however many errors there are
_ERRORS = 20  # errors that are kept of a chain
_GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())  # Python itself formats it, and fast
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_STANDIN = re.compile(r"\s*(?:File )?<(… [\d,]+ \w+ left out …)>")


def cut_tracebacks() -> None:
    """Make IPython leave out the middle of tracebacks that are too deep to be shown."""
    shell = sys.modules["IPython"].get_ipython()
    put = shell._showtraceback  # noqa: SLF001

    def put_readable(type_: Any, error: Any, parts: list[str] | None) -> None:
        put(type_, error, list(map(_readable, parts or ())))  # None if an error asks not to be shown

    shell._showtraceback = put_readable  # noqa: SLF001
    for name in ("showtraceback", "_format_exception_for_storage"):  # the second one is new in IPython 9
        if hasattr(shell, name):
            setattr(shell, name, _with_short_tracebacks(getattr(shell, name)))


def _with_short_tracebacks(formatting: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function of IPython that takes an error, or a tuple as of `sys.exc_info`, as first argument."""

    def formatting_less(*arguments: Any, **options: Any) -> Any:
        error = arguments[0] if arguments else options.get("exc_tuple")
        is_error = isinstance(error, BaseException)
        value = error if is_error else (error or sys.exc_info())[1] or getattr(sys, "last_value", None)
        with shortened(value):
            return formatting(*arguments, **options)

    return formatting_less


def _readable(part: str) -> str:
    """Return a part of IPython's output; for a frame that stands for others, only how many these are."""
    found = _STANDIN.match(_COLOUR.sub("", part))
    return f"{found[1]}\n" if found else part


@contextlib.contextmanager
def shortened(error: BaseException | None) -> Iterator[None]:
    """Remove the middle of tracebacks that are too deep, and restore it at the end.

    Args:
        error: The error to shorten, with its causes and the members of groups.
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
    """Yield an error and its causes, as far as they are shown."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)


def _with_members(errors: list[BaseException]) -> list[BaseException]:
    """Return errors together with the members of groups among them."""
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
    """Link the last errors to the first ones, with a traceback entry in between for what is left out."""
    last, first = errors[: _ERRORS // 2], errors[-_ERRORS // 2 :]
    above, below = last[-1], first[0]
    put = BaseException.__setattr__  # a frozen dataclass's own method refuses
    for name in ("__suppress_context__", "__context__", "__cause__", "__traceback__"):  # undone in reverse
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
    """Return a traceback entry that stands for others and, like them, has a line of code."""
    name = f"<… {what} left out …>"
    linecache.cache[name] = (4, None, ["...\n"], name)
    undo.callback(linecache.cache.pop, name, None)
    try:
        exec(compile("1/0", name, "exec"), {})  # noqa: S102 - only a failure has a traceback
    except ZeroDivisionError as error:
        own: Any = error.__traceback__
    return TracebackType(following, own.tb_next.tb_frame, own.tb_next.tb_lasti, 1)
