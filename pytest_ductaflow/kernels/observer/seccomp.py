"""Install a filter for the calls that name files, and receive a notification of each (seccomp).

See `seccomp(2)`, `seccomp_unotify(2)`. Linux 5.5 and later, on x86-64 and ARM64.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
_FLAG_NEW_LISTENER, _FLAG_WAIT_KILLABLE_RECV = 1 << 3, 1 << 5
_ALLOW, _ERRNO, _NOTIFY = 0x7FFF0000, 0x00050000, 0x7FC00000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # operations of classic BPF
_NUMBER, _ARCHITECTURE, _ARGUMENT, _ARGUMENT_SIZE = 0, 4, 16, 8  # offsets in `struct seccomp_data`
_EMPTY_PATH = 0x1000  # AT_EMPTY_PATH: the call is about a descriptor and names no file
_X32 = 0x40000000  # bit of the call numbers of the x32 ABI

# Positions of the path and of a folder's descriptor among the arguments; None where there is none.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    "open": (0, None),
    "creat": (0, None),
    "openat": (1, 0),
    "openat2": (1, 0),
    "execve": (0, None),
    "execveat": (1, 0),
    "stat": (0, None),
    "lstat": (0, None),
    "newfstatat": (1, 0),
    "statx": (1, 0),
    "access": (0, None),
    "faccessat": (1, 0),
    "faccessat2": (1, 0),
    "truncate": (0, None),
    "rename": (1, None),
    "renameat": (3, 2),
    "renameat2": (3, 2),
    "link": (1, None),
    "linkat": (3, 2),
    "symlink": (1, None),
    "symlinkat": (2, 1),
    "mkdir": (0, None),
    "mkdirat": (1, 0),
    "unlink": (0, None),
    "unlinkat": (1, 0),
    "rmdir": (0, None),
    "chdir": (0, None),
    "readlink": (0, None),
    "readlinkat": (1, 0),
    "getdents": (None, 0),
    "getdents64": (None, 0),
}
# The same for the source of a link or a rename.
_SOURCES: dict[str, tuple[int, int | None]] = {
    "rename": (0, None),
    "renameat": (1, 0),
    "renameat2": (1, 0),
    "link": (0, None),
    "linkat": (1, 0),
}
_FLAGS_OF = {"newfstatat": 3, "statx": 2}  # position of the argument that may hold AT_EMPTY_PATH

_X86_64 = {
    "open": 2, "stat": 4, "lstat": 6, "access": 21, "execve": 59, "truncate": 76, "getdents": 78, "chdir": 80,
    "rename": 82, "mkdir": 83, "rmdir": 84, "creat": 85, "link": 86, "unlink": 87, "symlink": 88,
    "readlink": 89, "getdents64": 217, "openat": 257, "mkdirat": 258, "newfstatat": 262, "unlinkat": 263,
    "renameat": 264, "linkat": 265, "symlinkat": 266, "readlinkat": 267, "faccessat": 269,
    "renameat2": 316, "seccomp": 317, "execveat": 322, "statx": 332,
    "io_uring_setup": 425, "openat2": 437, "faccessat2": 439,
}  # fmt: skip
_ARM64 = {
    "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37, "renameat": 38, "truncate": 45,
    "faccessat": 48, "chdir": 49, "openat": 56, "getdents64": 61, "readlinkat": 78, "newfstatat": 79,
    "execve": 221, "renameat2": 276, "seccomp": 277, "execveat": 281, "statx": 291,
    "io_uring_setup": 425, "openat2": 437, "faccessat2": 439,
}  # fmt: skip
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _ARM64)}
ARCHITECTURE, _NUMBERS = _MACHINES.get(platform.machine(), (0, {}))
CALLS = {_NUMBERS[name]: (name, *places) for name, places in _CALLS.items() if name in _NUMBERS}
SOURCES = {_NUMBERS[name]: places for name, places in _SOURCES.items() if name in _NUMBERS}


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def is_possible() -> bool:
    """Return whether this system can notify of what a process opens; a container may still forbid it."""
    if sys.platform != "linux" or not ARCHITECTURE or sys.byteorder != "little":
        return False
    try:
        with open("/proc/sys/kernel/seccomp/actions_avail", encoding="ascii") as actions:
            return "user_notif" in actions.read().split()
    except OSError:
        return False


@lru_cache(maxsize=1)
def make_filter() -> _Program:
    """Return the filter, built once: notify of the calls in `CALLS`, refuse io_uring, allow all others.

    io_uring opens files through a queue that no filter sees; without it, programs use ordinary calls. All
    calls of a program of another architecture are notified, as its call numbers have other meanings.
    """
    by_descriptor = {name: (_NUMBERS[name], place) for name, place in _FLAGS_OF.items()}
    plain = [number for number, (name, *_) in CALLS.items() if name not in by_descriptor]
    code: list[tuple[int, str | int, str | int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 0, "notify", ARCHITECTURE),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, "notify", 0, _X32),
        (_EQUAL, "refuse", 0, _NUMBERS["io_uring_setup"]),
        *((_EQUAL, name, 0, number) for name, (number, _) in by_descriptor.items()),
        *((_EQUAL, "notify", 0, number) for number in plain),
        (_RETURN, 0, 0, _ALLOW),
    ]
    labels: dict[str, int] = {}
    for name, (_, place) in by_descriptor.items():
        labels[name] = len(code)
        code += [
            (_LOAD, 0, 0, _ARGUMENT + _ARGUMENT_SIZE * place),
            (_ANY_BIT, "allow", "notify", _EMPTY_PATH),
        ]
    for name, value in (("allow", _ALLOW), ("refuse", _ERRNO | errno.ENOSYS), ("notify", _NOTIFY)):
        labels[name] = len(code)
        code.append((_RETURN, 0, 0, value))

    def jump(target: str | int, place: int) -> int:
        return labels[target] - place - 1 if isinstance(target, str) else target

    array = (_Instruction * len(code))(
        *(
            _Instruction(op, jump(yes, at), jump(no, at), value)
            for at, (op, yes, no, value) in enumerate(code)
        )
    )
    return _Program(len(code), ctypes.cast(array, ctypes.POINTER(_Instruction)))


def install() -> int:
    """Install the filter for this process and all that it starts.

    Each filtered call waits until the reader of the returned descriptor lets it proceed.

    Returns:
        The descriptor for the system's notifications.

    Raises:
        OSError: If the system or the container does not allow it, or there is an observer already.
    """
    program, libc = make_filter(), _libc()
    for may_gain_privileges in (True, False):  # root need not give up sudo
        if not may_gain_privileges and libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            break
        for flags in (_FLAG_NEW_LISTENER | _FLAG_WAIT_KILLABLE_RECV, _FLAG_NEW_LISTENER):
            descriptor = libc.syscall(_NUMBERS["seccomp"], _SET_MODE_FILTER, flags, ctypes.byref(program))
            if descriptor >= 0:
                return int(descriptor)
            if ctypes.get_errno() != errno.EINVAL:  # an older Linux does not know the second flag
                break
        if ctypes.get_errno() != errno.EACCES:
            break
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


# struct seccomp_notif: id, pid, flags, then struct seccomp_data: nr, arch, instruction pointer, arguments
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_GO_ON = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE


def _ioctl(direction: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | ord("!") << 8 | number


_RECEIVE = _ioctl(3, 0, _NOTIFICATION.size)
_SEND = _ioctl(3, 1, _RESPONSE.size)
_SET_FLAGS = _ioctl(1, 4, 8)
_WAKE_ON_SAME_CORE = 1  # SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP, Linux 6.6


class Notification(NamedTuple):
    """A system call that waits to proceed.

    Attributes:
        id: The system's number for the notification.
        thread: The calling thread.
        call: The number of the call.
        architecture: The architecture of the program.
        arguments: The six arguments, as unsigned numbers.
    """

    id: int
    thread: int
    call: int
    architecture: int
    arguments: Sequence[int]


def prefer_same_core(listener: int) -> None:
    """Run the observer on the waiting caller's core, which takes a fifth of the time of a wake-up."""
    import fcntl

    try:
        fcntl.ioctl(listener, _SET_FLAGS, _WAKE_ON_SAME_CORE)
    except OSError:  # an older Linux
        return


_zeros = bytes(_NOTIFICATION.size)
_buffer = bytearray(_NOTIFICATION.size)


def receive(listener: int) -> Notification | None:
    """Return the next call that waits; None if its thread has been killed meanwhile."""
    import fcntl

    _buffer[:] = _zeros
    try:
        fcntl.ioctl(listener, _RECEIVE, _buffer)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    number, thread, _, call, architecture, _, *arguments = _NOTIFICATION.unpack(_buffer)
    return Notification(number, thread, call, architecture, arguments)


def let_go_on(listener: int, notification: Notification) -> None:
    """Let a call proceed unchanged."""
    import fcntl

    try:
        fcntl.ioctl(listener, _SEND, _RESPONSE.pack(notification.id, 0, 0, _GO_ON))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINPROGRESS):  # its thread has been killed
            raise


_PAGE = 4096


class _Part(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("length", ctypes.c_size_t))


_text = ctypes.create_string_buffer(_PAGE)
_here = _Part(ctypes.cast(_text, ctypes.c_void_p), _PAGE)
_there = (_Part * 2)()


def text_at(thread: int, address: int) -> bytes:
    """Return the text at an address in another process's memory, up to its zero byte.

    Raises:
        OSError: If it cannot be read.
    """
    first = _PAGE - address % _PAGE  # the page after it may not be mapped
    _there[0].start, _there[0].length = address, first
    _there[1].start, _there[1].length = address + first, _PAGE - first
    read = _libc().process_vm_readv(thread, ctypes.byref(_here), 1, _there, 2, 0)
    if read <= 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return _text.value if read == _PAGE else _text.raw[:read].partition(b"\0")[0]


def word_at(thread: int, address: int) -> int:
    """Return the eight-byte number at an address in another process's memory.

    Raises:
        OSError: If it cannot be read.
    """
    _there[0].start, _there[0].length = address, 8
    if _libc().process_vm_readv(thread, ctypes.byref(_here), 1, _there, 1, 0) != 8:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int.from_bytes(_text.raw[:8], sys.byteorder)


@lru_cache(maxsize=1)
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
