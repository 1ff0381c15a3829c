"""Projects as made for two early releases of ductaflow, for tests that run them unchanged.

`STEPS` is from the first months: a module `ductacore` in the folder `code`, a conductor with its own function
that changes into the run directory, results that are delivered after each run. `SESSIONS` is from the
last: builds and flows below `runs/{scenario}`, loggers, a session's log, results collected at the end.
"""

from __future__ import annotations

STALE = "raise ImportError('the copy that was left in the project was imported')\n"

STEP_HEADER = """\
# %% tags=["parameters"]


# %%
import csv, json, sys
from pathlib import Path

sys.path.append("../../../code")
try:
    from ductacore import display_config_summary, get_param
    if "config" in locals():
        display_config_summary(config, "step")
except ImportError:
    print("without ductacore:", json.dumps(config))

# %%
if "config" in locals() and config:
    for key, value in config.items():
        if isinstance(value, dict):
            for inner, inner_value in value.items():
                locals()[inner] = inner_value
        else:
            locals()[key] = value

# %%
"""
STEPS = {
    "code/ductacore.py": STALE,
    "raw/counts.csv": "zone,trips\nnorth,100\nsouth,\nwest,40\n",
    "flow/01_clean.py": STEP_HEADER
    + """\
with open(Path("../../..", source), newline="") as file:
    rows = list(csv.DictReader(file))
assert get_param("rules/missing", config) == missing
kept = [(row["zone"], int(row["trips"] or missing)) for row in rows]
with open("cleaned.csv", "w", newline="") as file:
    csv.writer(file).writerows([("zone", "trips"), *kept])
""",
    "flow/02_forecast.py": STEP_HEADER
    + """\
with open(Path("../../clean", input_instance, "cleaned.csv"), newline="") as file:
    rows = list(csv.DictReader(file))
trips = {row["zone"]: round(int(row["trips"]) * growth) for row in rows}
Path("forecast.json").write_text(json.dumps(trips))
if max(trips.values()) > limit:
    print(f"⚠️ more than {limit} trips")
""",
    "flow/03_report.py": STEP_HEADER
    + """\
trips = json.loads(Path("../../forecast", input_instance, "forecast.json").read_text())
Path("report.txt").write_text(f"{level}: {sum(trips.values())}")
""",
    "conductor.py": """\
import copy, json, os, shutil, sys
from pathlib import Path

import pandas as pd

sys.path.append("code")
try:
    from ductacore import load_config, run_notebook, save_config, setup_run_config
    print("framework loaded")
except ImportError as error:
    print(f"no framework: {error}")

# %%
def run_step_flow(notebook_path, step_name, instance_name, config):
    output_dir = Path("runs") / step_name / instance_name
    output_dir.mkdir(parents=True, exist_ok=True)
    with open(output_dir / "CONFIG.json", "w") as file:
        json.dump(config, file, indent=2)
    notebook_path = Path(notebook_path).resolve()
    try:
        original_dir = os.getcwd()
        os.chdir(output_dir)
        executed = run_notebook(
            notebook_file=notebook_path,
            config=config,
            notebooks_dir=original_dir,
            output_suffix="_executed",
            timeout=1800,
        )
        print(f"completed: {executed}")
        return executed, output_dir
    finally:
        os.chdir(original_dir)


def available_instances(step_name):
    step_dir = Path("runs") / step_name
    if not step_dir.exists():
        return []
    return sorted(folder.name for folder in step_dir.iterdir() if folder.is_dir())


def print_status(step_name):
    for number, instance in enumerate(available_instances(step_name), 1):
        config_path = Path("runs") / step_name / instance / "CONFIG.json"
        info = ""
        if config_path.exists():
            with open(config_path) as file:
                info = f" - {len(json.load(file))} keys"
        print(f"   {number}. {instance}{info}")


# %%
study = setup_run_config(load_config("study.json"), {"verbose": "false"})
clean_config = {"source": str(study["source"]), "rules": {"missing": study["missing"]}}
run_step_flow("flow/01_clean.py", "clean", "counts", clean_config)
print_status("clean")

# %%
control_df = pd.DataFrame(
    {
        "instance_name": ["NET_2030", "NET_2040", "NET_2040_BUS"],
        "year": [2030, 2040, 2040],
        "client_group": ["roads", "roads", "planning"],
    }
)
for i in range(len(control_df)):
    instance_name = control_df.iloc[i]["instance_name"]
    growth = 1 + 0.1 * study["rate"] * int(control_df.iloc[i]["year"] - 2020) / 10
    if "BUS" in instance_name:
        growth = growth - 0.1
    scenario_config = {
        "input_instance": "counts",
        "growth": growth,
        "client": control_df.iloc[i]["client_group"],
        "options": {"limit": 115, "include_diagnostics": True},
    }
    run_step_flow(
        notebook_path="flow/02_forecast.py",
        step_name="forecast",
        instance_name=instance_name,
        config=scenario_config,
    )

    source_dir = f"./runs/forecast/{instance_name}"
    dest_dir = os.path.join("client", str(control_df.iloc[i]["client_group"]), instance_name)
    if os.path.exists(dest_dir):
        shutil.rmtree(dest_dir)
        print(f"removed {dest_dir}")
    if os.path.exists(source_dir):
        shutil.copytree(source_dir, dest_dir)
        print(f"copied {source_dir} to {dest_dir}")
    else:
        print(f"⚠️ {source_dir} does not exist")

print_status("forecast")

# %%
base_report = {"input_instance": "NET_2040", "charts": {"width": 800, "theme": "default"}}
for level in ["summary", "detailed"]:
    report_config = copy.deepcopy(base_report)
    report_config.update({"level": level, "charts": {"width": 1200 if level == "detailed" else 800}})
    run_step_flow("flow/03_report.py", "report", f"{level}_report", report_config)

# %%
reports = [Path("runs/report", name, "report.txt").read_text() for name in available_instances("report")]
save_config({"reports": reports}, "client/reports.json")
print("all done")
""",
    "study.json": '{"source": "raw/counts.csv", "missing": 20, "rate": 1}',
}

SESSION_HEADER = """\
# %% tags=["parameters"]
config = {{}}

# %% [markdown]
# # {stem}

# %%
from ductaflow.ductaflow import is_notebook_execution, load_cli_config, unpack_config
from ductaflow.ductaflow import display_config_summary, run_notebook
if not is_notebook_execution():
    config = load_cli_config("config/{folder}/{stem}.json", "{stem}")
vars().update(unpack_config(config, "{stem}", locals()))
display_config_summary(config, "{stem}")

# %%
import json
import logging
from pathlib import Path

logger = logging.getLogger("flow:{stem}")
logger.info("starting {stem}")

# %%
"""


def _session_code(name: str, code: str) -> str:
    folder, stem = name.removesuffix(".py").split("/")
    return SESSION_HEADER.format(folder=folder, stem=stem) + code


_SESSION_CODE = {
    "flows/prepare.py": """\
rows = [line.split(",") for line in (_project_root / table).read_text().split()[1:]]
Path("demand.json").write_text(json.dumps({zone: float(trips) * factor for zone, trips in rows}))
""",
    "flows/assign.py": """\
demand = json.loads(Path("../prepare/demand.json").read_text())
load = sum(demand.values())
if load > capacity:
    logger.warning(f"⚠️ {load} is more than {capacity}")
Path("loads.csv").write_text(f"scenario,load\\n{scenario_name},{load}\\n")
""",
    "flows/evaluate.py": """\
scenarios = sorted(path.parts[-3] for path in _project_root.glob("runs/assessment/*/execution/assign"))
loads = [
    (_project_root / f"runs/assessment/{name}/execution/assign/loads.csv").read_text().split()[1]
    for name in scenarios
]
Path("ranking.csv").write_text("\\n".join(["scenario,load", *loads]))
""",
    "builds/assessment.py": """\
from datetime import datetime

project_root = Path(config.get("_project_root", "."))
flows_dir = project_root / "flows"

# %%
for flow_name in ("prepare", "assign"):
    flow_config = {**config, "_flow_name": flow_name}
    start_time = datetime.now()
    run_notebook(
        notebook_file=flows_dir / f"{flow_name}.py",
        config=flow_config,
        execution_dir=Path("execution") / flow_name,
        project_root=project_root,
        export_html=True,
    )
    logger.info(f"{flow_name}: {(datetime.now() - start_time).total_seconds():.1f} s")
""",
}
SESSIONS = {
    **{name: _session_code(name, code) for name, code in _SESSION_CODE.items()},
    "ductaflow.py": STALE,
    "data/trips.csv": "zone,trips\na,10\nb,30\n",
    "config/flows/prepare.json": '{"table": "data/trips.csv", "factor": 2, "scenario_name": "alone"}',
    "config/flows/evaluate.json": '{"description": "over all", "options": {"format": "csv"}}',
    "conductor.py": """\
# %%
import json
import shutil
from datetime import datetime
from pathlib import Path

from ductaflow import generate_status_report, run_notebook, setup_conductor_logging

logger = setup_conductor_logging(session_outputs_dir="session_outputs")

# %%
base_config = {
    "project_name": "Corridor",
    "table": "data/trips.csv",
    "capacity": 70,
    "run_folder": "runs/{first_build}/{scenario_name}",
}
dimensions = {"growth": [{"value": 1, "label": "Today"}, {"value": 2, "label": "Double"}]}
scenarios = [
    {**base_config, "factor": each["value"], "scenario_name": each["label"]} for each in dimensions["growth"]
]
logger.info(f"{len(scenarios)} scenarios")

# %%
results = []
for scenario in scenarios:
    name = scenario["scenario_name"]
    execution_dir = Path(scenario["run_folder"].format(first_build="assessment", scenario_name=name))
    scenario_config = {**scenario, "run_folder": str(execution_dir)}
    execution_dir.mkdir(parents=True, exist_ok=True)
    with open(execution_dir / "config.json", "w") as file:
        json.dump(scenario_config, file, indent=2, default=str)
    try:
        start_time = datetime.now()
        run_notebook(
            notebook_file="builds/assessment.py",
            config=scenario_config,
            execution_dir=execution_dir,
            project_root=Path.cwd(),
            export_html=True,
        )
        duration = (datetime.now() - start_time).total_seconds()
        results.append({"scenario": name, "status": "success", "duration_minutes": duration / 60})
        logger.info(f"completed: {name} in {duration:.1f} s")
    except Exception as error:
        results.append({"scenario": name, "status": "failed", "error": str(error)})
        logger.error(f"failed: {name}: {error}")
    with open("runs/conductor_status_report.html", "w", encoding="utf-8") as file:
        file.write(generate_status_report(results, "runs"))

# %%
flow_config = json.loads(Path("config/flows/evaluate.json").read_text())
flow_config.update({"_project_root": str(Path.cwd()), "_flow_name": "evaluate"})
run_notebook(Path("flows") / "evaluate.py", config=flow_config, execution_dir="runs/overall/evaluate")

# %%
delivery = Path("delivery")
if delivery.exists():
    shutil.rmtree(delivery)
delivery.mkdir()
collected = {}
for scenario in scenarios:
    name = scenario["scenario_name"]
    loads = Path(f"runs/assessment/{name}/execution/assign/loads.csv")
    if loads.exists():
        collected[name] = float(loads.read_text().split()[1].split(",")[1])
        shutil.copy(loads, delivery / f"{name}.csv")
shutil.copy("runs/overall/evaluate/ranking.csv", delivery)
(delivery / "summary.json").write_text(json.dumps(collected))
with open("runs/conductor_results.json", "w") as file:
    json.dump({"made": datetime.now().isoformat(), "results": results}, file, indent=2)
logger.info("all scenarios completed")
""",
}

COMMANDS = {
    "flows/double.py": """\
# %% tags=["parameters"]
# set by whoever runs it
config = {}

# %% from the command line
from ductaflow import display_config_summary, is_notebook_execution, load_cli_config

if not is_notebook_execution():
    config = load_cli_config("config/double.json", "Double a number")

# %%
import json
from pathlib import Path

if "config" in locals() and config:
    display_config_summary(config, "double")
    for key, value in config.items():
        locals()[key] = value
Path("double.json").write_text(json.dumps({"value": 2 * number}))
print("doubled", number)
""",
    "conductor.py": """\
import json
import os
import subprocess
import sys
from pathlib import Path


def run_flow_as_script(flow_path, step_name, instance_name, config):
    output_dir = Path("runs") / step_name / instance_name
    output_dir.mkdir(parents=True, exist_ok=True)
    with open(output_dir / "config.json", "w") as file:
        json.dump(config, file, indent=2)
    original_cwd = os.getcwd()
    try:
        os.chdir(output_dir)
        command = [sys.executable, str(Path(original_cwd) / flow_path), "--config", "config.json"]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        print(result.stdout)
        return output_dir
    except subprocess.CalledProcessError as error:
        print(error.stderr)
        raise
    finally:
        os.chdir(original_cwd)


def main():
    numbers = [{"instance_name": "one", "number": 1}, {"instance_name": "two", "number": 2}]
    for row in numbers:
        run_flow_as_script("flows/double.py", "double", row["instance_name"], {"number": row["number"]})
    total = sum(json.loads(path.read_text())["value"] for path in Path("runs/double").glob("*/double.json"))
    Path("total.txt").write_text(str(total))


if __name__ == "__main__":
    main()
""",
}
