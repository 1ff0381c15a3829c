"""`why`: the decision of a session on one instance, without a session."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.command_line import ductaflow, make_run
from helpers.projects import write_project
from helpers.sessions import run_session

PROJECT = {
    "flows/a.py": "open('out.txt', 'w').write(str(config['size']))",
    "flows/b.py": "print(open(config['table']).read())",
    "conductor.py": """\
        from pytest_ductaflow import conduct
        conduct("flows/a.py", [{"instance_name": "x", "size": 1}, {"instance_name": "y", "size": 2}])
        conduct("flows/b.py", [{"instance_name": "x", "table": "../../a/x/out.txt"}])
        """,
}


@pytest.fixture(scope="module", name="ran")
def fixture_ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project in which a session has run a/x and b/x."""
    root = write_project(tmp_path_factory.mktemp("why"), PROJECT)
    done = run_session(root, "-p", "no:cacheprovider", "--ductaflow", "conductor.py", "-k", "x", timeout=120)
    assert done.returncode == 0, done.stdout
    return root


@pytest.mark.slow
def test_the_decision_is_that_of_a_session(ran: Path) -> None:
    done = ductaflow(ran / "flows", "why", "a/x", is_real=True)
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == "a/x would not run: nothing that it depends on has changed since it ended well"
    assert done.lines[1] == "declared:  ../conductor.py:2, row 1, flow a.py"
    assert done.lines[-1] == "run it:    pytest --ductaflow ../conductor.py::a::x"
    assert ductaflow(ran, "why", "a/y").lines[0] == "a/y would run: new"
    data = json.loads(ductaflow(ran, "why", "b/x", "--json").out)
    assert (data["decision"], data["upstreams"]) == ("unchanged", {"a/x": None})
    flow = ran / "flows/a.py"
    flow.write_text(flow.read_text(encoding="utf-8") + "\nprint(1)\n", encoding="utf-8")
    assert ductaflow(ran, "why", "a/x").lines[0] == "a/x would run: flow flows/a.py changed"
    lines = ductaflow(ran, "why", "b/x").lines
    assert lines[0] == "b/x runs if a/x writes something else"
    assert "upstream:  a/x (runs: flow flows/a.py changed)" in lines


@pytest.mark.slow
def test_an_instance_is_found_that_was_declared_since_the_last_session(ran: Path) -> None:
    conductor = ran / "conductor.py"
    text = conductor.read_text(encoding="utf-8")
    conductor.write_text(
        f'{text}conduct("flows/a.py", [{{"instance_name": "fresh", "size": 3}}])\n', encoding="utf-8"
    )
    lines = ductaflow(ran, "why", "fresh").lines
    assert lines[0] == "a/fresh would run: new"
    assert lines[1] == "declared:  conductor.py:4, row 1, flow flows/a.py"


@pytest.mark.slow
def test_what_nothing_declares_runs_only_if_it_is_named(tmp_path: Path) -> None:
    write_project(tmp_path, PROJECT)
    make_run(tmp_path, "a/gone", "flows/a.py")
    done = ductaflow(tmp_path, "why", "gone")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "Error: no conductor, table or flow declares a/gone: conductor.py declared it, and does not any "
        "more; it runs only if it is named: pytest --ductaflow runs/a/gone\n"
    )
    assert ductaflow(tmp_path, "why", "nothing").err.startswith(
        "Error: no run in runs is called like 'nothing'"
    )


@pytest.mark.slow
def test_a_conductor_that_is_wrong_is_one_message(tmp_path: Path) -> None:
    write_project(tmp_path, PROJECT | {"conductor.py": "import pytest_ductaflow\n1 / 0\n"})
    make_run(tmp_path, "a/x", "flows/a.py")
    done = ductaflow(tmp_path, "why", "a/x")
    assert done.code == 2
    assert "conductor.py:2: ZeroDivisionError: division by zero" in done.err


@pytest.mark.slow
def test_a_record_that_cannot_be_read_is_a_reason_to_run(tmp_path: Path) -> None:
    """Nothing else notes here what has declared it."""
    write_project(tmp_path, PROJECT)
    for name in ("x", "gone"):
        make_run(tmp_path, f"a/{name}", "flows/a.py")
        (tmp_path / f"runs/a/{name}/a_record.json").write_text("{", encoding="utf-8")
    done = ductaflow(tmp_path, "why", "a/x")
    assert done.code == 0, done.err
    assert done.lines[0].startswith("a/x would run: new; ")
    assert "not a readable record" in done.lines[0]
    assert "declares a/gone; it runs only if it is named" in ductaflow(tmp_path, "why", "a/gone").err
