# %% [markdown]
# # Fleet
# The buses that it takes to carry these riders. Reads what the flow `demand` left.

# %% tags=["parameters"]
config = {}

# %%
import json
import math
from pathlib import Path

from ductaflow import is_notebook_execution, load_cli_config, unpack_config

if not is_notebook_execution():
    config = load_cli_config("config/flows/fleet.json", "Fleet")
vars().update(unpack_config(config, "Fleet", locals()))

# %%
riders = json.loads(Path(demand).read_text())["riders"]
buses = math.ceil(riders / 365 / (seats * trips_per_bus))
print(f"{buses} buses")

# %%
if buses > depot_size:
    raise ValueError(f"{buses} buses do not fit into a depot for {depot_size}")

# %%
with open("results.json", "w") as file:
    json.dump({"buses": buses}, file)
