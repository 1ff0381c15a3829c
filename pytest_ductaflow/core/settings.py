"""Options, each declared once for command line, ini file, help text and the frozen Settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from .instance import WORKPLACES, Instance, Workplace
from .number_text import bytes_in, seconds_in
from .thread_variables import Threads

HtmlMode = Literal["all", "failed", "none"]
AfterMode = Literal["always", "well", "never"]
WarningsMode = Literal["xfail", "pass", "fail"]
LogWarningsMode = Literal["all", "shown", "none"]
ObserveMode = Literal["all", "python", "off"]
UnseenMode = Literal["run", "trust"]
FLOW_RUN = "_DUCTAFLOW_PREFECT_FLOW_RUN"  # in the environment: id of the flow run that has started a session


@dataclass(frozen=True)
class Option:
    """An option with its command-line and ini spelling.

    Attributes:
        name: Field of Settings, from which `--ductaflow-{name}` and ini `ductaflow_{name}` are made. A switch
            that is on by default has `--no-ductaflow-{name}`, which turns it off.
        help: One sentence.
        default: Value when neither is given.
        convert: Parser of the text from the ini file or the command line.
        choices: Words allowed, if they are limited.
        metavar: Placeholder for the value in the help.
        is_switch: Whether it is on or off, without a value on the command line.
        in_ini: Whether an ini file may set it; false for what concerns a single session.
        on_command_line: Whether the command line may set it; false for what belongs to a project.
        is_list: Whether it can be given several times on the command line, and has a line for each in an ini
            file.
    """

    name: str
    help: str
    default: Any
    convert: Callable[[str], Any] = str
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    is_switch: bool = False
    in_ini: bool = True
    on_command_line: bool = True
    is_list: bool = False

    @property
    def flag(self) -> str:
        name = self.name.replace("_", "-")
        if self.is_switch and self.default:
            return f"--no-ductaflow-{name}"
        return f"--ductaflow-{name}" if name != "on" else "--ductaflow"

    @property
    def ini(self) -> str:
        return f"ductaflow_{self.name}" if self.name != "on" else "ductaflow"

    def parse(self, text: str) -> Any:
        """Return the value that `text` stands for.

        Raises:
            ValueError: If there is none; the message is a sentence for the user.
        """
        if self.choices is not None and text not in self.choices:
            raise ValueError(f"{self.ini}: {text!r} is not one of {', '.join(self.choices)}")
        try:
            return self.convert(text)
        except ValueError as error:
            raise ValueError(f"{self.ini}: {text!r}: {error}") from None


def _truth(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True}
    words |= {"false": False, "0": False, "no": False, "off": False, "": False}
    if text.strip().lower() not in words:
        raise ValueError("expected true or false")
    return words[text.strip().lower()]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError("expected a number of seconds") from None
    if not seconds > 0:
        raise ValueError("expected more than 0 seconds")
    return seconds


def _shard(text: str) -> tuple[int, int]:
    parts = text.split("/")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise ValueError("expected a part and their number, as in 2/5")
    shard, shards = map(int, parts)
    if not 1 <= shard <= shards:
        raise ValueError(f"expected a part from 1 to {shards}" if shards else "expected at least one part")
    return shard, shards


def _modules(text: str) -> tuple[str, ...]:
    names = tuple(text.replace(",", " ").split())
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"expected names of modules, not {name!r}")
    return names


def _generations(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError("expected a whole number, 0 or more")
    return int(text)


def _threads(text: str) -> Threads:
    words: dict[str, Threads] = {"auto": "auto", "off": "off"}
    word = text.strip()
    if word in words:
        return words[word]
    if not word.isdecimal() or int(word) < 1:
        raise ValueError("expected auto, off or a whole number, 1 or more")
    return int(word)


def check_keep(pattern: str) -> str:
    """Return a pattern of files to keep, after checking it.

    Raises:
        ValueError: If it leads out of the run directory.
    """
    if not pattern.strip("/") or pattern.startswith("/") or ".." in pattern.split("/"):
        raise ValueError(f"{pattern!r}: expected a pattern of files in the run directory")
    return pattern


def _tags(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(map(check_keep, text.split()))


def _server(text: str) -> str:
    """Return the address of an API, without a slash at its end; `/api` is added where it is missing."""
    try:
        parts = urlsplit(text.strip())
        has_host = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
    if not has_host:
        raise ValueError("expected the address of a server, such as http://127.0.0.1:4200/api")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}{'' if 'api' in path.split('/') else '/api'}"


def _megabytes(text: str) -> float:
    try:
        size = float(text.strip().lower().removesuffix("mb"))
    except ValueError:
        raise ValueError("expected a number of megabytes") from None
    if not size > 0:
        raise ValueError("expected more than 0 megabytes")
    return size


OPTIONS = (
    Option(
        "on",
        "Collect conductors, control tables, flows and past run directories as instances.",
        default=False,
        convert=_truth,
        is_switch=True,
    ),
    Option(
        "where",
        "Run only the rows for which this expression on their columns holds, "
        "for instance \"year == 2040 and mode == 'rail'\".",
        default=None,
        metavar="EXPR",
    ),
    Option(
        "shard",
        "Run only this part of the instances, for instance 2/5: the second of five, for as many CI jobs.",
        default=None,
        convert=_shard,
        metavar="N/TOTAL",
        in_ini=False,
    ),
    Option(
        "warnings",
        "What a warning line makes of an instance: WARNED (xfail), passed (pass) or failed (fail).",
        default="xfail",
        choices=("xfail", "pass", "fail"),
    ),
    Option(
        "log_warnings",
        "Which log records of WARNING and above make an instance orange: those of the project and what its "
        "handlers show (shown), those of libraries as well (all), or none.",
        default="shown",
        choices=("all", "shown", "none"),
        on_command_line=False,
    ),
    Option(
        "html",
        "Which executed notebooks are also written as HTML.",
        default="all",
        choices=("all", "failed", "none"),
    ),
    Option(
        "report",
        "Write no report into runs/; `ductaflow report` makes one of the records later (sessions with "
        "--ductaflow-shard write theirs all the same).",
        default=True,
        convert=_truth,
        is_switch=True,
    ),
    Option(
        "engine",
        "What runs instances in place of this process: `dask` (as many local workers as cores, or `dask:4`), "
        "the address of a Dask scheduler (tcp://host:8786), or an engine of another package.",
        default=None,
        metavar="ENGINE",
    ),
    Option(
        "engine_wait",
        "How long an engine waits for a worker, or for one that has the cores and resources that an instance "
        "asks for, such as 90s, 10min or 2h.",
        default=60.0,
        convert=seconds_in,
        metavar="TIME",
    ),
    Option(
        "sync",
        "Send the project to an engine's workers, which do not share its file system, and bring run "
        "directories back.",
        default=False,
        convert=_truth,
        is_switch=True,
    ),
    Option(
        "sync_limit",
        "Megabytes that the project may have to be sent so, what an instance needs of others, and a run "
        "directory that comes back.",
        default=100.0,
        convert=_megabytes,
        on_command_line=False,
    ),
    Option(
        "timeout",
        "Seconds that an instance may take, unless it has a `_timeout` of its own.",
        default=None,
        convert=_seconds,
        metavar="SECONDS",
    ),
    Option(
        "memory",
        "Memory that an instance and what it starts may have, such as 500MB or 2GB, unless it has a "
        "`_memory` of its own.",
        default=None,
        convert=bytes_in,
        metavar="SIZE",
    ),
    Option(
        "canary",
        "Run some instances of each step first; if all of these fail with the same error, the rest of the "
        "step is blocked.",
        default=False,
        convert=_truth,
        is_switch=True,
    ),
    Option(
        "kernel",
        "Jupyter kernel for all flows of its language, whatever kernel they name (default: the one that they "
        "name, else python3).",
        default=None,
        metavar="NAME",
    ),
    Option(
        "root",
        "Project root, under which runs/ lies (default: the nearest folder that holds flows/ or flow/).",
        default=None,
        metavar="DIR",
    ),
    Option(
        "files",
        "Names of the conductors to collect from directories.",
        default=("conductor.py", "conductor_*.py", "*_conductor.py"),
        convert=lambda text: tuple(text.split()),
        metavar="PATTERNS",
    ),
    Option(
        "force",
        "Run instances though nothing that they depend on has changed; with -k or :: only some.",
        default=False,
        convert=_truth,
        is_switch=True,
    ),
    Option(
        "after",
        "When a conductor is executed once more, for what it does after its instances: when all of these "
        "have ended well (well), however they ended (always), or never.",
        default="well",
        choices=("always", "well", "never"),
    ),
    Option(
        "defer",
        "Leave to that execution what a conductor does with results, or with files that were there before.",
        default=False,
        convert=_truth,
        is_switch=True,
    ),
    Option(
        "cwd",
        "Where flows run, unless `cwd=` or a column `_cwd` says it: in the run directory (run), in the "
        "flow's own folder (flow) or in the project root (project).",
        default="run",
        choices=WORKPLACES,
        on_command_line=False,
    ),
    Option(
        "keep",
        "Patterns of files and folders in run directories that the next run finds again, such as caches.",
        default=(),
        convert=_patterns,
        on_command_line=False,
    ),
    Option(
        "generations",
        "How many earlier good runs of an instance are kept in runs/.earlier (0: none).",
        default=1,
        convert=_generations,
        on_command_line=False,
    ),
    Option(
        "no_wait",
        "Fail an instance that another process is running, in place of waiting for it.",
        default=False,
        convert=_truth,
        is_switch=True,
    ),
    Option(
        "fork",
        "Start each kernel anew, not (as on Linux) from a process that has imported what its flow imports.",
        default=True,
        convert=_truth,
        is_switch=True,
    ),
    Option(
        "keep_warm",
        "Leave processes behind for so long, such as 90s, 10min or 2h, from which the next session starts in "
        "no time (Linux; `ductaflow warm --stop` ends them).",
        default=None,
        convert=seconds_in,
        metavar="TIME",
    ),
    Option(
        "keep_kernel",
        "Leave the kernel of an instance that fails running, for a console (`jupyter console --existing …`; "
        "Linux and macOS).",
        default=False,
        convert=_truth,
        is_switch=True,
        in_ini=False,
    ),
    Option(
        "threads",
        "Threads that numeric libraries (BLAS, OpenMP, numba, polars) use in a kernel: with -n as many as "
        "its worker has cores (auto), as many as they want (off), or a number.",
        default="auto",
        convert=_threads,
        metavar="N",
    ),
    Option(
        "observe",
        "What is seen of the files that a flow uses: all that it and its programs open (all, on Linux), "
        "what Python opens (python), or nothing (off).",
        default="all",
        choices=("all", "python", "off"),
    ),
    Option(
        "unseen",
        "What becomes of an unchanged instance if not all of its reading was seen: run again, or trust.",
        default="run",
        choices=("run", "trust"),
    ),
    Option(
        "preload",
        "Modules that kernels find imported, besides those that their flow names.",
        default=(),
        convert=_modules,
        on_command_line=False,
    ),
    Option(
        "no_preload",
        "Modules that each kernel imports by itself, submodules included.",
        default=(),
        convert=_modules,
        on_command_line=False,
    ),
    Option(
        "explain",
        "Run nothing; say which instances would run, and why.",
        default=False,
        convert=_truth,
        is_switch=True,
        in_ini=False,
    ),
    Option(
        "accept",
        "Run nothing; mark what the instances have written as good for what they depend on now.",
        default=False,
        convert=_truth,
        is_switch=True,
        in_ini=False,
    ),
    Option(
        "instances",
        "Folders of stored instances: what runs where no paths are given, besides `testpaths`; "
        "`ductaflow store` writes into the first.",
        default=(),
        convert=lambda text: tuple(text.split()),
        on_command_line=False,
    ),
    Option(
        "store_limit",
        "Megabytes that an output may have which `ductaflow store` copies.",
        default=5.0,
        convert=_megabytes,
        on_command_line=False,
    ),
    Option(
        "update",
        "Take what the selected stored instances write as what is expected of them from now on; "
        "where CI is set, only with --ductaflow-force.",
        default=False,
        convert=_truth,
        is_switch=True,
        in_ini=False,
    ),
    Option(
        "graph",
        "Run nothing; print which instance waits for which, for Mermaid or for Graphviz.",
        default=None,
        choices=("mermaid", "dot"),
        in_ini=False,
    ),
    Option(
        "secrets",
        "Patterns of config keys and environment variables whose values are masked, besides those that look "
        "like secrets; with ! in front, of some that are none.",
        default=(),
        convert=lambda text: tuple(text.split()),
        on_command_line=False,
    ),
    Option(
        "tag",
        "Note this in the records of what runs, as KEY=VALUE or as any text; may be given several times (in "
        "an ini file, a line each).",
        default=(),
        convert=_tags,
        metavar="TAG",
        is_list=True,
    ),
    Option(
        "prefect",
        "Show the session in the Prefect server with this address, such as http://127.0.0.1:4200/api: a flow "
        "run with a task run for each instance.",
        default=None,
        convert=_server,
        metavar="URL",
    ),
)


_DEFAULT = {option.name: option.default for option in OPTIONS}


@dataclass(frozen=True)
class Settings:
    """The options as plain values, one field each."""

    on: bool = _DEFAULT["on"]
    where: str | None = _DEFAULT["where"]
    shard: tuple[int, int] | None = _DEFAULT["shard"]
    warnings: WarningsMode = _DEFAULT["warnings"]
    log_warnings: LogWarningsMode = _DEFAULT["log_warnings"]
    html: HtmlMode = _DEFAULT["html"]
    report: bool = _DEFAULT["report"]
    engine: str | None = _DEFAULT["engine"]
    engine_wait: float = _DEFAULT["engine_wait"]
    sync: bool = _DEFAULT["sync"]
    sync_limit: float = _DEFAULT["sync_limit"]
    timeout: float | None = _DEFAULT["timeout"]
    memory: int | None = _DEFAULT["memory"]
    canary: bool = _DEFAULT["canary"]
    kernel: str | None = _DEFAULT["kernel"]
    root: str | None = _DEFAULT["root"]
    files: tuple[str, ...] = _DEFAULT["files"]
    force: bool = _DEFAULT["force"]
    after: AfterMode = _DEFAULT["after"]
    defer: bool = _DEFAULT["defer"]
    cwd: Workplace = _DEFAULT["cwd"]
    keep: tuple[str, ...] = _DEFAULT["keep"]
    generations: int = _DEFAULT["generations"]
    no_wait: bool = _DEFAULT["no_wait"]
    fork: bool = _DEFAULT["fork"]
    keep_warm: float | None = _DEFAULT["keep_warm"]
    keep_kernel: bool = _DEFAULT["keep_kernel"]
    threads: Threads = _DEFAULT["threads"]
    observe: ObserveMode = _DEFAULT["observe"]
    unseen: UnseenMode = _DEFAULT["unseen"]
    preload: tuple[str, ...] = _DEFAULT["preload"]
    no_preload: tuple[str, ...] = _DEFAULT["no_preload"]
    explain: bool = _DEFAULT["explain"]
    accept: bool = _DEFAULT["accept"]
    instances: tuple[str, ...] = _DEFAULT["instances"]
    store_limit: float = _DEFAULT["store_limit"]
    update: bool = _DEFAULT["update"]
    graph: Literal["mermaid", "dot"] | None = _DEFAULT["graph"]
    secrets: tuple[str, ...] = _DEFAULT["secrets"]
    tag: tuple[str, ...] = _DEFAULT["tag"]
    prefect: str | None = _DEFAULT["prefect"]

    @classmethod
    def resolve(cls, given: Callable[[Option], Any], ini: Callable[[Option], str]) -> Self:
        """Return settings from the command line first, then the ini file, then the defaults.

        Args:
            given: Function for the command line's value of an option, None if it was not given.
            ini: Function for the ini file's text of an option, "" if it is missing.

        Raises:
            ValueError: If a text cannot be parsed.
        """
        values = {}
        for option in OPTIONS:
            value = given(option)
            if option.is_list and value is not None:
                value = "\n".join(value)
            if value is None:
                value = ini(option) or None
            if value is not None:
                values[option.name] = option.parse(value) if isinstance(value, str) else value
        return cls(**values)

    def placed(self, instance: Instance) -> Instance:
        """Return an instance with `runs_in` set from its own `cwd` or the default."""
        place = instance.cwd or self.cwd
        return instance if instance.runs_in == place else instance.with_(runs_in=place)

    def kernel_of(self, instance: Instance) -> str:
        """Return the kernel that is asked for, whatever its flow names; empty if none is."""
        return instance.kernel_name or self.kernel or ""

    def memory_of(self, instance: Instance) -> int | None:
        """Return how many bytes an instance may have, by its own limit or the default; None for any."""
        return instance.memory or self.memory

    def dumps(self) -> str:
        """Return the settings as text, for another process."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Self:
        """Return the settings that `dumps` wrote."""
        data: Mapping[str, Any] = json.loads(text)
        known = {f.name for f in fields(cls)}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value  # JSON has lists only
            for name, value in data.items()
            if name in known
        }
        return cls(**values)
