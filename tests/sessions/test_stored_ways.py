"""Where stored instances come from, what compares them, and that nothing bypasses the comparison."""

from __future__ import annotations

import shutil

import pytest
from helpers.gate import GATE, edit, fixture_clone, fixture_origin, pytest_, store  # noqa: F401 - fixtures
from helpers.projects import write_project

from pytest_ductaflow.report.page import read

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


def test_the_ini_file_says_what_runs_without_paths_beside_ordinary_tests_and_no_sweep(clone):
    (clone / "pytest.ini").write_text("[pytest]\nductaflow_instances = tests/instances\n")
    (clone / "unit").mkdir()
    (clone / "unit/test_unit.py").write_text("def test_unit(): pass\n")
    done = pytest_(clone, "-v")
    assert done.returncode == 0
    assert "2 passed" in done.stdout
    assert "instance.json::A PASSED" in done.stdout
    (clone / "pytest.ini").write_text("[pytest]\ntestpaths = unit\nductaflow_instances = tests/instances\n")
    assert "2 passed" in pytest_(clone).stdout
    assert "1 passed" in pytest_(clone / "unit").stdout
    assert "2 passed" in pytest_(clone, "conductor.py").stdout
    (clone / "pytest.ini").write_text("[pytest]\ntestpaths = .\nductaflow_instances = tests/gone\n")
    done = pytest_(clone)
    assert done.returncode == 4
    assert "ductaflow_instances: " in done.stderr
    assert "is not a folder" in done.stderr


def test_the_ini_file_says_where_runs_are_stored(clone):
    (clone / "gate").mkdir()
    (clone / "pytest.ini").write_text(
        "[pytest]\nductaflow_instances = gate\nductaflow_store_limit = 0.00001\n"
    )
    pytest_(clone, "conductor.py")
    done = store(clone, "runs/trips/B")
    assert done.returncode == 2
    assert "larger than 1e-05 MB: " in done.stderr
    done = store(clone, "runs/trips/B", "--limit", "1", "--output", "*.csv")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "gate/trips/B: 1 output",
        "  trips.csv",
        "note: it also wrote totals.json, which is not compared",
        "replay it: pytest --ductaflow gate/trips/B",
    ]
    assert pytest_(clone).returncode == 0


def test_tests_among_the_expected_files_are_not_collected(clone):
    (clone / GATE / "trips/A/expected/test_x.py").write_text("def test_x(): assert False\n")
    done = pytest_(clone, GATE, "--collect-only", "-q")
    assert done.stdout.splitlines()[0] == f"{GATE}/trips/A/instance.json::A"
    assert "1 test collected" in done.stdout


def test_a_sweep_and_the_gate_in_one_session(clone):
    edit(clone / GATE / "trips/A/instance.json", '"year": 2030', '"year": 2030, "trips_instance": "gone"')
    done = pytest_(clone, "conductor.py", GATE, "-n", "2")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_a_conftest_can_compare_another_kind_of_file(clone):
    edit(clone / "flows/trips.py", '"totals.json"', '"totals.odd"')
    (clone / "conftest.py").write_text(
        "from pytest_ductaflow import Difference\n"
        "def pytest_ductaflow_compare(name, expected, found, tolerance):\n"
        "    if not name.endswith('.odd'):\n"
        "        return None\n"
        "    same = expected.read_text()[:8] == found.read_text()[:8]\n"
        "    return [] if same else [Difference(name, f'the first eight differ, rtol {tolerance.rtol}')]\n"
    )
    assert pytest_(clone, GATE, "--ductaflow-update").returncode == 0
    edit(clone / "flows/trips.py", "* 2.5", "* 2.5000000001")
    assert pytest_(clone, GATE).returncode == 0
    edit(clone / "flows/trips.py", '"year": config', '"yeah": config')
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "E   totals.odd: the first eight differ, rtol 1e-06" in done.stdout


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("1 / 0", "pytest_ductaflow_compare raised ZeroDivisionError: division by zero"),
        ("open('/nope')", "pytest_ductaflow_compare raised FileNotFoundError"),
        ("True", "pytest_ductaflow_compare gave True: expected a list of Difference"),
        ("'a text'", "pytest_ductaflow_compare gave 'a text': expected a list"),
        ("{}", "pytest_ductaflow_compare gave {}: expected a list"),
        ("[1]", "pytest_ductaflow_compare gave [1]: expected a list"),
        (
            "[Difference('other.txt', 'one', worst=(DifferingValue('a', 1, 2, numpy.float32(1)),))]",
            "csv: one",
        ),
        ("[Difference(name, 'one', worst=(3,))]", "gave a Difference with values that cannot be"),
    ],
)
def test_whatever_a_hook_tells_is_told_in_a_sentence(clone, told, message):
    (clone / "conftest.py").write_text(
        "import numpy\n"
        "from pytest_ductaflow import Difference, DifferingValue\n"
        "def pytest_ductaflow_compare(name, expected, found):\n"
        f"    return {told} if name == 'trips.csv' else None\n"
    )
    done = pytest_(clone, GATE, "-n", "1")
    assert done.returncode == 1
    assert message in done.stdout
    assert "INTERNALERROR" not in done.stdout
    assert "Traceback" not in done.stdout


def test_a_hook_is_for_the_instances_below_its_conftest(clone):
    (clone / GATE / "other").mkdir()
    (clone / GATE / "other/conftest.py").write_text("def pytest_ductaflow_compare(): return []\n")
    shutil.copytree(clone / GATE / "trips/A", clone / GATE / "other/B")
    edit(clone / GATE / "other/B/instance.json", '"instance": "A"', '"instance": "B"')
    edit(clone / "flows/trips.py", "* 2.5", "* 2.6")
    done = pytest_(clone, GATE, "-v")
    assert "other/B/instance.json::B PASSED" in done.stdout
    assert "trips/A/instance.json::A FAILED" in done.stdout


def test_a_shard_that_cannot_begin_leaves_no_report_of_an_earlier_one_to_be_merged(clone):
    report = clone / "runs/conductor_status_report.html"
    assert pytest_(clone, GATE, "--ductaflow-shard=1/1").returncode == 0
    assert read(report)["shard"] == "1/1"
    edit(clone / GATE / "trips/A/instance.json", '"schema": 1', '"schema": 7')
    assert pytest_(clone, GATE, "--ductaflow-shard=1/1").returncode == 4
    assert not report.exists()


def test_a_flow_that_writes_its_expected_files_does_not_pass(clone):
    flow = clone / "flows/trips.py"
    edit(flow, "* 2.5", "* 2.6")
    target = 'config["_project_root"] + "/tests/instances/trips/A/expected/trips.csv"'
    flow.write_text(flow.read_text() + f"zones.to_csv({target}, index=False)\n")
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "the flow has changed what is expected of it, in tests/instances/trips/A/expected" in done.stdout


def test_a_link_to_an_expected_file_does_not_pass(clone):
    flow = clone / "flows/trips.py"
    edit(flow, 'zones.to_csv("trips.csv", index=False)', "import os")
    source = 'config["_project_root"] + "/tests/instances/trips/A/expected/trips.csv"'
    flow.write_text(flow.read_text() + f'os.link({source}, "trips.csv")\n')
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "the flow has read what is expected of it" in done.stdout  # the link alone would be enough


def test_what_a_failed_attempt_left_does_not_pass(clone):
    edit(clone / GATE / "trips/A/instance.json", '"year": 2030', '"year": 2030, "_retries": 1')
    flow = clone / "flows/trips.py"
    edit(flow, 'zones.to_csv("trips.csv", index=False)', "import os")
    code = "again = os.path.exists(config['_project_root'] + '/runs/once')\nif not again:\n"
    code += "    zones.to_csv('trips.csv', index=False)\n"
    code += "    open(config['_project_root'] + '/runs/once', 'w')\n    1 / 0\n"
    flow.write_text(flow.read_text() + code)
    done = pytest_(clone, GATE)
    assert done.returncode == 1
    assert "trips.csv: is missing" in done.stdout


def test_a_stored_instance_within_another_and_one_behind_a_link_run_too(clone):
    folder = clone / GATE / "trips/A"
    for name in ("inner", "elsewhere"):
        target = folder / "inner" if name == "inner" else clone / "shared/elsewhere"
        shutil.copytree(clone / GATE / "trips/A", target, ignore=shutil.ignore_patterns("inner"))
        edit(target / "instance.json", '"instance": "A"', f'"instance": "{name}"')
    (clone / GATE / "link").symlink_to("../../shared/elsewhere")
    done = pytest_(clone, GATE, "-v")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_replays_that_would_empty_each_others_folder_are_told(clone):
    for step, name in (("trips/A", "inner"), ("trips", "A")):
        target = clone / GATE / f"copy {name}"
        shutil.copytree(clone / GATE / "trips/A", target)
        edit(target / "instance.json", '"instance": "A"', f'"instance": "{name}"')
        edit(target / "instance.json", '"step": "trips"', f'"step": "{step}"')
    done = pytest_(clone, f"{GATE}/trips", f"{GATE}/copy inner")
    assert done.returncode == 4
    assert (
        "would run in runs/instances/trips/A/inner, where tests/instances/trips/A/instance.json"
        in done.stderr
    )
    done = pytest_(clone, f"{GATE}/trips", f"{GATE}/copy A")
    assert done.returncode == 4
    assert "has the same run directory" in done.stderr


def test_an_output_whose_name_is_no_text_passes_between_processes(clone):
    flow = clone / "flows/trips.py"
    flow.write_text(flow.read_text() + 'open(b"raw\\xff.csv", "w").write("a")\n')
    done = pytest_(clone, GATE, "-n", "1")
    assert done.returncode == 1
    assert "was written, but is not expected" in done.stdout
    assert "INTERNALERROR" not in done.stdout


def test_where_chooses_among_all_stored_instances(clone):
    other = clone / GATE / "trips/B"
    shutil.copytree(clone / GATE / "trips/A", other)
    edit(other / "instance.json", '"instance": "A"', '"instance": "B"')
    edit(other / "instance.json", '"year": 2030', '"year": 2030, "mode": "rail"')
    done = pytest_(clone, GATE, "--ductaflow-where", "mode == 'rail'")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 1 deselected" in done.stdout


def test_a_failing_replay_with_figures_reaches_the_report_from_a_worker(clone):
    image = 'from PIL import Image; Image.new("RGB", (30, 20), config.get("colour", "red")).save("map.png")\n'
    flow = clone / "flows/trips.py"
    flow.write_text(flow.read_text() + image)
    assert pytest_(clone, GATE, "--ductaflow-update").returncode == 0
    edit(clone / GATE / "trips/A/instance.json", '"year": 2030', '"year": 2030, "colour": "blue"')
    done = pytest_(clone, GATE, "-n", "2")
    assert done.returncode == 1
    assert "E   map.png: 100 % of the pixels look different" in done.stdout
    (row,) = read(clone / "runs/conductor_status_report.html")["rows"]
    (difference,) = row["differences"]
    for figure in difference["figures"].values():
        assert (clone / "runs" / row["directory"] / figure).is_file()


def test_a_build_is_stored_with_what_its_flows_wrote(tmp_path):
    root = write_project(
        tmp_path,
        {
            "flows/part.py": 'open("part.txt", "w").write(str(config["n"] * 2))\n',
            "builds/whole.py": """\
                from pytest_ductaflow import run_notebook
                for n in (1, 2):
                    run_notebook("part", config={"instance_name": f"p{n}", "n": n})
                open("whole.txt", "w").write("done")
                """,
            "conductor.py": """\
                from pytest_ductaflow import conduct
                import pandas as pd
                conduct("builds/whole.py", pd.DataFrame({"instance_name": ["A"]}))
                """,
        },
    )
    assert pytest_(root, "conductor.py").returncode == 0
    done = store(root, "runs/whole/A")
    assert done.stdout.splitlines()[1:4] == [
        "  runs/part/p1/part.txt",
        "  runs/part/p2/part.txt",
        "  whole.txt",
    ]
    assert pytest_(root, GATE).returncode == 0
    edit(root / "flows/part.py", "* 2", "* 3")
    done = pytest_(root, GATE)
    assert done.returncode == 1
    assert "E   runs/part/p2/part.txt: " in done.stdout


def test_with_copies_of_its_inputs_an_instance_stands_alone(tmp_path):
    root = write_project(
        tmp_path / "first",
        {
            "flows/etl.py": 'open("x.txt", "w").write("7")\n',
            "flows/use.py": """\
                from pathlib import Path
                text = Path(config["_project_root"], config["x"]).read_text()
                open("y.txt", "w").write(text * 2)
                """,
            "conductor.py": """\
                from pytest_ductaflow import run_step_flow
                run_step_flow("flows/etl.py", "etl", "E", {})
                run_step_flow("flows/use.py", "use", "U", {"x": "runs/etl/E/x.txt"})
                """,
        },
    )
    assert pytest_(root, "conductor.py").returncode == 0
    done = store(root, "runs/use/U", "--inputs")
    assert (done.returncode, done.stderr) == (0, "")
    other = tmp_path / "second"
    shutil.copytree(root, other, ignore=shutil.ignore_patterns("runs"))
    done = pytest_(other, GATE)
    assert done.returncode == 0, done.stdout
    (other / GATE / "use/U/inputs/etl/E/x.txt").write_text("8")
    assert "E   y.txt: " in pytest_(other, GATE).stdout


def test_without_copies_it_says_which_input_is_not_there(tmp_path):
    root = write_project(
        tmp_path,
        {
            "flows/use.py": 'open("y.txt", "w").write(config["x"])\n',
            "tests/instances/use/U/instance.json": {
                "schema": 1,
                "flow": "flows/use.py",
                "step": "use",
                "instance": "U",
                "config": {"x": "runs/etl/E/x.txt"},
            },
        },
    )
    done = pytest_(root, GATE)
    assert done.returncode == 1
    assert "runs/etl/E/x.txt" in done.stdout
