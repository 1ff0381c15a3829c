"""Make the report of runs, and merge the runs of several jobs: `report`, `merge`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from ..core.instance import RUNS
from ..report.merge_shards import Merged
from .shared.project import find_project, shown

_SHOWN = 20  # problems or links shown


@click.command()
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
    from ..pytest_hooks.mirrors.github import append_summary, ended_of_rows
    from ..report.merge_shards import merge as merge_shards

    command = shlex.join(["ductaflow", *sys.argv[1:]])
    merged = merge_shards(shard_runs, target, command=command, partial=partial)
    _tell(merged)
    path = os.environ.get("GITHUB_STEP_SUMMARY", "")
    if os.environ.get("GITHUB_ACTIONS") == "true" and path:
        ended_instances = ended_of_rows(merged.rows)
        if problem := append_summary(path, ended_instances, f"ductaflow, {len(shard_runs)} shards"):
            click.echo(problem, err=True)
    sys.exit(1 if merged.problems else 0)


@click.command()
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
    from ..planning.history.declared_history import DeclaredRecords
    from ..report.from_records import write_archive, write_report

    runs = _runs_folder(runs)
    known = DeclaredRecords(runs.parent)
    path = write_report(runs, shlex.join(["ductaflow", *sys.argv[1:]]), known.is_declared)
    click.echo(f"report: {shown(path)}")
    if archive is not None:
        missing = write_archive(path, archive)
        left = f"; {missing} linked files are not in it, as they are not in {RUNS}/" if missing else ""
        click.echo(f"archive: {archive.as_posix()}{left}")


def _runs_folder(given: Path) -> Path:
    """Return the `runs/` that is meant: a project's, or that of the project around the working directory."""
    runs = Path(os.path.abspath(given))
    if not runs.is_dir() and given == Path(RUNS) and (root := find_project(Path.cwd())) is not None:
        return root / RUNS
    return runs / RUNS if runs.name != RUNS and (runs / RUNS).is_dir() else runs


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
