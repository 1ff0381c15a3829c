"""Work that is lost in Dask, with a client that hands over nothing by itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import WORKERS_LOST
from pytest_ductaflow.core.run_files import RunFiles
from pytest_ductaflow.running.engines.attempt import MOST_LOST
from pytest_ductaflow.running.engines.dask.admission import Offer
from pytest_ductaflow.running.engines.dask.engine import DaskEngine
from pytest_ductaflow.running.engines.elsewhere import workers_lost
from pytest_ductaflow.running.engines.protocol import Ended, Work

distributed = pytest.importorskip("distributed")


class Client:
    """A client that notes what it is handed."""

    def __init__(self) -> None:
        self.futures: list[Any] = []

    def submit(self, *_: Any, **__: Any) -> Any:
        future = SimpleNamespace(key=len(self.futures), status="pending", add_done_callback=lambda _: None)
        self.futures.append(future)
        return future

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
