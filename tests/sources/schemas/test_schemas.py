"""JSON Schemas decide the types of cells, and are drafted from the configs that there are."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from click.testing import CliRunner
from helpers.projects import stable_repr, write_project
from jsonschema import Draft202012Validator

from pytest_ductaflow.command_line.main import main
from pytest_ductaflow.core.errors import DuctaflowError
from pytest_ductaflow.planning.caller import Origin
from pytest_ductaflow.planning.declare_table import TableDeclaration
from pytest_ductaflow.sources.schemas.check import problems_of_schema
from pytest_ductaflow.sources.schemas.draft import draft_schema, write_draft
from pytest_ductaflow.sources.schemas.typed_cells import typed_table
from pytest_ductaflow.sources.tables import as_table


def typed(folder, schema, *cells):
    """Return the values of a CSV file's cells in a column with a schema, with their types."""
    (folder / "t.csv").write_text("\n".join(["instance_name,x", *(f"n,{cell}" for cell in cells)]) + "\n")
    table = as_table(folder / "t.csv", (folder,))
    return [row[1] for row in typed_table(table, lambda _: {"properties": {"x": schema}}).rows]


@pytest.mark.parametrize(
    ("schema", "cells", "values"),
    [
        ({"type": "string"}, ["007", "1.10", "1e5", "true", "abc"], ["007", "1.10", "1e5", "true", "abc"]),
        ({"type": "integer"}, ["007", "1.0", "3", "1.5", "x"], [7, 1, 3, 1.5, "x"]),
        ({"type": "number"}, ["007", "1.0", "3", "007.5"], [7, 1.0, 3, 7.5]),
        ({"type": "boolean"}, ["1", "0", "TRUE", "false", "2"], [True, False, True, False, 2]),
        ({"type": ["integer", "string"]}, ["007", "7", "x"], ["007", 7, "x"]),
        ({"type": ["string", "null"]}, ["7"], ["7"]),
        ({"enum": ["1", "2", "x"]}, ["1", "x", "3"], ["1", "x", 3]),
        ({"enum": [1, 2.5, True]}, ["01", "2.50", "true", "1.0"], [1, 2.5, True, 1]),
        ({"const": "1"}, ["1"], ["1"]),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, ["7"], ["7"]),
        ({"oneOf": [{"enum": ["1"]}, {"enum": ["2"]}]}, ["2"], ["2"]),
        ({"allOf": [{"minLength": 1}, {"type": "string"}]}, ["7"], ["7"]),
        ({}, ["007", "7"], ["007", 7]),
        (True, ["7"], [7]),
        ({"$ref": "#/nowhere"}, ["7"], [7]),
    ],
    ids=stable_repr,
)
def test_a_cell_has_the_type_that_the_schema_says(tmp_path, schema, cells, values):
    found = typed(tmp_path, schema, *cells)
    assert [(type(value), value) for value in found] == [(type(value), value) for value in values]


def test_references_and_dotted_columns_lead_to_their_part_of_a_schema(tmp_path):
    schema = {
        "$defs": {"code": {"type": "string"}, "zone": {"properties": {"id": {"$ref": "#/$defs/code"}}}},
        "properties": {"zone": {"$ref": "#/$defs/zone"}},
    }
    (tmp_path / "t.csv").write_text("instance_name,zone.id,zone.size\na,007,007\n")
    table = typed_table(as_table("t.csv", (tmp_path,)), lambda _: schema)
    assert list(table.rows) == [("a", "007", "007")]
    (tmp_path / "t.csv").write_text("instance_name,zone.id,zone.size\na,7,7\n")
    assert list(typed_table(as_table("t.csv", (tmp_path,)), lambda _: schema).rows) == [("a", "7", 7)]


CODE = {"type": "string"}


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [{"required": ["x"]}, {"properties": {"x": CODE}}]},
        {"$defs": {"a": {"required": ["x"]}}, "$ref": "#/$defs/a", "properties": {"x": CODE}},
        {"$defs": {"a": {"properties": {"x": CODE}}}, "allOf": [{"$ref": "#/$defs/a"}]},
        {"patternProperties": {"^x$": CODE, "(": {}}},
        {"properties": {"y": {"type": "integer"}}, "additionalProperties": CODE},
        {"$defs": {"a code": CODE}, "properties": {"x": {"$ref": "#/$defs/a%20code"}}},
        {"$defs": {"all": [{}, CODE]}, "properties": {"x": {"$ref": "#/$defs/all/1"}}},
    ],
    ids=stable_repr,
)
def test_the_part_of_a_schema_for_a_column_is_found_wherever_it_is(tmp_path, schema):
    (tmp_path / "t.csv").write_text("instance_name,x,y\na,7,7\n")
    table = typed_table(as_table("t.csv", (tmp_path,)), lambda _: schema)
    assert table.rows[0][1] == "7"


def test_a_schema_that_is_none_is_told_in_one_sentence():
    (problem,) = problems_of_schema({"x": 1}, {"$schema": 5}, "flows/f.py")
    assert "the flow's JSON Schema is not valid: $schema is 5, expected a text" in str(problem)


def test_limits_of_older_drafts_are_told():
    draft = {"$schema": "http://json-schema.org/draft-04/schema#"}
    schema = {**draft, "properties": {"x": {"minimum": 5, "exclusiveMinimum": True}}}
    (problem,) = problems_of_schema({"x": 5}, schema, "flows/f.py")
    assert str(problem).endswith("(expected at least 5)")


def test_values_with_types_of_their_own_lose_only_a_fraction_of_zero():
    schema = {"properties": {"n": {"type": "integer"}, "s": {"type": "string"}}}
    table = as_table(pd.DataFrame({"n": [1.0, None], "s": [7, 8]}), ())
    assert typed_table(table, lambda _: schema).rows[0] == (1, 7)


def declared(root, schema, table):
    write_project(root, {"flows/f.py": "print(config)", "config/flows/f.schema.json": schema, "t.csv": table})
    return TableDeclaration("flows/f.py", root / "t.csv", Origin(str(root / "c.py"), 1), root).declare()


def test_names_are_made_of_what_the_config_has(tmp_path):
    made = declared(tmp_path, {"properties": {"version": {"type": "string"}}}, "version\n1.1\n1.10\n")
    assert [instance.name for instance in made.instances] == ["version=1.1", "version=1.10"]
    assert [instance.config for instance in made.instances] == [{"version": "1.1"}, {"version": "1.10"}]


def test_all_cells_that_a_schema_refuses_are_told_at_once_with_what_was_expected(tmp_path):
    schema = {
        "properties": {"n": {"type": "integer", "minimum": 0}, "mode": {"enum": ["rail", "road"]}},
        "required": ["n"],
        "additionalProperties": False,
    }
    made = declared(tmp_path, schema, "instance_name,n,mode,nn\na,x,rail,\nb,-1,rial,1\nc,,road,\n")
    assert list(map(str, made.problems)) == [
        "t.csv, row 1, column 'n': 'x' is not of type 'integer' (expected an integer, at least 0)",
        "t.csv, row 2, column 'n': -1 is less than the minimum of 0 (expected an integer, at least 0)",
        "t.csv, row 2, column 'mode': 'rial' is not one of ['rail', 'road'] (expected one of 'rail', 'road')",
        "t.csv, row 2, column 'nn': is not in the flow's JSON Schema (did you mean 'n'?)",
        "t.csv, row 3, column 'n': is missing (expected an integer, at least 0)",
    ]


CONFIGS = [
    {
        "rate": 1,
        "mode": "rail",
        "p": {"x": 1},
        "files": ["a.csv"],
        "_project_root": "/p",
        "instance_name": "a",
    },
    {"rate": 0.5, "mode": "rail", "p": {"x": 2, "y": None}, "files": [], "on": True},
]


def test_a_draft_fits_all_configs_and_says_what_they_have_in_common():
    schema = draft_schema(CONFIGS, "growth")
    Draft202012Validator.check_schema(schema)
    assert all(Draft202012Validator(schema).is_valid(config) for config in CONFIGS)
    assert schema["required"] == ["rate", "mode", "p", "files"]
    assert schema["properties"]["rate"] == {"type": "number", "examples": [1, 0.5]}
    assert schema["properties"]["mode"] == {"type": "string", "examples": ["rail"]}
    assert schema["properties"]["p"]["required"] == ["x"]
    assert schema["properties"]["files"]["items"] == {"type": "string", "examples": ["a.csv"]}
    assert set(schema["properties"]) == {"rate", "mode", "p", "files", "on"}


def test_a_draft_is_written_of_the_config_and_the_runs_and_replaces_nothing_unasked(tmp_path):
    files = {
        "flows/f.py": "",
        "config/flows/f.json": {"x": 1},
        "runs/f/a/f_config.json": {"x": 2.5, "_project_root": "/p"},
        "runs/f/a/f_execution_output.txt": "",
        "runs/g/a/g_config.json": {"x": "other flow"},
        "runs/g/a/g_execution_output.txt": "",
    }
    write_project(tmp_path, files)
    path, count = write_draft(tmp_path / "flows/f.py", tmp_path)
    assert (path, count) == (tmp_path / "config/flows/f.schema.json", 2)
    assert json.loads(path.read_text())["properties"] == {"x": {"type": "number", "examples": [1, 2.5]}}
    with pytest.raises(DuctaflowError, match="there already"):
        write_draft(tmp_path / "flows/f.py", tmp_path)
    assert write_draft(tmp_path / "flows/f.py", tmp_path, replace=True) == (path, 2)
    with pytest.raises(DuctaflowError, match=r"flows/h.py is not there"):
        write_draft(tmp_path / "flows/h.py", tmp_path)
    (tmp_path / "flows/h.py").touch()
    with pytest.raises(DuctaflowError, match=r"neither config/flows/h.json nor one in runs/"):
        write_draft(tmp_path / "flows/h.py", tmp_path)


def test_the_command_writes_it_and_says_where(tmp_path, monkeypatch):
    write_project(tmp_path, {"flows/f.py": "", "config/flows/f.json": {"x": 1, "token": "s3cr3t-9"}})
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["schema", "flows/f.py"])
    assert (done.exit_code, done.output) == (0, "config/flows/f.schema.json: from 1 config\n")
    assert "s3cr3t" not in (tmp_path / "config/flows/f.schema.json").read_text()
    again = CliRunner().invoke(main, ["schema", "flows/f.py"])
    assert again.exit_code == 2
    assert "--replace replaces it" in again.output
