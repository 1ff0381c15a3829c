"""From rows and calls to instances; every mistake is a problem that names file, row and column."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.projects import stable_repr, write_project

from pytest_ductaflow.core.errors import DuctaflowError
from pytest_ductaflow.core.instance import Instance, config_hash, slug
from pytest_ductaflow.planning import caller as caller_module
from pytest_ductaflow.planning.caller import Origin, caller
from pytest_ductaflow.planning.declare_call import declare_call
from pytest_ductaflow.planning.declare_table import Declared, TableDeclaration, columns_of
from pytest_ductaflow.planning.processes.declare_process import of_table
from pytest_ductaflow.planning.reserved_columns import RESERVED, reserved_value, upstreams
from pytest_ductaflow.sources import instance_names
from pytest_ductaflow.sources.instance_names import collisions, with_distinct_names
from pytest_ductaflow.sources.parameters_cell.flow_check import flow_problem


@pytest.fixture
def project(write, monkeypatch) -> Path:
    root = write(
        {
            "flows/01_fit.py": "print(1)",
            "flows/plot.py": "print(2)",
            "builds/all.py": "print(3)",
            "conductor.py": "",
        }
    )
    monkeypatch.chdir(root)
    return root


def declared(project: Path, table: object, flow: str | Path | None = "01_fit", **more) -> Declared:
    origin = Origin(str(project / "conductor.py"), 7)
    return TableDeclaration(flow, table, origin, project, **more).declare()


def one(project: Path, table: object, *args, **more) -> Instance:
    made = declared(project, table, *args, **more)
    assert made.problems == []
    (instance,) = made.instances
    return instance


def problems(project: Path, table: object, *args, **more) -> list[str]:
    made = declared(project, table, *args, **more)
    assert len(made.problems) > 0
    return [str(problem) for problem in made.problems]


def test_a_row_becomes_an_instance_with_all_that_is_known_of_it(project):
    row = {
        "instance_name": "A",
        "year": np.int64(2040),
        "p.method": "x",
        "_timeout": 5,
        "_after": "etl/B; etl/C",
    }
    assert one(project, [row]) == Instance(
        flow=str(project.resolve() / "flows" / "01_fit.py"),
        step="fit",
        name="A",
        config={"instance_name": "A", "year": 2040, "p": {"method": "x"}},
        run_dir=str(project / "runs" / "fit" / "A"),
        project_root=str(project),
        source=str(project / "conductor.py"),
        line=7,
        row=1,
        after=("etl/B", "etl/C"),
        timeout=5.0,
    )


def test_an_instance_of_a_table_travels_as_json(project):
    instance = one(project, [{"instance_name": "Ä", "d": datetime.date(2040, 2, 29), "a": np.arange(2)}])
    assert Instance.from_json(json.loads(json.dumps(instance.to_json()))) == instance


@pytest.mark.parametrize("empty", [None, np.nan, pd.NaT, pd.NA, "", "  "])
def test_an_empty_cell_lets_the_base_hold(project, empty):
    instance = one(
        project, [{"instance_name": "A", "p.x": empty, "y": empty}], base={"p.x": 1, "p": {"z": 2}, "y": 3}
    )
    assert instance.config == {"instance_name": "A", "p": {"x": 1, "z": 2}, "y": 3}


def test_an_empty_cell_without_a_base_leaves_the_key_out(project):
    assert one(project, [{"instance_name": "A", "x": None}]).config == {"instance_name": "A"}


def test_a_row_goes_over_the_base_group_by_group(project):
    instance = one(project, [{"instance_name": "A", "p.x": 5}], base={"p": {"x": 1, "y": 2}})
    assert instance.config["p"] == {"x": 5, "y": 2}


def test_a_function_makes_the_config_in_place_of_the_row(project):
    rows = []

    def config(row: dict[str, object]) -> dict[str, object]:
        rows.append(dict(row))
        row.clear()
        return {"double.x": rows[-1]["x"] * 2, "when": pd.Timestamp("2040"), "_retries": 1}

    instance = one(
        project, [{"instance_name": "A", "step": "s", "x": 2, "y": None}], config=config, base={"b": 1}
    )
    assert instance.config == {"b": 1, "double": {"x": 4}, "when": "2040-01-01T00:00:00"}
    assert (instance.step, instance.name, instance.retries) == ("s", "A", 1)
    assert rows == [{"instance_name": "A", "step": "s", "x": 2}]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda row: row["nope"], "config= raised KeyError: 'nope'"),
        (lambda row: None, "config= raised TypeError"),
        (lambda row: 5, "config= raised TypeError"),
        (lambda row: {"x": object()}, "column 'x': <object object at"),
        (lambda row: {"a": 1, "a.b": 2}, "'a' is a value and"),
    ],
)
def test_what_goes_wrong_in_the_function_is_a_problem_of_its_row(project, function, said):
    (problem,) = problems(project, [{"instance_name": "A"}], config=function)
    assert problem.startswith("conductor.py:7, row 1")
    assert said in problem


@pytest.mark.parametrize(
    ("row", "step_argument", "step", "flow"),
    [
        ({}, None, "fit", "01_fit.py"),
        ({}, "given", "given", "01_fit.py"),
        ({"step": " own "}, "given", "own", "01_fit.py"),
        ({"step": "a/b"}, None, "a/b", "01_fit.py"),
        ({"step": 3}, None, "3", "01_fit.py"),
        ({"flow": "flows/plot.py"}, None, "plot", "plot.py"),
        ({"flow": "plot"}, None, "plot", "plot.py"),
        ({"build": "all"}, None, "all", "all.py"),
        ({"flow": None, "build": "all"}, None, "all", "all.py"),
        pytest.param({"step": 0}, None, "0", "01_fit.py"),
    ],
)
def test_step_and_flow_come_from_the_row_then_the_call_then_the_flows_name(
    project, row, step_argument, step, flow
):
    instance = one(project, [{"instance_name": "A", **row}], step=step_argument)
    assert (instance.step, Path(instance.flow).name) == (step, flow)
    assert instance.config == {"instance_name": "A"}
    assert instance.run_dir == str(project / "runs" / step / "A")


@pytest.mark.parametrize(
    ("table", "instance_names"),
    [
        ([{"instance_name": "007"}, {"instance_name": "NA"}], ["007", "NA"]),
        ([{"instance_name": 7}], ["7"]),
        (pd.DataFrame({"x": [1, 2]}, index=["p", "q"]), ["p", "q"]),
        ([{"x": 1}, {"x": 2}], ["x=1", "x=2"]),
        ([{"x": 1}], ["x=1"]),
        ([], []),
        (pd.DataFrame({"instance_name": [], "x": []}), []),
    ],
    ids=stable_repr,
)
def test_names_come_from_the_table(project, table, instance_names):
    made = declared(project, table)
    assert made.problems == []
    assert [instance.name for instance in made.instances] == instance_names


@pytest.mark.parametrize("table", [[{}], pd.DataFrame(index=range(1))], ids=["list", "frame"])
def test_a_row_may_have_nothing_but_the_base(project, table):
    assert one(project, table, base={"x": 1}).config == {"x": 1}


def test_a_table_in_a_file_is_named_in_its_problems(project, write):
    write({"tables/t.csv": "instance_name,x\nA,1\n,2\n"})
    made = declared(project, "tables/t.csv")
    assert [instance.name for instance in made.instances] == ["A"]
    assert list(map(str, made.problems)) == [
        "tables/t.csv, row 2, column 'instance_name': instance_name is empty (give another name)"
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"instance_name": "../x"}, "column 'instance_name': instance_name '../x' would leave runs/"),
        ({"instance_name": "/x"}, "column 'instance_name': instance_name '/x' would leave runs/"),
        ({"instance_name": "x" * 300}, "longer than a file name can be"),
        ({"instance_name": "a\nb"}, "has a control character"),
        ({"instance_name": None}, "instance_name is empty"),
        ({"step": ".."}, "column 'step': step '..' would leave runs/"),
        ({"step": "a//b"}, "column 'step': step 'a//b' has an empty part"),
        ({"x": {1, 2}}, "column 'x': {1, 2} (set) has no place in JSON"),
        ({"x": 1j}, "column 'x': 1j (complex) has no place in JSON"),
        ({"x": [float("inf")]}, "column 'x': inf has no place in JSON"),
        ({"x": {1: 2}}, "column 'x': key 1 is not text"),
        ({"a": 1, "a.b": 2}, "'a' is a value and, in column 'a.b', a group"),
        ({"flow": "gone"}, "column 'flow': flow 'gone' not found in"),
        ({"build": "flows/gone.py"}, "column 'build': flow 'flows/gone.py' not found in"),
        ({"_timout": 5}, "column '_timout': names that begin with _ are reserved (did you mean '_timeout'?)"),
        ({"_Marks": "x"}, "did you mean '_marks'?"),
        ({"_zzz": 5}, f"known are {', '.join(RESERVED)}"),
        (
            {"_memory": "much"},
            "column '_memory': 'much': expected a size such as 500 MB, 2GB or a number of b",
        ),
        (
            {"_retry_delay": "1 day"},
            "column '_retry_delay': '1 day': expected seconds, or a time such as 10s",
        ),
        ({"_timeout": "soon"}, "column '_timeout': 'soon': expected a number above 0"),
        ({"_retries": 1.5}, "column '_retries': 1.5: expected a whole number, 0 or more"),
        ({"_cores": 0.5}, "column '_cores': 0.5: expected a whole number, 1 or more"),
        ({"_resources": "GPU"}, "column '_resources': 'GPU': expected a number above 0 for each name"),
        ({"_resources": 2}, "column '_resources': 2: expected names and numbers, such as GPU=1"),
        ({"_cwd": "data"}, "column '_cwd': 'data': expected run, flow or project"),
        ({"_kernel": 5}, "column '_kernel': 5: expected the name of a Jupyter kernel"),
        ({"_timeout.x": 5}, "column '_timeout': {'x': 5}: expected a number above 0"),
        pytest.param({"_after": 5}, "column '_after'"),
        pytest.param({"_retries": "inf"}, "column '_retries'"),
        pytest.param({"flow": 5}, "column 'flow'"),
        pytest.param({"flow": ["plot"]}, "column 'flow'"),
        pytest.param({"flow": "x" * 300}, "column 'flow'"),
        pytest.param({"instance_name": "\ud800"}, "'instance_name'"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_a_mistake_in_a_row_is_a_problem_with_file_row_and_column(project, row, said):
    (problem,) = problems(project, [{"instance_name": "good"}, {"instance_name": "A", **row}])
    assert problem.startswith("conductor.py:7, row 2")
    assert said in problem


@pytest.mark.parametrize(
    ("column", "hint"),
    [("Flow", "(rename 'Flow')"), ("FLOW ", "(rename 'FLOW')"), ("Build", "(rename 'Build')")],
)
def test_a_column_that_is_nearly_the_one_that_is_missing_is_named(project, column, hint):
    (problem,) = problems(project, [{"instance_name": "a", column: "plot"}], None)
    missing = "has no column `flow` (or `build`) that says what its rows run"
    assert problem == f"conductor.py:7: {missing} {hint}"


@pytest.mark.parametrize("column", ["Instance_Name", "instance name", "instance-name", "instnace_name"])
def test_a_column_that_is_nearly_that_of_the_names_is_a_problem(project, column):
    """Otherwise the instances would silently have other names than those in the table."""
    (problem,) = problems(project, [{column: name, "x": 1} for name in "ab"])
    said = f"column {column!r}: is nearly 'instance_name', which names instances (rename it)"
    assert problem == f"conductor.py:7, {said}"


def test_columns_that_remind_of_one_with_a_meaning_are_config(project):
    made = one(
        project, [{"instance_name": "a", "Step": 5, "Flow": 800, "instance_names": 3, "workflow": "w"}]
    )
    assert set(made.config) == {"instance_name", "Step", "Flow", "instance_names", "workflow"}
    assert one(project, [{"instance": "a", "name": "b"}]).config == {"instance": "a", "name": "b"}


def test_all_problems_of_all_rows_are_found_at_once_and_the_good_rows_are_kept(project):
    made = declared(
        project,
        [
            {"instance_name": "A"},
            {"instance_name": "..", "step": "/", "x": {1}, "_timout": 1, "_cores": 0},
            {"instance_name": "B", "flow": "gone"},
        ],
    )
    assert [instance.name for instance in made.instances] == ["A"]
    places = [re.sub(r": .*", "", str(problem)) for problem in made.problems]
    assert sorted(places) == [
        "conductor.py:7, row 2, column '_cores'",
        "conductor.py:7, row 2, column '_timout'",
        "conductor.py:7, row 2, column 'instance_name'",
        "conductor.py:7, row 2, column 'step'",
        "conductor.py:7, row 2, column 'x'",
        "conductor.py:7, row 3, column 'flow'",
    ]


@pytest.mark.parametrize(
    ("table", "more", "said"),
    [
        ("gone.csv", {}, "table 'gone.csv' not found in"),
        (None, {}, "not NoneType"),
        ([{"x": 1}], {"flow": None}, "has no column `flow` (or `build`)"),
        ([{"x": 1}], {"base": {"x": object()}}, "has no place in JSON"),
        ([{"x": 1}], {"base": {"x": {1: 2}}}, "key 1 is not text"),
        ([{"x": 1}], {"base": {"x": 1, "x.y": 2}}, "'x' is a value and"),
        ([{"x": 1}], {"cores": 0}, "cores=0: expected a whole number, 1 or more"),
        pytest.param([{"x": 1}], {"base": 5}, "base"),
        pytest.param([{"x": 1}], {"after": 5}, "after"),
    ],
    ids=stable_repr,
)
def test_a_mistake_of_the_whole_table_is_one_problem_at_the_call(project, table, more, said):
    (problem,) = problems(project, table, **more)
    assert problem.startswith("conductor.py:7: ")
    assert said in problem


def test_a_row_without_a_flow_says_so(project):
    (problem,) = problems(project, [{"flow": "plot", "instance_name": "A"}, {"instance_name": "B"}], None)
    assert problem == "conductor.py:7, row 2, column 'flow': is empty (name the flow that the row runs)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("print(1)  # no parameters here\n", "flows/bad.py has no cell tagged `parameters`"),
        ("", "flows/bad.py has no cell tagged `parameters`"),
        ("# %% tags=[\n1\n", "flows/bad.py has no cell tagged `parameters`"),
        ("---\n{\n", "flows/bad.py"),
    ],
)
def test_a_flow_without_a_parameters_cell_is_a_problem_of_every_row_that_runs_it(project, text, said):
    (project / "flows" / "bad.py").write_text(text, encoding="utf-8")
    found = problems(project, [{"instance_name": "A"}, {"instance_name": "B"}], "bad")
    assert len(found) == 2
    assert found[0].startswith(f"conductor.py:7, row 1: {said}")
    assert 'put `# %% tags=["parameters"]` above' in found[0]


def test_two_parameters_cells_are_a_problem_as_the_second_would_win(project):
    cell = '# %% tags=["parameters"]\nx = 0\n\n'
    (project / "flows" / "bad.py").write_text(cell * 2, encoding="utf-8")
    (found,) = problems(project, [{"instance_name": "A"}], "bad")
    assert "flows/bad.py has 2 cells tagged `parameters`, from lines 2 and 5 on" in found


def test_a_flow_without_a_parameters_cell_is_right_where_there_is_no_config(project):
    flow = project / "flows" / "plain.py"
    flow.write_text("print(1)\n", encoding="utf-8")
    assert flow_problem(flow, "here", project, is_configured=False) is None
    assert declared(project, [{}], "plain").problems == []
    assert len(problems(project, [{}, {"a": 1}], "plain")) == 1


@pytest.mark.parametrize("text", ["", "# %% [markdown]\n# Text\n", "# %%\n"])
def test_a_flow_without_code_is_a_problem_also_without_a_config(project, text):
    flow = project / "flows" / "empty.py"
    flow.write_text(text, encoding="utf-8")
    problem = str(flow_problem(flow, "here", project, is_configured=False))
    assert "flows/empty.py has no code cell, so that nothing of it would run" in problem


@pytest.mark.parametrize("top", ["", '```python tags=["parameters"]\nx = 0\n```\n\n'])
def test_a_document_of_which_no_code_would_run_is_a_problem_that_names_its_fences(project, top):
    flow = project / "flows" / "fence.md"
    flow.write_text(f"{top}Text\n\n```py\nprint(x)\n```\n", encoding="utf-8")
    problem = str(flow_problem(flow, "here", project, is_configured=bool(top)))
    line = 7 if top else 3
    assert f"flows/fence.md: none of its code would run: line {line}: ```py (write ```python" in problem


def test_a_flow_that_is_right_is_no_problem(project):
    assert flow_problem(project / "flows" / "plot.py", "here", project) is None


def test_a_flow_that_cannot_be_read_says_why(project):
    (project / "flows" / "bad.ipynb").write_text("{", encoding="utf-8")
    problem = str(flow_problem(project / "flows" / "bad.ipynb", "here", project))
    assert problem.count("bad.ipynb") == 1
    assert "tags=" not in problem


def test_a_flow_that_was_mended_is_right_from_then_on(project):
    path = project / "flows" / "mended.py"
    path.write_text("print(1)\n", encoding="utf-8")
    assert len(problems(project, [{"instance_name": "A"}], "mended")) == 1
    path.write_text('# %% tags=["parameters"]\nconfig = {}\n', encoding="utf-8")
    assert declared(project, [{"instance_name": "A"}], "mended").problems == []


SCHEMA = {
    "properties": {"x": {"type": "integer"}, "p": {"properties": {"y": {"maximum": 1}}}},
    "required": ["x"],
}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"x": "1"}, "conductor.py:7, row 1, column 'x': '1' is not of type 'integer' (expected an integer)"),
        (
            {"x": 1, "p.y": 2},
            "conductor.py:7, row 1, column 'p.y': 2 is greater than the maximum of 1 (expected at most 1)",
        ),
        ({}, "conductor.py:7, row 1, column 'x': is missing (expected an integer)"),
    ],
)
def test_a_config_that_fails_its_flows_schema_is_a_problem(project, write, row, said):
    write({"config/flows/01_fit.schema.json": SCHEMA})
    assert problems(project, [{"instance_name": "A", **row}]) == [said]


def test_base_and_row_together_are_held_against_the_schema(project, write):
    write({"config/flows/01_fit.schema.json": {**SCHEMA, "additionalProperties": False}})
    instance = one(project, [{"instance_name": "A", "p.y": 0, "_timeout": 3}], base={"x": 1})
    assert instance.config == {"instance_name": "A", "x": 1, "p": {"y": 0}}


def test_the_schema_of_a_build_lies_under_builds(project, write):
    write({"config/builds/all.schema.json": SCHEMA})
    assert len(problems(project, [{"instance_name": "A"}], "all")) == 1


def test_a_schema_that_is_not_json_is_a_problem(project, write):
    write({"config/flows/01_fit.schema.json": "{nope"})
    assert "01_fit.schema.json" in problems(project, [{"instance_name": "A"}])[0]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (None, None),
        ([], ()),
        ("", ()),
        ("etl/B", ("etl/B",)),
        (" etl/B ;; etl/C; ", ("etl/B", "etl/C")),
        (["etl/B", "etl/C;d/D"], ("etl/B", "etl/C", "d/D")),
        ((name for name in ("a", "b")), ("a", "b")),
        ([["a"], [[], None, "b"]], ("a", "b")),
        (Instance("f", "s", "A", {}, "d", "p"), ("s/A",)),
        ([Instance("f", "s/t", "A", {}, "d", "p"), "x"], ("s/t/A", "x")),
    ],
)
def test_upstreams_are_named_in_many_ways(after, expected):
    assert upstreams(after) == expected


def test_a_rows_own_upstreams_take_the_place_of_the_calls(project):
    made = declared(project, [{"instance_name": "A"}, {"instance_name": "B", "_after": ["x"]}], after="y")
    assert [instance.after for instance in made.instances] == [("y",), ("x",)]


@pytest.mark.parametrize(
    ("key", "value", "kept"),
    [
        ("_timeout", 5, 5.0),
        ("_timeout", "2.5", 2.5),
        ("_timeout", 1e-3, 1e-3),
        ("_cores", 2, 2),
        ("_cores", " 4.0 ", 4),
        ("_resources", "GPU=1, licence=0.5", {"GPU": 1.0, "licence": 0.5}),
        ("_resources", {"GPU": 2}, {"GPU": 2.0}),
        ("_retries", 0, 0),
        ("_retries", 2.0, 2),
        ("_retries", "3", 3),
        ("_retry_delay", 0, 0.0),
        ("_retry_delay", "1.5", 1.5),
        ("_retry_delay", "10s", 10.0),
        ("_retry_delay", "2 min", 120.0),
        ("_memory", 1_000, 1_000),
        ("_memory", "2e3", 2_000),
        ("_memory", "500 MB", 500_000_000),
        ("_memory", "1.5gb", 1_500_000_000),
        ("_memory", "2GiB", 2**31),
        ("_marks", "slow", ("slow",)),
        ("_marks", "slow, nightly  ci", ("slow", "nightly", "ci")),
        ("_marks", ["slow"], ("slow",)),
        ("_marks", [], ()),
        ("_after", "a; b", ("a", "b")),
        ("_after", [], ()),
        ("_keep", "a b.pt, cache/", ("a b.pt", "cache/")),
        ("_keep", ["*.pt"], ("*.pt",)),
        ("_keep", [], ()),
        ("_cwd", "flow", "flow"),
        ("_kernel", " ir ", "ir"),
    ],
)
def test_reserved_values_are_kept_in_one_form(key, value, kept):
    found = reserved_value(key, value)
    assert found == kept
    assert type(found) is type(kept)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[
            (key, value)
            for key in ("_timeout", "_cores")
            for value in (0, -1, "0", "x", True, None, [], {}, "nan", "inf")
        ],
        *[("_cores", value) for value in (0.5, "1.5")],
        *[("_retries", value) for value in (-1, 0.5, "0.5", "x", True, None, [])],
        *[("_retry_delay", value) for value in (-1, "soon", "3 d", True, None, [], "nan")],
        *[("_retry_delay", value) for value in (1e10, "721h", "9" * 400 + "s")],
        *[("_memory", value) for value in (0, -1, 0.2, "GB", "2 GT", "-2 GB", True, None, [], "inf")],
        ("_memory", "9" * 400 + "GB"),
        *[("_marks", value) for value in (5, ["a b"], "a-b", {"a": 1}, None, [1], "1st")],
        pytest.param(
            "_retries",
            float("nan"),
        ),
        pytest.param("_retries", float("inf")),
        *[("_keep", value) for value in (5, None, [1], {"a": 1}, "/a", "../a", "a/../b", ["/"])],
        pytest.param("_after", 5),
        pytest.param("_after", True),
        pytest.param("_after", {"a": "b"}),
    ],
    ids=stable_repr,
)
def test_wrong_reserved_values_are_errors_that_say_what_was_expected(key, value):
    with pytest.raises(ValueError, match="expected"):
        reserved_value(key, value)


def test_cores_of_a_row_take_the_place_of_the_calls(project):
    rows = [{"instance_name": "A"}, {"instance_name": "B", "_cores": 3}]
    made = declared(project, rows, cores=2)
    assert [instance.cores for instance in made.instances] == [2, 3]


# Calls


def call(project: Path, config: dict, flow: str = "flows/01_fit.py", **more) -> Instance:
    origin = Origin(str(project / "conductor.py"), 9)
    return declare_call(project / flow, config, root=project, origin=origin, **more)


@pytest.mark.parametrize(
    ("there", "is_found"),
    [
        ('{"_project_root": "/elsewhere", "year": 2030}', True),
        ('{"year": 2040}', False),
        ("[]", False),
        ("torn {", False),
        (None, False),
    ],
)
def test_a_run_directory_of_the_same_config_is_found_by_its_eight_digits_of_before(project, there, is_found):
    name = config_hash({"year": 2030})
    folder = project / "runs" / "fit" / name[:8]
    folder.mkdir(parents=True)
    if there is not None:
        (folder / "01_fit_config.json").write_text(there)
    assert call(project, {"year": 2030}).name == (name[:8] if is_found else name)


def test_a_call_becomes_an_instance_with_all_that_is_known_of_it(project):
    config = {"instance_name": "A", "_project_root": "/old", "_timeout": 5, "_custom": 1, "x": Path("d")}
    assert call(project, config) == Instance(
        flow=str(project / "flows" / "01_fit.py"),
        step="fit",
        name="A",
        config={"instance_name": "A", "_custom": 1, "x": "d"},
        run_dir=str(project / "runs" / "fit" / "A"),
        project_root=str(project),
        source=str(project / "conductor.py"),
        line=9,
        timeout=5.0,
    )
    assert set(config) == {"instance_name", "_project_root", "_timeout", "_custom", "x"}


def test_a_call_without_a_name_is_named_after_its_config(project):
    one_, other, same = (call(project, {"x": x}) for x in (1, 2, 1))
    assert re.fullmatch("[0-9a-f]{16}", one_.name)
    assert one_.name == same.name != other.name


@pytest.mark.parametrize(
    ("run_dir", "step", "name"),
    [
        ("runs/etl/A", "etl", "A"),
        ("runs/a/b/A", "a/b", "A"),
        ("runs/A", "fit", "A"),
        ("runs", "fit", "runs"),
        ("elsewhere/A", "fit", "A"),
        ("/", "fit", "01_fit"),
    ],
)
def test_a_run_directory_tells_step_and_name(project, run_dir, step, name):
    instance = call(project, {"instance_name": "other"}, run_dir=project / run_dir)
    assert (instance.step, instance.name, instance.run_dir) == (step, name, str(project / run_dir))


def test_step_and_name_of_a_call_make_the_run_directory(project):
    instance = call(project, {"instance_name": "other"}, step="s", name="A")
    assert instance.run_dir == str(project / "runs" / "s" / "A")


def test_inside_a_build_runs_is_the_builds_own(project):
    runs = project / "runs" / "all" / "A" / "runs"
    assert call(project, {"instance_name": "I"}, runs=runs).run_dir == str(runs / "fit" / "I")


@pytest.mark.parametrize(
    ("config", "more"),
    [
        ({"instance_name": "../x"}, {}),
        ({"instance_name": "/x"}, {}),
        ({}, {"name": "x" * 300}),
        ({}, {"step": "..", "name": "A"}),
        ({}, {"name": "a\0b"}),
        pytest.param({"_timeout": "soon"}, {}),
        pytest.param({"_retries": -1}, {}),
        pytest.param({"_memory": "4 GT"}, {}),
    ],
    ids=stable_repr,
)
def test_a_mistake_in_a_call_is_an_error_at_its_line(project, config, more):
    with pytest.raises(DuctaflowError, match=r"^conductor\.py:9"):
        call(project, config, **more)


@pytest.mark.parametrize(
    ("value", "expected"),
    [({1, 2}.__class__, "<class 'set'>"), (b"x", "b'x'"), ({1: 2}, {"1": 2}), (np.float32(0.5), 0.5)],
)
def test_what_json_lacks_becomes_text_in_a_call_as_it_always_did(project, value, expected):
    assert call(project, {"x": value}).config == {"x": expected}


def test_a_key_that_is_no_text_becomes_text_in_a_call(project):
    assert call(project, {2040: "x"}).config == {"2040": "x"}


def test_the_caller_is_the_line_outside_of_the_package():
    here = caller()
    assert Path(here.file) == Path(__file__)
    assert "here = caller()" in Path(__file__).read_text(encoding="utf-8").splitlines()[here.line - 1]


def test_frames_of_the_package_are_not_the_caller():
    namespace = {"caller": caller}
    code = compile("def inner():\n    return caller()\n", str(Path(caller_module.__file__)), "exec")
    exec(code, namespace)
    assert Path(namespace["inner"]().file) == Path(__file__)


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("/p/conductor.py", 3, "conductor.py:3"),
        ("/p/t.csv", None, "t.csv"),
        ("/q/c.py", 1, "/q/c.py:1"),
        ("<string>", 1, "<string>:1"),
    ],
)
def test_an_origin_is_shown_relative_to_its_project(file, line, expected):
    assert Origin(file, line).at(Path("/p")) == expected


# Many instances


def an_instance(
    name: str, *, step: str = "s", flow: str = "x", run_dir: str | None = None, **more
) -> Instance:
    folder = run_dir or f"/p/runs/{step}/{name}"
    return Instance(f"/p/flows/{flow}.py", step, name, {}, folder, "/p", "/p/c.py", **more)


def test_two_rows_with_one_run_directory_are_a_problem_that_names_both():
    found = collisions(
        [an_instance("A", line=3, row=1), an_instance("B", line=3, row=2), an_instance("A", line=8, row=5)]
    )
    (problem,) = map(str, found)
    assert problem.startswith("c.py:8, row 5: has the same run directory as c.py:3, row 1: runs/s/A (")


def test_each_further_row_is_a_problem():
    assert len(collisions([an_instance("A", row=row) for row in range(1, 4)])) == 2


def test_two_flows_may_share_a_run_directory():
    assert collisions([an_instance("A"), an_instance("A", flow="y")]) == []


@pytest.mark.parametrize(("platform", "number"), [("linux", 0), ("win32", 1), ("darwin", 1)])
def test_names_that_differ_only_in_case_collide_where_the_file_system_ignores_it(
    monkeypatch, platform, number
):
    monkeypatch.setattr(instance_names, "sys", SimpleNamespace(platform=platform))
    assert len(collisions([an_instance("a"), an_instance("A")])) == number


def test_names_that_are_distinct_stay_as_they_are():
    instances = [an_instance("A"), an_instance("B"), an_instance("A", step="t")]
    assert with_distinct_names(instances) == instances


def test_flows_that_share_a_directory_are_told_apart_by_their_names():
    found = with_distinct_names([an_instance("A"), an_instance("A", flow="y"), an_instance("B")])
    assert sorted(instance.name for instance in found) == ["A@x", "A@y", "B"]
    assert {instance.run_dir for instance in found} == {"/p/runs/s/A", "/p/runs/s/B"}


@pytest.mark.parametrize(
    "instances",
    [
        [an_instance("a b"), an_instance("a_b")],
        [an_instance("A"), an_instance("A", flow="y"), an_instance("A@x"), an_instance("A@y")],
        [an_instance("A"), an_instance("A", run_dir="/q/A"), an_instance("A", flow="y")],
        [an_instance("a:b"), an_instance("a b"), an_instance("a[b"), an_instance("a b", flow="z")],
    ],
    ids=len,
)
def test_node_ids_are_distinct_whatever_the_names(instances):
    found = with_distinct_names(instances)
    assert len({(slug(i.step), slug(i.name)) for i in found}) == len(instances)
    assert sorted(i.run_dir for i in found) == sorted(i.run_dir for i in instances)


def test_telling_names_apart_keeps_the_order_of_declaration():
    found = with_distinct_names(
        [an_instance("A"), an_instance("B"), an_instance("A", flow="y"), an_instance("C")]
    )
    assert [instance.name for instance in found] == ["A@x", "B", "A@y", "C"]


def test_a_selection_can_ask_for_config_step_instance_and_flow():
    instance = an_instance("A").with_(config={"p": {"m": 1}, "e": {}, "step": "mine"})
    assert columns_of(instance) == {"p.m": 1, "e": {}, "step": "s", "instance": "A", "flow": "x"}


def test_a_table_on_its_own_runs_flows_of_its_project_only(tmp_path):
    """A conductor may run others, and a table those of a folder that a link makes part of the project."""
    root = write_project(tmp_path / "p", {"flows/f.py": ""})
    write_project(tmp_path, {"shared/flows/f.py": ""})
    (root / "linked").symlink_to(tmp_path / "shared")
    inside = ["flows/f.py", "f", str(root / "flows/f.py"), "linked/flows/f.py"]
    outside = ["../shared/flows/f.py", str(tmp_path / "shared/flows/f.py")]
    rows = [{"instance_name": f"i{n}", "flow": flow} for n, flow in enumerate([*inside, *outside])]
    table = root / "t.json"
    table.write_text(json.dumps(rows))
    declared = of_table(table, root)
    assert [instance.name for instance in declared.instances] == ["i0", "i1", "i2", "i3"]
    assert [(problem.where, problem.what) for problem in declared.problems] == [
        (f"t.json, row {n}, column 'flow'", f"flow {flow!r} lies outside of the project")
        for n, flow in enumerate(outside, 5)
    ]
    by_conductor = TableDeclaration(None, table, Origin(str(root / "conductor.py"), 1), root).declare()
    assert (len(by_conductor.instances), by_conductor.problems) == (6, [])


@pytest.mark.parametrize("flow", ["evil", "flows/evil.py", "linked/../flows/evil.py"])
def test_nor_one_of_the_working_directory_or_above_a_link(tmp_path, monkeypatch, flow):
    root = write_project(tmp_path / "p", {"flows/f.py": ""})
    elsewhere = write_project(tmp_path / "other", {"flows/evil.py": "", "data/x.csv": ""})
    (root / "linked").symlink_to(elsewhere / "data")
    (root / "t.json").write_text(json.dumps([{"instance_name": "i", "flow": flow}]))
    monkeypatch.chdir(elsewhere)
    declared = of_table(root / "t.json", root)
    assert declared.instances == []
    assert [problem.what for problem in declared.problems] == [f"flow {flow!r} lies outside of the project"]
