"""The rule of the first 15 characters, and whole lines from a stream that arrives in pieces."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_ductaflow.running.warning_lines import (
    REACH,
    LineSplitter,
    is_warning,
    python_warning,
    settled,
    strip_ansi,
)

SIGN = "\N{WARNING SIGN}\N{VARIATION SELECTOR-16}"


def split(*pieces: str) -> list[str]:
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return lines + splitter.flush()


@pytest.mark.parametrize(
    ("position", "warned"), [(0, True), (13, True), (14, True), (15, False), (16, False)]
)
def test_a_warning_sign_counts_if_it_begins_within_the_first_15_characters(position, warned):
    assert is_warning("." * position + SIGN + " low") is warned


@pytest.mark.parametrize(("position", "warned"), [(0, True), (6, True), (7, True), (8, False), (15, False)])
def test_the_word_warning_counts_if_it_ends_within_the_first_15_characters(position, warned):
    assert is_warning("." * position + "Warning: low") is warned


@pytest.mark.parametrize(
    "line",
    [
        "warning: low",
        "WARNING: low",
        "WaRnInG: low",
        "WARNING:root:low",
        "[x] warning:",
        "  \twarning: low",
        "⚠ without its variation selector",
        "\x1b[33mWARNING: in colour\x1b[0m",
        "\x1b[1m\x1b[38;5;208m\x1b[48;2;1;2;3mwarning:\x1b[0m behind 40 characters of colour",
        "größe warning: 3",
        "⚠️ WARNING: both",
    ],
)
def test_these_lines_turn_the_light_orange(line):
    assert is_warning(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "warning",
        "warning low",
        "warnings: 0",
        "warning : with a space",
        "no problem and no warning: here",
        "ERROR: red, not orange",
        "\x1b[33m\x1b[0m",
        "wärning: low",
        "0 warn ings:",
    ],
)
def test_these_lines_do_not(line):
    assert not is_warning(line)


@pytest.mark.parametrize("category", [UserWarning, DeprecationWarning, RuntimeWarning, Warning])
def test_what_the_warnings_module_prints_is_known_and_is_no_warning_line(category):
    printed = warnings.formatwarning("low: 3", category, "/a b/x.py", 7, "")
    line = printed.splitlines()[0]
    assert python_warning(line) == f"{category.__name__}: low: 3"
    assert not is_warning(line)


@pytest.mark.parametrize(
    "place",
    [
        "/a b/x.py",
        "C:\\x.py",
        "<string>",
        "<ipython-input-1-ab>",
        "/tmp/ipykernel_7/123.py",
        "x/ipykernel_7/c",
        "sys",
    ],
)
def test_places_of_source_code_are_known(place):
    assert python_warning(f"{place}:7: UserWarning: low") == "UserWarning: low"


@pytest.mark.parametrize(
    "line",
    ["", "UserWarning: alone", "x.py: UserWarning: no line", "x.py:12: Error: another thing", "warning: low"],
)
def test_other_lines_are_not_of_the_warnings_module(line):
    assert python_warning(line) is None


@pytest.mark.parametrize("line", ["09:15: Warning: rain", f"{SIGN} 09:15: Warning: rain"])
def test_a_warning_line_with_a_time_is_a_warning_line(line):
    assert is_warning(line)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2K\x1b[1;1Hmoved", "moved"),
        ("\x1b]0;window title\x07text", "text"),
        ("\x1b[?25lhidden cursor\x1b[?25h", "hidden cursor"),
        ("a [31m b", "a [31m b"),
        ("\x1b]8;;file:///x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(Bbare", "bare"),
    ],
)
def test_terminal_codes_are_taken_out(text, expected):
    assert strip_ansi(text) == expected


@pytest.mark.parametrize(
    ("line", "shown"),
    [("abc", "abc"), ("", ""), ("abc\r", "abc"), ("10%\r20%", "20%"), ("10%\r20%\r\r", "20%"), ("\r", "")],
)
def test_of_a_rewritten_line_the_last_state_is_left(line, shown):
    assert settled(line) == shown


@pytest.mark.parametrize(
    ("pieces", "lines"),
    [
        ([], []),
        ([""], []),
        (["a"], ["a"]),
        (["a\n"], ["a"]),
        (["\n\n"], ["", ""]),
        (["a", "b", "\nc"], ["ab", "c"]),
        (["a\r\nb\r\n"], ["a", "b"]),
        (["a\r", "\nb"], ["a", "b"]),
        (["10%\r", "20%\r", "30%\n"], ["30%"]),
        (["ab\r", "\r", "x"], ["x"]),
        (["a\vb\fc\u2028d\n"], ["a\vb\fc\u2028d"]),
        (["\N{WARNING SIGN}", "\N{VARIATION SELECTOR-16} split\n"], ["⚠️ split"]),
    ],
)
def test_pieces_become_whole_lines(pieces, lines):
    assert split(*pieces) == lines


def test_a_line_is_given_out_when_its_end_comes_and_only_once():
    splitter = LineSplitter()
    assert splitter.feed("first\nsec") == ["first"]
    assert splitter.feed("ond") == []
    assert splitter.flush() == ["second"]
    assert splitter.flush() == []


def test_a_long_progress_bar_is_not_kept_in_memory():
    splitter = LineSplitter()
    for percent in range(1000):
        splitter.feed(f"{percent:>60}\r")
    assert len("".join(splitter._pieces)) < 100


@pytest.mark.parametrize("piece", ["x" * 1_000, "\r", "x\r"])
def test_a_line_that_does_not_end_is_not_copied_for_each_of_its_pieces(piece):
    """The work grows only with the text: pieces are kept as they are, or dropped."""
    splitter = LineSplitter()
    splitter.feed("begin ")
    first = splitter._pieces[0]
    for _ in range(1_000):
        splitter.feed(piece)
    assert all(kept is first or len(kept) <= len(piece) for kept in splitter._pieces)
    assert splitter.flush() == [settled("begin " + piece * 1_000)]


def test_only_the_beginning_of_a_line_is_looked_at():
    assert python_warning("f.py:1: UserWarning: " + "x" * 10_000_000).startswith("UserWarning: x")
    assert len(python_warning("f.py:1: UserWarning: " + "x" * 10_000_000)) < 10_000
    assert python_warning("/ipykernel_" * 1_000_000) is None


@given(st.lists(st.text(st.sampled_from("ab\r\n"), max_size=6), max_size=6))
@example(["ab\rx"])
@example(["working\r", "|", "\r", "/", "\r\n"])
def test_however_a_text_is_cut_its_lines_are_the_same(pieces):
    *lines, rest = "".join(pieces).split("\n")
    expected = [settled(line) for line in lines] + [settled(rest)] * bool(settled(rest))
    assert split(*pieces) == expected


@given(st.lists(st.text(st.characters(exclude_characters="\r")), max_size=6))
def test_without_carriage_returns_nothing_is_lost(pieces):
    text = "".join(pieces)
    assert split(*pieces) == text.split("\n")[: None if text.rpartition("\n")[2] else -1]


@given(st.text(max_size=REACH - 2))
def test_a_sign_within_reach_counts_whatever_stands_before_it(before):
    line = f"{before.replace(chr(27), '')}{SIGN}"
    assert is_warning(line)
