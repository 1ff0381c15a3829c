"""Make the plan of a session once, pass it to workers, and collect items from it."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ..core.errors import PlanError
from ..core.instance import RUNS, Instance
from ..core.number_text import in_line
from ..core.run_directory.layout import REPORT
from ..core.settings import Settings
from ..core.system.lineage import session_id
from ..gate.instance_file import EXPECTED, INPUTS
from ..graph.preconditions import Preconditions
from ..graph.session_outcomes import SessionOutcomes
from ..planning.discovery import Source, discover, project_root
from ..planning.history.recent_edits import may_have_changed
from ..planning.plan import Plan
from .distribution.without_workers import leave_workers_out, one_after_the_other
from .item_names import is_meant, near_names, path_and_name, with_their_dots
from .items import (
    EXCHANGE,
    MAY_RUN,
    PLAN,
    PRECONDITIONS,
    SETTINGS,
    InstanceItem,
    SourceFile,
    after_of,
    id_of_after,
    node_id_of,
    only_instances,
    repeat_command,
    write_now,
)

STARTED_EARLY = pytest.StashKey[bool]()  # whether processes for the first instance have been started
_WORKER_KEY = "ductaflow_folder"
SESSION_KEY = "ductaflow_session"  # by which a worker gets the id of the session
_PLAN_FILE = "plan.json"
_STATUSES_FILE = "statuses"


_OF_DEBUGGERS = (
    "note: an editor's debugger does not see the kernels that run flows; --pdb does, and breakpoints in a "
    "flow hold after: ductaflow debug RUN --vscode"
)


class CollectionHooks:
    """The hooks that make the plan in the reporting process, read it in workers, and collect from it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._first_numbers: dict[Path, int] = {}
        self._stored: set[Path] = set()  # folders of stored instances
        self._asked_for: list[tuple[Path, str]] = []  # paths and names, where pytest was given other paths

    def pytest_sessionstart(self) -> None:
        config = self._config
        received = getattr(config, "workerinput", {}).get(_WORKER_KEY)
        if received is not None:
            config.stash[EXCHANGE] = Path(received)
            plan = config.stash[PLAN] = Plan.loads(Path(received, _PLAN_FILE).read_text(encoding="utf-8"))
        else:
            _check_expressions(config)
            plan = config.stash[PLAN] = plan_of(config)
            if _has_workers(config) and not _runs_nothing(config):
                _leave_workers_out(config, plan)
            if _has_workers(config):
                self._share(plan)
        number = 0
        for path, instances in plan.instances.items():
            self._first_numbers[path] = number
            number += len(instances)
            self._stored |= {Path(instance.stored_in) for instance in instances if instance.stored_in}
        folder = config.stash.get(EXCHANGE, None)
        outcomes = SessionOutcomes(folder and folder / _STATUSES_FILE)
        config.stash[PRECONDITIONS] = Preconditions(
            plan.graph, plan.all, outcomes, partial(_command_for, config, plan)
        )
        for mark in sorted({mark for instance in plan.all for mark in instance.marks}):
            config.addinivalue_line("markers", f"{mark}: from the column _marks of a control table")

    def _share(self, plan: Plan) -> None:
        """Write the plan where xdist's workers find it."""
        self._folder = tempfile.TemporaryDirectory(prefix="ductaflow-")
        folder = self._config.stash[EXCHANGE] = Path(self._folder.name)
        (folder / _PLAN_FILE).write_text(plan.dumps(), encoding="utf-8")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Pass the location of the plan to an xdist worker."""
        node.workerinput[_WORKER_KEY] = str(self._config.stash[EXCHANGE])
        node.workerinput[SESSION_KEY] = session_id()

    def pytest_unconfigure(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """Collect paths with brackets, and suggest names that may be meant by one that is not found."""
        arguments = session.config.args
        session.config.args = with_their_dots(arguments, session.config)
        try:
            with self._without_brackets():
                return (yield)
        except pytest.UsageError as error:
            near = (near_names(argument, session.config) for argument in arguments)
            raise pytest.UsageError(*error.args, *dict.fromkeys(filter(None, near))) from None
        finally:
            session.config.args = arguments

    @contextlib.contextmanager
    def _without_brackets(self) -> Iterator[None]:
        """Name folders above paths with `[`, which pytest takes for parameters, and ask for these alone."""
        config, arguments = self._config, self._config.args
        here = config.invocation_params.dir
        given = [_path_without_brackets(argument, here) for argument in arguments]
        if given != arguments and not config.option.pyargs:
            self._asked_for = [path_and_name(argument, here) for argument in arguments]
            config.args = given
        try:
            yield
        finally:
            config.args = arguments

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> Generator[None, Any, Any]:
        """Return our collector instead of pytest's module, which would import the conductor."""
        collectors = yield
        first_number = self._first_numbers.get(file_path)
        if first_number is not None:
            return [SourceFile.from_parent(parent, path=file_path, first_number=first_number)]
        return collectors

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Ignore a stored instance's expected outputs and inputs, and what `_without_brackets` adds."""
        in_stored = collection_path.parent in self._stored
        asked_for = [path for path, _ in self._asked_for]
        if asked_for and not any(
            collection_path.is_relative_to(path) or path.is_relative_to(collection_path) for path in asked_for
        ):
            return True
        return True if in_stored and collection_path.name in (EXPECTED, INPUTS) else None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Prepare the kernel of the first instance, before this process imports what runs it."""
        first = next((item for item in session.items if isinstance(item, InstanceItem)), None)
        if first is not None and session.config.stash.get(STARTED_EARLY, False):
            from ..running.run_instance import prepare_early

            prepare_early(first.instance, session.config.stash[SETTINGS])

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Return the plan's notes where xdist's workers collect, and no collection ends in this process."""
        is_distributed = PLAN in config.stash and config.pluginmanager.hasplugin("dsession")
        return self.pytest_report_collectionfinish(config) if is_distributed else []

    def pytest_report_collectionfinish(self, config: pytest.Config) -> list[str]:
        """Return the plan's notes on valid but possibly unintended declarations."""
        notes = [f"note: {in_line(note)}" for note in config.stash[PLAN].notes]
        runs_any = bool(config.stash[PLAN].all) and not _runs_nothing(config)
        return [*notes, _OF_DEBUGGERS] if runs_any and "pydevd" in sys.modules else notes

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Sort items by declaration, and deselect what `--ductaflow-where` excludes."""
        if not any("::" in argument for argument in config.args):  # else in the order asked for
            _in_order_of_declaration(items)
        if self._asked_for:
            items[:] = _asked_for(items, self._asked_for)
        left_out = [i for i in items if isinstance(i, InstanceItem) and not i.instance.selected]
        if left_out:
            dropped = set(left_out)
            items[:] = [item for item in items if item not in dropped]
            config.hook.pytest_deselected(items=left_out)


def _path_without_brackets(argument: str, here: Path) -> str:
    """Return an argument for pytest; for a path with `[` that is there, the next folder above without one."""
    path, name = path_and_name(argument, here)
    if "[" not in argument.partition("::")[0] or not path.exists():
        return argument
    seen = os.path.relpath(path, here)
    if "[" not in seen:  # it was only in the way to here
        return f"{seen}::{name}" if name else seen
    return os.path.dirname(seen.partition("[")[0]) or os.curdir


def _asked_for(items: Sequence[pytest.Item], arguments: Sequence[tuple[Path, str]]) -> list[pytest.Item]:
    """Return the items for which paths, or names in them, ask.

    Raises:
        pytest.UsageError: If there is no item of a name.
    """
    found = [(item, argument) for item in items for argument in arguments if _asks_for(*argument, item)]
    for path, name in arguments:
        if name and (path, name) not in {argument for _, argument in found}:
            raise pytest.UsageError(f"not found: {path}::{name}")
    return list(dict.fromkeys(item for item, _ in found))


def _asks_for(path: Path, name: str, item: pytest.Item) -> bool:
    return item.path.is_relative_to(path) and is_meant(item.nodeid, name)


def add_stored_instances(config: pytest.Config, settings: Settings) -> None:
    """Add the folders in ini `ductaflow_instances`, and omit sweeps, if pytest runs a project as a whole.

    Raises:
        pytest.UsageError: If one of its folders does not exist.
    """
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if not settings.instances or named or config.invocation_params.dir != config.rootpath:
        return
    folders = [config.rootpath / folder for folder in settings.instances]
    for folder in folders:
        if not folder.is_dir():
            raise pytest.UsageError(f"ductaflow_instances: {folder} is not a folder")
    here = [Path(config.rootpath, argument) for argument in config.args]
    more = [folder for folder in folders if not any(folder.is_relative_to(path) for path in here)]
    config.args = [*config.args, *map(str, more)]
    config.stash[SETTINGS] = replace(settings, files=())


def _in_order_of_declaration(items: list[pytest.Item]) -> None:
    """Undo the tree's grouping by step: a conductor may return to a step after others."""
    places = [place for place, item in enumerate(items) if isinstance(item, InstanceItem)]
    mine = only_instances(items)
    first = {path: number for number, path in reversed(list(enumerate(item.path for item in mine)))}
    mine.sort(key=lambda item: (first[item.path], item.number))
    for place, item in zip(places, mine, strict=True):
        items[place] = item


def _check_expressions(config: pytest.Config) -> None:
    """Refuse wrong expressions of `-k` and `-m` before workers start, which would only crash.

    Raises:
        pytest.UsageError: If an expression cannot be parsed.
    """
    from _pytest.mark import _parse_expression

    for option, text in (("-k", config.option.keyword), ("-m", config.option.markexpr)):
        if not text.strip():
            continue
        try:
            _parse_expression(text.lstrip(), f"Wrong expression passed to '{option}'")
        except pytest.UsageError as error:
            columns = "--ductaflow-where selects by columns: --ductaflow-where 'year == 2040'"
            raise pytest.UsageError(*error.args, *([columns] if "=" in text else [])) from None


def plan_of(config: pytest.Config) -> Plan:
    settings = config.stash[SETTINGS]
    echo = config.getoption("capture") == "no"
    try:
        sources = discover(
            config.args,
            config.invocation_params.dir,
            settings,
            test_files=config.getini("python_files"),
            ignored_folders=config.getini("norecursedirs"),
            rootdir=config.rootpath,
        )
        config.stash[MAY_RUN] = _may_run(config, sources)
        config.stash[STARTED_EARLY] = _start_early(config)
        from ..planning.make_plan import make_plan  # while the processes that have been started import theirs

        say = partial(write_now, config)
        undo = _undone_at_the_end(config) if _runs_nothing(config) else None
        plan = make_plan(sources, settings, echo=echo, say=say, undo=undo) if sources else Plan({})
    except PlanError as error:
        if settings.shard is not None:  # when shards merge, an old report would pass for a new one
            _drop_reports(config, settings)
        # A conductor's text is shown literally: none of its escape sequences reaches the terminal.
        lines = [in_line(line.expandtabs()) for line in str(error).split("\n")]
        raise pytest.UsageError(
            "nothing has run: what is to be run is not right\n" + "\n".join(f"  {line}" for line in lines)
        ) from None
    if plan.all and config.getoption("dist", "no") == "each":
        raise pytest.UsageError(
            "--dist each: every worker would run every instance, all of them in the same run directories; "
            "use --dist load"
        )
    for spec in config.getoption("tx", None) or () if plan.all else ():
        if not _is_here(spec):
            raise pytest.UsageError(
                f"--tx {spec}: a worker on another machine has neither the plan nor the run directories; "
                "use -n, or share the instances among machines by --ductaflow-shard"
            )
    if plan.all and config.getoption("testmon", False):
        raise pytest.UsageError(
            "--testmon: it does not see what flows depend on, and would leave out what has to run; "
            "use --no-testmon, as what is unchanged is not run again anyway"
        )
    return plan


def _may_run(config: pytest.Config, sources: Sequence[Source]) -> bool:
    """Return whether some instances may have to run, in this process or in a worker."""
    settings = config.stash[SETTINGS]
    if not sources or _runs_nothing(config) or settings.accept:
        return False
    failed = config.cache.get("cache/lastfailed", {}) if hasattr(config, "cache") else {}
    always = settings.force or bool(failed) or any(source.kind in ("past", "stored") for source in sources)
    return always or any(map(may_have_changed, {source.root for source in sources}))


def _has_workers(config: pytest.Config) -> bool:
    """Return whether xdist's workers run the items."""
    return bool(config.getoption("dist", "no") != "no")


def _leave_workers_out(config: pytest.Config, plan: Plan) -> None:
    """Have this process run everything, if workers would be of no use."""
    running = one_after_the_other(config, plan)
    if running is None:
        return
    leave_workers_out(config, running)
    config.stash[MAY_RUN] = bool(running)
    config.stash[STARTED_EARLY] = _start_early(config)


def _start_early(config: pytest.Config) -> bool:
    """Start what the first instance will need, if this process may run any; return whether it has."""
    if not config.stash[MAY_RUN] or _has_workers(config):
        return False
    from ..running.children.runner import runner_of_this_session
    from ..running.run_instance import start_early

    settings = config.stash[SETTINGS]
    if settings.engine or (settings.fork and runner_of_this_session() is not None):
        return False
    start_early(settings)
    return True


def _runs_nothing(config: pytest.Config) -> bool:
    """Return whether a session only shows instances and runs none."""
    looks = (config.option.collectonly, config.getoption("ductaflow_graph"), config.stash[SETTINGS].explain)
    return any(looks)


def _undone_at_the_end(config: pytest.Config) -> contextlib.ExitStack:
    """Return a stack that is closed when the session has ended."""
    undo = contextlib.ExitStack()
    config.add_cleanup(undo.close)
    return undo


def _is_here(spec: str) -> bool:
    """Return whether an xdist worker is a process that this one starts."""
    kinds = [part.partition("=")[0] for part in spec.rpartition("*")[2].split("//")]
    return "popen" in kinds and "via" not in kinds


def _drop_reports(config: pytest.Config, settings: Settings) -> None:
    for argument in config.args:
        path = Path(config.invocation_params.dir, argument.partition("::")[0])
        with contextlib.suppress(OSError, PlanError):
            root = project_root(path, settings, config.invocation_params.dir, config.rootpath)
            (root / RUNS / REPORT).unlink(missing_ok=True)


def _command_for(config: pytest.Config, plan: Plan, what: Sequence[int | str]) -> str:
    """Return the command that runs instances, given by number, or run directories."""
    names = [
        node_id_of(plan.source_of(one), plan.all[one], config.rootpath) if isinstance(one, int) else one
        for one in what
    ]
    return repeat_command(names, config.rootpath, config.invocation_params.dir)


def node_ids(plan: Plan, rootpath: Path) -> dict[str, Instance]:
    """Return the instances by the node ids of their items, without collecting them.

    The conductors' work after their instances is included.
    """
    found: dict[str, Instance] = {}
    for path, instances in plan.instances.items():
        found |= {node_id_of(path, instance, rootpath): instance for instance in instances}
        if path in plan.afters:
            found[id_of_after(path, rootpath)] = after_of(path, plan)
    return found
