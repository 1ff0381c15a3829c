"""Draw a plan as text: as Mermaid, which forges and notebooks render, and as Graphviz DOT.

Both have a box per step (per flow, if a step has several) with a node per instance in it, a solid arrow from
each upstream, and a dotted arrow where only the order is kept. An instance that depends on all instances of a
box has one arrow from the box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..core.instance import Instance, stem_of
from .dependencies import Graph

# Besides quotes, Mermaid interprets "#…;", HTML and parts of Markdown in a text.
_SPECIAL_IN_MERMAID = re.compile(r"[^\w /=,@.+-]|[.+-](?=\s)|_(?![^\W_])|(?<![^\W_])_")


def mermaid(graph: Graph, groups: Sequence[Sequence[Instance]]) -> str:
    """Return a plan as a Mermaid flowchart.

    Args:
        graph: The order.
        groups: The instances of each source, as passed to `make_graph`.
    """
    boxes = _boxes(groups)
    lines = ["flowchart LR"]
    for number, box in enumerate(boxes):
        lines.append(f"    subgraph s{number}[{_mermaid_text(box.title)}]")
        lines += [f"        n{node}[{_mermaid_text(name)}]" for node, name in box.members.items()]
        lines.append("    end")
    for arrow in _Arrows(graph, boxes).all():
        tail, head = (f"s{end}" if is_box else f"n{end}" for end, is_box in (arrow.tail, arrow.head))
        line = "-.->" if arrow.is_dotted else "-->"
        label = f"|{_mermaid_text(arrow.label)}|" if arrow.label else ""
        lines.append(f"    {tail} {line}{label} {head}")
    return "\n".join(lines) + "\n"


def dot(graph: Graph, groups: Sequence[Sequence[Instance]]) -> str:
    """Return a plan as a directed graph for Graphviz.

    Args:
        graph: The order.
        groups: The instances of each source, as passed to `make_graph`.
    """
    boxes = _boxes(groups)
    lines = ["digraph plan {", "    rankdir=LR", "    compound=true", "    node [shape=box]"]
    for number, box in enumerate(boxes):
        lines += [f"    subgraph cluster_{number} {{", f"        label={_dot_text(box.title)}"]
        lines += [f"        n{node} [label={_dot_text(name)}]" for node, name in box.members.items()]
        lines.append("    }")
    for arrow in _Arrows(graph, boxes).all():
        # DOT arrows join nodes; an arrow from or to a box joins a node in it and is clipped at the box.
        tail, head = (
            next(iter(boxes[end].members)) if is_box else end for end, is_box in (arrow.tail, arrow.head)
        )
        attributes = [
            *([f"ltail=cluster_{arrow.tail[0]}"] if arrow.tail[1] else []),
            *([f"lhead=cluster_{arrow.head[0]}"] if arrow.head[1] else []),
            *(["style=dotted"] if arrow.is_dotted else []),
            *([f"label={_dot_text(arrow.label)}"] if arrow.label else []),
        ]
        lines.append(f"    n{tail} -> n{head}" + (f" [{', '.join(attributes)}]" if attributes else ""))
    return "\n".join([*lines, "}"]) + "\n"


def _mermaid_text(text: str) -> str:
    escaped = _SPECIAL_IN_MERMAID.sub(lambda found: f"#{ord(found[0])};", text.replace('"', "\0"))
    return '"' + escaped.replace("#0;", "#quot;") + '"'


def _dot_text(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@dataclass(frozen=True)
class _Box:
    """The instances of one step and flow: a title, and instance names by number."""

    title: str
    members: dict[int, str]


_End = tuple[int, bool]  # a node's number and False, or a box's and True


@dataclass(frozen=True)
class _Arrow:
    """An arrow from an earlier node or box to a later one."""

    tail: _End
    head: _End
    is_dotted: bool = False
    label: str = ""


def _boxes(groups: Sequence[Sequence[Instance]]) -> list[_Box]:
    members: dict[tuple[str, str, str], dict[int, str]] = {}
    for number, instance in enumerate(instance for group in groups for instance in group):
        key = instance.project_root, instance.step, instance.flow
        members.setdefault(key, {})[number] = instance.name
    steps = [(root, step) for root, step, _ in members]
    return [
        _Box(step if steps.count((root, step)) == 1 else f"{step} ({stem_of(flow)})", found)
        for (root, step, flow), found in members.items()
    ]


class _Arrows:
    """The fewest arrows that show the order of a plan."""

    def __init__(self, graph: Graph, boxes: Sequence[_Box]) -> None:
        self._graph = graph
        self._boxes = boxes
        self._box_of = {node: number for number, box in enumerate(boxes) for node in box.members}
        self._count = len(graph.labels)
        self._joined: set[tuple[int, int]] = (
            set()
        )  # pairs of boxes with an arrow from the first, or one of its nodes, to the second

    def all(self) -> Iterator[_Arrow]:
        """Yield the arrows from upstreams, then those that only keep the order."""
        earlier: dict[tuple[int, int], None] = {}  # (barrier, box of an instance that waits for it)
        mentions = []
        for number in range(self._count):
            upstreams = set(self._graph.upstreams[number])
            for node in self._graph.before[number]:
                if node >= self._count and not upstreams.issuperset(self._behind[node]):
                    earlier[node, self._box_of[number]] = None
                elif node < self._count and node not in upstreams:
                    mentions.append(_Arrow((node, False), (number, False), is_dotted=True))
            yield from self._needed(number, upstreams)
        yield from dict.fromkeys(arrow for waiting in sorted(earlier) for arrow in self._earlier(*waiting))
        yield from mentions

    @cached_property
    def _behind(self) -> dict[int, list[int]]:
        """The instances that each barrier stands for, except those of the barriers before it."""
        barriers = range(self._count, len(self._graph.before))
        return {barrier: [n for n in self._graph.before[barrier] if n < self._count] for barrier in barriers}

    def _boxes_behind(self, barrier: int) -> list[int]:
        return list(dict.fromkeys(self._box_of[node] for node in self._behind[barrier]))

    def _needed(self, number: int, upstreams: set[int]) -> Iterator[_Arrow]:
        for node in self._graph.before[number]:
            if node < self._count or not upstreams.issuperset(self._behind[node]):
                continue
            boxes = self._boxes_behind(node)
            if sum(len(self._boxes[box].members) for box in boxes) == len(self._behind[node]):
                upstreams.difference_update(self._behind[node])
                for box in boxes:
                    self._joined.add((box, self._box_of[number]))
                    yield _Arrow((box, True), (number, False))
        for upstream in sorted(upstreams):
            edge = upstream, number
            self._joined.add((self._box_of[upstream], self._box_of[number]))
            label = self._graph.reasons[edge] if edge in self._graph.learned else ""
            yield _Arrow((upstream, False), (number, False), label=label)

    def _earlier(self, barrier: int, box: int) -> Iterator[_Arrow]:
        """Yield arrows from the boxes of a barrier and of those before it, unless implied by other arrows."""
        covered: list[int] = []
        chain: int | None = barrier
        while chain is not None:
            for tail in self._boxes_behind(chain):
                if tail != box and not any((tail, later) in self._joined for later in covered):
                    self._joined.add((tail, box))
                    yield _Arrow((tail, True), (box, True), is_dotted=True)
                covered.append(tail)
            chain = next((node for node in self._graph.before[chain] if node >= self._count), None)
