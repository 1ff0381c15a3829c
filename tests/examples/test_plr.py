"""The study in two blocks: what it leaves, what stops it, and what it goes on from."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import pytest
from helpers.edited import Session, edit
from helpers.sessions import PATIENCE, own_environment, run_python, start_session, wait_for

EXAMPLE = Path(__file__).parents[2] / "examples/plr"
MEASURED = {f"extraction/runs/{run}" for run in ("catboost-by_hand-by_hand", "catboost-ensemble-by_hand")} | {
    f"extraction/runs/{run}" for run in ("tabpfn-by_hand-by_hand", "tabpfn-ensemble-by_hand")
}
CODES, DATABASE, TRACES = "extraction/private/codes", "extraction/public/checkpoint", "analysis/traces/traces"
FIGURES = {f"analysis/figures/{name}" for name in ("forest", "calibration", "decisions", "heatmap")}
OF_CHECKPOINT = {*FIGURES, "analysis/paper/numbers"}
BOXES = "analysis/r/boxes"
ORIGINAL = re.compile(r"PLR[0-9]{4}")
pytestmark = pytest.mark.together("plr")
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Session]]:
    """Return the study with four runs, and the session that has run all of it."""
    root = tmp_path_factory.mktemp("study") / "plr"
    made = ("runs", "mlruns", "private", "public", "__pycache__")
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns(*made))
    sizes = ("--classifiers", "2", "--outliers", "2", "--imputations", "1")
    run_python(root, "-m", "study.synthetic", *sizes).check_returncode()
    return root, Session(root)


@pytest.fixture
def study(complete: tuple[Path, Session], tmp_path: Path) -> Path:
    """Return a copy of the study that is up to date."""
    return Path(shutil.copytree(complete[0], tmp_path / "plr"))


def pickle_of(root: Path, run: str) -> Path:
    metas = root.glob("mlruns/1/*/meta.yaml")
    meta = next(path for path in metas if f"run_name: {run}\n" in path.read_text(encoding="utf-8"))
    return meta.with_name("artifacts") / "predictions.pickle"


def change_pickle(root: Path, run: str, change: Callable[[dict], None]) -> None:
    """Change what a run has logged."""
    path = pickle_of(root, run)
    logged = pickle.loads(path.read_bytes())
    change(logged)
    path.write_bytes(pickle.dumps(logged))


def lower(logged: dict) -> None:
    logged["probability"] *= np.float32(0.9)


def record_of(root: Path, name: str) -> dict:
    (path,) = (root / "runs" / name).glob("*_record.json")
    return json.loads(path.read_text(encoding="utf-8"))


def outcomes(session: Session, word: str) -> set[str]:
    return {name for name, outcome in session.outcomes.items() if outcome == word}


def published(root: Path) -> bytes:
    return (root / "public/plr.duckdb").read_bytes()


@pytest.fixture(scope="module")
def measures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measures_of_plr", EXAMPLE / "study/measures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_measures_are_those_of_their_formulas(measures: ModuleType) -> None:
    from sklearn.metrics import brier_score_loss, roc_auc_score  # which takes seconds

    random = np.random.default_rng(0)
    sick = random.random(200) < 0.3
    p = np.clip(random.normal(0.3 + 0.3 * sick, 0.2), 0.01, 0.99).round(2)  # with ties
    assert measures.auroc(sick, p) == pytest.approx(roc_auc_score(sick, p))
    assert measures.brier(sick, p) == pytest.approx(brier_score_loss(sick, p))
    low, high = measures.auroc_interval(sick, p)
    difference = p[sick][:, None] - p[~sick]
    wins = (difference > 0) + 0.5 * (difference == 0)
    parts = (wins.mean(axis=axis).var(ddof=1) / wins.shape[1 - axis] for axis in (0, 1))  # DeLong's variance
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(sum(parts)), rel=0.1)
    # Four treated, three of them sick, out of ten; a threshold of 0.2 weighs a false one with a quarter.
    treated = np.array([0.9, 0.8, 0.2, 0.5, *[0.1] * 6])
    truth = np.array([True, True, True, False, True, *[False] * 5])
    assert measures.net_benefit(truth, treated, 0.2) == pytest.approx(0.3 - 0.1 / 4)


def test_calibration_finds_what_was_distorted(measures: ModuleType) -> None:
    """Honest probabilities have slope 1 and intercept 0; doubled and shifted logits are found as such."""
    random = np.random.default_rng(1)
    logits = random.normal(-1, 1.5, 200_000)
    sick = random.random(len(logits)) < 1 / (1 + np.exp(-logits))
    honest = measures.calibration(sick, 1 / (1 + np.exp(-logits)))
    assert honest == pytest.approx({"slope": 1, "intercept": 0, "o_e": 1}, abs=0.03)
    assert measures.calibration(sick, 1 / (1 + np.exp(-2 * logits)))["slope"] == pytest.approx(0.5, abs=0.02)
    assert measures.calibration(sick, 1 / (1 + np.exp(1 - logits)))["intercept"] == pytest.approx(1, abs=0.03)
    with pytest.raises(ValueError, match="separate the groups"):
        measures.calibration(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9]))


@pytest.mark.thorough
@slow
def test_both_blocks_run_and_leave_what_a_paper_needs(complete: tuple[Path, Session]) -> None:
    root, session = complete
    assert session.code == 0, session.output
    ran = {*MEASURED, CODES, DATABASE, *OF_CHECKPOINT, TRACES}  # without the run that MLflow has deleted
    assert outcomes(session, "PASSED") >= ran, session.output
    assert set(session.outcomes) == {*ran, BOXES}
    for name in ("forest", "calibration", "decisions", "heatmap"):
        folder = root / "runs/analysis/figures" / name
        assert (folder / f"{name}.png").stat().st_size > 5000
        assert json.loads((folder / f"{name}.json").read_text())
    paper = root / "runs/analysis/paper/numbers"
    assert "\\newcommand{\\subjects}{63}\n" in (paper / "numbers.tex").read_text()
    assert (paper / "table.tex").read_text().count(r" \\") == 3  # a head and two classifiers
    with duckdb.connect(str(root / "public/plr.duckdb"), read_only=True) as database:
        of_each = "SELECT count(*), count(DISTINCT subject) FROM predictions"
        assert database.execute(of_each).fetchone() == (4 * 63, 63)
        within = "SELECT count(*) FROM runs WHERE auroc BETWEEN auroc_low AND auroc_high"
        assert database.execute(within).fetchone() == (4,)
        groups = "SELECT DISTINCT subject[1], glaucoma FROM predictions ORDER BY 1"
        assert database.execute(groups).fetchall() == [("G", True), ("H", False)]
    assert not ORIGINAL.search(published(root).decode("latin-1"))
    assert ORIGINAL.search((root / "private/lookup.csv").read_text())
    ignored = (EXAMPLE / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/private/", "/mlruns/", "/public/"} <= {*ignored}


@slow
@pytest.mark.thorough
def test_a_damaged_pickle_stops_its_chain_and_an_edited_one_runs_it_again(study: Path) -> None:
    name = "extraction/runs/tabpfn-by_hand-by_hand"
    before = published(study)
    path = pickle_of(study, "tabpfn-by_hand-by_hand")
    content = path.read_bytes()
    path.write_bytes(content[:999])
    damaged = Session(study, "-rs")
    assert damaged.code == 1
    assert outcomes(damaged, "FAILED") == {name}
    assert outcomes(damaged, "UNCHANGED") == {*MEASURED - {name}, CODES, TRACES}
    assert outcomes(damaged, "SKIPPED") >= {DATABASE, *OF_CHECKPOINT}
    assert "artifacts/predictions.pickle is damaged (" in damaged.output
    assert "log this run again, or delete it in MLflow" in damaged.output
    assert f"upstream {name} failed" in damaged.output
    assert published(study) == before
    assert record_of(study, name)["attempts"] == 3

    path.write_bytes(content)
    change_pickle(study, "tabpfn-by_hand-by_hand", lower)
    edited = Session(study)
    assert edited.code == 0, edited.output
    assert outcomes(edited, "PASSED") == {name, DATABASE, *OF_CHECKPOINT}
    assert outcomes(edited, "UNCHANGED") == {*MEASURED - {name}, CODES, TRACES}
    assert published(study) != before


@slow
@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="POSIX: a process group is killed")
def test_a_killed_session_leaves_nothing_by_halves_and_the_next_one_completes_it(study: Path) -> None:
    before = published(study)
    change_pickle(study, "catboost-by_hand-by_hand", lower)
    change_pickle(study, "tabpfn-by_hand-by_hand", lower)
    measure, publish = "flows/extraction/measure.py", "flows/extraction/publish.py"
    wait = "open(f'{_project_root}/half', 'w').close(); __import__('time').sleep(600)"
    held = [
        (
            measure,
            "with open(",
            f"if classifier == 'tabpfn': {wait}\nwith open(",
        ),  # one of two files is there
        (publish, "os.replace(", f"{wait}\nos.replace("),
    ]
    session_of_block = ("-p", "no:cacheprovider", "--ductaflow", "conductor.py", "-k", "extraction")
    for file, old, new in held:
        code = (study / file).read_text(encoding="utf-8")
        edit(study, file, old, new)
        session = start_session(study, *session_of_block)
        try:
            wait_for(lambda: (study / "half").exists() or None, "a flow that is half way")
        finally:
            os.killpg(session.pid, signal.SIGKILL)
        session.communicate(timeout=PATIENCE)
        (study / file).write_text(code)
        (study / "half").unlink()
        assert published(study) == before
    assert (study / "public/plr.duckdb.new").exists()  # complete or not, nobody reads it
    assert record_of(study, DATABASE)["status"] == "running"
    done = Session(study)
    assert done.code == 0, done.output
    assert outcomes(done, "PASSED") >= {DATABASE, *OF_CHECKPOINT}
    assert outcomes(done, "UNCHANGED") >= {"extraction/runs/catboost-ensemble-by_hand", CODES}
    assert published(study) != before
    assert os.listdir(study / "public") == ["plr.duckdb"]


@slow
@pytest.mark.thorough
def test_only_what_needs_the_private_directory_or_is_switched_off_is_left_out(study: Path) -> None:
    shutil.rmtree(study / "private")
    edit(study, "control.csv", "analysis,paper,true", "analysis,paper,false")
    session = Session(study, "-rs")
    assert session.code == 0, session.output
    assert outcomes(session, "UNCHANGED") == {*MEASURED, *FIGURES}
    assert outcomes(session, "SKIPPED") >= {CODES, DATABASE, TRACES}
    assert "the private directory is not here: only the clinic has it" in session.output
    assert "of no instance any more" not in session.output  # what is off stays where it is
    if session.outcomes[BOXES] == "SKIPPED":
        assert "no R kernel is installed" in session.output


@slow
@pytest.mark.thorough
def test_the_analysis_starts_from_the_checkpoint_alone(study: Path) -> None:
    for folder in ("private", "mlruns", "runs"):
        shutil.rmtree(study / folder)
    session = Session(study)
    assert session.code == 0, session.output
    assert outcomes(session, "PASSED") >= OF_CHECKPOINT
    assert set(session.outcomes) == {*OF_CHECKPOINT, TRACES, BOXES}
    assert not (study / "mlruns").exists()


@slow
@pytest.mark.thorough
def test_what_must_not_be_published_stops_the_database(study: Path, complete: tuple[Path, Session]) -> None:
    before = published(study)

    def unknown(logged: dict) -> None:
        logged["subject"][7] = "PLR0000"

    change_pickle(study, "tabpfn-by_hand-by_hand", unknown)
    session = Session(study)
    assert session.code == 1
    assert outcomes(session, "FAILED") == {DATABASE}
    told = "subjects without a code in private/lookup.csv: 1, the first in run tabpfn-by_hand-by_hand"
    assert told in session.output
    assert "PLR0000" not in session.output
    assert published(study) == before

    def twice(logged: dict) -> None:
        logged["subject"][7] = logged["subject"][8]

    change_pickle(study, "tabpfn-by_hand-by_hand", twice)
    incomplete = Session(study, "-k", "extraction")
    assert outcomes(incomplete, "FAILED") == {DATABASE}
    assert "not one prediction for each of 63 subjects: tabpfn-by_hand-by_hand" in incomplete.output

    for path in complete[0].rglob("predictions.pickle"):
        shutil.copy(path, study / path.relative_to(complete[0]))
    next(study.glob("mlruns/1/*/params/imputation")).write_text("as for PLR1234")
    leaked = Session(study, "-k", "extraction")
    assert outcomes(leaked, "FAILED") == {DATABASE}
    assert "original codes in runs.imputation: nothing is published" in leaked.output
    assert published(study) == before


@slow
@pytest.mark.thorough
def test_a_database_that_is_open_elsewhere_is_told_and_tried_again(study: Path) -> None:
    hold = (
        "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", hold, "public/plr.duckdb"]
    forest = ("conductor.py::analysis/figures::forest", "--ductaflow-force")
    holder = subprocess.Popen(command, cwd=study, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "open\n"
        refused = Session(study, *forest)
        assert refused.code == 1
        assert f"public/plr.duckdb is open for writing in process {holder.pid} (python" in refused.output
        assert record_of(study, "analysis/figures/forest")["attempts"] == 3

        message = "        message = f"
        edit(study, "study/checkpoint.py", message, f"        path.with_name('refused').touch()\n{message}")
        session = start_session(study, "-p", "no:cacheprovider", "--ductaflow", *forest)
        wait_for(lambda: (study / "public/refused").exists() or None, "an attempt that is refused")
    finally:
        holder.communicate("")
    output, _ = session.communicate(timeout=PATIENCE)
    assert session.returncode == 0, output
    found = record_of(study, "analysis/figures/forest")
    assert found["attempts"] > 1
    assert "is open for writing" in found["failed_attempts"][0]


@slow
@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_targets_of_the_makefile(study: Path) -> None:
    def make(*words: str) -> str:
        command = ["make", *words, f"PYTEST={sys.executable} -m pytest -p no:cacheprovider", "WORKERS=2"]
        done = subprocess.run(
            command, cwd=study, env=own_environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    before = published(study)
    assert "6 passed" in (forced := make("extract", "FORCE=1"))
    assert "unchanged" not in forced
    assert published(study) == before  # with the same rows, the same database
    assert "6 unchanged, so not run again" in make("analyze")
    assert "12 unchanged, so not run again" in make("reproduce")
    shutil.rmtree(study / "runs")
    alone = make("reproduce-from-checkpoint")
    assert "unchanged" not in alone
    assert not (study / "runs/extraction").exists()
