"""Read from its notebook what stopped a flow: the cell, the line, the traceback without library frames."""

from __future__ import annotations

import ast
import contextlib
import difflib
import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import nbformat

from ...core.instance import Instance, Workplace
from ...core.record import Failure
from ...core.run_directory.layout import display_path
from ...core.system.places import PACKAGE
from ...sources.notebooks import Source
from ..warning_lines import strip_ansi

_LONG_MESSAGE, _LONG_TRACEBACK = 4_000, 40_000  # characters
_LAST_LINES, _LAST_TEXT = 10, 4_000  # lines, and characters per output, to search for a missing file
_CELL_LINE = re.compile(r"Cell In\[(\d+)\], line (\d+)")
_CELL_FILE = re.compile(r"\(\d+\.py, line (\d+)\)$")
_FRAME_START = re.compile(r"\n(?=(?:File |Cell In\[))")
_RULER = re.compile(r"^-{10,}\n")
_HOME = re.compile(r"^File ~(?=[/\\])", re.MULTILINE)
_HIDDEN_FRAMES = re.compile(r"\n *\[\.\.\. skipping hidden \d+ frames?\]\n*")
_OWN_FRAMES = re.compile(
    r"[/\\]site-packages[/\\](papermill|nbclient|nbformat|jupyter_client|jupyter_core)[/\\]"
    r"|^File ductaflow:"  # modules of ours that are sent to kernels as text
)
_INSTALLED = re.compile(
    r"^.*[/\\](?:site|dist)-packages[/\\](?P<package>\w+)|[/\\]lib[/\\]python3[\d.]*[/\\]"
    r"|[/\\]Python3\d*[/\\]Lib[/\\]|^File <frozen |^File (?P<compiled>\w+)[^\s:]*\.(?:pyx|pxd|pxi):"
)
# Phrases of errors about missing files, from Python and from programs written in C, Rust and R.
_NOT_THERE = re.compile(
    r"no such|not found|cannot find|(?:does not|doesn't|non-?) ?exist|no files|not a (?:file|directory)"
    r"|not recogni[sz]ed|(?:un)?able to .*open|(?:cannot|can't|could not|failed to) (?:open|read|find|load)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"""'([^'\n]+)'|"([^"\n]+)"|`([^`\n]+)`""")
_WORD_LIKE_PATH = re.compile(r"[^\s'\"`()\[\],;<>]*(?:/|\\|\.\w)[^\s'\"`()\[\],;<>]*")
_ONLY_ONCE = re.compile("cannot load module more than once per process")
_MOST_NAMES = 10_000  # in a folder, among which one is searched that is nearly that of a file
_PLACES = {"run": "the run directory", "flow": "the flow's folder", "project": "the project root"}


def running_cell(notebook: Any) -> Any:
    """Return the cell at which the run stopped."""
    states = ("running", "failed")
    stopped = [cell for cell in notebook.cells if cell.metadata.get("papermill", {}).get("status") in states]
    done = [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.metadata.get("papermill", {}).get("end_time")
    ]
    return (stopped or done or [None])[-1]


def failure_without_traceback(notebook: Any, source: Source, type_: str, message: str) -> Failure:
    """Return a failure at the running cell for which the kernel reported no error."""
    cell = running_cell(notebook)
    if cell is None:
        return Failure(type_, message)
    code = [other for other in notebook.cells if other.cell_type == "code" and other.source.strip()]
    number = cell.get("execution_count") or code.index(cell) + 1
    return Failure(type_, message, number, cell.source, None, source.lines.get(cell["id"]))


def failure_of_cell(
    notebook: Any,
    source: Source,
    root: Path,
    *,
    type_: str,
    message: str,
    traceback: list[str],
    line: int | None = None,
) -> Failure:
    """Return the failure that the error output of the running cell reports.

    Args:
        notebook: The notebook, as far as it ran.
        source: The flow.
        root: Its project root, to which the paths in the traceback are shortened.
        type_: Class name of the exception.
        message: Its text.
        traceback: The traceback as the kernel sent it.
        line: Line of the cell to use if the traceback has none.
    """
    cell = running_cell(notebook)
    text = strip_ansi("\n".join(traceback))
    number = cell.execution_count
    blank = {c.execution_count: _blank_lines(c.source) for c in notebook.cells if c.cell_type == "code"}
    text = _CELL_LINE.sub(lambda m: f"Cell In[{m[1]}], line {int(m[2]) + blank.get(int(m[1]), 0)}", text)
    lines = [int(at) for cell_number, at in _CELL_LINE.findall(text) if int(cell_number) == number]
    if not lines and line is not None:
        lines = [line + blank.get(number, 0)]
    starts = {c.execution_count: source.lines.get(c["id"]) for c in notebook.cells if c.cell_type == "code"}
    first, flow = starts.get(number), display_path(source.path, root)
    return Failure(
        type=type_,
        message=_shortened(_with_file(strip_ansi(message), flow, first, blank.get(number, 0)), _LONG_MESSAGE),
        cell=number,
        source=cell.source,
        line=lines[0] if lines else None,
        file_line=first + lines[0] - 1 if lines and first else first,
        traceback=_shortened(
            _CELL_LINE.sub(lambda match: _at_file_line(match, flow, starts), users_traceback(text, root)),
            _LONG_TRACEBACK,
        ),
    )


def _with_file(message: str, flow: str, first: int | None, blank: int) -> str:
    """Return a SyntaxError's message with the flow's file instead of IPython's temporary name of a cell."""
    if first is None:
        return message
    return _CELL_FILE.sub(lambda found: f"({flow}, line {first + int(found[1]) + blank - 1})", message)


def is_at_the_end(notebook: Any, failure: Failure) -> bool:
    """Return whether a flow stopped where it would have ended, so that nothing of it was left out."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and _last_statement(cell.source)]
    stopped = running_cell(notebook)
    if not code or stopped is None or stopped["id"] != code[-1]["id"]:
        return False
    if failure.line is None:
        return True
    try:
        return _nothing_is_left(ast.parse(stopped.source).body, failure.line)
    except (SyntaxError, ValueError):  # a magic, or another language
        return failure.line >= _last_statement(stopped.source)


def _nothing_is_left(block: Sequence[ast.stmt], line: int) -> bool:
    """Whether an exit at a line leaves no statement of a block out, and no round of a loop."""
    last = block[-1]
    if line < last.lineno:
        return False
    if isinstance(last, ast.While) and isinstance(last.test, ast.Constant):  # `while True` ends by an exit
        return True
    for inner in _blocks(last):
        if inner[0].lineno <= line <= (inner[-1].end_lineno or 0):
            is_round = isinstance(last, ast.For | ast.AsyncFor | ast.While) and inner is last.body
            return not is_round and _nothing_is_left(inner, line)
    return True


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Yield the blocks of a compound statement."""
    for part in (statement, *getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        for name in ("body", "orelse", "finalbody"):
            if block := getattr(part, name, None):
                yield block


def _last_statement(source: str) -> int:
    """Return the line on which the last statement of a cell begins; 0 if there is none."""
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError):  # a magic, or another language
        lines = enumerate(source.splitlines(), 1)
        return max((number for number, line in lines if line.strip() and line.strip()[0] != "#"), default=0)
    return statements[-1].lineno if statements else 0


def _blank_lines(source: str) -> int:
    """Return how many blank lines a cell begins with: IPython drops them before it counts."""
    lines = source.splitlines()
    return next((number for number, line in enumerate(lines) if line.strip()), 0)


def _shortened(text: str, limit: int) -> str:
    """Return the start and the end of a text that is too long; the notebook has all of it."""
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\n… {len(text):,} characters …\n{text[-limit // 2 :]}"


def _at_file_line(frame: re.Match[str], flow: str, starts: Mapping[int, int | None]) -> str:
    """Return `Cell In[5], line 2` as a line of the flow's file."""
    number, line = int(frame[1]), int(frame[2])
    first = starts.get(number)
    return f"{flow}:{first + line - 1} in cell [{number}]" if first else frame[0]


def readable_traceback(text: str, root: Path) -> str:
    """Return an IPython traceback without its ruler and without frames of the tools that run notebooks."""
    home = os.path.expanduser("~")
    text = _HOME.sub(lambda _: f"File {home}", _HIDDEN_FRAMES.sub("", text))
    head, *frames = _FRAME_START.split(text)
    kept = [_RULER.sub("", head)]
    for frame in frames:
        # The code of a frame has no blank line; what follows one is the exception, or a second one.
        code, gap, rest = frame.partition("\n\n")
        if not _is_machinery(code.partition("\n")[0]):
            kept.append(frame)
        elif rest.strip():
            kept.append(gap[1:] + rest)
    return "\n".join(kept).replace(f"{root}{os.sep}", "").strip()


def users_traceback(text: str, root: Path) -> str:
    """Return a readable traceback without the frames of libraries, unless it has no others."""
    text = readable_traceback(text, root)
    head, *frames = _FRAME_START.split(text)
    places = [frame.partition("\n")[0] for frame in frames]
    if all(map(_INSTALLED.search, places)):
        return text
    kept, hidden = [head], list[str]()
    for frame, place in zip(frames, places, strict=True):
        _, gap, rest = frame.partition("\n\n")
        installed = _INSTALLED.search(place)
        if installed:
            hidden.append(installed["package"] or installed["compiled"] or "Python")
        if hidden and (rest.strip() or not installed):
            kept.append(_hidden_frames(hidden))
            hidden.clear()
        if not installed:
            kept.append(frame)
        elif rest.strip():
            kept.append(gap[1:] + rest)
    return "\n".join(kept).strip()


def _hidden_frames(packages: Sequence[str]) -> str:
    number = f"{len(packages)} frame{'s' if len(packages) > 1 else ''}"
    return f"[… {number} in {', '.join(dict.fromkeys(packages))} …]\n"


def with_hint_at_place(failure: Failure, instance: Instance, printed: Sequence[str] = ()) -> Failure:
    """Return a failure with a hint if a missing file exists in another possible working directory.

    Or if it would exist with `/` instead of the separator that only Windows knows.

    Args:
        failure: What stopped the flow.
        instance: Knows the possible working directories.
        printed: Last lines that the cell printed, in which R and other programs name the file.
    """
    is_told = "NotFound" in failure.type or _NOT_THERE.search(failure.message)
    told = [*([failure.message] if is_told else []), *filter(_NOT_THERE.search, reversed(printed))]
    hint = next(filter(None, (_hint_at_place(text, instance) for text in told)), "")
    return replace(failure, message=f"{failure.message}\n{hint}") if hint else failure


def _hint_at_place(message: str, instance: Instance) -> str:
    with_slashes = next(_with_slashes(message, instance), None) if os.sep == "/" else None
    if with_slashes is not None:
        return f"({with_slashes} is there: \\ separates folders on Windows only, / everywhere)"
    here = instance.working_directory
    others = {word: folder for word, folder in instance.workplaces.items() if folder != here}
    paths = list(_relative_paths(message))
    for leads_into, said in ((_is_in, _file_is_in), (_could_be_made_in, _folder_is_in)):
        for text in paths:
            found = (word for word, folder in others.items() if leads_into(text, folder))
            if not leads_into(text, here) and (word := next(found, None)) is not None:
                looked = f"{text} is looked for in {_PLACES[instance.runs_in]}"
                return f"({looked}, {said(text, word, others[word])}: {_cure(word)})"
    return ""


def last_printed(notebook: Any) -> list[str]:
    """Return the last lines printed by the cell at which the run stopped."""
    cell = running_cell(notebook)
    outputs = [output for output in (cell or {}).get("outputs", ()) if output.output_type == "stream"]
    text = "".join(output.text[-_LAST_TEXT:] for output in outputs[-_LAST_LINES:])
    return strip_ansi(text).splitlines()[-_LAST_LINES:]


def with_hint_at_fork(failure: Failure) -> Failure:
    """Return a failure of a forked kernel with a hint if it is due to an import that works only once."""
    if failure.type != "ImportError" or not _ONLY_ONCE.search(failure.message):
        return failure
    hint = (
        "(this kernel was forked from a process with imported packages; --no-ductaflow-fork starts each anew)"
    )
    return replace(failure, message=f"{failure.message}\n{hint}")


def _paths(message: str) -> Iterator[str]:
    """Yield what may be paths in a message."""
    quoted = (next(filter(None, found)) for found in _QUOTED.findall(message))
    words = (word.strip(".:") for word in _WORD_LIKE_PATH.findall(message))
    yield from (text for text in dict.fromkeys((*quoted, *words)) if text and "\0" not in text)


def _with_slashes(message: str, instance: Instance) -> Iterator[str]:
    r"""Yield paths with `\` that exist only with `/` instead; in a message each `\` may be doubled."""
    for text in _paths(message):
        path = re.sub(r"\\+", "/", text)
        if path != text and any(_is_in(path, folder) for folder in instance.workplaces.values()):
            yield path


def _relative_paths(message: str) -> Iterator[str]:
    for text in _paths(message):
        if not os.path.isabs(text) and "://" not in text:
            yield text


def _is_in(text: str, folder: str) -> bool:
    """Return whether a relative path, or a pattern, exists in a folder."""
    if glob.has_magic(text) and next(glob.iglob(text, root_dir=folder), None):
        return True
    return os.path.exists(os.path.join(folder, text))


def _could_be_made_in(text: str, folder: str) -> bool:
    """Return whether a folder has the subfolder in which a relative path lies."""
    above = os.path.dirname(text)
    return bool(above) and os.path.isdir(os.path.join(folder, above))


def _file_is_in(_text: str, word: Workplace, _folder: str) -> str:
    return f"and is in {_PLACES[word]}"


def _folder_is_in(text: str, word: Workplace, folder: str) -> str:
    """Return that only the folder of a file is in another folder, and what is nearly called so there."""
    above, name = os.path.split(text)
    there = dict[str, str]()
    with contextlib.suppress(OSError), os.scandir(os.path.join(folder, above)) as entries:
        there = {entry.name.lower(): entry.name for entry in islice(entries, _MOST_NAMES)}
    near = difflib.get_close_matches(name.lower(), there, 1, 0.8)
    but = f", but with {there[near[0]]}" if near else ""
    return f"which has no folder {above}; that is in {_PLACES[word]}, without {name}{but}"


def _cure(word: Workplace) -> str:
    in_place = f'cwd="{word}" of conduct, a column `_cwd` or ini `ductaflow_cwd = {word}` runs the flow there'
    return in_place + (', or open Path(config["_project_root"], …)' if word == "project" else "")


def _is_machinery(frame: str) -> bool:
    return PACKAGE in frame or bool(_OWN_FRAMES.search(frame))


def mark_failure(notebook: Any, failure: Failure, last_good: str = "") -> None:
    """Add to the notebook that it failed and where; papermill drops such cells in a new run.

    Args:
        notebook: The notebook, as far as it ran.
        failure: What stopped it.
        last_good: The folder with the files of the last run that ended well, empty if there is none.
    """
    link = f" in [cell {failure.cell}](#ductaflow-failure)" if failure.cell else ""
    text = f'<span style="color:#b3261e">**This run failed**{link}:</span>\n\n```\n{failure.summary}\n```'
    if last_good:
        text += f"\n\nThe files of the last run that ended well are in `{last_good}`."
    cell = running_cell(notebook)
    marks = [(0, text)]
    if cell is not None:
        marks.insert(0, (notebook.cells.index(cell), '<span id="ductaflow-failure"></span>'))
    for index, source in marks:
        tags = ["papermill-error-cell-tag"]
        notebook.cells.insert(index, markdown_cell(f"ductaflow-failure-{index}", source, tags))


def markdown_cell(cell_id: str, source: str, tags: Sequence[str] = ()) -> Any:
    """Return a Markdown cell of ours, with the metadata that papermill expects."""
    return nbformat.v4.new_markdown_cell(source, id=cell_id, metadata={"tags": list(tags), "papermill": {}})
