"""The flows of a build, run by processes outside of its kernel."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
from helpers.projects import write_project
from helpers.sessions import PATIENCE, run_pytest

pytestmark = pytest.mark.slow

FILES = {
    "flows/says.py": """\
        import os
        from pathlib import Path

        Path("made").write_text("")
        print(os.environ.get("COLOUR"), oct(Path("made").stat().st_mode & 0o777), os.getcwd())
        """,
    "flows/kills.py": """\
        import json, os, signal, time
        from pathlib import Path

        record = json.loads(Path("kills_record.json").read_text())
        os.kill(record["owner"]["pid"], signal.SIGKILL)
        time.sleep(60)
        """,
    "flows/stays.py": """\
        import json, os, time
        from pathlib import Path

        record = json.loads(Path("stays_record.json").read_text())
        Path(config["_project_root"], "pids").write_text(json.dumps([os.getpid(), record["owner"]["pid"]]))
        time.sleep(60)
        """,
    "flows/titled.py": """\
        # %% [markdown]
        # # What's said

        # %%
        import os

        # %% tags=["parameters"]
        config = {}

        # %%
        print(os.getcwd())
        """,
    "flows/light.py": """\
        # # What is said

        import os

        # + tags=["parameters"]
        config = {}
        # -

        print(os.getcwd())
        """,
    "flows/twice.py": """\
        # %% tags=["parameters"]
        config = {}

        # %% tags=["parameters"]
        zone = "A"
        """,
    "builds/formats.py": """\
        import sys
        from pytest_ductaflow import run_notebook

        for flow in ("titled", "light"):
            run_notebook(f"flows/{flow}.py")
        try:
            run_notebook("flows/twice.py", config={"zone": "B"})
        except Exception as error:
            print(error)
        print("imported:", "jupytext" in sys.modules)
        """,
    "builds/imports.py": """\
        import sys
        from pytest_ductaflow import run_notebook

        run_notebook("flows/says.py", config={"instance_name": "imports"})
        print("imported:", "papermill" in sys.modules)
        """,
    "builds/changes.py": """\
        import os
        from pytest_ductaflow import run_notebook

        os.environ["COLOUR"] = "blue"
        os.umask(0o077)
        run_notebook("flows/says.py", config={"instance_name": "changes"})
        """,
    "builds/threads.py": """\
        from concurrent.futures import ThreadPoolExecutor
        from pytest_ductaflow import run_notebook

        def run(number):
            return run_notebook("flows/says.py", config={"instance_name": f"thread{number}"})

        with ThreadPoolExecutor(3) as pool:
            print(len(list(pool.map(run, range(6)))), "have run")
        """,
    "builds/forks.py": """\
        import os
        from pytest_ductaflow import run_notebook

        run_notebook("flows/says.py", config={"instance_name": "before"})
        pid = os.fork()
        name = "parent" if pid else "child"
        run_notebook("flows/says.py", config={"instance_name": name})
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        """,
    "builds/outer.py": """\
        from pytest_ductaflow import run_notebook

        run_notebook("builds/inner.py", config={"instance_name": "inner"})
        """,
    "builds/inner.py": """\
        from pytest_ductaflow import conduct

        conduct("flows/says.py", [{"instance_name": f"deep{n}"} for n in range(2)])
        """,
    "builds/lost.py": """\
        from pytest_ductaflow import run_notebook

        try:
            run_notebook("flows/kills.py", config={"instance_name": "one"})
        except Exception as error:
            print("it ended with", error)
        run_notebook("flows/says.py", config={"instance_name": "afterwards"})
        """,
    "builds/late.py": """\
        from pytest_ductaflow import run_notebook

        run_notebook("flows/stays.py", config={"instance_name": "one"})
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct

        for build in ("imports", "formats", "changes", "threads", "forks", "outer", "lost"):
            conduct(f"builds/{build}.py", [{"instance_name": "one"}])
        conduct("builds/late.py", [{"instance_name": "one", "_timeout": 5}])
        """,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_project(tmp_path_factory.mktemp("outside") / "project", FILES)
    run_pytest(root, "--ductaflow", "conductor.py")
    return root


def log_of(root: Path, record: dict) -> str:
    stem = Path(record["flow"]).stem
    return (root / record["run_dir"] / f"{stem}_execution_output.txt").read_text(encoding="utf-8")


def record_of(root: Path, build: str) -> dict:
    return json.loads((root / f"runs/{build}/one/{build}_record.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("build", ["imports", "formats", "changes", "threads", "forks", "outer"])
def test_the_flows_and_their_build_succeed(root, build):
    record = record_of(root, build)
    assert record["status"] == "success"
    assert {flow["status"] for flow in record["flows"]} == {"success"}


def test_a_build_does_not_import_what_runs_its_flows(root):
    assert "imported: False" in log_of(root, record_of(root, "imports"))


def test_a_build_does_not_import_what_reads_its_flows(root):
    log = log_of(root, record_of(root, "formats"))
    assert "imported: False" in log
    assert "twice.py has 2 cells tagged `parameters`, from lines 2 and 5 on" in log


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "is_outside"),
    [(("-n", "2"), True), (("--no-ductaflow-fork",), False)],
    ids=["workers", "none"],
)
def test_workers_have_such_processes_and_without_them_our_own_imports_are_no_inputs(
    tmp_path, options, is_outside
):
    files = {name: FILES[name] for name in ("flows/says.py", "builds/imports.py")}
    call = 'from pytest_ductaflow import conduct\nconduct("builds/imports.py", [{"instance_name": "one"}])\n'
    root = write_project(tmp_path / "project", {**files, "conductor.py": call})
    run_pytest(root, "--ductaflow", "conductor.py", *options)
    record = record_of(root, "imports")
    assert f"imported: {not is_outside}" in log_of(root, record)
    assert [name for name in record["inputs"] if "gcsfs" in name] == []


def test_a_flow_gets_what_the_build_has_changed(root):
    (flow,) = record_of(root, "changes")["flows"]
    assert log_of(root, flow).split()[:2] == ["blue", "0o600"]


def test_a_flow_runs_in_its_run_directory(root):
    (flow,) = record_of(root, "imports")["flows"]
    assert log_of(root, flow).split()[-1] == str(root / flow["run_dir"])


def test_threads_of_a_build_run_flows_side_by_side(root):
    assert "6 have run" in log_of(root, record_of(root, "threads"))
    assert len(record_of(root, "threads")["flows"]) == 6


def test_a_process_that_a_build_has_forked_runs_flows_as_well(root):
    names = {flow["instance"] for flow in record_of(root, "forks")["flows"]}
    assert names == {"before", "parent", "child"}


def test_builds_within_builds_run_theirs(root):
    (inner,) = record_of(root, "outer")["flows"]
    assert [flow["instance"] for flow in inner["flows"]] == ["deep0", "deep1"]


def test_a_flow_whose_process_was_killed_has_failed_and_the_build_goes_on(root):
    build = record_of(root, "lost")
    assert "ProcessLost: the process that ran it has ended" in log_of(root, build)
    assert [flow["status"] for flow in build["flows"]] == ["error", "success"]
    assert build["status"] == "error"


def test_of_a_build_that_was_killed_nothing_runs_on(root):
    record = record_of(root, "late")
    assert record["error"]["type"] == "Timeout"
    pids = json.loads((root / "pids").read_text(encoding="utf-8"))
    running = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    assert psutil.wait_procs(running, timeout=PATIENCE)[1] == []
