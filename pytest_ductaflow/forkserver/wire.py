"""How the processes of the server speak to each other and to clients: lines of JSON, and data by length."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from typing import Any

LENGTH = struct.Struct("!Q")
PATIENCE = 20.0  # seconds for what takes milliseconds
SENTENCE = 65_536  # bytes that are read at a time


def say(connection: socket.socket, /, **words: Any) -> None:
    """Send a line of JSON; somebody who has gone does not hear it.

    It begins a line of its own, too: whoever spoke before may have died over it.
    """
    with contextlib.suppress(OSError):
        connection.sendall(b"\n" + json.dumps(words).encode() + b"\n")


def read_line(connection: socket.socket) -> bytes:
    """The first line that a client says; empty if it has gone."""
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(SENTENCE)
        if not part:
            return b""
        line += part
    return line


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data
