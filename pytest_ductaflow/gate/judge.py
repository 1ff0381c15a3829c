"""Compare the outputs of a stored instance with what is expected."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import ExpectedUnreadable, StoredError
from ..core.instance import Instance
from ..core.record import OUTPUTS_DIFFER, Difference, DifferingValue, Failure, Record, Status
from ..core.run_directory.layout import RunFiles, display_path
from ..core.system.file_state import stat_of
from ..tracking.paths_in_config import output_files
from .compare.files import compare
from .compare.kinds.any_bytes import compare_digest
from .compare.tolerance import Tolerance, Tolerances
from .instance_file import EXPECTED, FILE, StoredInstance, is_compared, read_stored

HOOK = "pytest_ductaflow_compare"
Comparer = Callable[[str, Path, Path, Tolerance], Any]


class Judge:
    """A judge of a stored instance's outputs, created before the instance runs.

    Args:
        instance: The stored instance.
        updates: Whether differences are only recorded, for a later update.
        comparer: Function called first to compare a file (arguments: name, expected file, found file,
            tolerance); returns None if it does not handle such files.
    """

    def __init__(
        self, instance: Instance, *, updates: bool = False, comparer: Comparer | None = None
    ) -> None:
        self._instance, self._updates, self._comparer = instance, updates, comparer
        self._folder = Path(instance.stored_in)
        self._before = _state(self._folder)

    def judged(self, record: Record) -> Record:
        """Return the record of the finished instance, with all differences from what is expected.

        Args:
            record: Record of the run; if it failed, nothing is compared.

        Returns:
            The record; its status is an error if there are differences, unless what is expected is updated.
        """
        if not record.status.good:
            return record
        if wrong := self._tampering(record):
            return record.with_(status=Status.ERROR, error=Failure("StoredInstance", wrong))
        try:
            comparison = _Comparison(record, self._instance, read_stored(self._folder), self._comparer)
        except StoredError as error:
            return record.with_(status=Status.ERROR, error=Failure("StoredInstance", str(error)))
        differences = tuple(comparison.differences())
        record = record.with_(
            python_warnings=(*record.python_warnings, *map("ToleranceWarning: {}".format, comparison.notes()))
        )
        if not differences:
            return record
        record = record.with_(differences=differences)
        if self._updates:
            return record
        return record.with_(status=Status.ERROR, error=Failure(OUTPUTS_DIFFER, _message(differences)))

    def _tampering(self, record: Record) -> str | None:
        """Return the problem if a flow read or changed its own expected outputs, else None."""
        expected = f"{display_path(self._folder, self._instance.project_root)}/{EXPECTED}"
        inputs = (name for each in record.with_flows() for name in each.inputs)
        if read := next((name for name in inputs if name.startswith(f"{expected}/")), None):
            return f"the flow has read what is expected of it: {read}"
        if _state(self._folder) != self._before:
            return f"the flow has changed what is expected of it, in {expected}"
        return None


def _state(folder: Path) -> dict[str, str | None]:
    """Return the stats of a stored instance's files, to detect changes."""
    files = (folder / FILE, *(folder / EXPECTED / name for name in files_in(folder / EXPECTED)))
    return {str(path): stat_of(path) for path in files}


def _message(differences: Sequence[Difference]) -> str:
    """Return a message on all files; its first line also serves as the short form."""
    first, *others = (f"{difference.file}: {difference.message}" for difference in differences)
    count = f" (and {len(others)} more file{'s' * (len(others) > 1)})" if others else ""
    return "\n".join([first + count, *others])


def outputs_of(record: Record, root: str) -> dict[str, Path]:
    """Return, by name, the files an instance (or a build's flow) wrote in its run directory."""
    run_dir = Path(os.path.normpath(os.path.join(root, record.run_dir)))
    paths = sorted(Path(path) for path in output_files(record, root))
    return {path.relative_to(run_dir).as_posix(): path for path in paths if path.is_relative_to(run_dir)}


def compared_outputs(record: Record, root: str, stored: StoredInstance) -> dict[str, Path]:
    """Return, by name, the files an instance wrote that are to be compared."""
    return {
        name: path
        for name, path in outputs_of(record, root).items()
        if name in stored.names or is_compared(name, stored.outputs)
    }


class _Comparison:
    """A comparison of one stored instance's files, one after the other."""

    def __init__(
        self, record: Record, instance: Instance, stored: StoredInstance, comparer: Comparer | None
    ) -> None:
        self._stored = stored
        self._folder = Path(instance.stored_in)
        self._shown = display_path(instance.stored_in, instance.project_root)
        self._found = compared_outputs(record, instance.project_root, stored)
        self._tolerances = Tolerances(stored.tolerances)
        self._figures = RunFiles.of(instance).differences
        self._comparer = comparer
        self._names: dict[str, set[str] | None] = dict.fromkeys(self._stored.names | self._found.keys())

    def notes(self) -> Iterator[str]:
        """Yield notes on tolerances that matched nothing, once all files have been compared."""
        for note in self._tolerances.without_effect(self._names) if self._names else ():
            yield f"{self._shown}/{FILE}, tolerances of {note}"

    def differences(self) -> Iterator[Difference]:
        """Yield a difference for each file that differs, is missing or is not expected."""
        stray = set(files_in(self._folder / EXPECTED)) - set(self._stored.expected)
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
            what = "is no file" if expected.exists() else "is not there: is it ignored by git?"
            yield Difference(name, f"{self._shown}/{EXPECTED}/{name} {what}")
        elif name not in self._found:
            yield Difference(name, "is missing: the flow did not write it")
        elif not is_digest and os.path.samefile(expected, self._found[name]):
            yield Difference(name, "is a link to what is expected, and nothing that the flow has written")
        elif is_digest:
            yield from _if_any(compare_digest(self._stored.digests[name], self._found[name], name))
        else:
            yield from self._compared(name, expected, self._found[name])

    def _compared(self, name: str, expected: Path, found: Path) -> Iterator[Difference]:
        tolerance = self._tolerances.of(name)
        try:
            told = self._comparer(name, expected, found, tolerance) if self._comparer is not None else None
        except Exception as error:  # from third-party code
            yield Difference(name, f"{HOOK} raised {type(error).__name__}: {error}")
            return
        if told is not None:
            yield from _of_hook(name, told)
            return
        try:
            yield from _if_any(
                compare(expected, found, tolerance, name=name, figures=self._figures, names=self._names)
            )
        except ExpectedUnreadable as error:
            yield Difference(name, str(error).replace(str(expected), f"{self._shown}/{EXPECTED}/{name}"))


def _if_any(difference: Difference | None) -> Iterator[Difference]:
    if difference is not None:
        yield difference


def _of_hook(name: str, told: Any) -> Iterator[Difference]:
    """Yield the differences a hook returned for a file, or a complaint about an invalid result."""
    if isinstance(told, list | tuple) and all(isinstance(each, Difference) for each in told):
        for each in told:
            try:
                yield _plain(name, each)
            except (TypeError, ValueError, AttributeError) as error:
                yield Difference(name, f"{HOOK} gave a Difference with values that cannot be: {error}")
    else:
        what = "a list of Difference, which is empty if the file is as expected, or None"
        yield Difference(name, f"{HOOK} gave {told!r}: expected {what}")


def _plain(name: str, told: Difference) -> Difference:
    """Return a difference of plain values that can be sent to another process, whatever its number types."""
    worst = tuple(
        DifferingValue(
            str(value.where),
            str(value.expected),
            str(value.found),
            None if value.absolute is None else float(value.absolute),
            None if value.relative is None else float(value.relative),
        )
        for value in told.worst
    )
    figures = {str(kind): str(path) for kind, path in told.figures.items()}
    return Difference(name, str(told.message), tuple(map(str, told.notes)), worst, figures)


def files_in(folder: Path) -> Iterator[str]:
    """Yield the names of the files below a folder, except hidden ones of systems and editors."""
    for current, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield Path(current, name).relative_to(folder).as_posix()
