# %% [markdown]
# # A morning in the corridor
#
# Commuters choose between the car and public transport, and cars get into each other's way. The
# choice is a logit of costs in euros; the delay on the road is the usual one of the Bureau of Public
# Roads, t = t₀ (1 + 0.15 (v/c)⁴). Both are repeated until they agree.

# %%
import json

import matplotlib.pyplot as plt
import numpy as np

# %% tags=["parameters"]
config = {}

# %% [markdown]
# ## Demand and supply

# %%
hours = np.arange(6, 11, 0.25)  # beginnings of quarters of an hour
profile = np.exp(-(((hours - 7.9) / 0.9) ** 2))
demand = commuters * (1 + growth) ** (year - 2025) * profile / profile.sum()

# Quarters of an hour between two trains; from 2040 on, nobody has planned any.
timetable = {2025: 1.0, 2030: 0.66, 2035: 0.5}
if mode == "rail" and year not in timetable:
    raise ValueError(f"no timetable of the railway for {year}: it ends in {max(timetable)}")
headway = timetable[year] if mode == "rail" else 0.66
speed = {"bus": 27, "rail": 52, "road": 24}[mode]
transit_minutes = 60 * length_km / speed + 15 * headway / 2
capacity = (lanes + (mode == "road")) * 2100 / 4  # cars per quarter

# %% [markdown]
# ## The equilibrium

# %%
free_minutes = 60 * length_km / 80
share = np.full_like(hours, 0.5)
for step in range(200):
    cars = demand * share / 1.1
    car_minutes = free_minutes * (1 + 0.15 * (cars / capacity) ** 4)
    car_cost = value_of_time * car_minutes / 60 + 0.18 * length_km + toll
    transit_cost = value_of_time * transit_minutes / 60 + 3.2 + 1.5
    wanted = 1 / (1 + np.exp(0.35 * (car_cost - transit_cost)))
    share += 0.1 * (wanted - share)

load = cars / capacity
minutes = float(np.average(share * car_minutes + (1 - share) * transit_minutes, weights=demand))
summary = {
    "minutes": minutes,
    "car_share": float(np.average(share, weights=demand)),
    "revenue": float(toll * cars.sum()),
    "tonnes_of_co2": float(cars.sum() * length_km * 0.15 / 1000),
}
print(f"{minutes:.1f} minutes on average, {summary['car_share']:.0%} by car")
if load.max() > 1.6:
    print(f"⚠️ the road is loaded to {load.max():.0%} at {hours[load.argmax()]:.2f} h: the delay is a guess")

# %% [markdown]
# ## The figure

# %%
figure, (above, below) = plt.subplots(2, sharex=True, figsize=(7, 5), layout="constrained")
above.fill_between(hours, 4 * demand, color="tab:green", alpha=0.35, step="post", label="public transport")
above.fill_between(hours, 4 * demand * share, color="tab:orange", step="post", label="car")
above.set(title=f"{mode}, {year}: toll {toll} €, growth {growth:.1%}", ylabel="commuters per hour", ylim=(0, 27_000))
above.legend(loc="upper right")
below.axhline(transit_minutes, color="tab:green", label="public transport")
below.step(hours, car_minutes, where="post", color="tab:orange", label="car")
below.set(xlabel="hour of the day", ylabel="minutes", ylim=(0, 110))
figure.savefig("corridor.png", dpi=110)

# %%
with open("results.json", "w") as file:
    json.dump(summary, file, indent=2)
