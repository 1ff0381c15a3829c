"""Execute one flow once: start its kernel, write its notebook and log, and find out how it ended.

The pytest process never changes its working directory; the kernel is started in the run directory.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from ..core.forking.start import folder_for_sockets
from ..core.instance import Instance
from ..core.masking.config import values_to_mask, with_secrets
from ..core.masking.masker import Masker
from ..core.number_text import listed
from ..core.record import Failure
from ..core.run_directory.build_variable import builds_around
from ..core.run_directory.layout import RunFiles, list_of_kernels
from ..core.settings import Settings
from ..core.system import kept_kernels
from ..core.system.running_now import forget_kernel, note_kernel
from ..core.thread_variables import threads_in
from ..kernels.base import Kernel
from ..kernels.choose import KernelChoice, choose_kernel
from ..kernels.flow_control import ReadCounter
from ..kernels.memory.watch import MemoryWatch, noted, noted_kernels
from ..kernels.out_of_memory import killed_for_memory
from ..kernels.server_pool import environment_of, servers
from ..kernels.setup_calls import Setup
from ..kernels.start_kernel import start_kernel
from ..sources.notebooks import Source, read_flow
from ..sources.parameters_cell.parameters import assigned_in, unknown_parameters
from ..tracking.observed import Used
from .children.image import may_run_flows, variable_for_builds
from .client import FlowClient, RunResult
from .debugging.cell_debugger import CellDebugger
from .debugging.terminal import Terminal
from .failures.cell_failure import last_printed, mark_failure, with_hint_at_fork, with_hint_at_place
from .failures.run_failure import FROM_OUTSIDE, FailureFinder
from .notebook.prepare import prepare_notebook, sources_with_secrets
from .notebook.writer import NotebookFile
from .output_log import Output

_OF_PROGRAMS = ("CalledProcessError", "SystemExit")  # the reason for these is in their output


@dataclass(frozen=True)
class Execution:
    """The result of executing a flow.

    Attributes:
        failure: What stopped it, None if it ran to its end.
        seconds: Wall time from the start of the kernel to its end.
        peak_memory: Bytes that its process, or all of its processes together, used at the most; None if that
            is not known.
        warnings: The first warning lines of its output.
        warning_count: How many there were.
        warning_line: The line of the flow that belongs to the first one, if that is known.
        python_warnings: What `warnings.warn` printed, each once.
        interrupted: Whether Ctrl-C stopped it, and so must stop the session.
        used: What it used, as far as observed.
        threads: Threads that OpenMP and linear algebra were told to use; None if they had the choice.
        kernel_files: The files that decided which kernel ran it.
    """

    failure: Failure | None = None
    seconds: float = 0.0
    peak_memory: int | None = None
    warnings: tuple[str, ...] = ()
    warning_count: int = 0
    warning_line: int | None = None
    python_warnings: tuple[str, ...] = ()
    interrupted: bool = False
    used: Used = field(default_factory=Used)
    threads: int | None = None
    kernel_files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hidden:
    """What a flow is given and nobody is shown.

    Attributes:
        mask: Masks secrets in texts.
        sources: Code of cells with the secrets, by the id of the cell.
    """

    mask: Masker = field(default_factory=Masker)
    sources: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def flow_run(
    instance: Instance,
    files: RunFiles,
    settings: Settings,
    *,
    environment: Mapping[str, str] | None = None,
    echo: IO[str] | None = None,
    last_good: str = "",
    terminal: Terminal | None = None,
    is_last: bool = True,
) -> Iterator[FlowRun]:
    """Prepare a run of an instance's flow in its run directory, which already holds its config.

    Args:
        instance: What to run.
        files: Paths of notebook and log. The notebook is saved while cells run and at the end, in any
            case.
        settings: Default kernel, default time-out, and whether and how kernels are forked.
        environment: Environment variables of the kernel, on top of this process's and the instance's.
        echo: A stream that also receives the output.
        last_good: The folder of the last run that ended well, named in the notebook of one that fails.
        terminal: Where the flow can be debugged.
        is_last: Whether no other attempt follows if this one fails.

    Yields:
        The run, not yet started.

    Raises:
        DuctaflowError: If the flow cannot be started at all.
    """
    source = read_flow(Path(instance.flow))
    choice = choose_kernel(source, instance.kernel_name, settings.kernel)
    notebook = prepare_notebook(source, instance.full_config, choice.name, choice.language)
    whole = environment_of(instance, settings, environment)
    real = with_secrets(instance.full_config, instance.secrets, whole)
    hidden = Hidden(
        Masker(values_to_mask([instance], whole)),
        {}
        if real == instance.full_config
        else sources_with_secrets(source, real, choice.name, choice.language, notebook),
    )
    file = NotebookFile(notebook, files.notebook, hidden.mask)
    if settings.fork and may_run_flows(source):
        whole |= variable_for_builds(whole)
    with (
        Output(files.log, echo, hidden.mask) as output,
        _private_folder(settings) as folder,
    ):
        file.notebook_start()
        debugger = _debugger(instance, terminal, hidden.mask, is_last=is_last)
        run = FlowRun(
            instance,
            settings,
            source,
            choice,
            file,
            output,
            Path(folder),
            whole,
            last_good,
            hidden,
            debugger,
            keeps_kernel=settings.keep_kernel and is_last,
        )
        try:
            yield run
        finally:
            run.close()


@contextlib.contextmanager
def _private_folder(settings: Settings) -> Iterator[str]:
    """Make a folder for a kernel's files, which stays as long as a kernel that is kept."""
    parent = folder_for_sockets() if settings.keep_kernel else servers.folder
    folder = tempfile.mkdtemp(prefix="dk", dir=parent)
    try:
        yield folder
    finally:
        if not kept_kernels.is_in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _debugger(
    instance: Instance, terminal: Terminal | None, mask: Masker, *, is_last: bool
) -> CellDebugger | None:
    if terminal is None:
        return None
    label = f"{instance.step}/{instance.name}"
    return CellDebugger(terminal, is_last and terminal.after_failure, label, mask)


class FlowRun:
    """One run of a flow: `run_cells`, then `finish`; see `flow_run`, which makes it.

    Args:
        instance: What to run.
        settings: Default time-out, and whether and how kernels are forked.
        source: The flow.
        choice: The kernel that runs it.
        file: The notebook, prepared.
        output: Receives what the cells print.
        folder: A private folder for the kernel's files.
        environment: The whole environment of the kernel.
        last_good: The folder of the last run that ended well.
        hidden: The secrets.
        debugger: Lets the user look into a cell that fails; None where there is no terminal.
        keeps_kernel: Whether the kernel stays if a cell fails.
    """

    def __init__(
        self,
        instance: Instance,
        settings: Settings,
        source: Source,
        choice: KernelChoice,
        file: NotebookFile,
        output: Output,
        folder: Path,
        environment: Mapping[str, str],
        last_good: str,
        hidden: Hidden,
        debugger: CellDebugger | None,
        *,
        keeps_kernel: bool,
    ) -> None:
        self._instance, self._settings, self._source, self._choice = instance, settings, source, choice
        self._file, self._output, self._folder, self._environment = file, output, folder, environment
        self._last_good, self._hidden, self._debugger = last_good, hidden, debugger
        self._keeps_kernel = keeps_kernel
        self._setup = Setup(
            (str(source.path.parent), instance.project_root),
            spill=folder / "spill",
            trace=folder / "trace",
            observe=settings.observe,
            report=folder / "observed",
            log_warnings=settings.log_warnings,
            read_counter=folder / "heard",
            has_terminal=debugger is not None,
        )
        self._began = time.monotonic()
        self._python_warnings = [*warnings_before(source, instance, choice)]
        self._failure: Failure | None = None  # failure to start the kernel
        self._client: FlowClient | None = None
        self._watch: MemoryWatch | None = None
        self._noted = contextlib.ExitStack()
        self._killed = killed_for_memory()

    def run_cells(self) -> bool:
        """Start the kernel, run the cells up to the first that fails, and ask the kernel to end.

        Returns:
            Whether all ended well, and the notebook is complete and saved; the kernel may still be ending.
        """
        try:
            client = self._client = self._started_client()
        except (RuntimeError, OSError) as error:
            self._failure = Failure("KernelDied", f"the kernel did not start: {error}")
            return False
        except KeyboardInterrupt:
            self._failure = FROM_OUTSIDE
            return False
        client.run_cells()
        if client.error is not None:
            return False
        with client.keeping_errors():
            self._file.notebook_complete()
            if self._file.nb.metadata.papermill.get("exception"):
                return False
            self._file.write()
        return client.error is None

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C in the body of the `with` end this run, as it does while cells run."""
        if self._client is None:
            yield
            return
        with self._client.keeping_errors():
            yield

    def finish(self) -> Execution:
        """Wait for the kernel to end, save the notebook, and return the result of the run."""
        result, failure = None, self._failure
        if self._client is not None:
            self._note_kept(self._client)
            result = self._client.finish()
            self._stop_watching()
            failure = self._failure_of(self._client, result)
        seconds = time.monotonic() - self._began - (self._client.paused if self._client is not None else 0.0)
        if failure is not None:
            failure = self._marked(self._hidden.mask.in_failure(failure))
        if self._file.due_at is not None:
            self._file.write()
        self._output.complete_cell()
        execution = Execution(
            failure=failure,
            seconds=seconds,
            warnings=tuple(self._output.warnings),
            warning_count=self._output.warning_count,
            warning_line=self._output.warning_line,
            python_warnings=(*map(self._hidden.mask, self._python_warnings), *self._output.python_warnings),
            interrupted=self._failure is FROM_OUTSIDE,
            threads=threads_in(self._environment),
            kernel_files=self._choice.files,
        )
        if result is None:
            return execution
        return replace(
            execution,
            interrupted=isinstance(result.error, KeyboardInterrupt),
            peak_memory=self._peak_memory(result),
            used=Used.from_reports(self._setup.trace, result.used, result.observation),
        )

    def close(self) -> None:
        """End the kernel, if `finish` was not reached."""
        self._stop_watching()
        if self._client is not None:
            self._client.close()
            forget_kernel(RunFiles.of(self._instance), self._instance.project_root)

    def _started_client(self) -> FlowClient:
        """Start the kernel, and return a client for it."""
        read_counter = ReadCounter(self._folder / "heard")
        kernel, complaint = start_kernel(
            self._choice.name,
            self._choice.spec,
            self._source,
            self._instance,
            self._settings,
            self._environment,
            self._setup,
            str(self._folder),
        )
        self._python_warnings += [f"KernelWarning: {complaint}"] if complaint else []
        note_kernel(RunFiles.of(self._instance), self._instance.project_root, kernel.group())
        self._watch_memory(kernel)
        return FlowClient(
            self._file,
            kernel,
            self._output,
            self._source,
            Path(self._instance.project_root),
            self._setup,
            read_counter,
            seconds=self._instance.timeout or self._settings.timeout,
            cell_seconds=self._instance.cell_timeout,
            sources=self._hidden.sources,
            debugger=self._debugger,
            keeps_kernel=self._keeps_kernel and self._may_be_kept(),
        )

    def _may_be_kept(self) -> bool:
        """Return whether not too many kernels are kept already."""
        if len(kept_kernels.all_kept(self._instance.project_root)) < kept_kernels.MOST:
            return True
        self._python_warnings.append(
            f"KernelWarning: the kernel is not kept: {kept_kernels.MOST} are, which `ductaflow cancel` ends"
        )
        return False

    def _note_kept(self, client: FlowClient) -> None:
        if (
            client.connection_file and (pid := client.kernel.group()) is not None
        ):  # it has not ended meanwhile
            label = f"{self._instance.step}/{self._instance.name}"
            files, root = RunFiles.of(self._instance), self._instance.project_root
            kept_kernels.note(files, root, label, pid, client.connection_file)

    def _watch_memory(self, kernel: Kernel) -> None:
        """Look at the memory of the kernel and what it starts, and of the flows of a build, from now on."""
        flows = RunFiles.of(self._instance).list_of_kernels
        flows.unlink(missing_ok=True)
        self._noted.enter_context(noted(map(list_of_kernels, builds_around()), kernel.process()))

        def roots() -> list[int]:
            own = kernel.process()
            return [*([own] if own is not None else []), *noted_kernels(flows)]

        name = "_memory" if self._instance.memory else "--ductaflow-memory"
        self._watch = MemoryWatch(roots, self._settings.memory_of(self._instance), name)
        self._watch.start()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        self._noted.close()
        RunFiles.of(self._instance).list_of_kernels.unlink(missing_ok=True)

    def _peak_memory(self, result: RunResult) -> int | None:
        """Return the peak of all processes together, if it is known, or that of the kernel's."""
        watched = self._watch.peak if self._watch is not None else None
        return max(filter(None, (watched, result.peak_memory)), default=None)

    def _failure_of(self, client: FlowClient, result: RunResult) -> Failure | None:
        self._python_warnings += [f"KernelWarning: {complaint}" for complaint in result.complaints]
        root = Path(self._instance.project_root)
        finder = FailureFinder(
            self._file.nb,
            self._source,
            root,
            client.kernel,
            self._killed,
            self._output,
            self._watch.message if self._watch is not None else "",
        )
        failure = finder.failure_of(result)
        return with_hint_at_fork(failure) if failure is not None and client.kernel.is_forked else failure

    def _marked(self, failure: Failure) -> Failure:
        """Mark the failure in log and notebook, and return it with a hint if a file was not found."""
        is_printed = self._source.language != "python" or failure.type in _OF_PROGRAMS
        printed = last_printed(self._file.nb) if is_printed else ()
        failure = self._hidden.mask.in_failure(with_hint_at_place(failure, self._instance, printed))
        if not failure.traceback:
            self._output.note(failure.summary)
        self._file.notebook_complete()
        mark_failure(self._file.nb, failure, self._last_good)
        return failure


def warnings_before(source: Source, instance: Instance, choice: KernelChoice) -> Iterator[str]:
    """Yield warnings about a flow that are known before it runs."""
    if choice.instead_of:
        said = f"{source.path.name} names the kernel {choice.instead_of!r}, which is not installed"
        yield f"KernelWarning: {said}: {choice.name} runs it"
    if choice.language == "python":
        yield from unknown_parameters(instance.config, source, assigned_in(source, "python", instance.config))
    if fences := source.fences_not_run:
        number = "1 code fence is" if len(fences) == 1 else f"{len(fences)} code fences are"
        said = f"{source.path.name}: {number} not run ({listed(fences)})"
        yield f"FenceWarning: {said}: write {source.fence_of_code}"
