"""What a flow's kernel may have preloaded: named by its code, installed, the same wherever imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from helpers.projects import write_project

from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.kernels.preloading import preload
from pytest_ductaflow.kernels.preloading.preload import Preload, preload_of
from pytest_ductaflow.kernels.preloading.rules import IMPORTED_ON_USE, NEVER
from pytest_ductaflow.plugin import settings_of
from pytest_ductaflow.sources.notebooks import read_flow

SITE = {
    "alpha": ("__init__.py", "sub.py", "deep/__init__.py", "deep/leaf.py", "fast.abi3.so"),
    "beta": ("__init__.py",),
    "gamma": ("__init__.py",),
    "named": ("__init__.py", "run.py", "other.py"),
    "space": ("part/__init__.py",),
    **dict.fromkeys(("numpy", "pandas", "openpyxl", "seaborn", "torch", "dotenv"), ("__init__.py",)),
    "torch_like": ("__init__.py",),
    "numba": ("__init__.py", "cuda/__init__.py"),
    "pyarrow": ("__init__.py", "parquet.py"),
    "matplotlib": ("__init__.py", "pyplot.py"),
    "matplotlib_inline": ("__init__.py", "backend_inline.py"),
}
INLINE = "matplotlib_inline.backend_inline"
LATE = "its environment may be changed before the import of alpha"


def install(site: Path, name: str, files: tuple[str, ...], direct_url: object = None) -> None:
    for file in files:
        write_project(site, {f"{name}/{file}": ""})
    folder = f"{name}-1.0.dist-info"
    record = "".join(f"{name}/{file},,\n" for file in files)
    write_project(site, {f"{folder}/METADATA": f"Name: {name}\n", f"{folder}/RECORD": record})
    if direct_url is not None:
        write_project(site, {f"{folder}/direct_url.json": json.dumps(direct_url)})


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of installed distributions that only look importable."""
    site = tmp_path / "site"
    for name, files in SITE.items():
        install(site, name, files)
    write_project(site, {"named/__init__.py": "from .other import thing as run\n"})
    write_project(site, {"orphan.py": ""})
    install(site, "edited", ("__init__.py",), {"url": "file:///x", "dir_info": {"editable": True}})
    install(site, "from_folder", ("__init__.py",), {"url": "file:///x", "dir_info": {}})
    monkeypatch.setattr(preload, "_site_folders", lambda: (str(site),))
    return site


Ask = Callable[..., Preload]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Return a function that says what is preloaded for a flow of some cells and files."""

    def asked(*cells: str, files: Mapping[str, str] | None = None, **settings: tuple[str, ...]) -> Preload:
        root = tmp_path / "project"
        notebook = {
            "cells": [
                {"cell_type": "code", "metadata": {}, "source": cell, "outputs": [], "execution_count": None}
                for cell in cells
            ],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 4,
        }
        write_project(root, {"flows/flow.ipynb": notebook, **(files or {})})
        return preload_of(read_flow(root / "flows/flow.ipynb"), root, root, **settings)

    return asked


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("", ()),
        ("import beta, alpha", ("beta", "alpha")),
        ("import alpha; import beta; import alpha", ("alpha", "beta")),
        ("import alpha.deep.leaf as leaf", ("alpha.deep.leaf",)),
        ("import alpha.missing.leaf", ("alpha",)),
        ("import alpha.fast", ("alpha.fast",)),
        ("import space.part", ("space.part",)),
        ("from alpha import sub, no_file", ("alpha.sub", "alpha")),
        ("from alpha.deep import *", ("alpha.deep",)),
        ("from named import run", ("named",)),
        ("from named import other", ("named.other",)),
        ("import named.run", ("named.run",)),
        ("def f():\n    import alpha", ("alpha",)),
        ("class A:\n    async def f(self):\n        from alpha import sub", ("alpha.sub",)),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import alpha", ("typing",)),
        ("if typing.TYPE_CHECKING:\n    import alpha\nelse:\n    import beta", ("beta",)),
        ("if x:\n    import alpha", ("alpha",)),
        ("try:\n    import missing\nexcept ImportError:\n    import alpha", ("alpha",)),
        ("try:\n    import alpha\nexcept ImportError:\n    alpha = None", ("alpha",)),
        ("import missing", ()),
        ("import orphan", ()),
        ("import edited", ()),
        ("import from_folder", ("from_folder",)),
        ("import json, os.path, time, xml.dom.minidom", ("json", "os", "time", "xml.dom.minidom")),
        ("from concurrent import futures", ("concurrent.futures",)),
        ("import sys, unicodedata, missing", ("sys", "unicodedata")),
    ],
)
def test_installed_modules_that_code_names_are_preloaded_in_its_order(ask, code, modules):
    assert ask(code) == Preload(modules, forkable=True)


@pytest.mark.parametrize(
    ("cells", "modules"),
    [
        (("import alpha", "not Python (", "import beta"), ("alpha", "beta")),
        (("!ls\nimport alpha\n%autoreload 2\nx = !pwd\nalpha?",), ("alpha",)),
        (("if x:\n    %config a\nimport alpha",), ("alpha",)),
        (("x = (7\n  % 2)\nimport alpha",), ("alpha",)),
        (("%time import alpha",), ("alpha",)),
        (("%%time\nimport alpha",), ("alpha",)),
        (("%%capture out\n%%time\n!ls\nimport alpha",), ("alpha",)),
        (("%%bash\nimport alpha",), ()),
        (("%matplotlib inline",), ("matplotlib.pyplot", INLINE)),
        (("%matplotlib",), ("matplotlib.pyplot", INLINE)),
        (("%pylab",), ("numpy", "matplotlib.pyplot", INLINE)),
    ],
)
def test_magics_are_understood_or_passed_over(ask, cells, modules):
    assert ask(*cells).modules == modules


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("import matplotlib", ("matplotlib", INLINE)),
        ("from matplotlib import pyplot", ("matplotlib.pyplot", INLINE)),
        ("import seaborn, alpha", ("seaborn", INLINE, "alpha")),
        ("import pandas\npandas.Series().plot()", ("pandas",)),
        ("import pandas\npandas.read_parquet('x')", ("pandas", "pyarrow", "pyarrow.parquet")),
        ("frame.to_feather('x')", ("pyarrow", "pyarrow.parquet")),
        ("read_csv('x', engine='pyarrow')", ("pyarrow", "pyarrow.parquet")),
        ("read_csv('x', dtype_backend='pyarrow')", ("pyarrow", "pyarrow.parquet")),
        ("read_csv('x', engine='c', other='pyarrow')", ()),
        ("frame.to_excel('x')", ("openpyxl",)),
        ("from pandas import read_excel\nread_excel('x')", ("pandas", "openpyxl")),
    ],
)
def test_what_packages_import_only_when_they_are_used_comes_along(ask, code, modules):
    assert ask(code).modules == modules


def test_what_packages_may_use_is_left_out_where_it_is_not_installed(ask, tmp_path, monkeypatch):
    bare = tmp_path / "bare"
    install(bare, "seaborn", ("__init__.py",))
    monkeypatch.setattr(preload, "_site_folders", lambda: (str(bare),))
    assert ask("%matplotlib inline\nimport seaborn\nread_parquet()\nread_excel()").modules == ("seaborn",)


@pytest.mark.parametrize("module", NEVER)
def test_modules_that_do_not_stand_a_fork_are_left_to_the_flow(ask, site, module):
    top, _, rest = module.partition(".")
    if top not in sys.stdlib_module_names:
        install(site, top, ("__init__.py", *([f"{rest}.py"] if rest else [])))
    assert NEVER[module]
    assert module not in ask(f"import {module}, alpha, torch_like").modules
    assert ask(f"import {module}, alpha, torch_like").modules[-2:] == ("alpha", "torch_like")


def test_submodules_of_what_is_left_to_the_flow_are_left_to_it_too(ask):
    assert ask("import torch.nn\nfrom numba import cuda, njit").modules == ("numba",)


@pytest.mark.parametrize(
    "file", ["alpha.py", "alpha/__init__.py", "flows/alpha.py", "flows/alpha/__init__.py"]
)
def test_a_file_of_the_project_with_the_name_of_a_package_keeps_that_from_being_preloaded(ask, file):
    assert ask("import alpha.sub, beta", files={file: ""}).modules == ("beta",)


def test_a_folder_without_code_does_not_stand_in_the_way_of_a_package(ask):
    assert ask("import alpha", files={"alpha/data.csv": ""}).modules == ("alpha",)


def test_a_module_that_python_would_find_before_the_installed_one_keeps_it_from_being_preloaded(
    ask, tmp_path, monkeypatch
):
    write_project(tmp_path / "lib", {"alpha.py": "import gamma"})
    monkeypatch.syspath_prepend(tmp_path / "lib")
    assert ask("import alpha, beta").modules == ("beta",)


@pytest.mark.parametrize(
    ("files", "modules"),
    [
        ({"helper.py": "import alpha"}, ("alpha", "beta")),
        ({"flows/helper.py": "import alpha"}, ("alpha", "beta")),
        (
            {"helper/__init__.py": "import alpha", "helper/part.py": "import gamma"},
            ("alpha", "gamma", "beta"),
        ),
        (
            {
                "helper/__init__.py": "",
                "helper/part.py": "from . import more",
                "helper/more.py": "import alpha",
            },
            ("alpha", "beta"),
        ),
        (
            {"helper/part.py": "from ..helper.more import x", "helper/more.py": "import alpha"},
            ("alpha", "beta"),
        ),
        ({"helper.py": "import other", "other.py": "import helper, alpha"}, ("alpha", "beta")),
        ({"helper.py": "not Python ("}, ("beta",)),
    ],
)
def test_modules_of_the_project_are_not_preloaded_but_what_they_import(ask, files, modules):
    assert ask("from helper import part\nimport beta", files=files).modules == modules


def test_a_package_below_the_root_that_python_finds_is_read_too(ask, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path / "project/src")
    assert ask("import mine", files={"src/mine/__init__.py": "import alpha"}).modules == ("alpha",)


def test_a_change_of_a_module_is_seen(ask):
    assert ask("import helper", files={"helper.py": "import alpha"}).modules == ("alpha",)
    assert ask("import helper", files={"helper.py": "import alpha, gamma"}).modules == ("alpha", "gamma")


def test_settings_add_modules_at_the_end_and_take_out_others_with_their_submodules(ask):
    code = "import alpha.sub, alpha, beta"
    assert ask(code, extra=("torch", "gamma", "beta")).modules == (
        *("alpha.sub", "alpha", "beta", "torch", "gamma"),
    )
    assert ask(code, without=("alpha",)).modules == ("beta",)
    assert ask(code, without=("alpha.sub", "bet")).modules == ("alpha", "beta")
    assert ask(code, extra=("gamma",), without=("gamma",)).modules == ("alpha.sub", "alpha", "beta")


@pytest.mark.parametrize(
    "change",
    [
        "os.environ['A'] = '1'",
        "os.environ['A'] += '1'",
        "os.environ |= {}",
        "del os.environ['A']",
        "os.environ.update(A='1')",
        "os.environ.setdefault('A', '1')",
        "os.environ.pop('A', None)",
        "os.putenv('A', '1')",
        "from os import environ as e\ne['A'] = '1'",
        "e = os.environ\ne['A'] = '1'",
        "dotenv_values = dotenv.load_dotenv()",
        "if x:\n    os.environ['A'] = '1'",
        "def f():\n    os.environ['A'] = '1'\nf()",
        "%env A=1",
        "%env A 1",
        "%set_env A 1",
        "%dotenv",
        "%run script.py",
        "%pip install x",
        "!{sys.executable} -m pip install x",
    ],
)
def test_a_flow_needs_its_own_kernel_if_an_import_would_see_another_environment(ask, change):
    assert ask("import beta", change, "import alpha") == Preload((), forkable=False, reason=LATE)
    assert ask("import alpha", change, "import alpha, json").forkable


@pytest.mark.parametrize(
    "harmless",
    [
        "x = os.environ['A'], os.environ.get('A')",
        "env = os.environ.copy()\nenv['A'] = '1'",
        "environment['A'] = '1'",
        "settings.update(A='1')",
        "%env A",
        "%env",
        "import matplotlib\nmatplotlib.use('Agg')",
        "import multiprocessing\nmultiprocessing.set_start_method('spawn')",
        "import warnings\nwarnings.filterwarnings('ignore')\nwarnings.simplefilter('ignore')",
        "sys.path.append('lib')\nsys.path += ['lib']",
    ],
)
def test_what_no_import_sees_leaves_a_flow_forkable(ask, harmless):
    answer = ask(harmless, "import alpha")
    assert answer.forkable
    assert answer.modules[-1] == "alpha"


@pytest.mark.parametrize(
    "cells",
    [
        ("import edited, helper", "import alpha"),
        ("def f():\n    import alpha", "import helper", "f()"),
        ("def f():\n    import helper", "f()", "import alpha"),
        ("def f():\n    import alpha", "import helper", "import alpha"),
        ("import helper", "import torch, alpha"),
    ],
)
def test_an_environment_changed_by_a_module_or_before_a_call_counts(ask, cells):
    assert not ask(*cells, files={"helper.py": "import os\nos.environ['A'] = '1'"}).forkable


def test_a_package_that_is_never_preloaded_counts_as_one_that_sees_the_environment(ask):
    assert not ask("os.environ['A'] = '1'\nimport torch").forkable


def test_modules_that_settings_add_are_not_imported_before_a_flow_changes_its_environment(ask):
    assert not ask("import beta\nos.environ['A'] = '1'", extra=("alpha",)).forkable
    assert ask("import beta\nos.environ['A'] = '1'", extra=("beta",)).forkable


def test_a_package_needed_by_a_call_counts_where_it_is_called(ask):
    change = "os.environ['A'] = '1'"
    assert not ask("import pandas", change, "pandas.read_excel('x')").forkable
    assert ask("import pandas", "pandas.read_excel('x')", change).forkable


def test_a_function_that_imports_what_is_imported_already_is_no_hindrance(ask):
    cells = ("def f():\n    import alpha", "import alpha", "os.environ['A'] = '1'", "f()")
    assert ask(*cells) == Preload(("alpha",), forkable=True)


def test_what_a_module_imports_is_imported_when_the_module_is(ask):
    late, early, change = "def f():\n    import helper", "import helper", "os.environ['A'] = '1'"
    files = {"helper.py": "import alpha"}
    assert not ask(late, change, "f()", files=files).forkable
    assert ask(late, early, change, "f()", files=files).forkable


@pytest.mark.parametrize(
    "change",
    [
        "sys.path.insert(0, 'lib')",
        "sys.path = ['lib', *sys.path]",
        "sys.path[:0] = ['lib']",
        "sys.path[0] = 'lib'",
        "del sys.path[0]",
    ],
)
def test_modules_that_may_be_found_elsewhere_are_left_to_the_flow(ask, change):
    cells = ("import alpha\ndef f():\n    import gamma", change, "import alpha, beta")
    assert ask(*cells) == Preload(("alpha",), forkable=True)
    assert ask(*cells, extra=("beta",)).modules == ("alpha", "beta")


def test_a_python_script_is_read_by_its_cells_too(tmp_path):
    write_project(tmp_path, {"flows/a.py": "# !ls\n# %matplotlib inline\nimport alpha\n"})
    answer = preload_of(read_flow(tmp_path / "flows/a.py"), tmp_path, tmp_path)
    assert answer.modules == ("matplotlib.pyplot", INLINE, "alpha")


def test_real_packages_are_found_and_stay_unimported(tmp_path, monkeypatch):
    monkeypatch.undo()
    before = set(sys.modules)
    code = "import pandas as pd\nimport numpy.linalg\nfrom jupytext import cli\nimport pytest_ductaflow"
    write_project(tmp_path, {"flows/a.py": code})
    answer = preload_of(read_flow(tmp_path / "flows/a.py"), tmp_path, tmp_path)
    assert answer.modules[:3] == ("pandas", "numpy.linalg", "jupytext.cli")
    assert "jupytext.cli" not in set(sys.modules) - before


@pytest.mark.parametrize(
    ("arguments", "ini", "expected"),
    [
        ((), "", Settings(on=True)),
        (("--no-ductaflow-fork",), "", Settings(on=True, fork=False)),
        ((), "ductaflow_fork = false", Settings(on=True, fork=False)),
        (("--no-ductaflow-fork",), "ductaflow_fork = true", Settings(on=True, fork=False)),
        ((), "ductaflow_preload = a, b.c\n d", Settings(on=True, preload=("a", "b.c", "d"))),
        ((), "ductaflow_no_preload = a b", Settings(on=True, no_preload=("a", "b"))),
    ],
)
def test_forking_and_preloading_have_options(pytester, arguments, ini, expected):
    pytester.makeini(f"[pytest]\n{ini}\n")
    settings = settings_of(pytester.parseconfig("--ductaflow", *arguments))
    assert settings == expected
    assert Settings.loads(settings.dumps()) == settings


def test_a_name_that_no_module_has_is_an_error(pytester):
    pytester.makeini("[pytest]\nductaflow_preload = a-b\n")
    with pytest.raises(pytest.UsageError, match=r"ductaflow_preload: 'a-b': expected names of modules"):
        settings_of(pytester.parseconfig("--ductaflow"))


# What flows and builds import of this package

BUILD = {"pytest_ductaflow.api.run_notebook", "pytest_ductaflow.running.children.flows_of_build"}
CONFIG = {"pytest_ductaflow.api.in_flow"}


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("from pytest_ductaflow import run_notebook", BUILD),
        ("from pytest_ductaflow import grid, conduct as run", BUILD),
        ("from ductaflow import *", BUILD | CONFIG),
        ("import pytest_ductaflow as pd\npd.run_notebook('x')", BUILD | CONFIG),
        ("from ductacore import run_step_flow", BUILD),
        ("import helpers", BUILD | CONFIG),
        ("from ductaflow import unpack_config", CONFIG),
        ("from pytest_ductaflow import is_notebook_execution, results", CONFIG),
        ("from ductaflow import load_cli_config, run_notebook", BUILD | CONFIG),
    ],
)
def test_what_a_flow_uses_of_this_package_is_preloaded(ask, code, modules):
    files = {"flows/helpers.py": "import ductaflow"}
    own = {name for name in ask(f"import alpha\n{code}", files=files).modules if "ductaflow" in name}
    assert own == modules


@pytest.mark.parametrize(
    ("code", "file"),
    [
        ("from pytest_ductaflow import results", "flows/x.py"),
        ("from pytest_ductaflow.core import record", "flows/x.py"),
        ("import alpha", "flows/x.py"),
        ("import sys; sys.path.insert(0, 'lib')\nfrom pytest_ductaflow import run_notebook", "flows/x.py"),
        ("from pytest_ductaflow import run_notebook", "flows/beta.py"),
        ("from ductaflow import unpack_config", "ductaflow/__init__.py"),
        ("from pytest_ductaflow import run_notebook", "queue/__init__.py"),
    ],
)
def test_it_is_not_where_nothing_is_used_or_a_module_of_the_project_might_be_meant(ask, code, file):
    assert not (BUILD | CONFIG) & set(ask(code, files={file: ""}).modules)


def test_all_of_this_package_that_is_preloaded_can_be_imported():
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    names = {name for names in IMPORTED_ON_USE.values() for name in names}
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("", "")
