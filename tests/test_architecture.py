"""The layers of the package: imports go downward only, each foreign library has one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_ductaflow

PACKAGE = Path(pytest_ductaflow.__file__).parent
LAYERS = (
    {
        "causes",
        "child_process",
        "config_table",
        "bytecode",
        "cells",
        "cores",
        "errors",
        "excel_cells",
        "file_state",
        "figures",
        "keyboard",
        "forkserver",
        "forkserver.preloading",
        "forkserver.publishing",
        "forkserver.wire",
        "heard",
        "kernel_setup",
        "kernel_trace",
        "kernel_traceback",
        "observer",
        "observer.orphans",
        "observer.seccomp",
        "out_of_memory",
        "places",
        "lights",
        "magics",
        "model",
        "packages",
        "path_lists",
        "precedence",
        "python_code",
        "preload_rules",
        "quantities",
        "setting_aside",
        "report",
        "report.page",
        "compare",
        "compare.tolerance",
        "statuses",
        "stored",
        "unevaluated",
    },
    {
        "deferring",
        "forkserver.ending",
        "observer.notes",
        "output_limits",
        "planner_forks",
        "pytest_imports",
    },
    {"cell_outputs", "forkserver.ipython", "observer.process", "planner_process"},
    {"forkserver.forked_kernel"},
    {"forkserver.template"},
    {"observing", "settings", "uses"},
    {"kernel_calls", "older_names"},
    {"fork_servers", "forkserver.serving", "flows", "store", "compare.reading"},
    {"as_ductaflow", "clashes", "row_filter", "table_files"},
    {
        "compare.compressed",
        "compare.digests",
        "compare.values",
        "calls",
        "declared",
        "failures",
        "fingerprint",
        "forkserver.__main__",
        "kernel",
        "locking",
        "notebook_file",
        "notebook_html",
        "output",
        "conductor_file",
        "recording",
        "report.rows",
        "what_was_there",
        "stored.instance",
    },
    {
        "client",
        "compare.findings",
        "earlier_runs",
        "import_order",
        "named",
        "outside",
        "pages",
        "kernel_forked",
        "kernel_ordinary",
        "tables",
        "answers",
        "guarding",
        "run_paths",
        "stored.portable",
    },
    {
        "compare.arrays",
        "compare.rows",
        "compare.structures",
        "compare.texts",
        "provisioner",
        "removing",
        "summary",
        "untagged",
    },
    {"compare.images", "compare.tables"},
    {"compare.svg", "compare.columnar", "compare.csv_tables", "compare.excel"},
    {"compare.files"},
    {"stored.baseline", "stored.notes"},
    {"stored.fitness"},
    {"stored.approval", "stored.past_run"},
    {"stored.storing"},
    {
        "declare",
        "merging",
        "named_in_code",
        "parameters",
        "preload",
        "references",
        "report.live",
        "unchanged",
    },
    {"graph", "kernel_start", "module_search"},
    {"inputs"},
    {"blocking", "execute", "graph_text", "ready"},
    {"carry_out", "debugging", "workload"},
    {"runner"},
    {"accepting", "after", "conductor", "looking_back"},
    {"after_process", "flow_side", "plan", "planner", "failure_text"},
    {"hookspecs", "out_of_date", "outcomes", "stopping"},
    {"alike", "items"},
    {"collection", "no_more", "ordering", "scheduling", "sharding"},
    {"approving", "explaining", "github", "reporting"},
    {"plugin"},
    {"cli"},
)
PYTEST_FROM = 26  # the layer from which on pytest may be seen
LAYER = {module: number for number, modules in enumerate(LAYERS) for module in modules}
HOMES = {
    "jupytext": {"flows"},
    "papermill": {"client", "execute", "notebook_file"},
    "nbclient": {"client"},
    "jupyter_client": {"kernel", "kernel_forked", "kernel_ordinary", "provisioner"},
    "ipykernel": {"forkserver.forked_kernel", "forkserver.ipython", "forkserver.publishing"},
    "nbconvert": {"notebook_html"},
    "xdist": {"scheduling"},
    "click": {"cli"},
    "filelock": {"locking"},
    "yaml": {"compare.structures"},
    "PIL": {"compare.images"},
    "resvg_py": {"compare.svg"},
    "openpyxl": {"excel_cells"},
    "pyarrow": {"compare.columnar"},
    "pytest": set().union(*LAYERS[PYTEST_FROM:]),
    "_pytest": set().union(*LAYERS[PYTEST_FROM:]),
}
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path.parent != PACKAGE or path.stem not in ("__init__", "_as_ductaflow", "_as_ductacore")
}


def imported(module: str, *, only_at_the_top: bool) -> Iterator[str]:
    """Absolute names of what a module imports; ours begin with `pytest_ductaflow.`."""
    nodes = list(ast.parse(FILES[module].read_text(encoding="utf-8")).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = f"pytest_ductaflow.{module}".split(".")[: -node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
        elif not (only_at_the_top and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            nodes += ast.iter_child_nodes(node)


def _with_packages(name: str) -> Iterator[str]:
    """A name, and the packages around it, which are imported with it."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def test_every_module_has_a_layer():
    assert set(FILES) == set(LAYER)


@pytest.mark.parametrize("module", sorted(LAYER))
def test_a_module_imports_only_from_layers_below_its_own(module):
    names = [name.removeprefix("pytest_ductaflow.") for name in imported(module, only_at_the_top=True)]
    ours = {part for name in names for part in _with_packages(name) if part in LAYER and part != module}
    assert {name for name in ours if LAYER[name] >= LAYER[module]} == set()


@pytest.mark.parametrize("library", HOMES)
def test_a_foreign_library_has_one_home(library):
    users = {
        module
        for module in FILES
        if any(name.partition(".")[0] == library for name in imported(module, only_at_the_top=False))
    }
    assert users <= HOMES[library]


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
