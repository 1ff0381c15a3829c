"""Do without xdist's workers where no two instances can run side by side.

Finding that out is faster than starting workers: nothing has to run, or one instance alone, or each one only
after the one before it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Generator, Iterator
from pathlib import Path

import pytest

from ...core.settings import Settings
from ...core.system.machine import shared_by
from ...graph.digraph import topological
from ...planning.afterwards.after import STEP
from ...planning.plan import Plan
from ..item_names import is_meant, path_and_name, with_their_dots
from ..items import MAY_RUN, SETTINGS, node_id_of

_OF_XDIST = ("dsession", "terminaldistreporter")  # plugins of a session with workers


def one_after_the_other(config: pytest.Config, plan: Plan) -> Collection[int] | None:
    """Return the numbers of the instances that may have to run, if at no time two of them can.

    What has to run after all, because it has changed in the meantime, is run in the same way.

    Returns:
        None if workers are of use. Where there may be something else than instances, as tests in a folder,
        they always are. Where a name means nothing, they are not: pytest is going to say so, and run nothing.
    """
    if not config.getoption("numprocesses", None) or config.getoption("px", None):
        return None
    settings, arguments = config.stash[SETTINGS], with_their_dots(config.args, config)
    asked_for = [path_and_name(argument, config.invocation_params.dir) for argument in arguments]
    meant = [list(_numbers(*each, config, plan)) for each in asked_for if _is_of_instances(*each, plan)]
    if [] in meant:
        return ()
    numbers = {number for each in meant for number in each if plan.all[number].selected}
    has_others = len(meant) < len(asked_for) or _has_work_beside(asked_for, config, plan)
    return None if settings.accept or has_others or not numbers else _chain_of(numbers, settings, plan)


def _chain_of(numbers: Collection[int], settings: Settings, plan: Plan) -> Collection[int] | None:
    """Return those of some instances that may have to run, if each waits for the one before it, else None.

    An unchanged one whose files have other time stamps than its record counts, too. To find out that nothing
    has changed takes reading all that it depends on, which workers share.
    """
    running: dict[int, None] = {}
    for number in filter(numbers.__contains__, topological(plan.graph.before)):
        upstreams = plan.graph.upstreams[number]
        if running.keys().isdisjoint(upstreams) and _is_unchanged(number, settings, plan):
            continue
        if running and next(reversed(running)) not in upstreams:
            return None
        running[number] = None
    return running


def leave_workers_out(config: pytest.Config, running: Collection[int]) -> None:
    """Have this process run everything; called at the beginning of the session, before xdist's own hook.

    Libraries use as many threads as in a worker, since results can depend on that in their last digits.

    Args:
        config: pytest's config.
        running: What `one_after_the_other` has returned.
    """
    stack = contextlib.ExitStack()
    stack.enter_context(shared_by(len(config.option.tx)))
    config.add_cleanup(stack.close)
    for name in _OF_XDIST:
        config.pluginmanager.unregister(name=name)
    config.option.dist, config.option.numprocesses = "no", 0
    config.pluginmanager.register(_NoNodes(len(running)), "ductaflow-no-nodes")
    if (terminal := config.pluginmanager.get_plugin("terminalreporter")) is not None:
        terminal.showfspath = None  # as it is without xdist


class _NoNodes:
    """The hooks that take from xdist, whose session has begun, what it would start, and tell so.

    Args:
        running: Number of instances that may have to run.
    """

    def __init__(self, running: int) -> None:
        self._running = running

    def pytest_report_header(self) -> str:
        reasons = {0: "no instance has to run", 1: "one instance may have to run"}
        reason = reasons.get(self._running, f"{self._running} instances may have to run, one after the other")
        return f"ductaflow: {reason}, so no workers are started"

    @pytest.hookimpl(optionalhook=True, wrapper=True, tryfirst=True)
    def pytest_xdist_setupnodes(self, config: pytest.Config, specs: list[object]) -> Generator[None]:
        """Empty the list of workers after all others have seen it."""
        yield
        specs.clear()
        config.option.tx = []


def _is_of_instances(path: Path, name: str, plan: Plan) -> bool:
    """Return whether an argument can mean instances only, and not what a conductor does after them."""
    return bool(plan.instances.get(path)) and not (path in plan.afters and name == STEP)


def _numbers(path: Path, name: str, config: pytest.Config, plan: Plan) -> Iterator[int]:
    """Yield the numbers of the instances that an argument means, by their names or that of their step."""
    for number, instance in zip(plan.numbers[path], plan.instances[path], strict=True):
        if is_meant(node_id_of(path, instance, config.rootpath), name):
            yield number


def _has_work_beside(asked_for: Collection[tuple[Path, str]], config: pytest.Config, plan: Plan) -> bool:
    """Return whether the work of a conductor after its instances may run beside what other sources have."""
    sources = {path for path, _ in asked_for}
    return len(sources) > 1 and config.stash[MAY_RUN] and not sources.isdisjoint(plan.afters)


def _is_unchanged(number: int, settings: Settings, plan: Plan) -> bool:
    from ...running.run_instance import unchanged_record

    with contextlib.suppress(Exception):  # raised again where the instance is run, and told there
        return unchanged_record(plan.all[number], settings, plan.neighbours(number)) is not None
    return False
