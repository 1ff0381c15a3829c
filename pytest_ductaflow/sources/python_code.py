"""Normalise and parse Python code, without running it."""

from __future__ import annotations

import ast
import re

from ..core.quiet_warnings import without_warnings

# Cell magics whose cell is still Python; others mean another language or process.
_PYTHON_CELL = re.compile(r"\s*%%(?:capture|prun|time|timeit)\b[^\n]*\n")
_MAGIC_LINE = re.compile(r"(?P<indent>\s*)(?:[\w, ]+=\s*)?(?P<magic>[%!?].*|[\w.]+\?{1,2}\s*)")
_AS_PYTHON = (
    (re.compile(r"%matplotlib\b.*"), "import matplotlib.pyplot"),
    (re.compile(r"%pylab\b.*"), "import numpy, matplotlib.pyplot"),
    (re.compile(r"%(?:env\s+\w+(?:\s*=|\s+\S)|set_env\s|dotenv\b).*"), "os.putenv()"),
    # Installing packages, or running another script, may change the environment as well.
    (
        re.compile(r"[%!].*\b(?:pip|conda|mamba|uv)\b.*\b(?:add|install|remove|sync|uninstall|update)\b.*"),
        "os.putenv()",
    ),
    (re.compile(r"%run\b.*"), "os.putenv()"),
    (re.compile(r"%time\s+(.+)"), r"\1"),
    (re.compile(r".*"), "pass"),
)


def normalised(code: str) -> str:
    """Return Python code without comments and layout; other code as it is."""
    tree = parsed(code)
    if tree is None:
        return code.strip()
    try:
        return ast.dump(tree) if tree.body else ""
    except (RecursionError, ValueError):  # a sum of a thousand terms, a number of thousands of digits
        return code.strip()


def parsed(code: str) -> ast.Module | None:
    """Return the syntax tree of Python code; None for other code, including cells with magics."""
    try:
        with without_warnings():  # about the flow's syntax: its run will show them
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def without_magics(cell: str) -> str:
    """Return a cell as Python: magics that matter here become equivalent code, others are dropped."""
    if parsed(cell) is not None:
        return cell
    if cell.lstrip().startswith("%%"):
        head = _PYTHON_CELL.match(cell)
        return without_magics(cell[head.end() :]) if head else ""
    return "\n".join(map(_line_without_magic, cell.split("\n")))


def _line_without_magic(line: str) -> str:
    found = _MAGIC_LINE.fullmatch(line)
    if not found:
        return line
    magic = found["magic"].strip()
    meant = next(match.expand(python) for like, python in _AS_PYTHON if (match := like.fullmatch(magic)))
    return found["indent"] + meant


def text_of(node: ast.AST | None) -> str:
    """Return a constant text; empty for any other node."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def last_name(node: ast.AST | None) -> str:
    """Return the last name of an expression: `c` of `a.b.c`, `a` of `a`."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
