"""What a Python kernel is told before the first cell.

Sent to the kernel as text, so it is standalone: no import of this package, which the kernel's
interpreter may not have, and nothing that stays in the flow's namespace.
"""

from __future__ import annotations

import logging
import sys
import sysconfig
import warnings

_PRINTED = "_ductaflow_printed"
_KEPT = 100  # records that are remembered
_logged: list[str] = []
_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class PrintWithLevel(logging.Handler):
    """The handler of last resort: a flow that configures no logging still has its records printed.

    A flow that does configure it (`logging.basicConfig`, handlers of its own) is left alone, because
    Python asks this handler only where there is no other. Records of WARNING and above begin with
    their level and count as warning lines; the others are the bare message, and only those of the
    project are printed: libraries have much to say at INFO.
    """

    def emit(self, record: logging.LogRecord) -> None:
        vars(record)[_PRINTED] = True
        if record.levelno < logging.WARNING and record.pathname.startswith(_INSTALLED):
            return
        text = self.format(record)
        if record.levelno < logging.WARNING:
            print(text, file=sys.stdout, flush=True)
        else:
            sign = "" if record.levelno < logging.ERROR else "\N{WARNING SIGN}\N{VARIATION SELECTOR-16} "
            print(f"{record.levelname}: {sign}{text}", file=sys.stderr, flush=True)


def remember_loud_records() -> None:
    """Keep the project's records of WARNING and above that its own handlers print, or put away.

    Those of libraries with handlers of their own stay where these libraries put them.
    """
    call_handlers = logging.Logger.callHandlers

    def remembering(logger: logging.Logger, record: logging.LogRecord) -> None:
        call_handlers(logger, record)
        counts = record.levelno >= logging.WARNING and not record.pathname.startswith(_INSTALLED)
        if counts and _PRINTED not in vars(record) and len(_logged) < _KEPT:
            _logged.append(f"{record.levelname}: {record.getMessage()}")

    logging.Logger.callHandlers = remembering  # type: ignore[assignment,method-assign]


def logged() -> list[str]:
    """The loud records that were not printed with their level first."""
    return list(_logged)


def stop_at_exit() -> None:
    """Let `exit()` end the flow, as it ends a script; a notebook's own only asks the front end to close."""
    shell = sys.modules["IPython"].get_ipython()
    shell.user_ns.update(exit=sys.exit, quit=sys.exit)


def prepare(folders: list[str]) -> None:
    """Print log records; let the flow import modules of its folder and of the project's root."""
    remember_loud_records()
    logging.lastResort = PrintWithLevel(logging.INFO)
    logging.getLogger().setLevel(logging.INFO)
    # IPython's advice for people at a prompt, on every sys.exit().
    warnings.filterwarnings("ignore", message="To exit: use")
    sys.path += [folder for folder in folders if folder not in sys.path]


def peak_memory() -> int:
    """The most memory that this process has used so far, in bytes."""
    try:  # not getrusage(): on Linux it begins with what the parent had when it started us
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
