"""The report while a session runs, and what it shows of instances that are not run in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.projects import write_project
from helpers.sessions import interruptible, own_environment

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import write_record
from pytest_ductaflow.core.system.instance_lock import held
from pytest_ductaflow.report import live
from pytest_ductaflow.report.live import LiveReport
from pytest_ductaflow.report.page import data_of as parsed

pytestmark = pytest.mark.slow

PATIENCE = 60.0  # seconds that a condition may take on a busy machine
MARKUP = "<script>alert(1)</script>"
OTHER = MARKUP.replace("/", "")
FILES = {
    "flows/quick.py": 'print("⚠️ few data")\n',
    "flows/waits.py": """\
        import time
        from pathlib import Path
        print("waiting", flush=True)
        while not Path("go").exists():
            time.sleep(0.02)
        """,
    "builds/chain.py": """\
        from ductaflow import run_notebook
        run_notebook("flows/quick.py", config={"instance_name": "first"})
        run_notebook("flows/waits.py", config={"instance_name": "second"})
        """,
    "conductor.py": f"""\
        from pytest_ductaflow import conduct

        conduct("flows/quick.py", [{{"instance_name": "before", "note": "{MARKUP}"}}])
        conduct("builds/chain.py", [{{"instance_name": "during"}}])
        conduct("flows/quick.py", [{{"instance_name": "{OTHER}", "_marks": "skip"}}], step="late")
        """,
}
BEFORE, DURING = "conductor.py::quick::before", "conductor.py::chain::during"
AFTER = "conductor.py::late::_script_alert_1__script_"


def start(root: Path, *args: str) -> subprocess.Popen[str]:
    environment = own_environment(pages=True)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", *args]
    return subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=interruptible if os.name == "posix" else None,  # noqa: PLW1509
    )


def page_of(root: Path) -> str:
    return (root / "runs/conductor_status_report.html").read_text(encoding="utf-8")


def data_of(root: Path) -> dict[str, Any]:
    """Return the data of the report; fail if the page is not complete."""
    page = page_of(root)
    assert page.rstrip().endswith("</html>")
    return parsed(page)


def rows_of(root: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in data_of(root)["rows"]}


def wait_for(root: Path, session: subprocess.Popen[str], condition: Callable[[dict], bool]) -> dict[str, Any]:
    """Return the first state of the report that meets a condition; check that each state is a whole page."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if (root / "runs/conductor_status_report.html").exists():
            data = data_of(root)
            if condition({row["id"]: row for row in data["rows"]}):
                return data
        assert session.poll() is None, session.stdout.read()
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE} s: {data_of(root)}")


def lights_of_flows(rows: dict[str, dict]) -> list[str]:
    return [flow["status"] for flow in rows.get(DURING, {"flows": []})["flows"]]


class Watched:
    """A watched session: the report's data half-way and at the end, and pytest's output."""

    def __init__(self, root: Path) -> None:
        self.root = write_project(root, FILES)
        session = start(self.root, "conductor.py")
        try:
            self.half_way = wait_for(
                self.root,
                session,
                lambda rows: lights_of_flows(rows) == ["warning", "running"],
            )
            (self.root / "runs/chain/during/runs/waits/second/go").touch()
            self.output, _ = session.communicate(timeout=PATIENCE)
        finally:
            session.kill()
        self.exit_code = session.returncode
        self.end = data_of(self.root)

    def rows(self, data: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in data["rows"]}


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Watched:
    return Watched(tmp_path_factory.mktemp("live") / "project")


def test_report_follows_the_session(watched):
    """While the session runs, rows are ended, running or waiting; a build shows the flows it has started."""
    assert watched.exit_code == 0, watched.output
    rows = watched.rows(watched.half_way)
    assert {node_id: row["status"] for node_id, row in rows.items()} == {
        BEFORE: "warning",
        DURING: "running",
        AFTER: "waiting",
    }
    assert rows[DURING]["kind"] == "build"
    assert [flow["flow"] for flow in rows[DURING]["flows"]] == ["quick", "waits"]
    assert watched.half_way["finished"] is None
    assert watched.half_way["outcome"] is None
    assert watched.half_way["started"] <= watched.half_way["updated"]


def test_report_is_finished_with_the_session(watched):
    """At the end all rows are in their last state, with all their details."""
    rows = watched.rows(watched.end)
    assert {node_id: row["status"] for node_id, row in rows.items()} == {
        BEFORE: "warning",
        DURING: "warning",
        AFTER: "blocked",
    }
    assert watched.end["outcome"] == "finished"
    assert watched.end["finished"] >= watched.half_way["updated"]
    assert rows[BEFORE]["message"] == "⚠️ few data"
    assert rows[BEFORE]["command"] == f"pytest --ductaflow {BEFORE}"
    assert rows[DURING]["duration"] > 0
    assert not any(row["earlier"] for row in rows.values())


def test_links_of_the_report_lead_to_files(watched):
    """Every link of a row leads to a file, relative to the report."""
    links = watched.rows(watched.end)[BEFORE]["links"]
    assert set(links) == {"notebook", "log", "config", "executed"}
    assert all((watched.root / "runs" / link).is_file() for link in links.values())


def test_report_escapes_all_text(watched):
    """Markup in names and configs stays text: it is in the data, and nowhere in the page as markup."""
    page = page_of(watched.root)
    assert "<script>alert" not in page
    assert watched.rows(watched.end)[BEFORE]["config"]["note"] == MARKUP
    assert watched.rows(watched.end)[AFTER]["instance"] == OTHER


def test_report_is_named_in_the_terminal(watched):
    """The terminal shows the path of the report."""
    assert "report: runs/conductor_status_report.html" in watched.output


def test_rows_that_are_not_run_carry_their_last_record(watched):
    """In a session of one instance the others' rows keep the state of their last run, marked `earlier`."""
    session = start(watched.root, AFTER)
    output, _ = session.communicate(timeout=PATIENCE)
    assert session.returncode == 0, output
    rows = rows_of(watched.root)
    seen = {node_id: (row["status"], row["earlier"]) for node_id, row in rows.items()}
    assert seen == {BEFORE: ("warning", True), DURING: ("warning", True), AFTER: ("blocked", False)}
    assert rows[BEFORE]["message"] == "⚠️ few data"
    assert rows[BEFORE]["links"] == watched.rows(watched.end)[BEFORE]["links"]
    assert [flow["status"] for flow in rows[DURING]["flows"]] == ["warning", "success"]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory) -> Path:
    """Return a project whose session was stopped with Ctrl-C while an instance ran."""
    root = tmp_path_factory.mktemp("interrupted") / "project"
    waits = "from pytest_ductaflow import conduct\nconduct('flows/waits.py', [{'instance_name': 'one'}])\n"
    write_project(root, {**FILES, "conductor.py": waits})
    session = start(root, "conductor.py")
    try:
        wait_for(root, session, lambda rows: "running" in {row["status"] for row in rows.values()})
        log = root / "runs/waits/one/waits_execution_output.txt"
        end = time.monotonic() + PATIENCE
        while not (log.exists() and log.read_text()) and time.monotonic() < end:
            time.sleep(0.02)
        session.send_signal(signal.SIGINT)
        output, _ = session.communicate(timeout=PATIENCE)
    finally:
        session.kill()
    assert session.returncode == pytest.ExitCode.INTERRUPTED, output
    return root


def test_interrupt_ends_session_instance_and_report(interrupted):
    """Ctrl-C stops the flow, which leaves record and notebook; the report says that it was stopped."""
    record = json.loads((interrupted / "runs/waits/one/waits_record.json").read_text(encoding="utf-8"))
    assert (record["status"], record["error"]["type"]) == ("error", "Interrupted")
    assert (interrupted / "runs/waits/one/waits_executed.ipynb").is_file()
    assert data_of(interrupted)["outcome"] == "interrupted"


def test_report_of_an_interrupted_session_has_no_running_row(interrupted):
    """After Ctrl-C no row of the report is shown as running."""
    assert [row["status"] for row in data_of(interrupted)["rows"]] == ["error"]


def test_a_build_that_ends_while_its_journal_is_read_keeps_its_last_flows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = Instance(
        str(tmp_path / "builds/b.py"), "b", "A", {}, str(tmp_path / "runs/b/A"), str(tmp_path)
    )
    report, files = LiveReport(tmp_path, "pytest"), RunFiles.of(instance)
    report.add("b", instance, "repeat")
    report.started("b")
    files.directory.mkdir(parents=True)
    files.journal.write_text("{}")

    def read(_: Path) -> tuple[()]:
        flow = Record(Status.SUCCESS, "flows/f.py", "f", "A", "runs/b/A/runs/f/A")
        report.ended("b", Record(Status.SUCCESS, "builds/b.py", "b", "A", "runs/b/A", flows=(flow,)))
        return ()

    monkeypatch.setattr(live, "read_journal", read)
    report._builds_moved()
    row = report._rows["b"]
    assert (row["status"], [flow["status"] for flow in row["flows"]]) == ("success", ["success"])


def test_a_session_shows_at_its_end_what_another_one_has_run_meanwhile(tmp_path: Path) -> None:
    live, files = LiveReport(tmp_path, "pytest"), None
    for name, earlier in (("mine", False), ("other", True)):
        run_dir = tmp_path / f"runs/x/{name}"
        instance = Instance(str(tmp_path / "flows/x.py"), "x", name, {}, str(run_dir), str(tmp_path))
        files = RunFiles.of(instance)
        live.add(name, instance, "pytest", earlier=earlier)
    record = Record(Status.SUCCESS, "flows/x.py", "x", "other", "runs/x/other", "2026-01-01T00:00:00+00:00")
    live.ended("mine", record.with_(instance="mine", run_dir="runs/x/mine"))
    files.directory.mkdir(parents=True)
    with held(files, tmp_path, "x/other", wait=False, say=print):
        write_record(files, record.with_(status=Status.RUNNING))
        shown = [live._as_recorded(live._rows["other"], files, "other")["status"]]
        write_record(files, record)
    live.finish("finished", 0)
    rows = {row["instance"]: row["status"] for row in live._rows.values()}
    assert (shown, rows) == (["running"], {"mine": "success", "other": "success"})


@pytest.mark.parametrize("earlier", [False, True])
def test_a_session_with_instances_that_have_not_begun_is_not_finished(tmp_path: Path, earlier: bool) -> None:
    live = LiveReport(tmp_path, "pytest")
    run_dir = tmp_path / "runs/x/A"
    instance = Instance(str(tmp_path / "flows/x.py"), "x", "A", {}, str(run_dir), str(tmp_path))
    live.add("A", instance, "pytest", earlier=earlier)
    live.finish("finished", 1)
    assert live._data["outcome"] == ("finished" if earlier else "interrupted")
