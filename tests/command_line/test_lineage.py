"""`lineage`: what a file was made from, and what depends on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import ductaflow, make_run, write_sample

from pytest_ductaflow.core.run_directory.listing import digest


@pytest.fixture(scope="module", name="root")
def fixture_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_sample(tmp_path_factory.mktemp("lineage"))
    table = {"runs/clean/A/zones.csv": digest(root / "runs/clean/A/zones.csv"), "notes.txt": "sha256:1"}
    (root / "notes.txt").write_text("edited")
    make_run(root, "map/x", "flows/fit.py", outputs={"map.txt": "x"}, inputs=table)
    return root


def without_times(lines: list[str]) -> list[str]:
    return [
        line.partition("  success")[0].partition("  error")[0].partition("  warning")[0] for line in lines
    ]


def test_a_file_is_traced_back_to_its_sources(root: Path) -> None:
    done = ductaflow(root / "runs/map", "lineage", "x/map.txt", is_real=True)
    assert (done.code, done.err) == (0, "")
    assert without_times(done.lines) == [
        "x/map.txt",
        "└─ made by map/x",
        "   ├─ ../../notes.txt  (source)  (changed since)",
        "   └─ ../clean/A/zones.csv",
        "      └─ made by clean/A",
        "         ├─ code ../../flows/clean.py",
        "         └─ ../../data/zones.csv  (source)",
        "used by: no instance",
    ]


def test_what_depends_on_a_source(root: Path) -> None:
    lines = without_times(ductaflow(root, "lineage", "data/zones.csv").lines)
    assert lines == [
        "data/zones.csv  (a source: no instance wrote it)",
        "used by:",
        "├─ clean/A",
        "│  ├─ fit/A",
        "│  └─ map/x",
        "└─ clean/B",
    ]


def test_lineage_as_data(root: Path) -> None:
    data = json.loads(ductaflow(root, "lineage", "runs/clean/A/zones.csv", "--json").out)
    assert (data["made_by"], data["sources"]) == ("clean/A", ["data/zones.csv"])
    assert data["used_by"] == ["fit/A", "map/x"]


def test_a_file_that_no_run_knows(root: Path) -> None:
    done = ductaflow(root, "lineage", "data/zone.csv")
    assert done.code == 2
    told = "no run has written or read data/zone.csv, and it is not there; did you mean data/zones.csv"
    assert done.err.startswith(f"Error: {told}")


def test_what_a_run_has_read_and_is_not_there_any_more_is_told(tmp_path: Path) -> None:
    root = write_sample(tmp_path)
    (root / "data/zones.csv").unlink()
    lines = without_times(ductaflow(root, "lineage", "runs/clean/A/zones.csv").lines)
    assert "   └─ data/zones.csv  (source)  (gone)" in lines
