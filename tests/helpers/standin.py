"""Replace the runner, as a pytest plugin: instances start no kernel, but only sleep, fail or die.

    PYTHONPATH=tests pytest -p helpers.standin --ductaflow conductor.py

In the project root it writes `events.jsonl`, with the start and end of each instance, and `reports.jsonl`,
with the reports of the session. The config of an instance says what it does:

    do      ok | warn | fail | crash, the last two also only "… once"; "die later": its worker dies 0.1 s
            after it has ended well
    sleep   for how many seconds before that
"""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Failure, Record, Status
from pytest_ductaflow.core.run_directory import layout, record_files
from pytest_ductaflow.running import run_instance


def run(instance: Instance, *_: Any, **__: Any) -> Record:
    """Do what the config says, and leave a file and a record."""
    label, root, do = f"{instance.step}/{instance.name}", instance.project_root, instance.config["do"]
    log = Path(root, "events.jsonl")
    _tell(log, label=label, event="start", at=time.monotonic_ns())
    time.sleep(instance.config.get("sleep", 0))
    if do == "crash" or (do == "crash once" and _is_first_time(instance)):
        os._exit(7)
    if do == "die later" and "PYTEST_XDIST_WORKER" in os.environ and _is_first_time(instance):
        threading.Timer(0.1, os._exit, [7]).start()
    record = _record(instance, is_red=do == "fail" or (do == "fail once" and _is_first_time(instance)))
    files = layout.RunFiles.of(instance)
    files.directory.mkdir(parents=True, exist_ok=True)
    (files.directory / "out.txt").touch()
    record_files.write_record(files, record)
    _tell(log, label=label, event="end", at=time.monotonic_ns())
    return record


def _record(instance: Instance, *, is_red: bool) -> Record:
    is_orange = instance.config["do"] == "warn"
    return Record(
        status=Status.ERROR if is_red else Status.WARNING if is_orange else Status.SUCCESS,
        flow=layout.display_path(instance.flow, instance.project_root),
        step=instance.step,
        instance=instance.name,
        run_dir=layout.display_path(instance.run_dir, instance.project_root),
        duration=instance.config.get("sleep", 0),
        outputs={"out.txt": ""},
        error=Failure("Red", "no such zone") if is_red else None,
        warnings=("⚠️ few data",) if is_orange else (),
    )


def _is_first_time(instance: Instance) -> bool:
    try:
        Path(instance.project_root, f"seen_{instance.step}_{instance.name}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _tell(file: Path, **what: Any) -> None:
    with open(file, "ab", buffering=0) as stream:
        stream.write(json.dumps(what).encode() + b"\n")


def start_early(_: Any) -> None:
    """Start nothing: no kernel is needed."""


run_instance.run = run
run_instance.start_early = start_early


class Reports:
    """The reports that the reporting process receives."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        says = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr or "")
        kind = "warned" if hasattr(report, "wasxfail") else report.outcome
        _tell(self._file, id=report.nodeid, when=report.when, outcome=kind, says=says)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Reports(config.rootpath / "reports.jsonl"))
