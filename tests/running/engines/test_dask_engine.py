"""Work that is lost in Dask, with a client that hands over nothing by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import WORKERS_LOST, Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.system.instance_lock import this_process
from pytest_ductaflow.running.engines import attempt
from pytest_ductaflow.running.engines.attempt import MOST_LOST, Attempt, Outcome
from pytest_ductaflow.running.engines.dask.admission import Offer
from pytest_ductaflow.running.engines.dask.engine import DaskEngine
from pytest_ductaflow.running.engines.elsewhere import workers_lost
from pytest_ductaflow.running.engines.protocol import Ended, Started, Work

distributed = pytest.importorskip("distributed")


class Client:
    """A client that notes what it is handed."""

    def __init__(self) -> None:
        self.futures: list[Any] = []
        self.end = asyncio.Event()

    def submit(self, *_: Any, **__: Any) -> Any:
        future = SimpleNamespace(key=len(self.futures), status="pending", add_done_callback=lambda _: None)
        self.futures.append(future)
        return future

    async def gather(self, _: Any, *, asynchronous: bool) -> Any:
        """Try to reach a worker that has died, which takes long."""
        assert asynchronous
        await self.end.wait()
        return "from the worker"

    def processing(self) -> dict[str, list[int]]:
        return {"tcp://a": [future.key for future in self.futures]}


@pytest.fixture
def engine() -> DaskEngine:
    made = DaskEngine("tcp://scheduler", 0)
    made._client = Client()
    made._admission = SimpleNamespace(  # type: ignore[assignment]
        offers={"tcp://a": Offer("a", 1, 1000)}, ticket="ductaflow-s", look=list
    )
    return made


@pytest.fixture
def work(tmp_path: Path) -> Work:
    instance = Instance(str(tmp_path / "a.py"), "a", "one", {}, str(tmp_path / "runs/a/one"), str(tmp_path))
    task: Any = SimpleNamespace(instance=instance, files=RunFiles.of(instance))
    return Work(0, "a/one", task, "token")


def killed(engine: DaskEngine) -> list[Any]:
    """Tell an engine that Dask has given up what it was handed last."""
    error = distributed.KilledWorker("a", SimpleNamespace(address="tcp://a"), 3)
    return engine._read("token", (engine._client.futures[-1], error))


def test_work_lost_with_the_only_worker_is_handed_to_the_next_one(engine: DaskEngine, work: Work) -> None:
    engine.submit(work)
    offers = engine._admission.offers  # type: ignore[union-attr]
    gone = offers.popitem()
    assert killed(engine) == []
    engine._hand_over_again()
    assert len(engine._client.futures) == 1
    offers.update([gone])
    engine._hand_over_again()
    assert len(engine._client.futures) == 2


def test_work_that_workers_die_of_before_they_begin_it_ends(engine: DaskEngine, work: Work) -> None:
    engine.submit(work)
    for _ in range(MOST_LOST - 1):
        assert killed(engine) == []
    (ended,) = killed(engine)
    assert isinstance(ended, Ended)
    assert ended.outcome is not None
    failure = workers_lost(ended.outcome.lost)
    assert (failure.type, failure.message) == (WORKERS_LOST, "killed 3 workers (memory?)")


def test_result_whose_worker_is_silent_is_read_from_disk(
    engine: DaskEngine, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask tries for half a minute to reach a worker that died when its result was to be fetched."""
    monkeypatch.setattr("pytest_ductaflow.running.engines.dask.engine._SILENCE", 0.01)
    record = Record(Status.SUCCESS, "a.py", "a", "one", "runs/a/one")
    engine.submit(work)
    (future,) = engine._client.futures

    left = Attempt("token", "id", "dask0", this_process(), record=record.to_json())

    async def fetch() -> list[Started | Ended]:
        fetching = asyncio.ensure_future(engine._fetch("token", future))
        while engine._news.empty():  # noqa: ASYNC110 - a queue of threads
            await asyncio.sleep(0)
        told = engine._read(*engine._news.get())
        engine._client.end.set()
        await fetching
        assert engine._read(*engine._news.get()) == []
        return told

    marker = attempt._marker(work.task)
    marker.parent.mkdir(parents=True, exist_ok=True)
    attempt._write(left, marker)
    assert asyncio.run(fetch()) == [Ended(0, Outcome(record, worker="dask0"))]
