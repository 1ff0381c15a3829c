"""Lets a conductor go on where something has to wait until its instances have ended.

Conductors that know nothing of `is_collecting` deliver results between their calls and after them. While they
are collected, such a statement is left out if nothing else needs what it does; else the conductor ends there.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

from ..core.errors import Refused

NAME = "__ductaflow_can_wait__"  # under which a conductor finds what tells the exceptions
_LEAVING = (ast.Return, ast.Raise, ast.Break, ast.Continue, ast.Yield, ast.YieldFrom, ast.Await)
_NO_ACTS = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Import,
    ast.ImportFrom,
    ast.Global,
    ast.Nonlocal,
    ast.Pass,
)
_CHANGING = {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse"}
_CHANGING |= {"setdefault", "sort", "update"}


def deferring(tree: ast.Module) -> ast.Module:
    """Code whose statements are left out when they are refused, as far as nothing else needs them.

    Args:
        tree: The code of a conductor; it is changed.

    Returns:
        The same, to be executed in a module that has what `names` tells.
    """
    _Wrapper(tree).visit(tree)
    return ast.fix_missing_locations(tree)


def names(has_left_out: Callable[[], bool]) -> dict[str, object]:
    """What the module has to hold in which the code is executed.

    Args:
        has_left_out: Whether anything has been left out so far.
    """
    return {NAME: lambda: can_wait(has_left_out=has_left_out())}


def can_wait(*, has_left_out: bool) -> tuple[type[BaseException], ...]:
    """The exceptions of what is left out, and of what fails as earlier parts have been left out."""
    return (Refused, OSError) if has_left_out else (Refused,)


class _Wrapper(ast.NodeTransformer):
    """Puts a `try` around each statement that can be left out."""

    def __init__(self, tree: ast.Module) -> None:
        self._everywhere = _count(tree)

    def generic_visit(self, node: ast.AST) -> Any:
        can_wait = isinstance(node, ast.stmt) and self._can_wait(node)
        super().generic_visit(node)
        return _left_out_if_refused(node) if can_wait and isinstance(node, ast.stmt) else node

    def _can_wait(self, node: ast.stmt) -> bool:
        """Whether a statement binds or changes nothing that is read elsewhere, and leaves nothing early."""
        if isinstance(node, _NO_ACTS) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)  # a docstring has to stay one
        ):
            return False
        if any(isinstance(part, _LEAVING) for part in ast.walk(node)):
            return False
        inside = _count(node)
        return all(self._everywhere.get(name, 0) == inside.get(name, 0) for name in _changed(node))


def _left_out_if_refused(node: ast.stmt) -> ast.Try:
    exceptions = ast.Call(ast.Name(NAME, ast.Load()), [], [])
    handler = ast.ExceptHandler(exceptions, None, [ast.Pass()])
    return ast.copy_location(ast.Try([node], [handler], [], []), node)


def _count(tree: ast.AST) -> dict[str, int]:
    """How often names are read."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found[node.id] = found.get(node.id, 0) + 1
    return found


def _changed(tree: ast.AST) -> Iterator[str]:
    """Names that code binds, or whose objects it changes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            yield from _base(node)
        elif isinstance(node, ast.Call) and _is_changing(node.func):
            yield from _base(node.func)


def _is_changing(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in _CHANGING


def _base(node: ast.expr) -> Iterator[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id
