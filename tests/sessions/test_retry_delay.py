"""Sessions in which instances are tried again after a pause."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment, run_python, run_session, start_session, wait_for

pytestmark = pytest.mark.slow

FILES = {
    "flows/a.py": """\
        from pathlib import Path

        root = Path(config["_project_root"])
        with open(root / "ran.txt", "a") as file:
            file.write(f"{name}\\n")
        if (root / "ran.txt").read_text().split().count(name) <= fails:
            raise ConnectionError("the server is busy")
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct

        again = {"_retries": 2, "_retry_delay": "0.4s"}
        rows = [
            {"instance_name": "late", "fails": 2, **again},
            {"instance_name": "other", "fails": 0},
            {"instance_name": "after", "fails": 0, "_after": "a/late"},
            {"instance_name": "never", "fails": 9, **again, "_retries": 1},
            {"instance_name": "last", "fails": 0},
        ]
        conduct("flows/a.py", [{"name": row["instance_name"], **row} for row in rows])
        """,
    "pytest.ini": "[pytest]\n",
}


def record(root: Path, name: str) -> dict:
    return json.loads((root / f"runs/a/{name}/a_record.json").read_text(encoding="utf-8"))


def ran(root: Path) -> list[str]:
    return (root / "ran.txt").read_text().split()


def check_records(root: Path, *, slack: float = 60.0) -> None:
    """Check that each attempt is recorded, with why it failed and how long was waited."""
    late, never = record(root, "late"), record(root, "never")
    assert (late["status"], late["attempts"], never["status"], never["attempts"]) == (
        "success",
        3,
        "error",
        2,
    )
    assert late["failed_attempts"] == ["ConnectionError: the server is busy (line 11)"] * 2
    first, second = late["waited"]
    assert 0.4 <= first <= 0.44 + slack
    assert 0.8 <= second <= 0.88 + slack
    assert "retry_at" not in late
    assert "retry_at" not in never
    assert late["reason"] == "new"


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "with workers"])
def test_others_run_while_an_instance_waits(tmp_path, workers):
    root = write_project(tmp_path, FILES)
    done = run_session(root, "--ductaflow", "conductor.py", "--durations=0", "-vv", *workers)
    assert done.returncode == 1
    assert "1 failed, 4 passed, 3 rerun" in done.stdout
    order = ran(root)
    assert sorted(order) == sorted(["late"] * 3 + ["other", "after", "never", "never", "last"])
    assert order.index("after") > len(order) - 1 - order[::-1].index("late")
    if not workers:
        assert order[:2] == ["late", "other"]  # the pause may be over before the last one begins
    check_records(root)
    assert "attempt 1: ConnectionError: the server is busy (line 11); then waited" in done.stdout
    seconds = [float(each) for each in re.findall(r"([\d.]+)s call +conductor.py::a::never", done.stdout)]
    assert seconds
    page = (root / "runs/conductor_status_report.html").read_text(encoding="utf-8")
    assert "then waited" in page


def test_a_script_waits_in_place_and_time_of_waiting_is_no_time_of_the_run(tmp_path):
    root = write_project(tmp_path, FILES)
    done = run_python(root, "conductor.py")
    assert "a/never: ConnectionError" in done.stdout + done.stderr
    assert ran(root) == ["late", "late", "late", "other", "after", "never", "never", "last"]
    check_records(root, slack=0.01)


def test_with_reruns_of_another_plugin_it_waits_in_place(tmp_path):
    root = write_project(tmp_path, FILES)
    command = [
        "--ductaflow",
        "--reruns",
        "1",
        "--reruns-delay",
        "0.01",
        "--durations=0",
        "-vv",
        "conductor.py",
    ]
    done = run_session(root, *command, environment=own_environment(plugins=True))
    assert "1 failed, 4 passed, 1 rerun" in done.stdout
    assert ran(root) == ["late"] * 3 + ["other", "after"] + ["never"] * 4 + ["last"]
    check_records(root, slack=0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "with a worker"])
def test_ctrl_c_ends_a_wait_at_once_and_what_waited_is_told(tmp_path, workers):
    root = write_project(tmp_path, FILES)
    text = (root / "conductor.py").read_text().replace('"0.4s"', '"1h"')
    (root / "conductor.py").write_text(text)
    process = start_session(root, "--ductaflow", "conductor.py", *workers)
    page = root / "runs/conductor_status_report.html"
    wait_for(
        lambda: True if (root / "ran.txt").exists() and {"never", "last"} <= {*ran(root)} else None,
        "the rest",
    )
    wait_for(
        lambda: (
            True
            if (root / "runs/a/last/a_record.json").exists() and record(root, "last")["status"] == "success"
            else None
        ),
        "the last",
    )
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2, output
    assert "NOT TRIED AGAIN conductor.py::a::late - ConnectionError: the server is busy" in output
    assert record(root, "late")["status"] == "error"
    assert "NOT TRIED AGAIN conductor.py::a::never" in output
    assert page.exists()
    # What waited comes back with --lf, and begins anew.
    (root / "conductor.py").write_text(text.replace('"1h"', "0"))
    done = run_session(root, "--ductaflow", "conductor.py", "--lf", "-v")
    assert "late PASSED" in done.stdout
    assert "last" not in re.findall(r"a::(\w+) ", done.stdout)
    assert record(root, "late")["attempts"] == 2
