"""The API of a conductor: spread a flow over a table, here and now or as test items.

Run as a script, in a notebook or inside a build, a call runs its instances immediately. Collected by
`pytest --ductaflow`, it records them (see `recorded_calls`) and returns at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import TableError
from ..core.instance import Instance, Workplace
from ..core.problem import Problem
from ..planning import called_instances, recorded_calls
from ..planning.afterwards import answers
from ..planning.caller import caller
from ..planning.declare_table import ConfigOfRow, TableDeclaration
from ..planning.reserved_columns import After
from ..sources.instance_names import collisions
from .call_context import refuse_while_pytest_imports, root_of, runs_of_this_build
from .run_here import answer_all, note_instances, raise_if_any, run_all, warn_if_overwritten, warn_of_machine
from .uncaught import quiet_traceback
from .workers import Workers, number_of_workers

if TYPE_CHECKING:
    import pandas as pd


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
    cores: int | None = None,
    memory: int | str | None = None,
    workers: Workers | None = None,
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
        cores: Cores that each instance uses: threads of its numeric libraries, and what is booked for it with
            `-n`; by default its worker's share.
        memory: Memory that each instance and what it starts may have, in bytes or as "2GB"; by default any.
        workers: How many instances run at a time, `"auto"` for one for each core; by default what the
            environment variable `DUCTAFLOW_WORKERS` says, else 1. It has no effect under pytest, where `-n`
            says it.

    Returns:
        The instances, in the order of the table.

    Raises:
        TableError: If the table has problems, with all of them; nothing has run then. While pytest
            collects, they are recorded instead.
        SweepFailed: After the last instance, if some have failed, or were blocked by others that had.
    """
    __tracebackhide__ = True
    origin = caller()
    refuse_while_pytest_imports("conduct", origin)
    root = root_of(origin)
    runs = runs_of_this_build()
    declaration = TableDeclaration(
        flow, table, origin, root, step, base, config, after, keep, runs, cwd, cores, memory
    )
    made = declaration.declare()
    problems = made.problems
    try:
        at_a_time = number_of_workers(workers)
    except ValueError as error:
        problems = [*problems, Problem(origin.at(root), str(error))]
    if recorded_calls.is_recording():
        called_instances.note(made.instances)
        recorded_calls.record(made.instances, problems, made.notes)
        return made.instances
    problems = problems + collisions(made.instances)
    if problems:
        quiet_traceback()
        raise TableError(problems)
    for note in made.notes if answers.current() is None else ():  # otherwise pytest has reported them
        warnings.warn_explicit(note, UserWarning, origin.file, origin.line or 1)
    warn_if_overwritten(made.instances)
    warn_of_machine(made.instances)
    note_instances(made.instances, at_once=True)
    if (given := answers.current()) is not None:
        answer_all(made.instances, given)
    else:
        raise_if_any(run_all(made.instances, at_a_time), len(made.instances))
    return made.instances
