"""Instances side by side without pytest: `workers=`, pools of threads, Ctrl-C, Jupyter."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import PATIENCE, is_gone, own_environment, run_python, running, wait_for
from helpers.sessions import run as python
from helpers.waiting import kernel_pids

from pytest_ductaflow.core.system.machine import usable_cores
from pytest_ductaflow.report.page import data_of

pytestmark = pytest.mark.slow

FORK = [pytest.param("1", id="forked"), pytest.param("0", id="ordinary", marks=pytest.mark.thorough)]

MIXED = {
    "flows/x.py": """\
        # %% tags=["parameters"]
        config = {}

        # %%
        if config["do"] == "fail":
            raise ValueError("no such zone")
        if config["do"] == "warn":
            print("⚠️ few data")
        with open("results.json", "w") as file:
            file.write('{"total": 3}')
        """,
    "conductor.py": """\
        import sys
        from pytest_ductaflow import SweepFailed, conduct, results

        table = [
            {"instance_name": "early", "do": "ok", "_after": "x/late"},
            {"instance_name": "orange", "do": "warn"},
            {"instance_name": "red", "do": "fail"},
            {"instance_name": "child", "do": "ok", "_after": "x/red"},
            {"instance_name": "grandchild", "do": "ok", "input": "runs/x/child/results.json"},
            {"instance_name": "late", "do": "ok"},
        ]
        try:
            conduct("flows/x.py", table)
        except SweepFailed as error:
            print(error)
        print(results().sort_values("instance").drop(columns="duration").to_json(orient="records"))
        print([i.name for i in conduct("flows/x.py", table[-1:], step="again")])
        """,
}
OF_ONE_RUN = {"started", "duration", "peak_memory", "stats", "threads", "lineage", "secrets", "worker"}


def records(root: Path) -> dict[str, dict]:
    """Return the records of a project, without what is of one run alone."""
    found = {path.parent.name: json.loads(path.read_text()) for path in root.glob("runs/*/*/*_record.json")}
    return {
        name: {key: value for key, value in record.items() if key not in OF_ONE_RUN}
        for name, record in found.items()
    }


def test_workers_change_nothing_but_the_time(tmp_path):
    told = {}
    for workers in ("1", "2"):
        root = write_project(tmp_path / workers / "project", MIXED)
        done = run_python(root, "conductor.py", DUCTAFLOW_WORKERS=workers)
        done.check_returncode()
        assert re.search(r"x: 100%.*6/6.*🟢 2 🟠 1 🔴 1 ⚪ 2", done.stderr), done.stderr
        lines = done.stdout.splitlines()
        found = {name: re.sub(r"/[12]/project", "", json.dumps(it)) for name, it in records(root).items()}
        page = (root / "runs/conductor_status_report.html").read_text(encoding="utf-8")
        states = {row["id"]: row["status"] for row in data_of(page)["rows"]}
        threads = {
            json.loads(path.read_text()).get("threads") for path in root.glob("runs/*/*/*_record.json")
        }
        assert threads == ({None} if workers == "1" else {max(1, usable_cores() // 2)})
        told[workers] = sorted(lines[:-3]), lines[-3:], found, states
    assert told["1"] == told["2"]
    marked, last, found, states = told["1"]
    assert marked == sorted(
        (
            "🔴 x/red: ValueError: no such zone (runs/x/red)",
            "⚪ x/child: blocked: upstream x/red failed",
            "⚪ x/grandchild: blocked: upstream x/child is blocked: upstream x/red failed",
        )
    )
    assert last[0] == "3 of 6 instances failed: x/red, x/child, x/grandchild"
    assert last[2] == "['late']"
    assert set(found) == {"early", "orange", "red", "late"}
    assert states["conductor.py::x::grandchild"] == "blocked"


def test_a_wrong_number_is_told_before_anything_runs(tmp_path):
    table = [{"instance_name": "a", "do": "ok"}]
    code = f"from pytest_ductaflow import conduct\nconduct('flows/x.py', {table}, workers='two')\n"
    root = write_project(tmp_path, {**MIXED, "conductor.py": code})
    problem = (
        "conductor.py:2: workers='two': expected a whole number above 0, or 'auto' for one for each core"
    )
    done = python(root, "conductor.py")
    assert done.errlines == [f"{root / 'conductor.py'}:2: TableError: {problem}"]
    under_pytest = python(root, "-m", "pytest", "--ductaflow", "conductor.py", "--collect-only")
    assert problem in under_pytest.stderr.str()
    assert not (root / "runs/x").exists()


POOL = {
    **MIXED,
    "pool.py": """\
        import warnings
        from concurrent.futures import ThreadPoolExecutor
        from pytest_ductaflow import run_notebook

        filters = list(warnings.filters)
        with ThreadPoolExecutor(6) as pool:
            configs = [{"instance_name": f"p{number}", "do": "ok"} for number in range(6)]
            calls = [pool.submit(run_notebook, "flows/x.py", config=config) for config in configs]
        print(*[call.result().parent.relative_to(__import__("os").getcwd()) for call in calls])
        added = [each for each in warnings.filters if each not in filters]
        assert not [each for each in added if each[:3] == ("ignore", None, Warning)], added
        """,
}


@pytest.mark.parametrize("fork", FORK)
def test_fresh_processes_begin_with_six_threads(tmp_path, monkeypatch, fork):
    """The threads have nothing to run but `run_notebook`: the project is that of the script."""
    monkeypatch.setenv("DUCTAFLOW_FORK", fork)
    root = write_project(tmp_path, POOL)
    for _ in range(3 if fork == "1" else 1):
        done = python(root, "pool.py")
        assert done.ret == 0, done.stderr.str()
        assert done.outlines[-1] == " ".join(f"runs/x/p{number}" for number in range(6))
        ended = [line.split()[0::3] for line in done.outlines[:-1]]
        assert sorted(ended) == [["🟢", "s"]] * 6
    assert {record["status"] for record in records(root).values()} == {"success"}


def test_an_error_in_a_thread_is_told_at_the_line_that_asks_for_the_result(tmp_path):
    code = POOL["pool.py"].replace('"do": "ok"', '"do": "fail"').replace("range(6)", "range(1)")
    root = write_project(tmp_path, {**POOL, "pool.py": code})
    done = python(root, "pool.py")
    assert re.fullmatch(
        rf"{re.escape(str(root / 'pool.py'))}:9: FlowExecutionError: x failed .*no such zone",
        done.errlines[-1],
    )


def test_two_threads_run_the_same_instance_one_after_the_other(tmp_path):
    files = {
        "flows/x.py": """\
            from pathlib import Path
            alone = Path(config["_project_root"], "alone")
            alone.touch(exist_ok=False)
            Path("there.txt").touch(exist_ok=False)
            alone.unlink()
            """,
        "pool.py": """\
            from concurrent.futures import ThreadPoolExecutor
            from pytest_ductaflow import run_notebook

            with ThreadPoolExecutor(2) as pool:
                calls = [pool.submit(run_notebook, "flows/x.py", config={"instance_name": "a"}) for _ in "ab"]
            assert len({call.result() for call in calls}) == 1
            """,
    }
    root = write_project(tmp_path, files)
    done = python(root, "pool.py")
    assert done.ret == 0, done.stderr.str()
    assert [line.split()[:2] for line in done.outlines] == [["🟢", "x"]] * 2
    assert (root / "runs/.earlier/x/a/there.txt").exists()  # what the first has left


WAITING = {
    "flows/wait.py": """
        import os, time
        print("pid", os.getpid(), flush=True)
        time.sleep(600)
        """,
    # The seconds that a kernel has to tell where it was: on a machine that has other things to do, too few.
    "patient.py": "from pytest_ductaflow.running import deadline\ndeadline._KEYBOARD_GRACE = 60.0\n",
    "conductor.py": """\
        import patient
        from pytest_ductaflow import conduct
        conduct("flows/wait.py", [{"instance_name": name} for name in "abc"], workers=2)
        """,
    "pool.py": """\
        import patient
        from concurrent.futures import ThreadPoolExecutor
        from pytest_ductaflow import run_notebook
        with ThreadPoolExecutor(2) as pool:
            for name in "abc":
                pool.submit(run_notebook, "flows/wait.py", config={"instance_name": name})
        """,
}


@pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX")
@pytest.mark.parametrize("fork", FORK)
@pytest.mark.parametrize("script", ["conductor.py", "pool.py"])
def test_ctrl_c_ends_the_instances_of_all_threads(tmp_path, script, fork):
    root = write_project(tmp_path, WAITING)
    environment = own_environment(DUCTAFLOW_FORK=fork)
    with running(root, sys.executable, script, environment=environment) as process:
        pids = wait_for(lambda: found if len(found := kernel_pids(root)) == 2 else None, "the kernels")
        os.killpg(process.pid, signal.SIGINT)
        output = process.stdout.read()
        process.wait(PATIENCE)
    assert re.fullmatch(rf".*{script}:\d: stopped by the keyboard; .*", output.splitlines()[-1]), output
    assert process.returncode == -signal.SIGINT
    for pid in pids:
        wait_for(lambda pid=pid: is_gone(pid), f"the end of kernel {pid}")
    found = records(root)
    assert set(found) == {"a", "b"}
    for name, record in found.items():
        assert (record["status"], record["error"]["type"]) == ("error", "Interrupted"), name
        assert record.get("owner") is None
        assert "time.sleep(600)" in record["error"]["traceback"]
        assert json.loads((root / f"runs/wait/{name}/wait_executed.ipynb").read_text())["cells"]
    assert not list(root.rglob("*.tmp"))


@pytest.mark.thorough
def test_a_cell_of_a_notebook_runs_instances_side_by_side(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    root = write_project(tmp_path, MIXED)
    code = (
        "from pytest_ductaflow import conduct, results\n"
        "table = [{'instance_name': f'j{number}', 'do': 'ok'} for number in range(3)]\n"
        "made = conduct('flows/x.py', table, workers=2)\n"
        "print('made', len(made), sorted(results()['total']))"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for _ in "ab"])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(root)}}).execute()
    for cell in notebook.cells:
        printed = "".join(output.get("text", "") for output in cell.outputs)
        assert "made 3 [3, 3, 3]" in printed
        shown = json.dumps(cell.outputs)
        assert "3/3" in shown or "widget-view" in shown
    assert {record["status"] for record in records(root).values()} == {"success"}
