"""Disturbed sessions end with the files of an undisturbed one: a few rounds of the benchmark command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.sessions import own_environment

COMMAND = Path(__file__).parents[1] / "benchmarks/disturbed.py"


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(os.name != "posix", reason="signals and process groups are POSIX")
@pytest.mark.parametrize("kind", ["sessions", "kills", "edits"])
def test_two_rounds_of_each_kind_end_in_the_files_of_an_undisturbed_run(kind: str) -> None:
    environment = own_environment()
    done = subprocess.run(
        [sys.executable, str(COMMAND), "--rounds", "2", "--seed", "1", "--kinds", kind],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{kind:10}   2 rounds, 0 differences")
