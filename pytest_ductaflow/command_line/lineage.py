"""Show what a file was made from, and what depends on it: `lineage`."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from ..core.number_text import in_line, listed
from ..core.record import Record
from ..core.run_directory.layout import display_path
from ..core.run_directory.record_files import read_record
from .shared import words
from .shared.find_run import Run, all_runs
from .shared.near import near
from .shared.project import find_project, project_of, shown
from .shared.refusal import Refusal

_ABSENT = "absent"  # digest in a record of a file that was looked for in vain
_CODE_SHOWN = 4


@dataclass
class _Runs:
    """The runs of a project, by the files that they have written and read.

    Attributes:
        makers: By path, the run that wrote it last.
        readers: By path, the runs that have read it.
    """

    root: Path
    makers: dict[str, Run] = field(default_factory=dict)
    readers: dict[str, list[Run]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, root: Path) -> _Runs:
        found = cls(root)
        for run in all_runs(root):
            record, _ = read_record(run.files.record)
            if record is None:
                continue
            for path in _written(record, root):
                other = found.makers.get(path)
                if other is None or other.record.started <= record.started:
                    found.makers[path] = run
            for path in {os.path.normpath(root / name) for name in _read(record)}:
                found.readers[path].append(run)
        return found


def _written(record: Record, root: Path) -> Iterator[str]:
    """Yield the absolute paths of the files that a run, with its flows, has written."""
    for each in record.with_flows():
        yield from (os.path.normpath(root / each.run_dir / name) for name in each.outputs)


def _read(record: Record) -> list[str]:
    """Return the files that a run, with its flows, has read."""
    names = {
        name: None
        for each in record.with_flows()
        for name, digest in each.inputs.items()
        if not name.endswith(("/", "/**")) and digest != _ABSENT
    }
    return list(names)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print data.")
def lineage(file: Path, *, as_json: bool) -> None:
    """Show what FILE was made from, back to the sources, and what depends on it.

    Records of the last runs tell what each instance has read and written.
    """
    path = Path(os.path.abspath(file))
    root = find_project(path if path.exists() else path.parent) or project_of(Path.cwd())
    if not path.exists() and (root / file).exists():
        path = Path(os.path.abspath(root / file))
    runs = _Runs.of(root)
    name = str(path)
    if name not in runs.makers and name not in runs.readers:
        known = [display_path(each, root) for each in {**runs.makers, **runs.readers}]
        there = "" if path.exists() else ", and it is not there"
        raise Refusal(
            f"no run has written or read {shown(path)}{there}{near(display_path(path, root), known)}"
        )
    if as_json:
        words.print_json({"file": display_path(path, root), **_as_data(name, runs)})
        return
    click.echo(click.style(shown(path), bold=True) + _remark(name, runs))
    for line in _made_from(name, runs, "", set()):
        click.echo(line)
    users = list(_used_by(name, runs, "", set()))
    click.echo("used by:" if users else "used by: no instance")
    for line in users:
        click.echo(line)


def _remark(path: str, runs: _Runs) -> str:
    if path in runs.makers:
        return "" if os.path.exists(path) else "  (gone)"
    return "  (a source: no instance wrote it)" if os.path.exists(path) else "  (gone)"


def _told(run: Run) -> str:
    record = run.record
    return f"{run.label}  {words.light(record.status.value)}  {words.when(record.started)}"


def _inputs(run: Run, runs: _Runs) -> tuple[list[str], list[str]]:
    """Return the paths of the data that a run has read, less what it wrote itself, and of its code."""
    record, root = run.record, runs.root
    code = {name for each in record.with_flows() for name in (*each.code, each.flow)}
    own = set(_written(record, root))
    paths = {os.path.normpath(root / name): name in code for name in _read(record)}
    data = [path for path, is_code in paths.items() if not is_code and path not in own]
    return sorted(data), sorted(path for path, is_code in paths.items() if is_code)


def _has_changed(path: str, run: Run, runs: _Runs) -> bool:
    """Return whether a file is not as it was when a run read it."""
    from ..tracking.digests import digest_like

    for each in run.record.with_flows():
        for name, digest in each.inputs.items():
            if os.path.normpath(runs.root / name) == path:
                return digest_like(digest, path) != digest
    return False


def _made_from(path: str, runs: _Runs, indent: str, seen: set[Path]) -> Iterator[str]:
    """Yield the branches below a file: the run that made it, and below that what it has read."""
    run = runs.makers.get(path)
    if run is None:
        return
    again = run.files.record in seen
    yield f"{indent}└─ made by {_told(run)}" + ("  (see above)" if again else "")
    if again:
        return
    seen.add(run.files.record)
    data, code = _inputs(run, runs)
    inner = f"{indent}   "
    if code:
        names = listed((in_line(shown(each)) for each in code), _CODE_SHOWN)
        yield f"{inner}{'├' if data else '└'}─ code {names}"
    for number, each in enumerate(data, 1):
        last = number == len(data)
        gone = "" if os.path.lexists(each) else "  (gone)"
        changed = gone or ("  (changed since)" if _has_changed(each, run, runs) else "")
        source = "" if each in runs.makers else "  (source)"
        yield f"{inner}{'└' if last else '├'}─ {in_line(shown(each))}{source}{changed}"
        yield from _made_from(each, runs, f"{inner}{' ' if last else '│'}  ", seen)


def _used_by(path: str, runs: _Runs, indent: str, seen: set[Path]) -> Iterator[str]:
    """Yield the runs that have read a file, and below each those that have read what it wrote."""
    maker = runs.makers.get(path)
    own = {maker.files.record} if maker is not None else set()
    readers = [run for run in runs.readers.get(path, ()) if run.files.record not in own]
    yield from _branches(readers, runs, indent, seen)


def _branches(readers: list[Run], runs: _Runs, indent: str, seen: set[Path]) -> Iterator[str]:
    for number, run in enumerate(readers, 1):
        last = number == len(readers)
        again = run.files.record in seen
        yield f"{indent}{'└' if last else '├'}─ {_told(run)}" + ("  (see above)" if again else "")
        if again:
            continue
        seen.add(run.files.record)
        nexts = {
            reader.files.record: reader
            for written in _written(run.record, runs.root)
            for reader in runs.readers.get(written, ())
            if reader.files.record != run.files.record
        }
        yield from _branches(list(nexts.values()), runs, f"{indent}{' ' if last else '│'}  ", seen)


def _as_data(path: str, runs: _Runs) -> dict[str, Any]:
    """Return the lineage of a file: runs and files are named once, by what refers to them."""
    made: dict[str, Any] = {}
    files, left = [path], [path]
    while left:
        run = runs.makers.get(left.pop())
        if run is None or run.label in made:
            continue
        data, code = _inputs(run, runs)
        made[run.label] = {
            "status": run.record.status.value,
            "inputs": [display_path(each, runs.root) for each in data],
            "code": [display_path(each, runs.root) for each in code],
        }
        left += data
        files += data
    maker = runs.makers.get(path)
    sources = sorted({display_path(each, runs.root) for each in files if each not in runs.makers})
    return {
        "made_by": maker.label if maker is not None else None,
        "runs": made,
        "sources": sources,
        "used_by": _users(path, runs),
    }


def _users(path: str, runs: _Runs) -> list[str]:
    """Return the runs that depend on a file, directly or through what others made of it."""
    maker = runs.makers.get(path)
    found: dict[str, None] = {}
    left = [path]
    while left:
        for run in runs.readers.get(left.pop(), ()):
            if run.label not in found and (maker is None or run.files.record != maker.files.record):
                found[run.label] = None
                left += _written(run.record, runs.root)
    return list(found)
