# %% [markdown]
# # Glaucoma from the pupil: a study in two blocks
#
# Does it matter how the pupil's signal is cleaned before a classifier looks for glaucoma in it? Five
# classifiers, four methods against outliers and three against gaps have been trained, and MLflow has logged
# the 60 runs. *Extraction* measures each of them and makes one public database of all, the checkpoint.
# *Analysis* starts from that alone: figures, tables and the numbers of the paper.
#
#     pytest --ductaflow examples/plr/conductor.py -n 2                    both blocks
#     pytest --ductaflow examples/plr/conductor.py -n 2 -k extraction      one
#     pytest --ductaflow examples/plr/conductor.py -n 2 -k analysis        the other

# %%
import os
from pathlib import Path

import pandas as pd

from pytest_ductaflow import conduct
from study.mlflow_runs import finished_runs
from study.synthetic import make_study

root = Path(__file__).parent
checkpoint = "public/plr.duckdb"

# %% [markdown]
# ## What is switched on
#
# The column `on` of `control.csv` switches groups of flows on and off; the environment variable
# `PLR_BLOCKS` leaves out a whole block. What is off gets a mark of that name, and `conftest.py` deselects
# it: unlike a row that is taken out, it keeps its results.

# %%
control = pd.read_csv(root / "control.csv")
blocks = os.environ.get("PLR_BLOCKS", "extraction analysis").split()
on = set(control["group"][control["on"] & control["block"].isin(blocks)])


def marks(group, *needs):
    """Return the marks of a group: what it needs to run, and whether it is switched off."""
    return [*needs] if group in on else [*needs, "off"]


# %% [markdown]
# ## The raw data
#
# In a study, they are there. Here they are made (in a second), unless there is something to start from.

# %%
if not (root / "mlruns").exists() and not (root / checkpoint).exists():
    make_study(root)
runs = finished_runs(root)

# %% [markdown]
# ## Block 1: extraction
#
# One instance for each run that is on disk. Its pickle may be on a drive that sleeps, and somebody may have
# the database open: what reads either has three attempts, with a pause. What is marked `private` needs the private
# directory, and is skipped where that is not.

# %%
patient = {"_retries": 2, "_retry_delay": "1s"}  # after one second, and then after two
published, coded = [], []
if runs:
    measured = conduct(
        "flows/extraction/measure.py",
        runs,
        step="extraction/runs",
        base={"threshold": 0.2, "least_slope": 0.5, **patient, "_marks": marks("runs")},
    )
    codes = {
        "instance_name": "codes",
        "private": "private",
        "seed": 63,
        "demo_subjects": 4,
        "_marks": marks("private", "private"),
    }
    coded = conduct("flows/extraction/private.py", [codes], step="extraction/private", after=[])
    database = {
        "instance_name": "checkpoint",
        "runs": [f"runs/extraction/runs/{run['instance_name']}" for run in runs],
        "lookup": "private/lookup.csv",
        "pattern": "PLR[0-9]{4}",
        "checkpoint": checkpoint,
        **patient,
        "_marks": marks("public", "private"),
    }
    published = conduct(
        "flows/extraction/publish.py", [database], step="extraction/public", after=measured + coded
    )

# %% [markdown]
# ## Block 2: analysis
#
# It waits for block 1 where that makes what it needs. Where it does not (a group is off, there are no runs,
# or no private directory), what is there will do.

# %%
if "public" not in on or not (root / "private").exists():
    published = []
if "private" not in on:
    coded = []
base = {"checkpoint": checkpoint, **patient, "_marks": marks("figures")}
reference = {"outliers": "by_hand", "imputation": "by_hand"}  # the signal as a human has cleaned it
figures = {"forest": {}, "calibration": {**reference, "groups": 5}, "decisions": reference, "heatmap": {}}
for name, settings in figures.items():
    row = {"instance_name": name, **settings}
    conduct(f"flows/analysis/{name}.py", [row], step="analysis/figures", base=base, after=published)

traces = {"instance_name": "traces", "private": "private", "_marks": marks("traces", "private")}
conduct("flows/analysis/traces.py", [traces], step="analysis/traces", after=coded)

numbers = {"instance_name": "numbers", **base, "_marks": marks("paper")}
conduct("flows/analysis/numbers.py", [numbers], step="analysis/paper", after=published)

boxes = {
    "instance_name": "boxes",
    "table": "runs/analysis/paper/numbers/auroc.csv",
    "_marks": marks("r", "r_kernel"),
}
conduct("flows/analysis/boxes.R", [boxes], step="analysis/r", after=[])
