"""Wake xdist's controller, which only waits for what its workers say, at a given time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import pytest

_EVENT = "ductaflow_alarm"


class Alarm(Protocol):
    """Calls a function in the thread of the controller, soon after each time for which it was set."""

    def set(self, when: float) -> None:
        """Set it for a time in seconds since the epoch."""


class ControllerAlarm:
    """An alarm that puts an event into the queue of xdist's controller.

    Args:
        session: xdist's session of workers.
        wake: The function to call.
    """

    def __init__(self, session: Any, wake: Callable[[], None]) -> None:
        self._queue = session.queue
        setattr(session, f"worker_{_EVENT}", wake)  # xdist calls what is named after an event

    def set(self, when: float) -> None:
        """Set a timer; each goes off by itself, so that an earlier one stays set."""
        timer = threading.Timer(max(when - time.time(), 0.0), self._queue.put, [(_EVENT, {})])
        timer.daemon = True  # a session that stops does not wait for it
        timer.start()


def alarm_of(config: pytest.Config, wake: Callable[[], None]) -> Alarm | None:
    """Return an alarm for the controller; None if this xdist has no such queue."""
    session = config.pluginmanager.get_plugin("dsession")
    return ControllerAlarm(session, wake) if hasattr(session, "queue") else None
