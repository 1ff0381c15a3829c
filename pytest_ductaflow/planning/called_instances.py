"""Keep the instances of the calls that this process has made, as a conductor run as a script, say."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ..core.instance import Instance
from ..sources.instance_names import path_key

_made: dict[tuple[str, str], Instance] = {}
_lock = threading.Lock()


def note(instances: Iterable[Instance]) -> None:
    """Add the instances of a call; a repeated instance replaces the earlier one."""
    with _lock:
        for instance in instances:
            _made.pop(_key(instance), None)
            _made[_key(instance)] = instance


def earlier(instance: Instance) -> Instance | None:
    """Return the instance of an earlier call with the same run directory and flow, if any."""
    return _made.get(_key(instance))


def _key(instance: Instance) -> tuple[str, str]:
    return path_key(instance.run_dir), instance.stem


def made() -> list[Instance]:
    """Return the instances of all calls so far, in their order."""
    return list(_made.values())


def forget() -> None:
    """Remove all instances."""
    _made.clear()
