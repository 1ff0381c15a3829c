"""The memory of a tree of processes, and the watch that ends it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from pytest_ductaflow.kernels.memory import watch as watching
from pytest_ductaflow.kernels.memory.process_tree import AnyTree, LinuxTree, Tree, kill, tree_of_processes
from pytest_ductaflow.kernels.memory.watch import MemoryWatch, noted, noted_kernels

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
SHARED = 80_000_000  # bytes that all processes of the tree have from the first
# A process that forks another, which forks three; each says when it is there, and waits for its input.
FORKS = f"""
import os, sys
held = b"x" * {SHARED}
if not os.fork():
    os.fork()
    os.fork()
os.write(1, b"+")
os.read(0, 1)
"""

LEAVES = """
import subprocess, sys
left = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, start_new_session=True)
print(left.pid, flush=True)
sys.stdin.read(1)
"""


@pytest.fixture
def forks() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process with four below it, all of which share what they have."""
    process = subprocess.Popen([sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    below: list[psutil.Process] = []
    try:
        assert process.stdout is not None
        assert process.stdout.read(5) == b"+" * 5
        below = psutil.Process(process.pid).children(recursive=True)
        yield process
    finally:
        kill([process.pid, *(each.pid for each in below)])
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
@pytest.mark.parametrize("kind", [pytest.param(LinuxTree, marks=linux), AnyTree])
def test_a_tree_has_all_that_was_started_and_their_memory(forks, kind):
    tree: Tree = kind()
    pids = tree.look([forks.pid])
    expected = {forks.pid, *(each.pid for each in psutil.Process(forks.pid).children(recursive=True))}
    assert pids[0] == forks.pid
    assert {*pids} == expected
    assert len(pids) == 5
    assert tree.resident(pids) > 5 * SHARED
    if isinstance(tree, LinuxTree):  # what is shared counts once
        assert SHARED < tree.own(pids) < 2 * SHARED
        assert {*tree.look([forks.pid])} == expected
    kill(pids)
    forks.wait()
    assert forks.pid not in tree.look([forks.pid]) or kind is AnyTree


@linux
def test_what_has_been_seen_stays_in_the_tree_when_its_parent_is_gone():
    command = [sys.executable, "-c", LEAVES]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        orphan = int(parent.stdout.readline())
        tree = LinuxTree()
        try:
            assert {*tree.look([parent.pid])} == {parent.pid, orphan}
            parent.stdin.close()
            parent.wait()
            assert {*tree.look([parent.pid])} == {orphan}
        finally:
            kill([orphan])


def test_the_tree_fits_the_system():
    assert isinstance(tree_of_processes(), LinuxTree if sys.platform == "linux" else AnyTree)


class FakeTree:
    """A tree whose processes use what a test says.

    Args:
        steps: For each look, what each process uses.
        shared: Bytes of each that all of them share.
    """

    def __init__(self, steps: Iterable[Sequence[int]], shared: int = 0) -> None:
        self.steps = iter(steps)
        self.shared = shared
        self.asked = 0

    def look(self, roots: Iterable[int]) -> Sequence[int]:
        assert list(roots) == [1]
        self.now = next(self.steps, ())
        return range(1, len(self.now) + 1)

    def resident(self, pids: Iterable[int]) -> int:
        return sum(self.now[pid - 1] for pid in pids)

    def own(self, pids: Iterable[int]) -> int:
        self.asked += 1
        return self.resident(pids) - self.shared * (len(self.now) - 1)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    found: list[list[int]] = []
    monkeypatch.setattr(watching, "kill", lambda pids: found.append(list(pids)))
    return found


def test_all_are_ended_if_they_use_more_together_than_they_may(killed):
    tree = FakeTree([(5, 4), (5, 4, 3), (5, 4, 3, 2)])
    watch = MemoryWatch(lambda: [1], 10, tree=tree)
    watch.look()
    assert (killed, watch.message, watch.excess) == ([], "", None)
    watch.look()
    assert killed == [[1, 2, 3], [1, 2, 3, 4]]
    assert watch.message == "the flow and what it started used 12 bytes, its limit (_memory) is 10 bytes"
    assert watch.peak == 12


def test_what_processes_share_counts_once(killed):
    watch = MemoryWatch(lambda: [1], 10, tree=FakeTree([(8, 8, 8)] * 3, shared=7))
    watch.look()
    assert (killed, watch.peak) == ([], 10)


def test_an_excess_that_rounding_would_hide_is_told_in_bytes(killed):
    watch = MemoryWatch(lambda: [1], 2_000_000, tree=FakeTree([[2_000_100]]))
    watch.look()
    assert killed
    assert watch.message.endswith("used 2,000,100 bytes, its limit (_memory) is 2,000,000 bytes")


def test_a_single_process_without_a_limit_is_not_asked_and_others_only_when_they_grow(killed):
    tree = FakeTree([[9]] * 5 + [[9, 5]] * 9 + [[9, 3]] * 9)
    watch = MemoryWatch(lambda: [1], None, tree=tree)
    for _ in range(23):
        watch.look()
    assert (tree.asked, watch.peak, killed) == (1, 14, [])


def test_a_watch_looks_until_it_is_stopped_and_survives_what_it_cannot_read(monkeypatch):
    monkeypatch.setattr(watching, "_PAUSE", 0.001)
    looks: list[float] = []

    def roots() -> list[int]:
        looks.append(time.monotonic())
        raise OSError("no more descriptors")

    watch = MemoryWatch(roots, None)
    watch.start()
    while len(looks) < 3:
        time.sleep(0.001)
    watch.stop()
    watch.stop()
    seen = len(looks)
    time.sleep(0.01)
    assert len(looks) == seen


def test_kernels_of_flows_are_noted_for_their_build_while_they_run(tmp_path: Path):
    file = tmp_path / ".b_flows.kernels"
    assert noted_kernels(file) == []
    with noted([file], 12), noted([file], 34), noted([file], None):
        assert noted_kernels(file) == [12, 34]
    assert noted_kernels(file) == []
    file.write_text("no number")
    assert noted_kernels(file) == []
