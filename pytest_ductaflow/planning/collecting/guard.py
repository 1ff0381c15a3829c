"""Refuse, while pytest collects a conductor, actions that must wait until its instances have ended.

In the process that executes it, reads below the run directories of just recorded instances are refused, as
their files are from an earlier session. So is any action that would delete, move or overwrite existing files
of the project, unless they end up with the same content. Python reports both by audit events (PEP 578), but
not checks whether a file exists: for these, `os.stat` and similar functions are replaced by wrappers that
check here first. New files may be written.
"""

from __future__ import annotations

import filecmp
import fnmatch
import json
import logging
import os
import shlex
import sys
import threading
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from ...core.errors import Refused
from ...core.instance import RUNS, Instance
from ...core.run_directory.layout import display_path
from ...core.system.places import PACKAGE
from ...sources.instance_names import path_key
from .existing_files import ExistingFiles, in_folder
from .file_backups import set_aside

CURE = "put it under `if not is_collecting():`"
_STANDARD = f"{Path(os.__file__).parent}{os.sep}"
_FOR_THE_USER = {"read_runs.py", "table_files.py"}  # our modules that read what a conductor names
# Functions that query a folder only to create it or to resolve its path.
_NO_LOOKS = {"makedirs", "mkdir", "realpath", "_joinrealpath", "resolve", "check_parent_directory"}
_REMOVERS = {"rm", "rmdir", "unlink", "mv", "shred", "del", "erase", "rd", "move"}
_MAKERS = {"mkdir", "md", "touch", "echo"}
_COPIERS = {"cp", "copy"}
_SHELLS = {"sh", "bash", "dash", "zsh", "ksh"}
_LOOKS = ("stat", "lstat", "access")


class Guard:
    """A monitor that refuses actions of a conductor while it is only collected.

    Args:
        conductor: The conductor.
        root: Its project root.
        calls: The file into which its calls are recorded, also by its other processes.
        told: A file that gets a line for each refused action, as conductors may catch the exception.
        aside: A folder for copies of files before they are overwritten.
        defers: Whether refused actions are left for later, and are no error.
    """

    def __init__(
        self, conductor: Path, root: Path, calls: Path, told: Path, aside: Path, *, defers: bool = False
    ) -> None:
        self._conductor, self._root, self._calls = conductor, root, calls
        self._told, self._aside, self._defers = told, aside, defers
        self.deferred: list[str] = []  # places of refused actions that are left for later
        self._before = ExistingFiles(root)
        self._steps_in = path_key(os.path.realpath(root / RUNS))
        self._run_dirs: dict[str, str] = {}  # real path: label of the instance that will write there
        self._steps: dict[str, str] = {}  # step folders in runs/, each with the label of one of its instances
        self._read_up_to = 0  # bytes of `calls` already processed
        self._busy = threading.local()
        self._said: set[str] = set()
        self._handlers: dict[str, Callable[..., None]] = {
            "open": self._open,
            "sqlite3.connect": self._connect,
            "os.listdir": self._list,
            "os.scandir": self._list,
            "glob.glob": self._glob,
            "pathlib.Path.glob": self._glob_below,
            "pathlib.Path.rglob": self._glob_below,
            "os.remove": self._remove,
            "os.rmdir": self._remove,
            "shutil.rmtree": self._remove,
            "os.rename": self._rename,
            "os.truncate": self._truncate,
            "os.mkdir": lambda path, _mode, folder: self._make(path, folder),
            "os.symlink": lambda _to, path, folder: self._make(path, folder),
            "os.link": lambda source, path, _from, folder: self._link(source, path, folder),
            "os.chmod": lambda path, *_: self._touch(path),
            "os.chown": lambda path, *_: self._touch(path),
            "os.utime": lambda path, *_: self._touch(path),
            "os.system": self._command,
            "subprocess.Popen": lambda _program, arguments, folder, _env: self._command(arguments, folder),
        }

    def begin(self) -> None:
        """Start to refuse actions, until the process ends, so that exit handlers are checked as well."""
        sys.addaudithook(self._hear)
        for name in _LOOKS:
            self._put_before(os, name)
        if os.name == "nt":  # where these query the system directly
            for name in ("exists", "isfile", "isdir", "islink", "lexists"):
                self._put_before(os.path, name)

    def recorded(self, instances: Sequence[Instance], size: int) -> None:
        """Register instances that this process has just recorded in `size` bytes."""
        self._read_up_to += size
        self._alone(self._add_all, instances)

    def _add_all(self, instances: Sequence[Instance]) -> None:
        for instance in instances:
            self._add(instance.run_dir, f"{instance.step}/{instance.name}")

    def _add(self, run_dir: str, label: str) -> None:
        real = path_key(self._before.target(run_dir))
        self._run_dirs.setdefault(real, label)
        step = os.path.dirname(real)
        if step.startswith(f"{self._steps_in}{os.sep}"):
            self._steps.setdefault(step, label)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Handle an audit event; most are ignored."""
        handler = self._handlers.get(event)
        if handler is not None:
            self._alone(handler, *arguments)

    def _alone(self, handler: Callable[..., None], *arguments: Any) -> None:
        """Call a handler, ignoring events that the handler itself causes."""
        if getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            handler(*arguments)
        except (OSError, ValueError):  # a path that no file can have: the call itself will fail
            return
        finally:
            self._busy.now = False

    def _put_before(self, module: Any, name: str) -> None:
        """Wrap a function that queries a file so that it checks here first."""
        original = getattr(module, name)

        @wraps(original)
        def looking(path: Any, *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int):
                self._alone(self._look, path, options.get("dir_fd"))
            return original(path, *arguments, **options)

        setattr(module, name, looking)
        for abilities in (os.supports_dir_fd, os.supports_follow_symlinks, os.supports_effective_ids):
            if original in abilities:
                abilities.add(looking)

    # Reads ----------------------------------------------------------------------------------------------

    def _open(self, path: Any, _mode: str | None, flags: int) -> None:
        if isinstance(path, int):
            return
        if not flags & (os.O_WRONLY | os.O_RDWR):
            self._read(path)
            return
        place = self._before.target(os.fsdecode(path))
        if flags & os.O_APPEND and not flags & os.O_TRUNC:  # a log: nothing is lost
            self._before.touched(place)
        elif self._before.was_there(place) and self._before.has_content(place):
            self._write_anew(place, is_whole=bool(flags & os.O_TRUNC))
        self._before.made(place)

    def _write_anew(self, place: str, *, is_whole: bool) -> None:
        """Refuse to change a file; one rewritten as a whole only if its content differs in the end."""
        what = f"would overwrite {self._shown(place)}"
        # A log that is truncated on each start is restored silently: collecting should not change it.
        is_log = _is_logging()
        message = "" if is_log or self._defers else self._message(what)
        calls = self._read_up_to if self._defers and not is_log else None
        if not is_whole or not set_aside(place, self._aside, message, calls):
            self._refuse(what)

    def _read(self, path: Any) -> None:
        self._check(in_folder(path), "reads")

    def _connect(self, database: Any) -> None:
        if (text := in_folder(database)) is not None and not text.startswith(":"):  # else it is in memory
            self._read(urlsplit(text).path if text.startswith("file:") else text)

    def _look(self, path: Any, folder: Any) -> None:
        self._check(in_folder(path, folder), "looks for", is_look=True)

    def _list(self, path: Any = None) -> None:
        self._check(in_folder(path), "lists", is_listing=True)

    def _check(self, path: str | None, verb: str, *, is_look: bool = False, is_listing: bool = False) -> None:
        """Refuse a read of files that a recorded instance will write."""
        self._update()
        if path is None or not self._run_dirs:
            return
        place = self._before.target(path)
        key = path_key(place)
        owner = self._owner(key)
        if owner is None and is_listing:
            owner = self._steps.get(key)
        if owner is None or (self._before.has_made(place) and not is_listing) or self._is_excused(is_look):
            return
        self._refuse(f"{verb} {self._shown(place)}, which {owner} is going to write", is_whole=True)

    def _owner(self, key: str) -> str | None:
        """Return the label of the instance whose run directory contains a path."""
        while key not in self._run_dirs:
            parent = os.path.dirname(key)
            if parent == key:
                return None
            key = parent
        return self._run_dirs[key]

    def _update(self) -> None:
        """Register instances that other processes of the conductor have recorded."""
        try:
            size = os.stat(self._calls).st_size
        except OSError:
            return
        if size == self._read_up_to:
            return
        self._read_up_to = size
        with open(self._calls, encoding="utf-8") as file:
            for line in file:
                instance = json.loads(line).get("instance")
                if instance is not None:
                    self._add(instance["run_dir"], f"{instance['step']}/{instance['name']}")

    def _glob(self, pattern: Any, *_: Any) -> None:
        """Refuse a pattern that can match an instance's files: matches still missing cause no event."""
        self._update()
        parts = os.path.abspath(os.fsdecode(pattern)).split(os.sep)
        first = next((number for number, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
        real = os.path.join(
            os.path.realpath(os.path.join(parts[0] + os.sep, *parts[1:first])), *parts[first:]
        )
        wanted = path_key(real).split(os.sep)
        for run_dir, owner in self._run_dirs.items():
            if _leads_into(wanted, run_dir.split(os.sep)) and not self._is_excused(is_look=False):
                self._refuse(f"looks for {self._shown(real)}, which {owner} is going to write", is_whole=True)

    def _glob_below(self, folder: Path, pattern: Any, *_: Any) -> None:
        self._glob(os.path.join(os.path.realpath(folder), os.fsdecode(pattern)))

    def _is_excused(self, is_look: bool) -> bool:
        """Return whether our own code reads, or code that only creates a folder or resolves its path."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as traceback does
        ours = set()
        while frame is not None and frame.f_code.co_filename != str(self._conductor):
            file, name = frame.f_code.co_filename, frame.f_code.co_name
            if is_look and name in _NO_LOOKS and _is_library(file):
                return True
            if file.startswith(PACKAGE) and file != __file__:
                ours.add(os.path.basename(file))
            frame = frame.f_back
        return bool(ours) and not ours & _FOR_THE_USER

    # Losses ---------------------------------------------------------------------------------------------

    def _remove(self, path: Any, folder: Any = -1) -> None:
        self._keep(in_folder(path, folder), "delete")

    def _keep(self, path: str | None, verb: str) -> None:
        if path is not None and self._before.was_there(place := self._before.place(path)):
            self._refuse(f"would {verb} {self._shown(place)}")

    def _rename(self, source: Any, target: Any, source_folder: Any = -1, target_folder: Any = -1) -> None:
        old, new = in_folder(source, source_folder), in_folder(target, target_folder)
        if old is None or new is None or not _is_same(old, new):
            self._keep(new, "overwrite")
        self._keep(old, "move")
        if new is not None:
            self._before.made(self._before.place(new))

    def _truncate(self, path: Any, _length: int) -> None:
        if not isinstance(path, int):  # an open file was checked when it was opened
            self._keep(in_folder(path), "overwrite")

    def _make(self, path: Any, folder: Any) -> None:
        if (text := in_folder(path, folder)) is not None:
            self._before.made(self._before.place(text))

    def _link(self, source: Any, path: Any, folder: Any) -> None:
        self._touch(source)
        self._make(path, folder)

    def _touch(self, path: Any) -> None:
        if not isinstance(path, int) and (text := in_folder(path)) is not None:
            self._before.touched(self._before.place(text))

    def _command(self, command: Any, folder: Any = None) -> None:
        """Check the command line of a program before it starts, as its own actions cause no events."""
        for words, written in _commands(command):
            self._program(words, folder)
            for word in written:
                self._let_overwrite(word, folder)

    def _program(self, words: Sequence[str], folder: Any) -> None:
        """Check the arguments of one program."""
        program = _program_of(words)
        if program in _MAKERS:
            return
        for word in words[1:]:
            path = os.path.join(os.fsdecode(folder or os.curdir), word)
            if program in _REMOVERS:
                self._keep(path, "delete")
            if not word.startswith("-"):
                self._check(path, f"has {program} read")
        if program in _COPIERS and len(words) > 2:
            self._let_overwrite(words[-1], folder)

    def _let_overwrite(self, word: str, folder: Any) -> None:
        """Check a file that a program will write to."""
        place = self._before.target(os.path.join(os.fsdecode(folder or os.curdir), word))
        if self._before.was_there(place) and self._before.has_content(place):
            self._write_anew(place, is_whole=True)

    # Messages -------------------------------------------------------------------------------------------

    def _refuse(self, what: str, *, is_whole: bool = False) -> None:
        """Report a refused action, and raise.

        Raises:
            Refused: Always.
        """
        message = f"{self._where()} {what}: {CURE}" if is_whole else self._message(what)
        if message not in self._said:
            self._said.add(message)
            if self._defers:
                self.deferred.append(self._where())
                raise Refused(message)
            with open(self._told, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{json.dumps(message)}\n")
        raise Refused(message)

    def _message(self, what: str) -> str:
        """Return the message for a loss; before the first call, the file may be an input of instances."""
        message = f"{self._where()} {what} while pytest only collects: {CURE}"
        if self._run_dirs or not what.startswith("would overwrite"):
            return message
        return f"{message} (if instances read it, delete it first: new files may be written)"

    def _where(self) -> str:
        """Return the current line of the conductor, and that of a project module that it calls."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
        innermost = ""
        while frame is not None:
            file = frame.f_code.co_filename
            if file == str(self._conductor):
                line = f"{display_path(file, self._root)}:{frame.f_lineno}"
                return f"{line} (in {innermost})" if innermost else line
            if not innermost and not file.startswith(PACKAGE) and not _is_library(file):
                innermost = f"{display_path(file, self._root)}:{frame.f_lineno}"
            frame = frame.f_back
        return innermost or display_path(self._conductor, self._root)

    def _shown(self, place: str) -> str:
        return display_path(place, os.path.realpath(self._root))


def _is_logging() -> bool:
    """Return whether Python's `logging` is opening a file."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001
    while frame is not None and frame.f_globals.get("__name__") != logging.__name__:
        frame = frame.f_back
    return frame is not None


def _is_library(file: str) -> bool:
    return file.startswith(("<", _STANDARD)) or "site-packages" in file


def _is_same(one: str, other: str) -> bool:
    """Return whether two files have the same content, so that one may replace the other."""
    return os.path.isfile(one) and os.path.isfile(other) and filecmp.cmp(one, other, shallow=False)


def _leads_into(pattern: Sequence[str], run_dir: Sequence[str]) -> bool:
    """Return whether a pattern, given in parts, can match a run directory or something inside it."""
    for number, part in enumerate(run_dir):
        if number == len(pattern):
            return False
        if pattern[number] == "**":
            return True
        if part != pattern[number] and not fnmatch.fnmatchcase(part, pattern[number]):
            return False
    return True


def _program_of(words: Sequence[str]) -> str:
    """Return the name of the program in a command line, without its folder."""
    return os.path.basename(words[0]).lower().removesuffix(".exe") if words else ""


def _commands(command: Any) -> list[tuple[list[str], list[str]]]:
    """Return the programs of a command or of a shell's script, and the files each is redirected to."""
    if isinstance(command, str | bytes):
        return _split_script(os.fsdecode(command))
    words = [os.fsdecode(word) for word in command]
    if _program_of(words) in _SHELLS and "-c" in words[:-1]:
        return _split_script(words[words.index("-c") + 1])
    return [(words, [])]


def _split_script(script: str) -> list[tuple[list[str], list[str]]]:
    """Return the same for a shell's script, as far as it is a plain list of commands."""
    lexer = shlex.shlex(script, posix=os.name != "nt", punctuation_chars=True)
    lexer.whitespace_split = True
    commands: list[tuple[list[str], list[str]]] = [([], [])]
    before = ""
    try:
        for token in lexer:
            if before in (">", ">|"):
                commands[-1][1].append(token)
            elif not set(token) - set(";&|()"):
                commands.append(([], []))
            elif set(token) - set("<>|&") and before != ">>":
                commands[-1][0].append(token)
            before = token
    except ValueError:  # an unclosed quotation mark
        return []
    return commands
