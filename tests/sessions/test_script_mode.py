"""Without pytest: a conductor as a script, a flow as a script, debug_flow, results."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run as python

from pytest_ductaflow.report.page import data_of

pytestmark = pytest.mark.slow

FILES = {
    "flows/x.py": """\
        # %% tags=["parameters"]
        config = {}

        # %%
        from pytest_ductaflow import is_notebook_execution, load_cli_config, unpack_config
        if not is_notebook_execution():
            config = load_cli_config("config/flows/x.json", "The flow x")
        vars().update(unpack_config(config))

        # %%
        import json
        if speed < 0:
            raise ValueError(f"negative speed {speed}")
        print("speed", speed)
        with open("results.json", "w") as file:
            json.dump({"time": 10 / speed, "fit": {"r2": 0.5}, "ok": True, "list": [1]}, file)
        """,
    "config/flows/x.json": {"speed": 5},
    "c.json": {"speed": 2},
    "conductor.py": """\
        from pytest_ductaflow import conduct, is_collecting, results

        print("collecting:", is_collecting())
        conduct("flows/x.py", [{"instance_name": "slow", "speed": 1}, {"instance_name": "fast", "speed": 4}])
        table = results()
        print(table.sort_values("instance").to_json(orient="records"))
        conduct("flows/x.py", [{"instance_name": "back", "speed": -1}, {"instance_name": "late", "speed": 2}])
        print("NEVER REACHED")
        """,
}


def record(directory: Path, stem: str = "x") -> dict:
    return json.loads((directory / f"{stem}_record.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def script(tmp_path_factory) -> tuple[Path, Path, pytest.RunResult]:
    """Run a conductor as a script, from another folder: return project, folder and result."""
    root = write_project(tmp_path_factory.mktemp("script") / "project", FILES)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    return root, elsewhere, python(elsewhere, root / "conductor.py")


def test_script_writes_into_its_project(script):
    """Started elsewhere, a conductor writes to its project, and nothing where it was started."""
    root, elsewhere, _ = script
    assert list(elsewhere.iterdir()) == []
    found = {path.name: record(path)["status"] for path in (root / "runs/x").iterdir()}
    assert found == {"slow": "success", "fast": "success", "back": "error", "late": "success"}
    assert (root / "runs/conductor_status_report.html").is_file()
    assert (root / "runs/notebook.css").is_file()


def test_script_shows_a_progress_bar(script):
    """The bar shows the step, how many instances are done, and the lights."""
    _, _, result = script
    text = result.stderr.str()
    assert re.search(r"x: 100%.*2/2", text)
    assert "🟢 2" in text
    assert "🔴 1" in text


def test_failure_in_a_script_ends_it_with_one_message(script):
    """After the last instance a failure ends the script with exit code 1 and a message without our frames."""
    root, _, result = script
    assert result.ret == 1
    assert "NEVER REACHED" not in result.stdout.str()
    errors = result.stderr.str()
    assert "Traceback" not in errors
    assert "pytest_ductaflow" not in errors
    last = result.errlines[-1]
    assert last == f"{root / 'conductor.py'}:7: SweepFailed: 1 of 2 instances failed: x/back"
    assert "🔴 x/back: ValueError: negative speed -1 (runs/x/back)" in result.outlines


def test_results_are_a_table_of_configs_and_outcomes(script):
    """`results()` has a row for each instance: status, config, and the scalars of the JSON files it wrote."""
    _, _, result = script
    assert result.outlines[0] == "collecting: False"
    table = json.loads(next(line for line in result.outlines if line.startswith("[{")))
    assert [row.pop("duration") > 0 for row in table] == [True, True]
    assert table == [
        {
            "step": "x",
            "instance": name,
            "status": "success",
            "instance_name": name,
            "speed": speed,
            "time": 10 / speed,
            "fit.r2": 0.5,
            "ok": True,
        }
        for name, speed in (("fast", 4), ("slow", 1))
    ]


def test_script_report_is_finished(script):
    """The report of a script has all rows in their last state, and says that it is finished."""
    root, _, _ = script
    page = (root / "runs/conductor_status_report.html").read_text(encoding="utf-8")
    data = data_of(page)
    assert data["outcome"] == "finished"
    assert {row["id"]: row["status"] for row in data["rows"]} == {
        "conductor.py::x::slow": "success",
        "conductor.py::x::fast": "success",
        "conductor.py::x::back": "error",
        "conductor.py::x::late": "success",
    }


def test_script_tells_of_a_run_that_another_config_overwrites(tmp_path):
    code = """\
        from pytest_ductaflow import conduct, run_notebook

        def go(speed):
            run_notebook("flows/x.py", config={"speed": speed}, execution_dir="runs/x/A", export_html=False)

        go(1)
        go(1)
        go(2)
        conduct("flows/x.py", [{"instance_name": "A", "speed": 3}])
        """
    root = write_project(tmp_path, {**FILES, "conductor.py": code})
    done = python(root, "conductor.py")
    assert done.ret == 0
    told = [line.rpartition("conductor.py")[2] for line in done.errlines if "UserWarning" in line]
    assert [line.partition(" UserWarning: ")[2] for line in done.errlines if "UserWarning" in line] == [
        "runs/x/A has been run with another config (conductor.py:4) and is overwritten"
    ] * 2
    assert [line.partition(":")[0] or line.split(":")[1] for line in told]
    assert json.loads((root / "runs/x/A/x_config.json").read_text())["speed"] == 3


def test_script_with_a_bad_table_runs_nothing(tmp_path):
    """A table that is wrong ends a script with its problems, before anything has run."""
    bad = "from pytest_ductaflow import conduct\nconduct('flows/x.py', [{'speed': 1}, {'speed': {1}}])\n"
    write_project(tmp_path, {**FILES, "conductor.py": bad})
    result = python(tmp_path, "conductor.py")
    assert result.ret == 1
    problem = "conductor.py:2, row 2, column 'speed': {1} (set) has no place in JSON"
    assert result.errlines == [f"{tmp_path / 'conductor.py'}:2: TableError: {problem}"]
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def flow_project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp("flow") / "project", FILES)


def test_flow_runs_as_an_instance(flow_project):
    """`python flows/x.py --config c.json --output-dir d` leaves the same files as pytest."""
    result = python(flow_project, "flows/x.py", "--config", "c.json", "--output-dir", "d")
    assert result.ret == 0, result.stderr.str()
    endings = ("config.json", "executed.ipynb", "executed.html", "execution_output.txt", "record.json")
    assert {path.name for path in (flow_project / "d").iterdir()} == {f"x_{e}" for e in endings} | {
        "results.json"
    }
    assert record(flow_project / "d")["status"] == "success"
    config = json.loads((flow_project / "d/x_config.json").read_text(encoding="utf-8"))
    assert config == {"speed": 2, "_project_root": str(flow_project)}


def test_flow_that_fails_as_an_instance(flow_project):
    """Such a flow, if it fails, ends with exit code 1 and one line that names cell and line."""
    write_project(flow_project, {"bad.json": {"speed": -3}})
    result = python(flow_project, "flows/x.py", "--config", "bad.json", "--output-dir", "failed")
    assert result.ret == 1
    assert len(result.errlines) == 1
    assert re.match(
        r"x failed in cell \[?4\]? \(flows/x\.py:\d+\): ValueError: negative speed -3", result.errlines[0]
    )
    assert record(flow_project / "failed")["status"] == "error"


def test_flow_is_laid_out_without_running(flow_project):
    """`--no-execute` writes config and notebook, ready to run, and nothing else."""
    result = python(flow_project, "flows/x.py", "--config", "c.json", "--output-dir", "laid", "--no-execute")
    assert result.ret == 0, result.stderr.str()
    assert {path.name for path in (flow_project / "laid").iterdir()} == {"x_config.json", "x_executed.ipynb"}
    assert '"speed": 2' in (flow_project / "laid/x_config.json").read_text(encoding="utf-8")


def test_flow_runs_plainly_with_its_default_config(flow_project, tmp_path):
    """Without an output directory a flow continues in its own process, here, with a log of what it prints."""
    result = python(tmp_path, flow_project / "flows/x.py")
    assert result.ret == 0, result.stderr.str()
    assert result.outlines[-1] == "speed 5"
    log = (tmp_path / "x_execution_output.txt").read_text(encoding="utf-8")
    assert log.splitlines()[-1] == "speed 5"
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["time"] == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--config", "nosuch.json"], "--config: no file nosuch.json here or in"),
        (["--config", "conductor.py"], "conductor.py is not JSON"),
    ],
)
def test_flow_with_a_bad_config_says_so(flow_project, args, says):
    """A config that is missing or no JSON ends a flow's script with exit code 2 and one message."""
    result = python(flow_project, "flows/x.py", *args)
    assert result.ret == 2
    assert says in result.errlines[-1]


def test_debug_flow_sets_up_and_prints_a_launch_entry(flow_project):
    """`debug_flow` lays out a run directory and prints a matching entry for launch.json."""
    code = "from ductaflow import debug_flow; debug_flow('flows/x.py', 'runs/x/debug', {'speed': 7})"
    result = python(flow_project, "-c", code)
    assert result.ret == 0, result.stderr.str()
    directory = flow_project / "runs/x/debug"
    assert {path.name for path in directory.iterdir()} == {"x_config.json", "x_executed.ipynb"}
    text = result.stdout.str()
    entry = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert entry["module"] == "pytest_ductaflow.api.debugging"
    assert entry["cwd"] == "${workspaceFolder}/runs/x/debug"
    assert entry["args"] == ["${workspaceFolder}/flows/x.py", "x_config.json"]
    told = "python -m pdb -c continue -m pytest_ductaflow.api.debugging flows/x.py runs/x/debug/x_config.json"
    assert text.splitlines()[-1] == f"Without an IDE: {told}"
    again = "from ductaflow import debug_flow; debug_flow('flows/x.py', 'runs/x/debug')"
    assert python(flow_project, "-c", again).ret == 0
    assert json.loads((directory / "x_config.json").read_text(encoding="utf-8"))["speed"] == 7


def test_debug_flow_without_any_config_says_so(flow_project):
    """`debug_flow` without a config and without an earlier run ends with a sentence."""
    code = "from ductaflow import debug_flow; debug_flow('flows/x.py', 'runs/x/none')"
    result = python(flow_project, "-c", code)
    assert result.ret == 1
    assert "no config given, and runs/x/none has none of an earlier run" in result.errlines[-1]


def test_debug_flow_deletes_only_run_directories_of_the_flow(flow_project):
    """With `force=True`, `debug_flow` refuses folders that hold anything but a run of the flow."""
    root = flow_project
    for name in (
        "data/mine.csv",
        "data/x_config.json",
        "runs/y/a/y_config.json",
        "runs/y/a/y_executed.ipynb",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}", encoding="utf-8")
    (root / "x_config.json").write_text("{}", encoding="utf-8")
    (root / "x_executed.ipynb").write_text("{}", encoding="utf-8")
    (root / "runs/empty").mkdir()
    (root / "linked").symlink_to("runs/x/debug")
    code = """
        from ductaflow import debug_flow
        debug_flow('flows/x.py', 'runs/x/debug', {'speed': 7})
        open('runs/x/debug/old.txt', 'w').close()
        places = '. data runs flows runs/y/a linked x_config.json runs/x/debug/old.txt'
        for place in places.split():
            try:
                debug_flow('flows/x.py', place, {'speed': 8}, force=True)
            except Exception as error:
                print('refused:', error)
        print('there:', __import__('os').path.exists('runs/x/debug/old.txt'))
        debug_flow('flows/x.py', 'runs/empty', {'speed': 9}, force=True)
        debug_flow('flows/x.py', 'runs/x/debug', force=True)
    """
    before = {path for path in root.rglob("*") if "runs/x" not in str(path)}
    result = python(root, "-c", textwrap.dedent(code))
    assert result.ret == 0, result.stderr.str()
    refused = [
        line for line in result.outlines if line.startswith("refused: debug_flow(force=True) does not")
    ]
    assert len(refused) == 8, result.outlines
    assert "it is a link" in "".join(refused)
    assert "there: True" in result.outlines
    assert before <= set(root.rglob("*"))
    assert {path.name for path in (root / "runs/x/debug").iterdir()} == {"x_config.json", "x_executed.ipynb"}


PLAIN = """\
# %% tags=["parameters"]
config = {}
speed = 1

# %%
import helper
from pathlib import Path
Path("seen.txt").write_text(f"{speed} {config['speed']} {__name__} {helper.WHAT}")

# %%
def inner(speed):
    raise ValueError(f"negative speed {speed}")

if speed < 0:
    inner(speed)
"""


def test_a_flow_runs_with_the_config_of_a_run_under_a_debugger(tmp_path):
    """Even one that reads no command line; the debugger stops where the flow failed, at its own line."""
    files = {
        "flows/plain.py": PLAIN,
        "flows/helper.py": "WHAT = 'helps'\n",
        "runs/plain/a/c.json": {"speed": -3},
    }
    root = write_project(tmp_path / "project", files)
    (root / "flows/helper.py").write_text("WHAT = 'helps'\n", encoding="utf-8")
    module = ("-m", "pytest_ductaflow.api.debugging", "flows/plain.py", "runs/plain/a/c.json")
    result = python(root, *module)
    assert result.ret == 1
    assert (root / "runs/plain/a/seen.txt").read_text(encoding="utf-8") == "-3 -3 __main__ helps"
    at = PLAIN.splitlines().index("    inner(speed)") + 1
    assert f'flows/plain.py", line {at}' in result.stderr.str()
    commands = ("-c", "continue", "-c", "p speed + 40", "-c", "quit")
    assert "37" in python(root, "-m", "pdb", *commands, *module).outlines


@pytest.mark.parametrize(
    ("flow", "said"),
    [
        ("flows/magic.py", "magic.py:5: invalid syntax; magics"),
        ("flows/x.md", "only .py flows run as a script"),
    ],
)
def test_a_flow_that_is_no_script_cannot_be_debugged_and_says_so(tmp_path, flow, said):
    root = write_project(
        tmp_path / "project", {"flows/magic.py": "%time 1\n", "flows/x.md": "", "c.json": {}}
    )
    result = python(root, "-m", "pytest_ductaflow.api.debugging", flow, "c.json")
    assert (result.ret, len(result.errlines)) == (1, 1)
    assert said in result.errlines[0]
