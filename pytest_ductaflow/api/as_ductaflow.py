"""The API under the names that existing projects import: `from ductaflow import run_notebook, …`.

Names are loaded when they are first used.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest_ductaflow as _api
from pytest_ductaflow.api import older_names as _older

__version__ = _api.__version__
__all__ = _api.__all__ + _older.__all__

# What the module was called in its earlier ages, also as a part of the package that it was then.
ductaflow = ductacore = sys.modules[__name__]
for _name in ("ductaflow", "ductaflow.ductaflow", "ductaflow.ductacore", "ductacore"):
    sys.modules[_name] = ductaflow


def __getattr__(name: str) -> Any:
    return getattr(_older if name in _older.__all__ else _api, name)


def __dir__() -> list[str]:
    return sorted({*_api.__dir__(), *_older.__all__})
