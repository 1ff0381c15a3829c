"""Find what Python code imports, and which changes it makes that affect imports, in source order.

Code is only parsed, never run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path

from ...sources.python_code import last_name, parsed, without_magics
from .rules import NEEDED_BY_ARGUMENTS, NEEDED_BY_CALLS

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_ENVIRONMENTS = ("environ", "environb")
_CHANGES = ("clear", "pop", "popitem", "setdefault", "update", "__setitem__")
_CHANGING_CALLS = ("putenv", "unsetenv", "load_dotenv")


class Effect(Enum):
    """What a statement does that matters for imports."""

    IMPORT = "import"
    ENVIRONMENT = "changes environment variables"
    PATH = "has modules found elsewhere first"


@dataclass(frozen=True)
class Step:
    """An import, or a change that affects imports.

    Attributes:
        effect: Which of these it is.
        module: The module imported, as written.
        member: The name imported from it: an attribute or a submodule.
        level: The number of dots before the module.
        is_deferred: Whether it is in a function, which may be called at any time or never.
    """

    effect: Effect
    module: str = ""
    member: str = ""
    level: int = 0
    is_deferred: bool = False


@lru_cache(maxsize=1_000)
def steps_of_cells(cells: tuple[str, ...]) -> tuple[Step, ...]:
    """Return the steps of a notebook's code cells; a cell that is not Python has none."""
    return tuple(step for cell in cells for step in _steps(parsed(without_magics(cell))))


@lru_cache(maxsize=1_000)
def steps_of_module(path: str, _stat: str) -> tuple[Step, ...]:
    """Return the steps that the import of a source file takes."""
    try:
        return tuple(_steps(parsed(Path(path).read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError):
        return ()


def _steps(tree: ast.Module | None) -> Iterator[Step]:
    reader = _Reader()
    if tree is not None:
        reader.visit(tree)
    yield from reader.steps


class _Reader(ast.NodeVisitor):
    """A visitor that collects the steps of a syntax tree."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._functions = 0  # how many are around the current node
        self._environments = set(_ENVIRONMENTS)

    def _add(self, effect: Effect, module: str = "", member: str = "", level: int = 0) -> None:
        self.steps.append(Step(effect, module, member, level, is_deferred=self._functions > 0))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(Effect.IMPORT, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._add(Effect.IMPORT, node.module or "", alias.name, node.level)
            if node.module == "os" and alias.name in _ENVIRONMENTS:
                self._environments.add(alias.asname or alias.name)

    def visit_If(self, node: ast.If) -> None:
        if last_name(node.test) == "TYPE_CHECKING":
            for statement in node.orelse:
                self.visit(statement)
        else:
            self.generic_visit(node)

    def visit(self, node: ast.AST) -> None:
        is_function = isinstance(node, _FUNCTIONS)
        self._functions += is_function
        super().visit(node)
        self._functions -= is_function

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self._visit_target(target)
            if isinstance(target, ast.Name) and self._is_environment(node.value):
                self._environments.add(target.id)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.generic_visit(node)
        if self._is_environment(node.target):  # sys.path += … does not change what is found already
            self._add(Effect.ENVIRONMENT)
        elif isinstance(node.target, ast.Subscript):
            self._visit_target(node.target)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._visit_target(target)

    def _visit_target(self, target: ast.expr) -> None:
        changed = target.value if isinstance(target, ast.Subscript) else target
        if _is_path(changed):
            self._add(Effect.PATH)
        elif self._is_environment(changed) and not isinstance(target, ast.Name):
            self._add(Effect.ENVIRONMENT)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called, of = last_name(node.func), getattr(node.func, "value", None)
        if called in _CHANGING_CALLS or (called in _CHANGES and self._is_environment(of)):
            self._add(Effect.ENVIRONMENT)
        elif called == "insert" and _is_path(of):
            self._add(Effect.PATH)
        for module in NEEDED_BY_CALLS.get(called, ()):
            self._add(Effect.IMPORT, module)

    def visit_keyword(self, node: ast.keyword) -> None:
        self.generic_visit(node)
        if isinstance(node.value, ast.Constant):
            for module in NEEDED_BY_ARGUMENTS.get((node.arg, node.value.value), ()):
                self._add(Effect.IMPORT, module)

    def _is_environment(self, node: ast.AST | None) -> bool:
        return last_name(node) in (self._environments if isinstance(node, ast.Name) else _ENVIRONMENTS)


def _is_path(node: ast.AST | None) -> bool:
    """Return whether a node is `sys.path`."""
    return last_name(node) == "path" and last_name(getattr(node, "value", None)) == "sys"


@lru_cache(maxsize=1_000)
def names_bound_in(path: str) -> frozenset[str]:
    """Return the names that the source file of an installed package binds, except its own submodules.

    Importing a submodule of such a name would replace the object that has the name.
    """
    try:
        tree = parsed(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return frozenset()
    names: set[str] = set()
    for node in _at_the_top(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or not node.level):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return frozenset(names)


def _at_the_top(tree: ast.Module | None) -> Iterator[ast.AST]:
    """Yield the nodes outside functions and classes, and the nodes of these definitions themselves."""
    waiting: list[ast.AST] = [tree] if tree is not None else []
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
