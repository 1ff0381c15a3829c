"""Warnings that are not shown within a block, whatever other threads do."""

from __future__ import annotations

import threading
import warnings

from pytest_ductaflow.core.quiet_warnings import without_warnings

PATIENCE = 30.0  # seconds; only a bug waits that long


def test_two_threads_at_once_leave_the_filters_as_they_were():
    before, inside, go = list(warnings.filters), threading.Event(), threading.Event()

    def first() -> None:
        with without_warnings():
            inside.set()
            go.wait(PATIENCE)

    def second() -> None:
        inside.wait(PATIENCE)
        go.set()
        with without_warnings():
            warnings.warn("nobody sees this", stacklevel=1)

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert warnings.filters == before
