"""Sessions and commands of tests that are forked from one process are those that start from nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from helpers.forked_sessions import can_be_forked
from helpers.projects import write_project
from helpers.sessions import is_gone, own_environment, run_python, run_session, wait_for

from pytest_ductaflow.core.forking.start import SERVER_VARIABLE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they are forked on Linux only")

# Says what a process of a session has from its start.
SAYS = """
    import json, logging, os, signal, sys, tempfile, threading, warnings

    def test_says(request):
        worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        told = {
            "argv": sys.argv,
            "path": sys.path,
            "folder": os.getcwd(),
            "environment": {name: value for name, value in os.environ.items() if "UID" not in name},
            "temporary": tempfile.gettempdir(),
            "main": [sys.modules["__main__"].__name__, getattr(sys.modules["__main__"], "__file__", None)],
            "plugins": sorted(name for name, _ in request.config.pluginmanager.list_name_plugin()
                              if not name.isdigit()),
            "handlers": [str(signal.getsignal(number)) for number in (2, 15, 1)],
            "streams": [sys.__stdout__.encoding, sys.__stderr__.errors, sys.__stdout__.isatty()],
            "threads": [type(thread).__name__ for thread in threading.enumerate()],
            "loggers": [logging.root.level, len(logging.root.handlers)],
            "project": sorted(name for name in sys.modules if name.split(".")[0] in ("conftest", "helpers")),
            "umask": os.umask(0o22),
        }
        with open(f"{worker}.json", "w") as file:
            json.dump(told, file)
        print("printed")
        warnings.warn("warned")
        assert worker == "none"
    """


def test_they_have_what_others_have_and_tell_the_same(tmp_path):
    root = write_project(tmp_path, {"test_x.py": SAYS, "conftest.py": "x = 1\n", "more/y.py": "y = 1\n"})
    told = []
    for is_real in (True, False):
        done = run_session(
            *(root, "-p", "no:cacheprovider", "-ra", "test_x.py"),
            is_real=is_real,
            PYTHONPATH=str(root / "more"),
            TMPDIR=str(root),
        )
        said = json.loads((root / "alone.json").read_text())
        said["environment"].pop("PYTHONIOENCODING", None)
        lines = [line for line in done.stdout.splitlines() if " failed, " not in line]
        told.append((said, lines, done.stderr, done.returncode))
    assert told[1] == told[0]
    assert told[0][3] == 1


@pytest.mark.thorough
def test_their_workers_have_what_others_have(tmp_path):
    root = write_project(tmp_path, {"test_x.py": SAYS, "conftest.py": "x = 1\n", "more/y.py": "y = 1\n"})
    told = []
    for is_real in (True, False):
        command = ("-p", "no:cacheprovider", "-n", "1", "test_x.py")
        run_session(root, *command, is_real=is_real, PYTHONPATH=str(root / "more"))
        said = json.loads((root / "gw0.json").read_text())
        for name in (
            "PYTHONIOENCODING",
            "LINES",
            "COLUMNS",
        ):  # readline sets the last two for child processes
            said["environment"].pop(name, None)
        told.append(said)
    assert told[1] == told[0]


SCRIPT = """\
    import atexit, os, sys
    atexit.register(print, "last words")
    main = sys.modules["__main__"]
    print(sys.argv, sys.path[0], __name__, vars(main).get("__file__"), os.getcwd(), sys.stdin.read())
    print("said", file=sys.stderr)

    def fails():
        raise ValueError("no")

    if "fail" in sys.argv:
        fails()
    if "exit" in sys.argv:
        sys.exit("words")
    """


@pytest.mark.parametrize(
    "command",
    [
        *(("more/x.py", word) for word in ("well", "fail", "exit")),
        *(("-m", "more.x", word) for word in ("well", "fail", "exit")),
        ("-c", dedent(SCRIPT), "exit"),
    ],
    ids=lambda command: f"{command[0]} {command[-1]}",
)
def test_commands_do_and_tell_the_same(tmp_path, command):
    root = write_project(tmp_path, {"more/x.py": SCRIPT})
    done = [run_python(root, *command, is_real=is_real, stdin="given\n") for is_real in (True, False)]
    real, forked = ((each.stdout, each.stderr, each.returncode) for each in done)
    assert forked == real
    assert real[2] == (0 if command[-1] == "well" else 1)


def test_what_one_leaves_in_its_process_does_not_reach_the_next(tmp_path):
    code = "import os, sys\n\ndef test_x():\n    assert not hasattr(os, 'left')\n    os.left = sys.left = 1\n"
    root = write_project(tmp_path, {"test_x.py": code})
    assert [run_session(root).returncode for _ in range(2)] == [0, 0]


def test_one_that_takes_too_long_is_killed(tmp_path):
    code = (
        "import os, time\n\ndef test_x():\n    open('pid', 'w').write(str(os.getpid()))\n    time.sleep(99)\n"
    )
    root = write_project(tmp_path, {"test_x.py": code})
    with pytest.raises(subprocess.TimeoutExpired):
        run_session(root, timeout=5)
    pid = int((root / "pid").read_text())
    wait_for(lambda: is_gone(pid), "the end of the session")


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None])
def test_nothing_outlives_the_process_of_the_tests(tmp_path, number):
    code = (
        "import os, time\n\ndef test_x():\n    open('pid', 'w').write(str(os.getpid()))\n    time.sleep(99)\n"
    )
    root = write_project(tmp_path / "project", {"test_x.py": code if number else "def test_x(): pass\n"})
    runs = (
        "import os, psutil, sys; from pathlib import Path; from helpers.sessions import run_session\n"
        "from helpers.forked_sessions import image_of\n"
        "image = psutil.Process(image_of(os.getpid())._process.pid)\n"
        "print(image.pid, *(child.pid for child in image.children(recursive=True)), flush=True)\n"
        "run_session(Path(sys.argv[1]))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(__file__).parents[2])])
    with subprocess.Popen(
        [sys.executable, "-c", runs, str(root)],
        env=own_environment(PYTHONPATH=path),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) > 2  # with the server of kernels, and the process for conductors
        if number is not None:
            wait_for(lambda: ((root / "pid").exists() and (root / "pid").read_text()) or None, "the session")
            pids.append(int((root / "pid").read_text()))
            process.send_signal(number)
    assert all(wait_for(lambda pid=pid: is_gone(pid), "the end of its processes") for pid in pids)


@pytest.mark.thorough
def test_they_share_a_server_of_kernels_unless_they_are_real_or_their_environment_needs_another(tmp_path):
    says = f"""
        import json, os
        with open("server", "w") as file:
            file.write(json.loads(os.environ[{SERVER_VARIABLE!r}])[0])
        """
    call = 'from pytest_ductaflow import conduct\nconduct("flows/a.py", [{"instance_name": "i"}])\n'
    root = write_project(tmp_path, {"flows/a.py": says, "conductor.py": call, "more/y.py": ""})

    def server(*, is_real: bool = False, **variables: str) -> str:
        options = ("-p", "no:cacheprovider", "--ductaflow-force")
        run_session(
            root, *options, "--ductaflow", "conductor.py", is_real=is_real, **variables
        ).check_returncode()
        return (root / "runs/a/i/server").read_text()

    shared = server()
    assert server() == shared
    assert server(is_real=True) != shared
    assert server(PYTHONPATH=str(root / "more")) != shared
    assert server() == shared


@pytest.mark.parametrize(
    "variables",
    [{"PYTHONHASHSEED": "1"}, {"PYTHONWARNINGS": "error"}, {"LD_LIBRARY_PATH": "/x"}, {"HOME": "/x"}],
)
def test_what_is_read_only_at_the_start_keeps_one_from_being_forked(variables):
    assert can_be_forked(own_environment())
    assert not can_be_forked(own_environment(**variables))
    assert not can_be_forked(own_environment(DUCTAFLOW_FORK="0"))


def test_a_variable_that_a_test_has_set_reaches_no_process_that_outlives_the_test(monkeypatch):
    monkeypatch.setenv("JUPYTER_PATH", "/x")
    assert not can_be_forked(own_environment())
