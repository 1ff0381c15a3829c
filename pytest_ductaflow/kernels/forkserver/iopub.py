"""Publish the output of a forked kernel: ipykernel's thread and streams, with fewer sockets and threads."""

from __future__ import annotations

import codecs
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from typing import Any

import zmq
from ipykernel import iostream
from tornado.ioloop import IOLoop
from zmq.eventloop.zmqstream import ZMQStream

_PIPE = 65_536  # bytes, as many as a pipe holds
_SUBSCRIPTION = 5.0  # seconds to wait for one that was sent before a request already received
_PAUSE = 0.02  # seconds until a descriptor is polled again
_STEP, _LONG = 0.1, 10.0  # seconds between checks of a thread, and until it is given up


class IOPubThread(iostream.IOPubThread):  # type: ignore[misc]
    """The thread that publishes, woken by its event loop and not by another pair of sockets.

    Args:
        arguments: ipykernel's.
        place: A path for the socket by which processes that the flow forks reach it; ipykernel has a port for
            that, to which any user of the machine can connect.
        options: ipykernel's.

    Attributes:
        is_full: Whether the reader lags so far behind that nothing more is to be read from descriptors.
    """

    _pipe_in: ZMQStream | None = None

    def __init__(self, *arguments: Any, place: str, **options: Any) -> None:
        self.has_reader = threading.Event()
        self._place = f"ipc://{place}"
        self.is_full: Callable[[], bool] = lambda: False
        super().__init__(*arguments, **options)

    def wait_for_reader(self) -> None:
        """Wait until a client subscribes to what is published, but only once and not for long."""
        if not self.has_reader.is_set():
            self.has_reader.wait(_SUBSCRIPTION)
            self.has_reader.set()

    def expect_no_reader(self) -> None:
        """Publish without waiting, for clients that repeat requests until they are subscribed, if ever."""
        self.has_reader.set()

    def _handle_subscription(self, frames: Sequence[bytes]) -> None:
        if any(frame.startswith(b"\x01") for frame in frames):  # not the end of a subscription
            self.has_reader.set()
        super()._handle_subscription(frames)

    def _really_send(self, *arguments: Any, **options: Any) -> None:
        super()._really_send(*arguments, **options)
        if not self.has_reader.is_set() and self._is_master_process():
            # A subscription wakes this thread, unless it arrives while the socket sends.
            self._xpub_stream.flush(zmq.POLLIN)

    def _setup_event_pipe(self) -> None:
        pass

    def _thread_main(self) -> None:
        self.io_loop.start()

    def schedule(self, f: Callable[[], Any]) -> None:
        if not self._is_master_process():  # but a process that the flow has forked
            f()
            return
        self._events.append(f)
        # In a context without a parent message: this thread is not in a cell, but the caller may be.
        self.io_loop.asyncio_loop.call_soon_threadsafe(self._wake, context=Context())

    def _wake(self) -> None:
        try:
            self._handle_event(None)
        finally:
            if self._events:  # one of them has raised, or there are more
                self.io_loop.asyncio_loop.call_soon(self._wake)

    def do(self, f: Callable[[], Any]) -> None:
        """Run a function in this thread and wait for it, but not if the thread has ended."""
        is_done = threading.Event()
        self.schedule(f)
        self.schedule(is_done.set)
        end = time.monotonic() + _LONG
        while not is_done.wait(_STEP) and self.thread.is_alive() and time.monotonic() < end:
            pass

    def _setup_pipe_in(self) -> None:
        """Open the socket for processes that the flow forks when it first forks one."""
        os.register_at_fork(before=self._open_pipe)

    def _open_pipe(self) -> None:
        if self._pipe_in is None and self._is_master_process():
            if threading.current_thread() is self.thread:
                self._listen()
            else:
                self.do(self._listen)

    def _listen(self) -> None:
        self._pipe_uuid = os.urandom(16)
        socket = self.socket.context.socket(zmq.PULL)
        socket.linger = 0
        socket.bind(self._place)
        self._pipe_in = ZMQStream(socket, self.io_loop)
        self._pipe_in.on_recv(self._handle_pipe_msg)

    def _setup_pipe_out(self) -> tuple[zmq.Context[Any], zmq.Socket[Any]]:
        """Return a socket for one message of a process that the flow has forked."""
        context: zmq.Context[Any] = zmq.Context()
        socket = context.socket(zmq.PUSH)
        socket.linger = 3_000
        socket.connect(self._place)
        return context, socket


class OutStream(iostream.OutStream):  # type: ignore[misc]
    """Standard output or error, including what code other than Python writes to its descriptor.

    ipykernel reads the descriptor in a thread, which may be too late for the cell; here it is read when the
    stream is flushed, and meanwhile by the thread that publishes.

    It is created before the fork, so that packages that keep a stream at their import keep the kernel's own.
    Until it is connected it writes to the descriptor.

    Args:
        name: `stdout` or `stderr`.

    Attributes:
        watch_fd_thread: The thread that publishes what was written to the descriptor, while it does so; in
            ipykernel, a dedicated thread.
    """

    __module__ = iostream.__name__  # by which some libraries detect a notebook
    pub_thread: Any = None
    watch_fd_thread: threading.Thread | None = None
    _isatty = _should_watch = _is_connected = False

    def __init__(self, name: str) -> None:
        self.name = name
        self._original_stdstream_fd = getattr(sys, f"__{name}__").fileno()
        self._original_stdstream_copy = os.dup(self._original_stdstream_fd)

    def connect(self, session: Any, pub_thread: IOPubThread) -> None:
        """Publish what is written from now on."""
        self._is_connected = True
        super().__init__(session, pub_thread, self.name)

    @property
    def closed(self) -> bool:
        return self._is_connected and self.pub_thread is None

    def write(self, string: str) -> int | None:
        if self._is_connected:
            return super().write(string)  # type: ignore[no-any-return]
        os.write(self._original_stdstream_fd, string.encode("utf-8", "backslashreplace"))
        return len(string)

    def writelines(self, sequence: Iterable[str]) -> None:
        for string in sequence:
            self.write(string)

    def _setup_stream_redirects(self, _name: str) -> None:
        self._exc = None
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._reading = threading.RLock()
        os.dup2(self._original_stdstream_fd, self._original_stdstream_copy, inheritable=False)
        self._fid, into = os.pipe()
        os.set_blocking(self._fid, False)
        os.dup2(into, self._original_stdstream_fd)
        os.close(into)
        self.pub_thread.schedule(self._listen)

    def _listen(self) -> None:
        self._io_loop.add_handler(self._fid, self._hear, IOLoop.READ)

    def _listen_again(self) -> None:
        if self._should_watch:
            self._listen()

    def _hear(self, *_: object) -> None:
        if self.pub_thread.is_full():  # the writer waits, as the pipe fills up
            self._io_loop.remove_handler(self._fid)
            self._io_loop.call_later(_PAUSE, self._listen_again)
        elif self._read_pipe() == b"":  # the flow has closed the descriptor
            self._io_loop.remove_handler(self._fid)

    def _read_pipe(self) -> bytes | None:
        """Publish what is in the pipe now, and no more: its writer may never stop.

        Returns:
            The data, empty at the end of the pipe; None if there is nothing now.
        """
        with self._reading:
            try:
                data = os.read(self._fid, _PIPE)
            except OSError:
                return None
            if data:
                self.watch_fd_thread = threading.current_thread()
                try:
                    self.write(self._decode(data))
                finally:
                    self.watch_fd_thread = None
            return data

    def flush(self) -> None:
        """Publish what there is, without waking the publishing thread needlessly: cells flush often."""
        if self.pub_thread is None:
            return
        is_own = self._is_master_process()
        if self._should_watch and is_own:
            self._read_pipe()
        if not self._buffers:
            return
        if is_own and threading.current_thread() is not self.pub_thread.thread:
            self.pub_thread.do(self._flush)
        else:
            self._flush()

    def close(self) -> None:
        if self._should_watch:
            self._should_watch = False
            self.pub_thread.schedule(lambda: self._io_loop.remove_handler(self._fid))
            os.dup2(self._original_stdstream_copy, self._original_stdstream_fd)
            os.close(self._original_stdstream_copy)
        self.pub_thread = None
