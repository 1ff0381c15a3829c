"""What a Python kernel is told before the first cell.

Sent to the kernel as text, so it is standalone: no import of this package, which the kernel's
interpreter may not have, and nothing that stays in the flow's namespace.
"""

from __future__ import annotations

import logging
import sys
import sysconfig

_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class PrintWithLevel(logging.Handler):
    """The handler of last resort: a flow that configures no logging still has its records printed.

    A flow that does configure it (`logging.basicConfig`, handlers of its own) is left alone, because
    Python asks this handler only where there is no other. Records of WARNING and above begin with
    their level and count as warning lines; the others are the bare message, and only those of the
    project are printed: libraries have much to say at INFO.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING and record.pathname.startswith(_INSTALLED):
            return
        text = self.format(record)
        if record.levelno < logging.WARNING:
            print(text, file=sys.stdout, flush=True)
        else:
            sign = "" if record.levelno < logging.ERROR else "\N{WARNING SIGN}\N{VARIATION SELECTOR-16} "
            print(f"{record.levelname}: {sign}{text}", file=sys.stderr, flush=True)


def prepare(folders: list[str]) -> None:
    """Print log records; let the flow import modules of its folder and of the project's root."""
    logging.lastResort = PrintWithLevel(logging.INFO)
    logging.getLogger().setLevel(logging.INFO)
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
