"""Read source files: find and recognise flows, and locate their cells.

The only module that uses jupytext, which is imported only when a source is read.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.errors import DuctaflowError, FlowNotFound
from ..core.instance import RUNS
from ..core.quiet_warnings import without_warnings
from ..core.system.file_state import state_in
from .magics import makes_magics, uses_magics, with_comments
from .unevaluated import fences_not_run, mark_unevaluated

FLOW_FOLDERS = ("flows", "flow", "builds", "build")
ROOT_MARKERS = ("flows", "flow")
# Suffixes of jupytext that are common for analyses; any other works if the path is given in full.
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
_BRACES_SUFFIXES = (".qmd", ".Rmd", ".rmd")  # where a fence without braces is only shown
_ENCODING = "utf-8-sig"  # UTF-8, with or without the byte order mark that Windows editors write

# The first line of a code cell in a script, in jupytext's formats: `# %% …`, `# + …`, `# region …`
# or `# {{{ …`. Used only for files that jupytext cannot read, and to report a tag that it did not recognise.
# Not indented: that is a flow within a string, as in a test.
_COMMENT = r"(?:#|//|--|%|;;?)"
_SCRIPT_HEAD = re.compile(
    rf"^{_COMMENT}[ \t]*(?:%%+[ \t]|\+|region\b|{{{{{{)(?!.*\[(?:markdown|md|raw)\]).*", re.MULTILINE
)
# The same in Markdown: a fence and the options below it: `:tags: …` or YAML between `---` (MyST),
# `#| tags: …` (Quarto).
_MARKDOWN_HEAD = re.compile(
    r"^ {0,3}(?:`{3,}|~{3,}) *[\w{].*(?:\n(?::|#[ \t]*\|).*)*(?:\n---\n(?:.*\n)*?---$)?", re.MULTILINE
)
_PYTHON = re.compile(r"i?python\d*")  # as Pygments and kernels call the language
# The head of a fence with one of these names, of which jupytext knows but one.
_PYTHON_FENCE = re.compile(r"^( {0,3}(?:`{3,}|~{3,}) *\{?)i?python3(?![\w-])", re.MULTILINE)
# What has to be text in a notebook's metadata, if it is there.
_TEXTS = {
    "kernelspec": ("name", "language", "display_name"),
    "jupytext": ("main_language", "default_lexer"),
    "language_info": ("name",),
}
# The tag in a head: `tags=["parameters"]`, `c("parameters")` in R, or a YAML list, on one or more lines.
_PARAMETERS_TAG = re.compile(r"""\btags["']?\s*[=:][^\])]*(?<![\w-])parameters(?![\w-])""")
# Text that every file with a tagged cell contains: rejects others quickly, without jupytext.
_ANY_TAG = re.compile(r"\btags\b.*parameters")
_ANY_TAG_OF_DOCUMENT = re.compile(_ANY_TAG.pattern, re.DOTALL)  # where lists of tags may have several lines
PLAIN_HEAD = '# %% tags=["parameters"]'
# How most flows begin: a docstring, comments and plain lines of code, the tagged head, comments, code. All
# script formats of Jupytext read that alike, so it need not be imported, which takes a quarter of a second.
# A plain line of code is no magic, and has no backslash and no text that continues in the next line. No
# comment before the head may begin a header, a row of hashes, a fence or a cell in another language, or name
# another encoding.
_PLAIN_FLOW = re.compile(
    r"""
    (?:(?P<quotes>"{3}|'{3})[^"'\\]*(?P=quotes)[ \t]*\n)?
    (?>[ \t]*(?:
        \n
        | \#(?![ \t]*---|[ ]?\#{9}|.*(?:```|~~~|%%.*language|coding[:=](?![ \t]*utf-8(?![\w.-]))))[^\n]*\n
        | [A-Za-z_@)\]}](?:[^\n"'\\\#]|"[^\n"'\\\#]+"|'[^\n"'\\\#]+')*\n
    ))*
    \#[ ]%%[ ]tags=\["parameters"\][ \t]*\n
    (?:[ \t]*\n|\#(?![ \t]*(?:%%|In\[|<codecell>)|[ ]?\#{9})[^\n]*\n)*
    [A-Za-z_]
    """,
    re.VERBOSE,
)
_ODD_LINE_ENDS = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")  # which Jupytext takes for ends of lines
_WITHOUT_MAGICS = ("marimo", "myst", "pandoc", "quarto")  # jupytext's formats that leave comments alone
# What may surround a cell's line in a script, where jupytext comments out magics and texts.
_AROUND_LINE = re.compile(rf"""^(?:{_COMMENT} ?|["']{{3}})|["']{{3}}$""")


@dataclass(frozen=True)
class Source:
    """A flow as read from its file.

    Attributes:
        path: The file.
        notebook: The notebook (an nbformat NotebookNode) that jupytext made of it.
        lines: First line (1-based) of each cell's content in the file, by cell id.
    """

    path: Path
    notebook: Any
    lines: dict[str, int]

    @property
    def parameters_cells(self) -> list[Any]:
        """The code cells tagged `parameters`, after which parameters can be injected; not text cells."""
        return [cell for cell in self.code_cells if "parameters" in cell.metadata.get("tags", ())]

    @property
    def has_parameters(self) -> bool:
        return bool(self.parameters_cells)

    @property
    def language(self) -> str:
        """The flow's language in lower case: Python if its file does not specify one."""
        return self.told_language or "python"

    @property
    def told_language(self) -> str | None:
        """The language in lower case that the kernelspec or other metadata specifies; else None."""
        metadata = self.notebook.metadata
        named = metadata.get("kernelspec", {}).get("language")
        main = named or metadata.get("jupytext", {}).get("main_language")
        lexer = metadata.get("jupytext", {}).get("default_lexer")  # all that a MyST text names
        told = (main or metadata.get("language_info", {}).get("name") or lexer or "").lower()
        return "python" if _PYTHON.fullmatch(told) else told or None

    @property
    def code_cells(self) -> list[Any]:
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]

    @property
    def fences_not_run(self) -> list[str]:
        """The fences of a Markdown document that look like code, but not to Jupytext, with their lines."""
        if self.path.suffix not in _MARKDOWN_SUFFIXES:
            return []
        texts = [cell for cell in self.notebook.cells if cell.cell_type == "markdown"]
        return [
            f"line {self.lines[cell['id']] + above}: {head}" if cell["id"] in self.lines else head
            for cell in texts
            for above, head in fences_not_run(
                cell.source, self.language, needs_braces=self.path.suffix in _BRACES_SUFFIXES
            )
        ]

    @property
    def fence_of_code(self) -> str:
        """The head of a fence that is code in a Markdown document of this kind."""
        about = self.notebook.metadata.get("jupytext", {}).get("text_representation", {})
        if about.get("format_name") == "myst":
            return "```{code-cell}"
        language = self.language if self.language != "r" else "R"
        return f"```{{{language}}}" if self.path.suffix in _BRACES_SUFFIXES else f"```{language}"


def project_root_of(path: Path) -> Path:
    """Return the root of the project to which a file belongs.

    Args:
        path: A conductor, table or flow (absolute), or a directory.

    Returns:
        The nearest parent that holds `flows/` or `flow/`, else the file's own directory. A `runs/` is not a
        project, although a step in it may be called `flows`.
    """
    start = path if path.is_dir() else path.parent
    for folder in (start, *start.parents):
        if folder.name != RUNS and any((folder / marker).is_dir() for marker in ROOT_MARKERS):
            return folder
    return start


def find_flow(flow: str | Path, roots: tuple[Path, ...]) -> Path:
    """Return the file that a conductor means by `flow`.

    Args:
        flow: A path, or the bare name of a flow in one of the usual folders.
        roots: Directories to which a relative path may refer, best first.

    Raises:
        FlowNotFound: If there is none; the message names the places searched and a flow of a similar name.
    """
    if not isinstance(flow, str | Path):  # a table's cell may hold anything
        raise FlowNotFound(f"flow {flow!r} not found: expected a name or a path, not {type(flow).__name__}")
    given = Path(flow)
    for root in roots:
        if os.path.isfile(root / given):  # False for an impossible file name, unlike Path.is_file
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
    with contextlib.suppress(OSError, ValueError):  # ValueError: an impossible folder name
        yield from (name for name in os.listdir(folder) if name.endswith(NOTEBOOK_SUFFIXES))


def _nearly(flow: str, roots: Iterable[Path]) -> str:
    """Return a hint at the flow that was probably meant; empty if none has a similar name."""
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
def _read(path: Path, _state: str) -> Source:
    try:
        with without_warnings():  # of missing ids, say: they are replaced below
            text = path.read_text(encoding=_ENCODING)
            if path.suffix in _MARKDOWN_SUFFIXES:
                text = _PYTHON_FENCE.sub(r"\1python", text)
            notebook = _parsed(text, path.suffix)
        _put_right(notebook)
    except Exception as error:  # jupytext, nbformat, yaml and json raise all kinds
        raise DuctaflowError(f"{path} cannot be read as a notebook: {_reason_of(error)}") from error
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # jupytext's are random, so runs would differ for no reason
    mark_unevaluated(notebook, is_markdown=path.suffix in _MARKDOWN_SUFFIXES)
    return Source(path, notebook, _cell_lines(path, notebook))


def _reason_of(error: Exception) -> str:
    """Return what is wrong in one line, where nbformat would print a page with the whole cell."""
    from nbformat import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    place = list(getattr(error, "absolute_path", ()))
    where = "metadata " + " ".join(repr(part) for part in place if part != "metadata") if place else "a cell"
    remedy = ': expected a list, such as ["parameters"]' if place[-1:] == ["tags"] else ""
    return f"{where}: {error.message}{remedy}"


def _parsed(text: str, suffix: str) -> Any:
    """Return the notebook that jupytext makes of a text, with Python comments still comments."""
    import jupytext  # type: ignore[import-untyped,unused-ignore]

    if suffix == ".ipynb":
        return jupytext.reads(text, fmt="ipynb", as_version=4)
    fmt = {"extension": suffix}
    notebook = jupytext.reads(text, fmt=fmt)
    about = notebook.metadata.get("jupytext", {})
    format_name = about.get("text_representation", {}).get("format_name")
    if about.get("main_language", "python") != "python" or format_name in _WITHOUT_MAGICS:
        return notebook
    written = jupytext.reads(text, fmt={**fmt, "comment_magics": False})
    if format_name == "hydrogen" and _is_hydrogen_by_a_word(text, suffix, written):
        notebook = jupytext.reads(text, fmt={**fmt, "format_name": "percent"})
    any_name = makes_magics(cell.source for cell in notebook.cells)
    for cell, same in zip(notebook.cells, written.cells, strict=True):
        if cell.cell_type == "code":
            lines = same.source.split("\n"), cell.source.split("\n")
            cell.source = "\n".join(with_comments(*lines, any_name=any_name))
    return notebook


def _is_hydrogen_by_a_word(text: str, suffix: str, notebook: Any) -> bool:
    """Return whether jupytext expects uncommented magics only because code begins with `cp` or the like."""
    from jupytext.formats import read_format_from_metadata  # type: ignore[import-untyped,unused-ignore]

    if read_format_from_metadata(text, suffix):  # the file itself says so
        return False
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return not any(uses_magics(cell.source.split("\n")) for cell in code)


def _put_right(notebook: Any) -> None:
    """Remove metadata and tags that are null, and check the types of the others.

    Raises:
        ValueError: If something has a type that a notebook cannot have there.
    """
    for name, texts in _TEXTS.items():
        about = notebook.metadata.get(name, {})
        if about is None:
            del notebook.metadata[name]
            continue
        if not isinstance(about, Mapping):
            raise ValueError(f"its metadata has no object as {name!r}, but {about!r}")
        for key in texts:
            if not isinstance(about.get(key), str | None):
                raise ValueError(
                    f"its metadata has {name!r} {key!r}: {about[key]!r}, where a text is expected"
                )
    for number, cell in enumerate(notebook.cells, start=1):
        tags = cell.metadata.get("tags", [])
        if tags is None:
            del cell.metadata["tags"]
        elif not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise ValueError(f"cell {number}, 'tags': {tags!r}: expected a list, such as [\"parameters\"]")


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
    return _read(path, state_in(status))


def _cell_lines(path: Path, notebook: Any) -> dict[str, int]:
    """Return the line where each cell's content begins, by searching for the cells' lines in order."""
    if path.suffix == ".ipynb":
        return {}
    lines = _text_of(path).split("\n")
    begins, position = {}, 0
    for cell in notebook.cells:
        if not cell.source.strip():
            continue
        wanted = cell.source.split("\n")
        found = _place_of(wanted, lines, position)
        if found is None:  # jupytext has changed it
            continue
        position = found + len(wanted)
        begins[cell["id"]] = found + 1
    return begins


def _place_of(wanted: Sequence[str], lines: Sequence[str], start: int) -> int | None:
    """Return the first index from `start` on at which all lines are the wanted ones."""
    for place in range(start, len(lines) - len(wanted) + 1):
        there = lines[place : place + len(wanted)]
        if all(map(_is_line, there, wanted)):
            return place
    return None


def _is_line(line: str, wanted: str) -> bool:
    return line == wanted or _AROUND_LINE.sub("", line) == wanted


def looks_like_flow(path: Path) -> bool:
    """Return whether a source file has a code cell tagged `parameters`.

    The text alone shows that most conductors have none and most flows have one; for other files jupytext
    decides, unless it cannot read them.
    """
    try:
        text = _text_of(path)
    except OSError:
        return False
    if _is_plain(path, text):
        return True
    is_script = path.suffix != ".ipynb" and path.suffix not in _MARKDOWN_SUFFIXES
    if not (_ANY_TAG if is_script else _ANY_TAG_OF_DOCUMENT).search(text):
        return False
    try:
        return read_flow(path).has_parameters
    except DuctaflowError:
        return line_of_tag(path) is not None


def is_plainly_flow(path: Path) -> bool:
    """Return whether a script certainly has one tagged cell with code; if false, Jupytext has to decide."""
    return _is_plain(path, _text_of(path))


def _is_plain(path: Path, text: str) -> bool:
    if path.suffix != ".py":
        return False
    if "marimo" in text or _ODD_LINE_ENDS.search(text):
        return False
    return _PLAIN_FLOW.match(text) is not None and len(_ANY_TAG.findall(text)) == 1


def line_of_tag(path: Path) -> int | None:
    """Return the line (1-based) of the first cell head that seems to have the tag, valid or not."""
    if path.suffix == ".ipynb":
        return None
    text = _text_of(path)
    heads = _MARKDOWN_HEAD if path.suffix in _MARKDOWN_SUFFIXES else _SCRIPT_HEAD
    for head in heads.finditer(text):
        if found := _PARAMETERS_TAG.search(head[0]):
            return text.count("\n", 0, head.start() + found.start()) + 1
    return None


def how_to_tag(path: Path, cell: str) -> str:
    """Return instructions for tagging a cell (`the cell that assigns n`) in a file of this kind."""
    if path.suffix == ".ipynb":
        return (
            f"tag {cell}: in JupyterLab select it, open the Property Inspector (the gear "
            "wheels, top right) and add the cell tag `parameters`; in VS Code choose … > Add Cell Tag in the "
            "cell's tool bar"
        )
    if path.suffix in (".myst", ".mystnb", ".mnb") or "{code-cell}" in _text_of(path):
        return f"put `:tags: [parameters]` below the ```{{code-cell}} of {cell}"
    if path.suffix in (".Rmd", ".rmd"):
        return f'begin {cell} with ```{{python, tags=c("parameters")}}'
    if path.suffix == ".qmd":
        return f"put `#| tags: [parameters]` below the ```{{python}} of {cell}"
    if path.suffix in _MARKDOWN_SUFFIXES:
        return f'begin {cell} with ```python tags=["parameters"]'
    comment = {".m": "%", ".scala": "//"}.get(path.suffix, "#")
    return f'put `{comment} %% tags=["parameters"]` above {cell}'


def _text_of(path: Path) -> str:
    return path.read_text(encoding=_ENCODING, errors="replace")


def source_as_script(path: Path) -> str:
    """Return a conductor's code as Python text, with line numbers kept for `.py` files."""
    if path.suffix == ".py":
        return path.read_text(encoding=_ENCODING)
    import jupytext  # type: ignore[import-untyped,unused-ignore]

    return str(jupytext.writes(read_flow(path).notebook, fmt="py:percent"))
