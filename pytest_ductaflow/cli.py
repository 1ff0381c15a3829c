"""Provide the command `ductaflow`, which works on `runs/` outside of a session."""

from __future__ import annotations

import datetime
import os
import shlex
import sys
from pathlib import Path

import click
import pytest

from .core.errors import DuctaflowError
from .core.instance import RUNS
from .core.run_files import RunFiles, display_path
from .core.settings import Settings
from .core.system.instance_lock import held
from .gate.instance_file import FILE, is_stored
from .gate.store_run import (
    DEFAULT_FOLDER,
    StoredResult,
    StoreOptions,
    store_run,
    stored_before,
    ways_of_comparing,
)
from .planning.discovery import project_root
from .planning.history import remove_runs
from .planning.history.declared_history import DeclaredRecords
from .planning.processes.stay_warm import warm_processes
from .plugin import settings_of
from .pytest_hooks.github import append_summary, ended_of_rows
from .report.failure_text import quoted
from .report.from_records import write_archive, write_report
from .report.merge_shards import Merged
from .report.merge_shards import merge as merge_shards
from .running.clean_start import Restored, flow_of_earlier_run
from .running.clean_start import restore as restore_run

_REFUSED = 2  # exit code; 1 means that instances failed
_SHOWN = 20  # problems or links shown


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pytest-ductaflow")
def main() -> None:
    """Work with the run directories that `pytest --ductaflow` leaves."""


@main.command()
@click.option("--stop", is_flag=True, help="End them; one that a session is using ends with that session.")
def warm(*, stop: bool) -> None:
    """List the processes that `--ductaflow-keep-warm` has left behind for the next session."""
    found = warm_processes(stop=stop)
    for each in found:
        use = f"in use by {each.children} process{'es' * (each.children != 1)}" if each.children else "idle"
        stays = f"for {each.left / 60:.0f} min more" if each.left > 0 else "still starting"
        until = "ended" if stop and not each.children else "ends after that" if stop else stays
        stale = f"; not used any more, as {each.stale} has changed" if each.stale else ""
        click.echo(f"{each.kind}: {use}, {until}{stale}")
    if not found:
        click.echo("no process is kept warm")


@main.command()
@click.argument("shard_runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    "target",
    default="runs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder of the result.",
)
@click.option("--partial", is_flag=True, help="Merge though shards are missing.")
def merge(shard_runs: tuple[Path, ...], target: Path, *, partial: bool) -> None:
    """Merge the runs/ of all jobs that shared the work by --ductaflow-shard.

    SHARD_RUNS are the runs/ of each job, or the folders that hold them. The exit code is 1 if an instance
    failed or did not run, and 2 if they cannot be merged.
    """
    command = shlex.join(["ductaflow", *sys.argv[1:]])
    try:
        merged = merge_shards(shard_runs, target, command=command, partial=partial)
    except DuctaflowError as error:
        raise _Refusal(str(error)) from None
    _tell(merged)
    path = os.environ.get("GITHUB_STEP_SUMMARY", "")
    if os.environ.get("GITHUB_ACTIONS") == "true" and path:
        ended_instances = ended_of_rows(merged.rows)
        if problem := append_summary(path, ended_instances, f"ductaflow, {len(shard_runs)} shards"):
            click.echo(problem, err=True)
    sys.exit(1 if merged.problems else 0)


@main.command()
@click.argument("runs", default="runs", type=click.Path(path_type=Path))
@click.option(
    "--zip", "archive", type=click.Path(path_type=Path), metavar="FILE", help="Also write an archive."
)
def report(runs: Path, archive: Path | None) -> None:
    """Make the report of RUNS (runs) from its records alone.

    Instances that no conductor, table or flow declares any more are left out. With --zip the report, and the
    pages, logs, configs and figures that it links to, go into one archive that opens elsewhere. The exit code
    is 2 if there are no records.
    """
    runs = Path(os.path.abspath(runs))
    runs = runs / RUNS if runs.name != RUNS and (runs / RUNS).is_dir() else runs
    known = DeclaredRecords(runs.parent)
    try:
        path = write_report(runs, shlex.join(["ductaflow", *sys.argv[1:]]), known.is_declared)
        click.echo(f"report: {Path(os.path.relpath(path)).as_posix()}")
        if archive is not None:
            missing = write_archive(path, archive)
            left = f"; {missing} linked files are not in it, as they are not in {RUNS}/" if missing else ""
            click.echo(f"archive: {archive.as_posix()}{left}")
    except DuctaflowError as error:
        raise _Refusal(str(error)) from None


@main.command()
@click.argument("run_dirs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), help="Folder of stored instances (tests/instances).")
@click.option("--output", "outputs", multiple=True, metavar="GLOB", help="Which outputs are compared.")
@click.option("--digest", "digests", multiple=True, metavar="GLOB", help="Outputs stored as a digest only.")
@click.option("--inputs", is_flag=True, help="Store copies of what it read in runs/, and let it read these.")
@click.option("--flow", help="Which flow, where several share the run directory.")
@click.option("--limit", type=float, metavar="MB", help="How large an output may be (5).")
@click.option("--replace", is_flag=True, help="Replace what is stored already, but keep its tolerances.")
@click.option("--check", is_flag=True, help="Write nothing; say what a replay would compare, and how.")
def store(
    run_dirs: tuple[Path, ...],
    to: Path | None,
    outputs: tuple[str, ...],
    digests: tuple[str, ...],
    *,
    inputs: bool,
    flow: str | None,
    limit: float | None,
    replace: bool,
    check: bool,
) -> None:
    """Store runs in the repo, so that `pytest --ductaflow` can replay them and compare what they write.

    RUN_DIRS are run directories, such as runs/analysis/scenario_A. The config and all outputs except
    notebooks, HTML pages and logs are stored; --output chooses others. If a run cannot be stored, nothing of
    it is written and the exit code is 2. With --check, RUN_DIRS may also be stored instances, such as
    tests/instances/analysis/scenario_A.
    """
    refused = False
    for run_dir in (Path(os.path.abspath(run_dir)) for run_dir in run_dirs):
        try:
            settings, root, not_entered = _project_of(run_dir)
            options = StoreOptions(
                to=Path(os.path.abspath(to)) if to else root / next(iter(settings.instances), DEFAULT_FOLDER),
                flow=flow,
                outputs=outputs,
                digests=digests,
                limit=settings.store_limit if limit is None else limit,
                inputs=inputs,
                replaces=replace,
                default_kernel=settings.kernel or StoreOptions.default_kernel,
                not_entered=not_entered,
                only_checks=check,
            )
            is_there = check and is_stored(run_dir / FILE)
            found = stored_before(run_dir) if is_there else store_run(run_dir, root, options)
            (_tell_checked if check else _tell_stored)(found)
        except DuctaflowError as error:
            click.echo(f"Error: {error}", err=True)
            refused = True
    sys.exit(_REFUSED if refused else 0)


@main.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--flow", help="Which flow, where several share the run directory.")
def restore(run_dir: Path, *, flow: str | None) -> None:
    """Restore the last good run of an instance, after one that failed or went wrong.

    RUN_DIR is a run directory, such as runs/analysis/scenario_A. Its present run is deleted if it failed,
    else exchanged with the restored one. The exit code is 2 if there is nothing to restore.
    """
    run_dir = Path(os.path.abspath(run_dir))
    try:
        settings, root, _ = _project_of(run_dir)
        stem = flow_of_earlier_run(run_dir, root, flow)
        files, label = RunFiles(run_dir, stem), display_path(run_dir, root)
        with held(files, root, label, wait=False, say=click.echo):
            restored = restore_run(files, root, settings.keep)
    except (DuctaflowError, OSError) as error:
        raise _Refusal(str(error)) from None
    _tell_restored(restored, label)


def _tell_restored(restored: Restored, label: str) -> None:
    record, replaced = restored.record, restored.replaced
    ran = datetime.datetime.fromisoformat(record.started).astimezone()
    count = len(record.outputs)
    files = f"{count} file{'s' * (count != 1)} that its flow wrote"
    click.echo(f"{label}: back is the run of {ran:%Y-%m-%d %H:%M} ({record.status}), {files}")
    if replaced is not None and replaced.status.good:
        click.echo("the run that was there ended well, too: restore once more to change back")
    elif replaced is not None:
        click.echo("what the run that failed had written is deleted")
    for flow in restored.missing:
        click.secho(f"note: {flow} is as a later run has left it; its earlier one is not kept", fg="yellow")


@main.command()
@click.argument("run_dirs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--undeclared",
    is_flag=True,
    help="RUN are folders: remove what in them belongs to no instance any more.",
)
@click.option("--yes", is_flag=True, help="Do not ask first.")
def rm(run_dirs: tuple[Path, ...], *, undeclared: bool, yes: bool) -> None:
    """Remove run directories, such as runs/analysis/scenario_A.

    If RUN is not the run directory of a record, nothing is removed and the exit code is 2. With --undeclared,
    RUN is a folder (runs, or runs/analysis): removed are the run directories in it that no conductor, table
    or flow declares any more, by the notes of the last sessions and scripts in runs/.declared, and files of
    flows that are gone.
    """
    try:
        if undeclared:
            found = [each for folder in run_dirs for each in remove_runs.undeclared(folder)]
        else:
            found = remove_runs.removals(run_dirs)
        if not found:
            click.echo("nothing to remove: there is an instance to all that is there")
        elif not yes:
            for removal in found:
                click.echo(removal.text)
            click.confirm("Remove?" if len(found) == 1 else f"Remove these {len(found)}?", abort=True)
        for removal in found:
            remove_runs.remove(removal)
            click.echo(f"removed {removal.text}")
    except DuctaflowError as error:
        raise _Refusal(str(error)) from None


def _project_of(path: Path) -> tuple[Settings, Path, tuple[str, ...]]:
    """Read the ini file that pytest would find for a path.

    Returns:
        The settings, the path's project root, and the patterns of folders that pytest does not enter.

    Raises:
        DuctaflowError: If a setting is invalid.
    """
    try:
        config = pytest.Config.fromdictargs({}, ["--noconftest", str(path)])
        settings = settings_of(config)
    except pytest.UsageError as error:
        raise DuctaflowError(str(error)) from None
    root = project_root(path, settings, config.invocation_params.dir, config.rootpath)
    return settings, root, tuple(config.getini("norecursedirs"))


def _tell_checked(checked: StoredResult) -> None:
    folder = Path(os.path.relpath(checked.folder)).as_posix()
    count = len(checked.stored.names)
    outputs = f"{count} output{'s' * (count != 1)}"
    click.echo(f"{folder}: a replay would run {checked.stored.flow} and compare {outputs}")
    for name, way in ways_of_comparing(checked.stored):
        click.echo(f"  {name}: {way}")
    for note in checked.notes:
        click.secho(f"note: {note}", fg="yellow")
    click.echo("nothing has been run or written")


def _tell_stored(written: StoredResult) -> None:
    folder = Path(os.path.relpath(written.folder)).as_posix()
    names = sorted(written.stored.names)
    click.echo(f"{folder}: {len(names)} output{'s' * (len(names) != 1)}")
    for name in names:
        click.echo(f"  {name}{'  (digest)' if name in written.stored.digests else ''}")
    for note in written.notes:
        click.secho(f"note: {note}", fg="yellow")
    click.echo(f"replay it: pytest --ductaflow {quoted(folder)}")


class _Refusal(click.ClickException):
    exit_code = _REFUSED


def _tell(merged: Merged) -> None:
    for problem in merged.problems[:_SHOWN]:
        click.echo(problem)
    if len(merged.problems) > _SHOWN:
        click.echo(f"… and {len(merged.problems) - _SHOWN} more")
    if merged.links:
        more = f" and {len(merged.links) - _SHOWN} more" if len(merged.links) > _SHOWN else ""
        names = ", ".join(merged.links[:_SHOWN]) + more
        click.secho(f"note: links that lead out of runs/ are left out: {names}", fg="yellow")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(merged.counts.items()))
    click.echo(f"{sum(merged.counts.values())} instances: {counts or 'none'}")
    click.echo(f"report: {merged.report.as_posix()}")


if __name__ == "__main__":
    main()
