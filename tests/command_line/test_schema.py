"""`ductaflow schema`: a first JSON Schema from the configs of a flow."""

from __future__ import annotations

import json

from helpers.command_line import ductaflow
from helpers.projects import write_project


def test_a_schema_is_written_once_from_the_configs_that_exist(tmp_path):
    files = {"flows/growth.py": "print(config)", "config/flows/growth.json": {"rate": 0.01, "zone": "a"}}
    write_project(tmp_path, files)
    first = ductaflow(tmp_path, "schema", "flows/growth.py")
    assert (first.code, first.out) == (0, "config/flows/growth.schema.json: from 1 config\n")
    written = json.loads((tmp_path / "config/flows/growth.schema.json").read_text())
    assert written["properties"]["rate"]["type"] == "number"
    again = ductaflow(tmp_path, "schema", "flows/growth.py")
    assert again.code == 2
    assert "growth.schema.json" in again.err
    assert ductaflow(tmp_path, "schema", "flows/growth.py", "--replace").code == 0


def test_a_flow_without_configs_is_told(tmp_path):
    write_project(tmp_path, {"flows/growth.py": "print(config)"})
    done = ductaflow(tmp_path, "schema", "flows/growth.py")
    assert done.code == 2
    assert "Traceback" not in done.err


def test_a_flow_can_be_named_as_in_run(tmp_path):
    write_project(tmp_path, {"flows/growth.py": "print(config)", "config/flows/growth.json": {"rate": 0.01}})
    done = ductaflow(tmp_path / "flows", "schema", "growth")
    assert (done.code, done.out) == (0, "../config/flows/growth.schema.json: from 1 config\n")
    done = ductaflow(tmp_path, "schema", "grwth")
    assert (done.code, done.out) == (2, "")
    assert "flow 'grwth' not found" in done.err
