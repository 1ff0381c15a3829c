"""The order of instances in whole sessions, in one process and with xdist's workers.

Nothing starts before its upstreams have ended well, everything is reported once, and no session hangs,
whatever fails, dies, is left out or runs beside it. Except in the last tests, no kernels run: `standin`
replaces the runner, notes when an instance starts and ends, and does what its config says.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment, run_session
from helpers.thorough import one_in

CONDUCTOR = """\
import json
from pathlib import Path
from pytest_ductaflow import conduct

for row in json.loads(Path("instances.json").read_text()):
    conduct(f"flows/{row.pop('flow')}.py", [row], after=row.pop("after"))
"""
STEPS = ("etl", "model", "score", "plot")
Row = dict[str, object]


def row(label: str, *after: str, do: str = "ok", free: bool = False, **config: object) -> Row:
    """Return an instance as a row, from `step/name`; `free` if it waits for no earlier flow either."""
    flow, name = label.split("/")
    explicit = list(after) if after or free else None
    return {"flow": flow, "instance_name": name, "do": do, "after": explicit, **config}


def label_of(node_id: str) -> str:
    return "/".join(node_id.split("::")[1:])


class Result:
    """The events and reports of a session."""

    def __init__(self, folder: Path, done: subprocess.CompletedProcess[str]) -> None:
        self.ret, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.starts: dict[str, list[int]] = defaultdict(list)
        self.ends: dict[str, list[int]] = defaultdict(list)
        for event in _lines(folder / "events.jsonl"):
            {"start": self.starts, "end": self.ends}[event["event"]][event["label"]].append(event["at"])
        told = [
            r for r in _lines(folder / "reports.jsonl") if r["when"] == "call" or r["outcome"] != "passed"
        ]
        self.told = Counter(r["id"] for r in told if r["outcome"] != "rerun")
        self.outcomes = {label_of(r["id"]): r["outcome"] for r in told if "conductor.py" in r["id"]}
        self.says = {label_of(r["id"]): r["says"].removeprefix("Skipped: ") for r in told}
        cases = ET.parse(folder / "junit.xml").iter("testcase") if (folder / "junit.xml").exists() else ()
        self.junit = Counter(f"{case.get('classname')}.{case.get('name')}" for case in cases)

    def check(self, rows: Sequence[Row]) -> None:
        """Check what always holds: the order, and that everything was reported only once."""
        ends = {label: max(times) for label, times in self.ends.items()}
        for label, upstreams in upstreams_of(rows).items():
            for upstream in upstreams if label in self.starts else ():
                assert ends[upstream] <= min(self.starts[label]), f"{label} before the end of {upstream}"
        assert set(self.told.values()) <= {1}, self.told
        assert set(self.junit.values()) <= {1}, self.junit
        assert "INTERNALERROR" not in self.out + self.err


def _lines(file: Path) -> Iterator[dict]:
    if file.exists():
        yield from map(json.loads, file.read_text(encoding="utf-8").splitlines())


class Project:
    """A project on disk, and sessions in it."""

    def __init__(self, folder: Path, rows: Sequence[Row], files: dict[str, str] | None = None) -> None:
        self.folder, self.rows = folder, list(rows)
        flows = {f"flows/{r['flow']}.py": "" for r in rows}
        write_project(folder, {"conductor.py": CONDUCTOR, **flows, **(files or {})})
        self.lay_out(rows)

    def lay_out(self, rows: Sequence[Row]) -> None:
        without = ("means", "mark")
        plain = [{key: value for key, value in r.items() if key not in without} for r in rows]
        (self.folder / "instances.json").write_text(json.dumps(plain), encoding="utf-8")

    def run(self, *args: str) -> Result:
        """Run a session with the stand-in."""
        for name in ("events.jsonl", "reports.jsonl", "junit.xml"):
            (self.folder / name).unlink(missing_ok=True)
        named = [] if any(arg.startswith("conductor.py") for arg in args) else ["conductor.py"]
        return self._run("-p", "helpers.standin", "--junitxml=junit.xml", *args, *named)

    def _run(self, *args: str) -> Result:
        environment = own_environment(plugins=True, PYTHONPATH=str(Path(__file__).parents[1]))
        command = ("--ductaflow", *args)
        done = run_session(self.folder, *command, environment=environment)
        return Result(self.folder, done)


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Project]:
    return lambda rows, files=None: Project(tmp_path, rows, files)


def upstreams_of(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the upstreams of each instance, however its config names them."""
    return {f"{r['flow']}/{r['instance_name']}": r.get("means", r["after"] or []) for r in rows}


# Random graphs ---------------------------------------------------------------------------------------


def shape(kind: str, size: int, chance: random.Random) -> list[list[int]]:
    """Return the upstreams of each node of a small graph."""
    if kind == "chain":
        return [[n - 1] if n else [] for n in range(size)]
    if kind == "fan out":
        return [[0] if n else [] for n in range(size)]
    if kind == "diamond":
        return [[], *[[0]] * (size - 2), list(range(1, size - 1))]
    return [chance.sample(range(n), min(n, chance.randint(0, 3))) for n in range(size)]


def random_rows(seed: int, deeds: str, graphs: int = 8) -> list[Row]:
    """Return graphs beside each other, declared in any order, with upstreams named in all ways."""
    chance = random.Random(seed)
    rows = []
    for number in range(graphs):
        size = chance.randint(4, 8)
        labels = [f"{chance.choice(STEPS)}/g{number}n{node}" for node in range(size)]
        for node, upstreams in enumerate(
            shape(("chain", "fan out", "diamond", "layers")[number % 4], size, chance)
        ):
            means = [labels[upstream] for upstream in upstreams]
            deed = chance.choice(deeds.split(", ")) if chance.random() < 0.25 else "ok"
            rows.append(_named_somehow(labels[node], means, deed, chance))
    chance.shuffle(rows)
    return rows


def _named_somehow(label: str, means: list[str], deed: str, chance: random.Random) -> Row:
    made = row(label, free=chance.random() < 0.5, do=deed, sleep=chance.choice([0, 0, 0.01, 0.03]))
    after = []
    for number, upstream in enumerate(means):
        step, name = upstream.split("/")
        way = chance.choice(["after", "key", "from the root", "from here", "nested"])
        if way == "key" and f"{step}_instance" not in made:
            made[f"{step}_instance"] = name
        elif way == "from the root":
            made[f"path{number}"] = f"runs/{upstream}/out.txt"
        elif way == "from here":
            made[f"path{number}"] = f"../../{upstream}/out.txt"
        elif way == "nested":
            made[f"deep.er.path{number}"] = f"runs/{upstream}"
        else:
            after.append(upstream)
    if deed == "skip":
        made |= {"do": "ok", "_marks": "skip"}
    return made | {"after": after or made["after"] if not means else after or None, "means": means}


def expected_outcomes(rows: Sequence[Row]) -> dict[str, str]:
    """Return the outcome of each instance if all that can run does."""
    deeds = {f"{r['flow']}/{r['instance_name']}": "skip" if "_marks" in r else r["do"] for r in rows}
    upstreams = upstreams_of(rows)
    comes_to: dict[str, str] = {}

    def outcome(label: str) -> str:
        if label not in comes_to:
            plain = {"fail": "failed", "crash": "failed", "skip": "skipped", "warn": "warned"}
            good = all(outcome(upstream) in ("passed", "warned") for upstream in upstreams[label])
            comes_to[label] = plain.get(str(deeds[label]), "passed") if good else "skipped"
        return comes_to[label]

    return {label: outcome(label) for label in deeds}


ORDINARY = {
    "test_beside.py": """\
        import pytest

        @pytest.fixture(scope="module")
        def shared():
            yield []

        @pytest.mark.parametrize("number", range(12))
        def test_beside(number, shared):
            shared.append(number)
        """
}


@pytest.mark.parametrize("seed_and_workers", one_in(3, [(1, 2), (2, 0), (3, 1), (4, 0), (5, 2), (6, 4)]))
def test_random_graphs_run_in_order_and_each_instance_comes_to_what_it_must(project, seed_and_workers):
    """Failures, warnings, skips and dead workers: the right instances are blocked, all are reported once."""
    seed, workers = seed_and_workers
    deeds = "fail, warn, skip, crash" if workers else "fail, warn, skip"
    made = project(random_rows(seed, deeds), ORDINARY)
    result = made.run(*(["-n", str(workers), "--max-worker-restart=20"] if workers else []), "test_beside.py")
    result.check(made.rows)
    expected = expected_outcomes(made.rows)
    assert result.outcomes == expected
    ran = {label for label, outcome in expected.items() if outcome != "skipped"}
    assert {label: len(times) for label, times in result.starts.items()} == dict.fromkeys(ran, 1)
    assert len(result.told) == len(result.junit) == len(expected) + 12


# Stopping --------------------------------------------------------------------------------------------


CHAIN = [row("etl/n0", do="ok", sleep=0.05, free=True)] + [
    row(f"etl/n{number}", f"etl/n{number - 1}", sleep=0.05) for number in range(1, 60)
]


@pytest.mark.parametrize("workers", [0, 2])
def test_session_stops_after_failures_and_waits_for_nobody(project, workers):
    """-x ends the session soon after the first failure; what waited is not run."""
    made = project([row("model/bad", do="fail", free=True), *CHAIN])
    result = made.run("-x", *(["-n", "2"] if workers else []))
    result.check(made.rows)
    assert Counter(result.outcomes.values())["failed"] == 1
    assert len(result.starts) < 40
    assert "stopping after 1 failures" in result.out


def test_dead_worker_counts_as_a_failure_that_stops_the_session(project):
    """--maxfail counts crashes and failures together."""
    made = project([row("model/bad", do="fail", free=True), row("model/dies", do="crash", free=True), *CHAIN])
    result = made.run("--maxfail=2", "-n", "2")
    result.check(made.rows)
    assert Counter(result.outcomes.values())["failed"] == 2
    assert len(result.starts) < 40
    assert "stopping after 2 failures" in result.out


# What is left out ------------------------------------------------------------------------------------


THREE = [row("etl/A", free=True, sleep=0.2), row("model/A", etl_instance="A"), row("score/A", "model/A")]
MEANS = [{**THREE[0], "means": []}, {**THREE[1], "means": ["etl/A"]}, {**THREE[2], "means": ["model/A"]}]


def test_upstream_that_is_not_selected_must_have_a_good_record(project):
    """Without one the instance fails before it begins, in a line that says what to type."""
    made = project(MEANS)
    result = made.run("conductor.py::score::A", "conductor.py::model::A")
    assert result.outcomes == {"model/A": "failed", "score/A": "skipped"}
    assert result.says["model/A"] == (
        "upstream etl/A was not selected and has no good record; "
        "run it first: pytest --ductaflow conductor.py::etl::A"
    )
    assert result.says["score/A"] == "upstream model/A failed"
    assert result.starts == {}
    assert re.search(r"(?m)^_+ model/A _+\nupstream etl/A was not selected", result.out), result.out
    assert re.search(r"(?m)^FAILED conductor.py::model::A - upstream etl/A was", result.out)
    (typed,) = re.findall("run it first: pytest --ductaflow (.*)", result.says["model/A"])
    assert made.run(typed).outcomes == {"etl/A": "passed"}
    assert made.run("-k", "model", "-n", "1").outcomes == {"model/A": "passed"}
    made.lay_out([{**MEANS[0], "do": "fail"}, *MEANS[1:]])
    assert made.run("conductor.py::etl").outcomes == {"etl/A": "failed"}
    result = made.run("--ductaflow-where=step == 'model'", "-n", "2")
    assert result.outcomes == {"model/A": "failed"}
    assert "was not selected and has no good record" in result.says["model/A"]
    assert re.search(r"(?m)^FAILED conductor.py::model::A - upstream etl/A was", result.out)


@pytest.mark.parametrize("workers", [0, 2])
def test_order_holds_through_what_is_not_selected(project, workers):
    """Instances between two others need not be in the session."""
    made = project(MEANS)
    assert set(made.run().outcomes.values()) == {"passed"}
    result = made.run("conductor.py::score", "conductor.py::etl", *(["-n", "2"] if workers else []))
    assert result.outcomes == {"score/A": "passed", "etl/A": "passed"}
    assert result.ends["etl/A"][0] <= result.starts["score/A"][0]


@pytest.mark.parametrize("workers", [0, 2])
def test_instance_without_upstreams_waits_for_earlier_flows_to_end_well_or_not(project, workers):
    """It is only order: a failure of an earlier flow does not block the instance."""
    made = project([row("etl/A", do="fail", sleep=0.2), row("etl/B", sleep=0.5), row("model/A")])
    result = made.run(*(["-n", "2"] if workers else []))
    assert result.outcomes == {"etl/A": "failed", "etl/B": "passed", "model/A": "passed"}
    assert max(result.ends["etl/A"] + result.ends["etl/B"]) <= result.starts["model/A"][0]


def test_upstream_that_is_skipped_must_have_a_good_record(project):
    """A mark that skips an upstream blocks what comes after it, unless an earlier run will do."""
    marked = [{**MEANS[0], "_marks": "skip"}, *MEANS[1:]]
    made = project(marked)
    result = made.run()
    assert set(result.outcomes.values()) == {"skipped"}
    assert result.says["model/A"] == "upstream etl/A was skipped"
    assert result.says["score/A"] == "upstream model/A is blocked: upstream etl/A was skipped"
    made.lay_out(MEANS)
    made.run("-k", "etl")
    made.lay_out(marked)
    result = made.run()
    assert result.outcomes == {"etl/A": "skipped", "model/A": "passed", "score/A": "passed"}


def test_paths_into_runs_must_lead_somewhere(project):
    """Paths that no instance writes must exist; a run directory outside of the plan must be good."""
    rows = [
        row("etl/A", free=True),
        row("model/lost", "etl/A", table="runs/etl/Z/out.csv"),
        row("model/found", "etl/A", table="runs/etl/Y/out.csv"),
        row("score/bad", "etl/X"),
        row("score/good", "etl/W"),
    ]
    past = [row("etl/X", do="fail", free=True), row("etl/W", do="warn", free=True)]
    made = project(past)
    made.run()
    made.lay_out(rows)
    write_project(made.folder, {f"flows/{step}.py": "" for step in STEPS} | {"runs/etl/Y/out.csv": "x"})
    result = made.run()
    assert result.outcomes == {
        "etl/A": "passed",
        "model/lost": "failed",
        "model/found": "passed",
        "score/bad": "failed",
        "score/good": "passed",
    }
    assert result.says["model/lost"] == (
        "config key 'table': runs/etl/Z/out.csv is not there, and no instance writes it; step etl has A"
    )
    assert result.says["score/bad"] == (
        "upstream runs/etl/X has no good record; run it first: pytest --ductaflow runs/etl/X"
    )


# Verdicts --------------------------------------------------------------------------------------------


def test_blocked_instance_names_what_is_to_blame(project):
    """However far upstream it is."""
    made = project(
        [
            row("etl/A", do="fail", free=True),
            row("etl/B", do="fail", free=True),
            row("model/A", "etl/A", "etl/B"),
            row("score/A", "model/A"),
            row("plot/A", "score/A"),
        ]
    )
    result = made.run("-rs")
    assert {label: result.says[label] for label in ("model/A", "score/A", "plot/A")} == {
        "model/A": "upstream etl/A failed (and 1 more)",
        "score/A": "upstream model/A is blocked: upstream etl/A failed",
        "plot/A": "upstream score/A is blocked: upstream etl/A failed",
    }
    assert re.search(r"SKIPPED \[1\] conductor.py:\d+: upstream score/A is blocked", result.out), result.out


def test_warning_that_fails_blocks(project):
    """--ductaflow-warnings=fail: an orange upstream has failed; otherwise it is good enough."""
    made = project([row("etl/A", do="warn", free=True), row("model/A", "etl/A")])
    assert made.run().outcomes == {"etl/A": "warned", "model/A": "passed"}
    result = made.run("--ductaflow-warnings=fail", "-n", "2")
    assert result.outcomes == {"etl/A": "failed", "model/A": "skipped"}
    assert result.says["model/A"] == "upstream etl/A failed"


def test_failure_that_was_expected_blocks_all_the_same(project):
    """A mark xfail makes a red instance no failure of the session; its files are no better for it."""
    made = project([row("etl/A", do="fail", free=True, _marks="xfail"), row("model/A", "etl/A")])
    result = made.run()
    assert result.outcomes == {"etl/A": "warned", "model/A": "skipped"}
    assert result.says["model/A"] == "upstream etl/A failed"


@pytest.mark.parametrize(("workers", "deed"), [(0, "fail once"), (2, "fail once"), (2, "crash once")])
def test_upstream_that_ends_well_at_the_second_attempt_is_good(project, workers, deed):
    """pytest-rerunfailures: the last attempt counts, also if the worker died with the first."""
    pytest.importorskip("pytest_rerunfailures")
    made = project([row("etl/A", do=deed, free=True), row("model/A", "etl/A"), row("etl/B", free=True)])
    result = made.run("--reruns=1", *(["-n", "2"] if workers else []))
    assert result.outcomes["model/A"] == "passed", result.out
    assert set(result.told.values()) == {1}
    assert len(result.starts["etl/A"]) == 2
    assert max(result.ends["etl/A"]) <= result.starts["model/A"][0]
    assert result.ret == 0


@pytest.mark.thorough
def test_upstream_whose_worker_dies_each_time_has_failed(project):
    """pytest-rerunfailures: when no attempt is left, what waited is blocked."""
    pytest.importorskip("pytest_rerunfailures")
    made = project([row("etl/A", do="crash", free=True), row("model/A", "etl/A"), row("etl/B", free=True)])
    result = made.run("--reruns=1", "-n", "2")
    assert result.outcomes == {"etl/A": "failed", "model/A": "skipped", "etl/B": "passed"}
    assert len(result.starts["etl/A"]) == 2
    assert set(result.told.values()) == {1}


@pytest.mark.parametrize("workers", one_in(2, [2, 0]))
def test_last_failed_runs_what_failed_and_what_it_blocked(project, workers):
    """--lf after a repair: the failed instance and all that waited for it, nothing else."""
    rows = [
        row("etl/A", do="fail", free=True),
        row("etl/B", free=True),
        row("etl/C", free=True, _marks="skip"),
        row("model/A", "etl/A"),
        row("model/B", "etl/B"),
        row("model/C", "etl/C"),
        row("score/A", "model/A"),
    ]
    made = project(rows)
    spread = ["-n", "2"] if workers else []
    made.run(*spread)
    made.lay_out([{**rows[0], "do": "ok"}, *rows[1:]])
    result = made.run("--lf", *spread)
    assert result.outcomes == {"etl/A": "passed", "model/A": "passed", "score/A": "passed"}
    result.check(rows)
    assert "run-last-failure: no previously failed tests" in made.run("--lf", "--collect-only").out


# Other plugins, other tests --------------------------------------------------------------------------


SHUFFLE = """\
    import pytest

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(items):
        items.reverse()
    """


@pytest.mark.parametrize("workers", [0, 2])
def test_upstreams_come_first_whatever_other_plugins_do(project, workers):
    """Items that a plugin has reordered are put right; ordinary tests stay where they are."""
    made = project(CHAIN[:6], {"conftest.py": SHUFFLE, **ORDINARY})
    result = made.run("test_beside.py", *(["-n", "2"] if workers else []))
    result.check(made.rows)
    assert set(result.outcomes.values()) == {"passed"}
    if not workers:
        assert next(iter(result.told)) == "conductor.py::etl::n0"
        assert list(result.told)[6:] == [f"test_beside.py::test_beside[{n}]" for n in reversed(range(12))]
        assert made.run("--ff", "conductor.py::etl::n5", "conductor.py::etl::n4").outcomes.keys() == {
            "etl/n4",
            "etl/n5",
        }


def test_fixtures_of_ordinary_tests_end_as_ever(project):
    """Under -n, an error at the end of a session fixture is reported, once for each worker."""
    files = {
        "test_fixture.py": """\
            import pytest

            @pytest.fixture(scope="session")
            def whole_session():
                yield
                raise RuntimeError("cannot close")

            def test_with(whole_session):
                pass
            """
    }
    made = project([row("etl/A", free=True, sleep=0.1)], files)
    result = made.run("-n", "2", "test_fixture.py")
    assert result.outcomes == {"etl/A": "passed"}
    assert result.out.count("E       RuntimeError: cannot close") == 1
    assert re.search(r"2 passed, 1 error in", result.out), result.out
    assert result.ret == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("mode", ["loadscope", "worksteal"])
def test_other_modes_of_distribution_run_everything_once(project, mode):
    """--dist is about ordinary tests; instances keep their order in each mode."""
    made = project(CHAIN[:4], ORDINARY)
    result = made.run("-n", "2", "--dist", mode, "test_beside.py")
    result.check(made.rows)
    assert len(result.told) == len(result.junit) == 4 + 12
    assert result.ret == 0


def test_each_worker_running_every_instance_is_refused(project):
    """--dist each is a usage error: the workers would write to the same run directories."""
    result = project(CHAIN[:1]).run("-n", "2", "--dist", "each")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--dist each" in result.err
    assert "use --dist load" in result.err
    assert result.starts == {}


def test_session_without_instances_is_left_to_xdist(project):
    """Ordinary tests alone are distributed as xdist does it."""
    made = project([], ORDINARY)
    result = made.run("-n", "1", "-v", "test_beside.py")
    assert "scheduling tests via LoadScheduling" in result.out
    assert "12 passed" in result.out


# Workers that die ------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_worker_that_dies_while_it_has_nothing_to_do_is_no_failure(project):
    """Another one replaces it, and nothing is lost."""
    rows = [
        row("etl/A", do="die later", free=True),
        row("etl/B", sleep=0.6, free=True),
        *(row(f"model/{n}", "etl/B", sleep=0.1) for n in range(4)),
    ]
    made = project(rows)
    result = made.run("-n", "2")
    result.check(made.rows)
    assert set(result.outcomes.values()) == {"passed"}
    assert "replacing crashed worker" in result.out
    assert result.ret == 0


@pytest.mark.thorough
def test_worker_that_dies_before_it_has_collected_is_replaced(project):
    """The session begins with the replacement."""
    files = {
        "conftest.py": """\
            import os

            def pytest_collection_modifyitems():
                if os.environ.get("PYTEST_XDIST_WORKER") == "gw1":
                    os._exit(7)
            """
    }
    made = project([*CHAIN[:3], row("etl/free", free=True)], files)
    result = made.run("-n", "2")
    result.check(made.rows)
    assert set(result.outcomes.values()) == {"passed"}
    assert "replacing crashed worker gw1" in result.out


@pytest.mark.thorough
def test_session_ends_when_no_more_workers_are_allowed(project):
    """--max-worker-restart: what the dead worker ran is reported, and the session does not hang."""
    made = project([row("etl/dies", do="crash", free=True), row("etl/after", "etl/dies"), *CHAIN[:2]])
    result = made.run("-n", "1", "--max-worker-restart=0")
    result.check(made.rows)
    assert result.outcomes["etl/dies"] == "failed"
    assert "worker restarting disabled" in result.out
    assert result.ret == pytest.ExitCode.TESTS_FAILED


DIFFERENT = """\
    import os
    import pytest

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(items):
        if os.environ.get("PYTEST_XDIST_WORKER") == "{worker}":
            del items[0]
    """


@pytest.mark.thorough
def test_workers_that_collect_different_things_are_told(project):
    """As without instances: nothing runs, and the difference is shown."""
    rows = [*CHAIN[:3], row("etl/free", free=True)]
    made = project(rows, {"conftest.py": DIFFERENT.format(worker="gw1")})
    result = made.run("-n", "2")
    assert re.search("Different tests were collected between gw. and gw.", result.out)
    assert result.starts == {}
    assert result.ret not in (0, pytest.ExitCode.INTERNAL_ERROR)


@pytest.mark.thorough
def test_replacement_that_collects_different_things_does_not_hold_up_the_others(project):
    """The difference is reported, the replacement gets nothing to do, and the session ends."""
    rows = [row("etl/dies", do="crash", free=True), *CHAIN[:3]]
    made = project(rows, {"conftest.py": DIFFERENT.format(worker="gw2")})
    result = made.run("-n", "2")
    result.check(made.rows)
    assert Counter(result.outcomes.values()) == {"failed": 1, "passed": 3}
    made.lay_out([*rows[:1], row("etl/free", free=True)])
    assert made.run("-n", "2").outcomes == {"etl/dies": "failed", "etl/free": "passed"}


def test_reports_of_other_plugins_show_a_dead_worker_once(project):
    """JUnit's and pytest-html's have one entry for its instance."""
    pytest.importorskip("pytest_html")
    rows = [row("etl/dies", do="crash", free=True), row("model/A", "etl/dies"), row("etl/free", free=True)]
    made = project(rows)
    result = made.run("-n", "1", "--html=report.html")
    result.check(made.rows)
    assert result.junit["conductor.etl.dies"] == 1
    page = (made.folder / "report.html").read_text(encoding="utf-8")
    (blob,) = re.findall(r'data-jsonblob="(.*?)"', page)
    tests = json.loads(blob.replace("&#34;", '"').replace("&#39;", "'").replace("&amp;", "&"))["tests"]
    assert [entry["result"] for entry in tests["conductor.py::etl::dies"]] == ["Failed"]
    assert [entry["result"] for entry in tests["conductor.py::model::A"]] == ["Skipped"]


# With kernels ----------------------------------------------------------------------------------------


REAL = {
    "flows/etl.py": """\
        from pathlib import Path
        if config["how"] == "red":
            raise ValueError("no such zone")
        Path("out.txt").write_text(config["how"])
        """,
    "flows/model.py": """\
        from pathlib import Path
        text = Path(config["_project_root"], config["table"]).read_text()
        Path("fit.txt").write_text(text.upper())
        """,
    "flows/plot.py": """\
        from pathlib import Path
        fits = [Path("../../model", name, "fit.txt").read_text() for name in config["model_instance"]]
        print(*fits)
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct

        conduct("flows/plot.py", [{"instance_name": "all", "model_instance": ["A", "B"]}])
        for name in "AB":
            table = f"runs/etl/{name}/out.txt"
            conduct("flows/model.py", [{"instance_name": name, "table": table}])
            conduct("flows/etl.py", [{"instance_name": name, "how": how[name]}], after=[])
        """,
}


@pytest.mark.slow
@pytest.mark.parametrize("workers", one_in(2, [2, 0]))
def test_flows_find_what_their_upstreams_wrote(tmp_path, workers):
    """From red to green by --lf: upstreams run before what reads their files, in whatever order declared."""
    made = Project(tmp_path, [], REAL)
    spread = ["-n", "2"] if workers else []

    def run(how: dict[str, str], *args: str) -> str:
        text = f"how = {how!r}\n" + REAL["conductor.py"].replace("\n        ", "\n").lstrip()
        (made.folder / "conductor.py").write_text(text, encoding="utf-8")
        return made._run("-v", "-rs", "conductor.py", *spread, *args).out

    out = run({"A": "red", "B": "green"})
    assert re.search(r"1 failed, 2 passed, 2 skipped in", out), out
    assert "upstream etl/A failed" in out
    assert "upstream model/A is blocked: upstream etl/A failed" in out
    out = run({"A": "blue", "B": "green"}, "--lf")
    assert re.search(r"3 passed in|3 passed, 2 deselected in", out), out
    log = made.folder / "runs/plot/all/plot_execution_output.txt"
    assert "BLUE GREEN" in log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_worker_that_a_flow_kills_blocks_what_waits_for_it(tmp_path):
    """The record of the dead worker's instance is closed, and the session goes on."""
    worker = "int(os.environ['JPY_PARENT_PID'])"
    kill = f"import os, signal, time\nos.kill({worker}, signal.SIGKILL)\ntime.sleep(60)\n"
    made = Project(tmp_path, [], {**REAL, "flows/kill.py": kill})
    text = """\
        from pytest_ductaflow import conduct

        conduct("flows/kill.py", [{"instance_name": "A"}])
        conduct("flows/etl.py", [{"instance_name": "A", "how": "green", "_after": "kill/A"}])
        conduct("flows/etl.py", [{"instance_name": "B", "how": "green"}], after=[])
        conduct("flows/model.py", [{"instance_name": "B", "table": "runs/etl/B/out.txt"}])
        """
    write_project(made.folder, {"conductor.py": text})
    result = made._run("conductor.py", "-n", "2", "-rs")
    assert re.search(r"1 failed, 2 passed, 1 skipped in", result.out), result.out
    assert "upstream kill/A failed" in result.out
    record = json.loads((made.folder / "runs/kill/A/kill_record.json").read_text(encoding="utf-8"))
    assert (record["status"], record["error"]["type"]) == ("error", "WorkerDied")
