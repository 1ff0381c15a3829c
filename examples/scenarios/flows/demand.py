# %% [markdown]
# # Demand
# How many people ride the bus in a year: inhabitants × trips × the share of the bus.

# %% tags=["parameters"]
config = {}

# %%
import json

from ductaflow import is_notebook_execution, load_cli_config, unpack_config

if not is_notebook_execution():
    config = load_cli_config("config/flows/demand.json", "Demand")
vars().update(unpack_config(config, "Demand", locals()))

# %%
growth = 1.01 ** (year - 2025)
riders = inhabitants * growth * trips_per_day * bus_share * 365
print(f"{riders / 1e6:.2f} million riders in {year}")
if year > 2045:
    print("⚠️ growth is extrapolated beyond 2045, where the forecast ends")

# %%
with open("results.json", "w") as file:
    json.dump({"riders": round(riders)}, file)
