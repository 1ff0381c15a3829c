"""Decide which variables of a flow its config sets: those papermill would set, and `config` as a whole."""

from __future__ import annotations

import ast
import builtins
import difflib
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ...core.instance import JSON
from ..notebooks import Source
from ..python_code import parsed, without_magics
from ..tables import NAME
from .untagged_notebooks import read_but_not_assigned

CONFIG = "config"
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_NO_DICT = (ast.Constant, ast.List, ast.Tuple, ast.Set, ast.JoinedStr)
# Names that a variable would hide from the code of a flow.
_HIDDEN = frozenset({*dir(builtins), "display", "get_ipython", "exit", "quit", "In", "Out"})
# An assignment in R, Julia, shells and others: `name = …`, `name <- …`, `val name: Int = …`.
_ASSIGNMENT = re.compile(
    r"^[ \t]*(?:(?:let|const|var|val|local|export)[ \t]+)?([^\W\d]\w*)"
    r"[ \t]*(?::[ \t\w.]+)?(?:<<?-|=(?!=))[ \t]*(.?)",
    re.MULTILINE,
)
# Code that may read any key: the whole config, or variables by name.
_READS_ALL = re.compile(
    r"(?<![a-z])config(?![a-z])|\b(?:exec|eval|globals|locals|vars|dir|get_ipython|parameters)\b|^\s*%run\b",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Assigned:
    """What a parameters cell assigns.

    Attributes:
        names: All names.
        config_is_value: Whether it assigns to `config` something that is clearly not a dict.
        config_is_open: Whether the type of `config` cannot be seen: `None`, or the result of a call.
    """

    names: frozenset[str] = frozenset()
    config_is_value: bool = False
    config_is_open: bool = False


NOTHING = Assigned()


def assigned_in(source: Source, language: str, keys: Iterable[str] = ()) -> Assigned:
    """Return what the parameters cell of a flow assigns, in the language of its kernel.

    For a notebook without one, these are the keys of its config that can be set in front of its code.
    """
    if not source.has_parameters:
        return Assigned(read_but_not_assigned(source, keys))
    cell = source.parameters_cells[0]
    if language.lower() != "python":
        found = _ASSIGNMENT.findall(cell.source)
        is_value = any(name == CONFIG and first and first in "\"'0123456789" for name, first in found)
        return Assigned(frozenset(name for name, _ in found), is_value)
    tree = parsed(without_magics(cell.source))
    if tree is None:
        return NOTHING
    value = next((value for name, value in _values(tree) if name == CONFIG), ast.Dict([], []))
    is_value = isinstance(value, _NO_DICT) and not (isinstance(value, ast.Constant) and value.value is None)
    return Assigned(frozenset(_stored(tree)), is_value, not (is_value or isinstance(value, ast.Dict)))


def _values(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names to which statements assign a single value, with that value."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(node, ast.Assign | ast.AnnAssign) and value is not None:
            yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))


def _stored(tree: ast.AST) -> Iterator[str]:
    """Yield the names that code assigns, except inside functions, classes and comprehensions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _SCOPES + _COMPREHENSIONS):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        yield from _stored(node)


def parameters_of(
    config: Mapping[str, JSON], assigned: Assigned = NOTHING, language: str = "python"
) -> dict[str, JSON]:
    """Return what to inject: `config` as a whole, and each value that the flow may use as a variable.

    Args:
        config: The config.
        assigned: Names that the flow's parameters cell assigns: these are always set. Others are not if
            they are dicts, or would hide a name of Python's.
        language: Language of the kernel.
    """
    hidden = _HIDDEN if language.lower() == "python" else frozenset()
    variables = {
        key: value
        for key, value in config.items()
        if key.isidentifier()
        and not keyword.iskeyword(key)
        and (key in assigned.names or not (isinstance(value, dict) or key in hidden))
    }
    if assigned.config_is_value or (assigned.config_is_open and CONFIG in config):
        return variables
    return {**variables, CONFIG: dict(config)}


def unknown_parameters(config: Mapping[str, JSON], source: Source, assigned: Assigned) -> list[str]:
    """Return warnings, as papermill's, about config keys that a flow never reads: they may be misspelt.

    This applies only to flows that assign parameters one by one and do not use the config as a whole.
    """
    said = []
    if assigned.names and not source.has_parameters:
        names = ", ".join(sorted(assigned.names))
        where = f"{source.path.name} has no cell tagged `parameters`"
        said = [f"ParameterWarning: {where}: {names} set in front of its code"]
    if not assigned.names or CONFIG in assigned.names:
        return said
    code = "\n".join(cell.source for cell in source.notebook.cells if cell.cell_type == "code")
    if _READS_ALL.search(code):
        return said
    keys = [key for key in config if not (key.startswith("_") or key == NAME or key.endswith("_instance"))]
    words = set(re.findall(r"\w+", code))
    unknown = [key for key in keys if key not in words or keyword.iskeyword(key)]
    return [*said, *(_said(key, source.path.name, assigned.names - set(config)) for key in unknown)]


def _said(key: str, flow: str, others: frozenset[str]) -> str:
    near = difflib.get_close_matches(key.lower(), sorted(others, key=str.lower), 1, 0.7)
    by_case = next((name for name in others if name.lower() == key.lower()), None)
    hint = by_case or (near[0] if near else "")
    meant = f"; did you mean {hint!r}?" if hint else ""
    return f"ParameterWarning: {flow} does not know the config key {key!r}{meant}"
