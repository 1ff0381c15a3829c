"""Remove runs (`rm`, `gc`), and bring the last good one back (`restore`)."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import click

from ..core.errors import DuctaflowError
from ..core.instance import RUNS
from ..core.run_directory.layout import RunFiles, display_path
from ..core.system.instance_lock import held
from ..planning.history import remove_runs
from ..planning.history.remove_runs import Removal
from .shared.find_run import RUN, path_of_run
from .shared.project import project_of, settings_and_root
from .shared.refusal import Refusal


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=RUN)
@click.option("--yes", is_flag=True, help="Do not ask first.")
def rm(runs: tuple[str, ...], *, yes: bool) -> None:
    """Remove run directories with their earlier runs, such as runs/analysis/scenario_A; asks first.

    If RUN is not the run directory of a record, nothing is removed and the exit code is 2. What nothing
    declares any more is removed by `ductaflow gc`.
    """
    _remove(remove_runs.removals([path_of_run(run) for run in runs]), yes=yes)


@click.command()
@click.argument("folders", metavar="[FOLDER...]", nargs=-1, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask first.")
def gc(folders: tuple[Path, ...], *, dry_run: bool, yes: bool) -> None:
    """Remove the runs that no conductor, table or flow declares any more; asks first.

    The notes of the last sessions and scripts in runs/.declared tell what is declared. Files of flows that
    are gone are removed, too. FOLDER is a part of runs/; by default all of it.
    """
    places = folders or (project_of(Path.cwd()) / RUNS,)
    found = [
        each for folder in places if folders or folder.is_dir() for each in remove_runs.undeclared(folder)
    ]
    if not found:
        click.echo("nothing to remove: there is an instance to all that is there")
    elif dry_run:
        for removal in found:
            click.echo(f"would remove {removal.text}")
    else:
        _remove(found, yes=yes)


def _remove(found: Sequence[Removal], *, yes: bool) -> None:
    if not yes:
        for removal in found:
            click.echo(removal.text)
        click.confirm("Remove?" if len(found) == 1 else f"Remove these {len(found)}?", abort=True)
    for removal in found:
        told = removal.text  # before, as the working directory may be in it
        remove_runs.remove(removal)
        click.echo(f"removed {told}")


@click.command()
@click.argument("run", type=RUN)
@click.option("--flow", help="Which flow, where several share the run directory.")
def restore(run: str, *, flow: str | None) -> None:
    """Restore the last good run of an instance, after one that failed or went wrong.

    Its present run is deleted if it failed, else exchanged with the restored one. The exit code is 2 if
    there is nothing to restore.
    """
    from ..running.earlier_runs.restore import flow_of_earlier_run
    from ..running.earlier_runs.restore import restore as restore_run

    run_dir = path_of_run(run)
    try:
        settings, root, _ = settings_and_root(run_dir)
        stem = flow_of_earlier_run(run_dir, root, flow)
        files, label = RunFiles(run_dir, stem), display_path(run_dir, root)
        with held(files, root, label, wait=False, say=click.echo):
            restored = restore_run(files, root, settings.keep)
    except (DuctaflowError, OSError) as error:
        raise Refusal(str(error)) from None
    record, replaced = restored.record, restored.replaced
    ran = datetime.datetime.fromisoformat(record.started).astimezone()
    count = len(record.outputs)
    written = f"{count} file{'s' * (count != 1)} that its flow wrote"
    click.echo(f"{label}: back is the run of {ran:%Y-%m-%d %H:%M} ({record.status}), {written}")
    if replaced is not None and replaced.status.good:
        click.echo("the run that was there ended well, too: restore once more to change back")
    elif replaced is not None:
        click.echo("what the run that failed had written is deleted")
    for gone in restored.missing:
        click.secho(f"note: {gone} is as a later run has left it; its earlier one is not kept", fg="yellow")
