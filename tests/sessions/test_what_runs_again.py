"""However a flow reads, it runs again if its inputs change, and does not run if nothing it uses does.

All flows of `ways_to_read` and `no_reasons_to_run` run in one session. Then the files of one half of them
are changed, then those of the other half, and each time the session is asked what would run; then all files
that are not read are changed. Finally everything is changed, and some flows are run.

All of this is done twice: where the kernel reports what is opened, in one process, and where only Python
does, with two workers. A run of all tests takes a fifth of the flows, with the kernel's reports.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.no_reasons_to_run import CHANGES_NOTHING, touch_all
from helpers.projects import PARAMETERS, write_project
from helpers.sessions import own_environment
from helpers.ways_to_read import MUST_RUN, Case, Places

pytestmark = [pytest.mark.slow, pytest.mark.together("what runs again")]

ALL = (*MUST_RUN, *CHANGES_NOTHING)
FEW = MUST_RUN[::5]  # of both halves
NOT_THOROUGH = {case.id for case in ALL[::5]}
HALVES = {case.id: number % 2 for number, case in enumerate(MUST_RUN)}
# Reasons where it is unknown whether something has changed.
UNSEEN = re.compile(r"could not be (?:fully )?seen|not (?:fully )?seen|cannot be known")
BYSTANDER = "bystander"
CONDUCTOR = """\
from pathlib import Path

from pytest_ductaflow import conduct

conduct("flows/bystander.py", Path(__file__).parent / "cases.json", step="ways")
"""


def places_at(base: Path, elsewhere: Mapping[str, Path | None]) -> Places:
    folders = {name: base / name for name in ("project", "outside", "scratch", "home")}
    for path in folders.values():
        path.mkdir()
    return Places(**folders, **elsewhere)


def is_possible(case: Case, places: Places) -> bool:
    return not case.reason_to_skip and places.has(case.place)


@dataclass(frozen=True)
class Observation:
    """The results of a series of sessions over all cases.

    Attributes:
        observe: `ductaflow_observe`: what reports the files that are opened.
        results: The `result` of each flow after the first session, by case.
        explained: Why each case would run, by what was changed (0 and 1: the halves of those that must run;
            "nothing": all files that are not read).
        outcomes: Outcome in the last session by case; everything was changed and some cases were run.
        results_after: The `result` of each flow after that, by case.
    """

    observe: str
    results: Mapping[str, str]
    explained: Mapping[int | str, Mapping[str, str]]
    outcomes: Mapping[str, str]
    results_after: Mapping[str, str]


class Sessions:
    """Sessions over a project with many cases.

    Args:
        places: Its folders.
        observe: `ductaflow_observe`.
        ids: Which cases.
    """

    def __init__(self, places: Places, observe: str, ids: Collection[str]) -> None:
        self.workers = ("-n", "2") if observe == "python" else ()
        self.places = places
        self.cases = [case for case in ALL if case.id in ids and is_possible(case, places)]
        project = places.project
        (project / "pytest.ini").write_text(
            f"[pytest]\nductaflow_observe = {observe}\nductaflow_html = none\n", encoding="utf-8"
        )
        (project / "conductor.py").write_text(CONDUCTOR, encoding="utf-8")
        for case in self.cases:
            case.lay(places)
        write_project(project, {"flows/bystander.py": PARAMETERS})
        self._write_table(bystander=1)
        kernels = [sys.executable, "-m", "bash_kernel.install", "--prefix", str(places.outside)]
        subprocess.run(kernels, check=False, capture_output=True)

    def _write_table(self, bystander: int, *, is_reversed: bool = False) -> None:
        rows = [{"instance_name": BYSTANDER, "flow": "flows/bystander.py", "n": bystander}]
        for case in self.cases:
            config = json.loads(self.places.fill(json.dumps(case.config), case.id))
            flow = case.flow(self.places).relative_to(self.places.project).as_posix()
            rows.append({"instance_name": case.id, "flow": flow, **config})
        if is_reversed:
            rows = [dict(reversed(row.items())) for row in reversed(rows)]
        (self.places.project / "cases.json").write_text(json.dumps(rows), encoding="utf-8")

    def _session(self, *args: str) -> str:
        environment = own_environment()
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        home = {name: str(self.places.home) for name in ("HOME", "USERPROFILE")}
        scratch = {name: str(self.places.scratch) for name in ("TMPDIR", "TEMP", "TMP")}
        own = {
            "JUPYTER_PATH": str(self.places.outside / "share" / "jupyter"),
            "TABLE_OF_THE_ENVIRONMENT": str(
                self.places.project / "data/path_in_an_environment_variable/zones.csv"
            ),
        }
        command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--ductaflow"]
        done = subprocess.run(
            [*command, *args],
            cwd=self.places.project,
            env=environment | home | scratch | own,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        return done.stdout + done.stderr

    def run(self, cases: Iterable[Case]) -> dict[str, str]:
        """Return the outcomes of these cases, and of the bystander."""
        names = [BYSTANDER, *(case.id for case in cases)]
        output = self._session(*self.workers, *(f"conductor.py::ways::{name}" for name in names))
        word, name = r"(PASSED|UNCHANGED|WARNED|FAILED|SKIPPED)", r"conductor\.py::ways::(\S+)"
        outcomes = dict(re.findall(rf"{name} +{word}", output))
        outcomes |= {name: word for word, name in re.findall(rf"{word} +{name}", output)}
        assert outcomes, output
        print(output)
        return outcomes

    def explain(self) -> dict[str, str]:
        """Return why cases would run."""
        output = self._session("conductor.py", "--ductaflow-explain")
        assert re.search(r"^\d+ would run, \d+ may run, \d+ unchanged$", output, re.MULTILINE), output
        return dict(re.findall(r"^conductor\.py::ways::(\S+) +(\S.*)$", output, re.MULTILINE))

    def results(self) -> dict[str, str]:
        files = {case.id: case.run_dir(self.places) / "result.txt" for case in self.cases}
        return {name: file.read_text(encoding="utf-8") for name, file in files.items() if file.exists()}

    def change_what_nobody_reads(self) -> None:
        for case in self.cases:
            if not case.runs:
                case.change(self.places)
        project = self.places.project
        touch_all(project)
        (project / "conductor.py").write_text(f"# For all cases.\n{CONDUCTOR}print(1)\n", encoding="utf-8")
        self._write_table(bystander=2, is_reversed=True)

    def half(self, number: int) -> list[Case]:
        return [case for case in self.cases if HALVES.get(case.id) == number]


def observed(places: Places, observe: str, ids: Collection[str]) -> Observation:
    sessions = Sessions(places, observe, ids)
    sessions.run(sessions.cases)
    results = sessions.results()
    explained: dict[int | str, dict[str, str]] = {}
    for number in (0, 1):
        earlier = [(case, case.change(places)) for case in sessions.half(number)]
        explained[number] = sessions.explain()
        for case, contents in earlier:
            case.undo(places, contents)
    sessions.change_what_nobody_reads()
    explained["nothing"] = sessions.explain()
    for case in (*sessions.half(0), *sessions.half(1)):
        case.change(places)
    outcomes = sessions.run(case for case in sessions.cases if case in FEW or can_stay(case, observe))
    return Observation(observe, results, explained, outcomes, sessions.results())


def can_stay(case: Case, observe: str) -> bool:
    """Return whether a case must not run, and everything that it has read is known."""
    return not case.runs and (observe == "all" or case.is_seen_by_python)


# Where only Python reports, fewer files are seen: some flows run again for reasons that cannot be excluded.
BY_PYTHON = pytest.param("python", marks=pytest.mark.thorough if sys.platform == "linux" else ())


@pytest.fixture(scope="module", params=["all", BY_PYTHON])
def observation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Observation]:
    if request.param == "all" and sys.platform != "linux":
        pytest.skip("only Linux tells every file that is opened")
    parents = {"memory": "/dev/shm", "var_tmp": "/var/tmp"}
    folders = {
        name: tempfile.TemporaryDirectory(prefix="ways", dir=parent)
        for name, parent in parents.items()
        if os.access(parent, os.W_OK)
    }
    elsewhere = {name: Path(folders[name].name) if name in folders else None for name in parents}
    try:
        places = places_at(tmp_path_factory.mktemp("ways"), elsewhere)
        yield observed(places, request.param, {*selected_cases(request)})
    finally:
        for temporary in folders.values():
            temporary.cleanup()


def selected_cases(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the cases that selected tests ask for."""
    for item in request.session.items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if "case" in parameters and parameters.get("observation") == request.param:
            yield parameters["case"].id


def cases(of: tuple[Case, ...]) -> pytest.MarkDecorator:
    marked = [
        pytest.param(
            case,
            marks=[
                pytest.mark.skipif(bool(case.reason_to_skip), reason=case.reason_to_skip),
                *([] if case.id in NOT_THOROUGH else [pytest.mark.thorough]),
            ],
        )
        for case in of
    ]
    return pytest.mark.parametrize("case", marked, ids=[case.id for case in of])


def result_of(case: Case, observation: Observation) -> str:
    """Return what the case's flow has read in the first session; skip it where its place does not exist."""
    if case.place != "project" and case.id not in observation.results:
        pytest.skip(f"there is no {case.place}")
    assert case.id in observation.results, "its flow has failed"
    return observation.results[case.id]


@cases(MUST_RUN)
def test_what_a_flow_has_read_makes_it_run_again(case: Case, observation: Observation) -> None:
    result_of(case, observation)
    assert case.id in observation.explained[HALVES[case.id]], "it would stay UNCHANGED"


@cases(FEW)
def test_it_runs_again_to_another_result(case: Case, observation: Observation) -> None:
    earlier = result_of(case, observation)
    assert observation.outcomes[case.id] == "PASSED"
    assert observation.results_after[case.id] != earlier


@cases(ALL)
def test_what_others_have_read_makes_no_flow_run(case: Case, observation: Observation) -> None:
    result_of(case, observation)
    for number in {0, 1} - {HALVES.get(case.id)}:
        assert is_good_fate(case, observation, number), observation.explained[number][case.id]


@cases(ALL)
def test_what_nobody_has_read_makes_no_flow_run(case: Case, observation: Observation) -> None:
    result_of(case, observation)
    assert is_good_fate(case, observation, "nothing"), observation.explained["nothing"][case.id]


def is_good_fate(case: Case, observation: Observation, changed: int | str) -> bool:
    """Return whether nothing makes a case run.

    Where its reads are unknown, that may, or a file in its own folder that it may have read.
    """
    reason = observation.explained[changed].get(case.id)
    if reason is None:
        return True
    is_known = observation.observe == "all" or case.is_seen_by_python
    return not is_known and (UNSEEN.search(reason) is not None or f"data/{case.id}/" in reason)


@cases(CHANGES_NOTHING)
def test_it_is_not_run_when_all_others_are(case: Case, observation: Observation) -> None:
    result_of(case, observation)
    if can_stay(case, observation.observe):
        assert observation.outcomes[case.id] == "UNCHANGED"


def test_there_are_sixty_ways_and_sixty_temptations() -> None:
    assert len({case.id for case in MUST_RUN}) >= 60
    assert len({case.id for case in CHANGES_NOTHING}) >= 60
    assert sum(case.is_seen_by_python for case in CHANGES_NOTHING) >= 50
    assert len({case.id for case in ALL}) == len(ALL)


def test_a_row_that_is_changed_is_the_only_one_of_its_table(observation: Observation) -> None:
    assert observation.explained["nothing"][BYSTANDER] == "config: n 1 → 2"
    assert all(BYSTANDER not in observation.explained[half] for half in (0, 1))
    assert observation.outcomes[BYSTANDER] == "PASSED"
