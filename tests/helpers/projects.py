"""Write projects to disk in a line or two."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

PARAMETERS = '# %% tags=["parameters"]\nconfig = {}\n\n'


def write_project(root: Path, files: Mapping[str, object]) -> Path:
    """Write `{relative path: text or JSON}` under `root`; code of flows gets its parameters cell."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = dedent(content) if isinstance(content, str) else json.dumps(content)
        is_flow = path.parent.name in {"flow", "flows", "build", "builds"} and path.suffix == ".py"
        if is_flow and "parameters" not in text:
            text = f"{PARAMETERS}# %%\n{text}"
        path.write_text(text, encoding="utf-8")
    return root


def lay(path: Path, text: str = "") -> Path:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def stable_repr(value: object) -> str:
    """Return a test id that is the same in every process: without addresses."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))
