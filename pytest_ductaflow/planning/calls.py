"""The instances of the calls that this process has made: of a conductor that runs as a script, say."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.model import Instance
from ..sources.names import path_key

_made: dict[tuple[str, str], Instance] = {}


def note(instances: Iterable[Instance]) -> None:
    """Note what a call declares; the same instance again takes the place of the earlier one."""
    for instance in instances:
        _made.pop(_key(instance), None)
        _made[_key(instance)] = instance


def earlier(instance: Instance) -> Instance | None:
    """The instance of an earlier call with the same run directory and flow; None if there is none."""
    return _made.get(_key(instance))


def _key(instance: Instance) -> tuple[str, str]:
    return path_key(instance.run_dir), instance.stem


def made() -> list[Instance]:
    """The instances of all calls so far, in their order."""
    return list(_made.values())


def forget() -> None:
    """Begin anew."""
    _made.clear()
