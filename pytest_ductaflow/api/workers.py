"""How many instances a call runs at a time."""

from __future__ import annotations

import os
from typing import Literal, TypeAlias

from ..core.run_directory.build_variable import surrounding_build
from ..core.system.machine import number_of_cores
from ..planning import recorded_calls
from ..planning.afterwards import answers

Workers: TypeAlias = int | Literal["auto"]
VARIABLE = "DUCTAFLOW_WORKERS"


def number_of_workers(given: Workers | None) -> int:
    """Return how many instances run at a time: as given, else as the environment says it, else one.

    The environment speaks of scripts and notebooks: neither of pytest, nor of the flows in a build.

    Raises:
        ValueError: If it is no such number; the message says where it comes from and what is expected.
    """
    if given is not None:
        return _number(given, f"workers={given!r}")
    is_script = not (recorded_calls.is_recording() or answers.current() or surrounding_build())
    told = os.environ.get(VARIABLE, "") if is_script else ""
    return _number(told, f"environment variable {VARIABLE}={told!r}") if told else 1


def _number(given: object, place: str) -> int:
    if given == "auto":
        return number_of_cores()
    text = str(given).strip() if isinstance(given, int | str) else ""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{place}: expected a whole number above 0, or 'auto' for one for each core")
    return int(text)
