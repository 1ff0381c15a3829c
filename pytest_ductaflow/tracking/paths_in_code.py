"""Find the files and modules that code names, as files opened by compiled readers are not observed."""

from __future__ import annotations

import ast
import glob
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cached_property, lru_cache
from glob import has_magic
from itertools import islice
from pathlib import Path

from ..core.errors import DuctaflowError
from ..core.instance import RUNS, Instance
from ..core.system.file_state import stat_of
from ..sources.notebooks import FLOW_FOLDERS
from ..sources.python_code import parsed, text_of
from .digests import MANY, code_cells
from .paths_in_config import input_values, places_of, what_is_at

_SUFFIX = re.compile(r"\.\w{1,8}$")
_FILE_NAME = re.compile(r"[\w*\0/-]\.[A-Za-z]\w{0,7}$")
_BETWEEN_PATHS = re.compile(r"[\s'\"(),;]+")  # in longer texts, such as SQL
_FIELD = re.compile(r"\{[^{}]*\}|%[sd]")  # in a text to be formatted
_LOOKING_FOR_MODULES = {
    *("find_spec", "find_loader", "import_module", "__import__", "importorskip"),
    *("version", "distribution"),  # of `importlib.metadata`
}
_ANY = "\0"  # placeholder for a field to fill in: no path has it
_LONGEST = 1_000  # characters of a text that may be a path
_MOST_VALUES = 200  # values of a config to fill in, the shortest first


class Guesses:
    """The files that constants in source files may mean.

    Constants are taken as whole paths; as parts of paths in the project, combined with values of the config
    (`root / "data" / f"trips_{year}.csv"`); and as patterns of names (`"*.parquet"`, `".parquet"`,
    `f"trips_{year}.parquet"`) in folders that code names, that were listed, or in which files were opened.

    Args:
        sources: The flow and its modules.
        instance: The instance.
        used_folders: Folders that were listed, or in which files were opened.
    """

    def __init__(self, sources: Iterable[str], instance: Instance, used_folders: Iterable[str]) -> None:
        self._sources = set(sources)
        self._instance = instance
        self._used_folders = set(used_folders)

    @cached_property
    def _texts(self) -> set[str]:
        return {text for source in self._sources for text in _texts_in_code(source, stat_of(source) or "")}

    @cached_property
    def _parts(self) -> set[str]:
        return {part for text in self._texts for part in text.split("/")}

    @cached_property
    def _values(self) -> set[str]:
        return {part for value in input_values(self._instance.config) for part in str(value).split("/")}

    @cached_property
    def folders(self) -> set[str]:
        """The folders in which files may be: named in code (in the project, or absolute), or used."""
        root = self._instance.project_root
        named = {path for path in self._paths if os.path.isdir(path)}
        parts = (os.path.join(root, part) for part in self._parts if part not in ("", ".", "..", RUNS))
        named |= {path for path in parts if os.path.isdir(path)}
        named |= {text for text in self._texts if text.startswith("/") and os.path.isdir(text)}
        named |= {
            os.path.dirname(text) for text in self._texts if text.startswith("/") and _SUFFIX.search(text)
        }
        code = {os.path.join(root, folder) for folder in FLOW_FOLDERS}
        return {
            folder for folder in named | self._used_folders if folder not in code and os.path.isdir(folder)
        }

    @cached_property
    def _filled(self) -> set[str]:
        """Existing files whose paths consist of parts and values."""
        return set(_files_of_parts(self._instance.project_root, self._parts, self._values))

    @cached_property
    def _filled_names(self) -> set[str]:
        return {os.path.basename(path) for path in self._filled}

    @cached_property
    def files(self) -> set[str]:
        """Existing files that constants may mean."""
        whole = (path for text in self._texts if _ANY not in text for path in places_of(text, self._instance))
        return {
            *filter(os.path.isfile, whole),
            *self._filled,
            *(path for folder in self.folders for path in _files_like(self._parts, folder)),
            *(path for text in self._texts for path in self._matching(text)),
        }

    @property
    def searched(self) -> set[str]:
        """The folders in which names match a pattern or template: more may appear."""
        patterned = {os.path.dirname(path) for text in self._texts for path in self._matching(text)}
        return patterned | {folder for folder in self.folders if any(_files_like(self._parts, folder))}

    def _matching(self, text: str) -> Iterator[str]:
        """Yield the files that match a pattern or template with folders in it."""
        pattern = text.replace(_ANY, "*")
        if "/" not in pattern or not has_magic(pattern) or not pattern.strip("*/?."):
            return
        if _ANY in text and os.path.basename(text) in self._filled_names:
            return  # filled with values of the config, it names an existing file
        bases = [""] if pattern.startswith("/") and os.path.isdir(_before_magic(pattern)) else []
        for base in (*bases, glob.escape(self._instance.project_root), glob.escape(self._instance.run_dir)):
            found = glob.iglob(f"{base}/{pattern.lstrip('/')}", recursive=True)
            yield from (os.path.normpath(path) for path in islice(found, MANY) if os.path.isfile(path))

    def in_folders_without(self, known: set[str]) -> set[str]:
        """Return what is in folders that code names by several parts and that contain no known file.

        Args:
            known: Files that other evidence shows to be used.
        """
        return {
            path
            for folder in self._paths
            if os.path.isdir(folder) and not any(file.startswith(os.path.join(folder, "")) for file in known)
            for path in what_is_at(folder, self._instance)
        }

    @property
    def missing(self) -> set[str]:
        """Missing files of the project that code names, in folders that exist: they may appear."""
        return {
            path
            for path in self._paths
            if _SUFFIX.search(path)
            and not has_magic(path)
            and not os.path.exists(path)
            and os.path.isdir(os.path.dirname(path))
        }

    @cached_property
    def _paths(self) -> set[str]:
        return _paths_in_project(self._sources, self._instance)

    def unresolved(self, outputs: Collection[str]) -> list[str]:
        """Return texts that look like file paths but match no file found, with `*` for fields.

        Args:
            outputs: Files that the run has written; they count as found.
        """
        found = {os.path.basename(path) for path in (*self.files, *self.missing, *outputs)}
        texts = {text.replace(_ANY, "*") for text in self._texts if _FILE_NAME.search(text)}
        names = {os.path.basename(text): text for text in texts}
        return sorted(
            text
            for name, text in names.items()
            if name.strip("*") and not any(fnmatchcase(file, name) for file in found)
        )


def _before_magic(pattern: str) -> str:
    parts = pattern.split("/")
    return "/".join(parts[: next(number for number, part in enumerate(parts) if has_magic(part))]) or "/"


def absolute_paths_in_code(sources: Iterable[str]) -> set[str]:
    """Return the absolute paths among the constants of source files, including those that begin with `~`."""
    texts = {text for source in sources for text in _texts_in_code(source, stat_of(source) or "")}
    given = (text for text in texts if text.startswith(("/", "~")) and "\0" not in text)
    paths = {os.path.normpath(os.path.expanduser(text)) for text in given}
    return {path for path in paths if path.startswith("/") and path.count("/") > 1}


def _paths_in_project(sources: Iterable[str], instance: Instance) -> set[str]:
    root = os.path.join(instance.project_root, "")
    texts = {text for source in sources for text in _paths_in_code(source, stat_of(source) or "")}
    # A flow runs in its run directory: a relative path that exists there does not mean one in the project.
    relative = (text for text in texts if not text.startswith("/"))
    there = {text for text in relative if os.path.exists(os.path.join(instance.run_dir, text))}
    paths = {os.path.normpath(os.path.join(root, text.strip("/"))) for text in texts - there}
    return {path for path in paths if path.startswith(root)}


@lru_cache(maxsize=1_000)
def _paths_in_code(source: str, _stat: str) -> frozenset[str]:
    """Return constants with `/` (`root + "/data/parts"`), and chains of them (`root / "data" / "parts"`)."""
    nodes = [node for _, tree in _trees(source) if tree is not None for node in ast.walk(tree)]
    inner = {id(node.left) for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)}
    chains = {_chain(node) for node in nodes if id(node) not in inner}
    texts = {text_of(node) for node in nodes if "/" in text_of(node).strip("/")}
    texts |= {text_of(node.values[-1]) for node in nodes if isinstance(node, ast.JoinedStr) and node.values}
    return frozenset(
        text for text in texts | chains if "/" in text and len(text) <= _LONGEST and "\n" not in text
    )


def _chain(node: ast.AST) -> str:
    """Return the constants at the end of a chain of `/`: `/data/parts` for `root / "data" / "parts"`."""
    parts: list[str] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and (text := text_of(node.right)):
        parts.insert(0, text)
        node = node.left
    return "".join(f"/{part}" for part in parts)


def _files_of_parts(root: str, parts: Collection[str], values: Collection[str]) -> Iterator[str]:
    """Yield files below a folder whose names, and those of folders between, consist of parts and values."""
    whole = {*parts, *values}
    filled = _templates(parts, values)
    folders = [root]
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name not in whole and not filled.fullmatch(entry.name):
                    continue
                if not entry.is_dir():
                    yield from [entry.path] if _SUFFIX.search(entry.name) else []
                elif len(folders) < MANY:  # more are probably a cycle of links
                    folders.append(entry.path)


def _templates(parts: Iterable[str], values: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for parts with values filled in; before a suffix alone, a value is inserted."""
    fillings = sorted(filter(None, values), key=len)[:_MOST_VALUES]
    any_value = f"(?:{'|'.join(map(re.escape, fillings))})"
    templates = (_ANY + part if _SUFFIX.match(part) else part for part in parts)
    return re.compile(
        "|".join(
            any_value.join(map(re.escape, template.split(_ANY)))
            for template in templates
            if _ANY in template and template.strip(_ANY)
        )
        or r"(?!)"
    )


def _files_like(parts: Iterable[str], folder: str) -> Iterator[str]:
    """Yield files in a folder that match a pattern (`*.csv`) or end in a suffix (`.csv`) among the parts."""
    patterns = {f"*{part}" if _SUFFIX.match(part) else part for part in parts}
    patterns = {p.replace(_ANY, "*") for p in patterns if _SUFFIX.search(p) and has_magic(p)}
    with suppress(OSError):
        for name in os.listdir(folder) if patterns else ():
            path = os.path.join(folder, name)
            if any(fnmatchcase(name, pattern) for pattern in patterns) and os.path.isfile(path):
                yield path


@lru_cache(maxsize=1_000)
def _texts_in_code(source: str, _stat: str) -> frozenset[str]:
    """Return the constants of a source file, or pieces of them, that may be paths or parts of paths."""
    return frozenset(
        part
        for text in _constants(source)
        for token in (*_BETWEEN_PATHS.split(text), text)
        if len(token) <= _LONGEST
        # `sqlite:///data/zones.db`, `--zones=data/zones.csv`
        for part in (token, token.rpartition("://")[2].lstrip("/"), token.partition("=")[2])
        if part not in ("", ".", "..", _ANY)
    )


def _constants(source: str) -> Iterator[str]:
    """Yield the texts in a source file except docstrings; code in other languages as a whole."""
    for code, tree in _trees(source):
        if tree is None:
            yield code
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                yield "".join(text_of(value) or _ANY for value in node.values)
            elif not isinstance(node, ast.Expr):
                yield from (
                    _FIELD.sub(_ANY, text) for text in map(text_of, ast.iter_child_nodes(node)) if text
                )


def _trees(source: str) -> list[tuple[str, ast.Module | None]]:
    """Return the code cells of a source file, each with its syntax tree, None if it is not Python."""
    try:
        return [(code, parsed(code)) for code, _ in code_cells(Path(source))]
    except (DuctaflowError, OSError, UnicodeDecodeError):
        return []


def modules_named_in_code(source: str, folders: Sequence[str]) -> set[str]:
    """Return the source files that a source file imports, directly or indirectly.

    Args:
        source: The flow or module.
        folders: Folders to search for modules of the project, best first.
    """
    found: set[str] = set()
    waiting = [source]
    while waiting:
        importer = waiting.pop()
        new = {
            path
            for name, level in imports_of(importer)
            for path in _files_of_module(name, [package_folder(importer, level)] if level else folders)
            if path not in found
        }
        found |= new
        waiting += sorted(new)
    return found


def imports_of(source: str) -> frozenset[tuple[str, int]]:
    """Return the modules that a file imports or looks for, each with the number of leading dots.

    `from a import b` may also mean a module `a.b`.
    """
    return _imports_of(source, stat_of(source) or "")


@lru_cache(maxsize=1_000)
def _imports_of(source: str, _stat: str) -> frozenset[tuple[str, int]]:
    names: set[tuple[str, int]] = set()
    for node in (node for _, tree in _trees(source) if tree is not None for node in ast.walk(tree)):
        if isinstance(node, ast.Import):
            names |= {(alias.name, 0) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = f"{node.module}." if node.module else ""
            names |= {(inside + alias.name, node.level) for alias in node.names}
            names |= {(node.module, node.level)} if node.module else set()
        elif isinstance(node, ast.Call) and (name := _name_of_module(node)):
            names.add((name, 0))
    return frozenset(names)


def _name_of_module(call: ast.Call) -> str:
    """Return the module that a call such as `importlib.util.find_spec("optional")` looks for; else ""."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    name = text_of(call.args[0]) if call.args else ""
    is_name = all(part.isidentifier() for part in name.split("."))
    return name if function in _LOOKING_FOR_MODULES and is_name else ""


def package_folder(source: str, level: int) -> str:
    """Return the folder to which a relative import refers."""
    for _ in range(level):
        source = os.path.dirname(source)
    return source


def _files_of_module(name: str, folders: Sequence[str]) -> Iterator[str]:
    """Yield the existing files of a module and of its parent packages, for each folder."""
    parts = name.split(".")
    for folder in folders:
        for depth in range(1, len(parts) + 1):
            stem = os.path.join(folder, *parts[:depth])
            yield from filter(os.path.isfile, (f"{stem}.py", os.path.join(stem, "__init__.py")))
