"""What users see who make common mistakes or have other plugins: one session, with two workers."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_pytest

pytestmark = pytest.mark.slow

FILES = {
    "conftest.py": """\
        import json
        import os
        from pathlib import Path

        import pytest

        HEARD = Path(__file__).with_name("heard.jsonl")

        def hear(what, nodeid, **more):
            with HEARD.open("a") as file:
                worker = os.environ.get("PYTEST_XDIST_WORKER", "controller")
                file.write(json.dumps({"what": what, "id": nodeid, "in": worker, **more}) + "\\n")

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_protocol(item):
            hear("protocol", item.nodeid)
            return (yield)

        def pytest_runtest_logstart(nodeid):
            hear("logstart", nodeid)

        def pytest_runtest_logfinish(nodeid):
            hear("logfinish", nodeid)

        def pytest_runtest_logreport(report):
            hear("logreport", report.nodeid, when=report.when, outcome=report.outcome,
                 text=report.longreprtext, sections=report.sections)

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            raised = "" if report.failed or call.excinfo is None else str(call.excinfo.value)
            if call.when == "call":
                hear("makereport", item.nodeid, raised=raised)
            return report

        @pytest.fixture(scope="session", autouse=True)
        def breaks_at_the_end():
            yield
            raise RuntimeError("cannot clean up")
        """,
    "flows/wrong.py": "print(populaton)\n",
    "flows/use.py": "print(1)\n",
    "flows/orange.py": 'print("⚠️ few data\\nWarning: and old")\n',
    "conductor.py": """\
        from pytest_ductaflow import conduct

        names = [f"r{number}" for number in range(3)]
        conduct("flows/wrong.py", [{"instance_name": name} for name in names])
        sources = [{"instance_name": name, "src": f"runs/wrong/{name}/x.txt"} for name in names]
        conduct("flows/use.py", [*sources, {"instance_name": "all", "src": "runs/wrong/r0/x.txt"}])
        conduct("flows/orange.py", [{"instance_name": "one"}], after=[])
        """,
    "test_plain.py": "def test_plain():\n    pass\n",
}


class Session:
    """A session in a project of its own."""

    def __init__(self, root: Path) -> None:
        self.root = write_project(root, FILES)
        args = ("-n", "2", "--junitxml=junit.xml", "conductor.py", "test_plain.py")
        self.result = run_pytest(self.root, "--ductaflow", *args)
        self.output = self.result.stdout.str()
        lines = (self.root / "heard.jsonl").read_text(encoding="utf-8").splitlines()
        self.heard = [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Session:
    return Session(tmp_path_factory.mktemp("newcomers") / "project")


def test_other_plugins_hear_of_what_there_is_and_of_nothing_else(session):
    """With -n, the items with which workers wait are in no hook, no count and not in JUnit's XML."""
    names = {f"{step}::r{number}" for step in ("wrong", "use") for number in range(3)}
    ids = {f"conductor.py::{name}" for name in (*names, "use::all", "orange::one")}
    ids.add("test_plain.py::test_plain")
    assert {heard["id"] for heard in session.heard} == ids
    told = [h["id"] for h in session.heard if h["what"] == "logstart" and h["in"] == "controller"]
    assert sorted(told) == sorted(ids)
    run = [h["id"] for h in session.heard if h["what"] == "protocol"]
    assert sorted(run) == sorted(ids)
    cases = ET.parse(session.root / "junit.xml").getroot().iter("testcase")
    assert {case.get("name") for case in cases} <= {re.split("::", name)[-1] for name in ids}


def test_what_fixtures_of_the_session_raise_at_the_end_is_told_with_the_last_item(session):
    reports = [h for h in session.heard if h["what"] == "logreport" and h["in"] == "controller"]
    (error,) = [h for h in reports if h["outcome"] == "failed" and h["when"] == "teardown"]
    assert "cannot clean up" in error["text"]
    session.result.assert_outcomes(failed=3, skipped=4, passed=1, errors=1)


def test_other_tools_find_the_text_of_a_warning_where_they_look_for_it(session):
    """TeamCity and pytest-html take the long text, Allure the exception."""
    (report,) = [
        h
        for h in session.heard
        if h["what"] == "logreport" and h["in"] == "controller"
        if h["id"].endswith("::orange::one") and h["when"] == "call"
    ]
    assert report["outcome"] == "skipped"
    assert report["text"].endswith("⚠️ few data\nWarning: and old")  # after the worker's name
    (raised,) = [h for h in session.heard if h["what"] == "makereport" and h["raised"]]
    assert (raised["id"], raised["raised"]) == (report["id"], "⚠️ few data\nWarning: and old")
    cases = ET.parse(session.root / "junit.xml").getroot().iter("testcase")
    (skipped,) = [case.find("skipped") for case in cases if case.get("name") == "one"]
    assert (skipped.get("type"), skipped.get("message")) == ("pytest.xfail", "⚠️ few data")
    assert "WARNED conductor.py::orange::one - ⚠️ few data\n" in session.output
    assert "XFAIL" not in session.output


def test_equal_failures_are_told_once(session):
    """With two workers; what waits for them is blocked, with the reason."""
    assert len(re.findall(r"^E   NameError", session.output, re.MULTILINE)) == 1
    assert len(re.findall(r"^_+ wrong/r\d _+$", session.output, re.MULTILINE)) == 1
    more = r"^2 more of this cause .*\n  wrong/r\d: NameError.*\n  wrong/r\d: NameError"
    blocked = r"^BLOCKED \S+::(r0|all) and \S+::(r0|all) - upstream wrong/r0 failed$"
    assert re.search(more, session.output, re.MULTILINE)
    assert re.search(blocked, session.output, re.MULTILINE)
    assert len(re.findall(r"^FAILED conductor\.py::wrong", session.output, re.MULTILINE)) == 3
