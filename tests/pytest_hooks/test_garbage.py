"""How often garbage is collected while a session runs: less often, if it has instances only."""

from __future__ import annotations

import json

import pytest
from helpers.projects import write_project
from helpers.sessions import run_session

FILES = {
    "flows/a.py": "print(1)\n",
    "conductor.py": """\
        from pytest_ductaflow import conduct

        conduct("flows/a.py", [{"instance_name": "one"}])
        """,
    "test_beside.py": "def test_beside():\n    pass\n",
    "conftest.py": """\
        import gc, json, os

        if "THRESHOLD" in os.environ:
            gc.set_threshold(int(os.environ["THRESHOLD"]))
        told = [gc.get_threshold()]

        def pytest_runtest_logfinish():
            told.append(gc.get_threshold())

        def pytest_unconfigure(config):
            config.add_cleanup(tell)

        def tell():
            with open("thresholds.json", "w") as file:
                json.dump(told, file)
        """,
}


@pytest.mark.parametrize(
    ("sources", "threshold", "rises"),
    [
        (["conductor.py"], None, True),
        (["conductor.py"], "0", False),
        (["conductor.py"], "20000", False),
        (["conductor.py", "test_beside.py"], None, False),
        (["test_beside.py"], None, False),
    ],
)
def test_garbage_is_collected_less_often_where_only_instances_run(
    tmp_path, monkeypatch, sources, threshold, rises
):
    root = write_project(tmp_path, FILES)
    if threshold is not None:
        monkeypatch.setenv("THRESHOLD", threshold)
    run_session(root, "--ductaflow", *sources)
    before, during, *_ = json.loads((root / "thresholds.json").read_text(encoding="utf-8"))
    assert (during[0] > before[0]) == rises
    assert (during[0] == 0) == (threshold == "0")


def test_thresholds_that_a_plugin_sets_meanwhile_stay(tmp_path):
    root = write_project(tmp_path, FILES)
    conftest = root / "conftest.py"
    conftest.write_text(
        conftest.read_text() + "\ndef pytest_sessionstart():\n    gc.set_threshold(123_456, 5, 5)\n"
    )
    run_session(root, "--ductaflow", "conductor.py", "test_beside.py")
    told = json.loads((root / "thresholds.json").read_text(encoding="utf-8"))
    assert told[1:] == [[123_456, 5, 5]] * len(told[1:])
