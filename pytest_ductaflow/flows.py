"""Reading source files: what a flow is, where its cells stand, and what kind of file one has.

The home of jupytext, which is imported only when a source is read.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import DuctaflowError, FlowNotFound
from .model import RUNS

FLOW_FOLDERS = ("flows", "flow", "builds", "build")
ROOT_MARKERS = ("flows", "flow")
# Those of jupytext that are in use for analyses; any other works with its path given in full.
NOTEBOOK_SUFFIXES = (
    ".py",
    ".ipynb",
    ".md",
    ".qmd",
    ".Rmd",
    ".R",
    ".r",
    ".jl",
    ".sh",
    ".sage",
    ".m",
    ".scala",
)
TABLE_SUFFIXES = (".csv", ".parquet", ".xlsx", ".json", ".jsonl")

_MARKDOWN_SUFFIXES = (".md", ".markdown", ".qmd", ".Rmd", ".rmd", ".myst", ".mystnb", ".mnb")
_ENCODING = "utf-8-sig"  # UTF-8, with or without the mark of byte order that Windows editors write

# The first line of a code cell in a script, in jupytext's formats: `# %% …`, `# + …`, `# region …`
# or `# {{{ …`. Only to tell a flow from a conductor without parsing it. Not indented: that is a flow
# within a string, as in a test.
_COMMENT = r"(?:#|//|--|%|;;?)"
_SCRIPT_HEAD = re.compile(
    rf"^{_COMMENT}[ \t]*(?:%%+[ \t]|\+|region\b|{{{{{{)(?!.*\[(?:markdown|md|raw)\]).*", re.MULTILINE
)
# The same in Markdown: a fence, and the options below it: `:tags: …` or YAML between `---` (MyST),
# `#| tags: …` (Quarto).
_MARKDOWN_HEAD = re.compile(
    r"^ {0,3}(?:`{3,}|~{3,}) *[\w{].*(?:\n(?::|#\|).*)*(?:\n---\n(?:.*\n)*?---$)?", re.MULTILINE
)
# The tag in a head: `tags=["parameters"]`, `c("parameters")` in R, or a list of YAML, on one line or more.
_PARAMETERS_TAG = re.compile(r"""\btags["']?\s*[=:][^\])]*(?<![\w-])parameters(?![\w-])""")
# What may stand around a cell's line in a script: there jupytext comments magics and texts out.
_AROUND_LINE = re.compile(rf"""^(?:{_COMMENT} ?|["']{{3}})|["']{{3}}$""")


@dataclass(frozen=True)
class Source:
    """A flow as read from its file.

    Attributes:
        path: The file.
        notebook: The notebook (an nbformat NotebookNode) that jupytext made of it.
        lines: For each cell id the line (1-based) of the file in which its code begins.
    """

    path: Path
    notebook: Any
    lines: dict[str, int]

    @property
    def has_parameters(self) -> bool:
        return parameters_cell(self.notebook) is not None


def _is_parameters_cell(cell: Mapping[str, Any]) -> bool:
    """Whether parameters can be injected behind a cell: a text has none to be replaced."""
    return cell["cell_type"] == "code" and "parameters" in cell["metadata"].get("tags", ())


def parameters_cell(notebook: Any) -> Any:
    """The code cell behind which parameters are injected; None if there is none."""
    return next((cell for cell in notebook.cells if _is_parameters_cell(cell)), None)


def project_root_of(path: Path) -> Path:
    """The project to which a file belongs.

    Args:
        path: A conductor, table or flow (absolute), or a directory.

    Returns:
        The nearest parent that holds `flows/` or `flow/`, else the file's own directory. What lies in
        a `runs/` is no project, though a step may be called `flows`.
    """
    start = path if path.is_dir() else path.parent
    for folder in (start, *start.parents):
        if folder.name != RUNS and any((folder / marker).is_dir() for marker in ROOT_MARKERS):
            return folder
    return start


def find_flow(flow: str | Path, roots: tuple[Path, ...]) -> Path:
    """The file that a conductor means by `flow`.

    Args:
        flow: A path, or the bare name of a flow in one of the usual folders.
        roots: Directories to which a relative path may refer, best first.

    Raises:
        FlowNotFound: Naming the places that were looked at, and the flow that has nearly that name.
    """
    if not isinstance(flow, str | Path):  # a table's cell may hold anything
        raise FlowNotFound(f"flow {flow!r} not found: expected a name or a path, not {type(flow).__name__}")
    given = Path(flow)
    for root in roots:
        if os.path.isfile(root / given):  # False, unlike Path.is_file, for a name that no file can have
            return (root / given).resolve()
    if given.parent == Path():
        for root in roots:
            for folder in FLOW_FOLDERS:
                for suffix in ("", *NOTEBOOK_SUFFIXES):
                    candidate = root / folder / f"{given.name}{suffix}"
                    if os.path.isfile(candidate):
                        return candidate.resolve()
    looked = " and ".join(dict.fromkeys(str(root) for root in roots))
    raise FlowNotFound(f"flow {str(flow)!r} not found in {looked}{_nearly(str(flow), roots)}")


def _notebooks_in(folder: Path) -> Iterator[str]:
    with contextlib.suppress(OSError, ValueError):  # a name that no folder can have
        yield from (name for name in os.listdir(folder) if name.endswith(NOTEBOOK_SUFFIXES))


def _nearly(flow: str, roots: Iterable[Path]) -> str:
    """A hint at the flow that was meant; empty if none has nearly that name."""
    path = flow.replace("\\", "/")
    folders = dict.fromkeys((os.path.dirname(path), *FLOW_FOLDERS))
    known = [
        os.path.join(folder, name).replace(os.sep, "/")
        for root in roots
        for folder in folders
        for name in _notebooks_in(root / folder)
    ]
    near = path if path in known else next(iter(difflib.get_close_matches(path, known, 1)), None)
    if near is None:  # a bare name, or a wrong folder
        stems = {os.path.splitext(os.path.basename(name))[0]: name for name in reversed(known)}
        stem = os.path.splitext(os.path.basename(path))[0]
        near = stems.get(next(iter(difflib.get_close_matches(stem, stems, 1)), ""))
    if near is None:
        return ""
    return f"; did you mean {near!r}" + (", with / on every system?" if "\\" in flow else "?")


@lru_cache(maxsize=512)
def _read(path: Path, *_identity: int) -> Source:
    import jupytext  # type: ignore[import-untyped,unused-ignore]

    try:
        with path.open(encoding=_ENCODING) as stream:
            notebook = jupytext.read(stream, fmt={"extension": path.suffix})
    except Exception as error:  # jupytext, nbformat, yaml and json raise what they like
        raise DuctaflowError(f"{path} cannot be read as a notebook: {error}") from error
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # jupytext's are random: runs would differ for no reason
    return Source(path, notebook, _cell_lines(path, notebook))


def read_flow(path: Path) -> Source:
    """Read a flow; the notebook in the result is shared, so copy it before changing it.

    Raises:
        FlowNotFound: If there is no such file.
        DuctaflowError: If the file cannot be read as a notebook.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise FlowNotFound(f"flow {path} cannot be found: {error}") from error
    # Times alone do not tell: copying tools keep them, and some disks have whole seconds.
    return _read(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _cell_lines(path: Path, notebook: Any) -> dict[str, int]:
    """Where each cell's code begins, found by looking for the cells' lines one after the other."""
    if path.suffix == ".ipynb":
        return {}
    lines = path.read_text(encoding=_ENCODING, errors="replace").split("\n")
    begins, position = {}, 0
    for cell in notebook.cells:
        if not cell.source.strip():
            continue
        wanted = cell.source.split("\n")
        found = _place_of(wanted, lines, position)
        if found is None:  # jupytext has changed it
            continue
        position = found + len(wanted)
        if cell.cell_type == "code":  # texts are looked for only to get past them
            begins[cell["id"]] = found + 1
    return begins


def _place_of(wanted: Sequence[str], lines: Sequence[str], start: int) -> int | None:
    """The first place from `start` on at which all lines are the wanted ones."""
    for place in range(start, len(lines) - len(wanted) + 1):
        there = lines[place : place + len(wanted)]
        if all(map(_is_line, there, wanted)):
            return place
    return None


def _is_line(line: str, wanted: str) -> bool:
    return line == wanted or _AROUND_LINE.sub("", line) == wanted


def looks_like_flow(path: Path) -> bool:
    """Whether a source file has a code cell tagged `parameters` (by its text: jupytext stays out)."""
    try:
        text = path.read_text(encoding=_ENCODING, errors="replace")
    except OSError:
        return False
    if path.suffix == ".ipynb":
        return _is_tagged_json(text)
    heads = _MARKDOWN_HEAD if path.suffix in _MARKDOWN_SUFFIXES else _SCRIPT_HEAD
    return any(_PARAMETERS_TAG.search(head[0]) for head in heads.finditer(text))


def _is_tagged_json(text: str) -> bool:
    try:
        return any(_is_parameters_cell(cell) for cell in json.loads(text)["cells"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return False  # no notebook; whoever reads it as one will say why


def source_as_script(path: Path) -> str:
    """A conductor's code as Python text, with line numbers kept for `.py` files."""
    if path.suffix == ".py":
        return path.read_text(encoding=_ENCODING)
    import jupytext  # type: ignore[import-untyped,unused-ignore]

    return str(jupytext.writes(read_flow(path).notebook, fmt="py:percent"))
