"""Measure the cost of the live report: rendering and writing it, and its share of a session's time.

python tests/benchmarks/report.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.report.live import PAUSE, SHARE, LiveReport

SECONDS = 20.0


def instance(root: Path, number: int) -> Instance:
    config = {"year": 2000 + number, "mode": "rail", "processing": {"alpha": number / 7, "beta": [1, 2, 3]}}
    name = f"scenario_{number:05}"
    return Instance(str(root / "flows/a.py"), "a", name, config, str(root / "runs/a" / name), str(root))


def record(of: Instance) -> Record:
    return Record(Status.WARNING, "flows/a.py", of.step, of.name, f"runs/a/{of.name}", warnings=("⚠️ " * 20,))


def main() -> None:
    print(f"{'rows':>8}{'one write ms':>15}{'KB':>9}{'writes in 20 s':>16}{'share of time':>16}")
    for rows in (100, 2_000, 10_000):
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            report = LiveReport(root, "pytest --ductaflow conductor.py")
            took: list[float] = []
            write = report._write

            def timed(write=write, took=took) -> None:
                began = time.perf_counter()
                write()
                took.append(time.perf_counter() - began)

            report._write = timed  # type: ignore[method-assign]
            instances = [instance(root, number) for number in range(rows)]
            for number, one in enumerate(instances):
                report.add(str(number), one, "pytest")
            report.follow()
            began = time.perf_counter()
            number = 0
            while (elapsed := time.perf_counter() - began) < SECONDS:
                report.ended(str(number % rows), record(instances[number % rows]))
                number += 1
                time.sleep(0.001)
            share, writes = sum(took) / elapsed, len(took)
            report.finish("finished")
            size = report.path.stat().st_size / 1024
            print(f"{rows:>8}{statistics.median(took) * 1000:>15.1f}{size:>9.0f}{writes:>16}{share:>15.1%}")
    print(f"\nThe rule: at least {PAUSE:g} s between writes, at most {SHARE:.0%} of the time in them.")


if __name__ == "__main__":
    main()
