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
# A mean over two weeks of a month is worth less than one over five, but in spring and autumn, when
# CO₂ changes fastest, even a missing half month shifts the mean by only a few tenths of a ppm.

# %%
weekly = co2.load_pandas().data["co2"]
by_month = weekly.resample("MS")
monthly = pd.DataFrame({"co2": by_month.mean(), "weeks": by_month.count()}).rename_axis("month")

first, _, last = window.partition("-")  # "1980-" or "1980-1990"
in_test = monthly.index >= pd.Timestamp(test_from)
in_train = monthly.index.isin(monthly.loc[first : last or None].index) & ~in_test

# %% [markdown]
# ## Gaps
#
# The months of training and test that are left out:

# %%
in_use = monthly[in_train | in_test]
too_few = in_use[in_use["weeks"] < min_weeks]
too_few

# %%
train = monthly[in_train & (monthly["weeks"] >= min_weeks)]
test = monthly[in_test & (monthly["weeks"] >= min_weeks)]
if train.empty or test.empty:
    raise ValueError(f"window {window!r} and test_from {test_from!r} leave {len(train)} months to train, {len(test)} to test")

summary = {
    "months_train": len(train),
    "months_test": len(test),
    "months_unmeasured": int((too_few["weeks"] == 0).sum()),
    "months_too_few_weeks": int((too_few["weeks"] > 0).sum()),
}
print(f"Training: {len(train)} months, {train.index[0]:%b %Y} to {train.index[-1]:%b %Y}")
print(f"Test: {len(test)} months, {test.index[0]:%b %Y} to {test.index[-1]:%b %Y}")
print(f"Left out: {summary['months_unmeasured']} months without a value, {summary['months_too_few_weeks']} with fewer than {min_weeks} weeks")

# One month in ten is where gaps stop being a detail: a season may then be missing altogether.
if len(too_few) > 0.1 * len(in_use):
    print(f"⚠️ {len(too_few)} of {len(in_use)} months are left out; is min_weeks={min_weeks} too strict?")

# %%
train.to_csv("train.csv")
test.to_csv("test.csv")
with open("prepare.json", "w") as file:
    json.dump(summary, file, indent=2)
