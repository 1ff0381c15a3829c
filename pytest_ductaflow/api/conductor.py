"""The API of a conductor and of a build: the same calls run instances, or are recorded.

Run as a script, in a notebook or inside a build, a call carries its instances out there and then.
Collected by `pytest --ductaflow`, it notes them (see `recording`) and returns at once.
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
    """Spread a flow or build over the rows of a control table: every row is an instance.

    Args:
        flow: Path of the flow, relative to the project root; a bare name is looked for in `flows/`
            and `builds/`.
        table: A DataFrame, a list of dicts, or a `.csv`, `.parquet`, `.xlsx`, `.json` or `.jsonl`
            file. The column `instance_name` names the instances, `step` their step; all others are
            config. Dotted columns nest (`processing.param1`); an empty cell means "not set".
        step: Folder under `runs/`; by default the flow's stem less a leading number.
        base: Config under every row.
        config: A function from a row (a dict without empty cells) to its config, in place of the row.
        after: Instances (as this function returns them) that have to end well before these start.
        keep: Patterns of files and folders in the run directories (checkpoints, caches) that the next run
            finds again; all else that an instance wrote is moved aside before it runs again.
        cwd: Where the flow runs, and its relative paths begin: in the run directory (`run`), in the flow's
            own folder (`flow`) or in the project root (`project`).

    Returns:
        The instances, in the order of the table.

    Raises:
        TableError: With all problems of the table; nothing has run then. While pytest collects, the
            problems are noted instead.
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
    for note in made.notes if answers.current() is None else ():  # else pytest has told them
        warnings.warn_explicit(note, UserWarning, origin.file, origin.line or 1)
    _tell_overwritten(made.instances)
    _note(made.instances, at_once=True)
    if (given := answers.current()) is not None:
        _answer_all(made.instances, given)
    else:
        _raise_if_any(_run_all(made.instances), len(made.instances))
    return made.instances


def _tell_overwritten(instances: list[Instance]) -> None:
    """Warn of instances of a script that overwrite what an earlier call of it has run with another config.

    A script may do so on purpose, in a loop that calibrates, say. pytest refuses it, as all instances are to
    be there at its end. In a notebook a call is made again with another config, and a build may run its
    flows in turns.
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
    """Note what a call is going to run; of a conductor also for other processes, at the latest at its end."""
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
    """Note what a conductor has run, now that it has ended."""
    is_whole = len(sys.argv) == 1 and not hasattr(sys, "last_value")  # arguments may leave out a part
    by_root: dict[str, list[Instance]] = {}
    for instance in called_instances.made():
        by_root.setdefault(instance.project_root, []).append(instance)
    for root, instances in by_root.items():
        declared_history.note_script(Path(root), script, instances, complete=is_whole)


def _script() -> Path | None:
    """The conductor that Python is running; None in a notebook, and in programs that are installed."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    path = Path(file).resolve() if file else None
    if path is None or path.suffix != ".py" or "site-packages" in path.parts or looks_like_flow(path):
        return None
    return path


def _answer_all(instances: list[Instance], given: Answers) -> None:
    """Tell of instances that have run under pytest, and run those that nobody collected.

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
    """The report of a script's run, shared by all its calls of `conduct`."""
    from ..report.live import LiveReport

    report = LiveReport(root, command=shlex.join(["python", sys.argv[0]]))
    atexit.register(report.finish, "finished")
    return report


def _report_of_script(instance: Instance) -> LiveReport | None:
    """The report to which a single call of a conductor belongs; None for other callers.

    A flow that runs itself from the command line, a build and a notebook are no conductors: a page
    with their one row would replace that of the sweep.
    """
    script = Path(sys.argv[0]).resolve()
    is_conductor = script.is_file() and script == Path(instance.source).resolve()
    if not is_conductor or looks_like_flow(script) or answers.current() is not None:
        return None
    return _report_of(Path(instance.project_root))


def _run_all(instances: list[Instance]) -> list[Record]:
    """Run one after the other behind a progress bar; the report follows.

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
    )  # of what has a report
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
    """Let the pages be there for what comes after a call; their problems are in the records."""
    if (runner := sys.modules.get("pytest_ductaflow.running.run_instance")) is not None:
        runner.finish()


def _raise_if_any(failed: list[Record], number: int) -> None:
    """Say which of a number of instances have failed.

    Raises:
        SweepFailed: If there are any.
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
    with unobserved():  # in the kernel of a build, what runs its flows is no input of it
        from ..running.run_instance import run

        record = run(instance, settings, page_may_follow=page_may_follow)
    if report is not None:
        report.ended(_id_of(instance), record)
    return record


def _id_of(instance: Instance) -> str:
    """The node id that the instance would have under pytest in the project root."""
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
        notebooks_dir: Where the flow lies.
        config: The config, or the path of a JSON file that holds it; `_project_root` is added.
        output_suffix: What the executed notebook is called after the flow's stem.
        kernel_name: Jupyter kernel, whatever the flow names; by default that one, else `python3`.
        timeout: Seconds for each cell, as in papermill; `_timeout` in the config is for all of the run.
        export_html: Whether to write the notebook as HTML, too.
        execution_dir: The run directory; by default the working directory, if the caller has changed into
            one of the project, else `runs/{flow}/{config["instance_name"] or a short hash of the config}`.
            In a build, a flow without a name of its own runs in the build's run directory, the first time.
        project_root: The project; by default `config["_project_root"]`, or that of the calling file.
        no_execute: Lay out the directory (config, notebook ready to run) without running.

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
        suffix: Put after the instance's name, when the same flow runs more than once.
        notebook_path: The older name of `notebook_file`.

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

    While a conductor is collected, what is wrong with a call is noted and not raised: many a conductor
    has its calls in `try:` and would go on without the instance, which would then be missing in silence.
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
    """Note what is wrong with a call while a conductor is collected, and return something to go on with.

    Raises:
        DuctaflowError: The same, at any other time.
    """
    __tracebackhide__ = True
    if not recording.is_recording():
        _quiet_traceback()
        raise error
    known = error.problems if isinstance(error, TableError) else [Problem(origin.at(root), str(error))]
    recording.record([], known)
    return root / RUNS


def _config_of(given: Any, origin: Origin) -> dict[str, Any]:
    """The config that a call gives, as it is or as the path of a file.

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
    """Set a run directory up without running, and print an entry for VS Code's `launch.json`.

    Args:
        flow_path: The flow or build.
        execution_dir: The run directory.
        config: The config; by default that of the earlier run in `execution_dir`.
        force: Delete the directory first, if it is one in which the flow was laid out or run before.

    Returns:
        The run directory.

    Raises:
        DuctaflowError: If there is no config, or the directory to be deleted is no run directory of the flow.
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
    """Refuse a folder that is not just a run directory of a flow.

    Raises:
        DuctaflowError: Then, with the reason.
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
    """Refuse a call at the top of a module that pytest, without `--ductaflow`, imports to look for tests.

    Raises:
        Refused: Then, and before anything has been done.
    """
    if pytest_imports.is_importing():
        line = f":{origin.line}" if origin.line else ""
        pytest_imports.refuse(f"{run_files.shown(origin.file, Path.cwd())}{line}: {call}()")


def _root_of(origin: Origin) -> Path:
    """The project of a calling file; of the working directory where there is no file (a notebook)."""
    if (told := recording.project_root()) is not None:
        return told
    if (given := answers.current()) is not None:
        return given.root
    with unobserved():
        path = Path(origin.file)
        return project_root_of(path.resolve() if path.is_file() else Path.cwd())


_started_in = os.getcwd()


def _changed_directory(root: Path) -> Path | None:
    """The working directory if code has changed it since it began, to another one of the project.

    Projects made for early releases of ductaflow change into the run directory and call `run_notebook`.
    """
    here = os.getcwd()
    inside = os.path.join(os.path.realpath(root), "")
    began = _started_in if run_files.surrounding_build() is None else run_files.build_began_in()
    has_changed = os.path.realpath(here) not in (os.path.realpath(began), inside.rstrip(os.sep))
    is_inside = os.path.join(os.path.realpath(here), "").startswith(inside)
    return _run_directory(here, root) if has_changed and is_inside else None


def _run_directory(given: str | Path, root: Path) -> Path:
    """A run directory as the project calls it: `runs/` may be a link to a larger disk."""
    path = os.path.abspath(given)
    real_root = os.path.realpath(root)
    inside = os.path.relpath(path, real_root)
    is_inside = not inside.startswith(os.pardir) and not os.path.isabs(inside)
    return root / inside if is_inside else Path(path)


def _from_here(directory: str | Path) -> Path:
    """A directory as a call means it: in a build from the build's own, wherever else that runs."""
    return (run_files.place_in_build() or Path.cwd()) / directory


def _folder_of_build(config: Mapping[str, Any]) -> Path | None:
    """The run directory of the build around this call, for a flow that has no name of its own."""
    build = run_files.surrounding_build()
    if build is None:
        return None
    folder = build[0].parent
    return folder if config.get("instance_name") in (None, "", folder.name) else None


def _is_free(instance: Instance) -> bool:
    """Whether the files of an instance are none of the build's own, or of another call in it."""
    build, journal = run_files.surrounding_build(), RunFiles.of(instance).journal
    is_build = build is not None and build[0] == journal
    other = called_instances.earlier(instance)
    return not is_build and (other is None or other.config == instance.config)


def _runs_of_this_build() -> Path | None:
    """Inside a build, flows without a directory of their own go into the build's run directory."""
    place = run_files.place_in_build()
    return None if place is None else place / RUNS


def _settings() -> Settings:
    if (build := run_files.surrounding_build()) is not None:
        return Settings.loads(build[1])
    if (given := answers.current()) is not None:
        return Settings.loads(given.settings)
    return Settings(force=True)  # who calls wants it run


def _quiet_traceback() -> None:
    """In a plain script, let an uncaught error of ours, or Ctrl-C while we run, end without our frames."""
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
    """The lines on the way to an error as `file:line: `, each of our own as ""."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        yield "" if file.startswith((PACKAGE, "<frozen")) else f"{file}:{trace.tb_lineno}: "
        trace = trace.tb_next
