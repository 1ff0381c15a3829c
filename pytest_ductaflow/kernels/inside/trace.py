"""Record in a Python kernel which files and packages the flow uses.

Sent to the kernel as text, like `setup`: standalone, and nothing of it in the flow's namespace.
An audit hook (PEP 578) sees the files that Python opens; readers written in C or Rust open theirs
without Python. Where an `observer` sees the files, the hook records only what the observer cannot see:
which folders were listed in search of modules, and which code has opened a file.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import re
import stat
import sys
import sysconfig
import time
import urllib.parse
from collections.abc import Callable, Iterator
from itertools import takewhile
from types import FrameType
from typing import Any

OPENED = "opened"  # for reading
WRITTEN = "written"
DATABASE = "database"  # SQLite, or opened for both: read, and perhaps written
LISTED = "listed"  # the names in a folder
MODULE = "module"
NAMED = "named"  # in the command of another program
STARTED = "started"  # another program, by its name
ASKED = "asked"  # whether it exists
FOLLOWED = "followed"  # its target, if it is a link; a folder that relative paths start from
SEARCHED = "searched"  # the names in a folder, in search of modules
NOTHING = ""

_SYSTEM = ("/proc/", "/sys/", "/dev/pts/", "/dev/null/", "/dev/urandom/", "/dev/tty/")
_STANDARD, _LIBRARIES = (
    tuple({os.path.join(sysconfig.get_path(name), "") for name in names})
    for names in (("stdlib", "platstdlib"), ("purelib", "platlib"))
)
_INSTALLED = (*_STANDARD, *_LIBRARIES)
_WRITING = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_BETWEEN_WORDS = re.compile(r"[\s'\"=;<>|&()]+")
_IMPORT_SYSTEM = "<frozen importlib"
# These list every folder on the path, even if the flow only asks for a version or a resource.
_SEARCHES = re.compile(r"(?:^|[/\\])(?:importlib|importlib_metadata|pkg_resources)[/\\]|[/\\]pkgutil\.py$")
_OURS = "pytest_ductaflow."  # beginning of our modules' names, wherever they are installed
_RUNNER = "pytest_ductaflow.running.run_instance"  # what it opens does not count as used by the build
_machinery: frozenset[str] = frozenset()  # modules of the kernel itself; what they do is not the flow's
_machines: frozenset[str] = frozenset()  # their top-level names
_preloaded: tuple[set[str], set[str]] = set(), set()  # as `_imported` returns it
_last_preloaded, _number_preloaded = "", 0
_TO_OBSERVER = "/ductaflow-observer/"  # as in `observer.access_log`
_BEGIN, _END, _PAUSE, _RESUME = (f"{_TO_OBSERVER}{word}" for word in ("begin", "end", "pause", "resume"))
# Modules that open files without Python; the last ones start Python processes without the hook.
_READERS = (
    "pyarrow.parquet", "pyarrow.dataset", "pyarrow.csv", "pyarrow.json", "pyarrow.feather", "pyarrow.orc",
    "duckdb", "polars", "h5py", "netCDF4", "rasterio", "fiona", "pyogrio", "osgeo.gdal", "osgeo.ogr", "cv2",
    "soundfile", "tables", "lance", "deltalake", "pysam", "laspy", "SimpleITK", "itk", "xgboost", "lightgbm",
    "torchaudio", "av", "pyreadstat", "rpy2", "juliacall", "multiprocessing.popen_spawn_posix",
    "multiprocessing.popen_spawn_win32", "multiprocessing.popen_forkserver",
    "joblib.externals.loky.backend.popen_loky_posix", "loky.backend.popen_loky_posix",
)  # fmt: skip
_has_begun = False
_is_observed = False
_is_paused = False
_stat = os.stat
_questions: dict[str, Callable[..., Any]] = {}  # the originals of wrapped functions of `os`
_ABILITIES = (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids)
_searches: dict[str, int] = {}  # how often, by folder
_imports: set[str] = set()  # modules that project code has imported, or tried to
_opened_by_code: set[str] = set()  # files and folders that project code itself has opened or listed


def before_preload() -> None:
    """Remember the modules imported so far as the kernel's own; later ones are the flow's."""
    global _machinery, _machines  # noqa: PLW0603 - a module of its own in each kernel
    _machinery = frozenset(sys.modules)
    _machines = frozenset(name.partition(".")[0] for name in _machinery)


def after_preload() -> None:
    """Examine preloaded modules once here, and not in every kernel."""
    global _preloaded, _last_preloaded, _number_preloaded  # noqa: PLW0603
    _preloaded = _imported(list(sys.modules))
    _last_preloaded, _number_preloaded = next(reversed(sys.modules)), len(sys.modules)


def begin(trace: str) -> None:
    """Record from now on in the file `trace` what is used: a JSON line for each file and use, with its time.

    A file and not a list in memory, because forked processes of the flow record their files, too, and
    because the record must survive a kernel that dies.
    """
    global _has_begun  # noqa: PLW0603
    _has_begun = True
    if not _machinery:
        before_preload()
    hook = _Hook(trace)
    sys.addaudithook(hook.take)
    _note_questions(hook.note)


class _Hook:
    """An audit hook that records which files are used."""

    def __init__(self, trace: str) -> None:
        self._trace = trace
        self._seen: set[tuple[str, str]] = set()
        self._kernel = os.getpid()

    def take(self, event: str, args: tuple[Any, ...]) -> None:
        if _is_paused or (event not in _EVENTS and event not in _COMMANDS and event != "import"):
            return
        # The frame that opens, found as in warnings and logging; a thread of a C library has none.
        caller = sys._getframe().f_back  # noqa: SLF001
        with contextlib.suppress(Exception):  # an error raised here would fail the flow
            if event in _EVENTS:
                self.note(_EVENTS[event](args), args[0], caller)
            elif event == "import":
                if _is_by_project(caller):
                    _imports.add(args[0])
            elif not _is_observed:
                self._note_command(*_COMMANDS[event](args), caller)

    def note(self, use: str, path: Any, caller: FrameType | None) -> None:
        found = None if _is_paused else _use_and_name(use, path, caller)
        if found is None or found[1] == self._trace:
            return
        use, name = found
        if use == SEARCHED and os.getpid() == self._kernel:
            _searches[name] = _searches.get(name, 0) + 1
        elif use == SEARCHED:
            self._write(use, name)
        elif _is_observed:
            if use != FOLLOWED and name not in _opened_by_code and _is_by_project(caller):
                _opened_by_code.add(name)
        elif found not in self._seen and not _is_by_runner(caller):
            self._write(use, name)
            self._seen.add(found)
            if use == LISTED and _is_by_project(caller):
                _opened_by_code.add(name)

    def _note_command(self, words: list[Any], folder: Any, caller: FrameType | None) -> None:
        self.note(STARTED, os.fsdecode(words[0] or words[-1]).split(" ", 1)[0], caller)
        for path in _files_in_command(words, folder):
            self.note(NAMED, path, caller)

    def _write(self, use: str, path: str) -> None:
        # Opened again each time: the flow may close a descriptor kept open, and another file get its number.
        with open(self._trace, "a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(json.dumps([use, path, time.time_ns()]) + "\n")


def leave_files_to_observer() -> None:
    """Record from now on only what an observer of this process cannot see."""
    global _is_observed  # noqa: PLW0603
    _is_observed = True
    for name, original in _questions.items():
        for abilities in _ABILITIES:
            abilities.discard(getattr(os, name))
        setattr(os, name, original)
    os.path.exists(_BEGIN)


@contextlib.contextmanager
def unnoticed() -> Iterator[None]:
    """Record nothing of what the flow's thread opens in the body of a `with`."""
    global _is_paused  # noqa: PLW0603
    _is_paused = True
    if _is_observed:
        os.path.exists(_PAUSE)
    try:
        yield
    finally:
        _is_paused = False
        if _is_observed:
            os.path.exists(_RESUME)


def leave_searches_to_observer() -> None:
    """Make the observer recognise searches for modules itself, as `used` is not called any more."""
    if _is_observed:
        os.path.exists(_END)


def _note_questions(note: Callable[[str, Any, FrameType | None], None]) -> None:
    """Record which files code checks for, and which links it reads: there is no audit event for that.

    A check for an existing file counts only if project code makes it: libraries make far too many.
    """

    def noting(function: Callable[..., Any], use: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def ask(path: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(path, int) or kwargs.get("dir_fd") is not None:
                return function(path, *args, **kwargs)
            try:
                answer = function(path, *args, **kwargs)
            except FileNotFoundError:
                note_silently(ASKED, path, sys._getframe().f_back)  # noqa: SLF001
                raise
            caller = sys._getframe().f_back  # noqa: SLF001
            is_asked = answer is False or (use == NOTHING and _is_by_project(caller))
            note_silently(ASKED if is_asked else use, path, caller)
            return answer

        return ask

    def note_silently(use: str, path: Any, caller: FrameType | None) -> None:
        with contextlib.suppress(Exception):
            note(use, path, caller)

    for name, use in {"stat": NOTHING, "lstat": NOTHING, "access": NOTHING, "readlink": FOLLOWED}.items():
        original = _questions[name] = getattr(os, name)
        wrapped = noting(original, use)
        setattr(os, name, wrapped)
        for abilities in _ABILITIES:
            if original in abilities:
                abilities.add(wrapped)


def _is_by_project(caller: FrameType | None) -> bool:
    """Return whether the project's code, and not a package's, called the standard library."""
    while caller is not None and caller.f_code.co_filename.startswith(("<frozen ", *_STANDARD)):
        if caller.f_code.co_filename.startswith(_LIBRARIES):
            return False
        caller = caller.f_back
    if caller is None or caller.f_code.co_filename.startswith(_LIBRARIES):
        return False
    return not str(caller.f_globals.get("__name__")).startswith(_OURS)


def _use_and_name(use: str, path: Any, caller: FrameType | None) -> tuple[str, str] | None:
    """Return the kind of use and the path to record; None if there is nothing to record.

    Args:
        use: The kind of use, as far as the event shows it.
        path: The path in the event.
        caller: The frame that opens it.
    """
    if isinstance(path, int) or use == NOTHING:
        return None
    name = "." if path is None else os.fsdecode(path)
    if use == STARTED:
        return use, name
    if use == DATABASE:
        name = _path_of_database(name)
    if name in ("", ":memory:"):
        return None
    name = os.path.abspath(name)
    if os.path.join(name, "").startswith((*_INSTALLED, *_SYSTEM, _TO_OBSERVER)):
        return None
    if caller is not None and caller.f_code.co_filename.startswith(_IMPORT_SYSTEM):
        if use == LISTED:
            return SEARCHED, name
        return (MODULE, _source_of(name)) if use == OPENED else None
    return (SEARCHED, name) if use == LISTED and _is_search(name, caller) else (use, name)


def _is_search(folder: str, caller: FrameType | None) -> bool:
    """Return whether a folder is listed in search of modules and their metadata, and not of data.

    Libraries do so with the folders of `sys.path`, each in its own way.
    """
    is_searched = folder in map(os.path.abspath, sys.path)
    if caller is not None and _SEARCHES.search(caller.f_code.co_filename):
        # `pkgutil` lists the members of a package for code that asks for them.
        is_package = _is(stat.S_ISREG, os.path.join(folder, "__init__.py"))
        return is_searched or not (is_package and caller.f_code.co_filename.endswith("pkgutil.py"))
    if not is_searched:
        return False
    while caller is not None and caller.f_code.co_filename.startswith(_STANDARD):
        if caller.f_code.co_filename.startswith(_LIBRARIES):
            return True
        caller = caller.f_back
    return caller is not None and caller.f_code.co_filename.startswith(_LIBRARIES)


def _is(kind: Callable[[int], bool], path: Any) -> bool:
    """Return whether a path has a mode of some kind (see `stat`), without recording this check."""
    try:
        return kind(_stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _use_of_open(args: tuple[Any, ...]) -> str:
    path, mode, flags = args
    is_stream = isinstance(mode, str)  # of `open`, which fails for a folder; `os.open` does not
    # An observer would see this check, too, which takes longer than all the rest of this.
    if not (is_stream and _is_observed) and _is(stat.S_ISDIR, path):
        return NOTHING if is_stream else LISTED
    if is_stream:
        return WRITTEN if set(mode) & set("wax") else DATABASE if "+" in mode else OPENED
    if not isinstance(flags, int):
        return OPENED
    return WRITTEN if flags & _WRITING else DATABASE if flags & os.O_RDWR else OPENED


def _use_of_library(path: Any) -> str:
    """Return how loading a C library uses a path; the system searches for one without a folder."""
    if not isinstance(path, (str, bytes, os.PathLike)) or not os.path.dirname(os.fsdecode(path)):
        return NOTHING
    return OPENED if _is(stat.S_ISREG, path) else ASKED


_EVENTS: dict[str, Callable[[tuple[Any, ...]], str]] = {
    "open": _use_of_open,
    "os.listdir": lambda _: LISTED,
    "os.scandir": lambda _: LISTED,
    "os.chdir": lambda _: FOLLOWED,
    "os.mkdir": lambda _: ASKED,
    "os.remove": lambda args: NOTHING if _is(bool, args[0]) else ASKED,
    "os.rmdir": lambda args: NOTHING if _is(bool, args[0]) else ASKED,
    "ctypes.dlopen": lambda args: _use_of_library(args[0]),
    "sqlite3.connect": lambda _: DATABASE,
}
# How to get the words of the command and its working directory from each event.
_COMMANDS: dict[str, Callable[[tuple[Any, ...]], tuple[Any, Any]]] = {
    "subprocess.Popen": lambda args: ([args[0], *_words(args[1])], args[2]),
    "os.exec": lambda args: ([args[0], *args[1]], None),
    "os.posix_spawn": lambda args: ([args[0], *args[1]], None),
    "os.system": lambda args: ([args[0]], None),
}


def _words(command: Any) -> list[Any]:
    return [command] if isinstance(command, (str, bytes, os.PathLike)) else list(command)


def _files_in_command(words: list[Any], folder: Any) -> Iterator[str]:
    """Yield the files that a command names: a program, its script, its control file."""
    for text in (os.fsdecode(word) for word in words if word is not None):
        for part in {text, *_BETWEEN_WORDS.split(text)}:
            path = os.path.join(os.fsdecode(folder or ""), part)
            if _is(stat.S_ISREG, path):
                yield path


def _path_of_database(name: str) -> str:
    """Return the path of a database that may be named by a URI, as read-only ones are."""
    if not name.startswith("file:"):
        return name
    return urllib.parse.unquote(urllib.parse.urlsplit(name).path)


def _source_of(name: str) -> str:
    """Return the source file of a module that was read from its cache."""
    folder, file = os.path.split(name)
    if os.path.basename(folder) != "__pycache__":
        return name
    return os.path.join(os.path.dirname(folder), file.partition(".")[0] + ".py")


def _is_by_runner(frame: FrameType | None) -> bool:
    if _RUNNER not in sys.modules:
        return False
    while frame is not None:
        if frame.f_globals.get("__name__") == _RUNNER:
            return True
        frame = frame.f_back
    return False


def _new_modules() -> list[str]:
    """Return the modules that were imported since `after_preload`.

    The others are not touched: in a forked process, access changes reference counts and copies pages.
    """
    new = list(takewhile(lambda name: name != _last_preloaded, reversed(sys.modules)))
    return new if len(new) == len(sys.modules) - _number_preloaded else list(sys.modules)


def _imported(names: list[str]) -> tuple[set[str], set[str]]:
    """Return modules' source files outside the interpreter's own folders, and their top-level names."""
    files, packages = set(), set()
    for name in names:
        if name in _machinery or name == "__main__":
            continue
        file = None
        with contextlib.suppress(Exception):  # a flow may put anything there
            file = getattr(sys.modules.get(name), "__file__", None)
        if not isinstance(file, str) or not isinstance(name, str):
            continue
        packages.add(name.partition(".")[0])
        if not file.startswith(_INSTALLED) and os.path.isabs(file):
            files.add(file)
    return files, packages


def used() -> dict[str, Any]:
    """Return what the flow has imported so far, and which interpreter runs it.

    Returns:
        `begun`: whether files are recorded here, and not left to an observer; `modules`: source files
        outside the interpreter's own folders; `packages`: top-level names of imported modules; `imports`:
        names of modules that project code has imported, or tried to; `searches`: how often a folder was
        listed in search of modules; `readers`: modules that open files without Python; `opened_by_code`:
        files that project code itself has opened; `python`, `executable`, `prefixes` and `path` of the
        interpreter.
    """
    new_files, new_packages = _imported(_new_modules())
    files, packages = _preloaded[0] | new_files, _preloaded[1] | new_packages
    return {
        "begun": _has_begun and not _is_observed,
        "modules": sorted(files),
        "packages": sorted(packages - _machines),
        "imports": sorted(_imports),
        "searches": dict(_searches),
        "readers": [name for name in _READERS if name in sys.modules],
        "opened_by_code": sorted(_opened_by_code),
        "python": platform.python_version(),
        "executable": sys.executable or "",
        "prefixes": sorted({sys.prefix, sys.base_prefix}),
        "path": [str(folder) for folder in sys.path if folder],
    }
