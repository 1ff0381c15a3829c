"""Read and write stored instances: folders in the repo with the inputs and expected outputs of a run.

{instances}/{step}/{instance}/
    instance.json   flow, config, which outputs are compared, and with which tolerances
    expected/       what the flow should write
    inputs/         copies of other instances' files that it reads, if they were stored
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from ..core.errors import StoredError
from ..core.instance import JSON, RUNS
from ..core.run_directory.atomic import write_json
from ..core.run_directory.layout import RunFiles, display_path
from ..core.run_directory.record_files import records
from .compare.tolerance import Tolerances, fits

FILE, EXPECTED, INPUTS = "instance.json", "expected", "inputs"
REPLAYS = "instances"  # under `runs/`: where stored instances run
PROJECT_ROOT = "${_project_root}"  # placeholder for the project root in a stored instance's config
OUTPUTS = ("*", "!*.ipynb", "!*.html", "!*.log")
TOLERANCES: Mapping[str, Mapping[str, JSON]] = {"*": {"rtol": 1e-6, "atol": 0.0}}
_SCHEMA = 1
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_DRIVE = re.compile(r"[A-Za-z]:[/\\]")
_WILD = re.compile(r"[*?]")


@dataclass(frozen=True)
class StoredInstance:
    """The content of `instance.json`.

    Attributes:
        flow: Path of the flow, relative to the project root, with `/`.
        step: Step of the run that was stored.
        instance: Its name within the step.
        config: Config without `_project_root`; texts that begin with `PROJECT_ROOT` are paths in the
            project, wherever it lies.
        outputs: Patterns of outputs that are compared; those after `!` are left out.
        expected: Names of the files in `expected/`, so that a lost one is noticed.
        digests: Digests (`sha256:…`) by name, for outputs too large to be stored.
        tolerances: Settings of `Tolerance` by name or pattern of outputs.
        kernel: Jupyter kernel of the run that was stored.
        duration: Duration of that run in seconds.
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
        """The names of the outputs that must exist."""
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
        """Read what `to_json` wrote and a user may have edited.

        Raises:
            ValueError: With a sentence that names the key.
        """
        if not isinstance(data, dict):
            raise ValueError(f"expected an object with keys, found {type(data).__name__}")
        if data.get("schema") != _SCHEMA or isinstance(data["schema"], bool):
            raise ValueError(f"schema: expected {_SCHEMA}, found {data.get('schema')!r}")
        values = {name: value for name, value in data.items() if name != "schema"}
        _check_kinds(values)
        for name in values.get("expected", ()):
            _check_file_name("expected", name)
        for name, digest in values.get("digests", {}).items():
            _check_file_name("digests", name)
            if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
                raise ValueError(f"digests: {name!r}: expected sha256: and 64 digits, found {digest!r}")
        for pattern in values.get("outputs", ()):
            if not isinstance(pattern, str):
                raise ValueError(f"outputs: expected patterns of file names, found {pattern!r}")
        values |= {name: tuple(values[name]) for name in ("outputs", "expected") if name in values}
        stored = cls(**values)
        stored._check_tolerances()
        return stored

    def _check_tolerances(self) -> None:
        try:
            Tolerances(self.tolerances)
        except ValueError as error:
            raise ValueError(f"tolerances: {error}") from None
        for pattern in self.tolerances:
            if not is_wild(pattern) and not any(fits(name, pattern) for name in self.names):
                known = ", ".join(sorted(self.names)) or "none"
                raise ValueError(f"tolerances: {pattern!r} is none of the files that are compared: {known}")


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
    """Reject unknown keys, missing keys and values of a wrong type.

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
    duration = values.get("duration", 0)
    if isinstance(duration, bool) or not 0 <= duration < float("inf"):
        raise ValueError(f"duration: expected a number of seconds, found {duration!r}")


def _check_file_name(key: str, name: Any) -> None:
    """Reject file names that lead out of their folder.

    Raises:
        ValueError: With the key and the name.
    """
    parts = re.split(r"[/\\]" if os.name == "nt" else "/", name) if isinstance(name, str) else [""]
    if {"", ".", ".."} & set(parts) or "\0" in name or _DRIVE.match(name):
        raise ValueError(f"{key}: {name!r} is not the name of a file in the run directory")


def read_stored(folder: Path) -> StoredInstance:
    """Read the stored instance in a folder.

    Raises:
        StoredError: If its file does not exist or is not valid.
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
    """Return a JSON object; reject duplicate keys, as after a merge, since one value would get lost."""
    data = dict(pairs)
    if len(data) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice}: is there twice")
    return data


def write_stored(folder: Path, stored: StoredInstance) -> None:
    write_json(folder / FILE, stored.to_json())


def is_stored(file: Path) -> bool:
    """Return whether a file is, or was meant to be, that of a stored instance, even an unreadable one."""
    if file.name != FILE or not file.is_file():
        return False
    if (file.parent / EXPECTED).is_dir():
        return True
    text = file.read_text(encoding="utf-8", errors="replace")
    return not text.strip() or all(f'"{key}"' in text for key in ("flow", "config"))


def unfit_for_replay(files: RunFiles, runs: Path) -> str | None:
    """Return why a run directory cannot be emptied for a replay, None if it can: it may hold other files."""
    folder = files.directory
    where = f"it would run in {display_path(folder, runs.parent)}"
    straight = os.path.join(os.path.realpath(runs), folder.relative_to(runs))
    if os.path.normcase(os.path.realpath(folder)) != os.path.normcase(straight):
        return f"{where}, and a link leads from there elsewhere"
    others = (record.source for _, record in records(folder) if not record.stored)
    if (other := next(others, None)) is not None:
        why = f"{RUNS}/{REPLAYS}/ is for stored instances, so call that step otherwise"
        return f"{where}, where an instance of {other} has run: {why}"
    return None


def is_wild(pattern: str) -> bool:
    """Return whether a pattern may match several names; one with only brackets may be a plain name."""
    return bool(_WILD.search(pattern))


def is_compared(name: str, patterns: Iterable[str]) -> bool:
    """Return whether patterns choose an output; the last matching pattern counts."""
    chosen = False
    for pattern in patterns:
        if fits(name, pattern.removeprefix("!")):
            chosen = not pattern.startswith("!")
    return chosen


def with_texts(value: JSON, change: Callable[[str], str]) -> JSON:
    """Return a config with a function applied to each of its texts."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: with_texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_texts(item, change) for item in value]
    return value


def in_project(config: Mapping[str, JSON], root: Path) -> dict[str, JSON]:
    """Return the config of a stored instance with the paths of the project at `root`."""

    def expanded(text: str) -> str:
        rest = text.removeprefix(PROJECT_ROOT)
        if rest == text or rest[:1] not in ("", "/"):
            return text
        return f"{root}{rest.replace('/', os.sep)}"

    return dict(with_texts(config, expanded))
