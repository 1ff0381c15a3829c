"""The order of a plan as Mermaid and DOT."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.graph.dependencies import Graph, make_graph
from pytest_ductaflow.graph.drawing import dot, mermaid

AWKWARD = [
    'a "b" [c]',
    "year=2040,mode=rail",
    "1. first",
    "- dash",
    "_under_score_",
    "*bold* `code` ~~gone~~",
    "<b>&amp;#35;</b>",
    "back\\slash\\",
    "\\N",
    "style: #fff;",
    "#quot;",
    '"',
    "end",
    "Zürich → 東京 🚆",
    "{a|b}",
    "%%{init}%%",
]


def an_instance(label: str, config: object = None, *, flow: str | None = None, **more) -> Instance:
    step, _, name = label.partition("/")
    flow_file = f"/p/flows/{flow or step}.py"
    values = {"run_dir": f"/p/runs/{label}", "source": "/p/c.py", **more}
    return Instance(flow_file, step, name, config or {}, project_root="/p", **values)


def drawn(draw, *groups: list[Instance], learned: dict[int, list[str]] | None = None) -> str:
    graph, problems = make_graph(groups, learned)
    assert problems == []
    return draw(graph, groups)


def arrows(text: str) -> list[str]:
    """Return the arrows of either language, with a DOT box in place of the node that represents it."""
    found = []
    for line in text.splitlines():
        if match := re.fullmatch(r"\s+(n\d+) -> (n\d+)(?: \[(.*)\])?", line):
            attributes = dict(part.split("=", 1) for part in (match[3] or "").split(", ") if part)
            tail = attributes.get("ltail", match[1]).replace("cluster_", "s")
            head = attributes.get("lhead", match[2]).replace("cluster_", "s")
            found.append(f"{tail} {'-.->' if 'style' in attributes else '-->'} {head}")
        elif match := re.fullmatch(r'\s+([ns]\d+) (-\.->|-->)(?:\|".*"\|)? ([ns]\d+)', line):
            found.append(" ".join(match.groups()))
    return found


both = pytest.mark.parametrize("draw", [mermaid, dot])


def test_a_plan_in_mermaid():
    text = drawn(
        mermaid,
        [an_instance("etl/A"), an_instance("etl/B"), an_instance("model/A", {"t": "runs/etl/A/t"})],
        learned={2: ["etl/B"]},
    )
    expected = """\
    flowchart LR
        subgraph s0["etl"]
            n0["A"]
            n1["B"]
        end
        subgraph s1["model"]
            n2["A"]
        end
        n0 --> n2
        n1 -->|"found to read it earlier"| n2
    """
    assert text == dedent(expected)


def test_a_plan_in_dot():
    text = drawn(
        dot,
        [
            an_instance("etl/A"),
            an_instance("etl/B"),
            an_instance("model/A"),
            an_instance("end/A", after=("etl",)),
        ],
    )
    expected = """\
    digraph plan {
        rankdir=LR
        compound=true
        node [shape=box]
        subgraph cluster_0 {
            label="etl"
            n0 [label="A"]
            n1 [label="B"]
        }
        subgraph cluster_1 {
            label="model"
            n2 [label="A"]
        }
        subgraph cluster_2 {
            label="end"
            n3 [label="A"]
        }
        n0 -> n3
        n1 -> n3
        n0 -> n2 [ltail=cluster_0, lhead=cluster_1, style=dotted]
    }
    """
    assert text == dedent(expected)


def test_a_plan_without_instances_is_an_empty_drawing():
    assert mermaid(Graph(), []) == "flowchart LR\n"
    assert dot(Graph(), [[]]).endswith("node [shape=box]\n}\n")


@both
def test_flows_in_their_order_take_one_dotted_arrow_each(draw):
    steps = [an_instance(f"{step}/{name}") for step in "abcd" for name in "XYZ"]
    assert arrows(drawn(draw, steps)) == ["s0 -.-> s1", "s1 -.-> s2", "s2 -.-> s3"]


@both
def test_a_flow_that_comes_after_several_without_an_order_has_an_arrow_from_each(draw):
    steps = [an_instance("a/X"), an_instance("b/X", after=()), an_instance("c/X")]
    assert arrows(drawn(draw, steps)) == ["s1 -.-> s2", "s0 -.-> s2"]


@both
def test_some_of_a_flow_may_only_come_later_where_others_need_something(draw):
    steps = [an_instance("a/X"), an_instance("b/X", {"t": "runs/a/X"}), an_instance("b/Y")]
    assert arrows(drawn(draw, steps)) == ["n0 --> n1", "s0 -.-> s1"]


@both
def test_who_comes_after_a_large_step_has_one_arrow_from_its_box(draw):
    etl = [an_instance(f"etl/{n}") for n in range(50)]
    text = drawn(draw, [*etl, an_instance("m/A", after=("etl",)), an_instance("m/B", after=("etl", "m/A"))])
    assert arrows(text) == ["s0 --> n50", "s0 --> n51", "n50 --> n51"]


@both
def test_a_second_mention_comes_after_the_first(draw):
    assert arrows(drawn(draw, [an_instance("a/X")], [an_instance("a/X")])) == ["n0 -.-> n1"]


def _bracket(code: re.Match[str]) -> str:
    return {"#40;": "(", "#41;": ")"}[code[0]]


@both
def test_flows_of_one_step_have_a_box_each(draw):
    text = drawn(draw, [an_instance("s/A", flow="x"), an_instance("s/B", flow="y"), an_instance("t/C")])
    titles = [
        title for title in ("s (x)", "s (y)", "t") if f'"{title}"' in re.sub(r"#40;|#41;", _bracket, text)
    ]
    assert titles == ["s (x)", "s (y)", "t"]
    assert len(re.findall(r"subgraph", text)) == 3
    assert arrows(text) == ["s0 -.-> s1", "s1 -.-> s2"]


@both
def test_steps_of_the_same_name_in_two_projects_have_a_box_each(draw):
    text = drawn(
        draw, [an_instance("s/A")], [an_instance("s/A").with_(project_root="/q", run_dir="/q/runs/s/A")]
    )
    assert len(re.findall(r"subgraph", text)) == 2


@both
def test_a_drawing_is_the_same_each_time(draw):
    steps = [
        an_instance(f"{step}/{name}", after=("a", "b/X")[: len(step)]) for step in ("c", "d") for name in "XY"
    ]
    group = [an_instance("a/X"), an_instance("b/X"), *steps]
    assert drawn(draw, group) == drawn(draw, group)


# Names


def names_in_mermaid(text: str) -> list[str]:
    """Return the texts of nodes as Mermaid shows them, and check each line against its grammar."""
    found = []
    for line in text.splitlines()[1:]:
        node = re.fullmatch(r'\s+(subgraph )?[ns]\d+\["([^"]*)"\]', line)
        assert node or re.fullmatch(r'\s+end|\s+[ns]\d+ (-->|-\.->)(\|"[^"]*"\|)? [ns]\d+', line), line
        if node and not node[1]:
            decoded = re.sub(
                r"#(\w+);", lambda code: '"' if code[1] == "quot" else chr(int(code[1])), node[2]
            )
            found.append(decoded)
    return found


@pytest.mark.parametrize("name", AWKWARD)
def test_any_name_can_stand_in_mermaid(name):
    text = drawn(mermaid, [an_instance("s/A").with_(step=name, name=name)])
    assert names_in_mermaid(text) == [name]
    shown = "".join(re.findall(r'"([^"]*)"', text))
    assert re.search(r'[<>&`*~:\[\]{}|%\\"]', shown) is None


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1))
def test_whatever_the_characters(name):
    assert names_in_mermaid(drawn(mermaid, [an_instance("s/A").with_(name=name)])) == [name]


def test_readable_names_stay_readable_in_mermaid():
    assert 'n0["year=2040,mode_a@x-1.5+2"]' in drawn(mermaid, [an_instance("s/year=2040,mode_a@x-1.5+2")])


needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")


@needs_graphviz
def test_graphviz_reads_any_name_back_from_dot():
    instances = [
        an_instance("s/A").with_(name=name, run_dir=f"/p/runs/{n}") for n, name in enumerate(AWKWARD)
    ]
    text = drawn(dot, [*instances, an_instance("t/A", after=("s",)), an_instance('"u\\'), an_instance("v/A")])
    command = ["dot", "-Tsvg"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stderr == ""
    shown = re.findall(r"<text[^>]*>(.*?)</text>", done.stdout)
    for name in AWKWARD:
        escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
        assert {escaped, escaped.replace("-", "&#45;")} & set(shown)


@needs_graphviz
def test_graphviz_takes_nodes_and_arrows_as_they_are_meant():
    text = drawn(dot, [an_instance(f"{step}/{n}") for step in "ab" for n in range(3)])
    done = subprocess.run(["dot", "-Tjson"], input=text, capture_output=True, text=True, check=True)
    read = json.loads(done.stdout)
    assert [box["name"] for box in read["objects"] if "nodes" in box] == ["cluster_0", "cluster_1"]
    assert [(edge["ltail"], edge["lhead"]) for edge in read["edges"]] == [("cluster_0", "cluster_1")]
