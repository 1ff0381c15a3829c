"""What a flow's code names in `runs/`, literally."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.graph.dependencies import Graph, make_graph
from pytest_ductaflow.graph.runs_in_code import NamedPath, paths_in_code

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


def named(root: Path, code: str, config: object = None, **more: str) -> dict[str, bool]:
    """Return the paths in code, each with whether it is read for sure."""
    found = paths_in_code(an_instance(root, "model/M", code, config, **more))
    return {path.text: path.is_read for path in found}


READS = {
    'pd.read_csv("../../etl/A/x.csv")': "../../etl/A/x.csv",
    'open("/p/runs/etl/A/x.csv")': "/p/runs/etl/A/x.csv",
    'with open("runs/etl/A/x.csv", "r") as file:\n    pass': "runs/etl/A/x.csv",
    'glob("runs/etl/*/x.csv")': "runs/etl/*/x.csv",
    '(Path(config["_project_root"]) / "runs" / "etl" / "A" / "x.csv").read_text()': "runs/etl/A/x.csv",
    'np.load(root / "runs/etl/A" / "x.npy")': "runs/etl/A/x.npy",
    'os.listdir(Path(root, "runs", "etl", "A"))': "runs/etl/A",
    'read(os.path.join(root, "runs", "etl", "A"))': "runs/etl/A",
    'Path("runs").joinpath("etl", "A").glob("*")': "runs/etl/A",
    'open(f"{root}/runs/etl/{zone}/x_{year}.csv")': "runs/etl/north/x_2030.csv",
    "open(f\"runs/etl/{config['zone']}/x.csv\")": "runs/etl/north/x.csv",
    "open(f\"runs/etl/{config.get('zone')}/x.csv\")": "runs/etl/north/x.csv",
    'open("runs/etl/" + zone + "/x.csv")': "runs/etl/north/x.csv",
    'shutil.copy("runs/etl/A/x.csv", "runs/other/B/x.csv")': "runs/etl/A/x.csv",
    'shutil.copy(src="../../etl/A/x.csv", dst="x.csv")': "../../etl/A/x.csv",
    'print(pd.read_csv("../../etl/A/x.csv"))': "../../etl/A/x.csv",
    'logging.info(len(open("../../etl/A/x.csv").read()))': "../../etl/A/x.csv",
    'pd.read_csv("../../etl/A/x.csv").to_csv("o.csv")': "../../etl/A/x.csv",
    'json.dump(json.load(open("../../etl/A/x.json")), f)': "../../etl/A/x.json",
    'Path("o").write_text(Path("../../etl/A/x.csv").read_text())': "../../etl/A/x.csv",
}
MENTIONS = {
    'table = "../../etl/A/x.csv"': "../../etl/A/x.csv",
    'if Path("../B/x.csv").exists():\n    open("../B/x.csv")': "../B/x.csv",
    'try:\n    open("../../etl/A/x.csv")\nexcept FileNotFoundError:\n    pass': "../../etl/A/x.csv",
    'with suppress(OSError):\n    open("../../etl/A/x.csv")': "../../etl/A/x.csv",
    'def never():\n    return open("../../etl/A/x.csv").read()': "../../etl/A/x.csv",
    'plt.title("runs/etl/A")': "runs/etl/A",
    'run_notebook("flows/x.py", {"table": "runs/etl/A/x.csv"})': "runs/etl/A/x.csv",
    'str(Path("runs") / "etl")': "runs/etl",
    'STEP = "runs/etl"\nfor name in names:\n    read(f"{STEP}/{name}")': "runs/etl",
    'open(f"runs/etl/{unknown}/x.csv")': "runs/etl",
    'open("../../etl/{}/x.csv".format(n))': "../../etl",
    'open("../../etl/%s/x.csv" % n)': "../../etl",
    'for zone in zones:\n    open(f"runs/etl/{zone}/x.csv")': "runs/etl",
    'zone = config["zone"]\nopen(f"../../etl/{zone}/x.csv")': "../../etl",
}


@pytest.mark.parametrize("code", [*READS, *MENTIONS])
def test_paths_are_read_off(tmp_path, code):
    expected = {READS[code]: True} if code in READS else {MENTIONS[code]: False}
    assert named(tmp_path, code, {"zone": "north", "year": 2030}) == expected


@pytest.mark.parametrize(
    "code",
    [
        'print("runs/etl/A/x.csv")',
        '"runs/etl/A/x.csv"',
        'frame.to_csv("runs/etl/A/x.csv")',
        'open("runs/etl/A/x.csv", "w")',
        'Path("runs/etl/A/x.csv").open(mode="wb")',
        'h5py.File("runs/etl/A/x.h5", "w")',
        'imageio.imwrite("runs/etl/A/x.png", pixels)',
        'Path("runs/etl/A").mkdir()',
        'output_dir = "runs/etl/A"',
        'plot(save_to="runs/etl/A")',
        'config2 = {"output_dir": "runs/etl/A"}',
        'glob("runs/*/*/x.csv")',
        'Path("runs")',
        'open("data/runs.csv")',
        'open("reruns/etl/x.csv")',
        'f"runs/{step}/A/x.csv"',
        'open(f"../../{step}/x.csv")',
        "this is no Python, runs/etl/A",
    ],
)
def test_what_is_written_said_or_only_begins_like_a_path_is_none(tmp_path, code):
    assert named(tmp_path, code, {"zone": "north"}) == {}


def test_a_default_counts_if_the_config_has_no_other_value(tmp_path):
    tagged = 'table = "runs/etl/A/x.csv"\nzone = "A"\noutput_dir = "runs/etl/B"'
    code = 'open(f"runs/model/{zone}/y.csv")'
    assert named(tmp_path, code, tagged=tagged) == {"runs/etl/A/x.csv": True, "runs/model/A/y.csv": True}
    given = {"table": "t.csv", "zone": "B"}
    assert named(tmp_path, code, given, tagged=tagged) == {"runs/model/B/y.csv": True}


def test_the_parameters_cell_may_follow_others(tmp_path):
    flow = tmp_path / "flows/model.py"
    flow.parent.mkdir()
    before = '# %% [markdown]\n# # Model\n\n# %% tags=["setup"]\nimport numpy\n\n'
    flow.write_text(f'{before}{PARAMETERS}zone = "A"\n\n# %%\nopen(f"runs/etl/{{zone}}/x.csv")\n')
    assert named(tmp_path, "") == {"runs/etl/A/x.csv": True}


@pytest.mark.parametrize(
    "before",
    [
        "#%%",
        "#  %% b",
        "    # %%",
        "# In[2]:",
        "# <codecell>",
        '# %%\nx = """\n# %% b\n"""',
        "# %%time\n\n# %%",
    ],
)
def test_the_parameters_cell_ends_as_jupytext_has_it(tmp_path, before):
    flow = tmp_path / "flows/model.py"
    flow.parent.mkdir()
    flow.write_text(f'{PARAMETERS}zone = "A"\n\n{before}\nopen(f"runs/etl/{{zone}}/x.csv")\n')
    assert named(tmp_path, "") == {"runs/etl/A/x.csv": True}


@pytest.mark.parametrize("name", ["x.ipynb", "x.md"])
def test_notebooks_are_read_as_well(tmp_path, name):
    import jupytext

    notebook = jupytext.reads(
        f'{PARAMETERS}zone = "A"\n\n# %%\nopen(f"../../etl/{{zone}}/x.csv")\n', "py:percent"
    )
    jupytext.write(notebook, tmp_path / name)
    instance = Instance(str(tmp_path / name), "x", "a", {}, str(tmp_path / "runs/x/a"), str(tmp_path))
    assert list(paths_in_code(instance)) == [NamedPath("../../etl/A/x.csv", is_read=True)]


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


def waits_for(graph: Graph, number: int) -> set[str]:
    """Return the instances that must end before one, directly or through barriers."""
    nodes, found = [number], set()
    while nodes:
        for node in graph.before[nodes.pop()]:
            if node < len(graph.labels):
                found.add(graph.labels[node])
            else:
                nodes.append(node)
    return found


def test_what_is_only_mentioned_goes_first_and_blocks_nothing(tmp_path):
    reader = an_instance(tmp_path, "model/M", 'for name in names:\n    open(f"../../etl/{name}/x.csv")')
    graph = graph_of(reader, an_instance(tmp_path, "etl/A"), an_instance(tmp_path, "etl/B"))
    assert upstreams(graph) == {}
    assert waits_for(graph, 0) == {"etl/A", "etl/B"}
    assert waits_for(graph_of(reader, an_instance(tmp_path, "etl/A", 'open("../../model/M/x")')), 0) == set()


def test_what_code_names_is_not_taken_for_all_that_is_needed(tmp_path):
    tables = [an_instance(tmp_path, "etl/A"), an_instance(tmp_path, "etl/B")]
    reader = an_instance(
        tmp_path, "model/M", 'open("../../etl/A/x.csv")\nfor path in others:\n    open(path)'
    )
    graph = graph_of(*tables, reader)
    assert upstreams(graph) == {"model/M": ["etl/A"]}
    assert waits_for(graph, 2) == {"etl/A", "etl/B"}


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
