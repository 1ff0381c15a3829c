"""In which order, and how divided, modules are imported before a fork."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec

import pytest
from helpers.sessions import own_environment
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.kernels.preloading.rules import IMPORTED_BY_PARTS, IN_ANY_ORDER
from pytest_ductaflow.kernels.preloading.stages import stages_of


@pytest.mark.parametrize(
    ("modules", "stages"),
    [
        ([], []),
        (["json", "csv"], [["json", "csv"]]),
        (["numpy"], [["numpy"]]),
        (["csv", "pandas"], [["numpy"], ["pandas"], ["csv"]]),
        (
            ["sklearn.svm", "pandas", "json"],
            [["numpy"], ["pandas"], ["scipy"], ["sklearn", "sklearn.svm"], ["json"]],
        ),
        (
            ["matplotlib.pyplot", "matplotlib_inline.x"],
            [["numpy"], ["matplotlib", "matplotlib.pyplot", "matplotlib_inline", "matplotlib_inline.x"]],
        ),
        (
            ["statsmodels.api"],
            [["numpy"], ["pandas"], ["scipy"], ["statsmodels", "statsmodels.api"]],
        ),
        (["numpy", "geopandas", "pandas"], [["numpy"], ["geopandas", "pandas"]]),
        (["geopandas", "numpy"], [["geopandas", "numpy"]]),
    ],
)
def test_packages_that_many_share_come_first_and_the_rest_keeps_its_order(modules, stages):
    assert [*map(list, stages_of(modules))] == stages


SOME = [*IN_ANY_ORDER, "pandas.api", "scipy.stats", "json", "csv", "geopandas", "duckdb"]


@given(modules=st.lists(st.sampled_from(SOME), unique=True))
def test_nothing_gets_lost_or_comes_twice_and_others_stay_in_order(modules):
    flat = [module for stage in stages_of(modules) for module in stage]
    assert len(flat) == len(set(flat))
    assert set(modules) <= set(flat)
    tops = {module.partition(".")[0] for module in modules}
    implied = tops.union(*(IN_ANY_ORDER.get(top, ()) for top in tops))
    assert {module for module in flat if module not in modules} <= implied
    others = [module for module in modules if module not in ("json", "csv")]
    if (first := next((m for m in others if m in ("geopandas", "duckdb")), None)) is not None:
        leading, behind = others[: others.index(first)], others[others.index(first) :]
        tops = {module.partition(".")[0] for module in leading if module not in ("json", "csv")}
        earlier = tops.union(*(IN_ANY_ORDER[top] for top in tops))
        behind = [module for module in behind if module not in earlier]
        assert [module for module in flat if module in behind] == behind


INSTALLED = [package for package in IN_ANY_ORDER if find_spec(package) is not None]
State = tuple[list[str], dict[str, str]]  # all modules, and the environment
# Import a module; then, in a copy of the process for each of the others, that one as well.
CODE = """
import importlib, json, os, sys
first, others = sys.argv[1], sys.argv[2:]
importlib.import_module(first)
print(json.dumps([sorted(sys.modules), dict(os.environ)]), flush=True)
for other in others:
    if not os.fork():
        importlib.import_module(other)
        print(json.dumps([sorted(sys.modules), dict(os.environ)]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0, other
"""


@cache
def imported(first: str) -> tuple[set[str], dict[str, State]]:
    """Return the packages that a module imports, and the states after other packages are imported as well.

    Of parts of packages only the first.
    """
    others = [package for package in INSTALLED if package != first] if first in INSTALLED else []
    command = [sys.executable, "-c", CODE, first, *others]
    done = subprocess.run(command, env=own_environment(), capture_output=True, check=True, text=True)
    alone, *states = map(json.loads, done.stdout.splitlines())
    tops = {name.partition(".")[0] for name in alone[0]}
    return tops, dict(zip(others, map(tuple, states), strict=True))


@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="the processes are forked")
@pytest.mark.parametrize("package", IN_ANY_ORDER)
def test_these_packages_import_what_is_said_and_are_the_same_in_any_order(package):
    if package not in INSTALLED:
        pytest.skip("not installed")
    tops, after = imported(package)
    assert {*IN_ANY_ORDER[package]} <= tops
    for module, packages in IMPORTED_BY_PARTS.items():
        if module.startswith(f"{package}."):
            assert {*packages} <= imported(module)[0]
    for other in INSTALLED[: INSTALLED.index(package)]:
        assert after[other] == imported(other)[1][package], other
