"""Compressed files are compared by what is in them."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pytest
from helpers.comparing import compared, said

from pytest_ductaflow.core.errors import ExpectedUnreadable
from pytest_ductaflow.gate.compare.files import read_expected
from pytest_ductaflow.gate.compare.tolerance import Tolerance

TABLE = b"zone,trips\nnorth,1.0\nsouth,2.0\n"
PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACK)
def test_what_is_packed_is_compared_in_the_way_of_its_kind(tmp_path, suffix):
    name, pack = f"trips.csv{suffix}", PACK[suffix]
    almost, other = TABLE.replace(b"2.0", b"2.0000001"), TABLE.replace(b"2.0", b"2.5")
    assert compared(tmp_path, name, pack(TABLE), pack(almost)) is None
    difference = compared(tmp_path, name, pack(TABLE), pack(other))
    assert difference.file == name
    assert difference.message.startswith(
        "1 of 4 values differs; largest absolute difference 0.5 (row 2, trips"
    )


def test_when_it_was_packed_does_not_count(tmp_path):
    times = [gzip.compress(b"any\0thing", mtime=when) for when in (1, 2)]
    assert times[0] != times[1]
    assert compared(tmp_path, "x.bin.gz", *times) is None
    assert said(compared(tmp_path, "x.bin.gz", times[0], gzip.compress(b"any\0thong")))


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda _: TABLE, lambda _: b""])
def test_what_cannot_be_unpacked_never_passes(tmp_path, suffix, damage):
    name, whole = f"trips.csv{suffix}", PACK[suffix](TABLE)
    with pytest.raises(ExpectedUnreadable, match=rf"trips\.csv\{suffix}: "):
        compared(tmp_path, name, damage(whole), damage(whole))
    assert said(compared(tmp_path, name, whole, damage(whole)))


def test_what_is_wrong_inside_is_said_of_the_file_itself(tmp_path):
    path = tmp_path / "trips.csv.gz"
    path.write_bytes(gzip.compress(b"a,a\n1,2\n"))
    with pytest.raises(ExpectedUnreadable) as caught:
        read_expected(path, Tolerance())
    assert str(caught.value).startswith(f"{path}: cannot be read as CSV")
