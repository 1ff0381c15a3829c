"""What a stored instance wrote, next to what was expected of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..compare import Unreadable, compare, compare_digest
from ..compare.tolerance import Tolerance, Tolerances
from ..model import Difference, Failure, Instance, Record, Status
from ..named import output_files
from ..store import RunFiles, shown
from .instance import EXPECTED, FILE, StoredError, StoredInstance, is_compared, read_stored

OUTPUTS_DIFFER = "OutputsDiffer"  # type of the failure of an instance that did not write what was expected
Comparer = Callable[[str, Path, Path, Tolerance], Sequence[Difference] | None]


def judged(
    record: Record, instance: Instance, *, approves: bool = False, comparer: Comparer | None = None
) -> Record:
    """The record of a stored instance that has run, with all that is not as expected.

    Args:
        record: How it ended; one that failed has nothing to be compared.
        instance: The stored instance.
        approves: Whether differences are only noted, to be approved of.
        comparer: Is asked first how a file (its name, the one that is expected, the one that was found)
            differs; gives None if it knows nothing of such files.

    Returns:
        The record; an error if there are differences, unless these are approved of.
    """
    if not record.status.good:
        return record
    try:
        comparison = _Comparison(record, instance, read_stored(Path(instance.stored)), comparer)
        differences = tuple(comparison.differences())
    except StoredError as error:
        return record.with_(status=Status.ERROR, error=Failure("StoredInstance", str(error)))
    if not differences:
        return record
    record = record.with_(differences=differences)
    if approves:
        return record
    return record.with_(status=Status.ERROR, error=Failure(OUTPUTS_DIFFER, _message(differences)))


def _message(differences: Sequence[Difference]) -> str:
    """All files; the first line stands for them where there is room for one only."""
    first, *others = (f"{difference.file}: {difference.message}" for difference in differences)
    count = f" (and {len(others)} more file{'s' * (len(others) > 1)})" if others else ""
    return "\n".join([first + count, *others])


def found_outputs(record: Record, root: str, stored: StoredInstance) -> dict[str, Path]:
    """The files in its run directory that an instance wrote and that are compared, by name."""
    run_dir = os.path.normpath(os.path.join(root, record.run_dir))
    names = {os.path.relpath(path, run_dir).replace(os.sep, "/") for path in output_files(record, root)}
    return {
        name: Path(run_dir, name)
        for name in sorted(names)
        if not name.startswith("../") and (name in stored.names or is_compared(name, stored.outputs))
    }


class _Comparison:
    """One stored instance's files, one after the other."""

    def __init__(
        self, record: Record, instance: Instance, stored: StoredInstance, comparer: Comparer | None
    ) -> None:
        self._stored = stored
        self._folder = Path(instance.stored)
        self._shown = shown(instance.stored, instance.project_root)
        self._found = found_outputs(record, instance.project_root, stored)
        self._tolerances = Tolerances(stored.tolerances)
        self._figures = RunFiles.of(instance).differences
        self._comparer = comparer

    def differences(self) -> Iterator[Difference]:
        """Files that differ, are missing, or are more than was expected."""
        stray = set(_files_in(self._folder / EXPECTED)) - set(self._stored.expected)
        for name in sorted(stray):
            what = f"{self._shown}/{EXPECTED}/{name} is not listed under `expected` in {FILE}"
            yield Difference(name, what)
        for name in sorted((self._stored.names | self._found.keys()) - stray):
            yield from self._differences_of(name)

    def _differences_of(self, name: str) -> Iterator[Difference]:
        expected = self._folder / EXPECTED / name
        is_digest = name in self._stored.digests and name not in self._stored.expected
        if name not in self._stored.names:
            yield Difference(name, "was written, but is not expected")
        elif not is_digest and not expected.is_file():
            what = f"{self._shown}/{EXPECTED}/{name} is not there: is it ignored by git?"
            yield Difference(name, what)
        elif name not in self._found:
            yield Difference(name, "is missing: the flow did not write it")
        elif is_digest:
            found = compare_digest(self._stored.digests[name], self._found[name], name)
            yield from [found] if found is not None else []
        else:
            yield from self._compared(name, expected, self._found[name])

    def _compared(self, name: str, expected: Path, found: Path) -> Iterator[Difference]:
        tolerance = self._tolerances.of(name)
        told = self._comparer(name, expected, found, tolerance) if self._comparer is not None else None
        if told is not None:
            yield from told
            return
        try:
            difference = compare(expected, found, tolerance, name=name, figures=self._figures)
        except Unreadable as error:
            difference = Difference(
                name, str(error).replace(str(expected), f"{self._shown}/{EXPECTED}/{name}")
            )
        if difference is not None:
            yield difference


def _files_in(folder: Path) -> Iterator[str]:
    for current, _, names in os.walk(folder):
        for name in names:
            if not name.startswith("."):  # what systems and editors leave; an output so called is listed
                yield Path(current, name).relative_to(folder).as_posix()
