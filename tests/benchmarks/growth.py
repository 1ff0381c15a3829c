"""Find out whether a long session grows: time, memory, descriptors and threads, by window. Linux only.

    python tests/benchmarks/growth.py [--instances 600] [--window 25] [options of pytest]

One process runs all instances of a short flow. Lines of its terminal output show when an instance has
ended; then its resources are read from the system. Unknown options go to pytest: `--no-ductaflow-fork`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from measure import environment, family, proportional_megabytes

FLOW = """\
# %% tags=["parameters"]
config = {}

# %%
import pandas as pd

# %%
print(factor)
pd.DataFrame({"number": range(100)}).mul(factor).to_csv("result.csv", index=False)
"""
CONDUCTOR = """\
from pytest_ductaflow import conduct

conduct("flows/step.py", [{{"instance_name": f"n{{n:05}}", "factor": n}} for n in range({count})])
"""
PYTEST = [sys.executable, "-m", "pytest", "-v", "-p", "no:hypothesispytest", "--ductaflow", "conductor.py"]


@dataclass(frozen=True)
class Window:
    """Resources in use after some more instances have ended.

    Attributes:
        ended: Instances since the session began.
        seconds: Wall time for each instance of the window.
        resident: Megabytes of pytest's process.
        others: Megabytes of all processes that it has started, with shared memory counted once.
        processes: Number of these.
    """

    ended: int
    seconds: float
    resident: float
    descriptors: int
    threads: int
    others: float
    processes: int


def write_project(folder: Path, count: int) -> None:
    (folder / "flows").mkdir()
    (folder / "flows/step.py").write_text(FLOW)
    (folder / "conductor.py").write_text(CONDUCTOR.format(count=count))


def session(folder: Path, size: int, options: Sequence[str]) -> Iterator[Window]:
    """Run all instances; the window of the first `size` instances includes the start of the session."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    process = subprocess.Popen(
        [*PYTEST, *options],
        cwd=folder,
        env=environment(mark) | {"PYTHONUNBUFFERED": "1"},  # otherwise output is buffered in blocks
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    ended, began = 0, time.perf_counter()
    for line in process.stdout or ():
        lines.append(line)
        ended += " PASSED" in line
        if " PASSED" in line and ended % size == 0:
            now = time.perf_counter()
            yield sampled(ended, (now - began) / size, psutil.Process(process.pid), mark)
            began = time.perf_counter()
    if process.wait():
        sys.exit("".join(lines[-30:]))
    _, left = psutil.wait_procs(family(mark, os.getpid()), timeout=5)
    print(f"processes left after the session: {len(left)}")


def sampled(ended: int, seconds: float, pytest: psutil.Process, mark: str) -> Window:
    others = family(mark, pytest.pid)
    return Window(
        ended,
        seconds,
        pytest.memory_info().rss / 1024**2,
        pytest.num_fds(),
        pytest.num_threads(),
        proportional_megabytes(others),
        len(others),
    )


def per_hundred(windows: Sequence[Window], value: Callable[[Window], float]) -> float:
    """Return the slope of the line through all windows after the first quarter, in which caches fill."""
    settled = windows[len(windows) // 4 :]
    return statistics.linear_regression([w.ended for w in settled], [value(w) for w in settled]).slope * 100


def print_growth(windows: Sequence[Window]) -> None:
    quarter = len(windows) // 4
    second = statistics.median(window.seconds for window in windows[quarter : 2 * quarter])
    last = statistics.median(window.seconds for window in windows[-quarter:])
    print(f"\nSeconds per instance, last quarter against second quarter: {last / second - 1:+.1%}")
    print("For each 100 instances after the first quarter, by a straight line:")
    columns: dict[str, Callable[[Window], float]] = {
        "MB of pytest": lambda window: window.resident,
        "descriptors": lambda window: window.descriptors,
        "threads": lambda window: window.threads,
        "MB of other processes": lambda window: window.others,
        "other processes": lambda window: window.processes,
    }
    for name, value in columns.items():
        print(f"{name:<24}{per_hundred(windows, value):>+8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--instances", type=int, default=600)
    parser.add_argument("--window", type=int, default=25)
    options, of_pytest = parser.parse_known_args()
    if sys.platform != "linux":
        sys.exit("What a process holds is read as Linux tells it; there is nothing to measure here.")
    if options.instances < 4 * options.window:
        parser.error("there must be four windows at least")
    windows = []
    heads = ("ended", "s each", "MB", "descriptors", "threads", "processes", "their MB")
    print("".join(f"{head:>12}" for head in heads))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder, options.instances + 1)  # the last window must not end with the session
        for w in session(folder, options.window, of_pytest):
            windows.append(w)
            print(
                f"{w.ended:>12}{w.seconds:>12.3f}{w.resident:>12.1f}{w.descriptors:>12}{w.threads:>12}"
                f"{w.processes:>12}{w.others:>12.1f}",
                flush=True,
            )
    print_growth(windows)


if __name__ == "__main__":
    main()
