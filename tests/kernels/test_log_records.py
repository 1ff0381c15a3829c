"""Log records that count as warnings: how `setup` treats those that no handler of the flow shows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LIBRARY = """
import logging
logger = logging.getLogger(__name__)
def work():
    logger.info("detail")
    logger.warning("odd table")
    logger.error("broken table")
"""
FLOW = """
import json, logging, sys
from pytest_ductaflow.kernels.inside import setup
mode, library, handlers = sys.argv[1:]
setup._INSTALLED = (library,)
setup.print_log_records(mode)
sys.path.append(library)
import a_library
if handlers == "own":
    logging.basicConfig(format="%(levelname)s %(message)s", handlers=[logging.StreamHandler()], force=True)
if handlers == "silent":
    logging.getLogger().addHandler(logging.NullHandler())
a_library.work()
logging.getLogger("mine").warning("own trouble")
print(json.dumps(setup._logged))
"""


@pytest.mark.parametrize(
    ("mode", "handlers", "told", "remembered"),
    [
        ("shown", "none", ["odd table", "ERROR: ⚠️ broken table", "WARNING: own trouble"], []),
        ("all", "none", ["WARNING: odd table", "ERROR: ⚠️ broken table", "WARNING: own trouble"], []),
        ("none", "none", ["odd table", "broken table", "own trouble"], []),
        (
            "shown",
            "own",
            ["WARNING odd table", "ERROR broken table", "WARNING own trouble"],
            ["WARNING: own trouble"],
        ),
        ("shown", "silent", [], ["WARNING: own trouble"]),
        ("none", "silent", [], []),
    ],
)
def test_records_of_libraries_turn_a_light_only_if_that_is_wanted(tmp_path, mode, handlers, told, remembered):
    (tmp_path / "a_library.py").write_text(LIBRARY)
    command = [sys.executable, "-c", FLOW, mode, str(tmp_path), handlers]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    lines = done.stderr.splitlines()
    assert [line for line in lines if "detail" not in line] == told
    assert json.loads(done.stdout.splitlines()[-1]) == remembered
