"""Joins what the sessions of `--ductaflow-shard` have left into one `runs/` with one report."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import DuctaflowError
from .model import RUNS, Status
from .report.page import read, render
from .report.rows import Row
from .store import REPORT, SHARED_BY_PAGES, replace_folder, write_atomic

NOT_RUN = "no shard ran it"
CUT_OFF = "cut off: its session did not end"


class MergeError(DuctaflowError):
    """The folders cannot be joined; nothing was written."""


@dataclass(frozen=True)
class Shard:
    """What one session has left.

    Attributes:
        given: The folder, as the user names it.
        runs: Its `runs/`.
        number: Which shard it is, from 1 on.
        total: How many there are.
        data: Of its report.
    """

    given: Path
    runs: Path
    number: int
    total: int
    data: Mapping[str, Any]

    @cached_property
    def rows(self) -> Mapping[str, Row]:
        """By node id."""
        return {row["id"]: row for row in self.data["rows"]}

    def has_run(self, node_id: str) -> bool:
        """Whether an instance was begun here, or blocked, and not left to another session."""
        row = self.rows.get(node_id)
        return row is not None and not row["earlier"] and row["status"] != "waiting"

    def folder_of(self, row: Row) -> Path | None:
        """The run directory of an instance, None if there is none in this `runs/`."""
        parts = PurePosixPath(row["directory"]).parts
        if not parts or ".." in parts or Path(*parts).is_absolute():
            return None
        folder = self.runs.joinpath(*parts)
        return folder if folder.is_dir() else None

    @property
    def problem(self) -> str | None:
        """What makes the session no success; None if nothing does."""
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
    """What has come of it.

    Attributes:
        report: The report of all.
        counts: How many of the instances that the shards were to run have each status.
        problems: Sessions and instances that failed, and instances that did not run; a line each.
        rows: The rows of the report that these are about.
    """

    report: Path
    counts: Mapping[str, int]
    problems: tuple[str, ...]
    rows: tuple[Row, ...] = ()


def merge(folders: Sequence[Path], target: Path, *, command: str, partial: bool = False) -> Merged:
    """Join the `runs/` of all shards.

    Args:
        folders: Of each shard its `runs/`, or the folder that holds it.
        target: Where the result goes. Run directories that are there already stay, unless a shard has them.
        command: What the report tells it was made by.
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
        _write(
            target,
            _folders(chosen),
            [shard.runs / name for shard in shards for name in SHARED_BY_PAGES],
            render(data),
        )
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
    return Merged(target / REPORT, counts, tuple(problems), tuple(asked))


def _folders(chosen: Iterable[tuple[Row, Shard | None]]) -> dict[str, Path]:
    """By run directory, whose is copied: in one of several flows, that of the shard that ran any of them."""
    ran: dict[str, Path] = {}
    earlier: dict[str, Path] = {}
    for row, shard in chosen:
        if shard is not None and (folder := shard.folder_of(row)) is not None:
            (ran if shard.has_run(row["id"]) else earlier)[row["directory"]] = folder
    return earlier | ran


def _shard(given: Path) -> Shard:
    """Read what a session has left."""
    runs = next((folder for folder in (given, given / RUNS) if (folder / REPORT).is_file()), None)
    if runs is None:
        raise MergeError(f"{given}: no {REPORT} in it; expected the runs/ that a session has left")
    try:
        data = read(runs / REPORT)
        _check_rows(data["rows"])
    except (OSError, ValueError) as error:
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
    for row in rows:
        texts = [row.get(name) for name in ("id", "status", "directory")] if isinstance(row, dict) else [None]
        if not all(isinstance(text, str) for text in texts) or "earlier" not in row:
            raise ValueError("one of its rows is not that of an instance")


def _overlap(one: Path, other: Path) -> bool:
    """Whether one folder is the other, or lies in it."""
    first, second = one.resolve(), other.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)


def _check_numbers(shards: Sequence[Shard], *, partial: bool) -> None:
    """See whether these are all parts of one whole, each of them once."""
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
    missing = [str(number) for number in range(1, first.total + 1) if number not in seen]
    if missing and not partial:
        which = f"shards {', '.join(missing)}" if len(missing) > 1 else f"shard {missing[0]}"
        raise MergeError(
            f"{which} of {first.total} missing: a job that fails before anything runs leaves no report "
            "(--partial merges the others)"
        )


def _check_division(shards: Sequence[Shard]) -> None:
    """See whether all sessions have divided the same instances in the same way.

    They did not if their conductors, or the durations that they found in `runs/`, were not the same.
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
    """The row of an instance, and whose it is: of the shard that ran it, else of one with an earlier run."""
    for shard in shards:
        if shard.has_run(node_id):
            row = shard.rows[node_id]
            if row["status"] == Status.RUNNING:
                row = {**row, "status": Status.ERROR.value, "message": CUT_OFF}
            return row, shard
    for shard in shards:
        row = shard.rows[node_id]
        if row["status"] != "waiting" and shard.folder_of(row) is not None:
            return row, shard
    row = shards[0].rows[node_id]
    if row.get("shard") is None:  # nobody was asked to run it
        return row, None
    return {**row, "status": "waiting", "earlier": False, "message": NOT_RUN}, None


def _header(shards: Sequence[Shard], command: str) -> dict[str, Any]:
    datas = [shard.data for shard in shards]
    ends = [str(data.get("finished") or data.get("updated") or "") for data in datas]
    has_finished = all(data.get("outcome") == "finished" for data in datas)
    return {
        "schema": 1,
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


def _write(target: Path, folders: Mapping[str, Path], others: Iterable[Path], page: str) -> None:
    """Copy all beside the target first, so that it stays as it is if that fails; the page comes last."""
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent, ignore_cleanup_errors=True) as name:
        new, old = Path(name, "new"), Path(name, "old")
        for directory, folder in sorted(folders.items()):
            _copy(folder, new / directory)
        for directory in sorted(folders):
            if (new / directory).is_dir():  # else it has been moved with the one around it
                replace_folder(new / directory, target / directory, aside=old / directory)
        target.mkdir(exist_ok=True)
        for file in others:
            if file.is_file():
                shutil.copyfile(file, target / file.name)
        write_atomic(target / REPORT, page)


def _copy(folder: Path, target: Path) -> None:
    """Copy a run directory, in place of what that of another may have brought with it."""
    if target.is_dir():
        shutil.rmtree(target)
    shutil.copytree(folder, target, symlinks=True, ignore=_special)


def _special(folder: str, names: list[str]) -> set[str]:
    """What is neither a file, a folder nor a link: reading a pipe would wait for a writer."""
    modes = {name: os.lstat(os.path.join(folder, name)).st_mode for name in names}
    is_copied = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISLNK)
    return {name for name, mode in modes.items() if not any(test(mode) for test in is_copied)}
