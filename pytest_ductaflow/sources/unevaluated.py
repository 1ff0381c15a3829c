"""Find cells marked as not to be run: by `eval: false` in all spellings, or an HTML comment around them.

Knitr, Quarto and Jupytext have their own spellings: options in a chunk's head, `#|` lines (or `# |`, as
formatters write it) on top of a cell, the header of the document, and `knitr::opts_chunk$set(…)` for the
chunks below it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from textwrap import dedent
from typing import Any

SKIP = "skip-execution"  # the tag of cells that nbclient does not run

_NO = re.compile(r"""(?:\#R_CODE\#|!expr\s+)?["']?(?:false|f|no|off)["']?""", re.IGNORECASE)
# An option on top of a cell, in a comment of any language that Quarto knows: `#| …`, `# | …`, `/*| … */`.
_OPTION_LINE = re.compile(r"\s*(?:#|//?|--|%%?|;;?|!|⍝|[/(]?\*)\s*\|[ \t]?(.*?)\s*(?:\*[/)]|;)?\s*")
_YAML_OPTION = re.compile(r"""^(?:\{(?:[^{}\n]*,)?\s*)?(["']?)eval\1\s*:\s*([^,}#\n]*)""", re.MULTILINE)
_R_OPTION = re.compile(r"(?:^|[,(])\s*eval\s*=\s*([^,\s)]+)", re.MULTILINE)
_HEAD_OPTION = re.compile(r"(?<![\w.-])eval\s*[:=]\s*([^\s,}]+)")  # in a head that Jupytext cannot parse
_R_DEFAULTS = re.compile(r"^[^#\n]*\bopts_chunk\s*\$\s*set\s*\(([^)]*)", re.MULTILINE)
_HEADER = re.compile(r"\A\s*---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
_EXECUTE = re.compile(
    r"""^execute[ \t]*:[ \t]*(?:\{[^}\n]*?\beval[ \t]*:[ \t]*(?P<flow>[^,}\n]+)
    |(?:\n(?:[ \t]+.*|[ \t]*\#.*)?)*?\n[ \t]+eval[ \t]*:[ \t]*(?P<block>[^\n#]+))""",
    re.MULTILINE | re.VERBOSE,
)
# A fence with what it holds, or an HTML comment, in a text of Markdown.
_FENCE = re.compile(
    r"""<!--.*?(?:-->|\Z)
    |^[ \t]*(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^\n`]*)\n
    (?P<code>.*?)(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_LANGUAGE = re.compile(r"(\{?)[ \t]*([\w+#-]+)")
# How else than by its name the code of a language is marked; `{code-cell}` is of MyST.
_OTHER_NAMES = {
    "python": {"py", "py3", "python2", "ipython", "ipython2"},
    "julia": {"jl"},
}
_CODE_CELL = "code-cell"
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
    on_top = _option_on_top(cell.source)
    return said if on_top is None else on_top


def _option_on_top(source: str) -> str | None:
    """Return the `eval` option in the comments on top of a cell; None if it has none."""
    lines = []
    for line in source.splitlines():
        if option := _OPTION_LINE.fullmatch(line):
            lines.append(option[1])
        elif line.strip() and not line.startswith("%%"):
            break
    options = dedent("\n".join(lines))
    if found := _YAML_OPTION.search(options):
        return found[2]
    found = _R_OPTION.search(options)
    return found[1] if found else None


def _unparsed_head(metadata: Mapping[str, Any]) -> str:
    """Return the part of a head that Jupytext left as text, or split into words without values."""
    texts = [str(metadata.get(name, "")) for name in ("title", "incorrectly_encoded_metadata")]
    return " ".join([*texts, *(name for name, value in metadata.items() if value is None)])


def fences_not_run(text: str, language: str, *, needs_braces: bool) -> Iterator[tuple[int, str]]:
    """Yield number of lines above and head of each fence in a text cell that looks like code of a flow.

    Args:
        text: The text, which Jupytext has not taken for code.
        language: The flow's language, in lower case.
        needs_braces: Whether fences without braces are only shown, by the rules of the document's format.
    """
    names = {language, *_OTHER_NAMES.get(language, ()), _CODE_CELL}
    for fence in _FENCE.finditer(text):
        if fence["fence"] is None or not (found := _LANGUAGE.match(fence["info"])):
            continue
        is_code = found[2].lower() in names and (found[1] or not needs_braces)
        if is_code and not _is_only_shown(fence["info"], fence["code"]):
            yield text.count("\n", 0, fence.start("fence")), f"{fence['fence']}{fence['info'].strip()}"


def _is_only_shown(head: str, code: str) -> bool:
    """Return whether a fence is empty, an interactive session, or marked as not to be run."""
    if ".noeval" in head or not code.strip() or code.lstrip().startswith(">>>"):
        return True
    in_head = _HEAD_OPTION.search(head)
    option = _option_on_top(code)
    return _is_no(option) or (option is None and in_head is not None and _is_no(in_head[1]))


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
