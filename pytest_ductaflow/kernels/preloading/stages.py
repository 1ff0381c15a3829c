"""Divide the modules of a flow into stages, so that flows with different imports share the first ones.

The server keeps a process for each stage and forks the next one from it: a flow with numpy, pandas and
scikit-learn goes on from where one with numpy and pandas was.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import groupby

from .rules import IMPORTED_BY_PARTS, IN_ANY_ORDER

Stages = tuple[tuple[str, ...], ...]
_RANKS = {package: rank for rank, package in enumerate(IN_ANY_ORDER)}


def stages_of(modules: Sequence[str]) -> Stages:
    """Return the modules in stages: a stage for each package whose place does not matter, then the rest.

    What these packages import themselves has its stage as well. The rest is in the given order, and so are
    such packages behind others, whose import may make a difference to them.
    """
    leading = _leading(modules)
    shared = {*leading, *_imported_by(leading)}
    ordered = sorted(shared, key=lambda module: (_RANKS[_top(module)], module))
    stages = [tuple(group) for _, group in groupby(ordered, key=_group)]
    rest = tuple(module for module in modules if module not in shared)
    return (*stages, rest) if rest else tuple(stages)


def _leading(modules: Iterable[str]) -> list[str]:
    """Return the modules that may be imported first in any order."""
    found = []
    for module in modules:
        top = _top(module)
        if top in IN_ANY_ORDER:
            found.append(module)
        elif top not in sys.stdlib_module_names:
            break
    return found


def _imported_by(modules: Iterable[str]) -> set[str]:
    """Return the packages of modules, and those that these import in any case."""
    return {
        package
        for module in modules
        for package in (_top(module), *IN_ANY_ORDER[_top(module)], *IMPORTED_BY_PARTS.get(module, ()))
    }


def _top(module: str) -> str:
    return module.partition(".")[0]


def _group(module: str) -> str:
    top = _top(module)
    return "matplotlib" if top == "matplotlib_inline" else top
