"""Tell whether what a process has imported is still what a new process would import.

Standalone: the server of kernels imports it, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Any

from ..system.file_state import stat_of

# Folders, relative to the home directory, with files that packages read when they are imported.
_SETTINGS = (
    *(".ipython", ".ipython/profile_default", ".ipython/profile_default/startup", ".ipython/extensions"),
    *(".jupyter", ".matplotlib", ".config/matplotlib", ".config/ipython", ".config/jupyter"),
    *(".config/pandas", ".config/numba", ".config/dask", ".keras"),
)
_SYSTEM_SETTINGS = ("/etc/ipython", "/usr/local/etc/ipython", "/etc/jupyter", "/usr/local/etc/jupyter")
_OF_THE_SYSTEM = ("/proc/", "/sys/", "/dev/")
_COMPILED = f"{os.sep}__pycache__{os.sep}"
_SETTINGS_SUFFIXES = (".py", ".ipy", ".json", ".yaml", ".yml", ".toml", "rc")
_DECIDING = (*all_suffixes(), ".pth", *_SETTINGS_SUFFIXES)  # of files that make a difference to imports
_CLOCK = 100_000_000  # ns by which the clock of a file system may be behind
_CHANGING = "changed while it was imported"


class Imports:
    """A record of the files that this process imports, and that its imports read.

    Args:
        watches: Whether to note all files that Python opens from now on; for a process with imports that
            read settings.

    Attributes:
        watches: The same; to be switched off before code runs that is none of an import.
    """

    def __init__(self, *, watches: bool = False) -> None:
        self._began = time.time_ns() - _CLOCK
        self._opened: set[str] = set()
        self.watches = watches
        if watches:
            sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.watches and event == "open":
            path, _, flags = arguments
            if isinstance(path, str) and not flags & os.O_ACCMODE:
                self._opened.add(path)

    def states(self) -> dict[str, str]:
        """Return the state of each file, by path; empty for one that is not there."""
        opened = {os.path.abspath(path) for path in self._opened}
        paths = {*_imported_files(), *_mapped_files(), *_places_of_packages(), *_settings_files(), *opened}
        kept = (path for path in paths if not path.startswith(_OF_THE_SYSTEM) and _COMPILED not in path)
        return {path: self._state_after_import(path) for path in kept}

    def _state_after_import(self, path: str) -> str:
        with contextlib.suppress(OSError, ValueError):
            if os.path.isfile(path) and os.stat(path).st_mtime_ns >= self._began:
                return _CHANGING
        return _state_of(path)

    def write(self, folder: str) -> None:
        """Write the states into a file of their own in a folder, for `first_change`."""
        path = os.path.join(folder, f"imports-{os.getpid()}")
        with open(f"{path}.new", "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(self.states(), file)
        os.replace(f"{path}.new", f"{path}.json")


def first_change(folders: Iterable[str]) -> str | None:
    """Return a file that is not as it was when processes imported it, or None.

    Args:
        folders: The folders into which these have written what they imported.
    """
    for folder in folders:
        for file in sorted(Path(folder).glob("imports-*.json")):
            known = json.loads(file.read_text(encoding="utf-8", errors="surrogateescape"))
            for path, state in known.items():
                if _state_of(path) != state:
                    return str(path)
    return None


def _state_of(path: str) -> str:
    """Return what changes whenever a file changes, or what a folder has to import; empty if there is none."""
    try:
        return _names_in(path) if os.path.isdir(path) else stat_of(path) or ""
    except (OSError, ValueError):
        return ""


def _names_in(folder: str) -> str:
    """Return a digest of the names in a folder that decide what is imported, or are those of settings."""
    with os.scandir(folder) as entries:
        names = sorted(
            e.name for e in entries if e.name.endswith(_DECIDING) or (_is_package(e.name) and e.is_dir())
        )
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def _is_package(name: str) -> bool:
    return (name.isidentifier() and name != "__pycache__") or name.endswith((".dist-info", ".egg-info"))


def _imported_files() -> Iterator[str]:
    """Yield the files of this process's modules, and the folders in which they were found."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and os.path.isabs(file):
            yield file
            yield os.path.dirname(file)


def _mapped_files() -> Iterator[str]:
    """Yield the files mapped into this process: the interpreter, extension modules and their libraries."""
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            path = line.rstrip("\n").split(maxsplit=5)[5:]
            if path and path[0].startswith("/"):
                yield path[0]


def _places_of_packages() -> Iterator[str]:
    """Yield the folders from which modules may come, and the files that decide which these are."""
    yield from map(os.path.abspath, sys.path)
    yield from (os.path.join(sys.prefix, "pyvenv.cfg"), sys.executable)
    for name in ("purelib", "platlib"):
        folder = Path(sysconfig.get_path(name))
        yield str(folder)
        yield from map(str, folder.glob("*.pth"))


def _settings_files() -> Iterator[str]:
    """Yield the folders of settings that packages may read when they are imported, and the files there."""
    home = os.path.expanduser("~")
    yield from (os.path.join(home, ".config"), *(f"{home}/{name}" for name in (".pythonrc", ".pythonrc.py")))
    given = (os.environ.get(name) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "MPLCONFIGDIR"))
    for folder in (
        *(os.path.join(home, name) for name in _SETTINGS),
        *_SYSTEM_SETTINGS,
        *filter(None, given),
    ):
        yield folder
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            yield from (entry.path for entry in entries if _is_setting(entry.name))


def _is_setting(name: str) -> bool:
    return name.endswith(_SETTINGS_SUFFIXES)
