"""What a flow's code names in `runs/`, literally."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.graph.dependencies import Graph, make_graph
from pytest_ductaflow.graph.runs_in_code import paths_in_code

PARAMETERS = '# %% tags=["parameters"]\n'


def an_instance(
    root: Path, label: str, code: str = "", config: object = None, *, tagged: str = ""
) -> Instance:
    step, _, name = label.rpartition("/")
    flow = root / f"flows/{step}.py"
    if code or not flow.exists():
        flow.parent.mkdir(exist_ok=True)
        flow.write_text(f"{PARAMETERS}{tagged or 'config = {}'}\n\n# %%\n{code}\n")
    run_dir = root / "runs" / label
    return Instance(str(flow), step, name, config or {}, str(run_dir), str(root), f"{root}/c.py")


def named(root: Path, code: str, config: object = None, **more: str) -> list[str]:
    return list(paths_in_code(an_instance(root, "model/M", code, config, **more)))


READS = {
    'pd.read_csv("../../etl/A/x.csv")': ["../../etl/A/x.csv"],
    'open("/p/runs/etl/A/x.csv")': ["/p/runs/etl/A/x.csv"],
    'open("runs/etl/A/x.csv", "r")': ["runs/etl/A/x.csv"],
    'glob("runs/etl/*/x.csv")': ["runs/etl/*/x.csv"],
    'Path(config["_project_root"]) / "runs" / "etl" / "A" / "x.csv"': ["runs/etl/A/x.csv"],
    'root / "runs/etl/A" / "x.csv"': ["runs/etl/A/x.csv"],
    'Path(root, "runs", "etl", "A")': ["runs/etl/A"],
    'os.path.join(root, "runs", "etl", "A")': ["runs/etl/A"],
    'Path("runs").joinpath("etl", "A")': ["runs/etl/A"],
    'f"{root}/runs/etl/{zone}/x_{year}.csv"': ["runs/etl/north/x_2030.csv"],
    "f\"runs/etl/{config['zone']}/x.csv\"": ["runs/etl/north/x.csv"],
    '"runs/etl/" + zone + "/x.csv"': ["runs/etl/north/x.csv"],
    'str(Path("runs") / "etl")': ["runs/etl"],
    'STEP = "runs/etl"\nfor name in names:\n    read(f"{STEP}/{name}")': ["runs/etl"],
    'run_notebook("flows/x.py", {"table": "runs/etl/A/x.csv"})': ["runs/etl/A/x.csv"],
    'shutil.copy("runs/etl/A/x.csv", "runs/other/B/x.csv")': ["runs/etl/A/x.csv"],
    'if Path("../B/x.csv").exists():\n    pass': ["../B/x.csv"],
}


@pytest.mark.parametrize("code", READS)
def test_paths_are_read_off(tmp_path, code):
    assert named(tmp_path, code, {"zone": "north", "year": 2030}) == READS[code]


@pytest.mark.parametrize(
    "code",
    [
        'print("runs/etl/A/x.csv")',
        '"runs/etl/A/x.csv"',
        'frame.to_csv("runs/etl/A/x.csv")',
        'open("runs/etl/A/x.csv", "w")',
        'Path("runs/etl/A/x.csv").open(mode="wb")',
        'Path("runs/etl/A").mkdir()',
        'output_dir = "runs/etl/A"',
        'plot(save_to="runs/etl/A")',
        'config2 = {"output_dir": "runs/etl/A"}',
        'glob("runs/*/*/x.csv")',
        'Path("runs")',
        'open("data/runs.csv")',
        'open("reruns/etl/x.csv")',
        'f"runs/{step}/A/x.csv"',
        'open(f"runs/etl/{unknown}/x.csv")',
        'for zone in zones:\n    open(f"runs/etl/{zone}/x.csv")',
        'def read(zone):\n    return open(f"runs/etl/{zone}/x.csv")',
        "this is no Python, runs/etl/A",
    ],
)
def test_what_is_written_said_or_only_begins_like_a_path_is_none(tmp_path, code):
    assert named(tmp_path, code, {"zone": "north"}) == []


def test_a_default_counts_if_the_config_has_no_other_value(tmp_path):
    tagged = 'table = "runs/etl/A/x.csv"\nzone = "A"\noutput_dir = "runs/etl/B"'
    code = 'open(f"runs/model/{zone}/y.csv")'
    assert named(tmp_path, code, tagged=tagged) == ["runs/etl/A/x.csv", "runs/model/A/y.csv"]
    assert named(tmp_path, code, {"table": "t.csv", "zone": "B"}, tagged=tagged) == ["runs/model/B/y.csv"]


@pytest.mark.parametrize("name", ["x.ipynb", "x.md"])
def test_notebooks_are_read_as_well(tmp_path, name):
    import jupytext

    notebook = jupytext.reads(
        f'{PARAMETERS}zone = "A"\n\n# %%\nopen(f"../../etl/{{zone}}/x.csv")\n', "py:percent"
    )
    jupytext.write(notebook, tmp_path / name)
    instance = Instance(str(tmp_path / name), "x", "a", {}, str(tmp_path / "runs/x/a"), str(tmp_path))
    assert list(paths_in_code(instance)) == ["../../etl/A/x.csv"]


# Edges


def graph_of(*instances: Instance) -> Graph:
    graph, problems = make_graph([instances])
    assert problems == []
    return graph


def upstreams(graph: Graph) -> dict[str, list[str]]:
    return {
        label: [graph.labels[up] for up in found]
        for label, found in zip(graph.labels, graph.upstreams, strict=True)
        if found
    }


def test_code_makes_upstreams_in_whatever_order_they_are_declared(tmp_path):
    reader = an_instance(tmp_path, "model/M", 'open("../../etl/A/x.csv")')
    graph = graph_of(reader, an_instance(tmp_path, "etl/A"), an_instance(tmp_path, "etl/B"))
    assert upstreams(graph) == {"model/M": ["etl/A"]}
    assert graph.reasons[1, 0] == "code '../../etl/A/x.csv'"


def test_the_folder_of_a_step_means_all_its_instances_but_those_that_name_it(tmp_path):
    tables = [
        an_instance(tmp_path, "etl/A", 'open(root / "runs/etl" / "total.csv")'),
        an_instance(tmp_path, "etl/B"),
    ]
    reader = an_instance(tmp_path, "model/M", 'list(Path("runs/etl").glob("*"))')
    assert upstreams(graph_of(*tables, reader)) == {"model/M": ["etl/A", "etl/B"]}


def test_a_circle_of_code_is_no_error_and_what_configs_say_holds(tmp_path):
    table = an_instance(tmp_path, "etl/A", 'open("../../model/M/last.csv")')
    model = an_instance(tmp_path, "model/M", config={"table": "runs/etl/A/x.csv"})
    assert upstreams(graph_of(table, model)) == {"model/M": ["etl/A"]}
    both = an_instance(tmp_path, "model/M", 'open("../../etl/A/x.csv")')
    assert upstreams(graph_of(table, both)) == {}


def test_a_stored_instance_does_not_wait_for_what_its_code_names(tmp_path):
    reader = an_instance(tmp_path, "model/M", 'open("../../etl/A/x.csv")').with_(stored_in=str(tmp_path))
    assert upstreams(graph_of(an_instance(tmp_path, "etl/A"), reader)) == {}


def test_a_flow_that_cannot_be_read_names_nothing(tmp_path):
    missing = Instance(str(tmp_path / "none.py"), "x", "a", {}, str(tmp_path / "runs/x/a"), str(tmp_path))
    assert list(paths_in_code(missing)) == []


def test_a_pattern_that_thousands_share_makes_one_barrier(tmp_path):
    tables = [an_instance(tmp_path, f"etl/A{number}") for number in range(2_000)]
    readers = [
        an_instance(tmp_path, f"model/M{number}", 'glob("runs/etl/*/x.csv")' if not number else "")
        for number in range(2_000)
    ]
    shared = an_instance(tmp_path, "model/N", config={"tables": "runs/etl/*/x.csv"})
    graph = graph_of(
        *tables, *readers, *(shared.with_(name=f"N{n}", run_dir=f"{shared.run_dir}{n}") for n in range(999))
    )
    assert len(graph.upstreams[2_000]) == len(graph.upstreams[-1]) == 2_000
    assert sum(map(len, graph.before)) < 20_000
