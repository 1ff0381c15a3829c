"""Versions of what is installed: the names of metadata folders tell them, so that asking is cheap."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import metadata

# `numpy-2.1.0.dist-info`, `old_style-1.0.egg-info`, `old_style-1.0-py3.11.egg-info`, and the same with the
# platform behind: `old_style-1.0-py3.11-linux-x86_64.egg-info`
_METADATA_FOLDER = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py[\d.]+(?:-.+)?)?\.(?:dist|egg)-info$")
_OURS = "pytest-ductaflow"
_ALSO_FOR_FLOWS = ("pandas",)  # of what we need ourselves, what flows compute with


def normalised_name(name: str) -> str:
    """A distribution's name as the packaging standards compare it: `Scikit_Learn` → `scikit-learn`."""
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=64)
def installed(path: tuple[str, ...]) -> Mapping[str, str]:
    """Return the version of each distribution by normalised name; the first on the path counts.

    What was installed from a repository, an archive or a folder has its commit or content behind it: there
    a version may be installed again with other code.

    Args:
        path: The folders of an interpreter's `sys.path`.
    """
    versions: dict[str, str] = {}
    for folder in path:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in sorted(names):
            if name.endswith("-info") and (found := _METADATA_FOLDER.match(name)):
                version = f"{found['version']}{_origin_of(os.path.join(folder, name))}"
                versions.setdefault(normalised_name(found["name"]), version)
    return versions


def _origin_of(metadata_folder: str) -> str:
    """Return what tells apart distributions of one version; "" for those from an index (PEP 610)."""
    try:
        with open(os.path.join(metadata_folder, "direct_url.json"), encoding="utf-8") as file:
            origin = json.load(file)
        if commit := origin.get("vcs_info", {}).get("commit_id"):
            return f" ({commit[:12]})"
        if origin.get("dir_info", {}).get("editable"):
            return ""  # its modules are files of the user's
        with open(os.path.join(metadata_folder, "RECORD"), "rb") as file:
            return f" ({hashlib.file_digest(file, 'sha256').hexdigest()[:12]})"
    except (OSError, ValueError, AttributeError):
        return ""


@lru_cache(maxsize=8)
def providers(path: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """Return the distributions that provide each top-level name.

    Args:
        path: The folders of an interpreter's `sys.path`.
    """
    providers: dict[str, set[str]] = {}
    for folder in path:
        for top, name in _provided_in(folder):
            providers.setdefault(top, set()).add(name)
    return {top: tuple(sorted(names)) for top, names in providers.items()}


@lru_cache(maxsize=64)
def _provided_in(folder: str) -> tuple[tuple[str, str], ...]:
    """Return the top-level names that a folder's distributions provide, each with its distribution.

    `importlib.metadata` would parse all that is known of each of them, in ten times the time.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return ()
    return tuple(
        (top, normalised_name(match["name"]))
        for name in names
        if (match := _METADATA_FOLDER.match(name)) and not name.startswith("~")  # of a broken uninstall
        for top in _top_levels(os.path.join(folder, name))
    )


def _top_levels(metadata_folder: str) -> set[str]:
    if declared := _text_of(os.path.join(metadata_folder, "top_level.txt")).split():
        return set(declared)
    files = (
        line.partition(",")[0] for line in _text_of(os.path.join(metadata_folder, "RECORD")).splitlines()
    )
    return {
        file.strip('"').partition("/")[0].partition(".")[0]
        for file in files
        if file.endswith((".py", ".so", ".pyd"))
    }


def _text_of(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


@lru_cache(maxsize=4)
def machinery(path: tuple[str, ...]) -> frozenset[str]:
    """What runs flows and is no part of their results: this package and what it needs."""
    found: set[str] = set()
    waiting = [_OURS]
    while waiting:
        name = waiting.pop()
        if name in found or name in _ALSO_FOR_FLOWS:
            continue
        found.add(name)
        try:
            requirements = next(iter(metadata.distributions(name=name, path=list(path)))).requires or ()
        except StopIteration:
            continue
        waiting += [
            normalised_name(match[0])
            for requirement in requirements
            if "extra ==" not in requirement and (match := re.match(r"[\w.-]+", requirement))
        ]
    return frozenset(found)


def versions_of(top_levels: Iterable[str], path: Sequence[str], *, is_build: bool) -> dict[str, str]:
    """The distributions behind imported packages.

    Args:
        top_levels: Names of imported packages and modules.
        path: The interpreter's `sys.path`.
        is_build: Whether the importing code ran flows, and so imported our own needs as well.

    Returns:
        Version by normalised name, without this package's own.
    """
    place = tuple(path)
    names = {name for top in top_levels for name in providers(place).get(top, ())}
    names -= machinery(place) if is_build else {_OURS}
    versions = installed(place)
    return {name: versions[name] for name in sorted(names) if name in versions}


@lru_cache(maxsize=8)
def python_version(executable: str) -> str | None:
    """The version of an interpreter as it is now; None if it cannot be started."""
    if executable == sys.executable:
        return platform.python_version()
    command = [executable, "-c", "import platform; print(platform.python_version())"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def own_path() -> tuple[str, ...]:
    """The folders from which a kernel of this interpreter imports."""
    return tuple(os.path.abspath(folder) for folder in sys.path if folder)
