"""Run the fork server: `python -m pytest_ductaflow.kernels.forkserver CONFIG`, see `server.serve`."""

from __future__ import annotations

import json
import os
import sys

if sys.path[0] in ("", os.getcwd()):  # as `ipykernel_launcher` does with the entry of -m
    del sys.path[0]

# There is no debugger for hundreds of instances, and its import takes long.
sys.modules["debugpy"] = None  # type: ignore[assignment]

from ...core.forking.freshness import Imports  # noqa: E402
from . import kernel_app, server  # noqa: E402

del sys.modules["debugpy"]


def _leave_no_trace() -> None:
    """Remove our modules from sys.modules so flows can import the package normally."""
    package = __package__.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


if __name__ == "__main__":
    config = json.loads(sys.argv[1])
    folder = os.getcwd()
    imports = Imports(watches=True) if config["notes_imports"] else None
    app = kernel_app.make_app(config["modules"])
    _leave_no_trace()
    if imports is not None:
        imports.write(folder)
    server.serve(app, folder, lifeline=config["lifeline"], listener=config["listener"], imports=imports)
