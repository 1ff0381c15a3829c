"""Compare the cost of an instance with papermill, nbmake, plain Python and a bare fork.

    python tests/benchmarks/speed.py [--instances 8] [--rounds 3] [--flows a,b]

All contenders run the same cells, in turn. The fixed cost of a session is separated from the cost of each
instance by the difference of two sessions of unequal size. `python flow.py` starts again for every instance.
The bare fork is the lower limit: a process that has imported the libraries executes the cells in a child and
keeps no output. `pip install nbmake scikit-learn` for the comparison and for flow b.

The processor time is that of the whole machine, which should be otherwise idle: divided by the wall time, it
gives the number of busy cores.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import psutil
from measure import environment, family, proportional_megabytes, run

LINUX = sys.platform == "linux"
_QUICK = 10
_WARM = 15  # instances after which the background processes of a session are ready
PARAMETERS = "config = {}"
BEGIN = f"""\
# %% tags=["parameters"]
{PARAMETERS}

"""
TABLE = """\
# %%
import pandas as pd

# %%
trips = pd.read_csv(config["table"])
trips["trips"] *= config["factor"]

# %%
result = trips.groupby(["zone", "mode"], as_index=False)["trips"].agg(["sum", "mean"])
print(f"{len(result)} groups")
result.to_csv("result.csv", index=False)
"""
LEARNING = """\
# %%
import matplotlib.pyplot as plt
import pandas as pd
from sklearn.ensemble import RandomForestRegressor

# %%
trips = pd.read_csv(config["table"])
known = pd.get_dummies(trips[["zone", "mode"]])

# %%
forest = RandomForestRegressor(n_estimators=30, random_state=config["factor"]).fit(known, trips["trips"])
trips["forecast"] = forest.predict(known)
print(f"{forest.score(known, trips['trips']):.3f}")

# %%
plt.scatter(trips["trips"], trips["forecast"])
plt.show()

# %%
trips.to_csv("result.csv", index=False)
"""
OWN_MEMORY = """
# %%
with open("/proc/self/smaps_rollup") as file:
    lines = [line.split() for line in file if line.startswith("Private_")]
with open("own_kilobytes.txt", "w") as file:
    file.write(str(sum(int(line[1]) for line in lines)))
"""
PAPERMILL = """\
import json

import papermill

with open("configs.json") as file:
    configs = json.load(file)
for config in configs:
    folder = f"out/{config['instance_name']}"
    papermill.execute_notebook(
        "flow.ipynb", f"{folder}/result.ipynb", {"config": config}, cwd=folder, progress_bar=False
    )
"""
FORKS = """\
import ast
import json
import os
import sys
import time
import traceback

with open("flow.py") as file:
    flow = ast.parse(file.read())
with open("configs.json") as file:
    configs = json.load(file)
imports = [node for node in flow.body if isinstance(node, ast.Import | ast.ImportFrom)]
exec(compile(ast.Module(imports, []), "flow.py", "exec"), {})
began = time.perf_counter()
for config in configs:
    if not (child := os.fork()):
        failed = 1
        try:
            os.chdir(f"out/{config['instance_name']}")
            sys.argv = ["flow.py", json.dumps(config)]
            exec(compile(flow, "flow.py", "exec"), {"__name__": "__main__"})
            failed = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(failed)
    if os.waitpid(child, 0)[1]:
        sys.exit("a child failed")
with open("forks_seconds.txt", "w") as file:
    file.write(str(time.perf_counter() - began))
"""
FLOWS = {
    "a": ("pandas", TABLE),
    "b": ("pandas, matplotlib and scikit-learn", LEARNING),
}
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest"]
DUCTAFLOW = [*PYTEST, "-p", "no:nbmake", "--ductaflow", "conductor.py"]
NBMAKE = [*PYTEST, "-p", "no:ductaflow", "--nbmake", "out"]
OURS, OURS_2 = "pytest --ductaflow conductor.py", "pytest --ductaflow conductor.py -n 2"
OURS_ON_ONE_CORE = f"{OURS}, on one core"
ON_ONE_CORE = """
import os, sys
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@dataclass(frozen=True)
class Seconds:
    """The wall time of a session, and the time of all processors together."""

    wall: float
    cpu: float

    def __sub__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)


@dataclass(frozen=True)
class Cost:
    """The cost of a contender in seconds.

    Attributes:
        instance: Cost of each further instance.
        cpu: Its processor time, None where that is not known.
        session: Cost that is paid once, None if there is none.
    """

    instance: float
    cpu: float | None = None
    session: float | None = None


@dataclass(frozen=True)
class Memory:
    """Memory in megabytes.

    Attributes:
        session: Largest resident size of the process that was started.
        own: Memory at its end that the process of an instance shares with no other.
        together: Peak of all processes together, with shared memory counted once.
    """

    session: float
    own: float
    together: float


@dataclass(frozen=True)
class Contender:
    """A way to run all instances of a project.

    Attributes:
        command: Command, run in the project; with a config as its last argument in each instance's folder.
        first: Instances of the smaller of the two sessions; None if no session is measured.
        per_instance: Whether the command runs only one instance.
        times: Factor for the number of instances: fast contenders need more to stand out from the noise.
    """

    command: Sequence[str]
    first: int | None = 2
    per_instance: bool = False
    times: int = 1

    def cost(self, flow: str, instances: int) -> Cost:
        instances *= self.times
        if self.per_instance:
            whole = self.seconds(flow, instances)
            return Cost(whole.wall / instances, whole.cpu / instances)
        if self.first is None:
            with project(flow, instances) as folder:
                seconds = run(self.command, folder).seconds
                forks = float((folder / "forks_seconds.txt").read_text())
            return Cost(forks / instances, session=seconds - forks)
        small = self.seconds(flow, self.first)
        more = self.seconds(flow, self.first + instances) - small
        slope = more.wall / instances
        return Cost(slope, more.cpu / instances, small.wall - self.first * slope)

    def seconds(self, flow: str, instances: int) -> Seconds:
        """Return the wall time from start to end of all processes that it takes."""
        with project(flow, instances) as folder:
            commands = list(self._commands(folder))
            before = busy_seconds()
            wall = sum(run(command, where).seconds for command, where in commands)
            return Seconds(wall, busy_seconds() - before)

    def _commands(self, folder: Path) -> Iterator[tuple[Sequence[str], Path]]:
        if not self.per_instance:
            yield self.command, folder
            return
        for config in json.loads((folder / "configs.json").read_text()):
            yield [*self.command, json.dumps(config)], folder / "out" / config["instance_name"]

    def memory(self, flow: str, instances: int = 2) -> Memory:
        with project(flow + OWN_MEMORY, instances) as folder:
            peaks = [peak_memory(command, where) for command, where in self._commands(folder)]
            own = [int(path.read_text()) / 1024 for path in folder.rglob("own_kilobytes.txt")]
        session, together = (max(peak) for peak in zip(*peaks, strict=True))
        return Memory(session, statistics.median(own), together)


def busy_seconds() -> float:
    """Return the time that all processors of this machine have been busy since its start."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


@contextlib.contextmanager
def project(flow: str, instances: int) -> Iterator[Path]:
    """Make a new project for any contender; at the end, check that each instance has written its result."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder, flow, instances)
        yield folder
        if (found := len(list(folder.rglob("result.csv")))) != instances:
            sys.exit(f"{found} of {instances} instances have written a result")


def write_project(folder: Path, flow: str, instances: int) -> None:
    for name in ("flows", "data"):
        (folder / name).mkdir()
    table = folder / "data/trips.csv"
    lines = [f"{n % 50},{('rail', 'bus', 'car')[n % 3]},{n * 7919 % 1_000}" for n in range(1_000)]
    table.write_text("\n".join(["zone,mode,trips", *lines]) + "\n")
    configs: list[dict[str, Any]] = [
        {"instance_name": f"n{number:03}", "factor": number + 1, "table": str(table)}
        for number in range(instances)
    ]
    (folder / "configs.json").write_text(json.dumps(configs))
    (folder / "flows/step.py").write_text(BEGIN + flow)
    conductor = f'from pytest_ductaflow import conduct\n\nconduct("flows/step.py", {configs!r})\n'
    (folder / "conductor.py").write_text(conductor)
    (folder / "loop.py").write_text(PAPERMILL)
    (folder / "forks.py").write_text(FORKS)
    script = BEGIN.replace(PARAMETERS, "import json\nimport sys\nconfig = json.loads(sys.argv[1])") + flow
    (folder / "flow.py").write_text(script.replace("plt.show()", 'plt.savefig("figure.png")'))
    write_notebook(folder / "flow.ipynb", BEGIN + flow)
    for config in configs:
        run_dir = folder / "out" / config["instance_name"]
        run_dir.mkdir(parents=True)
        write_notebook(run_dir / "flow.ipynb", BEGIN.replace(PARAMETERS, f"config = {config!r}") + flow)


def write_notebook(path: Path, text: str) -> None:
    notebook = jupytext.reads(text, "py:percent")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    jupytext.write(notebook, path)


def peak_memory(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Return the largest resident size of the process, and of it and its children together."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(mark), stdout=output, stderr=subprocess.STDOUT
        )
        watched = psutil.Process(process.pid)
        session = together = 0.0
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):  # it may end meanwhile
                session = max(session, watched.memory_info().rss / 1024**2)
            together = max(together, proportional_megabytes([watched, *family(mark, process.pid)]))
            time.sleep(0.02)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{output.read()}")
    return session, together


def contenders() -> dict[str, Contender]:
    """Return the contenders that can run here, and name the others."""
    quick = _QUICK if LINUX else 1
    found = {
        OURS: Contender(DUCTAFLOW, first=_WARM, times=quick),
        OURS_2: Contender([*DUCTAFLOW, "-n", "2"], first=2 * _WARM, times=2 * quick),
    }
    if LINUX:  # elsewhere no kernel is forked, and a process cannot be pinned to a core so easily
        one_core = [sys.executable, "-c", ON_ONE_CORE, *DUCTAFLOW[1:]]
        found[OURS_ON_ONE_CORE] = Contender(one_core, first=_WARM, times=quick)
        found[f"{OURS} --no-ductaflow-fork"] = Contender([*DUCTAFLOW, "--no-ductaflow-fork"])
    found["papermill in a loop"] = Contender([sys.executable, "loop.py"])
    if importlib.util.find_spec("nbmake"):
        found["pytest --nbmake"] = Contender(NBMAKE)
    else:
        print("nbmake is missing: pip install nbmake")
    found["python flow.py"] = Contender([sys.executable, "../../flow.py"], per_instance=True)
    if LINUX:
        found["bare fork (floor)"] = Contender([sys.executable, "forks.py"], first=None, times=quick)
    else:
        print("the floor, a bare fork, is measured on Linux only")
    return found


def in_rounds(flow: str, rounds: int, instances: int, found: dict[str, Contender]) -> dict[str, list[Cost]]:
    """Return the costs of each contender, measured A B C A B C …, after one uncounted instance each."""
    costs: dict[str, list[Cost]] = {name: [] for name in found}
    for contender in found.values():
        contender.seconds(flow, 1)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, contender in found.items():
            costs[name].append(contender.cost(flow, instances))
    return costs


def ratios(some: list[Cost], others: list[Cost]) -> list[float]:
    """Return the ratios of two contenders, round by round."""
    return [one.instance / other.instance for one, other in zip(some, others, strict=True)]


def row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def print_costs(title: str, costs: dict[str, list[Cost]], memory: Callable[[str], Memory | None]) -> None:
    """Print a table as in the README, and sentences on which contender is faster."""
    megabytes = ("its process MB", "an instance's own MB", "all processes MB")
    noisy = [name for name, found in costs.items() if min(cost.instance for cost in found) <= 0]
    head = (title, "s per instance", "min to max", "ratio", "cores at work", "once per session s", *megabytes)
    print("\n" + row(head) + "\n" + row(["---"] * len(head)))
    for name, found in costs.items():
        seconds = [cost.instance for cost in found]
        session = [cost.session for cost in found if cost.session is not None]
        at_work = [cost.cpu and cost.cpu / cost.instance for cost in found]
        cells = [
            f"`{name}`" if name.startswith("py") else name,
            f"{statistics.median(seconds):.3f}",
            f"{min(seconds):.3f} to {max(seconds):.3f}",
            "-" if noisy else f"{statistics.median(ratios(found, costs[OURS])):.2f}",
            "-" if noisy or None in at_work else f"{statistics.median(at_work):.2f}",
            f"{statistics.median(session):.2f}" if session else "-",
        ]
        held = memory(name)
        cells += [f"{held.session:.0f}", f"{held.own:.0f}", f"{held.together:.0f}"] if held else ["-"] * 3
        print(row(cells))
    if noisy:
        print(f"\nNo ratios: noise exceeds the cost of --instances more in {', '.join(noisy)}.")
        return
    print()
    if OURS_ON_ONE_CORE in costs:
        times = spread(ratios(costs[OURS_ON_ONE_CORE], costs[OURS_2]))
        print(f"-n 2 has {times} times the throughput of one process on one core.")
    times = spread(ratios(costs[OURS], costs[OURS_2]))
    print(f"-n 2 has {times} times the throughput of one process on all cores: see how many are at work.")
    for name, found in costs.items():
        if name not in (OURS, OURS_2, OURS_ON_ONE_CORE):
            print(f"ours is {spread(ratios(found, costs[OURS]))} times as fast as {name}")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--instances", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flows", default="a,b")
    options = parser.parse_args()
    chosen = options.flows.split(",")
    if unknown := set(chosen) - set(FLOWS):
        parser.error(f"no such flow: {', '.join(sorted(unknown))}")
    if "b" in chosen and not importlib.util.find_spec("sklearn"):
        parser.error("flow b needs scikit-learn: pip install scikit-learn, or --flows a")
    found = contenders()
    for letter in chosen:
        title, flow = FLOWS[letter]
        costs = in_rounds(flow, options.rounds, options.instances, found)
        memory = {name: contender.memory(flow) for name, contender in found.items()} if LINUX else {}
        print_costs(f"Flow {letter}: {title}", costs, memory.get)


if __name__ == "__main__":
    main()
