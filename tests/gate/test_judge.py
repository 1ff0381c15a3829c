"""Messages about a stored instance's outputs, apart from how they differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.gate.judge import Judge

TABLE = "zone,cost,created\nnorth,1.5,monday\n"
OUTPUTS = {
    "trips.csv": TABLE,
    "totals.json": {"year": 2030, "run": {"at": "monday", "by": "me"}},
    "notes.txt": "all is well\nmade on monday\n",
    "data.bin": "0101",
}


def judged(root: Path, tolerances: object, found: dict[str, object] | None = None) -> Record:
    """Return the record of a replay that wrote what is expected, except for `found`."""
    folder, run_dir = root / "tests/instances/s/A", root / "runs/instances/s/A"
    data = {
        "schema": 1,
        "flow": "flows/x.py",
        "step": "s",
        "instance": "A",
        "config": {},
        "outputs": ["*"],
        "expected": sorted(OUTPUTS),
        "tolerances": tolerances,
    }
    texts = {folder / "instance.json": data}
    for place, outputs in ((folder / "expected", OUTPUTS), (run_dir, {**OUTPUTS, **(found or {})})):
        texts |= {place / name: content for name, content in outputs.items()}
    for path, content in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    instance = Instance(
        flow=str(root / "flows/x.py"),
        step="s",
        name="A",
        config={},
        run_dir=str(run_dir),
        project_root=str(root),
        stored_in=str(folder),
    )
    written = dict.fromkeys(OUTPUTS, "")
    record = Record(
        flow="flows/x.py",
        step="s",
        instance="A",
        run_dir="runs/instances/s/A",
        status=Status.SUCCESS,
        outputs=written,
    )
    return Judge(instance).judged(record)


CLOSE = {"trips.csv": TABLE.replace("1.5", "1.50000001")}
AT = "ToleranceWarning: tests/instances/s/A/instance.json, tolerances of"


@pytest.mark.parametrize("found", [{}, CLOSE], ids=["the same bytes", "within the tolerance"])
@pytest.mark.parametrize(
    ("tolerances", "told"),
    [
        ({"trips.csv": {"columns": {"cots": {"rtol": 0}}}}, "'trips.csv': 'columns' names 'cots'"),
        ({"trips.csv": {"columns": {"x*": {"rtol": 1}}}}, "'trips.csv': 'columns' names 'x*'"),
        ({"*": {"ignore": ["made", "creatd"]}}, "'*': 'ignore' names 'made'"),
        ({"totals.json": {"ignore": ["run.on"]}}, "'totals.json': 'ignore' names 'run.on'"),
        ({"notes.txt": {"ignore": ["made in *"]}}, "'notes.txt': 'ignore' names 'made in *'"),
        ({"*.png": {"pixels": 0}}, "'*.png': no output that is compared has such a name"),
    ],
    ids=str,
)
def test_each_name_of_a_tolerance_that_matches_nothing_is_told(tmp_path, tolerances, told, found):
    record = judged(tmp_path, tolerances, found)
    assert record.status is Status.SUCCESS
    assert record.python_warnings[0].startswith(f"{AT} {told}")


def test_what_may_be_meant_is_told(tmp_path):
    record = judged(tmp_path, {"trips.csv": {"ignore": ["creatd"]}})
    assert record.python_warnings == (
        f"{AT} 'trips.csv': 'ignore' names 'creatd', which is in none of its files: did you mean 'created'?",
    )


@pytest.mark.parametrize(
    "tolerances",
    [
        {"*": {"rtol": 1e-6, "ignore": ["created", "run.at", "made on *"], "columns": {"year": {"rtol": 1}}}},
        {"totals.json": {"ignore": ["run", "by", "run.at"]}},
        {"*.csv": {"keys": ["zone"], "columns": {"c*": {"atol": 1}}}},
    ],
    ids=str,
)
def test_names_that_match_in_one_of_their_files_are_right(tmp_path, tolerances):
    assert judged(tmp_path, tolerances).python_warnings == ()


def test_of_files_that_cannot_be_read_no_name_is_told(tmp_path):
    record = judged(tmp_path, {"*.json": {"ignore": ["on"]}}, {"totals.json": "{"})
    assert record.status is Status.ERROR
    assert record.python_warnings == ()
