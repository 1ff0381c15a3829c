"""Make the instance of one call of `run_notebook` or `run_step_flow`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import DuctaflowError
from ..core.instance import JSON, RUNS, SHORT_HASH, Instance, config_hash, default_step, stem_of
from ..core.masking.config import names_by_value, secret_in_name, without_secrets
from ..core.run_directory.build_variable import references_of_build
from ..core.run_directory.layout import RunFiles
from ..kernels.observation import unobserved
from ..sources.table_cells import is_mapping, plain
from ..sources.tables import NAME, check_name
from .caller import Origin
from .reserved_columns import FIELDS, IGNORED, RESERVED, reserved_value


def declare_call(
    flow: Path,
    config: Mapping[str, Any],
    *,
    root: Path,
    origin: Origin,
    run_dir: Path | None = None,
    step: str | None = None,
    name: str | None = None,
    runs: Path | None = None,
) -> Instance:
    """Return the instance of one call of `run_notebook` or `run_step_flow`.

    Args:
        flow: The flow's file.
        config: The config; values that JSON does not support become text, as they always did.
        root: The project root.
        origin: The line of the call.
        run_dir: The run directory; by default `{runs}/{flow}/{instance_name or hash of the config}`.
        step: Name of the step, if given.
        name: Name of the instance, if given.
        runs: The `runs/` folder: the project's, or inside a build the build's own.
    """
    runs = runs or root / RUNS
    values = {str(key): plain(value, lenient=True) for key, value in config.items()}
    reserved = {}
    for key in [key for key in RESERVED if key in values]:
        try:
            reserved[FIELDS[key]] = reserved_value(key, values.pop(key))
        except ValueError as error:
            raise DuctaflowError(f"{origin.at(root)}: config key {key!r}: {error}") from None
    for key in IGNORED:
        values.pop(key, None)
    known = names_by_value(os.environ, references_of_build())
    values, secrets = without_secrets(values, known)
    if run_dir is None:
        step = step or default_step(flow)
        name = name or str(values.get(NAME) or _name_by_hash(runs / step, stem_of(flow), values))
        run_dir = runs / step / name
    else:
        step, name = _names_of(run_dir, runs, flow)
    for value, what in ((step, "step"), (name, "instance")):
        if wrong := check_name(value, what) or secret_in_name(value, what, secrets, known):
            raise DuctaflowError(f"{origin.at(root)}: {wrong}")
    return Instance(
        flow=str(flow),
        step=step,
        name=name,
        config=values,
        run_dir=str(run_dir),
        project_root=str(root),
        source=origin.file,
        line=origin.line,
        secrets=secrets,
        **reserved,
    )


def _name_by_hash(folder: Path, stem: str, config: Mapping[str, JSON]) -> str:
    """Return the name of an unnamed instance: a hash of its config.

    Earlier versions used the first 8 digits; such a run directory is reused if it holds exactly this config.

    Args:
        folder: The folder of its step.
        stem: The stem of its flow.
        config: Its config.
    """
    name = config_hash(config)
    shorter = name[:SHORT_HASH]
    try:
        with unobserved():  # not to be noted as a read of the surrounding build
            there = json.loads(RunFiles(folder / shorter, stem).config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return name
    return shorter if is_mapping(there) and config_hash(there) == name else name


def _names_of(run_dir: Path, runs: Path, flow: Path) -> tuple[str, str]:
    """Return the names of step and instance, derived from a run directory's path."""
    try:
        *step, name = run_dir.relative_to(runs).parts
    except ValueError:  # outside runs/, or runs/ itself
        return default_step(flow), run_dir.name or stem_of(flow)
    return "/".join(step) or default_step(flow), name
