"""Divide the instances among sessions on machines that share no files (`--ductaflow-shard 2/5`).

Instances that depend on each other, or share files, run in the same session. All sessions compute the same
division, as they start from the same plan.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pytest

from ..core.run_directory.atomic import write_json
from ..graph.dependencies import Graph
from ..graph.expected_durations import expected_durations
from ..planning.plan import Plan
from ..sources.instance_names import shared_folders
from .items import EXCHANGE, PLAN, only_instances

DIVISION = pytest.StashKey[dict[int, int]]()  # the shard of each instance that any of the sessions runs
_DIVISION_FILE = "shards.json"


def divide(
    chosen: Collection[int], links: Mapping[int, int], loads: Sequence[float], shards: int
) -> dict[int, int]:
    """Assign each instance to a shard, so that all shards take about equally long.

    Args:
        chosen: Numbers of the instances to divide.
        links: First member of each one's group, which has to be in one shard: see `bound_together`.
        loads: Seconds that each instance of the plan takes.
        shards: Number of shards.

    Returns:
        The shard of each instance, counted from 1.
    """
    groups: dict[int, list[int]] = defaultdict(list)
    for number in sorted(chosen):
        groups[links[number]].append(number)
    weights = {first: sum(loads[number] for number in group) for first, group in groups.items()}
    taken = [(0.0, 0, shard) for shard in range(1, shards + 1)]  # seconds, instances, shard
    division: dict[int, int] = {}
    for first in sorted(groups, key=lambda first: (-weights[first], first)):
        seconds, count, shard = min(taken)
        division |= dict.fromkeys(groups[first], shard)
        taken[shard - 1] = (seconds + weights[first], count + len(groups[first]), shard)
    return dict(sorted(division.items()))


def bound_together(chosen: Collection[int], graph: Graph, run_dirs: Sequence[str]) -> dict[int, int]:
    """Group instances that need each other's files; return the first member of each one's group.

    An upstream that is not chosen binds no instances: all sessions look it up in `runs/` alike.

    Args:
        chosen: Numbers of instances.
        graph: Graph of which only the upstreams count, not mere order.
        run_dirs: Absolute path of each instance's run directory. Instances with the same one, or with nested
            ones, belong together.
    """
    first_of = {number: number for number in chosen}

    def first(number: int) -> int:
        while first_of[number] != number:
            first_of[number] = first_of[first_of[number]]
            number = first_of[number]
        return number

    def bind(number: int, other: int) -> None:
        one, two = first(number), first(other)
        first_of[max(one, two)] = min(one, two)

    one_of: dict[int, int | None] = {}  # by id of an upstreams tuple, which thousands of instances may share
    for number in sorted(chosen):
        upstreams = graph.upstreams[number]
        if id(upstreams) not in one_of:
            present = [upstream for upstream in upstreams if upstream in first_of]
            for upstream in present[1:]:
                bind(present[0], upstream)
            one_of[id(upstreams)] = present[0] if present else None
        if (one := one_of[id(upstreams)]) is not None:
            bind(number, one)
    numbers = sorted(chosen)
    for place, owner in shared_folders([run_dirs[number] for number in numbers]):
        bind(numbers[place], numbers[owner])
    return {number: first(number) for number in chosen}


def division_of(plan: Plan, chosen: Collection[int], shards: int) -> dict[int, int]:
    """Return the shard of each of the chosen instances of a plan."""
    links = bound_together(chosen, plan.graph, [instance.run_dir for instance in plan.all])
    return divide(chosen, links, expected_durations(plan.all, plan.durations), shards)


def headline(plan: Plan, division: Mapping[int, int], shard: int, shards: int) -> str:
    """Return a line on how much of the work this session does."""
    mine = [number for number, its_shard in division.items() if its_shard == shard]
    text = f"ductaflow: shard {shard}/{shards}: {len(mine)} of {len(division)} instances"
    if not plan.durations:
        return text
    loads = expected_durations(plan.all, plan.durations)
    of_mine, of_all = (sum(loads[number] for number in numbers) for numbers in (mine, division))
    digits = 0 if of_all >= 10 else 1
    return f"{text}, about {of_mine:.{digits}f} s of {of_all:.{digits}f} s"


class ShardHooks:
    """The hooks that deselect instances of other shards.

    Args:
        config: pytest's config.
        shard: The number of this session's shard, and the number of shards.
        is_worker: Whether this is an xdist worker.
    """

    def __init__(self, config: pytest.Config, shard: tuple[int, int], *, is_worker: bool) -> None:
        self._config = config
        self._shard, self._shards = shard
        self._is_worker = is_worker

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect other shards' instances, after `-k` and the like, so that only chosen ones are divided."""
        chosen = {item.number for item in only_instances(items)}
        division = config.stash[DIVISION] = division_of(config.stash[PLAN], chosen, self._shards)
        if self._is_worker and not self._file.exists():
            with contextlib.suppress(OSError):  # another worker has written the same file first
                write_json(self._file, list(division.items()))
        left_out = [i for i in only_instances(items) if division[i.number] != self._shard]
        if left_out:
            dropped = set(left_out)
            items[:] = [item for item in items if item not in dropped]
            config.hook.pytest_deselected(items=left_out)

    @property
    def _file(self) -> Path:
        """The file by which workers, which all agree, pass the division to the non-collecting controller."""
        return self._config.stash[EXCHANGE] / _DIVISION_FILE

    def pytest_report_collectionfinish(self, config: pytest.Config) -> list[str]:
        """Return the headline if there is a division; pytest calls this even if an argument has no match."""
        return [self._headline()] if DIVISION in config.stash and config.get_verbosity() >= 0 else []

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        """Read the workers' division and print the headline, in the controller."""
        if DIVISION in self._config.stash or not self._file.exists():
            return
        numbers = json.loads(self._file.read_text(encoding="utf-8"))
        self._config.stash[DIVISION] = dict(map(tuple, numbers))
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and self._config.get_verbosity() >= 0:
            terminal.ensure_newline()
            terminal.write_line(self._headline())

    def _headline(self) -> str:
        division = self._config.stash[DIVISION]
        return headline(self._config.stash[PLAN], division, self._shard, self._shards)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let the session succeed if its shard has no instances."""
        division = self._config.stash.get(DIVISION, {})
        is_idle = bool(division) and self._shard not in division.values()
        if is_idle and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        division = self._config.stash.get(DIVISION, {})
        if division and self._shard not in division.values():
            terminalreporter.line(
                f"ductaflow: shard {self._shard}/{self._shards} has nothing to do: the instances, with what "
                "each depends on, do not divide into so many parts"
            )
