"""Compare two runs, in the words of the gate: `diff`."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..core.errors import ExpectedUnreadable
from ..core.instance import JSON, TEXT_COLUMNS
from ..core.number_text import in_line
from ..core.record import Difference
from ..core.scalars import files_with_scalars, result_names, scalars_in
from ..tracking.up_to_date import config_differences
from .shared import words
from .shared.find_run import RUN, Run, find_run
from .shared.refusal import Refusal
from .show import config_of

if TYPE_CHECKING:
    from ..gate.compare.tolerance import Tolerance

NAME = TEXT_COLUMNS[0]
_DIFFERENT = 1  # exit code


@click.command()
@click.argument("first", metavar="RUN", type=RUN)
@click.argument("second", metavar="RUN", type=RUN)
@click.option("--rtol", type=float, help="Relative tolerance of numbers (1e-6).")
@click.option("--atol", type=float, help="Absolute tolerance of numbers (0).")
@click.option("--json", "as_json", is_flag=True, help="Print data.")
def diff(first: str, second: str, rtol: float | None, atol: float | None, *, as_json: bool) -> None:
    """Compare config, results and outputs of two runs.

    Files are compared as those of stored instances are: by content, the first RUN is what is expected. The
    exit code is 1 if results or outputs differ.
    """
    ours, theirs = find_run(first), find_run(second)
    if ours.files.record == theirs.files.record:
        raise Refusal(f"{first} and {second} are the same run, {ours.label}")
    ours.record, theirs.record  # noqa: B018 - raise if there is none
    configs = list(config_differences(_config(ours), _config(theirs)))
    differences = list(_differences(ours, theirs, _tolerance(rtol, atol)))
    if as_json:
        words.print_json(
            {
                "runs": [ours.label, theirs.label],
                "config": configs,
                "results": {key: values for key, *values in _results(ours, theirs)},
                "outputs": [asdict(difference) for difference in differences],
            }
        )
    else:
        for line in _lines(ours, theirs, configs, differences):
            click.echo(line)
    sys.exit(_DIFFERENT if differences else 0)


def _config(run: Run) -> dict[str, JSON]:
    return {key: value for key, value in config_of(run).items() if key != NAME}  # which the label tells


def _lines(ours: Run, theirs: Run, configs: list[str], differences: list[Difference]) -> Iterator[str]:
    from ..report.failure_text import difference_lines

    for sign, run in (("-", ours), ("+", theirs)):
        record = run.record
        took = f", {words.duration(record.duration)}" if record.duration is not None else ""
        told = f"{words.when(record.started)}{took}, {record.flow}"
        yield f"{sign} {click.style(run.label, bold=True)}  {words.light(record.status.value)}  {told}"
    yield "config:" if configs else "config: the same"
    yield from (f"  {in_line(change)}" for change in configs)
    results = list(_results(ours, theirs))
    if results:
        yield "results:"
        rows = [[key, _text(before), "→", _text(after)] for key, before, after in results]
        yield from (f"  {line}" for line in words.table(rows, right=(1, 3)))
    if not differences:
        yield "outputs: the same"
        return
    yield "outputs (expected: the first run, found: the second):"
    for difference in differences:
        yield click.style(f"  {in_line(difference.file)}: {in_line(difference.message)}", fg="red")
        yield from (line.text for line in difference_lines(difference, theirs.directory, Path.cwd()))


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _results(ours: Run, theirs: Run) -> Iterator[tuple[str, object, object]]:
    """Yield name and values of the results that differ: numbers and texts in JSON files."""
    before, after = (scalars_in(run.directory, files_with_scalars(run.record)) for run in (ours, theirs))
    for place, name in result_names([*before, *after], ()).items():
        if not _are_equal(before.get(place), after.get(place)):
            yield name, before.get(place), after.get(place)


def _are_equal(one: object, other: object) -> bool:
    """Return whether two results are equal; NaN equals NaN, as in files that are compared."""
    are_nan = all(isinstance(each, float) and math.isnan(each) for each in (one, other))
    return are_nan or one == other


def _tolerance(rtol: float | None, atol: float | None) -> Tolerance:
    """Return the tolerance that is asked for.

    Raises:
        Refusal: If it is negative or no number.
    """
    from ..gate.compare.tolerance import Tolerance

    given = {name: value for name, value in (("rtol", rtol), ("atol", atol)) if value is not None}
    try:
        return Tolerance().with_(given, integers=bool(given))
    except ValueError as error:
        raise Refusal(f"--{error}") from None


def _differences(ours: Run, theirs: Run, tolerance: Tolerance) -> Iterator[Difference]:
    from ..gate.compare.files import compare
    from ..gate.judge import outputs_of

    expected, found = (outputs_of(run.record, str(run.root)) for run in (ours, theirs))
    # Both runs of a build's flow lie in its own folder; names are those within each run directory.
    with tempfile.TemporaryDirectory(prefix="ductaflow-") as folder:
        for name in sorted({*expected, *found}):
            if name not in found:
                yield Difference(name, f"only {ours.label} wrote it")
                continue
            if name not in expected:
                yield Difference(name, f"only {theirs.label} wrote it")
                continue
            missing = [run for run, files in ((ours, expected), (theirs, found)) if not files[name].is_file()]
            if missing:
                yield Difference(name, f"is not in the folder of {missing[0].label} any more")
                continue
            try:
                difference = compare(
                    expected[name], found[name], tolerance, name=name, figures=Path(folder, "figures")
                )
            except ExpectedUnreadable as error:
                difference = Difference(name, str(error))
            if difference is not None:
                yield Difference(name, difference.message, difference.notes, difference.worst)
