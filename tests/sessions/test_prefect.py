"""Sessions that a Prefect server is shown, and what they say of servers that are no help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.prefect_server import fake_prefect, free_port
from helpers.projects import write_project
from helpers.sessions import run_pytest, run_session

pytestmark = pytest.mark.slow

PROJECT = {
    "flows/grow.py": """
        print("the password is", config["password"])
        if rate > 1:
            raise ValueError(f"no rate of {rate} with {config['password']}")
        if rate > 0.5:
            print("warning: fast")
        open("size.txt", "w").write("1")
        """,
    "flows/sum.py": "print(open(config['_project_root'] + '/' + source).read())",
    "conductor.py": """
        from pytest_ductaflow import conduct
        base = {"password": "${env:TOWN_PASSWORD}"}
        rates = {"slow": 0.1, "fast & <big>": 0.9, "bad": 3}
        rows = [{"instance_name": name, "rate": rate} for name, rate in rates.items()]
        conduct("flows/grow.py", rows, base=base)
        sums = [{"instance_name": name, "source": f"runs/grow/{name}/size.txt"} for name in ("slow", "bad")]
        conduct("flows/sum.py", sums)
        """,
    "pytest.ini": "[pytest]\nductaflow_tag = night\n",
}
PASSWORD = "sesame-open-12"
STATES = {
    "grow/slow": ("COMPLETED", "Completed"),
    "grow/fast & <big>": ("COMPLETED", "Warned"),
    "grow/bad": ("FAILED", "Failed"),
    "sum/slow": ("COMPLETED", "Completed"),
    "sum/bad": ("CANCELLED", "Blocked"),
}


def test_prefect_shows_what_has_happened_in_one_process_and_then_in_several(tmp_path: Path):
    root = write_project(tmp_path / "town", PROJECT)
    variables = {"TOWN_PASSWORD": PASSWORD, "PREFECT_API_KEY": "pnu_key_1"}
    with fake_prefect() as server:
        done = run_session(
            root, "--ductaflow", "conductor.py", f"--ductaflow-prefect={server.address}", **variables
        )
    assert done.returncode == 1, done.stdout
    assert "\nPrefect: http://127.0.0.1:" in done.stdout
    assert {name: each[-1] for name, each in server.states.items()} == STATES
    assert server.headers[0]["Authorization"] == "Bearer pnu_key_1"
    assert server.sent("/flows/") == [{"name": "town: conductor.py"}]
    (run,) = server.sent("/flow_runs/")
    assert run["tags"] == ["ductaflow", "night"]
    assert list(server.last.values()) == ["FAILED"]
    names = {
        event["resource"]["prefect.resource.id"]: event["payload"]["task_run"]["name"]
        for event in server.events
    }
    edges = {
        (names[f"prefect.task-run.{up['id']}"], event["payload"]["task_run"]["name"])
        for event in server.events
        for up in event["payload"]["task_run"]["task_inputs"]["upstreams"]
    }
    assert edges == {("grow/slow", "sum/slow"), ("grow/bad", "sum/bad")}
    texts = [entry["message"] for entry in server.logs]
    assert any("the password is •••" in text for text in texts)
    assert any("ValueError: no rate of 3 with •••" in text for text in texts)
    assert all(word not in json.dumps(server.requests) for word in (PASSWORD, "pnu_key_1"))
    record = json.loads((root / "runs/grow/slow/grow_record.json").read_text())
    assert record["lineage"]["session"] == run["name"]

    with fake_prefect() as server:
        done = run_session(
            *(root, "--ductaflow", "conductor.py", "-n2", f"--ductaflow-prefect={server.address}"),
            **variables,
        )
    assert done.returncode == 1, done.stdout
    cached = {"grow/slow": ("COMPLETED", "Cached"), "sum/slow": ("COMPLETED", "Cached")}
    assert {name: each[-1] for name, each in server.states.items()} == {**STATES, **cached}
    assert len(server.sent("/flow_runs/")) == 1


def test_a_server_that_is_not_there_changes_nothing_but_a_line(tmp_path: Path):
    root = write_project(tmp_path, PROJECT)
    (root / "pytest.ini").write_text(f"[pytest]\nductaflow_prefect = http://127.0.0.1:{free_port()}\n")
    done = run_session(root, "--ductaflow", "conductor.py", "-k", "slow", TOWN_PASSWORD=PASSWORD)
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("Prefect")]
    assert len(lines) == 1
    assert "the session is not shown there: [Errno 111] Connection refused" in lines[0]
    assert "2 passed" in done.stdout


def test_a_variable_switches_it_off_and_nothing_is_told_of_a_session_that_runs_nothing(tmp_path: Path):
    root = write_project(tmp_path, PROJECT)
    with fake_prefect() as server:
        option = f"--ductaflow-prefect={server.address}"
        off = {"PREFECT_DISABLED": "1", "TOWN_PASSWORD": PASSWORD}
        done = run_session(root, "--ductaflow", "conductor.py::grow::slow", option, **off)
        assert (done.returncode, "Prefect" in done.stdout) == (0, False)
        for none in ("--collect-only", "--ductaflow-explain"):
            assert run_session(root, "--ductaflow", "conductor.py", option, none).returncode == 0
    assert not server.requests


@pytest.mark.parametrize(
    ("address", "message"),
    [
        (
            "localhost:4200",
            (
                "ERROR: ductaflow_prefect: 'localhost:4200': expected the address of a server, such as "
                "http://127.0.0.1:4200/api"
            ),
        ),
        (
            "http://me:sesame@host/api",
            (
                "ERROR: --ductaflow-prefect: leave user and password out of the address, and set "
                "PREFECT_API_AUTH_STRING=USER:PASSWORD"
            ),
        ),
    ],
)
def test_what_is_no_address_is_said_before_anything_runs(tmp_path: Path, address, message):
    root = write_project(tmp_path, PROJECT)
    result = run_pytest(root, "--ductaflow", "conductor.py", f"--ductaflow-prefect={address}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.errlines
    assert not (root / "runs").exists()
