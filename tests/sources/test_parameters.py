"""Which variables of a flow its config sets, and what is reported of keys that it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.running.notebook.prepare import prepare_notebook
from pytest_ductaflow.sources.notebooks import Source, read_flow
from pytest_ductaflow.sources.parameters_cell.parameters import assigned_in, parameters_of, unknown_parameters


def a_source(tmp_path: Path, cell: str, code: str = "print(1)", name: str = "fit.py") -> Source:
    path = tmp_path / name
    path.write_text(f'# %% tags=["parameters"]\n{cell}\n\n# %%\n{code}\n', encoding="utf-8")
    return read_flow(path)


def injected(source: Source, config: dict[str, object]) -> dict[str, object]:
    notebook = prepare_notebook(source, config, "python3", "python")
    variables: dict[str, object] = {}
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(cell.metadata.tags):
            exec(cell.source, variables)
    del variables["__builtins__"]
    return variables


@pytest.mark.parametrize(
    ("config", "variables"),
    [
        ({}, {}),
        ({"a": 1, "größe": 2, "_project_root": "/p"}, {"a": 1, "größe": 2, "_project_root": "/p"}),
        ({"a b": 1, "1a": 2, "a-b": 3, "a.b": 4, "": 5}, {}),
        ({"class": 1, "None": 2, "lambda": 3}, {}),
        ({"match": 1}, {"match": 1}),
        (dict.fromkeys(("max", "open", "print", "list", "float", "id", "display", "get_ipython"), 1), {}),
        (
            {"group": {"a": 1}, "empty": {}, "list_": [{"a": 1}], "none": None},
            {"list_": [{"a": 1}], "none": None},
        ),
        ({"config": 5}, {}),
        ({"config": {"config": 5}}, {}),
    ],
    ids=repr,
)
def test_what_can_be_a_variable_is_one_and_the_config_is_there_whole(config, variables):
    parameters = parameters_of(config)
    assert parameters == {**variables, "config": config}
    assert parameters["config"] is not config


@given(
    st.dictionaries(
        st.text(), st.none() | st.integers() | st.dictionaries(st.text(), st.integers()), max_size=5
    )
)
def test_the_parameters_of_any_config_are_valid_python_names(config):
    parameters = parameters_of(config)
    compile("\n".join(f"{name} = 0" for name in parameters), "x", "exec")
    assert parameters["config"] == config


@pytest.mark.parametrize(
    "cell",
    [
        "params = {'depth': 2}",
        "params = dict(depth=2)",
        "params: dict = {\n    'depth': 2,  # deep\n}",
        "rate, params = 1, {}",
        "params = other = None",
        "%matplotlib inline\nparams = {}",
        "if True:\n    params = {}",
        "!ls > /dev/null\nparams = {}",
    ],
)
def test_a_dict_is_set_if_the_cell_assigns_its_name(tmp_path, cell):
    config = {"params": {"depth": 9}, "other_params": {"depth": 9}}
    source = a_source(tmp_path, cell)
    parameters = parameters_of(config, assigned_in(source, "python"))
    assert parameters == {"params": {"depth": 9}, "config": config}


def test_a_dict_replaces_the_default_of_a_notebook_written_for_papermill(tmp_path):
    source = a_source(tmp_path, "n_trees = 10\nmodel_params = {'depth': 2}")
    variables = injected(source, {"n_trees": 50, "model_params": {"depth": 9}})
    assert (variables["n_trees"], variables["model_params"]) == (50, {"depth": 9})


@pytest.mark.parametrize(
    "cell", ["def f():\n    params = {}", "x = [params for params in ()]", "params == {}"]
)
def test_names_of_inner_scopes_are_not_assigned_by_the_cell(tmp_path, cell):
    assert "params" not in parameters_of({"params": {}}, assigned_in(a_source(tmp_path, cell), "python"))


def test_a_builtin_is_hidden_only_by_a_cell_that_has_it(tmp_path):
    assigned = assigned_in(a_source(tmp_path, "max = 3\nformat = 'csv'"), "python")
    parameters = parameters_of({"max": 5, "min": 2, "format": "html"}, assigned)
    assert parameters.keys() == {"max", "format", "config"}


@pytest.mark.parametrize(
    ("cell", "config", "expected"),
    [
        ("config = 'base.yml'", {"config": "other.yml", "a": 1}, "other.yml"),
        ("config: str = 'base.yml'", {"config": "other.yml"}, "other.yml"),
        ("config = ['a']", {"config": ["b"]}, ["b"]),
        ("config = None", {"config": "other.yml"}, "other.yml"),
        ("config = 'base.yml'", {"a": 1}, "base.yml"),
        ("config = {}", {"config": "other.yml"}, {"config": "other.yml"}),
        ("config = {'a': 0}", {"a": 1}, {"a": 1}),
        ("config = None", {"a": 1}, {"a": 1}),
        ("config = dict()", {"a": 1}, {"a": 1}),
        ("rate = 1", {"a": 1}, {"a": 1}),
    ],
)
def test_config_is_all_of_it_unless_the_cell_has_a_parameter_of_that_name(tmp_path, cell, config, expected):
    assert injected(a_source(tmp_path, cell), config)["config"] == expected


@pytest.mark.parametrize(
    ("cell", "language"),
    [
        ("params <- list()", "R"),
        ("params = Dict()", "julia"),
        ("val params: Map = Map()", "scala"),
        ("params=(a b)", "bash"),
    ],
)
def test_assignments_of_other_languages_are_known(tmp_path, cell, language):
    assigned = assigned_in(a_source(tmp_path, cell), language)
    assert parameters_of({"params": {}, "max": 1}, assigned, language).keys() == {"params", "max", "config"}


def told(source: Source, config: dict[str, object]) -> list[str]:
    return unknown_parameters(config, source, assigned_in(source, "python"))


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("Rate", "; did you mean 'rate'?"),
        ("rates", "; did you mean 'rate'?"),
        ("colour", ""),
        ("rate ", "; did you mean 'rate'?"),
        (" rate", "; did you mean 'rate'?"),
        ("\u200brate", "; did you mean 'rate'?"),
        ("print-rate", ""),
        ("lambda", ""),
    ],
)
def test_a_key_that_a_flow_with_single_parameters_does_not_know_is_told(tmp_path, key, hint):
    source = a_source(tmp_path, "rate = 0.01", "print(rate, lambda: 0)")
    assert told(source, {key: 1}) == [f"ParameterWarning: fit.py does not know the config key {key!r}{hint}"]


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("config = {}", "print(config)"),
        ("rate = 1", "print(config['Rate'])"),
        ("rate = 1", "vars().update(unpack_config())"),
        ("rate = 1", "print(json.load(open('fit_config.json')))"),
        ("rate = 1", "print(Rate)"),
        ("rate = 1", "!echo {Rate}"),
        ("rate = 1", "print(globals())"),
        ("rate = 1", "%run other.py"),
        ("# nothing", "print(1)"),
        ("rate = 1\nRate = 2", "print(1)"),
    ],
)
def test_nothing_is_told_of_flows_that_may_read_the_key(tmp_path, cell, code):
    assert told(a_source(tmp_path, cell, code), {"Rate": 1, "instance_name": "a", "etl_instance": "b"}) == []
