"""Choose the installed kernel that runs a flow."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import DuctaflowError
from ..sources.notebooks import Source
from .base import Spec, kernel_files, kernel_spec, kernel_specs

_PYTHON = "python3"  # the kernel of Python flows that name none


@dataclass(frozen=True)
class KernelChoice:
    """The kernel that runs a flow.

    Attributes:
        name: Its name.
        spec: What is installed under that name.
        instead_of: The kernel that the flow names, if that is not installed.
    """

    name: str
    spec: Spec
    instead_of: str = ""

    @property
    def language(self) -> str:
        """The language that it runs."""
        return str(self.spec.language)

    @property
    def files(self) -> tuple[str, ...]:
        """The files on which the choice depends."""
        missing = kernel_files(self.instead_of) if self.instead_of else ()
        return (*kernel_files(self.name, self.spec.resource_dir), *missing)


def choose_kernel(source: Source, wanted: str | None, option: str | None) -> KernelChoice:
    """Return the kernel that runs a flow.

    Args:
        source: The flow; its own kernelspec or main language counts if no kernel is wanted.
        wanted: The kernel that the instance names.
        option: The kernel for all flows of its language.

    Raises:
        DuctaflowError: If there is no such kernel, with the names of those that there are.
    """
    language = _language_of(source)
    own = source.notebook.metadata.get("kernelspec", {}).get("name")
    given = wanted or (option if option and _is_for(option, language) else None)
    name = given or own or _kernel_of_language(language or "python")
    if name is not None and (spec := kernel_spec(name)) is not None:
        return KernelChoice(name, spec)
    default = kernel_spec(_PYTHON) if given is None and own is not None and language == "python" else None
    if default is not None:
        return KernelChoice(_PYTHON, default, instead_of=own)
    known = ", ".join(kernel_specs()) or "none"
    cure = "install one" if language not in (None, "python") else ""
    cure = cure or "name another one by kernel_name=, a column `_kernel` or --ductaflow-kernel"
    missing = f"for {language}" if name is None else repr(name)
    raise DuctaflowError(
        f"{source.path.name}: no Jupyter kernel {missing}; installed: {known}. "
        f"What to do: {cure} (`jupyter kernelspec list` shows where they are)"
    )


def _language_of(source: Source) -> str | None:
    """Return the language of a flow; None if it names a kernel and nothing shows its language."""
    names_no_kernel = not source.notebook.metadata.get("kernelspec", {}).get("name")
    is_python = names_no_kernel or source.path.suffix == ".py"
    return source.told_language or ("python" if is_python else None)


def _is_for(kernel: str, language: str | None) -> bool:
    """Return whether a kernel runs a language; one that is not installed is taken for Python."""
    spec = kernel_spec(kernel)
    return (spec.language.lower() if spec is not None else "python") == language


def _kernel_of_language(language: str) -> str | None:
    """Return the name of an installed kernel that runs a language; None if there is none."""
    if language == "python":
        return _PYTHON
    specs = ((name, kernel_spec(name)) for name in kernel_specs())
    found = (name for name, spec in specs if spec is not None and spec.language.lower() == language)
    return next(found, None)
