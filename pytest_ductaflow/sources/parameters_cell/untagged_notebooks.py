"""Parameters of notebooks without a cell tagged `parameters`: papermill sets them in front of all code.

That works if the code reads parameters and assigns none; otherwise its own values would override them.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ..notebooks import Source
from ..python_code import parsed, without_magics
from ..unevaluated import SKIP

CONFIG = "config"
INJECTED = "injected-parameters"  # the tag of the cell that papermill makes, and replaces
_BUILTINS = frozenset(dir(builtins))
_ANY = "*"  # stands for names that cannot be seen
# Magics that assign: unknown names, `n = !ls`, and `%%capture n` or `%%bash --out n`; not `%%bash -s {n}`.
_MAGIC_OF_ANY = re.compile(r"^[ \t]*%(?:pylab|rerun|run|store\s+-r)\b", re.MULTILINE)
_ASSIGNED_MAGIC = re.compile(r"^[ \t]*(\w[\w, ]*?)[ \t]*=[ \t]*[%!]", re.MULTILINE)
_CELL_MAGIC = re.compile(r"\s*%%\w+(.*)")
_WORD = re.compile(r"(?<![\w$.{-])[^\W\d]\w*")
_NAMESPACES = ("globals", "locals", "vars")
_CHANGES = ("clear", "pop", "popitem", "setdefault", "update", "__setitem__", "__ior__")


@dataclass(frozen=True)
class _Names:
    """The names that a cell reads and assigns; `_ANY` among the latter if they cannot be seen."""

    read: frozenset[str]
    assigned: frozenset[str]


def read_but_not_assigned(source: Source, keys: Iterable[str]) -> frozenset[str]:
    """Return the config keys that can be set in front of an untagged notebook; none if one is not safe.

    Args:
        source: A notebook; the result is empty unless it is in Python.
        keys: Keys of its config; those that begin with `_` are not for the flow.
    """
    if source.path.suffix != ".ipynb" or source.has_parameters or source.language != "python":
        return frozenset()
    wanted = _wanted(keys)
    cells = list(map(_names_in, _cells_that_run(source)))
    assigned = frozenset(chain.from_iterable(cell.assigned for cell in cells))
    read = frozenset(chain.from_iterable(cell.read for cell in cells)) - assigned - _BUILTINS
    return frozenset() if assigned & {*wanted, CONFIG, _ANY} else wanted & read


def cell_to_tag(source: Source, keys: Iterable[str]) -> str:
    """Return which cell of an untagged flow is to get the tag: the one that assigns keys of its config."""
    cells = list(map(_names_in, _cells_that_run(source))) if source.language == "python" else []
    wanted = _wanted(keys)
    assigned = [found for cell in cells if (found := cell.assigned & wanted)]
    if assigned:
        article = "the" if len(assigned) == 1 else "a single"
        return f"{article} cell that assigns {', '.join(sorted(frozenset[str]().union(*assigned)))}"
    may_be = wanted & frozenset(chain.from_iterable(cell.read for cell in cells)) - _BUILTINS
    return f"a cell that assigns {', '.join(sorted(may_be)) or '`config = {}`'}"


def _wanted(keys: Iterable[str]) -> frozenset[str]:
    return frozenset(key for key in keys if not key.startswith("_"))


def _cells_that_run(source: Source) -> Iterator[str]:
    for cell in source.code_cells:
        if not {INJECTED, SKIP} & {*cell.metadata.get("tags", ())}:
            yield cell.source


def _names_in(code: str) -> _Names:
    """Return the names in the code of a cell, those in functions and classes among them."""
    tree = parsed(without_magics(code))
    if tree is None:
        return _Names(frozenset(), frozenset({_ANY}))
    nodes = list(ast.walk(tree))
    methods = {id(member) for node in nodes if isinstance(node, ast.ClassDef) for member in node.body}
    assigned = {name for node in nodes if id(node) not in methods for name in _bound_by(node)}
    if parsed(code) is None:
        assigned.update(_bound_by_magics(code))
    return _Names(frozenset(node.id for node in nodes if isinstance(node, ast.Name)), frozenset(assigned))


def _bound_by(node: ast.AST) -> Iterator[str]:
    """Yield the names that a part of a syntax tree binds by itself."""
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            yield name
        case ast.MatchMapping(rest=str(name)):
            yield name
        case ast.alias(name=name, asname=asname):
            yield asname or name.partition(".")[0]  # of `from … import *` that is _ANY
        case ast.Call(func=ast.Name(id="exec")):
            yield _ANY
        case ast.Attribute(value=space, attr=name) if name in _CHANGES and _is_namespace(space):
            yield _ANY
        case ast.Subscript(value=space, ctx=ast.Store() | ast.Del()) if _is_namespace(space):
            yield _ANY


def _is_namespace(node: Any) -> bool:
    """Return whether code stands for the variables of a notebook: `globals()`."""
    return isinstance(node, ast.Call) and not node.args and getattr(node.func, "id", "") in _NAMESPACES


def _bound_by_magics(code: str) -> Iterator[str]:
    if _MAGIC_OF_ANY.search(code):
        yield _ANY
    for names in _ASSIGNED_MAGIC.findall(code):
        yield from _WORD.findall(names)
    if head := _CELL_MAGIC.match(code):
        yield from _WORD.findall(head[1])
