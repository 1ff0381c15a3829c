"""A process that lets others have the cores for a while."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
from pathlib import Path
from pytest_ductaflow.core.system.priority import behind_others

def niceness():
    return int(Path("/proc/self/autogroup").read_text().split()[-1])

before = niceness()
with behind_others():
    within = niceness()
print(within > before, niceness() == before)
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="the system does not group processes")
@pytest.mark.parametrize("alone", [True, False])
def test_a_process_is_behind_others_within_the_block_only(alone):
    beside_a_shell = ["sh", "-c", '"$@"; exit $?', "sh"]  # it leads the session, and stays
    command = [*([] if alone else beside_a_shell), sys.executable, "-c", CODE]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=True)
    assert done.stdout == f"{alone} True\n"
