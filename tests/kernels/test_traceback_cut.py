"""Deep tracebacks are cut before IPython formats them, and are complete again afterwards."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ductaflow.kernels.inside import traceback_cut
from pytest_ductaflow.kernels.inside.traceback_cut import shortened


def raised(depth: int, error: BaseException) -> BaseException:
    """Return an error with so many traceback frames: each time that it is raised adds one."""
    for _ in range(depth):
        with contextlib.suppress(type(error)):
            raise error
    return error


def chained(number: int, link: Callable[[BaseException, BaseException], None]) -> BaseException:
    errors = [raised(1, ValueError(f"error {count}")) for count in range(number)]
    for inner, outer in pairwise(errors):
        link(outer, inner)
    return errors[-1]


@dataclass(frozen=True)
class Unchangeable(Exception):
    """An error that allows no changes, like a frozen dataclass."""

    number: int


def test_a_chain_of_errors_that_take_no_changes_is_cut_and_whole_again():
    error: BaseException = ValueError("the first")
    for number in range(40):
        outer = Unchangeable(number)
        Exception.__setattr__(outer, "__cause__", error)
        error = outer
    whole = text(error)
    with shortened(error):
        assert "21 errors left out" in text(error)
    assert text(error) == whole


def frames(error: BaseException) -> list[str]:
    return [f"{frame.filename}:{frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


def text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_the_first_and_the_last_frames_stay_and_the_rest_is_counted():
    error = raised(5_000, ValueError("deep"))
    whole = frames(error)
    with shortened(error):
        found = frames(error)
    assert found == [*whole[:20], f"<… {len(whole) - 60:,} frames left out …>:<module>", *whole[-40:]]


@pytest.mark.parametrize("depth", [5_000, 100])
def test_afterwards_a_traceback_is_as_it_was(depth):
    error = raised(depth, ValueError("deep"))
    before = text(error)
    with shortened(error):
        pass
    assert text(error) == before


def test_up_to_a_limit_nothing_is_left_out():
    error = raised(200, ValueError("not so deep"))
    before = text(error)
    with shortened(error):
        assert text(error) == before


def as_cause(outer: BaseException, inner: BaseException) -> None:
    outer.__cause__ = inner


def as_context(outer: BaseException, inner: BaseException) -> None:
    outer.__context__ = inner


@pytest.mark.parametrize("link", [as_cause, as_context])
def test_frames_of_an_error_from_which_it_comes_are_left_out_too(link):
    inner, outer = raised(1_000, KeyError("inner")), raised(300, ValueError("outer"))
    link(outer, inner)
    with shortened(outer):
        assert [len(frames(each)) for each in (inner, outer)] == [31, 31]


@pytest.mark.parametrize("link", [as_cause, as_context])
def test_of_a_long_chain_of_errors_the_first_and_the_last_ones_stay(link):
    error = chained(500, link)
    before = text(error)
    with shortened(error):
        found = [
            line for line in text(error).splitlines() if line.startswith("ValueError") or "left out" in line
        ]
    assert found == [
        *(f"ValueError: error {number}" for number in range(10)),
        '  File "<… 480 errors left out …>", line 1, in <module>',
        *(f"ValueError: error {number}" for number in range(490, 500)),
    ]
    assert text(error) == before
    assert (error.__cause__ is None) == (link is as_context)


def test_errors_that_come_from_each_other_in_a_circle_are_told_once():
    first, second = raised(300, KeyError("first")), raised(300, ValueError("second"))
    first.__context__, second.__context__ = second, first
    with shortened(second):
        assert [len(frames(each)) for each in (first, second)] == [31, 31]


def test_of_an_error_in_a_group_frames_are_left_out_too():
    inner, small = raised(1_000, KeyError("inner")), raised(100, TypeError("small"))
    outer = raised(1, ExceptionGroup("group", [inner, ExceptionGroup("in it", [small])]))
    with shortened(outer):
        assert (len(frames(inner)), len(frames(small))) == (61, 100)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], str]:
    """Return a function that gives what an IPython shell shows of an error, without colours."""
    tb = pytest.importorskip("IPython.core.ultratb").AutoFormattedTB(mode="Context", theme_name="nocolor")
    lines: list[str] = []

    def show(error: tuple[Any, ...]) -> None:
        shell._showtraceback(error[0], error[1], tb.structured_traceback(*error))

    shell = SimpleNamespace(
        showtraceback=show, _showtraceback=lambda *parts: lines.append("\n".join(parts[2]))
    )
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    traceback_cut.cut_tracebacks()

    def shown(error: BaseException) -> str:
        shell.showtraceback((type(error), error, error.__traceback__))
        return lines.pop()

    return shown


def test_ipython_shows_one_line_in_place_of_frames(shown):
    found = shown(raised(400, ValueError("deep"))).splitlines()
    assert [line for line in found if "left out" in line] == ["… 340 frames left out …"]
    assert found[-1] == "ValueError: deep"


def test_ipython_shows_one_line_in_place_of_errors(shown):
    found = shown(chained(30, as_context)).splitlines()
    assert [line for line in found if "left out" in line] == ["… 10 errors left out …"]


def test_a_message_that_looks_like_such_a_line_stays(shown):
    assert shown(raised(1, ValueError("<… 2 frames left out …>"))).endswith(
        "ValueError: <… 2 frames left out …>"
    )
