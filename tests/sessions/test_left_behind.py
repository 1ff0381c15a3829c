"""Processes that flows start and leave behind: none outlives its instance, however that ends."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.together("left behind"),
    pytest.mark.skipif(sys.platform != "linux", reason="where orphans can be found"),
]

PATIENCE = 20.0  # seconds for a process that was killed to disappear
SLEEPS = "import time; time.sleep(600)"
STARTS = {
    "session": f"""
        child = subprocess.Popen([sys.executable, "-c", {SLEEPS!r}], start_new_session=True)
        open("pid", "w").write(str(child.pid))
        """,
    "daemon": """
        code = '''
        import os, time
        if os.fork():
            os._exit(0)
        os.setsid()
        if os.fork():
            os._exit(0)
        with open("pid.tmp", "w") as file:
            file.write(str(os.getpid()))
        os.rename("pid.tmp", "pid")
        time.sleep(600)
        '''
        subprocess.run([sys.executable, "-c", code], check=True)
        while not os.path.exists("pid"):
            time.sleep(0.01)
        """,
}
ENDS = {
    "well": "",
    "raises": "1 / 0",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "exits": "os._exit(3)",
    "late": "time.sleep(600)",
}


@pytest.fixture(scope="module", params=["forked", "ordinary"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a project with flows for each way to start something and each way to end, after a run."""
    root = tmp_path_factory.mktemp("left")
    lines = ["from pytest_ductaflow import conduct"]
    for start, indented in STARTS.items():
        code = "\n".join(line.removeprefix("        ") for line in indented.splitlines())
        for end, last in ENDS.items():
            text = f"import os, signal, subprocess, sys, time\n{code}\n{last}\n"
            write_project(root, {f"flows/{start}_{end}.py": text})
            time_out = ", '_timeout': 4" if end == "late" else ""
            lines.append(f"conduct('flows/{start}_{end}.py', [{{'instance_name': 'a'{time_out}}}])")
    (root / "conductor.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "conductor.py"]
    options = ["--ductaflow-html=none", *(["--no-ductaflow-fork"] if request.param == "ordinary" else [])]
    environment = own_environment()
    done = subprocess.run(
        [*command, *options], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert "INTERNALERROR" not in done.stdout + done.stderr
    yield root
    for path in root.glob("runs/*/a/pid"):
        if (process := left_of(path)) is not None:
            with contextlib.suppress(psutil.Error):
                process.kill()


def left_of(path: Path) -> psutil.Process | None:
    """Return the process that has written its id into a file; None if it is gone: ids are reused."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(int(path.read_text()))
        if process.create_time() < path.stat().st_mtime + 0.1:  # its clock counts hundredths of a second
            return process
    return None


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("start", STARTS)
def test_nothing_that_a_flow_has_started_outlives_it(root, start, end):
    folder = root / f"runs/{start}_{end}/a"
    record = json.loads((folder / f"{start}_{end}_record.json").read_text())
    assert record["status"] == ("success" if end == "well" else "error")
    process = left_of(folder / "pid")
    with contextlib.suppress(psutil.NoSuchProcess):
        if process is not None and process.status() != psutil.STATUS_ZOMBIE:
            process.wait(PATIENCE)


def test_a_flow_waits_for_its_own_children_only(tmp_path):
    """Processes of others may be children of its process, too: it ends all the same."""
    write_project(
        tmp_path,
        {
            "flows/waits.py": """
                import os, subprocess, sys
                subprocess.run(["sh", "-c", "sleep 0.2 & exit 0"], check=True)
                child = os.fork()
                if not child:
                    os._exit(7)
                assert os.waitpid(child, 0) == (child, 7 << 8)
                assert subprocess.run([sys.executable, "-c", "raise SystemExit(4)"]).returncode == 4
                """,
            "conductor.py": "from pytest_ductaflow import conduct\n"
            "conduct('flows/waits.py', [{'instance_name': 'a'}])\n",
        },
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "conductor.py"]
    subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    record = json.loads((tmp_path / "runs/waits/a/waits_record.json").read_text())
    assert (record["status"], record["error"]) == ("success", None)
