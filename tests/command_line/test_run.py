"""`run`: one instance, now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import ductaflow
from helpers.projects import write_project

FLOW = """\
    print("size", config["size"])
    if config["size"] > 5:
        print("warning: large")
    if config["size"] > 9:
        raise ValueError("too large")
    """


@pytest.fixture(scope="module", name="root")
def fixture_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    schema = {"properties": {"size": {"type": "number"}}}
    files = {"flows/a.py": FLOW, "config/flows/a.schema.json": schema, "sizes.json": {"size": 6}}
    return write_project(tmp_path_factory.mktemp("run"), files)


@pytest.mark.slow
def test_a_flow_is_run_with_its_output_and_leaves_a_run(root: Path) -> None:
    done = ductaflow(
        root / "flows", "run", "a", "--set", "size=1", "--set", "model.kind=x", "--name", "one", is_real=True
    )
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "size 1"
    assert done.lines[1].startswith("a/one ended with success in ")
    assert done.lines[2] == "run directory: ../runs/a/one"
    config = json.loads((root / "runs/a/one/a_config.json").read_text())
    assert config == {"size": 1, "model": {"kind": "x"}, "instance_name": "one", "_project_root": str(root)}
    assert "nothing to remove" in ductaflow(root, "gc", "--dry-run").out


@pytest.mark.slow
def test_a_warning_is_no_failure_and_an_error_is_one(root: Path) -> None:
    done = ductaflow(root, "run", "a", "--config", "sizes.json", "--name", "warns", is_real=True)
    assert done.code == 0
    assert done.lines[-2].startswith("a/warns ended with warning in ")
    done = ductaflow(root, "run", "flows/a.py", "--set", "size=10", "--name", "fails", is_real=True)
    assert done.code == 1
    assert "E   ValueError: too large" in done.lines
    assert done.lines[-1] == "repeat:        ductaflow run flows/a.py --set size=10 --name fails"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["b"], "flow 'b' not found"),
        (["a", "--set", "size"], "--set size: expected KEY=VALUE, such as rate=0.02"),
        (
            ["a", "--set", "size=1", "--set", "size.x=1"],
            "--set size.x=1: 'size' is a value, and has no key 'x'",
        ),
        (["a", "--set", "size=big"], "'big' is not of type 'number'"),
        (["a", "--config", "no.json"], "--config no.json: there is no such file"),
        (["a", "--config", "flows/a.py"], "--config flows/a.py is not JSON: "),
        (["a", "--set", "size=1", "--name", "../x"], "'../x'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(root: Path, arguments: list[str], message: str) -> None:
    before = sorted((root / "runs").glob("*/*"))
    done = ductaflow(root, "run", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert sorted((root / "runs").glob("*/*")) == before
