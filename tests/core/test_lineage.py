"""Records say which session, machine and commit a run comes from, with or without Git."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess

import pytest
from helpers.projects import write_project

from pytest_ductaflow.api.read_runs import results
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.core.system import lineage

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="Git is not installed")


def git(folder, *arguments):
    identity = ("-c", "user.email=a@example.org", "-c", "user.name=a", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    write_project(tmp_path, {"flows/a.py": "", "inner/b.py": ""})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "tag", "v1")
    return tmp_path


def commit_known_in(folder):
    lineage.lineage_here(str(folder))
    return lineage.commit_of(str(folder))


@needs_git
def test_the_commit_is_known_in_a_repository_and_in_a_folder_of_it(repository):
    commit = {"commit": git(repository, "rev-parse", "HEAD"), "dirty": False}
    assert commit_known_in(repository) == commit
    (repository / "runs").mkdir()
    (repository / "runs/new").touch()  # which Git does not track
    assert commit_known_in(repository / "inner") == commit


@needs_git
def test_a_tree_with_changes_is_told(repository):
    (repository / "flows/a.py").write_text("print(1)\n")
    assert commit_known_in(repository)["dirty"] is True


def test_without_a_repository_or_git_there_is_no_commit(tmp_path, monkeypatch):
    assert commit_known_in(tmp_path) == {}
    (tmp_path / "broken/.git").mkdir(parents=True)
    assert commit_known_in(tmp_path / "broken") == {}
    (tmp_path / "no_git/.git").mkdir(parents=True)
    monkeypatch.setenv("PATH", "")
    assert commit_known_in(tmp_path / "no_git") == {}
    assert lineage.commit_of("never asked") == {}


def test_a_session_has_an_id_and_tags_and_may_be_another_processs(tmp_path):
    lineage.begin_session("theirs", ["client=ACME", "draft"])
    said = {"session": "theirs", "host": platform.node(), "tags": ["client=ACME", "draft"]}
    assert lineage.lineage_here(str(tmp_path)) == said
    lineage.begin_session()
    assert lineage.session_id() not in ("", "theirs")
    assert "tags" not in lineage.lineage_here(str(tmp_path))


@pytest.mark.parametrize(
    ("given", "ini", "tags"),
    [
        (["a=1", "b c", "a=1"], "", ("a=1", "b c")),
        (None, "a=1\n\n b c \n", ("a=1", "b c")),
        (["x"], "a=1", ("x",)),
        (None, "", ()),
    ],
)
def test_tags_come_from_the_command_line_or_the_ini_file(given, ini, tags):
    settings = Settings.resolve(
        lambda option: given if option.name == "tag" else None,
        lambda option: ini if option.name == "tag" else "",
    )
    assert settings.tag == tags
    assert Settings.loads(settings.dumps()) == settings


def test_results_have_the_lineage_if_asked(tmp_path, monkeypatch):
    write_project(tmp_path, {"flows/a.py": ""})
    known = {"session": "s1", "host": "h", "commit": "0" * 40, "dirty": True, "tags": ["x=1", "y"]}
    for name, said in (("old", {}), ("new", known)):
        record = Record(Status.SUCCESS, "flows/a.py", "a", name, f"runs/a/{name}", lineage=said)
        write_project(tmp_path, {f"runs/a/{name}/a_record.json": record.to_json()})
    monkeypatch.chdir(tmp_path)
    table = results("runs", lineage=True).set_index("instance")
    assert dict(table.loc["new", ["session", "host", "dirty", "tags"]]) == {
        "session": "s1",
        "host": "h",
        "dirty": True,
        "tags": "x=1, y",
    }
    assert table.loc["old", "session"] is None or table.loc["old"].isna()["session"]
    assert "commit" not in results("runs").columns


def test_records_keep_design_and_lineage_and_older_ones_have_none():
    record = Record(
        Status.SUCCESS, "f.py", "f", "a", "runs/f/a", design={"kind": "grid"}, lineage={"session": "s"}
    )
    data = json.loads(json.dumps(record.to_json()))
    assert Record.from_json(data) == record
    del data["design"], data["lineage"]
    older = Record.from_json(data)
    assert (older.design, older.lineage) == ({}, {})
    assert not {"design", "lineage"} & older.to_json().keys()
