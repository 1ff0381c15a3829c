# %% [markdown]
# # Fit: trend and annual cycle
#
# A polynomial carries the rise of CO₂, a few harmonics of the year carry the breathing of the
# vegetation; both are fitted to the training months in one go, by least squares.

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
# In calendar years, t² and t³ are nearly straight lines between 1958 and 1996: the columns of the
# design matrix almost depend on each other. The condition number says how much.

# %%
# Solving loses about log10(condition) of the 16 decimal digits of a float. At 1 / rounding_level,
# about 1e13, the smallest singular value is no longer different from rounding noise. `lstsq` then
# drops that direction without a word: it returns the shortest of many equally good solutions, and
# what comes out is a poorer model than the one that was asked for.
condition = singular_values[0] / singular_values[-1]
limit = 1 / rounding_level(X)
print(f"Condition number {condition:.1e}, limit {limit:.1e}, rank {rank} of {X.shape[1]}")
if condition > limit:
    print(
        f"⚠️ Ill-conditioned: condition number {condition:.1e} is above {limit:.0e}, so only {rank} of "
        f"{X.shape[1]} coefficients are determined: this is not the polynomial of degree {degree} it claims "
        f"to be. Count time from nearer the data (now epoch={epoch}; 1980 would do)."
    )

# %% [markdown]
# ## How good is it on the months it has seen?
#
# Residuals of successive months resemble each other (El Niño years, a trend that is no polynomial).
# Their lag-1 autocorrelation is kept, because it tells how far to trust intervals that assume
# independent errors.

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
figure, (above, below) = plt.subplots(2, sharex=True, figsize=(9, 5.5), height_ratios=[2, 1], layout="constrained")
above.plot(monthly["co2"], color="0.6", label="monthly means")
above.plot(monthly["fitted"], color="tab:blue", linewidth=1, label=f"degree {degree}, harmonics {harmonics}")
above.set(title="Mauna Loa CO₂, training months", ylabel="CO₂ (ppm)")
above.legend()
below.axhline(0, color="0.6", linewidth=1)
below.plot(monthly["residual"], color="tab:blue", linewidth=1)
below.set(ylabel="record − fit (ppm)")
figure.savefig("fit.png", dpi=120)

# %%
pd.Series(coefficients, index=X.columns, name="coefficient").to_csv("coefficients.csv", index_label="regressor")
fitted.to_csv("fitted.csv", header=["co2"])
with open("fit.json", "w") as file:
    json.dump(summary, file, indent=2)
