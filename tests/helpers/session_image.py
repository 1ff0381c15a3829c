"""A process that has imported what sessions import, and forks a child for each (Linux).

    python tests/helpers/session_image.py SOCKET PARENT

`forked_sessions` starts it. Nothing is configured here: no session has begun, and what a session leaves in
its process ends with it. Sessions share what has no state of theirs: a server of kernels, whose templates
run no code of flows, a process from which conductors are forked, and this one for what writes their pages and
runs flows of builds.
Standalone: `helpers` is no module that sessions have imported.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import os
import runpy
import subprocess
import sys
import tempfile
import threading
import types
from pathlib import Path
from typing import Any, NoReturn

# What a request for a child says: `python -m pytest`, what xdist starts, any other Python command.
SESSION, WORKER, COMMAND = "pytest", "worker of xdist", "python"
OF_OTHERS = (
    *("_pytest.stepwise", "execnet.gateway", "execnet.multi", "faulthandler", "pandas", "pdb", "tomllib"),
)
OF_XDIST = ("xdist.dsession", "xdist.looponfail", "xdist.remote", "xdist.workermanage")
# What sessions import once they need it: to plan, to run instances, to end.
OURS = (
    *("kernels.start_kernel", "planning.afterwards.after", "planning.history.left_over_runs"),
    *("planning.history.stale_upstreams", "pytest_hooks.collection", "pytest_hooks.reporting"),
    *(
        "pytest_hooks.distribution.workload",
        "pytest_hooks.distribution.xdist_scheduler",
        "report.live",
        "report.terminal_summary",
    ),
    *("running.attempts", "running.clean_start", "running.flow_run", "running.html.instance_page"),
    *("pytest_hooks.stopping", "running.html.notebook_html", "running.children.rehearsal"),
    *(
        "running.children.runner",
        "running.run_instance",
        "sources.parameters_cell.parameters",
        "sources.tables",
    ),
    *("tracking.inputs", "tracking.up_to_date"),
)
_FOR_EVER = 1e6  # seconds
_PATIENCE = 300.0  # seconds for an answer; only a bug takes that long


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


def rehearse() -> None:
    """Have libraries import and compile what they do only when they are first used."""
    from pytest_ductaflow.running.children import rehearsal
    from pytest_ductaflow.running.html.notebook_html import stylesheet

    rehearsal.rehearse()
    ours = [module for name, module in sys.modules.items() if name.startswith("pytest_ductaflow.")]
    for value in [value for module in ours for value in vars(module).values()]:
        if hasattr(value, "cache_clear"):  # what has been looked up belongs to no session
            value.cache_clear()
    stylesheet()


class Shared:
    """What this process has for all sessions: see above.

    Args:
        image: The socket of this process.
    """

    def __init__(self, image: Path) -> None:
        from pytest_ductaflow.kernels.server_pool import kernel_environment, servers

        self.image, self.conductors = image, image.with_name("conductors")
        self._path_variable = os.environ.get("PYTHONPATH", "")
        script = Path(__file__).with_name("conductor_image.py")
        command = [sys.executable, "-P", str(script), str(self.conductors), str(os.getpid())]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        servers.start(kernel_environment({}))
        [(self._key, self._server)] = servers._servers.items()

    def wait(self) -> None:
        """Wait until the server of kernels takes requests."""
        assert self._server.socket

    def share(self) -> None:
        """Have this child of the image use it, where that is what it would start itself."""
        from pytest_ductaflow.core.forking.client import WarmProcess
        from pytest_ductaflow.kernels.server_pool import GivenServer, servers
        from pytest_ductaflow.planning.processes import pool
        from pytest_ductaflow.running.children.image import fork_runners_from
        from pytest_ductaflow.running.html.instance_page import fork_writer_from

        servers.begin_anew()
        servers._servers[self._key] = GivenServer(self._server.path)
        if self._server._life is not None:
            os.close(self._server._life)  # which only the image is to hold
        fork_writer_from(WarmProcess(self.image, _PATIENCE))
        fork_runners_from(str(self.image))
        if os.environ.get("PYTHONPATH", "") == self._path_variable:
            pool.find = lambda _: WarmProcess(self.conductors, _PATIENCE)  # type: ignore[assignment]


def begin_anew(shared: Shared) -> None:
    """Have what `python -m` has, and what modules note of their process when they are imported."""
    before, now = path_variable_at_start, os.environ.get("PYTHONPATH", "")
    sys.path[0] = os.getcwd()
    if now != before:
        sys.path[1:1] = [os.path.abspath(folder) for folder in now.split(os.pathsep)]
    sys.modules["xdist.plugin"]._sys_path[:] = sys.path  # type: ignore[attr-defined]
    shared.share()
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
            self.popen = WarmProcess(image, _PATIENCE).popen(
                WORKER, [], folder=Path.cwd(), environment=os.environ, stdin=reader, stdout=writer, stderr=2
            )
        finally:
            os.close(reader)
            os.close(writer)
        ours = (os.fdopen(to_worker, "wb"), os.fdopen(from_worker, "rb"))
        gateway_io.Popen2IO.__init__(self, *ours, execmodel)

    master.__init__ = start  # type: ignore[method-assign]


def work(what: str, shared: Shared) -> None:
    """Do in a child what a Python command does, or what xdist has a worker do, or run a module's `main`."""
    if what not in (SESSION, WORKER, COMMAND):
        del sys.path[0]  # the folder of this file
        importlib.import_module(what).main()
        return
    begin_anew(shared)
    fork_workers(shared.image)
    if what == SESSION:
        runpy.run_module("pytest", run_name="__main__", alter_sys=True)
        return
    if what == COMMAND:
        run_command(*sys.argv[1:])
        return
    sys.argv[:], sys.path[0] = ["-c"], ""
    sys.modules["__main__"] = main_module = types.ModuleType("__main__")
    exec(eval(sys.stdin.readline()), vars(main_module))


def run_command(first: str, *rest: str) -> None:
    """Run a script, a module (`-m`) or code (`-c`) as Python does with such a command line."""
    main_module = sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        if first == "-m":
            sys.argv[:] = rest
            runpy._run_module_as_main(rest[0])  # type: ignore[attr-defined]
            return
        if first == "-c":
            sys.path[0], sys.argv[:] = "", ["-c", *rest[1:]]
            code = compile(rest[0], "<string>", "exec")
        else:
            sys.path[0], sys.argv[:] = os.path.dirname(os.path.realpath(first)), [first, *rest]
            main_module.__file__ = os.path.abspath(first)
            code = compile(Path(first).read_bytes(), main_module.__file__, "exec")
        exec(code, vars(main_module))
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next  # what Python itself has done
        sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        leave(1)


def leave(code: int) -> NoReturn:
    """End a child as Python does, but without taking apart each of the modules of the image."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def main(path: Path, parent: int) -> None:
    """Fork children until the process that has started this one ends."""
    from pytest_ductaflow.core.forking.server import listening, serve
    from pytest_ductaflow.core.system.orphans import share_fate_of

    share_fate_of(parent)
    import_all()
    shared = Shared(path)
    rehearse()
    shared.wait()
    gc.collect()
    gc.freeze()  # so that children do not copy these pages
    job = serve(listening(path), _FOR_EVER, lambda: None)
    if job is None:
        return
    try:
        work(job.module, shared)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        leave(end.code if isinstance(end.code, int) else int(end.code is not None))
    leave(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
