"""One papermill run of one instance: parameters in, notebook, log and lights out.

The home of papermill, nbclient and jupyter_client. The pytest process never changes its working
directory; the kernel is started in the run directory.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import json
import keyword
import logging
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from queue import Empty
from typing import IO, Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbclient.util import ensure_async
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NotebookExecutionManager
from papermill.exceptions import PapermillException, PapermillExecutionError
from papermill.parameterize import parameterize_notebook
from papermill.translators import papermill_translators

from . import kernel_setup, kernel_trace
from .config_table import generate_config_markdown
from .errors import DuctaflowError, InstanceFailed
from .failures import (
    failure_of_cell,
    failure_without_traceback,
    mark_failure,
    markdown_cell,
    readable_traceback,
)
from .flows import Source, read_flow
from .lights import strip_ansi
from .model import FLOW_FAILED, JSON, Failure, Instance, Record
from .output import Output
from .store import RunFiles, write_atomic
from .uses import Used

INTERRUPT_GRACE = 5.0  # seconds between the interrupt of a time-out and the kill
_SETUP = """\
for _name, _source in {sources!r}.items():
    _module = __import__("types").ModuleType(_name)
    exec(compile(_source, "ductaflow", "exec"), vars(_module))
    __import__("sys").modules[_name] = _module
_module = __import__("_ductaflow_kernel")
_module.prepare({folders!r})
_module.stop_at_exit()
__import__("_ductaflow_trace").begin({trace!r})
del _name, _source, _module
"""
_LAST_WORDS = (
    "__import__('json').dumps([(m := __import__('_ductaflow_kernel')).peak_memory(), m.logged(),"
    " __import__('_ductaflow_trace').used()])"
)

_logger = logging.getLogger("pytest_ductaflow.kernel")
_logger.disabled = True  # what went wrong is in the record; nbclient's own words would say it twice


@dataclass
class Execution:
    """What came of a run.

    Attributes:
        failure: What stopped it, None if it ran to its end.
        seconds: Wall time from the start of the kernel to its end.
        peak_memory: Bytes, None if the kernel could not tell.
        warnings: The first warning lines of its output.
        warning_count: How many there were.
        python_warnings: What `warnings.warn` printed, each once.
        interrupted: Whether Ctrl-C stopped it, and so shall stop all.
        used: What it used, as far as its kernel could tell.
    """

    failure: Failure | None = None
    seconds: float = 0.0
    peak_memory: int | None = None
    warnings: list[str] = field(default_factory=list)
    warning_count: int = 0
    python_warnings: list[str] = field(default_factory=list)
    interrupted: bool = False
    used: Used = field(default_factory=Used)


@lru_cache(maxsize=1)
def _setup_sources() -> dict[str, str]:
    modules = {"_ductaflow_kernel": kernel_setup, "_ductaflow_trace": kernel_trace}
    return {name: Path(str(module.__file__)).read_text(encoding="utf-8") for name, module in modules.items()}


class _Manager(NotebookExecutionManager):  # type: ignore[misc]
    """papermill's bookkeeping, with a notebook on disk that is never half-written."""

    def save(self, **_: Any) -> None:
        write_atomic(Path(self.output_path), nbformat.writes(self.nb) + "\n")
        self.last_save_time = self.now()


class _Client(PapermillNotebookClient):  # type: ignore[misc]
    """papermill's client, with a log, a deadline for the whole run and the kernel's last words."""

    def __init__(
        self,
        manager: _Manager,
        output: Output,
        source: Source,
        root: Path,
        *,
        seconds: float | None,
        trace: Path,
        sockets: str | None,
        **traits: Any,
    ) -> None:
        super().__init__(manager, **traits)
        self.printed = output
        self.source = source
        self.root = root
        self.trace = trace
        self.socket_folder = sockets
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.timed_out = False
        self.exit_code: int | None = None
        self.peak_memory: int | None = None
        self.used: dict[str, Any] = {}
        self.error_reply: dict[str, Any] = {}
        self.on_cell_error = self._note_error
        self.on_notebook_start = self._prepare_kernel
        self.timeout_func = lambda _cell: self._remaining()

    def create_kernel_manager(self) -> Any:
        """Sockets in a private folder where there are such: no ports that others may see or snatch."""
        manager = super().create_kernel_manager()
        if self.socket_folder is not None:
            manager.transport = "ipc"
            manager.connection_file = os.path.join(self.socket_folder, "k.json")
            manager.ip = os.path.join(self.socket_folder, "k")
        return manager

    @property
    def _speaks_python(self) -> bool:
        return bool(self.km.kernel_spec.language == "python")

    def _remaining(self) -> float | None:
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.001)

    async def _prepare_kernel(self, **_: Any) -> None:
        if self._speaks_python:
            folders = [str(self.source.path.parent), str(self.root)]
            code = _SETUP.format(sources=_setup_sources(), folders=folders, trace=str(self.trace))
            await self.async_wait_for_reply(await ensure_async(self.kc.execute(code, silent=True)))

    def papermill_execute_cells(self) -> None:
        super().papermill_execute_cells()
        if self._speaks_python:
            self._ask_for_last_words()

    def _ask_for_last_words(self) -> None:
        for _ in range(3):  # a kernel drops requests for a moment after an error: "aborted"
            question = self.kc.execute("", silent=True, user_expressions={"last": _LAST_WORDS})
            reply = self.wait_for_reply(question)["content"]
            if reply["status"] == "ok":
                answer = reply["user_expressions"]["last"]
                if answer["status"] == "ok":
                    words = json.loads(ast.literal_eval(answer["data"]["text/plain"]))
                    self.peak_memory, logged, self.used = words
                    self.printed.add_logged(logged)
                return

    def _note_error(self, execute_reply: dict[str, Any], **_: Any) -> None:
        self.error_reply = execute_reply["content"]

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        content = msg["content"]
        if msg["msg_type"] == "stream":
            self.printed.write(content["name"], content["text"])
        elif msg["msg_type"] == "error":
            self.printed.note(readable_traceback(strip_ansi("\n".join(content["traceback"])), self.root))
        return super().process_message(msg, cell, cell_index)

    async def _async_handle_timeout(self, timeout: float, cell: Any = None) -> Any:  # noqa: ASYNC109 - nbclient's
        """Interrupt, so that the notebook shows where the time went; give up if nothing comes of it."""
        self.timed_out = True
        await ensure_async(self.km.interrupt_kernel())
        try:
            return await ensure_async(self.kc.shell_channel.get_msg(timeout=INTERRUPT_GRACE))
        except Empty:
            raise CellTimeoutError.error_from_timeout_and_cell(
                "Cell execution timed out", timeout, cell
            ) from None

    async def _async_check_alive(self) -> None:
        try:
            await super()._async_check_alive()
        except DeadKernelError:
            self.exit_code = await ensure_async(self.km.provisioner.poll())
            raise


def kernel_for(source: Source, wanted: str | None, default: str) -> tuple[str, str]:
    """Name and language of the kernel that runs a flow.

    Args:
        source: The flow; its own kernelspec or main language counts if no kernel is wanted.
        wanted: The kernel that the instance names.
        default: The kernel for Python flows that name none.

    Raises:
        DuctaflowError: If there is no such kernel, naming those that there are.
    """
    metadata = source.notebook.metadata
    language = metadata.get("jupytext", {}).get("main_language", "python").lower()
    name = wanted or metadata.get("kernelspec", {}).get("name")
    manager = KernelSpecManager()
    if name is None and language != "python":
        specs = {known: manager.get_kernel_spec(known) for known in manager.find_kernel_specs()}
        name = next((known for known, spec in specs.items() if spec.language.lower() == language), None)
    try:
        name = name or (default if language == "python" else f"a kernel for {language}")
        return name, str(manager.get_kernel_spec(name).language)
    except NoSuchKernel:
        known = ", ".join(sorted(manager.find_kernel_specs())) or "none"
        raise DuctaflowError(f"{source.path.name}: no Jupyter kernel {name!r}; installed: {known}") from None


def parameters_of(config: Mapping[str, JSON]) -> dict[str, JSON]:
    """What papermill injects: `config`, and each value whose key can be a variable."""
    variables = {
        key: value
        for key, value in config.items()
        if key.isidentifier() and not keyword.iskeyword(key) and not isinstance(value, dict)
    }
    return {**variables, "config": dict(config)}


def _translatable(parameters: dict[str, JSON], kernel: str, language: str) -> dict[str, JSON]:
    """The parameters for which papermill knows the language's words: a shell has no dicts.

    Raises:
        DuctaflowError: If papermill does not know the language at all.
    """
    try:
        translator = papermill_translators.find_translator(kernel, language)
    except PapermillException as error:
        raise DuctaflowError(str(error)) from error
    known = {}
    for name, value in parameters.items():
        with contextlib.suppress(NotImplementedError):
            translator.translate(value)
            known[name] = value
    return known


def prepare_notebook(source: Source, config: Mapping[str, JSON], kernel: str, language: str) -> Any:
    """The notebook to run: the config as a table on top, the parameters injected."""
    notebook = copy.deepcopy(source.notebook)
    notebook.metadata["kernelspec"] = {"name": kernel, "language": language, "display_name": kernel}
    notebook.metadata.setdefault("papermill", {})
    for cell in notebook.cells:
        cell.metadata.setdefault("papermill", {})
        cell.metadata.setdefault("tags", [])
    table = markdown_cell("ductaflow-config", generate_config_markdown(config, source.path.stem))
    notebook.cells.insert(0, table)
    parameters = _translatable(parameters_of(config), kernel, language)
    notebook = parameterize_notebook(notebook, parameters, kernel_name=kernel, language=language)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata["tags"]:
            cell["id"] = "ductaflow-parameters"
    notebook.nbformat, notebook.nbformat_minor = 4, max(notebook.nbformat_minor, 5)
    return notebook


def execute(
    instance: Instance,
    files: RunFiles,
    *,
    default_kernel: str = "python3",
    timeout: float | None = None,
    environment: Mapping[str, str] | None = None,
    echo: IO[str] | None = None,
) -> Execution:
    """Run an instance in its run directory, which holds its config already.

    Args:
        instance: What to run.
        files: Where notebook and log go. The notebook is saved after each cell and at the end,
            however that comes.
        default_kernel: The kernel if neither instance nor flow names one.
        timeout: Seconds for the whole run.
        environment: Variables of the kernel on top of this process's.
        echo: A stream that gets the output as well.

    Returns:
        What came of it, also when the flow failed.

    Raises:
        DuctaflowError: If the flow cannot be started at all.
    """
    source = read_flow(Path(instance.flow))
    kernel, language = kernel_for(source, instance.kernel_name, default_kernel)
    notebook = prepare_notebook(source, instance.full_config, kernel, language)
    root = Path(instance.project_root)
    execution = Execution()
    manager = _Manager(notebook, output_path=str(files.notebook), progress_bar=False)
    began = time.monotonic()
    with Output(files.log, echo) as output, tempfile.TemporaryDirectory(prefix="dk") as sockets:
        raw = Path(sockets, "raw")  # what the process says before and after it is a kernel
        trace = Path(sockets, "trace")
        client = _Client(
            manager,
            output,
            source,
            root,
            seconds=timeout,
            trace=trace,
            sockets=sockets if os.name == "posix" else None,
            kernel_name=kernel,
            log=_logger,
        )
        manager.notebook_start()
        try:
            with open(raw, "wb") as stream:
                client.execute(
                    cwd=str(files.directory),
                    env=_kernel_environment(environment or {}),
                    stdout=stream,
                    stderr=stream,
                )
            execution.failure = _cell_failure(client, timeout)
        except CellTimeoutError:
            message = _too_long(timeout, "did not react to the interrupt")
            execution.failure = failure_without_traceback(notebook, source, "Timeout", message)
        except DeadKernelError:
            output.note(raw.read_text(encoding="utf-8", errors="replace").rstrip())
            execution.failure = failure_without_traceback(
                notebook, source, "KernelDied", _death(client.exit_code)
            )
        except (RuntimeError, OSError) as error:
            execution.failure = Failure("KernelDied", f"the kernel did not start: {error}")
        except KeyboardInterrupt:
            message = "stopped by the keyboard"
            execution.failure = failure_without_traceback(notebook, source, "Interrupted", message)
            execution.interrupted = True
        finally:
            execution.seconds = time.monotonic() - began
            execution.peak_memory = client.peak_memory
            execution.used = Used.told(trace, client.used)
            manager.notebook_complete()
        if execution.failure is not None:
            if not execution.failure.traceback:
                output.note(execution.failure.summary)
            mark_failure(notebook, execution.failure)
            manager.save()
    execution.warnings, execution.warning_count = output.warnings, output.warning_count
    execution.python_warnings = output.python_warnings
    return execution


def _kernel_environment(extra: Mapping[str, str]) -> dict[str, str]:
    environment = {**os.environ, "PYDEVD_DISABLE_FILE_VALIDATION": "1", **extra}
    environment.pop("PYTEST_CURRENT_TEST", None)
    return environment


def _death(exit_code: int | None) -> str:
    if exit_code is None:
        return "the kernel died"
    if exit_code < 0:
        return f"the kernel was killed by {signal.Signals(-exit_code).name}"
    return f"the kernel ended with exit code {exit_code}"


def _too_long(timeout: float | None, more: str = "") -> str:
    return f"took longer than {timeout:g} s" + (f" and {more}" if more else "")


def _cell_failure(client: _Client, timeout: float | None) -> Failure | None:
    """The failure that the kernel's reply tells of; None if the flow came to its end."""
    notebook, error = client.nb, client.error_reply
    if not notebook.metadata.papermill.get("exception"):
        return None
    type_, message = error.get("ename", "Error"), error.get("evalue", "the cell failed without saying why")
    if type_ == "SystemExit" and message in ("", "0", "None"):
        return None
    if client.timed_out:
        type_, message = "Timeout", _too_long(timeout)
    elif type_ == FlowExecutionError.__name__:
        type_ = FLOW_FAILED
    traceback = error.get("traceback", [])
    return failure_of_cell(
        notebook, client.source, client.root, type_=type_, message=message, traceback=traceback
    )


class FlowExecutionError(InstanceFailed, PapermillExecutionError):  # type: ignore[misc]
    """A flow failed; papermill's exception, so that what catches that one goes on working."""

    def __init__(self, message: str, record: Record) -> None:
        failure = record.error or Failure("Error", message)
        Exception.__init__(self, message)
        self.record = record
        self.cell_index = None
        self.exec_count = failure.cell
        self.source = failure.source
        self.ename = failure.type
        self.evalue = failure.message
        self.traceback = failure.traceback.splitlines()

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.record)
