"""The API under the names that existing projects import: `from ductaflow import run_notebook, …`.

Names are loaded on first use.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest_ductaflow as _api
from pytest_ductaflow.api import older_names as _older

__version__ = _api.__version__
__all__ = _api.__all__ + _older.__all__

# Names of the module in earlier releases, some of them inside a package.
ductaflow = ductacore = sys.modules[__name__]
for _name in ("ductaflow", "ductaflow.ductaflow", "ductaflow.ductacore", "ductacore"):
    sys.modules[_name] = ductaflow


def __getattr__(name: str) -> Any:
    return getattr(_older if name in _older.__all__ else _api, name)


def __dir__() -> list[str]:
    return sorted({*_api.__dir__(), *_older.__all__})
