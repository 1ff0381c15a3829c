"""What an observer sees of a process and all that it starts; Linux only, and without kernels."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from pytest_ductaflow.kernels.observation import can_observe, observed_command, read_report
from pytest_ductaflow.kernels.observer import access_log, process, seccomp
from pytest_ductaflow.kernels.observer.access_log import (
    ASKED,
    FOLDER,
    FOLLOWED,
    LISTED,
    MADE,
    READ,
    STARTED,
    UPDATED,
    WRITTEN,
)
from pytest_ductaflow.kernels.observer.process import OBSERVED

pytestmark = pytest.mark.skipif(not can_observe(), reason="this system tells nothing of the files of others")
FILES = {"data/a.csv": "a", "data/b.csv": "b", "link.csv": None, "script.sh": "#!/bin/sh\ncat data/a.csv\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.symlink_to(root / "data" / "a.csv")
        else:
            path.write_text(text, encoding="utf-8")
    (root / "own.sh").write_text(f"#! {root}/script.sh\n", encoding="utf-8")
    for name in ("script.sh", "own.sh"):
        (root / name).chmod(0o755)
    return root


def observe(folder: Path, command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command under an observer."""
    report = folder.parent / "observed" / "report"
    report.parent.mkdir(exist_ok=True)
    return subprocess.run(
        observed_command(command, report=str(report)),
        cwd=folder,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **more,
    )


def report_of(folder: Path) -> dict[str, Any]:
    report = read_report(folder.parent / "observed" / "report")
    assert report is not None
    return report


def uses(folder: Path, code: str) -> dict[str, str]:
    """Return how Python code, run as a program, uses the files of the project, by name."""
    done = observe(folder, [sys.executable, "-I", "-S", "-c", textwrap.dedent(code)])
    assert (done.returncode, done.stderr) == (0, "")
    found = {path: kinds for path, _, _, kinds in report_of(folder)["uses"]}
    inside = (path for path in found if Path(path).is_relative_to(folder))
    return {os.path.relpath(path, folder): found[path] for path in inside}


READS = {
    "open('data/a.csv')": ("data/a.csv", READ),
    "open(os.path.abspath('data/a.csv'))": ("data/a.csv", READ),
    "open('data/../data/./a.csv')": ("data/a.csv", READ),
    "open('link.csv')": ("link.csv", READ),
    "open('none.csv') if os.path.exists('none.csv') else None": ("none.csv", ASKED),
    "try_to(open, 'none.csv')": ("none.csv", READ),
    "os.stat('data/a.csv')": ("data/a.csv", ASKED),
    "os.access('data/a.csv', os.R_OK)": ("data/a.csv", ASKED),
    "os.path.isdir('none')": ("none", ASKED),
    "os.listdir('data')": ("data", LISTED),
    "os.open('a.csv', os.O_RDONLY, dir_fd=os.open('data', os.O_RDONLY))": ("data/a.csv", READ),
    "os.open('data', os.O_RDONLY)": ("data", FOLLOWED),
    "os.listdir(os.open('data', os.O_RDONLY))": ("data", LISTED),
    "list(os.fwalk('data'))": ("data", LISTED),
    "os.readlink('link.csv')": ("link.csv", FOLLOWED),
    "os.path.realpath('link.csv')": ("link.csv", FOLLOWED),
    "os.chdir('data')": ("data", FOLLOWED),
    "open(f\"/proc/self/fd/{os.open('data/a.csv', os.O_PATH)}\")": ("data/a.csv", READ),
    "os.open('data', os.O_RDONLY); open(f'/dev/fd/3/a.csv')": ("data/a.csv", READ),
    "os.system('./own.sh > /dev/null')": ("script.sh", STARTED),
    "open('new.csv', 'w')": ("new.csv", WRITTEN),
    "open('data/a.csv', 'a')": ("data/a.csv", WRITTEN),
    "open('data/a.csv', 'r+')": ("data/a.csv", UPDATED),
    "open('data/a.csv', 'w+')": ("data/a.csv", WRITTEN),
    "open('data/a.csv', 'a+')": ("data/a.csv", MADE),
    "try_to(open, 'none.csv', 'r+')": ("none.csv", UPDATED),
    "os.rename('data/a.csv', 'c.csv')": ("c.csv", WRITTEN),
    "os.link('data/a.csv', 'c.csv')": ("c.csv", WRITTEN),
    "os.link('data/a.csv', 'd.csv')": ("data/a.csv", READ),
    "os.rename('data/b.csv', 'd.csv')": ("data/b.csv", READ),
    "os.symlink('data/a.csv', 'c.csv')": ("c.csv", WRITTEN),
    "os.truncate('data/a.csv', 0)": ("data/a.csv", WRITTEN),
    "os.system('cat data/b.csv > c.csv')": ("data/b.csv", READ),
    "os.system('cat data/b.csv > d.csv')": ("d.csv", WRITTEN),
    "os.system('./script.sh >/dev/null')": ("script.sh", STARTED),
    "os.system('./script.sh > /dev/null')": ("data/a.csv", READ),
    "os.system('cd data && test -e none')": ("data/none", ASKED),
    "os.fork() or os._exit(0 * len(open('data/b.csv').read())); os.wait()": ("data/b.csv", READ),
    "t = threading.Thread(target=open, args=('data/b.csv',)); t.start(); t.join()": ("data/b.csv", READ),
    "os.chdir('data'); open('b.csv')": ("data/b.csv", READ),
    "fopen(b'data/b.csv', b'r')": ("data/b.csv", READ),
    "os.system(f'{sys.executable} -c \"open(0x28 * chr(46) if 0 else chr(100) + chr(46))\" 2>/dev/null')": (
        "d.",
        READ,
    ),
}


@pytest.mark.parametrize("code", READS)
def test_a_use_of_a_file_is_seen(folder, code):
    before = """\
        import ctypes, os, sys, threading
        fopen = ctypes.CDLL(None).fopen
        def try_to(function, *arguments):
            try:
                function(*arguments)
            except OSError:
                pass
        """
    name, kind = READS[code]
    assert kind in uses(folder, f"{textwrap.dedent(before)}{code}\n")[name]


def test_a_file_is_noted_as_it_was_before_its_first_use(folder):
    stat = (folder / "data" / "a.csv").stat()
    uses(folder, "open('data/a.csv', 'a').write('more'); open('new.csv', 'w'); import os; os.listdir('data')")
    states = {os.path.relpath(path, folder): state for path, _, state, _ in report_of(folder)["uses"]}
    assert states["data/a.csv"] == f"1 {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
    assert states["new.csv"] is None
    assert states["data"] == f"{FOLDER} {(folder / 'data').stat().st_mtime_ns}"


def test_uses_between_pause_and_resume_are_not_noted_and_those_before_the_begin_are_forgotten(folder):
    code = """\
        import os
        from pathlib import Path
        def tell(word):
            os.path.exists(f"/ductaflow-observer/{word}")
        open("data/a.csv")
        tell("begin")
        open("data/b.csv")
        tell("pause")
        open("link.csv")
        tell("resume")
        open("script.sh")
        """
    assert set(uses(folder, code)) == {"data/b.csv", "script.sh"}


def test_listings_are_counted_and_those_of_a_python_program_that_looks_for_modules_left_out(folder):
    (folder / "child.py").write_text("import helper, os\nos.listdir('data')\n", encoding="utf-8")
    (folder / "helper.py").touch()
    uses(folder, f"import os; os.listdir('data'); os.system('{sys.executable} child.py')")
    listings = {os.path.relpath(path, folder): n for path, n in report_of(folder)["listings"].items()}
    assert listings["data"] == 2
    assert "." not in listings


@pytest.mark.parametrize(
    "look",
    [
        "if os.path.isdir(folder): os.listdir(folder)",
        "if Path(folder).exists() and Path(folder).is_dir(): list(Path(folder).glob('*'))",
        "os.stat(folder); list(os.fwalk(folder))",
    ],
)
def test_a_python_program_that_asks_for_a_folder_and_lists_it_does_not_look_for_modules(folder, look):
    code = f"import os\nfrom pathlib import Path\nfolder = os.path.abspath('data')\n{look}\n"
    uses(folder, code)
    assert report_of(folder)["listings"][str(folder / "data")] >= 1


def test_a_program_that_would_have_other_rights_is_told(folder, tmp_path):
    program = tmp_path / "sudo"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o4755)
    os.chown(program, 12345, -1) if os.geteuid() == 0 else pytest.skip("only root can make such a program")
    program.chmod(0o4755)
    uses(folder, f"import os; os.system('{program}')")
    assert report_of(folder)["privileged"] == [str(program)]


def test_a_script_that_names_itself_as_its_interpreter_is_refused_as_without_an_observer(folder):
    script = folder / "loop.sh"
    script.write_text(f"#!{script}\n")
    script.chmod(0o755)
    code = f"""
        import subprocess
        try:
            subprocess.run([{str(script)!r}])
        except OSError as error:
            print(error.strerror)
        """
    done = observe(folder, [sys.executable, "-c", textwrap.dedent(code)])
    assert done.stdout == "Too many levels of symbolic links\n", done.stderr


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_observer_ends_with_the_exit_code_of_its_command(folder, code):
    assert observe(folder, [sys.executable, "-c", f"raise SystemExit({code})"]).returncode == code


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSEGV"])
def test_the_observer_ends_by_the_signal_that_ended_its_command(folder, name):
    code = f"import os, signal; os.kill(os.getpid(), signal.{name})"
    assert observe(folder, [sys.executable, "-c", code]).returncode == -signal.Signals[name]


def test_a_command_that_is_not_there_ends_as_in_a_shell(folder):
    done = observe(folder, ["/none/program"])
    assert done.returncode == 127
    assert done.stderr == "/none/program: No such file or directory\n"


def test_a_command_below_another_observer_runs_unobserved(folder):
    inner = observed_command(
        [sys.executable, "-c", f"import os; print({OBSERVED!r} in os.environ)"], report="/none"
    )
    code = f"import subprocess; subprocess.run({inner!r}, check=True)"
    assert observe(folder, [sys.executable, "-c", code]).stdout == "False\n"


def test_what_the_observer_cannot_note_is_told_and_stops_nothing(monkeypatch):
    notes, gone_on = access_log.Notes(), []
    notification = seccomp.Notification(1, os.getpid(), 2, seccomp.ARCHITECTURE, (0,) * 6)
    monkeypatch.setattr(process, "receive", lambda listener: notification)
    monkeypatch.setattr(process, "let_go_on", lambda listener, which: gone_on.append(which))
    monkeypatch.setattr(access_log.Notes, "take", lambda *_: 1 / 0)
    with socket.socket() as kernels:
        observer = process.Observer(kernels, None)
        observer._notes_of[7] = notes
        observer._answer(7, select.POLLIN)
    assert gone_on == [notification]
    assert list(notes.unseen) == ["a file that is used (ZeroDivisionError: division by zero)"]


@pytest.mark.parametrize("dies", ["observer", "parent"])
def test_nothing_observed_outlives_the_observer_or_who_has_started_it(folder, dies):
    """The command writes to a pipe that ends when its last holder has gone."""
    reading, writing = os.pipe()
    code = f"import os, time\nos.write({writing}, b'%d' % os.getppid())\ntime.sleep(600)"
    command = observed_command([sys.executable, "-c", code], report=str(folder.parent / "report"))
    start = f"import subprocess; subprocess.run({command!r}, pass_fds=[{writing}], start_new_session=True)"
    with subprocess.Popen([sys.executable, "-c", start], pass_fds=[writing]) as parent:
        os.close(writing)
        observer = int(os.read(reading, 100))
        os.kill(observer if dies == "observer" else parent.pid, signal.SIGKILL)
        assert os.read(reading, 1) == b""  # the command has ended, too
    os.close(reading)


def test_io_uring_is_refused_so_that_nothing_is_opened_unseen(folder):
    call = "ctypes.CDLL(None, use_errno=True).syscall(425, 1, 0)"
    code = f"import ctypes; print({call}, ctypes.get_errno())"
    assert observe(folder, [sys.executable, "-c", code]).stdout == "-1 38\n"


def test_a_report_is_json_also_with_names_that_are_no_utf_8(folder):
    uses(folder, "import os; open(os.fsencode('x') + bytes([255]), 'w')")
    names = [path for path, *_ in report_of(folder)["uses"]]
    assert str(folder / "x\udcff") in names
    assert json.dumps(report_of(folder))
