"""Measure the shapes of work besides a uniform sweep, next to what one would use without this package.

    python tests/benchmarks/shapes.py [again] [build] … [--rounds 5] [--scripts 60] [--beside PYTHON]

again      one instance after an edit of its flow: cold, kept warm, the papermill command, the bare script
unchanged  one instance, and a thousand, of which nothing has changed, and pytask
build      builds of three flows that print a line each, and these flows as instances of their own
co2        the builds of examples/co2
scripts    different scripts, each once, on two workers and on one, and by python two at a time
blas       a flow with parallel linear algebra alone, and beside another one on two workers
sweep      instances of a flow with pandas, on one worker and on two, and by python one after the other

All contenders of a shape take turns. The ratios are those of one round, their median is printed.
`--beside` names the interpreter of an environment with another release of this package, which takes part in
build, co2, scripts and sweep.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import unchanged
from measure import Sample, environment, in_turn, print_table, run

# Only this package and xdist: the cost of other plugins in a development environment does not matter.
OPTIONS = ["-m", "pytest", "-q", "-p", "xdist", "-p", "pytest_ductaflow.plugin", "--ductaflow"]
PYTEST = [sys.executable, *OPTIONS]
EXAMPLE = Path(__file__).parents[2] / "examples/co2"
PARAMETERS = '# %% tags=["parameters"]\nconfig = {}\n\n# %%\n'
BUILDS = 20  # in a session of many
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
# Three seconds of one core; OpenBLAS takes as many as it is allowed.
BLAS = """\
import time

import numpy as np

matrix = np.random.default_rng(1).normal(size=(1500, 1500))
began = time.perf_counter()
for _ in range(25):
    matrix = np.linalg.qr(matrix @ matrix.T)[0]
print(time.perf_counter() - began)
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
    ductaflow = [sys.executable, "-m", "pytest_ductaflow.command_line", "warm"]
    while "starting" in (told := output_of(ductaflow)) or "no process" in told:
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


def compare_unchanged(rounds: int) -> None:
    """Measure one instance, and a thousand, of which nothing has changed."""
    for count in (1, 1_000):
        unchanged.compare(count, rounds)


def releases(beside: str | None) -> dict[str, list[str]]:
    """Return the beginnings of pytest's command: of this release, and of the one beside it."""
    other = {" (beside)": [beside, *OPTIONS]} if beside else {}
    return {"": PYTEST, **other}


def build(folder: Path, rounds: int, beside: str | None) -> None:
    """Measure builds of three flows, and the same flows as instances of their own: of one build, and of many.

    A session of one build shows what builds cost once, the difference to a session of many what each costs.
    """
    conduct = "from pytest_ductaflow import conduct\n"
    files = {"flows/line.py": PARAMETERS + PRINTS, "builds/three.py": PARAMETERS + BUILD}
    for number in (1, BUILDS):
        rows = f'[{{"instance_name": f"i{{n}}"}} for n in range({number})]'
        files[f"builds_{number}.py"] = f'{conduct}conduct("builds/three.py", {rows})\n'
        rows = f'[{{"instance_name": f"i{{n}}", "n": n}} for n in range({3 * number})]'
        files[f"lines_{number}.py"] = f'{conduct}conduct("flows/line.py", {rows})\n'
    write(folder, files)
    contenders: dict[str, Callable[[], Sample]] = {}
    for mark, pytest in releases(beside).items():
        for number in (1, BUILDS):
            for name, conductor in ((_builds(number), "builds"), (_their_flows(number), "lines")):
                command = [*pytest, f"{conductor}_{number}.py", "--ductaflow-force"]
                contenders[name + mark] = partial(run, command, folder)
    samples = in_turn(rounds, contenders)
    print_table("builds", samples, _their_flows(BUILDS))
    for mark in releases(beside):
        more = [
            [
                a.seconds - b.seconds
                for a, b in zip(samples[builds + mark], samples[flows + mark], strict=True)
            ]
            for builds, flows in ((_builds(n), _their_flows(n)) for n in (1, BUILDS))
        ]
        each = statistics.median((many - one) / (BUILDS - 1) for one, many in zip(*more, strict=True))
        once = statistics.median(more[0]) - each
        print(f"a build costs {each:.3f} s more than its flows as instances of their own{mark},")
        print(f"and {once:.2f} s once for each session")


def _builds(number: int) -> str:
    return f"builds of three flows: {number}"


def _their_flows(number: int) -> str:
    return f"their flows alone: {3 * number}"


def co2(folder: Path, rounds: int, beside: str | None) -> None:
    """Measure the example with its 24 builds."""
    shutil.copytree(EXAMPLE, folder / "co2", ignore=shutil.ignore_patterns("runs"))
    contenders: dict[str, Callable[[], Sample]] = {
        f"pytest conductor.py{workers}{mark}": partial(
            run, [*pytest, "conductor.py", "--ductaflow-force", *workers.split()], folder / "co2"
        )
        for mark, pytest in releases(beside).items()
        for workers in ("", " -n 2")
    }
    print_table("examples/co2", in_turn(rounds, contenders), f"pytest conductor.py{[*releases(beside)][-1]}")


def scripts(folder: Path, rounds: int, count: int, beside: str | None) -> None:
    """Measure different scripts, each once."""
    chance = random.Random(1)
    known = [name for name in PIECES if importlib.util.find_spec(name)]
    files = {}
    for number in range(count):
        chosen = chance.sample(known, chance.randint(1, 4))
        files[f"flows/s{number:02}.py"] = PARAMETERS + "".join(
            PIECES[name].format(seed=number + 1) for name in chosen
        )
    rows = ",".join(f'{{"instance_name": "i", "flow": "flows/s{number:02}.py"}}' for number in range(count))
    write(
        folder, {**files, "conductor.py": f"from pytest_ductaflow import conduct\nconduct(None, [{rows}])\n"}
    )
    contenders: dict[str, Callable[[], Sample]] = {
        f"pytest{workers}{mark}": partial(
            run, [*pytest, "conductor.py", "--ductaflow-force", *workers.split()], folder
        )
        for mark, pytest in releases(beside).items()
        for workers in (" -n 2", "")
    }
    if shutil.which("taskset"):  # one worker alone has more than one core at work
        command = ["taskset", "-c", "0", *PYTEST, "conductor.py", "--ductaflow-force"]
        contenders["pytest, one core"] = partial(run, command, folder)
    contenders["python, two at a time"] = lambda: by_python([folder / name for name in files], folder)
    samples = in_turn(rounds, contenders)
    print_table(f"{count} different scripts, each once", samples, "python, two at a time")
    for alone in ("pytest", "pytest, one core"):
        pairs = zip(samples.get(alone, ()), samples["pytest -n 2"], strict=False)
        if ratios := [one.seconds / two.seconds for one, two in pairs]:
            print(f"pytest -n 2 has {statistics.median(ratios):.2f} times the throughput of {alone}")


def by_python(scripts: Sequence[Path], folder: Path) -> Sample:
    """Run scripts two at a time."""
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        samples = pool.map(lambda script: run([sys.executable, str(script)], folder), scripts)
        megabytes = max(sample.megabytes for sample in samples)
    return Sample(time.perf_counter() - began, megabytes)


def blas(folder: Path, rounds: int) -> None:
    """Measure the time of parallel linear algebra alone, with a thread, and beside another such flow."""
    conductor = (
        "from pytest_ductaflow import conduct\n"
        'conduct("flows/blas.py", [{"instance_name": f"i{n}"} for n in range(2)])\n'
    )
    write(folder, {"flows/blas.py": PARAMETERS + BLAS, "conductor.py": conductor, "script.py": BLAS})

    def slowest(*options: str) -> Sample:
        shutil.rmtree(folder / "runs", ignore_errors=True)
        sample = run([*PYTEST, *options, "--ductaflow-force"], folder)
        logs = (folder / "runs/blas").glob("*/*_execution_output.txt")
        return Sample(max(float(log.read_text(encoding="utf-8")) for log in logs), sample.megabytes)

    def scripts_beside() -> Sample:
        with ThreadPoolExecutor(2) as pool:
            told = pool.map(output_of, [[sys.executable, str(folder / "script.py")]] * 2)
            return Sample(max(map(float, told)), 0.0)

    alone = "alone, with a thread"
    contenders: dict[str, Callable[[], Sample]] = {
        alone: lambda: slowest("conductor.py::blas::i0", "--ductaflow-threads", "1"),
        "beside another, -n 2": lambda: slowest("conductor.py", "-n", "2"),
        "… --ductaflow-threads off": lambda: slowest("conductor.py", "-n", "2", "--ductaflow-threads", "off"),
        "python beside another": scripts_beside,
    }
    print_table("parallel linear algebra, the flow's own time", in_turn(rounds, contenders), alone)


def sweep(folder: Path, rounds: int, beside: str | None) -> None:
    """Measure instances of one flow."""
    rows = '[{"instance_name": f"i{n}", "n": n} for n in range(60)]'
    script = f"config = {{'n': 1}}\n{GROUPS}"
    conductor = f'from pytest_ductaflow import conduct\nconduct("flows/groups.py", {rows})\n'
    write(folder, {"flows/groups.py": PARAMETERS + GROUPS, "conductor.py": conductor, "script.py": script})
    contenders: dict[str, Callable[[], Sample]] = {
        f"pytest{workers}{mark}": partial(
            run, [*pytest, "conductor.py", "--ductaflow-force", *workers.split()], folder
        )
        for mark, pytest in releases(beside).items()
        for workers in ("", " -n 2")
    }
    contenders["python, two at a time"] = lambda: by_python([folder / "script.py"] * 60, folder)
    print_table("60 instances of a flow with pandas", in_turn(rounds, contenders), "python, two at a time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("shapes", nargs="*")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scripts", type=int, default=60)
    parser.add_argument("--beside", metavar="PYTHON")
    options = parser.parse_args()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    rounds, beside = options.rounds, options.beside
    shapes: dict[str, Callable[[Path], None]] = {
        "again": lambda folder: again(folder, rounds),
        "unchanged": lambda _: compare_unchanged(rounds),
        "build": lambda folder: build(folder, rounds, beside),
        "co2": lambda folder: co2(folder, rounds, beside),
        "scripts": lambda folder: scripts(folder, rounds, options.scripts, beside),
        "blas": lambda folder: blas(folder, rounds),
        "sweep": lambda folder: sweep(folder, rounds, beside),
    }
    if unknown := {*options.shapes} - {*shapes}:
        parser.error(f"no shape {', '.join(unknown)}; there are {', '.join(shapes)}")
    for name in options.shapes or shapes:
        with tempfile.TemporaryDirectory() as folder:
            shapes[name](Path(folder))


if __name__ == "__main__":
    main()
