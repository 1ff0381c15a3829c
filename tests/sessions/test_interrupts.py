"""Real signals to real sessions: results stay, running instances are reported, nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import PATIENCE, is_gone, own_environment, running, wait_for
from helpers.thorough import one_in
from helpers.waiting import PROJECT, SESSION, kernel_pids, outcomes

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import STOPPED, Status
from pytest_ductaflow.core.run_directory.record_files import read_record
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.kernels.ordinary import OrdinaryKernel
from pytest_ductaflow.running import attempts, clean_start, flow_run, run_instance
from pytest_ductaflow.running.output_log import Output

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="process groups are POSIX"),
]


def started(root: Path, *workers: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Start a session in a process group of its own."""
    return running(root, *SESSION, *workers)


def described(value: signal.Signals | list[str]) -> str:
    if isinstance(value, signal.Signals):
        return value.name
    return "xdist" if value else "alone"


@pytest.fixture(params=[[], ["-n", "2"]], ids=described)
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a session whose instances are running."""
    write_project(tmp_path, PROJECT)
    pages = own_environment(pages=not request.param)
    with running(tmp_path, *SESSION, *request.param, environment=pages) as process:
        count = 2 if request.param else 1
        wait_for(lambda: len(kernel_pids(tmp_path)) == count or None, "the kernels")
        yield process


@pytest.mark.parametrize(
    ("session", "sent"),
    [
        *(([], sent) for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
        (["-n", "2"], signal.SIGINT),
        *(
            pytest.param(["-n", "2"], sent, marks=pytest.mark.thorough)
            for sent in (signal.SIGTERM, signal.SIGHUP)
        ),
    ],
    indirect=["session"],
    ids=described,
)
def test_ctrl_c_and_the_end_of_a_batch_job_save_the_notebook_and_leave_no_kernel(
    session: subprocess.Popen[str], tmp_path: Path, sent: signal.Signals
) -> None:
    pids = kernel_pids(tmp_path)
    os.killpg(session.pid, sent)
    output, _ = session.communicate(timeout=PATIENCE)
    assert session.returncode == pytest.ExitCode.INTERRUPTED, output
    names = re.findall(r"^!+ .*Exit: stopped while running (.+) !+$", output, re.MULTILINE)
    assert [sorted(each.split(", ")) for each in names] == [
        [f"conductor.py::wait::{name}" for name in "ab"[: len(pids)]]
    ], output
    assert "KeyboardInterrupt" not in output
    for pid in pids:
        wait_for(lambda pid=pid: is_gone(pid), f"the end of kernel {pid}")
    record = json.loads((tmp_path / "runs/wait/a/wait_record.json").read_text())
    assert record["status"] != "success"
    assert "keyboard" not in json.dumps(record["error"])
    notebook = json.loads((tmp_path / "runs/wait/a/wait_executed.ipynb").read_text())
    assert notebook["cells"]
    report = (tmp_path / "runs/conductor_status_report.html").read_text()
    assert '"outcome":"interrupted"' in report


def test_a_script_that_is_stopped_says_so_without_our_frames(tmp_path: Path) -> None:
    write_project(tmp_path, PROJECT)
    with running(tmp_path, sys.executable, "conductor.py") as process:
        wait_for(lambda: kernel_pids(tmp_path) or None, "the kernel")
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    last = output.splitlines()[-1]
    assert re.fullmatch(r".*conductor\.py:\d+: stopped by the keyboard; the same command goes on .*", last), (
        output
    )
    assert "Traceback" not in output
    assert process.returncode == -signal.SIGINT


@pytest.mark.parametrize("options", one_in(2, [[], ["--no-ductaflow-fork"]]), ids=["forked", "ordinary"])
def test_after_ctrl_c_the_notebook_shows_where_the_flow_was(tmp_path: Path, options: list[str]) -> None:
    write_project(tmp_path, PROJECT)
    with started(tmp_path, *options) as process:
        wait_for(lambda: kernel_pids(tmp_path) or None, "the kernel")
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    directory = tmp_path / "runs/wait/a"
    told = "stopped: conductor.py::wait::a; the same command goes on with what has not ended"
    assert told in output.splitlines()
    error = json.loads((directory / "wait_record.json").read_text())["error"]
    assert (error["type"], error["message"]) == ("Interrupted", STOPPED)
    assert "time.sleep(600)" in error["traceback"]
    cells = json.loads((directory / "wait_executed.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert [output["output_type"] for output in outputs] == ["stream", "error"]
    assert outputs[1]["ename"] == "KeyboardInterrupt"


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[object, str], Path]:
    """Return a function that runs an instance up to Ctrl-C in a given function, and returns its directory."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def run(module: object, name: str) -> Path:
        write_project(tmp_path, {"flows/x.py": "print(1)\n"})
        run_dir = tmp_path / "runs/x/A"
        instance = Instance(str(tmp_path / "flows/x.py"), "x", "A", {}, str(run_dir), str(tmp_path))
        monkeypatch.setattr(module, name, interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_instance.run(instance, Settings(fork=False))
        return run_dir

    return run


def test_ctrl_c_before_the_flow_has_begun_leaves_no_record_that_still_runs(
    interrupted: Callable[[object, str], Path],
) -> None:
    record, _ = read_record(interrupted(attempts, "flow_run") / "x_record.json")
    assert (record.status, record.error.type) == (Status.ERROR, "Interrupted")


def test_ctrl_c_before_there_is_a_run_directory_is_ctrl_c(
    interrupted: Callable[[object, str], Path],
) -> None:
    """The first instance imports papermill, which takes long enough for a user to press Ctrl-C."""
    assert not interrupted(clean_start, "CleanStart").exists()


def test_ctrl_c_while_a_kernel_is_closed_leaves_a_whole_record_and_the_notebook(
    interrupted: Callable[[object, str], Path],
) -> None:
    run_dir = interrupted(OrdinaryKernel, "printed")
    record, _ = read_record(run_dir / "x_record.json")
    assert (record.status, record.error.type) == (Status.ERROR, "Interrupted")
    assert record.duration is not None
    assert "This run failed" in (run_dir / "x_executed.ipynb").read_text()


def test_a_plugin_that_stops_an_instance_leaves_no_record_that_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes of pytest, such as `pytest.fail` of pytest-timeout, are no `Exception`."""

    def stop(*_: object, **__: object) -> None:
        pytest.fail("too late")

    write_project(tmp_path, {"flows/x.py": "print(1)\n"})
    run_dir = tmp_path / "runs/x/A"
    instance = Instance(str(tmp_path / "flows/x.py"), "x", "A", {}, str(run_dir), str(tmp_path))
    monkeypatch.setattr(attempts, "flow_run", stop)
    with pytest.raises(pytest.fail.Exception):
        run_instance.run(instance, Settings(fork=False))
    record, _ = read_record(run_dir / "x_record.json")
    assert (record.status, record.error.message, record.owner) == (Status.ERROR, "too late", None)


def test_what_has_come_when_ctrl_c_is_pressed_is_in_the_notebook_as_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Output.write

    def interrupted(output: Output, stream: str, text: str, source: str = "") -> None:
        write(output, stream, text, source)
        if "begun" in text:
            signal.raise_signal(signal.SIGINT)

    write_project(tmp_path, {"flows/x.py": "print('begun')\nimport time\ntime.sleep(600)\n"})
    run_dir = tmp_path / "runs/x/A"
    instance = Instance(str(tmp_path / "flows/x.py"), "x", "A", {}, str(run_dir), str(tmp_path))
    monkeypatch.setattr(Output, "write", interrupted)
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_instance.run(instance, Settings())
    finally:
        signal.signal(signal.SIGINT, earlier)
    notebook = json.loads((run_dir / "x_executed.ipynb").read_text())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert [output["output_type"] for output in outputs] == ["stream", "error"]


def test_ctrl_c_while_the_kernel_starts_leaves_a_notebook_too(
    interrupted: Callable[[object, str], Path],
) -> None:
    run_dir = interrupted(flow_run, "start_kernel")
    record, _ = read_record(run_dir / "x_record.json")
    assert (record.status, record.error.type) == (Status.ERROR, "Interrupted")
    cells = json.loads((run_dir / "x_executed.ipynb").read_text())["cells"]
    assert "print(1)" in ["".join(cell["source"]) for cell in cells]
    assert STOPPED in (run_dir / "x_execution_output.txt").read_text()


def test_kill_9_of_pytest_leaves_no_kernel_and_no_good_record(
    session: subprocess.Popen[str], tmp_path: Path
) -> None:
    pids = kernel_pids(tmp_path)
    os.killpg(session.pid, signal.SIGKILL)
    session.communicate(timeout=PATIENCE)
    for pid in pids:
        wait_for(lambda pid=pid: is_gone(pid), f"the end of kernel {pid}")
    record = json.loads((tmp_path / "runs/wait/a/wait_record.json").read_text())
    assert record["status"] == "running"
    assert not list(tmp_path.rglob("*.tmp"))


RESUMED = {
    "flows/quick.py": 'open("out.txt", "w").write(name)\n',
    "flows/last.py": 'open("out.txt", "w").write(name)\n',
    "flows/wait.py": """
        import os, time
        print("pid", os.getpid(), flush=True)
        while not os.path.exists(os.path.join(config["_project_root"], "go")):
            time.sleep(0.02)
        """,
    "conductor.py": """
        from pytest_ductaflow import conduct
        conduct("flows/quick.py", [{"instance_name": name, "name": name} for name in "abcd"])
        conduct("flows/wait.py", [{"instance_name": "e"}])
        conduct("flows/last.py", [{"instance_name": name, "name": name} for name in "fg"])
        """,
}


@pytest.mark.parametrize(
    ("sent", "workers"),
    [
        (signal.SIGINT, []),
        pytest.param(signal.SIGKILL, [], marks=pytest.mark.thorough),
        pytest.param(signal.SIGINT, ["-n", "2"], marks=pytest.mark.thorough),
        pytest.param(signal.SIGKILL, ["-n", "2"], marks=pytest.mark.thorough),
    ],
    ids=described,
)
def test_a_session_that_was_stopped_goes_on_with_what_had_not_ended(
    tmp_path: Path, sent: signal.Signals, workers: list[str]
) -> None:
    root = write_project(tmp_path, RESUMED)
    with started(root, *workers) as process:
        (pid,) = wait_for(lambda: kernel_pids(root) or None, "the kernel that waits")
        os.killpg(process.pid, sent)
        process.communicate(timeout=PATIENCE)
    wait_for(lambda: is_gone(pid), "the end of the kernel")
    (root / "go").touch()
    expected = {**dict.fromkeys("abcd", "UNCHANGED"), **dict.fromkeys("efg", "PASSED")}
    assert outcomes(root, *workers) == expected
    assert outcomes(root, *workers) == dict.fromkeys("abcdefg", "UNCHANGED")
