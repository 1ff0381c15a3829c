# %% [markdown]
# # Prepare: from weeks to months
#
# The CO₂ record of Mauna Loa, 1958 to 2001, comes as weekly values in ppm, some of them missing.
# This step averages them by month, cuts out the training window and holds back the last years as a
# test. A month with too few measured weeks is left out, not filled in: least squares can do without
# it, and an interpolated value would later pass for a measured one.

# %%
import json

import pandas as pd
from statsmodels.datasets import co2

from ductaflow import is_notebook_execution, load_cli_config, unpack_config

# %% tags=["parameters"]
config = {}

# %%
if not is_notebook_execution():
    config = load_cli_config("config/flows/prepare.json", "Prepare monthly means of CO2")
vars().update(unpack_config(config, "Prepare", locals()))

# %% [markdown]
# ## Monthly means
#
# Even two missing weeks matter: in late summer, when CO₂ falls by almost 2 ppm a month, they shift
# the mean by up to half a ppm.

# %%
weekly = co2.load_pandas().data["co2"]
by_month = weekly.resample("MS")
monthly = pd.DataFrame({"co2": by_month.mean(), "weeks": by_month.count()}).rename_axis("month")

first, _, last = window.partition("-")  # "1980-" or "1980-1990"
train = monthly.loc[first : last or None]
train = train[train.index < pd.Timestamp(test_from)]
test = monthly.loc[test_from:]

# %% [markdown]
# ## Gaps
#
# The months that are left out, with the number of weeks that were measured:

# %%
in_use = pd.concat([train, test])
left_out = in_use[in_use["weeks"] < min_weeks]
left_out

# %%
train = train[train["weeks"] >= min_weeks]
test = test[test["weeks"] >= min_weeks]
if train.empty or test.empty:
    raise ValueError(
        f"window {window!r} and test_from {test_from!r} leave {len(train)} months for training "
        f"and {len(test)} for the test"
    )

summary = {
    "months_train": len(train),
    "months_test": len(test),
    "months_unmeasured": int((left_out["weeks"] == 0).sum()),
    "months_too_few_weeks": int((left_out["weeks"] > 0).sum()),
}
print(f"Training: {len(train)} months, {train.index[0]:%b %Y} to {train.index[-1]:%b %Y}")
print(f"Test: {len(test)} months, {test.index[0]:%b %Y} to {test.index[-1]:%b %Y}")
print(
    f"Left out: {summary['months_unmeasured']} months without a value, "
    f"{summary['months_too_few_weeks']} with fewer than {min_weeks} weeks"
)

# One month in ten is where gaps stop being a detail: a season may then be missing altogether.
if len(left_out) > 0.1 * len(in_use):
    print(f"⚠️ {len(left_out)} of {len(in_use)} months are left out; is min_weeks={min_weeks} too strict?")

# %%
train.to_csv("train.csv")
test.to_csv("test.csv")
with open("prepare.json", "w") as file:
    json.dump(summary, file, indent=2)
