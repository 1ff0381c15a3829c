"""Make the study's raw data: MLflow runs, and the private directory of the clinic.

    python -m study.synthetic --classifiers 2 --outliers 2 --imputations 1

It stands for a year of measurements and training. The same arguments give the same files, byte by byte.
"""

import argparse
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

# Skill (noise on the signal) and honesty (slope of the logit, shift) of each classifier.
CLASSIFIERS = {
    "tabpfn": (0.35, 1.0, 0.1),
    "catboost": (0.45, 1.2, 0.3),
    "random_forest": (0.6, 0.8, -0.2),
    "xgboost": (0.65, 2.2, 0.5),
    "logistic": (0.8, 1.1, 0.2),
}
OUTLIERS = {"by_hand": 0.2, "ensemble": 0.35, "moment": 0.5, "lof": 0.9}  # noise that each method leaves
IMPUTATIONS = {"by_hand": 0.1, "saits": 0.2, "linear": 0.5}
HEALTHY, GLAUCOMA = 45, 18
BOOTSTRAPS = 100
SEPARATION = 2.2  # of the two groups, in standard deviations of the signal
EPOCH = 1_735_689_600_000  # ms: when the first run was logged


def make_study(root, classifiers=5, outliers=4, imputations=3):
    """Write `mlruns/` and `private/` below a folder, with the first so many methods of each kind."""
    subjects = make_subjects()
    make_recordings(subjects, Path(root, "private"))
    pipelines = [
        (classifier, method, imputation)
        for classifier in list(CLASSIFIERS)[:classifiers]
        for method in list(OUTLIERS)[:outliers]
        for imputation in list(IMPUTATIONS)[:imputations]
    ]
    experiment = Path(root, "mlruns", "1")
    for number, pipeline in enumerate(pipelines):
        log_run(experiment, number, pipeline, predictions(subjects, number, pipeline))
    # MLflow marks what is deleted, and keeps it: the study must not count it.
    log_run(experiment, len(pipelines), pipelines[0], predictions(subjects, 999, pipelines[0]), "deleted")
    write_yaml(experiment / "meta.yaml", {"experiment_id": "1", "name": "plr", "lifecycle_stage": "active"})
    return len(pipelines)


def make_subjects():
    """Return the subjects: original code, diagnosis, and how much the pupil tells of it."""
    random = np.random.default_rng(2025)
    glaucoma = random.permutation(np.arange(HEALTHY + GLAUCOMA) < GLAUCOMA)
    codes = [
        f"PLR{number}" for number in random.choice(np.arange(1000, 10_000), len(glaucoma), replace=False)
    ]
    signal = glaucoma * SEPARATION + random.normal(size=len(glaucoma))
    return pd.DataFrame({"subject": codes, "glaucoma": glaucoma, "signal": signal})


def make_recordings(subjects, private):
    """Write the clinic's list of subjects, and the pupil's diameter in % during one flash of light."""
    random = np.random.default_rng(1)
    private.mkdir(parents=True, exist_ok=True)
    subjects[["subject", "glaucoma"]].to_csv(private / "subjects.csv", index=False)
    seconds = np.arange(0, 18, 0.1)
    lit = np.clip(seconds - 2, 0, None)  # the light goes on after two seconds
    reflex = (1 - np.exp(-lit / 0.4)) * np.exp(-lit / 9)
    depth = 50 - 5 * subjects["signal"].to_numpy()  # a sick retina constricts the pupil less
    noise = random.normal(scale=1.2, size=(len(subjects), len(seconds)))
    diameter = (100 - np.outer(depth, reflex) + noise).astype("float32")
    recordings = pd.DataFrame(diameter.T.round(2), columns=subjects["subject"])
    recordings.insert(0, "seconds", seconds.round(1))
    recordings.to_csv(private / "recordings.csv", index=False)


def predictions(subjects, number, pipeline):
    """Return the probabilities of glaucoma: a row for each bootstrap of the training, a column a subject."""
    random = np.random.default_rng([number, 7])
    skill, slope, shift = CLASSIFIERS[pipeline[0]]
    noise = np.hypot(skill, np.hypot(OUTLIERS[pipeline[1]], IMPUTATIONS[pipeline[2]]))
    seen = subjects["signal"].to_numpy() + random.normal(scale=noise, size=len(subjects))
    # The logit of an ideal observer of two normal distributions with this separation and noise.
    ideal = SEPARATION / (1 + noise**2) * (seen - SEPARATION / 2) + np.log(GLAUCOMA / HEALTHY)
    logits = shift + slope * ideal + random.normal(scale=0.4 + noise / 2, size=(BOOTSTRAPS, len(subjects)))
    return {
        "subject": subjects["subject"].tolist(),
        "glaucoma": subjects["glaucoma"].to_numpy(),
        "probability": (1 / (1 + np.exp(-logits))).astype("float32"),
    }


def log_run(experiment, number, pipeline, found, stage="active"):
    """Write a run as MLflow's file store does, with its predictions as a pickled artifact."""
    run = hashlib.md5(f"{number} {pipeline}".encode(), usedforsecurity=False).hexdigest()
    began = EPOCH + number * 3_600_000
    params = dict(zip(("classifier", "outliers", "imputation"), pipeline, strict=True))
    meta = {
        "artifact_uri": f"mlruns/1/{run}/artifacts",
        "end_time": began + 1_800_000,
        "experiment_id": "1",
        "lifecycle_stage": stage,
        "run_id": run,
        "run_name": "-".join(pipeline),
        "start_time": began,
        "status": 3,  # finished
    }
    write_yaml(experiment / run / "meta.yaml", meta)
    for name, value in params.items():
        write(experiment / run / "params" / name, value.encode())
    write(experiment / run / "metrics/bootstraps", f"{began} {BOOTSTRAPS} 0\n".encode())
    write(experiment / run / "artifacts/predictions.pickle", pickle.dumps(found, protocol=4))


def write_yaml(path, content):
    write(path, yaml.safe_dump(content).encode())


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the raw data of the study.")
    parser.add_argument("--root", default=Path(__file__).parents[1], help="where (default: the example)")
    parser.add_argument("--classifiers", type=int, default=len(CLASSIFIERS))
    parser.add_argument("--outliers", type=int, default=len(OUTLIERS))
    parser.add_argument("--imputations", type=int, default=len(IMPUTATIONS))
    print(f"{make_study(**vars(parser.parse_args()))} runs, {HEALTHY + GLAUCOMA} subjects")
