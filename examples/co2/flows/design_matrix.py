"""The regressors, shared by `fit` and `evaluate`: both must see the same model."""

import numpy as np
import pandas as pd


def design_matrix(months: pd.DatetimeIndex, degree: int, harmonics: int, epoch: float) -> pd.DataFrame:
    """A polynomial trend and an annual cycle, one row per month, one column per regressor.

    Args:
        months: First day of each month; a monthly mean is taken to hold for the month's middle.
        degree: Of the polynomial in t, the years since `epoch`.
        harmonics: Number of cosine-sine pairs, with periods of 1, 1/2, 1/3, … year.
        epoch: The year in which t is 0.
    """
    year = np.asarray(months.year + (months.month - 0.5) / 12)
    t = year - epoch
    columns = {f"t^{power}": t**power for power in range(degree + 1)}
    for k in range(1, harmonics + 1):
        columns[f"cos {k}"] = np.cos(2 * np.pi * k * year)
        columns[f"sin {k}"] = np.sin(2 * np.pi * k * year)
    return pd.DataFrame(columns, index=months)


def rounding_level(X: pd.DataFrame) -> float:
    """The share of the largest singular value below which a singular value is rounding noise.

    The usual bound, and NumPy's own in `lstsq` and `matrix_rank`: the machine epsilon (2.2e-16)
    times the longer side of the matrix.
    """
    return float(np.finfo(float).eps * max(X.shape))
