"""Which files a config refers to by its texts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.projects import lay

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory import record_files
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.tracking import paths_in_config
from pytest_ductaflow.tracking.paths_in_config import named_files, output_files

FILES = (
    "conductor.py",
    "data/zones.csv",
    "data/my zones.csv",
    "data/years/2030/trips.csv",
    "data/years/2040/trips.csv",
    "data/years/.hidden/trips.csv",
    "flows/model.py",
    "runs/model/A/restart.csv",
    "runs/model/A/zones.csv",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        lay(tmp_path / "project" / name)
    lay(tmp_path / "shared" / "links.csv")
    return tmp_path / "project"


def an_instance(root: Path, config: object) -> Instance:
    flow, run_dir = root / "flows" / "model.py", root / "runs" / "model" / "A"
    return Instance(str(flow), "model", "A", config, str(run_dir), str(root))


def named_by(root: Path, config: object) -> set[str]:
    """Return what a config names, relative to the project."""
    return {os.path.relpath(path, root) for path in named_files(an_instance(root, config))}


ALL_YEARS = {
    "data/years",
    "data/years/2030",
    "data/years/2040",
    "data/years/2030/trips.csv",
    "data/years/2040/trips.csv",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data/zones.csv", {"data/zones.csv"}),
        ("./data/../data/zones.csv", {"data/zones.csv"}),
        ("../../../data/zones.csv", {"data/zones.csv"}),
        ("{root}/data/zones.csv", {"data/zones.csv"}),
        ("data/my zones.csv", {"data/my zones.csv"}),
        ("restart.csv", {"runs/model/A/restart.csv"}),
        ("../shared/links.csv", {"../shared/links.csv"}),
        ("{root}/../shared/links.csv", {"../shared/links.csv"}),
        ("data/years", ALL_YEARS),
        ("data/years/", ALL_YEARS),
        ("../../../data/years", ALL_YEARS),
        ("data/years/2030", {"data/years/2030", "data/years/2030/trips.csv"}),
    ],
)
def test_a_text_names_what_is_there_seen_from_the_run_directory_or_the_project(root, text, expected):
    assert named_by(root, {"x": text.format(root=root)}) == expected


def test_a_text_may_name_two_files(root):
    lay(root / "zones.csv")
    assert named_by(root, {"x": "zones.csv"}) == {"zones.csv", "runs/model/A/zones.csv"}


def test_a_text_may_begin_with_the_home_of_the_user(root, monkeypatch):
    monkeypatch.setenv("HOME", str(root / "data"))
    monkeypatch.setenv("USERPROFILE", str(root / "data"))
    assert named_by(root, {"x": "~/zones.csv"}) == {"data/zones.csv"}


@pytest.mark.parametrize(
    "config",
    [
        {"a": {"b": {"c": "data/zones.csv"}}},
        {"a": ["x", ["data/zones.csv"], 1]},
        {"a": [{"b": ["data/zones.csv", None]}]},
        {"a": ("data/zones.csv",), "b": 1.5, "c": None, "d": True},
    ],
)
def test_texts_are_found_at_any_depth(root, config):
    assert named_by(root, config) == {"data/zones.csv"}


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            ".",
            "..",
            "/",
            "./",
            "../..",
            "{root}",
            "{root}/",
            "flows",
            "runs",
            "{root}/runs",
            "../..",
        ),
        *(
            "rail",
            "A",
            "a sentence of words",
            "Is this so?",
            "all [of] them",
            "*",
            "**",
            "a*b",
            "[x]",
            "1 + 1?",
        ),
        *("https://example.org/zones.csv", "s3://bucket/data/*.parquet", "file:///etc/hosts"),
        *(
            "data/zones.csv\n",
            "a\nb.csv",
            "data/zones.csv\0",
            "a/\0*.csv",
            "x" * 10_000,
            "a/" * 5_000 + "b.csv",
        ),
        "\ud800",
    ],
)
def test_other_texts_name_nothing(root, text):
    assert named_by(root, {"x": text.format(root=root) if "{" in text else text}) == set()


@pytest.mark.parametrize(
    "text", ["data/new.csv", "new.csv", "data/new/zones", "{root}/data/new.csv", "x" * 300 + ".csv"]
)
def test_a_path_to_which_no_file_has_come_yet_is_named(root, text):
    (name,) = named_by(root, {"x": text.format(root=root)})
    assert name == os.path.relpath(text.format(root=root), root) if "{" in text else name == text


@pytest.mark.parametrize(
    ("key", "is_output"),
    [
        *((key, True) for key in ("output", "output_dir", "out", "outputs", "model_outputs", "OUTPUT_DIR")),
        *((key, True) for key in ("save_as", "save", "dest", "export_dir", "log", "log_file", "logs", "tmp")),
        *((key, True) for key in ("cache_dir", "temp_dir", "write_to")),
        *((key, False) for key in ("zones", "input", "route", "layout", "about", "catalog", "tempo")),
        *(
            (key, False)
            for key in ("destinations", "destination_zones", "logsums", "logit_file", "logistics")
        ),
        *(
            (key, False)
            for key in ("input_output_table", "saved_model", "savings", "temperature", "log_wages")
        ),
    ],
)
def test_where_something_is_written_is_told_by_its_key(root, key, is_output):
    for value in ("data/years", "data/new.csv"):
        named = named_by(root, {"x": value})
        assert named_by(root, {key: value}) == (set() if is_output else named)
        assert named_by(root, {"a": {key: [value]}}) == (set() if is_output else named)


@pytest.mark.parametrize("key", ["output", "dest_zones", "gtfs_export", "zones"])
def test_a_file_that_is_there_may_be_read_whatever_its_key_is_called(root, key):
    assert named_by(root, {"a": {key: ["data/zones.csv"]}}) == {"data/zones.csv"}


def test_a_folder_that_stands_deeper_under_a_key_for_outputs_is_written_as_well(root):
    assert named_by(root, {"output": {"dir": "data/years", "files": ["new.csv"]}}) == set()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("data/*.csv", {"data", "data/zones.csv", "data/my zones.csv"}),
        ("../../../data/z*.csv", {"data", "data/zones.csv"}),
        ("{root}/data/zone[sz].csv", {"data", "data/zones.csv"}),
        ("data/*.parquet", {"data"}),
        ("data/years/*/trips.csv", ALL_YEARS),
        ("data/years/20?0/trips.csv", ALL_YEARS),
        ("data/years/2030/*", {"data/years/2030", "data/years/2030/trips.csv"}),
        ("data/years/*", ALL_YEARS),
        ("data/years/**/*.csv", ALL_YEARS),
        ("none/*.csv", set()),
    ],
)
def test_a_pattern_names_what_matches_and_the_folders_in_which_more_may_come_to_match(
    root, pattern, expected
):
    assert named_by(root, {"x": pattern.format(root=root)}) == expected


def test_a_project_may_lie_in_a_folder_that_looks_like_a_pattern(tmp_path):
    lay(tmp_path / "[2030]" / "data" / "zones.csv")
    found = named_by(tmp_path / "[2030]", {"x": "data/*.csv"})
    assert {"data", "data/zones.csv"} <= found


def test_a_folder_has_all_folders_between_it_and_its_files(root):
    lay(root / "data" / "parts" / "year=2030" / "month=1" / "x.parquet")
    assert named_by(root, {"x": "data/parts"}) == {
        "data/parts",
        "data/parts/year=2030",
        "data/parts/year=2030/month=1",
        "data/parts/year=2030/month=1/x.parquet",
    }


@pytest.mark.parametrize("text", ["data/many", "data/many/*.csv"])
def test_a_folder_of_very_many_files_is_named_as_a_whole(root, monkeypatch, text):
    monkeypatch.setattr(paths_in_config, "MANY", 3)
    for number in range(4):
        lay(root / "data" / "many" / f"{number}.csv")
    assert named_by(root, {"x": text}) == {"data/many/**"}


def lay_record(root: Path, name: str, *outputs: str, flows: tuple[Record, ...] = ()) -> Record:
    """Write the record of an instance, and its outputs."""
    run_dir = root / "runs" / "etl" / name
    files = dict.fromkeys(outputs, "sha256:1")
    record = Record(
        Status.SUCCESS, "flows/etl.py", "etl", name, f"runs/etl/{name}", outputs=files, flows=flows
    )
    for output in outputs:
        lay(run_dir / output)
    run_dir.mkdir(parents=True, exist_ok=True)
    record_files.write_record(RunFiles(run_dir, "etl"), record)
    return record


def test_a_run_directory_names_what_its_instance_wrote(root):
    lay_record(root, "X", "a.csv", "deep/b.csv")
    lay(root / "runs" / "etl" / "X" / "etl_executed.ipynb")
    expected = {"runs/etl/X/a.csv", "runs/etl/X/deep/b.csv"}
    for text in ("runs/etl/X", "../../etl/X", f"{root}/runs/etl/X/"):
        assert named_by(root, {"x": text}) == expected


def test_a_step_names_what_its_instances_wrote_and_the_folder_in_which_others_may_come(root):
    lay_record(root, "X", "a.csv")
    lay_record(root, "Y", "a.csv")
    assert named_by(root, {"x": "runs/etl"}) == {"runs/etl", "runs/etl/X/a.csv", "runs/etl/Y/a.csv"}


def test_a_folder_within_a_run_directory_is_a_folder_of_files(root):
    lay_record(root, "X", "skims/a.csv")
    assert named_by(root, {"x": "runs/etl/X/skims"}) == {"runs/etl/X/skims", "runs/etl/X/skims/a.csv"}


def test_a_build_has_written_what_its_flows_have(tmp_path):
    flow = Record(
        Status.SUCCESS, "f", "f", "A", "runs/b/A/runs/f/A", outputs={"x.csv": "1", "../../y.csv": "1"}
    )
    build = Record(Status.SUCCESS, "b", "b", "A", "runs/b/A", outputs={"z.csv": "1"}, flows=(flow,))
    found = [os.path.relpath(path, tmp_path) for path in output_files(build, str(tmp_path))]
    assert found == ["runs/b/A/z.csv", "runs/b/A/runs/f/A/x.csv", "runs/b/A/runs/y.csv"]


def test_thousands_of_values_name_nothing(root):
    config = {"zones": [f"zone {n}" for n in range(5_000)], "text": "lorem ipsum. " * 80}
    assert named_by(root, config) == set()
