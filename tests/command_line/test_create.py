"""`init` and `new`: what they make runs as it is, and nothing is overwritten."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

import pytest
import yaml
from helpers.command_line import ductaflow
from helpers.projects import write_project
from helpers.sessions import run_session

TEMPLATES = ["data", "model", "report"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "template",
    ["data", *(pytest.param(each, marks=pytest.mark.thorough) for each in TEMPLATES if each != "data")],
)
def test_a_new_project_runs_green_and_its_gate_passes(tmp_path: Path, template: str) -> None:
    assert ductaflow(tmp_path, "init", "town", "--template", template).code == 0
    done = run_session(
        tmp_path / "town", "-q", "-p", "no:cacheprovider", "--ductaflow", "conductor.py", "tests/instances"
    )
    assert done.returncode == 0, done.stdout
    assert "warned" not in done.stdout
    done = ductaflow(tmp_path / "town", "status", "--json")
    counts = {step.pop("step"): step for step in json.loads(done.out)["steps"]}
    assert {status for step in counts.values() for status in step} == {"success"}
    assert any(step.startswith("instances/") for step in counts)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_has_all_its_parts(tmp_path: Path, template: str) -> None:
    done = ductaflow(tmp_path, "init", "--template", template, is_real=template == "data")
    assert (done.code, done.err) == (0, "")
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert files == set(done.lines[: len(files)])
    assert {
        "conductor.py",
        ".gitignore",
        "pytest.ini",
        ".github/workflows/instances.yml",
        "README.md",
    } <= files
    for part in ("flows/", "builds/", "config/", "tests/instances/", "data/"):
        assert any(name.startswith(part) for name in files)
    assert any(name.endswith(".schema.json") for name in files)
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {tmp_path.name}\n")
    assert "ABOUT" not in readme
    yaml.safe_load((tmp_path / ".github/workflows/instances.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["north and 'south'", "-north"])
def test_what_it_says_to_type_can_be_typed(tmp_path: Path, name: str) -> None:
    done = ductaflow(tmp_path, "init", "--", name)
    going = done.lines[-1].removeprefix("the gate:  ").partition(" && ")[0]
    typed = subprocess.run(["sh", "-c", f"{going} && ls conductor.py"], cwd=tmp_path, check=False)
    assert typed.returncode == 0, going


def test_nothing_is_overwritten_and_nothing_else_is_written(tmp_path: Path) -> None:
    write_project(tmp_path, {"conductor.py": "mine", "README.md": "mine"})
    done = ductaflow(tmp_path, "init")
    assert (done.code, done.out) == (2, "")
    assert done.err == "Error: README.md, conductor.py are there already; nothing has been written\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "conductor.py"]


@pytest.mark.thorough
@pytest.mark.slow
def test_a_new_flow_build_and_conductor_run(tmp_path: Path) -> None:
    assert ductaflow(tmp_path, "new", "build", "all").err.startswith("Error: there is no flow in flows yet")
    told = [
        ductaflow(tmp_path, "new", *words, is_real=words[0] == "flow").out
        for words in (["flow", "grow"], ["build", "all"], ["conductor", "rates"], ["conductor", "conductor"])
    ]
    assert told == [
        "made flows/grow.py; run it: ductaflow run grow\n",
        "made builds/all.py; run it: ductaflow run all\n",
        "made rates_conductor.py; run it: pytest --ductaflow rates_conductor.py -n auto\n",
        "made conductor.py; run it: pytest --ductaflow conductor.py -n auto\n",
    ]
    done = ductaflow(tmp_path, "run", "all", is_real=True)
    assert done.code == 0, done.out + done.err
    done = run_session(tmp_path, "-q", "-p", "no:cacheprovider", "--ductaflow", "rates_conductor.py")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "runs/rates/first=1,second=a").is_dir()


def test_names_of_new_files(tmp_path: Path) -> None:
    write_project(tmp_path, {"flows/a.py": "1"})
    done = ductaflow(tmp_path / "flows", "new", "flow", "a")
    assert (done.code, done.err) == (2, "Error: a.py is there already; nothing has been written\n")
    assert "'-b' cannot be a name" in ductaflow(tmp_path, "new", "flow", "--", "-b").err
    assert ductaflow(tmp_path, "new", "flow", "../b").err.startswith("Error: '../b' cannot be a name: ")
    done = ductaflow(tmp_path, "new", "build", "b", "--flow", "aa")
    assert (done.code, done.out) == (2, "")


def test_a_name_may_be_a_word_of_the_template(tmp_path: Path) -> None:
    write_project(tmp_path, {"flows/STEP_NAME.py": "1"})
    assert ductaflow(tmp_path, "new", "build", "FLOWER").code == 0
    text = (tmp_path / "builds/FLOWER.py").read_text(encoding="utf-8")
    assert "# # FLOWER\n" in text
    assert 'run_notebook("flows/STEP_NAME.py"' in text
    assert ductaflow(tmp_path, "new", "conductor", "FLOW").code == 0
    text = (tmp_path / "FLOW_conductor.py").read_text(encoding="utf-8")
    assert "pytest --ductaflow FLOW_conductor.py -n auto" in text
    assert 'conduct("flows/STEP_NAME.py", ' in text
    assert 'step="FLOW")' in text


def test_a_new_conductor_has_the_config_of_its_flow_as_base(tmp_path: Path) -> None:
    """Else each of its instances would lack what the flow needs, and it would not run as it is."""
    config = {"source": "data/a.csv", "on": True, "deep": {"x": [1, None]}, "first": 3}
    write_project(tmp_path, {"flows/clean.py": "1", "config/flows/clean.json": config})
    assert ductaflow(tmp_path, "new", "conductor", "sweep").code == 0
    assert ductaflow(tmp_path, "new", "build", "b").code == 0
    tree = ast.parse((tmp_path / "sweep_conductor.py").read_text(encoding="utf-8"))
    (base,) = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "base"]
    assert ast.literal_eval(base) == config
