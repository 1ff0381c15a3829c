"""Make the plan of a session from what its sources declare."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from ..core.errors import PlanError
from ..core.instance import JSON
from ..core.problem import merged_lines
from ..core.settings import Settings
from ..graph.dependencies import make_graph
from ..sources.instance_names import collisions
from ..tracking.outside_files import writers_of
from .discovery import Source
from .history.earlier_runs import earlier_runs
from .plan import Plan, instances_from_json
from .processes.pool import DeclareProcesses
from .read_sources import Answer, read_sources
from .reserved_columns import notes_on_cores, notes_on_memory, notes_on_resources


def make_plan(
    sources: Sequence[Source],
    settings: Settings,
    *,
    echo: bool = False,
    say: Callable[[str], None] = lambda _: None,
    undo: contextlib.ExitStack | None = None,
) -> Plan:
    """Read all sources, executing the conductors, and return the plan.

    Files that a conductor has overwritten for its calls to read keep the new content for the instances; if
    making the plan fails, all are restored.

    Args:
        sources: Files that declare instances.
        settings: Settings of the session, such as `where` and `cwd`.
        echo: Whether a conductor's output goes to the terminal instead of being kept for errors.
        say: Function that gets a line while something takes long.
        undo: Stack of a session in which nothing runs; closing it restores these files, too.

    Raises:
        PlanError: If anything is wrong; its message has a line for each problem.
    """
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ductaflow-")))
        files = stack.enter_context(contextlib.ExitStack())
        groups = _groups(sources)
        with DeclareProcesses([group[0].root for group in groups], fork=settings.fork, echo=echo) as planners:
            asking = partial(
                read_sources, settings=settings, work=work, undo=files, planners=planners, say=say
            )
            plan = _plan_of(sources, settings, map(asking, groups))
        if undo is None:
            files.pop_all()  # restores nothing
        else:
            undo.enter_context(stack.pop_all())
    return plan


def _groups(sources: Sequence[Source]) -> list[list[Source]]:
    """Group the sources by process: each conductor alone, all others together."""
    conductors = [[source] for source in sources if source.kind == "conductor"]
    others = [source for source in sources if source.kind != "conductor"]
    return [*conductors, others] if others else conductors


def _plan_of(sources: Sequence[Source], settings: Settings, asked: Iterable[Answer]) -> Plan:
    """Build the plan from the answers for all sources.

    Raises:
        PlanError: If anything is wrong; its message has a line for each problem.
    """
    answers: dict[str, dict[str, JSON]] = {}
    complaints: list[str] = []
    for found, wrong in asked:
        answers |= found
        complaints += wrong
    declarations = instances_from_json({path: answer["instances"] for path, answer in answers.items()})
    instances = {path: [*map(settings.placed, found)] for path, found in declarations.items()}
    # A past run refers to an instance that a conductor declares; it is not a second one.
    declared = [i for source in sources if source.kind != "past" for i in instances.get(source.path, ())]
    is_complete = not complaints  # else names would seem unknown whose source has failed
    complaints += merged_lines(collisions(declared))
    every = [i for found in instances.values() for i in found]
    earlier = earlier_runs(every)
    graph, problems = make_graph(
        list(instances.values()), earlier.undeclared, lambda number: earlier.is_settled(number, every[number])
    )
    complaints += merged_lines(problems) if is_complete else []
    if complaints:
        raise PlanError("\n".join(complaints))
    is_here = "://" not in (settings.engine or "")  # else the cores are those of other machines
    notes = [
        *((*notes_on_cores(every), *notes_on_memory(every, settings.memory)) if is_here else ()),
        *(() if settings.engine else notes_on_resources(every)),
    ]
    afters = tuple(path for path, found in instances.items() if found and answers[str(path)]["has_after"])
    return Plan(
        instances,
        graph,
        earlier.durations,
        afters,
        writers_of(earlier.outside),
        time.time_ns(),
        (*(note for answer in answers.values() for note in answer["notes"]), *notes),
    )
