"""Move what the last run of an instance wrote out of the way before it runs again.

What it wrote is known from its record or, if it was killed, from what its run directory held when it
began. The files of a run that ended well go to `runs/.earlier`; they stay there until another run has ended
well and is itself replaced (`earlier_runs.shelf`). All else is deleted. Files that others put into the run
directory stay, and so does what the instance keeps.
"""

from __future__ import annotations

import fnmatch
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.instance import RUNS, stem_of
from ..core.record import Record
from ..core.run_directory import atomic, listing, record_files
from ..core.run_directory.layout import RunFiles
from ..core.system import instance_lock
from .earlier_runs.move_files import make_folder, remove, remove_empty
from .earlier_runs.shelf import Shelf, own_names


def is_kept(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a file or folder is kept for the next run.

    Args:
        name: Its path relative to the run directory, with `/` between the parts.
        patterns: Patterns of files, or of folders with all in them; without `/`, of names in any folder.
    """
    parts, ways = name.rstrip("/").split("/"), _ways_to(name)
    for pattern in (pattern.strip("/").removeprefix("./") for pattern in patterns):
        tried = ways if "/" in pattern else parts
        if any(fnmatch.fnmatchcase(text, pattern) for text in tried):
            return True
    return False


@dataclass(frozen=True)
class Written:
    """What a run has left in its run directory, for its record.

    Attributes:
        outputs: Files that it wrote, or that were kept from the last run.
        altered: Outputs that others had made.
        made: New folders, pipes, and links that lead nowhere.
    """

    outputs: tuple[str, ...]
    altered: tuple[str, ...]
    made: tuple[str, ...]


class CleanStart:
    """The run directory of an instance before, between and after the attempts of one run.

    Args:
        files: The files of the instance, which no other process is running.
        root: The project root.
        earlier: The record of its last run.
        keep: Patterns of what is kept for the next run, including the project's.
        generations: Number of good runs to keep.
    """

    def __init__(
        self,
        files: RunFiles,
        root: str | Path,
        earlier: Record | None,
        *,
        keep: Sequence[str] = (),
        generations: int = 0,
    ) -> None:
        self._files, self._root = files, root
        self._earlier = earlier
        self._keep = keep
        self._generations = generations
        self._shelf = Shelf(files, root)
        if earlier is not None and earlier.owner is not None:
            instance_lock.wait_for_orphans(earlier.owner, files.directory)
        self._shelf.finish(earlier)
        there = listing.contents(files, self._run_dirs_within())
        left = self._left(there)
        self._kept = {name for name in left if is_kept(name, keep)}
        self._going = left - self._kept
        self._found = there.keys() - left
        self._before: dict[str, str | None] = {}

    def announce(self, running: Record) -> Record:
        """Write the record that says that the instance is running, and what its run directory holds.

        Args:
            running: The record without that list.

        Returns:
            The record as written.
        """
        make_folder(self._files.directory)
        self._announce_good_run()
        running = running.with_(
            found=tuple(sorted(self._found)), owner=instance_lock.this_process(), last_good=self._shelf.latest
        )
        record_files.publish(self._files, running)
        return running

    def _announce_good_run(self) -> None:
        if self._earlier is not None and self._earlier.status.good:
            self._shelf.forget()
            if self._generations:
                self._shelf.announce(self._earlier)
            else:
                self._shelf.clear()  # what is there is older than the good run, which is not kept

    def set_aside_others_than(self, flows: Iterable[Record]) -> None:
        """Clear the folders of flows that a build ran earlier, but not this time.

        Args:
            flows: The flows that it ran this time.
        """
        known = {
            (flow.run_dir, flow.flow) for record in (*self._others(), *flows) for flow in record.with_flows()
        }
        for folder, record in list(record_files.records(self._files.directory / RUNS)):
            if not record.source and not any((r.run_dir, r.flow) in known for r in record.with_flows()):
                for each in record.with_flows():
                    self._retire(RunFiles(Path(self._root, each.run_dir), stem_of(each.flow)))
                remove_empty(folder, self._files.directory)

    def _retire(self, files: RunFiles) -> None:
        """Clear a folder in which nothing will run."""
        record, _ = record_files.read_record(files.record)
        start = CleanStart(files, self._root, record, generations=self._generations)
        start._announce_good_run()
        start.clear()
        files.config.unlink(missing_ok=True)
        files.record.unlink(missing_ok=True)
        remove_empty(files.directory, self._files.directory)

    def clear(self) -> None:
        """Move or delete what the last run left; complete a move that was cut off."""
        if (moving := self._shelf.moving) is not None:
            names = own_names(moving) - self._kept - self._of_others()
            within = [os.path.relpath(folder, self._files.directory) for folder in self._within(moving.flows)]
            names = {name for name in names if not any(Path(name).is_relative_to(sub) for sub in within)}
            self._shelf.take(names, max(self._generations, 1))
        self._delete(self._going)
        for ours in (self._files.notebook, self._files.html, self._files.log):
            ours.unlink(missing_ok=True)  # they would describe an earlier run, whatever comes now
        self._drop_leftovers_of_ours()
        self._before = listing.contents(self._files)

    def clear_attempt(self) -> None:
        """Delete what an attempt wrote, before the next attempt."""
        there = listing.contents(self._files, self._run_dirs_within())
        self._delete(name for name in there.keys() - self._found if not is_kept(name, self._keep))
        self._before = listing.contents(self._files)

    def in_the_way(self, names: Iterable[str]) -> list[str]:
        """Return what others made, or what is kept, where an earlier run is to be restored."""
        theirs = self._found | self._kept
        ways = ({*_ways_to(name), f"{name}/" if not name.endswith("/") else ""} for name in names)
        return sorted(theirs & set().union(*ways))

    def written(self) -> Written:
        """Return what is new or changed in the run directory since the last attempt began."""
        there = listing.contents(self._files)
        changed = {
            name for name, stat in there.items() if stat is not None and self._before.get(name) != stat
        }
        again = {name for name in self._kept if there.get(name) is not None}
        made = {name for name, stat in there.items() if stat is None and name not in self._found}
        return Written(
            tuple(sorted(changed | again)), tuple(sorted(changed & self._found)), tuple(sorted(made))
        )

    def _left(self, there: Iterable[str]) -> set[str]:
        """Return those names in the run directory that the last run left."""
        earlier = self._earlier
        if earlier is None:
            return set()
        others = self._of_others()
        if earlier.found is None:
            return (own_names(earlier) & set(there)) - others
        if any(_is_running(record) for record in self._others()):
            return set()  # what is new may be that one's
        return set(there) - set(earlier.found) - others

    def _others(self) -> Iterator[Record]:
        """Return the records of other flows in the same run directory."""
        found = record_files.records_in(self._files.directory)
        return (record for stem, record in found.items() if stem != self._files.stem)

    def _of_others(self) -> set[str]:
        """Return what other flows have made in the same run directory."""
        return {name for record in self._others() for name in own_names(record)}

    def _run_dirs_within(self) -> list[str]:
        """Return the run directories of a build's flows, each of which clears its own."""
        told = record_files.read_journal(self._files.journal)
        return self._within((*told, *(self._earlier.flows if self._earlier is not None else ())))

    def _within(self, flows: Iterable[Record]) -> list[str]:
        within = (os.path.join(self._root, flow.run_dir) for flow in flows)
        return [folder for folder in within if Path(folder) != self._files.directory]

    def _delete(self, names: Iterable[str]) -> None:
        remove(self._files.directory, names)

    def _drop_leftovers_of_ours(self) -> None:
        """Delete our temporary files that a killed process left incomplete."""
        ours = self._files.names
        for path in self._files.directory.glob(".*.tmp"):
            if atomic.is_temporary(path.name, ours):
                path.unlink(missing_ok=True)


def _is_running(record: Record) -> bool:
    return record.owner is not None and instance_lock.is_alive(record.owner)


def _ways_to(name: str) -> list[str]:
    """Return a path and the folders that lead to it, without a final `/`."""
    parts = name.rstrip("/").split("/")
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def clear_replay(files: RunFiles) -> None:
    """Empty the run directory of a replay: an old output could pass for one of the next replay."""
    if files.directory.exists():
        shutil.rmtree(files.directory)
