"""Find what a flow's code names in `runs/`, as far as it can be read off without running it.

`read_csv("../../etl/A/x.csv")`, `root / "runs" / "etl" / f"{zone}.csv"` and `glob("runs/etl/*/x.csv")` name
paths; a field is filled in if it is a config value that the code does not assign again. What only begins like
a path stands for the folder as far as it is known.

A path is *read* if it goes straight into a call that reads, and that is sure to be made: not in a function,
nor under a condition. Of all others it is only known that the code mentions them. Places to write to
(`to_csv(…)`, `open(…, "w")`, `output_dir = …`) and texts to print are left out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import takewhile
from pathlib import Path

from ..core.errors import DuctaflowError
from ..core.instance import JSON, RUNS, Instance
from ..core.system.file_state import stat_of
from ..sources.notebooks import PLAIN_HEAD, is_plainly_flow
from ..sources.python_code import last_name, parsed, text_of, without_magics
from ..tracking.digests import code_cells
from ..tracking.paths_in_config import is_written_place

# The head of a cell in a script, as Jupytext's percent format has it.
_HEAD = re.compile(r"^([ \t]*#[ \t]*(?:%%+(?=\s|$)|In\[[0-9 ]*\]|<codecell>).*)\n?", re.MULTILINE)
# In the text of a file; else no constant in it can be such a path.
_MAY_NAME = re.compile(rf"\b{RUNS}\b|\.\.[/\\\"']")
_IN_RUNS = re.compile(rf"(?:^|(?<=/)){RUNS}(?=/|$)")
_WRITES = re.compile(
    r"^(?:to_|save|write|imwrite|imsave|tofile|dump|mkdir|makedirs|touch|unlink|remove|rmtree|symlink|hardlink"
    r"|ExcelWriter$)"
)
_READS = re.compile(
    r"^(?:open|read|scan_|load|genfromtxt|fromfile|imread|i?glob$|rglob$|iterdir$|listdir$|scandir$)"
)
_COPIES = frozenset(("copy", "copy2", "copyfile", "copytree", "move", "rename", "replace"))
_FIELD = re.compile(r"\{|%[sd]")  # in a text to be formatted
_SAYS = frozenset(("print", "debug", "info", "warning", "warn", "error", "critical", "exception", "log"))
_JOINS = frozenset(("Path", "PurePath", "PosixPath", "join", "joinpath"))
# Under these, code may be left out, or fail without harm.
_DOUBTFUL = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef, ast.If, ast.IfExp, ast.Try),
    *(ast.TryStar, ast.While, ast.BoolOp, ast.Assert, ast.Raise, ast.comprehension, ast.Match),
)
_CONFIG = "config"  # in which a flow gets all of its config, if it assigns that


@dataclass(frozen=True)
class NamedPath:
    """A path to or into `runs/` that code names.

    Attributes:
        text: The path, or the folder above what is not known.
        is_read: Whether the flow is sure to read it.
    """

    text: str
    is_read: bool


@dataclass(frozen=True)
class _Field:
    """A part of a path that is a config value; an empty key for what cannot be read off."""

    key: str = ""


_UNKNOWN = _Field()
_Part = str | _Field


@dataclass(frozen=True)
class _Code:
    """What a flow's code names.

    Attributes:
        paths: Paths in parts, each with whether it is read, in the order of the code.
        defaults: Texts and numbers of the parameters cell, which a config may replace.
    """

    paths: tuple[tuple[tuple[_Part, ...], bool], ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)


def paths_in_code(instance: Instance) -> Iterator[NamedPath]:
    """Yield the paths to or into `runs/` that the code of an instance's flow names literally."""
    code = _read(instance.flow, stat_of(instance.flow) or "")
    for name, text in code.defaults.items():
        if name not in instance.config and not is_written_place(name) and _is_of_interest(text):
            yield NamedPath(text, is_read=True)
    for parts, is_read in code.paths:
        values = [_value(part, instance.config, code.defaults) for part in parts]
        known = list(takewhile(lambda value: value is not None, values))
        is_whole, text = len(known) == len(values), "".join(filter(None, known))
        path = text if is_whole else text.rpartition("/")[0]
        if _is_of_interest(path):
            yield NamedPath(path, is_read and is_whole)


def _value(part: _Part, config: Mapping[str, JSON], defaults: Mapping[str, str]) -> str | None:
    if isinstance(part, str):
        return part
    value = config.get(part.key, defaults.get(part.key))
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None


@lru_cache(maxsize=1_000)
def _read(flow: str, _stat: str) -> _Code:
    try:
        text = Path(flow).read_text(encoding="utf-8-sig")
        trees = _trees(Path(flow), text) if _MAY_NAME.search(text) else []
    except (DuctaflowError, OSError, UnicodeDecodeError):  # told where the flow is checked
        return _Code()
    parameters = [tree for tree, is_tagged in trees if is_tagged and tree is not None]
    defaults = {name: text for tree in parameters for name, text in _defaults(tree)}
    others = [tree for tree, is_tagged in trees if not is_tagged and tree is not None]
    reader = _Reader({name for tree in others for name in _assigned(tree)} - {_CONFIG})
    for tree in others:
        reader.visit(tree)
    return _Code(tuple(dict.fromkeys(reader.paths)), defaults)


def _trees(flow: Path, text: str) -> list[tuple[ast.Module | None, bool]]:
    """Return the code of a flow's cells, where it is Python, each with whether it is the parameters cell."""
    if is_plainly_flow(flow):  # which spares the import of Jupytext
        before, *heads_and_cells = _HEAD.split(text)
        pairs = zip(heads_and_cells[::2], heads_and_cells[1::2], strict=True)
        cells = [(before, False), *((cell, head.rstrip() == PLAIN_HEAD) for head, cell in pairs)]
        trees = [(parsed(without_magics(code)), is_tagged) for code, is_tagged in cells]
        if all(tree is not None for tree, _ in trees):  # else one may have been cut within a text
            return trees
    return [(parsed(without_magics(code)), "parameters" in tags) for code, tags in code_cells(flow)]


def _defaults(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the texts and numbers that a parameters cell assigns."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str | int | float):
            yield from ((target.id, str(value.value)) for target in targets if isinstance(target, ast.Name))


def _assigned(tree: ast.AST) -> Iterator[str]:
    """Yield the names that code binds, in whatever way."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.alias):
            yield node.asname or node.name


def _is_of_interest(path: str) -> bool:
    """Return whether a path can lead to another instance: into a step's folder, or out of its own."""
    if "\n" in path:
        return False
    if found := _IN_RUNS.search(path):
        step = path[found.end() :].strip("/").partition("/")[0]
        return bool(step.strip("*?"))
    return path.startswith("..") and bool(path.strip("./"))


class _Reader(ast.NodeVisitor):
    """A visitor that collects paths, and passes over what is written or printed.

    Args:
        assigned: Names whose values are not those of the config.
    """

    def __init__(self, assigned: set[str]) -> None:
        self.paths: list[tuple[tuple[_Part, ...], bool]] = []
        self._assigned = assigned
        self._doubts = 0  # conditions and functions around the current node

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.expr) and self._note(node, is_read=False):
            return
        is_doubtful = isinstance(node, _DOUBTFUL) or _suppresses(node)
        self._doubts += is_doubtful
        super().visit(node)
        self._doubts -= is_doubtful

    def _note(self, node: ast.expr | None, *, is_read: bool) -> bool:
        """Note the path that an expression stands for; return whether it does."""
        parts = self._parts(node)
        if parts is not None:
            self.paths.append((_from_runs(parts), is_read and not self._doubts))
        return parts is not None

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # else a docstring
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(is_written_place(last_name(target)) for target in node.targets):
            self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            if not is_written_place(text_of(key)):
                self.visit(value)

    def visit_Call(self, node: ast.Call) -> None:
        called = last_name(node.func)
        is_read = _READS.match(called) is not None or called in _COPIES
        for each in self._sources(node, called):
            if not self._note(each, is_read=is_read):
                self.visit(each)

    def _sources(self, node: ast.Call, called: str) -> list[ast.expr]:
        """Return what a call gets, without paths to which it writes or which it prints."""
        receiver = [node.func.value] if isinstance(node.func, ast.Attribute) else []
        named = [each.value for each in node.keywords if not is_written_place(each.arg or "")]
        given = [*receiver, *node.args, *named]
        if called in _SAYS or _WRITES.match(called) or _is_for_writing(node):
            return [each for each in given if self._parts(each) is None]
        if called in _COPIES:
            is_method = any(self._parts(each) is not None for each in receiver)
            source = (
                receiver if is_method else node.args[:1] or [k.value for k in node.keywords if k.arg == "src"]
            )
            return [each for each in given if each in source or self._parts(each) is None]
        return given

    def _parts(self, node: ast.expr | None) -> list[_Part] | None:
        """Return the parts of an expression for a path; None if it is none, or no part of it is constant."""
        parts = self._joined(node)
        return parts if any(isinstance(part, str) and part.strip("/") for part in parts) else None

    def _joined(self, node: ast.expr | None) -> list[_Part]:
        match node:
            case ast.Constant(value=str(text)):
                found = _FIELD.search(text)
                return [text] if found is None else [text[: found.start()], _UNKNOWN]
            case ast.JoinedStr(values=values):
                return [part for value in values for part in self._joined(value)]
            case ast.FormattedValue(value=value, format_spec=None, conversion=-1):
                return self._joined(value)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return [*self._joined(left), *self._joined(right)]
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return [*self._joined(left), "/", *self._joined(right)]
            case ast.Call(func=function, args=[*arguments], keywords=[]) if last_name(function) in _JOINS:
                texts = [self._joined(argument) for argument in arguments]
                if last_name(function) == "joinpath" and isinstance(function, ast.Attribute):
                    texts.insert(0, self._joined(function.value))
                return [part for number, text in enumerate(texts) for part in ("/", *text)[number == 0 :]]
            case ast.Call(func=ast.Name(id="str"), args=[inner], keywords=[]):
                return self._joined(inner)
            case _:
                return [self._field(node)]

    def _field(self, node: ast.expr | None) -> _Field:
        """Return the config value that an expression stands for: `zone`, `config["zone"]`."""
        match node:
            case ast.Name(id=name) if name not in self._assigned:
                return _Field(name)
            case ast.Subscript(value=ast.Name(id="config"), slice=ast.Constant(value=str(key))):
                return _Field(key)
            case ast.Call(func=ast.Attribute(value=ast.Name(id="config"), attr="get"), args=[first, *_]):
                return _Field(text_of(first))
            case _:
                return _UNKNOWN


def _from_runs(parts: Sequence[_Part]) -> tuple[_Part, ...]:
    """Return a path from `runs` on if that follows something unknown, which stands for the project's root."""
    for number, part in enumerate(parts):
        if isinstance(part, str) and (found := _IN_RUNS.search(part)):
            is_joined = number and any(isinstance(earlier, _Field) for earlier in parts[:number])
            return (part[found.start() :], *parts[number + 1 :]) if is_joined else tuple(parts)
    return tuple(parts)


def _suppresses(node: ast.AST) -> bool:
    """Return whether a node is a `with suppress(…)`, under which code may fail."""
    items = node.items if isinstance(node, ast.With) else []
    return any(
        last_name(getattr(item.context_expr, "func", None)) in ("suppress", "raises") for item in items
    )


def _is_for_writing(call: ast.Call) -> bool:
    """Return whether a call gets a mode that only writes, as `open` may."""
    modes = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return any(re.fullmatch(r"[wax][bt+]*", text_of(mode)) for mode in modes)
