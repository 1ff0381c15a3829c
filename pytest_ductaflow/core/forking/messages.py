"""Exchange messages, with file descriptors, between a warm process and its clients."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

_LENGTH = struct.Struct("!Q")
_LONGEST = 64 * 1024 * 1024  # bytes of a message, most of them an environment
_DESCRIPTORS = 8  # that come with a message at most


def send(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message, and descriptors along with it.

    Raises:
        OSError: If the other side has gone.
    """
    data = json.dumps(message).encode("utf-8", "surrogatepass")
    socket.send_fds(connection, [_LENGTH.pack(len(data))], descriptors)
    connection.sendall(data)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Return the next message, and the descriptors that came along with it.

    Raises:
        EOFError: If the other side has gone.
        OSError, ValueError: If it says what is no message.
    """
    head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, _DESCRIPTORS)
    head += _exactly(connection, _LENGTH.size - len(head)) if head else b""
    if not head:
        raise EOFError
    length = _LENGTH.unpack(head)[0]
    if length > _LONGEST:
        raise ValueError(f"a message of {length} bytes")
    return json.loads(_exactly(connection, length).decode("utf-8", "surrogatepass")), descriptors


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
