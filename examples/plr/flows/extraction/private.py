# %% [markdown]
# # What stays private: the codes, and the traces of a few subjects
#
# The clinic calls a subject `PLR1234`. Whoever has that code has the medical record, so the world gets
# another one: `H001` for the healthy, `G001` for those with glaucoma, numbered in an order that was drawn by
# lot. The table of both never leaves the private directory.

# %%
from pathlib import Path

import pandas as pd

# %% tags=["parameters"]
config = {}

# %%
private = Path(_project_root, private)
subjects = pd.read_csv(private / "subjects.csv")

# %% [markdown]
# ## A code that was given stays
#
# Papers name it. So subjects who come later get the next numbers.

# %%
lookup = private / "lookup.csv"
known = pd.read_csv(lookup) if lookup.exists() else pd.DataFrame(columns=["subject", "code"])
new = subjects[~subjects["subject"].isin(known["subject"])].sample(frac=1, random_state=seed)
codes = dict(known.to_numpy())
for subject, glaucoma in new[["subject", "glaucoma"]].to_numpy():
    letter = "G" if glaucoma else "H"
    number = sum(code.startswith(letter) for code in codes.values()) + 1
    codes[subject] = f"{letter}{number:03d}"
pd.DataFrame(codes.items(), columns=["subject", "code"]).to_csv(lookup, index=False)
print(f"{len(codes)} subjects have a code, {len(new)} of them since now")

# %% [markdown]
# ## Traces to look at
#
# The pupil of the first subjects of each group, for one figure.

# %%
shown = sorted(code for code in codes.values() if int(code[1:]) <= demo_subjects)
traces = pd.read_csv(private / "recordings.csv", index_col="seconds").rename(columns=codes)[shown]
traces.to_csv(private / "demo_traces.csv")
