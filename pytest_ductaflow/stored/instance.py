"""A stored instance: the folder in the repo that says what a run gets and what it should give.

{instances}/{step}/{instance}/
    instance.json   flow, config, which outputs are compared, and how exactly
    expected/       what the flow should write
    inputs/         what it reads of other instances, where that was copied
"""

from __future__ import annotations

import fnmatch
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ..compare.tolerance import Tolerances
from ..errors import DuctaflowError
from ..model import JSON, RUNS
from ..store import RunFiles, records, shown, write_json

FILE, EXPECTED, INPUTS = "instance.json", "expected", "inputs"
REPLAYS = "instances"  # under `runs/`: where stored instances run
PROJECT_ROOT = "${_project_root}"  # how a text in the config of a stored instance names the project
OUTPUTS = ("*", "!*.ipynb", "!*.html", "!*.log")
TOLERANCES: Mapping[str, Mapping[str, JSON]] = {"*": {"rtol": 1e-6, "atol": 1e-12}}
_SCHEMA = 1


class StoredError(DuctaflowError):
    """The file of a stored instance cannot be used; the message names it."""


@dataclass(frozen=True)
class StoredInstance:
    """What `instance.json` says.

    Attributes:
        flow: Path of the flow, relative to the project root, with `/`.
        step: The step of the run that was stored.
        instance: Its name within the step.
        config: The config, without `_project_root`; texts that begin with `PROJECT_ROOT` are paths in
            the project, wherever it lies.
        outputs: Patterns of outputs that are compared; those after `!` are left out.
        expected: The files in `expected/`, so that none can get lost unnoticed.
        digests: Of outputs that are too large to be stored, `sha256:…` by name.
        tolerances: By name or pattern of outputs, what `Tolerance` allows there.
        kernel: Jupyter kernel of the run that was stored.
        duration: Seconds that it took.
    """

    flow: str
    step: str
    instance: str
    config: Mapping[str, JSON]
    outputs: tuple[str, ...] = OUTPUTS
    expected: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    tolerances: Mapping[str, Mapping[str, JSON]] = field(default_factory=lambda: TOLERANCES)
    kernel: str | None = None
    duration: float | None = None

    @property
    def names(self) -> set[str]:
        """The outputs that must be there."""
        return {*self.expected, *self.digests}

    def to_json(self) -> dict[str, JSON]:
        data = {
            "schema": _SCHEMA,
            "flow": self.flow,
            "step": self.step,
            "instance": self.instance,
            "kernel": self.kernel,
            "duration": self.duration,
            "config": dict(self.config),
            "outputs": list(self.outputs),
            "expected": sorted(self.expected),
            "digests": dict(sorted(self.digests.items())),
            "tolerances": {pattern: dict(values) for pattern, values in self.tolerances.items()},
        }
        optional = {"kernel", "duration", "digests"}
        return {name: value for name, value in data.items() if value or name not in optional}

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read what `to_json` wrote, and somebody may have edited.

        Raises:
            ValueError: With a sentence that names the key.
        """
        if not isinstance(data, dict):
            raise ValueError(f"expected an object with keys, found {type(data).__name__}")
        if data.get("schema") != _SCHEMA:
            raise ValueError(f"schema: expected {_SCHEMA}, found {data.get('schema')!r}")
        values = {name: value for name, value in data.items() if name != "schema"}
        _check_kinds(values)
        for name in ("outputs", "expected"):
            if name in values:
                values[name] = tuple(_file_name(name, part) for part in values[name])
        for name in values.get("digests", {}):
            _file_name("digests", name)
        try:
            Tolerances(values.get("tolerances", {}))
        except ValueError as error:
            raise ValueError(f"tolerances: {error}") from None
        return cls(**values)


_KINDS: Mapping[str, tuple[Any, str]] = {
    "flow": (str, "the path of a flow in the project"),
    "step": (str, "a name"),
    "instance": (str, "a name"),
    "kernel": (str, "the name of a Jupyter kernel"),
    "duration": (int | float, "a number of seconds"),
    "config": (dict, "the config"),
    "outputs": (list, "patterns of file names"),
    "expected": (list, "names of files"),
    "digests": (dict, "digests by name of a file"),
    "tolerances": (dict, "tolerances by name or pattern of files"),
}


def _check_kinds(values: Mapping[str, Any]) -> None:
    """Let nothing through that is not what a key stands for.

    Raises:
        ValueError: With a sentence that names the key.
    """
    if unknown := values.keys() - _KINDS.keys():
        known = ", ".join(_KINDS)
        raise ValueError(f"{', '.join(sorted(unknown))}: not a key of a stored instance ({known})")
    for name, (kind, what) in _KINDS.items():
        if name not in values and name in ("flow", "step", "instance", "config"):
            raise ValueError(f"{name}: is missing, expected {what}")
        if name in values and not isinstance(values[name], kind):
            raise ValueError(f"{name}: expected {what}, found {values[name]!r}")


def _file_name(key: str, name: Any) -> str:
    """A name that leads to no other place than the folder in which it is.

    Raises:
        ValueError: If it does, or is none.
    """
    parts = name.replace("\\", "/").split("/") if isinstance(name, str) else [""]
    if "" in parts or ".." in parts or "\0" in name or ":" in parts[0]:
        raise ValueError(f"{key}: {name!r} is not the name of a file in the run directory")
    return str(name)


def read_stored(folder: Path) -> StoredInstance:
    """The stored instance in a folder.

    Raises:
        StoredError: If its file is not there, or cannot be understood.
    """
    file = folder / FILE
    try:
        text = file.read_text(encoding="utf-8-sig")
        return StoredInstance.from_json(json.loads(text, object_pairs_hook=_distinct))
    except OSError as error:
        raise StoredError(f"{file}: cannot be read ({error.strerror})") from None
    except json.JSONDecodeError as error:
        raise StoredError(f"{file}:{error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise StoredError(f"{file}: {error}") from None


def _distinct(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    """An object of JSON; of a key that is there twice, as after a merge, one value would get lost."""
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice}: is there twice")
    return data


def write_stored(folder: Path, stored: StoredInstance) -> None:
    write_json(folder / FILE, stored.to_json())


def is_stored(file: Path) -> bool:
    """Whether a file is, or was meant to be, that of a stored instance: also one that cannot be read."""
    if file.name != FILE or not file.is_file():
        return False
    if (file.parent / EXPECTED).is_dir():
        return True
    text = file.read_text(encoding="utf-8", errors="replace")
    return all(f'"{key}"' in text for key in ("flow", "config"))


def unfit_for_replay(files: RunFiles, runs: Path) -> str | None:
    """Why a run directory cannot be emptied for a replay: somebody else's files may be there."""
    folder = files.directory
    where = f"it would run in {shown(folder, runs.parent)}"
    if os.path.realpath(folder) != os.path.join(os.path.realpath(runs), folder.relative_to(runs)):
        return f"{where}, and a link leads from there elsewhere"
    sources = (record.source for _, record in records(folder))
    if (other := next((source for source in sources if Path(source).name != FILE), None)) is not None:
        why = f"{RUNS}/{REPLAYS}/ is for stored instances, so call that step otherwise"
        return f"{where}, where an instance of {other} has run: {why}"
    return None


def clear_replay(files: RunFiles) -> None:
    """Empty the run directory of a replay: an output of an earlier one could pass for one of the next."""
    if files.directory.exists():
        shutil.rmtree(files.directory)


def is_compared(name: str, patterns: Iterable[str]) -> bool:
    """Whether an output is among those that patterns choose; the last one that fits counts."""
    chosen = False
    for pattern in patterns:
        if fnmatch.fnmatchcase(name, pattern.removeprefix("!")):
            chosen = not pattern.startswith("!")
    return chosen


def with_texts(value: JSON, change: Any) -> JSON:
    """A config with each of its texts changed by a function."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_texts(item, change) for item in value]
    return value


def in_project(config: Mapping[str, JSON], root: Path) -> dict[str, JSON]:
    """The config of a stored instance for the project as it lies here."""

    def expanded(text: str) -> str:
        if text == PROJECT_ROOT or text.startswith(f"{PROJECT_ROOT}/"):
            return str(Path(f"{root}{text.removeprefix(PROJECT_ROOT)}"))
        return text

    return dict(with_texts(config, expanded))
