"""Merge the results of the sessions of `--ductaflow-shard` into one `runs/` with one report."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.errors import MergeError
from ..core.instance import RUNS
from ..core.record import Difference, Status
from ..core.run_directory.atomic import replace_folder, write_atomic
from ..core.run_directory.layout import FIGURES, REPORT, SHARED_BY_PAGES
from .figures.entries import files_in
from .packed_rows import Row
from .page import SCHEMA, read, render

NOT_RUN = "no shard ran it"
CUT_OFF = "cut off: its session did not end"
_STATUSES = frozenset(("waiting", *Status))
_LONGEST_NAME = 200  # characters of a path in a message
_SHOWN = 20  # shards named in a message


@dataclass(frozen=True)
class Shard:
    """The results of one session.

    Attributes:
        given: Folder as the user gave it.
        runs: Its `runs/`.
        number: Number of the shard, from 1 on.
        total: Number of shards.
        data: Data of its report.
    """

    given: Path
    runs: Path
    number: int
    total: int
    data: Mapping[str, Any]

    @cached_property
    def rows(self) -> Mapping[str, Row]:
        """The rows of its report by node id."""
        return {row["id"]: row for row in self.data["rows"]}

    def has_run(self, node_id: str) -> bool:
        """Return whether an instance was started or blocked here, not left to another session."""
        row = self.rows.get(node_id)
        return row is not None and not row["earlier"] and row["status"] != "waiting"

    def folder_of(self, row: Row) -> Path | None:
        """Return the run directory of an instance, None if this `runs/` has none that can be copied."""
        return None if self.obstacle(row) is not None else self.runs / row["directory"]

    def obstacle(self, row: Row) -> str | None:
        """Return why the run directory of an instance cannot be copied; None if it can."""
        directory = row["directory"]
        its = f"its run directory {_shortened(directory)!r}"
        place = Path(PurePosixPath(directory))
        if not place.parts or ".." in place.parts or place.anchor:
            return f"{its} is not below {RUNS}/, so that it cannot be merged"
        try:
            if (link := _first_link(self.runs, place)) is not None:
                return f"{its} is reached by a link, {link.as_posix()}, which is not followed"
            is_there = (self.runs / place).is_dir()
        except (OSError, ValueError):  # not a name that the file system allows
            is_there = False
        return None if is_there else f"{its} is not among what shard {self.number} ({self.given}) has left"

    @property
    def problem(self) -> str | None:
        """The reason why the session was not a success; None if it was."""
        which = f"shard {self.number}/{self.total} ({self.given})"
        if self.data.get("outcome") is None:
            return f"{which}: its session did not end"
        if self.data["outcome"] != "finished":
            return f"{which}: its session was {self.data['outcome']}"
        if self.data.get("exit_code") != 0:
            return f"{which}: pytest ended with exit code {self.data.get('exit_code')}"
        return None


@dataclass(frozen=True)
class Merged:
    """The result of a merge.

    Attributes:
        report: Path of the common report.
        counts: Number of instances by status, among those that the shards were to run.
        problems: Sessions and instances that failed, and instances that did not run; a line each.
        rows: Rows of the instances that the shards were to run.
        links: Links that were not copied, since they lead out of their `runs/`.
    """

    report: Path
    counts: Mapping[str, int]
    problems: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    links: tuple[str, ...] = ()


def merge(folders: Sequence[Path], target: Path, *, command: str, partial: bool = False) -> Merged:
    """Merge the `runs/` of all shards.

    Args:
        folders: The `runs/` of each shard, or the folder that holds it.
        target: Folder for the result. Run directories in it stay, unless a shard has them, too.
        command: Command to be shown in the report.
        partial: Whether shards may be missing.

    Raises:
        MergeError: If these are not the shards of one whole, or if files cannot be read or written.
    """
    shards = sorted(map(_shard, folders), key=lambda shard: shard.number)
    for shard in shards:
        if _overlap(shard.runs, target):
            raise MergeError(
                f"{target}: the result cannot go where shard {shard.number} lies ({shard.given})"
            )
    _check_numbers(shards, partial=partial)
    _check_division(shards)
    ids = dict.fromkeys(node_id for shard in shards for node_id in shard.rows)
    chosen = [_choose(node_id, shards) for node_id in ids]
    data = {**_header(shards, command), "rows": [{**row, "shard": None} for row, _ in chosen]}
    try:
        page = render(data)
    except RecursionError:
        raise MergeError(
            "the reports cannot be joined: what is in one of them is nested too deeply"
        ) from None
    figures = {name for row, _ in chosen for name in files_in(row) if name.startswith(f"{FIGURES}/")}
    others = [(shard.runs, name) for shard in shards for name in (*SHARED_BY_PAGES, *sorted(figures))]
    try:
        links = _write(target, _folders(chosen), others, page)
    except (OSError, shutil.Error) as error:
        raise MergeError(f"{target}: could not be written: {error}") from None
    asked = [row for row, _ in chosen if row.get("shard") is not None]
    problems = [problem for shard in shards if (problem := shard.problem) is not None]
    for row in asked:
        if row["earlier"] or row["status"] == "waiting":
            problems.append(f"{row['id']}: {NOT_RUN}")
        elif row["status"] == Status.ERROR:
            problems.append(" ".join(f"{row['id']}: {row.get('message') or 'failed'}".split()))
    counts = Counter(row["status"] for row in asked)
    return Merged(target / REPORT, counts, tuple(problems), tuple(asked), tuple(links))


def _folders(chosen: Iterable[tuple[Row, Shard | None]]) -> dict[str, Shard]:
    """Return, by run directory, the shard to copy it from: one that ran any of its flows is preferred."""
    ran: dict[str, Shard] = {}
    earlier: dict[str, Shard] = {}
    for row, shard in chosen:
        if shard is not None and shard.folder_of(row) is not None:
            (ran if shard.has_run(row["id"]) else earlier)[row["directory"]] = shard
    return earlier | ran


def _first_link(folder: Path, place: Path) -> Path | None:
    """Return the first part of a relative path below a folder that is a link, None if none is."""
    parts = (place, *place.parents)[-2::-1]  # without the "." at their end
    return next((part for part in parts if (folder / part).is_symlink()), None)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"


def _shard(given: Path) -> Shard:
    """Read the results of a session."""
    runs = next((folder for folder in (given, given / RUNS) if (folder / REPORT).is_file()), None)
    if runs is None:
        raise MergeError(f"{given}: no {REPORT} in it; expected the runs/ that a session has left")
    try:
        data = read(runs / REPORT)
        if (schema := data.get("schema")) != SCHEMA:
            remedy = "merge with the version of pytest-ductaflow that has run all shards"
            found = _shortened(repr(schema))
            raise MergeError(f"{runs / REPORT}: a report of schema {found}, expected {SCHEMA}: {remedy}")
        _check_rows(data["rows"])
    except (OSError, ValueError, RecursionError) as error:
        raise MergeError(f"{runs / REPORT}: not a readable report ({error})") from None
    if data.get("shard") is None:
        raise MergeError(f"{runs / REPORT}: its session was not run with --ductaflow-shard")
    try:
        number, total = map(int, data["shard"].split("/"))
        if not 1 <= number <= total:
            raise ValueError
    except (AttributeError, ValueError):
        raise MergeError(f"{runs / REPORT}: {data['shard']!r} is not a shard") from None
    return Shard(given, runs, number, total, data)


def _check_rows(rows: Sequence[Any]) -> None:
    """Check that these are rows of a report.

    Raises:
        ValueError: If one is not.
    """
    for row in rows:
        if not _is_row(row):
            raise ValueError("one of its rows is not that of an instance")
        if row["status"] not in _STATUSES:
            raise ValueError(f"{row['id']} has the status {_shortened(row['status'])!r}")


def _is_row(row: Any) -> bool:
    """Return whether a row has all the fields that are used, with the right types."""
    if not isinstance(row, dict) or "earlier" not in row:
        return False
    texts = [row.get(name) for name in ("id", "status", "directory", "step", "instance")]
    perhaps = [row.get(name) for name in ("message", "traceback", "command")]
    try:
        for difference in row.get("differences") or ():
            Difference.from_json(difference)
    except (TypeError, KeyError, AttributeError):
        return False
    return all(isinstance(text, str) for text in (*texts, *(text for text in perhaps if text is not None)))


def _overlap(one: Path, other: Path) -> bool:
    """Return whether one folder equals the other or lies inside it."""
    first, second = one.resolve(), other.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)


def _check_numbers(shards: Sequence[Shard], *, partial: bool) -> None:
    """Check that these are all the parts of one whole, each exactly once."""
    first = shards[0]
    seen: dict[int, Shard] = {}
    for shard in shards:
        if shard.total != first.total:
            one, other = (f"{s.number}/{s.total} ({s.given})" for s in (first, shard))
            raise MergeError(f"shards of different wholes: {one} and {other}")
        if shard.number in seen:
            both = f"{seen[shard.number].given} and {shard.given}"
            raise MergeError(f"shard {shard.number}/{shard.total} is there twice: {both}")
        seen[shard.number] = shard
    count = first.total - len(seen)
    if count and not partial:
        numbers = (str(number) for number in range(1, first.total + 1) if number not in seen)
        missing = ", ".join(islice(numbers, _SHOWN)) + (
            f" and {count - _SHOWN} more" if count > _SHOWN else ""
        )
        which = f"shards {missing}" if count > 1 else f"shard {missing}"
        raise MergeError(
            f"{which} of {first.total} missing: a job that fails before anything runs leaves no report "
            "(--partial merges the others)"
        )


def _check_division(shards: Sequence[Shard]) -> None:
    """Check that all sessions divided the same instances in the same way.

    They did not if their conductors, or the durations they found in `runs/`, differed.
    """
    remedy = "all shards need the same commit, the same options, and the same runs/ at their start"
    for node_id in dict.fromkeys(node_id for shard in shards for node_id in shard.rows):
        ran = [shard for shard in shards if shard.has_run(node_id)]
        if len(ran) > 1:
            both = f"{ran[0].given} and {ran[1].given}"
            raise MergeError(f"{node_id} was run by two shards: {both}; {remedy}")
        for shard in shards:
            row = shard.rows.get(node_id)
            if row is None:
                raise MergeError(f"{node_id} is not known to shard {shard.number} ({shard.given}); {remedy}")
            expected = shards[0].rows[node_id].get("shard")
            if row.get("shard") != expected:
                one, other = (f"shard {s.number} ({s.given})" for s in (shards[0], shard))
                raise MergeError(f"{node_id} is in another part for {one} than for {other}; {remedy}")


def _choose(node_id: str, shards: Sequence[Shard]) -> tuple[Row, Shard | None]:
    """Return the row of an instance and its shard: the one that ran it, else one with an earlier run."""
    for shard in shards:
        if shard.has_run(node_id):
            row = shard.rows[node_id]
            if row["status"] == Status.RUNNING:
                row = {**row, "status": Status.ERROR.value, "message": CUT_OFF}
            elif Status(row["status"]).good and (why := shard.obstacle(row)) is not None:
                row = {**row, "status": Status.ERROR.value, "message": why, "links": {}}
            return row, shard
    for shard in shards:
        row = shard.rows[node_id]
        if row["status"] != "waiting" and shard.folder_of(row) is not None:
            return row, shard
    row = shards[0].rows[node_id]
    if row.get("shard") is None:  # no shard was to run it
        return row, None
    return {**row, "status": "waiting", "earlier": False, "message": NOT_RUN}, None


def _header(shards: Sequence[Shard], command: str) -> dict[str, Any]:
    datas = [shard.data for shard in shards]
    ends = [str(data.get("finished") or data.get("updated") or "") for data in datas]
    has_finished = all(data.get("outcome") == "finished" for data in datas)
    return {
        "schema": SCHEMA,
        "title": datas[0].get("title", ""),
        "command": command,
        "started": min(str(data.get("started") or "") for data in datas),
        "updated": max(ends),
        "finished": max(ends),
        "outcome": "finished" if has_finished else "interrupted",
        "exit_code": None,
        "workers": sum(data["workers"] for data in datas if isinstance(data.get("workers"), int)),
        "shard": None,
    }


def _write(
    target: Path, folders: Mapping[str, Shard], others: Iterable[tuple[Path, str]], page: str
) -> list[str]:
    """Copy all next to the target first, so that a failure leaves it unchanged; write the page last.

    Returns:
        The links that were left out, since they lead out of their `runs/`.
    """
    for directory in sorted(folders):
        if (link := _first_link(target, Path(directory).parent)) is not None:
            remedy = "the result is not written where it leads; remove it, or choose another --to"
            raise MergeError(f"{target / link} is a link: {remedy}")
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}-"
    left_out: set[str] = set()
    with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent, ignore_cleanup_errors=True) as name:
        new, old = Path(name, "new"), Path(name, "old")
        for directory, shard in sorted(folders.items()):
            left_out |= _copy(shard.runs, directory, new)
        for directory in sorted(folders):
            if (new / directory).is_dir():  # else it was moved with the one that contains it
                replace_folder(new / directory, target / directory, aside=old / directory)
        target.mkdir(exist_ok=True)
        for runs, other in others:
            links = _first_link(runs, Path(other)), _first_link(target, Path(other).parent)
            if links == (None, None) and (file := runs / other).is_file():
                (target / other).parent.mkdir(exist_ok=True)
                os.replace(shutil.copyfile(file, Path(name, file.name)), target / other)
        write_atomic(target / REPORT, page)
    return sorted(left_out)


def _copy(runs: Path, directory: str, new: Path) -> set[str]:
    """Copy a run directory, replacing what a copy of a directory that contains it may have brought.

    Returns:
        The links that were left out.
    """
    if (link := _first_link(new, Path(directory))) is not None:
        (new / link).unlink()
    if (new / directory).is_dir():
        shutil.rmtree(new / directory)
    left_out: set[str] = set()

    def ignore(folder: str, names: list[str]) -> set[str]:
        links = {name for name in names if _leads_out(Path(folder, name), runs)}
        left_out.update(Path(folder, name).relative_to(runs).as_posix() for name in links)
        return links | _special(folder, names)

    shutil.copytree(runs / directory, new / directory, symlinks=True, ignore=ignore)
    return left_out


def _leads_out(path: Path, runs: Path) -> bool:
    """Return whether a path is a link that leads out of `runs/`, directly or through other links."""
    if not path.is_symlink():
        return False
    target = os.readlink(path)
    lexically = Path(os.path.normpath(path.parent.relative_to(runs) / target))
    leads_up = lexically.anchor or lexically.parts[:1] == ("..",)
    return bool(leads_up) or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(runs))


def _special(folder: str, names: list[str]) -> set[str]:
    """Return names that are neither files, folders nor links: reading a pipe would wait for a writer."""
    modes = {name: os.lstat(os.path.join(folder, name)).st_mode for name in names}
    is_copied = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    return {name for name, mode in modes.items() if not any(test(mode) for test in is_copied)}
