"""Start an instance's kernel: a forked one where that makes no difference, else an ordinary one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import DuctaflowError, KernelStartError, ServerStuck
from ..core.instance import Instance
from ..core.settings import Settings
from ..core.system.machine import has_idle_core
from ..sources.notebooks import Source, read_flow
from . import self_test
from .base import Kernel, Spec
from .choose import choose_kernel
from .forked import ForkedKernel, can_fork
from .ordinary import OrdinaryKernel
from .preloading.preload import Preload, preload_of, preload_of_code
from .server_pool import environment_of, server_environment, servers
from .setup_calls import Setup

preloaded: dict[tuple[str, ...], None] = {}  # what kernels of this process found imported, the latest last
_complaints: set[str] = set()  # already reported by this process
_lock = threading.Lock()  # of these two


def start_kernel(
    name: str,
    spec: Spec,
    source: Source,
    instance: Instance,
    settings: Settings,
    environment: Mapping[str, str],
    setup: Setup,
    folder: str,
) -> tuple[Kernel, str | None]:
    """Start the kernel of an instance in its working directory.

    Args:
        name: The kernel's name.
        spec: The kernelspec installed under that name.
        source: The flow.
        instance: The instance.
        settings: Whether kernels are forked, and which modules are preloaded.
        environment: Its whole environment.
        setup: The setup that runs before the first cell.
        folder: A private folder for the kernel's files.

    Returns:
        The kernel, and why it could not be forked, unless that was reported before.

    Raises:
        RuntimeError, OSError: If it cannot be started.
    """
    complaint = None
    if settings.fork and can_fork(spec):
        preload = _preload_of(source, instance, settings)
        if preload.forkable:
            try:
                return _forked(preload.modules, instance.working_directory, environment, setup), None
            except KernelStartError as error:
                complaint = _said_once(f"{error}; ordinary kernels are used")
    report = setup.report if setup.observe == "all" else None
    cwd = instance.working_directory
    return OrdinaryKernel(name, cwd=cwd, env=environment, folder=folder, report=report), complaint


def prepare_kernel(instance: Instance, settings: Settings) -> None:
    """Have the server get a kernel ready that an instance is about to ask for, if it can be forked."""
    if not (settings.fork and has_idle_core()):
        return
    with contextlib.suppress(DuctaflowError):  # the flow cannot be started, as its run will report
        source = read_flow(Path(instance.flow))
        spec = choose_kernel(source, instance.kernel_name, settings.kernel).spec
        preload = _preload_of(source, instance, settings)
        if can_fork(spec) and preload.forkable:
            servers.prepare(preload.modules, environment_of(instance, settings))


def prepare_likely_kernel(instance: Instance, settings: Settings) -> None:
    """Do the same from the text of a flow, before the libraries that read notebooks are imported.

    It is a guess: a kernel that needs other modules gets these when the instance asks for it.
    """
    flow = Path(instance.flow)
    if flow.suffix != ".py" or not (settings.fork and has_idle_core()):
        return
    with contextlib.suppress(OSError, UnicodeDecodeError):
        code = flow.read_text(encoding="utf-8-sig")
        root, cwd = Path(instance.project_root), Path(instance.working_directory)
        extra, without = settings.preload, settings.no_preload
        preload = preload_of_code((code,), flow.parent, root, cwd, extra=extra, without=without)
        if preload.forkable:
            servers.prepare(preload.modules, environment_of(instance, settings))


def _preload_of(source: Source, instance: Instance, settings: Settings) -> Preload:
    root, cwd = Path(instance.project_root), Path(instance.working_directory)
    return preload_of(source, root, cwd, extra=settings.preload, without=settings.no_preload)


def _forked(modules: tuple[str, ...], cwd: str, environment: Mapping[str, str], setup: Setup) -> ForkedKernel:
    server = servers.socket(environment)
    if (problem := self_test.problem_of(server)) is not None:
        why = f"forked kernels do not work with the installed libraries: {problem}"
        servers.give_up(environment, why)
        raise KernelStartError(why)
    with _lock:
        preloaded.pop(modules, None)
        preloaded[modules] = None
    own = {**environment, **server_environment(server, environment)}
    try:
        return ForkedKernel(server, preload=modules, cwd=cwd, env=own, spare=has_idle_core(), setup=setup)
    except ServerStuck as error:
        servers.give_up(environment, str(error))  # else each instance would wait as long
        raise


def _said_once(complaint: str) -> str | None:
    with _lock:
        if complaint in _complaints:
            return None
        _complaints.add(complaint)
        return complaint
