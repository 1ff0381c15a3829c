# %% [markdown]
# # Fit: trend and annual cycle
#
# A polynomial in time follows the rise of CO₂, harmonics of the year follow its annual cycle, the
# breathing of the vegetation. Both are fitted to the training months at once, by least squares.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from design_matrix import design_matrix, rounding_level
from ductaflow import is_notebook_execution, load_cli_config, unpack_config

# %% tags=["parameters"]
config = {}

# %%
if not is_notebook_execution():
    config = load_cli_config("config/flows/fit.json", "Fit trend and annual cycle")
vars().update(unpack_config(config, "Fit", locals()))

# %%
train = pd.read_csv(Path(prepare_dir) / "train.csv", index_col="month", parse_dates=True)["co2"]
X = design_matrix(train.index, degree, harmonics, epoch)
coefficients, _, rank, singular_values = np.linalg.lstsq(X, train, rcond=rounding_level(X))
fitted = pd.Series(X.to_numpy() @ coefficients, index=train.index)
residuals = train - fitted

# %% [markdown]
# ## Can the coefficients be told apart?
#
# In calendar years, 1, t, t² and t³ look alike between 1958 and 1996: each is almost a straight
# line, so the columns of the design matrix nearly depend on each other, and their sizes differ by
# ten orders of magnitude. The condition number says what that costs.

# %%
# Solving loses about log10(condition) of the 16 decimal digits of a float. At 1 / rounding_level,
# about 1e13, the smallest singular value cannot be told from rounding noise. `lstsq` then leaves
# that direction out without a word and returns the shortest of the solutions that remain: a poorer
# model than the one that was asked for.
condition = singular_values[0] / singular_values[-1]
limit = 1 / rounding_level(X)
print(f"Condition number {condition:.1e}, limit {limit:.1e}, rank {rank} of {X.shape[1]}")
if condition > limit:
    print(
        f"⚠️ Ill-conditioned: condition number {condition:.1e}, limit {limit:.1e}. The fit has rank {rank} "
        f"with {X.shape[1]} regressors, so its trend is not really of degree {degree}. "
        f"Count the years from one amid the data, not from epoch={epoch}."
    )

# %% [markdown]
# ## How good is it on the months it has seen?
#
# Residuals of successive months resemble each other: CO₂ swings slowly about any smooth trend. Their
# lag-1 autocorrelation is kept, because it tells how far to trust intervals that assume independent
# errors.

# %%
degrees_of_freedom = len(train) - int(rank)
summary = {
    "degree": degree,
    "harmonics": harmonics,
    "epoch": epoch,
    "condition": float(condition),
    "rank": int(rank),
    "columns": X.shape[1],
    "degrees_of_freedom": degrees_of_freedom,
    "residual_sd": float(np.sqrt((residuals**2).sum() / degrees_of_freedom)),
    "rmse_train": float(np.sqrt((residuals**2).mean())),
    "residual_autocorrelation": float(residuals.asfreq("MS").autocorr(1)),  # pairs across gaps do not count
}
print(f"RMSE on the training months: {summary['rmse_train']:.2f} ppm")
print(f"Lag-1 autocorrelation of the residuals: {summary['residual_autocorrelation']:.2f}")

# %%
monthly = pd.DataFrame({"co2": train, "fitted": fitted, "residual": residuals}).asfreq("MS")  # gaps stay gaps
figure, (above, below) = plt.subplots(
    2, sharex=True, figsize=(9, 5.5), height_ratios=[2, 1], layout="constrained"
)
above.plot(monthly["co2"], color="0.6", label="monthly means")
above.plot(monthly["fitted"], color="tab:blue", linewidth=1, label=f"degree {degree}, harmonics {harmonics}")
above.set(title="Mauna Loa CO₂, training months", ylabel="CO₂ (ppm)")
above.legend()
below.axhline(0, color="0.6", linewidth=1)
below.plot(monthly["residual"], color="tab:blue", linewidth=1)
below.set(ylabel="record − fit (ppm)")
figure.savefig("fit.png", dpi=120)

# %%
table = pd.DataFrame({"coefficient": coefficients}, index=X.columns)
table.to_csv("coefficients.csv", index_label="regressor")
fitted.to_csv("fitted.csv", header=["co2"])
with open("fit.json", "w") as file:
    json.dump(summary, file, indent=2)
