"""Say why a kernel has died: killed, for lack of memory, or ended by itself."""

from __future__ import annotations

from ...core.number_text import in_bytes
from ...core.system.child_process import signal_name
from ...kernels.base import Kernel
from ...kernels.out_of_memory import killed_for_memory

_SIGKILL = 9  # not defined on Windows


def death_of_kernel(kernel: Kernel, exit_code: int | None, killed: int | None) -> str:
    """Return a message on how a kernel ended that should not have ended.

    Args:
        kernel: The kernel.
        exit_code: Its exit code, negative for a signal; None if it is not known.
        killed: Result of `killed_for_memory` from before the kernel began.
    """
    if kernel.lost:
        said = f"the helper process that {kernel.lost} was killed, and the kernel with it"
    elif exit_code is None:
        return "the kernel died"
    elif exit_code >= 0:
        return f"the kernel ended with exit code {exit_code}"
    else:
        said = f"the kernel was killed by {signal_name(-exit_code)}"
        if exit_code != -_SIGKILL:
            return said
    peak = f"; the kernel had used up to {in_bytes(kernel.peak_memory)}" if kernel.peak_memory else ""
    now = killed_for_memory()
    if killed is None or now is None:
        return f"{said}\n(as the system does when memory runs out{peak})"
    if now > killed:
        return f"{said}: the system has killed a process because memory ran out{peak}"
    return f"{said}\n(as batch systems do; the system itself tells of no kill for lack of memory{peak})"
