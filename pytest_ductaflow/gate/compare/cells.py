"""Return the cells of tables as plain Python values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .values import Array


def plain(value: object) -> object:
    """Return a cell as a plain Python value, None if it is missing; also inside lists and objects."""
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if value is None or pd.isna(value):  # type: ignore[call-overload]
        return None
    return value.item() if isinstance(value, np.generic) else value


def plain_objects(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with plain values in its columns of objects."""
    columns = {
        name: pd.Series([plain(cell) for cell in table[name]], dtype=object, index=table.index)
        for name in table.columns
        if table[name].dtype == object
    }
    return table.assign(**columns) if columns else table


def objects_in(column: Any) -> Array:
    """Return the cells as objects, None for missing ones: pandas' NA cannot be compared with anything.

    Integers stay exact, also those of a categorical column, which pandas makes floats if one is missing.
    """
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.to_numpy(dtype=object, na_value=None))
    categories = column.cat.categories
    objects: Array = np.full(len(categories) + 1, None, dtype=object)
    objects[:-1] = categories.astype(object)
    codes: Array = column.cat.codes.to_numpy()
    return objects[codes]  # a missing cell has the code -1, which is the last one
