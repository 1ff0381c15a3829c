# %% [markdown]
# # Buses for a growing town
# The smallest project there is: no data, two flows, a build, a few scenarios. It ends with all
# colours: most instances green, one orange (it prints a warning), one red (too many buses).
#
# `python conductor.py` runs it here and now; `pytest --ductaflow conductor.py` makes each instance
# a test item.

# %%
from ductaflow import run_step_flow

from pytest_ductaflow import conduct, grid

town = {"inhabitants": 80_000, "trips_per_day": 2.4, "seats": 45, "trips_per_bus": 40, "depot_size": 40}

# %% [markdown]
# ## As a loop
# The way of existing ductaflow projects: one call per instance.

# %%
for year in (2030, 2040, 2050):
    run_step_flow("flows/demand.py", "demand", f"year_{year}", {**town, "year": year, "bus_share": 0.2})

# %% [markdown]
# ## As a table
# `grid` makes all combinations; every row is an instance of the build.

# %%
conduct(
    "builds/service.py",
    grid(year=[2030, 2040], bus_share=[0.2, 0.3, 0.4]),
    base=town,
)
