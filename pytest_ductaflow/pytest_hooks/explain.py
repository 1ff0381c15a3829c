"""Show what would run without running it: `--ductaflow-explain` and `--ductaflow-graph`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from ..core.settings import Settings
from ..graph.drawing import dot, mermaid
from ..planning.history.stale_upstreams import out_of_date
from ..planning.would_run import MAY_RUN, UNCHANGED, Forecast
from .collection import plan_of
from .items import PLAN, SETTINGS, AfterItem, node_id_of, only_instances, repeat_command

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
        if terminal is None:
            raise pytest.UsageError("--ductaflow-explain needs pytest's terminal: leave out -p no:terminal")
        settings, plan = session.config.stash[SETTINGS], session.config.stash[PLAN]
        items = {item.number: item for item in only_instances(session.items)}
        forecast = Forecast(plan, settings)
        told = {item.nodeid: forecast.add(number) for number, item in items.items()}
        for after in (item for item in session.items if isinstance(item, AfterItem)):
            mine = [forecast.reasons.get(number, UNCHANGED) for number in plan.numbers[after.path]]
            told[after.nodeid] = _fate_of_after(after, settings, mine)
        _print(terminal, told)
        _print_out_of_date(terminal, session.config, items.keys())
        return True


def _fate_of_after(item: AfterItem, settings: Settings, fates: list[str]) -> str:
    """Return why a conductor would be executed again after its instances; `UNCHANGED` if it would not."""
    if settings.after == "never":
        return UNCHANGED
    reasons = ("forced",) if settings.force else item.after.reasons()
    if reasons:
        return "; ".join(reasons)
    if all(fate == UNCHANGED for fate in fates):
        return UNCHANGED
    certain = any(fate != UNCHANGED and not fate.startswith(MAY_RUN) for fate in fates)
    return "instances would run" if certain else f"{MAY_RUN}one of its instances does"


def _print_out_of_date(terminal: Any, config: pytest.Config, selected: Collection[int]) -> None:
    plan, here = config.stash[PLAN], config.invocation_params.dir
    ids = [node_id_of(path, i, config.rootpath) for path, found in plan.instances.items() for i in found]
    for upstream in out_of_date(plan, selected, config.stash[SETTINGS]):
        terminal.line(upstream.line(repeat_command(ids[upstream.number], config.rootpath, here)))


def _print(terminal: Any, fates: Mapping[str, str]) -> None:
    running = {node_id: fate for node_id, fate in fates.items() if fate != UNCHANGED}
    certain = sum(not fate.startswith(MAY_RUN) for fate in running.values())
    width = min(max(map(len, running), default=0), _WIDEST)
    terminal.section("ductaflow: what would run, and why", "-")
    for node_id, fate in running.items():
        terminal.line(f"{node_id:<{width}}  {fate}")
    rest, left = len(running) - certain, len(fates) - len(running)
    terminal.line(f"{certain} would run, {rest} may run, {left} unchanged")
