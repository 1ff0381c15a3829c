"""The folders of the package: imports between them go one way, and foreign libraries have fixed homes."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from helpers.readme import README

import pytest_ductaflow

PACKAGE = Path(pytest_ductaflow.__file__).parent
# A module imports from its own folder, and from those before it in this list.
ORDER = (
    "core",
    "sources",
    "kernels",
    "tracking",
    "graph",
    "running",
    "gate",
    "report",
    "planning",
    "api",
    "pytest_hooks",
    "plugin",
    "command_line",
)
MOST_MODULES = 14  # in a folder
MOST_ENTRIES = 15  # at the top of the package
# The folders and modules that may import a foreign library.
HOMES = {
    "IPython": {"api.in_flow", "kernels.forkserver", "kernels.inside"},
    "PIL": {"gate.compare.kinds.images", "report.figures.thumbnails"},
    "_pytest": {"pytest_hooks", "plugin"},
    "click": {"command_line"},
    "cloudpickle": {"running.engines.dask"},
    "comm": {"kernels.forkserver"},
    "dask": {"running.engines.dask"},
    "distributed": {"running.engines.dask"},
    "filelock": {"core.system.file_lock"},
    "ipykernel": {"kernels.forkserver"},
    "jinja2": {"running.html.notebook_html"},
    "jsonschema": {"sources.schemas.check"},
    "jupyter_client": {"kernels"},
    "jupytext": {"sources.notebooks"},
    "nbclient": {"running"},
    "nbconvert": {"running.html.notebook_html"},
    "nbformat": {"api.run_notebook", "command_line.debug", "running", "sources.notebooks"},
    "numpy": {"gate.compare", "sources.row_filter", "sources.designs.sampling"},
    "openpyxl": {"sources.excel_cells"},
    "pandas": {"api", "command_line.overview", "gate.compare", "planning.processes", "sources"},
    "papermill": {"running.notebook.papermill_parts"},
    "prefect": {"api.prefect"},
    "psutil": {"command_line.processes", "core", "kernels", "running.html.page_process"},
    "pyarrow": {"gate.compare.kinds.parquet"},
    "pytest": {"pytest_hooks", "plugin", "command_line.shared.project"},
    "resvg_py": {"gate.compare.kinds.svg"},
    "scipy": {"sources.designs.sampling"},
    "tornado": {"kernels.forkserver"},
    "tqdm": {"api.run_here"},
    "traitlets": {"kernels.provisioner", "running.html.notebook_html"},
    "xdist": {"pytest_hooks.distribution.xdist_scheduler"},
    "yaml": {"gate.compare.kinds.json_yaml"},
    "zmq": {"kernels.forkserver", "kernels.inside", "running.message_loop"},
}
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
}


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


@cache
def imported(module: str, *, only_at_the_top: bool = False) -> frozenset[str]:
    """Return absolute names of what a module imports; ours begin with `pytest_ductaflow.`."""
    parts = ["pytest_ductaflow", *module.split(".")]
    parents = parts if FILES[module].stem == "__init__" else parts[:-1]
    found: set[str] = set()
    nodes = list(tree_of(module).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*around, *([node.module] if node.module else [])])
            found.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
        elif not (only_at_the_top and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            nodes += ast.iter_child_nodes(node)
    return frozenset(found)


def modules_imported(module: str, *, only_at_the_top: bool = False) -> set[str]:
    """Return the modules of ours that a module imports."""
    found = set()
    for name in imported(module, only_at_the_top=only_at_the_top):
        parts = name.split(".")[1:] if name.startswith("pytest_ductaflow.") else []
        candidates = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        found |= {next((each for each in candidates if each in FILES), module)}
    return found - {module}


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_module_imports_from_its_own_folder_or_from_those_before_it(module):
    place = ORDER.index(module.partition(".")[0])
    above = {name for name in modules_imported(module) if ORDER.index(name.partition(".")[0]) > place}
    assert above == set()


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: modules_imported(module, only_at_the_top=True) for module in FILES}
    assert set(TopologicalSorter(graph).static_order()) == set(FILES)


def test_no_folder_holds_more_than_one_can_take_in():
    folders = {path.parent for path in FILES.values()} - {PACKAGE}
    sizes = {folder.name: len([*folder.glob("[!_]*.py")]) for folder in folders}
    assert {name: size for name, size in sizes.items() if size > MOST_MODULES} == {}
    # A folder that a module has left holds only what Python has cached.
    entries = [path for path in PACKAGE.iterdir() if path.is_file() or any(path.rglob("*.py"))]
    assert len(entries) <= MOST_ENTRIES


@pytest.mark.parametrize("library", HOMES)
def test_a_foreign_library_has_its_homes(library):
    users = {module for module in FILES if library in {name.partition(".")[0] for name in imported(module)}}
    assert {
        user for user in users if not any(f"{user}.".startswith(f"{home}.") for home in HOMES[library])
    } == set()


def test_every_foreign_library_has_a_home():
    known = {"pytest_ductaflow", "__future__", *sys.stdlib_module_names, *HOMES}
    assert {name.partition(".")[0] for module in FILES for name in imported(module)} <= known


def test_pytest_does_not_wait_for_heavy_libraries_of_a_plugin_that_is_off():
    heavy = {
        "pandas",
        "numpy",
        "papermill",
        "jupytext",
        "nbformat",
        "nbclient",
        "nbconvert",
        "jupyter_client",
    }
    code = f"import sys, pytest_ductaflow.plugin; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", pytest_ductaflow.__all__)
def test_every_public_name_is_there_and_has_a_docstring(name):
    assert getattr(pytest_ductaflow, name).__doc__
    assert name in dir(pytest_ductaflow)


def test_the_readme_lists_the_folders_in_the_order_of_their_imports():
    section = README.read_text(encoding="utf-8").partition("## How it is built")[2]
    folders = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert folders == [name for name in ORDER if (PACKAGE / name).is_dir()]


def test_the_files_that_the_readme_names_are_there():
    section = README.read_text(encoding="utf-8").partition("## How it is built")[2]
    named = re.findall(r"`((?:\w+/)+\w+(?:\.py)?)`", section)
    assert len(named) > 20
    assert [
        name for name in named if not ((PACKAGE / name).exists() or (PACKAGE.parent / name).exists())
    ] == []


ONLY_POSIX = ("fcntl", "grp", "pwd", "resource", "termios")
ONLY_LINUX = ("core.forking.server", "kernels.forkserver", "kernels.observer")


def test_only_modules_for_linux_import_at_their_top_what_only_posix_has():
    """On Windows these modules of the standard library are missing."""
    users = {module for module in FILES if {*imported(module, only_at_the_top=True)} & {*ONLY_POSIX}}
    assert {module for module in users if not module.startswith(ONLY_LINUX)} == set()
