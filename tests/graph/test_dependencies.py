"""Which instances wait for which."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.problem import Problem
from pytest_ductaflow.graph.dependencies import LEARNED, Graph, make_graph


def an_instance(label: str, config: object = None, *, flow: str | None = None, **more) -> Instance:
    step, _, name = label.rpartition("/")
    values = {"run_dir": f"/p/runs/{label}", "source": "/p/c.py", **more}
    flow_file = f"/p/flows/{flow or step}.py"
    return Instance(flow_file, step, name, config or {}, project_root="/p", **values)


def graph_of(*groups: list[Instance], learned: dict[int, list[str]] | None = None) -> Graph:
    graph, problems = make_graph(groups, learned)
    assert problems == []
    return graph


def ancestors(before: list[tuple[int, ...]] | tuple[tuple[int, ...], ...]) -> list[set[int]]:
    """Return for each node all nodes before it, direct or not; itself, if it is on a circle."""
    found = []
    for node in range(len(before)):
        seen: set[int] = set()
        todo = list(before[node])
        while todo:
            earlier = todo.pop()
            if earlier not in seen:
                seen.add(earlier)
                todo += before[earlier]
        found.append(seen)
    return found


def waits(graph: Graph) -> dict[str, set[str]]:
    """Return, by label, the labels of all that must have ended before, directly or not."""
    names = graph.labels
    return {
        names[node]: {names[other] for other in earlier if other < len(names)}
        for node, earlier in enumerate(ancestors(graph.before)[: len(names)])
    }


# What the graph says


def test_no_instances_make_an_empty_graph():
    assert graph_of() == Graph()
    assert graph_of([]).order([]) == []


def test_upstreams_have_reasons_and_are_sorted():
    graph = graph_of(
        [
            an_instance("etl/A"),
            an_instance("etl/B"),
            an_instance("prep/C"),
            an_instance("model/M", {"t": "runs/prep/C/t", "etl_instance": "B"}, after=("etl/A",)),
        ]
    )
    assert graph.labels == ("etl/A", "etl/B", "prep/C", "model/M")
    assert graph.upstreams[3] == (0, 1, 2)
    assert set(graph.upstreams[3]) <= set(graph.before[3])
    assert {edge: why for edge, why in graph.reasons.items() if edge[1] == 3} == {
        (0, 3): "_after",
        (1, 3): "config key 'etl_instance'",
        (2, 3): "config key 't'",
    }
    assert len(graph.reasons) == 3
    assert graph.learned == frozenset()


def test_an_edge_that_is_not_there_has_no_reason():
    graph = graph_of([an_instance("a/A"), an_instance("b/B", {"t": "runs/a/A"})])
    assert [graph.reasons.get(edge) for edge in ((1, 0), (0, 7), (0, -1), (0, 1))] == [
        None,
        None,
        None,
        "config key 't'",
    ]


def test_orphans_and_externals_are_kept_by_instance(tmp_path):
    (tmp_path / "runs/old/X").mkdir(parents=True)
    root = str(tmp_path)
    here = {"project_root": root}
    instances = [
        an_instance("a/A").with_(**here),
        an_instance("b/B", {"t": "runs/z", "u": ["runs/z", "runs/y"]}).with_(**here),
        an_instance("c/C", {"old_instance": "X", "more": {"old_instance": "X"}}).with_(**here),
    ]
    graph = graph_of(instances)
    assert graph.orphans == {1: (("t", "runs/z"), ("u", "runs/z"), ("u", "runs/y"))}
    assert graph.externals == {2: (f"{root}/runs/old/X",)}


def test_a_whole_step_is_shared_by_all_that_come_after_it():
    etl = [an_instance(f"etl/{n}") for n in range(100)]
    models = [an_instance(f"model/{n}", after=("etl",)) for n in range(100)]
    extra = an_instance("model/x", after=("etl", "model/3"))
    graph = graph_of([*etl, *models, extra])
    assert graph.upstreams[150] == tuple(range(100))
    assert graph.upstreams[200] == (*range(100), 103)
    assert waits(graph)["model/50"] == {f"etl/{n}" for n in range(100)}
    assert sum(map(len, graph.before)) < 500
    assert graph.reasons[7, 150] == "_after"
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))) == graph


# Order only


def test_what_refers_to_nothing_waits_for_the_flows_introduced_earlier():
    graph = graph_of([an_instance(f"{step}/{name}") for step in "abc" for name in "XY"])
    assert waits(graph)["b/X"] == {"a/X", "a/Y"}
    assert waits(graph)["c/Y"] == {"a/X", "a/Y", "b/X", "b/Y"}
    assert graph.upstreams == ((),) * 6
    assert graph.reasons == {}


def test_flows_are_introduced_by_their_first_instance():
    graph = graph_of([an_instance(label) for label in ("a/1", "b/1", "a/2", "b/2")])
    assert waits(graph) == {"a/1": set(), "b/1": {"a/1", "a/2"}, "a/2": set(), "b/2": {"a/1", "a/2"}}


def test_a_flow_that_a_conductor_comes_back_to_for_another_step_is_introduced_anew():
    """For example a flow that draws, used after one step and again after the next."""
    graph = graph_of(
        [an_instance("s/A", flow="x"), an_instance("s/B", flow="y"), an_instance("t/C", flow="x")]
    )
    assert waits(graph) == {"s/A": set(), "s/B": {"s/A"}, "t/C": {"s/A", "s/B"}}


@pytest.mark.parametrize(
    "more",
    [{"after": ()}, {"after": ("a/X",)}, {"config": {"t": "runs/a/X/t"}}, {"config": {"a_instance": "X"}}],
)
def test_what_refers_to_something_or_is_free_waits_for_nothing_else(more):
    graph = graph_of([an_instance("a/X"), an_instance("a/Y"), an_instance("b/X", **more)])
    assert waits(graph)["b/X"] <= {"a/X"}


def test_what_refers_to_something_waits_for_the_flows_of_which_it_is_not_known_what_it_needs():
    """The upstreams of a are declared; those of x are not, and b may read what x writes."""
    instances = [an_instance(label) for label in ("a/X", "a/Y", "x/1", "x/2")]
    for config in ({"t": "runs/a/X/t"}, {"a_instance": "X"}):
        graph = graph_of([*instances, an_instance("b/X", config)])
        assert waits(graph)["b/X"] == {"a/X", "a/Y", "x/1", "x/2"}  # a/Y because x waits for it
        assert set(graph.before[4]).isdisjoint({1})
        assert graph.upstreams[4] == (0,)
        for more in ({"after": ("a/X",)}, {"after": ()}):
            assert waits(graph_of([*instances, an_instance("b/X", config, **more)]))["b/X"] == {"a/X"}


def test_a_chain_is_not_held_up_by_other_chains_of_the_same_flows():
    """It is b that shows what c needs of a."""
    steps = [
        [an_instance("a/1"), an_instance("a/2")],
        [an_instance("b/1", {"t": "runs/a/1/t"}), an_instance("b/2", {"t": "runs/a/2/t"})],
        [an_instance("c/1", {"t": "runs/b/1/t"}), an_instance("c/2", {"t": "runs/b/2/t"})],
    ]
    by_step = [instance for instances in steps for instance in instances]
    by_chain = [instance for chain in zip(*steps, strict=True) for instance in chain]
    for instances in (by_step, by_chain):
        assert waits(graph_of(instances))["c/1"] == {"b/1", "a/1"}


def test_between_flows_that_it_knows_it_waits_for_those_that_it_does_not():
    labels = ("a/1", "b/1", "b/2", "w/1", "x/1", "c/1", "c/2", "y/1")
    free = [an_instance(label, after=()) for label in labels]
    graph = graph_of([*free, an_instance("z/1", {"t": ["runs/b/1", "runs/c/1"]})])
    assert waits(graph)["z/1"] == {*labels} - {"b/2", "c/2"}


def test_what_is_known_to_need_nothing_else_waits_for_nothing_else():
    instances = [an_instance("a/X"), an_instance("x/1"), an_instance("b/X", {"t": "runs/a/X/t"})]
    graph, _ = make_graph([instances], is_settled={2}.__contains__)
    assert waits(graph)["b/X"] == {"a/X"}
    graph, _ = make_graph([instances], is_settled={0, 1}.__contains__)
    assert waits(graph)["b/X"] == {"a/X", "x/1"}


def rows(*labels: str, line: int, **configs: object) -> list[Instance]:
    """Return the rows of one table."""
    return [
        an_instance(label, configs.get(label.replace("/", "_")), line=line, row=row)
        for row, label in enumerate(labels, start=1)
    ]


def test_rows_of_one_table_are_peers():
    """https://github.com/snakemake: 134 scripts, each once, ran one after the other."""
    table = rows("a/1", "b/1", "c/1", "d/1", line=3)
    assert waits(graph_of(table)) == {"a/1": set(), "b/1": set(), "c/1": set(), "d/1": set()}
    later = graph_of([*table, an_instance("e/1", line=9)])
    assert waits(later)["e/1"] == {"a/1", "b/1", "c/1", "d/1"}


def test_rows_of_a_table_wait_for_earlier_declarations_and_not_for_each_other():
    graph = graph_of([*rows("a/1", line=3), *rows("a/2", "b/2", line=4), *rows("b/3", "c/3", line=5)])
    assert waits(graph) == {
        "a/1": set(),
        "a/2": set(),
        "b/2": {"a/1"},
        "b/3": {"a/1"},
        "c/3": {"a/1", "a/2", "b/2"},
    }


def test_calls_in_a_loop_are_tables_of_their_own():
    """Their rows start again on the same line."""
    graph = graph_of([*rows("a/1", "b/1", line=3), *rows("a/2", "c/2", line=3)])
    assert waits(graph) == {"a/1": set(), "b/1": set(), "a/2": set(), "c/2": {"a/1", "b/1"}}


def test_a_row_may_refer_to_another_and_waits_for_that_one_only():
    graph = graph_of(rows("a/1", "a/2", "b/1", line=3, b_1={"t": "runs/a/1/t"}))
    assert waits(graph)["b/1"] == {"a/1"}


# Folders of run directories


def test_a_folder_makes_all_in_it_upstreams():
    etl = [an_instance(f"etl/{n}") for n in range(100)]
    graph = graph_of([*[an_instance(f"sum/{n}", {"of": "runs/etl"}) for n in range(100)], *etl])
    assert graph.upstreams[0] == graph.upstreams[99] == tuple(range(100, 200))
    assert graph.reasons[150, 7] == "config key 'of'"
    assert waits(graph)["sum/7"] == {f"etl/{n}" for n in range(100)}
    assert sum(map(len, graph.before)) < 500
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))) == graph


def test_what_comes_after_an_instance_is_not_meant_by_a_folder_that_it_names():
    instances = [
        an_instance("a/1", {"all": "runs/b"}),
        an_instance("b/1", {"t": "runs/a/1/t"}),
        an_instance("b/2"),
        an_instance("c/1", {"all": "runs/a", "more": "runs/b"}),
    ]
    graph = graph_of(instances)
    assert graph.upstreams == ((2,), (0,), (), (0, 1, 2))
    assert waits(graph)["a/1"] == {"b/2"}


def test_two_that_name_each_others_folders_do_not_wait_for_each_other():
    graph = graph_of([an_instance("a/1", {"all": "runs/b"}), an_instance("b/1", {"all": "runs/a"})])
    assert graph.upstreams == ((), ())
    assert waits(graph) == {"a/1": set(), "b/1": {"a/1"}}


def test_a_run_outside_of_the_plan_counts_as_something_referred_to(tmp_path):
    (tmp_path / "runs/old/X").mkdir(parents=True)
    instances = [an_instance("a/X"), an_instance("b/X", {"old_instance": "X"})]
    graph = graph_of([instance.with_(project_root=str(tmp_path)) for instance in instances])
    assert waits(graph)["b/X"] == set()


def test_an_orphan_does_not():
    graph = graph_of([an_instance("a/X"), an_instance("b/X", {"t": "runs/old"})])
    assert waits(graph)["b/X"] == {"a/X"}


def test_sources_do_not_wait_for_each_other():
    graph = graph_of([an_instance("a/X")], [an_instance("b/X")])
    assert waits(graph) == {"a/X": set(), "b/X": set()}


def test_what_an_earlier_flow_needs_does_not_wait_for_that_flow():
    """The model is declared first, and reads what etl/A writes: etl/A cannot come after all models."""
    graph = graph_of(
        [
            an_instance("prep/P"),
            an_instance("model/M", {"t": "runs/etl/A/t"}),
            an_instance("model/N"),
            an_instance("etl/A"),
            an_instance("etl/B"),
        ]
    )
    assert waits(graph) == {
        "prep/P": set(),
        "model/M": {"etl/A", "prep/P"},
        "model/N": {"prep/P"},
        "etl/A": {"prep/P"},
        "etl/B": {"prep/P", "model/M", "model/N", "etl/A"},
    }


def test_order_of_flows_makes_no_circle_among_sources():
    graph = graph_of(
        [an_instance("a/1", {"t": "runs/d/1/t"}), an_instance("b/1")],
        [an_instance("c/1", {"t": "runs/b/1/t"}), an_instance("d/1")],
    )
    everything = {"a/1", "b/1", "c/1", "d/1"}
    assert waits(graph) == {
        "d/1": set(),
        "a/1": {"d/1"},
        "b/1": {"a/1", "d/1"},
        "c/1": everything - {"c/1"},
    }


def test_a_second_mention_of_an_instance_waits_for_the_first():
    again = an_instance("a/X", source="/p/runs/a/X/a_config.json")
    graph = graph_of([an_instance("a/X")], [again], [again])
    assert graph.before == ((), (0,), (1,))
    assert graph.upstreams == ((), (), ())


def test_unless_that_would_make_a_circle():
    again = an_instance("old/X", run_dir="/p/runs/a/X", flow="a")
    graph = graph_of([an_instance("a/X", after=("b/Y",)), an_instance("b/Y", after=("old/X",))], [again])
    assert graph.before == ((1,), (2,), ())


# Circles


def test_a_circle_is_a_problem_that_names_it_and_its_edges():
    instances = [
        an_instance("etl/A", line=3, row=1, after=("model/A",)),
        an_instance("model/A", {"t": "runs/etl/A/t"}),
        an_instance("model/B", {"t": "runs/model/A/t"}),
    ]
    graph, problems = make_graph([instances])
    assert problems == [
        Problem(
            "c.py:3, row 1",
            "etl/A -> model/A -> etl/A wait for each other (model/A: config key 't', etl/A: _after)",
            "let one of them go first",
        )
    ]
    assert waits(graph) == {"etl/A": set(), "model/A": set(), "model/B": {"model/A"}}


def test_each_tangle_is_one_problem_that_shows_a_shortest_circle():
    """1 to 5 form a ring with a short cut; X and Y a circle of their own."""
    ring = [
        an_instance("r/1", after=("r/5",)),
        an_instance("r/2", after=("r/1",)),
        an_instance("r/3", after=("r/2", "r/1")),
        an_instance("r/4", after=("r/3",)),
        an_instance("r/5", after=("r/4", "r/2")),
    ]
    pair = [an_instance("s/X", after=("s/Y",)), an_instance("s/Y", after=("s/X", "r/1"))]
    _, problems = make_graph([[*ring, *pair]])
    assert [problem.what.partition(" wait")[0] for problem in problems] == [
        "r/1 -> r/2 -> r/5 -> r/1",
        "s/X -> s/Y -> s/X",
    ]


def test_steps_that_come_after_each_other_are_one_circle():
    instances = [
        an_instance(f"{step}/{n}", after=(other,)) for step, other in ("ab", "ba") for n in range(50)
    ]
    _, (problem,) = make_graph([instances])
    assert problem.what == "a/0 -> b/0 -> a/0 wait for each other (b/0: _after, a/0: _after)"


def test_a_long_circle_is_shown_in_part():
    instances = [an_instance(f"a/{n}", after=(f"a/{(n - 1) % 5000}",)) for n in range(5000)]
    _, (problem,) = make_graph([instances])
    assert problem.what.startswith("a/0 -> a/1 -> ")
    assert "… 4991 more wait for each other (a/1: _after, " in problem.what
    assert len(problem.what) < 500


# Learned


def test_what_an_earlier_run_has_read_becomes_an_upstream():
    graph = graph_of(
        [an_instance("a/X"), an_instance("a/Y"), an_instance("b/X", {"t": "runs/a/Y/t"})],
        learned={2: ["a/X", "a/Y", "nobody/knows", "b/X"]},
    )
    assert graph.upstreams[2] == (0, 1)
    assert graph.learned == {(0, 2)}
    assert graph.reasons[0, 2] == LEARNED
    assert graph.reasons[1, 2] == "config key 't'"


def test_one_of_a_step_that_is_an_upstream_as_a_whole_is_not_learned():
    etl = [an_instance(f"etl/{n}") for n in range(20)]
    graph = graph_of([*etl, an_instance("m/M", after=("etl",))], learned={20: ["etl/3"]})
    assert graph.learned == frozenset()
    assert graph.upstreams[20] == tuple(range(20))


def test_another_mention_of_an_instance_is_not_learned():
    graph = graph_of([an_instance("a/X")], [an_instance("a/X")], learned={0: ["a/X"], 1: ["a/X"]})
    assert graph.learned == frozenset()
    assert graph.before == ((), (0,))


def test_learning_one_upstream_does_not_free_from_the_order_of_flows():
    graph = graph_of([an_instance("a/X"), an_instance("a/Y"), an_instance("b/X")], learned={2: ["a/X"]})
    assert waits(graph)["b/X"] == {"a/X", "a/Y"}
    assert graph.upstreams[2] == (0,)


def test_what_would_close_a_circle_is_not_learned():
    """Declared order (c comes after b) and earlier observations stay; the order of flows gives way."""
    instances = [an_instance("a/X"), an_instance("b/X"), an_instance("c/X", after=("b/X",))]
    graph = graph_of(instances, learned={0: ["c/X", "b/X"], 1: ["c/X"], 2: ["a/X"]})
    assert graph.learned == {(1, 0), (2, 0)}
    assert waits(graph) == {"a/X": {"b/X", "c/X"}, "b/X": set(), "c/X": {"b/X"}}


def test_a_pattern_of_paths_makes_upstreams_of_all_in_which_it_can_match():
    instances = [an_instance(f"etl/{name}") for name in ("A1", "A2", "B")]
    patterns = {"runs/etl/*/x.csv": {"etl/A1", "etl/A2", "etl/B"}, "runs/etl/A?/x.csv": {"etl/A1", "etl/A2"}}
    patterns |= {"runs/**/x.csv": {"etl/A1", "etl/A2", "etl/B"}, "runs/etl/[B]": {"etl/B"}}
    for pattern, expected in patterns.items():
        graph = graph_of([*instances, an_instance("sum/all", {"tables": pattern})])
        assert {graph.labels[up] for up in graph.upstreams[3]} == expected


def test_of_two_that_have_read_each_other_the_first_keeps_its_edge():
    instances = [an_instance("a/X", after=()), an_instance("b/X", after=())]
    graph = graph_of(instances, learned={0: ["b/X"], 1: ["a/X"]})
    assert graph.learned == {(1, 0)}


# Sorting a sequence


def chain(*labels: str) -> list[Instance]:
    """Return a chain in which each needs the one before it."""
    return [
        an_instance(label, after=(labels[number - 1],) if number else ())
        for number, label in enumerate(labels)
    ]


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([4, 3, 0, 1, 2], [4, 3, 0, 1, 2]),
        ([2, 3, 4, 1, 0], [0, 1, 2, 3, 4]),
        ([3, 2, 4, 0, 1], [3, 0, 1, 2, 4]),
        ([3, 4, 2, 0], [3, 4, 0, 2]),
        ([2], [2]),
        ([], []),
    ],
)
def test_upstreams_move_to_where_they_are_first_needed(sequence, expected):
    graph = graph_of(
        [*chain("a/0", "a/1", "a/2"), an_instance("b/3", after=()), an_instance("b/4", after=())]
    )
    assert graph.order(sequence) == expected


# As JSON


def test_a_graph_travels_as_json(tmp_path):
    (tmp_path / "runs/old/X").mkdir(parents=True)
    instances = [
        an_instance("a/X"),
        an_instance("b/X", {"t": ["runs/a/X/t", "runs/nowhere"], "old_instance": "X"}),
        an_instance("b/Y"),
        an_instance("c/Z", after=("b",)),
    ]
    graph = graph_of([i.with_(project_root=str(tmp_path)) for i in instances], learned={0: ["b/X"]})
    read = Graph.from_json(json.loads(json.dumps(graph.to_json())))
    assert read == graph
    assert read.order([3, 2, 1, 0]) == graph.order([3, 2, 1, 0])


def test_so_does_one_made_by_hand():
    graph = Graph(("a/X", "b/X"), ((), (0,)), ((), (0,)), {(0, 1): "_after"})
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))) == graph
    assert Graph.from_json(json.loads(json.dumps(Graph().to_json()))) == Graph()


# Many instances


def test_ten_thousand_instances_with_five_texts_each():
    texts = {"a": "data/zones.csv", "b": "/data/x/../y", "c": "words, and/or more", "d": "http://h/p"}
    etl = [an_instance(f"etl/{n}", texts) for n in range(5000)]
    models = [an_instance(f"model/{n}", {**texts, "t": f"runs/etl/{n}/t"}) for n in range(5000)]
    graph = graph_of([*etl, *models], learned={n: ["etl/0"] for n in range(5000, 10_000)})
    assert graph.upstreams[9999] == (0, 4999)
    assert len(graph.reasons) == 5000 + 4999
    assert graph.order(range(10_000)) == list(range(10_000))


def test_a_thousand_after_a_thousand_take_a_thousand_edges():
    graph = graph_of([an_instance(f"{step}/{n}") for step in "abc" for n in range(1000)])
    assert sum(map(len, graph.before)) == 4001
    shuffled = random.Random(0).sample(range(3000), 3000)
    assert [number // 1000 for number in graph.order(shuffled)] == [0] * 1000 + [1] * 1000 + [2] * 1000


def test_a_chain_of_ten_thousand():
    graph = graph_of(chain(*(f"a/{n}" for n in range(10_000))))
    assert graph.order(range(9999, -1, -1)) == list(range(10_000))


def test_thousands_of_circles():
    instances = [
        an_instance(f"{step}/{n}", after=(f"{other}/{n}",))
        for step, other in ("ab", "ba")
        for n in range(2000)
    ]
    assert len(make_graph([instances])[1]) == 2000


# Any graph


@st.composite
def plans(draw) -> tuple[list[list[Instance]], dict[int, list[str]]]:
    """Draw sources of instances of few flows with random references, and learned labels."""
    sizes = draw(st.lists(st.integers(0, 7), min_size=1, max_size=3))
    labels = [
        f"{source}{draw(st.sampled_from('abc'))}/{n}"
        for source, size in enumerate(sizes)
        for n in range(size)
    ]
    some_labels = st.lists(st.sampled_from(labels), max_size=2) if labels else st.just([])
    instances = []
    for label in labels:
        paths = [f"runs/{other}/t" for other in draw(some_labels) if other != label]
        others = [other for other in draw(some_labels) if other != label]
        after = draw(st.sampled_from([None, (), tuple(others)]))
        wide = draw(st.sampled_from(labels)).partition("/")[0]
        if draw(st.integers(0, 5)) == 0 and wide != label.partition("/")[0]:
            after = (wide,)
        few_paths = paths if draw(st.booleans()) else []
        if draw(st.integers(0, 3)) == 0:
            few_paths = [*few_paths, draw(st.sampled_from(["runs", f"runs/{wide}", "runs/*"]))]
        run_dir = draw(st.sampled_from([f"/p/runs/{label}"] * 4 + ["/p/runs/shared"]))
        place = draw(st.sampled_from([{}, {"line": 3, "row": len(instances)}]))
        instances.append(an_instance(label, {"t": few_paths}, after=after, run_dir=run_dir, **place))
    groups, first = [], 0
    for size in sizes:
        groups.append(instances[first : first + size])
        first += size
    learned = {number: draw(some_labels) for number in range(len(labels)) if draw(st.booleans())}
    return groups, learned


def is_in_order(graph: Graph, sequence: list[int]) -> bool:
    place = {number: at for at, number in enumerate(sequence)}
    earlier = ancestors(graph.before)
    return all(place[other] < place[n] for n in sequence for other in earlier[n] if other in place)


@settings(deadline=None)
@given(plans())
def test_no_graph_has_a_circle(plan):
    groups, learned = plan
    graph, _ = make_graph(groups, learned)
    assert all(node not in earlier for node, earlier in enumerate(ancestors(graph.before)))


@settings(deadline=None)
@given(plans())
def test_upstreams_come_before_unless_they_are_on_a_circle(plan):
    groups, learned = plan
    graph, problems = make_graph(groups, learned)
    earlier = ancestors(graph.before)
    on_circles = [
        number
        for number, mine in enumerate(ancestors(graph.upstreams))
        if number in mine and not any(number in edge for edge in graph.learned)
    ]
    assert bool(on_circles) <= bool(problems)
    for number, upstreams in enumerate(graph.upstreams):
        assert problems or earlier[number].issuperset(upstreams)
    assert set(graph.reasons) == {(u, n) for n, mine in enumerate(graph.upstreams) for u in mine}
    assert {edge for edge, why in graph.reasons.items() if why == LEARNED} == graph.learned


@settings(deadline=None)
@given(plans())
def test_no_order_of_flows_is_given_up_without_need(plan):
    """In one source, a free instance waits for each flow before its own and before those that need it."""
    group = [instance.with_(row=None) for instance in plan[0][0]]
    graph, problems = make_graph([group])
    if problems or len({instance.key for instance in group}) < len(group):
        return
    flows = list(dict.fromkeys(instance.flow for instance in group))
    flow = [flows.index(instance.flow) for instance in group]
    needed = ancestors(graph.upstreams)
    earlier = ancestors(graph.before)
    for number, instance in enumerate(group):
        first = min([flow[number], *(flow[other] for other, mine in enumerate(needed) if number in mine)])
        is_free = instance.after is None and not graph.upstreams[number]
        expected = {other for other in range(len(group)) if is_free and flow[other] < first}
        assert earlier[number] >= expected


@settings(deadline=None)
@given(plans())
def test_only_what_would_close_a_circle_is_not_learned(plan):
    groups, learned = plan
    instances = [instance for group in groups for instance in group]
    graph, problems = make_graph(groups, learned)
    earlier = ancestors(graph.before)
    for number, labels in learned.items():
        for upstream in (graph.labels.index(label) for label in labels):
            is_own = instances[upstream].key == instances[number].key
            is_known = upstream in graph.upstreams[number]
            assert is_own or is_known or number in earlier[upstream]
    assert all((u, n) not in graph.learned or u in earlier[n] or problems for u, n in graph.reasons)


@settings(deadline=None)
@given(plans(), st.data())
def test_any_sequence_can_be_put_in_order_and_then_stays_so(plan, data):
    groups, learned = plan
    graph, _ = make_graph(groups, learned)
    numbers = data.draw(st.permutations(range(len(graph.labels))))
    sequence = numbers[: data.draw(st.integers(0, len(numbers)))]
    ordered = graph.order(sequence)
    assert sorted(ordered) == sorted(sequence)
    assert is_in_order(graph, ordered)
    assert graph.order(ordered) == ordered
    if is_in_order(graph, sequence):
        assert ordered == sequence


@settings(deadline=None)
@given(plans())
def test_any_graph_travels_as_json(plan):
    graph, _ = make_graph(*plan)
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))) == graph
