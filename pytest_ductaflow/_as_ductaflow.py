"""The API under the name that existing projects import: `from ductaflow import run_notebook, …`.

The build installs this file as the module `ductaflow`. Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import Any

import pytest_ductaflow as _api

__version__ = _api.__version__
__all__ = _api.__all__


def __getattr__(name: str) -> Any:
    return getattr(_api, name)


def __dir__() -> list[str]:
    return _api.__dir__()
