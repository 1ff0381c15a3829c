"""`--ductaflow-keep-warm`: what a session leaves behind serves the next one, and is never stale."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest
from helpers.projects import PARAMETERS, lay, write_project
from helpers.sessions import interruptible, own_environment, wait_for
from helpers.terminal import AtTerminal

from pytest_ductaflow.core.forking.client import WarmProcess
from pytest_ductaflow.core.system.machine import usable_cores
from pytest_ductaflow.core.thread_variables import VARIABLES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps processes warm"),
]
KINDS = {"conductors", "runs"}
FILES = {
    "flows/a.py": """
        import json, os
        import psutil
        print("printed")
        parents = [process.pid for process in psutil.Process().parents()]
        result = {"n": n, "parents": parents, "given": os.environ.get("GIVEN"), "umask": os.umask(0)}
        with open("result.json", "w") as file:
            json.dump(result, file)
        """,
    "conductor.py": """
        from pytest_ductaflow import conduct
        conduct("flows/a.py", [{"instance_name": f"i{n}", "n": n} for n in range(3)])
        """,
}


class Place:
    """A project, and a place of its own for warm processes."""

    def __init__(self, root: Path, temporary: Path) -> None:
        self.root = root
        self.temporary = temporary
        self.python = sys.executable
        self.variables: dict[str, str] = {}
        self.has_pages = True

    @property
    def environment(self) -> dict[str, str]:
        return own_environment(pages=self.has_pages, TMPDIR=str(self.temporary), **self.variables)

    def start(self, *options: str, warm: str = "10min") -> subprocess.Popen[str]:
        command = [self.python, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow"]
        if not any("::" in option for option in options):
            command.append("conductor.py")
        return subprocess.Popen(
            [*command, "--ductaflow-keep-warm", warm, *options],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=interruptible,  # noqa: PLW1509 - no threads here
        )

    def session(self, *options: str, warm: str = "10min") -> str:
        """Run a session, and wait until what it leaves behind is ready; return its output."""
        with self.start(*options, warm=warm) as process:
            output, _ = process.communicate(timeout=120)
        if "exit=" not in output:
            wait_for(lambda: len(self.sockets()) == len(KINDS) or None, f"warm processes after {output}")
        return output

    def sockets(self) -> list[Path]:
        return [path for path in self.temporary.glob("ductaflow-*/*") if path.is_socket()]

    def processes(self, kind: str = "") -> list[psutil.Process]:
        """Return the warm processes, and their children, of one kind or of both."""
        return [each for each in psutil.process_iter() if _is_warm(each, kind, self.temporary)]

    def pid_of(self, kind: str) -> int:
        own = self.processes(kind)
        first = [each.pid for each in own if each.ppid() not in [other.pid for other in own]]
        assert len(first) == 1
        return first[0]

    def result(self, instance: str = "i1") -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.root / f"runs/a/{instance}/result.json").read_text())
        return data

    def command(self, *arguments: str) -> str:
        return self._printed("-m", "pytest_ductaflow.command_line", *arguments)

    def printed(self, code: str) -> str:
        """Run code in a process that could use what is kept warm; return what it prints."""
        return self._printed("-c", dedent(code))

    def _printed(self, *arguments: str) -> str:
        command = [self.python, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True)
        return done.stdout

    def edit(self) -> None:
        flow = self.root / "flows/a.py"
        flow.write_text(f"{flow.read_text()}\nagain = True\n")


def _is_warm(process: psutil.Process, kind: str, temporary: Path) -> bool:
    try:
        command = process.cmdline()
        is_ours = process.environ().get("TMPDIR") == str(temporary)
    except psutil.Error:
        return False
    return is_ours and "pytest_ductaflow.planning.processes.stay_warm" in command and kind in command[-1]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    temporary = Path(tempfile.mkdtemp(prefix="kw", dir="/tmp"))  # sockets have short paths
    found = Place(write_project(tmp_path, FILES), temporary)
    yield found
    for path in found.sockets():
        WarmProcess(path).ask("stop")
    wait_for(lambda: None if found.sockets() else True, "the end of warm processes")
    shutil.rmtree(temporary, ignore_errors=True)


@pytest.mark.parametrize("source", ["flow", "build"])
def test_breakpoint_stops_at_the_terminal_though_a_process_is_kept_warm(place, source):
    stops = f"{PARAMETERS}\nx = 41\nbreakpoint()\nprint(x + 1)\n"
    lay(place.root / "flows/stops.py", stops)
    call = 'run_step_flow("flows/stops.py", "stops", "one", {})'
    build = f"{PARAMETERS}\n# %%\nfrom ductaflow import run_step_flow\n{call}\n"
    lay(place.root / "builds/all.py", build)
    path = "flows/stops.py" if source == "flow" else "builds/all.py"
    place.edit()
    place.session()
    conductor = place.root / "stopping.py"
    lay(conductor, f'from pytest_ductaflow import conduct\nconduct("{path}", [{{"instance_name": "one"}}])\n')
    with AtTerminal(place.root, conductor.name, TMPDIR=str(place.temporary)) as session:
        session.until_prompt()
        assert session.answer("p x") == "41\n"
        session.enter("c")
        assert "1 passed" in session.rest()


def test_the_next_session_runs_in_children_of_what_the_first_has_left(place):
    assert "3 passed" in place.session()
    cold = place.result()
    runs = place.pid_of("runs")
    assert runs not in cold["parents"]
    place.edit()
    assert "3 passed" in place.session()
    assert runs in place.result()["parents"]
    assert place.result() | {"parents": []} == cold | {"parents": []}
    files = {path.name for path in (place.root / "runs/a/i1").iterdir()}
    assert {"a_record.json", "a_executed.ipynb", "a_executed.html", "result.json"} <= files


def test_each_session_has_its_own_environment_umask_and_arguments(place):
    place.session()
    place.variables = {"GIVEN": "1"}
    place.edit()
    assert "printed" in place.session("-s", "conductor.py::a::i1")
    assert (place.result()["given"], place.result()["umask"]) == ("1", cold_umask())


def cold_umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def test_workers_share_it(place):
    place.session()
    place.edit()
    assert "3 passed" in place.session("-n", "2")
    assert all(place.pid_of("runs") in place.result(f"i{n}")["parents"] for n in range(3))


def test_threads_are_those_of_a_worker_where_none_is_started(place, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    place.session()
    place.edit()
    assert "so no workers are started" in place.session("-n", "2", "conductor.py::a::i1")
    assert place.pid_of("runs") in place.result()["parents"]
    record = json.loads((place.root / "runs/a/i1/a_record.json").read_text())
    assert record["threads"] == max(1, usable_cores() // 2)


def test_a_failure_reads_as_in_a_cold_session(place):
    lay(place.root / "flows/a.py", '# %% tags=["parameters"]\nconfig = {}\n# %%\nprint(1 / (n - 1))\n')
    cold, warm = (place.session() for _ in range(2))
    assert "2 passed, 1 failed" in cold or "1 failed, 2 passed" in cold
    assert "ZeroDivisionError" in warm
    told = [output[output.index("FAILURES") : output.index("- ductaflow -")] for output in (cold, warm)]
    assert told[0] == told[1]


def test_a_broken_conductor_is_told_as_in_a_cold_session(place):
    lay(place.root / "conductor.py", "import nowhere\n")
    cold = place.session()
    assert "No module named 'nowhere'" in cold
    assert place.session() == cold


def test_its_kernels_have_the_threads_of_their_row(place):
    code = "import json, os\nimport numpy\nfrom threadpoolctl import threadpool_info\n"
    code += (
        "result = [os.environ.get('OMP_NUM_THREADS'), [each['num_threads'] for each in threadpool_info()]]\n"
    )
    lay(place.root / "flows/a.py", f"{PARAMETERS}# %%\n{code}json.dump(result, open('result.json', 'w'))\n")
    rows = '[{"instance_name": "i1"}, {"instance_name": "one", "_cores": 1}]'
    lay(place.root / "conductor.py", f"from pytest_ductaflow import conduct\nconduct('flows/a.py', {rows})\n")
    for _ in range(2):
        assert "2 passed" in place.session("--ductaflow-force", "--ductaflow-threads", "2")
        assert place.result("i1") == ["2", [min(2, usable_cores())]]
        assert place.result("one") == ["1", [1]]


# It ends


def test_it_ends_after_its_time(place):
    assert "3 passed" in place.start(warm="1s").communicate()[0]
    wait_for(lambda: len([*place.temporary.glob("ductaflow-*/*.lock")]) == len(KINDS) or None, "their start")
    wait_for(lambda: None if place.processes() else True, "the end of warm processes")
    assert place.sockets() == list(place.temporary.glob("dk*")) == []


def test_it_ends_on_request_from_the_moment_in_which_it_was_left_behind(place):
    code = """
        from pytest_ductaflow.planning.processes.stay_warm import leave_behind, warm_processes
        leave_behind(600)
        print(sorted(each.kind for each in warm_processes(stop=True)))
        """
    assert place.printed(code) == f"{sorted(KINDS)}\n"
    wait_for(lambda: None if place.processes() else True, "their end")
    assert place.sockets() == list(place.temporary.glob("dk*")) == []


def test_it_waits_for_the_end_of_one_that_is_stale(place):
    code = """
        import fcntl, time
        from pytest_ductaflow.core.forking import place
        from pytest_ductaflow.planning.processes.stay_warm import leave_behind
        paths = [place.socket_of(kind, make=True) for kind in ("conductors", "runs")]
        locks = [open(f"{path}.lock", "w") for path in paths]
        for lock in locks:
            fcntl.flock(lock, fcntl.LOCK_EX)
        leave_behind(600)
        time.sleep(1)  # of the ending of a stale one
        print(any(path.exists() for path in paths))
        """
    assert place.printed(code) == "False\n"
    wait_for(lambda: len(place.sockets()) == len(KINDS) or None, "its start")
    told = place.command("warm")
    assert all(f"{kind}: idle, for 10 min more" in told for kind in KINDS), told


def test_where_it_cannot_be_left_behind_that_is_told(place):
    (place.temporary / f"ductaflow-{os.getuid()}").mkdir(mode=0o700)
    for kind in KINDS:
        code = f"from pytest_ductaflow.core.forking import place; print(place.socket_of({kind!r}))"
        Path(f"{place.printed(code).strip()}.lock").mkdir()  # as if it could not be written
    output, _ = place.start().communicate(timeout=120)
    assert "ductaflow: nothing is kept warm for the next session: [Errno 21] Is a directory" in output
    assert "3 passed" in output
    assert "Traceback" not in output


def test_it_ends_on_request(place):
    place.session()
    assert "conductors: idle" in place.command("warm")
    servers = psutil.Process(place.pid_of("runs")).children(recursive=True)
    assert "ended" in place.command("warm", "--stop")
    psutil.wait_procs(servers, timeout=30)
    assert not any(process.is_running() for process in servers)
    assert place.command("warm") == "no process is kept warm\n"
    wait_for(lambda: None if list(place.temporary.glob("dk*")) else True, "the end of the server's folder")


def test_it_belongs_to_the_user_alone(place):
    place.session()
    folder = next(place.temporary.glob("ductaflow-*"))
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    place.edit()
    runs = place.pid_of("runs")
    assert "3 passed" in place.start().communicate()[0]
    assert runs not in place.result()["parents"]
    folder.chmod(0o700)


@pytest.mark.parametrize("options", [["--no-ductaflow-fork"], ["--collect-only"]], ids=lambda given: given[0])
def test_nothing_is_started_in_vain(options, place):
    place.start(*options).communicate()
    assert place.sockets() == [] or "--collect-only" in options


# It is never stale


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with this project's packages, and room for others."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "outer.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    own = Path(__file__).parents[2]
    (site / "ours.pth").write_text(f"import sys; sys.path.append({str(own)!r})")
    return folder


def install(site: Path, version: str, value: int) -> None:
    """Install a package as pip does."""
    lay(site / "library/__init__.py", f"value = {value}")
    lay(
        site / f"library-{version}.dist-info/METADATA",
        f"Metadata-Version: 2.1\nName: library\nVersion: {version}\n",
    )
    lay(site / f"library-{version}.dist-info/top_level.txt", "library\n")
    lay(site / f"library-{version}.dist-info/RECORD", "library/__init__.py,,\n")


def edited(site: Path, home: Path, place: Place) -> None:
    module = site / "library/__init__.py"
    before = module.stat()
    module.write_text("value = 2")
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.rmtree(site / "library/__pycache__", ignore_errors=True)


def upgraded(site: Path, home: Path, place: Place) -> None:
    shutil.rmtree(site / "library-1.dist-info")
    shutil.rmtree(site / "library")
    install(site, "2", 2)


def shadowed(site: Path, home: Path, place: Place) -> None:
    lay(home / "first/library.py", "value = 2")
    (site / "first.pth").write_text(f"import sys; sys.path.insert(0, {str(home / 'first')!r})")


def shadowed_by_a_variable(site: Path, home: Path, place: Place) -> None:
    lay(home / "first/library.py", "value = 2")
    place.variables["PYTHONPATH"] = str(home / "first")


def changed_at_start(site: Path, home: Path, place: Place) -> None:
    lay(site / "sitecustomize.py", "import builtins; builtins.added = 1")


def started_by_ipython(site: Path, home: Path, place: Place) -> None:
    lay(home / ".ipython/profile_default/startup/first.py", "added = 1")


def removed(site: Path, home: Path, place: Place) -> None:
    shutil.rmtree(site / "library")


WAYS: dict[Callable[[Path, Path, Place], None], int] = {
    edited: 2,
    upgraded: 2,
    shadowed: 2,
    shadowed_by_a_variable: 2,
    changed_at_start: 2,
    started_by_ipython: 2,
    removed: 0,
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_has_changed_since_is_not_served(way, environment, place, tmp_path):
    site = next(environment.glob("lib/python*/site-packages"))
    before = set(site.iterdir())
    home = tmp_path / "home"
    (home / ".ipython/profile_default/startup").mkdir(parents=True)
    install(site, "1", 1)
    flow = """
        try:
            import library
            value = library.value
        except ImportError:
            value = 0
        print("seen", value + globals().get("added", 0) + getattr(__builtins__, "added", 0))
        """
    place.python = str(environment / "bin/python")
    place.variables, place.has_pages = {"HOME": str(home)}, False
    write_project(place.root, {"flows/a.py": flow})
    try:
        assert "seen 1" in place.session("-s", "conductor.py::a::i1")
        place.edit()
        assert "seen 1" in place.session("-s", "conductor.py::a::i1")
        way(site, home, place)
        place.edit()
        assert f"seen {WAYS[way]}" in place.start("-s", "conductor.py::a::i1").communicate()[0]
    finally:
        for path in set(site.iterdir()) - before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


# It is disturbed

WAITS = {
    "flows/a.py": """
        import os, time
        with open("begun", "w") as file:
            file.write(str(os.getpid()))
        while not os.path.exists("go"):
            time.sleep(0.01)
        """
}


def begun(place: Place) -> int:
    """Wait until an instance runs, and return its kernel's process."""
    file = place.root / "runs/a/i1/begun"
    return int(wait_for(lambda: (file.exists() and file.read_text()) or None, "an instance"))


def gone(pid: int) -> None:
    wait_for(lambda: None if psutil.pid_exists(pid) else True, f"the end of process {pid}")


def status(place: Place) -> tuple[str, str]:
    record = json.loads((place.root / "runs/a/i1/a_record.json").read_text())
    return record["status"], (record["error"] or {}).get("type", "")


@pytest.fixture
def waiting(place: Place) -> tuple[Place, subprocess.Popen[str], int]:
    """Return a warm session whose instance waits, and the instance's kernel."""
    place.session()
    write_project(place.root, WAITS)
    process = place.start("conductor.py::a::i1")
    return place, process, begun(place)


def test_ctrl_c_stops_the_instance(waiting):
    place, process, kernel = waiting
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 2, output
    assert status(place)[0] == "error"
    gone(kernel)
    assert "idle" in place.command("warm")


def test_stopping_it_twice_leaves_the_session_that_uses_it_alone(waiting):
    place, process, _ = waiting
    warm = place.pid_of("runs")
    assert "runs: in use by 1 process, ends after that" in place.command("warm", "--stop")
    assert place.command("warm", "--stop") == "no process is kept warm\n"
    (place.root / "runs/a/i1/go").touch()
    assert "1 passed" in process.communicate(timeout=60)[0]
    gone(warm)  # the session may have left another one behind


def test_the_death_of_the_session_ends_the_instance(waiting):
    place, process, kernel = waiting
    process.kill()
    process.communicate()
    gone(kernel)
    wait_for(lambda: True if "in use" not in place.command("warm") else None, "the end of its child")
    (place.root / "go").touch()
    write_project(place.root, FILES)
    assert "1 passed" in place.session("conductor.py::a::i1")


def test_the_death_of_the_warm_process_fails_its_instance_and_the_next_session_is_well(waiting):
    place, process, kernel = waiting
    os.kill(place.pid_of("runs"), signal.SIGKILL)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert "the process that runs instances has ended" in output
    assert status(place) == ("error", "ProcessLost")
    gone(kernel)
    write_project(place.root, FILES)
    assert "1 passed" in place.session("conductor.py::a::i1")
