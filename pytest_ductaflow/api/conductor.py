"""The API of conductors and builds: the same calls run instances or record them.

In a script, a notebook or a build, a call runs its instances immediately. Collected by
`pytest --ductaflow`, it records them (see `recording`) and returns at once.
"""

from __future__ import annotations

import atexit
import json
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..core import run_files
from ..core.errors import DuctaflowError, SweepFailed, TableError
from ..core.instance import RUNS, Instance, Workplace, config_hash, slug, stem_of
from ..core.problem import Problem
from ..core.record import Failure, Record, Status
from ..core.run_files import RunFiles
from ..core.settings import Settings
from ..core.system.places import PACKAGE
from ..kernels.observation import unobserved
from ..planning import called_instances, declared_history, recording
from ..planning.afterwards import answers
from ..planning.declare import (
    After,
    ConfigOfRow,
    Origin,
    TableDeclaration,
    caller,
    declare_call,
    flow_problem,
)
from ..sources.names import collisions
from ..sources.names import place as place_of
from ..sources.notebooks import find_flow, looks_like_flow, project_root_of
from ..sources.table_cells import is_mapping
from . import pytest_imports

if TYPE_CHECKING:
    import pandas as pd

    from ..planning.afterwards.answers import Answers
    from ..report.live import LiveReport

SIGNS = {
    Status.SUCCESS: "🟢",
    Status.WARNING: "🟠",
    Status.ERROR: "🔴",
    Status.BLOCKED: "⚪",
    Status.RUNNING: "…",
}


def conduct(
    flow: str | Path,
    table: pd.DataFrame | Sequence[Mapping[str, Any]] | str | Path,
    *,
    step: str | None = None,
    base: Mapping[str, Any] | None = None,
    config: ConfigOfRow | None = None,
    after: After = None,
    keep: str | Sequence[str] = (),
    cwd: Workplace | None = None,
) -> list[Instance]:
    """Run a flow or build for each row of a control table: every row is an instance.

    Args:
        flow: Path of the flow, relative to the project root; a bare name is looked up in `flows/`
            and `builds/`.
        table: A DataFrame, a list of dicts, or a `.csv`, `.parquet`, `.xlsx`, `.json` or `.jsonl`
            file. The column `instance_name` names the instances, `step` their step; all others are
            config. Dotted columns nest (`processing.param1`); an empty cell means "not set".
        step: Folder under `runs/`; by default the flow's stem without a leading number.
        base: Base config, which each row extends and overrides.
        config: A function from a row (a dict without empty cells) to its config, used instead of the row.
        after: Instances (as this function returns them) that must end well before these start.
        keep: Patterns of files and folders in the run directories (checkpoints, caches) that stay for
            the next run; all else that an instance wrote is moved aside before it runs again.
        cwd: Working directory of the flow: the run directory (`run`), the flow's own folder (`flow`) or the
            project root (`project`).

    Returns:
        The instances, in the order of the table.

    Raises:
        TableError: If the table has problems, with all of them; nothing has run then. While pytest
            collects, they are recorded instead.
        SweepFailed: After the last instance, if some have failed.
    """
    __tracebackhide__ = True
    origin = caller()
    _not_while_pytest_imports("conduct", origin)
    root = _root_of(origin)
    runs = _runs_of_this_build()
    declaration = TableDeclaration(flow, table, origin, root, step, base, config, after, keep, runs, cwd)
    made = declaration.declare()
    if recording.is_recording():
        called_instances.note(made.instances)
        recording.record(made.instances, made.problems, made.notes)
        return made.instances
    problems = made.problems + collisions(made.instances)
    if problems:
        _quiet_traceback()
        raise TableError(problems)
    for note in made.notes if answers.current() is None else ():  # otherwise pytest has reported them
        warnings.warn_explicit(note, UserWarning, origin.file, origin.line or 1)
    _tell_overwritten(made.instances)
    _note(made.instances, at_once=True)
    if (given := answers.current()) is not None:
        _answer_all(made.instances, given)
    else:
        _raise_if_any(_run_all(made.instances), len(made.instances))
    return made.instances


def _tell_overwritten(instances: list[Instance]) -> None:
    """Warn of instances that overwrite the results of an earlier call in the script with another config.

    A script may do so on purpose, in a calibration loop for example. pytest refuses it, because the files of
    all instances must exist at its end. Notebooks and builds get no warning: a cell is run again with another
    config, and a build may run its flows in turns.
    """
    if answers.current() is not None or _script() is None or run_files.surrounding_build() is not None:
        return
    for instance in instances:
        before = called_instances.earlier(instance)
        if before is not None and config_hash(before.config) != config_hash(instance.config):
            root = Path(instance.project_root)
            what = f"{run_files.shown(instance.run_dir, root)} has been run with another config"
            by = f"({place_of(before, root)}) and is overwritten"
            warnings.warn_explicit(f"{what} {by}", UserWarning, instance.source, instance.line or 1)


def _note(instances: list[Instance], *, at_once: bool) -> None:
    """Note the instances of a call; those of a conductor also on disk, when it exits or at once."""
    called_instances.note(instances)
    script = _script()
    if script is None or not instances or run_files.surrounding_build() is not None:
        return
    _note_at_exit(script)
    if at_once:
        declared_history.note_script(Path(instances[0].project_root), script, instances, complete=False)


@lru_cache
def _note_at_exit(script: Path) -> None:
    atexit.register(_note_script, script)


def _note_script(script: Path) -> None:
    """Note on disk which instances a conductor ran, when it exits."""
    is_whole = len(sys.argv) == 1 and not hasattr(sys, "last_value")  # arguments may select a part
    by_root: dict[str, list[Instance]] = {}
    for instance in called_instances.made():
        by_root.setdefault(instance.project_root, []).append(instance)
    for root, instances in by_root.items():
        declared_history.note_script(Path(root), script, instances, complete=is_whole)


def _script() -> Path | None:
    """Return the conductor that Python is running; None in notebooks and in installed programs."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    path = Path(file).resolve() if file else None
    if path is None or path.suffix != ".py" or "site-packages" in path.parts or looks_like_flow(path):
        return None
    return path


def _answer_all(instances: list[Instance], given: Answers) -> None:
    """Take the results of instances that ran under pytest, and run those that were not collected.

    Raises:
        SweepFailed: If some have failed.
    """
    __tracebackhide__ = True
    known = [(instance, given.record_of(instance)) for instance in instances]
    failed = [record for _, record in known if record is not None and not record.status.good]
    failed += _run_all([instance for instance, record in known if record is None])
    _raise_if_any(failed, len(instances))


@lru_cache
def _report_of(root: Path) -> LiveReport:
    """Return the report of a script's run, shared by all its calls of `conduct`."""
    from ..report.live import LiveReport

    report = LiveReport(root, command=shlex.join(["python", sys.argv[0]]))
    atexit.register(report.finish, "finished")
    return report


def _report_of_script(instance: Instance) -> LiveReport | None:
    """Return the report to which a single call of a conductor belongs; None for other callers.

    A flow that runs itself from the command line, a build and a notebook are not conductors: a page
    with their one row would replace that of the sweep.
    """
    script = Path(sys.argv[0]).resolve()
    is_conductor = script.is_file() and script == Path(instance.source).resolve()
    if not is_conductor or looks_like_flow(script) or answers.current() is not None:
        return None
    return _report_of(Path(instance.project_root))


def _run_all(instances: list[Instance]) -> list[Record]:
    """Run instances one after the other with a progress bar, and keep the report up to date.

    Returns:
        The records of those that failed.
    """
    from tqdm.auto import tqdm

    if not instances:
        return []
    settings = _settings()
    failed: list[Record] = []
    counts = dict.fromkeys((Status.SUCCESS, Status.WARNING, Status.ERROR), 0)
    is_part = (
        run_files.surrounding_build() is not None or answers.current() is not None
    )  # of a run that has a report
    report = None if is_part else _report_of(Path(instances[0].project_root))
    for instance in instances:
        if report is not None:
            report.add(_id_of(instance), instance, _repeat_command(instance))
    if report is not None:
        report.follow()
    with tqdm(instances, desc=instances[0].step, unit="instance") as bar:
        for instance in bar:
            record = _run_reported(instance, settings, report, page_may_follow=True)
            counts[record.status] += 1
            bar.set_postfix_str(" ".join(f"{SIGNS[status]} {n}" for status, n in counts.items() if n))
            if record.status is Status.ERROR:
                failed.append(record)
                tqdm.write(f"🔴 {record.step}/{record.instance}: {record.message} ({record.run_dir})")
    _finish_pages()
    return failed


def _finish_pages() -> None:
    """Wait for pages, so that code after a call finds them; their problems are in the records."""
    if (runner := sys.modules.get("pytest_ductaflow.running.run_instance")) is not None:
        runner.finish()


def _raise_if_any(failed: list[Record], number: int) -> None:
    """Raise an error that names the instances that failed, if any.

    Raises:
        SweepFailed: If any failed.
    """
    __tracebackhide__ = True
    if failed:
        names = ", ".join(f"{record.step}/{record.instance}" for record in failed)
        _quiet_traceback()
        raise SweepFailed(f"{len(failed)} of {number} instances failed: {names}")


def _run_reported(
    instance: Instance, settings: Settings, report: LiveReport | None, *, page_may_follow: bool = False
) -> Record:
    _quiet_traceback()
    if report is not None:
        report.started(_id_of(instance))
    with unobserved():  # in a build's kernel, files used to run its flows are not its inputs
        from ..running.run_instance import run

        record = run(instance, settings, page_may_follow=page_may_follow)
    if report is not None:
        report.ended(_id_of(instance), record)
    return record


def _id_of(instance: Instance) -> str:
    """Return the node id that the instance would have under pytest in the project root."""
    source = run_files.shown(instance.source, instance.project_root)
    return f"{source}::{slug(instance.step)}::{slug(instance.name)}"


def _repeat_command(instance: Instance) -> str:
    return f"pytest --ductaflow {shlex.quote(_id_of(instance))}"


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
    _not_while_pytest_imports("run_notebook", origin)
    try:
        config = _config_of(config, origin)
    except DuctaflowError as error:
        return _not_declared(error, origin, _root_of(origin))
    given_root = project_root or config.get("_project_root")
    root = Path(given_root).resolve() if given_root else _root_of(origin)
    places = (Path(notebooks_dir),) if notebooks_dir else (Path.cwd(), root)

    def declare() -> Instance:
        given = _from_here(execution_dir) if execution_dir else None
        directory = _run_directory(given, root) if given else _changed_directory(root)
        declared = partial(declare_call, find_flow(notebook_file, places), config, root=root, origin=origin)
        instance = declared(run_dir=directory, runs=_runs_of_this_build())
        if directory is None and (folder := _folder_of_build(config)) is not None:
            beside = declared(run_dir=_run_directory(folder, root))
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
    _not_while_pytest_imports("run_step_flow", origin)
    try:
        config = _config_of(config, origin)
    except DuctaflowError as error:
        return _not_declared(error, origin, _root_of(origin))
    root = Path(config["_project_root"]) if config.get("_project_root") else _root_of(origin)

    def declare() -> Instance:
        return declare_call(
            find_flow(notebook_path or notebook_file, (Path.cwd(), root)),
            config,
            root=root,
            origin=origin,
            step=step_name,
            name=f"{instance_name}{suffix}",
            runs=_runs_of_this_build(),
        )

    return _run_one(declare, origin, root, no_execute=bool(config.get("_no_execute")))


def _run_one(declare: Callable[[], Instance], origin: Origin, root: Path, *, no_execute: bool) -> Path:
    """Run, record or lay out the instance of one call.

    While a conductor is collected, problems of a call are recorded, not raised: many conductors have their
    calls in `try:` and would continue without the instance, which would then be missing silently.
    """
    __tracebackhide__ = True
    _quiet_traceback()
    try:
        instance = declare()
        flow, is_configured = Path(instance.flow), bool(instance.config)
        if problem := flow_problem(
            flow, origin.at(root), root, is_configured=is_configured, keys=instance.config
        ):
            raise TableError([problem])
    except DuctaflowError as error:
        return _not_declared(error, origin, root)
    files = RunFiles.of(instance)
    if recording.is_recording():
        called_instances.note([] if no_execute else [instance])
        recording.record([] if no_execute else [instance])
        return files.notebook
    if no_execute:
        return _lay_out(instance, files)
    _tell_overwritten([instance])
    _note([instance], at_once=False)
    given = answers.current()
    record = given.record_of(instance) if given is not None else None
    if record is None:
        record = _run_told(instance)
    if record.error is not None:
        from ..running.run_failure import FlowExecutionError

        raise FlowExecutionError(_failure_line(record, record.error), record)
    return files.notebook


def _not_declared(error: DuctaflowError, origin: Origin, root: Path) -> Path:
    """Record a call's problem while a conductor is collected, and return a path to continue with.

    Raises:
        DuctaflowError: The given error, at any other time.
    """
    __tracebackhide__ = True
    if not recording.is_recording():
        _quiet_traceback()
        raise error
    known = error.problems if isinstance(error, TableError) else [Problem(origin.at(root), str(error))]
    recording.record([], known)
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
    places = dict.fromkeys((Path.cwd(), _root_of(origin)))
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


def _run_told(instance: Instance) -> Record:
    """Run the instance of a single call, and print how it ended."""
    report = _report_of_script(instance)
    if report is not None:
        report.add(_id_of(instance), instance, _repeat_command(instance))
        report.follow()
    record = _run_reported(instance, _settings(), report)
    took = f"{record.duration:.1f} s" if record.duration is not None else ""
    done = "unchanged" if record.unchanged else took
    print(f"{SIGNS[record.status]} {instance.stem} {done} {record.run_dir}", flush=True)
    return record


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
    from ..running.prepare import prepare_notebook
    from ..sources.notebooks import read_flow

    source = read_flow(Path(instance.flow))
    run_files.write_config(files, instance.full_config)
    kernel = choose_kernel(source, instance.kernel_name, _settings().kernel)
    notebook = prepare_notebook(source, instance.full_config, kernel.name, kernel.language)
    run_files.write_atomic(files.notebook, nbformat.writes(notebook) + "\n")
    print(f"Laid out, not run: {files.directory}")
    return files.notebook


def debug_flow(
    flow_path: str | Path,
    execution_dir: str | Path,
    config: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Path:
    """Set up a run directory without running, and print an entry for VS Code's `launch.json`.

    Args:
        flow_path: The flow or build.
        execution_dir: The run directory.
        config: The config; by default that of the earlier run in `execution_dir`.
        force: Whether to delete the directory first, if the flow was laid out or run in it before.

    Returns:
        The run directory.

    Raises:
        DuctaflowError: If there is no config, or the directory to delete is not a run directory of the flow.
    """
    _not_while_pytest_imports("debug_flow", caller())
    directory, stem = Path(execution_dir), stem_of(flow_path)
    if config is None:
        earlier = [
            directory / f"{stem}_config.json",
            directory / "config.json",
            directory / f"{directory.name}_config.json",
        ]
        found = next((path for path in earlier if path.is_file()), None)
        if found is None:
            raise DuctaflowError(f"no config given, and {directory} has none of an earlier run")
        config = json.loads(found.read_text(encoding="utf-8-sig"))
        print(f"Config of the earlier run: {found}")
    if force and directory.exists() and not recording.is_recording():
        _check_run_directory(directory, stem, find_flow(flow_path, (Path.cwd(), _root_of(caller()))))
        shutil.rmtree(directory)
    run_notebook(flow_path, config=config, execution_dir=directory, no_execute=True)
    from .debugging import MODULE, command_for

    flow = run_files.shown(find_flow(flow_path, (Path.cwd(), _root_of(caller()))), Path.cwd())
    launch = {
        "name": f"Debug {stem} - {directory.name}",
        "type": "debugpy",
        "request": "launch",
        "module": MODULE,
        "args": [f"${{workspaceFolder}}/{flow}", f"{stem}_config.json"],
        "cwd": f"${{workspaceFolder}}/{run_files.shown(directory.resolve(), Path.cwd())}",
        "console": "integratedTerminal",
        "justMyCode": False,
    }
    print("Add to the configurations in .vscode/launch.json, set breakpoints in the flow, press F5:")
    print(json.dumps(launch, indent=4))
    print(
        f"Without an IDE: {command_for(flow, run_files.shown(directory / f'{stem}_config.json', Path.cwd()))}"
    )
    return directory


def _check_run_directory(directory: Path, stem: str, flow: Path) -> None:
    """Refuse to delete a folder that is not just a run directory of a flow.

    Raises:
        DuctaflowError: If it is refused, with the reason.
    """
    real, inside = directory.resolve(), next(directory.iterdir(), None) if directory.is_dir() else directory
    within = [
        place for place in (Path.cwd(), _root_of(caller()), flow.resolve()) if place.is_relative_to(real)
    ]
    config = RunFiles(directory, stem).config
    if within:
        why = f"{within[0]} lies in it"
    elif directory.is_symlink():
        why = "it is a link"
    elif inside is not None and not run_files.is_past_config(config):
        why = f"it has no {config.name} with the notebook, log or record of a run"
    else:
        return
    raise DuctaflowError(f"debug_flow(force=True) does not delete {directory}: {why}")


def _not_while_pytest_imports(call: str, origin: Origin) -> None:
    """Refuse a call made while pytest, without `--ductaflow`, imports the module to look for tests.

    Raises:
        Refused: In that case, before anything is done.
    """
    if pytest_imports.is_importing():
        line = f":{origin.line}" if origin.line else ""
        pytest_imports.refuse(f"{run_files.shown(origin.file, Path.cwd())}{line}: {call}()")


def _root_of(origin: Origin) -> Path:
    """Return the project of the calling file, or of the working directory if there is none (a notebook)."""
    if (told := recording.project_root()) is not None:
        return told
    if (given := answers.current()) is not None:
        return given.root
    with unobserved():
        path = Path(origin.file)
        return project_root_of(path.resolve() if path.is_file() else Path.cwd())


_started_in = os.getcwd()


def _changed_directory(root: Path) -> Path | None:
    """Return the working directory if code has changed it to another directory of the project, else None.

    Projects made for early releases of ductaflow change into the run directory and call `run_notebook`.
    """
    here = os.getcwd()
    inside = os.path.join(os.path.realpath(root), "")
    began = _started_in if run_files.surrounding_build() is None else run_files.build_began_in()
    has_changed = os.path.realpath(here) not in (os.path.realpath(began), inside.rstrip(os.sep))
    is_inside = os.path.join(os.path.realpath(here), "").startswith(inside)
    return _run_directory(here, root) if has_changed and is_inside else None


def _run_directory(given: str | Path, root: Path) -> Path:
    """Return a run directory under the root without resolving links: `runs/` may link to a larger disk."""
    path = os.path.abspath(given)
    real_root = os.path.realpath(root)
    inside = os.path.relpath(path, real_root)
    is_inside = not inside.startswith(os.pardir) and not os.path.isabs(inside)
    return root / inside if is_inside else Path(path)


def _from_here(directory: str | Path) -> Path:
    """Return a directory as a call means it: in a build relative to the build's, wherever the build runs."""
    return (run_files.place_in_build() or Path.cwd()) / directory


def _folder_of_build(config: Mapping[str, Any]) -> Path | None:
    """Return the run directory of the surrounding build for a flow without its own name, else None."""
    build = run_files.surrounding_build()
    if build is None:
        return None
    folder = build[0].parent
    return folder if config.get("instance_name") in (None, "", folder.name) else None


def _is_free(instance: Instance) -> bool:
    """Return whether an instance's files are neither the build's own nor those of another call in it."""
    build, journal = run_files.surrounding_build(), RunFiles.of(instance).journal
    is_build = build is not None and build[0] == journal
    other = called_instances.earlier(instance)
    return not is_build and (other is None or other.config == instance.config)


def _runs_of_this_build() -> Path | None:
    """Return the folder for a build's flows without their own directory; None outside of a build."""
    place = run_files.place_in_build()
    return None if place is None else place / RUNS


def _settings() -> Settings:
    if (build := run_files.surrounding_build()) is not None:
        return Settings.loads(build[1])
    if (given := answers.current()) is not None:
        return Settings.loads(given.settings)
    return Settings(force=True)  # an explicit call always runs


def _quiet_traceback() -> None:
    """Print our uncaught errors, and Ctrl-C while we run, without our frames; only in a plain script."""
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _excepthook


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    places = list(_places(trace))
    users = [place for place in places if place]
    if isinstance(error, DuctaflowError):
        print(f"{users[-1] if users else ''}{kind.__name__}: {error}", file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt) and "" in places[1:]:
        told = "stopped by the keyboard; the same command goes on with what has not ended"
        print(f"{places[places.index('') - 1]}{told}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _places(trace: TracebackType | None) -> Iterator[str]:
    """Yield the lines that lead to an error as `file:line: `, and "" for each of our own."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        yield "" if file.startswith((PACKAGE, "<frozen")) else f"{file}:{trace.tb_lineno}: "
        trace = trace.tb_next
