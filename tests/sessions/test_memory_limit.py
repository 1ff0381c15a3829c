"""Limits of memory: all that a flow starts counts, and is ended."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_pytest

pytestmark = pytest.mark.slow

MB = 1_000_000
FLOW = f"""\
    import os, subprocess, sys, time

    # %%
    if kind == "own":
        held = b"x" * ({MB} * size)
    elif kind == "program":
        code = f"held = b'x' * ({MB} * {{size}}); print('there', flush=True); input()"
        process = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1)
        process.stdout.readline()
    elif kind == "forks":
        held = b"x" * ({MB} * size)
        for _ in range(4):
            if not os.fork():
                time.sleep(0.7)
                os._exit(0)
        for _ in range(4):
            os.wait()
    if waits:
        time.sleep(600)
    """
BUILD = """\
    from pytest_ductaflow import run_notebook

    for kind in ("own", "program"):
        given = {"kind": kind, "size": 300, "waits": kind == "program"}
        run_notebook("flows/use.py", config=given, execution_dir=f"runs/{kind}")
    """
FILES = {
    "flows/use.py": FLOW,
    "builds/all.py": BUILD,
    "conductor.py": """\
        from pytest_ductaflow import conduct
        waits = {"waits": True, "size": 300}
        conduct("flows/use.py", [
            {"instance_name": "own", "kind": "own", **waits, "_memory": "250 MB", "_retries": 1},
            {"instance_name": "program", "kind": "program", **waits},
            {"instance_name": "shares", "kind": "forks", "size": 150, "waits": False, "_memory": "0.4 GB"},
        ])
        conduct("builds/all.py", [{"instance_name": "build"}], memory="600MB")
        """,
}


def record(root: Path, step: str, name: str, flow: str) -> dict:
    return json.loads((root / f"runs/{step}/{name}/{flow}_record.json").read_text(encoding="utf-8"))


def excess(message: str, limit: int, name: str) -> float:
    """Return the megabytes that were used, from a message that must name the limit, in megabytes, too.

    Both are told in bytes where rounding would make them equal: what grows may be seen just above its limit.
    """
    told = re.search(
        rf"the flow and what it started used (?:(\d+) MB|([\d,]+) bytes), "
        rf"its limit \({re.escape(name)}\) is (?:{limit} MB|{limit},000,000 bytes)\b",
        message,
    )
    assert told is not None, message
    return int(told[1]) if told[1] else int(told[2].replace(",", "")) / MB


def test_what_uses_too_much_is_ended_with_all_that_it_has_started(tmp_path):
    root = write_project(tmp_path, FILES)
    done = run_pytest(root, "--ductaflow", "-n", "2", "--ductaflow-memory", "300MB", "conductor.py")
    shares = sys.platform == "linux"  # elsewhere what forks share counts as often as there are forks
    done.assert_outcomes(failed=3 if shares else 4, passed=1 if shares else 0)
    own, program = (record(root, "use", name, "use") for name in ("own", "program"))
    assert (own["error"]["type"], own["attempts"]) == ("MemoryLimit", 2)
    (first,) = own["failed_attempts"]
    assert first.startswith("MemoryLimit: ")
    assert first.endswith(" (line 8)")
    assert 250 < excess(first, 250, "_memory") < 450
    assert own["error"]["cell"] == 4
    assert excess(program["error"]["message"], 300, "--ductaflow-memory") > 300
    assert program["peak_memory"] > 300 * MB
    assert program["duration"] < 60
    build = record(root, "all", "build", "all")
    if shares:
        assert 150 * MB < record(root, "use", "shares", "use")["peak_memory"] < 400 * MB
    # The flows of a build have their own limit, by default that of the session.
    assert build["error"]["type"] == "FlowFailed"
    assert excess(build["error"]["message"], 300, "--ductaflow-memory") > 300


def test_the_flows_of_a_build_count_as_its_own(tmp_path):
    root = write_project(tmp_path, FILES)
    edited = (root / "conductor.py").read_text().replace('"600MB"', '"250MB"')
    (root / "conductor.py").write_text(edited)
    done = run_pytest(root, "--ductaflow", "conductor.py::all")
    done.assert_outcomes(failed=1)
    build = record(root, "all", "build", "all")
    assert build["error"]["type"] == "MemoryLimit"
    assert excess(build["error"]["message"], 250, "_memory") > 250
    assert build["peak_memory"] > 250 * MB
    assert not list((root / "runs/all/build").glob(".*"))


def test_ordinary_kernels_are_ended_as_well(tmp_path):
    root = write_project(tmp_path, FILES)
    command = [
        "--ductaflow",
        "--no-ductaflow-fork",
        "-o",
        "ductaflow_memory=250MB",
        "conductor.py::use::program",
    ]
    run_pytest(root, *command).assert_outcomes(failed=1)
    assert record(root, "use", "program", "use")["error"]["type"] == "MemoryLimit"


def test_what_may_not_run_together_does_not(tmp_path):
    flow = """\
        import json, time
        began = time.time()
        time.sleep(0.3)
        with open("told.json", "w") as file:
            json.dump([began, time.time()], file)
        """
    table = "instance_name,flow,_memory\na,x,1000TB\nb,x,1000TB\nc,x,\n"
    root = write_project(tmp_path, {"flows/x.py": flow, "table.csv": table})
    done = run_pytest(root, "--ductaflow", "-n", "2", "table.csv")
    done.assert_outcomes(passed=3)
    done.stdout.fnmatch_lines(
        ["note: _memory is up to 1,000,000 GB (table.csv), and this machine has *run alone"]
    )
    times = [json.loads((root / f"runs/x/{name}/told.json").read_text()) for name in "ab"]
    (_, first_end), (second_begin, _) = sorted(times)
    assert first_end < second_begin
