"""Show what would run without running it: `--ductaflow-explain` and `--ductaflow-graph`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from ..core import run_files
from ..core.run_files import RunFiles
from ..core.settings import Settings
from ..graph.drawing import dot, mermaid
from ..planning.history.stale_upstreams import out_of_date
from ..tracking.paths_in_config import output_files
from ..tracking.up_to_date import check
from ..tracking.upstreams import records_of
from .collection import plan_of
from .items import PLAN, SETTINGS, AfterItem, InstanceItem, node_id_of, only_instances, repeat_command

_WIDEST = 60  # columns for the node ids


def print_graph(config: pytest.Config) -> int:
    """Print which instance waits for which, and nothing else, so that it can be piped.

    Raises:
        pytest.UsageError: If `--ductaflow` is off, or there is an error in what is to be run.
    """
    config._do_configure()  # noqa: SLF001 - as pytest's own --markers and --fixtures do
    try:
        settings = config.stash.get(SETTINGS, None)
        if settings is None:
            raise pytest.UsageError("--ductaflow-graph shows instances: it needs --ductaflow")
        plan = plan_of(config)
        draw = {"mermaid": mermaid, "dot": dot}[settings.graph or "mermaid"]
        print(draw(plan.graph, list(plan.instances.values())))
    finally:
        config._ensure_unconfigure()  # noqa: SLF001
    return 0


class ExplainHooks:
    """The hook that prints what would run instead of running it."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        settings, plan = session.config.stash[SETTINGS], session.config.stash[PLAN]
        items = {item.number: item for item in only_instances(session.items)}
        fates: dict[int, str] = {}
        written: dict[str, str] = {}  # by file, the instance that may change it
        for number, item in items.items():
            ups = [plan.graph.labels[u] for u in plan.graph.upstreams[number] if fates.get(u, _UNCHANGED)]
            fates[number] = _fate(item, settings, ups, written)
            if fates[number] != _UNCHANGED:
                written |= dict.fromkeys(_outputs_of(item), plan.graph.labels[number])
        told = {items[number].nodeid: fate for number, fate in fates.items()}
        for after in (item for item in session.items if isinstance(item, AfterItem)):
            mine = [fates.get(number, _UNCHANGED) for number in plan.numbers[after.path]]
            told[after.nodeid] = _fate_of_after(after, settings, mine)
        _print(terminal, told)
        _print_out_of_date(terminal, session.config, items.keys())
        return True


_UNCHANGED = ""
_MAY_RUN = "runs if "


def _outputs_of(item: InstanceItem) -> set[str]:
    """Return the absolute paths of the files that an instance has written before."""
    record, _ = run_files.read_record(RunFiles.of(item.instance).record)
    return set(output_files(record, item.instance.project_root)) if record is not None else set()


def _fate(item: InstanceItem, settings: Settings, upstreams: list[str], written: Mapping[str, str]) -> str:
    """Return why an instance would run; `_UNCHANGED` if it would not.

    Args:
        item: The instance.
        settings: Settings with the default kernel, and whether runs are forced.
        upstreams: Labels of its upstreams that run, or may run.
        written: Files that instances running before it may change, with these instances' labels.
    """
    record, problem = run_files.read_record(RunFiles.of(item.instance).record)
    if record is not None and (settings.force or item.instance.always_run):
        always = "a stored instance always runs" if item.instance.stored_in else "named by its run directory"
        return "forced" if settings.force else always
    kernel = settings.kernel_of(item.instance)
    trusts = settings.unseen == "trust"
    upstreams_now = records_of(item.neighbours)
    reasons = check(
        item.instance, record, upstreams_now, kernel, item.neighbours, trusts_unseen=trusts
    ).reasons
    if reasons:
        return "; ".join((*reasons, *((problem,) if problem else ())))
    root, inputs = item.instance.project_root, record.inputs if record is not None else {}
    read_from = (written.get(os.path.join(root, name)) for name in inputs)
    others = dict.fromkeys([*upstreams, *(label for label in read_from if label is not None)])
    return f"{_MAY_RUN}{' or '.join(others)} writes something else" if others else _UNCHANGED


def _fate_of_after(item: AfterItem, settings: Settings, fates: list[str]) -> str:
    """Return why a conductor would be executed again after its instances; `_UNCHANGED` if it would not."""
    if settings.after == "never":
        return _UNCHANGED
    reasons = ("forced",) if settings.force else item.after.reasons()
    if reasons:
        return "; ".join(reasons)
    if all(fate == _UNCHANGED for fate in fates):
        return _UNCHANGED
    certain = any(fate != _UNCHANGED and not fate.startswith(_MAY_RUN) for fate in fates)
    return "instances would run" if certain else f"{_MAY_RUN}one of its instances does"


def _print_out_of_date(terminal: Any, config: pytest.Config, selected: Collection[int]) -> None:
    plan, here = config.stash[PLAN], config.invocation_params.dir
    ids = [node_id_of(path, i, config.rootpath) for path, found in plan.instances.items() for i in found]
    for upstream in out_of_date(plan, selected, config.stash[SETTINGS]):
        terminal.line(upstream.line(repeat_command(ids[upstream.number], config.rootpath, here)))


def _print(terminal: Any, fates: Mapping[str, str]) -> None:
    running = {node_id: fate for node_id, fate in fates.items() if fate != _UNCHANGED}
    certain = sum(not fate.startswith(_MAY_RUN) for fate in running.values())
    width = min(max(map(len, running), default=0), _WIDEST)
    terminal.section("ductaflow: what would run, and why", "-")
    for node_id, fate in running.items():
        terminal.line(f"{node_id:<{width}}  {fate}")
    rest, left = len(running) - certain, len(fates) - len(running)
    terminal.line(f"{certain} would run, {rest} may run, {left} unchanged")
