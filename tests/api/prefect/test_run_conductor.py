"""The Prefect flow that runs a conductor: without Prefect, and in a real server."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.prefect_server import real_prefect
from helpers.projects import write_project
from helpers.sessions import own_environment, run_python, run_session

PROJECT = {
    "flows/a.py": "print('rows', rows)\nopen('out.txt', 'w').write(str(rows))\nassert rows != 3, 'three'",
    "flows/b.py": "print('⚠️ odd')\nopen(config['_project_root'] + '/runs/a/one/out.txt').read()",
    "conductor.py": """
        from pytest_ductaflow import conduct
        rows = [{"instance_name": name, "rows": n} for n, name in enumerate(["zero", "one", "two"])]
        conduct("flows/a.py", rows)
        conduct("flows/b.py", [{"instance_name": "sum", "needs": "runs/a/one/out.txt"}])
        conduct("flows/a.py", [{"instance_name": "three", "rows": 3}], step="late", after=[])
        conduct("flows/b.py", [{"instance_name": "never", "needs": "runs/late/three/out.txt"}], step="last")
        """,
}
FLOW = """\
import json, sys
from pytest_ductaflow.api.prefect import conductor_flow
print(conductor_flow(**json.loads(sys.argv[1])))
"""


@pytest.mark.slow
def test_without_prefect_the_message_says_what_to_install(tmp_path: Path):
    code = "import sys; sys.modules['prefect'] = None\nimport pytest_ductaflow.api.prefect"
    done = run_python(tmp_path, "-c", code)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        'ImportError: conductor_flow needs Prefect: pip install "pytest-ductaflow[prefect]" (or set '
        "PREFECT_DISABLED=1, which makes it a plain function that runs pytest)"
    )


@pytest.mark.thorough
@pytest.mark.slow
def test_where_prefect_is_switched_off_it_just_runs_pytest(tmp_path: Path):
    root = write_project(tmp_path, PROJECT)

    def call(**given: object) -> tuple[int, str]:
        done = run_python(root, "-c", FLOW, json.dumps(given), PREFECT_DISABLED="1")
        return done.returncode, (done.stdout if done.returncode == 0 else done.stderr).splitlines()[-1]

    code, said = call(
        conductor="conductor.py", steps=["a"], where="rows > 0", select="one or two",
        options=["-p", "no:cacheprovider"], overrides={"ductaflow_tag": "night"},
    )  # fmt: skip
    assert code == 0
    assert said.startswith("2 passed")
    record = json.loads((root / "runs/a/one/a_record.json").read_text())
    assert record["lineage"]["tags"] == ["night"]
    assert not (root / "runs/a/zero").exists()
    code, said = call(conductor="conductor.py", steps=["late"])
    assert (code, said.startswith("pytest_ductaflow.core.errors.SweepFailed: 1 failed")) == (1, True)
    _, said = call(conductor="conductor.py", select="nothing")
    assert said.endswith("SweepFailed: pytest ended with exit code 5: nothing was selected")
    _, said = call(conductor="other.py")
    assert said == f"FileNotFoundError: conductor 'other.py' is not there, seen from {root}"


@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.skipif(find_spec("prefect") is None, reason="needs Prefect")
def test_a_real_server_knows_of_sessions_and_of_the_flow_what_they_tell_it(tmp_path: Path):
    root = write_project(tmp_path / "town", PROJECT)
    expected = {
        **dict.fromkeys(("a/zero", "a/one", "a/two"), ("COMPLETED", "Completed", set())),
        "b/sum": ("COMPLETED", "Warned", {"a/one"}),
        "late/three": ("FAILED", "Failed", set()),
        "last/never": ("CANCELLED", "Blocked", {"a/one", "late/three"}),
    }
    with real_prefect(tmp_path / "prefect") as server:
        option = f"--ductaflow-prefect={server.address}"
        done = run_session(root, "--ductaflow", "conductor.py", "-n2", option)
        assert done.returncode == 1, done.stdout
        run = done.stdout.partition("/runs/flow-run/")[2].split()[0]
        runs = server.task_runs(run, 6)
        names = {each["id"]: name for name, each in runs.items()}
        found = {
            name: (
                each["state_type"],
                each["state_name"],
                {names[up["id"]] for up in each["task_inputs"]["upstreams"]},
            )
            for name, each in runs.items()
        }
        assert found == expected
        record = json.loads((root / "runs/a/one/a_record.json").read_text())
        assert runs["a/one"]["start_time"].startswith(record["started"][:23])
        assert runs["a/one"]["total_run_time"] == pytest.approx(record["duration"])
        flow_run = server.ask(f"/flow_runs/{run}")
        assert flow_run["state"]["message"] == "1 failed, 1 blocked, 1 warned, 3 completed"
        logs = server.ask("/logs/filter", {"logs": {"flow_run_id": {"any_": [run]}}})
        assert {each["message"] for each in logs} >= {"rows 0", "rows 1", "rows 2", "⚠️ odd"}
        pages = server.ask("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        assert {page["key"] for page in pages} == {
            *("town-conductor-py-summary", "town-late-three", "town-b-sum"),
        }

        given = json.dumps({"conductor": "conductor.py", "options": ["-n", "2"]})
        environment = own_environment(**server.variables)
        done = run_python(root, "-c", FLOW, given, environment=environment, is_real=True)
        assert "1 failed" in done.stderr.splitlines()[-1], done.stderr
        (flow,) = server.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["conductor"]}}})
        assert (flow["state_type"], flow["parameters"]["options"]) == ("FAILED", ["-n", "2"])
        runs = server.task_runs(flow["id"], 6)
        assert runs["a/one"]["state_name"] == "Cached"
        assert runs["late/three"]["state_type"] == "FAILED"
