"""A project with files that a run may use, and edits that show in file times."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from helpers.projects import PARAMETERS
from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.system.file_state import stat_of

FLOW = "flows/model.py"


RUN = "runs/model/A"


FILES = {
    FLOW: f"{PARAMETERS}# %%\nx = 1\n",
    "flows/helper.py": "y = 2\n",
    "data/zones.csv": "zones",
    "data/trips.csv": "trips",
    "data/years/2030.csv": "2030",
    "runs/etl/B/etl.csv": "etl",
    f"{RUN}/restart.csv": "restart",
    f"{RUN}/out.csv": "out",
    f"{RUN}/model_config.json": "{}",
    f"{RUN}/model_record.json": "{}",
    f"{RUN}/model_executed.ipynb": "{}",
    f"{RUN}/runs/part/A/part.csv": "part",
    "runs/conductor_status_report.html": "page",
}


def an_instance(root: Path, **config: object) -> Instance:
    return Instance(str(root / FLOW), "model", "A", config, str(root / RUN), str(root))


def edit(path: Path, text: str) -> None:
    """Write a file with times later than those of all that was written before."""
    before = stat_of(path)
    path.write_text(text, encoding="utf-8")
    while stat_of(path) == before or int(stat_of(path).split()[1]) <= edit.latest:
        path.write_text(text, encoding="utf-8")


edit.latest = 0


def moment() -> int:
    """Return a time after which every change of a file shows: the clock of the file system is coarse."""
    edit.latest = time.time_ns()
    with tempfile.NamedTemporaryFile() as file:
        while os.stat(file.name).st_mtime_ns <= edit.latest:
            os.utime(file.name)
    return edit.latest
