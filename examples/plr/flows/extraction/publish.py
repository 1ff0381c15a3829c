# %% [markdown]
# # The checkpoint: all runs in one public database
#
# What all runs have found, with the codes of the world in place of the clinic's. The analysis starts here,
# and so can anybody who gets this one file. It is made and looked at in the run directory, and put into its
# place only if everything is as it should be.

# %%
import json
import os
import re
import shutil
from pathlib import Path

import duckdb
import pandas as pd

from study.checkpoint import tables

# %% tags=["parameters"]
config = {}

# %%
root = Path(_project_root)
code_of = pd.read_csv(root / lookup, index_col="subject")["code"]
measured, predicted = [], []
for name, folder in ((Path(run).name, root / run) for run in runs):
    measured.append({"run": name, **json.loads((folder / "measures.json").read_text())})
    predicted.append(pd.read_csv(folder / "predictions.csv").assign(run=name))
measured, predicted = pd.DataFrame(measured), pd.concat(predicted)

# %% [markdown]
# ## The border
#
# Here the codes are translated, and nowhere else. A subject without a code stops everything, and is not
# named: this text can be read in places that the code must not reach.

# %%
unknown = predicted[~predicted["subject"].isin(code_of.index)]
if len(unknown):
    raise ValueError(
        f"subjects without a code in {lookup}: {unknown['subject'].nunique()}, the first in run "
        f"{unknown['run'].iloc[0]}; add them to the clinic's list of subjects; nothing is published"
    )
predicted["subject"] = predicted["subject"].map(code_of)
predicted = predicted[["run", "subject", "glaucoma", "p", "p_low", "p_high"]].sort_values(["run", "subject"])

# %%
with duckdb.connect("plr.duckdb") as database:
    database.sql("CREATE TABLE runs AS SELECT * FROM measured ORDER BY run")
    database.sql("CREATE TABLE predictions AS SELECT * FROM predicted")

# %% [markdown]
# ## Is everything there?
#
# Each run has one prediction for each subject, and none is missing.

# %%
found = tables("plr.duckdb")
subjects = set(found["predictions"]["subject"])
complete = (
    found["predictions"].dropna().groupby("run")["subject"].agg(lambda of: sorted(of) == sorted(subjects))
)
lacking = [name for name in found["runs"]["run"] if not complete.get(name, default=False)]
assert len(found["runs"]) == len(runs), (
    f"{len(found['runs'])} runs in the database, {len(runs)} were measured"
)
assert not lacking, f"not one prediction for each of {len(subjects)} subjects: {', '.join(lacking)}"

# %% [markdown]
# ## Is nothing there that must not be?
#
# No column of any table has an original code, in its name or in its values; nor have the bytes of the file.

# %%
original = re.compile(pattern)
columns = {f"{table}.{column}": frame[column] for table, frame in found.items() for column in frame}
leaks = [name for name, values in columns.items() if original.search(f"{name} {values.tolist()}")]
assert not leaks, f"original codes in {', '.join(leaks)}: nothing is published"
assert not re.search(pattern.encode(), Path("plr.duckdb").read_bytes()), (
    "original codes in the bytes of the file"
)

# %% [markdown]
# ## Published
#
# DuckDB gives each database an id of its own. So if all rows are as they were, the old one is published
# once more: nothing of block 2 has to run again. A reader sees the old database or the new one, and never
# half of one.

# %%
target = root / checkpoint
target.parent.mkdir(exist_ok=True)
old = tables(target) if target.exists() else {}
if old.keys() == found.keys() and all(frame.equals(old[name]) for name, frame in found.items()):
    print("all is as it was published before")
    shutil.copyfile(target, "plr.duckdb")
shutil.copyfile("plr.duckdb", f"{target}.new")
os.replace(f"{target}.new", target)
with open("results.json", "w") as file:
    json.dump({"runs": len(runs), "subjects": len(subjects), "predictions": len(predicted)}, file)
print(f"{checkpoint}: {len(runs)} runs, {len(subjects)} subjects, {target.stat().st_size / 1e6:.1f} MB")
