"""Decide when an instance that has failed is tried again.

Before each further attempt the pause doubles, up to ten minutes. Instances that have failed together, over
one server say, are not tried again together: each has a share on top that is always the same for it.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass

from ..core.instance import Instance
from ..core.record import Record
from ..core.run_directory.layout import RunFiles
from ..core.run_directory.record_files import read_record
from ..core.system.interrupts import moments, raise_if_pressed
from ..core.system.lineage import session_id

FACTOR = 2.0
LONGEST = 600.0  # seconds, unless `_retry_delay` itself is longer
SPREAD = 0.1  # largest share on top


@dataclass(frozen=True)
class Attempts:
    """The attempts that have failed so far.

    Attributes:
        failed: Why each has failed.
        waited: Seconds that were waited after each.
    """

    failed: tuple[str, ...] = ()
    waited: tuple[float, ...] = ()


NOTHING_TRIED = Attempts()


def pause_after(instance: Instance, attempt: int) -> float:
    """Return the seconds between an attempt of an instance, counted from 1, and the next one."""
    first = instance.retry_delay
    if not first:
        return 0.0
    steady = min(first * FACTOR ** min(attempt - 1, 64), max(first, LONGEST))
    name = f"{instance.step}/{instance.name} {attempt}"
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32
    return steady * (1 + SPREAD * share)


def pause(until: float) -> None:
    """Wait until a time in seconds since the epoch.

    Raises:
        KeyboardInterrupt: At once, if Ctrl-C is pressed.
    """
    while (left := until - time.time()) > 0:
        raise_if_pressed()
        time.sleep(min(moments(left), 3600.0))


def awaits_retry(record: Record | None) -> bool:
    """Return whether an instance has failed in this session and waits for its next attempt."""
    mine = session_id()
    return record is not None and record.retry_at is not None and record.lineage.get("session") == mine


def retry_time(instance: Instance) -> float | None:
    """Return when the next attempt of an instance is due, in seconds since the epoch; None if none is."""
    record, _ = read_record(RunFiles.of(instance).record)
    return record.retry_at if record is not None and awaits_retry(record) else None


def attempts_before(record: Record | None) -> Attempts:
    """Return the attempts before one that begins now, by the record of the last one."""
    if record is None or record.retry_at is None or record.error is None or not awaits_retry(record):
        return NOTHING_TRIED
    longer = max(time.time() - record.retry_at, 0.0)
    *waited, last = record.waited
    return Attempts((*record.failed_attempts, record.error.in_line), (*waited, round(last + longer, 3)))
