"""Measure what an engine costs for each instance.

    python tests/benchmarks/engines.py [--instances 60] [--rounds 3] [--simulated 10000] [--files]

First, sessions with one worker of Dask and sessions in which this process is the engine: seconds for each
further instance of a flow that does nothing. Then a session whose engine costs nothing, as all that it gets
ends well at once: what the session itself takes for each instance, with ready queue, locks, records, pytest's
hooks and report, and its peak memory. Then, with `--files` and if strace is installed, the calls on files of
all processes for each further instance, and what an instance leaves in `runs/`.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from measure import Sample, run

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.made_up_engine import NOTHING, install_engine

FLOW = '# %% tags=["parameters"]\nconfig = {}\n\n# %%\nprint(config["instance_name"])\n'
FEW = 5
PYTEST = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "pytest_ductaflow.plugin", "-q"]
PYTEST += ["-p", "no:cacheprovider", "--ductaflow", "table.csv", "--ductaflow-engine"]


def write_project(folder: Path, count: int) -> None:
    """Write a table in which each row of the second half needs one of the first."""
    (folder / "flows").mkdir(parents=True)
    for name in ("first", "second"):
        (folder / f"flows/{name}.py").write_text(FLOW)
    half = count // 2
    rows = [f"n{number},flows/first.py," for number in range(count - half)]
    rows += [f"m{number},flows/second.py,first/n{number}" for number in range(half)]
    (folder / "table.csv").write_text("\n".join(["instance_name,flow,_after", *rows]) + "\n")


def measure(engine: str, count: int, *options: str) -> Sample:
    """Run a new project in an engine."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_project(folder / "project", count)
        install_engine(folder / "site", "nothing", NOTHING)
        os.environ["PYTHONPATH"] = str(folder / "site")
        return run([*PYTEST, engine, *options], folder / "project")


def each(few: Sequence[Sample], many: Sequence[Sample], further: int) -> list[float]:
    """Return milliseconds for each further instance, by round."""
    return [1000 * (b.seconds - a.seconds) / further for a, b in zip(few, many, strict=True)]


def compare(count: int, rounds: int) -> None:
    """Print the overhead of Dask."""
    found: dict[str, list[float]] = {"here": [], "dask:1": []}
    for _ in range(rounds):
        for engine, times in found.items():
            few, many = (measure(engine, number, "-o", "ductaflow_html=none") for number in (FEW, count))
            times.extend(each([few], [many], count - FEW))
    here, dask = (statistics.median(times) for times in found.values())
    print(f"milliseconds for each further instance of {count}, medians of {rounds} rounds")
    for engine, times in found.items():
        print(f"{engine:<10}{statistics.median(times):>8.1f}   {', '.join(f'{ms:.1f}' for ms in times)}")
    print(f"overhead of Dask: {dask - here:.1f} ms")


def processor_seconds() -> float:
    """Return the processor time of all processes that this one has started, and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def simulate(count: int) -> None:
    """Print what a session itself costs."""
    began = processor_seconds()
    few = measure("nothing", FEW)
    between = processor_seconds()
    many = measure("nothing", count)
    of_few, of_many = between - began, processor_seconds() - between
    print(f"\n{count:,} instances that cost nothing, with an engine that costs nothing")
    print(f"{1000 * (of_many - of_few) / (count - FEW):.2f} ms of a processor each, ", end="")
    print(f"{each([few], [many], count - FEW)[0]:.2f} ms of time, {many.seconds:.0f} s in all")
    print(f"peak memory {many.megabytes:.0f} MB ({few.megabytes:.0f} MB with {FEW})")


def count_files(count: int) -> None:
    """Print how often files are touched for each further instance, and what is left of it."""
    calls: list[Counter[str]] = []
    with tempfile.TemporaryDirectory() as name:
        for number in (FEW, FEW + count):
            folder, told = Path(name, f"{number}"), Path(name, f"{number}.txt")
            write_project(folder, number)
            trace = ["strace", "-f", "-c", "-o", str(told), "-e", "trace=%file,getdents64"]
            # What observes kernels is a tracer itself.
            run([*trace, *PYTEST, "here", "--ductaflow-observe", "python"], folder)
            rows = (line.split() for line in told.read_text().splitlines())
            calls.append(Counter({row[-1]: int(row[3]) for row in rows if len(row) > 4 and row[3].isdigit()}))
        left = [path for path in Path(folder, "runs/first/n1").iterdir() if path.is_file()]
        sizes = [path.stat() for path in left]
    each_call = {name: (calls[1][name] - calls[0][name]) / count for name in calls[1] if name != "total"}
    most = sorted(each_call.items(), key=lambda pair: -pair[1])[:4]
    print(f"\ncalls on files for each further instance: {sum(each_call.values()):.0f}, ", end="")
    print(", ".join(f"{name} {number:.0f}" for name, number in most))
    print(
        f"an instance leaves {len(left)} files, {sum(each.st_size for each in sizes) / 1000:.0f} kB, ", end=""
    )
    print(f"{sum(each.st_blocks for each in sizes) * 512 / 1000:.0f} kB of a disk")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--instances", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--simulated", type=int, default=10_000)
    parser.add_argument("--files", action="store_true")
    options = parser.parse_args()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    if options.rounds:
        compare(options.instances, options.rounds)
    if options.simulated:
        simulate(options.simulated)
    if options.files and shutil.which("strace"):
        count_files(20)


if __name__ == "__main__":
    main()
