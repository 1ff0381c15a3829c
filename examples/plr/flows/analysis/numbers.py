# %% [markdown]
# # The numbers of the paper
#
# LaTeX commands for the text (`\bestAuroc`) and one table, so that nobody copies a digit by hand. In a
# paper, a zero is nearly always a join that found nothing, and a `nan` never meant: neither gets out of
# here.

# %%
import json
from pathlib import Path

from study.checkpoint import query

# %% tags=["parameters"]
config = {}

# %%
database = Path(_project_root, checkpoint)
runs = query(database, "SELECT * FROM runs ORDER BY auroc DESC, run")
subjects = query(database, "SELECT DISTINCT subject, glaucoma FROM predictions")
best = runs.iloc[0]
by_outliers = runs.groupby("outliers")["auroc"].mean()
by_classifier = runs.groupby("classifier")["auroc"].mean()
numbers = {
    "runs": f"{len(runs)}",
    "subjects": f"{len(subjects)}",
    "glaucoma": f"{subjects['glaucoma'].sum()}",
    "bestAuroc": f"{best['auroc']:.3f}",
    "bestLow": f"{best['auroc_low']:.3f}",
    "bestHigh": f"{best['auroc_high']:.3f}",
    "worstAuroc": f"{runs['auroc'].min():.3f}",
    "spreadOutliers": f"{by_outliers.max() - by_outliers.min():.4f}",
    "spreadClassifiers": f"{by_classifier.max() - by_classifier.min():.4f}",
}

# %% [markdown]
# ## The best run of each classifier

# %%
columns = {
    "auroc": 3,
    "auroc_low": 3,
    "auroc_high": 3,
    "slope": 2,
    "intercept": 3,
    "o_e": 2,
    "brier": 3,
    "net_benefit": 3,
}
table = runs.drop_duplicates("classifier").set_index("classifier")
cells = {
    classifier: {name: f"{row[name]:.{digits}f}" for name, digits in columns.items()}
    for classifier, row in table.iterrows()
}

# %% [markdown]
# ## No zero, nothing missing
#
# What counts is what is printed: `0.00` is a zero, whatever was rounded to it.

# %%
printed = {
    **numbers,
    **{f"{row} {name}": text for row, texts in cells.items() for name, text in texts.items()},
}
wrong = {
    name: text for name, text in printed.items() if not abs(float(text)) > 0
}  # nan is not above 0 either
assert not wrong, f"zero or missing: {', '.join(f'{name} is {text}' for name, text in wrong.items())}"

# %%
commands = [f"\\newcommand{{\\{name}}}{{{text}}}\n" for name, text in numbers.items()]
Path("numbers.tex").write_text("".join(commands))
rows = [["classifier", *columns], *([name, *texts.values()] for name, texts in cells.items())]
lines = [" & ".join(row).replace("_", r"\_") + r" \\" for row in rows]
begin, end = rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\end{tabular}"
Path("table.tex").write_text("\n".join([begin, *lines, end, ""]))
runs[["classifier", "outliers", "imputation", "auroc"]].to_csv("auroc.csv", index=False)
with open("numbers.json", "w") as file:
    json.dump({name: float(text) for name, text in numbers.items()}, file, indent=1)
print(f"best: {best['run']}, AUROC {best['auroc']:.3f}")
