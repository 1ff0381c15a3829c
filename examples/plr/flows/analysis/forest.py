# %% [markdown]
# # Forest plot: how well each pipeline tells the sick from the healthy
#
# A line for each run: AUROC and its 95 % interval. Where intervals overlap as they do here, a ranking of
# classifiers by a hundredth says nothing.

# %%
from pathlib import Path

import matplotlib.pyplot as plt

from study.checkpoint import query
from study.figures import save

# %% tags=["parameters"]
config = {}

# %%
runs = query(
    Path(_project_root, checkpoint),
    "SELECT run, classifier, auroc, auroc_low, auroc_high FROM runs ORDER BY classifier DESC, auroc",
)

# %%
figure, axes = plt.subplots(figsize=(7, 1.5 + 0.15 * len(runs)), layout="constrained")
for classifier, part in runs.groupby("classifier"):
    errors = [part["auroc"] - part["auroc_low"], part["auroc_high"] - part["auroc"]]
    axes.errorbar(
        part["auroc"], part.index, xerr=errors, fmt="o", markersize=3, linewidth=1, label=classifier
    )
axes.axvline(0.5, color="0.6", linestyle=":")
axes.set(xlabel="AUROC (95 % interval)", yticks=runs.index, ylim=(-1, len(runs)), title="Glaucoma, test set")
axes.set_yticklabels(runs["run"], fontsize=6)
axes.legend(loc="lower left")
save(figure, "forest", runs.to_dict("records"))
