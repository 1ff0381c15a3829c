"""RUN: a path, `step/instance`, or a unique part of a name; and its completion in shells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command_line import ductaflow, make_run, write_sample

from pytest_ductaflow.command_line.shared.find_run import find_run
from pytest_ductaflow.command_line.shared.refusal import Refusal


@pytest.fixture(scope="module", name="root")
def fixture_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_sample(tmp_path_factory.mktemp("names"))
    make_run(root, "grow/rate=0.1,years=5", "flows/clean.py")
    make_run(root, "grow/rate=0.2,years=5", "flows/clean.py")
    make_run(root, "instances/grow/rate=0.2,years=5", "flows/clean.py", stored=True)
    make_run(root, "both/x", "flows/clean.py")
    make_run(root, "both/x", "flows/fit.py")
    return root


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("clean/A", "clean/A"),
        ("runs/clean/A", "clean/A"),
        ("runs/clean/A/zones.csv", "clean/A"),
        ("./runs/clean/A/", "clean/A"),
        ("clean/a", "clean/A"),
        ("rate=0.1", "grow/rate=0.1,years=5"),
        ("rate=0.2,years=5", "grow/rate=0.2,years=5"),
        ("instances/grow/rate=0.2,years=5", "instances/grow/rate=0.2,years=5"),
        ("conductor.py::grow::rate=0.1,years=5", "grow/rate=0.1,years=5"),
        ("fit/C", "fit/C"),
        ("runs/both/x/fit_record.json", "both/x"),
        ("runs/both/x/clean_config.json", "both/x"),
    ],
)
def test_a_run_is_found(root: Path, monkeypatch: pytest.MonkeyPatch, text: str, label: str) -> None:
    monkeypatch.chdir(root)
    assert find_run(text).label == label


def test_a_run_is_found_from_any_folder_of_the_project(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, text in (
        ("flows", "clean/A"),
        ("runs/clean", "B"),
        ("runs/clean/A", "."),
        ("data", "rate=0.1"),
    ):
        monkeypatch.chdir(root / folder)
        assert find_run(text).root == root


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("A", ["'A' is ambiguous, 2 runs in runs are called like it: clean/A, fit/A"]),
        ("grow", ["'grow' is ambiguous", "grow/rate=0.1,years=5, grow/rate=0.2,years=5"]),
        ("claen/A", ["no run in runs is called like 'claen/A'; near it: clean/A"]),
        ("zzzz", ["no run in runs is called like 'zzzz'; all there are: ductaflow ls"]),
        ("", ["'' is not the name of a run"]),
        (".", ["'.' is not the name of a run"]),
        ("..", ["'..' is not the name of a run"]),
        ("./", ["'./' is not the name of a run"]),
        ("/", ["'/' is not the name of a run"]),
        ("runs/", ["'runs/' is not the name of a run"]),
        ("runs", ["'runs' is not the name of a run"]),
        ("::", ["'::' is not the name of a run"]),
        (
            "both/x",
            ["several flows have run there", "both/x/clean_record.json or runs/both/x/fit_record.json"],
        ),
    ],
)
def test_what_is_unknown_or_ambiguous_is_one_message(
    root: Path, monkeypatch: pytest.MonkeyPatch, text: str, parts: list[str]
) -> None:
    monkeypatch.chdir(root)
    with pytest.raises(Refusal) as refused:
        find_run(text)
    assert refused.value.exit_code == 2
    assert "\n" not in refused.value.message
    for part in parts:
        assert part in refused.value.message


def test_an_instance_that_has_not_run_says_so(root: Path) -> None:
    done = ductaflow(root, "show", "fit/C")
    assert done.code == 2
    assert done.err.startswith("Error: fit/C has not run yet: ")


def complete(root: Path, shell: str, words: str, place: int) -> list[str]:
    variables = {"_DUCTAFLOW_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(place)}
    if shell == "fish":
        variables["COMP_CWORD"] = words.rsplit(maxsplit=1)[-1]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ductaflow"))],
        cwd=root,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_zsh_and_fish_complete_names(root: Path) -> None:
    assert complete(root, "zsh", "ductaflow show grow/", 2) == [
        *("plain", "grow/rate=0.1,years=5", "_"),
        *("plain", "grow/rate=0.2,years=5", "_"),
    ]
    assert complete(root, "fish", "ductaflow show fit/", 2) == ["plain,fit/A", "plain,fit/B", "plain,fit/C"]


def test_bash_completes_names_that_it_takes_for_several_words(root: Path) -> None:
    """Bash ends words at `=`, so that only the rest is put in place."""
    assert complete(root, "bash", "ductaflow show grow/rate = 0.1", 4) == ["plain,0.1,years=5"]
    assert complete(root, "bash", "ductaflow show grow/rate", 2) == [
        "plain,grow/rate=0.1,years=5",
        "plain,grow/rate=0.2,years=5",
    ]
