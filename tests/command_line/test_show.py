"""`show`: the record of a run in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import ductaflow, write_sample


@pytest.fixture(scope="module", name="root")
def fixture_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("show"))


def test_a_run_that_ended_well(root: Path) -> None:
    done = ductaflow(root, "show", "clean/A", is_real=True, TZ="UTC")
    assert (done.code, done.err) == (0, "")
    lines = done.lines
    assert lines[0] == "clean/A  success"
    for line in (
        "flow:       flows/clean.py",
        "declared:   conductor.py:3",
        "why:        new",
        "  model.alpha  0.5",
        "  data/zones.csv",
        "code:       flows/clean.py",
        "  zones.csv  17 bytes",
        "repeat:     pytest --ductaflow conductor.py::clean::A",
        "debug:      ductaflow debug clean/A",
    ):
        assert line in lines
    assert next(line for line in lines if line.startswith("ran:")).startswith(
        "ran:        2026-03-01 12:00, "
    )


def test_warnings_have_their_line(root: Path) -> None:
    lines = ductaflow(root, "show", "clean/B").lines
    assert lines[lines.index("warnings (flows/clean.py:6):") + 1] == "  ⚠️ more than before"


def test_a_failure_has_its_place_and_attempts(root: Path) -> None:
    done = ductaflow(root / "flows", "show", "fit/A")
    lines = done.lines
    assert "  fit failed in cell [3], fit.py:7" in lines
    assert "  > 7  raise ValueError()" in lines
    assert "  E   ValueError: no zones in 2040" in lines
    assert "  attempt 1: OSError: busy" in lines
    assert lines[lines.index("upstreams:") + 1] == "  clean/A"


def test_the_record_as_data(root: Path) -> None:
    data = json.loads(ductaflow(root, "show", "clean/A", "--json").out)
    assert data["record"]["status"] == "success"
    assert data["config"] == {"year": 2030, "model": {"alpha": 0.5}}
