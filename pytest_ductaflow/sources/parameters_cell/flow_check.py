"""Check that a file can run as a flow, and find the schema of its config."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...core.errors import DuctaflowError
from ...core.number_text import listed
from ...core.problem import Problem
from ...core.run_directory.layout import display_path
from ..notebooks import Source, how_to_tag, is_plainly_flow, line_of_tag, read_flow
from ..schemas.draft import schema_file
from .untagged_notebooks import cell_to_tag, read_but_not_assigned


def flow_problem(
    flow: Path, where: str, root: Path, *, is_configured: bool = True, keys: Iterable[str] = ()
) -> Problem | None:
    """Return what prevents a file from being run as a flow, if anything.

    Args:
        flow: The file.
        where: The place to name in messages.
        root: The project root.
        is_configured: Whether the flow gets a non-empty config.
        keys: The keys of that config.
    """
    try:
        if is_plainly_flow(flow):
            return None
        source = read_flow(flow)
    except (DuctaflowError, OSError) as error:
        return Problem(where, str(error))
    name = display_path(flow, root)
    cells = source.parameters_cells
    if len(cells) > 1:
        lines = " and ".join(str(source.lines[cell["id"]]) for cell in cells if cell["id"] in source.lines)
        what = f"{name} has {len(cells)} cells tagged `parameters`" + (
            f", from lines {lines} on" if lines else ""
        )
        return Problem(
            where, what, "leave the tag on one: the values of the others would win over the config"
        )
    if is_configured and not cells and not read_but_not_assigned(source, keys):
        line = line_of_tag(flow)
        unread = f": Jupytext reads no tag in line {line}" if line else ""
        return Problem(
            where,
            f"{name} has no cell tagged `parameters`{unread}",
            how_to_tag(flow, cell_to_tag(source, keys)),
        )
    return _lack_of_code(source, where, name)


def _lack_of_code(source: Source, where: str, name: str) -> Problem | None:
    """Return the problem of a flow without code that would run, or with none but its parameters cell's."""
    filled = [cell for cell in source.code_cells if cell.source.strip()]
    if all(cell in source.parameters_cells for cell in filled) and (fences := source.fences_not_run):
        what = f"{name}: none of its code would run: {listed(fences)}"
        return Problem(where, what, f"write {source.fence_of_code}")
    if not filled:
        return Problem(where, f"{name} has no code cell, so that nothing of it would run")
    return None


def schema_of(flow: Path, root: Path) -> Any:
    """Return the JSON Schema of a flow's config (`config/flows/{flow}.schema.json`), if there is one.

    Raises:
        DuctaflowError: If the file is not JSON.
    """
    path = schema_file(flow, root)
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DuctaflowError(f"{display_path(path, root)} is not JSON: {error}") from error
