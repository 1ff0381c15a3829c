"""Builds: flows that run flows. Most tests look at one session, run once for the module."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from helpers.forked_sessions import can_be_forked
from helpers.projects import write_project
from helpers.sessions import run_pytest

from pytest_ductaflow.core.run_directory.build_variable import build_environment
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.settings import Settings

pytestmark = pytest.mark.slow

FILES = {
    "flows/fetch.py": """\
        import json
        json.dump({"n": 3}, open("data.json", "w"))
        """,
    "flows/fit.py": """\
        import json
        data = json.load(open("../../fetch/raw/data.json"))
        print(f"⚠️ only {data['n']} points")
        """,
    "flows/broken.py": """\
        print("about to fail")

        # %%
        raise ValueError("no such zone")
        """,
    "builds/chain.py": """\
        from ductaflow import run_notebook
        run_notebook("flows/fetch.py", config={"instance_name": "raw"})
        run_notebook("flows/fit.py", config={"instance_name": "line", "degree": degree})
        """,
    "builds/stumbles.py": """\
        from ductaflow import run_notebook
        print("the build begins")

        # %%
        run_notebook("flows/broken.py", config={}, execution_dir="runs/broken/here")
        """,
    "builds/swallows.py": """\
        from ductaflow import run_notebook
        try:
            run_notebook("flows/broken.py", config={"instance_name": "quiet"})
        except Exception as error:
            print("went on after", type(error).__name__)
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct

        conduct("builds/chain.py", [{"instance_name": "one", "degree": 1}])
        conduct("builds/stumbles.py", [{"instance_name": "one"}])
        conduct("builds/swallows.py", [{"instance_name": "one"}])
        """,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("builds") / "project", FILES)


@pytest.fixture(scope="module")
def session(root) -> pytest.RunResult:
    """Run all builds, with -v."""
    return run_pytest(root, "--ductaflow", "--ductaflow-html=all", "conductor.py", "-v")


@pytest.fixture(scope="module")
def strict(session, root) -> pytest.RunResult:
    """Run the build that is orange, with warnings that fail."""
    return run_pytest(root, "--ductaflow", "--ductaflow-warnings=fail", "conductor.py::chain")


def record(root: Path, path: str) -> dict:
    return json.loads((root / "runs" / path).read_text(encoding="utf-8"))


def failure(session: pytest.RunResult, title: str) -> str:
    pattern = rf"^_+ {title} _+\n(.*?)(?=^_{{3,}} |^[-=]{{3,}} )"
    found = re.search(pattern, session.stdout.str(), re.DOTALL | re.MULTILINE)
    assert found, session.stdout.str()
    return found[1]


def test_lights_of_builds(session):
    """A flow's warning makes its build orange; a failed flow fails it, even if the build continues."""
    session.assert_outcomes(failed=2)
    assert "1 warned" in session.outlines[-1]
    session.stdout.re_match_lines(
        [
            r"conductor\.py::chain::one WARNED.*",
            r"conductor\.py::stumbles::one FAILED.*",
            r"conductor\.py::swallows::one FAILED.*",
        ]
    )


@pytest.mark.parametrize(
    ("directory", "stem"), [("chain/one/runs/fetch/raw", "fetch"), ("chain/one/runs/fit/line", "fit")]
)
def test_flows_of_a_build_leave_all_files_in_its_run_directory(session, root, directory, stem):
    """Each flow of a build has a run directory of the same shape within the build's."""
    found = {path.name for path in (root / "runs" / directory).iterdir()} - {"data.json"}
    endings = ("config.json", "executed.ipynb", "executed.html", "execution_output.txt", "record.json")
    assert found == {f"{stem}_{ending}" for ending in endings}
    config = json.loads((root / "runs" / directory / f"{stem}_config.json").read_text(encoding="utf-8"))
    assert config["_project_root"] == str(root)


def test_build_leaves_no_journal(session, root):
    """What the flows reported to the build while it ran ends up in its record, not beside it."""
    found = {path.name for path in (root / "runs/chain/one").iterdir()}
    endings = ("config.json", "executed.ipynb", "executed.html", "execution_output.txt", "record.json")
    assert found == {f"chain_{ending}" for ending in endings} | {"runs"}


def test_record_of_a_build_holds_its_flows(session, root):
    """The record of a build has those of its flows, in their order, each equal to the flow's own."""
    build = record(root, "chain/one/chain_record.json")
    assert build["status"] == "warning"
    assert build["warnings"] == []
    assert [(flow["flow"], flow["status"]) for flow in build["flows"]] == [
        ("flows/fetch.py", "success"),
        ("flows/fit.py", "warning"),
    ]
    assert build["flows"][1] == record(root, "chain/one/runs/fit/line/fit_record.json")
    assert build["flows"][1]["run_dir"] == "runs/chain/one/runs/fit/line"


def test_verbose_shows_the_flows_below_their_build(session):
    """-v shows a build's flows with their messages, below its line."""
    lines = session.outlines
    at = next(n for n, line in enumerate(lines) if line.startswith("conductor.py::chain::one"))
    assert re.fullmatch(r"    \* fetch \d+\.\d s", lines[at + 1].rstrip())
    assert re.fullmatch(r"    \* fit \d+\.\d s  ⚠️ only 3 points", lines[at + 2].rstrip())
    session.stdout.fnmatch_lines(["    [*] broken * ValueError: no such zone"])


def test_warning_summary_names_the_flows_line(session):
    """The summary of an orange build shows its flow's warning."""
    session.stdout.fnmatch_lines(["WARNED conductor.py::chain::one - ⚠️ only 3 points"])


@pytest.mark.parametrize("build", ["stumbles", "swallows"])
def test_failure_text_names_the_flow_and_its_cell(session, root, build):
    """The failure of a build shows the flow that failed, its cell and line, and the build's command."""
    text = failure(session, f"{build}/one")
    at = (root / "flows/broken.py").read_text(encoding="utf-8").splitlines()
    line = at.index('raise ValueError("no such zone")') + 1
    assert text.startswith(f"{build}/one: its flow broken failed\n")
    assert re.search(rf"^broken failed in cell \[4\], flows/broken\.py:{line}$", text, re.MULTILINE)
    assert "E   ValueError: no such zone" in text
    assert f"run directory: runs/{build}/one" in text
    assert f"repeat:        pytest --ductaflow conductor.py::{build}::one" in text
    assert "papermill" not in text
    assert "pytest_ductaflow/" not in text


def test_build_that_swallows_the_exception_fails_all_the_same(session, root):
    """A build that catches its flow's exception runs to its end, but its record is an error."""
    build = record(root, "swallows/one/swallows_record.json")
    assert build["status"] == "error"
    assert build["error"]["type"] == "FlowFailed"
    assert build["error"]["message"] == "flow broken failed: ValueError: no such zone"
    log = (root / "runs/swallows/one/swallows_execution_output.txt").read_text(encoding="utf-8")
    assert "went on after FlowExecutionError" in log


def test_flow_may_run_where_the_build_says(session, root):
    """`execution_dir` in a build is relative to the build's run directory."""
    flow = record(root, "stumbles/one/runs/broken/here/broken_record.json")
    assert flow["status"] == "error"
    assert flow["error"]["cell"] == 4


def test_warnings_of_a_flow_can_fail_its_build(strict):
    """--ductaflow-warnings=fail fails a build whose flow warned."""
    strict.assert_outcomes(failed=1)


def test_failure_of_a_warning_names_the_flow(strict):
    """The failure text of a build that failed for a warning names the flow and its line."""
    text = failure(strict, "chain/one")
    assert "its flow fit" in text
    assert "⚠️ only 3 points" in text


def test_session_that_a_flow_starts_is_no_part_of_its_record(tmp_path, monkeypatch):
    outer = RunFiles(tmp_path / "outer", "outer")
    for name, value in build_environment(outer, Settings(html="all").dumps(), "/", {"X": "1"}).items():
        monkeypatch.setenv(name, value)
    outer.directory.mkdir()
    root = write_project(tmp_path / "project", {"flows/x.py": "print(1)", "config/flows/x.json": {}})
    done = run_pytest(root, "--ductaflow", "flows/x.py", "--ductaflow-html=none")
    done.assert_outcomes(passed=1)
    # Kernels that are forked are no children of the flow: they are listed as its memory until it ends.
    assert os.listdir(outer.directory) == [outer.list_of_kernels.name] * can_be_forked(os.environ)
    (left,) = root.glob("runs/**/x_record.json")
    assert "variables" not in json.loads(left.read_text(encoding="utf-8"))
