"""Run one flow from a conductor or a build, or record it while pytest collects."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..core.errors import DuctaflowError, TableError
from ..core.instance import RUNS, Instance, stem_of
from ..core.masking.config import references_in
from ..core.problem import Problem
from ..core.record import Failure, Record
from ..core.run_directory import atomic, build_variable, record_files
from ..core.run_directory.layout import RunFiles
from ..kernels.observation import unobserved
from ..planning import called_instances, recorded_calls
from ..planning.afterwards import answers
from ..planning.caller import Origin, caller
from ..planning.declare_call import declare_call
from ..sources.notebooks import find_flow, is_plainly_flow
from ..sources.parameters_cell.flow_check import flow_problem
from ..sources.table_cells import is_mapping
from .call_context import (
    changed_directory,
    from_here,
    refuse_while_pytest_imports,
    root_of,
    run_directory,
    runs_of_this_build,
    settings_of_call,
)
from .run_here import note_instances, run_and_print, warn_if_overwritten, warn_of_machine
from .uncaught import quiet_traceback


def run_notebook(
    notebook_file: str | Path,
    notebooks_dir: str | Path | None = None,
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    output_suffix: str = "_executed",
    kernel_name: str | None = None,
    timeout: float | None = None,
    export_html: bool = True,
    execution_dir: str | Path | None = None,
    project_root: str | Path | None = None,
    no_execute: bool = False,
) -> Path:
    """Run a flow or build with a config in a run directory.

    Args:
        notebook_file: The flow, relative to `notebooks_dir`, the working directory or the project root.
        notebooks_dir: Folder of the flow.
        config: The config, or the path of a JSON file that holds it; `_project_root` is added.
        output_suffix: Suffix of the executed notebook's name, after the flow's stem.
        kernel_name: Jupyter kernel; by default the one that the flow names, else `python3`.
        timeout: Seconds for each cell, as in papermill; `_timeout` in the config limits the whole run.
        export_html: Whether to write the notebook as HTML as well.
        execution_dir: The run directory; by default the working directory, if the caller has changed into
            one of the project, else `runs/{flow}/{config["instance_name"] or a short hash of the config}`.
            In a build, the first run of a flow without its own name uses the build's run directory.
        project_root: The project; by default `config["_project_root"]`, or the calling file's project.
        no_execute: Whether to only lay out the directory (config, notebook ready to run).

    Returns:
        Path of the executed notebook.

    Raises:
        FlowNotFound: If there is no such flow.
        FlowExecutionError: If the flow failed; a `papermill.exceptions.PapermillExecutionError`.
    """
    __tracebackhide__ = True
    origin = caller()
    refuse_while_pytest_imports("run_notebook", origin)
    try:
        config = _config_of(config, origin)
    except DuctaflowError as error:
        return _not_declared(error, origin, root_of(origin))
    given_root = project_root or config.get("_project_root")
    root = Path(given_root).resolve() if given_root else root_of(origin)
    places = (Path(notebooks_dir),) if notebooks_dir else (Path.cwd(), root)

    def declare() -> Instance:
        given = from_here(execution_dir) if execution_dir else None
        directory = run_directory(given, root) if given else changed_directory(root)
        declared = partial(declare_call, find_flow(notebook_file, places), config, root=root, origin=origin)
        instance = declared(run_dir=directory, runs=runs_of_this_build())
        if directory is None and (folder := _folder_of_build(config)) is not None:
            beside = declared(run_dir=run_directory(folder, root))
            instance = beside if _is_free(beside) else instance
        return instance.with_(
            output_suffix=output_suffix,
            kernel_name=kernel_name or instance.kernel_name,
            cell_timeout=timeout if timeout and timeout > 0 else None,
            html=export_html,
        )

    return _run_one(declare, origin, root, no_execute=no_execute or bool(config.get("_no_execute")))


def run_step_flow(
    notebook_file: str | Path = "",
    step_name: str = "",
    instance_name: str = "",
    config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    suffix: str = "",
    *,
    notebook_path: str | Path | None = None,
) -> Path:
    """Run a flow in `runs/{step_name}/{instance_name}{suffix}/`.

    Args:
        notebook_file: The flow.
        step_name: Folder under `runs/`.
        instance_name: Folder under the step.
        config: The config, or the path of a JSON file that holds it.
        suffix: Suffix of the instance's name, for a flow that runs more than once.
        notebook_path: Older name of `notebook_file`.

    Returns:
        Path of the executed notebook.

    Raises:
        As `run_notebook`.
    """
    __tracebackhide__ = True
    origin = caller()
    refuse_while_pytest_imports("run_step_flow", origin)
    try:
        config = _config_of(config, origin)
    except DuctaflowError as error:
        return _not_declared(error, origin, root_of(origin))
    root = Path(config["_project_root"]) if config.get("_project_root") else root_of(origin)

    def declare() -> Instance:
        return declare_call(
            find_flow(notebook_path or notebook_file, (Path.cwd(), root)),
            config,
            root=root,
            origin=origin,
            step=step_name,
            name=f"{instance_name}{suffix}",
            runs=runs_of_this_build(),
        )

    return _run_one(declare, origin, root, no_execute=bool(config.get("_no_execute")))


def _run_one(declare: Callable[[], Instance], origin: Origin, root: Path, *, no_execute: bool) -> Path:
    """Run, record or lay out the instance of one call.

    While a conductor is collected, problems of a call are recorded, not raised: many conductors have their
    calls in `try:` and would continue without the instance, which would then be missing silently.
    """
    __tracebackhide__ = True
    quiet_traceback()
    try:
        instance = declare()
        if problem := _flow_problem(instance, origin.at(root)):
            raise TableError([problem])
    except DuctaflowError as error:
        return _not_declared(error, origin, root)
    files = RunFiles.of(instance)
    if recorded_calls.is_recording():
        called_instances.note([] if no_execute else [instance])
        recorded_calls.record([] if no_execute else [instance])
        return files.notebook
    if no_execute:
        return _lay_out(instance, files)
    warn_if_overwritten([instance])
    warn_of_machine([instance])
    note_instances([instance], at_once=False)
    given = answers.current()
    record = given.record_of(instance) if given is not None else None
    if record is None:
        record = run_and_print(instance)
    if record.error is not None:
        from ..running.failures.run_failure import FlowExecutionError

        raise FlowExecutionError(_failure_line(record, record.error), record)
    return files.notebook


def _flow_problem(instance: Instance, where: str) -> Problem | None:
    """Return what prevents an instance's flow from being run, if anything."""
    flow, root, config = Path(instance.flow), Path(instance.project_root), instance.config
    check = partial(flow_problem, flow, where, root, is_configured=bool(config), keys=tuple(config))
    if build_variable.surrounding_build() is None:
        return check()
    with contextlib.suppress(OSError):  # which the check says
        if is_plainly_flow(flow):
            return None
    with unobserved():  # files used to run a build's flows are not its inputs
        from ..running.children.flows_of_build import checked_outside
    return checked_outside(check)


def _not_declared(error: DuctaflowError, origin: Origin, root: Path) -> Path:
    """Record a call's problem while a conductor is collected, and return a path to continue with.

    Raises:
        DuctaflowError: The given error, at any other time.
    """
    __tracebackhide__ = True
    if not recorded_calls.is_recording():
        quiet_traceback()
        raise error
    known = error.problems if isinstance(error, TableError) else [Problem(origin.at(root), str(error))]
    recorded_calls.record([], known)
    return root / RUNS


def _config_of(given: Any, origin: Origin) -> dict[str, Any]:
    """Return the config that a call was given as a dict or as the path of a file.

    Raises:
        DuctaflowError: If it is neither.
    """
    if given is None or is_mapping(given):
        return dict(given or {})
    if not isinstance(given, str | os.PathLike):
        raise DuctaflowError(f"config={given!r}: expected a dict, or the path of a JSON file")
    name = os.fspath(given)
    places = dict.fromkeys((Path.cwd(), root_of(origin)))
    path = next((place / name for place in places if os.path.isfile(place / name)), None)
    if path is None:
        looked = " and ".join(map(str, places))
        raise DuctaflowError(
            f"config={name!r}: expected a dict, or the path of a JSON file; none in {looked}"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DuctaflowError(f"config={name!r}: {path} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise DuctaflowError(f"config={name!r}: {path} holds a {type(config).__name__}, expected an object")
    return config


def _failure_line(record: Record, error: Failure) -> str:
    if error.type == answers.NOT_RUN:
        return f"{record.step}/{record.instance} has not run: {error.message}"
    at = f":{error.file_line}" if error.file_line else ""
    cell = f" in cell {error.cell}" if error.cell else ""
    return f"{stem_of(record.flow)} failed{cell} ({record.flow}{at}): {error.summary}"


def _lay_out(instance: Instance, files: RunFiles) -> Path:
    """Write config and notebook, ready to be run by hand."""
    import nbformat

    from ..kernels.choose import choose_kernel
    from ..running.notebook.prepare import prepare_notebook
    from ..sources.notebooks import read_flow

    source = read_flow(Path(instance.flow))
    record_files.write_config(files, instance.full_config)
    kernel = choose_kernel(source, instance.kernel_name, settings_of_call().kernel)
    notebook = prepare_notebook(source, instance.full_config, kernel.name, kernel.language)
    atomic.write_atomic(files.notebook, nbformat.writes(notebook) + "\n")
    print(f"Laid out, not run: {files.directory}")
    if instance.secrets or references_in(instance.config):
        print("Secrets are masked there, and ${env:NAME} is not filled in: set them to run it by hand")
    return files.notebook


def _folder_of_build(config: Mapping[str, Any]) -> Path | None:
    """Return the run directory of the surrounding build for a flow without its own name, else None."""
    build = build_variable.surrounding_build()
    if build is None:
        return None
    folder = build[0].parent
    return folder if config.get("instance_name") in (None, "", folder.name) else None


def _is_free(instance: Instance) -> bool:
    """Return whether an instance's files are neither the build's own nor those of another call in it."""
    build, journal = build_variable.surrounding_build(), RunFiles.of(instance).journal
    is_build = build is not None and build[0] == journal
    other = called_instances.earlier(instance)
    return not is_build and (other is None or other.config == instance.config)
