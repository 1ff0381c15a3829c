"""Ctrl-C reaches the main thread only; others that run instances take it from there."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pytest_ductaflow.core.system import interrupts

PATIENCE = 30.0  # seconds; only a bug waits that long


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def listening(pool: ThreadPoolExecutor, work: Callable[[], object]) -> Future[object]:
    """Do something in a thread that takes Ctrl-C from the main one; return when it listens."""
    listens = threading.Event()

    def run() -> object:
        with interrupts.keyboard_of_main_thread():
            listens.set()
            return work()

    future = pool.submit(run)
    assert listens.wait(PATIENCE)
    return future


def test_a_wait_in_a_thread_ends_with_what_the_main_thread_handles(pool):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        began = time.monotonic()
        waiting = listening(pool, lambda: interrupts.wait([ours], PATIENCE))
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                waiting.result(PATIENCE)
        assert time.monotonic() - began < PATIENCE / 2


def test_each_press_is_raised_once(pool):
    def twice() -> list[str]:
        told = []
        for _ in range(2):
            try:
                interrupts.raise_if_pressed()
                told.append("nothing")
            except KeyboardInterrupt:
                told.append("Ctrl-C")
        return told

    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert listening(pool, twice).result() == ["Ctrl-C", "nothing"]
    assert listening(pool, twice).result() == ["nothing", "nothing"]


def test_other_errors_and_other_threads_go_on(pool):
    try:
        raise OSError
    except OSError:
        assert listening(pool, interrupts.raise_if_pressed).result() is None
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        interrupts.raise_if_pressed()
        assert pool.submit(interrupts.raise_if_pressed).result() is None


def test_what_begins_after_a_script_was_stopped_does_not_begin(pool, monkeypatch):
    monkeypatch.delattr(sys, "ps1", raising=False)
    monkeypatch.setattr(sys, "last_value", KeyboardInterrupt(), raising=False)
    with pytest.raises(KeyboardInterrupt):
        listening(pool, interrupts.raise_if_pressed).result()


def test_an_earlier_press_in_an_interactive_session_does_not_count(pool, monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    monkeypatch.setattr(sys, "last_value", KeyboardInterrupt(), raising=False)
    assert listening(pool, interrupts.raise_if_pressed).result() is None


def test_a_process_that_is_stopped_waits_for_its_threads(pool, monkeypatch):
    go, told = threading.Event(), []
    future = listening(pool, lambda: (go.wait(PATIENCE), told.append("ended")))
    interrupts.let_threads_end()  # nothing has stopped it
    assert told == []
    monkeypatch.delattr(sys, "ps1", raising=False)
    monkeypatch.setattr(sys, "last_value", KeyboardInterrupt(), raising=False)
    threading.Timer(0.05, go.set).start()
    interrupts.let_threads_end()
    assert told == ["ended"]
    future.result()


def test_a_wait_finds_what_is_there():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert interrupts.wait([ours], 0.0) == []
        theirs.sendall(b"x")
        assert interrupts.wait([ours], PATIENCE) == [ours]
