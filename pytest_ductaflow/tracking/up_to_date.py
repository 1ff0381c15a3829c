"""Decide whether an instance has to run, and why, by comparing its last record with the current state."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

from ..core.instance import JSON, Instance, Neighbours
from ..core.masking.config import changed_secrets
from ..core.record import INTERRUPTED, Record, Status
from ..core.run_directory.build_variable import variables_of
from ..core.run_directory.layout import RunFiles, display_path, is_record
from ..core.system.file_state import settled, stat_of
from ..sources.installed_versions import installed, own_path, python_version
from .digests import (
    ABSENT,
    UNSTABLE,
    code_digest,
    config_digest,
    digest_like,
    file_digest,
    listing_digest,
    stat_of_input,
)
from .observed import ALL
from .outside_files import files_outside, left_out_of_listing, own_names
from .paths_in_config import output_files

_ALONE = Neighbours()
SHOWN = 3  # reasons in a record and in explanations
_LONGEST_VALUE = 40  # characters of a value in a reason


@dataclass(frozen=True)
class Check:
    """The result of a check.

    Attributes:
        reasons: Why the instance has to run, in words; empty if it does not.
        record: The record to keep, None if the instance has to run. It may be newer than the file: with new
            digests and stats of inputs that differ only in comments or time stamps.
        refreshed: Whether `record` is newer than the file.
    """

    reasons: tuple[str, ...] = ()
    record: Record | None = None
    refreshed: bool = False


@dataclass
class _Seen:
    """New digests and stats found while a record's inputs are checked."""

    digests: dict[str, str] = field(default_factory=dict)
    stats: dict[str, str] = field(default_factory=dict)


def check(
    instance: Instance,
    record: Record | None,
    upstreams: Sequence[tuple[str, Record]],
    kernel: str,
    neighbours: Neighbours = _ALONE,
    *,
    trusts_unseen: bool = False,
) -> Check:
    """Compare an instance with its last record.

    Args:
        instance: Instance that may have to run.
        record: Record of its last run.
        upstreams: Labels and records of the upstreams that it declares.
        kernel: Kernel that is asked for.
        neighbours: Related facts about other instances.
        trusts_unseen: Whether a record counts even if not everything that its flow read was observed.
    """
    if record is None:
        return Check(("new",))
    if not record.status.good:
        return Check((_how_it_ended(record),))
    seen = _Seen()
    found = _reasons(instance, record, upstreams, kernel, neighbours, seen)
    unknown = () if trusts_unseen else _unknown(record)
    reasons = tuple(islice(chain(found, unknown), SHOWN))
    if reasons:
        return Check(reasons)
    if not seen.digests and not seen.stats:
        return Check(record=record)
    inputs, stats = {**record.inputs, **seen.digests}, {**record.stats, **seen.stats}
    return Check(record=record.with_(inputs=inputs, stats=stats), refreshed=True)


def _how_it_ended(record: Record) -> str:
    """Return the reason for a last run that did not end well."""
    if record.status is Status.RUNNING:
        return "it did not end"
    return (
        "it was interrupted" if record.error is not None and record.error.type == INTERRUPTED else "it failed"
    )


def _unknown(record: Record) -> Iterator[str]:
    """Yield why what an instance read is not known in full; a build observed in full covers its flows."""
    if record.observed != ALL:
        unseen = record.unknown if record.observed else ("what it reads could not be seen",)
        yield from (f"{why} (ductaflow_unseen = trust keeps it)" for why in unseen)
        for flow in record.flows:
            yield from _unknown(flow)
    else:
        yield from record.unknown


def _reasons(
    instance: Instance,
    record: Record,
    upstreams: Sequence[tuple[str, Record]],
    kernel: str,
    neighbours: Neighbours,
    seen: _Seen,
) -> Iterator[str]:
    yield from _config_changes(instance, record)
    yield from (f"secret {name} changed" for name in changed_secrets(instance, record.secrets))
    yield from _variable_changes(variables_of(instance), record.variables)
    if kernel != record.kernel:
        yield f"kernel: {record.kernel or 'none'} → {kernel or 'none'}"
    if instance.runs_in != record.cwd:
        yield f"working directory: {record.cwd} → {instance.runs_in}"
    root = instance.project_root
    if display_path(instance.flow, root) != record.flow:
        yield f"flow: {record.flow} → {display_path(instance.flow, root)}"
    if display_path(instance.run_dir, root) != record.run_dir:
        yield f"run directory: {record.run_dir} → {display_path(instance.run_dir, root)}"
    yield from _input_changes(record, root, seen, neighbours.made_beside)
    for label, upstream in upstreams:
        yield from _changes_of_upstream(label, upstream, record, root)
    yield from (f"{what} is gone" for what in missing(instance, record))
    yield from (f"output {name} is not as it left it" for name in _rewritten(record, root))
    yield from _version_changes(record)
    written = dict(_written_by(record, root))
    yield from _changes_outside(record, root, written, neighbours.last_written, seen)
    for flow in record.flows:
        yield from _changes_of_flow(flow, record, root, written)


def _changes_of_flow(flow: Record, build: Record, root: str, written: Mapping[str, str]) -> Iterator[str]:
    """Yield changes in what a build's flow depends on; its config follows from the build's."""
    if not flow.status.good:
        yield f"flow {flow.flow} did not end well"
    yield from _input_changes(_as_build_left(flow, build, root, written), root, _Seen())
    yield from _version_changes(flow)
    for nested in flow.flows:
        yield from _changes_of_flow(nested, build, root, written)


def _as_build_left(flow: Record, build: Record, root: str, written: Mapping[str, str]) -> Record:
    """Return a flow's record with the final digests of those inputs that the build made.

    A build that runs its flows in turns overwrites files that they have read.
    """
    inputs = {
        name: digest if digest == UNSTABLE else written.get(os.path.normpath(f"{root}/{name}"), digest)
        for name, digest in flow.inputs.items()
        if not (name.endswith("/") and name.startswith(f"{build.run_dir}/"))
    }
    return flow.with_(inputs=inputs)


def _written_by(record: Record, root: str) -> Iterator[tuple[str, str]]:
    """Yield absolute paths and digests of what a build and its flows wrote, the latest last."""
    for flow in sorted(record.flows, key=lambda flow: flow.started):
        yield from _written_by(flow, root)
    folder = os.path.join(root, record.run_dir)
    for name, digest in record.outputs.items():
        yield os.path.normpath(os.path.join(folder, name)), digest


def _changes_outside(
    record: Record, root: str, written: Mapping[str, str], last_written: Collection[str], seen: _Seen
) -> Iterator[str]:
    """Yield files outside of the run directory that it was the last to write and that have changed since."""
    for path in sorted(last_written):
        digest, stat = written.get(path), stat_of(path)
        name = os.path.relpath(path, os.path.join(root, record.run_dir))
        if digest is None or stat is None or stat == record.stats.get(name) or is_record(path):
            continue  # missing files are reported elsewhere
        if file_digest(path, stat) != digest:
            yield f"output {display_path(path, root)} is not what it wrote"
        elif settled(stat):
            seen.stats[name] = stat


def _input_changes(
    record: Record, root: str, seen: _Seen, made_beside: Callable[[str], Collection[str]] | None = None
) -> Iterator[str]:
    for name, digest in record.inputs.items():
        path = os.path.join(root, name)
        stat = stat_of_input(path)
        if stat is not None and stat == record.stats.get(name):
            continue
        if name.endswith("/"):
            now = listing_digest(path, _left_out(path, record, root, made_beside))
        else:
            now = digest_like(digest, path)
        if now == digest or _is_same_code(record, name, path):
            if now != digest:
                seen.digests[name] = now
            if stat is not None and not name.endswith("/") and (name.endswith("/**") or settled(stat)):
                seen.stats[name] = stat
            continue
        yield _change_of_input(record, name, digest, now)


def _left_out(
    folder: str, record: Record, root: str, made_beside: Callable[[str], Collection[str]] | None
) -> Collection[str]:
    """Return the names in a folder that are not inputs of an instance which lists it."""
    own = own_names(folder, os.path.join(root, record.run_dir), record.outputs)
    if made_beside is None or own:
        return own
    files = (os.path.join(root, name) for name in record.inputs if not name.endswith("/"))
    return left_out_of_listing(folder, files_outside(record, root), files, made_beside)


def _is_same_code(record: Record, name: str, path: str) -> bool:
    return record.inputs[name] != UNSTABLE and name in record.code and record.code[name] == code_digest(path)


def _change_of_input(record: Record, name: str, digest: str, now: str) -> str:
    kind = "flow" if name == record.flow else "module" if name in record.code else "input"
    if digest == UNSTABLE:
        return f"{kind} {name} changed while it ran"
    if now == ABSENT:
        return f"{kind} {name} is gone"
    if digest == ABSENT:
        return f"{kind} {name} is new"
    if name.endswith("/"):
        return f"other files in {name}"
    return f"{kind} {name} changed"


def _changes_of_upstream(label: str, upstream: Record, record: Record, root: str) -> Iterator[str]:
    """Yield a change in what an upstream wrote, unless it is one of an input, which is reported as such."""
    known = record.upstreams.get(label)
    if not known:
        yield from _new_files_of(label, upstream, record, root)
    elif known != upstream.digest_of_outputs and not _reads_a_change(record, upstream):
        yield f"what {label} wrote has changed"


def _reads_a_change(record: Record, upstream: Record) -> bool:
    """Return whether an input is a file of an upstream that had another content then."""
    return any(
        record.inputs.get(os.path.normpath(f"{each.run_dir}/{name}").replace(os.sep, "/"), digest) != digest
        for each in upstream.with_flows()
        for name, digest in each.outputs.items()
    )


def _new_files_of(label: str, upstream: Record, record: Record, root: str) -> Iterator[str]:
    """Yield files of an instance that was no declared upstream when the record was made, and is one now."""
    for path in output_files(upstream, root):
        name = display_path(path, root)
        if name not in record.inputs:
            yield f"input {name} of {label} is new"


def missing(instance: Instance, record: Record) -> Iterator[str]:
    """Yield what an instance has written and no longer exists."""
    root = instance.project_root
    yield from (f"output {name}" for name in _gone(record, root))
    notebook = RunFiles.of(instance).notebook
    if not os.path.exists(notebook):
        yield notebook.name
    for flow in islice(record.with_flows(), 1, None):
        yield from (f"output {name} of flow {flow.flow}" for name in _gone(flow, root))


def _rewritten(record: Record, root: str) -> Iterator[str]:
    """Return the files of others that it has changed, and that have been changed again since."""
    folder = os.path.join(root, record.run_dir)
    paths = {name: os.path.join(folder, name) for name in record.altered if name in record.outputs}
    return (name for name, path in paths.items() if file_digest(path) != record.outputs[name])


def _gone(record: Record, root: str) -> Iterator[str]:
    folder = os.path.join(root, record.run_dir)
    return (name for name in record.outputs if not os.path.exists(os.path.join(folder, name)))


def versions_now(record: Record) -> tuple[str | None, Mapping[str, str]]:
    """Return the current versions of Python and all distributions of a record's interpreter."""
    environment = record.environment
    if "kernel_path" not in environment:  # the interpreter was that of our own process
        return python_version(sys.executable), installed(own_path())
    path = tuple(environment["kernel_path"].split(os.pathsep))
    return python_version(environment["executable"]), installed(path)


def _version_changes(record: Record) -> Iterator[str]:
    """Yield changes of the versions of Python and of what the flow imported."""
    (now, versions), earlier = versions_now(record), record.environment.get("python")
    if now != earlier:
        yield f"Python {earlier or 'unknown'} → {now or 'not there'}"
    for name, version in record.packages.items():
        if versions.get(name) != version:
            yield f"{name} {version} → {versions.get(name, 'not installed')}"


def _config_changes(instance: Instance, record: Record) -> Iterator[str]:
    if config_digest(instance.config) == record.config_digest:
        return
    earlier = _earlier_config(instance, record)
    changes = list(config_differences(earlier, instance.config)) if earlier is not None else []
    yield f"config: {', '.join(changes)}" if changes else "config changed"


def _earlier_config(instance: Instance, record: Record) -> dict[str, JSON] | None:
    """Return the config of the last run; None if its file has been edited since."""
    try:
        config = json.loads(RunFiles.of(instance).config.read_text(encoding="utf-8"))
        config.pop("_project_root", None)
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return config if config_digest(config) == record.config_digest else None


def _variable_changes(now: Mapping[str, str], earlier: Mapping[str, str]) -> Iterator[str]:
    """Yield environment variables that the conductor sets differently from the last run."""
    for name in sorted({*now, *earlier}):
        if name not in now:
            yield f"environment variable {name} is not set by the conductor any more"
        elif name not in earlier:
            yield f"environment variable {name} is set by the conductor now"
        elif now[name] != earlier[name]:
            yield f"environment variable {name} changed"


def config_differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield each difference between two configs in words: `rate 0.01 → 0.02`."""
    for key in {**old, **new}:
        name = f"{prefix}{key}"
        if key not in new:
            yield f"{name} is not set any more"
        elif key not in old:
            yield f"{name} = {_value(new[key])} is new"
        elif isinstance(old[key], Mapping) and isinstance(new[key], Mapping):
            yield from config_differences(old[key], new[key], f"{name}.")
        elif old[key] != new[key] or type(old[key]) is not type(new[key]):
            before, after = _value(old[key]), _value(new[key])
            if before == after:  # a number, and the same number as text
                before, after = json.dumps(old[key], default=str), json.dumps(new[key], default=str)
            yield f"{name} {before} → {after}"


def _value(value: JSON) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
