"""`diff`: two runs in the words of the gate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import ductaflow, make_run, write_sample


@pytest.fixture(scope="module", name="root")
def fixture_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_sample(tmp_path_factory.mktemp("diff"))
    make_run(
        root, "clean/C", "flows/clean.py", config={"year": 2030}, outputs={"zones.csv": "zone,people\n1,10\n"}
    )
    return root


def test_config_results_and_outputs_are_compared(root: Path) -> None:
    done = ductaflow(root, "diff", "clean/A", "clean/B", is_real=True)
    assert (done.code, done.err) == (1, "")
    lines = done.lines
    assert lines[lines.index("config:") + 1] == "  year 2030 → 2040"
    assert lines[lines.index("results:") + 1] == "  people  10  →  12"
    text = (
        "  zones.csv: 1 of 2 values differs; largest absolute difference 2 "
        "(row 1, people: 10 expected, 12 found), largest relative 20 %"
    )
    assert text in lines


def test_runs_with_the_same_outputs(root: Path) -> None:
    make_run(
        root, "clean/D", "flows/clean.py", config={"year": 2031}, outputs={"zones.csv": "zone,people\n1,10\n"}
    )
    done = ductaflow(root, "diff", "clean/C", "clean/D")
    assert done.code == 0
    assert done.lines[2:] == ["config:", "  year 2030 → 2031", "outputs: the same"]


def test_tolerances_and_missing_files(root: Path) -> None:
    done = ductaflow(root, "diff", "clean/A", "clean/B", "--rtol", "0.5")
    assert done.lines[-1] == "outputs: the same"
    done = ductaflow(root, "diff", "clean/A", "clean/C")
    assert "  results.json: only clean/A wrote it" in done.lines


def test_differences_as_data(root: Path) -> None:
    data = json.loads(ductaflow(root, "diff", "clean/A", "clean/B", "--json").out)
    assert data["config"] == ["year 2030 → 2040"]
    assert data["results"] == {"people": [10, 12]}
    assert [each["file"] for each in data["outputs"]] == ["results.json", "zones.csv"]


def test_a_run_is_not_compared_with_itself(root: Path) -> None:
    done = ductaflow(root, "diff", "clean/A", "runs/clean/A")
    assert (done.code, done.err) == (2, "Error: clean/A and runs/clean/A are the same run, clean/A\n")


def test_numbers_that_json_does_not_know_are_texts_and_nan_equals_nan(root: Path) -> None:
    texts = ('{"gap": NaN, "most": Infinity, "n": 1}', '{"gap": NaN, "most": -Infinity, "n": 2}')
    for name, text in zip("EF", texts, strict=True):
        make_run(root, f"clean/{name}", "flows/clean.py", outputs={"results.json": text})
    done = ductaflow(root, "diff", "clean/E", "clean/F", "--json")
    data = json.loads(done.out, parse_constant=pytest.fail)
    assert data["results"] == {"most": ["Infinity", "-Infinity"], "n": [1, 2]}
    assert "gap" not in "".join(ductaflow(root, "diff", "clean/E", "clean/F").lines[2:])


@pytest.mark.parametrize("option", ["--rtol", "--atol"])
@pytest.mark.parametrize("value", ["-1", "nan"])
def test_a_tolerance_that_is_none_is_refused(root: Path, option: str, value: str) -> None:
    done = ductaflow(root, "diff", "clean/A", "clean/B", option, value)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"Error: {option}: expected a number of 0 or more")
