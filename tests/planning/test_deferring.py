"""Conductors that do not use `is_collecting`: what waits, what is still declared, what stays."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent

import pytest
from helpers.projects import write_project
from helpers.sessions import run
from helpers.thorough import one_in

from pytest_ductaflow.core.errors import PlanError
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.planning.discovery import Source
from pytest_ductaflow.planning.make_plan import make_plan
from pytest_ductaflow.planning.plan import Plan

GROW = """\
    import json
    from pathlib import Path

    config.setdefault("rate", 1)
    Path("result.json").write_text(json.dumps({"value": config["rate"] * 10}))
    """
HEAD = '''\
"""A conductor."""

from __future__ import annotations

import json, os, shutil
from pathlib import Path
from ductaflow import run_notebook, run_step_flow

'''
DELIVERY = """\
for rate in (1, 2):
    run_step_flow("flows/grow.py", "grow", f"r{rate}", {"rate": rate})
    if os.path.exists(f"delivery/r{rate}"):
        shutil.rmtree(f"delivery/r{rate}")
    if os.path.exists(f"runs/grow/r{rate}"):
        shutil.copytree(f"runs/grow/r{rate}", f"delivery/r{rate}")
"""
IN_A_FUNCTION = """\
def deliver(name):
    '''Copy.'''
    shutil.copytree(f"runs/grow/{name}", f"delivery/{name}", dirs_exist_ok=True)

def main():
    for rate in (1, 2):
        run_step_flow("flows/grow.py", "grow", f"r{rate}", {"rate": rate})
        deliver(f"r{rate}")

if __name__ == "__main__":
    main()
"""
MADE_ANEW = """\
for rate in (1, 2):
    run_step_flow("flows/grow.py", "grow", f"r{rate}", {"rate": rate})
    shutil.rmtree(f"delivery/r{rate}")
    os.mkdir(f"delivery/r{rate}")
"""
NEEDED = """\
run_step_flow("flows/grow.py", "grow", "r1", {"rate": 1})
{needed}
run_step_flow("flows/grow.py", "grow", "r2", {"rate": value})
"""


def collected(root: Path, code: str, undo: ExitStack | None = None) -> Plan:
    conductor = root / "conductor.py"
    conductor.write_text(HEAD + code, encoding="utf-8")
    return make_plan([Source(conductor, "conductor", root)], Settings(defer=True), undo=undo)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    files = {
        "flows/grow.py": GROW,
        "runs/grow/r1/result.json": {"value": 0},
        "delivery/r1/result.json": {"value": 0},
        "delivery/r2/result.json": {"value": 0},
        "summary.json": {"total": 0},
    }
    return write_project(tmp_path, files)


def names(plan: Plan) -> list[str]:
    return [instance.name for instance in plan.all]


@pytest.mark.parametrize(
    "code", [DELIVERY, IN_A_FUNCTION, MADE_ANEW], ids=["in a loop", "in functions", "made anew"]
)
def test_what_only_delivers_is_left_out_and_every_call_declared(project, code):
    plan = collected(project, code)
    assert names(plan) == ["r1", "r2"]
    assert plan.afters == (project / "conductor.py",)
    assert json.loads((project / "delivery/r2/result.json").read_text()) == {"value": 0}
    (note,) = plan.notes
    assert note.startswith("left for conductor.py::after, when the instances have ended: conductor.py:")
    assert "all that comes after" not in note


@pytest.mark.parametrize(
    "needed",
    [
        'value = json.loads(Path("runs/grow/r1/result.json").read_text())["value"]',
        'value = 5\nif os.path.exists("runs/grow/r1/result.json"):\n    value = 7',
        'value = [1]\nvalue.append(json.loads(Path("runs/grow/r1/result.json").read_text())["value"])',
        'value = {}\nvalue["x"] = os.path.getsize("runs/grow/r1/result.json")',
        'value = 1\nfor _ in range(2):\n    if os.path.exists("runs/grow/r1/result.json"):\n        break',
    ],
    ids=["assigned", "in a branch", "appended", "an item", "a way out of a loop"],
)
def test_where_something_else_needs_it_the_conductor_ends(project, needed):
    plan = collected(project, NEEDED.replace("{needed}", needed))
    assert names(plan) == ["r1"]
    assert plan.notes[0].endswith("and all that comes after that, with its calls one after the other")


def test_a_file_written_anew_stays_for_calls_that_follow_and_no_longer(project):
    write_project(project, {"given.json": {"rate": 1}})
    plan = collected(
        project,
        'Path("given.json").write_text(json.dumps({"rate": 2}))\n'
        f"{DELIVERY}"
        'Path("summary.json").write_text(json.dumps({"total": 9}))\n',
    )
    assert names(plan) == ["r1", "r2"]
    assert json.loads((project / "given.json").read_text()) == {"rate": 2}
    assert json.loads((project / "summary.json").read_text()) == {"total": 0}


GIVEN = 'Path("given.json").write_text(json.dumps({"rate": 2}))\n' + DELIVERY


def test_where_nothing_runs_a_file_that_calls_read_stays_anew_until_the_session_ends(project):
    """So the reports on instances match what a run would do."""
    given = write_project(project, {"given.json": {"rate": 1}}) / "given.json"
    with ExitStack() as undo:
        assert names(collected(project, GIVEN, undo)) == ["r1", "r2"]
        assert json.loads(given.read_text()) == {"rate": 2}
    assert json.loads(given.read_text()) == {"rate": 1}


def test_where_what_is_to_be_run_is_not_right_every_file_is_as_before(project):
    given = write_project(project, {"given.json": {"rate": 1}}) / "given.json"
    with pytest.raises(PlanError, match=r"flows/none\.py"):
        collected(project, GIVEN + 'run_step_flow("flows/none.py", "none", "r3", {})\n')
    assert json.loads(given.read_text()) == {"rate": 1}


@pytest.mark.parametrize("option", ["--collect-only", "--ductaflow-graph=dot"])
def test_a_session_in_which_nothing_runs_leaves_every_file_as_it_was(pytester, monkeypatch, option):
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    files = {"flows/grow.py": GROW, "given.json": {"rate": 1}, "conductor.py": HEAD + GIVEN}
    given = write_project(pytester.path, files) / "given.json"
    result = pytester.runpytest_inprocess("--ductaflow", "--ductaflow-defer", option, "conductor.py")
    assert result.ret == 0
    result.stdout.fnmatch_lines("*r1*")
    assert json.loads(given.read_text()) == {"rate": 1}


def test_a_mistake_of_the_conductor_is_told_as_ever(project):
    with pytest.raises(Exception, match="ZeroDivisionError"):
        collected(project, f"{DELIVERY}1 / 0\n")


CHAIN = """\
    import json, shutil
    from pathlib import Path
    from ductaflow import run_step_flow

    if Path("runs/grow/r1").exists():
        shutil.rmtree("runs/grow/r1")
    run_step_flow("flows/grow.py", "grow", "r1", {"rate": 3})
    value = json.loads(Path("runs/grow/r1/result.json").read_text())["value"]
    run_step_flow("flows/grow.py", "grow", "r2", {"rate": value})
    Path("total.txt").write_text(Path("runs/grow/r2/result.json").read_text())
    """


@pytest.mark.slow
@pytest.mark.parametrize("workers", one_in(2, [("-n", "2"), ()]), ids=" ".join)
def test_calls_that_depend_on_results_run_when_these_are_there(tmp_path, workers):
    """Also where the conductor deletes a run directory before its call, as it does in a script."""
    write_project(tmp_path, {"flows/grow.py": GROW, "conductor.py": dedent(CHAIN)})
    command = ("-m", "pytest", "--ductaflow", "--ductaflow-defer", "conductor.py", *workers)
    for _ in range(2):
        result = run(tmp_path, *command)
        assert result.ret == 0, result.stdout.str()
        assert (tmp_path / "total.txt").read_text() == '{"value": 300}'
        assert json.loads((tmp_path / "runs/grow/r1/result.json").read_text()) == {"value": 30}
