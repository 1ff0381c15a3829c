"""A local Dask cluster in a process of its own, which ends with the process that has started it.

`python -m pytest_ductaflow.running.engines.dask.cluster CONFIG` is that process. It prints the address of the
scheduler, and ends when its standard input does.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ....core.errors import EngineError

_START = 120.0  # seconds for the cluster to start
_PATIENCE = 10.0  # seconds for the cluster to end
_CLOSE = 5.0  # seconds that it gives its workers
_FAILURES = 1_000_000  # workers that may be lost with a task: attempts are counted elsewhere


class LocalCluster:
    """A scheduler and workers on this machine, each worker a process with one thread.

    Args:
        workers: Number of workers.

    Attributes:
        address: Address of the scheduler.

    Raises:
        EngineError: If it does not start.
    """

    def __init__(self, workers: int) -> None:
        self._folder = tempfile.mkdtemp(prefix="ductaflow-dask-")
        self._errors = Path(self._folder, "errors")
        config = json.dumps({"workers": workers, "folder": self._folder})
        environment = {name: text for name, text in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        with open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, config],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for the session, which says what is to end
            )
        try:
            self.address = self._told()
        except BaseException:
            self.close()
            raise

    def _told(self) -> str:
        """Wait for the address.

        Raises:
            EngineError: If there is none.
        """
        stream = self._process.stdout
        timer = threading.Timer(_START, self._process.kill)
        timer.start()
        address = stream.readline().strip() if stream is not None else ""
        timer.cancel()
        if not address:
            lines = self._errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise EngineError(
                f"the local Dask cluster did not start: {lines[-1] if lines else 'it is silent'}"
            )
        return address

    @property
    def pid(self) -> int:
        """The process with the scheduler."""
        return self._process.pid

    def close(self) -> None:
        """End the cluster with all that it runs."""
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._kill()

    def _kill(self) -> None:
        """Kill whatever is left of its process group, whose leader may have ended."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def main() -> None:
    """Start the cluster, print its address, and end it when the session closes standard input, or ends."""
    config = json.loads(sys.argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import dask
    import distributed

    dask.config.set(
        {
            "distributed.scheduler.allowed-failures": _FAILURES,
            "distributed.nanny.pre-spawn-environ": {},
        }
    )
    cluster = distributed.LocalCluster(
        n_workers=config["workers"],
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
        memory_limit=0,
        local_directory=config["folder"],
    )
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
    with contextlib.suppress(Exception):
        cluster.close(timeout=_CLOSE)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
