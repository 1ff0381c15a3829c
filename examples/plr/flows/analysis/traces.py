# %% [markdown]
# # Pupils: what the classifiers see
#
# The light goes on after two seconds. The pupil of an eye with glaucoma constricts less. The only figure that
# needs the private directory: without it, all others are made, and this one is skipped. Its JSON names the
# subjects and leaves their traces out: a trace can be recognised.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from study.figures import save

# %% tags=["parameters"]
config = {}

# %%
traces = pd.read_csv(Path(_project_root, private, "demo_traces.csv"), index_col="seconds")

# %%
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for code, trace in traces.items():
    axes.plot(trace, color="tab:red" if code.startswith("G") else "tab:blue", linewidth=1, label=code)
axes.set(xlabel="seconds", ylabel="diameter of the pupil (%)")
axes.legend(ncols=2)
save(figure, "traces", {"subjects": list(traces)})
