"""The state of a file shows that it was written or replaced, on Windows as far as Python knows it there."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.projects import lay

import pytest_ductaflow
from pytest_ductaflow.core.run_directory import listing, record_files
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.system import file_state
from pytest_ductaflow.core.system.file_state import changed_since, created_ns, settled, stat_of, tracks_names
from pytest_ductaflow.sources.notebooks import read_flow

PACKAGE = Path(pytest_ductaflow.__file__).parent
SECOND = 1_000_000_000
NUL = "a\0b"


@pytest.mark.parametrize("path", ["none", NUL, "x" * 5_000])
def test_what_is_not_there_has_no_stat(tmp_path, path):
    assert stat_of(tmp_path / path) is None


def stat(*, written: int, replaced: int) -> str:
    return f"1 {written} {replaced} 7"


@pytest.mark.parametrize(
    ("age", "is_settled"),
    [(0, False), (5_000_000, False), (SECOND, True), (3_600 * SECOND, True), (-SECOND, False)],
)
def test_a_file_has_settled_when_a_later_write_is_bound_to_show(age, is_settled):
    changed = time.time_ns() - age
    changed += changed % SECOND == 0
    assert settled(stat(written=changed, replaced=changed)) == is_settled
    assert settled(stat(written=1, replaced=changed)) == is_settled


def test_whole_seconds_are_given_more_time_to_settle():
    second = (time.time_ns() // SECOND - 1) * SECOND
    assert not settled(stat(written=second, replaced=second))
    assert settled(stat(written=second - 3 * SECOND, replaced=second - 3 * SECOND))


def test_a_time_of_writing_in_the_future_is_not_a_change_that_goes_on_forever():
    now = time.time_ns()
    odd = stat(written=now + 3_600 * SECOND, replaced=now - 60 * SECOND + 1)
    assert settled(odd)
    assert not changed_since(odd, now - SECOND)
    assert changed_since(odd, now - 90 * SECOND)


@pytest.mark.parametrize(
    ("written", "replaced", "is_changed"), [(5, 5, False), (5, 11, True), (11, 5, True), (10, 10, False)]
)
def test_a_file_is_changed_when_it_was_written_or_replaced_after_a_moment(written, replaced, is_changed):
    assert changed_since(stat(written=written, replaced=replaced), 10) == is_changed


def test_a_file_that_was_moved_into_place_is_changed_whatever_its_time_of_writing(tmp_path):
    path = lay(tmp_path / "old")
    os.utime(path, (1, 1))
    moment = time.time_ns() - 50_000_000  # the clock of the file system is behind that of the processor
    path.rename(tmp_path / "new")
    assert changed_since(stat_of(tmp_path / "new"), moment)


def replaced_by_one_of_same_size_and_times(path: Path, text: str) -> None:
    other = lay(path.with_name("other"), text)
    os.utime(other, (1, 1))
    os.replace(other, path)


WAYS = {
    "state": stat_of,
    "contents of a run directory": lambda path: listing.contents(RunFiles(path.parent, "x"))[path.name],
    "flow": lambda path: read_flow(path).notebook.cells[0].source,
    "record": lambda path: record_files.read_record(path)[0].instance,
}
TEXT = (
    '{"schema": 1, "status": "success", "flow": "f", "step": "s", "instance": "A", "run_dir": "r", '
    '"inputs": {}, "outputs": {}}'
)


@pytest.mark.parametrize("way", WAYS)
def test_on_windows_a_file_in_the_place_of_one_of_the_same_size_and_times_has_another_number(
    tmp_path, windows, way
):
    path = lay(tmp_path / ("x_record.json" if way == "record" else "x.py"), TEXT)
    os.utime(path, (1, 1))
    before = WAYS[way](path)
    replaced_by_one_of_same_size_and_times(path, TEXT.replace("A", "B"))
    assert WAYS[way](path) != before


@pytest.mark.parametrize(
    ("kind", "tells"),
    [("ext4", True), ("tmpfs", True), ("nfs4", False), ("fuse.s3fs", False), ("vfat", False), ("9p", False)],
)
def test_a_folder_tells_of_its_names_where_its_time_is_known_to_change_with_them(
    tmp_path, monkeypatch, kind, tells
):
    status = os.stat(tmp_path)
    number = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    mounts = lay(
        tmp_path / "mounts",
        f"9 1 0:{10**6} / /a rw - xfs x rw\n8 1 {number} / / rw,x shared:1 - {kind} x rw\n",
    )
    monkeypatch.setattr(file_state, "_MOUNTS", str(mounts))
    file_state._file_system.cache_clear()
    assert tracks_names(status) == tells
    file_state._file_system.cache_clear()


def test_where_nothing_tells_of_the_disk_a_folder_tells_nothing(tmp_path, monkeypatch):
    """As on macOS and Windows."""
    monkeypatch.setattr(file_state, "_MOUNTS", str(tmp_path / "none"))
    file_state._file_system.cache_clear()
    assert not tracks_names(os.stat(tmp_path))
    file_state._file_system.cache_clear()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"st_birthtime_ns": 5, "st_birthtime": 5e-9, "st_ctime_ns": 9}, 5),  # Windows
        ({"st_birthtime": 2.5, "st_ctime_ns": 9}, 2_500_000_000),  # macOS
        ({"st_ctime_ns": 9}, 9),  # Linux
    ],
)
def test_a_file_was_born_when_the_system_says_so(status, expected):
    assert created_ns(SimpleNamespace(**status)) == expected


def test_no_other_module_has_a_state_of_its_own():
    """Otherwise a replaced file would count as changed in one module, and not in another."""
    users = {
        path.stem
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("st_ctime", "st_ctime_ns", "st_ino")
    }
    assert users == {"file_state"}
