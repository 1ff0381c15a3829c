"""Sessions that run canaries first (`--ductaflow-canary`)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.projects import PARAMETERS, write_project
from helpers.sessions import run_session

pytestmark = pytest.mark.slow

FILES = {
    "flows/a.py": """\
        import json
        from pathlib import Path

        with open(Path(config["_project_root"], "ran.txt"), "a") as file:
            file.write(f"{step}/{year}{mode}\\n")
        broken = json.loads(Path(config["_project_root"], "broken.json").read_text())
        if [step, mode] in broken:
            raise ValueError(f"no {mode} in {year}")
        """,
    "flows/z.py": "print(1)\n",
    "broken.json": [["bad", "car"], ["bad", "rail"], ["half", "car"]],
    "conductor.py": """\
        from pytest_ductaflow import conduct, grid, is_collecting

        table = grid(year=[2020, 2030, 2040], mode=["car", "rail"])
        for step in ("bad", "half"):
            conduct("flows/a.py", table, base={"step": step}, step=step)
        conduct("flows/z.py", [{"instance_name": "x"}], after="bad")
        if not is_collecting():
            print("after all")
        """,
    "pytest.ini": "[pytest]\n",
}
REASON = (
    "blocked by its canaries bad/year=2020,mode=car, bad/year=2020,mode=rail, which all failed alike: "
    "ValueError: no … in …"
)


def session(root: Path, *arguments: str) -> tuple[str, list[str], int]:
    """Run a session; return its output, what ran, and the exit code."""
    (root / "ran.txt").unlink(missing_ok=True)
    done = run_session(root, "--ductaflow", "--ductaflow-canary", "conductor.py", *arguments)
    ran = (root / "ran.txt").read_text().split() if (root / "ran.txt").exists() else []
    return done.stdout, ran, done.returncode


def statuses(root: Path) -> dict[str, str]:
    """Return the message of each blocked row of the report."""
    page = (root / "runs/conductor_status_report.html").read_text(encoding="utf-8")
    return dict(re.findall(r"(blocked by its canaries)(.{20})", page))


@pytest.mark.parametrize(
    "workers",
    [pytest.param([], id="alone"), pytest.param(["-n", "2"], id="with workers", marks=pytest.mark.thorough)],
)
def test_what_all_canaries_die_of_spares_the_rest_of_their_step(tmp_path, workers):
    root = write_project(tmp_path, FILES)
    output, ran, code = session(root, *workers)
    assert code == 1
    assert "6 skipped" in output  # with what comes after the runs
    assert "ductaflow: step bad: 2 canaries before 4 more, one for each value of mode" in output
    assert output.count(REASON) == 1
    assert re.search(
        r"BLOCKED conductor\.py::z::x - upstream bad/year=2020,mode=car failed \(and 1 more\)", output
    )
    assert sorted(each for each in ran if each.startswith("bad")) == ["bad/2020car", "bad/2020rail"]
    assert len([each for each in ran if each.startswith("half")]) == 6
    if not workers:
        assert {*ran[:4]} == {f"{step}/2020{mode}" for step in ("bad", "half") for mode in ("car", "rail")}
    assert statuses(root)
    # Those that failed, and those that were blocked, come back, with their canaries first.
    (root / "broken.json").write_text(json.dumps([["half", "car"]]))
    output, ran, code = session(root, "--lf", *workers)
    assert code == 1
    assert {*ran[:3]} >= {"bad/2020car", "bad/2020rail"}
    assert len([each for each in ran if each.startswith("bad")]) == 6
    assert "half/2030car" not in ran
    assert "blocked by its canary half/year=2020,mode=car, which failed: ValueError: no car in 2020" in output
    # An unchanged success is a canary that has passed.
    (root / "broken.json").write_text("[ ]")
    (root / "flows/z.py").write_text(f"{PARAMETERS}print(2)\n")
    output, ran, code = session(root, *workers)
    assert code == 0
    assert "BLOCKED" not in output


@pytest.mark.thorough
def test_a_session_that_stops_at_the_first_failure_and_a_part_of_the_instances(tmp_path):
    root = write_project(tmp_path, FILES)
    output, ran, code = session(root, "-x")
    assert (code, len(ran)) == (1, 1)
    shards = [session(root, "--ductaflow-shard", f"{number}/2") for number in (1, 2)]
    assert [code for *_, code in shards] == [1, 1]
    assert sum(output.count(" - blocked by its canar") for output, *_ in shards) >= 1
    output, ran, code = session(root, "-k", "2030", "-n", "2")
    assert [each for each in ran if each.startswith("bad")] == ["bad/2030car"]
    assert "blocked by its canary bad/year=2030,mode=car, which failed: ValueError: no car in 2030" in output
