"""Find the engine that `--ductaflow-engine` names: one of ours, or one of another package."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from ...core.errors import EngineError
from .protocol import Engine

GROUP = "pytest_ductaflow.engines"
_OURS = {
    "dask": f"{__package__}.dask.engine:engine",
    "here": f"{__package__}.in_process:engine",
}
_ADDRESSES = ("tcp", "tls", "ws", "wss")  # of Dask's schedulers


def find_engine(text: str) -> Engine:
    """Return the engine for the value of `--ductaflow-engine`, not yet started.

    Args:
        text: A name, a name with a text for the engine behind a colon, or the address of a Dask scheduler.

    Raises:
        EngineError: If there is no such engine, or it refuses the text.
    """
    name, _, argument = text.strip().partition(":")
    if name in _ADDRESSES:
        name, argument = "dask", text.strip()
    others = {point.name: point for point in entry_points(group=GROUP)}
    if name not in _OURS and name not in others:
        names = ", ".join(sorted({*_OURS, *others}))
        raise EngineError(
            f"{text!r}: there is no such engine; there are {names}, and a Dask scheduler has an address "
            "such as tcp://host:8786"
        )
    return _loaded(name, others)(argument)


def _loaded(name: str, others: dict[str, EntryPoint]) -> Callable[[str], Engine]:
    if name in _OURS:
        module, _, function = _OURS[name].partition(":")
        make: Callable[[str], Engine] = getattr(import_module(module), function)
        return make
    point = others[name]
    try:
        loaded: Callable[[str], Engine] = point.load()
    except Exception as error:
        raise EngineError(
            f"engine {name}: {point.value} cannot be loaded: {type(error).__name__}: {error}"
        ) from error
    return loaded
