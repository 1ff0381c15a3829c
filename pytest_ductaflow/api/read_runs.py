"""Read what is in `runs/`: results as a DataFrame, lights, lists of instances."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import pandas as pd

from ..core.instance import RUNS, Instance, default_step, stem_of
from ..core.record import Record, Status
from ..core.run_directory import layout, record_files
from ..core.run_directory.layout import RunFiles
from ..core.scalars import (
    Place,
    config_name,
    files_with_scalars,
    flattened,
    json_object,
    result_names,
    scalars_in,
)
from ..planning import called_instances
from ..planning.caller import caller
from ..planning.history import declared_history
from ..planning.recorded_calls import is_recording
from ..report.page import SCHEMA, render
from ..report.rows import ended_row, waiting_row
from ..running.warning_lines import REACH, is_warning
from ..sources.notebooks import project_root_of

_FIRST = ["step", "instance", "status", "duration"]  # columns of results()
_HEAD = [*_FIRST, "declared"]
_LINEAGE = ["session", "host", "commit", "dirty", "tags"]
_ERROR_WORDS = ("❌", "error:", "exception:", "failed:")


def _runs_folder(runs: str | Path) -> Path:
    """Return the folder that a path means: in the working directory, else in the caller's project."""
    path = Path(runs)
    file = Path(caller().file)
    if path.is_dir() or not file.is_file():
        return path.resolve()
    return project_root_of(file.resolve()) / path


def _records(runs: Path) -> Iterator[tuple[Path, Record]]:
    """Yield records of runs, without replays (they would count twice) and without flows that are gone."""
    for directory, record in record_files.records(runs):
        root = declared_history.root_of(directory, record)
        if not (record.stored or (root is not None and declared_history.has_lost_its_flow(root, record))):
            yield directory, record


def _calls_here() -> list[Instance]:
    """Return the instances of this process's calls in this project."""
    here, file = Path.cwd(), Path(caller().file)
    project = project_root_of(file.resolve()) if file.is_file() else here
    return [
        instance
        for instance in called_instances.made()
        if Path(instance.project_root) in (here, project) or Path(instance.run_dir).is_relative_to(here)
    ]


def _records_of(instances: Iterable[Instance]) -> Iterator[tuple[Path, Record]]:
    """Yield the records that instances have left, in their order."""
    for files in map(RunFiles.of, instances):
        record, _ = record_files.read_record(files.record)
        if record is not None:
            yield files.directory, record


def _still_declared(found: Iterable[tuple[Path, Record]]) -> Iterator[bool]:
    """Yield for each record whether a conductor, table or flow still declares its instance."""
    known: dict[Path, declared_history.DeclaredRecords] = {}
    mine = {RunFiles.of(instance).record for instance in called_instances.made()}
    for directory, record in found:
        root, file = (
            declared_history.root_of(directory, record),
            RunFiles(directory, stem_of(record.flow)).record,
        )
        if root is None or file in mine:
            yield True
            continue
        if root not in known:
            known[root] = declared_history.DeclaredRecords(root)
        yield known[root].is_declared(file, record)


def results(runs: str | Path | None = None, *, lineage: bool = False) -> pd.DataFrame:
    """Return what instances did, one row each.

    Args:
        runs: A folder, relative to the working directory or to the calling file's project: all its
            instances, with a column `declared`, which is False for those that their conductor, table or
            flow no longer declares. By default, in a conductor (also a notebook) that has made calls, only
            the instances of its calls so far, in their order; without calls, those in `runs` that are
            still declared.
        lineage: Whether to add where each run comes from: columns `session`, `host`, `commit`, `dirty`
            (whether tracked files differed from it) and `tags` (joined by commas).

    Returns:
        Columns `step`, `instance`, `status`, `duration` (s), and with a folder `declared`; the config with
        dotted keys; and every scalar (number, text, truth value) of the top-level `*.json` files that the
        instance wrote, nested ones with dotted keys, too. If a result has the name of a config key, the
        config's column is called `config.{key}`; a result found in two files, or named like one of the first
        columns, is called `{file}.{key}`. Without any instance, the first columns and no rows. Runs of flows
        whose file is gone do not count.
    """
    mine = _calls_here() if runs is None else []
    records = list(_records_of(mine) if mine else _records(_runs_folder(RUNS if runs is None else runs)))
    still = [True] * len(records) if mine else list(_still_declared(records))
    if runs is None:
        records, still = list(compress(records, still)), list(compress(still, still))
    first = _FIRST if runs is None else [*_FIRST, "declared"]
    first = [*first, *_LINEAGE] if lineage else first
    heads: list[dict[str, Any]] = []
    configs: list[dict[str, Any]] = []
    found: list[dict[Place, Any]] = []
    for (directory, record), is_declared in zip(records, still, strict=True):
        values = (record.step, record.instance, record.status.value, record.duration, is_declared)
        heads.append(dict(zip(_HEAD, values, strict=True)) | _lineage_of(record))
        config = json_object(RunFiles(directory, Path(record.flow).stem).config)
        configs.append({key: value for key, value in flattened(config) if not key.startswith("_")})
        found.append(scalars_in(directory, files_with_scalars(record)))
    if not heads:
        return pd.DataFrame(columns=first)
    name_of = result_names((place for scalars in found for place in scalars), first)
    names = {*name_of.values(), *first}
    return pd.DataFrame(
        [
            {name: head[name] for name in first}
            | {config_name(key, names): value for key, value in config.items()}
            | {name_of[place]: value for place, value in scalars.items()}
            for head, config, scalars in zip(heads, configs, found, strict=True)
        ]
    )


def _lineage_of(record: Record) -> dict[str, Any]:
    """Return the columns that say where a run comes from; None for what is not known."""
    return {name: record.lineage.get(name) for name in _LINEAGE} | {
        "tags": ", ".join(record.lineage.get("tags", ()))
    }


def analyze_execution_logs(output_dir: str | Path) -> str:
    """Return the worst light of all runs in a directory and below.

    Args:
        output_dir: A run directory, or any folder of them.

    Returns:
        `success`, `warning` or `error`. A run without a record (of an older tool) is judged by the
        first 15 characters of its log's lines.
    """
    lights = {Status.SUCCESS}
    for log in sorted(Path(output_dir).rglob("*_execution_output.txt")):
        if layout.EARLIER in log.relative_to(output_dir).parts:
            continue
        stem = log.name.removesuffix("_execution_output.txt")
        record, _ = record_files.read_record(RunFiles(log.parent, stem).record)
        status = record.status if record else _light_of_log(log)
        lights.add(status if status.good else Status.ERROR)
    return max(lights, key=lambda status: status.severity).value


def _light_of_log(log: Path) -> Status:
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return Status.ERROR
    if any(word in line[:REACH].lower() for line in lines for word in _ERROR_WORDS):
        return Status.ERROR
    return Status.WARNING if any(is_warning(line) for line in lines) else Status.SUCCESS


def generate_status_report(results: Sequence[Mapping[str, Any]], model_root: str | Path) -> str:
    """Return the report of a conductor that keeps its own list of results.

    Under pytest, and with `conduct`, the report is written without this call.

    Args:
        results: For each scenario a dict with `scenario`, `status` (`success` or `failed`), and
            `error` or `duration_minutes`.
        model_root: Folder whose `Model_Runs/{scenario}` are the run directories.

    Returns:
        A page of HTML.
    """
    root = project_root_of(Path(model_root).resolve())
    rows = []
    for result in results:
        name = str(result.get("scenario", ""))
        directory = Path(model_root).resolve() / "Model_Runs" / name
        # While pytest collects nothing has run; existing records are from an earlier session.
        record = None if is_recording() else _record_in(directory, name, result, root)
        flow, step = (record.flow, record.step) if record is not None else (name, default_step(name))
        config = {key: value for key, value in result.items() if key not in ("scenario", "status", "error")}
        instance = Instance(flow, step, name, config, str(directory), str(root))
        row = waiting_row(f"conductor.py::{name}", instance, "", root / RUNS)
        if record is not None:
            row = ended_row(row, record, RunFiles(directory, Path(flow).stem), root / RUNS)
        rows.append(row)
    data = {
        "schema": SCHEMA,
        "title": root.name,
        "command": "",
        "started": min((row["started"] for row in rows if row.get("started")), default=None),
        "updated": None,
        "finished": None,
        "outcome": "finished",
        "workers": 1,
        "rows": rows,
    }
    return render(data)


def _record_in(directory: Path, name: str, result: Mapping[str, Any], root: Path) -> Record:
    """Return the record of a run directory, or one made from the conductor's own result."""
    found = next((record for _, record in record_files.records(directory)), None)
    if found is not None:
        return found
    failed = result.get("status") == "failed"
    minutes = result.get("duration_minutes")
    return Record(
        status=Status.ERROR if failed else Status(analyze_execution_logs(directory)),
        flow=name,
        step=default_step(name),
        instance=name,
        run_dir=layout.display_path(directory, root),
        duration=None if minutes is None else float(minutes) * 60,
        warnings=(str(result["error"]),) if result.get("error") else (),
    )


def convert_notebook_to_html(notebook_path: str | Path, html_path: str | Path, template: str = "lab") -> None:
    """Write an executed notebook as a self-contained HTML page.

    Args:
        notebook_path: The notebook.
        html_path: Path of the page.
        template: nbconvert's template: `lab`, `classic`, `basic`, …

    Raises:
        ValueError: If nbconvert has no such template.
    """
    from ..running.html.notebook_html import write_full_html

    write_full_html(Path(notebook_path), Path(html_path), template)


def get_available_instances(step_name: str) -> list[str]:
    """Return the names of a step's instances in `runs/`, sorted."""
    folder = _runs_folder(RUNS) / step_name
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def print_available_instances(step_name: str, description: str = "") -> None:
    """Print a step's instances with their lights."""
    folder = _runs_folder(RUNS) / step_name
    names = get_available_instances(step_name)
    print(f"{step_name}{description}: {_count(len(names), 'instance')}")
    for name in names:
        print(f"  {name}{_light_of(folder / name)}")


def _light_of(directory: Path) -> str:
    found = [record.status for _, record in record_files.records(directory)]
    return f"  {max(found, key=lambda status: status.severity)}" if found else ""


def print_pipeline_status() -> None:
    """Print how many instances each step has, and how they ended."""
    runs = _runs_folder(RUNS)
    by_step: dict[str, Counter[str]] = {}
    for _, record in _records(runs):
        by_step.setdefault(record.step, Counter())[record.status.value] += 1
    if not by_step:
        print(f"Nothing has run yet in {runs}")
    for step, counts in sorted(by_step.items()):
        print(f"{step}: {_count(counts.total(), 'instance')} ({_listed(counts.items())})")


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{number} {status}" for status, number in sorted(counts))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
