"""Explain, force and accept; kept outcomes, undeclared inputs, builds that resume."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers.edited import Session, edit, record
from helpers.projects import write_project

from pytest_ductaflow.report.page import read

pytestmark = pytest.mark.slow

FILES = {
    "flows/a.py": """\
        from pathlib import Path
        Path("out.txt").write_text(Path(config["_project_root"], "data.txt").read_text() * factor)
        """,
    "flows/b.py": """\
        from pathlib import Path
        Path("all.txt").write_text(Path(config["_project_root"], table).read_text())
        """,
    "flows/orange.py": 'print("⚠️ few data")\n',
    "conductor.py": """\
        from pytest_ductaflow import conduct
        conduct("flows/a.py", [{"instance_name": "one", "factor": 1}, {"instance_name": "two", "factor": 2}])
        conduct("flows/b.py", [{"instance_name": "one", "table": "runs/a/one/out.txt"}])
        conduct("flows/orange.py", [{"instance_name": "one"}])
        """,
    "data.txt": "data\n",
}


@pytest.fixture(scope="module")
def after_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_project(tmp_path_factory.mktemp("up_to_date") / "project", FILES)
    first = Session(root)
    assert first.code == 0, first.output
    assert first.outcomes == {"a/one": "PASSED", "a/two": "PASSED", "b/one": "PASSED", "orange/one": "WARNED"}
    return root


@pytest.fixture
def project(after_a_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(after_a_run, tmp_path / "project"))


def state(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return time and content of every file that a session could have changed."""
    files = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


# ---------------------------------------------------------------- explain


def test_explain_says_new_of_what_has_never_run_and_runs_nothing(tmp_path: Path):
    root = write_project(tmp_path, FILES)
    told = Session(root, "--ductaflow-explain")
    assert told.code == 0
    assert re.search(r"^conductor\.py::a::one +new$", told.output, re.MULTILINE)
    assert "4 would run, 0 may run, 0 unchanged" in told.output
    assert not (root / "runs").exists()


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_explain_gives_the_reasons_in_words_and_leaves_every_file_as_it_is(project: Path, workers: list[str]):
    edit(project, "conductor.py", '"factor": 2', '"factor": 5')
    edit(project, "flows/b.py", "all.txt", "everything.txt")
    (project / "runs/orange/one/orange_executed.ipynb").unlink()
    before = state(project)
    told = Session(project, "--ductaflow-explain", *workers)
    assert told.code == 0
    for node, reason in {
        "a::two": "config: factor 2 → 5",
        "b::one": "flow flows/b.py changed",
        "orange::one": "orange_executed.ipynb is gone",
    }.items():
        assert re.search(rf"^conductor\.py::{node} +{re.escape(reason)}$", told.output, re.MULTILINE)
    assert "3 would run, 0 may run, 1 unchanged" in told.output
    assert "a::one" not in told.output.partition("why")[2]
    assert state(project) == before


def test_explain_tells_of_what_runs_only_if_its_upstream_writes_something_else(project: Path):
    (project / "data.txt").write_text("other data\n")
    told = Session(project, "--ductaflow-explain")
    assert re.search(r"^conductor\.py::a::one +input data\.txt changed$", told.output, re.MULTILINE)
    assert re.search(
        r"^conductor\.py::b::one +runs if a/one writes something else$", told.output, re.MULTILINE
    )
    assert "2 would run, 1 may run, 1 unchanged" in told.output


def test_explain_speaks_of_the_selected_instances_only(project: Path):
    (project / "data.txt").write_text("other data\n")
    assert (
        "1 would run, 0 may run, 0 unchanged" in Session(project, "--ductaflow-explain", "-k", "two").output
    )


# ---------------------------------------------------------------- kept, forced, accepted


def test_what_is_unchanged_passes_and_a_kept_warning_stays_orange(project: Path):
    before = record(project, "a", "one")
    again = Session(project)
    assert again.outcomes == {
        "a/one": "UNCHANGED",
        "a/two": "UNCHANGED",
        "b/one": "UNCHANGED",
        "orange/one": "WARNED",
    }
    assert again.code == 0
    assert "4 unchanged, so not run again" in again.output
    assert "3 passed, 1 warned" in again.output
    assert record(project, "a", "one")["started"] == before["started"]
    rows = read(project / "runs/conductor_status_report.html")["rows"]
    assert sum(row["unchanged"] for row in rows) == 4


def test_a_new_row_runs_alone(project: Path):
    edit(project, "conductor.py", '"factor": 2}', '"factor": 2}, {"instance_name": "three", "factor": 3}')
    assert Session(project).outcomes == {
        "a/one": "UNCHANGED",
        "a/two": "UNCHANGED",
        "a/three": "PASSED",
        "b/one": "UNCHANGED",
        "orange/one": "WARNED",
    }
    assert record(project, "a", "three")["reason"] == "new"


@pytest.mark.parametrize("args", [["-k", "two"], ["conductor.py::a::two"]], ids=["-k", "node id"])
def test_force_runs_the_selected_instances_all_the_same(project: Path, args: list[str]):
    kept, forced = record(project, "a", "one"), record(project, "a", "two")
    session = Session(project, "--ductaflow-force", *args)
    assert session.outcomes == {"a/two": "PASSED"}
    assert record(project, "a", "one") == kept
    assert record(project, "a", "two")["started"] > forced["started"]


def test_accept_marks_what_is_there_as_good_without_running(project: Path):
    edit(project, "flows/a.py", "from pathlib import Path", "import os\nfrom pathlib import Path")
    edit(project, "conductor.py", '"factor": 2', '"factor": 2.0')
    before = record(project, "a", "two")
    accepted = Session(project, "--ductaflow-accept")
    assert accepted.code == 0, accepted.output
    after = record(project, "a", "two")
    assert after["reason"] == "accepted: config: factor 2 → 2.0; flow flows/a.py changed"
    assert (after["started"], after["outputs"]) == (before["started"], before["outputs"])
    assert set(Session(project).outcomes.values()) == {"UNCHANGED", "WARNED"}


def test_accept_refuses_what_has_not_ended_well(project: Path):
    shutil.rmtree(project / "runs/a/one")
    (project / "runs/a/two/out.txt").unlink()
    refused = Session(project, "--ductaflow-accept", "-k", "a")
    assert refused.outcomes["a/one"] == refused.outcomes["a/two"] == "FAILED"
    assert "a/one has no good record to accept: it has to run" in refused.output
    assert "a/two: out.txt is not there any more: it has to run" in refused.output
    assert "Traceback" not in refused.output


def test_a_failure_is_never_kept(project: Path):
    edit(project, "flows/orange.py", "few data", 'few data")\nraise ValueError("none at all')
    assert Session(project, "-k", "orange").outcomes == {"orange/one": "FAILED"}
    assert Session(project, "-k", "orange").outcomes == {"orange/one": "FAILED"}
    assert record(project, "orange", "one")["reason"] == "it failed"


# ---------------------------------------------------------------- inputs that are hard to see

HIDDEN = {
    "flows/appears.py": """\
        import os
        root = config["_project_root"]
        with open("out", "w") as file:
            if os.path.isfile(root + "/data/extra.csv"):
                file.write(open(root + "/data/extra.csv").read())
        """,
    "flows/folder.py": """\
        import pandas as pd
        print(pd.read_parquet(config["_project_root"] + "/data/parts"))
        """,
    "flows/scratch.py": "print(open(scratch).read())",
    "flows/writer.py": """\
        import os
        if os.environ.get("FAIL"):
            raise ValueError("no zones")
        open("out.txt", "w").write("1")
        """,
    "flows/reader.py": """\
        from pathlib import Path
        print(Path(config["_project_root"], source).read_text())
        """,
    "data/zones.csv": "zone\na\n",
}


def test_inputs_that_appear_later_or_are_read_unseen_or_lie_behind_links_are_noticed(tmp_path: Path):
    scratch = tmp_path / "scratch.txt"
    scratch.write_text("1")
    root = tmp_path / "project"
    (tmp_path / "large_disk").mkdir()
    (root / "data/parts").mkdir(parents=True)
    (root / "runs").symlink_to("../large_disk")
    parts = root / "data/parts/1.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(parts)
    conductor = f"""\
        from pytest_ductaflow import conduct, run_notebook
        for flow in ("appears", "folder"):
            conduct(f"flows/{{flow}}.py", [{{"instance_name": "a"}}], after=[])
        conduct("flows/scratch.py", [{{"instance_name": "a", "scratch": {str(scratch)!r}}}], after=[])
        run_notebook("flows/writer.py", config={{"x": 1}}, execution_dir="runs/s/a")
        run_notebook("flows/reader.py", config={{"source": "runs/s/a/out.txt"}}, execution_dir="runs/t/b")
        """
    write_project(root, {**HIDDEN, "conductor.py": conductor})
    names = ("appears/a", "folder/a", "scratch/a", "s/a", "t/b")
    assert Session(root).outcomes == dict.fromkeys(names, "PASSED")
    assert Session(root).outcomes == dict.fromkeys(names, "UNCHANGED")
    (root / "data/extra.csv").write_text("more")
    pd.DataFrame({"a": [2]}).to_parquet(parts)
    scratch.write_text("2")
    told = Session(root, "--ductaflow-explain").output
    for node, reason in {
        "appears::a": "input data/extra.csv is new",
        "folder::a": "input data/parts/1.parquet changed",
        "scratch::a": f"input {scratch} changed",
    }.items():
        assert re.search(rf"^conductor\.py::{node} +{re.escape(reason)}$", told, re.MULTILINE), told
    ran, kept = dict.fromkeys(names[:3], "PASSED"), dict.fromkeys(names[3:], "UNCHANGED")
    assert Session(root).outcomes == {**ran, **kept}
    failed = Session(root, "--ductaflow-force", "-k", "s or t", FAIL="1").outcomes
    assert (failed["s/a"], failed["t/b"]) == ("FAILED", "SKIPPED")


def test_explain_follows_files_that_are_handed_on_without_an_edge(tmp_path: Path):
    files = {
        "flows/first.py": """\
            from pathlib import Path
            root = Path(config["_project_root"])
            (root / "shared.txt").write_text((root / "data.txt").read_text())
            """,
        "flows/second.py": 'print(open(config["_project_root"] + "/shared.txt").read())',
        "conductor.py": """\
            from pytest_ductaflow import conduct
            conduct("flows/first.py", [{"instance_name": "a"}])
            conduct("flows/second.py", [{"instance_name": "a"}])
            """,
        "data.txt": "1",
    }
    root = write_project(tmp_path, files)
    assert Session(root).code == 0
    (root / "data.txt").write_text("2")
    told = Session(root, "--ductaflow-explain").output
    assert re.search(r"::second::a +runs if first/a writes something else$", told, re.MULTILINE)
    assert Session(root).outcomes == {"first/a": "PASSED", "second/a": "PASSED"}


# ---------------------------------------------------------------- undeclared inputs


def test_undeclared_input_is_told_and_waited_for_in_the_next_session(tmp_path: Path):
    root = write_project(
        tmp_path,
        {
            "flows/early.py": """\
                from pathlib import Path
                step = "late"  # which only a run can know
                print(Path(config["_project_root"], "runs", step, "one/out.txt").read_text())
                """,
            "flows/late.py": 'open("out.txt", "w").write("late")',
            "conductor.py": """\
                from pytest_ductaflow import conduct
                conduct("flows/early.py", [{"instance_name": "one"}])
                conduct("flows/late.py", [{"instance_name": "one"}])
                """,
        },
    )
    first = Session(root)
    assert first.outcomes == {"early/one": "FAILED", "late/one": "PASSED"}
    assert "undeclared input conductor.py::early::one read files of late/one" in first.output
    assert record(root, "early", "one")["undeclared"] == ["late/one"]
    second = Session(root)
    assert list(second.outcomes.items()) == [("late/one", "UNCHANGED"), ("early/one", "PASSED")]
    third = Session(root, "-n", "2")
    assert "2 unchanged" in third.output
    edit(root, "flows/late.py", '"late"', '"later"')
    assert list(Session(root).outcomes.items()) == [("late/one", "PASSED"), ("early/one", "PASSED")]


# ---------------------------------------------------------------- builds


BUILD = {
    "flows/x.py": 'open("x.txt", "w").write("x")',
    "flows/y.py": """\
        from pathlib import Path
        root = Path(config["_project_root"])
        Path("y.txt").write_text(Path("../x/x.txt").read_text() + (root / "y_data.txt").read_text())
        """,
    "flows/z.py": 'open("z.txt", "w").write(open("../y/y.txt").read())',
    "builds/chain.py": """\
        from pytest_ductaflow import run_notebook
        for name in "xyz":
            run_notebook(f"flows/{name}.py", config=config, execution_dir=f"runs/{name}")
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct
        conduct("builds/chain.py", [{"instance_name": "one"}])
        """,
}


def flows_that_ran(root: Path) -> list[str]:
    flows = record(root, "chain", "one")["flows"]
    return [Path(flow["flow"]).stem for flow in flows if not flow.get("unchanged")]


def test_a_build_resumes_at_the_flow_that_failed_and_runs_only_what_an_edit_touches(tmp_path: Path):
    root = write_project(tmp_path, BUILD)
    assert Session(root).outcomes == {"chain/one": "FAILED"}
    assert flows_that_ran(root) == ["x", "y"]
    (root / "y_data.txt").write_text("1")
    assert Session(root).outcomes == {"chain/one": "PASSED"}
    assert flows_that_ran(root) == ["y", "z"]
    assert Session(root).outcomes == {"chain/one": "UNCHANGED"}
    edit(root, "flows/z.py", "open(", "# once more\nopen(")
    assert Session(root).outcomes == {"chain/one": "UNCHANGED"}
    (root / "y_data.txt").write_text("2")
    told = Session(root, "--ductaflow-explain").output
    assert re.search(r"^conductor\.py::chain::one +input y_data\.txt changed$", told, re.MULTILINE)
    assert Session(root).outcomes == {"chain/one": "PASSED"}
    assert flows_that_ran(root) == ["y", "z"]
    assert (root / "runs/chain/one/runs/z/z.txt").read_text() == "x2"


# ---------------------------------------------------------------- environment variables of conductors

VARIABLES = {
    "flows/show.py": """\
        import os
        print(*(os.environ.get(name) for name in ("MODEL_HOME", "SCENARIO", "FROM_OUTSIDE")))
        """,
    "builds/twice.py": """\
        from pytest_ductaflow import run_notebook
        run_notebook("flows/show.py", config={}, execution_dir="runs/inner")
        """,
    "conductor.py": """\
        import os
        os.environ["MODEL_HOME"] = "/opt/model"
        del os.environ["FROM_OUTSIDE"]
        from pytest_ductaflow import conduct, run_step_flow
        for scenario in ("low", "high"):
            os.environ["SCENARIO"] = scenario
            run_step_flow("flows/show.py", "show", scenario, {})
        conduct("builds/twice.py", [{"instance_name": "one"}])
        """,
    "conductor_other.py": """\
        from pytest_ductaflow import conduct
        conduct("flows/show.py", [{"instance_name": "one"}], step="other")
        """,
}


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_variables_that_a_conductor_sets_reach_its_instances_and_count(tmp_path: Path, workers: list[str]):
    root = write_project(tmp_path / "project", VARIABLES)

    def session(*args: str) -> Session:
        return Session(root, "conductor.py", "conductor_other.py", *args, *workers, FROM_OUTSIDE="yes")

    def printed(name: str) -> str:
        (log,) = root.glob(f"runs/{name}/*_execution_output.txt")
        return log.read_text(encoding="utf-8").splitlines()[-1]

    first = session()
    assert first.code == 0, first.output
    assert printed("show/low") == "/opt/model low None"
    assert printed("show/high") == printed("twice/one/runs/inner") == "/opt/model high None"
    assert printed("other/one") == "None None yes"
    assert "/opt/model" not in json.dumps(record(root, "show", "low"))
    if workers:
        return
    edit(root, "conductor.py", '"/opt/model"', '"/opt/other"')
    edit(root, "conductor.py", 'del os.environ["FROM_OUTSIDE"]', "")
    reasons = session("--ductaflow-explain").output
    assert "environment variable MODEL_HOME changed" in reasons
    assert "environment variable FROM_OUTSIDE is not set by the conductor any more" in reasons
    changed = session()
    assert {name for name, word in changed.outcomes.items() if word == "PASSED"} == {
        *("show/low", "show/high", "twice/one")
    }
    assert printed("twice/one/runs/inner") == "/opt/other high yes"
    edit(root, "conductor.py", '"/opt/other"', '"/opt/third"')
    accepted = session("--ductaflow-accept", "-k", "twice or low or high")
    assert accepted.code == 0, accepted.output
    assert set(session().outcomes.values()) == {"UNCHANGED"}
