"""Files that are written again while a conductor is collected are restored afterwards."""

from __future__ import annotations

import os

from pytest_ductaflow.planning.collecting.file_backups import put_back, set_aside


def test_two_threads_that_set_files_aside_at_once_keep_a_copy_each(tmp_path, monkeypatch):
    folder, files = tmp_path / "aside", [tmp_path / "a.csv", tmp_path / "b.csv"]
    monkeypatch.setattr(os, "listdir", lambda _folder: [])  # the state in which each of them finds the folder
    for file in files:
        file.write_text(file.name)
        assert set_aside(str(file), folder, f"{file.name} was written anew")
    for file in files:
        file.write_text("new")
    assert put_back(folder, tmp_path / "calls") == [f"{file.name} was written anew" for file in files]
    assert [file.read_text() for file in files] == [file.name for file in files]
