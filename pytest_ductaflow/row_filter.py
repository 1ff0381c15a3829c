"""The rows that an expression of `DataFrame.eval` keeps: `--ductaflow-where`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .errors import DuctaflowError


def select(expression: str, table: pd.DataFrame) -> list[bool]:
    """Which rows an expression keeps; those for which it gives NA are not.

    Raises:
        DuctaflowError: If it cannot be evaluated or is not true or false of each row, naming the
            columns that there are.
    """
    try:
        result = table.reset_index(drop=True).eval(expression, engine="python")
        what = "" if _is_mask(result, len(table)) else "not true or false of each row"
    except Exception as error:  # the expression is the user's: anything can come of it
        what = f"{type(error).__name__}: {error}"
    if what:
        columns = ", ".join(str(column) for column in table.columns)
        raise DuctaflowError(f"--ductaflow-where {expression!r}: {what}. Columns here: {columns}")
    return [bool(keep) for keep in pd.Series(result, dtype="boolean").fillna(False)]


def _is_mask(result: Any, length: int) -> bool:
    # Objects, too: the parts of a text column with empty cells are True, False and NaN.
    inferred = pd.api.types.infer_dtype(result, skipna=True) if np.ndim(result) == 1 else ""
    return inferred in ("boolean", "empty") and len(result) == length
