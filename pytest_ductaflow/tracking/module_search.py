"""Find missing modules that would be imported if they existed: the places that an import searches first."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import all_suffixes

from ..core.instance import Instance
from ..core.system.places import is_in_environment
from ..sources.installed_versions import providers
from .observed import Used
from .paths_in_code import imports_of, package_folder


def absent_modules(sources: Iterable[str], used: Used, instance: Instance) -> set[str]:
    """Return the missing files that would be imported in place of others if they existed.

    Args:
        sources: The flow and the modules of the project that it imported.
        used: What was observed of the run: its search path, and what its code has tried to import.
        instance: The instance.
    """
    sources = set(sources)
    folders = _folders(used, instance)
    found = {path for source in sources - {instance.flow} for path in _earlier_places(source, folders)}
    names = {(name, folder) for source in sources for name, folder in _imported_names(source)}
    names |= {(name, "") for name in used.imports}
    provided = {*sys.stdlib_module_names, *providers(tuple(used.path))}
    for name, folder in names:
        if folder or name.partition(".")[0] not in provided:
            found |= set(_places_of(name, [folder] if folder else folders))
    return {path for path in found if not os.path.lexists(path)}


def absent_packages(
    names: Iterable[str], used: Used, instance: Instance, beside: Iterable[str] = ()
) -> set[str]:
    """Return the places where missing packages that code looks for would be installed.

    Args:
        names: Top-level names that code imports or looks for.
        used: What was observed of the run: its search path, and what its code has tried to import.
        instance: The instance.
        beside: Folders of scripts, which also import from there.
    """
    folders = [*_folders(used, instance), *beside]
    installed = [folder for folder in _search_path(used.path) if _is_for_packages(folder)]
    tried = (name.partition(".")[0] for name in used.imports)
    absent: set[str] = set()
    for name in {*names, *tried} - sys.stdlib_module_names:
        if not any(map(os.path.lexists, _files_of_package(name, [*installed, *folders]))):
            absent |= set(_files_of_package(name, installed))
    return absent


def _files_of_package(name: str, folders: Iterable[str]) -> Iterator[str]:
    """Yield the paths that a package or module of this name may have."""
    return (os.path.join(folder, f"{name}{end}") for folder in folders for end in ("", *all_suffixes()))


def _folders(used: Used, instance: Instance) -> list[str]:
    """Return the folders of the search path that are the user's, in order."""
    given = used.path or (os.path.dirname(instance.flow), instance.project_root)
    return [
        folder
        for folder in _search_path(given)
        if not any(is_in_environment(os.path.join(folder, ""), prefix) for prefix in used.prefixes)
        and not re.search(r"[/\\]lib(?:64)?[/\\]python[\d.]+(?:$|[/\\])", folder)
    ]


def _search_path(given: Iterable[str]) -> list[str]:
    absolute = (folder for folder in map(os.path.normpath, given) if os.path.isabs(folder))
    return [folder for folder in dict.fromkeys(absolute) if not folder.endswith(".zip")]


def _is_for_packages(folder: str) -> bool:
    return os.path.basename(folder) in ("site-packages", "dist-packages")


def _earlier_places(module: str, folders: list[str]) -> Iterator[str]:
    """Yield the places searched before a module's file: a package in its folder, and earlier folders."""
    parts = [os.path.basename(module).removesuffix(".py")]
    folder = os.path.dirname(module)
    if parts == ["__init__"]:
        parts, folder = [os.path.basename(folder)], os.path.dirname(folder)
    else:
        yield os.path.join(folder, parts[0], "__init__.py")
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        parts.insert(0, os.path.basename(folder))
        folder = os.path.dirname(folder)
    if folder in folders:
        for earlier in folders[: folders.index(folder)]:
            yield from _files(earlier, parts[0])


def _files(folder: str, name: str) -> tuple[str, str]:
    stem = os.path.join(folder, name)
    return f"{stem}.py", os.path.join(stem, "__init__.py")


def _imported_names(source: str) -> Iterator[tuple[str, str]]:
    """Yield the modules that a source file imports, each with the folder of a relative import, else ""."""
    for name, level in imports_of(source):
        yield name, package_folder(source, level) if level else ""


def _places_of(name: str, folders: list[str]) -> Iterator[str]:
    """Yield the places searched for a module: for each part of its name, up to the first that exists."""
    *packages, last = name.split(".")
    for part in packages:
        holders = [folder for folder in folders if os.path.isdir(os.path.join(folder, part))]
        if not holders:  # a module from which a name is imported, or missing
            if not any(os.path.isfile(os.path.join(folder, f"{part}.py")) for folder in folders):
                for folder in folders:
                    yield from _files(folder, part)
            return
        if os.path.isfile(os.path.join(holders[0], part, "__init__.py")):
            folders = [os.path.join(holders[0], part)]
        else:  # all folders of that name form a namespace package, unless one gets an `__init__.py`
            for folder in folders:
                yield from _files(folder, part)
            folders = [os.path.join(folder, part) for folder in folders]
    for number, folder in enumerate(folders):
        places = _files(folder, last)
        if any(map(os.path.isfile, places)):
            return
        if packages and not number and _defines(folder, last):
            return
        yield from places


def _defines(package: str, name: str) -> bool:
    """Return whether a package's `__init__.py` mentions a name, so that it is hardly a module."""
    try:
        with open(os.path.join(package, "__init__.py"), encoding="utf-8", errors="replace") as file:
            return re.search(rf"\b{re.escape(name)}\b", file.read()) is not None
    except OSError:
        return False
