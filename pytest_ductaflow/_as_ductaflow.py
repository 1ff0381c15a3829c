"""The API under the names that existing projects import: `from ductaflow import run_notebook, …`.

The build installs this file as the module `ductaflow`. Names are loaded when they are first used.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest_ductaflow as _api
from pytest_ductaflow import older_names as _older

__version__ = _api.__version__
__all__ = _api.__all__ + _older.__all__

# What the module was called in its earlier ages, and as a part of the package that it was then.
for _name in ("ductaflow", "ductaflow.ductaflow", "ductaflow.ductacore", "ductacore"):
    sys.modules[_name] = sys.modules[__name__]


def __getattr__(name: str) -> Any:
    return getattr(_older if name in _older.__all__ else _api, name)


def __dir__() -> list[str]:
    return sorted({*_api.__dir__(), *_older.__all__})
