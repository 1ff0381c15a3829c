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


@pytest.mark.parametrize("command", ["rm", "restore", "store"])
def test_no_name_is_not_the_working_directory(root: Path, command: str) -> None:
    """A variable of the shell that is empty does not mean the run in which one works."""
    done = ductaflow(root / "runs/clean/A", command, "", *(["--yes"] if command == "rm" else []))
    assert (done.code, done.out) == (2, "")
    assert "'' is not the name of a run" in done.err
    assert (root / "runs/clean/A").is_dir()


def test_rm_of_the_working_directory(root: Path) -> None:
    done = ductaflow(root / "runs/clean/A", "rm", ".", "--yes", is_real=True)
    assert (done.code, done.err) == (0, "")
    assert not (root / "runs/clean/A").exists()


def test_a_record_that_cannot_be_read_is_told(root: Path) -> None:
    (root / "runs/clean/A/clean_record.json").write_text("{")
    done = ductaflow(root, "rm", "clean/A", "--yes")
    assert (done.code, done.out) == (2, "")
    assert "runs/clean/A/clean_record.json: not a readable record" in done.err
    assert "holds no record" not in done.err
    assert (root / "runs/clean/A").is_dir()


def test_restore_says_if_there_is_nothing(root: Path) -> None:
    done = ductaflow(root, "restore", "clean/A")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ")
