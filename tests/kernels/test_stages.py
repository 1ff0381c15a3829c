"""In which order, and how divided, modules are imported before a fork."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from itertools import permutations

import pytest
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


@pytest.mark.thorough
@pytest.mark.parametrize("package", IN_ANY_ORDER)
def test_these_packages_import_what_is_said_and_are_the_same_in_any_order(package):
    code = """
import importlib, json, os, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
tops = {name.partition(".")[0] for name in sys.modules}
print(json.dumps([sorted(sys.modules), dict(os.environ), sorted(tops)]))
"""

    def imported(*names: str) -> list:
        command = [sys.executable, "-c", code, *names]
        return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    if find_spec(package) is None:
        pytest.skip("not installed")
    assert {*IN_ANY_ORDER[package]} <= {*imported(package)[2]}
    for module, packages in IMPORTED_BY_PARTS.items():
        if module.startswith(f"{package}."):
            assert {*packages} <= {*imported(module)[2]}
    for other in IN_ANY_ORDER:
        if other != package and find_spec(other) is not None:
            first, second = (imported(*names)[:2] for names in permutations((package, other)))
            assert first == second, other
