"""Dask as an engine, while workers are killed: each instance ends once, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import sys
from pathlib import Path

import pytest
from helpers.dask_cluster import processes_in
from helpers.projects import write_project
from helpers.sessions import running, wait_for

from pytest_ductaflow.running.engines.attempt import MOST_LOST

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.skipif(sys.platform != "linux", reason="kernels share the fate of workers on Linux"),
]

KILLS = 3
STEP = """\
    import os, time
    from pathlib import Path
    with open(Path(config["_project_root"], "starts", instance_name), "a") as file:
        file.write(f"{os.getpid()}\\n")
    for needed in needs:
        assert Path(config["_project_root"], needed).read_text() == "done", needed
    time.sleep(0.1)
    Path("out.txt").write_text("done")
    """
KILLER = """\
    import os, signal, time
    os.kill(int(os.environ["JPY_PARENT_PID"]), signal.SIGKILL)
    while True:
        time.sleep(1)
    """


def a_graph(count: int) -> list[dict[str, object]]:
    """Return rows that need what earlier rows write."""
    chance = random.Random(1)
    rows: list[dict[str, object]] = []
    for number in range(count):
        needed = chance.sample(range(number), min(number, chance.randrange(3)))
        paths = [f"runs/step/n{each}/out.txt" for each in sorted(needed)]
        rows.append({"instance_name": f"n{number}", "needs": paths})
    return rows


def owners(root: Path) -> set[int]:
    """Return the workers that run something now."""
    found = set()
    for path in (root / "runs/.locks").glob("*.attempt"):
        with contextlib.suppress(OSError, ValueError):
            data = json.loads(path.read_text())
            if data["record"] is None:
                found.add(data["owner"]["pid"])
    return found


@pytest.mark.parametrize("count", [40, 200])
def test_instances_end_once_while_workers_are_killed(tmp_path: Path, count: int) -> None:
    takes_workers_down = count > 40
    rows = a_graph(count)
    conductor = f"""\
        from pytest_ductaflow import conduct
        conduct("flows/killer.py", [{{"instance_name": "one"}}] * {takes_workers_down:d}, after=[])
        conduct("flows/step.py", {rows!r}, after=[])
        """
    files = {"flows/step.py": STEP, "flows/killer.py": KILLER, "conductor.py": conductor}
    root = write_project(tmp_path / "project", files)
    (root / "starts").mkdir()
    command = ("-v", "-p", "no:cacheprovider", "--ductaflow", "--ductaflow-engine", "dask:2", "conductor.py")
    with running(root, sys.executable, "-m", "pytest", *command) as session:
        for kill in range(KILLS):
            wait_for(lambda kill=kill: ended(root) >= (kill + 1) * count // 5 or None, "instances")
            pid = wait_for(lambda: next(iter(owners(root)), None), "a worker with work")
            with contextlib.suppress(ProcessLookupError):  # the killer was faster
                os.kill(pid, signal.SIGKILL)
        output, _ = session.communicate(timeout=120 + count)
    assert session.returncode == int(takes_workers_down), output
    told = re.findall(r"^conductor\.py::step::(n\d+) (\w+)", output, re.MULTILINE)
    assert sorted(told) == sorted((str(row["instance_name"]), "PASSED") for row in rows), output
    starts = {path.name: len(path.read_text().split()) for path in (root / "starts").iterdir()}
    assert sum(starts.values()) <= count + KILLS  # only what was running on a killed worker runs again
    for row in rows:
        name = str(row["instance_name"])
        record = json.loads((root / f"runs/step/{name}/step_record.json").read_text())
        assert starts[name] <= record["attempts"] <= MOST_LOST
        assert all(each.startswith("WorkerLost: dask") for each in record.get("failed_attempts", []))
    if takes_workers_down:
        killed = json.loads((root / "runs/killer/one/killer_record.json").read_text())
        assert killed["error"]["message"].startswith(f"killed {MOST_LOST} workers (memory?): dask")
    assert not list((root / "runs/.locks").glob("*.attempt"))
    wait_for(lambda: not processes_in(root) or None, "the end of all processes")


def ended(root: Path) -> int:
    return len(list(root.glob("runs/step/*/out.txt")))
