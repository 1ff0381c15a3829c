"""Measure the cost of a session in which nothing has changed, next to pytask.

    python tests/benchmarks/unchanged.py [--instances 1000] [--runs 5]

One instance runs for real and its run directory is copied for all others, each with its own config and
record: a thousand kernels would take a quarter of an hour, and the second session would be the same.
Each instance reads one table and writes another; pytask does the same with a thousand tasks.
`pip install pytask` for the comparison; without it, only our own times are shown.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from measure import Sample, in_turn, print_table, run

from pytest_ductaflow.tracking.digests import config_digest

FLOW = """\
# %% tags=["parameters"]
config = {}

# %%
from pathlib import Path

import pandas as pd

zones = pd.read_csv(Path(config["_project_root"]) / "data/zones.csv")
(zones * factor).to_csv("zones.csv", index=False)
"""
CONDUCTOR = """\
from pytest_ductaflow import conduct

conduct("flows/scale.py", [{{"instance_name": f"s{{n:04}}", "factor": n}} for n in range({count})])
"""
TASKS = """\
from pathlib import Path

import pandas as pd
from pytask import Product, task
from typing import Annotated

for number in range({count}):

    @task(id=f"s{{number:04}}")
    def task_scale(
        factor: int = number,
        table: Path = Path("data/zones.csv"),
        result: Annotated[Path, Product] = Path(f"out/s{{number:04}}.csv"),
    ) -> None:
        result.parent.mkdir(exist_ok=True)
        (pd.read_csv(table) * factor).to_csv(result, index=False)
"""
# Only this package and xdist: the cost of other plugins in a development environment does not matter.
PYTEST = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "pytest_ductaflow.plugin"]
PYTEST += ["--ductaflow", "conductor.py"]


def write_project(folder: Path, count: int) -> None:
    for name in ("flows", "data"):
        (folder / name).mkdir()
    (folder / "flows/scale.py").write_text(FLOW)
    (folder / "conductor.py").write_text(CONDUCTOR.format(count=count))
    (folder / "task_scale.py").write_text(TASKS.format(count=count))
    lines = ["zone,inhabitants", *(f"{zone},{zone * 100}" for zone in range(100))]
    (folder / "data/zones.csv").write_text("\n".join(lines) + "\n")


def run_all_but_in_name(folder: Path, count: int) -> None:
    """Make all instances look as after a run: the first one has run, the others get copies of its files."""
    run([*PYTEST, "-k", "s0000", "-q"], folder)
    first = folder / "runs/scale/s0000"
    record = json.loads((first / "scale_record.json").read_text())
    config = json.loads((first / "scale_config.json").read_text())
    for number in range(1, count):
        name = f"s{number:04}"
        shutil.copytree(first, first.with_name(name))
        config |= {"instance_name": name, "factor": number}
        plain = {key: value for key, value in config.items() if key != "_project_root"}
        record |= {
            "instance": name,
            "run_dir": f"runs/scale/{name}",
            "config_digest": config_digest(plain),
        }
        (first.with_name(name) / "scale_config.json").write_text(json.dumps(config))
        (first.with_name(name) / "scale_record.json").write_text(json.dumps(record))
    told = subprocess.run(
        [*PYTEST, "--ductaflow-explain"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    if f"0 would run, 0 may run, {count} unchanged" not in told:
        sys.exit(f"not all {count} instances are unchanged:\n{told}")


def compare(count: int, runs: int) -> None:
    """Measure sessions of a project with so many unchanged instances, and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder, count)
        run_all_but_in_name(folder, count)
        ours = "pytest --ductaflow conductor.py"
        contenders: dict[str, Callable[[], Sample]] = {
            ours: lambda: run(PYTEST, folder),
            f"{ours} -n 2": lambda: run([*PYTEST, "-n", "2"], folder),
            f"{ours} --ductaflow-explain": lambda: run([*PYTEST, "--ductaflow-explain"], folder),
        }
        if importlib.util.find_spec("pytask"):
            pytask = [sys.executable, "-m", "pytask", "build", "task_scale.py"]
            run(pytask, folder)
            contenders["pytask"] = lambda: run(pytask, folder)
        samples = in_turn(runs, contenders)
        print_table(f"{count:,} unchanged instances, whole process", samples, ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--instances", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    compare(options.instances, options.runs)


if __name__ == "__main__":
    main()
