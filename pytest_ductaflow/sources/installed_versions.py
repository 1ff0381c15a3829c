"""Versions of installed distributions, read cheaply from the names of their metadata folders."""

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

# `numpy-2.1.0.dist-info`, `old_style-1.0.egg-info`, `old_style-1.0-py3.11.egg-info`, and the same followed by
# the platform: `old_style-1.0-py3.11-linux-x86_64.egg-info`
_METADATA_FOLDER = re.compile(r"(?P<name>.+?)-(?P<version>[^-]+)(?:-py[\d.]+(?:-.+)?)?\.(?:dist|egg)-info$")
_OURS = "pytest-ductaflow"
_ALSO_FOR_FLOWS = ("pandas",)  # those of our own requirements that flows compute with


def normalised_name(name: str) -> str:
    """Normalise a distribution's name as in the packaging standards: `Scikit_Learn` → `scikit-learn`."""
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=64)
def installed(path: tuple[str, ...]) -> Mapping[str, str]:
    """Return the version of each distribution by normalised name; the first on the path counts.

    If it was installed from a repository, an archive or a folder, its commit or a digest of its content
    follows, as the same version may be installed again with other code.

    Args:
        path: The folders of an interpreter's `sys.path`.
    """
    versions: dict[str, str] = {}
    for folder in path:
        versions = {**_installed_in(folder), **versions}
    return versions


@lru_cache(maxsize=64)
def _installed_in(folder: str) -> Mapping[str, str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    versions: dict[str, str] = {}
    for name in sorted(names):
        if name.endswith("-info") and (found := _METADATA_FOLDER.match(name)):
            version = f"{found['version']}{_origin_of(os.path.join(folder, name))}"
            versions.setdefault(normalised_name(found["name"]), version)
    return versions


def _origin_of(metadata_folder: str) -> str:
    """Return what distinguishes distributions of one version; "" for those from an index (PEP 610)."""
    try:
        with open(os.path.join(metadata_folder, "direct_url.json"), encoding="utf-8") as file:
            origin = json.load(file)
        if commit := origin.get("vcs_info", {}).get("commit_id"):
            return f" ({commit[:12]})"
        if origin.get("dir_info", {}).get("editable"):
            return ""  # its modules are the user's own files
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

    `importlib.metadata` would parse all metadata of each of them and take ten times as long.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return ()
    return tuple(
        (top, normalised_name(match["name"]))
        for name in names
        if (match := _METADATA_FOLDER.match(name)) and not name.startswith("~")  # left by a failed uninstall
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
    """Return the distributions that run flows but do not affect results: this one and its requirements."""
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
    """Return the versions of the distributions behind imported packages.

    Args:
        top_levels: Names of imported packages and modules.
        path: The interpreter's `sys.path`.
        is_build: Whether the importing code ran flows, and so imported our own requirements as well.

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
    """Return the current version of an interpreter; None if it cannot be started."""
    if executable == sys.executable:
        return platform.python_version()
    command = [executable, "-c", "import platform; print(platform.python_version())"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def own_path() -> tuple[str, ...]:
    """Return the folders from which a kernel of this interpreter imports."""
    return tuple(os.path.abspath(folder) for folder in sys.path if folder)
