"""Find which distributions flows import, so that workers can be asked whether they have the same."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

from ...core.errors import DuctaflowError
from ...core.instance import Instance
from ...core.system.file_state import stat_of
from ...kernels.preloading.import_scan import Effect, Step, steps_of_cells, steps_of_module
from ...sources.installed_versions import own_path, providers
from ...sources.notebooks import read_flow


def needed_distributions(instances: Iterable[Instance]) -> Mapping[str, str]:
    """Return the versions of the distributions that flows, and modules of their project, name in imports.

    Args:
        instances: The instances that may run.

    Returns:
        Version by name; names that nothing here provides are left out.
    """
    flows = {(each.flow, each.project_root) for each in instances}
    tops = {top for flow, root in flows for top in _imported_by(flow, root)}
    names = {name for top in tops for name in providers(own_path()).get(top, ())}
    return {name: version for name in sorted(names) if (version := _version(name)) is not None}


def _imported_by(flow: str, root: str) -> set[str]:
    """Return the top-level names that a flow and the project's modules import."""
    try:
        source = read_flow(Path(flow))
    except (DuctaflowError, OSError, ValueError):  # its instance is going to tell that
        return set()
    folders = (os.path.dirname(flow), root)
    found: set[str] = set()
    waiting = list(_modules(steps_of_cells(tuple(cell.source for cell in source.code_cells))))
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        for file in _files_of(module, folders):
            waiting += _modules(steps_of_module(file, str(stat_of(file))))
    return {module.partition(".")[0] for module in found}


def _modules(steps: Iterable[Step]) -> Iterator[str]:
    for step in steps:
        if step.effect is Effect.IMPORT and not step.level:
            yield step.module


def _files_of(module: str, folders: Iterable[str]) -> Iterator[str]:
    """Yield the files of a module of the project, and of the packages around it."""
    parts = module.split(".")
    for folder in folders:
        for depth in range(1, len(parts) + 1):
            stem = os.path.join(folder, *parts[:depth])
            for file in (f"{stem}.py", os.path.join(stem, "__init__.py")):
                if os.path.isfile(file):
                    yield file


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
