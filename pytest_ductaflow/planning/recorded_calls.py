"""Record a conductor's calls instead of executing them.

While a conductor is collected, each call writes one JSON line into the file that an environment variable
names. It is a file because calls may come from threads or child processes of the conductor; the conductor's
own process still knows the file after clearing its environment.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..core.instance import Instance
from ..core.problem import Problem

VARIABLE = "_DUCTAFLOW_CALLS"
_ROOT = "_DUCTAFLOW_ROOT"
Listener = Callable[[Sequence[Instance], int], None]
_OURS = frozenset({VARIABLE, _ROOT})
_told: dict[str, str] = {}  # these variables, in the process that executes the conductor
_listeners: list[Listener] = []
_at_first: dict[str, str] = {}  # the environment before the conductor began
_asked = threading.Event()  # set once a conductor, or a module of its project, has called `is_collecting`


def is_collecting() -> bool:
    """Return whether `pytest --ductaflow` is collecting this conductor, so that calls are only recorded.

    What a conductor does *after* its instances ran (reading their results, say) belongs under
    `if not is_collecting():`. Under pytest it is executed when they have ended.
    """
    _asked.set()
    return is_recording()


def was_asked() -> bool:
    """Return whether `is_collecting` has been called in this process."""
    return _asked.is_set()


def is_recording() -> bool:
    """Return the same as `is_collecting`, without counting as a call of it."""
    return _value(VARIABLE) is not None


def _value(name: str) -> str | None:
    return _told.get(name) or os.environ.get(name)


def begin(calls: Path, root: Path) -> None:
    """Start recording calls into the file `calls`, for the project at `root`."""
    _told.update({VARIABLE: str(calls), _ROOT: str(root)})
    os.environ.update(_told)
    _at_first.update(os.environ)


def project_root() -> Path | None:
    """Return the project root of the conductor being collected; None if none is."""
    root = _value(_ROOT) if is_recording() else None
    return Path(root) if root is not None else None


def record(
    instances: Iterable[Instance], problems: Iterable[Problem] = (), notes: Iterable[str] = ()
) -> None:
    """Append instances, problems and notes to the recording, in the order of the calls."""
    noted = with_variables(instances)
    lines = [json.dumps({"instance": instance.to_json()}) for instance in noted]
    lines += [json.dumps({"problem": problem.to_json()}) for problem in problems]
    lines += [json.dumps({"note": note}) for note in notes]
    text = "".join(f"{line}\n" for line in lines).encode()
    with open(str(_value(VARIABLE)), "ab") as file:
        file.write(text)
    for listener in _listeners:
        listener(noted, len(text))


def with_variables(instances: Iterable[Instance]) -> list[Instance]:
    """Return instances with the environment variables that their conductor has changed so far."""
    now = os.environ if _at_first else {}
    changed_now = (name for name in {*_at_first, *now} if now.get(name) != _at_first.get(name))
    names = sorted({*changed_now} - _OURS)
    changed = tuple((name, now.get(name)) for name in names)
    return [instance.with_(variables=changed) for instance in instances] if changed else list(instances)


def listen(listener: Listener) -> None:
    """Register a function to call with the instances that this process records and the bytes written."""
    _listeners.append(listener)


def read(path: Path) -> tuple[list[Instance], list[Problem]]:
    """Return the recorded instances and problems."""
    instances, problems = [], []
    for entry in _entries(path):
        if "instance" in entry:
            instances.append(Instance.from_json(entry["instance"]))
        elif "problem" in entry:
            problems.append(Problem(**entry["problem"]))
    return instances, problems


def notes_in(path: Path) -> list[str]:
    """Return the recorded notes on valid but possibly unintended declarations."""
    return [entry["note"] for entry in _entries(path) if "note" in entry]


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        with open(path, encoding="utf-8") as file:
            yield from map(json.loads, file)
