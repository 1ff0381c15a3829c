"""Time whole processes in turn, print medians, and find what processes hold, for the benchmarks."""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # ipykernel depends on it

_MARK = "DUCTAFLOW_BENCHMARK"  # in the environment of a session and of all that it starts
_NOT_OF_USERS = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")


@dataclass(frozen=True)
class Sample:
    """One run of a command.

    Attributes:
        seconds: Wall time.
        megabytes: Peak memory of the largest process in it.
    """

    seconds: float
    megabytes: float


def environment(mark: str = "") -> dict[str, str]:
    """Return a user's environment for a process, which `family` finds if it has a mark."""
    ours = {name: value for name, value in os.environ.items() if name not in _NOT_OF_USERS}
    return ours | ({_MARK: mark} if mark else {})


def run(command: Sequence[str], folder: Path, *, expect: int = 0) -> Sample:
    """Run a command to its end and measure it; show its output if the exit code is not expected."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != expect:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return Sample(seconds, usage.ru_maxrss / (1 if sys.platform == "darwin" else 1024))


def family(mark: str, pid: int) -> list[psutil.Process]:
    """Return the processes that a marked session has started, including orphans and zombies."""
    found = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get(_MARK) == mark:
                found.add(process)
        except psutil.Error:  # another user's process, or it is gone
            continue
    with contextlib.suppress(psutil.NoSuchProcess):
        found.update(psutil.Process(pid).children(recursive=True))
    return [process for process in found if process.pid != pid]


def proportional_megabytes(processes: Sequence[psutil.Process]) -> float:
    """Return the memory of processes, with shared memory counted once. Linux only."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it has just ended
            continue
    return total / 1024**2


def in_turn(runs: int, contenders: dict[str, Callable[[], Sample]]) -> dict[str, list[Sample]]:
    """Return samples of each contender, measured A B C A B C …, after one round that does not count."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(runs + 1):
        for name, measure in contenders.items():
            sample = measure()
            if number:
                samples[name].append(sample)
    return samples


def print_table(title: str, samples: dict[str, list[Sample]], reference: str) -> None:
    """Print median, spread, memory, and the ratio to the reference, taken round by round."""
    print(f"\n{title}")
    print(f"{'':<34}{'median s':>10}{'min':>8}{'max':>8}{'MB':>8}{'ratio':>9}")
    for name, found in samples.items():
        seconds = [sample.seconds for sample in found]
        ratios = [a.seconds / b.seconds for a, b in zip(found, samples[reference], strict=True)]
        memory = statistics.median(sample.megabytes for sample in found)
        print(
            f"{name:<34}{statistics.median(seconds):>10.3f}{min(seconds):>8.3f}{max(seconds):>8.3f}"
            f"{memory:>8.0f}{statistics.median(ratios):>9.2f}"
        )
