"""Keep how the last runs of each instance ended: a line for each run, in a file for each step.

    runs/.history/{step}.jsonl
        {"directory": "fit/A", "flow": "fit", "started": …, "status": …, "seconds": …, "results": {…}}

Lines are appended while the file is locked, so that sessions that run at the same time lose none. A file with
far more lines than are kept is written anew, without the oldest runs and without instances that are gone.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.run_directory.atomic import write_atomic
from ..core.run_directory.layout import HISTORY, LOCKS
from .page_json import is_exact

RUNS_KEPT = 20  # of an instance
MOST_LINES = 20_000  # of a step: of more than 1,000 instances, fewer runs are kept, but no less than two
MOST_VALUES = 12  # numeric results of a run
MOST_SHOWN = 10_000  # runs in a page
_SLACK = 500  # lines beyond those that are kept

Key = tuple[str, str]  # run directory relative to `runs/`, and stem of the flow
Results = Mapping[str, Mapping[str, Any]]  # by the file's stem, and key
_NO_RESULTS: Results = {}


@dataclass(frozen=True, slots=True)
class Run:
    """How a run of an instance ended.

    Attributes:
        directory: Its run directory, relative to `runs/`.
        flow: Stem of its flow.
        started: When it began, as a record has it.
        status: How it ended.
        seconds: How long it took; None if that is not known.
        results: Its numeric results.
    """

    directory: str
    flow: str
    started: str
    status: str
    seconds: float | None = None
    results: Results = field(default_factory=lambda: _NO_RESULTS)

    @property
    def key(self) -> Key:
        """What identifies its instance."""
        return self.directory, self.flow

    def to_line(self) -> str:
        """Return the run as a line of a file."""
        data = {name: getattr(self, name) for name in self.__slots__}
        return f"{json.dumps(data, separators=(',', ':'), default=str)}\n"

    @classmethod
    def from_line(cls, line: str) -> Run | None:
        """Return the run that a line of a file tells of; None if it tells of none."""
        try:
            data = json.loads(line)
            run = cls(**{name: data[name] for name in cls.__slots__ if name in data})
        except (ValueError, TypeError, RecursionError):
            return None
        return run if run._is_whole() else None

    def _is_whole(self) -> bool:
        """Return whether its values have the types that they need."""
        texts = self.directory, self.flow, self.started, self.status
        return (
            all(isinstance(text, str) for text in texts)
            and isinstance(self.results, dict)
            and all(isinstance(values, dict) for values in self.results.values())
            and (self.seconds is None or isinstance(self.seconds, int | float))
        )

    @property
    def places(self) -> Iterator[tuple[str, str]]:
        """Where its results come from."""
        return ((stem, key) for stem, values in self.results.items() for key in values)

    def value(self, place: tuple[str, str]) -> Any:
        """Return the result that comes from a place; None without one."""
        value = self.results.get(place[0], {}).get(place[1])
        return value if isinstance(value, int | float) else None


class RunHistory:
    """How the last runs of the instances in a `runs/` ended.

    One thread uses it. `add` only takes a note, and `flush` writes.

    Args:
        runs: The folder.
    """

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._steps: dict[str, dict[Key, list[Run]]] = {}
        self._new: dict[str, list[Run]] = {}

    def add(self, row: Mapping[str, Any], results: Results) -> None:
        """Add the run of a row that has ended, unless it is known.

        Args:
            row: The row.
            results: Its results, by file and key.
        """
        started = row.get("started")
        runs = self._of_step(row["step"]).setdefault(_key_of(row), [])
        if not started or any(run.started == started for run in runs):
            return
        run = Run(*_key_of(row), started, row["status"], row.get("duration"), _numbers(results))
        runs.append(run)
        self._new.setdefault(row["step"], []).append(run)

    def flush(self) -> None:
        """Write what was added; a folder that cannot be written keeps no history."""
        while self._new:
            step, runs = self._new.popitem()
            with contextlib.suppress(OSError):
                self._append(step, runs)

    def shown(self, row: Mapping[str, Any], most: int) -> dict[str, Any] | None:
        """Return the last runs of a row's instance as the page has them; None if there are none.

        Args:
            row: The row.
            most: How many.

        Returns:
            `runs`, each a list of start, status, seconds and results; `places` of the results; how many runs
            are kept, `kept`.
        """
        known = self._of_step(row["step"]).get(_key_of(row), [])[-RUNS_KEPT:]
        if most < 1 or not known:
            return None
        last = known[-most:]
        places = list(dict.fromkeys(place for run in last for place in run.places))[:MOST_VALUES]
        runs = [
            [run.started, run.status, run.seconds, *(run.value(place) for place in places)] for run in last
        ]
        return {"runs": runs, "places": [list(place) for place in places], "kept": len(known)}

    def _of_step(self, step: str) -> dict[Key, list[Run]]:
        if step not in self._steps:
            self._steps[step] = _by_instance(_read(self._file(step)))
        return self._steps[step]

    def _file(self, step: str) -> Path:
        return self._runs / HISTORY / f"{step}.jsonl"

    def _append(self, step: str, runs: list[Run]) -> None:
        from ..core.system.instance_lock import locked  # not needed where nothing runs

        file = self._file(step)
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = (run.to_line().encode("utf-8", "backslashreplace") for run in runs)
        with locked(self._runs / LOCKS / "history.lock"):
            with open(file, "ab+") as target:
                if target.tell() and not _ends_line(target):  # a killed process has left a part of a line
                    target.write(b"\n")
                target.writelines(lines)
            known = self._of_step(step)
            if sum(map(len, known.values())) > _kept_of(len(known)) * len(known) + _SLACK:
                self._shorten(step)

    def _shorten(self, step: str) -> None:
        """Write the file of a step anew, with what other sessions have added to it."""
        found = _by_instance(_read(self._file(step)))
        there = {key: runs for key, runs in found.items() if (self._runs / key[0]).is_dir()}
        kept = {key: runs[-_kept_of(len(there)) :] for key, runs in there.items()}
        write_atomic(self._file(step), (run.to_line() for runs in kept.values() for run in runs))
        self._steps[step] = kept


def most_shown(rows: int) -> int:
    """Return how many runs of each of so many instances a page has room for."""
    return min(RUNS_KEPT, MOST_SHOWN // max(rows, 1))


def _kept_of(instances: int) -> int:
    return max(2, min(RUNS_KEPT, MOST_LINES // max(instances, 1)))


def _key_of(row: Mapping[str, Any]) -> Key:
    return row["directory"], row["flow"]


def _by_instance(runs: Iterable[Run]) -> dict[Key, list[Run]]:
    found: dict[Key, list[Run]] = {}
    for run in runs:
        found.setdefault(run.key, []).append(run)
    for each in found.values():
        each.sort(key=lambda run: run.started)
    return found


def _read(file: Path) -> Iterator[Run]:
    """Yield the runs in a file, without lines that are none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        if (run := Run.from_line(line)) is not None:
            yield run


def _ends_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _numbers(results: Results) -> Results:
    """Return the first numbers among results."""
    if not results:
        return _NO_RESULTS
    found: dict[str, dict[str, Any]] = {}
    numbers = (
        (stem, key, value)
        for stem, values in results.items()
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and is_exact(value)
    )
    for (stem, key, value), _ in zip(numbers, range(MOST_VALUES), strict=False):
        found.setdefault(stem, {})[key] = value
    return found
