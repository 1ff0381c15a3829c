"""Measure how soon the end of a kernel is reported: from its last moment to the record on disk.

    python tests/benchmarks/death.py [--runs 5]

A flow notes the time and kills its kernel, in four ways; an ordinary papermill run of the same notebook is
timed for comparison.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import papermill

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.running.notebook.prepare import prepare_notebook
from pytest_ductaflow.running.run_instance import run
from pytest_ductaflow.sources.notebooks import read_flow

DEATHS = {
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "os._exit(3)": "os._exit(3)",
    "segmentation fault": "ctypes.string_at(0)",
    "os.abort()": "os.abort()",
}
FLOW = """\
# %% tags=["parameters"]
config = {{}}

# %%
import ctypes, os, signal, time

print("last words")
with open("died_at", "w") as file:
    file.write(repr(time.time()))
{death}
"""


def seconds(root: Path, death: str, how: str) -> float:
    """Return the seconds from the end of a kernel until everything about it is on disk."""
    flow = root / "flows/dies.py"
    flow.write_text(FLOW.format(death=death), encoding="utf-8")
    directory = root / "runs/dies/a"
    if how == "papermill":
        directory.mkdir(parents=True, exist_ok=True)
        notebook = prepare_notebook(read_flow(flow), {}, "python3", "python")
        try:
            papermill.execute_notebook(
                notebook, str(directory / "out.ipynb"), cwd=directory, progress_bar=False
            )
        except Exception as error:
            print(f"  papermill: {type(error).__name__}: {str(error).strip()[:60]}")
    else:
        instance = Instance(
            flow=str(flow), step="dies", name="a", run_dir=str(directory), project_root=str(root), config={}
        )
        record = run(instance, Settings(force=True, fork=how == "forked"))
        if record.error is None or record.error.type != "KernelDied":
            raise SystemExit(f"{death}: {record.error}")
    return time.time() - float((directory / "died_at").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "flows").mkdir()
        for title, death in DEATHS.items():
            for how in ("forked", "ordinary", "papermill"):
                seconds(root, death, how)  # imports what is imported on first use
                found = [seconds(root, death, how) for _ in range(options.runs)]
                rows.append((title, how, found))
    print(f"\n{'milliseconds from death to record':36}{'median':>8}{'min':>8}{'max':>8}")
    for title, how, found in rows:
        numbers = (statistics.median(found), min(found), max(found))
        print(f"{title + ', ' + how:36}" + "".join(f"{1000 * n:8.0f}" for n in numbers))


if __name__ == "__main__":
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    main()
