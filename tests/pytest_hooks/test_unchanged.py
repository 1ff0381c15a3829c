"""Instances that are unchanged have no phases, which nobody may notice who would notice them of a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment, run_session

PASSES = [["setup", "passed"], ["call", "passed"], ["teardown", "passed"]]

FILES = {
    "flows/a.py": "print(config['year'])\n",
    "conductor.py": """\
        from pytest_ductaflow import conduct

        conduct("flows/a.py", [{"instance_name": f"y{year}", "year": year} for year in (2030, 2040, 2050)])
        """,
    "conftest.py": """\
        import json

        told = {"reports": [], "phases": [], "begun": [], "ended": []}

        def pytest_runtest_logstart(nodeid, location):
            told["begun"].append([nodeid, location[2]])

        def pytest_runtest_logreport(report):
            told["reports"].append([report.nodeid.rpartition("::")[2], report.when, report.outcome])

        def pytest_runtest_logfinish(nodeid):
            told["ended"].append(nodeid)

        def pytest_unconfigure():
            with open("told.json", "w") as file:
                json.dump(told, file)
        """,
}
OWN_PHASES = """\

def pytest_runtest_setup(item):
    told["phases"].append([item.name, "setup"])

def pytest_runtest_call(item):
    told["phases"].append([item.name, "call"])

def pytest_runtest_teardown(item, nextitem):
    told["phases"].append([item.name, "teardown"])
"""


def told_by(root: Path, *arguments: str) -> dict[str, Any]:
    """Run a session; return what its conftest file has noted, and what it printed."""
    printed = run_session(root, "--ductaflow", *arguments).stdout
    return {**json.loads((root / "told.json").read_text()), "printed": printed}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Three instances that have run."""
    root = write_project(tmp_path, FILES)
    assert "3 passed" in told_by(root, "conductor.py")["printed"]
    return root


def add(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


def wrap_makereport(conftest: Path, code: str) -> None:
    """Have a conftest file do something with each report when it is made."""
    imports = "\nimport os, pytest\nfrom _pytest.logging import caplog_records_key\n\n"
    begin = "@pytest.hookimpl(wrapper=True)\ndef pytest_runtest_makereport(item, call):\n    report = yield\n"
    add(conftest, f"{imports}{begin}{code}    return report\n")


def test_all_other_hooks_are_called_as_for_a_test(project: Path) -> None:
    told = told_by(project, "conductor.py", "-v")
    assert told["reports"] == [[f"y{year}", *each] for year in (2030, 2040, 2050) for each in PASSES]
    ids = [f"conductor.py::a::y{year}" for year in (2030, 2040, 2050)]
    assert told["begun"] == [[node_id, f"a/{node_id[-5:]}"] for node_id in ids]
    assert told["ended"] == ids
    assert told["printed"].count("UNCHANGED") == 3


def test_phases_that_a_conftest_file_takes_part_in_are_there(project: Path) -> None:
    add(project / "conftest.py", OWN_PHASES)
    told = told_by(project, "conductor.py", "-v")
    phases = [[f"y{year}", each] for year in (2030, 2040, 2050) for each in ("setup", "call", "teardown")]
    assert told["phases"] == phases
    assert told["reports"] == [[name, each, "passed"] for name, each in phases]
    assert told["printed"].count("UNCHANGED") == 3


def test_a_plugin_that_refuses_a_phase_is_asked(project: Path) -> None:
    add(
        project / "conftest.py",
        "\nimport pytest\n\ndef pytest_runtest_setup(item):\n    pytest.skip('not today')\n",
    )
    assert "3 skipped" in told_by(project, "conductor.py")["printed"]


def test_a_mark_of_a_plugin_holds(project: Path) -> None:
    add(
        project / "conftest.py",
        "\nimport pytest\n\ndef pytest_collection_modifyitems(items):\n"
        "    items[1].add_marker(pytest.mark.skip(reason='not today'))\n",
    )
    told = told_by(project, "conductor.py")
    assert "2 passed, 1 skipped" in told["printed"]
    assert [*told["reports"]][3] == ["y2040", "setup", "skipped"]


def test_set_ups_are_shown(project: Path) -> None:
    printed = told_by(project, "conductor.py", "--setup-show")["printed"]
    assert "conductor.py::a::y2030" in printed
    assert "3 passed" in printed


def test_with_tests_and_what_has_changed_in_between(project: Path) -> None:
    """Nodes are set up and torn down as if each item had phases."""
    write_project(
        project,
        {
            "flows/b.py": "print('b')\n",
            "other.py": """\
                from pytest_ductaflow import conduct

                conduct("flows/b.py", [{"instance_name": name} for name in ("k", "l", "m")])
                """,
            "test_between.py": """\
                import pytest

                @pytest.fixture(scope="module")
                def model():
                    yield 1
                    print("model closed")

                def test_one(model):
                    assert model

                def test_two(model):
                    assert model
                """,
        },
    )
    everything = ("conductor.py", "test_between.py", "other.py")
    assert "8 passed" in told_by(project, *everything)["printed"]
    conductor = project / "conductor.py"
    conductor.write_text(conductor.read_text().replace('"year": year}', '"year": year + (year == 2040)}'))
    (project / "runs/b/l/b_executed.ipynb").unlink()
    told = told_by(project, *everything, "-v", "-rA")
    assert "8 passed" in told["printed"]
    assert told["printed"].count(" UNCHANGED ") == 4
    assert "model closed" in told["printed"]
    assert [name for name, when, _ in told["reports"] if when == "call"] == [
        *("y2030", "y2040", "y2050", "test_one", "test_two", "k", "l", "m")
    ]


def test_an_upstream_that_runs_again_is_waited_for(tmp_path: Path) -> None:
    root = write_project(
        tmp_path,
        {
            "flows/make.py": "open('value.txt', 'w').write(str(config['value']))\n",
            "flows/use.py": "print(open(config['path']).read())\n",
            "conductor.py": """\
                from pytest_ductaflow import conduct

                rows = [{"instance_name": "x", "value": 1}, {"instance_name": "y", "value": 1}]
                conduct("flows/make.py", rows)
                paths = [{"instance_name": name, "path": f"../../make/{name}/value.txt"} for name in "xy"]
                conduct("flows/use.py", [{**row, "_after": f"make/{row['instance_name']}"} for row in paths])
                """,
        },
    )
    assert "4 passed" in run_session(root, "--ductaflow", "conductor.py").stdout
    conductor = root / "conductor.py"
    conductor.write_text(conductor.read_text().replace('"y", "value": 1', '"y", "value": 2'))
    printed = run_session(root, "--ductaflow", "conductor.py", "-v").stdout
    lines = [line.split("::")[-1].split()[:2] for line in printed.splitlines() if "conductor.py::" in line]
    assert sorted(lines) == [["x", "UNCHANGED"], ["x", "UNCHANGED"], ["y", "PASSED"], ["y", "PASSED"]]


def test_an_orange_one_is_shown_again(tmp_path: Path) -> None:
    root = write_project(
        tmp_path,
        {
            "flows/a.py": "print('WARNING: low')\n",
            "conductor.py": """\
                from pytest_ductaflow import conduct

                conduct("flows/a.py", [{"instance_name": "one"}, {"instance_name": "two"}])
                """,
        },
    )
    assert "2 warned" in run_session(root, "--ductaflow", "conductor.py").stdout
    assert "2 warned" in run_session(root, "--ductaflow", "conductor.py").stdout


SKIP = "pytest.skip('quarantined')"
LATE = f"""\
class Late:
    def pytest_runtest_setup(self, item):
        {SKIP}

def pytest_configure(config):
    global manager
    manager = config.pluginmanager

def pytest_runtest_logfinish(nodeid):
    if "y2030" in nodeid:
        manager.register(Late())
"""


@pytest.mark.parametrize(
    "code",
    [
        f"def pytest_runtest_protocol(item, nextitem):\n    item.runtest = lambda: {SKIP}",
        f"def pytest_collection_modifyitems(items):\n    for i in items:\n        i.runtest = lambda: {SKIP}",
        LATE,
    ],
    ids=["protocol", "item", "registered late"],
)
def test_whatever_skips_an_item_is_asked(project: Path, code: str) -> None:
    conftest = (project / "conftest.py").read_text().replace("pytest_runtest_logfinish(", "end(")
    (project / "conftest.py").write_text(f"import pytest\n{conftest}\n{code}\n")
    expected = "1 passed, 2 skipped" if code == LATE else "3 skipped"
    assert expected in told_by(project, "conductor.py")["printed"]


def test_a_package_may_skip_what_is_in_it(tmp_path: Path) -> None:
    root = write_project(tmp_path, FILES)
    conductor = root / "sub/conductor.py"
    conductor.parent.mkdir()
    (root / "conductor.py").rename(conductor)
    conductor.write_text(conductor.read_text().replace('"flows/', '"../flows/'))
    (root / "sub/__init__.py").write_text("")
    assert "3 passed" in told_by(root, "sub/conductor.py")["printed"]
    assert told_by(root, "sub/conductor.py", "-v")["printed"].count("UNCHANGED") == 3
    (root / "sub/__init__.py").write_text(f"import pytest\n\ndef setup_module():\n    {SKIP}\n")
    assert "3 skipped" in told_by(root, "sub/conductor.py")["printed"]


def test_reports_are_made_with_what_pytest_sets_for_a_phase(project: Path) -> None:
    wrap_makereport(
        project / "conftest.py",
        "    if call.when == 'call':\n"
        "        told['phases'].append(os.environ['PYTEST_CURRENT_TEST'])\n"
        "        item.stash[caplog_records_key]\n"
        "    if call.when == 'setup' and '2040' in item.name:\n        report.outcome = 'failed'\n",
    )
    told = told_by(project, "conductor.py")
    assert "2 passed, 1 error" in told["printed"]
    assert "conductor.py::a::y2030 (call)" in told["phases"]
    assert ["y2040", "call", "passed"] not in told["reports"]


def test_with_pytest_rerunfailures_items_are_its_own(project: Path) -> None:
    pytest.importorskip("pytest_rerunfailures")
    wrap_makereport(
        project / "conftest.py",
        "    if call.when == 'call' and item.name not in told['phases']:\n"
        "        told['phases'].append(item.name)\n        report.outcome = 'failed'\n",
    )
    environment = own_environment(plugins=True)
    done = run_session(project, "--ductaflow", "conductor.py", "--reruns", "2", environment=environment)
    assert "3 passed, 3 rerun" in done.stdout


def test_what_goes_wrong_in_the_decision_is_told_as_in_a_phase(project: Path) -> None:
    add(
        project / "conftest.py",
        "\nfrom pytest_ductaflow.tracking import up_to_date\n\n"
        "def broken(*_):\n    raise OSError('the disk is gone')\n\n"
        "up_to_date._config_changes = broken\n",
    )
    told = told_by(project, "conductor.py")
    assert "3 failed" in told["printed"]
    assert "the disk is gone" in told["printed"]
    assert ["y2030", "call", "failed"] in told["reports"]
