"""A process that has imported what sessions import, and forks a child for each (Linux).

    python tests/helpers/session_image.py SOCKET PARENT

`forked_sessions` starts it. Nothing is configured here: no session has begun, no server is started, and what
a session leaves in its process ends with it. Standalone: `helpers` is no module that sessions have imported.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import runpy
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

SESSION, WORKER = "pytest", "worker of xdist"  # what a request for a child says
OF_OTHERS = ("execnet.gateway", "execnet.multi", "pandas", "pdb", "tomllib")
OF_XDIST = ("xdist.dsession", "xdist.looponfail", "xdist.remote", "xdist.workermanage")
# What sessions import once they need it: to plan, to run instances, to end.
OURS = (
    *("kernels.start", "planning.afterwards.after", "planning.history.left_over_runs"),
    *("planning.history.stale_upstreams", "pytest_hooks.collection", "pytest_hooks.reporting"),
    *(
        "pytest_hooks.distribution.workload",
        "pytest_hooks.distribution.xdist_scheduler",
        "report.live",
        "report.terminal_summary",
    ),
    *("running.attempts", "running.clean_start", "running.execute", "running.html.instance_page"),
    *("running.remote.runner", "running.run_instance", "sources.parameters", "sources.tables"),
    *("tracking.inputs", "tracking.up_to_date"),
)
_FOR_EVER = 1e6  # seconds


def import_all() -> None:
    """Import pytest, its plugins as it does so itself, and what sessions import later."""
    from _pytest.config import _prepareconfig

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(folder)
        # Of plugins that were imported before, pytest says that it cannot rewrite their assertions.
        config = _prepareconfig(["-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", folder])
        for name in OF_XDIST:
            importlib.import_module(name)
        config._ensure_unconfigure()
        for name in (*OF_OTHERS, *(f"pytest_ductaflow.{name}" for name in OURS)):
            importlib.import_module(name)
        os.chdir("/")
    sys.path_importer_cache.pop(folder, None)


def begin_anew() -> None:
    """Have what `python -m` has, and what modules note of their process when they are imported."""
    before, now = path_variable_at_start, os.environ.get("PYTHONPATH", "")
    sys.path[0] = os.getcwd()
    if now != before:
        sys.path[1:1] = [os.path.abspath(folder) for folder in now.split(os.pathsep)]
    sys.modules["xdist.plugin"]._sys_path[:] = sys.path  # type: ignore[attr-defined]
    sys.modules["pytest_ductaflow.kernels.server_pool"].servers.begin_anew()  # type: ignore[attr-defined]
    if (context := sys.modules.get("pytest_ductaflow.api.call_context")) is not None:
        context._started_in = os.getcwd()  # type: ignore[attr-defined]
    sys.modules["numpy.random"].seed()  # type: ignore[attr-defined]


path_variable_at_start = os.environ.get("PYTHONPATH", "")


def fork_workers(image: Path) -> None:
    """Have the session's workers forked from here, too: they import the same."""
    from execnet import gateway_io

    from pytest_ductaflow.core.forking.client import WarmProcess

    master = gateway_io.Popen2IOMaster
    from_nothing = master.__init__
    usual = [[sys.executable, "-u", *flags, "-c", gateway_io.popen_bootstrapline] for flags in ([], ["-B"])]

    def start(self: Any, args: list[str], execmodel: Any) -> None:
        if args not in usual:
            from_nothing(self, args, execmodel)
            return
        (reader, to_worker), (from_worker, writer) = os.pipe(), os.pipe()
        try:
            self.popen = WarmProcess(image).popen(
                WORKER, [], folder=Path.cwd(), environment=os.environ, stdin=reader, stdout=writer, stderr=2
            )
        finally:
            os.close(reader)
            os.close(writer)
        ours = (os.fdopen(to_worker, "wb"), os.fdopen(from_worker, "rb"))
        gateway_io.Popen2IO.__init__(self, *ours, execmodel)

    master.__init__ = start  # type: ignore[method-assign]


def work(what: str, image: Path) -> None:
    """Do in a child what `python -m pytest` does, or what xdist has a worker do."""
    begin_anew()
    fork_workers(image)
    if what == SESSION:
        runpy.run_module("pytest", run_name="__main__", alter_sys=True)
        return
    sys.argv[:], sys.path[0] = ["-c"], ""
    sys.modules["__main__"] = main_module = types.ModuleType("__main__")
    exec(eval(sys.stdin.readline()), vars(main_module))


def main(path: Path, parent: int) -> None:
    """Fork children until the process that has started this one ends."""
    from pytest_ductaflow.core.forking.server import listening, serve
    from pytest_ductaflow.core.system.orphans import share_fate_of

    share_fate_of(parent)
    import_all()
    gc.collect()
    gc.freeze()  # so that children do not copy these pages
    job = serve(listening(path), _FOR_EVER, lambda: None)
    if job is not None:
        work(job.module, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
