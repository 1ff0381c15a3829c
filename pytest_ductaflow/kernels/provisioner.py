"""Provide forked kernels to any Jupyter client, through an entry point of jupyter_client."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from multiprocessing.connection import wait
from typing import Any

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning import LocalProvisioner
from traitlets import List, Unicode

from ..core.errors import KernelStartError
from .forked import ForkedKernel, can_fork
from .server_pool import servers


class ForkProvisioner(LocalProvisioner):  # type: ignore[misc]
    """A provisioner of forked kernels for any Jupyter client.

    In a kernelspec: `"metadata": {"kernel_provisioner": {"provisioner_name": "ductaflow-fork"}}`; a
    `"config": {"preload": ["pandas"]}` beside the name lists the modules to preload. The server chooses the
    sockets on which the kernel listens. If forking is not possible, the kernel is an ordinary one.
    """

    preload = List(Unicode(), help="Modules that the kernels find imported.", config=True)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        spec = KernelSpec(argv=[*cmd[:-1], "{connection_file}"] if "-f" in cmd else cmd)
        environment = kwargs.get("env") or os.environ
        try:
            if not can_fork(spec):
                raise KernelStartError("not a kernel of this interpreter")
            kernel = await asyncio.to_thread(
                lambda: ForkedKernel(
                    servers.socket(environment),
                    preload=self.preload,
                    cwd=kwargs.get("cwd") or os.getcwd(),
                    env=environment,
                    argv=cmd[2:],
                )
            )
        except KernelStartError:
            return dict(await super().launch_kernel(cmd, **kwargs))
        self.process, self.pid = _AsPopen(kernel), kernel.pid
        self.connection_info = {**kernel.connection, "key": kernel.connection["key"].encode()}
        return dict(self.connection_info)


class _AsPopen:
    """A forked kernel with the methods of `Popen` that jupyter_client expects."""

    stdin = stdout = stderr = None

    def __init__(self, kernel: ForkedKernel) -> None:
        self.kernel = kernel
        self.pid = kernel.pid

    def poll(self) -> int | None:
        while not self.kernel.has_lost_server and wait([self.kernel.fileno()], 0):
            self.kernel.look()
        return -signal.SIGKILL if self.kernel.has_lost_server else self.kernel.exit_code

    def wait(self, timeout: float | None = None) -> int | None:
        while (code := self.poll()) is None:
            if not wait([self.kernel.fileno()], timeout):
                raise subprocess.TimeoutExpired("kernel", timeout or 0.0)
        self.kernel.close()
        return code

    def send_signal(self, number: int) -> None:
        self.kernel.signal(number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
