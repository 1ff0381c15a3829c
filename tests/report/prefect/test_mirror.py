"""A server of whatever kind holds nothing up, and what it misses is told in one line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from helpers.prefect_server import FakePrefect, fake_prefect, free_port, silent_server
from helpers.sessions import wait_for

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Failure, Record, Status
from pytest_ductaflow.report.prefect import mirror, states
from pytest_ductaflow.report.prefect.api import PrefectApi
from pytest_ductaflow.report.prefect.mirror import PrefectMirror, SessionFacts
from pytest_ductaflow.report.prefect.names import storable
from pytest_ductaflow.report.prefect.states import State
from pytest_ductaflow.report.prefect.task_runs import Task

END = State("COMPLETED", "Completed", "", states.now())
FACTS = SessionFacts("20260101T000000-abc", "town: a/b.py & c%d", "pytest --ductaflow conductor.py")


def make_tasks(root: Path, number: int) -> list[Task]:
    return [
        Task(
            f"c.py::fit::{name}",
            Instance(
                str(root / "fit.py"), "fit", str(name), {"x": name}, str(root / f"runs/fit/{name}"), str(root)
            ),
            f"pytest --ductaflow c.py::fit::{name}",
            [name - 1] if name else (),
        )
        for name in range(number)
    ]


def make_record(status: Status = Status.SUCCESS, **more: object) -> Record:
    started = states.now().isoformat()
    made = {"started": started, "duration": 0.25, "inputs": {}, "outputs": {}, **more}
    return Record(status, "fit.py", "fit", "0", "runs/fit/0", **made)


def make_mirror(address: str, root: Path, number: int = 3, facts: SessionFacts = FACTS) -> PrefectMirror:
    made = PrefectMirror(PrefectApi(address, {}), facts, make_tasks(root, number), lambda: storable)
    made.start()
    return made


def end_all(mirrored: PrefectMirror, record: Record | None = None) -> None:
    for number in mirrored.not_ended:
        kept = record if record is not None else make_record()
        mirrored.ended(number, states.of_record(kept, "xfail"), record=kept)


def timed(mirrored: PrefectMirror, state: State = END) -> tuple[str | None, float]:
    began = time.monotonic()
    return mirrored.finish(state), time.monotonic() - began


def test_a_session_becomes_a_flow_run_with_task_runs_and_their_edges(tmp_path: Path):
    with fake_prefect() as server:
        mirrored = make_mirror(server.address, tmp_path)
        wait_for(lambda: len(server.states) == 3 or None, "instances that wait")
        mirrored.now_is(0, states.running("gw1"))
        wait_for(lambda: len(server.states["fit/0"]) == 2 or None, "an instance that runs")
        end_all(mirrored)
        problem, _ = timed(mirrored)
    assert problem is None
    assert server.states["fit/0"] == [
        ("PENDING", "Pending"),
        ("RUNNING", "Running"),
        ("COMPLETED", "Completed"),
    ]
    assert server.states["fit/2"] == [("PENDING", "Pending"), ("COMPLETED", "Completed")]
    ids = {
        event["payload"]["task_run"]["name"]: event["resource"]["prefect.resource.id"]
        for event in server.events
    }
    last = server.events[-1]["payload"]["task_run"]
    edges = [f"prefect.task-run.{each['id']}" for each in last["task_inputs"]["upstreams"]]
    assert edges == [ids["fit/1"]]
    assert (last["total_run_time"], last["run_count"]) == (0.25, 1)
    assert server.sent("/flows/") == [{"name": "town: a-b.py - c-d"}]
    assert list(server.last.values()) == ["COMPLETED"]
    (summary,) = server.sent("/artifacts/")
    assert summary["key"] == "town-a-b-py-c-d-summary"
    assert summary["data"].startswith("# 3 completed\n")


def test_the_states_of_an_instance_follow_each_other_whatever_clocks_say(tmp_path: Path):
    with fake_prefect() as server:
        mirrored = make_mirror(server.address, tmp_path, 1)
        mirrored.now_is(0, states.running())
        wait_for(lambda: server.events or None, "an instance that runs")
        early = make_record(started="2020-01-01T00:00:00+00:00")
        mirrored.ended(0, states.of_record(early, "xfail"), record=early)
        assert timed(mirrored)[0] is None
    times = [event["occurred"] for event in server.events]
    assert times == sorted(set(times))


def test_thousands_are_sent_in_batches_and_those_that_wait_as_fast_as_they_are_recorded(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(mirror, "_PAUSE", 0.01)
    recorded = []

    def answer(_number: int, path: str) -> tuple[int, object] | None:
        recorded.append(path)
        return (200, 0) if path == "/task_runs/count" else None  # it has recorded nothing so far

    with fake_prefect(answer) as server:
        mirrored = make_mirror(server.address, tmp_path, 2_000)
        wait_for(lambda: recorded.count("/task_runs/count") > 3 or None, "the server to be asked again")
        assert len(server.events) == 50
        end_all(mirrored)
        problem, seconds = timed(mirrored)
    assert problem is None
    assert len(server.states) == 2_000
    assert {each[-1] for each in server.states.values()} == {("COMPLETED", "Completed")}
    assert max(map(len, server.sent("/events"))) <= 100
    assert len(server.logs) == 2_000
    assert len(server.sent("/logs/")) <= 4
    assert seconds < mirror.PATIENCE


def line(address: str, what: str, why: str) -> str:
    return f"Prefect ({address}): {what}: {why}"


def test_a_server_that_is_not_there_costs_a_line_and_no_time(tmp_path: Path):
    address = f"http://127.0.0.1:{free_port()}/api"
    mirrored = make_mirror(address, tmp_path)
    end_all(mirrored)
    problem, seconds = timed(mirrored)
    assert problem == line(address, "the session is not shown there", "[Errno 111] Connection refused")
    assert seconds < 1


def test_a_server_that_never_answers_is_waited_for_only_so_long(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(mirror, "PATIENCE", 0.5)
    with silent_server() as address:
        mirrored = make_mirror(address, tmp_path)
        began = time.monotonic()
        end_all(mirrored)
        assert time.monotonic() - began < 0.2
        problem, seconds = timed(mirrored)
    assert problem == line(address, "the session is not shown there", "no answer within 0.5 s")
    assert seconds < 1


def test_a_server_in_trouble_is_asked_again_and_told_at_the_end(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(mirror, "_PAUSE", 0.01)
    with fake_prefect(lambda _number, _path: (500, {"detail": "database is locked"})) as server:
        mirrored = make_mirror(server.address, tmp_path)
        wait_for(lambda: len(server.requests) > 2 or None, "another attempt")
        end_all(mirrored)
        problem, seconds = timed(mirrored)
    assert problem == line(
        server.address, "the session is not shown there", "it answers 500 Internal Server Error"
    )
    assert seconds < 2


def test_what_a_server_in_trouble_has_missed_it_gets_later(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(mirror, "_PAUSE", 0.01)
    with fake_prefect(lambda number, _path: (503, None) if number % 2 else None) as server:
        mirrored = make_mirror(server.address, tmp_path)
        end_all(mirrored)
        wait_for(lambda: server.logs or None, "the logs")
        problem, _ = timed(mirrored)
    assert problem is None
    assert {name: each[-1] for name, each in server.states.items()} == dict.fromkeys(
        ("fit/0", "fit/1", "fit/2"), ("COMPLETED", "Completed")
    )
    assert list(server.last.values()) == ["COMPLETED"]


def test_a_server_that_dies_in_the_middle_is_told_with_what_it_has_missed(tmp_path: Path):
    server = FakePrefect()
    mirrored = make_mirror(server.address, tmp_path)
    mirrored.ended(0, states.of_record(make_record(), "xfail"), record=make_record())
    wait_for(lambda: ("COMPLETED", "Completed") in server.states.get("fit/0", ()) or None, "an end")
    server.close()
    end_all(mirrored)
    problem, seconds = timed(mirrored)
    assert problem == line(
        server.address, "2 of 3 instances are not up to date there", "[Errno 111] Connection refused"
    )
    assert seconds < mirror.PATIENCE


@pytest.mark.parametrize(
    ("status", "data", "why"),
    [
        (
            401,
            None,
            "it answers 401 Unauthorized: set PREFECT_API_KEY, or PREFECT_API_AUTH_STRING=USER:PASSWORD",
        ),
        (404, {"detail": "Not Found"}, 'it answers 404 Not Found: {"detail": "Not Found"}'),
        (200, b"<html>sign in</html>", "what answers is no Prefect API"),
        (404, b"\x1b[2J gone", r"it answers 404 Not Found: \x1b[2J gone"),
        (200, [], "what answers is no Prefect API"),
        (200, b"[" * 100_000, "what answers is no Prefect API"),
    ],
)
def test_what_is_no_prefect_server_is_asked_once(tmp_path: Path, status, data, why):
    with fake_prefect(lambda _number, _path: (status, data)) as server:
        mirrored = make_mirror(server.address, tmp_path)
        end_all(mirrored)
        problem, _ = timed(mirrored)
    assert problem == line(server.address, "the session is not shown there", why)
    assert len(server.requests) == 1


def test_a_text_that_the_server_does_not_take_is_left_out(tmp_path: Path):
    refuse = {"/logs/": (422, {"detail": "no"})}
    with fake_prefect(lambda _number, path: refuse.get(path)) as server:
        mirrored = make_mirror(server.address, tmp_path)
        end_all(mirrored)
        problem, _ = timed(mirrored)
    assert problem == line(
        server.address,
        "some texts are missing there",
        'it answers 422 Unprocessable Entity: {"detail": "no"}',
    )
    assert list(server.last.values()) == ["COMPLETED"]


def test_within_a_flow_run_the_session_is_a_part_of_that(tmp_path: Path):
    run = "8b6f5d1c-6a0b-4f0e-8a53-3c6c1d6f1d2e"
    facts = SessionFacts("x", "town", "pytest", flow_run=run)
    with fake_prefect() as server:
        mirrored = make_mirror(server.address, tmp_path, facts=facts)
        end_all(mirrored)
        assert timed(mirrored)[0] is None
    assert not server.sent("/flows/")
    assert not server.last
    assert {event["related"][0]["prefect.resource.id"] for event in server.events} == {
        f"prefect.flow-run.{run}"
    }
    assert server.sent("/artifacts/")[0]["flow_run_id"] == run


def test_a_failure_has_its_text_as_a_log_and_a_page(tmp_path: Path):
    failed = make_record(Status.ERROR, error=Failure("ValueError", "no such zone: 7", 3))
    with fake_prefect() as server:
        mirrored = make_mirror(server.address, tmp_path, 2)
        text = "E   ValueError: no such zone: 7\n```\nmore\x00"
        mirrored.ended(0, states.of_record(failed, "xfail"), record=failed, failure=text)
        mirrored.ended(1, states.without_record("CANCELLED", "Blocked", "upstream fit/0 failed"))
        assert timed(mirrored, State("FAILED", "Failed", "", states.now()))[0] is None
    summary, page = server.sent("/artifacts/")
    assert "- **1 failed**, cell [3] of fit: ValueError: no such zone: 7" in summary["data"]
    assert page["key"].endswith("-fit-0")
    assert "````text\nE   ValueError: no such zone: 7\n```\nmore\n````" in page["data"]
    assert [entry["message"] for entry in server.logs if entry["level"] == 40] == [text.replace("\0", "")]
    last = {name: found[-1] for name, found in server.states.items()}  # pending may have come before
    assert last == {"fit/0": ("FAILED", "Failed"), "fit/1": ("CANCELLED", "Blocked")}
