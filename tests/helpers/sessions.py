"""Run sessions, and wait for what they do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from helpers.forked_sessions import ForkedSession, can_be_forked, run_forked
from pytest_ductaflow.core.forking import place

# Hypothesis' plugin imports all of Hypothesis at the end of each session, which takes half a second.
WITHOUT_HYPOTHESIS = "-p no:hypothesispytest"
OTHER_PLUGINS = ("html", "metadata", "rerunfailures")  # which take a third of the time of a short session
WITHOUT_PAGES = "-o ductaflow_html=none"  # pages of notebooks import nbconvert, which takes longer still


def interruptible() -> None:
    """Let a new process react to Ctrl-C and hang-ups: background jobs and `nohup` make it ignore them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextlib.contextmanager
def running(
    folder: Path, *command: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process group of its own, which reacts to Ctrl-C, and kill it in the end (POSIX)."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=own_environment() if environment is None else environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=interruptible,  # noqa: PLW1509
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def own_environment(*, pages: bool = False, plugins: bool = False, **more: str) -> dict[str, str]:
    """Return the environment for a separate session, without that of the pytest, or CI service, around it.

    Args:
        pages: Whether notebooks become HTML pages, as they do for users.
        plugins: Whether the other plugins that are installed for tests are there.
        more: Further variables.
    """
    around = ("PYTEST_", "COV_", "GITHUB_", "CI")
    given = {name: value for name, value in os.environ.items() if not name.startswith(around)}
    options = [WITHOUT_HYPOTHESIS]
    options += [] if pages else [WITHOUT_PAGES]
    options += [] if plugins else [f"-p no:{name}" for name in OTHER_PLUGINS]
    return {**given, "PYTEST_ADDOPTS": " ".join(options), **more}


def warm_up() -> None:
    """Start the warm processes that serve this process."""
    code = "from pytest_ductaflow.planning.processes.stay_warm import leave_behind; leave_behind(600)"
    subprocess.run([sys.executable, "-c", code], check=True)


@contextlib.contextmanager
def warm_for_conductors(name: str) -> Iterator[dict[str, str]]:
    """Have a warm process for conductors (Linux); yield the variables with which a process uses it.

    Args:
        name: Only those who know it use it.
    """
    variables = {"PYTHON_OF_TESTS": f"{name} of {os.getpid()}"}
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in variables.items():
            patch.setenv(variable, value)
        path = place.socket_of(place.CONDUCTORS, make=True)
        script = Path(__file__).with_name("conductor_image.py")
        command = [sys.executable, "-P", str(script), str(path), str(os.getpid())]
        process = subprocess.Popen(command, cwd="/", start_new_session=True)
        wait_for(lambda: place.find(place.CONDUCTORS), "a warm process")
    try:
        yield variables
    finally:
        process.kill()
        process.wait()
        path.unlink(missing_ok=True)


T = TypeVar("T")
PATIENCE = 60.0  # seconds; only a bug waits that long


def wait_for(look: Callable[[], T | None], what: str) -> T:
    """Call a function until it returns something other than None."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(0.02)
    pytest.fail(f"waited {PATIENCE:g} s for {what}")


def is_gone(pid: int) -> bool | None:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return None


def run_session(
    folder: Path,
    *args: object,
    is_real: bool = False,
    environment: Mapping[str, str] | None = None,
    timeout: float = 300.0,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run `python -m pytest` in a folder, as a user would; for the arguments see `run_python`."""
    return run_python(
        *(folder, "-m", "pytest", *args),
        is_real=is_real,
        environment=environment,
        timeout=timeout,
        **variables,
    )


def start_session(
    folder: Path, *arguments: str, is_real: bool = False
) -> subprocess.Popen[str] | ForkedSession:
    """Start `python -m pytest` in a process group of its own, which reacts to Ctrl-C (POSIX).

    Args:
        folder: The working directory.
        arguments: The command line.
        is_real: As in `run_python`.
    """
    environment = own_environment()
    if not is_real and can_be_forked(environment):
        return ForkedSession(arguments, folder, environment)
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=interruptible,  # noqa: PLW1509
    )


def run_python(
    folder: Path,
    *command: object,
    is_real: bool = False,
    environment: Mapping[str, str] | None = None,
    timeout: float = 300.0,
    stdin: str = "",
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run a Python command in a process of its own, as a user would.

    Args:
        folder: The working directory.
        command: The command line after Python's path: `-m`, `-c` or a script, and what follows.
        is_real: Whether it has to start from nothing, as where processes are what is tested. Otherwise it is
            forked from a process that has imported pytest already, where that is the same, and shares a
            server of kernels with others, and processes for conductors and pages.
        environment: The whole environment, without `variables`; by default the own one.
        timeout: Seconds after which it is killed.
        stdin: What it can read.
        variables: Further variables.
    """
    words = list(map(str, command))
    given = {**(own_environment() if environment is None else environment), **variables}
    if not is_real and can_be_forked(given):
        return run_forked(words, folder, given, timeout, stdin)
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={"PYTHONIOENCODING": "utf-8", **given},
        capture_output=True,
        encoding="utf-8",
        input=stdin,
        timeout=timeout,
        check=False,
    )


def run(folder: Path, *command: object, is_real: bool = False) -> pytest.RunResult:
    """Run a Python command as `run_python` does."""
    return as_result(run_python(folder, *command, is_real=is_real))


def as_result(done: subprocess.CompletedProcess[str]) -> pytest.RunResult:
    return pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0.0)


def run_pytest(folder: Path, *args: str, is_real: bool = False) -> pytest.RunResult:
    """Run pytest as a user would."""
    return as_result(run_session(folder, "-p", "no:cacheprovider", *args, is_real=is_real))
