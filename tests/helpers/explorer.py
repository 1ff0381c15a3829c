"""Walk the items as the test explorer of VS Code does, and write what it shows: `-p helpers.explorer`.

An item is below the classes around it, and these below their file; the line is one of that file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

RESULTS: dict[str, dict[str, str]] = {}


def _id_of(node: pytest.Item | pytest.Collector) -> str:
    return "::".join([str(node.path), *node.nodeid.split("::")[1:]])


def _tree(session: pytest.Session) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for item in session.items:
        around: list[pytest.Collector] = []
        parent = item.parent
        while isinstance(parent, pytest.Class):
            around.insert(0, parent)
            parent = parent.parent
        assert isinstance(parent, pytest.File)
        level = files.setdefault(str(parent.path), {})
        for node in around:
            assert node.path == parent.path
            level = level.setdefault(node.name, {})
        line = item.location[1]
        level[item.name] = {"id": _id_of(item), "line": None if line is None else line + 1}
    return files


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or (report.when == "setup" and report.skipped):
        text = report.longreprtext if report.failed else ""
        RESULTS[report.nodeid] = {"outcome": str(report.outcome), "text": text}


def pytest_sessionfinish(session: pytest.Session) -> None:
    told = {"tree": _tree(session), "results": RESULTS}
    Path(os.environ["EXPLORER_FILE"]).write_text(json.dumps(told), encoding="utf-8")
