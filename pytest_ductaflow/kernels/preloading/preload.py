"""Decide which modules are imported before a flow's kernel is forked.

This is decided from the code alone: nothing is imported here. A module is preloaded only if its import there
has the same result as in a kernel of the flow's own; in doubt, the import is left to the flow.
"""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.machinery import all_suffixes
from pathlib import Path

from ...core.system.file_state import stat_of
from ...sources.installed_versions import normalised_name, own_path, providers
from ...sources.notebooks import Source
from .import_scan import Effect, Step, names_bound_in, steps_of_cells, steps_of_module
from .rules import DRAW_WITH_MATPLOTLIB, IMPORTED_ON_USE, INLINE, NEVER, OWN, READ_AT_IMPORT

_SUFFIXES = tuple(all_suffixes())


@dataclass(frozen=True)
class Preload:
    """The modules to import before a flow's kernel is forked.

    Attributes:
        modules: Their names, in the order in which the flow imports them.
        forkable: Whether the kernel may be forked at all.
        reason: Why it may not.
    """

    modules: tuple[str, ...]
    forkable: bool
    reason: str = ""


def preload_of(
    source: Source, root: Path, cwd: Path, *, extra: Sequence[str] = (), without: Sequence[str] = ()
) -> Preload:
    """Return the modules to import before a flow's kernel is forked.

    Args:
        source: The flow.
        root: The project's root.
        cwd: The folder in which the flow runs.
        extra: Modules to add without checks.
        without: Modules to leave out, with their submodules, even if `extra` names them.
    """
    cells = tuple(cell.source for cell in source.notebook.cells if cell.cell_type == "code")
    return preload_of_code(cells, source.path.parent, root, cwd, extra=extra, without=without)


def preload_of_code(
    cells: tuple[str, ...],
    folder: Path,
    root: Path,
    cwd: Path,
    *,
    extra: Sequence[str] = (),
    without: Sequence[str] = (),
) -> Preload:
    """Return the modules to import before the kernel of a flow with this code, in this folder, is forked.

    Args:
        cells: The code of its cells.
        folder: The folder with the flow.
        root: The project's root.
        cwd: The folder in which the flow runs.
        extra: Modules to add without checks.
        without: Modules to leave out, with their submodules, even if `extra` names them.
    """
    for name, package in READ_AT_IMPORT.items():
        if (cwd / name).exists():
            return Preload((), False, f"{package} reads {name} where the flow runs when it is imported")
    project = _Project(folder, root)
    imports = list(project.imports_of(steps_of_cells(cells)))
    wanted = dict.fromkeys([*(module for _, modules in imports for module in modules), *extra])
    early = _surely_before(Effect.ENVIRONMENT, imports)
    late = [module for module in wanted if module not in early and not _is_standard(module)]
    if late and _has(Effect.ENVIRONMENT, imports):
        return Preload((), False, f"its environment may be changed before the import of {late[0]}")
    early = _surely_before(Effect.PATH, imports) if _has(Effect.PATH, imports) else set(wanted)
    modules = [
        module for module in wanted if module in extra or (module in early and not _is_within(module, NEVER))
    ]
    if (own := _own_modules(imports)) and not project.hides_packages:
        modules += own
    return Preload(tuple(name for name in modules if not _is_within(name, without)), forkable=True)


_Import = tuple[Step, tuple[str, ...]]  # a step, and the installed modules that it imports


def _has(effect: Effect, imports: Iterable[_Import]) -> bool:
    return any(step.effect is effect for step, _ in imports)


def _own_modules(imports: Iterable[_Import]) -> list[str]:
    """Return what code uses of this package; nothing if it changes something that matters for imports."""
    steps = [step for step, _ in imports]
    if any(step.effect is not Effect.IMPORT for step in steps):
        return []
    asked = {step.member for step in steps if step.module in OWN}
    everything = not asked.isdisjoint(("", "*"))
    used = (modules for name, modules in IMPORTED_ON_USE.items() if everything or name in asked)
    return list(dict.fromkeys(module for modules in used for module in modules))


def _surely_before(effect: Effect, imports: Iterable[_Import]) -> set[str]:
    """Return the modules that are always imported before the first step with an effect."""
    modules: set[str] = set()
    for step, installed in imports:
        if step.effect is effect:
            break
        if not step.is_deferred:
            modules.update(installed)
    return modules


class _Project:
    """The modules of a project, and the installed modules that they import."""

    def __init__(self, flow_folder: Path, root: Path) -> None:
        before_installed = [folder for folder in own_path() if not _is_installation(folder)]
        below_root = [folder for folder in before_installed if Path(folder).is_relative_to(root)]
        self._folders = tuple(dict.fromkeys((str(flow_folder), str(root), *below_root)))
        self._shadowing = tuple(dict.fromkeys((*self._folders, *before_installed)))
        self._names = {name.partition(".")[0] for folder in self._shadowing for name in _listed(folder)}
        self._site = _site_folders()
        self._read: set[tuple[str, bool]] = set()

    @property
    def hides_packages(self) -> bool:
        """Whether a module of the project has the name of an installed package, or of a standard module."""
        names = self._names.intersection((*providers(self._site), *sys.stdlib_module_names))
        return any(os.path.isfile(place) for name in names for place in _places_of(name, self._shadowing))

    def imports_of(
        self, steps: Iterable[Step], importer: str = "", *, is_deferred: bool = False
    ) -> Iterator[_Import]:
        """Yield the steps of code, with imports of project modules replaced by these modules' steps."""
        for written in steps:
            step = replace(written, is_deferred=is_deferred or written.is_deferred)
            if step.effect is not Effect.IMPORT:
                yield step, ()
            elif files := self._files_of(step, importer):
                for file in files:
                    if (file, step.is_deferred) not in self._read:
                        self._read.add((file, step.is_deferred))
                        inner = steps_of_module(file, stat_of(file) or "")
                        yield from self.imports_of(inner, file, is_deferred=step.is_deferred)
            elif not step.level:
                yield step, self._installed(step)

    def _files_of(self, step: Step, importer: str) -> list[str]:
        folders = (str(Path(importer).parents[step.level - 1]),) if step.level else self._folders
        name = ".".join(filter(None, (step.module, step.member)))
        if not step.level and name.partition(".")[0] not in self._names:
            return []
        return [place for place in _places_of(name, folders) if place.endswith(".py")]

    def _installed(self, step: Step) -> tuple[str, ...]:
        """Return the modules to import for a step; none if the project has that one, or it is not found."""
        top = step.module.partition(".")[0]
        if top in self._names and any(map(os.path.isfile, _places_of(top, self._shadowing))):
            return ()
        module = _installed_module(step.module, step.member, self._site)
        if module is None:
            return ()
        backend = top in DRAW_WITH_MATPLOTLIB and _installed_module(INLINE, "", self._site)
        return (module, backend) if backend else (module,)


@lru_cache(maxsize=10_000)
def _installed_module(name: str, member: str, site: tuple[str, ...]) -> str | None:
    """Return the module that `from name import member` imports, or as much of it as can be found."""
    top = name.partition(".")[0]
    if _is_standard(top):
        if top in sys.builtin_module_names:
            return top
        folders = _standard_folders()
    else:
        folders = site
        distributions = providers(site).get(top, ())
        if not distributions or _editable(site).intersection(distributions):
            return None
    places = _places_of(name, folders)
    found = ".".join(name.split(".")[: len(places)])
    if member and found == name and member not in names_bound_in(places[-1]):
        whole = f"{name}.{member}"
        found = whole if len(_places_of(whole, folders)) > len(places) else found
    return found or None


def _places_of(name: str, folders: tuple[str, ...]) -> list[str]:
    """Return the files of a module and of its parent packages, outermost first, as far as they exist.

    A package without a file (a namespace package) is given as its first folder.
    """
    places: list[str] = []
    for part in name.split("."):
        stems = [os.path.join(folder, part) for folder in folders]
        file = next(filter(os.path.isfile, _files_like(stems)), None)
        packages = [stem for stem in stems if os.path.isdir(stem)]
        if file is None and not packages:
            break
        places.append(file or packages[0])
        is_package = file is None or os.path.basename(file).startswith("__init__.")
        folders = tuple(packages if file is None else [os.path.dirname(file)] if is_package else [])
    return places


def _files_like(stems: Iterable[str]) -> Iterator[str]:
    for stem in stems:
        yield from (os.path.join(stem, f"__init__{suffix}") for suffix in _SUFFIXES)
        yield from (stem + suffix for suffix in _SUFFIXES)


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


@lru_cache(maxsize=1)
def _site_folders() -> tuple[str, ...]:
    """Return the folders of installed distributions; folders that `.pth` files add are for development."""
    return tuple(dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib")))


@lru_cache(maxsize=1)
def _standard_folders() -> tuple[str, ...]:
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    return tuple(dict.fromkeys([*folders, *(os.path.join(folder, "lib-dynload") for folder in folders)]))


def _is_installation(folder: str) -> bool:
    """Return whether a folder of `sys.path` holds the standard library or installed packages."""
    return folder in _standard_folders() or Path(folder).name in ("site-packages", "dist-packages")


@lru_cache(maxsize=8)
def _editable(site: tuple[str, ...]) -> frozenset[str]:
    """Return the names of the distributions that are installed in editable mode."""
    return frozenset(
        normalised_name(file.parent.name.partition("-")[0])
        for folder in site
        for file in Path(folder).glob("*.dist-info/direct_url.json")
        if _says_editable(file)
    )


def _says_editable(file: Path) -> bool:
    try:
        return bool(json.loads(file.read_text(encoding="utf-8"))["dir_info"]["editable"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _is_within(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)
