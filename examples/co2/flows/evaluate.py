# %% [markdown]
# # Evaluate: the years that the fit has not seen
#
# The fitted model is carried on over the held-out years and compared with what was measured there,
# and with a forecast that anybody could make without a model.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from design_matrix import design_matrix, rounding_level
from ductaflow import is_notebook_execution, load_cli_config, unpack_config

# %% tags=["parameters"]
config = {}

# %%
if not is_notebook_execution():
    config = load_cli_config("config/flows/evaluate.json", "Evaluate the forecast")
vars().update(unpack_config(config, "Evaluate", locals()))

# %%
train = pd.read_csv(Path(prepare_dir) / "train.csv", index_col="month", parse_dates=True)["co2"]
test = pd.read_csv(Path(prepare_dir) / "test.csv", index_col="month", parse_dates=True)["co2"]
coefficients = pd.read_csv(Path(fit_dir) / "coefficients.csv", index_col="regressor")["coefficient"]
fit = json.loads((Path(fit_dir) / "fit.json").read_text())

model = {key: fit[key] for key in ("degree", "harmonics", "epoch")}
X_train = design_matrix(train.index, **model)
X_test = design_matrix(test.index, **model)
forecast = X_test @ coefficients

# %% [markdown]
# ## A 95% interval
#
# The textbook interval of least squares: the scatter of single months plus the uncertainty of the
# coefficients, which grows with the distance from the training months. It assumes that the model is
# right and that errors are independent. Neither holds here, so expect it to be too narrow; the
# coverage below says by how much.

# %%
leverage = ((X_test @ np.linalg.pinv(X_train, rcond=rounding_level(X_train))) ** 2).sum(axis=1)
quantile = stats.t.ppf(0.975, fit["degrees_of_freedom"])
half_width = quantile * fit["residual_sd"] * np.sqrt(1 + leverage)

# %% [markdown]
# ## A forecast without a model
#
# Each month is that month of the last training year plus the mean growth since then (a "seasonal
# naive forecast with drift"). A model that does worse has not earned its coefficients.

# %%
growth = train.asfreq("MS").diff(12).mean()  # ppm per year, over the training window
last = pd.DataFrame({"co2": train, "year": train.index.year}).groupby(train.index.month).last()
last = last.loc[test.index.month].set_index(test.index)
naive = last["co2"] + growth * (test.index.year - last["year"])

# %%
error = forecast - test  # positive: the forecast is too high
summary = {
    "rmse": float(np.sqrt((error**2).mean())),
    "mae": float(error.abs().mean()),
    "bias": float(error.mean()),
    "coverage": float((error.abs() <= half_width).mean()),
    "rmse_naive": float(np.sqrt(((naive - test) ** 2).mean())),
}
ratio = summary["rmse"] / fit["rmse_train"]
print(f"RMSE {summary['rmse']:.2f} ppm, {ratio:.1f} times that of the training months")
print(f"Mean absolute error {summary['mae']:.2f} ppm, bias {summary['bias']:+.2f} ppm")
print(f"The 95% interval covers {summary['coverage']:.0%} of the months")
print(f"RMSE of the forecast without a model: {summary['rmse_naive']:.2f} ppm")

# An extrapolated trend drifts off: with this record, five years cost up to three times the training
# error. Far beyond that, a good fit says nothing about the forecast any more.
if ratio > max_error_ratio:
    print(
        f"⚠️ Test errors dwarf training errors: RMSE {summary['rmse']:.2f} ppm is {ratio:.1f} times "
        f"{fit['rmse_train']:.2f} ppm. A trend of degree {fit['degree']} fits this window, "
        "but does not go on like that."
    )

# %%
figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
axes.plot(train.iloc[-24:], color="0.6", label="training months (the last two years)")
axes.plot(test, color="black", label="held-out months")
axes.plot(forecast, color="tab:blue", label=f"forecast, RMSE {summary['rmse']:.2f} ppm")
axes.fill_between(
    test.index,
    forecast - half_width,
    forecast + half_width,
    color="tab:blue",
    alpha=0.15,
    linewidth=0,
    label=f"95% interval, covers {summary['coverage']:.0%}",
)
label = f"without a model, RMSE {summary['rmse_naive']:.2f} ppm"
axes.plot(naive, color="tab:green", linestyle=":", label=label)
axes.set(
    title=f"Mauna Loa CO₂, forecast against record (degree {fit['degree']}, harmonics {fit['harmonics']})",
    ylabel="CO₂ (ppm)",
)
axes.legend(loc="upper left")
figure.savefig("evaluate.png", dpi=120)

# %%
table = pd.DataFrame({"co2": test, "forecast": forecast, "half_width": half_width, "naive": naive})
table.to_csv("forecast.csv")
with open("evaluate.json", "w") as file:
    json.dump(summary, file, indent=2)
