"""What a kernel reports of the files that a flow uses; in a plain, separate Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest

from pytest_ductaflow.kernels.inside import trace
from pytest_ductaflow.kernels.inside.trace import ASKED, DATABASE, LISTED, MODULE, NAMED, OPENED, WRITTEN
from pytest_ductaflow.tracking.observed import Used

posix = pytest.mark.skipif(os.name == "nt", reason="a system with forks")
BEGIN = """\
import sys, types
trace = types.ModuleType("_ductaflow_trace")
exec(compile({source!r}, "ductaflow", "exec"), vars(trace))
trace.begin({file!r})
"""
FILES = {
    "data/a.csv": "a",
    "data/b.csv": "b",
    "helper.py": "import inner.deep\n",
    "inner/__init__.py": "",
    "inner/deep.py": "X = 1\n",
    "inner/table.csv": "x",
    "tool.sh": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "trace").mkdir()
    return tmp_path / "project"


def run(folder: Path, code: str, *options: str) -> str:
    """Run code in a traced Python, and return what it printed."""
    source = Path(trace.__file__).read_text(encoding="utf-8")
    begin = BEGIN.format(source=source, file=str(folder.parent / "trace" / "trace"))
    command = [sys.executable, *options, "-c", begin + dedent(code)]
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("COV_", "PYTHON"))}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def told(folder: Path, code: str, *options: str) -> set[tuple[str, str]]:
    """Return the reported uses, with paths relative to the project."""
    run(folder, code, *options)
    uses = Used.from_reports(folder.parent / "trace" / "trace", {}).uses
    return {(use, os.path.relpath(path, folder)) for use, path in uses}


READ = (OPENED, "data/a.csv")
# What a piece of code does to OLD, which exists, and to NEW, which does not.
USES = {
    "open('OLD')": {OPENED},
    "open('OLD', 'rb').read()": {OPENED},
    "open(b'OLD')": {OPENED},
    "pathlib.Path('OLD').read_text()": {OPENED},
    "open(pathlib.Path('data') / '..' / 'OLD')": {OPENED},
    "os.open('OLD', os.O_RDONLY)": {OPENED},
    "os.open(b'OLD', os.O_RDONLY | os.O_CLOEXEC)": {OPENED},
    "io.FileIO('OLD')": {OPENED},
    "list(csv.reader(open('OLD', newline='')))": {OPENED},
    "open(os.open('OLD', 0)).close()": {OPENED},
    "t = threading.Thread(target=open, args=('OLD',)); t.start(); t.join()": {OPENED},
    "os.chdir('data'); open('../OLD'); os.chdir('..')": {OPENED},
    "shutil.copyfile('OLD', 'elsewhere')": {OPENED, ASKED},
    "open('NEW', 'w')": {WRITTEN},
    "open('NEW', 'xb')": {WRITTEN},
    "open('NEW', 'a')": {WRITTEN},
    "open('NEW', 'w+')": {WRITTEN},
    "open('NEW', 'a+b')": {WRITTEN},
    "pathlib.Path('NEW').write_bytes(b'')": {WRITTEN},
    "os.open('NEW', os.O_WRONLY | os.O_CREAT)": {WRITTEN},
    "os.open('NEW', os.O_RDWR | os.O_CREAT | os.O_TRUNC)": {WRITTEN},
    "shutil.copyfile('conductor.py', 'NEW')": {ASKED, WRITTEN},
    "open('OLD', 'r+')": {DATABASE},
    "open('OLD', 'rb+')": {DATABASE},
    "os.open('OLD', os.O_RDWR)": {DATABASE},
    "open('OLD'); open('OLD', 'a')": {OPENED, WRITTEN},
    "tolerant('NEW')": {OPENED},
    "os.stat('OLD'); os.path.exists('OLD'); os.access('OLD', os.R_OK)": {ASKED},
    "os.mkdir('NEW'); os.rmdir('NEW')": {ASKED},
}
IMPORTS = """\
import contextlib, csv, io, os, pathlib, shutil, threading
def tolerant(path):
    with contextlib.suppress(OSError):
        open(path)
"""


@pytest.fixture(scope="module")
def uses_by_code(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return the reported uses of OLD or NEW by each piece of code, all run in one process."""
    folder = tmp_path_factory.mktemp("uses") / "project"
    for name in ("data", "../trace"):
        (folder / name).mkdir(parents=True)
    (folder / "conductor.py").touch()
    code = [IMPORTS]
    for number, piece in enumerate(USES):
        (folder / "data" / f"{number}.old").touch()
        code.append(piece.replace("OLD", f"data/{number}.old").replace("NEW", f"data/{number}.new"))
    uses = told(folder, "\n".join(code))
    return {
        piece: {use for use, path in uses if Path(path).stem == str(number)}
        for number, piece in enumerate(USES)
    }


@pytest.mark.parametrize("code", USES)
def test_a_file_that_python_opens_is_told_with_what_is_done_to_it(uses_by_code, code):
    assert uses_by_code[code] == USES[code]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.listdir('data')", {"data"}),
        ("os.listdir()", {"."}),
        ("os.listdir(b'data')", {"data"}),
        ("list(os.scandir('data'))", {"data"}),
        ("glob.glob('data/*.csv')", {"data"}),
        ("list(pathlib.Path('data').iterdir())", {"data"}),
        ("list(pathlib.Path('inner').rglob('*.csv'))", {"inner"}),
        ("list(os.walk('.'))", {".", "data", "inner"}),
        ("os.chdir('data'); os.listdir('../inner')", {"inner"}),
        ("os.listdir(os.open('data', os.O_RDONLY))", {"data"}),
        ("list(os.fwalk('inner'))", {"inner"}),
        ("import zipfile; zipfile.is_zipfile('data')", set()),
        ("importlib.metadata.version('pytest')", set()),
        ("list(importlib.metadata.distributions())", set()),
        ("list(pkgutil.iter_modules(['.', 'inner']))", {"inner"}),
        ("list(importlib.resources.files('inner').iterdir())", {"inner"}),
    ],
)
def test_a_folder_whose_names_the_flow_asks_for_is_told(folder, code, expected):
    imports = "import os, glob, pathlib, pkgutil, importlib.metadata, importlib.resources\n"
    assert {path for use, path in told(folder, imports + code) if use == LISTED} == expected


LIBRARY = """\
import glob, os, sys, sysconfig
path = os.path.join(sysconfig.get_path("purelib"), "library.py")
library = {}
exec(compile("def search(folder):\\n    glob.glob(f'{folder}/*.info')", path, "exec"), globals(), library)
sys.path += [os.path.abspath("inner")]
"""


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("library['search'](os.path.abspath('inner'))", set()),
        ("library['search'](os.path.abspath('data'))", {"data"}),
        ("glob.glob('inner/*')", {"inner"}),
    ],
)
def test_a_library_that_searches_the_path_for_what_is_installed_lists_no_data(folder, code, expected):
    assert {path for use, path in told(folder, LIBRARY + code) if use == LISTED} == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("'x.db'", {"x.db"}),
        ("b'x.db'", {"x.db"}),
        ("os.path.abspath('x.db')", {"x.db"}),
        ("pathlib.Path('x.db')", {"x.db"}),
        ("'file:x.db?mode=rwc', uri=True", {"x.db"}),
        ("f'file:{os.getcwd()}/x%20y.db?mode=rwc', uri=True", {"x y.db"}),
        ("'file://' + os.getcwd() + '/x.db', uri=True", {"x.db"}),
        ("':memory:'", set()),
        ("''", set()),
        ("'file::memory:?cache=shared', uri=True", set()),
    ],
)
def test_a_database_is_told_by_its_file(folder, name, expected):
    uses = told(folder, f"import os, pathlib, sqlite3\nsqlite3.connect({name})")
    assert uses == {(DATABASE, path) for path in expected}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("subprocess.run([sys.executable, '-c', '', 'data/a.csv'])", {"data/a.csv"}),
        ("subprocess.run([sys.executable, '-c', '', '--zones=data/a.csv', pathlib.Path('tool.sh')])", None),
        ("subprocess.run([sys.executable, '-c', '', 'a.csv'], cwd='data')", {"data/a.csv"}),
        ("subprocess.run('cat < data/a.csv | cat', shell=True)", {"data/a.csv"}),
        ("subprocess.run(['sh', 'tool.sh'])", {"tool.sh"}),
        ("os.system(\"sh tool.sh 'data/a.csv'\")", {"tool.sh", "data/a.csv"}),
        ("os.system(b'sh tool.sh')", {"tool.sh"}),
        ("os.posix_spawn('/bin/sh', ['sh', 'tool.sh'], {})", {"tool.sh"}),
        ("os.fork() or os.execvp('sh', ['sh', 'tool.sh'])\nos.wait()", {"tool.sh"}),
        ("subprocess.run([sys.executable, '-c', 'open(1.5)'], stderr=subprocess.DEVNULL)", set()),
    ],
)
@posix
def test_files_in_the_command_of_another_program_are_told(folder, code, expected):
    expected = {"data/a.csv", "tool.sh"} if expected is None else expected
    uses = told(folder, f"import os, pathlib, subprocess, sys\n{code}")
    assert {path for use, path in uses if use == NAMED and not path.startswith("..")} == expected


@posix
@pytest.mark.parametrize(
    "code",
    [
        "import os\nif os.fork() == 0:\n    open('data/a.csv'); os._exit(0)\nos.wait()",
        """\
        import multiprocessing
        process = multiprocessing.get_context("fork").Process(target=open, args=("data/a.csv",))
        process.start(); process.join()
        """,
        """\
        import concurrent.futures, multiprocessing, pathlib
        with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
            assert list(pool.map(pathlib.Path.read_text, [pathlib.Path("data/a.csv")] * 8)) == ["a"] * 8
        """,
    ],
    ids=["fork", "process", "pool"],
)
def test_processes_that_the_flow_forks_tell_of_their_files(folder, code):
    assert READ in told(folder, code)


@posix
def test_many_processes_tell_at_the_same_time_without_losing_a_line(folder):
    for number in range(400):
        (folder / "data" / f"{number}.txt").touch()
    code = """\
        import os
        for child in range(4):
            if os.fork() == 0:
                for number in range(child, 400, 4):
                    open(f"data/{number}.txt").close()
                os._exit(0)
        for child in range(4):
            os.wait()
        """
    assert told(folder, code) == {(OPENED, f"data/{number}.txt") for number in range(400)}


MODULES = {(MODULE, "helper.py"), (MODULE, "inner/__init__.py"), (MODULE, "inner/deep.py")}


def test_modules_of_the_project_are_told_read_from_source_or_from_cache(folder):
    assert told(folder, "import helper", "-B") == MODULES
    assert not list(folder.rglob("*.pyc"))
    assert told(folder, "import helper") == MODULES
    assert list(folder.rglob("*.pyc"))
    (folder.parent / "trace" / "trace").unlink()
    assert told(folder, "import helper") == MODULES


def test_modules_that_are_loaded_by_their_path_or_forgotten_are_told(folder):
    code = """\
        import importlib.util
        spec = importlib.util.spec_from_file_location("any", "inner/deep.py")
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        """
    assert (MODULE, "inner/deep.py") in told(folder, code)


def test_data_of_a_package_are_told(folder):
    code = "import pkgutil, importlib.resources\npkgutil.get_data('inner', 'table.csv')\n"
    assert (MODULE, "inner/table.csv") in told(folder, code)
    code = (
        "import importlib.resources\nimportlib.resources.files('inner').joinpath('table.csv').read_text()\n"
    )
    assert (OPENED, "inner/table.csv") in told(folder, code)


@pytest.mark.parametrize(
    "code",
    [
        "import json.tool, email.message, sqlite3, numpy",
        "import json; open(json.__file__)",
        "import numpy; open(numpy.__file__); import os; os.listdir(os.path.dirname(numpy.__file__))",
        "open('/proc/self/status'); open('/dev/null', 'w')",
    ],
)
@posix
def test_the_standard_library_installed_packages_and_the_system_are_not_told(folder, code):
    assert told(folder, code) == set()


def test_each_use_is_told_once_and_since_when(folder):
    began = time.time_ns()
    run(folder, "[open('data/a.csv') for _ in range(100)]; open('data/b.csv')")
    lines = (folder.parent / "trace" / "trace").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)[:2] for line in lines] == [
        [OPENED, str(folder / "data" / "a.csv")],
        [OPENED, str(folder / "data" / "b.csv")],
    ]
    moments = [json.loads(line)[2] for line in lines]
    assert began < moments[0] <= moments[1] < time.time_ns()


@posix
def test_a_name_that_is_no_utf_8_is_told(folder):
    path = os.path.join(os.fsencode(folder), b"\xff.csv")
    with open(path, "wb"):
        pass
    run(folder, "open(b'\\xff.csv')")
    uses = Used.from_reports(folder.parent / "trace" / "trace", {}).uses
    assert uses == ((OPENED, os.fsdecode(path)),)


@pytest.mark.parametrize(
    "code",
    [
        "sys.audit('open'); sys.audit('os.listdir'); sys.audit('sqlite3.connect'); sys.audit('os.system')",
        "sys.audit('open', object(), None, None); sys.audit('open', 'x', 1.5, 'y')",
        "sys.audit('open', [], 'r', 0); sys.audit('open', 'a\\0b', 'r', 0); sys.audit('sqlite3.connect', 7)",
        "sys.audit('subprocess.Popen', None, 5, None, None); sys.audit('os.exec', 1, [object()], None)",
        "sys.audit('os.system', b'\\xff\\0')",
        "import shutil; shutil.rmtree(os.path.dirname(TRACE)); open('data/a.csv')",
        "os.remove(TRACE) if os.path.exists(TRACE) else None; os.mkdir(TRACE); open('data/a.csv')",
        "import threading; [threading.Thread(target=open, args=(f,)).start() for f in ['data/a.csv'] * 20]",
        "os.closerange(3, 100); open('data/a.csv')",
        "import builtins; builtins.open = None; os.open('data/a.csv', os.O_RDONLY)",
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); os.path.exists('x') or os.listdir('..')",
    ],
)
@posix
def test_the_flow_never_hears_of_it(folder, code):
    begin = f"import os, sys\nTRACE = {str(folder.parent / 'trace' / 'trace')!r}\n"
    assert run(folder, f"{begin}{code}\nprint('end')") == "end\n"


def test_a_trace_that_was_removed_is_begun_anew(folder):
    code = "import os; open('data/a.csv'); os.remove({!r}); open('data/b.csv')"
    assert told(folder, code.format(str(folder.parent / "trace" / "trace"))) == {(OPENED, "data/b.csv")}


RUNNER = """\
import types
runner = types.ModuleType("pytest_ductaflow.running.run_instance")
sys.modules["pytest_ductaflow.running.run_instance"] = runner
exec("def run(): open('data/a.csv')\\ndef call(f): f()", vars(runner))
"""


def test_what_the_runner_of_a_builds_flows_opens_is_not_the_builds_doing(folder):
    code = "runner.run(); runner.call(lambda: open('data/a.csv')); open('data/b.csv')"
    assert told(folder, RUNNER + code) == {(OPENED, "data/b.csv")}


def test_what_the_build_opens_itself_is_told_also_when_the_runner_has_opened_it_before(folder):
    assert told(folder, RUNNER + "runner.run(); open('data/a.csv')") == {READ}


def test_modules_packages_and_the_interpreter_are_told_in_the_end(folder):
    code = "import json, helper, numpy.linalg\nprint(json.dumps(trace.used()))"
    words = json.loads(run(folder, code))
    assert words["modules"] == sorted(str(folder / path) for _, path in MODULES)
    assert {"helper", "inner", "numpy"} <= set(words["packages"])
    assert not {"__main__", "os", "deep"} & set(words["packages"])
    assert words["python"] == sys.version.split()[0]
    assert words["executable"] == sys.executable
    assert sys.prefix in words["prefixes"]
    assert "" not in words["path"]
    assert any(path.endswith("site-packages") for path in words["path"])


def test_nothing_is_left_in_the_namespace_of_the_flow_but_what_it_puts_there(folder):
    names = run(folder, "del sys, types, trace\nprint(sorted(n for n in dir() if not n.startswith('__')))")
    assert names.strip() == "[]"


@pytest.mark.parametrize(
    "then",
    [
        "import later",
        "del sys.modules['inner.deep']; import later, inner.deep",  # the last entry is the same again
        "import later; del sys.modules['colorsys']",
        "del sys.modules['colorsys']; import later, colorsys",
        "del sys.modules['colorsys'], sys.modules['inner.deep']; import later, inner.deep",
    ],
)
def test_modules_since_the_preload_are_told_whatever_the_flow_does_with_those_before(
    folder: Path, then: str
) -> None:
    (folder / "later.py").touch()
    code = f"""
        sys.path.append(".")
        import colorsys, helper
        trace.after_preload()
        {then}
        print(*trace.used()["modules"])
        """
    told = {Path(name).relative_to(folder).as_posix() for name in run(folder, code).split()}
    assert told == {"helper.py", "inner/__init__.py", "inner/deep.py", "later.py"}
