"""Say in one line how far a session is, in as many words as there is room for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from _pytest._io.wcwidth import wcswidth

from ...core.number_text import in_line, rounded_time
from .progress import Snapshot

Piece = tuple[str, str]  # a text, and its colour or ""
Part = list[Piece]

# The way an instance ended, the letter that pytest prints for it, and its colour.
_LIGHTS = (
    ("passed", ".", "green"),
    ("unchanged", "u", "green"),
    ("warned", "w", "yellow"),
    ("failed", "F", "red"),
    ("blocked", "s", "yellow"),
    ("skipped", "s", "yellow"),
)
_BETWEEN = " | "
_NAME = 16  # columns for the name of the slowest instance, before something else is left out


def status_line(now: Snapshot, width: int) -> list[Piece]:
    """Return the pieces of a line that is not wider than `width`."""
    label, seconds = (in_line(now.slowest[0]), rounded_time(now.slowest[1])) if now.slowest else ("", "")
    least = len(_BETWEEN) + min(_wide(label), _NAME) + len(f" {seconds}") if label else 0
    ways = [(parts, least) for parts in _ways_to_say(now, shortest=False)]
    ways += [(parts, 0) for parts in _ways_to_say(now, shortest=True)]
    for parts, room in ways:
        line = _joined(parts)
        if _width(line) + room <= width:
            return [*line, *_slowest(label, seconds, width - _width(line))] if room else line
    return [(f"{now.done}/{now.total}"[: max(width, 0)], "")]


def log_line(now: Snapshot) -> str:
    """Return the line for a log."""
    said = [f"{now.done} of {now.total} done"] + [f"{now.running} running"] * bool(now.running)
    bad = ("warned", "failed", "blocked")
    said += [f"{now.outcomes[name]} {name}" for name in bad if now.outcomes.get(name)]
    said.append(_left(now))
    slowest = f"; slowest: {in_line(now.slowest[0])} {rounded_time(now.slowest[1])}" if now.slowest else ""
    return ", ".join(filter(None, said)) + slowest


def _ways_to_say(now: Snapshot, *, shortest: bool) -> Iterator[Sequence[Part]]:
    """Yield the parts of the line but for the slowest instance, the longest way to say them first.

    With `shortest`, they are told as briefly as it goes, and there are fewer of them.
    """
    short: Part = [(f"{now.done}/{now.total}", "")]
    left: Part = [(_left(now), "")]
    words = _lights(now, lambda number, name, _: f"{number} {name}", ", ")
    letters = _lights(now, lambda number, _, letter: f"{number}{letter}", " ")
    if shortest:
        yield short, letters, left
        yield short, letters
        yield [short]
        return
    counts = f"{now.done} of {now.total} done"
    running = f", {now.running} running" if now.running else ""
    waiting = f", {now.waiting} waiting" if now.waiting else ""
    yield [(f"{counts}{running}{waiting}", "")], words, left
    yield [(f"{counts}{running}", "")], words, left
    yield [(f"{counts}{running}{waiting}", "")], letters, left
    yield [(f"{counts}{running}", "")], letters, left
    yield short, letters, left


def _lights(now: Snapshot, say: Callable[[int, str, str], str], between: str) -> Part:
    """Return how many have ended in which way, in colours."""
    pieces: Part = []
    for name, letter, colour in _LIGHTS:
        if number := now.outcomes.get(name):
            pieces += [(between, ""), (say(number, name, letter), colour)]
    return pieces[1:]


def _left(now: Snapshot) -> str:
    return f"about {rounded_time(now.left)} left" if now.left is not None and now.left >= 1 else ""


def _joined(parts: Sequence[Part]) -> list[Piece]:
    """Return the pieces of all parts that have a text, with something between them."""
    line: list[Piece] = []
    for part in parts:
        if any(text for text, _ in part):
            line += [(_BETWEEN, ""), *part] if line else part
    return line


def _slowest(label: str, seconds: str, width: int) -> Part:
    """Return the name of the slowest instance and its time, cut to a width."""
    room = width - len(_BETWEEN) - len(f" {seconds}")
    if _wide(label) > room:
        label = f"…{_last(label, room - 1)}"  # its end tells more than its step
    return [(f"{_BETWEEN}{label} {seconds}", "")]


def _last(text: str, width: int) -> str:
    while _wide(text) > width:
        text = text[1:]
    return text


def _width(line: Sequence[Piece]) -> int:
    return sum(_wide(text) for text, _ in line)


def _wide(text: str) -> int:
    """Return how many columns a text takes; one that cannot be known has none to spare."""
    columns = wcswidth(text)
    return columns if columns >= 0 else 2 * len(text)
