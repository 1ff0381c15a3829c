"""In a job of GitHub Actions: the job summary and the annotations."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment, run_session
from markdown_it import MarkdownIt

from pytest_ductaflow.core.record import Difference, DifferingValue
from pytest_ductaflow.pytest_hooks.mirrors.github import (
    ANNOTATIONS,
    LARGEST,
    EndedInstance,
    summary,
    workflow_commands,
)

HOSTILE = "a | b <script>x</script> `c` *d* _e_ [f](g) # @h\nsecond &amp; \\"
ONE_LINE = " ".join(HOSTILE.split())


def make_ending(
    name: str = "A", outcome: str = "failed", message: str = "ValueError: no", **more
) -> EndedInstance:
    return EndedInstance(f"conductor.py::fit::{name}", f"fit/{name}", outcome, message, **more)


def texts(markdown: str, outcome: str) -> list[str]:
    """Return what a reader of Markdown sees of all elements of a kind, such as `td`."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    found = [after for before, after in pairwise(tokens) if before.type == f"{outcome}_open"]
    assert all(child.type in ("text", "text_special") for token in found for child in token.children)
    return ["".join(child.content for child in token.children) for token in found]


def test_the_heading_counts():
    kinds = ("passed", "passed", "failed", "warned", "blocked", "unchanged")
    ended_instances = [make_ending(str(number), outcome) for number, outcome in enumerate(kinds)]
    page = summary(ended_instances, "ductaflow, shard 1/2")
    assert texts(page, "heading") == [
        "ductaflow, shard 1/2: 2 passed, 1 warned, 1 failed, 1 blocked, 1 unchanged",
        "Warned",
    ]


def test_names_and_messages_stay_what_they_are_in_tables_and_lists():
    ended_instances = [make_ending(HOSTILE, message=HOSTILE), make_ending(HOSTILE, "warned", HOSTILE)]
    page = summary(ended_instances, "ductaflow")
    assert texts(page, "td") == [f"conductor.py::fit::{ONE_LINE}", ONE_LINE]
    assert f"conductor.py::fit::{ONE_LINE}: {ONE_LINE}" in texts(page, "paragraph")
    assert "<script>" not in page


def test_a_failure_text_unfolds_and_cannot_end_its_fence():
    page = summary([make_ending(text="E   ValueError\n````\n</details>\n")], "ductaflow")
    fences = [token for token in MarkdownIt("commonmark").parse(page) if token.type == "fence"]
    assert [fence.content for fence in fences] == ["E   ValueError\n````\n</details>\n"]
    assert page.count("<details>") == 1
    assert page.index("<details>") < page.index("`````text") < page.rindex("</details>")


def test_a_long_failure_text_is_cut_in_the_middle():
    page = summary([make_ending(text="\n".join(f"line {n}" for n in range(1_000)) + "x" * 10_000)], "d")
    assert len(page) < 3_000
    assert "line 0\n" in page
    assert "line 999" in page
    assert "… 940 lines …" in page


def test_differences_of_a_stored_instance_are_tables():
    worst = (DifferingValue("zone=3, a|b", "1.0", "<2>", 1.0, 0.123456), DifferingValue("x", "a", "b"))
    differences = (
        Difference("result.csv", "2 of 10 values differ", worst=worst),
        Difference("a|b.txt", "missing"),
    )
    page = summary([make_ending(differences=differences)], "ductaflow")
    assert texts(page, "td")[2:] == ["zone=3, a|b", "1.0", "<2>", "1", "12.3 %", "x", "a", "b", "", ""]
    assert {"result.csv: 2 of 10 values differ", "a|b.txt: missing"} <= set(texts(page, "paragraph"))


def test_a_summary_stays_below_the_limit_and_tells_what_it_leaves_out():
    ended_instances = [make_ending(str(n), text="ö" * 1_000, message="m" * 900) for n in range(2_000)]
    ended_instances += [make_ending(str(n), "warned") for n in range(100)]
    page = summary(ended_instances, "ductaflow")
    assert len(page.encode()) <= LARGEST
    assert "2000 failed" in page
    assert "more failed instances: see the report" in page
    assert "… 2000 more failure texts: see the report" in page


def test_many_warned_instances_are_counted():
    page = summary([make_ending(str(n), "warned") for n in range(60)], "ductaflow")
    assert page.count("conductor.py") == 50
    assert "… and 10 more" in page


def test_annotations_are_escaped_as_github_wants_it():
    ended = make_ending("a:b,c%d", message="50% ::\r\nmore", file="/w/flows/a,b.py", line=12)
    assert list(workflow_commands([ended], "/w")) == [
        "::error file=flows/a%2Cb.py,line=12,title=fit/a%3Ab%2Cc%25d::50%25 ::%0D%0Amore"
    ]


def test_a_flow_outside_of_the_checkout_is_annotated_without_a_place():
    ended = make_ending(outcome="warned", message="few data", file="/elsewhere/a.py")
    expected = ["::warning title=fit/A::few data"]
    assert list(workflow_commands([ended], "/w")) == expected
    assert list(workflow_commands([ended], "")) == expected


def test_as_many_annotations_as_github_shows():
    ended_instances = [
        make_ending(str(n), outcome) for n in range(30) for outcome in ("failed", "warned", "passed")
    ]
    lines = list(workflow_commands(ended_instances, ""))
    assert [line.partition(" ")[0] for line in lines] == ["::error"] * ANNOTATIONS + [
        "::warning"
    ] * ANNOTATIONS
    assert len(list(workflow_commands(ended_instances, "", failures=False))) == ANNOTATIONS


FILES = {
    "sub/flows/warns.py": "outcome = 'few'\nprint(f'⚠️ {outcome} | data')\n",
    "sub/flows/fails.py": "x = 1\n\n# %%\nraise ValueError('no <b> zone')\n",
    "sub/flows/never.py": "",
    "sub/flows/builds.py": """\
        from pytest_ductaflow import run_notebook

        # %% tags=["parameters"]
        config = {}

        # %%
        run_notebook("flows/warns.py", config={"instance_name": "inner"})
        """,
    "sub/conductor.py": """\
        from pytest_ductaflow import conduct

        conduct("flows/warns.py", [{"instance_name": "A"}])
        conduct("flows/builds.py", [{"instance_name": "A"}])
        conduct("flows/fails.py", [{"instance_name": "A"}])
        conduct("flows/never.py", [{"instance_name": "A", "fails_instance": "A"}])
        conduct("flows/never.py", [{"instance_name": "B", "_marks": "skip"}])
        """,
}


def run_job(root: Path, *args: str, step_summary: str = "summary.md") -> list[str]:
    """Run a session in a GitHub job, and return what it prints."""
    environment = own_environment()
    environment |= {
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(root),
        "GITHUB_STEP_SUMMARY": str(root / step_summary),
    }
    command = ("-p", "no:cacheprovider", "--ductaflow", "sub", *args)
    done = run_session(root, *command, environment=environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "with workers"])
def test_a_job_has_its_summary_and_annotations(tmp_path, workers):
    write_project(tmp_path, FILES)
    (tmp_path / "summary.md").write_text("of an earlier command\n")
    printed = run_job(tmp_path, *workers)
    assert sorted(line for line in printed if "::error" in line or "::warning" in line) == [
        "::error file=sub/flows/fails.py,line=8,title=fails/A::ValueError: no <b> zone",
        "::warning file=sub/flows/warns.py,line=6,title=builds/A::⚠️ few | data",
        "::warning file=sub/flows/warns.py,line=6,title=warns/A::⚠️ few | data",
    ]
    page = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert page.startswith("of an earlier command\n")
    assert texts(page, "heading") == [
        "ductaflow: 0 passed, 2 warned, 1 failed, 1 blocked, 0 unchanged, 1 skipped",
        "Warned",
    ]
    assert texts(page, "td") == ["sub/conductor.py::fails::A", "ValueError: no <b> zone"]
    assert "E   ValueError: no <b> zone\n" in page
    assert "sub/conductor.py::warns::A: ⚠️ few | data" in texts(page, "paragraph")


RED = {
    "sub/flows/red.py": "",
    "sub/conductor.py": """\
        from ductaflow import run_notebook

        run_notebook("flows/red.py", config={"instance_name": "A"}, kernel_name="nosuch")
        """,
}


def test_a_summary_that_cannot_be_written_is_a_line(tmp_path):
    write_project(tmp_path, RED)
    printed = run_job(tmp_path, step_summary="nosuch/summary.md")
    said = [line for line in printed if line.startswith("GitHub's job summary could not be written: ")]
    assert len(said) == 1
    (tmp_path / "full.md").write_text("x" * LARGEST)
    assert "GitHub's job summary could not be written: it is full" in run_job(
        tmp_path, step_summary="full.md"
    )


def test_failures_are_left_to_the_plugin_that_annotates_them(tmp_path):
    name = "pytest_github_actions_annotate_failures"
    write_project(tmp_path, {**RED, f"{name}.py": ""})
    environment_of_python = ("-p", name, "-o", "pythonpath=.")
    assert not [line for line in run_job(tmp_path, *environment_of_python) if line.startswith("::error")]
    assert [line for line in run_job(tmp_path) if line.startswith("::error file=sub/flows/red.py,line=1,")]


def test_outside_of_github_nothing_is_told(pytester, monkeypatch):
    for hidden in ("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_ADDOPTS", "GITHUB_ACTIONS"):
        monkeypatch.delenv(hidden, raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    write_project(pytester.path, RED)
    result = pytester.runpytest_inprocess("--ductaflow", "sub")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*::error*")
    assert not (pytester.path / "summary.md").exists()
