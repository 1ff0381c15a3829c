"""A project whose instances wait until they are stopped."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from helpers.sessions import PATIENCE, run_session

PROJECT = {
    "flows/wait.py": """
        import os, time
        print("pid", os.getpid(), flush=True)
        time.sleep(600)
        """,
    "conductor.py": """
        from pytest_ductaflow import conduct
        conduct("flows/wait.py", [{"instance_name": name} for name in "ab"])
        """,
}


def kernel_pids(root: Path) -> list[int]:
    """Return the kernels that flows have written to their logs."""
    logs = root.glob("runs/wait/*/wait_execution_output.txt")
    return [
        int(line.split()[1])
        for log in logs
        for line in log.read_text().splitlines()
        if line.startswith("pid ")
    ]


SESSION = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "conductor.py"]


def outcomes(root: Path, *workers: str) -> dict[str, str]:
    """Return the outcome of each instance in a complete session."""
    command = ["-v", "-p", "no:cacheprovider", "--ductaflow", "conductor.py"]
    done = run_session(root, *command, *workers, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout
    words = re.findall(r"(PASSED|UNCHANGED) conductor\.py::\w+::(\w)", done.stdout)
    words += [(word, name) for name, word in re.findall(r"::(\w) (PASSED|UNCHANGED)", done.stdout)]
    return {name: word for word, name in words}
