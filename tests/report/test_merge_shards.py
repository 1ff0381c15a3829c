"""`ductaflow merge`: the runs of several shards become one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers.projects import write_project
from helpers.sessions import own_environment, run_session

from pytest_ductaflow.command_line.main import main
from pytest_ductaflow.report.page import read, render

REPORT = "conductor_status_report.html"


def make_row(name: str, status: str = "waiting", shard: int | None = 1, **more: Any) -> dict[str, Any]:
    step, _, instance = name.partition("/")
    return {
        "id": f"conductor.py::{step}::{instance}",
        "step": step,
        "instance": instance,
        "status": status,
        "earlier": False,
        "directory": name,
        "shard": shard,
        "message": None,
        **more,
    }


def write_shard(
    folder: Path, shard: str | None, rows: Sequence[Mapping[str, Any]], *directories: str, **header: Any
) -> Path:
    """Write a `runs/` with a report; each run directory has a file that names its shard."""
    folder.mkdir(parents=True)
    data = {"schema": 2, "title": "p", "shard": shard, "outcome": "finished", "exit_code": 0, "workers": 1}
    times = {"started": f"2030-0{len(rows)}", "finished": "2031", "updated": "2031"}
    page = render({**data, **times, **header, "rows": list(rows)})
    (folder / REPORT).write_text(page, encoding="utf-8")
    for directory in directories:
        (folder / directory).mkdir(parents=True)
        (folder / directory / "whose.txt").write_text(folder.name)
    return folder


def left(name: str, shard: int | None, **more: Any) -> dict[str, Any]:
    """Return the row of an instance that another shard runs."""
    return make_row(name, shard=shard, earlier=True, **more)


@pytest.fixture
def halves(tmp_path, monkeypatch) -> list[str]:
    """Make two shards of two instances."""
    monkeypatch.chdir(tmp_path)
    write_shard(tmp_path / "one", "1/2", [make_row("a/x", "success", 1), left("a/y", 2)], "a/x")
    write_shard(tmp_path / "two", "2/2", [left("a/x", 1), make_row("a/y", "warning", 2)], "a/y")
    return ["one", "two"]


def merge(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["merge", *map(str, args)])


def rows_of(runs: Path | str = "runs") -> dict[str, dict[str, Any]]:
    rows = read(Path(runs, REPORT))["rows"]
    return {f"{row['step']}/{row['instance']}": row for row in rows}


def assert_refused(result: Result, *said: str) -> None:
    """Check that the command reported the error in one line, and wrote nothing."""
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert result.output.startswith("Error: ")
    assert [text for text in said if text not in result.output] == []
    assert not Path("runs").exists()
    assert [name for name in os.listdir() if name.startswith(".")] == []


def test_each_instance_comes_from_the_shard_that_ran_it(halves):
    result = merge(*reversed(halves))
    assert (result.exit_code, result.output) == (
        0,
        "2 instances: 1 success, 1 warning\nreport: runs/conductor_status_report.html\n",
    )
    assert {name: (row["status"], row["earlier"]) for name, row in rows_of().items()} == {
        "a/x": ("success", False),
        "a/y": ("warning", False),
    }
    assert Path("runs/a/x/whose.txt").read_text() == "one"
    assert Path("runs/a/y/whose.txt").read_text() == "two"
    header = read(Path("runs", REPORT))
    assert (header["outcome"], header["shard"], header["workers"]) == ("finished", None, 2)
    assert sorted(os.listdir()) == ["one", "runs", "two"]


def test_the_folder_that_holds_runs_will_do(tmp_path, halves):
    for name in halves:
        os.renames(name, f"artifacts/{name}/runs")
    assert merge("artifacts/one", "artifacts/two/runs", "--to", "deep/down/merged").exit_code == 0
    assert set(rows_of("deep/down/merged")) == {"a/x", "a/y"}


def test_the_stylesheet_of_pages_comes_too(halves):
    Path("two/notebook.css").write_text("p {}")
    merge(*halves)
    assert Path("runs/notebook.css").read_text() == "p {}"


def test_what_is_there_already_stays_unless_a_shard_has_it(halves):
    for name in ("a/x", "b/old"):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "older.txt").touch()
    assert merge(*halves).exit_code == 0
    assert os.listdir("runs/a/x") == ["whose.txt"]
    assert os.listdir("runs/b/old") == ["older.txt"]
    assert merge(*halves).exit_code == 0


def test_links_are_copied_as_links_and_pipes_not_at_all(halves):
    os.symlink("whose.txt", "one/a/x/link")
    os.symlink("nowhere", "one/a/x/dangling")
    if hasattr(os, "mkfifo"):
        os.mkfifo("one/a/x/pipe")
    assert merge(*halves).exit_code == 0
    assert sorted(os.listdir("runs/a/x")) == ["dangling", "link", "whose.txt"]
    assert os.readlink("runs/a/x/link") == "whose.txt"


def test_an_instance_that_nobody_was_to_run_keeps_its_earlier_state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [make_row("a/x", "success", 1), left("b/y", None, status="error"), left("b/never", None)]
    write_shard(tmp_path / "one", "1/1", rows, "a/x", "b/y")
    assert merge("one").exit_code == 0
    assert Path("runs/b/y/whose.txt").is_file()
    assert {name: (row["status"], row["earlier"]) for name, row in rows_of().items()} == {
        "a/x": ("success", False),
        "b/y": ("error", True),
        "b/never": ("waiting", True),
    }


@pytest.mark.parametrize("directory", ["../elsewhere", "/elsewhere", "a/../../elsewhere", ".", ""])
def test_a_run_directory_outside_of_runs_is_not_copied_and_is_told(tmp_path, monkeypatch, directory):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    directory = directory.replace("/elsewhere", str(tmp_path / "elsewhere"), directory.startswith("/e"))
    write_shard(tmp_path / "one", "1/1", [make_row("a/x", "success", 1, directory=directory)], "a")
    result = merge("one")
    assert result.exit_code == 1
    assert f"conductor.py::a::x: its run directory {directory!r} is not below runs/" in result.output
    assert os.listdir("runs") == [REPORT]
    assert (rows_of()["a/x"]["status"], rows_of()["a/x"]["links"]) == ("error", {})


@pytest.mark.parametrize("directory", ["a/x", "a" * 5_000, "a\0b", "\ud800"])
def test_a_run_directory_that_no_shard_has_is_told(tmp_path, monkeypatch, directory):
    """An upload may have left it out, for example: the outputs of its instance are lost."""
    monkeypatch.chdir(tmp_path)
    rows = [make_row("a/x", "success", 1, directory=directory), make_row("a/y", "success", 1)]
    write_shard(tmp_path / "one", "1/1", rows, "a/y")
    result = merge("one")
    assert result.exit_code == 1
    assert "conductor.py::a::x: its run directory '" in result.output
    assert "is not among what shard 1 (one) has left\n2 instances: 1 error, 1 success\n" in result.output
    assert rows_of()["a/x"]["status"] == "error"
    assert sorted(os.listdir("runs")) == ["a", REPORT]


def test_what_failed_or_was_blocked_needs_no_run_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [make_row("a/x", "error", 1, message="no space"), make_row("a/y", "blocked", 1)]
    write_shard(tmp_path / "one", "1/1", rows)
    assert merge("one").output.startswith("conductor.py::a::x: no space\n2 instances: 1 blocked, 1 error\n")


@pytest.mark.parametrize("link", ["a", "a/x", "a/x/inner"])
def test_a_link_on_the_way_to_a_run_directory_is_not_followed(tmp_path, monkeypatch, link):
    monkeypatch.chdir(tmp_path)
    Path("secret/x/inner/deep").mkdir(parents=True)
    Path("secret/x/inner/deep/TOPSECRET").touch()
    for folder in ("secret/x/inner", "secret/x", "secret"):
        Path(folder, "TOPSECRET").touch()
    write_shard(tmp_path / "one", "1/1", [make_row("a/x", "success", 1, directory="a/x/inner/deep")])
    Path("one", link).parent.mkdir(parents=True, exist_ok=True)
    Path("one", link).symlink_to(Path("secret", *Path(link).parts[1:]).resolve())
    result = merge("one")
    assert result.exit_code == 1
    assert (
        f"conductor.py::a::x: its run directory 'a/x/inner/deep' is reached by a link, {link}"
        in result.output
    )
    assert list(Path("runs").rglob("TOPSECRET")) == []


def test_links_that_lead_out_of_the_shard_are_left_out_and_told(tmp_path, halves):
    Path("secret").mkdir()
    Path("secret/TOPSECRET").write_text("key")
    Path("one/a/x/to_parent").symlink_to("..")
    for name, target in {
        "absolute": tmp_path / "secret",
        "relative": "../../../secret/TOPSECRET",
        "by_another": "to_parent/../../secret",
    }.items():
        Path("one/a/x", name).symlink_to(target)
    result = merge(*halves)
    assert result.exit_code == 0
    assert sorted(os.listdir("runs/a/x")) == ["to_parent", "whose.txt"]
    assert (
        "note: links that lead out of runs/ are left out: a/x/absolute, a/x/by_another, a/x/relative\n"
        in (result.output)
    )


def test_a_link_among_what_is_copied_is_not_written_through(tmp_path, monkeypatch):
    """One shard has a link where another has the run directory of a further instance."""
    monkeypatch.chdir(tmp_path)
    outer, inner = make_row("a/x", "success", 1), make_row("a/x/sub/y", "success", 2)
    write_shard(tmp_path / "one", "1/2", [outer, {**inner, "earlier": True}], "a/x", "b")
    Path("one/a/x/sub").symlink_to("../../b")
    write_shard(tmp_path / "two", "2/2", [{**outer, "earlier": True}, inner], "a/x/sub/y")
    assert merge("one", "two").exit_code == 0
    assert Path("runs/a/x/sub/y/whose.txt").read_text() == "two"
    assert not Path("runs/a/x/sub").is_symlink()
    assert not Path("runs/b").exists()


@pytest.mark.parametrize("link", ["a", "a/x"])
def test_a_link_in_the_target_is_not_followed(tmp_path, halves, link):
    Path("elsewhere/x").mkdir(parents=True)
    Path("elsewhere/x/kept.txt").touch()
    Path("runs", link).parent.mkdir(parents=True)
    Path("runs", link).symlink_to(Path("elsewhere", *Path(link).parts[1:]).resolve())
    result = merge(*halves)
    assert os.listdir("elsewhere") == ["x"]
    assert os.listdir("elsewhere/x") == ["kept.txt"]
    if link == "a":
        assert (result.exit_code, result.output) == (
            2,
            (
                "Error: runs/a is a link: the result is not written where it leads; "
                "remove it, or choose another --to\n"
            ),
        )
    else:
        assert result.exit_code == 0
        assert os.listdir("runs/a/x") == ["whose.txt"]


def test_a_stylesheet_that_is_a_link_is_neither_read_nor_written_through(tmp_path, halves):
    Path("secret").write_text("key")
    Path("mine.css").write_text("mine")
    Path("one/plotly.min.js").symlink_to(tmp_path / "secret")
    Path("two/notebook.css").write_text("p {}")
    Path("runs").mkdir()
    Path("runs/notebook.css").symlink_to(tmp_path / "mine.css")
    assert merge(*halves).exit_code == 0
    assert not Path("runs/plotly.min.js").exists()
    assert Path("runs/notebook.css").read_text() == "p {}"
    assert Path("mine.css").read_text() == "mine"


def test_a_run_directory_inside_of_another_is_that_of_its_own_shard(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outer, inner = make_row("a/x", "success", 1), make_row("a/x/y", "success", 2)
    write_shard(tmp_path / "one", "1/2", [outer, {**inner, "earlier": True}], "a/x", "a/x/y")
    write_shard(tmp_path / "two", "2/2", [{**outer, "earlier": True}, inner], "a/x", "a/x/y")
    assert merge("one", "two").exit_code == 0
    assert Path("runs/a/x/whose.txt").read_text() == "one"
    assert Path("runs/a/x/y/whose.txt").read_text() == "two"


def test_a_failure_makes_the_exit_code_1_and_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [make_row("a/x", "error", 1, message="ValueError: <b>|\nmore"), make_row("a/y", "blocked", 1)]
    write_shard(tmp_path / "one", "1/1", rows, exit_code=1)
    result = merge("one")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        "shard 1/1 (one): pytest ended with exit code 1",
        "conductor.py::a::x: ValueError: <b>| more",
        "2 instances: 1 blocked, 1 error",
        "report: runs/conductor_status_report.html",
    ]
    assert rows_of()["a/x"]["message"] == "ValueError: <b>|\nmore"


def test_on_github_the_job_that_merges_has_a_summary_of_all(tmp_path, monkeypatch, halves):
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert merge(*halves).exit_code == 0
    assert summary.read_text().startswith("## ductaflow, 2 shards: 1 passed, 1 warned, 0 failed")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"exit_code": 1}, "pytest ended with exit code 1"),
        ({"outcome": "interrupted", "exit_code": 2}, "its session was interrupted"),
        ({"outcome": None, "finished": None, "exit_code": None}, "its session did not end"),
    ],
)
def test_a_session_that_was_no_success_makes_the_exit_code_1(tmp_path, monkeypatch, header, said):
    """Even if all of its instances are well: an ordinary test may have failed."""
    monkeypatch.chdir(tmp_path)
    write_shard(tmp_path / "one", "1/1", [make_row("a/x", "success", 1)], **header)
    result = merge("one")
    assert result.exit_code == 1
    assert result.output.startswith(f"shard 1/1 (one): {said}\n")


def test_instances_of_a_killed_session_are_cut_off_or_were_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [make_row("a/x", "running", 1), make_row("a/y", "waiting", 1)]
    write_shard(tmp_path / "one", "1/1", rows, "a/x", outcome=None)
    result = merge("one")
    assert result.exit_code == 1
    assert "conductor.py::a::y: no shard ran it\n" in result.output
    assert {name: (row["status"], row["message"]) for name, row in rows_of().items()} == {
        "a/x": ("error", "cut off: its session did not end"),
        "a/y": ("waiting", "no shard ran it"),
    }


def test_missing_shards_are_listed(tmp_path, halves):
    write_shard(tmp_path / "three", "2/4", [])
    write_shard(tmp_path / "many", "1/2000000000", [])
    assert_refused(merge("one"), "shard 2 of 2 missing", "--partial")
    assert_refused(merge("many"), "shards 2, 3, 4", ", 21 and 1999999979 more of 2000000000 missing")
    assert_refused(merge("three"), "shards 1, 3, 4 of 4 missing")


def test_partial_goes_on_without_a_shard_and_fails_for_what_did_not_run(halves):
    result = merge("one", "--partial")
    assert result.exit_code == 1
    assert "conductor.py::a::y: no shard ran it\n" in result.output
    assert rows_of()["a/y"]["status"] == "waiting"


def test_an_earlier_state_of_what_did_not_run_is_kept_and_is_still_a_failure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [make_row("a/x", "success", 1), left("a/y", 2, status="success")]
    write_shard(tmp_path / "one", "1/2", rows, "a/x", "a/y")
    result = merge("one", "--partial")
    assert result.exit_code == 1
    assert "conductor.py::a::y: no shard ran it\n" in result.output
    assert (rows_of()["a/y"]["status"], rows_of()["a/y"]["earlier"]) == ("success", True)
    assert Path("runs/a/y/whose.txt").is_file()


def test_the_same_shard_twice_is_refused(tmp_path, halves):
    write_shard(tmp_path / "again", "1/2", [])
    for partial in ((), ("--partial",)):
        result = merge("one", "again", "two", *partial)
        assert_refused(result, "shard 1/2 is there twice: one and again")
    assert_refused(merge("one", "one", "two"), "shard 1/2 is there twice: one and one")


def test_shards_of_different_wholes_are_refused(tmp_path, halves):
    write_shard(tmp_path / "three", "3/3", [])
    assert_refused(merge("one", "three", "--partial"), "different wholes: 1/2 (one) and 3/3 (three)")


def test_an_instance_that_two_shards_ran_is_refused(tmp_path, halves):
    rows = [make_row("a/x", "success", 2), make_row("a/y", "success", 2)]
    write_shard(tmp_path / "more", "2/2", rows)
    assert_refused(
        merge("one", "more"), "conductor.py::a::x was run by two shards: one and more", "the same commit"
    )


@pytest.mark.parametrize(("schema", "told"), [(1, "1"), ("1.1", "'1.1'"), (None, "None")])
def test_shards_of_versions_that_write_other_reports_are_refused(tmp_path, halves, schema, told):
    """Versions are checked before anything else about their rows, which may differ, too."""
    write_shard(tmp_path / "other", "2/2", [{"name": "a/y"}], schema=schema)
    assert_refused(
        merge("one", "other"),
        f"other/{REPORT}: a report of schema {told}, expected 2: merge with the version of pytest-ductaflow "
        "that has run all shards",
    )


def test_shards_that_were_divided_in_different_ways_are_refused(tmp_path, halves):
    write_shard(tmp_path / "more", "2/2", [left("a/x", 1), left("a/y", 1)])
    assert_refused(merge("one", "more"), "conductor.py::a::y", "shard 1 (one)", "shard 2 (more)")


def test_shards_of_different_commits_are_refused(tmp_path, halves):
    write_shard(tmp_path / "more", "2/2", [left("a/x", 1), left("a/y", 2), left("a/z", None)])
    assert_refused(merge("one", "more"), "conductor.py::a::z is not known to shard 1 (one)")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (None, f"no {REPORT} in it"),
        ("<html></html>", "not a readable report"),
        (b"\xff\xfe", "not a readable report"),
        (
            render({"schema": 2, "shard": "1/1", "rows": [{"id": 3}]}),
            "not a readable report (one of its rows",
        ),
        (render({"schema": 2, "shard": "1/1", "rows": ["x"]}), "not a readable report (one of its rows"),
        (
            render({"schema": 2, "shard": "1/1", "rows": [make_row("a/x", "nonsense")]}),
            "conductor.py::a::x has the status 'nonsense'",
        ),
        *(
            (
                render({"schema": 2, "shard": "1/1", "rows": [make_row("a/x", **{name: value})]}),
                "not a readable report (one of",
            )
            for name, value in (
                ("message", 3),
                ("step", None),
                ("differences", [{"file": 1}]),
                ("traceback", [1]),
            )
        ),
        (
            render({"schema": 2, "shard": "1/1", "rows": []}).replace('"rows":[', '"rows":[' + "[" * 200_000),
            "not a readable",
        ),
        (render({"schema": 2, "rows": []}), "was not run with --ductaflow-shard"),
        (render({"schema": 2, "shard": "2/1", "rows": []}), "'2/1' is not a shard"),
        (render({"schema": 2, "shard": [1], "rows": []}), "[1] is not a shard"),
    ],
)
def test_a_folder_that_no_shard_has_left_is_refused(tmp_path, monkeypatch, page, said):
    monkeypatch.chdir(tmp_path)
    Path("bad").mkdir()
    if page is not None:
        Path("bad", REPORT).write_bytes(page if isinstance(page, bytes) else page.encode())
    assert_refused(merge("bad"), "bad", said)


def test_a_report_that_is_nested_too_deeply_to_be_written_is_refused(tmp_path, monkeypatch):
    """It can be read, though: a number that JavaScript lacks takes another way."""
    monkeypatch.chdir(tmp_path)
    Path("bad").mkdir()
    page = render({"schema": 2, "shard": "1/1", "title": "TITLE", "rows": []})
    Path("bad", REPORT).write_text(page.replace('"TITLE"', f"{'[' * 900}{2**60}{']' * 900}"))
    assert_refused(merge("bad"), "nested too deeply")


def test_the_result_cannot_go_where_a_shard_lies(halves):
    for target in ("one", "two/a", "."):
        assert_refused(merge(*halves, "--to", target), f"{target}: the result cannot go where shard")


def test_a_target_that_cannot_be_written_is_one_message_and_leaves_everything(halves):
    Path("result").write_text("a file")
    assert_refused(merge(*halves, "--to", "result"), "result: could not be written")
    assert Path("result").read_text() == "a file"


PROJECT = {
    "flows/first.py": "from pathlib import Path\nPath('made.txt').write_text(config['instance_name'])\n",
    "flows/second.py": """\
        from pathlib import Path
        print(Path(config["_project_root"], config["source"]).read_text())
        if config["instance_name"] == "b":
            raise ValueError("no <b> | `x`")
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct

        conduct("flows/first.py", [{"instance_name": name} for name in "ab"])
        conduct("flows/second.py", [
            {"instance_name": name, "source": f"runs/first/{name}/made.txt"} for name in "ab"
        ])
        """,
}


@pytest.mark.slow
def test_two_jobs_share_the_work_and_their_runs_become_one(tmp_path):
    """From two checkouts, one with workers, to one report with valid links."""
    environment = own_environment(pages=True)
    codes = []
    for job, workers in ((1, ()), (2, ("-n2",))):
        root = tmp_path / f"job-{job}"
        write_project(root, PROJECT)
        command = ("-p", "no:cacheprovider", "--ductaflow", "conductor.py", f"--ductaflow-shard={job}/2")
        done = run_session(root, *command, *workers, environment=environment)
        assert "2 deselected" in done.stdout or workers, done.stdout
        codes.append(done.returncode)
    assert codes == [0, 1]
    target = tmp_path / "merged"
    result = merge(tmp_path / "job-1", tmp_path / "job-2", "--to", target)
    assert result.exit_code == 1
    assert (
        "conductor.py::second::b: ValueError: no <b> | `x`\n4 instances: 1 error, 3 success\n"
        in result.output
    )
    rows = rows_of(target)
    assert {name: row["status"] for name, row in rows.items()} == {
        "first/a": "success",
        "first/b": "success",
        "second/a": "success",
        "second/b": "error",
    }
    links = [link for row in rows.values() for link in row["links"].values()]
    assert len(links) == 16
    assert all((target / link).is_file() for link in links)
    for name, row in rows.items():
        record = json.loads((target / name / f"{row['step']}_record.json").read_text(encoding="utf-8"))
        assert record["status"] == row["status"]
