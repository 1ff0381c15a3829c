"""Settings of a run by `run_notebook`: time for each cell, a kernel, folders that do not exist yet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_pytest

from pytest_ductaflow import DuctaflowError, run_notebook, run_step_flow

HEAD = (
    "# ---\n# jupyter:\n#   kernelspec:\n#     name: conda-env-traffic-py\n#     display_name: x\n# ---\n\n"
)
FLOW = '# %% tags=["parameters"]\nconfig = {}\n\n# %%\n'
FILES = {
    "flows/named.py": f"{HEAD}{FLOW}print(1)\n",
    "flows/slow.py": f"{FLOW}import threading\nthreading.Event().wait(config['wait'])\n\n# %%\nprint('on')\n",
    "conductor.py": """\
        from ductaflow import run_notebook
        run_notebook("flows/named.py", config={"instance_name": "x"})
        run_notebook("flows/slow.py", config={"wait": 600}, timeout=1, execution_dir="runs/slow/cell")
        run_notebook("flows/slow.py", config={"wait": 0}, timeout=400, execution_dir="runs/slow/ok")
        for name in ("low", "high"):
            places = {"run_folder": f"runs/{name}", "model": {"work_dir": f"runs/{name}/work"}}
            run_notebook("flows/slow.py", config={"wait": 0, **places}, execution_dir=f"runs/study/{name}")
        """,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("asked") / "project", FILES)


@pytest.fixture(scope="module")
def session(root: Path) -> pytest.RunResult:
    return run_pytest(root, "--ductaflow", "conductor.py")


def record(root: Path, name: str) -> dict:
    return json.loads((root / "runs" / name).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_time_out_of_the_call_is_for_each_cell(root, session):
    session.assert_outcomes(passed=4, failed=1)
    error = record(root, "slow/cell/slow_record.json")["error"]
    assert (error["type"], error["message"]) == ("Timeout", "this cell took longer than 1 s")


@pytest.mark.slow
def test_a_python_kernel_that_is_not_installed_is_replaced_and_told(root, session):
    said = record(root, "named/x/named_record.json")["python_warnings"]
    text = "named.py names the kernel 'conda-env-traffic-py', which is not installed: python3 runs it"
    assert said == [f"KernelWarning: {text}"]
    session.stdout.fnmatch_lines([f"*{text}"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["low", "high"])
def test_a_folder_in_which_a_flow_will_work_need_not_be_there(root, session, name):
    assert record(root, f"study/{name}/slow_record.json")["status"] == "success"


# A config as the path of a file: laid out, not run


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files = {"flows/x.py": "print(1)\n", "config/c.json": {"rate": 1}, "bad.json": "{", "list.json": "[1]"}
    return write_project(tmp_path, files)


@pytest.mark.parametrize("given", ["config/c.json", Path("config/c.json"), {"rate": 1}])
def test_a_config_may_be_the_path_of_a_file(project, given):
    where = {"execution_dir": "runs/x/a", "project_root": project}
    notebook = run_notebook("flows/x.py", config=given, no_execute=True, **where)
    laid = json.loads((notebook.parent / "x_config.json").read_text(encoding="utf-8"))
    assert laid == {"rate": 1, "_project_root": str(project)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("config/no.json", "'config/no.json': expected a dict, or the path of a JSON file; none in "),
        ("bad.json", "bad.json is not JSON: "),
        ("list.json", "list.json holds a list, expected an object"),
        (5, "config=5: expected a dict, or the path of a JSON file"),
        ([1], "expected a dict"),
    ],
)
def test_what_is_no_config_is_told_so(project, given, said):
    with pytest.raises(DuctaflowError) as caught:
        run_notebook("flows/x.py", config=given, no_execute=True)
    assert said in str(caught.value)
    with pytest.raises(DuctaflowError) as caught:
        run_step_flow("flows/x.py", "x", "a", given)
    assert said in str(caught.value)
