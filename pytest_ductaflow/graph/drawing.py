"""The order of a plan as a drawing in text: Mermaid, which forges and notebooks show, and Graphviz' DOT.

Both have a box per step (and per flow, where a step has several), in it a node per instance, a solid arrow
for each upstream, and a dotted one where order is all that is kept. Who comes after all instances of a box
has one arrow from the box.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..core.model import Instance, stem_of
from .dependencies import Graph

# Besides quotes, Mermaid reads "#…;" and HTML in a text, and parts of Markdown.
_SPECIAL_IN_MERMAID = re.compile(r"[^\w /=,@.+-]|[.+-](?=\s)|_(?![^\W_])|(?<![^\W_])_")


def mermaid(graph: Graph, groups: Sequence[Sequence[Instance]]) -> str:
    """A plan as a Mermaid flowchart.

    Args:
        graph: The order.
        groups: The instances of each source, as the graph was made of.
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
    """A plan as a directed graph for Graphviz.

    Args:
        graph: The order.
        groups: The instances of each source, as the graph was made of.
    """
    boxes = _boxes(groups)
    lines = ["digraph plan {", "    rankdir=LR", "    compound=true", "    node [shape=box]"]
    for number, box in enumerate(boxes):
        lines += [f"    subgraph cluster_{number} {{", f"        label={_dot_text(box.title)}"]
        lines += [f"        n{node} [label={_dot_text(name)}]" for node, name in box.members.items()]
        lines.append("    }")
    for arrow in _Arrows(graph, boxes).all():
        # An arrow joins nodes; that it begins or ends at a box is what the box clips of it.
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
    """Instances of one step and flow: their names by their numbers."""

    title: str
    members: dict[int, str]


_End = tuple[int, bool]  # a node's number, or a box's and True


@dataclass(frozen=True)
class _Arrow:
    """From what comes earlier to what comes later."""

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
    """The arrows of a plan, as few as tell its order."""

    def __init__(self, graph: Graph, boxes: Sequence[_Box]) -> None:
        self._graph = graph
        self._boxes = boxes
        self._box_of = {node: number for number, box in enumerate(boxes) for node in box.members}
        self._count = len(graph.labels)
        self._joined: set[tuple[int, int]] = (
            set()
        )  # boxes with an arrow from one, or of its nodes, to the other

    def all(self) -> Iterator[_Arrow]:
        """First those to upstreams, then those to what only comes earlier."""
        earlier: dict[tuple[int, int], None] = {}  # barriers, and the boxes of what waits for them
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
        """The instances for which a barrier stands, less those of the barriers before it."""
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
        """From the boxes behind a barrier and behind those before it that these do not come after anyway."""
        covered: list[int] = []
        chain: int | None = barrier
        while chain is not None:
            for tail in self._boxes_behind(chain):
                if tail != box and not any((tail, later) in self._joined for later in covered):
                    self._joined.add((tail, box))
                    yield _Arrow((tail, True), (box, True), is_dotted=True)
                covered.append(tail)
            chain = next((node for node in self._graph.before[chain] if node >= self._count), None)
