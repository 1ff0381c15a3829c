"""`--ductaflow-update`: what stored instances write becomes their expected outputs."""

from __future__ import annotations

import json
import shutil

import pytest
from helpers.gate import GATE, edit, fixture_clone, fixture_origin, pytest_, state  # noqa: F401 - fixtures

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


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
