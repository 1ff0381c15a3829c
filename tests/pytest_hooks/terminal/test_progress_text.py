"""What is said of a session that runs, as far as there is room."""

from __future__ import annotations

import pytest
from _pytest._io.wcwidth import wcswidth

from pytest_ductaflow.pytest_hooks.terminal.progress import Snapshot
from pytest_ductaflow.pytest_hooks.terminal.progress_text import log_line, status_line

NOW = Snapshot(
    60, 2, {"passed": 8, "warned": 1, "failed": 1, "unchanged": 2}, left=250, slowest=("flow/instance", 94.2)
)


WORDS = "8 passed, 2 unchanged, 1 warned, 1 failed"


def text(now: Snapshot, width: int) -> str:
    return "".join(piece for piece, _ in status_line(now, width))


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (
            120,
            f"12 of 60 done, 2 running, 46 waiting | {WORDS} | about 4 min left | flow/instance 95 s",
        ),
        (79, "12 of 60 done, 2 running | 8. 2u 1w 1F | about 4 min left | flow/instance 95 s"),
        (60, "12/60 | 8. 2u 1w 1F | about 4 min left | flow/instance 95 s"),
        (39, "12/60 | 8. 2u 1w 1F | about 4 min left"),
        (30, "12/60 | 8. 2u 1w 1F"),
        (8, "12/60"),
        (3, "12/"),
        (0, ""),
    ],
)
def test_the_line_says_what_there_is_room_for(width: int, line: str) -> None:
    assert text(NOW, width) == line


@pytest.mark.parametrize("name", ["a/" + 80 * "x", "市/" + 40 * "京", "a/\x1b[2J\nb", ""])
def test_no_line_is_wider_than_there_is_room(name: str) -> None:
    now = Snapshot(9999, 12, {"passed": 4321, "failed": 12}, left=98765, slowest=(name, 12345))
    for width in range(150):
        assert 0 <= wcswidth(text(now, width)) <= width


def test_a_name_that_is_too_long_is_told_by_its_end() -> None:
    now = Snapshot(6, 1, slowest=("growth/mode=rail,year=2040,toll=0.25", 3))
    assert text(now, 50) == "0 of 6 done, 1 running | …,year=2040,toll=0.25 3 s"


def test_lights_have_the_colours_that_pytest_gives_them() -> None:
    colours = {piece: colour for piece, colour in status_line(NOW, 120) if colour}
    assert colours == {"8 passed": "green", "2 unchanged": "green", "1 warned": "yellow", "1 failed": "red"}


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert text(Snapshot(3), 80) == "0 of 3 done, 3 waiting"
    assert log_line(Snapshot(3, 0, {"passed": 3}, left=0.0)) == "3 of 3 done"


def test_the_line_for_a_log() -> None:
    now = Snapshot(60, 2, {"passed": 11, "failed": 1}, left=250, slowest=("flow/instance", 94.2))
    assert log_line(now) == (
        "12 of 60 done, 2 running, 1 failed, about 4 min left; slowest: flow/instance 95 s"
    )
