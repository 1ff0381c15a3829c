"""Stored instances from the command line: stored, replayed in other clones, compared, approved of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from conftest import write_project

from pytest_ductaflow.report.page import read

pytestmark = pytest.mark.slow

FLOW = """\
    import json
    import sys
    import pandas as pd

    # %%
    zones = pd.DataFrame({"zone": ["north", "south", "east"], "people": [1200, 800, 400]})
    zones["trips"] = zones["people"] * 2.5
    zones.to_csv("trips.csv", index=False)

    # %%
    with open("totals.json", "w") as file:
        json.dump({"year": config["year"], "trips": zones["trips"].sum()}, file)
    print(config.get("say", "all is well"))
    if config.get("fails"):
        raise ValueError("no such year")
    """
PROJECT = {
    "flows/trips.py": FLOW,
    "conductor.py": """\
        import pandas as pd
        from pytest_ductaflow import conduct
        conduct("flows/trips.py", pd.DataFrame({"instance_name": ["A", "B"], "year": [2030, 2040]}))
        """,
}
GATE = "tests/instances"


def run(root: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    hidden = ("PYTEST_", "COV_", "GITHUB_", "CI")
    environment = {name: text for name, text in os.environ.items() if not name.startswith(hidden)}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def pytest_(root: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(root, "pytest", "-p", "no:cacheprovider", "--ductaflow", *args, **variables)


def store(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return run(root, "pytest_ductaflow.cli", "store", *args)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Times and contents of all files in a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A repository whose instance A is stored; nobody changes it."""
    root = write_project(tmp_path_factory.mktemp("origin"), PROJECT)
    assert pytest_(root, "conductor.py").returncode == 0
    done = store(root, "runs/trips/A")
    assert (done.returncode, done.stderr) == (0, "")
    (root / ".gitignore").write_text("runs/\n")
    for command in ("init -q", "add .", "-c user.name=x -c user.email=x@y commit -q -m stored"):
        subprocess.run(["git", *command.split()], cwd=root, check=True)
    return root


@pytest.fixture
def clone(origin, tmp_path) -> Path:
    """Another clone of it, at another path, without `runs/`."""
    root = tmp_path / "another place/clone"
    subprocess.run(["git", "clone", "-q", str(origin), str(root)], check=True)
    return root


def test_a_stored_instance_passes_in_another_clone_in_a_directory_of_its_own(clone):
    done = pytest_(clone, GATE, "-v")
    assert done.returncode == 0, done.stdout
    assert f"{GATE}/trips/A/instance.json::A PASSED" in done.stdout
    assert sorted(path.name for path in (clone / "runs").iterdir() if path.is_dir()) == ["instances"]
    assert (clone / "runs/instances/trips/A/trips.csv").is_file()
    assert subprocess.run(["git", "status", "-s"], cwd=clone, capture_output=True, check=True).stdout == b""


def test_it_always_runs_and_never_touches_the_sweep(clone):
    pytest_(clone, "conductor.py")
    before = state(clone / "runs/trips")
    for _ in range(2):
        assert " PASSED" in pytest_(clone, GATE, "-v").stdout
    assert state(clone / "runs/trips") == before


def test_one_character_of_a_coefficient_fails_and_says_by_how_much(clone):
    edit(clone / "flows/trips.py", "* 2.5", "* 2.6")
    done = pytest_(clone, GATE, "--junit-xml=junit.xml")
    assert done.returncode == 1
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert "trips ran, but its outputs are not as stored in tests/instances/trips/A" in lines
    csv = next(line for line in lines if line.startswith("E   trips.csv: 3 of 9 values differ"))
    assert "120" in csv
    assert "row 1, trips" in csv
    assert any(line.startswith("E   totals.json: 1 of 2 values differ") for line in lines)
    assert any(line.split()[:3] == ["where", "expected", "found"] for line in lines)
    assert any(line.split() == ["row", "1,", "trips", "3000.0", "3120.0", "120", "4", "%"] for line in lines)
    assert "run directory: runs/instances/trips/A" in lines
    command = "pytest --ductaflow tests/instances/trips/A"
    assert f"approve:       {command} --ductaflow-update" in lines
    assert any(line.startswith("FAILED tests/instances/trips/A/instance.json::") for line in lines)
    failure = ET.parse(clone / "junit.xml").find(".//failure")
    assert "trips.csv: 3 of 9 values differ" in failure.get("message")
    assert "totals.json: 1 of 2 values differ" in failure.get("message")
    record = json.loads((clone / "runs/instances/trips/A/trips_record.json").read_text())
    assert [difference["file"] for difference in record["differences"]] == ["totals.json", "trips.csv"]


def test_a_change_within_the_tolerance_passes(clone):
    edit(clone / "flows/trips.py", "* 2.5", "* 2.6")
    file = clone / GATE / "trips/A/instance.json"
    edit(file, '"rtol": 1e-06', '"rtol": 0.05')
    assert pytest_(clone, GATE).returncode == 0


def test_missing_and_extra_files_are_told(clone):
    edit(clone / "flows/trips.py", '"totals.json"', '"sums.json"')
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "E   totals.json: is missing: the flow did not write it" in done.stdout
    assert "E   sums.json: was written, but is not expected" in done.stdout


def test_what_an_earlier_replay_wrote_does_not_pass_for_an_output(clone):
    assert pytest_(clone, GATE).returncode == 0
    edit(clone / "flows/trips.py", '"totals.json"', '"sums.json"')
    assert "totals.json: is missing" in pytest_(clone, GATE).stdout


def test_an_expected_file_that_git_did_not_take_is_told(clone):
    (clone / GATE / "trips/A/expected/trips.csv").unlink()
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "tests/instances/trips/A/expected/trips.csv is not there: is it ignored by git?" in done.stdout


def test_a_file_that_nobody_listed_is_told(clone):
    (clone / GATE / "trips/A/expected/more.csv").write_text("a\n")
    (clone / GATE / "trips/A/expected/.DS_Store").write_text("")
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "expected/more.csv is not listed under `expected` in instance.json" in done.stdout
    assert "DS_Store" not in done.stdout


@pytest.mark.parametrize(
    "content", [b"", b"zone,peo", b'zone,people,trips\n"north', b"\xff\xfe\x00", b"a,a\n1,2\n"]
)
def test_an_expected_file_that_cannot_be_read_never_passes(clone, content):
    (clone / GATE / "trips/A/expected/trips.csv").write_bytes(content)
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "trips.csv" in done.stdout
    assert "Traceback" not in done.stdout


def test_a_warning_stays_orange_and_is_still_compared(clone):
    edit(clone / GATE / "trips/A/instance.json", '"year": 2030', '"year": 2030, "say": "⚠️ few data"')
    done = pytest_(clone, GATE, "-v")
    assert done.returncode == 0
    assert "WARNED" in done.stdout
    edit(clone / "flows/trips.py", "* 2.5", "* 2.6")
    done = pytest_(clone, GATE, "-v")
    assert done.returncode == 1
    assert "3 of 9 values differ" in done.stdout


def test_a_flow_that_fails_is_a_failure_like_any_other(clone):
    edit(clone / GATE / "trips/A/instance.json", '"year": 2030', '"year": 2030, "fails": true')
    done = pytest_(clone, GATE, "--ductaflow-update")
    assert done.returncode == 1
    assert "ValueError: no such year" in done.stdout
    assert "nothing to update" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"schema": 1', '"schema": 7', "instance.json: schema: expected 1, found 7"),
        ('"flow": "flows/trips.py"', '"flow": "flows/trip.py"', "flows/trip.py"),
        ("{\n", "", "instance.json:1: not JSON"),
        ('"instance": "A"', '"instance": "../../A"', "instance"),
    ],
)
def test_a_file_that_cannot_be_is_told_before_anything_runs(clone, old, new, message):
    edit(clone / GATE / "trips/A/instance.json", old, new)
    done = pytest_(clone, GATE)
    assert done.returncode == 4
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (clone / "runs").exists()


def test_a_link_to_the_sweep_is_not_followed_to_delete_there(clone):
    pytest_(clone, "conductor.py")
    (clone / "runs/instances").symlink_to("../runs")
    before = state(clone / "runs/trips")
    done = pytest_(clone, GATE)
    assert done.returncode == 4
    assert "A/instance.json: it would run in runs/instances/trips/A, and a link leads" in done.stderr
    assert state(clone / "runs/trips") == before


def test_a_step_that_is_called_like_the_folder_of_replays_is_left_alone(clone):
    conductor = (clone / "conductor.py").read_text()
    (clone / "conductor.py").write_text(conductor.replace("}))", '}), step="instances/trips")'))
    pytest_(clone, "conductor.py")
    before = state(clone / "runs/instances/trips/A")
    done = pytest_(clone, GATE)
    assert done.returncode == 4
    assert "would run in runs/instances/trips/A, where an instance of conductor.py has run" in done.stderr
    assert state(clone / "runs/instances/trips/A") == before


@pytest.mark.parametrize("option", ["--ductaflow-accept", "--ductaflow-explain"])
def test_a_session_that_runs_nothing_is_no_gate(clone, option):
    assert pytest_(clone, GATE).returncode == 0
    edit(clone / "flows/trips.py", "* 2.5", "* 2.6")
    done = pytest_(clone, GATE, option)
    assert " passed" not in done.stdout
    if option == "--ductaflow-explain":
        assert done.returncode == 0
        assert "a stored instance always runs" in done.stdout
    else:
        assert done.returncode == 1
        assert "is a stored instance and has to run: --ductaflow-update approves" in done.stdout


# ---------------------------------------------------------------- approving


def test_an_update_shows_what_changes_and_writes_it(clone):
    edit(clone / "flows/trips.py", "* 2.5", "* 2.6")
    edit(clone / "flows/trips.py", '"totals.json"', '"sums.json"')
    folder = clone / GATE / "trips/A"
    done = pytest_(clone, GATE, "--ductaflow-update", "-n", "2")
    assert done.returncode == 0, done.stdout
    assert "trips.csv: 3 of 9 values differ" in done.stdout
    assert (folder / "expected/trips.csv").read_text() == (
        clone / "runs/instances/trips/A/trips.csv"
    ).read_text()
    assert sorted(path.name for path in (folder / "expected").iterdir()) == ["sums.json", "trips.csv"]
    assert json.loads((folder / "instance.json").read_text())["expected"] == ["sums.json", "trips.csv"]
    done = pytest_(clone, GATE, "--ductaflow-update")
    assert done.returncode == 0
    assert "nothing to update" in done.stdout


def test_an_update_writes_only_what_differs_and_only_what_is_selected(clone):
    other = clone / GATE / "trips/B"
    shutil.copytree(clone / GATE / "trips/A", other)
    edit(other / "instance.json", '"instance": "A"', '"instance": "B"')
    edit(clone / "flows/trips.py", "* 2.5", "* 2.500000001")
    edit(clone / "flows/trips.py", '"year": config["year"]', '"year": 2099')
    before, untouched = state(clone / GATE / "trips/A/expected"), state(other)
    done = pytest_(clone, f"{GATE}/trips/A", "--ductaflow-update")
    assert done.returncode == 0
    after = state(clone / GATE / "trips/A/expected")
    assert after["trips.csv"] == before["trips.csv"]
    assert after["totals.json"] != before["totals.json"]
    assert state(other) == untouched


@pytest.mark.parametrize("ci", ["true", "1"])
def test_an_update_is_refused_where_nobody_looks(clone, ci):
    edit(clone / "flows/trips.py", "* 2.5", "* 2.6")
    before = state(clone / GATE)
    done = pytest_(clone, GATE, "--ductaflow-update", CI=ci)
    assert done.returncode == 4
    assert "--ductaflow-update: CI is set" in done.stderr
    assert state(clone / GATE) == before
    assert not (clone / "runs").exists()
    assert pytest_(clone, GATE, "--ductaflow-update", "--ductaflow-force", CI=ci).returncode == 0
    assert state(clone / GATE) != before


def test_an_update_after_a_crash_writes_nothing(clone):
    edit(clone / "flows/trips.py", "print(", "import os; os.abort()\n    print(".replace("    ", ""))
    before = state(clone / GATE)
    done = pytest_(clone, GATE, "--ductaflow-update")
    assert done.returncode == 1
    assert state(clone / GATE) == before


def test_an_update_of_a_warning_that_fails_writes_nothing(clone):
    edit(clone / GATE / "trips/A/instance.json", '"year": 2030', '"year": 2030, "say": "⚠️ few data"')
    edit(clone / "flows/trips.py", "* 2.5", "* 2.6")
    before = state(clone / GATE)
    done = pytest_(clone, GATE, "--ductaflow-update", "--ductaflow-warnings=fail")
    assert done.returncode == 1
    assert "few data" in done.stdout
    assert "nothing to update" in done.stdout
    assert state(clone / GATE) == before


def test_an_update_follows_no_link_to_other_folders(clone):
    edit(clone / "flows/trips.py", "* 2.5", "* 2.6")
    expected, elsewhere = clone / GATE / "trips/A/expected", clone / "elsewhere"
    expected.rename(elsewhere)
    (elsewhere / "thesis.txt").write_text("precious")
    expected.symlink_to("../../../../elsewhere")
    before = state(elsewhere)
    done = pytest_(clone, GATE, "--ductaflow-update")
    assert done.returncode == 1
    assert "NOT UPDATED: a link leads from" in done.stdout
    assert state(elsewhere) == before


def test_an_update_does_not_take_what_could_never_be_compared(clone):
    edit(clone / "flows/trips.py", 'print(config.get("say"', 'open("trips.csv", "w")\nprint(config.get("say"')
    before = state(clone / GATE)
    done = pytest_(clone, GATE, "--ductaflow-update")
    assert done.returncode == 1
    assert "NOT UPDATED: " in done.stdout
    assert "cannot be read as CSV" in done.stdout
    assert state(clone / GATE) == before


def test_an_update_drops_the_tolerances_of_files_that_are_gone(clone):
    file = clone / GATE / "trips/A/instance.json"
    edit(file, '"tolerances": {', '"tolerances": {"totals.json": {"rtol": 0.1}, "*.json": {"atol": 1},')
    edit(clone / "flows/trips.py", '"totals.json"', '"sums.json"')
    assert pytest_(clone, GATE, "--ductaflow-update").returncode == 0
    assert list(json.loads(file.read_text())["tolerances"]) == ["*.json", "*"]
    assert pytest_(clone, GATE).returncode == 0


def test_an_update_that_cannot_write_is_not_a_success(clone):
    edit(clone / "flows/trips.py", "* 2.5", "* 2.6")
    expected = clone / GATE / "trips/A/expected/trips.csv"
    expected.unlink()
    expected.mkdir()
    done = pytest_(clone, GATE, "--ductaflow-update")
    assert done.returncode == 1
    assert "NOT UPDATED" in done.stdout
    assert not list((clone / GATE).rglob(".*.new"))


# ---------------------------------------------------------------- where instances come from


def test_the_ini_file_says_what_runs_without_paths_beside_ordinary_tests_and_no_sweep(clone):
    (clone / "pytest.ini").write_text("[pytest]\nductaflow_instances = tests/instances\n")
    (clone / "unit").mkdir()
    (clone / "unit/test_unit.py").write_text("def test_unit(): pass\n")
    done = pytest_(clone, "-v")
    assert done.returncode == 0
    assert "2 passed" in done.stdout
    assert "instance.json::A PASSED" in done.stdout
    (clone / "pytest.ini").write_text("[pytest]\ntestpaths = unit\nductaflow_instances = tests/instances\n")
    assert "2 passed" in pytest_(clone).stdout
    assert "1 passed" in pytest_(clone / "unit").stdout
    assert "2 passed" in pytest_(clone, "conductor.py").stdout
    (clone / "pytest.ini").write_text("[pytest]\ntestpaths = .\nductaflow_instances = tests/gone\n")
    done = pytest_(clone)
    assert done.returncode == 4
    assert "ductaflow_instances: " in done.stderr
    assert "is not a folder" in done.stderr


def test_the_ini_file_says_where_runs_are_stored(clone):
    (clone / "gate").mkdir()
    (clone / "pytest.ini").write_text(
        "[pytest]\nductaflow_instances = gate\nductaflow_store_limit = 0.00001\n"
    )
    pytest_(clone, "conductor.py")
    done = store(clone, "runs/trips/B")
    assert done.returncode == 2
    assert "larger than 1e-05 MB: " in done.stderr
    done = store(clone, "runs/trips/B", "--limit", "1", "--output", "*.csv")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "gate/trips/B: 1 output",
        "  trips.csv",
        "note: it also wrote totals.json, which is not compared",
        "replay it: pytest --ductaflow gate/trips/B",
    ]
    assert pytest_(clone).returncode == 0


def test_tests_among_the_expected_files_are_not_collected(clone):
    (clone / GATE / "trips/A/expected/test_x.py").write_text("def test_x(): assert False\n")
    done = pytest_(clone, GATE, "--collect-only", "-q")
    assert done.stdout.splitlines()[0] == f"{GATE}/trips/A/instance.json::A"
    assert "1 test collected" in done.stdout


def test_a_sweep_and_the_gate_in_one_session(clone):
    edit(clone / GATE / "trips/A/instance.json", '"year": 2030', '"year": 2030, "trips_instance": "gone"')
    done = pytest_(clone, "conductor.py", GATE, "-n", "2")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_a_conftest_can_compare_another_kind_of_file(clone):
    edit(clone / "flows/trips.py", '"totals.json"', '"totals.odd"')
    (clone / "conftest.py").write_text(
        "from pytest_ductaflow import Difference\n"
        "def pytest_ductaflow_compare(name, expected, found, tolerance):\n"
        "    if not name.endswith('.odd'):\n"
        "        return None\n"
        "    same = expected.read_text()[:8] == found.read_text()[:8]\n"
        "    return [] if same else [Difference(name, f'the first eight differ, rtol {tolerance.rtol}')]\n"
    )
    assert pytest_(clone, GATE, "--ductaflow-update").returncode == 0
    edit(clone / "flows/trips.py", "* 2.5", "* 2.5000000001")
    assert pytest_(clone, GATE).returncode == 0
    edit(clone / "flows/trips.py", '"year": config', '"yeah": config')
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "E   totals.odd: the first eight differ, rtol 1e-06" in done.stdout


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("1 / 0", "pytest_ductaflow_compare raised ZeroDivisionError: division by zero"),
        ("open('/nope')", "pytest_ductaflow_compare raised FileNotFoundError"),
        ("True", "pytest_ductaflow_compare gave True: expected a list of Difference"),
        ("'a text'", "pytest_ductaflow_compare gave 'a text': expected a list"),
        ("{}", "pytest_ductaflow_compare gave {}: expected a list"),
        ("[1]", "pytest_ductaflow_compare gave [1]: expected a list"),
        (
            "[Difference('other.txt', 'one', worst=(DifferingValue('a', 1, 2, numpy.float32(1)),))]",
            "csv: one",
        ),
        ("[Difference(name, 'one', worst=(3,))]", "gave a Difference with values that cannot be"),
    ],
)
def test_whatever_a_hook_tells_is_told_in_a_sentence(clone, told, message):
    (clone / "conftest.py").write_text(
        "import numpy\n"
        "from pytest_ductaflow import Difference, DifferingValue\n"
        "def pytest_ductaflow_compare(name, expected, found):\n"
        f"    return {told} if name == 'trips.csv' else None\n"
    )
    done = pytest_(clone, GATE, "-n", "1")
    assert done.returncode == 1
    assert message in done.stdout
    assert "INTERNALERROR" not in done.stdout
    assert "Traceback" not in done.stdout


def test_a_hook_is_for_the_instances_below_its_conftest(clone):
    (clone / GATE / "other").mkdir()
    (clone / GATE / "other/conftest.py").write_text("def pytest_ductaflow_compare(): return []\n")
    shutil.copytree(clone / GATE / "trips/A", clone / GATE / "other/B")
    edit(clone / GATE / "other/B/instance.json", '"instance": "A"', '"instance": "B"')
    edit(clone / "flows/trips.py", "* 2.5", "* 2.6")
    done = pytest_(clone, GATE, "-v")
    assert "other/B/instance.json::B PASSED" in done.stdout
    assert "trips/A/instance.json::A FAILED" in done.stdout


# ---------------------------------------------------------------- no way around it


def test_a_shard_that_cannot_begin_leaves_no_report_of_an_earlier_one_to_be_merged(clone):
    report = clone / "runs/conductor_status_report.html"
    assert pytest_(clone, GATE, "--ductaflow-shard=1/1").returncode == 0
    assert read(report)["shard"] == "1/1"
    edit(clone / GATE / "trips/A/instance.json", '"schema": 1', '"schema": 7')
    assert pytest_(clone, GATE, "--ductaflow-shard=1/1").returncode == 4
    assert not report.exists()


def test_a_flow_that_writes_its_expected_files_does_not_pass(clone):
    flow = clone / "flows/trips.py"
    edit(flow, "* 2.5", "* 2.6")
    target = 'config["_project_root"] + "/tests/instances/trips/A/expected/trips.csv"'
    flow.write_text(flow.read_text() + f"zones.to_csv({target}, index=False)\n")
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "the flow has changed what is expected of it, in tests/instances/trips/A/expected" in done.stdout


def test_a_link_to_an_expected_file_does_not_pass(clone):
    flow = clone / "flows/trips.py"
    edit(flow, 'zones.to_csv("trips.csv", index=False)', "import os")
    source = 'config["_project_root"] + "/tests/instances/trips/A/expected/trips.csv"'
    flow.write_text(flow.read_text() + f'os.link({source}, "trips.csv")\n')
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "the flow has read what is expected of it" in done.stdout  # even the link alone would do


def test_what_a_failed_attempt_left_does_not_pass(clone):
    edit(clone / GATE / "trips/A/instance.json", '"year": 2030', '"year": 2030, "_retries": 1')
    flow = clone / "flows/trips.py"
    edit(flow, 'zones.to_csv("trips.csv", index=False)', "import os")
    code = "again = os.path.exists(config['_project_root'] + '/runs/once')\nif not again:\n"
    code += "    zones.to_csv('trips.csv', index=False)\n"
    code += "    open(config['_project_root'] + '/runs/once', 'w')\n    1 / 0\n"
    flow.write_text(flow.read_text() + code)
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "trips.csv: is missing" in done.stdout


def test_a_stored_instance_within_another_and_one_behind_a_link_run_too(clone):
    folder = clone / GATE / "trips/A"
    for name in ("inner", "elsewhere"):
        target = folder / "inner" if name == "inner" else clone / "shared/elsewhere"
        shutil.copytree(clone / GATE / "trips/A", target, ignore=shutil.ignore_patterns("inner"))
        edit(target / "instance.json", '"instance": "A"', f'"instance": "{name}"')
    (clone / GATE / "link").symlink_to("../../shared/elsewhere")
    done = pytest_(clone, GATE, "-v")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_replays_that_would_empty_each_others_folder_are_told(clone):
    for step, name in (("trips/A", "inner"), ("trips", "A")):
        target = clone / GATE / f"copy {name}"
        shutil.copytree(clone / GATE / "trips/A", target)
        edit(target / "instance.json", '"instance": "A"', f'"instance": "{name}"')
        edit(target / "instance.json", '"step": "trips"', f'"step": "{step}"')
    done = pytest_(clone, f"{GATE}/trips", f"{GATE}/copy inner")
    assert done.returncode == 4
    assert (
        "would run in runs/instances/trips/A/inner, where tests/instances/trips/A/instance.json"
        in done.stderr
    )
    done = pytest_(clone, f"{GATE}/trips", f"{GATE}/copy A")
    assert done.returncode == 4
    assert "has the same run directory" in done.stderr


def test_an_output_whose_name_is_no_text_passes_between_processes(clone):
    flow = clone / "flows/trips.py"
    flow.write_text(flow.read_text() + 'open(b"raw\\xff.csv", "w").write("a")\n')
    done = pytest_(clone, GATE, "-n", "1")
    assert done.returncode == 1
    assert "was written, but is not expected" in done.stdout
    assert "INTERNALERROR" not in done.stdout


def test_where_chooses_among_all_stored_instances(clone):
    other = clone / GATE / "trips/B"
    shutil.copytree(clone / GATE / "trips/A", other)
    edit(other / "instance.json", '"instance": "A"', '"instance": "B"')
    edit(other / "instance.json", '"year": 2030', '"year": 2030, "mode": "rail"')
    done = pytest_(clone, GATE, "--ductaflow-where", "mode == 'rail'")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 deselected" in done.stdout


def test_a_failing_replay_with_figures_reaches_the_report_from_a_worker(clone):
    image = 'from PIL import Image; Image.new("RGB", (30, 20), config.get("colour", "red")).save("map.png")\n'
    flow = clone / "flows/trips.py"
    flow.write_text(flow.read_text() + image)
    assert pytest_(clone, GATE, "--ductaflow-update").returncode == 0
    edit(clone / GATE / "trips/A/instance.json", '"year": 2030', '"year": 2030, "colour": "blue"')
    done = pytest_(clone, GATE, "-n", "2")
    assert done.returncode == 1
    assert "E   map.png: 100 % of the pixels look different" in done.stdout
    (row,) = read(clone / "runs/conductor_status_report.html")["rows"]
    (difference,) = row["differences"]
    for figure in difference["figures"].values():
        assert (clone / "runs" / row["directory"] / figure).is_file()


# ---------------------------------------------------------------- builds and inputs


def test_a_build_is_stored_with_what_its_flows_wrote(tmp_path):
    root = write_project(
        tmp_path,
        {
            "flows/part.py": 'open("part.txt", "w").write(str(config["n"] * 2))\n',
            "builds/whole.py": """\
                from pytest_ductaflow import run_notebook
                for n in (1, 2):
                    run_notebook("part", config={"instance_name": f"p{n}", "n": n})
                open("whole.txt", "w").write("done")
                """,
            "conductor.py": """\
                from pytest_ductaflow import conduct
                import pandas as pd
                conduct("builds/whole.py", pd.DataFrame({"instance_name": ["A"]}))
                """,
        },
    )
    assert pytest_(root, "conductor.py").returncode == 0
    done = store(root, "runs/whole/A")
    assert done.stdout.splitlines()[1:4] == [
        "  runs/part/p1/part.txt",
        "  runs/part/p2/part.txt",
        "  whole.txt",
    ]
    assert pytest_(root, GATE).returncode == 0
    edit(root / "flows/part.py", "* 2", "* 3")
    done = pytest_(root, GATE)
    assert done.returncode == 1
    assert "E   runs/part/p2/part.txt: " in done.stdout


def test_with_copies_of_its_inputs_an_instance_stands_alone(tmp_path):
    root = write_project(
        tmp_path / "first",
        {
            "flows/etl.py": 'open("x.txt", "w").write("7")\n',
            "flows/use.py": """\
                from pathlib import Path
                text = Path(config["_project_root"], config["x"]).read_text()
                open("y.txt", "w").write(text * 2)
                """,
            "conductor.py": """\
                from pytest_ductaflow import run_step_flow
                run_step_flow("flows/etl.py", "etl", "E", {})
                run_step_flow("flows/use.py", "use", "U", {"x": "runs/etl/E/x.txt"})
                """,
        },
    )
    assert pytest_(root, "conductor.py").returncode == 0
    done = store(root, "runs/use/U", "--inputs")
    assert (done.returncode, done.stderr) == (0, "")
    other = tmp_path / "second"
    shutil.copytree(root, other, ignore=shutil.ignore_patterns("runs"))
    done = pytest_(other, GATE)
    assert done.returncode == 0, done.stdout
    (other / GATE / "use/U/inputs/etl/E/x.txt").write_text("8")
    assert "E   y.txt: " in pytest_(other, GATE).stdout


def test_without_copies_it_says_which_input_is_not_there(tmp_path):
    root = write_project(
        tmp_path,
        {
            "flows/use.py": 'open("y.txt", "w").write(config["x"])\n',
            "tests/instances/use/U/instance.json": {
                "schema": 1,
                "flow": "flows/use.py",
                "step": "use",
                "instance": "U",
                "config": {"x": "runs/etl/E/x.txt"},
            },
        },
    )
    done = pytest_(root, GATE)
    assert done.returncode == 1
    assert "runs/etl/E/x.txt" in done.stdout
