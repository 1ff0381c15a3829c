"""Prepare the notebook that is executed: the config as a table on top, the parameters injected."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping
from typing import Any

from ...core.config_markdown import generate_config_markdown
from ...core.errors import DuctaflowError
from ...core.instance import JSON
from ...sources.notebooks import Source, how_to_tag
from ...sources.parameters_cell.parameters import assigned_in, parameters_of
from ...sources.parameters_cell.untagged_notebooks import cell_to_tag
from ..failures.cell_failure import markdown_cell
from .papermill_parts import PapermillException, papermill_translators, parameterize_notebook


def prepare_notebook(source: Source, config: Mapping[str, JSON], kernel: str, language: str) -> Any:
    """Return the notebook to run: the config as a table on top, the parameters injected.

    Raises:
        DuctaflowError: If there is a config and no cell to inject it after: before the code, the
            defaults would override it.
    """
    assigned = assigned_in(source, language, config)
    if not (source.has_parameters or assigned.names) and config.keys() - {"_project_root"}:
        told = f"{source.path} has no cell tagged `parameters`, so that it would run with its defaults"
        raise DuctaflowError(f"{told}: {how_to_tag(source.path, cell_to_tag(source, config))}")
    notebook = copy.deepcopy(source.notebook)
    notebook.metadata["kernelspec"] = {"name": kernel, "language": language, "display_name": kernel}
    notebook.metadata.setdefault("papermill", {})
    for cell in notebook.cells:
        cell.metadata.setdefault("papermill", {})
        cell.metadata.setdefault("tags", [])
    table = markdown_cell("ductaflow-config", generate_config_markdown(config, source.path.stem))
    notebook.cells.insert(0, table)
    if source.has_parameters or assigned.names:
        wanted = parameters_of(config, assigned, language)
        parameters = _translatable(wanted, kernel, language)
        notebook = parameterize_notebook(notebook, parameters, kernel_name=kernel, language=language)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata["tags"]:
            cell["id"] = "ductaflow-parameters"
    notebook.nbformat, notebook.nbformat_minor = 4, max(notebook.nbformat_minor, 5)
    return notebook


def sources_with_secrets(
    source: Source, config: Mapping[str, JSON], kernel: str, language: str, shown: Any
) -> dict[str, str]:
    """Return the code of cells that is other if a notebook has the flow's real config, by the cell's id.

    Args:
        source: The flow.
        config: The config with its secrets.
        kernel: As for `prepare_notebook`.
        language: As for `prepare_notebook`.
        shown: The notebook that was prepared without secrets.
    """
    real = prepare_notebook(source, config, kernel, language)
    pairs = zip(real.cells, shown.cells, strict=True)
    return {
        other["id"]: cell.source
        for cell, other in pairs
        if cell.cell_type == "code" and cell.source != other.source
    }


def _translatable(parameters: dict[str, JSON], kernel: str, language: str) -> dict[str, JSON]:
    """Return the parameters that papermill can write in a language: a shell has no dicts.

    Raises:
        DuctaflowError: If papermill does not know the language at all.
    """
    try:
        translator = papermill_translators.find_translator(kernel, language)
    except PapermillException as error:
        raise DuctaflowError(str(error)) from error
    known = {}
    for name, value in parameters.items():
        with contextlib.suppress(NotImplementedError):
            translator.translate(value)
            known[name] = value
    return known
