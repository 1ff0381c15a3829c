"""The end of a process that skips the last garbage collection."""

from __future__ import annotations

import subprocess
import sys

CODE = """\
import sys
from pytest_ductaflow.core.system.quick_exit import skip_last_collection

skip_last_collection()

class Log:  # a class refers to itself, so that only a collection would close its file
    file = open(sys.argv[1], "w")
    binary = open(sys.argv[1] + ".bin", "wb")

Log.file.write("written")
Log.binary.write(b"written")
"""


def test_what_files_in_memory_hold_is_written(tmp_path):
    place = tmp_path / "log"
    subprocess.run([sys.executable, "-c", CODE, place], check=True)
    assert place.read_text() == "written"
    assert place.with_suffix(".bin").read_bytes() == b"written"
