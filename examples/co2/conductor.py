"""How far ahead can a polynomial and a few harmonics see? A sweep over the CO₂ record of Mauna Loa.

    pytest --ductaflow examples/co2/conductor.py -n auto    each combination is a test
    python examples/co2/conductor.py                        one after the other, then a summary

Some combinations end orange. Time is counted in calendar years, as one does without thinking, and
a cubic in calendar years cannot be told from a quadratic in 16 digits. Set `epoch` to 1980 and the
cubics become what they claim to be; see then what their forecasts are worth.
"""

from pathlib import Path

from pytest_ductaflow import conduct, grid, is_collecting, results

table = grid(degree=[1, 2, 3], harmonics=[1, 2, 3, 4], window=["1958-", "1980-"])
base = {"test_from": "1997", "min_weeks": 2, "epoch": 0, "max_error_ratio": 4}
conduct("builds/forecast.py", table, step="forecast", base=base)

if not is_collecting():
    import matplotlib.pyplot as plt

    runs = Path(__file__).parent / "runs"
    found = results(runs).query("step == 'forecast'").sort_values("rmse")
    columns = ["instance", "status", "rmse", "mae", "bias", "coverage", "rmse_train", "rmse_naive", "condition"]
    summary = found[columns]
    summary.to_csv(runs / "summary.csv", index=False)
    print(summary.head(8).to_string(index=False, float_format="{:.3g}".format))

    # The best of many on the same test years is a little lucky: its RMSE flatters what it will do next.
    better = int((found["rmse"] < found["rmse_naive"]).sum())
    print(f"{better} of {len(found)} combinations beat the forecast without a model of their window")

    windows = sorted(found["window"].unique())
    figure, panels = plt.subplots(1, len(windows), sharey=True, figsize=(9, 4), layout="constrained", squeeze=False)
    for axes, window in zip(panels[0], windows):
        part = found[found["window"] == window].sort_values("harmonics")
        for degree, line in part.groupby("degree"):
            axes.plot(line["harmonics"], line["rmse"], marker="o", label=f"degree {degree}")
        warned = part[part["status"] == "warning"]
        axes.scatter(warned["harmonics"], warned["rmse"], s=120, facecolors="none", edgecolors="darkorange", label="with a warning")
        axes.axhline(part["rmse_naive"].iloc[0], color="tab:gray", linestyle=":", label="without a model")
        axes.set(title=f"trained on {window}", xlabel="harmonics", xticks=sorted(found["harmonics"].unique()))
    panels[0, 0].set(ylabel="RMSE on the held-out years (ppm)", ylim=(0, None))
    panels[0, -1].legend()
    figure.savefig(runs / "summary.png", dpi=120)
    print(f"Summary: {runs / 'summary.csv'}, {runs / 'summary.png'}")
