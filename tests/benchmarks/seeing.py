"""Measure the cost of observing every file that a flow opens, with and without an observer.

    python tests/benchmarks/seeing.py [--instances 8] [--rounds 5] [--flows a,b] [--calls 5000]

The flows are those of `speed.py`, in one process, in turn: everything is observed, only what Python opens,
nothing. It also measures the cost of one call of an observed process: an open, a check whether a file
exists, and a call that names no file. Linux only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from math import comb
from pathlib import Path

from speed import _QUICK, _WARM, DUCTAFLOW, FLOWS, Contender

from pytest_ductaflow.kernels.observation import can_observe, observed_command

MODES = ("all", "python", "off")
CALLS = """\
import json, os, sys, time
count = int(sys.argv[1])
calls = {
    "open and close": lambda: os.close(os.open("/etc/hostname", os.O_RDONLY)),
    "is it there": lambda: os.path.exists("/etc/hostname"),
    "neither": lambda: os.fstat(1),
}
seconds = {}
for name, call in calls.items():
    began = time.perf_counter()
    for _ in range(count):
        call()
    seconds[name] = (time.perf_counter() - began) / count
print(json.dumps(seconds))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instances", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flows", default="a,b")
    parser.add_argument("--calls", type=int, default=5_000)
    options = parser.parse_args()
    if not can_observe():
        sys.exit("this system does not tell what processes open")
    print_calls(options.calls)
    for flow in options.flows.split(","):
        print_flow(flow, options.instances, options.rounds)


def print_calls(count: int) -> None:
    """Print the cost of a call in a process that is observed, and in one that is not."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-I", "-S", "-c", CALLS, str(count)]
        plain = seconds_of(command)
        seen = seconds_of(observed_command(command, report=str(Path(folder, "report"))))
    print(f"{'microseconds a call':<24}{'seen':>10}{'unseen':>10}")
    for name, seconds in seen.items():
        print(f"{name:<24}{seconds * 1e6:>10.1f}{plain[name] * 1e6:>10.1f}")


def seconds_of(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, check=True, capture_output=True, text=True, start_new_session=True)
    return dict(json.loads(done.stdout))


def print_flow(flow: str, instances: int, rounds: int) -> None:
    """Print the cost of a further instance in each mode, and how much it exceeds that without an observer."""
    name, code = FLOWS[flow]
    commands = {mode: [*DUCTAFLOW, "--ductaflow-observe", mode] for mode in MODES}
    ways = {mode: Contender(command, first=_WARM, times=_QUICK) for mode, command in commands.items()}
    costs = {mode: [] for mode in MODES}  # type: dict[str, list[float]]
    for number in range(rounds):
        for mode in MODES if number % 2 else reversed(MODES):  # no mode gains if a machine slows down
            costs[mode].append(ways[mode].cost(code, instances).instance)
    print(f"\nflow {flow} ({name}), seconds for each further instance: median (min to max) of {rounds}")
    for mode, found in costs.items():
        middle = statistics.median(found)
        print(f"  observe = {mode:<8}{middle:.4f} ({min(found):.4f} to {max(found):.4f})")
    for mode in MODES[1:]:
        more = sorted(1000 * (a - b) for a, b in zip(costs["all"], costs[mode], strict=True))
        low, high = interval(more)
        cost = f"all costs {statistics.median(more):+.1f} ms more than {mode}"
        print(f"  {cost}: median of the differences, {low:+.1f} to {high:+.1f} ms with 95 % confidence")


def interval(ascending: list[float]) -> tuple[float, float]:
    """Return the bounds between which the median lies with 95 % confidence, whatever the distribution.

    They are order statistics: the number of values below the true median is binomial with probability 1/2.
    Fewer than six values cannot give such bounds: then the least and the greatest are returned.
    """
    count = len(ascending)
    outside = 0
    tail = 0.0
    while (tail := tail + comb(count, outside) / 2**count) <= 0.025:
        outside += 1
    outside = max(outside - 1, 0)
    return ascending[outside], ascending[-1 - outside]


if __name__ == "__main__":
    main()
