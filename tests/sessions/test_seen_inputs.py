"""What is observed of a run beside its result: files it publishes, packages, and edits while it runs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import PATIENCE, own_environment, run_python, running

import pytest_ductaflow

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

SESSION = ("-m", "pytest", "-v", "-p", "no:cacheprovider", "--ductaflow", "conductor.py")
CONDUCTOR = 'from pytest_ductaflow import conduct\n\nconduct("flows/a.py", [{"instance_name": "one"}])\n'
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is not seen what DuckDB opens")
# The module by which a flow signals a test that it has come so far, and waits for the test.
WAITING = """\
import os
import socket

def wait():
    if "PORT" in os.environ:
        with socket.create_connection(("127.0.0.1", int(os.environ["PORT"]))) as connection:
            connection.recv(1)
"""


def output_of(root: Path, *args: str, **variables: str) -> str:
    """Return what a session prints."""
    done = run_python(root, *SESSION, *args, timeout=PATIENCE, **variables)
    return done.stdout + done.stderr


def outcomes(output: str) -> dict[str, str]:
    """Return the outcome of each instance of a session, by step and name."""
    words = r"^conductor\.py::(\S+?)::(\S+) (PASSED|UNCHANGED|WARNED|FAILED|SKIPPED)"
    found = {f"{step}/{name}": word for step, name, word in re.findall(words, output, re.MULTILINE)}
    assert found, output
    return found


def explained(root: Path) -> dict[str, str]:
    """Return why instances would run, by step and name."""
    output = output_of(root, "--ductaflow-explain")
    assert re.search(r"^\d+ would run, ", output, re.MULTILINE), output
    found = re.findall(r"^conductor\.py::(\S+?)::(\S+) +(\S.*)$", output, re.MULTILINE)
    return {f"{step}/{name}": reason for step, name, reason in found}


def record(root: Path, step: str, name: str) -> dict:
    return json.loads((root / f"runs/{step}/{name}/{step}_record.json").read_text(encoding="utf-8"))


def result(root: Path, step: str = "a", name: str = "one") -> str:
    return (root / f"runs/{step}/{name}/result.txt").read_text(encoding="utf-8")


@contextmanager
def edited_while_it_waits(root: Path) -> Iterator[list[str]]:
    """Run the block while a session's flow waits in `wait()`; the list gets what the session prints."""
    output: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        port = str(server.getsockname()[1])
        with running(root, sys.executable, *SESSION, environment=own_environment(PORT=port)) as session:
            connection, _ = server.accept()
            with connection:
                yield output
            output.append(session.communicate(timeout=PATIENCE)[0])


# ---------------------------------------------------------------- what a flow publishes


@on_linux
def test_a_folder_that_a_flow_makes_for_what_it_writes_is_no_reason_to_run_again(tmp_path: Path) -> None:
    """It has checked whether the folder exists, and made it; what is missing from it is made again."""
    code = """\
        import os
        from pathlib import Path
        folder = Path(config["_project_root"], "out", config["name"])
        os.makedirs(folder, exist_ok=True)
        Path(folder, "result.txt").write_text(config["name"])
        """
    conductor = CONDUCTOR.replace('"one"}', '"one", "name": "one"}, {"instance_name": "two", "name": "two"}')
    write_project(tmp_path, {"flows/a.py": code, "conductor.py": conductor})
    assert outcomes(output_of(tmp_path)) == {"a/one": "PASSED", "a/two": "PASSED"}
    assert explained(tmp_path) == {}
    (tmp_path / "out/two/result.txt").unlink()
    assert outcomes(output_of(tmp_path)) == {"a/one": "UNCHANGED", "a/two": "PASSED"}


@on_linux
@pytest.mark.parametrize("reader", ["python", "duckdb"])
def test_a_database_that_is_published_is_an_output_and_is_made_again(tmp_path: Path, reader: str) -> None:
    """A compiled writer has written it outside of the run directory, and another flow reads it."""
    pytest.importorskip("duckdb")
    reads = {
        "python": 'result = len((root / config["db"]).read_bytes()) > 0',
        "duckdb": (
            'import duckdb\nresult = duckdb.connect(str(root / db), read_only=True).sql("from t").fetchall()'
        ),
    }
    root = write_project(
        tmp_path / "project",
        {
            "flows/export.py": """\
                import duckdb
                from pathlib import Path
                place = Path(config["_project_root"], "data", "public")
                place.mkdir(parents=True, exist_ok=True)
                with duckdb.connect(str(place / "r.db")) as connection:
                    connection.execute("create or replace table t as select 1 as n")
                """,
            "flows/plot.py": 'from pathlib import Path\nroot = Path(config["_project_root"])\n'
            + reads[reader],
            "conductor.py": """\
                from pytest_ductaflow import conduct
                conduct("flows/export.py", [{"instance_name": "a"}])
                conduct("flows/plot.py", [{"instance_name": "p", "db": "data/public/r.db"}])
                """,
        },
    )
    assert outcomes(output_of(root)) == {"export/a": "PASSED", "plot/p": "PASSED"}
    assert "../../../data/public/r.db" in record(root, "export", "a")["outputs"]
    assert explained(root) == {}
    (root / "data/public/r.db").unlink()
    after = outcomes(output_of(root))
    assert after["export/a"] == "PASSED"
    assert after["plot/p"] in {"PASSED", "UNCHANGED"}
    assert (root / "data/public/r.db").exists()


@pytest.mark.skipif(os.name != "posix", reason="for POSIX")
@pytest.mark.parametrize("folder", [".", "../../.."], ids=["own", "shared"])
def test_a_named_pipe_that_a_flow_has_read_is_not_read_by_the_session(tmp_path: Path, folder: str) -> None:
    """No process would write into it any more, so reading it would never end."""
    root = write_project(
        tmp_path / "project",
        {
            "flows/a.py": f"""\
                import os, subprocess
                from pathlib import Path
                pipe = Path("{folder}", "pipe")
                pipe.unlink(missing_ok=True)
                os.mkfifo(pipe)
                with subprocess.Popen(f"echo 1 > {{pipe}}", shell=True):
                    Path("result.txt").write_text(pipe.read_text())
                """,
            "conductor.py": CONDUCTOR,
        },
    )
    assert outcomes(output_of(root)) == {"a/one": "PASSED"}
    assert result(root) == "1\n"
    assert explained(root) == {}


# ---------------------------------------------------------------- packages


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "ordinary"])
def test_packages_that_we_import_as_well_are_those_of_the_flow(tmp_path: Path, *, fork: bool) -> None:
    """A flow's record has the versions of what it imports, whatever other code imports it."""
    root = write_project(
        tmp_path / "project",
        {
            "flows/a.py": """\
                import dateutil.parser
                from packaging.version import Version
                import psutil
                import helper
                """,
            "helper.py": "def load(text):\n    import yaml\n\n    return yaml.safe_load(text)\n",
            "conductor.py": CONDUCTOR,
        },
    )
    options = [] if fork else ["--no-ductaflow-fork"]
    assert outcomes(output_of(root, *options)) == {"a/one": "PASSED"}
    assert {"python-dateutil", "packaging", "psutil", "pyyaml"} <= set(record(root, "a", "one")["packages"])


def test_a_package_that_is_installed_later_makes_flows_run_that_have_looked_for_it(tmp_path: Path) -> None:
    python, packages = environment_of_its_own(tmp_path / "venv")
    ways = {
        "tries": "try:\n    import fast_option as found\nexcept ImportError:\n    found = None",
        "asks": "import importlib.util\nfound = importlib.util.find_spec('fast_option')",
        "helped": "from helper import found",
        "version": "from importlib import metadata\n"
        "try:\n    found = metadata.version('fast_option')\n"
        "except metadata.PackageNotFoundError:\n    found = None",
        "child": "import subprocess, sys\n"
        "tool = config['_project_root'] + '/tool.py'\n"
        "found = subprocess.run([sys.executable, tool]).returncode == 0 or None",
        "other": "import json as found\nfound = None",
    }
    flows = {
        f"flows/{name}.py": f"{code}\nopen('result.txt', 'w').write(str(found))\n"
        for name, code in ways.items()
    }
    calls = "".join(f"conduct('flows/{name}.py', [{{'instance_name': 'one'}}], after=[])\n" for name in ways)
    root = write_project(
        tmp_path / "project",
        {
            **flows,
            "helper.py": "try:\n    import fast_option as found\nexcept ImportError:\n    found = None\n",
            "tool.py": "import fast_option\n",
            "conductor.py": f"from pytest_ductaflow import conduct\n\n{calls}",
        },
    )

    def session() -> dict[str, str]:
        done = subprocess.run([python, *SESSION], cwd=root, capture_output=True, text=True, check=False)
        words = r"^conductor\.py::(\w+)::one (PASSED|UNCHANGED|FAILED)"
        return dict(re.findall(words, done.stdout, re.MULTILINE))

    assert session() == dict.fromkeys(ways, "PASSED")
    assert session() == dict.fromkeys(ways, "UNCHANGED")
    (packages / "fast_option").mkdir()
    (packages / "fast_option/__init__.py").write_text("")
    (packages / "fast_option-1.0.dist-info").mkdir()
    (packages / "fast_option-1.0.dist-info/METADATA").write_text("Name: fast_option\nVersion: 1.0\n")
    assert session() == {**dict.fromkeys(ways, "PASSED"), "other": "UNCHANGED"}


def environment_of_its_own(folder: Path) -> tuple[str, Path]:
    """Make a virtual environment with all that this one has; return its Python, and its package folder."""
    venv.create(folder, symlinks=os.name == "posix")
    names = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", names))
    others = [place for place in sys.path if place.endswith("site-packages")]
    (packages / "others.pth").write_text(
        "\n".join([*others, str(Path(pytest_ductaflow.__file__).parents[1])])
    )
    return str(Path(sysconfig.get_path("scripts", "venv", names), "python")), packages


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "ordinary"])
def test_what_a_package_reads_where_the_flow_runs_when_it_is_imported(tmp_path: Path, *, fork: bool) -> None:
    pytest.importorskip("matplotlib")
    code = """\
        import matplotlib.pyplot as plt
        print("dpi", plt.rcParams["figure.dpi"])
        """
    conductor = CONDUCTOR.replace("])", '], cwd="flow")')
    root = write_project(tmp_path / "project", {"flows/a.py": code, "conductor.py": conductor})
    options = [] if fork else ["--no-ductaflow-fork"]

    def session() -> tuple[str, str]:
        outcome = outcomes(output_of(root, *options))["a/one"]
        return outcome, (root / "runs/a/one/a_execution_output.txt").read_text(encoding="utf-8").split()[1]

    assert session() == ("PASSED", "100.0")
    assert session() == ("UNCHANGED", "100.0")
    for dpi in ("55.0", "66.0"):
        (root / "flows/matplotlibrc").write_text(f"figure.dpi: {dpi}\n")
        assert session() == ("PASSED", dpi)


# ---------------------------------------------------------------- edits while it runs


@on_linux
@pytest.mark.parametrize("name", ["{root}/data.csv", "{root}/data_{config['year']}.csv", "{root}/data*.csv"])
def test_data_that_are_edited_after_duckdb_has_read_them_are_no_output_of_the_flow(
    tmp_path: Path, name: str
) -> None:
    """Results from the old data are not kept, and later edits are noticed as well."""
    pytest.importorskip("duckdb")
    root = write_project(
        tmp_path / "project",
        {
            "flows/a.py": f"""\
                import duckdb
                from pathlib import Path
                from waiting import wait
                root = config["_project_root"]
                result = duckdb.sql(f"select n from read_csv('{name}')").fetchall()
                wait()
                Path("result.txt").write_text(str(result))
                """,
            "waiting.py": WAITING,
            "conductor.py": CONDUCTOR.replace('"one"', '"one", "year": 2030'),
        },
    )
    data = root / ("data_2030.csv" if "year" in name else "data.csv")
    data.write_text("n\n1\n", encoding="utf-8")
    with edited_while_it_waits(root) as output:
        data.write_text("n\n7\n", encoding="utf-8")
    assert outcomes(output[0]) == {"a/one": "PASSED"}
    assert result(root) == "[(1,)]"
    assert "a/one" in explained(root)
    assert outcomes(output_of(root)) == {"a/one": "PASSED"}
    assert result(root) == "[(7,)]"
    assert explained(root) == {}
    data.write_text("n\n8\n", encoding="utf-8")
    assert "a/one" in explained(root)


def test_data_that_are_edited_while_they_are_hashed_are_not_taken_for_those_that_were_read(
    tmp_path: Path,
) -> None:
    """The edit happens in the session itself, between reading the file's times and its content."""
    root = write_project(
        tmp_path / "project",
        {
            "flows/a.py": """\
                from pathlib import Path
                text = Path(config["_project_root"], "data.txt").read_text()
                Path("result.txt").write_text(text)
                """,
            "data.txt": "1\n",
            # Edits the data when the session opens them, after the flow has read them.
            "conftest.py": """\
                import os, sys
                from pathlib import Path

                ROOT = Path(__file__).parent
                DATA, READ = str(ROOT / "data.txt"), ROOT / "runs/a/one/result.txt"

                def edit(event, args):
                    if event == "open" and args[0] == DATA and READ.exists() and not edit.done:
                        edit.done = True
                        Path(DATA).write_text("7\\n")

                edit.done = "EDIT" not in os.environ
                sys.addaudithook(edit)
                """,
            "conductor.py": CONDUCTOR,
        },
    )
    assert outcomes(output_of(root, EDIT="1")) == {"a/one": "PASSED"}
    assert result(root) == "1\n"
    assert (root / "data.txt").read_text(encoding="utf-8") == "7\n", "the edit has not taken place"
    assert "a/one" in explained(root)
    assert outcomes(output_of(root)) == {"a/one": "PASSED"}
    assert result(root) == "7\n"
    assert explained(root) == {}


@pytest.mark.parametrize("keeps_time", [False, True], ids=["new_time", "time_kept"])
def test_a_flow_that_is_edited_while_one_of_its_instances_runs_is_not_said_to_have_run(
    tmp_path: Path, *, keeps_time: bool
) -> None:
    """Each instance has run the code that its record names, or runs again."""
    root = write_project(
        tmp_path / "project",
        {
            "flows/a.py": """\
                from pathlib import Path
                from waiting import wait
                if config.get("waits"):
                    wait()
                Path("result.txt").write_text("1")
                """,
            "waiting.py": WAITING,
            "conductor.py": """\
                from pytest_ductaflow import conduct
                conduct("flows/a.py", [{"instance_name": "one", "waits": True}, {"instance_name": "two"}])
                """,
        },
    )
    flow = root / "flows/a.py"
    with edited_while_it_waits(root) as output:
        stat = flow.stat()
        text = flow.read_text(encoding="utf-8")
        flow.write_text(text.replace('write_text("1")', 'write_text("7")'), encoding="utf-8")
        if keeps_time:
            os.utime(flow, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert outcomes(output[0]) == {"a/one": "PASSED", "a/two": "PASSED"}
    runs_again = explained(root)
    assert result(root, name="one") == "1"
    assert "a/one" in runs_again
    assert result(root, name="two") == "7" or "a/two" in runs_again
    assert set(outcomes(output_of(root)).values()) <= {"PASSED", "UNCHANGED"}
    assert [result(root, name=name) for name in ("one", "two")] == ["7", "7"]
    assert explained(root) == {}
