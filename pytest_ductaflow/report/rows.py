"""Convert instances and records to rows of the report: plain values, ready for JSON."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from ..core.config_markdown import readable_config
from ..core.instance import RUNS, Instance, stem_of
from ..core.record import Record
from ..core.run_directory.layout import AFTER, RunFiles, config_of
from .failure_text import code_text, debug_command, failed_first
from .packed_rows import Row
from .provenance import design_text, lineage_text

_NAMED = 30  # inputs, outputs or upstreams that a row names
_LONGEST_CODE = 4_000  # characters


def waiting_row(
    node_id: str, instance: Instance, command: str, runs: Path, upstreams: Sequence[str] = ()
) -> Row:
    """Return the row of an instance that has not begun.

    Args:
        node_id: Its id, which must be unique in the report.
        instance: The instance.
        command: Command that repeats just this instance.
        runs: Folder of the report, to which links are relative.
        upstreams: Labels of the instances that it waits for.
    """
    directory = _relative(instance.run_dir, runs) or instance.run_dir
    return {
        "id": node_id,
        "source": node_id.partition("::")[0],
        "step": instance.step,
        "instance": instance.name,
        "flow": instance.stem,
        "kind": "build" if instance.is_build else "flow",
        "status": "waiting",
        "earlier": False,
        "unchanged": False,
        "config": readable_config(instance.config),
        "directory": directory,
        "links": {"config": None},
        "command": command,
        "upstreams": _some(upstreams),
        "cores": instance.cores,
        "flows": [],
    }


def ended_row(row: Row, record: Record, files: RunFiles, runs: Path, *, has_page: bool = False) -> Row:
    """Return a row updated from the record of its instance.

    Args:
        row: Row so far.
        record: Record of the run.
        files: Files of the run.
        runs: Folder of the report.
        has_page: Whether the notebook is sure to get a page, even if it does not exist yet.
    """
    root = runs.parent
    return {
        **row,
        "kind": "build" if record.flows else row["kind"],
        "status": record.status.value,
        "unchanged": record.unchanged,
        "reason": record.reason,
        "undeclared": record.undeclared,
        "started": record.started or None,
        "duration": record.duration,
        "peak_memory": record.peak_memory,
        "worker": record.worker or row.get("worker"),
        "debug": _debug(record, root),
        "message": record.message,
        "cause": cause_of(record),
        "failed_attempts": record.attempts_told,
        "last_good": _last_good(record, root, runs),
        "design": design_text(record.design),
        "lineage": lineage_text(record.lineage),
        "warnings": record.warnings,
        "python_warnings": record.python_warnings,
        "traceback": _traceback(record),
        "code": _code(record),
        "inputs": _some(name for name in record.inputs if not name.endswith("/")),
        "outputs": _some(record.outputs),
        "upstreams": _some(record.upstreams),
        "differences": _differences(record),
        "links": _links(files, runs, has_page=has_page),
        "flows": [flow_row(flow, root, runs) for flow in record.flows],
    }


def flow_row(record: Record, root: Path, runs: Path) -> Row:
    """Return the row of a flow inside a build."""
    files = RunFiles(root / record.run_dir, Path(record.flow).stem)
    return {
        "flow": files.stem,
        "instance": record.instance,
        "status": record.status.value,
        "unchanged": record.unchanged,
        "started": record.started or None,
        "duration": record.duration,
        "message": record.message,
        "links": _links(files, runs),
        "flows": [flow_row(flow, root, runs) for flow in record.flows],
    }


def cause_of(record: Record) -> Row | None:
    """Return, for a failed run, where it failed first, with what error: flow, cell, type, first line."""
    if record.error is None:
        return None
    failed = failed_first(record)
    failure = failed.error or record.error
    first = (failure.message.strip().splitlines() or [""])[0]
    message = record.message if record.differs else first
    return {"flow": Path(failed.flow).stem, "cell": failure.cell, "type": failure.type, "message": message}


def _debug(record: Record, root: Path) -> str | None:
    """Return the command that runs the flow in a debugger, in a build the one that failed first."""
    failed = failed_first(record)
    is_after = record.run_dir.startswith(f"{RUNS}/{AFTER}/")  # a conductor is no flow
    if not failed.flow.endswith(".py") or record.stored or is_after:
        return None
    here, config = os.getcwd(), config_of(failed.run_dir, stem_of(failed.flow))
    return debug_command(_seen_from(here, root, failed.flow), _seen_from(here, root, config))


def _seen_from(here: str, root: Path, path: str) -> str:
    whole = os.path.join(root, path)
    return whole.removeprefix(f"{here}{os.sep}").replace(os.sep, "/")


def _last_good(record: Record, root: Path, runs: Path) -> str | None:
    """Return, for a failed run, the folder of the last run that ended well."""
    return _relative(root / record.last_good, runs) if record.last_good else None


def _traceback(record: Record) -> str | None:
    """Return the failure text for the details; none for differences, as it would only repeat them."""
    if record.error is None:
        return None
    return record.error.traceback or (None if record.differences else record.error.message)


def _code(record: Record) -> str | None:
    """Return the code that failed first, with its line marked; None if it is not known."""
    failure = failed_first(record).error
    return None if failure is None else code_text(failure)[:_LONGEST_CODE] or None


def _some(names: Iterable[str]) -> list[str]:
    """Return the first of many names, with a last one that says how many more there are."""
    found = names if isinstance(names, Sequence) else list(names)
    more = [f"… and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
    return [*found[:_NAMED], *more]


def _differences(record: Record) -> list[Row]:
    """Return the differences from expected files; `is_there` is whether the run wrote the file."""
    if not record.differences:
        return []
    written = set(_written(record))
    return [
        {
            "file": difference.file,
            "is_there": f"{record.run_dir}/{difference.file}" in written,
            "message": difference.message,
            "notes": list(difference.notes),
            "worst": [asdict(value) for value in difference.worst],
            "figures": dict(difference.figures),
        }
        for difference in record.differences
    ]


def _written(record: Record) -> Iterator[str]:
    """Yield the files of a run and of a build's flows, as run directory and name."""
    for each in record.with_flows():
        for name in each.outputs:
            yield f"{each.run_dir}/{name}"


def _links(files: RunFiles, runs: Path, *, has_page: bool = False) -> dict[str, str | None]:
    page, log, config, notebook = _names_of_links(files.stem, files.output_suffix)
    folder = _relative(files.directory, runs)
    present = _names_in(files.directory) if folder else frozenset()
    if has_page and notebook in present:
        present |= {page}
    found = {"notebook": page, "log": log, "config": config, "executed": notebook}
    return {name: f"{folder}/{file}" if file in present else None for name, file in found.items()}


@lru_cache(maxsize=1_000)
def _names_of_links(stem: str, output_suffix: str) -> tuple[str, str, str, str]:
    """Return the names of page, log, config and notebook in every run directory of a flow."""
    files = RunFiles(Path(), stem, output_suffix)
    return files.html.name, files.log.name, files.config.name, files.notebook.name


def _names_in(folder: Path) -> frozenset[str]:
    """Return the names in a folder; one listing is cheaper than a stat for each file."""
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()


def _relative(path: str | Path, runs: Path) -> str | None:
    """Return a path as seen from the report, with `/` between its parts; None if there is none."""
    inside, whole = f"{runs}{os.sep}", str(path)
    if whole.startswith(inside):
        return whole.removeprefix(inside).replace(os.sep, "/")
    try:
        return Path(os.path.relpath(path, runs)).as_posix()
    except ValueError:  # on another drive, which no link can reach
        return None
