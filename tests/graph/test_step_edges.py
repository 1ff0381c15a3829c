"""Between which steps dependencies lead."""

from __future__ import annotations

import time

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.graph.dependencies import Graph, make_graph
from pytest_ductaflow.graph.step_edges import StepEdge, step_edges


def an_instance(step: str, name: str, **config: object) -> Instance:
    return Instance(
        f"/p/flows/{step}.py", step, name, config, f"/p/runs/{step}/{name}", "/p", source="/p/c.py"
    )


def edges_of(*instances: Instance) -> list[StepEdge[str]]:
    graph, problems = make_graph([instances])
    assert not problems
    return step_edges(graph, [each.step for each in instances])


def test_dependents_are_counted_once_each():
    grown = [an_instance("grown", name) for name in "abc"]
    fits = [an_instance("fit", name, src=["runs/grown/a/x.csv", "runs/grown/b/x.csv"]) for name in "de"]
    total = an_instance("sum", "all", src="runs/fit")
    found = edges_of(*grown, *fits, an_instance("fit", "f", src="runs/grown/c"), total)
    assert [edge for edge in found if not edge.is_order_only] == [
        StepEdge("grown", "fit", 3),
        StepEdge("fit", "sum", 1),
    ]


def test_the_order_of_flows_is_told_where_nothing_else_is():
    found = edges_of(an_instance("a", "1"), an_instance("b", "1"), an_instance("c", "1"))
    assert found == [StepEdge("a", "b", 1, is_order_only=True), StepEdge("b", "c", 1, is_order_only=True)]


def test_no_plan_has_no_edges():
    assert step_edges(Graph(), []) == []


def test_steps_that_need_whole_steps_take_no_time():
    before = [an_instance("a", str(n)) for n in range(3_000)]
    after = [an_instance("b", str(n), src="runs/a") for n in range(3_000)]
    graph, _ = make_graph([[*before, *after]])
    began = time.process_time()
    assert step_edges(graph, ["a"] * 3_000 + ["b"] * 3_000) == [StepEdge("a", "b", 3_000)]
    assert time.process_time() - began < 2
