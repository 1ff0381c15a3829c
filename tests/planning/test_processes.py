"""Several conductors in one session: each in its own process, which is forked or started."""

from __future__ import annotations

import ast
import json
import os
import signal
import sys
from pathlib import Path
from textwrap import dedent

import psutil
import pytest
from helpers.projects import write_project
from helpers.sessions import wait_for

from pytest_ductaflow.core.errors import PlanError
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.planning import read_sources
from pytest_ductaflow.planning.discovery import Source
from pytest_ductaflow.planning.make_plan import make_plan
from pytest_ductaflow.planning.plan import Plan
from pytest_ductaflow.planning.processes import pool

CALL = """
from pytest_ductaflow import conduct
conduct("flows/f.py", [{"instance_name": __file__[-4]}])
"""
# What a conductor finds, and what it leaves that no other must find.
LOOKS = """
import os, random, signal, sys, threading
from pathlib import Path

OURS = ("pytest_ductaflow", "ductaflow", "ductacore", "gc")
places = (f"/proc/self/fd/{number}" for number in (0, *range(3, 40)))
found = {
    "argv": sys.argv,
    "path": sys.path,
    "main": [__name__, __file__, sys.modules["__main__"].__file__],
    "flags": list(sys.flags),
    "modules": sorted(name for name in sys.modules if not name.startswith(OURS)),
    "environment": dict(os.environ),
    "cwd": os.getcwd(),
    "files": [os.readlink(place) for place in places if os.path.exists(place)],
    "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "threads": len(os.listdir("/proc/self/task")),
    "group": os.getpgrp(),
    "mask": os.umask(0o077),
    "encoding": sys.stdout.encoding,
}
os.umask(found["mask"])
with open(f"found_{__file__[-4]}", "w") as file:
    file.write(repr([found, random.random()]))
os.environ["LEFT"] = "x"
sys.modules["left"] = sys
sys.path.append("/left")
os.umask(0o077)
signal.signal(signal.SIGINT, signal.SIG_IGN)
left = open(os.devnull)
threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


@pytest.fixture(params=["forked", "started"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return each way to create the process of a conductor."""
    monkeypatch.setenv("DUCTAFLOW_FORK", str(int(request.param == "forked")))
    if request.param == "forked" and sys.platform != "linux":
        pytest.skip("forked on Linux only")
    return request.param


def planned(root: Path, conductors: dict[str, str], **options: object) -> Plan:
    code = {f"conductor_{name}.py": dedent(text) for name, text in conductors.items()}
    write_project(root, {"flows/f.py": "", **code})
    return make_plan([Source(root / name, "conductor", root) for name in code], Settings(), **options)


def names(plan: Plan) -> list[str]:
    return [instance.name for instance in plan.all]


@pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux only")
def test_a_conductor_finds_the_same_however_its_process_came_to_be(tmp_path, monkeypatch):
    """There is nothing of the previous conductor, nor of the process that forks."""
    found, values = {}, set()
    for fork in "10":
        monkeypatch.setenv("DUCTAFLOW_FORK", fork)
        assert names(planned(tmp_path, dict.fromkeys("ab", LOOKS + CALL))) == ["a", "b"]
        for name in "ab":
            seen, value = ast.literal_eval((tmp_path / f"found_{name}").read_text())
            (tmp_path / f"found_{name}").unlink()
            found[fork, name] = _without_temporary(seen)
            values.add(value)
    assert found["1", "a"] == found["0", "a"]
    assert found["1", "b"] == found["0", "b"]
    assert "LEFT" not in found["1", "b"]["environment"]
    assert len(values) == 4


def _without_temporary(found: dict[str, object]) -> dict[str, object]:
    """Return what was found without what always differs: the file of the recorded calls."""
    environment = dict(found["environment"])
    for name in ("_DUCTAFLOW_CALLS", "DUCTAFLOW_FORK"):
        del environment[name]
    return {**found, "environment": environment}


def test_forked_are_the_processes_of_several_conductors(tmp_path, monkeypatch):
    """A single conductor, and those on systems without fork, are started."""
    started = []
    start = pool._start
    monkeypatch.setattr(pool, "_start", lambda given, *more: started.append(given) or start(given, *more))
    expected = [("1", "a", ["request"]), ("0", "abc", ["request"] * 3)]
    expected += [("1", "abc", ["--fork"])] if sys.platform == "linux" else []
    for fork, conductors, kinds in expected:
        monkeypatch.setenv("DUCTAFLOW_FORK", fork)
        started.clear()
        planned(tmp_path, dict.fromkeys(conductors, CALL))
        assert [os.path.basename(given[0]) for given in started] == kinds


ENDS = {
    "os._exit(5)": "exit code 5",
    "os.kill(os.getpid(), signal.SIGKILL)": f"exit code {-signal.SIGKILL}",
}


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize("end", ENDS)
def test_a_conductor_that_dies_is_told_and_those_after_it_are_read(tmp_path, way, end):
    bad = f"import os, signal\nprint('last words', flush=True)\n{end}\n"
    with pytest.raises(PlanError) as refused:
        planned(tmp_path, {"a": bad, "b": "1 / 0", "c": "print('words')\nimport sys\nsys.exit(3)"})
    lines = str(refused.value).splitlines()
    assert lines[:2] == [
        f"conductor_a.py: its process ended with {ENDS[end]} before it was done",
        "last words",
    ]
    assert lines[2].startswith("conductor_b.py:1: ZeroDivisionError")
    assert lines[-2:] == ["conductor_c.py ended with exit code 3", "  | words"]


@pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux only")
def test_a_warm_process_that_dies_is_replaced(tmp_path):
    kills = "import os, signal, threading\nos.kill(os.getppid(), signal.SIGKILL)\nthreading.Event().wait()\n"
    with pytest.raises(PlanError, match=r"conductor_a\.py: its process ended with exit code -9") as refused:
        planned(tmp_path, {"a": kills, "b": "1 / 0"})
    assert "conductor_b.py:1: ZeroDivisionError" in str(refused.value)


def test_ctrl_c_ends_the_conductor_and_puts_its_files_back(tmp_path, way, monkeypatch):
    """The message that it is still being collected comes as usual."""
    monkeypatch.setattr(read_sources, "STILL", 0.01)
    hangs = """
        import os, threading
        from pathlib import Path
        Path("kept.txt").write_text("new")
        Path("pid").write_text(str(os.getpid()))
        threading.Event().wait()
        """
    (tmp_path / "kept.txt").write_text("old")
    told = []

    def say(line: str) -> None:
        told.append(line)
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        planned(tmp_path, {"a": CALL, "b": hangs}, say=say)
    assert any(line.startswith("still collecting conductor_b.py (") for line in told)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert (tmp_path / "kept.txt").read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_an_interrupted_conductor_is_told_so(tmp_path, way):
    code = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    with pytest.raises(PlanError, match=r"conductor_a\.py:2: KeyboardInterrupt"):
        planned(tmp_path, {"a": code, "b": code})


def test_what_conductors_print_goes_to_the_terminal_where_that_is_asked_for(tmp_path, way, capfd):
    code = f"import os\nprint('by', __file__[-4])\nos.system('echo 2 >&2'){CALL}"
    planned(tmp_path, {"a": code, "b": code}, echo=True)
    told = capfd.readouterr()
    assert told.out.splitlines() == ["by a", "by b"]
    assert told.err.splitlines() == ["2", "2"]


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux only")
@pytest.mark.parametrize("stopped", ["child", "warm"])
def test_a_process_that_is_not_waited_for_is_killed_also_if_the_warm_one_hangs(tmp_path, stopped):
    code = (
        "import os, time\nwith open('pid', 'w') as file:\n    file.write(str(os.getpid()))\ntime.sleep(99)\n"
    )
    (tmp_path / "hangs.py").write_text(code)
    source = {"path": str(tmp_path / "hangs.py"), "kind": "conductor", "root": str(tmp_path)}
    data = {"sources": [source], "where": None, "defer": False}
    data |= {name: str(tmp_path / name) for name in ("calls", "refused", "aside")}
    request, output = tmp_path / "request", tmp_path / "output"
    request.write_text(json.dumps(data))
    output.touch()
    with pool.DeclareProcesses([tmp_path] * 2, fork=True, echo=False) as planners:
        planners.start(request, tmp_path / "result", output, tmp_path)
        told = tmp_path / "pid"
        pid = wait_for(
            lambda: int(told.read_text()) if told.exists() and told.read_text() else None, "the pid"
        )
        warm = psutil.Process(pid).parent()
        if stopped == "warm":
            warm.suspend()
    assert not warm.is_running()
    wait_for(lambda: True if not psutil.pid_exists(pid) else None, "the end of the child")


@pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux only")
def test_where_no_process_can_be_forked_the_conductor_is_told_so(tmp_path, monkeypatch):
    """For example with too many processes; the next one may be forked."""
    code = """
        import os
        def fork():
            os.fork = whole
            raise BlockingIOError(11, "Resource temporarily unavailable")
        whole, os.fork = os.fork, fork
        """
    write_project(tmp_path, {"sitecustomize.py": code})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(PlanError) as refused:
        planned(tmp_path, dict.fromkeys("ab", CALL))
    assert str(refused.value).splitlines() == [
        "conductor_a.py: its process ended with exit code 1 before it was done",
        "no process can be started: Resource temporarily unavailable",
    ]
