"""Execute a conductor again after its instances, in a separate process, unless nothing has changed.

Its files are in `runs/.after/{conductor}/`: what it printed, its record, and what it read and wrote, by
which the next session decides whether to execute it again.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import dedent
from typing import IO, Any

from ...core.instance import RUNS, Instance, slug
from ...core.masking.config import values_to_mask
from ...core.masking.masker import Masker
from ...core.outcome import Outcome
from ...core.record import INTERRUPTED, STOPPED, Failure, Record, Status
from ...core.run_directory import atomic, layout, record_files
from ...core.run_directory.layout import RunFiles
from ...core.settings import Settings
from ...core.system.child_process import run_module, signal_name
from ...core.system.file_state import changed_since, settled, stat_of
from ...core.system.lineage import commit_of, lineage_here
from ...core.system.places import PACKAGE, belongs_to_others
from ...kernels.inside.trace import ASKED, DATABASE, LISTED, MODULE, NAMED, OPENED, WRITTEN
from ...running.html.page_process import write_page
from ...running.output_log import Output
from ...tracking.digests import input_digest, text_digest
from ...tracking.observed import Used
from ..history import declared_history
from . import answers

STEP = "after"
_UNSTABLE = ""  # digest of a file that changed while it was being read
_Known = Mapping[str, Any]


def instance_of(conductor: Path, root: Path) -> Instance:
    """Return a conductor's work after its instances, in the form of an instance."""
    inside = layout.display_path(conductor, root)
    name = conductor.name if os.path.isabs(inside) else inside
    return Instance(
        flow=str(conductor),
        step=STEP,
        name=name,
        config={},
        run_dir=str(root / RUNS / layout.AFTER / Path(slug(name)).with_suffix("")),
        project_root=str(root),
        source=str(conductor),
        line=1,
        html=False,
    )


@dataclass(frozen=True)
class After:
    """A conductor whose instances have ended.

    Attributes:
        instance: The conductor, as returned by `instance_of`.
        instances: All instances that it declares, and how each ended in this session.
    """

    instance: Instance
    instances: Sequence[tuple[Instance, Outcome | None]]

    @property
    def files(self) -> RunFiles:
        return RunFiles.of(self.instance)

    @property
    def _seen(self) -> Path:
        return self.files.directory / f"{self.files.stem}_seen.json"

    def reasons(self) -> tuple[str, ...]:
        """Return why it must be executed again; empty if nothing has changed since it ended well."""
        record, _ = record_files.read_record(self.files.record)
        if record is None:
            return ("new",)
        if not record.status.good:
            return (f"last time: {record.status}",)
        seen = _read(self._seen)
        if seen is None or seen.get("started") != record.started:
            return ("it is not known what it has seen",)
        return tuple(self._changes(seen))

    def _changes(self, seen: _Known) -> Iterable[str]:
        root = self.instance.project_root
        if seen["runs"] != self._state_of_runs():
            yield "instances have run"
        for name, digest in seen["inputs"].items():
            path = os.path.join(root, name)
            stat = None if name.endswith("/") else stat_of(path)
            if stat is not None and seen["stats"].get(name) == stat:
                continue
            if digest == _UNSTABLE or _digest(path) != digest:
                yield f"{name} changed"
        yield from (
            f"{name} is not there"
            for name in seen["outputs"]
            if not os.path.lexists(os.path.join(root, name))
        )

    def _state_of_runs(self) -> str:
        """Return a digest of which runs of the instances there are."""
        told: list[Any] = [platform.python_version()]
        for instance, outcome in self.instances:
            record, _ = record_files.read_record(RunFiles.of(instance).record)
            has_run = outcome if outcome in ("blocked", "skipped") else "run"
            told.append(
                [
                    instance.step,
                    instance.name,
                    instance.stem,
                    has_run,
                    record and [record.started, record.status],
                ]
            )
        return text_digest(json.dumps(told))

    def run(self, settings: Settings, echo: IO[str]) -> Record:
        """Execute the conductor, its calls answered, unless nothing has changed.

        Args:
            settings: Settings of the session.
            echo: Stream that gets its output immediately.

        Returns:
            The record, also in its folder; `unchanged` if nothing was executed.
        """
        self._write_missing_pages(settings)
        earlier, _ = record_files.read_record(self.files.record)
        reasons = ("forced",) if settings.force and earlier is not None else self.reasons()
        if earlier is not None and not reasons:
            return earlier.with_(unchanged=True)
        files = self.files
        files.directory.mkdir(parents=True, exist_ok=True)
        self._seen.unlink(missing_ok=True)
        running = self._running_record("; ".join(reasons))
        record_files.write_record(files, running)
        began = time.monotonic()
        mask = Masker(values_to_mask((instance for instance, _ in self.instances), os.environ))
        try:
            with (
                tempfile.TemporaryDirectory(prefix="ductaflow-") as folder,
                Output(files.log, echo, mask) as output,
            ):
                failure, used = self._execute(Path(folder), settings, output)
                failure = None if failure is None else mask.in_failure(failure)
        except BaseException as error:
            failure = Failure(type(error).__name__, str(error))
            if isinstance(error, KeyboardInterrupt):
                failure = Failure(INTERRUPTED, STOPPED)
            record_files.write_record(files, running.with_(status=Status.ERROR, error=failure))
            raise
        status = Status.ERROR if failure else Status.WARNING if output.warning_count else Status.SUCCESS
        record = running.with_(
            status=status,
            lineage={**running.lineage, **commit_of(self.instance.project_root)},
            duration=round(time.monotonic() - began, 3),
            error=failure,
            warnings=tuple(output.warnings),
            warning_count=output.warning_count,
            python_warnings=tuple(output.python_warnings),
        )
        record_files.write_record(files, record)
        if status.good:
            atomic.write_json(self._seen, {"started": record.started, **self._noted(used)})
        return record

    def _write_missing_pages(self, settings: Settings) -> None:
        """Write the HTML pages that other processes have not written yet."""
        for instance, outcome in self.instances:
            files = RunFiles.of(instance)
            is_wanted = instance.html and (
                settings.html == "all" or (settings.html == "failed" and outcome == "failed")
            )
            if is_wanted and files.notebook.exists() and not files.html.exists():
                write_page(files, Path(self._runs))

    def _running_record(self, reason: str) -> Record:
        instance = self.instance
        return Record(
            status=Status.RUNNING,
            flow=layout.display_path(instance.flow, instance.project_root),
            step=instance.step,
            instance=instance.name,
            run_dir=layout.display_path(instance.run_dir, instance.project_root),
            started=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            reason=reason,
            source=layout.display_path(instance.source, instance.project_root),
            lineage=lineage_here(instance.project_root),
        )

    def _execute(self, folder: Path, settings: Settings, output: Output) -> tuple[Failure | None, Used]:
        """Execute the conductor in a process; return what stopped it, and what it used."""
        root = Path(self.instance.project_root)
        answered, request, result, trace = (
            folder / name for name in ("answers", "request", "result", "trace")
        )
        answers.write(answered, root, settings.dumps(), self.instances)
        asked = {"conductor": self.instance.flow, "answers": str(answered), "trace": str(trace)}
        atomic.write_json(request, asked)
        exit_code = run_module(
            f"{__package__}.after_process",
            [str(request), str(result)],
            folder=root,
            printed=folder / "printed",
            take=lambda text: output.write("stdout", text),
        )
        told = _read(result)
        if told is None:
            how = (
                f"was killed by {signal_name(-exit_code)}"
                if exit_code < 0
                else f"ended with exit code {exit_code}"
            )
            what = f"its process {how} before it was done"
            return Failure("ProcessDied", what), Used()
        used = Used.from_reports(trace, told["used"])
        return (self._failure(told["stopped"]) if told["stopped"] else None), used

    def _failure(self, stopped: _Known) -> Failure:
        """Return what stopped the conductor, with the line and the frames of the user's code."""
        root = self.instance.project_root
        if stopped["exit_code"] is not None:
            code = stopped["exit_code"]
            return Failure("SystemExit", f"exit code {code}" if code.lstrip("-").isdecimal() else code)
        frames = "" if stopped["is_ours"] else "\n".join(map(dedent, stopped["frames"]))
        source = stopped["source"]
        return Failure(
            type=stopped["type"],
            message=stopped["message"],
            source=source,
            line=1 if source else None,
            file_line=stopped["line"],
            traceback=frames.replace(f"{root}{os.sep}", ""),
        )

    def _noted(self, used: Used) -> dict[str, Any]:
        """Return what the next session has to compare."""
        written = {path for path in used.of(WRITTEN) if not self._is_known(path) and os.path.lexists(path)}
        changed = {os.path.dirname(path) for path in written}
        read = used.of(OPENED, DATABASE, MODULE, NAMED) | set(used.modules) | {self.instance.flow}
        missing = {path for path in used.of(ASKED, OPENED) if self._may_come(path)}
        listed = {f"{path}/" for path in used.of(LISTED) if path not in changed}
        inputs, stats, root = {}, {}, self.instance.project_root
        for path in sorted(((read | missing) - written) | listed):
            if self._is_known(path) or not (os.path.exists(path) or path in missing):
                continue
            name, stat = layout.display_path(path, root), stat_of(path)
            is_file = not path.endswith("/") and stat is not None
            if is_file and stat and changed_since(stat, used.since.get(path, time.time_ns())):
                inputs[name] = _UNSTABLE
                continue
            inputs[name] = _digest(path)
            if is_file and stat and settled(stat):
                stats[name] = stat
        outputs = sorted(layout.display_path(path, root) for path in written)
        return {"runs": self._state_of_runs(), "inputs": inputs, "stats": stats, "outputs": outputs}

    def _may_come(self, path: str) -> bool:
        """Return whether a file that was looked for is missing and may appear in the project."""
        inside = os.path.relpath(path, self.instance.project_root)
        return not (inside.startswith(os.pardir) or belongs_to_others(inside) or os.path.lexists(path))

    def _is_known(self, path: str) -> bool:
        """Return whether a file needs no comparison: ours, or an instance's, which `runs` covers."""
        if path.startswith(PACKAGE) or path in self._ours:
            return True
        folder = path
        while len(folder) > len(self._runs):
            if folder in self._run_dirs:
                return True
            folder = os.path.dirname(folder)
        return False

    @cached_property
    def _ours(self) -> frozenset[str]:
        """The files that each session writes, and a conductor's own calls read."""
        root = Path(self.instance.project_root)
        own = declared_history.file_of(root, Path(self.instance.flow))
        return frozenset({os.path.join(self._runs, layout.REPORT), str(own)})

    @property
    def _runs(self) -> str:
        return os.path.join(self.instance.project_root, RUNS)

    @cached_property
    def _run_dirs(self) -> frozenset[str]:
        return frozenset({self.instance.run_dir, *(instance.run_dir for instance, _ in self.instances)})


def _digest(path: str) -> str:
    try:
        return input_digest(path)
    except OSError:
        return "absent"


def _read(file: Path) -> _Known | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return data if isinstance(data, dict) else None
