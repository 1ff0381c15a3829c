"""Figures of the paper: each is saved together with the numbers that are drawn in it."""

import json


def save(figure, name, plotted):
    """Write `{name}.png`, and `{name}.json` with the plotted data: what a reader needs to redraw it."""
    figure.savefig(f"{name}.png", dpi=120)
    with open(f"{name}.json", "w") as file:
        json.dump(plotted, file, indent=1)
