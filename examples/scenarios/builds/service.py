# %% [markdown]
# # Service
# From inhabitants to buses: runs `demand`, then `fleet` on what it left.

# %% tags=["parameters"]
config = {}

# %%
import json
from pathlib import Path

from ductaflow import is_notebook_execution, load_cli_config, run_notebook, unpack_config

if not is_notebook_execution():
    config = load_cli_config("config/builds/service.json", "Service")
vars().update(unpack_config(config, "Service", locals()))
flows = _project_root / "flows"

# %%
run_notebook(flows / "demand.py", config=config, execution_dir="runs/demand")
run_notebook(
    flows / "fleet.py",
    config={**config, "demand": "../demand/results.json"},
    execution_dir="runs/fleet",
)

# %%
buses = json.loads(Path("runs/fleet/results.json").read_text())["buses"]
with open("results.json", "w") as file:
    json.dump({"buses": buses, "buses_per_1000": 1000 * buses / inhabitants}, file)
