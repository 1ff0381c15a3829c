"""Tables of designs run, and the records say how they were made and where the runs come from."""

from __future__ import annotations

import json

import pytest
from helpers.projects import write_project
from helpers.sessions import run_session

pytestmark = pytest.mark.slow

FILES = {
    "flows/grow.py": 'open("results.json", "w").write(str(dict(rate=rate)).replace("\'", \'"\'))',
    "conductor.py": """\
    from pytest_ductaflow import conduct, is_collecting, one_at_a_time, results, sample

    sampled = sample(2, design="random", seed=4, rate=(0.0, 1.0)) + [{"instance_name": "mine", "rate": 2}]
    conduct("flows/grow.py", sampled)
    conduct("flows/grow.py", one_at_a_time({"rate": 1}, rate=[2, 3]).drop("rate == 3"), step="sensitivity")
    if not is_collecting():
        table = results(lineage=True)
        print(sorted(table["instance"]), set(table["tags"]), len(set(table["session"])))
    """,
    "pytest.ini": "[pytest]\nductaflow_tag =\n    client=ACME\n    first draft\n",
}


@pytest.mark.thorough
def test_designs_run_with_workers_and_are_in_the_records(tmp_path):
    root = write_project(tmp_path, FILES)
    done = run_session(root, "-p", "no:cacheprovider", "--ductaflow", "conductor.py", "-n", "2")
    assert "6 passed" in done.stdout, done.stdout
    records = {
        path.parent.relative_to(root / "runs").as_posix(): json.loads(path.read_text())
        for path in (root / "runs").rglob("grow_record.json")
    }
    assert {"grow/mine", "sensitivity/base", "sensitivity/rate=2"} < set(records)
    assert len(records) == 5
    sampled, further = records["grow/mine"]["design"]["of"]
    assert (sampled["kind"], sampled["n"], sampled["design"], sampled["seed"]) == ("sample", 2, "random", 4)
    assert further == {"kind": "table", "n": 1}
    assert records["sensitivity/base"]["design"]["expression"] == "rate == 3"
    lineages = [record["lineage"] for record in records.values()]
    assert all(lineage["tags"] == ["client=ACME", "first draft"] for lineage in lineages)
    assert len({lineage["session"] for lineage in lineages}) == 1
    log = (root / "runs/.after/conductor/conductor_execution_output.txt").read_text()
    assert "'mine'" in log
    assert "{'client=ACME, first draft'} 1" in log
    page = (root / "runs/conductor_status_report.html").read_text()
    assert "sample of 2 (random, seed 4): rate 0.0 to 1.0 + table of 1" in page

    again = run_session(
        root, "-p", "no:cacheprovider", "--ductaflow", "conductor.py", "--ductaflow-tag", "final"
    )
    assert "not run again" in again.stdout
    record = json.loads((root / "runs/sensitivity/base/grow_record.json").read_text())
    assert record["lineage"]["tags"] == ["client=ACME", "first draft"]
