"""Runs on a disk that fills up while they are under way."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from helpers.projects import write_project

from pytest_ductaflow import results
from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Status
from pytest_ductaflow.core.run_directory import atomic, record_files
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.running import attempts, run_instance


def test_a_run_that_found_no_room_is_a_failure_on_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no room for a new file; the record that says `running` has its space already."""

    def is_full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def execute(*_: object, **__: object) -> None:
        monkeypatch.setattr(atomic, "write_atomic", is_full)
        is_full()

    write_project(tmp_path, {"flows/x.py": "print(1)\n"})
    run_dir = tmp_path / "runs/x/A"
    instance = Instance(str(tmp_path / "flows/x.py"), "x", "A", {}, str(run_dir), str(tmp_path))
    monkeypatch.setattr(attempts, "flow_run", execute)
    told = run_instance.run(instance, Settings(fork=False))
    record, problem = record_files.read_record(run_dir / "x_record.json")
    assert (record, problem) == (told, None)
    assert record.status is Status.ERROR
    assert "No space left on device" in record.error.message
    assert list(results(tmp_path / "runs")["status"]) == ["error"]
    assert sorted(path.name for path in run_dir.iterdir()) == ["x_config.json", "x_record.json"]
