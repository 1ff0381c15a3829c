"""Set up a Python kernel before the first cell.

Sent to the kernel as text, so it is standalone: no import of this package, which the kernel's
interpreter may not have, and nothing that stays in the flow's namespace.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import logging
import mmap
import os
import sys
import sysconfig
import threading
import time
import warnings
from importlib.machinery import PathFinder
from typing import Any

_PRINTED = "_ductaflow_printed"
_KEPT = 100  # log records that are remembered
_AT_ONCE = 500_000  # characters printed between two checks whether the reader keeps up
_MESSAGE = 250  # characters of a message besides its text
_UNDER_WAY = 24_000_000  # bytes that the reader may lag behind
_REMEMBERED = 10_000_000  # characters that IPython may keep of a stream
_SPILLED = 100_000_000  # bytes kept of what the running cell prints: as many as a log keeps
_PAUSE = 0.005  # seconds between two checks
_SETTLED = 2.0  # seconds: the coarsest modification times of file systems
_PIPE = 65_536  # bytes, as many as a pipe holds
_PATIENCE = 5.0  # seconds for a thread that ends at once
_logged: list[str] = []
_streams: list[Any] = []  # the kernel's own, even if the flow replaces them
_spill: int | None = None  # a descriptor
_spilled = 0  # bytes since the last check of the file's size
_written = 0  # characters since the last check of the reader
_way: _Way | None = None
_watchers: list[threading.Thread] = []  # threads that only publish what is written to the descriptors
_mark = ""
_main = (0, 0)  # process and thread of the flow
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class PrintWithLevel(logging.Handler):
    """The handler of last resort, which prints the log records of a flow that configures no logging.

    A flow that does configure it (`logging.basicConfig`, handlers of its own) is not affected, because
    Python uses this handler only if there is no other. Records that count are printed with their level,
    which makes them warning lines. The others are the bare message, as without us, and those below
    WARNING are printed only for the project: libraries log much at INFO.

    Args:
        log_warnings: As in `print_log_records`.
    """

    def __init__(self, log_warnings: str) -> None:
        super().__init__(logging.INFO)
        self._log_warnings = log_warnings

    def emit(self, record: logging.LogRecord) -> None:
        vars(record)[_PRINTED] = True
        if record.levelno < logging.WARNING and record.pathname.startswith(_INSTALLED):
            return
        try:
            _print_record(record, self.format(record), is_counted=_counts(record, self._log_warnings))
        except Exception:  # as in each handler of Python; the flow may have closed the stream
            self.handleError(record)


def _print_record(record: logging.LogRecord, text: str, *, is_counted: bool) -> None:
    name = "stdout" if record.levelno < logging.WARNING else "stderr"
    sign = "" if record.levelno < logging.ERROR else "\N{WARNING SIGN}\N{VARIATION SELECTOR-16} "
    _print_to(name, f"{record.levelname}: {sign}{text}" if is_counted else text)


def _print_to(name: str, text: str) -> None:
    """Print to one of the streams, unless the flow has removed it; `print` would take stdout then."""
    if (stream := vars(sys).get(name)) is not None:
        print(text, file=stream, flush=True)


def _counts(record: logging.LogRecord, log_warnings: str) -> bool:
    """Return whether a record that no handler of the flow shows changes the report's light."""
    if record.levelno < logging.WARNING or log_warnings == "none":
        return False
    is_of_library = record.pathname.startswith(_INSTALLED)
    return log_warnings == "all" or record.levelno >= logging.ERROR or not is_of_library


def _remember_loud_records(log_warnings: str) -> None:
    """Remember the project's records of WARNING and above that its own handlers print or store.

    Records of libraries with handlers of their own are left to these.
    """
    call_handlers = logging.Logger.callHandlers

    def remembering(logger: logging.Logger, record: logging.LogRecord) -> None:
        call_handlers(logger, record)
        if record.name == "py.warnings" and not _is_printed(logger):
            with contextlib.suppress(Exception):  # the flow may have closed it
                _print_to("stderr", record.getMessage().rstrip())
        counts = _counts(record, log_warnings) and not record.pathname.startswith(_INSTALLED)
        if counts and _PRINTED not in vars(record) and len(_logged) < _KEPT:
            _logged.append(f"{record.levelname}: {record.getMessage()}")

    logging.Logger.callHandlers = remembering  # type: ignore[assignment,method-assign]


def _is_printed(logger: logging.Logger) -> bool:
    """Return whether a handler of a logger or its ancestors prints to the streams, not only to a file."""
    now = (vars(sys).get(name) for name in ("stdout", "stderr"))
    streams = [stream for stream in (*now, *_streams) if stream is not None]
    above: logging.Logger | None = logger
    while above is not None:
        if any(getattr(handler, "stream", None) in streams for handler in above.handlers):
            return True
        above = above.parent if above.propagate else None
    return False


def final_report() -> tuple[int, list[str], tuple[int | None, bool] | None]:
    """Return the final report: what is known only when the flow has ended.

    Returns:
        Peak memory in bytes; the remembered log records that were not printed with their level first; for
        a cell that ended with SystemExit, the line, and whether its code means success.
    """
    # ipykernel warns when it shuts down; a flow that turns warnings into errors would never end.
    warnings.filterwarnings("ignore", category=PendingDeprecationWarning, module="ipykernel")
    # When ipykernel ends, one thread may wait in vain for another one to flush, by default ten seconds.
    for stream in _streams:
        vars(stream)["flush_timeout"] = 1.0
    return _peak_memory(), _logged, _exit()


def _exit() -> tuple[int | None, bool] | None:
    """Return the line where SystemExit ended a cell (IPython shows none), and whether its code is 0."""
    value = getattr(sys, "last_value", None)
    if not isinstance(value, SystemExit):
        return None
    trace, flow = getattr(sys, "last_traceback", None), sys.modules["IPython"].get_ipython().user_ns
    while trace is not None and trace.tb_frame.f_globals is not flow:
        trace = trace.tb_next
    is_good = value.code is None or (isinstance(value.code, int) and value.code == 0)  # a text is an error
    return (trace.tb_lineno if trace is not None else None), is_good


def _stop_at_exit() -> None:
    """Make `exit()` end the flow, as it ends a script; IPython's own only asks the front end to close."""
    shell = sys.modules["IPython"].get_ipython()
    shell.user_ns.update(exit=sys.exit, quit=sys.exit)
    shell.user_ns_hidden.update(exit=sys.exit, quit=sys.exit)


class _Way:
    """Flow control towards the reader: a publisher waits while the reader lags too far behind.

    Args:
        path: A file with two numbers: the bytes sent, and the bytes that the reader has read. Processes that
            the flow forks map it, too.
    """

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._numbers = memoryview(mmap.mmap(file.fileno(), 16)).cast("Q")
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        with self._lock:
            self._numbers[0] += size

    @property
    def leads_somewhere(self) -> bool:
        return self._numbers[1] < 2**63

    def is_full(self) -> bool:
        return self._numbers[0] > self._numbers[1] + _UNDER_WAY

    def wait(self) -> None:
        """Wait for room, without a lock, so that an interrupt ends the wait."""
        while self.is_full():
            time.sleep(_PAUSE)


def _publish_all(heard: str | None) -> None:
    """Make the flow wait for a slow reader; ipykernel would drop messages beyond a queue of 1,000."""
    global _way  # noqa: PLW0603 - a module of its own in each kernel
    publisher = sys.modules["IPython"].get_ipython().kernel.iopub_thread
    if publisher is None:
        return
    publisher.schedule(lambda: setattr(publisher.socket, "sndhwm", 0))
    if heard is not None:
        with contextlib.suppress(OSError, ValueError):
            _way = _Way(heard)
            _count_published(publisher, _way)


def _pack_any_text() -> None:
    """Make messages accept invalid text (lone surrogates), which otherwise loses the message."""
    session = sys.modules["IPython"].get_ipython().kernel.session
    pack = session.pack

    def pack_any(message: Any) -> Any:
        try:
            return pack(message)
        except UnicodeEncodeError:
            return json.dumps(message, ensure_ascii=False, default=str).encode("utf-8", "replace")

    session.pack = pack_any


def _count_published(publisher: Any, way: _Way) -> None:
    """Count what is sent, and make threads that publish output wait for room."""
    send, kernel = publisher.send_multipart, os.getpid()

    def send_multipart(parts: Any, *arguments: Any, **options: Any) -> None:
        if parts[0].startswith((b"stream.", b"display_data", b"comm")):  # others are about the cell itself
            if not way.leads_somewhere:
                return
            if threading.current_thread() is not publisher.thread:
                way.wait()
        if os.getpid() == kernel:  # which also sends for the processes that it has forked
            way.add(sum(memoryview(part).nbytes for part in parts))
        send(parts, *arguments, **options)

    publisher.send_multipart, publisher.is_full = send_multipart, way.is_full


def prepare(folders: list[str], spill: str, mark: str, log_warnings: str, heard: str | None = None) -> None:
    """Prepare output, logging and the import of modules from the flow's folder and the project's root.

    Args:
        folders: These two folders.
        spill: A file for what is printed.
        mark: The marker by which the client recognises the source of output, see `marked`.
        log_warnings: As in `Settings`.
        heard: A file in which the reader counts what it has read, see `_Way`.
    """
    _stop_at_exit()
    _publish_all(heard)
    _pack_any_text()
    _spill_output(spill, mark)
    _watch_descriptors()
    print_log_records(log_warnings)
    # IPython's advice for interactive use, on every sys.exit().
    warnings.filterwarnings("ignore", message="To exit: use")
    more = [folder for folder in folders if folder not in sys.path]
    sys.path += more
    with contextlib.suppress(Exception):  # of path hooks; the flow gets it if it imports from there
        _list_for_imports(more)


def _list_for_imports(folders: list[str]) -> None:
    """Make Python list module folders before the first search, as each call would be observed then.

    Python lists a folder again when its time has changed; that may miss changes to a folder changed just now.
    """
    settled = [folder for folder in folders if os.stat(folder).st_mtime < time.time() - _SETTLED]
    PathFinder.find_spec("", settled)


def print_log_records(log_warnings: str = "shown") -> None:
    """Print log records that a script would not show, and remember those that the flow's handlers store.

    Args:
        log_warnings: Which records of WARNING and above change the report's light: the project's, and
            libraries' from ERROR on (`shown`), all, or none. What the flow's own handlers print counts like
            any line.
    """
    _remember_loud_records(log_warnings)
    logging.lastResort = PrintWithLevel(log_warnings)
    logging.getLogger().setLevel(logging.INFO)


def before_preload() -> None:
    """Wrap the streams before packages are imported, as these may keep the streams and their methods."""
    _watch_output()


def _watch_output() -> None:
    """Pass what is written to the streams through here, on its way to the notebook."""
    stream = type(sys.stdout)
    send = stream.write
    _streams[:] = sys.stdout, sys.stderr

    def write(self: Any, text: str) -> Any:
        global _written  # noqa: PLW0603 - a module of its own in each kernel
        if _spill is None or not text or not isinstance(text, str):
            return send(self, text)
        if len(text) > _AT_ONCE:  # in pieces, each of which may wait for room
            return sum(write(self, text[at : at + _AT_ONCE]) or 0 for at in range(0, len(text), _AT_ONCE))
        if not text.isascii():
            text = text.encode("utf-8", "backslashreplace").decode()  # as Python does on stderr
        source, cell = _source(self), self.parent_header.get("msg_id", "")
        result = send(self, text) if not source else send(self, marked(_mark, source, text)) and len(text)
        _keep(self.name, source, text, cell)
        _written += len(text) + _MESSAGE
        if _written > _AT_ONCE and _way is not None:
            _make_room(self, source)
        return result

    stream.write = write  # type: ignore[method-assign]


def _watch_descriptors() -> None:
    """Publish what is written to the descriptors as it is; ipykernel cuts it into pieces of 1,000 bytes.

    That splits characters, too. ipykernel also writes all of it to the file in which the client looks for
    what the process prints after it has served as a kernel.
    """
    for stream in _streams:
        thread = getattr(stream, "watch_fd_thread", None)
        if thread is None or not thread.is_alive():
            continue
        stream._should_watch = False  # noqa: SLF001
        os.write(stream._original_stdstream_fd, b"\0")  # noqa: SLF001 - as ipykernel itself ends the thread
        thread.join(_PATIENCE)
        stream._should_watch = True  # noqa: SLF001
        stream.watch_fd_thread = threading.Thread(target=_publish_written, args=(stream,), daemon=True)
        _watchers.append(stream.watch_fd_thread)
        stream.watch_fd_thread.start()


def _publish_written(stream: Any) -> None:
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    with contextlib.suppress(OSError, ValueError):  # closed
        while (data := os.read(stream._fid, _PIPE)) and stream._should_watch:  # noqa: SLF001
            stream.write(decode(data))


def _keep(name: str, source: str, text: str, cell: str) -> None:
    """Append a piece of output to the spill file, up to the size that a log keeps."""
    global _spilled  # noqa: PLW0603 - a module of its own in each kernel
    with contextlib.suppress(OSError):  # the flow may have closed it
        if _spilled > _AT_ONCE:
            if os.fstat(_spill).st_size > _SPILLED:  # type: ignore[arg-type]
                return
            _spilled = 0
        line = json.dumps([name, source, text, cell], ensure_ascii=False).encode("utf-8", "surrogatepass")
        _spilled += os.write(_spill, line + b"\n")  # type: ignore[arg-type]


def _make_room(stream: Any, source: str) -> None:
    """Publish what was printed, and wait until there is room for more."""
    global _written  # noqa: PLW0603 - a module of its own in each kernel
    thread = threading.current_thread()
    if thread is stream.pub_thread.thread:  # makes room, so it cannot wait for it
        _written = 0
        _forget_printed()
        stream._flush()  # noqa: SLF001 - what its own timer calls
    elif source != "d" or thread in _watchers:  # else the thread reads a descriptor and holds its lock
        _written = 0
        _forget_printed()
        stream.flush()
        _way.wait()  # type: ignore[union-attr]


def _forget_printed() -> None:
    """Drop what IPython keeps of a cell's output, for %notebook, if that is too long."""
    shell = sys.modules["IPython"].get_ipython()
    cells = list(getattr(shell.history_manager, "outputs", {}).values())
    for output in [output for cell in cells[-1:] for output in cell]:
        pieces = output.bundle.get("stream", ())
        if len(pieces) > 1 and sum(map(len, pieces)) > _REMEMBERED:
            pieces.clear()


def _source(stream: Any) -> str:
    """Return the thread that writes; empty for the main one, whose lines are whole unless others write."""
    process, thread = os.getpid(), threading.get_ident()
    reader = getattr(stream, "watch_fd_thread", None)  # reads what was written to the descriptor
    if reader is not None and reader.ident == thread:
        return "d"
    return "" if (process, thread) == _main else f"{process}t{thread}"


def marked(mark: str, source: str, text: str) -> str:
    """Return text with its source, which the client removes again.

    Args:
        mark: The marker by which the client recognises a source.
        source: The source, of letters and digits.
        text: The text that was written.
    """
    return f"\x1e{mark}{source}\x1e{text}\x1e{mark}\x1e"


def _spill_output(path: str, mark: str) -> None:
    """Keep what is printed in a file, too: a kernel that dies, or has run its last cell, cannot send it.

    The file has a JSON line for each piece, `[stream, source, text, id of the cell's request]`; the reader
    empties it before each cell.
    """
    global _spill, _mark, _main  # noqa: PLW0603 - a module of its own in each kernel
    if not _streams:
        _watch_output()
    _spill = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    _mark, _main = mark, (os.getpid(), threading.get_ident())

    def uncover() -> None:
        for each in _streams:
            vars(each).pop("write", None)

    import asyncio  # which the kernel has imported, and the session does not need

    # IPython overrides `write` while a cell runs, and then restores what it found before: not ours.
    with contextlib.suppress(RuntimeError):  # no cell is running
        asyncio.get_running_loop().call_soon(uncover)


def _peak_memory() -> int:
    """Return the peak memory of this process so far, in bytes."""
    try:  # not getrusage(): on Linux it starts from what the parent used when it started us
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except OSError:
        pass
    try:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    except ImportError:  # Windows
        import psutil  # type: ignore[import-untyped,unused-ignore]

        return int(psutil.Process().memory_info().peak_wset)
