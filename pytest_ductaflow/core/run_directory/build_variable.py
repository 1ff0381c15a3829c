"""What the flows inside a build know of it and of the builds around it: a variable of its kernel."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..instance import Instance
from .layout import RunFiles

_BUILD_VARIABLE = "_DUCTAFLOW_BUILD"  # set in the kernel of a build


def build_environment(
    files: RunFiles,
    settings: str,
    began_in: str,
    variables: Mapping[str, str],
    lineage: Mapping[str, Any] | None = None,
    references: Iterable[str] = (),
) -> dict[str, str]:
    """Return what the flows inside a build need to know of it and the builds around it, as a variable.

    Args:
        files: Files of the build.
        settings: Settings as text.
        began_in: Working directory in which the build begins.
        variables: Environment variables as in its record.
        lineage: Lineage as in its record.
        references: Names of environment variables whose values its config has.
    """
    data = {
        "journal": str(files.journal),
        "settings": settings,
        "around": [str(journal) for journal in (*builds_around(), files.journal)],
        "began_in": began_in,
        "variables": variables,
        "lineage": dict(lineage or {}),
        "references": [*references_of_build(), *references],
    }
    return {_BUILD_VARIABLE: json.dumps(data)}


@contextlib.contextmanager
def outside_of_builds() -> Iterator[None]:
    """Let code in this process run outside of the build that has started the process.

    `builds_around` still returns the builds: an instance that waited for one of them would wait forever.
    """
    text = os.environ.get(_BUILD_VARIABLE)
    if text is not None:
        os.environ[_BUILD_VARIABLE] = json.dumps({"around": json.loads(text)["around"]})
    try:
        yield
    finally:
        if text is not None:
            os.environ[_BUILD_VARIABLE] = text


def surrounding_build() -> tuple[Path, str] | None:
    """Return journal and settings of the build in whose kernel this code runs; None outside of one."""
    data = _build_data()
    return (Path(data["journal"]), data["settings"]) if data is not None else None


def builds_around() -> list[Path]:
    """Return the journals of all builds that have to wait for this code to end, the outermost first."""
    text = os.environ.get(_BUILD_VARIABLE)
    return [Path(journal) for journal in json.loads(text)["around"]] if text is not None else []


def build_began_in() -> str:
    """Return the working directory in which the build around this code began; "" outside of one."""
    data = _build_data()
    return "" if data is None else str(data["began_in"])


def place_in_build() -> Path | None:
    """Return the folder to which relative run directories refer in a build; None outside of one.

    That is its run directory, wherever it was started, or the directory into which it has changed.
    """
    build = surrounding_build()
    if build is None:
        return None
    here = os.getcwd()
    has_changed = os.path.realpath(here) != os.path.realpath(build_began_in())
    return Path(here) if has_changed else build[0].parent


def variables_of(instance: Instance) -> dict[str, str]:
    """Return digests of the environment variables given to an instance and the builds around it, by name."""
    data = _build_data()
    return {**(data["variables"] if data is not None else {}), **instance.digests_of_variables}


def lineage_of_build() -> dict[str, Any]:
    """Return the lineage of the build in whose kernel this code runs; empty outside of one."""
    data = _build_data()
    return {} if data is None else dict(data.get("lineage", {}))


def references_of_build() -> list[str]:
    """Return the names of environment variables whose values are in the configs of the builds around."""
    data = _build_data()
    return [] if data is None else list(data.get("references", ()))


def _build_data() -> dict[str, Any] | None:
    """Return the data passed by the build in whose kernel this code runs; None outside of one."""
    text = os.environ.get(_BUILD_VARIABLE)
    data = _parsed(text) if text is not None else None
    return data if data is not None and "journal" in data else None


@lru_cache(maxsize=1)
def _parsed(text: str) -> dict[str, Any]:
    """Return the data in the variable of a build, which every flow in it asks for several times."""
    data: dict[str, Any] = json.loads(text)
    return data
