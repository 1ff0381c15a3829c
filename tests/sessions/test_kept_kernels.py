"""`--ductaflow-keep-kernel`: failed kernels stay for a console, and end in each of the ways there are."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from helpers.command_line import ductaflow
from helpers.projects import write_project
from helpers.sessions import is_gone, run_session, wait_for
from jupyter_client.blocking import BlockingKernelClient

from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.system.kept_kernels import all_kept, note
from pytest_ductaflow.kernels.setup_calls import keep_code

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="kernels are kept on Linux and macOS"),
]
FILES = {
    "flows/red.py": """\
        import sys
        found = config["x"] * 21
        if found != 42:
            sys.exit()
        raise ValueError("too much")
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct
        rows = [{"instance_name": name, "x": 2} for name in "abcde"]
        conduct("flows/red.py", [*rows, {"instance_name": "good", "x": 1}])
        """,
}


def run_in(connection_file: str, code: str) -> tuple[str, str]:
    """Run code as a console does; return what it prints, and its status."""
    client = BlockingKernelClient()
    client.load_connection_file(connection_file)
    client.start_channels()
    printed: list[str] = []
    try:
        client.wait_for_ready(timeout=30)
        reply = client.execute_interactive(
            code, timeout=30, output_hook=lambda message: printed.append(message["content"].get("text", ""))
        )
    finally:
        client.stop_channels()
    return "".join(printed), reply["content"]["status"]


def test_kernels_of_failed_instances_stay_until_they_are_ended(tmp_path):
    root = write_project(tmp_path, FILES)
    done = run_session(
        root, "--ductaflow", "conductor.py", "--ductaflow-keep-kernel", "-n", "2", is_real=True
    )
    assert "5 failed, 1 warned" in done.stdout
    told = dict(
        re.findall(r"^red/(\w+) \(process (\d+)\): jupyter console --existing ", done.stdout, re.MULTILINE)
    )
    kept = {each.label: each for each in all_kept(root)}
    pids = {label: each.owner.pid for label, each in kept.items()}
    assert {f"red/{name}": int(pid) for name, pid in told.items()} == pids
    assert sorted(pids) == ["red/a", "red/b", "red/c", "red/d", "red/e"]
    try:
        connections = {label: each.connection_file for label, each in kept.items()}
        for path in connections.values():
            assert path in done.stdout
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert stat.S_IMODE(os.stat(Path(path).parent).st_mode) & 0o077 == 0
        assert run_in(connections["red/a"], "print(found, config['instance_name'])") == ("42 a\n", "ok")
        # Its user ends it.
        run_in(connections["red/a"], "exit")
        wait_for(lambda: is_gone(pids["red/a"]), "the end of the kernel")
        # Nobody uses it.
        run_in(connections["red/b"], keep_code(str(Path(connections["red/b"]).parent), 0.2))
        wait_for(lambda: is_gone(pids["red/b"]), "the end of the kernel")
        # The system, which has no memory left.
        psutil.Process(pids["red/e"]).kill()
        # The command, and a new attempt.
        assert "ended: the kernel of red/c" in ductaflow(root, "cancel", "red/c").out
        again = run_session(root, "--ductaflow", "conductor.py::red::d")
        assert "1 failed" in again.stdout
        assert "jupyter console" not in again.stdout
        assert all_kept(root) == []
        for label, pid in pids.items():
            wait_for(lambda pid=pid: is_gone(pid), f"the end of {label}")
            wait_for(lambda at=connections[label]: not Path(at).parent.exists() or None, "its folder")
    finally:
        for pid in pids.values():
            if psutil.pid_exists(pid):
                psutil.Process(pid).kill()


@pytest.mark.thorough
def test_of_an_instance_that_is_tried_again_only_the_last_kernel_stays(tmp_path):
    files = {
        "flows/red.py": """\
            import os
            from pathlib import Path
            with open(Path(config["_project_root"], "pids"), "a") as file:
                print(os.getpid(), file=file)
            raise ValueError
            """,
        "conductor.py": "from pytest_ductaflow import conduct\n"
        "conduct('flows/red.py', [{'instance_name': 'a', '_retries': 2}])\n",
    }
    root = write_project(tmp_path, files)
    assert "1 failed" in run_session(root, "--ductaflow", "conductor.py", "--ductaflow-keep-kernel").stdout
    first, second, last = map(int, (root / "pids").read_text().split())
    assert [each.owner.pid for each in all_kept(root)] == [last]
    for pid in (first, second):
        wait_for(lambda pid=pid: is_gone(pid), "the end of an earlier kernel")
    assert "ended: the kernel of red/a" in ductaflow(root, "cancel", "red/a").out


def test_what_a_killed_kernel_has_left_goes_when_somebody_looks(tmp_path):
    """Nothing observes kernels on macOS."""
    folder = tmp_path / "kernel"
    folder.mkdir()
    (folder / ".kept").touch()
    files = RunFiles(tmp_path / "runs/red/a", "red")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        note(files, tmp_path, "red/a", process.pid, str(folder / "k.json"))
        assert [each.label for each in all_kept(tmp_path)] == ["red/a"]
        process.kill()
    assert all_kept(tmp_path) == []
    assert not folder.exists()
