"""What a kernel reported, read from its trace and its final report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_ductaflow.kernels.inside.trace import MODULE, OPENED, WRITTEN
from pytest_ductaflow.tracking.observed import Used

WORDS = {
    "modules": ["/p/helper.py"],
    "packages": ["numpy"],
    "python": "3.11.7",
    "executable": "/venv/bin/python",
    "prefixes": ["/usr", "/venv"],
    "path": ["/p", "/venv/lib"],
}


def lay_trace(folder: Path, *lines: object) -> Path:
    path = folder / "trace"
    path.write_text(
        "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines),
        encoding="utf-8",
    )
    return path


def test_uses_are_in_order_and_each_is_there_once(tmp_path):
    lines = ([WRITTEN, "/p/b", 3], [OPENED, "/p/b", 4], [OPENED, "/p/a", 5], [OPENED, "/p/b", 6])
    used = Used.from_reports(lay_trace(tmp_path, *lines), {})
    assert used.uses == ((OPENED, "/p/a"), (OPENED, "/p/b"), (WRITTEN, "/p/b"))
    assert used.of(OPENED) == {"/p/a", "/p/b"}
    assert used.of(WRITTEN) == {"/p/b"}
    assert used.of(OPENED, WRITTEN) == {"/p/a", "/p/b"}
    assert used.of() == used.of(MODULE) == set()


def test_a_file_is_used_since_its_first_use(tmp_path):
    lines = ([OPENED, "/p/a", 3], [WRITTEN, "/p/a", 4], [OPENED, "/p/b", 5])
    assert Used.from_reports(lay_trace(tmp_path, *lines), {}).since == {"/p/a": 3, "/p/b": 5}


def test_last_words_are_taken_over(tmp_path):
    used = Used.from_reports(lay_trace(tmp_path), WORDS)
    assert {name: getattr(used, name) for name in WORDS} == {
        name: tuple(value) if isinstance(value, list) else value for name, value in WORDS.items()
    }


def test_a_kernel_that_says_nothing_has_used_nothing(tmp_path):
    assert Used.from_reports(tmp_path / "none", {}) == Used()


@pytest.mark.parametrize(
    "torn", ['["opened", "/p/', "", "3", "null", '["opened"]', '["opened", "/p/x"]', '["a", "b", 1, 2]', "\0"]
)
def test_torn_lines_are_passed_over(tmp_path, torn):
    trace = lay_trace(tmp_path, [OPENED, "/p/a", 1], torn, [OPENED, "/p/b", 2])
    assert Used.from_reports(trace, {}).of(OPENED) == {"/p/a", "/p/b"}


@pytest.mark.parametrize("name", ["ä.csv", "\udcff.csv", "a\u2028b\x85c.csv", 'a"b\\c\n.csv'])
def test_names_of_all_kinds_survive(tmp_path, name):
    assert Used.from_reports(lay_trace(tmp_path, [OPENED, name, 1]), {}).of(OPENED) == {name}


REAL = {"/disk/runs/x/A": "/p/runs/x/A", "/disk/runs": "/p/runs", "/disk": "/p"}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/disk/data/a.csv", "/p/data/a.csv"),
        ("/disk", "/p"),
        ("/disk/runs/x/A/a.csv", "/p/runs/x/A/a.csv"),
        ("/diskette/a.csv", "/diskette/a.csv"),
        ("/p/data/a.csv", "/p/data/a.csv"),
        ("/other/disk/a.csv", "/other/disk/a.csv"),
    ],
)
def test_files_are_called_as_the_project_calls_them(path, name):
    used = Used(uses=((OPENED, path),), since={path: 3}, modules=(path,), packages=("a",)).renamed(REAL)
    assert used == Used(uses=((OPENED, name),), since={name: 3}, modules=(name,), packages=("a",))


def test_without_links_nothing_is_renamed():
    used = Used(uses=((OPENED, "/p/a"),))
    assert used.renamed({}) is used
