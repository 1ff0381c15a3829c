"""Under xdist: the same outcomes and files, workers that die, a report in which every row has ended."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_pytest

from pytest_ductaflow.report.page import data_of

pytestmark = pytest.mark.slow

FILES = {
    "flows/plain.py": """\
        if how == "orange":
            print("⚠️ few data")
        if how == "red":
            raise ValueError("no such zone")
        print(f"done {how}")
        """,
    "flows/killer.py": """\
        import os, signal
        os.kill(int(os.environ["JPY_PARENT_PID"]), signal.SIGKILL)
        import time
        while True:
            time.sleep(1)
        """,
    "builds/chain.py": """\
        from ductaflow import run_notebook
        run_notebook("flows/plain.py", config={"instance_name": "inner", "how": "orange"})
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct

        with open("count.txt", "a") as file:
            file.write("ran\\n")
        conduct("flows/killer.py", [{"instance_name": "one"}])
        conduct("flows/plain.py", [{"instance_name": how, "how": how} for how in ("green", "orange", "red")])
        conduct("builds/chain.py", [{"instance_name": "one"}])
        conduct("flows/plain.py", [{"instance_name": "skipped", "_marks": "skip"}])
        """,
}
OTHERS = ("conductor.py::plain", "conductor.py::chain")


def rows(root: Path) -> dict[str, dict]:
    """Return the rows of the report by node id."""
    page = (root / "runs/conductor_status_report.html").read_text(encoding="utf-8")
    return {row["id"]: row for row in data_of(page)["rows"]}


class Session:
    """A session in a project of its own."""

    def __init__(self, root: Path, *args: str, is_real: bool = False) -> None:
        self.root = write_project(root, FILES)
        self.result = run_pytest(self.root, "--ductaflow", "-v", *args, is_real=is_real)


@pytest.fixture(scope="module")
def spread(tmp_path_factory) -> Session:
    """Run all instances on two workers; a flow kills one of them."""
    return Session(tmp_path_factory.mktemp("spread") / "project", "-n", "2", "conductor.py", is_real=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Session:
    """Run the same instances in one process, without the one that kills it."""
    return Session(tmp_path_factory.mktemp("alone") / "project", *OTHERS)


def test_worker_that_dies_fails_its_item_and_the_rest_runs(spread):
    """A killed worker gives exactly one failure for its instance, and everything else has its outcome."""
    spread.result.assert_outcomes(passed=1, failed=2, skipped=1)
    assert "2 warned" in spread.result.outlines[-1]
    assert spread.result.ret == pytest.ExitCode.TESTS_FAILED
    failed = [line for line in spread.result.outlines if line.startswith("FAILED ")]
    assert sum("killer::one" in line for line in failed) == 1
    spread.result.stdout.fnmatch_lines(["*crashed while running*conductor.py::killer::one*"])


def test_outcomes_are_those_of_one_process(spread, alone):
    """-n 2 gives each instance the same outcome as without it."""
    alone.result.assert_outcomes(passed=1, failed=1, skipped=1)
    assert "2 warned" in alone.result.outlines[-1]
    keep = {node_id: row["status"] for node_id, row in rows(alone.root).items() if "killer" not in node_id}
    assert {node_id: row["status"] for node_id, row in rows(spread.root).items() if node_id in keep} == keep


def test_files_are_those_of_one_process(spread, alone):
    """-n 2 leaves the same files, with the same records except for times, paths and memory."""

    def files(root: Path) -> set[str]:
        found = (path.relative_to(root).as_posix() for path in (root / "runs").rglob("*") if path.is_file())
        return {name for name in found if "killer" not in name and not name.startswith("runs/.locks/")}

    assert files(spread.root) == files(alone.root)
    varying = ("started", "duration", "peak_memory", "threads", "flows", "stats", "worker", "lineage")
    for name in sorted(files(alone.root)):
        if name.endswith("_record.json"):
            one, two = (json.loads((s.root / name).read_text(encoding="utf-8")) for s in (alone, spread))
            assert {k: v for k, v in one.items() if k not in varying} == {
                k: v for k, v in two.items() if k not in varying
            }


def test_failure_text_is_that_of_one_process(spread, alone):
    """-n 2 shows the same failure text."""

    def text(session: Session) -> str:
        pattern = r"^_+ plain/red _+\n(.*?)^(_|=|-){3,}"
        found = re.search(pattern, session.result.stdout.str(), re.DOTALL | re.MULTILINE)
        return re.sub(r"\[gw\d\].*\n", "", found[1])

    assert "E   ValueError: no such zone" in text(alone)
    assert text(spread) == text(alone)


def test_flows_of_a_build_are_shown_with_workers_too(spread):
    """-v shows a build's flows below its line under -n 2 as well."""
    output = spread.result.stdout.str()
    assert re.search(r"WARNED conductor\.py::chain::one.*\n(.*\n)*?    \* plain \d.*⚠️ few data", output)


def test_conductor_runs_once_however_many_workers(spread):
    """The conductor runs once, though a worker died and was replaced."""
    assert (spread.root / "count.txt").read_text(encoding="utf-8") == "ran\n"


def test_report_has_every_row_ended(spread):
    """No row of the report is left waiting or running, including that of the dead worker."""
    found = rows(spread.root)
    assert {node_id.partition("::")[2]: row["status"] for node_id, row in found.items()} == {
        "killer::one": "error",
        "plain::green": "success",
        "plain::orange": "warning",
        "plain::red": "error",
        "chain::one": "warning",
        "plain::skipped": "blocked",
    }
    assert "crashed" in found["conductor.py::killer::one"]["message"]


def test_instance_of_a_dead_worker_is_not_taken_for_done(spread):
    """The record of an instance whose worker died does not say that it ended well."""
    record = json.loads((spread.root / "runs/killer/one/killer_record.json").read_text(encoding="utf-8"))
    assert record["status"] in ("running", "error")


FLOW_OF_ITS_PROCESSES = """\
    import json, os, time
    from pathlib import Path

    import psutil

    Path("above.json").write_text(json.dumps([each.pid for each in psutil.Process().parents()]))
    Path("worker.txt").write_text(os.environ["PYTEST_XDIST_WORKER"])
    others = Path("..")
    while len([*others.glob("*/above.json")]) < 2:  # so that each of two workers has one
        time.sleep(0.01)
    """


@pytest.mark.parametrize("given", [True, False])
def test_workers_share_a_server_of_kernels_and_start_their_own_where_theirs_differs(tmp_path, given):
    other = 'import os\nos.environ["PYTHONHASHSEED"] = os.environ.get("PYTEST_XDIST_WORKER", "0")[-1]\n'
    rows = '[{"instance_name": name} for name in ("one", "two")]'
    write_project(
        tmp_path,
        {
            "conftest.py": "" if given else other,
            "flows/above.py": FLOW_OF_ITS_PROCESSES,
            "conductor.py": f"from pytest_ductaflow import conduct\nconduct('flows/above.py', {rows})\n",
        },
    )
    result = run_pytest(tmp_path, "--ductaflow", "conductor.py", "-n", "2")
    result.assert_outcomes(passed=2)
    folders = [tmp_path / "runs/above" / name for name in ("one", "two")]
    assert {(folder / "worker.txt").read_text() for folder in folders} == {"gw0", "gw1"}
    one, two = (json.loads((folder / "above.json").read_text()) for folder in folders)
    assert (one[0] == two[0]) == given, "the template"
