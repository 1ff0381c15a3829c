"""A project with a stored instance A in its repository, and clones of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from helpers.projects import write_project
from helpers.sessions import run_python, run_session

FLOW = """\
    import json
    import sys
    import pandas as pd

    # %%
    zones = pd.DataFrame({"zone": ["north", "south", "east"], "people": [1200, 800, 400]})
    zones["trips"] = zones["people"] * 2.5
    zones.to_csv("trips.csv", index=False)

    # %%
    with open("totals.json", "w") as file:
        json.dump({"year": config["year"], "trips": zones["trips"].sum()}, file)
    print(config.get("say", "all is well"))
    if config.get("fails"):
        raise ValueError("no such year")
    """
PROJECT = {
    "flows/trips.py": FLOW,
    "conductor.py": """\
        import pandas as pd
        from pytest_ductaflow import conduct
        conduct("flows/trips.py", pd.DataFrame({"instance_name": ["A", "B"], "year": [2030, 2040]}))
        """,
}
GATE = "tests/instances"


def run(root: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_python(root, "-m", *command, timeout=120, **variables)


def pytest_(root: Path, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_session(root, "-p", "no:cacheprovider", "--ductaflow", *args, **variables)


def store(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return run(root, "pytest_ductaflow.command_line", "store", *args)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return the times and contents of all files in a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module", name="origin")
def fixture_origin(tmp_path_factory) -> Path:
    """Make a repository with a stored instance A; tests do not change it."""
    root = write_project(tmp_path_factory.mktemp("origin"), PROJECT)
    assert pytest_(root, "conductor.py").returncode == 0
    done = store(root, "runs/trips/A")
    assert (done.returncode, done.stderr) == (0, "")
    (root / ".gitignore").write_text("runs/\n")
    for command in ("init -q", "add .", "-c user.name=x -c user.email=x@y commit -q -m stored"):
        subprocess.run(["git", *command.split()], cwd=root, check=True)
    return root


@pytest.fixture(name="clone")
def fixture_clone(origin, tmp_path) -> Path:
    """Make another clone of it, at another path, without `runs/`."""
    root = tmp_path / "another place/clone"
    subprocess.run(["git", "clone", "-q", str(origin), str(root)], check=True)
    return root
