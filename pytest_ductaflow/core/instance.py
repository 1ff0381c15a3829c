"""An instance: one row of a control table, with all that says what is run, and where."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, Self, get_args

JSON = Any
# The attributes of an instance that are set by reserved names, except the order.
RESERVED_FOR = {
    "_timeout": "timeout",
    "_retries": "retries",
    "_retry_delay": "retry_delay",
    "_cores": "cores",
    "_resources": "resources",
    "_memory": "memory",
    "_marks": "marks",
    "_keep": "keep",
    "_cwd": "cwd",
    "_kernel": "kernel_name",
}
Workplace = Literal["run", "flow", "project"]
WORKPLACES: tuple[Workplace, ...] = get_args(Workplace)
RUNS = "runs"  # the folder of all run directories, of a project and of a build
_SHARED = ("flow", "step", "project_root", "source", "runs_in", "output_suffix")  # texts of many instances
# The columns of a control table that identify an instance; the others are its config. Their cells are always
# text: "007" and "NA" are names, not a number or an empty cell.
TEXT_COLUMNS = ("instance_name", "step", "flow", "build")


@lru_cache(maxsize=1024)  # called for each of thousands of instances of the same few flows
def stem_of(flow: str | Path) -> str:
    """Return the prefix of the names of a flow's files: `01_prepare` for `flows/01_prepare.py`."""
    return Path(flow).stem


@lru_cache(maxsize=1024)
def default_step(flow: str | Path) -> str:
    """Return the step of a flow without one: its stem without a leading number, `01_prepare` → `prepare`."""
    stem = stem_of(flow)
    return re.sub(r"^\d+_", "", stem) or stem


def slug(name: str) -> str:
    """Return a name as part of a node id, which cannot hold `::`, brackets or white space."""
    return re.sub(r"[^\w.=,@+/-]", "_", name)


SHORT_HASH = 8  # digits of a hash that only completes a readable name


def config_hash(config: Mapping[str, JSON]) -> str:
    """Return a hash of a config (without `_…` keys): sixteen hexadecimal digits."""
    plain = {key: value for key, value in config.items() if not key.startswith("_")}
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Instance:
    """A flow or build + a config + a run directory: one test item.

    Attributes:
        flow: Absolute path of the flow's or build's source file.
        step: Folder under `runs/` that groups instances (may have several parts, `a/b`).
        name: Name within the step.
        config: The config as plain JSON, without `_project_root`.
        run_dir: Absolute path of the run directory.
        project_root: Absolute path of the project.
        source: Absolute path of the file that declared the instance.
        line: Line in `source` (1-based), where known.
        row: Row of the control table (1-based), where there is one.
        after: Explicit upstreams as `step/instance`; None if not given.
        timeout: Seconds that the whole instance may take.
        cell_timeout: Seconds that each of its cells may take.
        retries: Number of further attempts after a failure.
        retry_delay: Seconds before the first of them; before later ones it is longer.
        cores: Cores that it is to have, or all if there are fewer; None means its worker's share.
        resources: Amounts of further things that an engine's worker must have free for it, by name.
        memory: Bytes that it and what it starts may have; None means the default of the session, if any.
        marks: pytest marks of the item.
        keep: Patterns, relative to the run directory, of what is kept for the next run.
        cwd: Where it runs, if given: in its run directory, the flow's folder or the project root.
        runs_in: The same, with the default if it is not given.
        kernel_name: Jupyter kernel, whatever the notebook names; None means its own, or python3.
        output_suffix: Suffix of the executed notebook's name, after the flow's stem.
        html: Whether an HTML page of the notebook is wanted.
        selected: False if `--ductaflow-where` leaves it out.
        always_run: Whether it runs even if unchanged, as a past run does that the user names.
        stored_in: Absolute path of a stored instance's folder, which holds the expected outputs.
        duration: Seconds that it took when it was stored.
        variables: Environment variables that its conductor had changed when it declared it, and their values;
            None for one to be deleted.
        design: How the table that declared it was made, such as the kind, size, seed and ranges of a sample;
            empty if that is not known.
        secrets: Path in the config, and value, of each secret, in whose place the config has a mask.
    """

    flow: str
    step: str
    name: str
    config: Mapping[str, JSON]
    run_dir: str
    project_root: str
    source: str = ""
    line: int | None = None
    row: int | None = None
    after: tuple[str, ...] | None = None
    timeout: float | None = None
    cell_timeout: float | None = None
    retries: int = 0
    retry_delay: float = 0.0
    cores: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None
    marks: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    cwd: Workplace | None = None
    runs_in: Workplace = "run"
    kernel_name: str | None = None
    output_suffix: str = "_executed"
    html: bool = True
    selected: bool = True
    always_run: bool = False
    stored_in: str = ""
    duration: float | None = None
    variables: tuple[tuple[str, str | None], ...] = ()
    design: Mapping[str, JSON] = field(default_factory=dict)
    secrets: tuple[tuple[tuple[str | int, ...], JSON], ...] = field(default=(), repr=False)

    @property
    def stem(self) -> str:
        return stem_of(self.flow)

    @property
    def key(self) -> tuple[str, str]:
        """The unique key: two instances with the same key would overwrite each other."""
        return self.run_dir, self.stem

    @property
    def working_directory(self) -> str:
        """The folder in which its kernel starts and to which relative paths refer."""
        return self.run_dir if self.runs_in == "run" else self.workplaces[self.runs_in]

    @property
    def workplaces(self) -> Mapping[Workplace, str]:
        """The folders in which it could run."""
        return {"run": self.run_dir, "flow": str(Path(self.flow).parent), "project": self.project_root}

    @property
    def path_bases(self) -> tuple[str, ...]:
        """The folders to which a relative path in its config may refer, the project root first."""
        return tuple(dict.fromkeys((self.project_root, self.run_dir, self.working_directory)))

    @property
    def is_build(self) -> bool:
        return os.path.basename(os.path.dirname(self.flow)) in ("build", "builds")

    @property
    def reserved(self) -> dict[str, JSON]:
        """The values set by reserved names, such as `_timeout`, as in a config; without the order."""
        said = {
            key: value
            for key, name in RESERVED_FOR.items()
            if (value := getattr(self, name)) != _defaults()[name]
        }
        return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}

    @property
    def full_config(self) -> dict[str, JSON]:
        """The config with the project root, as it is written; for the flow, its secrets are filled in."""
        return {**self.config, "_project_root": self.project_root}

    @property
    def digests_of_variables(self) -> dict[str, str]:
        """Digests of the values of `variables`, which may be secrets; empty for one to be deleted."""
        return {
            name: "" if value is None else hashlib.sha256(f"{name}={value}".encode()).hexdigest()[:16]
            for name, value in self.variables
        }

    def with_(self, **changes: Any) -> Self:
        return replace(self, **changes)

    def to_json(self) -> dict[str, JSON]:
        # Not asdict(): it deep-copies every config, which is slow with 10,000 instances.
        return {
            name: value for name, default in _defaults().items() if (value := getattr(self, name)) != default
        }

    @classmethod
    def from_json(cls, data: dict[str, JSON]) -> Self:
        for name in _SHARED:
            if name in data:
                data[name] = sys.intern(data[name])
        for name in ("after", "marks", "keep"):
            if data.get(name) is not None:
                data[name] = tuple(data[name])
        data["variables"] = tuple((name, value) for name, value in data.get("variables", ()))
        data["secrets"] = tuple((tuple(path), value) for path, value in data.get("secrets", ()))
        return cls(**data)


@cache
def _defaults() -> dict[str, Any]:
    """Return the defaults of all fields, with `MISSING` for those that must be given."""
    return {
        each.name: each.default if each.default_factory is MISSING else each.default_factory()
        for each in fields(Instance)
    }


def _none(_folder: str) -> Collection[str]:
    return ()


@dataclass(frozen=True)
class Neighbours:
    """What a run needs to know of the other instances of its plan.

    Attributes:
        declared: Instances that it is declared to depend on, with their labels.
        learned: Labels of instances whose files it read in an earlier run.
        run_dirs: Labels of all instances, by run directory.
        last_written: Absolute paths of files that it wrote outside of its run directory and that no other
            instance has written since.
        made_beside: Function that returns the names in a folder which exist only because of instances that
            need not end before it.
    """

    declared: tuple[tuple[str, Instance], ...] = ()
    learned: tuple[str, ...] = ()
    run_dirs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    last_written: Collection[str] = ()
    made_beside: Callable[[str], Collection[str]] = _none
