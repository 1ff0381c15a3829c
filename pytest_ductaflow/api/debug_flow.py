"""Set up a run directory for a debugger."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import DuctaflowError
from ..core.instance import stem_of
from ..core.run_directory import layout
from ..core.run_directory.layout import RunFiles
from ..planning import recorded_calls
from ..planning.caller import caller
from ..sources.notebooks import find_flow
from .call_context import refuse_while_pytest_imports, root_of
from .run_notebook import run_notebook


def debug_flow(
    flow_path: str | Path,
    execution_dir: str | Path,
    config: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Path:
    """Set up a run directory without running, and print an entry for VS Code's `launch.json`.

    Args:
        flow_path: The flow or build.
        execution_dir: The run directory.
        config: The config; by default that of the earlier run in `execution_dir`.
        force: Whether to delete the directory first, if the flow was laid out or run in it before.

    Returns:
        The run directory.

    Raises:
        DuctaflowError: If there is no config, or the directory to delete is not a run directory of the flow.
    """
    refuse_while_pytest_imports("debug_flow", caller())
    directory, stem = Path(execution_dir), stem_of(flow_path)
    if config is None:
        earlier = [
            directory / f"{stem}_config.json",
            directory / "config.json",
            directory / f"{directory.name}_config.json",
        ]
        found = next((path for path in earlier if path.is_file()), None)
        if found is None:
            raise DuctaflowError(f"no config given, and {directory} has none of an earlier run")
        config = json.loads(found.read_text(encoding="utf-8-sig"))
        print(f"Config of the earlier run: {found}")
    if force and directory.exists() and not recorded_calls.is_recording():
        _check_run_directory(directory, stem, find_flow(flow_path, (Path.cwd(), root_of(caller()))))
        shutil.rmtree(directory)
    run_notebook(flow_path, config=config, execution_dir=directory, no_execute=True)
    from ..report.failure_text import DEBUGGING, debug_command

    flow = layout.display_path(find_flow(flow_path, (Path.cwd(), root_of(caller()))), Path.cwd())
    launch = {
        "name": f"Debug {stem} - {directory.name}",
        "type": "debugpy",
        "request": "launch",
        "module": DEBUGGING,
        "args": [f"${{workspaceFolder}}/{flow}", f"{stem}_config.json"],
        "cwd": f"${{workspaceFolder}}/{layout.display_path(directory.resolve(), Path.cwd())}",
        "console": "integratedTerminal",
        "justMyCode": False,
    }
    print("Add to the configurations in .vscode/launch.json, set breakpoints in the flow, press F5:")
    print(json.dumps(launch, indent=4))
    laid_out = layout.display_path(directory / f"{stem}_config.json", Path.cwd())
    print(f"Without an IDE: {debug_command(flow, laid_out)}")
    return directory


def _check_run_directory(directory: Path, stem: str, flow: Path) -> None:
    """Refuse to delete a folder that is not just a run directory of a flow.

    Raises:
        DuctaflowError: If it is refused, with the reason.
    """
    real, inside = directory.resolve(), next(directory.iterdir(), None) if directory.is_dir() else directory
    within = [
        place for place in (Path.cwd(), root_of(caller()), flow.resolve()) if place.is_relative_to(real)
    ]
    config = RunFiles(directory, stem).config
    if within:
        why = f"{within[0]} lies in it"
    elif directory.is_symlink():
        why = "it is a link"
    elif inside is not None and not layout.is_past_config(config):
        why = f"it has no {config.name} with the notebook, log or record of a run"
    else:
        return
    raise DuctaflowError(f"debug_flow(force=True) does not delete {directory}: {why}")
