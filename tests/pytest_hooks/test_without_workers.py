"""Workers are not started where no two instances can run side by side, and otherwise they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_session
from helpers.thorough import one_in

from pytest_ductaflow.core.system.machine import usable_cores
from pytest_ductaflow.core.thread_variables import VARIABLES

pytest.importorskip("xdist")

FILES = {
    "flows/a.py": "print(config['year'])\n",
    "conductor.py": """\
        from pytest_ductaflow import conduct

        conduct("flows/a.py", [{"instance_name": f"y{year}", "year": year} for year in (2030, 2040)])
        """,
    "flows/compare.py": """\
        # %% tags=["parameters"]
        config = {}
        # %%
        print(*(open(f"../../a/y{year}/a_executed.ipynb").read()[:9] for year in (2030, 2040)))
        """,
    "test_beside.py": "def test_beside():\n    pass\n",
}
TOLD = ", so no workers are started"
NOTHING, ONE = "no instance has to run" + TOLD, "one instance may have to run" + TOLD


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two instances that have run."""
    root = write_project(tmp_path, FILES)
    first = run_session(root, "--ductaflow", "conductor.py", "-n", "2").stdout
    assert "2 passed" in first
    assert TOLD not in first
    return root


def has_workers(printed: str) -> bool:
    """Return whether a session had workers, of which its header or lines tell."""
    assert ("2 workers" in printed) != (TOLD in printed)
    return "2 workers" in printed


def edit(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    "asked",
    one_in(
        2, [["conductor.py"], ["conductor.py::a"], ["conductor.py::a::y2040"], ["conductor.py", "-k", "2030"]]
    ),
)
def test_none_where_all_that_is_asked_for_is_unchanged(project: Path, asked: list[str]) -> None:
    done = run_session(project, "--ductaflow", *asked, "-n", "2", "-v")
    assert not has_workers(done.stdout)
    assert done.stdout.count("UNCHANGED") == (2 if asked in (["conductor.py"], ["conductor.py::a"]) else 1)
    assert done.returncode == 0
    assert "[gw0]" not in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([".", "-n", "2"], id="a folder with a test"),
        pytest.param(["conductor.py", "test_beside.py", "-n", "2"], id="a test"),
        pytest.param(["conductor.py", "-n", "2", "--ductaflow-force"], id="forced"),
        pytest.param(["conductor.py", "--dist", "load", "--tx", "2*popen"], id="workers of a kind"),
    ],
)
def test_workers_where_there_is_something_else(project: Path, arguments: list[str]) -> None:
    assert has_workers(run_session(project, "--ductaflow", *arguments).stdout)


def test_workers_after_an_edit(project: Path) -> None:
    edit(project / "flows/a.py", "print(", "print('year', ")
    printed = run_session(project, "--ductaflow", "conductor.py", "-n", "2").stdout
    assert has_workers(printed)
    assert "2 passed" in printed
    assert not has_workers(run_session(project, "--ductaflow", "conductor.py", "-n", "2").stdout)


def test_none_where_one_has_to_run(project: Path) -> None:
    (project / "runs/a/y2030/a_executed.ipynb").unlink()
    printed = run_session(project, "--ductaflow", "conductor.py", "-n", "2", "-v").stdout
    assert ONE in printed
    assert "2 passed" in printed
    assert printed.count("UNCHANGED") == 1
    assert NOTHING in run_session(project, "--ductaflow", "conductor.py", "-n", "2").stdout


@pytest.mark.parametrize("forced", [[], ["--ductaflow-force"]])
def test_none_for_one_instance(project: Path, forced: list[str]) -> None:
    edit(project / "flows/a.py", "print(", "print('year', ")
    printed = run_session(project, "--ductaflow", "conductor.py::a::y2040", "-n", "2", "-v", *forced).stdout
    assert ONE in printed
    assert "1 passed" in printed
    assert "UNCHANGED" not in printed


def test_none_for_what_has_failed(project: Path) -> None:
    edit(project / "flows/a.py", "print(", "assert config['year'] > 2030, (")
    assert "1 failed" in run_session(project, "--ductaflow", "conductor.py", "-n", "2").stdout
    again = run_session(project, "--ductaflow", "conductor.py", "-n", "2").stdout
    assert ONE in again
    assert "1 failed, 1 passed" in again


@pytest.fixture
def compared(project: Path) -> Path:
    """Return the project with a third instance, which has run and reads what the two have written."""
    with (project / "conductor.py").open("a") as file:
        file.write('conduct("flows/compare.py", [{"instance_name": "years"}])\n')
    assert "3 passed" in run_session(project, "--ductaflow", "conductor.py", "-n", "2").stdout
    return project


def test_none_where_each_waits_for_the_one_before(compared: Path) -> None:
    (compared / "runs/a/y2040/a_executed.ipynb").unlink()
    printed = run_session(compared, "--ductaflow", "conductor.py", "-n", "2").stdout
    assert "2 instances may have to run, one after the other" + TOLD in printed
    assert "3 passed" in printed


def test_workers_where_two_run_and_one_waits_for_both(compared: Path) -> None:
    for year in (2030, 2040):
        (compared / f"runs/a/y{year}/a_executed.ipynb").unlink()
    assert has_workers(run_session(compared, "--ductaflow", "conductor.py", "-n", "2").stdout)


def test_workers_where_two_wait_for_one(compared: Path) -> None:
    edit(
        compared / "conductor.py",
        '{"instance_name": "years"}',
        '{"instance_name": "y"}, {"instance_name": "z"}',
    )
    assert "4 passed" in run_session(compared, "--ductaflow", "conductor.py", "-n", "2").stdout
    (compared / "runs/a/y2040/a_executed.ipynb").unlink()
    assert has_workers(run_session(compared, "--ductaflow", "conductor.py", "-n", "2").stdout)


SHARE = max(1, usable_cores() // 2)


def threads_of(run_dir: Path) -> int | None:
    (record,) = (json.loads(path.read_text()) for path in run_dir.glob("*_record.json"))
    return record.get("threads")


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove what the environment of the tests says of threads."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nothing_set")
@pytest.mark.parametrize(("workers", "threads"), [("2", SHARE), ("0", None)])
def test_libraries_have_the_threads_of_a_worker(project: Path, workers: str, threads: int | None) -> None:
    edit(project / "flows/a.py", "print(", "print('year', ")
    printed = run_session(project, "--ductaflow", "conductor.py::a::y2040", "-n", workers).stdout
    assert "1 passed" in printed
    assert threads_of(project / "runs/a/y2040") == threads


AFTER = """
from pytest_ductaflow import is_collecting, run_notebook
if not is_collecting():
    run_notebook("flows/a.py", config={"year": 1}, execution_dir="runs/extra")
"""


@pytest.mark.usefixtures("nothing_set")
def test_libraries_have_them_in_what_a_conductor_runs_afterwards(project: Path) -> None:
    with (project / "conductor.py").open("a") as file:
        file.write(AFTER)
    printed = run_session(project, "--ductaflow", "conductor.py", "-n", "2").stdout
    assert NOTHING in printed
    assert "3 passed" in printed
    assert threads_of(project / "runs/extra") == SHARE


CONDUCTOR_WITH_MORE = """\
from pytest_ductaflow import conduct, is_collecting
conduct("flows/{flow}.py", [{{"instance_name": "y", "year": 1}}])
if not is_collecting():
    print("what follows")
"""


def test_workers_for_what_two_conductors_do_afterwards(project: Path) -> None:
    (project / "flows/b.py").write_text((project / "flows/a.py").read_text())
    for name, flow in (("conductor.py", "a"), ("other_conductor.py", "b")):
        (project / name).write_text(CONDUCTOR_WITH_MORE.format(flow=flow))
    arguments = ("--ductaflow", "conductor.py", "other_conductor.py", "-n", "2")
    assert "4 passed" in run_session(project, *arguments).stdout
    assert not has_workers(run_session(project, *arguments).stdout)
    for name in ("conductor.py", "other_conductor.py"):
        edit(project / name, "what follows", "what else follows")
    assert has_workers(run_session(project, *arguments).stdout)


def test_a_session_without_workers_has_its_report(project: Path) -> None:
    assert TOLD in run_session(project, "--ductaflow", "conductor.py", "-n", "2").stdout
    page = (project / "runs/conductor_status_report.html").read_text()
    assert '"exit_code":0' in page
    assert '"workers":1' in page


def test_other_quiet_sessions_tell_nothing(project: Path) -> None:
    done = run_session(project, "--ductaflow", "conductor.py", "-n", "2", "-q")
    assert TOLD not in done.stdout
    assert "2 passed" in done.stdout


def test_what_plugins_do_with_the_list_of_workers_is_done(project: Path) -> None:
    (project / "conftest.py").write_text(
        "def pytest_xdist_setupnodes(config, specs):\n    print(f'{8 // len(specs)} threads each')\n"
    )
    old = (project / "flows/a.py").stat()
    os.utime(project / "conftest.py", ns=(old.st_atime_ns, old.st_mtime_ns))
    printed = run_session(project, "--ductaflow", "conductor.py", "-n", "2", "-s").stdout
    assert not has_workers(printed)
    assert "4 threads each" in printed


def test_an_error_in_the_decision_is_left_to_the_run(project: Path) -> None:
    path = project / "runs/a/y2040/a_record.json"
    record = json.loads(path.read_text())
    del record["environment"]["executable"]
    record["environment"]["kernel_path"] = ""
    path.write_text(json.dumps(record))
    printed = run_session(project, "--ductaflow", "conductor.py", "-n", "2").stdout
    assert ONE in printed
    assert "1 failed, 1 passed" in printed


def test_names_as_an_editor_spells_them(tmp_path: Path) -> None:
    root = write_project(tmp_path, FILES)
    edit(root / "conductor.py", "y{year}", "y{year}.5")
    arguments = ("conductor.py::a::y2030_5", "-n", "2")
    run_session(root, "--ductaflow", "conductor.py")
    assert not has_workers(run_session(root, "--ductaflow", *arguments).stdout)
    (root / "runs/a/y2030.5/a_executed.ipynb").unlink()
    assert ONE in run_session(root, "--ductaflow", *arguments).stdout


@pytest.mark.parametrize("beside", [[], ["test_beside.py"]])
@pytest.mark.parametrize(
    "name", one_in(2, ["conductor.py::a::y2035", "conductor.py::b", "conductor.py::a::y[1]"])
)
def test_a_name_of_nothing_is_told_as_without_workers(project: Path, name: str, beside: list[str]) -> None:
    alone, done = (
        run_session(project, "--ductaflow", name, *beside, *workers) for workers in ([], ["-n", "2"])
    )
    assert done.returncode == alone.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stderr == alone.stderr
    assert "not found" in done.stderr


def test_a_session_ends_if_its_workers_do_not_find_a_test(project: Path) -> None:
    done = run_session(project, "--ductaflow", "conductor.py", "test_beside.py::test_none", "-n", "2")
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert done.returncode != 0


@pytest.mark.parametrize("option", ["--collect-only", "--ductaflow-explain"])
def test_a_session_that_runs_nothing_says_nothing_of_workers(project: Path, option: str) -> None:
    assert TOLD not in run_session(project, "--ductaflow", "conductor.py", "-n", "2", option).stdout
