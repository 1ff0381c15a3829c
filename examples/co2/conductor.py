"""How far do a polynomial and a few harmonics see ahead? A sweep over the CO₂ record of Mauna Loa.

    pytest --ductaflow examples/co2/conductor.py -n auto    each combination is a test
    python examples/co2/conductor.py                        one after the other, then a summary

The cubics end orange: time is counted in calendar years, as one does without thinking, and a cubic in
calendar years takes more than the 16 digits of a float, so that something less than a cubic is fitted.
Set `epoch` to 1980 and they become what they claim to be. See then what their forecasts are worth.
"""

from pathlib import Path

from pytest_ductaflow import conduct, grid, is_collecting, results

table = grid(degree=[1, 2, 3], harmonics=[1, 2, 3, 4], window=["1958-", "1980-"])
base = {"test_from": "1997", "min_weeks": 2, "epoch": 0, "max_error_ratio": 4}
conduct("builds/forecast.py", table, step="forecast", base=base)

if not is_collecting():
    import matplotlib.pyplot as plt

    runs = Path(__file__).parent / "runs"
    found = results().sort_values("rmse")
    errors = ["rmse", "mae", "bias", "coverage", "rmse_train", "rmse_naive"]
    columns = ["instance", "status", *errors, "condition"]
    found[columns].to_csv(runs / "summary.csv", index=False)

    # The best of many on the same test years is lucky, too: expect more than this error from now on.
    print("The best combinations (errors in ppm, held-out years):")
    print(found[columns].head(8).to_string(index=False, float_format="{:.3g}".format))
    better = int((found["rmse"] < found["rmse_naive"]).sum())
    print(f"{better} of {len(found)} combinations beat the forecast without a model.")

    windows = sorted(found["window"].unique())
    figure, panels = plt.subplots(
        1, len(windows), sharey=True, squeeze=False, figsize=(9, 4), layout="constrained"
    )
    for axes, window in zip(panels[0], windows, strict=True):
        part = found[found["window"] == window].sort_values("harmonics")
        part = part.assign(x=part["harmonics"] + 0.1 * (part["degree"] - 2))  # side by side
        for degree, line in part.groupby("degree"):
            axes.plot(line["x"], line["rmse"], marker="o", label=f"degree {degree}")
        warned = part[part["status"] == "warning"]
        axes.scatter(warned["x"], warned["rmse"], s=130, color="none", edgecolor="black", label="orange")
        axes.axhline(part["rmse_naive"].iloc[0], color="0.4", linestyle=":", label="without a model")
        axes.set(title=f"training window {window}", xlabel="harmonics", xticks=part["harmonics"].unique())
    panels[0, 0].set(ylabel="RMSE on the held-out years (ppm)", ylim=(0, None))
    panels[0, -1].legend()
    figure.savefig(runs / "summary.png", dpi=120)
    print(f"Summary: {runs / 'summary.csv'} and {runs / 'summary.png'}")
