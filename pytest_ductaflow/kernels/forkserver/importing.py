"""Import what flows import, and detect modules whose import has side effects."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Any

# Modules that another one imports at first use, and that are nearly always used with it.
_PARTNERS = {
    "pandas": (
        "pyarrow.pandas_compat",
        "pyarrow.vendored.version",
        "pandas.io.formats.csvs",
        "pandas.io.formats.format",
        "pandas.io.formats.html",
        "pandas.io.formats.info",
        "pandas.io.formats.string",
        "pandas.io.parsers",
    ),
    "sklearn": (
        "narwhals._interchange.dataframe",
        "narwhals._pandas_like.dataframe",
        "narwhals._pandas_like.namespace",
        "narwhals.stable.v2._namespace",
    ),
    "matplotlib.pyplot": (
        "IPython.core.pylabtools",
        *(f"PIL.{kind}ImagePlugin" for kind in ("Bmp", "Gif", "Jpeg", "Ppm", "Png")),
        "matplotlib.backends.backend_agg",
        "matplotlib_inline.backend_inline",
    ),
}

# By the second, packages detect a notebook at their import; the client has its own value.
_AS_IN_A_KERNEL = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "JPY_PARENT_PID": str(os.getpid()),
}


class ImportSideEffect(Exception):
    """An import with a side effect that a flow would notice.

    Attributes:
        module: The name of the module.
        deed: What it did, in words.
    """

    def __init__(self, module: str, description: str) -> None:
        super().__init__(f"{module} {description}")
        self.module = module
        self.description = description


def preload(modules: Sequence[str], without: Collection[str] = ()) -> dict[str, tuple[str | None, str]]:
    """Import modules, and freeze all objects so that garbage collection does not write to their pages.

    A module that cannot be imported is left to the flow, where its import fails in the flow's own cell.

    Args:
        modules: Names of modules, in the order of their import.
        without: Names of modules not to import as another one's partner.

    Returns:
        The environment variables that imports have set: their values before, and now.

    Raises:
        ImportSideEffect: If a module prints, warns or starts a thread; the process is unusable then.
    """
    before = dict(os.environ)
    for name, value in _AS_IN_A_KERNEL.items():
        os.environ.setdefault(name, value)
    gc.disable()  # much is made and nothing thrown away
    for module in modules:
        _import(module)
    for module, partners in _PARTNERS.items():
        if module in sys.modules:
            for partner in partners:
                if partner not in without:
                    _import(partner)
    gc.enable()
    gc.collect()
    gc.freeze()
    return {
        name: (before.get(name), value) for name, value in os.environ.items() if before.get(name) != value
    }


def _import(module: str) -> None:
    threads = threading.active_count()
    with _listening() as heard, contextlib.suppress(Exception):
        importlib.import_module(module)
    if threading.active_count() > threads:
        raise ImportSideEffect(module, "starts a thread")
    if heard:
        raise ImportSideEffect(module, f"says at its import: {heard[0].strip()}")


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    """Collect all output, of streams and descriptors, and all warnings."""
    heard: list[str] = []
    show = warnings.showwarning

    def hear(message: Any, category: type[Warning], *_: Any, **__: Any) -> None:
        heard.append(f"{category.__name__}: {message}")

    # Only the display of warnings is replaced: the filters belong to modules, which may change them.
    warnings.showwarning = hear
    with tempfile.TemporaryFile("w+") as file, _output_into(file.fileno()):
        try:
            yield heard
        finally:
            warnings.showwarning = show
            sys.stdout.flush()
            sys.stderr.flush()
            file.seek(0)
            heard += [text for text in (file.read(),) if text.strip()]


@contextlib.contextmanager
def _output_into(target: int) -> Iterator[None]:
    saved = {number: os.dup(number) for number in (1, 2)}
    for number in saved:
        os.dup2(target, number)
    try:
        yield
    finally:
        for number, copy in saved.items():
            os.dup2(copy, number)
            os.close(copy)
