"""The plan of a session: made once, handed to workers, collected from."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from .items import PLAN, SETTINGS, InstanceItem, SourceFile
from .model import Instance, slug
from .plan import Plan, PlanError, discover, make_plan

_WORKER_KEY = "ductaflow_plan"


class CollectionHooks:
    """Makes the plan in the reporting process, takes it over in workers, and collects from it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def pytest_sessionstart(self) -> None:
        _take_sigterm_as_ctrl_c()
        config = self._config
        received = getattr(config, "workerinput", {}).get(_WORKER_KEY)
        if received is not None:
            plan = Plan.loads(Path(received).read_text(encoding="utf-8"))
        else:
            plan = _plan_of(config)
        config.stash[PLAN] = plan
        for mark in sorted({mark for instance in plan.all for mark in instance.marks}):
            config.addinivalue_line("markers", f"{mark}: from the column _marks of a control table")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """xdist: tell a worker where the plan is."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ductaflow-")
            Path(self._folder.name, "plan.json").write_text(
                self._config.stash[PLAN].dumps(), encoding="utf-8"
            )
        node.workerinput[_WORKER_KEY] = str(Path(self._folder.name, "plan.json"))

    def pytest_unconfigure(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    @pytest.hookimpl(wrapper=True)
    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> Generator[None, Any, Any]:
        """Our collector in place of pytest's module, which would import the conductor."""
        collectors = yield
        if file_path in self._config.stash[PLAN].instances:
            return [SourceFile.from_parent(parent, path=file_path)]
        return collectors

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """In the order of the declarations, without what `--ductaflow-where` leaves out."""
        if not any("::" in argument for argument in config.args):  # else in the order asked for
            _in_order_of_declaration(items)
        left_out = [i for i in items if isinstance(i, InstanceItem) and not i.instance.selected]
        if left_out:
            dropped = set(left_out)
            items[:] = [item for item in items if item not in dropped]
            config.hook.pytest_deselected(items=left_out)


def _take_sigterm_as_ctrl_c() -> None:
    """Batch systems end a job with SIGTERM: records and report shall be closed then, too."""
    here = threading.current_thread() is threading.main_thread()
    if here and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _in_order_of_declaration(items: list[pytest.Item]) -> None:
    """Undo the tree's grouping by step: a conductor may come back to a step after others."""
    places = [place for place, item in enumerate(items) if isinstance(item, InstanceItem)]
    mine = [item for item in items if isinstance(item, InstanceItem)]
    first = {path: number for number, path in reversed(list(enumerate(item.path for item in mine)))}
    mine.sort(key=lambda item: (first[item.path], item.number))
    for place, item in zip(places, mine, strict=True):
        items[place] = item


def _plan_of(config: pytest.Config) -> Plan:
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
        return make_plan(sources, settings, echo=echo) if sources else Plan({})
    except PlanError as error:
        lines = str(error).splitlines()
        raise pytest.UsageError(
            "nothing has run: what is to be run is not right\n" + "\n".join(f"  {line}" for line in lines)
        ) from None


def node_ids(plan: Plan, rootpath: Path) -> dict[str, Instance]:
    """The instances by the node ids that their items have, without collecting them."""
    found = {}
    for path, instances in plan.instances.items():
        file = path.relative_to(rootpath) if path.is_relative_to(rootpath) else path
        for instance in instances:
            found[f"{file.as_posix()}::{slug(instance.step)}::{slug(instance.name)}"] = instance
    return found
