"""The instances of the calls that this process has made: of a conductor that runs as a script, say."""

from __future__ import annotations

from collections.abc import Iterable

from .model import Instance

_made: dict[tuple[str, str], Instance] = {}


def note(instances: Iterable[Instance]) -> None:
    """Note what a call declares; the same instance again takes the place of the earlier one."""
    for instance in instances:
        _made.pop(instance.key, None)
        _made[instance.key] = instance


def made() -> list[Instance]:
    """The instances of all calls so far, in their order."""
    return list(_made.values())


def forget() -> None:
    """Begin anew."""
    _made.clear()
