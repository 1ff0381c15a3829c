"""Measure the cost of having the plugin installed, and of collecting 10,000 instances.

    python tests/benchmarks/collection.py [--rows 10000] [--runs 5]

Peers, measured in the same run: pytest without the plugin, and the same table as parameters of an
ordinary test, which is what one would write without it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from measure import in_turn, print_table, run

FLOW = '# %% tags=["parameters"]\nconfig = {}\n\n# %%\nprint(config)\n'
CONDUCTOR = """
import pandas as pd
from pytest_ductaflow import conduct

conduct("flows/a.py", pd.read_csv("scenarios.csv").drop(columns="flow"), base={"method": {"name": "x"}})
"""
PARAMETRIZED = """
import pandas as pd
import pytest

table = pd.read_csv("scenarios.csv")

@pytest.mark.parametrize("row", table.to_dict("records"), ids=table["instance_name"])
def test_row(row):
    pass
"""


def write_project(folder: Path, rows: int) -> None:
    (folder / "flows").mkdir()
    (folder / "flows" / "a.py").write_text(FLOW)
    (folder / "conductor.py").write_text(CONDUCTOR)
    (folder / "test_rows.py").write_text(PARAMETRIZED)
    lines = ["instance_name,flow,year,mode,processing.alpha,note"]
    modes = ("rail", "bus", "")
    lines += [f"s{n:05},a,{2000 + n % 60},{modes[n % 3]},{n / 7:.4f},text {n}" for n in range(rows)]
    (folder / "scenarios.csv").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    pytest = [sys.executable, "-m", "pytest"]
    collect = ["--collect-only", "-q", "-p", "no:cacheprovider"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder, options.rows)
        inert = in_turn(
            4 * options.runs,
            {
                "pytest --version without us": lambda: run(
                    [*pytest, "-p", "no:ductaflow", "--version"], folder
                ),
                "pytest --version with us": lambda: run([*pytest, "--version"], folder),
            },
        )
        print_table("Being installed, not used", inert, "pytest --version without us")
        collected = in_turn(
            options.runs,
            {
                "an ordinary test's parameters": lambda: run([*pytest, *collect, "test_rows.py"], folder),
                "--ductaflow scenarios.csv": lambda: run(
                    [*pytest, *collect, "--ductaflow", "scenarios.csv"], folder
                ),
                "--ductaflow conductor.py": lambda: run(
                    [*pytest, *collect, "--ductaflow", "conductor.py"], folder
                ),
            },
        )
        title = f"Collecting {options.rows:,} rows, whole process"
        print_table(title, collected, "an ordinary test's parameters")


if __name__ == "__main__":
    main()
