"""The runs that MLflow has logged: which there are, and what is in one. MLflow itself is not needed."""

import pickle
from pathlib import Path

import yaml

FINISHED = 3  # MLflow's RunStatus
PREDICTIONS = "artifacts/predictions.pickle"


def finished_runs(root):
    """Return a row for each run in `mlruns/` that has ended well and is not deleted."""
    rows = []
    for meta in Path(root).glob("mlruns/*/*/meta.yaml"):
        told = yaml.safe_load(meta.read_text())
        if told["lifecycle_stage"] == "active" and told["status"] == FINISHED:
            params = {path.name: path.read_text() for path in sorted((meta.parent / "params").iterdir())}
            folder = meta.parent.relative_to(root).as_posix()
            rows.append({"instance_name": told["run_name"], **params, "folder": folder})
    return sorted(rows, key=lambda row: row["instance_name"])


def read_predictions(root, folder):
    """Return the pickled predictions of a run.

    To load a pickle is to run it: read only those that your own training has logged.

    Raises:
        ValueError: If they cannot be read.
    """
    path = f"{folder}/{PREDICTIONS}"
    try:
        return pickle.loads(Path(root, path).read_bytes())
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is damaged ({error}): log this run again, or delete it in MLflow") from None
