"""Send a module's functions to workers as code, which need not have the module."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def by_value(module: ModuleType) -> Iterator[None]:
    """Have the functions of a module pickled with their code within the block."""
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)
