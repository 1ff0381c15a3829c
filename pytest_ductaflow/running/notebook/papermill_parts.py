"""Import from papermill what runs notebooks here, without the libraries for storage on other machines.

To read and write notebooks by HTTP and in Hadoop, papermill imports requests and, where it is installed,
pyarrow; they take half the time of its import (papermill 2.7: 0.2 of 0.4 s). Here they are imported when
papermill first calls them.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_STORAGE = "papermill.iorw"
_LATER = ("requests", "pyarrow.fs")


class _OnCall:
    """A stand-in for a module and for its functions, which imports the module when one is called."""

    def __init__(self, module: str, name: str = "") -> None:
        self._module, self._name = module, name

    def __getattr__(self, name: str) -> _OnCall:
        if name.startswith("__"):
            raise AttributeError(name)
        return _OnCall(self._module, name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(self._module), self._name)(*arguments, **options)


def _import(name: str, *arguments: Any, **options: Any) -> Any:
    """Import as `builtins.__import__` does, but return a stand-in for what papermill rarely needs."""
    if name in _LATER and importlib.util.find_spec(name.partition(".")[0]) is not None:
        return _OnCall(name)
    return builtins.__import__(name, *arguments, **options)


class _WithStandIns(MetaPathFinder, Loader):
    """Finder and loader of papermill's module for storage; other modules are not concerned."""

    def __init__(self) -> None:
        self._found: ModuleSpec | None = None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _STORAGE:
            return None
        self._found = PathFinder.find_spec(fullname, path, target)
        if self._found is None or self._found.origin is None:
            return None
        return importlib.util.spec_from_file_location(fullname, self._found.origin, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        loader = self._found.loader if self._found is not None else None
        if loader is None:
            raise ImportError(f"no module {_STORAGE}")
        names = vars(module)
        names["__builtins__"] = {**vars(builtins), "__import__": _import}
        try:
            loader.exec_module(module)
        except Exception:  # another release, which does more with them than to call functions
            names["__builtins__"] = vars(builtins)
            loader.exec_module(module)
        names["__builtins__"] = vars(builtins)


_finder = _WithStandIns()
sys.meta_path.insert(0, _finder)
try:
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NotebookExecutionManager
    from papermill.exceptions import PapermillException, PapermillExecutionError
    from papermill.parameterize import parameterize_notebook
    from papermill.translators import papermill_translators
finally:
    sys.meta_path.remove(_finder)

__all__ = (
    "NotebookExecutionManager",
    "PapermillException",
    "PapermillExecutionError",
    "PapermillNotebookClient",
    "papermill_translators",
    "parameterize_notebook",
)
