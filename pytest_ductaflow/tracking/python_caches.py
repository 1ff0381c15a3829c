"""Python's caches of the project's modules, where they may hold what a module no longer says.

Python takes a cache for that of a module if it notes the module's size and the second in which it was saved.
A module that is saved twice in a second, with an import between, goes on with what it said first.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

_YOUNG = 2_000_000_000  # ns between module and cache in which the module may have been saved twice


def drop_young_caches(folders: Iterable[str]) -> None:
    """Delete the caches that were written at about the time at which their modules were saved.

    Args:
        folders: Those that hold the modules.
    """
    for folder in set(folders):
        with contextlib.suppress(OSError), os.scandir(os.path.join(folder, "__pycache__")) as caches:
            for cache in caches:
                module = os.path.join(folder, f"{cache.name.partition('.')[0]}.py")
                with contextlib.suppress(OSError):  # there is no such module, or somebody else deletes it
                    if cache.stat().st_mtime_ns - os.stat(module).st_mtime_ns < _YOUNG:
                        os.unlink(cache.path)
