"""A flow that we run leaves the same notebook and files as under ordinary papermill.

Both run in the same directory, one after the other, so that paths need no treatment: everything in the
notebook is compared except times, addresses and the marks of a failure.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from helpers.equivalence_cases import CASES, PARAMETERS, Case
from helpers.sessions import wait_for, warm_up
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from pytest_ductaflow.core.forking import place
from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.kernels.choose import choose_kernel
from pytest_ductaflow.running.children.runner import ChildRunner
from pytest_ductaflow.running.notebook.prepare import prepare_notebook
from pytest_ductaflow.running.run_instance import run
from pytest_ductaflow.sources.notebooks import read_flow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="the flows ask for what POSIX has"),
]

# "spare" is a kernel that was forked before it was requested, "warm" one in a child of a warm process.
NAMES = ("forked", "warm", "spare", "ordinary")
WAYS = [pytest.param(way, marks=() if way == "forked" else pytest.mark.thorough) for way in NAMES]
# The flows that are always compared with papermill, in forked kernels; all others in the thorough tests.
ALWAYS = {
    *("both_streams_interleaved", "data_frames", "figures", "shell", "exception", "sys_exit_3", "killed"),
    *("parameters", "facts_of_the_process"),
}
TRIES = 5  # of papermill, where its kernel stops while it still runs cells
PATIENCE = 60  # seconds; only a bug waits that long
DIFFERS_EACH_TIME = {
    r"ipykernel_\d+/\d+\.py": "CELL",
    r"\b0x[0-9a-f]{6,}": "ADDRESS",
    r"\bpid=\d+": "PID",  # in Python's warning of a fork in a process with threads
}
LONG = 20_000  # characters from which on only the digest of a text is compared: the difference is printed
MARK = "papermill-error-cell-tag"


def settings_for(way: str) -> Settings:
    """Return the settings for running a flow in one of our ways."""
    # As papermill: these tests run in workers, which share the cores.
    settings = Settings(html="none", force=True, timeout=PATIENCE, threads="off")
    return replace(settings, fork=way != "ordinary")


@dataclass(frozen=True)
class Outcome:
    """The result of a run: cells and metadata of its notebook, its files' contents, and how it ended."""

    cells: list[dict[str, Any]]
    metadata: dict[str, Any]
    files: dict[str, bytes]
    ended: str

    @property
    def text(self) -> str:
        return "\n".join(_texts([cell | {"source": ""} for cell in self.cells] + [self.metadata]))


# Running


def instance_of(folder: Path, name: str, source: str, config: Mapping[str, Any]) -> Instance:
    """Make a project with one flow, and return an instance of it."""
    flow = folder / f"flows/{name}.py"
    flow.parent.mkdir(parents=True, exist_ok=True)
    flow.write_text(source, encoding="utf-8")
    run_dir = folder / "runs" / name / "a"
    return Instance(
        flow=str(flow), step=name, name="a", config=config, run_dir=str(run_dir), project_root=str(folder)
    )


def run_by_papermill(instance: Instance) -> Outcome:
    """Run our notebook with papermill, and return the outcome.

    PYTEST_CURRENT_TEST is removed: it would keep ipykernel from reading the descriptors 1 and 2.
    """
    source = read_flow(Path(instance.flow))
    kernel = choose_kernel(source, None, "python3")
    notebook = Path(instance.project_root, "papermill.ipynb")
    nbformat.write(prepare_notebook(source, instance.full_config, kernel.name, kernel.language), notebook)
    shutil.rmtree(instance.run_dir, ignore_errors=True)
    Path(instance.run_dir).mkdir(parents=True)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("PYTEST_CURRENT_TEST", raising=False)
            papermill.execute_notebook(
                notebook, notebook, cwd=instance.run_dir, progress_bar=False, execution_timeout=PATIENCE
            )
        ended = "well"
    except PapermillExecutionError as error:
        ended = error.ename
    except DeadKernelError:
        ended = "DeadKernelError"
    return outcome_of(instance, notebook, ended)


@lru_cache
def warm_runner() -> ChildRunner:
    """Return a child of a warm process that serves nobody else and ends with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHON_OF_TESTS", "equivalence")
        warm_up()
        warm = wait_for(lambda: place.find(place.RUNS), "a warm process")
        runner = ChildRunner(warm)
        warm.ask("stop")
        if (conductors := place.find(place.CONDUCTORS)) is not None:
            conductors.ask("stop")
    return runner


def run_by_us(instance: Instance, way: str) -> tuple[Outcome, Record]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_ductaflow.kernels.start_kernel.has_idle_core", lambda: way == "spare")
        for _ in range(1 + (way == "spare")):  # the first run makes the server prepare one
            shutil.rmtree(instance.run_dir, ignore_errors=True)
            record = run(instance, settings_for(way), runner=warm_runner() if way == "warm" else None)
    ended = record.error.type if record.error else "well"
    return outcome_of(instance, RunFiles.of(instance).notebook, ended), record


# Comparing


def outcome_of(instance: Instance, path: Path, ended: str) -> Outcome:
    notebook = nbformat.read(path, as_version=4)
    files = RunFiles.of(instance)
    metadata = {key: value for key, value in notebook.metadata.items() if key != "papermill"}
    cells = [comparable_cell(cell) for cell in notebook.cells if MARK not in cell.metadata.get("tags", ())]
    return Outcome(cells, metadata, contents(files.directory, files.names), ended)


def comparable_cell(cell: Any) -> dict[str, Any]:
    """Return a cell without its id and times."""
    metadata = {key: value for key, value in cell.metadata.items() if key not in ("papermill", "execution")}
    state = cell.metadata.get("papermill", {})
    compared = {
        "type": cell.cell_type,
        "source": cell.source,
        "metadata": metadata,
        "state": (state.get("status"), bool(state.get("exception"))),
    }
    if cell.cell_type == "code":
        compared |= {"count": cell.execution_count, "outputs": joined_streams(cell.outputs)}
    return compared


def joined_streams(outputs: list[Any]) -> list[dict[str, Any]]:
    """Return the outputs, with consecutive messages of one stream joined."""
    joined: list[dict[str, Any]] = []
    for output in map(dict, outputs):
        last = joined[-1] if joined else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] += output["text"]
        else:
            joined.append(output)
    return joined


def contents(folder: Path, ours: set[str]) -> dict[str, bytes]:
    """Return the files that a flow left; of compiled modules, which contain times, only the names."""
    paths = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    found = {path.relative_to(folder).as_posix(): path for path in paths if path.name not in ours}
    return {name: b"" if name.endswith(".pyc") else path.read_bytes() for name, path in sorted(found.items())}


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value, including keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (str(key), *_texts(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with all its texts changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        items = [(change(str(key)), with_texts(inner, change)) for key, inner in value.items()]
        unique = len(dict(items)) == len(items)
        return dict(items) if unique else sorted(items, key=repr)  # hidden keys may be the same
    if isinstance(value, list | tuple):
        return [with_texts(inner, change) for inner in value]
    return value


def compared_text(case: Case, text: str) -> str:
    for pattern, stands_for in {**case.hide, **DIFFERS_EACH_TIME}.items():
        text = re.sub(pattern, stands_for, text)
    if len(text) > LONG:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{text[:100]} … {len(text)} characters, SHA-256 {digest} … {text[-100:]}"
    return text


def compared(case: Case, cells: list[dict[str, Any]], instead: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return cells for comparison: differences from run to run hidden, intended differences replaced."""

    def change(text: str) -> str:
        for theirs, ours in instead.items():
            text = re.sub(theirs, lambda _: ours, text)  # noqa: B023 - used at once
        return compared_text(case, text)

    changed = [{**cell, "outputs": with_texts(cell.get("outputs", []), change)} for cell in cells]
    for cell in changed:
        cell["outputs"] = [output for output in cell["outputs"] if output.get("text") != ""]
    return changed


def compared_metadata(case: Case, outcome: Outcome) -> Any:
    metadata = with_texts(outcome.metadata, partial(compared_text, case))
    if "cell_metadata_filter" in (jupytext := metadata.get("jupytext", {})):  # Jupytext joins a set of names
        jupytext["cell_metadata_filter"] = sorted(jupytext["cell_metadata_filter"].split(","))
    return metadata


def until_end(outcome: Outcome) -> int:
    """Return the number of the cell that ended a flow."""
    return next(number for number, cell in enumerate(outcome.cells) if cell["state"][0] == "failed")


# Tests


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("equivalence")


@pytest.fixture(scope="module")
def by_papermill(projects: Path) -> Callable[[Case], tuple[Instance, Outcome]]:
    """Return a function that gives the instance of a case and papermill's outcome, cached for all ways."""
    known: dict[str, tuple[Instance, Outcome]] = {}

    def outcome(case: Case) -> tuple[Instance, Outcome]:
        if case.name not in known:
            # A name that hides no module: flows can import their neighbours.
            instance = instance_of(projects / case.name, f"case_{case.name}", case.source, case.config)
            theirs = run_by_papermill(instance)
            tries = TRIES if case.papermill_runs_on else 0
            while tries and theirs.ended == "DeadKernelError":  # its kernel has stopped before its last cell
                theirs, tries = run_by_papermill(instance), tries - 1
            known[case.name] = instance, theirs
        return known[case.name]

    return outcome


def comparisons() -> Iterator[Any]:
    """Yield each case in each way."""
    for way, case in product(NAMES, CASES):
        is_always = way == "forked" and case.name in ALWAYS
        marks = [pytest.mark.together(case.name), *(() if is_always else [pytest.mark.thorough])]
        yield pytest.param(way, case, id=f"{way}-{case.name}", marks=marks)


def test_the_cases_that_are_always_compared_are_cases() -> None:
    assert {case.name for case in CASES} >= ALWAYS


@pytest.mark.parametrize(("way", "case"), [*comparisons()])
def test_a_flow_leaves_what_it_leaves_under_papermill(
    way: str, case: Case, by_papermill: Callable[[Case], tuple[Instance, Outcome]]
) -> None:
    if missing := [module for module in case.needs if find_spec(module) is None]:
        pytest.skip(f"needs {missing[0]}")  # not imported here: an import may set what kernels inherit
    instance, theirs = by_papermill(case)
    ours, record = run_by_us(instance, way)
    assert case.shows in theirs.text
    assert (theirs.ended, ours.ended) == (case.papermill_ends or case.ends, case.ends), record.error
    instead = {old: new.format(root=instance.project_root) for old, new in case.instead.items()}
    expected, found = compared(case, theirs.cells, instead), compared(case, ours.cells, {})
    if case.papermill_runs_on:
        end = until_end(ours)
        assert any(cell["outputs"] for cell in expected[end + 1 :])
        assert not any(cell["outputs"] for cell in found[end + 1 :])
        expected, found = expected[:end], found[:end]
    assert found == expected
    if theirs.ended == "DeadKernelError":  # papermill requests the language at the end
        theirs.metadata["language_info"] = ours.metadata["language_info"]
    assert compared_metadata(case, ours) == compared_metadata(case, theirs)
    assert ours.files == theirs.files
    assert {name for name in ours.files if not name.endswith(".pyc")} == set(case.files)


@pytest.mark.parametrize("way", WAYS)
def test_two_instances_draw_different_random_numbers(way: str, projects: Path) -> None:
    """Also where both kernels come from one process that has imported these modules."""
    code = """
import os, random, secrets, tempfile, uuid
import numpy as np
[
    random.random(), random.SystemRandom().random(), secrets.token_hex(8), uuid.uuid4().hex,
    os.urandom(8).hex(), np.random.random(), np.random.default_rng().random(),
    next(tempfile._get_candidate_names()),
]
"""
    instance = instance_of(projects / "draws", "draws", PARAMETERS + code, {})
    drawn = [run_by_us(instance, way)[0].cells[-1]["outputs"][0]["data"]["text/plain"] for _ in range(2)]
    first, second = (text.strip("[]").split(",") for text in drawn)
    assert len(first) == len(second) == 8
    assert not set(first) & set(second)


@pytest.mark.parametrize("way", WAYS)
def test_what_a_flow_sets_does_not_reach_the_next(way: str, projects: Path) -> None:
    code = """
import locale, os, random, signal, sys, warnings
def state():
    mask = os.umask(0o22)
    os.umask(mask)
    return [
        os.environ.get("LEAKED"), os.getcwd() == config["_project_root"], mask, sys.getrecursionlimit(),
        signal.getsignal(signal.SIGTERM), "leaked" in sys.modules, len(warnings.filters),
        hasattr(os, "leaked"), os.path.exists("leaked"),
    ]
print(state())
os.environ["LEAKED"] = "1"
os.umask(0o77)
sys.setrecursionlimit(5000)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.modules["leaked"] = os
warnings.simplefilter("ignore")
os.leaked = True
open("leaked", "w").close()
os.chdir(config["_project_root"])
print(state())
"""
    instance = instance_of(projects / "leaks", "leaks", PARAMETERS + code, {})
    outcomes = [run_by_us(instance, way) for _ in range(2)]
    assert [record.status for _, record in outcomes] == [Status.SUCCESS] * 2
    first, second = (outcome.cells[-1]["outputs"][0]["text"].splitlines() for outcome, _ in outcomes)
    assert first == second
    assert first[0] != first[1]
