"""Dask as an engine: the outcomes, records and files of a session without one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers.dask_cluster import processes_in, scheduler, worker
from helpers.projects import write_project
from helpers.sessions import run_pytest, wait_for

from pytest_ductaflow.report.page import data_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="workers are ended as groups of processes"),
]

FILES = {
    "flows/plain.py": """\
        import os
        if how == "orange":
            print("⚠️ few data")
        if how == "red":
            raise ValueError("no such zone")
        print(f"done {how} with {secret[:3]}")
        """,
    "flows/total.py": """\
        from pathlib import Path
        import helper
        Path("total.txt").write_text(helper.doubled((Path(config["_project_root"]) / source).read_text()))
        """,
    "flows/source.py": 'open("text.txt", "w").write("one")\n',
    "helper.py": "import json\n\ndef doubled(text):\n    return text * 2\n",
    "builds/chain.py": """\
        from pytest_ductaflow import run_notebook
        run_notebook("flows/plain.py", config={"instance_name": "inner", "how": "orange", "secret": "none"})
        """,
    "test_ordinary.py": "def test_it():\n    pass\n",
    "conductor.py": """\
        from pytest_ductaflow import conduct, is_collecting

        secret = "${env:OF_THE_SESSION}"
        rows = [{"instance_name": how, "how": how, "secret": secret} for how in ("green", "orange", "red")]
        conduct("flows/plain.py", rows)
        books = {"_resources": "GPU=1", "_cores": 1, "_memory": "500 MB"}
        conduct("flows/source.py", [{"instance_name": "one", **books}])
        needs = {"blocked": "runs/plain/red/x.txt", "ready": "runs/source/one/text.txt"}
        conduct("flows/total.py", [{"instance_name": name, "source": path} for name, path in needs.items()])
        conduct("builds/chain.py", [{"instance_name": "one"}])
        conduct("flows/plain.py", [{"instance_name": "skipped", "_marks": "skip"}], step="other")
        large = {"_resources": {"GPU": 9}, "_memory": "9000 GB"}
        row = {"instance_name": "unmet", "how": "green", "secret": secret, **large}
        conduct("flows/plain.py", [row], step="big")
        if not is_collecting():
            raise RuntimeError("it comes after failures")
        """,
}
ARGUMENTS = ("--ductaflow", "-v", "conductor.py", "test_ordinary.py")
NAMES = {
    "plain::green": "PASSED",
    "plain::orange": "WARNED",
    "plain::red": "FAILED",
    "source::one": "PASSED",
    "total::blocked": "SKIPPED",
    "total::ready": "PASSED",
    "chain::one": "WARNED",
    "other::skipped": "SKIPPED",
}
DIFFER = {"started", "duration", "peak_memory", "lineage", "worker", "stats", "threads", "secrets"}


def outcomes(result: pytest.RunResult) -> dict[str, str]:
    words = r"^conductor\.py::(\S+) (PASSED|UNCHANGED|WARNED|FAILED|SKIPPED)"
    told = re.findall(words, "\n".join(result.outlines), re.MULTILINE)
    assert len(dict(told)) == len(told), "an item was told twice"
    return dict(told)


def comparable(value: Any) -> Any:
    """Return a record without times, hosts and processes."""
    if isinstance(value, Mapping):
        return {key: comparable(each) for key, each in value.items() if key not in DIFFER}
    return [comparable(each) for each in value] if isinstance(value, list) else value


def records(root: Path) -> dict[str, Any]:
    found = {}
    for path in sorted((root / "runs").glob("*/*/*_record.json")):
        text = path.read_text(encoding="utf-8").replace(str(root), "ROOT")
        found[path.parent.relative_to(root).as_posix()] = comparable(json.loads(text))
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a scheduler with two workers, one of which has a GPU."""
    folder = tmp_path_factory.mktemp("cluster")
    with (
        scheduler(folder) as (address, _),
        worker(address, folder / "a", "plain"),
        worker(address, folder / "b", "large", "--resources", "GPU=1"),
    ):
        yield address


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("project") / "here", FILES)


@pytest.fixture(scope="module")
def spread(root: Path, cluster: str) -> pytest.RunResult:
    """Run everything on the cluster."""
    os.environ["OF_THE_SESSION"] = "its value"
    options = ("--ductaflow-engine", cluster, "--ductaflow-engine-wait", "1s", "--junitxml", "junit.xml")
    return run_pytest(root, *ARGUMENTS, *options, is_real=True)


def test_outcomes_are_those_of_any_session_and_all_hooks_hear_of_them(
    spread: pytest.RunResult, root: Path
) -> None:
    assert outcomes(spread) == {**NAMES, "big::unmet": "FAILED", "after": "SKIPPED"}
    spread.assert_outcomes(passed=4, failed=2, skipped=3)  # with the ordinary test
    junit = (root / "junit.xml").read_text()
    assert 'tests="11"' in junit
    assert "few data" in junit
    times = [float(text) for text in re.findall(r'name="(?:green|one)" time="([\d.]+)"', junit)]
    assert min(times) > 0.01  # of the run, not of its replay
    page = data_of((root / "runs/conductor_status_report.html").read_text(encoding="utf-8"))
    workers = {row["id"].partition("::")[2]: row.get("worker") for row in page["rows"]}
    assert workers["source::one"] == "large"
    assert {workers["plain::green"], workers["plain::orange"]} <= {"plain", "large"}


def test_what_no_worker_has_is_told_by_name(spread: pytest.RunResult, cluster: str) -> None:
    has = r"has _memory=[\d,.]+ \w+, GPU=9 \(the most that one has: _memory=[\d.]+ GB, GPU=1\)"
    line = rf"no worker of {re.escape(cluster)} {has}; waited 1 s \(--ductaflow-engine-wait\)"
    assert re.search(line, spread.stdout.str())
    assert "runs/big/unmet\n" not in spread.stdout.str()


@pytest.mark.thorough
def test_records_are_those_of_a_session_in_one_process(
    spread: pytest.RunResult, root: Path, tmp_path: Path
) -> None:
    assert spread.ret == pytest.ExitCode.TESTS_FAILED
    other = write_project(tmp_path / "here", FILES)
    alone = run_pytest(other, *ARGUMENTS, is_real=True)
    assert outcomes(alone) == {**NAMES, "big::unmet": "PASSED", "after": "SKIPPED"}
    assert (
        "note: _resources (conductor.py) have no effect here: only workers of an engine have such resources"
        in alone.stdout.str()
    )
    here = records(other)
    del here["runs/big/unmet"]  # which has not begun on the cluster
    assert records(root) == here


def test_what_needs_no_run_makes_no_trip_to_the_engine(spread: pytest.RunResult, root: Path) -> None:
    assert spread.ret == pytest.ExitCode.TESTS_FAILED
    nowhere = ("--ductaflow-engine", "tcp://127.0.0.1:9", "-k", "green or orange or skipped")
    again = run_pytest(root, *ARGUMENTS, *nowhere, is_real=True)
    assert outcomes(again)["plain::green"] == "UNCHANGED"
    assert again.ret == pytest.ExitCode.OK


def test_nothing_is_left_in_the_project(spread: pytest.RunResult, root: Path) -> None:
    assert spread.ret == pytest.ExitCode.TESTS_FAILED
    left = {path.suffix for path in (root / "runs/.locks").iterdir()} - {".lock"}
    assert left == set()
    wait_for(lambda: not processes_in(root) or None, "the end of all kernels")
