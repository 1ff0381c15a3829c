# %% [markdown]
# # Decision curves: who is better off?
#
# Whoever would send a patient to the specialist at a risk of 10 % holds a missed glaucoma for nine times as
# bad as a needless visit. A classifier is of use at that threshold if its net benefit is above that of
# sending everybody, and of sending nobody.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from study.checkpoint import query
from study.figures import save
from study.measures import net_benefit

# %% tags=["parameters"]
config = {}

# %%
predictions = query(
    Path(_project_root, checkpoint),
    """SELECT classifier, glaucoma, p FROM predictions JOIN runs USING (run)
    WHERE outliers = $outliers AND imputation = $imputation ORDER BY classifier, subject""",
    outliers=outliers,
    imputation=imputation,
)
thresholds = np.linspace(0.02, 0.6, 59).round(2)

# %%
curves = {
    classifier: [net_benefit(part["glaucoma"], part["p"], t) for t in thresholds]
    for classifier, part in predictions.groupby("classifier")
}
first = predictions[predictions["classifier"] == predictions["classifier"].iloc[0]]
curves["everybody"] = [net_benefit(first["glaucoma"], np.ones(len(first)), t) for t in thresholds]

# %%
figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
for classifier, curve in curves.items():
    style = {"color": "0.5", "linestyle": "--"} if classifier == "everybody" else {}
    axes.plot(thresholds, curve, label=classifier, **style)
axes.axhline(0, color="0.5", linestyle=":", label="nobody")
axes.set(
    xlabel="threshold",
    ylabel="net benefit",
    ylim=(-0.05, None),
    title=f"outliers {outliers}, gaps {imputation}",
)
axes.legend()
save(figure, "decisions", {"thresholds": thresholds.tolist(), "net_benefit": curves})
