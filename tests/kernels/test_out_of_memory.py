"""What control groups report of processes that the system has killed because memory ran out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ductaflow.kernels.out_of_memory import killed_for_memory
from pytest_ductaflow.running.failures import kernel_death

EVENTS = "low 0\nhigh 0\nmax 17\noom 3\noom_kill 2\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"


@pytest.mark.parametrize(
    ("own", "file", "text"),
    [
        ("0::/user/session\n", "user/session/memory.events", EVENTS),
        ("0::/outside/of/this/container\n", "memory.events", EVENTS),
        ("4:cpu:/a\n3:memory:/a/b\n0::/\n", "memory/a/b/memory.oom_control", CONTROL),
        ("3:hugetlb,memory:/docker/123\n", "memory/memory.oom_control", CONTROL),
    ],
)
def test_the_group_of_this_process_tells_how_many_were_killed(tmp_path, own, file, text):
    (tmp_path / "own").write_text(own)
    (tmp_path / "groups" / file).parent.mkdir(parents=True)
    (tmp_path / "groups" / file).write_text(text)
    assert killed_for_memory(tmp_path / "own", tmp_path / "groups") == 2


@pytest.mark.parametrize("own", [None, "0::/\n", "nonsense\n", "0::/old\n"])
def test_where_nobody_tells_nothing_is_known(tmp_path, own):
    if own is not None:
        (tmp_path / "own").write_text(own)
    (tmp_path / "old").mkdir()
    (tmp_path / "old/memory.events").write_text("low 0\nhigh 0\n")
    assert killed_for_memory(tmp_path / "own", tmp_path) is None


def dead(peak_memory: int | None, lost: str = "") -> Any:
    """Return a stand-in for a kernel that was killed."""
    return SimpleNamespace(peak_memory=peak_memory, lost=lost)


@pytest.mark.parametrize(
    ("before", "after", "peak", "told"),
    [
        (None, None, None, "\n(as the system does when memory runs out)"),
        (
            1,
            2,
            3_210_000_000,
            ": the system has killed a process because memory ran out; the kernel had used up to 3.21 GB",
        ),
        (
            1,
            1,
            3_000_000_000,
            """
(as batch systems do; the system itself tells of no kill for lack of memory; the kernel had used up to 3 GB)""",  # noqa: E501
        ),
    ],
)
def test_of_a_killed_kernel_it_is_told_whether_memory_ran_out(monkeypatch, before, after, peak, told):
    monkeypatch.setattr(kernel_death, "killed_for_memory", lambda: after)
    assert kernel_death.death_of_kernel(dead(peak), -9, before) == f"the kernel was killed by SIGKILL{told}"


def test_a_helper_that_was_killed_is_told(monkeypatch):
    monkeypatch.setattr(kernel_death, "killed_for_memory", lambda: None)
    assert kernel_death.death_of_kernel(dead(None, "observes kernels"), -9, None).startswith(
        "the helper process that observes kernels was killed, and the kernel with it\n"
    )
