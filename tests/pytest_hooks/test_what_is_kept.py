"""What a session still has of an instance that has ended: little, as there may be a hundred thousand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_session

FILES = {
    "flows/a.py": """\
        # %% tags=["parameters"]
        config = {}

        # %%
        print(config["kind"])
        if config["kind"] == "warns":
            print("WARNING: low")
        assert config["kind"] != "fails"
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct

        conduct("flows/a.py", [{"instance_name": kind, "kind": kind} for kind in ("good", "warns", "fails")])
        """,
    "test_beside.py": """\
        import pytest

        @pytest.fixture
        def resource():
            yield
            print("closing")

        def test_beside(resource):
            print("looking")
        """,
    "conftest.py": """\
        import json

        def pytest_unconfigure(config):
            if hasattr(config, "workerinput"):
                return
            stats = config.pluginmanager.get_plugin("terminalreporter").stats
            reports = [report for name in stats for report in stats[name] if hasattr(report, "when")]
            told = [
                [report.nodeid.rpartition("::")[2], report.when, sorted(getattr(report, "ductaflow", {}))]
                for report in reports
            ]
            with open("kept.json", "w") as file:
                json.dump(told, file)
        """,
}
BRIEF = ["status", "unchanged"]


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "workers"])
def test_of_what_has_passed_hardly_more_than_its_outcome(tmp_path: Path, options: tuple[str, ...]) -> None:
    root = write_project(tmp_path, FILES)
    done = run_session(root, "--ductaflow", "conductor.py", "test_beside.py", "-rA", *options, timeout=100)
    assert "1 failed, 2 passed, 1 warned" in done.stdout
    assert "AssertionError" in done.stdout
    kept = json.loads((root / "kept.json").read_text())
    of = {name: [each[1:] for each in kept if each[0] == name] for name in ("good", "warns", "fails")}
    assert of["good"] == [["call", BRIEF]]
    assert [when for when, _ in of["warns"]] == ["call"]
    assert [when for when, _ in of["fails"]] == ["call"]
    assert {"message", "warnings"} - {*of["warns"][0][1]} == {"message"}
    assert "error" in of["fails"][0][1]
    beside = [each for each in kept if each[0] == "test_beside"]
    assert sorted(when for _, when, _ in beside) == ["call", "setup", "teardown"]


@pytest.mark.parametrize("option", ["--durations=5", "-oconsole_output_style=times"])
def test_all_phases_stay_where_times_are_shown(tmp_path: Path, option: str) -> None:
    root = write_project(tmp_path, FILES)
    run_session(root, "--ductaflow", "conductor.py", option, timeout=100)
    kept = json.loads((root / "kept.json").read_text())
    assert sorted(when for name, when, _ in kept if name == "good") == ["call", "setup", "teardown"]
