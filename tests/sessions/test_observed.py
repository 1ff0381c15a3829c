"""How much of a flow's reading is observed, and what happens to instances not observed completely."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.edited import Session, edit, record
from helpers.projects import write_project

from pytest_ductaflow.core.record import Failure
from pytest_ductaflow.kernels.observation import can_observe
from pytest_ductaflow.running.attempts import _without_rights
from pytest_ductaflow.tracking.observed import Used

pytestmark = [pytest.mark.slow, pytest.mark.thorough]
on_linux = pytest.mark.skipif(not can_observe(), reason="this system tells nothing of the files of others")
FILES = {
    "flows/shell.py": 'import subprocess\nprint(subprocess.check_output(["cat", root + "/data.txt"]))\n',
    "flows/plain.py": "print(open(root + '/data.txt').read())\n",
    "conductor.py": """\
        from pathlib import Path
        from pytest_ductaflow import conduct
        root = str(Path(__file__).parent)
        conduct("flows/shell.py", [{"instance_name": "i", "root": root}])
        conduct("flows/plain.py", [{"instance_name": "i", "root": root}], after=[])
        """,
    "data.txt": "data\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", FILES)


def outcomes(root: Path, *args: str) -> dict[str, str]:
    session = Session(root, *args)
    assert session.outcomes, session.output
    return session.outcomes


@on_linux
@pytest.mark.parametrize("kernels", [[], ["--no-ductaflow-fork"]], ids=["forked", "ordinary"])
def test_what_a_program_reads_is_seen(project, kernels):
    assert outcomes(project, *kernels) == {"shell/i": "PASSED", "plain/i": "PASSED"}
    assert record(project, "shell", "i")["observed"] == "all"
    assert "data.txt" in record(project, "shell", "i")["inputs"]
    assert outcomes(project, *kernels) == {"shell/i": "UNCHANGED", "plain/i": "UNCHANGED"}
    edit(project, "data.txt", "data", "other")
    assert outcomes(project, *kernels) == {"shell/i": "PASSED", "plain/i": "PASSED"}


@pytest.mark.parametrize(
    ("observe", "seen", "again"),
    [
        ("python", "python only", {"shell/i": "PASSED", "plain/i": "UNCHANGED"}),
        ("off", "no", {"shell/i": "PASSED", "plain/i": "PASSED"}),
    ],
)
def test_what_could_not_be_seen_runs_again_unless_it_is_trusted(project, observe, seen, again):
    how = ["--ductaflow-observe", observe]
    assert outcomes(project, *how) == {"shell/i": "PASSED", "plain/i": "PASSED"}
    assert {record(project, step, "i")["observed"] for step in ("shell", "plain")} == {seen}
    explained = Session(project, *how, "--ductaflow-explain").output
    assert re.search(
        r"conductor.py::shell::i  what .* could not be seen \(ductaflow_unseen = trust", explained
    )
    assert outcomes(project, *how) == again
    trusted = outcomes(project, *how, "--ductaflow-unseen", "trust")
    assert trusted == {"shell/i": "UNCHANGED", "plain/i": "UNCHANGED"}


@on_linux
def test_a_session_that_sees_less_does_not_keep_what_it_could_not_see(project):
    outcomes(project, "--ductaflow-observe", "off")
    assert outcomes(project) == {"shell/i": "PASSED", "plain/i": "PASSED"}
    assert outcomes(project) == {"shell/i": "UNCHANGED", "plain/i": "UNCHANGED"}


HARM = """\
    import os, signal
    parent = os.getppid()
    while HELPER == "observer" and b"observer.process" not in open(f"/proc/{parent}/cmdline", "rb").read():
        parent = int(open(f"/proc/{parent}/stat").read().rpartition(")")[2].split()[1])
    if os.path.exists(first := config["_project_root"] + "/first"):
        os.remove(first)
        os.kill(parent, signal.HARM)
        os.path.exists(first)  # the observer does not answer any more
        if HELPER == "template":
            os.kill(os.getpid(), signal.SIGKILL)  # of which nobody tells
        signal.pause()
    print("done")
    """


@on_linux
@pytest.mark.parametrize("harm", ["SIGKILL", "SIGSTOP"])
@pytest.mark.parametrize(
    ("helper", "option", "does"),
    [
        ("observer", "--ductaflow-observe=all", {"SIGKILL": "forks and observes", "SIGSTOP": "observes"}),
        ("observer", "--no-ductaflow-fork", {"SIGKILL": "observes", "SIGSTOP": "observes"}),
        ("template", "--ductaflow-observe=all", {"SIGKILL": "forks and observes", "SIGSTOP": "forks"}),
    ],
)
def test_an_instance_whose_helper_dies_or_is_frozen_fails_and_the_next_one_runs(
    tmp_path, harm, helper, option, does
):
    files = {
        "flows/harm.py": HARM.replace("HELPER", repr(helper)).replace("HARM", harm),
        "conductor.py": """\
            from pytest_ductaflow import conduct
            conduct("flows/harm.py", [{"instance_name": name} for name in "ab"])
            """,
        "first": "",
    }
    root = write_project(tmp_path, files)
    session = Session(root, option)
    assert session.outcomes == {"harm/a": "FAILED", "harm/b": "PASSED"}, session.output
    error = record(root, "harm", "a")["error"]
    assert error["type"] == "KernelDied"
    assert error["message"].startswith(f"the helper process that {does[harm]} kernels"), error["message"]
    assert ("was stopped" if harm == "SIGSTOP" else "was killed") in error["message"]


GONE = """\
    import os, signal, subprocess, time
    template = observer = os.getppid()
    while b"observer.process" not in open(f"/proc/{observer}/cmdline", "rb").read():
        observer = int(open(f"/proc/{observer}/stat").read().rpartition(")")[2].split()[1])
    if os.path.exists(first := config["_project_root"] + "/first"):
        os.remove(first)
        with open(config["_project_root"] + "/template", "w") as file:
            file.write(str(template))
        subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {template}"], start_new_session=True)
        os.kill(template, signal.SIGSTOP)  # it would end this process
        os.kill(observer, signal.SIGKILL)
        while os.path.exists(config["_project_root"]):  # the observer may still be ending
            time.sleep(0.001)
    LAST
    """


@on_linux
@pytest.mark.parametrize("last", ["print('done')", "raise OSError('not there')"])
def test_a_flow_that_went_on_without_its_observer_has_no_result(tmp_path, last):
    """All files seem to be gone then; the end of the server of kernels may come too late to stop it."""
    files = {
        "flows/gone.py": GONE.replace("LAST", last),
        "conductor.py": """\
            from pytest_ductaflow import conduct
            conduct("flows/gone.py", [{"instance_name": "a"}])
            """,
        "first": "",
    }
    root = write_project(tmp_path, files)
    session = Session(root)
    with contextlib.suppress(ProcessLookupError):  # it may be stopped still
        os.kill(int((root / "template").read_text()), signal.SIGKILL)
    assert session.outcomes == {"gone/a": "FAILED"}, session.output
    error = record(root, "gone", "a")["error"]
    assert error["type"] == "KernelDied", error
    assert "observes kernels was killed" in error["message"]


@on_linux
@pytest.mark.parametrize(
    ("kernels", "seen"), [([], "all"), (["--no-ductaflow-fork"], "python only")], ids=["forked", "ordinary"]
)
def test_a_session_within_a_flow_sees_what_the_outer_observer_leaves_to_it(tmp_path, kernels, seen):
    """Its forked kernels come from the outer server, its ordinary ones are under the flow's own observer."""
    run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "conductor.py", *kernels]
    inner = {"flows/in.py": "print(open(root + '/data.txt').read())\n", "data.txt": "x"}
    inner["conductor.py"] = """\
        from pathlib import Path
        from pytest_ductaflow import conduct
        conduct("flows/in.py", [{"instance_name": "i", "root": str(Path(__file__).parent)}])
        """
    outer = {
        "flows/out.py": "import subprocess\nsubprocess.run(command, cwd=folder, check=True)\n",
        "conductor.py": f"""\
            from pytest_ductaflow import conduct
            row = {{"instance_name": "i", "command": {run!r}, "folder": {str(tmp_path / "inner")!r}}}
            conduct("flows/out.py", [row])
            """,
    }
    write_project(tmp_path / "inner", inner)
    root = write_project(tmp_path / "outer", outer)
    session = Session(root)
    assert session.outcomes == {"out/i": "PASSED"}, session.output
    assert record(root, "out", "i")["observed"] == "all"
    assert str(tmp_path / "inner" / "data.txt") in record(root, "out", "i")["inputs"]
    assert record(tmp_path / "inner", "in", "i")["observed"] == seen


@pytest.mark.parametrize(("privileged", "hint"), [((), False), (("/usr/bin/sudo",), True)])
def test_a_failure_that_may_come_from_missing_rights_says_so(privileged, hint):
    failure = _without_rights(Failure("CalledProcessError", "exit status 1"), Used(privileged=privileged))
    assert failure is not None
    assert failure.message.startswith("exit status 1")
    assert ("sudo cannot gain other rights" in failure.message) == hint
    assert _without_rights(None, Used(privileged=privileged)) is None


@on_linux
@pytest.mark.skipif(
    not (hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("setpriv")),
    reason="only root can make a program of another user, and give its own special rights up",
)
def test_an_ordinary_user_hears_why_a_program_gains_no_rights(tmp_path):
    program = tmp_path / "rooted"
    shutil.copy("/usr/bin/id", program)
    os.chown(program, 12345, -1)
    program.chmod(0o4755)
    code = f"import subprocess\nassert subprocess.check_output([{str(program)!r}, '-u']) == b'12345\\n'\n"
    conductor = 'from pytest_ductaflow import conduct\nconduct("flows/f.py", [{"instance_name": "i"}])\n'
    root = write_project(tmp_path / "project", {"flows/f.py": code, "conductor.py": conductor})
    command = [
        "setpriv",
        "--bounding-set",
        "-sys_admin",
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
    ]
    for mode, ends in (("all", 1), ("python", 0)):
        done = subprocess.run(
            [*command, "--ductaflow", "conductor.py", "--ductaflow-observe", mode],
            capture_output=True,
            text=True,
            cwd=root,
            check=False,
        )
        assert done.returncode == ends, done.stdout + done.stderr
        assert ("rooted cannot gain other rights" in done.stdout) == bool(ends), done.stdout


LISTS = {
    # Both folders are also searched for modules, and listed once by the flow itself.
    "flows/library.py": """\
        import os, sys
        sys.path.insert(0, root + "/lib")
        import helper
        print(os.listdir(root + "/lib"))
        """,
    "flows/root.py": """\
        from pathlib import Path
        Path(root, "log.txt").write_text("changes the folder that is listed then")
        print(sorted(Path(root).glob("*.csv")))
        """,
    "lib/helper.py": "",
    "setup.py": "",
    "conductor.py": """\
        from pathlib import Path
        from pytest_ductaflow import conduct
        root = str(Path(__file__).parent)
        for name in ("library", "root"):
            conduct(f"flows/{name}.py", [{"instance_name": "i", "root": root}], after=[])
        """,
}


@on_linux
@pytest.mark.parametrize("kernels", [[], ["--no-ductaflow-fork"]], ids=["forked", "ordinary"])
def test_a_folder_that_is_searched_for_modules_counts_where_the_flow_itself_lists_it(
    tmp_path, kernels, monkeypatch
):
    root = write_project(tmp_path / "project", LISTS)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)  # a cache of the module changes its folder
    long_ago = os.stat(root).st_mtime - 60
    for folder in (root, root / "flows", root / "lib"):
        os.utime(folder, (long_ago, long_ago))
    assert set(outcomes(root, *kernels).values()) == {"PASSED"}
    assert set(outcomes(root, *kernels).values()) == {"UNCHANGED"}
    assert "0 would run, 0 may run, 2 unchanged" in Session(root, *kernels, "--ductaflow-explain").output
    (root / "lib/more.txt").touch()
    (root / "more.csv").touch()
    assert outcomes(root, *kernels) == {"library/i": "PASSED", "root/i": "PASSED"}


@on_linux
@pytest.mark.parametrize("kernels", [[], ["--no-ductaflow-fork"]], ids=["forked", "ordinary"])
def test_a_run_whose_report_is_lost_runs_again(project, tmp_path, kernels):
    """For example where the disk is full, or no descriptor is left: the observer's part is unknown."""
    plugin = """
        from pytest_ductaflow.kernels import forked, ordinary
        forked.ask_for_report = ordinary.read_report = lambda *_: None
        """
    write_project(tmp_path, {"loses.py": plugin})
    loses = [*kernels, "-p", "loses", "-o", f"pythonpath={tmp_path}"]
    assert set(outcomes(project, *loses).values()) == {"PASSED"}
    assert {record(project, step, "i")["observed"] for step in ("shell", "plain")} == {"no"}
    assert set(outcomes(project, *kernels).values()) == {"PASSED"}
