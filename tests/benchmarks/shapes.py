"""Measure the shapes of work besides a uniform sweep, next to what one would use without this package.

    python tests/benchmarks/shapes.py [again] [build] [scripts] [--rounds 5] [--scripts 60]

again    one instance after an edit of its flow: cold, kept warm, the papermill command, the bare script
build    a build of three flows that print a line each, and these flows as instances of their own
scripts  different scripts, each once, on two workers and on one, and by python two at a time

All contenders of a shape take turns. The ratios are those of one round, their median is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from measure import Sample, environment, in_turn, print_table, run

# Only this package and xdist: the cost of other plugins in a development environment does not matter.
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-p", "pytest_ductaflow.plugin", "--ductaflow"]
PARAMETERS = '# %% tags=["parameters"]\nconfig = {}\n\n# %%\n'
GROUPS = """\
import pandas as pd

trips = pd.DataFrame({"zone": range(1000), "trips": range(1000)}).assign(band=lambda table: table["zone"] % 7)
trips.groupby("band")["trips"].sum().to_csv("bands.csv")
print(len(trips), config.get("n"))
"""
PRINTS = 'print("line", config["n"])\n'
BUILD = """\
from pytest_ductaflow import run_notebook

for n in range(3):
    run_notebook("flows/line.py", config={"n": n}, execution_dir=f"runs/{n}")
"""
# The pieces of generated scripts: what they import, and what they do with it.
PIECES = {
    "numpy": "import numpy as np\nvalues = np.random.default_rng({seed}).normal(size=(400, 6))\n",
    "pandas": "import pandas as pd\npd.DataFrame(range({seed}, {seed} + 500)).to_csv('table{seed}.csv')\n",
    "scipy": "from scipy import stats\nprint(stats.norm.ppf(0.{seed:03}5))\n",
    "sklearn": "from sklearn.linear_model import LinearRegression\n"
    "print(LinearRegression().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, {seed}.0]).coef_)\n",
    "statsmodels": "import statsmodels.api as sm\n"
    "print(sm.OLS([1.0, 2.0, {seed}.0], [1.0, 2.0, 3.0]).fit().params)\n",
    "matplotlib": "import matplotlib.pyplot as plt\nplt.plot([1, {seed}, 3])\n"
    "plt.savefig('figure{seed}.png')\n",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@contextmanager
def kept_warm(folder: Path) -> Iterator[None]:
    """Let a session leave warm processes behind, wait until these are ready, and end them afterwards."""
    run([*PYTEST, "conductor.py::groups::i1", "--ductaflow-keep-warm", "1h"], folder)
    ductaflow = [sys.executable, "-m", "pytest_ductaflow.cli", "warm"]
    while "0 min" in (told := output_of(ductaflow)) or "no process" in told:
        time.sleep(0.2)
    try:
        yield
    finally:
        output_of([*ductaflow, "--stop"])


def output_of(command: Sequence[str]) -> str:
    return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout


def again(folder: Path, rounds: int) -> None:
    """Measure one instance again after an edit of its flow."""
    conductor = (
        "from pytest_ductaflow import conduct\n"
        'conduct("flows/groups.py", [{"instance_name": f"i{n}", "n": n} for n in range(5)])\n'
    )
    script = f"config = {{'n': 1}}\n{GROUPS}"
    write(folder, {"flows/groups.py": PARAMETERS + GROUPS, "conductor.py": conductor, "script.py": script})
    notebook = ["-m", "jupytext", "--to", "ipynb", "--set-kernel", "python3", "-o", "groups.ipynb"]
    run([sys.executable, *notebook, "flows/groups.py"], folder)
    papermill = [sys.executable, "-m", "papermill", "groups.ipynb", "out.ipynb", "-y", "{config: {n: 1}}"]
    instance, edits = "conductor.py::groups::i1", itertools.count()

    def ours(*options: str) -> Sample:
        with open(folder / "flows/groups.py", "a", encoding="utf-8") as flow:
            flow.write(f"edit = {next(edits)}\n")
        return run([*PYTEST, instance, *options], folder)

    names = "pytest conductor.py::groups::i1", "… --ductaflow-keep-warm 1h"
    cold: dict[str, Callable[[], Sample]] = {
        names[0]: ours,
        "papermill groups.ipynb out.ipynb": lambda: run(papermill, folder),
        "python groups.py": lambda: run([sys.executable, "script.py"], folder),
    }
    samples = in_turn(rounds, cold)
    print_table("one instance again, cold", samples, "papermill groups.ipynb out.ipynb")
    with kept_warm(folder):
        warm: dict[str, Callable[[], Sample]] = {
            names[1]: lambda: ours("--ductaflow-keep-warm", "1h"),
            "python groups.py": lambda: run([sys.executable, "script.py"], folder),
        }
        samples = in_turn(rounds, warm)
    print_table("one instance again, kept warm", samples, "python groups.py")


def build(folder: Path, rounds: int) -> None:
    """Measure a build of three flows, and the same three as instances of their own, in sessions of ten."""
    conduct = "from pytest_ductaflow import conduct\n"
    builds = 'conduct("builds/three.py", [{"instance_name": f"i{n}"} for n in range(10)])\n'
    lines = 'conduct("flows/line.py", [{"instance_name": f"i{n}", "n": n} for n in range(30)])\n'
    write(
        folder,
        {
            "flows/line.py": PARAMETERS + PRINTS,
            "builds/three.py": PARAMETERS + BUILD,
            "builds_conductor.py": conduct + builds,
            "lines_conductor.py": conduct + lines,
        },
    )
    samples = in_turn(
        rounds,
        {
            "ten builds of three flows": lambda: run(
                [*PYTEST, "builds_conductor.py", "--ductaflow-force"], folder
            ),
            "the thirty flows": lambda: run([*PYTEST, "lines_conductor.py", "--ductaflow-force"], folder),
        },
    )
    print_table("builds", samples, "the thirty flows")


def scripts(folder: Path, rounds: int, count: int) -> None:
    """Measure different scripts, each once."""
    chance = random.Random(1)
    known = [name for name in PIECES if importlib.util.find_spec(name)]
    files = {}
    for number in range(count):
        chosen = sorted(chance.sample(known, chance.randint(1, 3)), key=known.index)
        files[f"flows/s{number:02}.py"] = PARAMETERS + "".join(
            PIECES[name].format(seed=number + 1) for name in chosen
        )
    rows = ",".join(f'{{"instance_name": "i", "flow": "flows/s{number:02}.py"}}' for number in range(count))
    write(
        folder, {**files, "conductor.py": f"from pytest_ductaflow import conduct\nconduct(None, [{rows}])\n"}
    )

    def by_python() -> Sample:
        began = time.perf_counter()
        with ThreadPoolExecutor(2) as pool:
            commands = ([sys.executable, str(folder / name)] for name in files)
            megabytes = max(sample.megabytes for sample in pool.map(lambda each: run(each, folder), commands))
        return Sample(time.perf_counter() - began, megabytes)

    ours = [*PYTEST, "conductor.py", "--ductaflow-force"]
    samples = in_turn(
        rounds,
        {
            "pytest -n 2": lambda: run([*ours, "-n", "2"], folder),
            "pytest": lambda: run(ours, folder),
            "python, two at a time": by_python,
        },
    )
    print_table(f"{count} different scripts, each once", samples, "python, two at a time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("shapes", nargs="*", choices=["again", "build", "scripts", []])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scripts", type=int, default=60)
    options = parser.parse_args()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    shapes: dict[str, Callable[[Path], None]] = {
        "again": lambda folder: again(folder, options.rounds),
        "build": lambda folder: build(folder, options.rounds),
        "scripts": lambda folder: scripts(folder, options.rounds, options.scripts),
    }
    for name in options.shapes or shapes:
        with tempfile.TemporaryDirectory() as folder:
            shapes[name](Path(folder))


if __name__ == "__main__":
    main()
