"""Choosing instances, and what pytest's own options make of them.

Red instances here name a kernel that is not installed: they fail without starting one.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from helpers.projects import write_project

CONDUCTOR = """\
from ductaflow import run_notebook, run_step_flow
from pytest_ductaflow import conduct

conduct("flows/fit.py", [
    {"instance_name": "rail_2030", "year": 2030, "mode": "rail", "deep.x": 1, "_marks": "quick, rail"},
    {"instance_name": "rail_2040", "year": 2040, "mode": "rail", "deep.x": 2, "_marks": "rail"},
    {"instance_name": "bus_2040", "year": 2040, "mode": "bus", "deep.x": 2, "_marks": ""},
])
for name in ("first", "second", "third"):
    run_notebook("flows/red.py", config={"instance_name": name}, kernel_name="nosuch")
run_step_flow("flows/fit.py", "aside", "left out", {"_marks": "skip"})
"""
FIT = [f"conductor.py::fit::{name}" for name in ("rail_2030", "rail_2040", "bus_2040")]
RED = [f"conductor.py::red::{name}" for name in ("first", "second", "third")]
ASIDE = ["conductor.py::aside::left_out"]


@pytest.fixture(autouse=True)
def project(pytester, monkeypatch):
    """Make a project, and let an inner pytest find our entry point, whatever options the outer one got."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    files = {"flows/fit.py": "print('fits')\n", "flows/red.py": "", "conductor.py": CONDUCTOR}
    return write_project(pytester.path, files)


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("--ductaflow", *args)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        pytest.param(["conductor.py::fit"], FIT, id="a step by ::"),
        pytest.param([RED[2], FIT[0]], [RED[2], FIT[0]], id="instances by ::, in that order"),
        pytest.param(["conductor.py", "-k", "rail and not 2030"], [FIT[1]], id="-k"),
        pytest.param(["conductor.py", "-m", "rail"], FIT[:2], id="-m"),
        pytest.param(
            ["conductor.py", "-m", "quick or skip", "--strict-markers"], [FIT[0], *ASIDE], id="-m strict"
        ),
    ],
)
def test_pytest_selects_as_ever(pytester, args, expected):
    """`::`, -k, -m with the column `_marks` select instances as they select tests."""
    result = run(pytester, "--collect-only", "-q", *args)
    assert result.ret == 0
    assert [line for line in result.outlines if "::" in line] == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("year == 2040 and mode == 'rail'", [FIT[1]]),
        ("`deep.x` > 1", FIT[1:]),
        ("step == 'fit' and instance != 'bus_2040'", FIT[:2]),
        ("flow == 'red'", RED),
    ],
)
def test_where_selects_by_column(pytester, expression, expected):
    """--ductaflow-where selects by columns, nested ones, step, instance and flow."""
    result = run(pytester, "--collect-only", "-q", f"--ductaflow-where={expression}", "conductor.py")
    assert result.ret == 0
    assert [line for line in result.outlines if "::" in line] == expected
    result.stdout.fnmatch_lines([f"*{len(expected)}/7 tests collected ({7 - len(expected)} deselected)*"])


@pytest.mark.parametrize("expression", ["yeer == 2040", "year =="])
def test_bad_where_is_a_usage_error_that_names_the_columns(pytester, expression):
    """An expression that cannot be evaluated ends with exit code 4, naming it and the existing columns."""
    result = run(pytester, f"--ductaflow-where={expression}", "conductor.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str()
    assert f"--ductaflow-where {expression!r}: " in text
    assert "Columns here: instance_name, year, mode, deep.x, step, instance, flow" in text
    assert "Traceback" not in text
    assert not (pytester.path / "runs").exists()


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_an_expression_that_is_none_ends_before_workers_start_and_names_the_way_to_select(pytester, workers):
    result = run(pytester, "-k", "year=2040", "conductor.py", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "Wrong expression passed to '-k': year=2040" in text
    assert "--ductaflow-where 'year == 2040'" in text
    assert "INTERNALERROR" not in text
    assert not (pytester.path / "runs").exists()


def test_instance_that_is_not_there_is_a_usage_error(pytester):
    """A node id that no instance has ends as for tests."""
    result = run(pytester, "conductor.py::fit::nosuch")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: not found: *nosuch*"])


@pytest.mark.parametrize(("option", "failed"), [("-x", 1), ("--maxfail=2", 2)])
def test_session_stops_after_failures(pytester, option, failed):
    """-x and --maxfail stop the session; the instances after that are not run."""
    result = run(pytester, option, "conductor.py::red")
    result.assert_outcomes(failed=failed)
    directories = sorted(path.name for path in (pytester.path / "runs/red").iterdir())
    assert directories == ["first", "second", "third"][:failed]


def test_last_failed_runs_only_what_failed(pytester):
    """--lf runs the instances that failed last time, by node ids with marks in their names as well."""
    odd = "run_notebook('flows/red.py', config={'instance_name': 'odd [1] :: name'}, kernel_name='nosuch')\n"
    write_project(pytester.path, {"conductor.py": CONDUCTOR + odd})
    run(pytester, "conductor.py", "-k", "second or odd or left_out").assert_outcomes(
        failed=2, skipped=1, deselected=5
    )
    result = run(pytester, "conductor.py", "--lf", "--collect-only", "-q")
    assert [line for line in result.outlines if "::" in line] == [
        RED[1],
        "conductor.py::red::odd__1_____name",
    ]


def test_marks_of_pytest_work(pytester):
    """`_marks` may name pytest's own marks: skip skips, and nothing is run."""
    result = run(pytester, *ASIDE)
    result.assert_outcomes(skipped=1)
    assert not (pytester.path / "runs/aside").exists()


def test_marks_of_pytest_work_in_rows_of_a_file(pytester):
    """Rows have no source line, which pytest needs to report where something was skipped."""
    rows = "instance_name,flow,_marks\na,flows/fit.py,skip\nb,flows/fit.py,skipif\nc,flows/fit.py,slow\n"
    write_project(pytester.path, {"rows.csv": rows})
    result = run(pytester, "rows.csv", "-m", "skip or skipif", "-rs")
    result.assert_outcomes(skipped=2, deselected=1)
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_collect_only_writes_nothing(pytester):
    """--collect-only does not change runs/, including the report."""
    assert run(pytester, "--collect-only", "conductor.py").ret == 0
    assert not (pytester.path / "runs").exists()


def test_call_that_only_lays_out_is_not_run(pytester):
    """A conductor's call with no_execute=True, or debug_flow, is not an instance that pytest executes."""
    code = (
        "from ductaflow import run_notebook\nrun_notebook('flows/fit.py', config={'a': 1}, no_execute=True)\n"
    )
    write_project(pytester.path, {"conductor.py": code})
    result = run(pytester, "--collect-only", "-q", "conductor.py")
    assert [line for line in result.outlines if "::" in line] == []


@pytest.mark.slow
def test_reports_of_pytest_know_the_instances(pytester):
    """--durations lists instances, --junitxml is valid and has names, classes, outcomes and messages."""
    orange = "import sys\nprint('⚠️ low <data> &')\n"
    write_project(pytester.path, {"flows/orange.py": orange})
    call = "run_step_flow('flows/orange.py', 'fit', 'orange <b>', {})\n"
    write_project(pytester.path, {"conductor.py": CONDUCTOR + call})
    chosen = ["conductor.py", "-k", "rail_2030 or first or orange or left_out"]
    result = pytester.runpytest_subprocess("--ductaflow", "--durations=3", "--junitxml=j.xml", *chosen)
    result.assert_outcomes(passed=1, failed=1, skipped=1, deselected=4)
    assert "1 warned" in result.outlines[-1]
    result.stdout.re_match_lines([r"\d+\.\d\ds call +conductor\.py::fit::(rail_2030|orange__b_)"])
    suite = ET.parse(pytester.path / "j.xml").getroot()[0]
    assert suite.attrib["tests"] == "4"
    cases = {case.attrib["name"]: case for case in suite.iter("testcase")}
    assert set(cases) == {"rail_2030", "first", "orange__b_", "left_out"}
    assert cases["rail_2030"].attrib["classname"] == "conductor.fit"
    assert [child.tag for child in cases["rail_2030"]] == []
    assert "no Jupyter kernel 'nosuch'" in cases["first"].find("failure").attrib["message"]
    assert "run directory: runs/red/first" in cases["first"].find("failure").text
    assert cases["orange__b_"].find("skipped").attrib["message"] == "⚠️ low <data> &"
    assert float(cases["rail_2030"].attrib["time"]) > 0


ROWS = 'conduct("flows/red.py", [{"instance_name": name, "_kernel": "nosuch"} for name in ("a[1]", "b")])'


@pytest.fixture
def bracketed(pytester) -> Path:
    """Make a stored instance and a run directory with names that pytest takes for parameters."""
    stored = {"schema": 1, "flow": "flows/fit.py", "step": "fit", "config": {}}
    files = {"outputs": ["*"], "expected": ["x.txt"]}
    for name in ("a[1]", "b"):
        write_project(
            pytester.path,
            {
                f"tests/instances/fit/{name}/instance.json": {**stored, **files, "instance": name},
                f"tests/instances/fit/{name}/expected/x.txt": "",
            },
        )
    rows = {"rows_conductor.py": f"from pytest_ductaflow import conduct\n{ROWS}\n"}
    write_project(pytester.path, {**rows, "tests/test_own.py": "def test_own(): ...\n"})
    run(pytester, "rows_conductor.py").assert_outcomes(failed=2)
    return pytester.path


RUN = "runs/red/a[1]/red_config.json::red::a_1_"
STORED = "tests/instances/fit/a[1]/instance.json::a_1_"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["runs/red/a[1]"], [RUN]),
        (["tests/instances/fit/a[1]"], [STORED]),
        ([RUN, STORED], [RUN, STORED]),
        ([STORED, "tests/test_own.py::test_own", FIT[0]], [STORED, "tests/test_own.py::test_own", FIT[0]]),
    ],
)
def test_a_path_with_brackets_selects_what_is_there(pytester, bracketed, args, expected):
    result = run(pytester, "--collect-only", "-q", *args)
    assert sorted(line for line in result.outlines if "::" in line) == sorted(expected)


def test_a_name_that_is_not_in_a_path_with_brackets_is_a_usage_error(pytester, bracketed):
    result = run(pytester, "--collect-only", "-q", RUN.removesuffix("_1_"))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: not found: *::red::a", "ERROR: did you mean*::red::a_1_'?"])


@pytest.mark.thorough
def test_a_path_with_brackets_selects_in_workers_too(pytester, bracketed):
    result = run(pytester, "-n", "1", "tests/test_own.py", "runs/red/a[1]")
    result.assert_outcomes(passed=2)
