"""Let a kernel reply to each cell, whatever the flow has made of `sys.stdout` and `sys.stderr`.

ipykernel and IPython flush and wrap both around each cell; where that fails, the reply is lost. Standalone
like `setup`: it is sent to the kernel as text.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

_DELETED = object()


class _Streams:
    """The flow's streams, put aside while ipykernel and IPython work if they fail there."""

    def __init__(self) -> None:
        self._own = {"stdout": sys.stdout, "stderr": sys.stderr}
        self._aside: dict[str, Any] = {}

    def put_aside(self) -> bool:
        """Replace streams that fail by the kernel's own; return whether there are any."""
        found = {name: vars(sys).get(name, _DELETED) for name in self._own}
        failing = {
            name: stream
            for name, stream in found.items()
            if stream is not self._own[name] and not _works(stream)
        }
        self._aside |= failing
        vars(sys).update({name: self._own[name] for name in failing})
        return bool(failing)

    def give_back(self) -> None:
        """Undo `put_aside`: the flow's own code gets what it has made of its streams."""
        while self._aside:
            name, stream = self._aside.popitem()
            if stream is _DELETED:
                vars(sys).pop(name, None)
            else:
                setattr(sys, name, stream)

    @contextlib.contextmanager
    def usable(self) -> Iterator[None]:
        """Let the body of a `with` have streams that work, also within the flow's code."""
        is_new = self.put_aside()
        try:
            yield
        finally:
            if is_new:
                self.give_back()

    def with_usable(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that it has streams that work."""

        def wrapped(*arguments: Any, **options: Any) -> Any:
            with self.usable():
                return function(*arguments, **options)

        return wrapped


def _works(stream: Any) -> bool:
    """Return whether a stream can be flushed, and its `write` replaced as IPython does around a cell."""
    try:
        stream.flush()
        stream.write = stream.write
    except Exception:  # any, of a class of the flow
        return False
    return True


def keep_replying() -> None:
    """Keep streams of the flow that fail away from ipykernel, and reply with what fails all the same."""
    shell, streams = sys.modules["IPython"].get_ipython(), _Streams()
    run = shell.run_code

    async def run_code(*arguments: Any, **options: Any) -> Any:
        streams.give_back()
        try:
            return await run(*arguments, **options)
        finally:
            streams.put_aside()

    shell.run_code = run_code
    for thing, name in (
        (shell, "showtraceback"),
        (shell.displayhook, "finish_displayhook"),
        (shell.display_pub, "_flush_streams"),
    ):
        if hasattr(thing, name):
            setattr(thing, name, streams.with_usable(getattr(thing, name)))
    _reply_always(shell.kernel, streams)


def _reply_always(kernel: Any, streams: _Streams) -> None:
    """Send a reply to a request to run a cell also where ipykernel itself fails, which it only logs."""
    set_parent, execute = kernel.set_parent, kernel.shell_handlers["execute_request"]
    failed: list[Exception] = []

    def set_parent_safely(*arguments: Any, **options: Any) -> None:
        streams.put_aside()
        failed.clear()
        try:
            set_parent(*arguments, **options)
        except Exception as error:  # told in the reply
            failed.append(error)

    async def execute_request(stream: Any, ident: Any, parent: dict[str, Any]) -> None:
        try:
            for error in failed:
                raise error
            await execute(stream, ident, parent)
        except Exception as error:  # told in the reply
            _reply_with(error, kernel, stream, ident, parent)
        finally:
            streams.put_aside()

    kernel.set_parent = set_parent_safely
    kernel.shell_handlers["execute_request"] = execute_request


def _reply_with(error: Exception, kernel: Any, stream: Any, ident: Any, parent: dict[str, Any]) -> None:
    name, text = type(error).__name__, str(error)
    content = {"ename": name, "evalue": text, "traceback": [f"{name}: {text}"]}
    kernel.session.send(kernel.iopub_socket, "error", content, parent)
    reply = {"status": "error", "execution_count": kernel.execution_count, **content}
    kernel.session.send(stream, "execute_reply", reply, parent, ident=ident)
