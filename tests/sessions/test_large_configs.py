"""Configs too large to read: report and page show beginnings, config and notebook have everything."""

from __future__ import annotations

import json

import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment, run_session

from pytest_ductaflow.core.config_markdown import in_part, readable_config
from pytest_ductaflow.report.page import read

PROJECT = {
    "flows/large.py": "print(len(config['text']), len(config['group']['names']))\n",
    "conductor.py": """\
        from pytest_ductaflow import conduct

        group = {"names": ["n" * 9] * 10_000, "few": 3}
        rows = [{"instance_name": f"i{n}", "text": "x" * 1_000_000, "n": n, "group": group} for n in range(2)]
        conduct("flows/large.py", rows)
        """,
}


def test_a_config_that_can_be_read_is_as_it_is():
    config = {"a": 1, "b": None, "c": "x" * 10_000, "d": {"e": [1, {"f": 2.5}], "g": {}}, "h": True}
    assert readable_config(config) == config


@pytest.mark.parametrize(
    "value", ["x" * 10_001, ["x" * 10_001], {"below": "x" * 10_001}, list(range(10_000))]
)
def test_a_long_value_is_shown_by_its_beginning(value):
    shown = readable_config({"before": 1, "long": value, "after": 2})
    assert (shown["before"], shown["after"]) == (1, 2)
    text = shown["long"]["below"] if isinstance(value, dict) else shown["long"]
    inner = value["below"] if isinstance(value, dict) else value
    whole = inner if isinstance(inner, str) else json.dumps(inner)
    assert text == f"{whole[:1_000]}… {len(whole):,} characters; see the config file"


def test_many_values_are_counted():
    shown = readable_config({"group": {f"key{n}": n for n in range(100_000)}, "last": 1})
    assert len(shown["group"]) < 20_000
    assert shown["group"]["…"] == f"{100_001 - len(shown['group']):,} more values; see the config file"
    assert shown["…"] == "1 more values; see the config file"


def test_the_length_of_what_is_left_out_is_told():
    assert in_part("x" * 5_000_000) == "x" * 1_000 + "… 5,000,000 characters; see the config file"


@pytest.mark.thorough
@pytest.mark.slow
def test_large_configs_make_no_large_report_and_no_large_page(tmp_path):
    root = write_project(tmp_path, PROJECT)
    environment = own_environment(pages=True)
    command = ("-p", "no:cacheprovider", "--ductaflow", "conductor.py")
    run_session(root, *command, environment=environment).check_returncode()
    report = root / "runs/conductor_status_report.html"
    assert report.stat().st_size < 300_000  # of which the page itself has 200,000
    for number, row in enumerate(read(report)["rows"]):
        assert row["config"]["n"] == number
        assert row["config"]["group"]["few"] == 3
        assert row["config"]["text"].endswith("x… 1,000,000 characters; see the config file")
        assert row["config"]["group"]["names"].endswith("… 130,000 characters; see the config file")
        folder = root / "runs/large" / row["instance"]
        assert (folder / "large_execution_output.txt").read_text() == "1000000 10000\n"
        assert len(json.loads((folder / "large_config.json").read_text())["text"]) == 1_000_000
        assert "x" * 1_000_000 in (folder / "large_executed.ipynb").read_text()
        page = (folder / "large_executed.html").read_text()
        assert len(page) < 200_000
        assert "characters; see the config file" in page
