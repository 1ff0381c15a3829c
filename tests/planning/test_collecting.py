"""What a conductor may do while pytest only collects it, and what must wait until later.

The process that executes the conductor is started as a session starts it, without the session around it; for
most of the many ways it is forked from one that is kept warm, as in a session that finds such a process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent, indent

import pytest
from helpers.projects import write_project
from helpers.sessions import warm_for_conductors
from helpers.thorough import one_in

from pytest_ductaflow.core.errors import PlanError
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.planning.discovery import Source
from pytest_ductaflow.planning.make_plan import make_plan
from pytest_ductaflow.planning.plan import Plan
from pytest_ductaflow.planning.processes.declare_process import of_stored

HEAD = """\
import glob, json, os, shutil, sqlite3, subprocess, sys, tempfile
from pathlib import Path
from ductaflow import conduct, is_collecting, results, run_notebook, run_step_flow
import pandas as pd
"""
CALL = 'run_step_flow("flows/grow.py", "grow", "r1", {"rate": 1})\n'
LINE = HEAD.count("\n") + 2  # the line after the call
FILES = {
    "flows/grow.py": "print(1)",
    "runs/grow/r1/result.json": {"value": 10},
    "runs/grow/r1/table.csv": "a,b\n1,2\n",
    "runs/grow/r1/sub/deep.txt": "deep",
    "runs/grow/old/result.json": {"value": 5},
    "runs/etl/A/zones.csv": "zone\n1\n",
    "delivery/r1/result.json": {"value": 10},
    "delivery/empty.txt": "",
    "summary.json": {"total": 30},
    "data/zones.csv": "zone\n1\n",
    "helper.py": """\
        import json
        from pathlib import Path

        def value(path):
            return json.loads(Path(path).read_text())["value"]
        """,
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path, FILES)


@pytest.fixture(scope="module")
def kept() -> Iterator[dict[str, str]]:
    if sys.platform != "linux":
        yield {}
        return
    with warm_for_conductors("collecting") as variables:
        yield variables


@pytest.fixture
def warm(kept: dict[str, str], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.callspec.id not in COLD:
        for name, value in kept.items():
            monkeypatch.setenv(name, value)


# Ways for which the process starts from nothing.
COLD = {
    *("open", "pandas", "sqlite", "after chdir", "cat"),  # of READS
    *("rmtree", "to_csv", "old results", "rm", "in a thread", "as the process ends"),  # of LOSSES
    *("another run's files", "a new file", "what a child process made", "the same again"),  # of ALLOWED
}


def plan_of(root: Path, code: str) -> Plan:
    conductor = root / "conductor.py"
    conductor.write_text(code, encoding="utf-8")
    time.sleep(0.03)  # the clocks of file systems are coarse: what has just been made may be the conductor's
    return make_plan([Source(conductor, "conductor", root)], Settings())


def refused(root: Path, code: str) -> list[str]:
    """Return the lines of the message that refuses to collect a conductor."""
    with pytest.raises(PlanError) as caught:
        plan_of(root, code)
    return str(caught.value).splitlines()


def state_of(root: Path) -> dict[str, bytes]:
    """Return all files of a project except the conductor."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "conductor.py" and "__pycache__" not in path.parts
    }


READS = {
    "open": ('open("runs/grow/r1/result.json").read()', "reads runs/grow/r1/result.json"),
    "Path.read_text": ('Path("runs/grow/r1/result.json").read_text()', "reads runs/grow/r1/result.json"),
    "absolute": ('Path("runs/grow/r1/result.json").resolve().read_bytes()', "reads runs/grow/r1/result.json"),
    "deep": ('open("runs/grow/r1/sub/deep.txt")', "reads runs/grow/r1/sub/deep.txt"),
    "os.open": ('os.open("runs/grow/r1/result.json", os.O_RDONLY)', "reads runs/grow/r1/result.json"),
    "pandas": ('pd.read_csv("runs/grow/r1/table.csv")', "looks for runs/grow/r1/table.csv"),
    "listdir": ('os.listdir("runs/grow/r1")', "lists runs/grow/r1"),
    "scandir": ('list(os.scandir("runs/grow/r1"))', "lists runs/grow/r1"),
    "iterdir": ('list(Path("runs/grow/r1").iterdir())', "lists runs/grow/r1"),
    "walk": ('list(os.walk("runs"))', "lists runs/grow"),
    "the step's folder": ('os.listdir("runs/grow")', "lists runs/grow"),
    "glob": ('glob.glob("runs/grow/*/result.json")', "looks for runs/grow/*/result.json"),
    "glob, two": ('list(glob.iglob("runs/*/*/result.json"))', "looks for runs/*/*/result.json"),
    "Path.glob": ('list(Path("runs/grow").glob("*/result.json"))', "looks for runs/grow/*/result.json"),
    "rglob": ('list(Path("runs").rglob("*.json"))', "lists runs/grow"),
    "exists": ('os.path.exists("runs/grow/r1/result.json")', "looks for runs/grow/r1/result.json"),
    "Path.exists": ('Path("runs/grow/r1/result.json").exists()', "looks for runs/grow/r1/result.json"),
    "is_file": ('Path("runs/grow/r1/result.json").is_file()', "looks for runs/grow/r1/result.json"),
    "of the folder": ('Path("runs/grow/r1").exists()', "looks for runs/grow/r1"),
    "nothing there": ('Path("runs/grow/r1/more.json").exists()', "looks for runs/grow/r1/more.json"),
    "getsize": ('os.path.getsize("runs/grow/r1/result.json")', "looks for runs/grow/r1/result.json"),
    "access": ('os.access("runs/grow/r1/result.json", os.R_OK)', "looks for runs/grow/r1/result.json"),
    "what the call returns": (
        'run_step_flow("flows/grow.py", "grow", "r2", {}).exists()',
        "looks for runs/grow/r2/grow_executed.ipynb",
    ),
    "copy": ('shutil.copy("runs/grow/r1/result.json", "new.json")', "looks for runs/grow/r1/result.json"),
    "copytree": ('shutil.copytree("runs/grow/r1", "delivery/new")', "lists runs/grow/r1"),
    "sqlite": ('sqlite3.connect("runs/grow/r1/x.db")', "reads runs/grow/r1/x.db"),
    "results": ("results()", "looks for runs/grow/r1/grow_record.json"),
    "a table": ('conduct("flows/grow.py", "runs/grow/r1/table.csv")', "reads runs/grow/r1/table.csv"),
    "by a link": (
        'os.symlink("runs/grow/r1", "latest"); open("latest/result.json")',
        "reads runs/grow/r1/result.json",
    ),
    "after chdir": ('os.chdir("runs/grow/r1"); open("result.json")', "reads runs/grow/r1/result.json"),
    "cp": (
        'subprocess.run(["cp", "runs/grow/r1/result.json", "new.json"])',
        "has cp read runs/grow/r1/result.json",
    ),
    "cat": ('os.system("cat runs/grow/r1/result.json")', "has cat read runs/grow/r1/result.json"),
}


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("way", one_in(4, READS))
def test_a_read_of_what_an_instance_is_going_to_write_is_refused(project, way):
    """However it is read or looked up, the message names the line, the instance and the remedy."""
    if way == "by a link" and os.name == "nt":
        pytest.skip("links need a privilege")
    code, says = READS[way]
    first = refused(project, f"{HEAD}{CALL}{code}\n")[0]
    owner = "grow/r2" if "r2" in says else "grow/r1"
    assert first.startswith(f"conductor.py:{LINE} {says}, which {owner} is going to write")
    assert first.endswith(": put it under `if not is_collecting():`")


@pytest.mark.parametrize(
    "way", one_in(3, ["glob", "Path.glob", "exists", "what the call returns", "the step's folder"])
)
def test_in_a_fresh_clone_as_well(project, way):
    """Where nothing has run yet, code that looks for results does not silently take the wrong branch."""
    code, says = READS[way]
    run_dir = project / "runs"
    if way != "the step's folder":
        for path in sorted(run_dir.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        run_dir.rmdir()
    assert f"conductor.py:{LINE} {says}" in refused(project, f"{HEAD}{CALL}{code}\n")[0]


LOSSES = {
    "os.remove": ('os.remove("summary.json")', "would delete summary.json"),
    "unlink": ('Path("summary.json").unlink()', "would delete summary.json"),
    "rmtree": ('shutil.rmtree("delivery/r1")', "would delete delivery/r1"),
    "rmtree, errors ignored": ('shutil.rmtree("delivery", ignore_errors=True)', "would delete delivery"),
    "rmdir": ('os.rmdir("vacant")', "would delete vacant"),
    "w": ('open("summary.json", "w")', "would overwrite summary.json"),
    "write_text": ('Path("summary.json").write_text("{}")', "would overwrite summary.json"),
    "to_csv": ('pd.DataFrame({"a": [1]}).to_csv("data/zones.csv")', "would overwrite data/zones.csv"),
    "r+": ('open("summary.json", "r+")', "would overwrite summary.json"),
    "w+": ('open("summary.json", "w+b")', "would overwrite summary.json"),
    "copy": ('shutil.copy("data/zones.csv", "summary.json")', "would overwrite summary.json"),
    "replace": (
        'Path("new").write_text("x"); os.replace("new", "summary.json")',
        "would overwrite summary.json",
    ),
    "rename": ('os.rename("delivery", "delivery_old")', "would move delivery"),
    "move": ('shutil.move("delivery/r1", "elsewhere")', "would move delivery/r1"),
    "truncate": ('os.truncate("summary.json", 1)', "would overwrite summary.json"),
    "old results": ('shutil.rmtree("runs")', "would delete runs"),
    "appended to before": (
        'open("summary.json", "a").write("x"); os.remove("summary.json")',
        "would delete summary.json",
    ),
    "touched before": ('os.utime("summary.json"); os.remove("summary.json")', "would delete summary.json"),
    "rm": ('subprocess.run(["rm", "-r", "delivery"])', "would delete delivery"),
    "rm in a shell": ('os.system("rm -rf delivery/r1")', "would delete delivery/r1"),
    "rm in a shell of subprocess": (
        'subprocess.run("true; rm -rf delivery/r1 2>/dev/null", shell=True)',
        "would delete delivery/r1",
    ),
    "bash -c": ('subprocess.run(["bash", "-c", "rm -r delivery"])', "would delete delivery"),
    "cp over it": ('subprocess.run(["cp", "conductor.py", "summary.json"])', "would overwrite summary.json"),
    "redirected into it": ('os.system("echo new>summary.json")', "would overwrite summary.json"),
    "in a thread": (
        'import threading; threading.Thread(target=os.remove, args=["summary.json"]).start()',
        "would delete summary.json",
    ),
    "as the process ends": (
        'import atexit; atexit.register(os.remove, "summary.json")',
        "would delete summary.json",
    ),
}


@pytest.mark.usefixtures("warm")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("way", one_in(4, LOSSES))
def test_nothing_that_was_there_is_lost(project, way):
    """Also before the first call: the message names the line and the remedy, and all files are unchanged."""
    (project / "vacant").mkdir()
    code, says = LOSSES[way]
    before = state_of(project)
    first = refused(project, f"{HEAD}{code}\n{CALL}")[0]
    where = "conductor.py" if way in ("in a thread", "as the process ends") else f"conductor.py:{LINE - 1}"
    assert first.startswith(
        f"{where} {says} while pytest only collects: put it under `if not is_collecting():`"
    )
    changed = {"new", "summary.json"} if "before" in way or way == "replace" else set()
    after = state_of(project)
    assert {name for name in before | after if before.get(name) != after.get(name)} <= changed
    assert after["summary.json"].startswith(before["summary.json"])


ALLOWED = {
    "a read before the call": f'before = Path("runs/grow/r1/result.json").exists()\n{CALL}',
    "another run's files": f'{CALL}open("runs/etl/A/zones.csv").read(); os.listdir("runs/etl")',
    "an older instance of the step": f'{CALL}json.loads(Path("runs/grow/old/result.json").read_text())',
    "a new file": f'{CALL}Path("new.json").write_text("1"); Path("new.json").write_text("2")\n'
    'Path("new.json").read_text(); os.remove("new.json")',
    "a new file beside the results": f'{CALL}Path("runs/grow/r1/given.csv").write_text("a")\n'
    'assert Path("runs/grow/r1/given.csv").read_text() == "a"',
    "a table beside the results": f'{CALL}pd.DataFrame({{"a": [1]}}).to_csv("runs/grow/r1/given.csv")',
    "programs that lose nothing": f'{CALL}os.system("echo 1 > new && echo 2 >> summary.json; rm -f new")\n'
    'subprocess.run("cp data/zones.csv data/copy.csv; cp data/copy.csv data/zones.csv", shell=True)',
    "a folder": f'{CALL}os.makedirs("new/deep"); Path("new/deep/file").touch(); shutil.rmtree("new")',
    "the run directory itself": f'{CALL}Path("runs/grow/r1").mkdir(parents=True, exist_ok=True)\n'
    'os.makedirs("runs/grow/r1", exist_ok=True)',
    "its name": f'{CALL}Path("runs/grow/r1/result.json").resolve(); os.path.realpath("runs/grow/r1/x/..")',
    "a temporary folder": f'{CALL}\nwith tempfile.TemporaryDirectory(dir=".") as name:\n'
    '    Path(name, "x").write_text("1")',
    "a log": f'{CALL}open("log.txt", "a").write("1"); open("summary.json", "a").close()',
    "an empty file": f'{CALL}open("delivery/empty.txt", "w").write("1")',
    "a database in memory": f'{CALL}os.chdir("runs/grow/r1"); sqlite3.connect(":memory:")',
    "a cache": f'{CALL}os.makedirs(".x_cache", exist_ok=True); Path(".x_cache/a").write_text("1")',
    "outside of the project": f"{CALL}\nfd, name = tempfile.mkstemp(); os.close(fd); os.remove(name)",
    "an exchange of new files": f"{CALL}for name in 'ab': Path(name).write_text(name)\nos.replace('a', 'b')",
    "what a child process made": f'{CALL}subprocess.run([sys.executable, "-c", "open(chr(97), chr(119))"])\n'
    'os.remove("a")',
    "what waits": f'{CALL}\nif not is_collecting():\n    shutil.rmtree("delivery"); results()',
    "the same again": 'Path("summary.json").write_text(json.dumps({"total": 30}))\n'
    f'shutil.copyfile("data/zones.csv", "new"); os.replace("new", "data/zones.csv")\n{CALL}',
    "calls in one folder": 'run_notebook("flows/grow.py", execution_dir="runs/s")\n'
    'run_notebook("flows/grow.py", execution_dir="runs/s/deep")',
}


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("what", one_in(2, ALLOWED))
def test_what_a_conductor_may_do_while_it_is_collected(project, what):
    (project / ".x_cache").mkdir()
    (project / ".x_cache/a").write_text("old")
    plan = plan_of(project, f"{HEAD}{ALLOWED[what]}\n")
    assert plan.all


def test_a_file_that_is_written_anew_keeps_its_time_if_it_is_the_same(project):
    """A conductor may write its table each time, and if it writes another one, the old one is restored."""
    table = project / "table.csv"
    code = f"{HEAD}pd.DataFrame({{'a': [1]}}).to_csv('table.csv', index=False)\n{CALL}"
    plan_of(project, code)
    os.utime(table, (1_000_000_000, 1_000_000_000))
    assert plan_of(project, code).all
    assert table.stat().st_mtime == 1_000_000_000
    first = refused(project, code.replace("[1]", "[2]"))[0]
    says = f"conductor.py:{LINE - 1} would overwrite table.csv while pytest only collects: put it under"
    assert first.startswith(says)
    assert first.endswith("(if instances read it, delete it first: new files may be written)")
    assert table.read_text().split() == ["a", "1"]
    dies = f"{code.replace('[1]', '[2]')}os._exit(3)\n"
    assert refused(project, dies)[0].startswith(says)
    assert table.read_text().split() == ["a", "1"]


def test_a_log_that_begins_anew_stays_that_of_the_last_run(project):
    (project / "conductor.log").write_text("of the last run\n")
    start = "import logging\nlogging.basicConfig(filename='conductor.log', filemode='w', level=10)\n"
    assert plan_of(project, f"{HEAD}{start}logging.info('collecting')\n{CALL}").all
    assert (project / "conductor.log").read_text() == "of the last run\n"


@pytest.mark.parametrize("caught", ["Exception", "BaseException"])
def test_a_conductor_that_catches_it_is_told_all_the_same(project, caught):
    code = f"{HEAD}{CALL}try:\n    shutil.rmtree('delivery')\nexcept {caught}:\n    pass\n"
    first = refused(project, code)[0]
    assert first.startswith(f"conductor.py:{LINE + 1} would delete delivery")
    assert (project / "delivery/r1/result.json").exists()


def test_what_a_helper_does_is_told_with_both_lines(project):
    code = f"{HEAD}from helper import value\n{CALL}print(value('runs/grow/r1/result.json'))\n"
    first = refused(project, code)[0]
    says = f"conductor.py:{LINE + 1} (in helper.py:5) reads runs/grow/r1/result.json, which grow/r1"
    assert first.startswith(says)


def test_ways_that_start_from_nothing_are_ways():
    assert {*READS, *LOSSES, *ALLOWED} >= COLD


def test_calls_in_a_loop_and_in_processes(project):
    """Calls recorded by other processes of the conductor are known as well."""
    code = f"""{HEAD}
import multiprocessing

def call(name):
    run_step_flow("flows/grow.py", "grow", name, {{}})

for process in [multiprocessing.get_context("fork").Process(target=call, args=[name]) for name in ("x", "y")]:
    process.start()
    process.join()
Path("runs/grow/y/result.json").read_text()
"""
    if sys.platform == "win32":
        pytest.skip("no fork")
    assert "reads runs/grow/y/result.json, which grow/y is going to write" in refused(project, code)[0]


def test_whether_something_is_left_for_after_the_runs(project):
    """Code is left if the conductor, or a module of its project, checks whether it is being collected."""
    assert plan_of(project, f"{HEAD}{CALL}").afters == ()
    asks = f"{HEAD}{CALL}if not is_collecting():\n    print(1)\n"
    assert plan_of(project, asks).afters == (project / "conductor.py",)
    (project / "helper.py").write_text(
        dedent("""\
        from pytest_ductaflow import is_collecting

        def deliver():
            if not is_collecting():
                print(1)
        """)
    )
    assert plan_of(project, f"{HEAD}{CALL}import helper\nhelper.deliver()\n").afters
    aliased = "from pytest_ductaflow import is_collecting as waits\n"
    in_a_function = f"def end():\n{indent('waits()', '    ')}\n"
    assert plan_of(project, f"{HEAD}{aliased}{CALL}{in_a_function}").afters


@pytest.mark.parametrize("name", one_in(2, ["calendar", "statistics", "types", "queue"]))
def test_modules_of_a_project_that_are_called_as_those_of_python(project, name):
    """They do not interfere with the libraries that read tables."""
    (project / f"{name}.py").write_text("raise RuntimeError('not mine')\n")
    table = project / "table.csv"
    table.write_text("instance_name,flow,day\none,grow,2040-01-31\n")
    plan = make_plan([Source(table, "table", project)], Settings(where="day < '2041-01-01'"))
    assert [instance.config["day"] for instance in plan.all] == ["2040-01-31"]


def test_a_stored_instance_has_its_limit_of_memory(tmp_path: Path) -> None:
    stored = {
        "schema": 1,
        "flow": "flows/x.py",
        "step": "s",
        "instance": "A",
        "config": {"rate": 1, "_memory": "4 GB"},
        "outputs": ["*"],
        "expected": ["a.txt"],
    }
    files = {"flows/x.py": "1\n", "instances/A/instance.json": stored, "instances/A/expected/a.txt": "1"}
    write_project(tmp_path, files)
    outcome = of_stored(tmp_path / "instances/A/instance.json", tmp_path)
    assert (outcome.problems, outcome.error) == ([], None)
    assert [(each.config, each.memory) for each in outcome.instances] == [({"rate": 1}, 4_000_000_000)]
