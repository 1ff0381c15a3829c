"""One papermill run of one instance: parameters in, notebook, log and lights out.

The pytest process never changes its working directory; the kernel is started in
the run directory.
"""

from __future__ import annotations

import contextlib
import copy
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from nbformat import ValidationError
from papermill.exceptions import PapermillException, PapermillExecutionError
from papermill.parameterize import parameterize_notebook
from papermill.translators import papermill_translators

from ..core.child_process import signal_name
from ..core.config_markdown import generate_config_markdown
from ..core.errors import DuctaflowError, HelperFrozen, InstanceFailed
from ..core.model import FLOW_FAILED, INTERRUPTED, JSON, Failure, Instance, Record
from ..core.number_text import in_bytes
from ..core.run_files import RunFiles
from ..core.settings import Settings
from ..kernels.base import Kernel, Spec, kernel_files, kernel_spec, kernel_specs
from ..kernels.flow_control import Heard
from ..kernels.out_of_memory import killed_for_memory
from ..kernels.server_pool import servers
from ..kernels.setup_calls import Setup
from ..kernels.start import start_kernel
from ..sources.notebooks import Source, how_to_tag, read_flow
from ..sources.parameters import assigned_in, parameters_of, unknown_parameters
from ..tracking.observed import Used
from .client import CellTimeoutError, DeadKernelError, FlowClient, NoAnswer
from .failures import (
    failure_of_cell,
    failure_without_traceback,
    is_at_the_end,
    last_printed,
    mark_failure,
    markdown_cell,
    with_hint_at_fork,
    with_hint_at_place,
)
from .notebook_writer import NotebookFile
from .output_log import Output

_PYTHON = "python3"  # the kernel of Python flows that name none
_BY_KEYBOARD = "stopped by the keyboard"
_OF_PROGRAMS = ("CalledProcessError", "SystemExit")  # what stopped these is in their output
_SIGKILL = 9  # a name that Windows has not


@dataclass
class Execution:
    """What came of a run.

    Attributes:
        failure: What stopped it, None if it ran to its end.
        seconds: Wall time from the start of the kernel to its end.
        peak_memory: Bytes, None if the kernel could not tell.
        warnings: The first warning lines of its output.
        warning_count: How many there were.
        warning_line: The line of the flow that belongs to the first one, if that is known.
        python_warnings: What `warnings.warn` printed, each once.
        interrupted: Whether Ctrl-C stopped it, and so shall stop all.
        used: What it used, as far as that was seen.
        kernel_files: The files that decided which kernel ran it.
    """

    failure: Failure | None = None
    seconds: float = 0.0
    peak_memory: int | None = None
    warnings: list[str] = field(default_factory=list)
    warning_count: int = 0
    warning_line: int | None = None
    python_warnings: list[str] = field(default_factory=list)
    interrupted: bool = False
    used: Used = field(default_factory=Used)
    kernel_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Chosen:
    """The kernel that runs a flow.

    Attributes:
        name: Of the kernel.
        spec: What is installed under that name.
        instead_of: The kernel that the flow names, if that is not installed.
    """

    name: str
    spec: Spec
    instead_of: str = ""

    @property
    def files(self) -> tuple[str, ...]:
        """The files that decide on it."""
        missing = kernel_files(self.instead_of) if self.instead_of else ()
        return (*kernel_files(self.name, self.spec.resource_dir), *missing)


def kernel_for(source: Source, wanted: str | None, option: str | None) -> tuple[str, str]:
    """Name and language of the kernel that runs a flow.

    Args:
        source: The flow; its own kernelspec or main language counts if no kernel is wanted.
        wanted: The kernel that the instance names.
        option: The kernel for all flows of its language.

    Raises:
        DuctaflowError: If there is no such kernel, naming those that there are.
    """
    chosen = _chosen_for(source, wanted, option)
    return chosen.name, str(chosen.spec.language)


def _chosen_for(source: Source, wanted: str | None, option: str | None) -> _Chosen:
    language = _language_of(source)
    own = source.notebook.metadata.get("kernelspec", {}).get("name")
    given = wanted or (option if option and _is_for(option, language) else None)
    name = given or own or _kernel_of_language(language or "python")
    if (spec := kernel_spec(name)) is not None:
        return _Chosen(name, spec)
    default = kernel_spec(_PYTHON) if given is None and own is not None and language == "python" else None
    if default is not None:
        return _Chosen(_PYTHON, default, instead_of=own)
    known = ", ".join(kernel_specs()) or "none"
    cure = "install one" if language not in (None, "python") else ""
    cure = cure or "name another one by kernel_name=, a column `_kernel` or --ductaflow-kernel"
    raise DuctaflowError(
        f"{source.path.name}: no Jupyter kernel {name!r}; installed: {known}. "
        f"What to do: {cure} (`jupyter kernelspec list` shows where they are)"
    )


def _language_of(source: Source) -> str | None:
    """The language of a flow; None if it names a kernel, and nothing tells its language."""
    names_no_kernel = not source.notebook.metadata.get("kernelspec", {}).get("name")
    is_python = names_no_kernel or source.path.suffix == ".py"
    return source.told_language or ("python" if is_python else None)


def _is_for(kernel: str, language: str | None) -> bool:
    """Whether a kernel speaks a language; one that is not installed is meant for Python."""
    spec = kernel_spec(kernel)
    return (spec.language.lower() if spec is not None else "python") == language


def _kernel_of_language(language: str) -> str:
    if language == "python":
        return _PYTHON
    specs = ((name, kernel_spec(name)) for name in kernel_specs())
    found = (name for name, spec in specs if spec is not None and spec.language.lower() == language)
    return next(found, f"a kernel for {language}")


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
    """The notebook to run: the config as a table on top, the parameters injected.

    Raises:
        DuctaflowError: If there is a config and no cell to inject it behind: in front of the code, the
            defaults would win over it.
    """
    assigned = assigned_in(source, language, config)
    if not (source.has_parameters or assigned.names) and config.keys() - {"_project_root"}:
        told = f"{source.path} has no cell tagged `parameters`, so that it would run with its defaults"
        raise DuctaflowError(f"{told}: {how_to_tag(source.path)}")
    notebook = copy.deepcopy(source.notebook)
    notebook.metadata["kernelspec"] = {"name": kernel, "language": language, "display_name": kernel}
    notebook.metadata.setdefault("papermill", {})
    for cell in notebook.cells:
        cell.metadata.setdefault("papermill", {})
        cell.metadata.setdefault("tags", [])
    table = markdown_cell("ductaflow-config", generate_config_markdown(config, source.path.stem))
    notebook.cells.insert(0, table)
    if source.has_parameters or assigned.names:
        wanted = parameters_of(config, assigned, language)
        parameters = _translatable(wanted, kernel, language)
        notebook = parameterize_notebook(notebook, parameters, kernel_name=kernel, language=language)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata["tags"]:
            cell["id"] = "ductaflow-parameters"
    notebook.nbformat, notebook.nbformat_minor = 4, max(notebook.nbformat_minor, 5)
    return notebook


def execute(
    instance: Instance,
    files: RunFiles,
    settings: Settings,
    *,
    environment: Mapping[str, str] | None = None,
    echo: IO[str] | None = None,
    at_end: Callable[[], None] = lambda: None,
    last_good: str = "",
) -> Execution:
    """Run an instance in its run directory, which holds its config already.

    Args:
        instance: What to run.
        files: Where notebook and log go. The notebook is saved while cells run and at the end, however
            that comes.
        settings: Default kernel, default time-out, and whether and how kernels are forked.
        environment: Variables of the kernel on top of this process's, and of the instance's own.
        echo: A stream that gets the output as well.
        at_end: Called when the notebook is saved and the kernel is still ending.
        last_good: The folder of the last run that ended well, told in the notebook of one that fails.

    Returns:
        What came of it, also when the flow failed.

    Raises:
        DuctaflowError: If the flow cannot be started at all.
    """
    source = read_flow(Path(instance.flow))
    chosen = _chosen_for(source, instance.kernel_name, settings.kernel)
    kernel_name, spec = chosen.name, chosen.spec
    notebook = prepare_notebook(source, instance.full_config, kernel_name, str(spec.language))
    execution = Execution(kernel_files=chosen.files)
    execution.python_warnings += _warnings_before(source, instance, chosen)
    file = NotebookFile(notebook, files.notebook)
    began = time.monotonic()

    def finish() -> None:
        """The notebook is complete, and may be read, while the kernel is still ending."""
        file.notebook_complete()
        if not notebook.metadata.papermill.get("exception"):
            file.write()
            at_end()

    with (
        Output(files.log, echo) as output,
        tempfile.TemporaryDirectory(prefix="dk", dir=servers.folder, ignore_cleanup_errors=True) as folder,
    ):
        file.notebook_start()
        folders = (str(source.path.parent), instance.project_root)
        setup = Setup(
            folders,
            spill=Path(folder, "spill"),
            trace=Path(folder, "trace"),
            observe=settings.observe,
            report=Path(folder, "observed"),
            log_warnings=settings.log_warnings,
            heard=Path(folder, "heard"),
        )
        heard = Heard(Path(folder, "heard"))
        killed = killed_for_memory()
        try:
            kernel, complaint = start_kernel(
                kernel_name,
                spec,
                source,
                instance,
                settings,
                {**dict(instance.variables), **(environment or {})},
                setup,
                folder,
            )
            execution.python_warnings += [f"KernelWarning: {complaint}"] if complaint else []
        except (RuntimeError, OSError) as error:
            execution.failure = Failure("KernelDied", f"the kernel did not start: {error}")
        except KeyboardInterrupt:
            execution.failure, execution.interrupted = Failure(INTERRUPTED, _BY_KEYBOARD), True
        else:
            client = FlowClient(
                file,
                kernel,
                output,
                source,
                Path(instance.project_root),
                setup,
                heard,
                seconds=instance.timeout or settings.timeout,
                cell_seconds=instance.cell_timeout,
                at_end=finish,
            )
            _run_cells(client, execution, killed)
        execution.seconds = time.monotonic() - began
        if execution.failure is not None:
            is_told_elsewhere = source.language != "python" or execution.failure.type in _OF_PROGRAMS
            printed = last_printed(notebook) if is_told_elsewhere else ()
            execution.failure = with_hint_at_place(execution.failure, instance, printed)
            if not execution.failure.traceback:
                output.note(execution.failure.summary)
            file.notebook_complete()
            mark_failure(notebook, execution.failure, last_good)
        if file.due_at is not None:
            file.write()
    execution.warnings, execution.warning_count = output.warnings, output.warning_count
    execution.warning_line = output.warning_line
    execution.python_warnings += output.python_warnings
    return execution


def _warnings_before(source: Source, instance: Instance, chosen: _Chosen) -> Iterator[str]:
    """What is to be said of a flow before it runs."""
    if chosen.instead_of:
        said = f"{source.path.name} names the kernel {chosen.instead_of!r}, which is not installed"
        yield f"KernelWarning: {said}: {chosen.name} runs it"
    if chosen.spec.language == "python":
        yield from unknown_parameters(instance.config, source, assigned_in(source, "python", instance.config))


def _run_cells(client: FlowClient, execution: Execution, killed: int | None) -> None:
    """Run all cells, and note what came of it.

    Args:
        client: Runs them.
        execution: For what came of it.
        killed: As `killed_for_memory` told before.
    """
    notebook, source = client.nb, client.source
    try:
        client.execute()
        execution.failure = _cell_failure(client)
    except CellTimeoutError:
        message = client.limit + (" and did not react to the interrupt" if client.was_deaf else "")
        execution.failure = failure_without_traceback(notebook, source, "Timeout", message)
    except DeadKernelError:
        client.printed.note(client.last_print.rstrip())
        message = _death(client.kernel, client.exit_code, killed)
        execution.failure = failure_without_traceback(notebook, source, "KernelDied", message)
    except HelperFrozen as error:
        message = f"{error}: it was killed, and the kernel with it"
        execution.failure = failure_without_traceback(notebook, source, "KernelDied", message)
    except ValidationError as error:
        message = f"this cell shows something that a notebook cannot hold: {error.message}"
        execution.failure = failure_without_traceback(notebook, source, "InvalidOutput", message)
    except NoAnswer as error:
        execution.failure = Failure("KernelDied", f"the kernel did not start: {error}")
    except (RuntimeError, OSError) as error:
        message = f"the run cannot go on: {error}"
        execution.failure = failure_without_traceback(notebook, source, type(error).__name__, message)
    except KeyboardInterrupt:
        execution.failure = _interruption(client)
        execution.interrupted = True
    if execution.failure is not None and client.kernel.is_forked:
        execution.failure = with_hint_at_fork(execution.failure)
    execution.python_warnings += [f"KernelWarning: {complaint}" for complaint in client.complaints]
    execution.peak_memory = client.peak_memory
    execution.used = Used.told(client.setup.trace, client.used, client.observation)


def _interruption(client: FlowClient) -> Failure:
    """What Ctrl-C stopped, with the place where that was if the kernel could still tell."""
    traceback = client.error_reply.get("traceback", [])
    if not traceback:
        return failure_without_traceback(client.nb, client.source, INTERRUPTED, _BY_KEYBOARD)
    return failure_of_cell(
        client.nb, client.source, client.root, type_=INTERRUPTED, message=_BY_KEYBOARD, traceback=traceback
    )


def _death(kernel: Kernel, exit_code: int | None, killed: int | None) -> str:
    """How a kernel ended that was not to end.

    Args:
        kernel: The kernel.
        exit_code: Its exit code, negative for a signal; None if nobody knows.
        killed: As `killed_for_memory` told before it began.
    """
    if kernel.lost:
        said = f"the helper process that {kernel.lost} was killed, and the kernel with it"
    elif exit_code is None:
        return "the kernel died"
    elif exit_code >= 0:
        return f"the kernel ended with exit code {exit_code}"
    else:
        said = f"the kernel was killed by {signal_name(-exit_code)}"
        if exit_code != -_SIGKILL:
            return said
    peak = f"; the kernel had used up to {in_bytes(kernel.peak_memory)}" if kernel.peak_memory else ""
    now = killed_for_memory()
    if killed is None or now is None:
        return f"{said}\n(as the system does when memory runs out{peak})"
    if now > killed:
        return f"{said}: the system has killed a process because memory ran out{peak}"
    return f"{said}\n(as batch systems do; the system itself tells of no kill for lack of memory{peak})"


def _cell_failure(client: FlowClient) -> Failure | None:
    """The failure that the kernel's reply tells of; None if the flow came to its end."""
    notebook, error = client.nb, client.error_reply
    if not notebook.metadata.papermill.get("exception"):
        return Failure("Timeout", client.limit) if client.timed_out else None
    if error.get("ename") == "NoneType":  # the cell ended well, but its result could not be shown
        error = _last_error(notebook) or error
    type_, message = error.get("ename", "Error"), error.get("evalue", "the cell failed without saying why")
    is_good_exit = type_ == "SystemExit" and (
        message in ("", "0", "None") if client.exit is None else client.exit[1]
    )
    if client.timed_out and not is_good_exit:
        type_, message = "Timeout", client.limit
    elif type_ == FlowExecutionError.__name__:
        type_ = FLOW_FAILED
    traceback = error.get("traceback", [])
    failure = failure_of_cell(
        notebook,
        client.source,
        client.root,
        type_=type_,
        message=message,
        traceback=traceback,
        line=client.exit[0] if type_ == "SystemExit" and client.exit else None,
    )
    if not is_good_exit:
        return failure
    if not is_at_the_end(notebook, failure):
        at = f"line {failure.file_line}" if failure.file_line else f"cell [{failure.cell}]"
        client.printed.warn(f"⚠️ SystemExit at {at}: what comes after it has not run")
    return None


def _last_error(notebook: Any) -> dict[str, Any] | None:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return next((output for output in reversed(outputs) if output.output_type == "error"), None)


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
