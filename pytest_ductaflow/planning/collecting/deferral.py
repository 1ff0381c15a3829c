"""Let a conductor continue past statements that must wait until its instances have ended.

Conductors that do not use `is_collecting` deliver results between and after their calls. While they are
collected, such a statement is skipped if nothing else needs its effects; else the conductor ends there.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

from ...core.errors import Refused

NAME = "__ductaflow_can_wait__"  # the conductor's name for the function that returns the exceptions to catch
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
    """Rewrite code so that refused statements are skipped if nothing else needs their effects.

    Args:
        tree: The code of a conductor; it is changed in place.

    Returns:
        The same tree, to be executed in a module that holds the result of `names`.
    """
    _Wrapper(tree).visit(tree)
    return ast.fix_missing_locations(tree)


def names(has_left_out: Callable[[], bool]) -> dict[str, object]:
    """Return the names that the module needs in which the code is executed.

    Args:
        has_left_out: Test whether anything has been skipped so far.
    """
    return {NAME: lambda: can_wait(has_left_out=has_left_out())}


def can_wait(*, has_left_out: bool) -> tuple[type[BaseException], ...]:
    """Return the exceptions for which a statement is skipped; more if earlier ones were skipped."""
    return (Refused, OSError) if has_left_out else (Refused,)


class _Wrapper(ast.NodeTransformer):
    """A transformer that puts a `try` around each statement that can be skipped."""

    def __init__(self, tree: ast.Module) -> None:
        self._everywhere = _count(tree)

    def generic_visit(self, node: ast.AST) -> Any:
        can_wait = isinstance(node, ast.stmt) and self._can_wait(node)
        super().generic_visit(node)
        return _left_out_if_refused(node) if can_wait and isinstance(node, ast.stmt) else node

    def _can_wait(self, node: ast.stmt) -> bool:
        """Return whether a statement changes nothing that is read elsewhere, and exits nothing early."""
        if isinstance(node, _NO_ACTS) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)  # a docstring must stay one
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
    """Count how often each name is read."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found[node.id] = found.get(node.id, 0) + 1
    return found


def _changed(tree: ast.AST) -> Iterator[str]:
    """Yield the names that code binds, or whose objects it changes."""
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
