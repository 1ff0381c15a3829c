"""Reading source files: what a flow is, where its cells stand, and what kind of file one has.

The home of jupytext, which is imported only when a source is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import DuctaflowError, FlowNotFound

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

# `# %% tags=["parameters"]`, in any of jupytext's spellings; only to tell a flow from a conductor
# without parsing it.
_PARAMETERS_MARK = re.compile(r"^\s*(#|//|```|<!--|\"cell_type\").*\bparameters\b", re.MULTILINE)


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
        return any("parameters" in cell.metadata.get("tags", ()) for cell in self.notebook.cells)


def project_root_of(path: Path, *, stop: Path | None = None) -> Path:
    """The project to which a file belongs.

    Args:
        path: A conductor, table or flow (absolute), or a directory.
        stop: Parents above this directory are not looked at.

    Returns:
        The nearest parent that holds `flows/` or `flow/`, else the file's own directory.
    """
    start = path if path.is_dir() else path.parent
    for folder in (start, *start.parents):
        if any((folder / marker).is_dir() for marker in ROOT_MARKERS):
            return folder
        if folder == stop:
            break
    return start


def find_flow(flow: str | Path, roots: tuple[Path, ...]) -> Path:
    """The file that a conductor means by `flow`.

    Args:
        flow: A path, or the bare name of a flow in one of the usual folders.
        roots: Directories to which a relative path may refer, best first.

    Raises:
        FlowNotFound: Naming the places that were looked at.
    """
    given = Path(flow)
    for root in roots:
        if (root / given).is_file():
            return (root / given).resolve()
    if given.parent == Path():
        for root in roots:
            for folder in FLOW_FOLDERS:
                for suffix in ("", *NOTEBOOK_SUFFIXES):
                    candidate = root / folder / f"{given.name}{suffix}"
                    if candidate.is_file():
                        return candidate.resolve()
    looked = " and ".join(dict.fromkeys(str(root) for root in roots))
    raise FlowNotFound(f"flow {str(flow)!r} not found in {looked}")


@lru_cache(maxsize=512)
def _read(path: Path, _mtime_ns: int) -> Source:
    import jupytext  # type: ignore[import-untyped,unused-ignore]

    try:
        notebook = jupytext.read(path)
    except Exception as error:  # jupytext, nbformat, yaml and json raise what they like
        raise DuctaflowError(f"{path} cannot be read as a notebook: {error}") from error
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # jupytext's are random: runs would differ for no reason
    return Source(path, notebook, _cell_lines(path, notebook))


def read_flow(path: Path) -> Source:
    """Read a flow; the notebook in the result is shared, so copy it before changing it.

    Raises:
        DuctaflowError: If the file cannot be read as a notebook.
    """
    return _read(path, path.stat().st_mtime_ns)


def _cell_lines(path: Path, notebook: Any) -> dict[str, int]:
    """Where each cell's code begins, found by looking for the cells' text one after the other."""
    if path.suffix == ".ipynb":
        return {}
    text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    lines, position = {}, 0
    for cell in notebook.cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        found = text.find(cell.source, position)
        if found >= 0:  # not there if jupytext has changed it, as it does with magics
            lines[cell["id"]] = text.count("\n", 0, found) + 1
            position = found + len(cell.source)
    return lines


def looks_like_flow(path: Path) -> bool:
    """Whether a source file has a cell tagged `parameters` (by its text, without parsing it)."""
    try:
        return bool(_PARAMETERS_MARK.search(path.read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return False


def source_as_script(path: Path) -> str:
    """A conductor's code as Python text, with line numbers kept for `.py` files."""
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    import jupytext  # type: ignore[import-untyped,unused-ignore]

    return str(jupytext.writes(read_flow(path).notebook, fmt="py:percent"))
