"""Stored instances from the command line: replayed in other clones, and compared."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET

import pytest
from helpers.gate import GATE, edit, fixture_clone, fixture_origin, pytest_, state  # noqa: F401 - fixtures

pytestmark = pytest.mark.slow


def test_a_stored_instance_passes_in_another_clone_in_a_directory_of_its_own(clone):
    done = pytest_(clone, GATE, "-v")
    assert done.returncode == 0, done.stdout
    assert f"{GATE}/trips/A/instance.json::A PASSED" in done.stdout
    assert sorted(path.name for path in (clone / "runs").glob("[!.]*") if path.is_dir()) == ["instances"]
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
    assert f"update:        {command} --ductaflow-update" in lines
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
        assert "is a stored instance and has to run: --ductaflow-update updates" in done.stdout
