"""The layout of `runs/`: files are written completely or not at all, and read with tolerance."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import SCHEMA_VERSION, Record, Status
from pytest_ductaflow.core.run_directory import atomic, build_variable, layout, listing, record_files
from pytest_ductaflow.core.run_directory.layout import RunFiles


def a_record(instance: str = "A", step: str = "x", status: Status = Status.SUCCESS, **more) -> Record:
    return Record(status, f"flows/{step}.py", step, instance, f"runs/{step}/{instance}", **more)


def lay_record(directory: Path, record: Record) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    files = RunFiles(directory, Path(record.flow).stem)
    record_files.write_record(files, record)
    return files.record


def test_every_file_of_a_run_is_named_after_its_flow():
    instance = Instance("/p/flows/01_x.py", "x", "A", {}, "/p/runs/x/A", "/p", output_suffix="_done")
    files = RunFiles.of(instance)
    assert files.names == {
        "01_x_config.json",
        "01_x_done.ipynb",
        "01_x_done.html",
        "01_x_execution_output.txt",
        "01_x_record.json",
        ".01_x_flows.jsonl",
        ".01_x_flows.pages",
        ".01_x_flows.kernels",
        "01_x_differences",
    }
    assert {file.parent for file in (files.config, files.notebook, files.html, files.log, files.record)} == {
        Path("/p/runs/x/A")
    }


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates()
VALUES = st.recursive(
    SCALARS,
    lambda each: st.lists(each) | st.tuples(each) | st.dictionaries(st.text() | st.integers(), each),
    max_leaves=10,
)


@given(VALUES)
def test_json_is_indented_as_the_standard_library_does_it(data):
    assert atomic.indented(data) == json.dumps(data, indent=2, ensure_ascii=False, default=str)


def test_an_atomic_write_leaves_the_new_text_and_nothing_else(tmp_path):
    target = tmp_path / "größe.json"
    for text in ("old", "new ⚠️\n"):
        atomic.write_atomic(target, text)
    assert target.read_text(encoding="utf-8") == "new ⚠️\n"
    assert os.listdir(tmp_path) == ["größe.json"]


def test_a_write_that_fails_leaves_the_old_text_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "x.json"
    target.write_text("old", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        atomic.write_atomic(target, "new")
    assert target.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["x.json"]


def test_two_that_write_one_file_at_once_do_not_share_a_temporary_file(tmp_path, monkeypatch):
    """Neither do two threads, or two processes with the same number on two machines."""
    names, replace = [], os.replace

    def remember(source: Path, target: Path) -> None:
        names.append(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", remember)
    for _ in range(2):
        atomic.write_atomic(tmp_path / "x.json", "new")
    assert len(set(names)) == 2


def test_a_file_that_is_replaced_by_one_of_the_same_size_and_time_has_changed(tmp_path):
    for name in ("a.txt", "b.txt"):
        lay(tmp_path, name)
        os.utime(tmp_path / name, (1, 1))
    before = listing.contents(RunFiles(tmp_path, "x"))["a.txt"]
    os.replace(tmp_path / "b.txt", tmp_path / "a.txt")
    assert listing.contents(RunFiles(tmp_path, "x"))["a.txt"] != before


def test_json_is_written_for_people(tmp_path):
    atomic.write_json(tmp_path / "x.json", {"z": "ä", "a": Path("b/c")})
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n  "z": "ä",\n  "a": "b/c"\n}\n'


def test_a_config_makes_its_run_directory(tmp_path):
    files = RunFiles(tmp_path / "runs" / "a" / "b", "x")
    record_files.write_config(files, {"a": {"b": None}})
    assert json.loads(files.config.read_text(encoding="utf-8")) == {"a": {"b": None}}


def test_a_record_is_read_as_it_was_written(tmp_path):
    record = a_record(warnings=("⚠️ low",), outputs={"ä.csv": "sha256:1"})
    assert record_files.read_record(lay_record(tmp_path, record)) == (record, None)


def test_a_record_that_is_not_there_needs_no_reason(tmp_path):
    assert record_files.read_record(tmp_path / "x_record.json") == (None, None)


def test_where_there_are_more_records_than_are_kept_the_first_are_read_once(tmp_path, monkeypatch):
    read, loads = Counter(), json.loads
    monkeypatch.setattr(json, "loads", lambda text: read.update([loads(text)["instance"]]) or loads(text))
    paths = [lay_record(tmp_path / name, a_record(name)) for name in "ABC"]
    monkeypatch.setattr(record_files, "_kept", record_files._KeptRecords())
    monkeypatch.setattr(record_files, "_MOST_KEPT", sum(path.stat().st_size for path in paths[:2]))
    monkeypatch.setattr(record_files, "settled", lambda _state: True)
    for _ in range(2):
        assert [record_files.read_record(path)[0].instance for path in paths] == ["A", "B", "C"]
    assert read == {"A": 1, "B": 1, "C": 2}
    lay_record(tmp_path / "A", a_record("D"))
    for _ in range(2):
        assert record_files.read_record(paths[0])[0].instance == "D"
    assert read["D"] == 1
    paths[1].unlink()
    assert record_files.read_record(paths[1]) == (None, None)
    for _ in range(2):
        assert record_files.read_record(paths[2])[0].instance == "C"
    assert read["C"] == 3  # in the room of the one that is gone


def test_records_that_are_kept_share_what_is_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(record_files, "settled", lambda _state: True)
    packages, many = {"pandas": "3.1", "numpy": "2.4"}, {f"p{number}": "1.0" for number in range(100)}
    of = {"A": packages, "B": packages, "C": {**packages, "numpy": "2.5"}, "D": many, "E": many}
    paths = {
        name: lay_record(tmp_path / name, a_record(name, packages=each, inputs={"ü": name}))
        for name, each in of.items()
    }
    read = {name: record_files.read_record(path)[0] for name, path in paths.items()}
    assert {name: record.packages for name, record in read.items()} == of
    assert {name: record.inputs for name, record in read.items()} == {name: {"ü": name} for name in of}
    assert read["A"].packages is read["B"].packages
    assert read["D"].packages is not read["E"].packages  # too many to compare


WHOLE = json.dumps(a_record().to_json())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        WHOLE[: len(WHOLE) // 2].encode(),
        b"null",
        b"[]",
        b"3",
        b'"text"',
        b"{}",
        b"\x00\x00\x00",
        b"\xff\xfe\x00",
        b'{"schema": 1}',
        b'{"name": "a JSON file of the flow", "schema": 1, "status": "success"}',
        WHOLE.replace('"success"', '"fine"').encode(),
        json.dumps({**json.loads(WHOLE), "schema": SCHEMA_VERSION - 1}).encode(),
        json.dumps({**json.loads(WHOLE), "schema": SCHEMA_VERSION + 1}).encode(),
        json.dumps({**json.loads(WHOLE), "error": ["a"]}).encode(),
        json.dumps({**json.loads(WHOLE), "flows": {"a": 1}}).encode(),
        b"[" * 200_000,
    ],
    ids=lambda content: repr(content[:24]),
)
def test_a_torn_or_foreign_record_is_no_record_and_one_line_that_says_so(tmp_path, content):
    path = tmp_path / "x_record.json"
    path.write_bytes(content)
    record, reason = record_files.read_record(path)
    assert record is None
    assert reason.startswith(f"{path}: not a readable record")
    assert "\n" not in reason


def test_a_folder_in_the_place_of_a_record_is_no_record(tmp_path):
    (tmp_path / "x_record.json").mkdir()
    record, reason = record_files.read_record(tmp_path / "x_record.json")
    assert record is None
    assert "not a readable record" in reason


def test_records_come_sorted_and_without_those_of_the_flows_inside_builds(tmp_path):
    runs = tmp_path / "runs"
    lay_record(runs / "b" / "B", a_record("B", "b"))
    lay_record(runs / "b" / "A", a_record("A", "b"))
    lay_record(runs / "b" / "A" / "runs" / "inner" / "I", a_record("I", "inner"))
    lay_record(runs / "a" / "deep" / "C", a_record("C", "a/deep"))
    lay_record(runs / "b" / "B", a_record("B", "second"))
    found = [
        (directory.relative_to(runs).as_posix(), record.instance)
        for directory, record in record_files.records(runs)
    ]
    assert found == [("a/deep/C", "C"), ("b/A", "A"), ("b/B", "B"), ("b/B", "B")]


def test_a_folder_named_runs_without_a_build_above_it_is_searched(tmp_path):
    lay_record(tmp_path / "old" / "runs" / "x" / "A", a_record())
    assert [record.instance for _, record in record_files.records(tmp_path)] == ["A"]


def test_unreadable_records_are_left_out(tmp_path):
    lay_record(tmp_path / "x" / "A", a_record())
    (tmp_path / "x" / "A" / "torn_record.json").write_text("{", encoding="utf-8")
    assert [record.instance for _, record in record_files.records(tmp_path)] == ["A"]


@pytest.mark.parametrize("runs", ["nowhere", "file.txt"])
def test_no_runs_have_no_records(tmp_path, runs):
    (tmp_path / "file.txt").touch()
    assert list(record_files.records(tmp_path / runs)) == []
    assert layout.past_configs(tmp_path / runs) == []


def test_the_configs_of_past_runs_are_found_but_not_those_inside_builds(tmp_path):
    for name in ("b/A/b_config.json", "b/A/runs/i/I/i_config.json", "a/B/a_config.json", "a/B/c_config.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}", encoding="utf-8")
        path.with_name(path.name.replace("_config.json", "_execution_output.txt")).touch()
    (tmp_path / "a/B/model_config.json").write_text("{}", encoding="utf-8")  # belongs to the flow
    found = layout.past_configs(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in found} == {
        "b/A/b_config.json",
        "a/B/a_config.json",
        "a/B/c_config.json",
    }
    assert all(layout.is_past_config(path) for path in found)
    assert {layout.stem_of_config(path) for path in found} == {"a", "b", "c"}


def test_a_journal_gives_the_last_word_on_each_flow_in_the_order_of_their_beginnings(tmp_path):
    journal = tmp_path / ".build_flows.jsonl"
    for record in (
        a_record("A", status=Status.RUNNING),
        a_record("B", status=Status.RUNNING),
        a_record("B", status=Status.WARNING, warnings=("⚠️\u2028low",)),
        a_record("A", status=Status.SUCCESS),
    ):
        record_files.add_to_journal(journal, record)
    found = record_files.read_journal(journal)
    assert [(record.instance, record.status) for record in found] == [
        ("A", Status.SUCCESS),
        ("B", Status.WARNING),
    ]
    assert found[1].warnings == ("⚠️\u2028low",)


def test_a_journal_with_a_torn_tail_keeps_its_whole_lines(tmp_path):
    journal = tmp_path / ".build_flows.jsonl"
    record_files.add_to_journal(journal, a_record("A"))
    with journal.open("a", encoding="utf-8") as file:
        file.write("[]\nnull\n" + WHOLE[:40])
    assert [record.instance for record in record_files.read_journal(journal)] == ["A"]


def test_a_journal_that_is_not_there_is_empty(tmp_path):
    assert record_files.read_journal(tmp_path / "none.jsonl") == ()


def test_flows_inside_a_build_know_its_journal_and_settings(tmp_path, monkeypatch):
    monkeypatch.delenv("_DUCTAFLOW_BUILD", raising=False)
    assert build_variable.surrounding_build() is None
    files = RunFiles(tmp_path, "b")
    for name, value in build_variable.build_environment(files, '{"html": "none"}', "/p", {}).items():
        monkeypatch.setenv(name, value)
    assert build_variable.surrounding_build() == (files.journal, '{"html": "none"}')


def test_a_session_within_a_build_is_none_of_its_flows_and_knows_the_build(tmp_path, monkeypatch):
    files = RunFiles(tmp_path, "b")
    for name, value in build_variable.build_environment(files, "{}", "/p", {"X": "1"}).items():
        monkeypatch.setenv(name, value)
    instance = Instance("/p/flows/x.py", "x", "A", {}, "/p/runs/x/A", "/p")
    with build_variable.outside_of_builds():
        assert (build_variable.surrounding_build(), build_variable.place_in_build()) == (None, None)
        assert build_variable.variables_of(instance) == {}
        assert build_variable.builds_around() == [files.journal]
        with build_variable.outside_of_builds():
            assert build_variable.builds_around() == [files.journal]
    assert build_variable.surrounding_build() == (files.journal, "{}")
    monkeypatch.delenv("_DUCTAFLOW_BUILD")
    with build_variable.outside_of_builds():
        assert build_variable.builds_around() == []
    assert "_DUCTAFLOW_BUILD" not in os.environ


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("/p/runs/x/A", "/p", "runs/x/A"),
        (Path("/p/a b/ä"), Path("/p"), "a b/ä"),
        ("/p", "/p", "."),
        ("/pq/x", "/p", "/pq/x"),
        ("/other/x", "/p", "/other/x"),
        ("flows/x.py", "/p", "flows/x.py"),
    ],
)
def test_paths_are_shown_relative_to_the_root_they_lie_under(path, root, expected):
    assert layout.display_path(path, root) == expected


def test_a_digest_depends_on_the_content_alone(tmp_path):
    for name, content in (("a", b""), ("b", b""), ("c", b"\x00")):
        (tmp_path / name).write_bytes(content)
    empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    digests = listing.digests(tmp_path, ["c", "gone", "b", "a"])
    assert list(digests) == ["a", "b", "c"]
    assert digests["a"] == digests["b"] == empty != digests["c"]


@pytest.fixture
def run(tmp_path) -> RunFiles:
    """Make a run directory with all files of ours, of two flows and of flows inside."""
    files = RunFiles(tmp_path, "x")
    for directory, stem in ((tmp_path, "x"), (tmp_path, "y"), (tmp_path / "runs" / "i" / "I", "i")):
        directory.mkdir(parents=True, exist_ok=True)
        for name in RunFiles(directory, stem).names:
            (directory / name).write_text("{}", encoding="utf-8")
        lay_record(directory, a_record("I", stem))
    return files


def lay(directory: Path, *names: str) -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x", encoding="utf-8")


def files_of(run: RunFiles) -> dict[str, str]:
    """Return the state of each file in a run directory that is the flow's."""
    return {name: state for name, state in listing.contents(run).items() if state is not None}


def test_only_what_the_flow_wrote_is_its_output(run):
    lay(run.directory, "result.csv", "plots/a b.png", "deep/runs/c.txt", "x_extra.json")
    lay(run.directory, ".x_record.json.99.tmp", "__pycache__/m.pyc", "own.tmp", ".own.99.tmp")
    lay(run.directory, ".earlier/a.txt", ".locks/a.lock")
    found = files_of(run)
    names = {"result.csv", "plots/a b.png", "deep/runs/c.txt", "x_extra.json", "own.tmp", ".own.99.tmp"}
    assert set(found) == names
    assert {name for name, stat in listing.contents(run).items() if stat is None} == {
        "plots/",
        "deep/",
        "deep/runs/",
    }
    assert found["result.csv"].split()[0] == "1"


def test_a_dangling_link_is_no_output(run):
    (run.directory / "link").symlink_to(run.directory / "gone")
    assert files_of(run) == {}


def test_a_directory_that_is_gone_has_no_outputs(tmp_path):
    assert files_of(RunFiles(tmp_path / "gone", "x")) == {}


def test_a_flows_own_file_may_end_as_records_do(run):
    lay(run.directory, "patient_record.json")
    assert set(files_of(run)) == {"patient_record.json"}


def test_a_foreign_record_beside_runs_does_not_hide_it(tmp_path):
    lay(tmp_path, "patient_record.json")
    lay_record(tmp_path / "runs" / "x" / "A", a_record())
    assert [record.instance for _, record in record_files.records(tmp_path)] == ["A"]
