"""A process that has imported what conductors import, pandas too, and forks a child for each (Linux).

    python -P tests/helpers/conductor_image.py SOCKET PARENT

Without pandas, children of a warm process for conductors do little more than import it. Standalone: `helpers`
is no module that conductors find imported.
"""

from __future__ import annotations

import gc
import importlib
import sys
from pathlib import Path

_FOR_EVER = 1e6  # seconds


def main(path: Path, parent: int) -> None:
    """Fork children until the process that has started this one ends."""
    from pytest_ductaflow.core.forking.place import CONDUCTORS
    from pytest_ductaflow.core.forking.server import listening, serve
    from pytest_ductaflow.core.system.orphans import share_fate_of
    from pytest_ductaflow.planning.processes.stay_warm import _IMPORTS

    share_fate_of(parent)
    for name in ("pandas", *(f"pytest_ductaflow.{name}" for name in _IMPORTS[CONDUCTORS])):
        importlib.import_module(name)
    gc.freeze()  # so that children do not copy these pages
    job = serve(listening(path), _FOR_EVER, lambda: None)
    if job is not None:
        sys.modules["numpy.random"].seed()  # type: ignore[attr-defined]
        importlib.import_module(job.module).main()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
