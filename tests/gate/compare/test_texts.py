"""Texts are compared line by line, all other files byte by byte or by digest."""

from __future__ import annotations

import hashlib

import pytest
from helpers.comparing import compared, written

from pytest_ductaflow.core.errors import ExpectedUnreadable
from pytest_ductaflow.gate.compare.kinds.any_bytes import compare_digest
from pytest_ductaflow.gate.compare.tolerance import Tolerance

LINES = "".join(f"line {number}\n" for number in range(1, 121))


@pytest.mark.parametrize(
    "found", [LINES, LINES.replace("\n", "\r\n"), LINES.replace("\n", "\r"), LINES.removesuffix("\n")]
)
@pytest.mark.parametrize("name", ["x.txt", "x.MD", "x.log", "x.html", "x.toml"])
def test_line_endings_do_not_matter(tmp_path, name, found):
    assert compared(tmp_path, name, LINES, found) is None


@pytest.mark.parametrize(
    ("found", "message", "notes"),
    [
        (
            LINES.replace("line 7\n", "line seven\n"),
            "1 of 120 lines differs, at line 7",
            ("@@ -7,1 +7,1 @@", "-line 7", "+line seven"),
        ),
        (
            LINES.replace("line 7\n", "").replace("line 9\n", "line 9.0\n"),
            "2 of 120 lines differ, first at line 7",
            ("@@ -7,1 +0,0 @@", "-line 7", "@@ -9,1 +8,1 @@", "-line 9", "+line 9.0"),
        ),
        (LINES + "end\n", "1 of 121 lines differs, at line 121", ("@@ -0,0 +121,1 @@", "+end")),
        (LINES + "\n", "1 of 121 lines differs, at line 121", ("@@ -0,0 +121,1 @@", "+")),
    ],
)
def test_lines_that_differ_are_shown(tmp_path, found, message, notes):
    difference = compared(tmp_path, "x.txt", LINES, found)
    assert (difference.message, difference.notes) == (message, notes)


def test_of_many_lines_that_differ_the_first_are_shown(tmp_path):
    difference = compared(tmp_path, "x.txt", LINES, LINES.replace("line", "row"))
    assert difference.message == "120 of 120 lines differ, first at line 1"
    assert len(difference.notes) == 21
    assert difference.notes[-1] == "… and 221 more"


def test_texts_of_many_lines_are_compared_position_by_position(tmp_path):
    expected = "".join(f"{number}\n" for number in range(5000))
    found = "".join(f"{number + (number in (100, 4900))}\n" for number in range(5000)) + "more\n" * 7
    difference = compared(tmp_path, "x.txt", expected, found)
    assert difference.message == "9 of 5,007 lines differ, first at line 101"


@pytest.mark.parametrize(("pattern", "same"), [("# written at *", True), ("written at *", False)])
def test_lines_may_be_left_out(tmp_path, pattern, same):
    one, other = (f"# written at {time}\nresult\n" for time in ("9:00", "10:00"))
    difference = compared(tmp_path, "x.txt", one, other, Tolerance(ignore=(pattern,)))
    assert (difference is None) == same


def test_an_empty_text_is_a_text(tmp_path):
    assert compared(tmp_path, "x.txt", "", "") is None
    assert compared(tmp_path, "x.txt", "", "a\n").message == "1 of 1 lines differs, at line 1"
    assert compared(tmp_path, "x.txt", "a\n", "").message == "1 of 1 lines differs, at line 1"


def test_a_text_has_the_encoding_that_is_said(tmp_path):
    text = "für\n".encode("cp1252")
    assert compared(tmp_path, "x.txt", text, text, Tolerance(encoding="cp1252")) is None
    with pytest.raises(
        ExpectedUnreadable, match=r"x\.txt: cannot be read as text: line 1: byte 0xfc is no utf-8"
    ):
        compared(tmp_path, "x.txt", text, text)


@pytest.mark.parametrize(
    ("name", "found", "message"),
    [
        (
            "x.bin",
            b"12345",
            "not the same: 4 bytes expected, 5 found; compared byte by byte since nothing is",
        ),
        ("x.bin", b"1235", "not the same: both have 4 bytes, but other ones; compared byte by byte since"),
        (
            "Makefile",
            b"12345",
            "not the same: 4 bytes expected, 5 found; compared byte by byte since nothing",
        ),
    ],
)
def test_files_of_other_kinds_are_compared_byte_by_byte(tmp_path, name, found, message):
    assert compared(tmp_path, name, b"1234", b"1234") is None
    assert compared(tmp_path, name, b"1234", found).message.startswith(message)


def test_a_file_is_compared_with_the_digest_of_what_is_expected(tmp_path):
    found = written(tmp_path, "big.bin", b"content")
    digest = "sha256:" + hashlib.sha256(b"content").hexdigest()
    assert compare_digest(digest, found, "big.bin") is None
    found.write_bytes(b"other")
    difference = compare_digest(digest, found, "big.bin")
    assert difference.message.startswith(f"not the same: {digest[:19]}… expected, sha256:")
    assert "(5 bytes)" in difference.message
    found.unlink()
    assert compare_digest(digest, found, "big.bin").message == "cannot be read: No such file or directory"
