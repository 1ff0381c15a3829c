"""Have sources read by `declare_process`, in processes of their own, and wait for these."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.instance import JSON, RUNS
from ..core.masking.config import names_by_value
from ..core.masking.masker import Masker
from ..core.run_directory.record_files import folders_with_records, read_record
from ..core.settings import Settings
from .collecting.file_backups import put_back
from .discovery import Source
from .processes.pool import DeclareProcesses, Process

Answer = tuple[dict[str, dict[str, JSON]], list[str]]  # results by source, and error messages
LATER = (
    "  It has its turn when the instances have ended, as a test item `conductor.py::after`, and nothing was "
    "lost (from pytest_ductaflow import is_collecting). For a conductor that is to stay as it is, there is "
    "--ductaflow-defer."
)
STILL = 10.0  # seconds until the first message that a conductor is still being collected; doubles each time
_OUTPUT_LINES = 20  # last lines of a failed conductor's output, shown in the message


def _look_ahead(group: Sequence[Source], is_time: Callable[[], bool]) -> None:
    """Preload the imports and earlier records that the session needs next, until `is_time` returns True."""
    from ..report import live  # noqa: F401
    from ..running import run_instance  # noqa: F401
    from ..sources.installed_versions import installed, own_path

    installed(own_path())
    for root in {source.root for source in group}:
        for folder, names in folders_with_records(root / RUNS, ()):
            for name in names:
                read_record(Path(folder, name))
            if is_time():
                return


def _refused(file: Path, more: Sequence[str]) -> list[str]:
    """Return messages about actions of a conductor that must wait until its instances have ended."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    messages = [*map(json.loads, lines), *more]
    return [*messages, LATER] if messages else []


def _wait_for(process: Process, began: float, name: str, say: Callable[[str], None]) -> int:
    """Wait for the end of a process, with a message from time to time."""
    told = STILL
    while True:
        try:
            return process.wait(max(0.0, began + told - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"still collecting {name} ({told:g} s)")
            told *= 2


def read_sources(
    group: Sequence[Source],
    settings: Settings,
    work: Path,
    undo: contextlib.ExitStack,
    planners: DeclareProcesses,
    *,
    say: Callable[[str], None],
) -> Answer:
    """Have a process read some sources; return what they declare, and what is wrong."""
    folder = Path(tempfile.mkdtemp(dir=work))
    request, result, output = folder / "request", folder / "result", folder / "output"
    calls, aside = folder / "calls", folder / "aside"
    data = {
        "sources": [{"path": str(s.path), "kind": s.kind, "root": str(s.root)} for s in group],
        "where": settings.where,
        "calls": str(calls),
        "refused": str(folder / "refused"),
        "aside": str(aside),
        "defer": settings.defer,
        "secrets": settings.secrets,
    }
    request.write_text(json.dumps(data), encoding="utf-8")
    undo.callback(put_back, aside)
    output.touch()
    exit_code = _exit_code(planners.start(request, result, output, group[0].root), group, say)
    mask = Masker(names_by_value(os.environ))
    printed = [*map(mask, output.read_text(encoding="utf-8", errors="replace").splitlines()[-_OUTPUT_LINES:])]
    refused = _refused(folder / "refused", put_back(aside, calls))
    if not result.exists() and refused:
        return {}, refused
    if not result.exists():
        what = f"{group[0].path.name}: its process ended with exit code {exit_code} before it was done"
        return {}, [what, *printed]
    answers = json.loads(result.read_text(encoding="utf-8"))
    complaints = refused
    for answer in answers.values():
        complaints += answer["problems"]
        if answer["error"]:
            complaints.append(mask(answer["error"]))
            complaints += [f"  | {line}" for line in printed]
    return answers, complaints


def _exit_code(process: Process, group: Sequence[Source], say: Callable[[str], None]) -> int:
    """Wait for the end of the process that reads some sources; kill it if the wait is interrupted."""
    try:
        began = time.monotonic()
        _look_ahead(group, lambda: process.poll() is not None)
        return _wait_for(process, began, group[0].path.name, say)
    except BaseException:
        process.kill()
        process.wait()
        raise
