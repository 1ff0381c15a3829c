"""User code that mypy checks: what a conductor and a flow write must be typed, and mistakes must be found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import ductaflow
import pandas as pd

from pytest_ductaflow import (
    FlowExecutionError,
    ScenarioTable,
    TableError,
    conduct,
    cross,
    debug_flow,
    grid,
    is_collecting,
    load_cli_config,
    one_at_a_time,
    results,
    run_notebook,
    sample,
    unpack_config,
    zipped,
)

table = grid(rate=[0.01, 0.02], years=[10, 25])
instances = conduct("flows/growth.py", table, base={"population": 50_000}, cwd="project")
conduct("flows/growth.py", table, cores=2)
conduct(Path("flows/growth.py"), "scenarios.csv", step="growth", after=instances, keep=["*.cache"])
conduct("flows/growth.py", [{"instance_name": "a", "rate": 0.1}], config=lambda row: {"rate": row["rate"]})
conduct("flows/growth.py", pd.DataFrame({"rate": [0.1]}))

conduct("flows/growth.py", table, workers=2)
conduct("flows/growth.py", table, workers="auto")
conduct("flows/growth.py", table, workers="two")  # type: ignore[arg-type]

sampled = sample(8, design="sobol", seed=1, rate=(0.0, 1.0), mode=["rail", "road"])
assert_type(sampled, ScenarioTable)
conduct("flows/growth.py", sampled + grid(rate=[0.5]))
conduct("flows/growth.py", sampled.where("rate < 0.5").drop("mode == 'rail'"))
assert_type(cross(zipped(a=[1], b=[2]), one_at_a_time({"c": 1}, c=[2])), ScenarioTable)
sample(8, design="grid", rate=(0.0, 1.0))  # type: ignore[arg-type]

conduct("flows/growth.py", 3)  # type: ignore[arg-type]
conduct("flows/growth.py", table, cwd="elsewhere")  # type: ignore[arg-type]
conduct("flows/growth.py", table, stepp="growth")  # type: ignore[call-arg]

assert_type(is_collecting(), bool)
assert_type(results(), pd.DataFrame)
assert_type(results("runs"), pd.DataFrame)


def run_one(config: Mapping[str, Any]) -> str:
    """Return why a flow failed, or where it ran."""
    try:
        run_notebook("flows/growth.py", config=config, execution_dir="runs/growth/one")
    except TableError as error:
        return error.problems[0].where
    except FlowExecutionError as error:
        return f"{error.ename}: {error.record.run_dir}"
    return "runs/growth/one"


config = load_cli_config("config/flows/growth.json", "growth")
vars().update(unpack_config(config, "growth", locals()))
assert_type(debug_flow("flows/growth.py", "runs/growth/one"), Path)
ductaflow.run_notebook("flows/growth.py", config={}, execution_dir="runs/growth/one")
