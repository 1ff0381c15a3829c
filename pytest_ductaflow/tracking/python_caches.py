"""Delete Python's bytecode caches of the project's modules that may be stale.

Python takes a cache as valid if it stores the module's size and the second in which the module was saved. So
a module saved twice within a second, with an import between, keeps running its first version.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

_YOUNG = 2_000_000_000  # ns between module and cache in which the module may have been saved twice


def drop_young_caches(folders: Iterable[str]) -> None:
    """Delete the caches that were written at about the time when their modules were saved.

    Args:
        folders: Folders of the modules.
    """
    for folder in set(folders):
        with contextlib.suppress(OSError), os.scandir(os.path.join(folder, "__pycache__")) as caches:
            for cache in caches:
                module = os.path.join(folder, f"{cache.name.partition('.')[0]}.py")
                with contextlib.suppress(OSError):  # no such module, or another process deletes the cache
                    if cache.stat().st_mtime_ns - os.stat(module).st_mtime_ns < _YOUNG:
                        os.unlink(cache.path)
