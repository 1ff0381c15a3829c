"""`gc`, `rm` and `restore` take names; what they do is tested with sessions."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.command_line import ductaflow, write_sample


@pytest.fixture(name="root")
def fixture_root(tmp_path: Path) -> Path:
    return write_sample(tmp_path)


def test_gc_removes_what_nothing_declares_after_a_question(root: Path) -> None:
    done = ductaflow(root / "flows", "gc", "--dry-run")
    assert (done.code, done.lines) == (0, [f"would remove {root / 'runs/old/x'}"])
    done = ductaflow(root, "gc", stdin="n\n")
    assert done.code == 1
    assert (root / "runs/old/x").is_dir()
    done = ductaflow(root, "gc", "--yes", is_real=True)
    assert (done.code, done.lines) == (0, ["removed runs/old/x"])
    assert not (root / "runs/old").exists()
    assert ductaflow(root, "gc").out == "nothing to remove: there is an instance to all that is there\n"


def test_gc_of_a_part_of_runs(root: Path) -> None:
    assert "nothing to remove" in ductaflow(root, "gc", "runs/clean").out
    done = ductaflow(root, "gc", "nothing")
    assert (done.code, done.err) == (2, "Error: nothing is no folder\n")


def test_rm_takes_names(root: Path) -> None:
    done = ductaflow(root, "rm", "old", "--yes")
    assert (done.code, done.lines) == (0, ["removed runs/old/x"])
    done = ductaflow(root, "rm", "claen", "--yes")
    assert done.code == 2
    assert "no run in runs is called like 'claen'" in done.err
    done = ductaflow(root, "rm", "clean", "--yes")
    assert "is ambiguous" in done.err
    assert (root / "runs/clean/A").is_dir()


def test_restore_says_if_there_is_nothing(root: Path) -> None:
    done = ductaflow(root, "restore", "clean/A")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ")
