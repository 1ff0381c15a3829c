"""Modules that were saved twice within a second, and what Python caches of them."""

from __future__ import annotations

import os
import py_compile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Status
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.running.run_instance import run
from pytest_ductaflow.tracking.python_caches import drop_young_caches


def saved(path: Path, text: str, moment: float) -> Path:
    path.write_text(text)
    os.utime(path, (moment, moment))
    return path


@pytest.mark.slow
def test_a_module_saved_twice_in_a_second_is_the_latter(write: Callable[..., Path]) -> None:
    """Its size is the same, and it was imported after it had been saved for the first time."""
    root = write({"flows/use.py": "import helper\nopen('out.txt', 'w').write(str(helper.UNIT))\n"})
    second = int(time.time())
    py_compile.compile(str(saved(root / "flows/helper.py", "UNIT = 1\n", second + 0.1)))
    saved(root / "flows/helper.py", "UNIT = 2\n", second + 0.9)
    instance = Instance(
        flow=str(root / "flows/use.py"),
        step="use",
        name="i",
        config={},
        run_dir=str(root / "runs/use/i"),
        project_root=str(root),
    )
    assert run(instance, Settings(fork=False, html="none")).status is Status.SUCCESS
    assert (root / "runs/use/i/out.txt").read_text() == "2"


def test_only_young_caches_are_dropped(tmp_path: Path) -> None:
    now = time.time()
    young = Path(py_compile.compile(str(saved(tmp_path / "young.py", "A = 1\n", now))))
    old = Path(py_compile.compile(str(saved(tmp_path / "old.py", "A = 1\n", now - 60))))
    (tmp_path / "__pycache__/alone.pyc").write_bytes(b"")
    drop_young_caches([str(tmp_path), str(tmp_path / "nothing here")])
    assert not young.exists()
    assert old.exists()
    assert (tmp_path / "__pycache__/alone.pyc").exists()
