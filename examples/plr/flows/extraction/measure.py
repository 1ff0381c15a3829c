# %% [markdown]
# # One run of MLflow, measured
#
# A run is a classifier, trained on pupil signals that one method has cleaned of outliers and another has
# filled up. It has logged, for each subject of the test set, the probability of glaucoma by 100 models, each
# trained on another bootstrap sample. Their mean is the prediction; their spread says how much of it is luck
# of the training (Riley & Collins, Biometrical Journal 65, 2023).

# %%
import json

import numpy as np
import pandas as pd

from study import measures
from study.mlflow_runs import read_predictions

# %% tags=["parameters"]
config = {}

# %%
logged = read_predictions(_project_root, folder)
p = logged["probability"].mean(axis=0, dtype=float)
p_low, p_high = np.quantile(logged["probability"], [0.025, 0.975], axis=0)
sick = logged["glaucoma"]

# %% [markdown]
# ## Discrimination, calibration, overall error, clinical use
#
# The formulas are in `study/measures.py`, each with its source.

# %%
low, high = measures.auroc_interval(sick, p)
found = {
    "auroc": measures.auroc(sick, p),
    "auroc_low": low,
    "auroc_high": high,
    **measures.calibration(sick, p),
    "brier": measures.brier(sick, p),
    "net_benefit": measures.net_benefit(sick, p, threshold),
}
print(f"AUROC {found['auroc']:.3f} ({low:.3f} to {high:.3f}), calibration slope {found['slope']:.2f}")
if found["slope"] < least_slope:
    print(f"⚠️ calibration slope {found['slope']:.2f}: these probabilities are far too extreme to be used")

# %% [markdown]
# ## What the run leaves
#
# The predictions still have the clinic's codes. They stay in the run directory; `publish` translates them.

# %%
table = pd.DataFrame(
    {"subject": logged["subject"], "glaucoma": sick, "p": p, "p_low": p_low, "p_high": p_high}
)
table.to_csv("predictions.csv", index=False)
with open("measures.json", "w") as file:
    json.dump(
        {"classifier": classifier, "outliers": outliers, "imputation": imputation, **found}, file, indent=1
    )
