"""Store runs in the repo: `store`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from ..core.errors import DuctaflowError
from ..gate.instance_file import FILE, is_stored
from ..gate.store_run import (
    DEFAULT_FOLDER,
    StoredResult,
    StoreOptions,
    store_run,
    stored_before,
    ways_of_comparing,
)
from ..report.failure_text import quoted
from .shared.find_run import RUN, path_of_run
from .shared.project import settings_and_root
from .shared.refusal import REFUSED


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=RUN)
@click.option("--to", type=click.Path(path_type=Path), help="Folder of stored instances (tests/instances).")
@click.option("--output", "outputs", multiple=True, metavar="GLOB", help="Which outputs are compared.")
@click.option("--digest", "digests", multiple=True, metavar="GLOB", help="Outputs stored as a digest only.")
@click.option("--inputs", is_flag=True, help="Store copies of what it read in runs/, and let it read these.")
@click.option("--flow", help="Which flow, where several share the run directory.")
@click.option("--limit", type=float, metavar="MB", help="How large an output may be (5).")
@click.option("--replace", is_flag=True, help="Replace what is stored already, but keep its tolerances.")
@click.option("--check", is_flag=True, help="Write nothing; say what a replay would compare, and how.")
def store(
    runs: tuple[str, ...],
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

    The config and all outputs except notebooks, HTML pages and logs are stored; --output chooses others. If a
    run cannot be stored, nothing of it is written and the exit code is 2. With --check, RUN may also be a
    stored instance, such as tests/instances/analysis/scenario_A.
    """
    refused = False
    for run in runs:
        try:
            run_dir = path_of_run(run)
            settings, root, not_entered = settings_and_root(run_dir)
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
        except (DuctaflowError, click.ClickException) as error:
            click.echo(f"Error: {error}", err=True)
            refused = True
    sys.exit(REFUSED if refused else 0)


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
