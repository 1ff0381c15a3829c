"""Record which files a kernel, and all that its flow starts, are observed to use."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from dataclasses import dataclass, field
from typing import Any

from ...core.system.file_state import state_in
from .seccomp import ARCHITECTURE, CALLS, SOURCES, Notification, text_at, word_at

READ = "r"  # opened for reading
STARTED = "x"  # started as a program
WRITTEN = "w"  # opened for writing, or created by a rename or a link
UPDATED = "u"  # opened for both, without truncation: a database
MADE = "m"  # the same, or created if it did not exist
LISTED = "l"  # the names in a folder
ASKED = "a"  # its existence, size or time
FOLLOWED = "f"  # its target, if it is a link; a folder that relative paths start from
REMOVED = "d"  # matters only if it does not exist: others are the flow's own, or gone after that
FOLDER = "folder"  # how the state of a folder begins; its time follows
# Paths to look up as commands to the observer, see `Notes.take`.
PAUSE, RESUME, BEGIN, END = (f"/ductaflow-observer/{word}" for word in ("pause", "resume", "begin", "end"))

_KIND_OF_CALL = {
    "creat": WRITTEN,
    "execve": STARTED,
    "execveat": STARTED,
    "rename": WRITTEN,
    "renameat": WRITTEN,
    "renameat2": WRITTEN,
    "link": WRITTEN,
    "linkat": WRITTEN,
    "symlink": WRITTEN,
    "symlinkat": WRITTEN,
    "truncate": WRITTEN,
    "unlink": REMOVED,
    "unlinkat": REMOVED,
    "rmdir": REMOVED,
    "chdir": FOLLOWED,
    "readlink": FOLLOWED,
    "readlinkat": FOLLOWED,
    "getdents": LISTED,
    "getdents64": LISTED,
}
_PLACE_OF_FLAGS = {"open": 1, "openat": 2, "openat2": 2}
_O_PATH, _O_TMPFILE = 0o10000000, 0o20000000  # the latter without the bit of O_DIRECTORY
_WORKING_DIRECTORY = -100  # AT_FDCWD
_UNCOUNTED = ("/proc/", "/sys/", "/dev/")
_COUNTED = "/dev/shm/"  # noqa: S108 - memory that is used like a disk
_PYTHONS = ("python", "pypy")
_ASKED_BEFORE_SEARCH = 3  # checks: whether it is an archive, whether it is a folder, and its time
_BY_DESCRIPTOR = re.compile(r"/(?:proc/(self|thread-self|\d+)/(fd/\d+|cwd|root)|dev/(fd/\d+))(/.*)?")
_SCRIPTS = 5  # that Linux starts in a row, each the interpreter of the one before
_SCRIPT = re.compile(rb"#![ \t]*(/[^\s\0]+)")


@dataclass
class Use:
    """The uses of a file.

    Attributes:
        since: The time of the first use, in nanoseconds since the epoch.
        state: Its state just before that: None if it did not exist; `FOLDER` and its time; else size, times
            and inode.
        kinds: The kinds of use, in the order in which they came.
    """

    since: int
    state: str | None
    kinds: str = ""


@dataclass
class Notes:
    """The record of one kernel.

    Attributes:
        ignored: Prefixes of paths that are not recorded: the interpreter's own folders.
        uses: Uses by absolute path.
        listings: How often a folder was listed, except searches for modules by other Python processes.
        privileged: Programs that were started and would run with other rights, as `sudo` does.
        unseen: What could not be observed, in words.
    """

    ignored: tuple[str, ...] = ()
    uses: dict[str, Use] = field(default_factory=dict)
    listings: dict[str, int] = field(default_factory=dict)
    privileged: dict[str, None] = field(default_factory=dict)
    unseen: dict[str, None] = field(default_factory=dict)
    _known: set[tuple[str, bytes]] = field(default_factory=set)
    _programs: set[int] = field(default_factory=set)  # processes started as programs, not forked
    _last_asked: dict[int, tuple[bytes, int]] = field(default_factory=dict)  # by thread; how often in a row
    _searched: dict[tuple[int, str], str | None] = field(default_factory=dict)  # states by process and folder
    _tell_searches: set[int] = field(default_factory=set)  # processes that report their searches themselves
    _opened_as_files: set[str] = field(default_factory=set)  # folders
    _paused: set[int] = field(default_factory=set)  # threads

    def take(self, notification: Notification) -> None:
        """Record one call, before it is carried out.

        A thread that looks up the paths `PAUSE` and `RESUME` is not observed in between, because the part of
        this project that runs the flows of a build works in the kernel of that build. Before `BEGIN` a
        kernel has used only what it needs to start, and until `END` it reports its searches itself.
        """
        if notification.architecture != ARCHITECTURE or notification.call not in CALLS:
            self.unseen["a program for another kind of processor"] = None
            return
        name, place, folder_place = CALLS[notification.call]
        if place is None:
            self._note_listed_descriptor(notification.thread, notification.arguments[0])
            return
        self._take(notification, self._kind(name, notification), place, folder_place)
        if (source := SOURCES.get(notification.call)) is not None:
            self._take(notification, READ, *source)

    def _take(self, notification: Notification, kind: str, place: int, folder_place: int | None) -> None:
        """Record one path of a call.

        Args:
            notification: The call.
            kind: The kind of use; "" if that does not matter.
            place: The position of the argument that is the path.
            folder_place: The position of the descriptor of the folder to which a relative path refers.
        """
        thread, raw = notification.thread, self._text(notification, place)
        if not raw or not kind or self._is_known(thread, kind, raw):
            return
        path = os.fsdecode(raw)
        if not os.path.isabs(path):
            descriptor = notification.arguments[folder_place] if folder_place is not None else None
            folder = _folder_of(thread, descriptor)
            if folder is None:
                return
            path = os.path.join(folder, path)
        if path in (PAUSE, RESUME, BEGIN, END):
            self._obey(path, thread)
        elif thread not in self._paused:
            found = path if kind == FOLLOWED else _named_by_descriptor(thread, path)
            if kind != REMOVED:
                self._note(thread, kind, _plain(found))
            elif not os.path.lexists(found):
                self._note(thread, ASKED, _plain(found))
            self._remember_question(thread, kind, raw)
            if raw.startswith(b"/") and found == path and kind != REMOVED:
                self._known.add((kind, raw))

    def _note_listed_descriptor(self, thread: int, descriptor: int) -> None:
        """Record the listing of a folder that was opened like a file; other listings show at the open."""
        folder = _folder_of(thread, descriptor)
        if folder is not None and thread not in self._paused:
            use = self.uses.get(folder)
            if use is None or LISTED not in use.kinds or folder in self._opened_as_files:
                self._last_asked.pop(thread, None)
                self._note(thread, LISTED, folder)

    def _remember_question(self, thread: int, kind: str, raw: bytes) -> None:
        asked, times = self._last_asked.get(thread, (b"", 0))
        self._last_asked[thread] = (raw, times + 1 if raw == asked else 1) if kind == ASKED else (b"", 0)

    def _text(self, notification: Notification, place: int) -> bytes:
        try:
            return text_at(notification.thread, notification.arguments[place])
        except OSError as error:
            if os.path.exists(f"/proc/{notification.thread}"):
                self.unseen[f"the memory of a program cannot be read ({error.strerror})"] = None
            return b""

    def _is_known(self, thread: int, kind: str, raw: bytes) -> bool:
        """Return whether a use was recorded already; listings and programs are recorded each time."""
        if kind in (LISTED, STARTED) or (kind, raw) not in self._known:
            return False
        self._remember_question(thread, kind, raw)
        return True

    def _obey(self, word: str, thread: int) -> None:
        if word == BEGIN:
            self._forget()
            self._tell_searches.add(thread)
        elif word == END:
            self._tell_searches.discard(thread)
        else:
            (self._paused.add if word == PAUSE else self._paused.discard)(thread)

    def _forget(self) -> None:
        told = (self.uses, self.listings, self.privileged)
        for notes in (*told, self._known):
            notes.clear()

    def _kind(self, name: str, notification: Notification) -> str:
        """Return the kind of use of a call; "" if that does not matter."""
        place = _PLACE_OF_FLAGS.get(name)
        if place is None:
            return _KIND_OF_CALL.get(name, ASKED)
        flags = notification.arguments[place]
        if name == "openat2":  # flags are the first word of a structure
            try:
                flags = word_at(notification.thread, flags)
            except OSError:
                flags = os.O_RDWR
        if flags & _O_TMPFILE:
            return ""
        if flags & _O_PATH:
            return FOLLOWED
        if flags & os.O_DIRECTORY:
            return LISTED
        access = flags & os.O_ACCMODE
        if access == os.O_RDONLY:
            return READ
        if access == os.O_WRONLY or flags & os.O_TRUNC:
            return WRITTEN
        return MADE if flags & os.O_CREAT else UPDATED

    def _note(self, thread: int, kind: str, path: str, interpreters: int = 0) -> None:
        if path.startswith(self.ignored) or (path.startswith(_UNCOUNTED) and not path.startswith(_COUNTED)):
            return
        use = self.uses.get(path)
        if use is None:
            use = self.uses[path] = Use(time.time_ns(), _state(path))
        if kind == READ and (use.state or "").startswith(FOLDER):  # e.g. to synchronise it with the disk
            kind = FOLLOWED
            self._opened_as_files.add(path)
        if kind not in use.kinds:
            use.kinds += kind
        if kind == STARTED:
            self._programs.add(thread)
            if _has_other_rights(path):
                self.privileged[path] = None
            if interpreters < _SCRIPTS and (interpreter := _interpreter_of(path, use.state)) is not None:
                self._note(thread, STARTED, interpreter, interpreters + 1)
        elif kind == LISTED and not self._is_search(thread, path):
            self.listings[path] = self.listings.get(path, 0) + 1

    def _is_search(self, thread: int, folder: str) -> bool:
        """Return whether a Python program lists a folder in search of modules.

        Its import system stats the folder just before, several times at first; later it lists the folder
        again only if its time has changed. Python in the kernel itself, and in its forks, reports its
        searches in another way, up to the kernel's final report.
        """
        asked, times = self._last_asked.get(thread, (b"", 0))
        if asked != os.fsencode(folder):
            return False
        try:
            process = _process_of(thread)
            program = os.path.basename(os.readlink(f"/proc/{thread}/exe"))
            holds_modules = os.readlink(f"/proc/{thread}/cwd") == folder or _holds_modules(folder)
        except OSError:
            return False
        if process not in self._programs and thread not in self._programs:
            return False
        state, place = _state(folder), (process, folder)
        is_due = self._searched[place] != state if place in self._searched else times >= _ASKED_BEFORE_SEARCH
        if not is_due or not holds_modules or not program.startswith(_PYTHONS):
            return False
        self._searched[place] = state
        return process not in self._tell_searches

    def to_json(self) -> dict[str, Any]:
        return {
            "uses": [[path, use.since, use.state, use.kinds] for path, use in self.uses.items()],
            "listings": self.listings,
            "privileged": list(self.privileged),
            "unseen": list(self.unseen),
        }


def _folder_of(thread: int, descriptor: int | None) -> str | None:
    """Return the folder to which a relative path of a thread refers; None if the thread has ended."""
    number = _WORKING_DIRECTORY if descriptor is None else descriptor & 0xFFFFFFFF
    at_cwd = number in (_WORKING_DIRECTORY, _WORKING_DIRECTORY & 0xFFFFFFFF)
    try:
        return os.readlink(f"/proc/{thread}/cwd" if at_cwd else f"/proc/{thread}/fd/{number}")
    except OSError:
        return None


def _named_by_descriptor(thread: int, path: str) -> str:
    """Return the file that a path names by a descriptor of a process, as `/dev/fd/3`; else the path."""
    if not path.startswith(("/proc/", "/dev/")) or not (found := _BY_DESCRIPTOR.fullmatch(path)):
        return path
    process, of_process, descriptor, rest = found.groups()
    number = process if process and process.isdecimal() else thread
    try:
        place = os.readlink(f"/proc/{number}/{of_process or descriptor}")
    except OSError:
        return path
    return f"{place}{rest or ''}" if place.startswith("/") else path  # a pipe has no name


def _interpreter_of(path: str, state: str | None) -> str | None:
    """Return the program that a script names in its first line; the system starts it without a call."""
    if state is None or state.startswith(FOLDER):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = _SCRIPT.match(os.read(descriptor, 256))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return os.fsdecode(found[1]) if found else None


def _holds_modules(folder: str) -> bool:
    return any(name.endswith(".py") for name in os.listdir(folder))


def _plain(path: str) -> str:
    """Return a path without `.`, `..` and doubled separators; `..` after a link leaves the link's target."""
    if "/." not in path and "//" not in path and not path.endswith("/"):
        return path
    if "/../" in path or path.endswith("/.."):
        folder, name = os.path.split(path)
        return os.path.realpath(path) if name in ("", ".", "..") else f"{os.path.realpath(folder)}/{name}"
    return os.path.normpath(path)


def _state(path: str) -> str | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(status.st_mode):
        return f"{FOLDER} {status.st_mtime_ns}"
    return state_in(status)


def _has_other_rights(path: str) -> bool:
    with contextlib.suppress(OSError):
        status = os.stat(path)
        return bool(status.st_mode & (stat.S_ISUID | stat.S_ISGID)) and status.st_uid != os.geteuid()
    return False


def _process_of(thread: int) -> int:
    with open(f"/proc/{thread}/status", encoding="ascii", errors="replace") as lines:
        return next((int(line.split()[1]) for line in lines if line.startswith("Tgid:")), thread)
