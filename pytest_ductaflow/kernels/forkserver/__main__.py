"""Run the fork server: `python -m pytest_ductaflow.kernels.forkserver CONFIG`, see `server.serve`."""

from __future__ import annotations

import json
import os
import sys

if sys.path[0] in ("", os.getcwd()):  # as `ipykernel_launcher` does with the entry of -m
    del sys.path[0]

from . import kernel_app, server


def _leave_no_trace() -> None:
    """Remove our modules from sys.modules so flows can import the package normally."""
    package = __package__.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


if __name__ == "__main__":
    config = json.loads(sys.argv[1])
    folder = os.getcwd()
    app = kernel_app.make_app(config["modules"])
    _leave_no_trace()
    server.serve(app, folder, config["lifeline"])
