"""Run sessions over a small project, with edits in between."""

from __future__ import annotations

import json
import re
from pathlib import Path

from helpers.sessions import run_session


class Session:
    """A session, with the outcome of each instance by `step/name`."""

    def __init__(self, root: Path, *args: str, **variables: str) -> None:
        command = ["-v", "-p", "no:cacheprovider", "--ductaflow"]
        if not any(arg.startswith("conductor") for arg in args):
            command.append("conductor.py")
        done = run_session(root, *command, *args, **variables)
        self.output, self.code = done.stdout + done.stderr, done.returncode
        words = re.findall(
            r"^conductor\.py::(\S+?)::(\S+) (PASSED|UNCHANGED|WARNED|FAILED|SKIPPED)",
            self.output,
            re.MULTILINE,
        )
        self.outcomes = {f"{step}/{name}": word for step, name, word in words}


def record(root: Path, step: str, name: str) -> dict:
    return json.loads((root / f"runs/{step}/{name}/{step}_record.json").read_text(encoding="utf-8"))


def edit(root: Path, file: str, old: str, new: str) -> None:
    text = (root / file).read_text(encoding="utf-8")
    assert old in text
    (root / file).write_text(text.replace(old, new), encoding="utf-8")
