"""Find out from the code of a flow whether a debugger may open in it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ...core.instance import Instance

_CALLS = (b"breakpoint(", b"set_trace(")


def may_stop(instance: Instance) -> bool:
    """Return whether a flow calls a debugger; of a build, whether a flow in the project's `flows/` does."""
    flow = Path(instance.flow)
    flows = (Path(instance.project_root) / "flows").rglob("*.py") if instance.is_build else ()
    return any(map(_calls_debugger, (flow, *flows)))


def _calls_debugger(path: Path) -> bool:
    with contextlib.suppress(OSError):
        code = path.read_bytes()
        return any(call in code for call in _CALLS)
    return False
