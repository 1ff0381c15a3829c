"""Dask as an engine: sessions that are stopped, lose their scheduler, or are refused."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.dask_cluster import processes_in, scheduler, worker
from helpers.projects import lay, write_project
from helpers.sessions import PATIENCE, is_gone, run_pytest, running, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX"),
]

FILES = {
    "flows/quick.py": "print('done')\n",
    "flows/wait.py": """\
        import os, time
        from pathlib import Path
        print("pid", os.getpid(), flush=True)
        Path(config["_project_root"], "begun").touch()
        time.sleep(600)
        """,
    "flows/fail.py": """\
        from pathlib import Path
        import time
        while not Path(config["_project_root"], "begun").exists():
            time.sleep(0.02)
        raise ValueError("no such zone")
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct
        one = [{"instance_name": "one"}]
        conduct("flows/quick.py", one, after=[])
        conduct("flows/wait.py", one, after=["quick"])
        conduct("flows/fail.py", [{"instance_name": "one", "_marks": "failing"}], after=["quick"])
        """,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", FILES)


@contextmanager
def session(root: Path, engine: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = ("-v", "-p", "no:cacheprovider", "--ductaflow", "--ductaflow-engine", engine, "conductor.py")
    with running(root, sys.executable, "-m", "pytest", *command, *options) as process:
        yield process


def waiting_kernel(root: Path) -> int:
    """Wait for the flow that waits; return its process."""
    log = root / "runs/wait/one/wait_execution_output.txt"

    def pid() -> int | None:
        found = re.search(r"^pid (\d+)", log.read_text() if log.exists() else "", re.MULTILINE)
        return int(found[1]) if found else None

    return wait_for(pid, "a kernel")


def error_of(root: Path) -> dict[str, str]:
    record = json.loads((root / "runs/wait/one/wait_record.json").read_text())
    assert record["status"] == "error"
    error: dict[str, str] = record["error"]
    return error


def check_that_all_has_ended(root: Path, pid: int) -> None:
    wait_for(lambda: is_gone(pid), "the end of the kernel")
    wait_for(lambda: not processes_in(root) or None, "the end of all processes")


def check_that_it_goes_on(root: Path) -> None:
    """Check that what had ended is unchanged in a session without an engine."""
    again = run_pytest(root, "--ductaflow", "-v", "conductor.py::quick")
    assert "conductor.py::quick::one UNCHANGED" in again.stdout.str()


def test_ctrl_c_ends_all(root: Path) -> None:
    with session(root, "dask:2", "-m", "not failing") as process:
        pid = waiting_kernel(root)
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    assert "stopped while running conductor.py::wait::one" in output
    assert "Traceback" not in output
    assert error_of(root)["type"] == "Interrupted"
    assert json.loads((root / "runs/wait/one/wait_executed.ipynb").read_text())["cells"]
    check_that_all_has_ended(root, pid)
    check_that_it_goes_on(root)


def test_x_stops_what_still_runs(root: Path) -> None:
    with session(root, "dask:2", "-x") as process:
        pid = waiting_kernel(root)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == pytest.ExitCode.TESTS_FAILED, output
    assert "ValueError: no such zone" in output
    assert "stopping after 1 failures" in output
    assert error_of(root) | {
        "type": "Interrupted",
        "message": "stopped, as the session ended early",
    } == error_of(root)
    check_that_all_has_ended(root, pid)


def test_session_that_is_killed_leaves_no_process(root: Path) -> None:
    with session(root, "dask:1", "-m", "not failing") as process:
        pid = waiting_kernel(root)
        process.kill()
        process.wait()
        check_that_all_has_ended(root, pid)
    check_that_it_goes_on(root)


def test_cluster_outlives_a_session_that_is_killed_and_stops_what_it_ran(root: Path, tmp_path: Path) -> None:
    with scheduler(tmp_path / "dask") as (address, _), worker(address, tmp_path / "dask", "one"):
        with session(root, address, "-m", "not failing") as process:
            pid = waiting_kernel(root)
            process.kill()
            process.wait()
            wait_for(lambda: is_gone(pid), "the end of the kernel")
        with session(root, address, "-m", "failing", "-k", "nothing") as process:
            process.communicate(timeout=PATIENCE)
        assert process.returncode == pytest.ExitCode.NO_TESTS_COLLECTED


def test_lost_scheduler_is_told_and_nothing_runs_on(root: Path, tmp_path: Path) -> None:
    with (
        scheduler(tmp_path / "dask") as (address, its_process),
        worker(address, tmp_path / "dask", "one"),
        session(root, address, "-m", "not failing") as process,
    ):
        pid = waiting_kernel(root)
        its_process.kill()
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 3, output
        line = (
            f"the Dask scheduler of {address} has gone; what had ended is kept, and the same command goes on"
        )
        assert line in output
        assert "INTERNALERROR" not in output
        assert error_of(root)["message"].startswith("the Dask scheduler")
        check_that_all_has_ended(root, pid)
    check_that_it_goes_on(root)


def test_workers_that_differ_are_refused_with_what_to_do(root: Path, tmp_path: Path) -> None:
    """Of three workers, one has another version of a package, and one sees another file system."""
    for version in ("1.0", "2.0"):
        folder = tmp_path / version
        lay(folder / "made_up.py")
        for name, text in {
            "METADATA": f"Name: made-up\nVersion: {version}\n",
            "top_level.txt": "made_up\n",
        }.items():
            lay(folder / f"made_up-{version}.dist-info" / name, text)
    lay(tmp_path / "bare/pytest_ductaflow/__init__.py", "raise ImportError('it is broken here')\n")
    lay(root / "flows/quick.py", '# %% tags=["parameters"]\nconfig = {}\n\n# %%\nimport made_up\n')
    apart = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{root}" && exec "$@"', "sh"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        apart = []  # not allowed here
    here = {"PYTHONPATH": str(tmp_path / "1.0")}
    with (
        scheduler(tmp_path / "dask") as (address, _),
        worker(address, tmp_path / "dask", "other", PYTHONPATH=str(tmp_path / "2.0")) as other,
        worker(address, tmp_path / "dask", "apart", before=apart, **here),
    ):
        arguments = ("--ductaflow", "--ductaflow-engine", address, "conductor.py::quick")
        environment = pytest.MonkeyPatch()
        environment.setenv("PYTHONPATH", here["PYTHONPATH"])
        try:
            wrong = run_pytest(root, *arguments, is_real=True).stderr.str()
            text = (
                "worker other: it has other packages: made-up 2.0 (here 1.0); install the same versions there"
            )
            assert text in wrong
            os.killpg(other.pid, signal.SIGKILL)
            other.wait()
            bare = os.pathsep.join([str(tmp_path / "bare"), here["PYTHONPATH"]])
            with worker(address, tmp_path / "dask", "bare", PYTHONPATH=bare):
                wrong = run_pytest(root, *arguments, is_real=True).stderr.str()
            assert "worker bare: it cannot run instances: ImportError('it is broken here')" in wrong
            if apart:
                wrong = run_pytest(root, *arguments, is_real=True).stderr.str()
                assert re.search(
                    f"worker apart: {root} is not the same folder on .*put the project on", wrong
                )
        finally:
            environment.undo()
    assert not (root / "runs/quick").exists()
    assert {path.suffix for path in (root / "runs/.locks").iterdir()} <= {".lock"}
