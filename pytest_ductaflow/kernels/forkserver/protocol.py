"""Exchange messages between server processes and clients: lines of JSON, and length-prefixed data."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import struct
from collections.abc import Iterable
from typing import Any

LENGTH = struct.Struct("!Q")
PATIENCE = 20.0  # seconds to wait for what takes milliseconds
READ_SIZE = 65_536  # bytes read at a time
LONGEST = 64 * 1024 * 1024  # bytes of a request, most of them its environment
_REQUEST: dict[str, type | tuple[type, ...]] = {
    "preload": list,
    "env_of_imports": dict,
    "spare": bool,
    "cwd": str,
    "env": dict,
    "argv": list,
    "umask": int,
    "all_channels": bool,
    "stdin": bool,
    "first": list,
    "last": list,
    "observe": (dict, type(None)),
}
_PREPARATION: dict[str, type] = {"prepare": list, "env_of_imports": dict, "spare": bool}
_OF_TEXTS = {"argv", "env", "env_of_imports"}
_OF_LISTS_OF_TEXTS = {"prepare", "preload"}


def send_line(connection: socket.socket, /, **words: Any) -> None:
    """Send a line of JSON, unless the peer has gone.

    A newline precedes it, too, because a previous sender may have died within a line.
    """
    with contextlib.suppress(OSError):
        connection.sendall(b"\n" + json.dumps(words).encode() + b"\n")


class BadRequest(ValueError):
    """A client's message that none of our clients sends."""


def check_request(line: bytes) -> dict[str, Any]:
    """Return a client's request for a kernel, or for the preparation of one.

    Raises:
        BadRequest: If it is not a valid one.
    """
    request = _object(line)
    expected = _PREPARATION if "prepare" in request else _REQUEST
    for name, kind in expected.items():
        if not isinstance(request.get(name), kind):
            raise BadRequest(f"{name!r} is missing, or of the wrong type")
    for name in _OF_TEXTS & expected.keys():
        values = request[name].values() if isinstance(request[name], dict) else request[name]
        if not _are_texts(values):
            raise BadRequest(f"{name!r} holds what is no text")
    for name in _OF_LISTS_OF_TEXTS & expected.keys():
        if not all(isinstance(texts, list) and _are_texts(texts) for texts in request[name]):
            raise BadRequest(f"{name!r} holds what is no list of texts")
    return request


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(text, str) for text in values)


def check_signal(line: bytes) -> signal.Signals:
    """Return the signal that a client wants to send to its kernel.

    Raises:
        BadRequest: If it names none.
    """
    number = _object(line).get("signal")
    if type(number) is not int or number not in signal.valid_signals():
        raise BadRequest(f"{number!r} is no signal")
    return signal.Signals(number)


def _object(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"not a line of JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadRequest("not an object of JSON")
    return data


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data
