"""A file of any kind that cannot be read is never as expected."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.comparing import compared, written
from PIL import Image

from pytest_ductaflow.core.errors import ExpectedUnreadable
from pytest_ductaflow.gate.compare.files import _KINDS, compare
from pytest_ductaflow.gate.compare.tolerance import Tolerance

TABLE = pd.DataFrame({"a": range(100), "b": [f"text {number}" for number in range(100)]})
BINARY = bytes(range(256)) * 4
TEXTS = {suffix for suffix, kind in _KINDS.items() if kind.module == "texts"}
WHOLE = {
    ".csv": lambda path: TABLE.to_csv(path, index=False),
    ".tsv": lambda path: TABLE.to_csv(path, index=False, sep="\t"),
    ".parquet": TABLE.to_parquet,
    ".feather": TABLE.to_feather,
    ".arrow": TABLE.to_feather,
    ".xlsx": TABLE.to_excel,
    ".json": lambda path: path.write_text('{"a": [1, 2, 3], "b": "text"}'),
    ".jsonl": lambda path: path.write_text('{"a": 1}\n{"b": "text"}'),
    ".npy": lambda path: np.save(path, np.arange(100)),
    ".npz": lambda path: np.savez(path, a=np.arange(100)),
    ".png": lambda path: Image.effect_noise((50, 50), 50).save(path),
}


@pytest.mark.parametrize("suffix", _KINDS)
@pytest.mark.parametrize("content", [BINARY, b""], ids=["garbage", "empty"])
def test_garbage_and_nothing_are_unreadable_even_if_both_files_are_the_same(tmp_path, suffix, content):
    if suffix in TEXTS and not content:
        assert compared(tmp_path, f"x{suffix}", content, content) is None
        return
    with pytest.raises(ExpectedUnreadable, match=f"x{suffix}: cannot be read as "):
        compared(tmp_path, f"x{suffix}", content, content)


@pytest.mark.parametrize("suffix", WHOLE)
def test_a_truncated_file_is_unreadable_and_as_a_result_a_difference(tmp_path, suffix):
    name = f"x{suffix}"
    whole = written(tmp_path, name, WHOLE[suffix]).read_bytes()
    assert compared(tmp_path, name, whole, whole) is None
    for length in (len(whole) // 2, len(whole) - 6):
        part = whole[:length]
        difference = compared(tmp_path, name, whole, part)
        assert difference is not None
        if suffix not in (".csv", ".tsv"):  # these may end after a row, or within a text
            assert difference.message.startswith("cannot be read as ")
            with pytest.raises(ExpectedUnreadable, match="expected"):
                compared(tmp_path, name, part, part)


@pytest.mark.parametrize("suffix", WHOLE)
@pytest.mark.parametrize("other", [".parquet", ".xlsx", ".png", ".npy"])
def test_a_file_of_another_kind_is_unreadable(tmp_path, suffix, other):
    if suffix == other:
        return
    content = written(tmp_path, f"x{other}", WHOLE[other]).read_bytes()
    with pytest.raises(ExpectedUnreadable):
        compared(tmp_path, f"x{suffix}", content, content)


@pytest.mark.parametrize("suffix", [".csv", ".png", ".bin"])
def test_a_file_that_is_not_there_is_told(tmp_path, suffix):
    path = written(tmp_path, f"x{suffix}", WHOLE.get(suffix, b"1"))
    gone = tmp_path / f"gone{suffix}"
    difference = compare(path, gone, Tolerance(), name=path.name, figures=tmp_path / "figures")
    assert difference.message == "cannot be read: No such file or directory"
    with pytest.raises(ExpectedUnreadable, match="cannot be read: No such file"):
        compare(gone, path, Tolerance(), name=path.name, figures=tmp_path / "figures")


def test_a_file_is_called_by_its_name_in_the_run_directory(tmp_path):
    one, other = (written(tmp_path, f"{number}.csv", f"a\n{number}\n") for number in (1, 2))
    difference = compare(one, other, Tolerance(), name="sub/x.csv", figures=tmp_path / "figures")
    assert (difference.file, difference.worst[0].where) == ("sub/x.csv", "row 1, a")


def test_no_reader_is_imported_before_there_is_a_file_for_it():
    heavy = {"numpy", "pandas", "PIL", "yaml", "resvg_py", "pyarrow", "openpyxl"}
    code = f"import sys, pytest_ductaflow.gate.compare.files; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
