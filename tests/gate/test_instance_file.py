"""The file of a stored instance: read, written, edited by hand, and cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_ductaflow.core.errors import StoredError
from pytest_ductaflow.gate.instance_file import (
    StoredInstance,
    in_project,
    is_compared,
    is_stored,
    read_stored,
    write_stored,
)

DATA = {
    "schema": 1,
    "flow": "flows/analysis.py",
    "step": "analysis",
    "instance": "A",
    "config": {"year": 2040},
    "outputs": ["*", "!*.log"],
    "expected": ["result.csv"],
    "tolerances": {"*": {"rtol": 1e-3}},
}


def write(folder: Path, data: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = data if isinstance(data, str) else json.dumps(data)
    (folder / "instance.json").write_text(text, encoding="utf-8")
    return folder


def test_what_is_written_is_read_again(tmp_path):
    stored = StoredInstance(
        "flows/a.py",
        "a",
        "A",
        {"x": [1, {"y": None}]},
        digests={"big.bin": f"sha256:{64 * '0'}"},
        duration=1.5,
    )
    write_stored(tmp_path, stored)
    assert read_stored(tmp_path) == stored


def test_what_says_nothing_is_not_written(tmp_path):
    write_stored(tmp_path, StoredInstance("flows/a.py", "a", "A", {}, expected=("b", "a")))
    data = json.loads((tmp_path / "instance.json").read_text())
    assert not {"kernel", "digests", "duration"} & data.keys()
    assert data["expected"] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema: expected 1, found 2"),
        ({"schema": None}, "schema: expected 1, found None"),
        ({"flow": None}, "flow: expected the path of a flow in the project, found None"),
        ({"config": []}, "config: expected the config, found []"),
        ({"outptus": ["*"]}, "outptus: not a key of a stored instance"),
        ({"expected": ["../a.csv"]}, "expected: '../a.csv' is not the name of a file in the run directory"),
        ({"expected": ["/etc/passwd"]}, "'/etc/passwd' is not the name of a file"),
        ({"expected": ["C:\\a.csv"]}, "is not the name of a file"),
        ({"expected": ["a\0.csv"]}, "is not the name of a file"),
        ({"expected": [3]}, "expected: 3 is not the name of a file"),
        ({"digests": {"a": "sha256:00"}}, "digests: 'a': expected sha256: and 64 digits, found 'sha256:00'"),
        ({"digests": {"a": 5}}, "digests: 'a': expected sha256: and 64 digits, found 5"),
        ({"outputs": [3]}, "outputs: expected patterns of file names, found 3"),
        ({"duration": -1}, "duration: expected a number of seconds, found -1"),
        ({"duration": True}, "duration: expected a number of seconds, found True"),
        ({"schema": True}, "schema: expected 1, found True"),
        ({"tolerances": {"*": {"rtol": 10**400}}}, "tolerances: '*': rtol: the number is too large"),
        (
            {"tolerances": {"trip.csv": {}}},
            "tolerances: 'trip.csv' is none of the files that are compared: result.csv",
        ),
        ({"digests": {"../a": "sha256:00"}}, "digests: '../a' is not the name of a file"),
        ({"tolerances": {"*": {"rtoll": 1}}}, "tolerances: '*': 'rtoll' is not one of rtol, atol"),
        ({"tolerances": {"*": {"rtol": "1%"}}}, "rtol: expected a number of 0 or more, found '1%'"),
        ({"tolerances": {"*": 0.1}}, "tolerances: '*': expected names and values, found 0.1"),
        ({"tolerances": {"a*": {"keys": "zone"}}}, "'a*': keys: expected a list of names, found 'zone'"),
        ({"tolerances": {"a": {"columns": {"x": {"keys": []}}}}}, "columns: 'x': expected rtol and atol"),
        ({"tolerances": {"a": {"encoding": "utf-9"}}}, "encoding: 'utf-9' is not known"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(tmp_path, change, message):
    write(tmp_path, DATA | change)
    with pytest.raises(StoredError) as error:
        read_stored(tmp_path)
    assert message in str(error.value)
    assert str(tmp_path / "instance.json") in str(error.value)


@pytest.mark.parametrize("key", ["flow", "step", "instance", "config"])
def test_what_is_missing_is_told(tmp_path, key):
    write(tmp_path, {name: value for name, value in DATA.items() if name != key})
    with pytest.raises(StoredError, match=f"{key}: is missing"):
        read_stored(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: not JSON"),
        (json.dumps(DATA)[:40], ":1: not JSON"),
        ("<<<<<<< HEAD\n{}", ":1: not JSON"),
        (json.dumps(DATA)[:-1] + ', "flow": "flows/b.py"}', "flow: is there twice"),
        ("[]", "expected an object with keys, found list"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_a_torn_file_is_told_by_name(tmp_path, text, message):
    write(tmp_path, text)
    with pytest.raises(StoredError) as error:
        read_stored(tmp_path)
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StoredError, match="cannot be read"):
        read_stored(tmp_path)


@pytest.mark.parametrize(
    ("text", "with_expected", "is_one"),
    [
        (json.dumps(DATA), False, True),
        ("", True, True),
        (json.dumps(DATA)[:200], False, True),
        ('{"InstanceType": "large"}', False, False),
    ],
    ids=["whole", "empty beside expected", "torn", "of another tool"],
)
def test_a_file_is_known_as_a_stored_instance_even_if_it_is_torn(tmp_path, text, with_expected, is_one):
    write(tmp_path, text)
    if with_expected:
        (tmp_path / "expected").mkdir()
    assert is_stored(tmp_path / "instance.json") is is_one


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("result.csv", True),
        ("sub/result.csv", True),
        ("page.html", False),
        ("sub/page.html", False),
        ("kept.html", True),
    ],
)
def test_the_last_pattern_that_fits_counts(name, chosen):
    assert is_compared(name, ["*", "!*.html", "kept.html"]) is chosen


def test_a_path_in_the_project_follows_the_clone(tmp_path):
    config = {"a": ["${_project_root}/data/x.csv", "${_project_root}"], "b": "${_project_root}x", "c": 1}
    assert in_project(config, tmp_path) == {
        "a": [str(tmp_path / "data/x.csv"), str(tmp_path)],
        "b": "${_project_root}x",
        "c": 1,
    }
