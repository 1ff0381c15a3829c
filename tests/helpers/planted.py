"""Make reports of sweeps in which it is known what fails and why, and on what results depend."""

from __future__ import annotations

import random
from typing import Any

from .browser import make_row

YEARS, MODES, TOLLS = (2025, 2030, 2035, 2040, 2045), ("bus", "car", "rail"), (0, 5, 10)
RESULTS = 10


def planted_rows(count: int, seed: int = 1) -> list[dict[str, Any]]:
    """Return rows of a sweep with ten config keys and ten results.

    Rail from 2040 on fails for want of trips, one in a hundred others as its kernel dies; a tenth of those
    with a toll of 10 are orange. `r1` to `r9` depend on the toll, the more the higher their number, all a
    little on `model.alpha`.
    """
    draw = random.Random(seed)
    return [_row(number, draw) for number in range(count)]


def _row(number: int, draw: random.Random) -> dict[str, Any]:
    config = {
        "year": draw.choice(YEARS),
        "mode": draw.choice(MODES),
        "growth": draw.choice((0.01, 0.02, 0.03)),
        "model": {"alpha": round(draw.random(), 3), "beta": draw.choice((1, 2))},
        "seed": number,
        "toll": draw.choice(TOLLS),
        "zones": draw.choice((50, 100)),
        "fuel": draw.choice(("diesel", "petrol", "electric")),
        "fleet": draw.choice(("small", "large")),
    }
    shown = ("year", "mode", "growth", "toll", "seed")
    name = ",".join(f"{key}={config[key]}" for key in shown)
    status, more = _outcome(config, name, draw)
    results = {} if status == "error" else {"results": _results(config, draw)}
    links = {
        "notebook": f"fit/{name}/fit_executed.html",
        "log": f"fit/{name}/fit_execution_output.txt",
        "config": f"fit/{name}/fit_config.json",
        "executed": f"fit/{name}/fit_executed.ipynb",
    }
    return make_row(
        name,
        status,
        config=config,
        results=results,
        links=links,
        duration=round(draw.random() * 10, 3),
        started="2030-01-01T00:00:00.000+00:00",
        peak_memory=round(1e8 * draw.random()),
        reason="new",
        **more,
    )


def _outcome(config: dict[str, Any], name: str, draw: random.Random) -> tuple[str, dict[str, Any]]:
    if config["mode"] == "rail" and config["year"] >= 2040:
        return _failed("ValueError", f"zone {config['seed']} has no trips in runs/fit/{name}/od.csv", 3)
    if draw.random() < 0.01:
        return _failed("KernelDied", "the kernel died", 5)
    if config["toll"] == 10 and draw.random() < 0.1:
        line = f"⚠️ only {draw.randrange(90)} trips pay the toll"
        return "warning", {"message": line, "warnings": [line]}
    return "success", {}


def _failed(kind: str, message: str, cell: int) -> tuple[str, dict[str, Any]]:
    cause = {"flow": "fit", "cell": cell, "type": kind, "message": message}
    traceback = f"fit.py in cell [{cell}]\n    trips = table.loc[zone]\n{kind}: {message}"
    return "error", {"message": f"{kind}: {message}", "cause": cause, "traceback": traceback}


def _results(config: dict[str, Any], draw: random.Random) -> dict[str, float]:
    base = 3 * config["model"]["alpha"]
    return {f"r{n}": base + n * config["toll"] + draw.gauss(0, 1) for n in range(RESULTS)}
