"""Threads of libraries, and cores that are booked, in sessions with workers and without."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.projects import write_project
from helpers.sessions import run_pytest

from pytest_ductaflow.core.system.machine import usable_cores
from pytest_ductaflow.core.thread_variables import VARIABLES

pytestmark = pytest.mark.slow

CORES = usable_cores()
EACH = max(1, CORES // 2)  # of two workers
TELL = """\
    import json, os, time
    began = time.monotonic()
    import numpy
    import sklearn.cluster
    from threadpoolctl import threadpool_info

    numpy.linalg.svd(numpy.ones((200, 200)))
    sklearn.cluster.KMeans(2, n_init=1).fit(numpy.eye(300))
    names = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")
    told = {
        "variables": [os.environ.get(name) for name in names],
        "pools": {each["user_api"]: each["num_threads"] for each in threadpool_info()},
        "time": [began, time.monotonic()],
    }
    with open("told.json", "w") as file:
        json.dump(told, file)
    """
FILES = {
    "flows/a.py": TELL,
    "builds/nested.py": """\
        from pytest_ductaflow import conduct
        conduct("flows/a.py", [{"instance_name": "inner"}, {"instance_name": "one", "_cores": 1}])
        """,
    "conductor.py": f"""\
        import os
        from pytest_ductaflow import conduct
        rows = [{{"instance_name": name}} for name in ("b", "c")]
        conduct("flows/a.py", [{{"instance_name": "wide"}}], cores={CORES})
        conduct("flows/a.py", rows)
        conduct("builds/nested.py", [{{"instance_name": "all", "_cores": {CORES + 1}}}])
        os.environ["OMP_NUM_THREADS"] = "3"
        conduct("flows/a.py", [{{"instance_name": "own", "_cores": 1}}])
        """,
}
INSTANCES = {"wide": CORES, "b": EACH, "c": EACH}


def told(folder: Path) -> Mapping[str, Any]:
    data: dict[str, Any] = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    return data


def pools(number: int) -> dict[str, int]:
    return {"blas": number, "openmp": number}


def threads_in_record(folder: Path) -> int | None:
    record = json.loads((folder / "a_record.json").read_text(encoding="utf-8"))
    return record.get("threads")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove what the environment of the tests says of threads."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def check(run_dir: Path, number: int) -> None:
    """Check what an instance has told: its variables, what its libraries use, and its record."""
    found = told(run_dir)
    assert (found["variables"], found["pools"]) == ([str(number)] * 2, pools(number))
    assert threads_in_record(run_dir) == number


def test_workers_share_the_cores_and_rows_book_theirs(tmp_path):
    root = write_project(tmp_path, FILES)
    done = run_pytest(root, "--ductaflow", "-n", "2", "conductor.py")
    done.assert_outcomes(passed=5)
    done.stdout.fnmatch_lines(
        [f"note: _cores is up to {CORES + 1} (conductor.py), and this machine has {CORES} c*"]
    )
    for name, number in INSTANCES.items():
        check(root / "runs/a" / name, number)
    nested = root / "runs/nested/all/runs/a"
    assert told(nested / "inner")["pools"] == pools(CORES)
    assert told(nested / "one")["pools"] == pools(1)
    assert told(root / "runs/a/own")["variables"] == ["3", "1"]
    assert told(root / "runs/a/own")["pools"]["openmp"] == 3
    began, ended = told(root / "runs/a/wide")["time"]
    others = [told(folder)["time"] for folder in (*map((root / "runs/a").joinpath, "bc"), nested / "inner")]
    assert all(end < began or ended < begin for begin, end in others)


@pytest.mark.thorough
def test_ordinary_kernels_have_the_same_threads(tmp_path):
    root = write_project(tmp_path, FILES)
    chosen = [f"conductor.py::a::{name}" for name in ("wide", "b")]
    run_pytest(root, "--ductaflow", "--no-ductaflow-fork", "-n", "2", *chosen).assert_outcomes(passed=2)
    for name in ("wide", "b"):
        check(root / "runs/a" / name, INSTANCES[name])


def test_another_number_of_threads_is_no_reason_to_run_again(tmp_path):
    flow = 'import json, os\njson.dump(os.environ.get("POLARS_MAX_THREADS"), open("told.json", "w"))\n'
    table = "instance_name,flow,_cores\nplain,a,\nwide,a,{}\n"
    root = write_project(tmp_path, {"flows/a.py": flow, "table.csv": table.format(2)})

    def found() -> list[object]:
        folders = [root / "runs/a" / name for name in ("plain", "wide")]
        return [(json.loads((each / "told.json").read_text()), threads_in_record(each)) for each in folders]

    wide = min(2, CORES)
    run_pytest(root, "--ductaflow", "table.csv").assert_outcomes(passed=2)
    assert found() == [(None, None), (str(wide), wide)]
    (root / "table.csv").write_text(table.format(1), encoding="utf-8")
    done = run_pytest(root, "--ductaflow", "-v", "table.csv", "--ductaflow-threads", "5")
    assert sum("UNCHANGED" in line for line in done.outlines) == 2
    assert found() == [(None, None), (str(wide), wide)]
    run_pytest(root, "--ductaflow", "table.csv", "--ductaflow-threads", "5", "--ductaflow-force")
    assert found() == [("5", 5), ("1", 1)]
    run_pytest(root, "--ductaflow", "table.csv", "--ductaflow-threads", "off", "--ductaflow-force")
    assert found() == [(None, None), (None, None)]
