"""An engine of another package: found by its entry point, given only what is ready, and in what order."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.made_up_engine import install_engine
from helpers.projects import write_project
from helpers.sessions import run_pytest

pytestmark = pytest.mark.slow

# Runs what it has, the latest first, when it is full or nothing more comes.
ENGINE = """\
    import json, os
    from pytest_ductaflow.core.errors import EngineError, EngineLost
    from pytest_ductaflow.running.engines.protocol import Ended, Started

    class MadeUp:
        cores = None
        slots = 3
        syncs = False

        def __init__(self, text):
            self.text, self.taken, self.told = text, [], []

        def start(self, briefing):
            if self.text == "refuse":
                raise EngineError("this engine has no licence; buy one")
            self.tell("start", [root.rpartition("/")[2] for root in briefing.roots])

        def tell(self, *what):
            self.told.append(what)
            with open(os.environ["TOLD"], "w") as file:
                json.dump(self.told, file)

        def submit(self, work):
            self.tell("submit", work.label, work.cores, dict(work.resources), work.priority > 0)
            self.taken.append(work)

        def wait(self, seconds):
            if self.text == "lost":
                raise EngineLost("the made-up engine has gone")
            work = self.taken.pop()
            self.tell("run", work.label)
            return [Started(work.number, "one"), Ended(work.number, work.run("one"))]

        def stop(self):
            self.tell("stop")
            return []

    def engine(text):
        return MadeUp(text)
    """
FILES = {
    "flows/a.py": "print(instance_name)\n",
    "flows/flaky.py": """\
        from pathlib import Path
        mark = Path(config["_project_root"], "tried")
        assert mark.exists() or mark.touch()
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct, is_collecting
        conduct("flows/a.py", [{"instance_name": name} for name in "bcd"], after=["first/a"])
        conduct("flows/a.py", [{"instance_name": "a"}], step="first", after=[])
        row = {"instance_name": "x", "_resources": "GPU=1, licence=2", "_cores": 3}
        conduct("flows/a.py", [row], step="alone", after=[])
        conduct("flows/flaky.py", [{"instance_name": "x"}], after=["a", "alone"])
        if not is_collecting():
            print("after all")
        """,
}
NAMES = ["a::b", "a::c", "a::d", "alone::x", "first::a", "flaky::x"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install_engine(tmp_path / "site", "made_up", ENGINE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("TOLD", str(tmp_path / "told.json"))
    return write_project(tmp_path / "project", FILES)


def session(root: Path, engine: str, *options: str) -> tuple[pytest.RunResult, list[list[object]]]:
    arguments = ("--ductaflow", "-v", "--ductaflow-engine", engine, "conductor.py", *options)
    result = run_pytest(root, "-p", "rerunfailures", *arguments, is_real=True)
    told = root.parent / "told.json"
    return result, json.loads(told.read_text()) if told.exists() else []


def outcomes(result: pytest.RunResult) -> list[tuple[str, str]]:
    return re.findall(r"^conductor\.py::(\S+) (\w+)", "\n".join(result.outlines), re.MULTILINE)


def test_engine_of_another_package_gets_what_is_ready(project: Path) -> None:
    """What waits for others comes later; a plugin that repeats items has the engine run them again."""
    result, told = session(project, "made_up", "--reruns", "1")
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    assert told[0] == ["start", ["project"]]
    assert told[-1] == ["stop"]
    submitted = [each[1] for each in told if each[0] == "submit"]
    assert submitted[:2] == ["first/a", "alone/x"]  # others wait for the first
    assert ["submit", "alone/x", 3, {"GPU": 1, "licence": 2}, True] in told
    assert submitted.count("flaky/x") == 2
    assert told.index(["run", "first/a"]) < min(told.index(["run", f"a/{name}"]) for name in "bcd")
    words = dict(outcomes(result))
    assert sorted(words) == sorted([*NAMES, "after"])
    assert set(words.values()) == {"PASSED"} or words["flaky::x"] == "RERUN"
    record = json.loads((project / "runs/alone/x/a_record.json").read_text())
    assert record["reserved"] == {"_resources": {"GPU": 1.0, "licence": 2.0}, "_cores": 3}
    again, _ = session(project, "made_up:lost")
    assert set(dict(outcomes(again)).values()) == {"UNCHANGED"}


def test_what_a_teardown_of_an_ordinary_test_prints_is_shown_with_its_failure(tmp_path: Path) -> None:
    beside = """\
        import pytest

        @pytest.fixture
        def shared():
            yield
            print("torn down")

        def test_fails(shared):
            assert 1 == 2
        """
    conductor = "from pytest_ductaflow import conduct\nconduct('flows/a.py', [{'instance_name': 'a'}])\n"
    files = {"flows/a.py": "x = 1\n", "conductor.py": conductor, "test_beside.py": beside}
    options = ("--ductaflow", "-rA", "--ductaflow-engine", "here", "conductor.py", "test_beside.py")
    result = run_pytest(write_project(tmp_path, files), *options)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Captured stdout teardown*", "torn down"])


def test_engine_that_refuses_or_is_lost_is_told_in_a_line(project: Path) -> None:
    refused, _ = session(project, "made_up:refuse")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: this engine has no licence; buy one" in refused.stderr.str()
    lost, _ = session(project, "made_up:lost")
    assert lost.ret == 3
    assert "the made-up engine has gone; what had ended is kept" in lost.stdout.str()
    assert "INTERNALERROR" not in lost.stdout.str()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--ductaflow-engine", "no_such"), "'no_such': there is no such engine; there are dask, here, and"),
        (("--ductaflow-engine", "dask:many"), "dask:many: expected a number of local workers, as in dask:4"),
        (("--ductaflow-engine", "here", "-n", "1"), "--ductaflow-engine here: the engine runs instances"),
        (("--ductaflow-engine", "here", "--pdb"), "--pdb needs the kernels on this machine: leave out"),
        (("--ductaflow-engine-wait", "soon"), "'soon': expected a time such as 90s, 10min or 2h"),
    ],
)
def test_wrong_options_are_usage_errors(tmp_path: Path, options: tuple[str, ...], text: str) -> None:
    result = run_pytest(write_project(tmp_path, FILES), "--ductaflow", "conductor.py", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert text in result.stderr.str()


def test_without_dask_it_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "distributed.py").write_text("raise ImportError('there is none')\n")
    monkeypatch.setenv("PYTHONPATH", str(site))
    root = write_project(tmp_path / "project", FILES)
    result = run_pytest(root, "--ductaflow", "conductor.py", "--ductaflow-engine", "dask:1", is_real=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = "ERROR: Dask cannot be imported: there is none; it comes with pip install 'pytest-ductaflow[dask]'"
    assert told in result.stderr.str()
    assert not list((root / "runs").glob("*/*/*_record.json"))
