"""Define the calls that a Python kernel runs before the first cell and after the last one.

The modules of `inside` run in the kernel. A forked kernel has them already and gets only the calls; an
ordinary one gets the modules as text.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from ..core.settings import LogWarningsMode, ObserveMode
from .inside import debugging, kept, safe_streams, setup, trace, traceback_cut
from .observer.process import OBSERVED

Call: TypeAlias = tuple[str, str, list[Any]]  # a module, its function, arguments

_KERNEL, _TRACE, _TRACEBACK = "_ductaflow_kernel", "_ductaflow_trace", "_ductaflow_traceback"
_STREAMS, _DEBUGGING, _KEPT = "_ductaflow_streams", "_ductaflow_debugging", "_ductaflow_kept"
MODULES = {
    _KERNEL: setup.__file__,
    _TRACE: trace.__file__,
    _TRACEBACK: traceback_cut.__file__,
    _STREAMS: safe_streams.__file__,
    _DEBUGGING: debugging.__file__,
    _KEPT: kept.__file__,
}
FINAL_CALLS: list[Call] = [(_KERNEL, "final_report", []), (_TRACE, "used", [])]

# This leaves nothing in the flow's namespace.
_LOAD = """\
for _name, _source in {sources!r}.items():
    _module = __import__("types").ModuleType(_name)
    exec(compile(_source, "ductaflow", "exec"), vars(_module))
    __import__("sys").modules[_name] = _module
del _name, _source, _module
"""


@dataclass(frozen=True)
class Setup:
    """The setup of a kernel.

    Attributes:
        folders: Folders from which the flow imports, besides its run directory.
        spill: A file for what the running cell prints.
        trace: A file for what the flow uses.
        observe: How much of that is recorded, as in `Settings`.
        report: A file for an observer's report.
        log_warnings: Which log records change the report's light, as in `Settings`.
        heard: A file in which the client counts what it has read; None if the kernel does not wait for it.
        mark: A marker in the kernel's output, before the identification of the source that printed.
        has_terminal: Whether the client answers the kernel's questions, so that a debugger can stop there.
    """

    folders: tuple[str, ...]
    spill: Path
    trace: Path
    observe: ObserveMode
    report: Path
    log_warnings: LogWarningsMode = "shown"
    read_counter: Path | None = None
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    has_terminal: bool = False

    @property
    def calls(self) -> list[Call]:
        """The calls for a kernel that has the modules."""
        read_counter = None if self.read_counter is None else str(self.read_counter)
        arguments = [list(self.folders), str(self.spill), self.mark, self.log_warnings, read_counter]
        calls: list[Call] = [
            (_KERNEL, "prepare", arguments),
            (_TRACEBACK, "cut_tracebacks", []),
            (_STREAMS, "keep_replying", []),
            (_DEBUGGING, "offer_breakpoints", [self.has_terminal]),
        ]
        return calls if self.observe == "off" else [*calls, (_TRACE, "begin", [str(self.trace)])]

    @property
    def calls_if_observed(self) -> list[Call]:
        """The calls for a kernel that is fully observed from now on."""
        return [(_TRACE, "leave_files_to_observer", [])]

    @property
    def code(self) -> str:
        """The code for a kernel that does not have the modules."""
        sources = {name: Path(str(path)).read_text(encoding="utf-8") for name, path in MODULES.items()}
        calls = "".join(f"{_code(call)}\n" for call in self.calls)
        if_observed = "; ".join(map(_code, self.calls_if_observed))
        condition = f"if __import__('os').environ.pop({OBSERVED!r}, None): {if_observed}\n"
        return _LOAD.format(sources=sources) + calls + condition


def final_report_code() -> str:
    """Return an expression that evaluates to the final report as JSON."""
    calls = [*FINAL_CALLS, (_TRACE, "leave_searches_to_observer", [])]
    return f"__import__('json').dumps([{', '.join(map(_code, calls))}][:{len(FINAL_CALLS)}])"


def post_mortem_code() -> str:
    """Return the code that opens a debugger where the last error was raised."""
    return _code((_DEBUGGING, "post_mortem", []))


def keep_code(folder: str, idle: float) -> str:
    """Return the code that makes a kernel stay; for the arguments see `inside.kept.stay`."""
    return _code((_KEPT, "stay", [folder, idle]))


def _code(call: Call) -> str:
    module, function, arguments = call
    return f"__import__({module!r}).{function}({', '.join(map(repr, arguments))})"
