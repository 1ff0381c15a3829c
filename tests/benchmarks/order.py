"""Measure how close the distribution over workers is to the ideal: makespans of graphs, also simulated.

    python tests/benchmarks/order.py [--instances 40] [--workers 2 4] [--seed 1]

Instances only sleep, so there may be more workers than cores. The ideal is a list schedule with the same
priorities and exact durations, in which only the instances themselves take time.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measure import run

from pytest_ductaflow.graph.core_pool import CorePool
from pytest_ductaflow.graph.dependencies import Graph
from pytest_ductaflow.graph.ready_queue import ReadyQueue

TESTS = Path(__file__).resolve().parents[1]
FLOW = '# %% tags=["parameters"]\nconfig = {}\n'
CONDUCTOR = """
import json
from pathlib import Path
from pytest_ductaflow import conduct

for row in json.loads(Path("instances.json").read_text()):
    conduct(f"flows/{row.pop('flow')}.py", [row], after=row.pop("after"))
"""
STOCK = ["-p", "no:ductaflow-xdist"]  # leaves distribution to xdist


@dataclass(frozen=True)
class Work:
    """Instances that only sleep.

    Attributes:
        upstreams: Upstreams of each instance; a lower number never waits for a higher one.
        seconds: Sleep of each instance.
    """

    upstreams: list[list[int]]
    seconds: list[float]

    def label(self, number: int) -> str:
        return f"step{number % 4}/n{number}"

    def write(self, folder: Path) -> None:
        (folder / "flows").mkdir()
        for step in range(4):
            (folder / "flows" / f"step{step}.py").write_text(FLOW)
        (folder / "conductor.py").write_text(CONDUCTOR)
        rows = [
            {
                "flow": f"step{number % 4}",
                "instance_name": f"n{number}",
                "do": "ok",
                "sleep": self.seconds[number],
                "after": [self.label(upstream) for upstream in upstreams],
            }
            for number, upstreams in enumerate(self.upstreams)
        ]
        (folder / "instances.json").write_text(json.dumps(rows))

    def list_schedule(self, workers: int) -> float:
        """Return the time from the first start to the last end if only the instances took any."""
        before = tuple(map(tuple, self.upstreams))
        cores = CorePool(workers, workers, {})
        queue = ReadyQueue(Graph(before=before), range(len(before)), dict(enumerate(self.seconds)), cores)
        running: list[tuple[float, int]] = []
        now = 0.0
        while len(queue):
            while len(running) < workers and (number := queue.pop()) is not None:
                heapq.heappush(running, (now + self.seconds[number], number))
            now, ended = heapq.heappop(running)
            queue.done(ended)
        return now


def graphs(instances: int, chance: random.Random) -> dict[str, Work]:
    """Return a graph of each kind, with sleeps from 0.05 to 1 s."""

    def work(upstreams: list[list[int]]) -> Work:
        return Work(upstreams, [round(chance.uniform(0.05, 1), 3) for _ in upstreams])

    every = range(instances)
    layer = max(instances // 4, 1)
    return {
        "no edges": work([[] for _ in every]),
        "chains of 5": work([[n - 1] if n % 5 else [] for n in every]),
        "diamonds of 4": work([[[], [n - 1], [n - 2], [n - 2, n - 1]][n % 4] for n in every]),
        "fan out, join": work([[], *[[0] for _ in every[2:]], list(every[1:-1])]),
        "4 layers": work([chance.sample(range(n - n % layer), min(2, n - n % layer)) for n in every]),
        "random": work([chance.sample(range(n), min(n, chance.randint(0, 3))) for n in every]),
    }


def makespan(folder: Path, workers: int, *options: str) -> float:
    """Run a session and measure it from the first start to the last end."""
    events = folder / "events.jsonl"
    events.unlink(missing_ok=True)
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "helpers.standin"]
    run([*pytest, "--ductaflow", "conductor.py", "-n", str(workers), *options], folder)
    times = [json.loads(line)["at"] for line in events.read_text().splitlines()]
    return (max(times) - min(times)) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--instances", type=int, default=40)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(TESTS)
    columns = ("ideal s", "known s", "ratio", "unknown s", "ratio", "xdist's s", "ratio")
    print(f"{'graph':<16}{'-n':>3}{'instances':>11}" + "".join(f"{column:>11}" for column in columns))
    for name, work in graphs(options.instances, random.Random(options.seed)).items():
        for workers in options.workers:
            with tempfile.TemporaryDirectory() as path:
                folder = Path(path)
                work.write(folder)
                unknown = makespan(folder, workers)
                known = makespan(folder, workers)  # from the records of the first session
                measured = [known, unknown]
                if not any(work.upstreams):  # otherwise its workers would run instances that are not ready
                    measured.append(makespan(folder, workers, *STOCK))
            ideal = work.list_schedule(workers)
            cells = "".join(f"{seconds:>11.2f}{seconds / ideal:>11.3f}" for seconds in measured)
            print(f"{name:<16}{workers:>3}{len(work.seconds):>11}{ideal:>11.2f}{cells}", flush=True)


if __name__ == "__main__":
    main()
