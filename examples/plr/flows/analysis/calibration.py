# %% [markdown]
# # Calibration: does 30 % mean 30 %?
#
# Points are groups of subjects with similar predictions, lines are logistic recalibrations. A line that is
# flatter than the diagonal belongs to a classifier that is too sure of itself.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from study.checkpoint import query
from study.figures import save
from study.measures import fit_logistic, logit

# %% tags=["parameters"]
config = {}

# %%
predictions = query(
    Path(_project_root, checkpoint),
    """SELECT classifier, glaucoma, p FROM predictions JOIN runs USING (run)
    WHERE outliers = $outliers AND imputation = $imputation ORDER BY classifier, p""",
    outliers=outliers,
    imputation=imputation,
)

# %%
curves = {}
for classifier, part in predictions.groupby("classifier"):
    x = logit(part["p"])
    a, b = fit_logistic(np.column_stack([np.ones_like(x), x]), part["glaucoma"].to_numpy(dtype=float))
    bins = [chunk.mean() for chunk in np.array_split(part["p"].to_numpy(), groups)]
    shares = [chunk.mean() for chunk in np.array_split(part["glaucoma"].to_numpy(dtype=float), groups)]
    line = np.linspace(part["p"].min(), part["p"].max(), 50)
    curve = 1 / (1 + np.exp(-(a + b * logit(line))))
    curves[classifier] = {
        "predicted": bins,
        "observed": shares,
        "line": line.tolist(),
        "curve": curve.tolist(),
    }

# %%
figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
axes.plot([0, 1], [0, 1], color="0.6", linestyle=":")
for classifier, found in curves.items():
    (drawn,) = axes.plot(found["line"], found["curve"], label=classifier)
    axes.plot(found["predicted"], found["observed"], "o", color=drawn.get_color())
axes.set(
    xlabel="predicted probability",
    ylabel="share with glaucoma",
    title=f"outliers {outliers}, gaps {imputation}",
)
axes.legend()
save(figure, "calibration", curves)
