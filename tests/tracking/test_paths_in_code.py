"""Which files and modules code refers to by its constants and imports."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from helpers.projects import PARAMETERS, lay

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.tracking.paths_in_code import Guesses, modules_named_in_code

FILES = (
    "zones.csv",
    "data/zones.csv",
    "data/my zones.csv",
    "data/trips_2030.csv",
    "data/trips_2040.csv",
    "data/2030/rail.parquet",
    "data/2040/rail.parquet",
    "data/README",
    "other/zones.csv",
    "runs/model/A/restart.csv",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in FILES:
        lay(tmp_path / "project" / name)
    lay(tmp_path / "shared" / "links.csv")
    return tmp_path / "project"


def named_by(root: Path, code: str, config: object = None, listed: tuple[str, ...] = ()) -> set[str]:
    """Return what a flow with this code names, relative to the project."""
    flow = lay(root / "flows" / "model.py", f"{PARAMETERS}# %%\n{code}\n")
    return named_by_file(root, flow, config, listed)


def named_by_file(root: Path, flow: Path, config: object = None, listed: tuple[str, ...] = ()) -> set[str]:
    run_dir = root / "runs" / "model" / "A"
    instance = Instance(str(flow), "model", "A", config or {}, str(run_dir), str(root))
    found = Guesses([str(flow)], instance, [str(root / folder) for folder in listed]).files
    return {os.path.relpath(path, root) for path in found}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('read("data/zones.csv")', "data/zones.csv"),
        ('read("../../../data/zones.csv")', "data/zones.csv"),
        ('read("ROOT/data/zones.csv")', "data/zones.csv"),
        ('read("data/my zones.csv")', "data/my zones.csv"),
        ('read("data/README")', "data/README"),
        ('read("restart.csv")', "runs/model/A/restart.csv"),
        ('read("../shared/links.csv")', "../shared/links.csv"),
        ("sql(\"select * from 'data/zones.csv' where x\")", "data/zones.csv"),
        ("sql('''select *\n  from read_csv(\"data/zones.csv\", header=true)''')", "data/zones.csv"),
        ('read(f"{root}/data/zones.csv")', "data/zones.csv"),
        ("sql(f\"select * from '{root}/data/zones.csv'\")", "data/zones.csv"),
        ('read(str(root) + "/data/zones.csv")', "data/zones.csv"),
        ('read(root / "data" / "zones.csv")', "data/zones.csv"),
        ('data = root / "data"\nread(data / "zones.csv")', "data/zones.csv"),
        ('read(os.path.join(root, "data", "zones.csv"))', "data/zones.csv"),
        ('read(Path(root, "data").joinpath("zones.csv"))', "data/zones.csv"),
        ('connect("sqlite:///data/zones.csv")', "data/zones.csv"),
        ('run("model --zones=data/zones.csv")', "data/zones.csv"),
        ('TABLES = {"zones": ["data/zones.csv"]}', "data/zones.csv"),
        ("# !model data/zones.csv", "data/zones.csv"),
        ('# %% language="bash"\n# model < data/zones.csv', "data/zones.csv"),
    ],
)
def test_a_constant_names_a_file_as_a_whole_or_in_parts(root, code, expected):
    assert expected in named_by(root, code.replace("ROOT", str(root)))


@pytest.mark.parametrize(
    "code",
    [
        "",
        '"""Sums of data/zones.csv."""',
        'def f():\n    """See data/zones.csv."""',
        "x = 1  # data/zones.csv",
        'x = "data"',
        'x = "zones"',
        'x = "other/trips_2030.csv"',
        'x = "a\\0b.csv"',
        'x = ("", ".", "..", "/", "%s", "{}", "***", "[", "{root}")',
    ],
)
def test_other_constants_and_comments_name_nothing(root, code):
    assert named_by(root, code) == set()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('read(root / "data" / f"trips_{year}.csv")', {"data/trips_2030.csv"}),
        ("sql(f\"from '{root}/data/trips_{year}.csv'\")", {"data/trips_2030.csv"}),
        ('read(root / "data" / "trips_{}.csv".format(year))', {"data/trips_2030.csv"}),
        ('read(root / "data" / ("trips_%s.csv" % year))', {"data/trips_2030.csv"}),
        ('read(root / "data" / str(year) / f"{mode}.parquet")', {"data/2030/rail.parquet"}),
        ('read(root / "data" / str(year) / (mode + ".parquet"))', {"data/2030/rail.parquet"}),
        ('read(f"{root}/data/{year}/{mode}.parquet")', {"data/2030/rail.parquet"}),
    ],
)
@pytest.mark.parametrize("config", [{"year": 2030, "mode": "rail"}, {"a": [{"b": "2030"}, ["rail"]]}])
def test_values_of_the_config_may_be_parts_of_a_path(root, code, expected, config):
    assert named_by(root, code, config) == expected


def test_a_value_that_is_not_in_the_config_is_not_guessed(root):
    assert named_by(root, 'read(root / "data" / f"trips_{year}.csv")', {"year": 2050}) == set()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('(root / "data").glob("trips_*.csv")', {"data/trips_2030.csv", "data/trips_2040.csv"}),
        (
            '[f for f in os.listdir(d) if f.endswith("0.csv") or f.endswith(".csv")]',
            {"data/zones.csv", "data/my zones.csv", "data/trips_2030.csv", "data/trips_2040.csv"},
        ),
        ('(root / "data").glob(f"{kind}_*.csv")', {"data/trips_2030.csv", "data/trips_2040.csv"}),
        ('(root / "data").glob("*.parquet")', set()),
        ("os.listdir(d)", set()),
    ],
)
def test_a_pattern_names_files_in_the_folders_that_were_listed(root, code, expected):
    assert named_by(root, code, listed=("data", "none")) == expected


def test_folders_that_link_in_a_circle_end(root):
    (root / "data" / "data").symlink_to(root / "data")
    assert "data/zones.csv" in named_by(root, 'root / "data" / "zones.csv"')


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("x.R", '# %% tags=["parameters"]\nconfig <- list()\n\n# %%\nx <- read.csv("data/zones.csv")\n'),
        ("x.R", '# %% tags=["parameters"]\nconfig <- list()\n\n# %%\nread.csv(file="data/zones.csv")\n'),
        ("x.sh", '# %% tags=["parameters"]\nconfig=1\n\n# %%\nsort < data/zones.csv\n'),
        ("x.md", '```python tags=["parameters"]\nconfig = {}\n```\n\n```python\nf("data/zones.csv")\n```\n'),
        ("helper.py", 'ZONES = "data/zones.csv"\n'),
        ("helper.py", '\ufeffZONES = "data/zones.csv"\n'),
        ("broken.py", 'ZONES = ("data/zones.csv"\n'),
    ],
)
def test_code_in_any_language_and_in_modules_names_files(root, name, code):
    assert "data/zones.csv" in named_by_file(root, lay(root / "flows" / name, code))


@pytest.mark.parametrize("name", ["none.py", "broken.ipynb", "table.csv"])
def test_what_is_no_code_names_nothing(root, name):
    lay(root / "flows" / "broken.ipynb", "{")
    lay(root / "flows" / "table.csv", "data/zones.csv\n")
    assert named_by_file(root, root / "flows" / name) == set()


def test_very_long_constants_name_nothing(root):
    texts = ("a" * 300_000, "a." * 100_000, "/" * 100_000, "lorem ipsum " * 20_000)
    code = "\n".join(f"x = {text!r}" for text in texts)
    assert named_by(root, code, {"values": [f"value {n}" for n in range(2_000)]}) == set()


# Modules

MODULES = {
    "flows/helper.py": "import deep.times\nfrom . import beside\n",
    "flows/beside.py": "",
    "deep/__init__.py": "from .parts import x\n",
    "deep/times.py": "from ..deep import more\nfrom .sub.inner import y as z\n",
    "deep/parts.py": "from . import more\n",
    "deep/more.py": "import json, numpy\n",
    "deep/sub/__init__.py": "",
    "deep/sub/inner.py": "from .. import last\n",
    "deep/last.py": "import helper\n",
    "deep/never.py": "",
    "plain/space.py": "",
}


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    for name, text in MODULES.items():
        lay(tmp_path / name, text)
    return tmp_path


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import helper", set(MODULES) - {"deep/never.py", "plain/space.py"}),
        ("import beside as b", {"flows/beside.py"}),
        ("from beside import x", {"flows/beside.py"}),
        ("def f():\n    import beside", {"flows/beside.py"}),
        ("if False:\n    from beside import *", {"flows/beside.py"}),
        ("import plain.space", {"plain/space.py"}),
        ("from plain import space", {"plain/space.py"}),
        ("from deep import never", {"deep/__init__.py", "deep/parts.py", "deep/more.py", "deep/never.py"}),
        ("import numpy, os.path, nowhere.at.all", set()),
        ("x = 'import helper'", set()),
        ("import (", set()),
    ],
)
def test_modules_behind_imports_are_found_and_those_behind_theirs(modules, code, expected):
    flow = lay(modules / "flows" / "x.py", f"{PARAMETERS}# %%\n{code}\n")
    found = modules_named_in_code(str(flow), (str(modules / "flows"), str(modules)))
    assert {os.path.relpath(path, modules) for path in found} == expected


def test_modules_that_import_one_another_end(modules):
    lay(modules / "a.py", "import b")
    lay(modules / "b.py", "import a")
    found = modules_named_in_code(str(modules / "a.py"), (str(modules),))
    assert found == {str(modules / "a.py"), str(modules / "b.py")}


def test_a_relative_text_means_the_run_directory_if_it_is_there(tmp_path):
    for folder in ("runs/trips/A", "runs/whole/B/runs/trips", "flows"):
        (tmp_path / folder).mkdir(parents=True)
    flow = lay(tmp_path / "flows/whole.py", PARAMETERS + '# %%\nrun("trips", execution_dir="runs/trips")\n')
    instance = Instance(str(flow), "whole", "B", {}, str(tmp_path / "runs/whole/B"), str(tmp_path))
    assert str(tmp_path / "runs/trips") not in Guesses([str(flow)], instance, ()).folders
    flow = lay(tmp_path / "flows/reads.py", PARAMETERS + '# %%\nlist((root / "runs/trips").iterdir())\n')
    assert str(tmp_path / "runs/trips") in Guesses([str(flow)], instance, ()).folders
