"""Select rows by an expression on their columns: `--ductaflow-where`.

pandas evaluates it; as its expressions can reach far more than columns, each part is checked first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from ..core.errors import DuctaflowError

_PIECES = re.compile(r"""(?P<text>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|`(?P<column>[^`]*)`|(?P<local>@)""")
_OPERATORS = (
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Invert, ast.USub, ast.UAdd),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.BitAnd, ast.BitOr),
    *(ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn),
)
_VALUES = (ast.Expression, ast.Constant, ast.List, ast.Tuple, ast.Load)
_FUNCTIONS = frozenset({"abs", "ceil", "exp", "floor", "log", "log10", "sqrt"})
_METHODS = {
    "abs",
    "astype",
    "between",
    "duplicated",
    "fillna",
    "isin",
    "isna",
    "isnull",
    "notna",
    "notnull",
} | {"max", "mean", "median", "min", "round"}
_TEXT_METHODS = (
    {"capitalize", "casefold", "lower", "title", "upper"}
    | {"contains", "count", "endswith", "find", "fullmatch", "len", "match", "startswith"}
    | {"isalnum", "isalpha", "isdecimal", "isdigit", "islower", "isnumeric", "isupper"}
    | {"lstrip", "removeprefix", "removesuffix", "replace", "rstrip", "slice", "strip"}
)
_ALLOWED = (
    "an expression consists of columns, constants, comparisons, arithmetic, and, or, not, in, and methods "
    "such as .isna(), .isin([…]) and .str.contains('…'); names that are no words stand in backticks: `a.b`"
)


class _NotAllowed(Exception):
    """A part of an expression is not allowed."""


def select(expression: str, table: pd.DataFrame, asked: str = "") -> list[bool]:
    """Return for each row whether an expression keeps it; rows for which it gives NA are dropped.

    Args:
        expression: The expression.
        table: The rows.
        asked: What asks for it, for messages; by default the option of the command line.

    Raises:
        DuctaflowError: If it is more than an expression on columns, cannot be evaluated or is not true or
            false for each row; the message names the available columns.
    """
    names = [str(column) for column in table.columns]
    try:
        result = _evaluated(expression, table.set_axis(names, axis="columns").reset_index(drop=True))
        what = "" if _is_mask(result, len(table)) else "not true or false of each row"
    except _NotAllowed as error:
        what = f"{error}; {_ALLOWED}"
    except Exception as error:  # the user's expression may raise anything
        what = f"{type(error).__name__}: {error}"
    if what:
        asked = asked or f"--ductaflow-where {expression!r}"
        raise DuctaflowError(f"{asked}: {what}. Columns here: {', '.join(names)}")
    return [bool(keep) for keep in pd.Series(result, dtype="boolean").fillna(False)]


def _evaluated(expression: str, table: pd.DataFrame) -> Any:
    text, quoted = _without_backticks(expression.strip(), list(table.columns))
    columns = {column for column in table.columns if not column.startswith("__")}
    _check(ast.parse(text, mode="eval"), {*columns, *quoted, "index"}, dict(quoted))
    renamed = table.rename(columns={column: name for name, column in quoted.items()})
    return renamed.eval(text, engine="python", parser="pandas", local_dict={}, global_dict={})


def _without_backticks(expression: str, columns: Collection[str]) -> tuple[str, dict[str, str]]:
    """Return an expression with each column in backticks replaced by a word, and the columns by word."""
    longest = max(map(len, columns), default=0)
    words: dict[str, str] = {}

    def word(piece: re.Match[str]) -> str:
        if piece["local"]:
            raise _NotAllowed("'@' cannot be used")
        if piece["text"] is not None:
            return piece["text"]
        column = piece["column"]
        if column not in columns:
            raise _NotAllowed(f"there is no column {column!r}")
        return words.setdefault(column, f"column{len(words):0{longest}}")  # longer than any column name

    text = _PIECES.sub(word, expression)
    return text, {name: column for column, name in words.items()}


def _check(tree: ast.AST, names: Collection[str], quoted: dict[str, str]) -> None:
    """Refuse anything but columns, constants, operators and methods of these.

    Raises:
        _NotAllowed: If there is another part.
    """
    match tree:
        case ast.Name(id=name):
            if name not in names:
                raise _NotAllowed(f"there is no column {name!r}")
        case ast.Call(func=function, args=arguments, keywords=keywords):
            _check_function(function, names, quoted)
            for part in (*arguments, *(keyword.value for keyword in keywords if keyword.arg)):
                _check(part, names, quoted)
            if not all(keyword.arg for keyword in keywords):
                raise _NotAllowed("'**' cannot be used")
        case _ if isinstance(tree, (*_OPERATORS, *_VALUES)):
            for child in ast.iter_child_nodes(tree):
                _check(child, names, quoted)
        case _:
            raise _NotAllowed(f"{_said(tree, quoted)!r} cannot be used")


def _check_function(function: ast.expr, names: Collection[str], quoted: dict[str, str]) -> None:
    on: ast.expr | None = None
    match function:
        case ast.Attribute(value=ast.Attribute(value=texts, attr="str"), attr=name):
            on, allowed, what = texts, name in _TEXT_METHODS, f"method 'str.{name}'"
        case ast.Attribute(value=series, attr=name):
            on, allowed, what = series, name in _METHODS, f"method {name!r}"
        case _:
            name = _said(function, quoted)
            allowed, what = name in _FUNCTIONS, f"function {name!r}"
    if not allowed:
        raise _NotAllowed(f"the {what} cannot be used")
    if on is not None:
        _check(on, names, quoted)


def _said(tree: ast.AST, quoted: dict[str, str]) -> str:
    """Return a part of an expression as it was written, or nearly so."""
    if isinstance(tree, ast.operator):
        return {ast.Pow: "**", ast.MatMult: "@"}.get(type(tree), type(tree).__name__)
    text = ast.unparse(tree) if isinstance(tree, ast.expr) else type(tree).__name__
    for word, column in quoted.items():
        text = text.replace(word, f"`{column}`")
    return text


def _is_mask(result: Any, length: int) -> bool:
    # Object dtype counts, too: results on a text column with empty cells are True, False and NaN.
    inferred = pd.api.types.infer_dtype(result, skipna=True) if np.ndim(result) == 1 else ""
    return inferred in ("boolean", "empty") and len(result) == length
