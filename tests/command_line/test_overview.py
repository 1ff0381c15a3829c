"""`status` and `ls`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import ductaflow, write_sample
from helpers.projects import write_project


@pytest.fixture(scope="module", name="root")
def fixture_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample(tmp_path_factory.mktemp("overview"))


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_status_counts_the_instances_of_each_step(root: Path) -> None:
    done = ductaflow(root, "status", is_real=True, TZ="UTC")
    assert (done.code, done.err) == (0, "")
    head, clean, fit, total, *rest = squeezed(done.out)
    assert head == "step instances running success warning error not run newest"
    assert clean == "clean 2 1 1 2026-03-01 12:01"
    assert fit == "fit 3 1 1 1 2026-03-01 12:02"
    assert total == "all 5 1 1 1 1 1"
    assert rest[0].startswith("running now: fit/B (")
    assert rest[1].startswith("newest: fit/A, ")
    assert rest[1].endswith("ago: error, ValueError: no zones in 2040")
    assert rest[2].startswith("1 more run that nothing declares any more: ")
    assert "\x1b" not in done.out


def test_status_as_data(root: Path) -> None:
    data = json.loads(ductaflow(root / "flows", "status", "--json").out)
    assert data["project"] == str(root)
    assert data["steps"][0] == {"step": "clean", "success": 1, "warning": 1}
    assert [each["run"] for each in data["running"]] == ["fit/B"]
    assert data["newest"]["run"] == "fit/A"
    assert (data["sessions"], data["undeclared"]) == ([], ["old/x"])


def test_status_of_a_project_in_which_nothing_has_run(tmp_path: Path) -> None:
    write_project(tmp_path, {"flows/a.py": ""})
    assert ductaflow(tmp_path, "status").lines == [
        ".: nothing has run yet; run a conductor: pytest --ductaflow conductor.py",
        "no session is running",
    ]


def test_ls_lists_the_newest_first(root: Path) -> None:
    done = ductaflow(root / "data", "ls", is_real=True, TZ="UTC")
    assert (done.code, done.err) == (0, "")
    assert squeezed(done.out)[:4] == [
        "status run when duration message",
        "error fit/A 2026-03-01 12:02 1.5 s ValueError: no zones in 2040",
        "warning clean/B 2026-03-01 12:01 1.5 s ⚠️ more than before",
        "success clean/A 2026-03-01 12:00 1.5 s",
    ]
    assert squeezed(done.out)[-1] == "not run fit/C"
    assert "old/x" not in done.out


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["clean"], ["clean/B", "clean/A"]),
        (["runs/clean/"], ["clean/B", "clean/A"]),
        (["-n", "1"], ["fit/A"]),
        (["--status", "error", "--status", "warning"], ["fit/A", "clean/B"]),
        (["--where", "year == 2040"], ["clean/B"]),
        (["--where", "`model.alpha` < 1 and status == 'success'"], ["clean/A"]),
        (["--all", "old"], ["old/x"]),
        (["--status", "blocked"], []),
    ],
)
def test_ls_selects(root: Path, arguments: list[str], names: list[str]) -> None:
    done = ductaflow(root, "ls", "--json", *arguments)
    assert (done.code, done.err) == (0, "")
    assert [each["run"] for each in json.loads(done.out)] == names


def test_what_cannot_be_selected_is_one_message(root: Path) -> None:
    done = ductaflow(root, "ls", "--where", "yaer == 2040")
    assert done.code == 2
    assert done.err.startswith("Error: --where 'yaer == 2040': there is no column 'yaer'")
    assert done.err.count("\n") == 1
    done = ductaflow(root, "ls", "fti")
    assert (done.code, done.err) == (2, "Error: no step 'fti'; there are clean, fit\n")
    assert ductaflow(root, "ls", "--status", "blocked").out == "no instance\n"
