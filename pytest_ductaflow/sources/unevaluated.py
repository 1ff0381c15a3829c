"""Find cells marked as not to be run: by `eval: false` in all spellings, or an HTML comment around them.

Knitr, Quarto and Jupytext have their own spellings: options in a chunk's head, `#|` lines on top of a cell,
the header of the document, and `knitr::opts_chunk$set(…)` for the chunks below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

SKIP = "skip-execution"  # the tag of cells that nbclient does not run

_NO = re.compile(r"""(?:\#R_CODE\#|!expr\s+)?["']?(?:false|f|no|off)["']?""", re.IGNORECASE)
_OPTION_LINE = re.compile(r"\s*(?:#|//|--|%%?|;;?)\|\s?(.*)")
_YAML_OPTION = re.compile(r"eval\s*:\s*(.*?)\s*(?:#.*)?$")
_R_OPTION = re.compile(r"(?:^|[,(])\s*eval\s*=\s*([^,\s)]+)")
_HEAD_OPTION = re.compile(r"(?<![\w.-])eval\s*[:=]\s*([^\s,}]+)")  # in a head that Jupytext cannot parse
_R_DEFAULTS = re.compile(r"^[^#\n]*\bopts_chunk\s*\$\s*set\s*\(([^)]*)", re.MULTILINE)
_HEADER = re.compile(r"\A\s*---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
_EXECUTE = re.compile(
    r"""^execute[ \t]*:[ \t]*(?:\{[^}\n]*?\beval[ \t]*:[ \t]*(?P<flow>[^,}\n]+)
    |(?:\n(?:[ \t]+.*|[ \t]*\#.*)?)*?\n[ \t]+eval[ \t]*:[ \t]*(?P<block>[^\n#]+))""",
    re.MULTILINE | re.VERBOSE,
)
_CODE_SPAN = re.compile(r"(`{3,}|~{3,}).*?(?:\1|\Z)|`[^`\n]*`", re.DOTALL)
_COMMENT_SIGN = re.compile(r"<!--|-->")


def mark_unevaluated(notebook: Any, *, is_markdown: bool) -> None:
    """Tag the cells that are not to be run, so that they are shown but skipped.

    Args:
        notebook: Notebook as read from its file; changed in place.
        is_markdown: Whether the file is a Markdown document, where an HTML comment may enclose cells.
    """
    skipped = [*_without_evaluation(notebook.cells), *(_commented_out(notebook.cells) if is_markdown else ())]
    for cell in skipped:
        tags = cell.metadata.get("tags", [])
        if SKIP not in tags:
            cell.metadata["tags"] = [*tags, SKIP]


def _without_evaluation(cells: list[Any]) -> Iterator[Any]:
    is_off = bool(cells) and cells[0].cell_type == "raw" and _is_off_in_header(cells[0].source)
    for cell in cells:
        if cell.cell_type != "code":
            continue
        option = _option_of(cell)
        if is_off if option is None else _is_no(option):
            yield cell
        for options in _R_DEFAULTS.findall(cell.source):
            if found := _R_OPTION.search(options):
                is_off = _is_no(found[1])


def _is_no(value: object) -> bool:
    return value is False or (isinstance(value, str) and _NO.fullmatch(value.strip()) is not None)


def _is_off_in_header(source: str) -> bool:
    header = _HEADER.search(source)
    found = _EXECUTE.search(header[1]) if header else None
    return found is not None and _is_no(found["flow"] or found["block"])


def _option_of(cell: Any) -> object:
    """Return a cell's `eval` option, from its own lines rather than its head; None if it has none."""
    said = cell.metadata.get("eval")
    if said is None and (found := _HEAD_OPTION.search(_unparsed_head(cell.metadata))):
        said = found[1]
    for line in cell.source.splitlines():
        if option := _OPTION_LINE.fullmatch(line):
            if found := _YAML_OPTION.match(option[1]) or _R_OPTION.search(option[1]):
                said = found[1]
        elif line.strip() and not line.startswith("%%"):
            break
    return said


def _unparsed_head(metadata: Mapping[str, Any]) -> str:
    """Return the part of a head that Jupytext left as text, or split into words without values."""
    texts = [str(metadata.get(name, "")) for name in ("title", "incorrectly_encoded_metadata")]
    return " ".join([*texts, *(name for name, value in metadata.items() if value is None)])


def _commented_out(cells: list[Any]) -> Iterator[Any]:
    """Yield the code cells between `<!--` in one text cell and `-->` in a later one."""
    within: list[Any] = []
    is_open = False
    for cell in cells:
        if cell.cell_type == "code":
            within += [cell] if is_open else []
            continue
        for sign in _COMMENT_SIGN.findall(_CODE_SPAN.sub("", cell.source)):
            if sign == "-->" and is_open:
                yield from within
                within, is_open = [], False
            elif sign == "<!--":
                is_open = True
