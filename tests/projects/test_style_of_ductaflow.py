"""A project in the style of existing ductaflow projects runs unchanged: collected, under xdist, as a script.

Three levels (conductor, builds, flows), `from ductaflow import …`, loops over `run_notebook` with
`execution_dir` inside try/except, `generate_status_report`, several flows in one run directory, and
a copy of the old ductaflow.py that was left behind in the project.
"""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from helpers.projects import write_project
from helpers.sessions import run

from pytest_ductaflow.report.page import data_of

pytestmark = [pytest.mark.slow, pytest.mark.together("style of ductaflow")]

HEADER = """\
# %% tags=["parameters"]
config = {{}}

# %%
from pathlib import Path
import json
from ductaflow import is_notebook_execution, load_cli_config, run_notebook
from ductaflow import display_config_summary, unpack_config

if not is_notebook_execution():
    config = load_cli_config("config/{folder}/{stem}.json", "{stem}")
vars().update(unpack_config(config, "{stem}", locals()))
display_config_summary(config, "{stem}")

# %%
"""
CODE = {
    "builds/corridor_build.py": """\
        print("BUILD", scenario_name)
        for flow in ("count_trips", "assign_trips"):
            try:
                run_notebook(
                    notebook_file=_project_root / "flows" / f"{flow}.py",
                    config=config,
                    execution_dir=Path("runs") / f"{flow}_instance",
                    project_root=_project_root,
                    export_html=True,
                )
            except Exception as error:
                print(f"flow failed: {flow} | {error}")
                raise
        """,
    "flows/count_trips.py": """\
        if demand < 0:
            raise ValueError(f"negative demand: {demand}")
        Path("trips.json").write_text(json.dumps({"trips": demand * factor}))
        """,
    "flows/assign_trips.py": """\
        trips = json.loads(Path("../count_trips_instance/trips.json").read_text())["trips"]
        if trips > capacity:
            print(f"⚠️ {trips} trips exceed the capacity of {capacity}")
        Path("assigned.json").write_text(json.dumps({"assigned": min(trips, capacity)}))
        """,
    "flows/site_prepare.py": 'Path("shared.txt").write_text("prepared")\n',
    "flows/site_check.py": 'assert Path("shared.txt").exists()\nprint("checked", Path.cwd().name)\n',
}
CONDUCTOR = """\
import json
from datetime import datetime
from pathlib import Path

from ductaflow import generate_status_report, run_notebook

model_root = Path("runs/study")
base = {"model_root": str(model_root), "capacity": 100, "assumptions": {"factor": 2}}
scenarios = {"high": {"demand": 90}, "wrong": {"demand": -1}}
results = []

for name, values in scenarios.items():
    output_dir = model_root / "Model_Runs" / name
    output_dir.mkdir(parents=True, exist_ok=True)
    scenario_config = {**base, **values, "scenario_name": name, "made": datetime(2025, 8, 26)}
    try:
        run_notebook(
            notebook_file="builds/corridor_build.py",
            config=scenario_config,
            execution_dir=output_dir,
            project_root=Path.cwd(),
        )
        results.append({"scenario": name, "status": "success", "duration_minutes": 0.1})
    except Exception as error:
        print(f"scenario failed: {name}: {error}")
        results.append({"scenario": name, "status": "failed", "error": str(error)})

for flow in ("site_prepare", "site_check"):
    run_notebook(f"flows/{flow}.py", config=base, execution_dir="runs/run_20250826_09")

Path("session_report.html").write_text(generate_status_report(results, model_root), encoding="utf-8")
print("CONDUCTOR DONE", json.dumps([result["status"] for result in results]))
"""
STALE = "raise ImportError('the stale copy of ductaflow.py was imported')\n"
LIGHTS = {
    "runs/study/Model_Runs/high/corridor_build": "warning",
    "runs/study/Model_Runs/wrong/corridor_build": "error",
    "runs/study/Model_Runs/high/runs/count_trips_instance/count_trips": "success",
    "runs/study/Model_Runs/high/runs/assign_trips_instance/assign_trips": "warning",
    "runs/study/Model_Runs/wrong/runs/count_trips_instance/count_trips": "error",
    "runs/run_20250826_09/site_prepare": "success",
    "runs/run_20250826_09/site_check": "success",
}


def make_project(root: Path, *, stale: bool) -> Path:
    code = {
        name: HEADER.format(folder=Path(name).parent, stem=Path(name).stem) + dedent(text)
        for name, text in CODE.items()
    }
    files = {**code, "conductor.py": CONDUCTOR}
    return write_project(root, files | {"ductaflow.py": STALE} if stale else files)


PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "--ductaflow-html=all", "conductor.py")


@pytest.fixture(scope="module", params=["one process", pytest.param("-n 2", marks=pytest.mark.thorough)])
def collected(request, tmp_path_factory) -> tuple[Path, pytest.RunResult]:
    """Return the project after pytest ran its conductor, in one process and with two workers."""
    root = make_project(tmp_path_factory.mktemp("existing") / "project", stale=True)
    extra = ["-n", "2"] if request.param == "-n 2" else []
    return root, run(root, *PYTEST, *extra)


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> tuple[Path, pytest.RunResult]:
    """Return the project after its conductor ran as a script."""
    root = make_project(tmp_path_factory.mktemp("existing") / "project", stale=False)
    return root, run(root, "conductor.py")


def lights(root: Path) -> dict[str, str]:
    """Return the status in the record of each run of interest."""
    return {
        name: json.loads((root / f"{name}_record.json").read_text(encoding="utf-8"))["status"]
        for name in LIGHTS
    }


def test_instances_have_their_outcomes(collected):
    """Every call of the loops is an item with its outcome; one that fails does not stop the others."""
    _, result = collected
    result.assert_outcomes(passed=2, failed=1)
    assert "1 warned" in result.outlines[-1]
    result.stdout.fnmatch_lines(
        [
            "study/Model_Runs/wrong: its flow count_trips failed",
            "E   ValueError: negative demand: -1",
        ]
    )


def test_runs_have_the_records_of_the_new_and_the_places_of_the_old(collected):
    """Run directories are those that the calls name, of builds and of the flows inside them."""
    root, _ = collected
    assert lights(root) == LIGHTS


def test_flows_may_share_a_run_directory(collected):
    """Two flows in one run directory are two items, and leave files under their own names."""
    root, result = collected
    text = result.stdout.str()
    assert "ductaflow: 4 instances in conductor.py" in text
    names = {path.name for path in (root / "runs/run_20250826_09").iterdir()}
    for stem in ("site_prepare", "site_check"):
        assert {f"{stem}_config.json", f"{stem}_executed.ipynb", f"{stem}_executed.html"} <= names
        assert f"{stem}_record.json" in names


def test_values_that_json_lacks_become_text_as_they_did(collected):
    """A date in the config of `run_notebook` becomes text, in the config and so in the flow."""
    root, _ = collected
    path = root / "runs/study/Model_Runs/high/corridor_build_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    assert config["made"].startswith("2025-08-26")
    assert config["assumptions"] == {"factor": 2}
    assert config["_project_root"] == str(root)


def test_nested_config_is_unpacked_in_flows(collected):
    """`unpack_config` gives a flow the entries of nested dicts as variables."""
    root, _ = collected
    path = root / "runs/study/Model_Runs/high/runs/count_trips_instance/trips.json"
    assert json.loads(path.read_text(encoding="utf-8")) == {"trips": 180}


def test_report_has_every_instance(collected):
    """The session's report has a row for each call, builds with their flows."""
    root, _ = collected
    page = (root / "runs/conductor_status_report.html").read_text(encoding="utf-8")
    found = data_of(page)
    rows = {(row["step"], row["instance"].partition("@")[0]): row for row in found["rows"]}
    assert rows["study/Model_Runs", "high"]["status"] == "warning"
    assert [flow["flow"] for flow in rows["study/Model_Runs", "high"]["flows"]] == [
        "count_trips",
        "assign_trips",
    ]
    assert len(found["rows"]) == 4


def test_script_runs_the_same_instances(script):
    """`python conductor.py` executes the same instances immediately, with the same lights."""
    root, result = script
    assert result.ret == 0, result.stderr.str()
    assert lights(root) == LIGHTS
    result.stdout.fnmatch_lines(
        [
            "scenario failed: wrong: corridor_build failed*",
            "CONDUCTOR DONE *success*failed*",
        ]
    )


def test_report_that_a_conductor_writes_itself(script):
    """`generate_status_report` gives a page with the scenarios and their lights."""
    root, _ = script
    page = (root / "session_report.html").read_text(encoding="utf-8")
    found = data_of(page)
    statuses = {row["instance"]: row["status"] for row in found["rows"]}
    assert statuses == {"high": "warning", "wrong": "error"}


CHANGING_DIRECTORY = """\
import os
from pathlib import Path
from ductaflow import run_notebook
ROOT = os.getcwd()
for name in ("monday", "tuesday"):
    directory = Path("runs/prep", name)
    directory.mkdir(parents=True, exist_ok=True)
    os.chdir(directory)
    run_notebook(Path(ROOT, "flow/step.py"), config={"x": name})
    os.chdir(ROOT)
run_notebook("flow/step.py", config={"x": "here", "instance_name": "here"})
"""


@pytest.mark.parametrize("command", [["-m", "pytest", "--ductaflow", "conductor.py"], ["conductor.py"]])
def test_a_conductor_that_changes_into_the_run_directory_runs_its_flow_there(tmp_path, command):
    step = '# %% tags=["parameters"]\nx = ""\n\n# %%\nopen("out.txt", "w").write(x)\n'
    write_project(tmp_path, {"flow/step.py": step, "conductor.py": CHANGING_DIRECTORY})
    result = run(tmp_path, *command)
    assert result.ret == 0, str(result.stdout)
    written = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("out.txt")}
    assert written == {
        "runs/prep/monday/out.txt": "monday",
        "runs/prep/tuesday/out.txt": "tuesday",
        "runs/step/here/out.txt": "here",
    }
