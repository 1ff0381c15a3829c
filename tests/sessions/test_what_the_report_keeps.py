"""What the report has after a session with workers, and after a script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment, run

from pytest_ductaflow.report.page import read

pytestmark = pytest.mark.slow

FLOW = """\
    # %% tags=["parameters"]
    config = {}

    # %%
    import json
    print("value", n)
    assert n != 3, "three is bad"
    with open("results.json", "w") as file:
        json.dump({"twice": 2 * n}, file)
    """
FILES = {
    "flows/x.py": FLOW,
    "pytest.ini": "[pytest]\n",
    "conductor.py": """\
        from pytest_ductaflow import conduct

        conduct("flows/x.py", [{"instance_name": f"n{n}", "n": n} for n in range(2)], step="first")
        conduct(
            "flows/x.py",
            [{"instance_name": f"n{n}", "n": n, "src": "runs/first/n0/results.json"} for n in range(2, 4)],
            step="second",
        )
        """,
    "other_conductor.py": """\
        from pytest_ductaflow import conduct

        two = [{"instance_name": "o1", "n": 7}, {"instance_name": "o2", "n": 8}]
        conduct("flows/x.py", two, step="other")
        """,
}


def pytest_of(root: Path, *args: str) -> pytest.RunResult:
    return run(root, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--ductaflow", *args)


def rows_of(root: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read(root / "runs/conductor_status_report.html")["rows"]}


@pytest.fixture(name="root")
def make_project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", FILES)


def test_a_session_with_workers_knows_who_ran_what_and_what_it_waited_for(root):
    pytest_of(root, "conductor.py", "-n", "2")
    pytest_of(root, "conductor.py", "-n", "2", "--ductaflow-force")
    data = read(root / "runs/conductor_status_report.html")
    rows = {row["instance"]: row for row in data["rows"]}
    assert {row["worker"] for row in rows.values()} == {"gw0", "gw1"}
    assert rows["n0"]["waited_for"] is None
    assert rows["n3"]["waited_for"] == "upstream first/n0"
    assert all(row["ready"] <= row["started"] for row in rows.values())
    assert data["edges"] == [["conductor.py", "first", "conductor.py", "second", 2, False]]
    assert all(len(row["history"]["runs"]) == 2 for row in rows.values())
    assert rows["n2"]["history"]["places"] == [["results", "twice"]]
    assert rows["n3"]["debug"].endswith(".api.debugging flows/x.py runs/second/n3/x_config.json")
    assert {each[3] for each in data["idle"]} <= {"upstreams", "order", "cores", "nothing left"}
    # The report of records alone knows as much, but for the waiting.
    assert run(root, "-m", "pytest_ductaflow.command_line", "report").ret == 0
    again = {row["instance"]: row for row in read(root / "runs/conductor_status_report.html")["rows"]}
    assert again["n1"]["worker"] == rows["n1"]["worker"]
    assert again["n1"]["history"] == rows["n1"]["history"]


def test_the_command_to_debug_stops_where_the_flow_fails(root):
    pytest_of(root, "conductor.py")
    command = rows_of(root)["conductor.py::second::n3"]["debug"]
    done = subprocess.run(
        [sys.executable, *command.split()[1:]],
        cwd=root,
        env=own_environment(),
        input="print('n is', n)\nq\n",
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert "three is bad" in done.stdout
    assert "n is 3" in done.stdout


def test_a_script_keeps_what_others_have_run(root):
    pytest_of(root, "conductor.py")
    run(root, "other_conductor.py")
    rows = rows_of(root)
    assert {name: row["earlier"] for name, row in rows.items()} == {
        "conductor.py::first::n0": True,
        "conductor.py::first::n1": True,
        "conductor.py::second::n2": True,
        "conductor.py::second::n3": True,
        "other_conductor.py::other::o1": False,
        "other_conductor.py::other::o2": False,
    }
    assert rows["conductor.py::second::n3"]["status"] == "error"
    assert rows["conductor.py::second::n2"]["results"] == {"results": {"twice": 4}}
    run(root, "conductor.py")
    rows = rows_of(root)
    assert rows["other_conductor.py::other::o1"]["earlier"] is True
    assert rows["conductor.py::first::n0"]["earlier"] is False
    assert len(rows) == 6


def test_a_script_has_instances_of_which_there_was_no_report(root):
    pytest_of(root, "conductor.py", "--no-ductaflow-report")
    assert not (root / "runs/conductor_status_report.html").exists()
    run(root, "other_conductor.py")
    rows = rows_of(root)
    assert len(rows) == 6
    assert rows["conductor.py::second::n3"]["status"] == "error"
    assert rows["conductor.py::second::n3"]["earlier"] is True


def test_what_a_script_does_not_have_any_more_is_dropped(root):
    run(root, "other_conductor.py")
    conductor = root / "other_conductor.py"
    conductor.write_text(conductor.read_text().replace("o2", "o3"))
    run(root, "other_conductor.py")
    assert sorted(rows_of(root)) == ["other_conductor.py::other::o1", "other_conductor.py::other::o3"]


def test_several_workers_of_a_script_are_lanes(root):
    environment = own_environment(DUCTAFLOW_WORKERS="2")
    subprocess.run([sys.executable, "other_conductor.py"], cwd=root, env=environment, timeout=100, check=True)
    workers = {row["worker"] for row in rows_of(root).values()}
    assert workers <= {"ductaflow_0", "ductaflow_1"}
    assert all(workers)


def test_what_comes_after_the_runs_stands_after_all_steps_of_its_conductor(root):
    conductor = root / "conductor.py"
    text = conductor.read_text().replace("import conduct\n", "import conduct, is_collecting\n")
    conductor.write_text(f"{text}\nif not is_collecting():\n    print('well')\n")
    pytest_of(root, "conductor.py")
    edges = read(root / "runs/conductor_status_report.html")["edges"]
    assert edges[1:] == [
        ["conductor.py", "first", "conductor.py", "after", 1, False],
        ["conductor.py", "second", "conductor.py", "after", 1, False],
    ]
    (after,) = (row for row in rows_of(root).values() if row["step"] == "after")
    assert after["debug"] is None
