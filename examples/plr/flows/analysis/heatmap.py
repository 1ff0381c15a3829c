# %% [markdown]
# # Does cleaning the signal matter?
#
# AUROC by method against outliers and method against gaps, the mean over classifiers. If the columns differ
# more than the classifiers do, effort belongs there.

# %%
from pathlib import Path

import matplotlib.pyplot as plt

from study.checkpoint import query
from study.figures import save

# %% tags=["parameters"]
config = {}

# %%
runs = query(Path(_project_root, checkpoint), "SELECT outliers, imputation, auroc FROM runs ORDER BY run")
table = runs.pivot_table(index="imputation", columns="outliers", values="auroc", aggfunc="mean")

# %%
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
image = axes.imshow(table, cmap="viridis")
for row, values in enumerate(table.to_numpy()):
    for column, value in enumerate(values):
        axes.text(column, row, f"{value:.3f}", ha="center", va="center", color="white")
axes.set_xticks(range(len(table.columns)), table.columns)
axes.set_yticks(range(len(table)), table.index)
axes.set(xlabel="outliers", ylabel="gaps")
figure.colorbar(image, label="AUROC, mean over classifiers")
save(figure, "heatmap", table.to_dict())
