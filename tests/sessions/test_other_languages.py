"""Flows in other languages run in their own kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment, run_session

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="bash_kernel is for POSIX")]

FLOW = """\
# %% tags=["parameters"]
year=0

# %%
echo "year is $year in $(basename "$PWD")"
echo "⚠️ shell warns"
"""


READS = """\
# %% tags=["parameters"]
year=0

# %%
cat data/zones.csv
"""


@pytest.mark.thorough
def test_a_shell_flow_gets_its_parameters_and_its_light_and_the_hint_at_a_missing_file(
    tmp_path: Path,
) -> None:
    """Jupytext knows the language, its kernel is found, papermill writes the parameters that it can."""
    environment = own_environment(JUPYTER_PATH=str(tmp_path / "share/jupyter"))
    install = [sys.executable, "-m", "bash_kernel.install", "--prefix", str(tmp_path)]
    subprocess.run(install, check=True, env=environment, capture_output=True)
    project = write_project(
        tmp_path / "project",
        {
            "conductor.py": """
                from pytest_ductaflow import conduct
                rows = [{"instance_name": "a", "year": 2040, "nested": {"x": 1}}]
                conduct("flows/report.sh", rows)
                conduct("flows/reads.sh", [{"instance_name": "a"}])
                """,
            "data/zones.csv": "1",
        },
    )
    (project / "flows").mkdir()
    (project / "flows/report.sh").write_text(FLOW, encoding="utf-8")
    (project / "flows/reads.sh").write_text(READS, encoding="utf-8")
    done = run_session(project, "--ductaflow", "conductor.py", "-W", "ignore", environment=environment)
    assert "1 failed, 1 warned" in done.stdout, done.stdout
    assert "(data/zones.csv is looked for in the run directory, and is in the project root:" in done.stdout
    record = json.loads((project / "runs/report/a/report_record.json").read_text(encoding="utf-8"))
    assert record["warnings"] == ["⚠️ shell warns"]
    log = (project / "runs/report/a/report_execution_output.txt").read_text(encoding="utf-8")
    assert log.splitlines()[0] == "year is 2040 in a"
