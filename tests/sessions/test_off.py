"""pytest without `--ductaflow`, which takes a conductor for a test module: nothing runs, with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_session

ROWS = "[{'instance_name': 'one'}, {'instance_name': 'two'}]"
CALLS = {
    "conduct": f"from pytest_ductaflow import conduct\n\nconduct('flows/a.py', {ROWS})\n",
    "run_notebook": "from ductaflow import run_notebook\n\nrun_notebook('flows/a.py', execution_dir='a')\n",
    "run_step_flow": "from ductaflow import run_step_flow\n\nrun_step_flow('flows/a.py', 'a', 'one')\n",
    "debug_flow": "from ductaflow import debug_flow\n\ndebug_flow('flows/a.py', 'kept', {}, force=True)\n",
}
CAUGHT = """\
from ductaflow import run_step_flow

for name in ("one", "two"):
    try:
        run_step_flow("flows/a.py", "a", name)
    except Exception as error:
        print("failed", error)
open("delivered", "w").close()
"""


def session(folder: Path, *args: str) -> tuple[int, str]:
    """Run a pytest session, and return exit code and output."""
    done = run_session(folder, *args, timeout=100)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path, {"flows/a.py": "print(1)", "kept/file": "x"})


@pytest.mark.parametrize("more", [(), ("--collect-only",), ("-n", "2")], ids=" ".join)
def test_a_forgotten_option_runs_nothing_and_is_told(project, more):
    """The sweep does not run while pytest collects, with any other options; the message says what to type."""
    write_project(project, {"conductor.py": CALLS["conduct"]})
    code, output = session(project, "conductor.py", *more)
    assert code in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.TESTS_FAILED)
    assert "conductor.py:3: conduct() would run while pytest only looks for tests" in output
    assert "run it with: pytest --ductaflow conductor.py" in output
    assert "Traceback" not in output
    assert not (project / "runs").exists()


@pytest.mark.parametrize("call", CALLS)
def test_every_call_is_refused(project, call):
    write_project(project, {"sub/my_conductor.py": CALLS[call]})
    _, output = session(project, "sub/my_conductor.py")
    assert f"sub/my_conductor.py:3: {call}() would run" in output
    assert "run it with: pytest --ductaflow sub/my_conductor.py" in output
    assert (project / "kept/file").exists()
    assert not (project / "runs").exists()


@pytest.mark.parametrize("how", ["test_conductor.py", "."])
def test_a_conductor_that_is_called_as_tests_are(project, how):
    """Found in a folder or named: it is refused, and the command in the message works."""
    write_project(project, {"test_conductor.py": CALLS["conduct"]})
    _, output = session(project, how)
    assert "run it with: pytest --ductaflow test_conductor.py" in output
    assert not (project / "runs").exists()
    code, output = session(project, "--ductaflow", "test_conductor.py", "--collect-only", "-q")
    assert code == 0
    assert "test_conductor.py::a::one" in output


@pytest.mark.parametrize("on", [(), ("--ductaflow",)], ids=["off", "on"])
def test_a_conductor_under_a_name_of_tests_only_is_to_be_renamed(project, on):
    write_project(project, {"test_sweep.py": CALLS["conduct"]})
    _, output = session(project, *on, "test_sweep.py")
    assert "run it with: pytest --ductaflow sweep_conductor.py" in output
    assert not (project / "runs").exists()


def test_a_conductor_that_catches_exceptions_goes_no_further(project):
    """The code after the calls does not run either, and the session does not pass."""
    write_project(project, {"conductor.py": CAUGHT})
    code, output = session(project, "conductor.py")
    assert code == pytest.ExitCode.INTERRUPTED
    assert "conductor.py:5: run_step_flow() would run" in output
    assert not (project / "delivered").exists()


def test_a_file_of_tests_about_a_conductor_stays_one(project):
    """`test_conductor.py` with tests in it is no conductor, even with the option."""
    write_project(project, {"test_conductor.py": "def test_it():\n    assert True\n"})
    code, output = session(project, "--ductaflow", "test_conductor.py")
    assert (code, "1 passed" in output) == (0, True)


@pytest.mark.slow
def test_a_test_may_run_a_flow(project):
    """Within a test, when it runs, the calls do what they always do."""
    test = """\
        from pathlib import Path
        from pytest_ductaflow import run_notebook

        def test_flow():
            assert run_notebook("flows/a.py", execution_dir="runs/a/one").exists()
        """
    write_project(project, {"test_flow.py": test})
    code, output = session(project, "test_flow.py")
    assert (code, "1 passed" in output) == (0, True), output


class Listener:
    """A plugin that would collect every file, like those for notebooks."""

    def __init__(self) -> None:
        self.files: set[str] = set()

    def pytest_collect_file(self, file_path: Path) -> None:
        self.files.add(file_path.name)


RUN = {
    "runs/a/one/a_config.json": {},
    "runs/a/one/a_record.json": {},
    "runs/a/one/a_executed.ipynb": "",
    "runs/a/one/runs/b/two/b_executed.ipynb": "",
    "runs/a/notes.ipynb": "",
    "runs/other/b_config.json": {},
    "runs/other/mine.ipynb": "",
    "flows/a.ipynb": "",
}
LEFT_BY_FLOWS = {"a_config.json", "a_record.json", "a_executed.ipynb", "b_executed.ipynb"}


@pytest.mark.parametrize(
    ("arguments", "is_offered"),
    [([], False), (["."], False), (["runs"], True), (["runs/a/one"], True), (["--ductaflow", "."], False)],
    ids=str,
)
def test_no_plugin_is_offered_what_is_in_run_directories_unless_runs_is_named(
    pytester, monkeypatch, arguments, is_offered
):
    for hidden in ("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(hidden, raising=False)
    write_project(pytester.path, RUN)
    listener = Listener()
    pytester.inline_run("--collect-only", *arguments, plugins=[listener])
    assert listener.files & LEFT_BY_FLOWS == (LEFT_BY_FLOWS if is_offered else set())
    if arguments != ["runs/a/one"]:
        assert {"notes.ipynb", "b_config.json", "mine.ipynb"} <= listener.files


@pytest.mark.parametrize(
    ("below", "folder", "arguments", "is_offered"),
    [
        ("runs/project", ".", [], False),
        ("runs/project", ".", ["."], False),
        ("project", "runs", ["a"], True),
        ("project", "runs/a", ["."], True),
    ],
    ids=str,
)
def test_runs_is_named_below_the_root_and_where_pytest_is_started(
    pytester, monkeypatch, below, folder, arguments, is_offered
):
    for hidden in ("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(hidden, raising=False)
    project = write_project(pytester.path / below, {**RUN, "pytest.ini": "[pytest]"})
    monkeypatch.chdir(project / folder)
    listener = Listener()
    pytester.inline_run("--collect-only", *arguments, plugins=[listener])
    assert listener.files & LEFT_BY_FLOWS == (LEFT_BY_FLOWS if is_offered else set())


def test_folders_that_are_called_as_ours_and_are_none_are_offered(pytester, monkeypatch):
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    write_project(pytester.path, {"elsewhere/a_config.json": {}, "elsewhere/a_executed.ipynb": ""})
    listener = Listener()
    pytester.inline_run("--collect-only", plugins=[listener])
    assert "a_executed.ipynb" in listener.files
