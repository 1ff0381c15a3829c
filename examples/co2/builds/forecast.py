# %% [markdown]
# # Forecast: prepare, fit, evaluate
#
# The three flows in a row. Each runs in its own directory below this one and finds what the earlier
# ones have left in the neighbouring directories; the build itself leaves `results.json`.

# %%
import json
from pathlib import Path

from ductaflow import is_notebook_execution, load_cli_config, run_notebook, unpack_config

# %% tags=["parameters"]
config = {}

# %%
if not is_notebook_execution():
    config = load_cli_config("config/builds/forecast.json", "Forecast CO2")
vars().update(unpack_config(config, "Forecast", locals()))
flows = _project_root / "flows"

# %%
run_notebook(
    flows / "prepare.py",
    config={"window": window, "test_from": test_from, "min_weeks": min_weeks},
    execution_dir="runs/prepare",
    project_root=_project_root,
)

# %%
run_notebook(
    flows / "fit.py",
    config={"prepare_dir": "../prepare", "degree": degree, "harmonics": harmonics, "epoch": epoch},
    execution_dir="runs/fit",
    project_root=_project_root,
)

# %%
run_notebook(
    flows / "evaluate.py",
    config={"prepare_dir": "../prepare", "fit_dir": "../fit", "max_error_ratio": max_error_ratio},
    execution_dir="runs/evaluate",
    project_root=_project_root,
)

# %%
results = {}
for step in ("prepare", "fit", "evaluate"):
    results |= json.loads(Path(f"runs/{step}/{step}.json").read_text())
with open("results.json", "w") as file:
    json.dump(results, file, indent=2)
print(f"RMSE {results['rmse']:.2f} ppm over {results['months_test']} months")
