"""The flow for deployments and schedules: pytest runs a conductor, its instances become task runs.

Prefect loads this file by its path, so that relative imports would not work in it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_ductaflow.core.errors import SweepFailed
from pytest_ductaflow.core.instance import slug
from pytest_ductaflow.core.settings import FLOW_RUN
from pytest_ductaflow.report.prefect.api import AUTH, DISABLED, KEY, is_disabled

_PATIENCE = 20.0  # seconds that pytest has to end when the flow run is cancelled; Prefect waits for 30
_LAST_LINE = re.compile(r"=+ (.*\S) =+")
_LAST = 5  # lines that say why pytest could not begin
_EXIT_CODES = {2: "it was interrupted", 5: "nothing was selected"}


def _as_flow(function: Callable[..., object]) -> Any:
    """Return a function as a Prefect flow, or as it is if Prefect is switched off.

    Raises:
        ImportError: If Prefect is not installed.
    """
    if is_disabled(os.environ):
        return function
    try:
        from prefect import flow
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "prefect":
            raise
        raise ImportError(
            'conductor_flow needs Prefect: pip install "pytest-ductaflow[prefect]" (or set '
            f"{DISABLED}=1, which makes it a plain function that runs pytest)"
        ) from None
    return flow(name="conductor")(function)


@_as_flow
def conductor_flow(
    conductor: str,
    select: str = "",
    steps: list[str] | None = None,
    where: str = "",
    options: list[str] | None = None,
    overrides: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> Any:
    """Run a conductor's instances, as `pytest --ductaflow` does; each becomes a task run of this flow run.

    Args:
        conductor: Path of the conductor, control table, flow, run directory or folder.
        select: Expression of pytest's `-k`.
        steps: Steps to run; all if there are none.
        where: Expression of `--ductaflow-where`.
        options: Further options of pytest, such as `["-n", "auto", "--ductaflow-force"]`.
        overrides: Settings of the ini file and other values for them (pytest's `-o`).
        environment: Environment variables for the conductor and its flows.

    Returns:
        How many instances ended in which way, as pytest says it; in a flow run, a failed state if some
        failed, or nothing could be run.

    Raises:
        SweepFailed: The same, where Prefect is switched off.
    """
    path = Path(conductor)
    if not path.exists():
        raise FileNotFoundError(f"conductor {conductor!r} is not there, seen from {Path.cwd()}")
    command = [sys.executable, "-m", "pytest", "--ductaflow"]
    command += [f"{conductor}::{slug(step)}" for step in steps or ()] or [conductor]
    command += ["-k", select] if select else []
    command += ["--ductaflow-where", where] if where else []
    for name, value in (overrides or {}).items():
        command += ["-o", f"{name}={value}"]
    run = _flow_run()
    command += [*(options or ()), *(run.options if run is not None else ())]
    variables = {**os.environ, **(environment or {}), **(run.variables if run is not None else {})}
    tell = run.tell if run is not None else print
    lines: list[str] = []
    with _pytest(command, variables) as process:
        for line in _lines_of(process):
            tell(line)
            lines.append(line)
            del lines[:-100]
    return _result(process.returncode, lines, run)


def _result(exit_code: int, lines: list[str], run: _FlowRun | None) -> Any:
    """Return pytest's last line, or a failed state with it.

    Raises:
        SweepFailed: If it failed, and there is no flow run.
    """
    last = next((found[1] for line in reversed(lines) if (found := _LAST_LINE.fullmatch(line))), "")
    if exit_code == 0:
        return last
    if exit_code == 1:
        message = last or "some instances failed"
    else:
        why = _EXIT_CODES.get(exit_code) or "; ".join(line.strip() for line in lines[-_LAST:] if line.strip())
        message = f"pytest ended with exit code {exit_code}: {why}"
    if run is None:
        raise SweepFailed(message)
    from prefect.states import Failed

    return Failed(message=message)


@dataclass(frozen=True)
class _FlowRun:
    """The flow run around this code.

    Attributes:
        options: Options with which pytest shows its instances in it.
        variables: Environment variables for that.
        tell: Function that writes a line to its log.
    """

    options: tuple[str, ...]
    variables: Mapping[str, str]
    tell: Callable[[str], None]


def _flow_run() -> _FlowRun | None:
    """Return the flow run around this code; None if there is none."""
    if is_disabled(os.environ):
        return None
    from prefect import get_run_logger
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY

    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return None
    with get_client(sync_client=True) as client:  # also of a server that Prefect has started for this run
        address = str(client.api_url).rstrip("/")
    said = {
        name: setting.value() for name, setting in ((KEY, PREFECT_API_KEY), (AUTH, PREFECT_API_AUTH_STRING))
    }
    secrets = {
        name: value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        for name, value in said.items()
        if value
    }
    variables = {FLOW_RUN: str(context.flow_run.id), **secrets}
    return _FlowRun(("--ductaflow-prefect", address), variables, get_run_logger().info)


def _pytest(command: list[str], variables: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        env={**variables, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


def _lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield the lines that a process prints; end it if this code is to end."""
    try:
        for line in process.stdout or ():
            yield line.rstrip("\n")
        process.wait()
    except BaseException as error:
        if not isinstance(error, KeyboardInterrupt):  # which has reached it as well
            process.send_signal(signal.SIGINT) if os.name == "posix" else process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
