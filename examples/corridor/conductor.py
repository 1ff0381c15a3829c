"""A commuter corridor until 2050: 216 scenarios, one of whose inputs ends too early.

    pytest --ductaflow examples/corridor/conductor.py -n auto    each scenario is a test

All that build a railway fail from 2040 on: its timetable ends in 2035. The report says so.
"""

from pytest_ductaflow import conduct, grid, is_collecting, results

table = grid(
    mode=["bus", "rail", "road"],
    year=[2025, 2030, 2035, 2040, 2045, 2050],
    toll=[0, 2, 4, 6],
    growth=[0.005, 0.01, 0.02],
)
base = {"commuters": 26_000, "lanes": 4, "length_km": 24, "value_of_time": 14}
conduct("flows/corridor.py", table, base=base)

if not is_collecting():
    found = results()
    by_mode = found.groupby(["mode", "toll"])[["minutes", "car_share", "revenue"]].mean()
    print(by_mode.to_string(float_format="{:.2f}".format))
