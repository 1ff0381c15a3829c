"""Which of Dask's workers may run instances, with a client that answers for made-up ones."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import pytest

from pytest_ductaflow.core.errors import EngineError
from pytest_ductaflow.running.engines.dask import on_worker, probe
from pytest_ductaflow.running.engines.dask.admission import Admission, Offer
from pytest_ductaflow.running.engines.sync import receive


class Client:
    """A client of workers, each with what it answers to a probe, or the error that it raises."""

    def __init__(self, **workers: Any) -> None:
        self.workers = workers
        self.welcomed: list[str] = []
        self.pythons: dict[str, str] = {}
        self.takes: dict[str, Exception] = {}  # what those raise that cannot take the project

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        told = {"nthreads": 2, "host": "h", "resources": {"GPU": 1}}
        return {"workers": {f"tcp://{name}": {**told, "name": name} for name in self.workers}}

    def get_versions(self) -> dict[str, Any]:
        python = f"{platform.python_version()}.final.0"
        named = {f"tcp://{name}": self.pythons.get(name, python) for name in self.workers}
        return {"workers": {address: {"host": {"python": version}} for address, version in named.items()}}

    def run(
        self, function: Callable[..., Any], *arguments: Any, workers: Sequence[str], on_error: str
    ) -> dict[str, Any]:
        names = [address.removeprefix("tcp://") for address in workers]
        if function is probe.look:
            return {f"tcp://{name}": self.workers[name] for name in names}
        if function is receive:
            return {address: self.takes.get(name) for address, name in zip(workers, names, strict=True)}
        assert function is on_worker.welcome
        self.welcomed += names
        return dict.fromkeys(workers, 1000)


def answer(**changes: Any) -> dict[str, Any]:
    versions = {"pytest-ductaflow": metadata.version("pytest-ductaflow"), "numpy": "2.0"}
    told = {"python": platform.python_version(), "host": "h", "id": "1", "versions": versions, "files": {}}
    return told | changes


def admission(client: Client) -> Admission:
    return Admission(client, "s", [], {"numpy": "2.0"}, {})


def test_workers_that_are_alike_are_let_in_and_forgotten_when_they_have_gone() -> None:
    client = Client(a=answer(), b=answer())
    mine = admission(client)
    assert mine.look() == []
    assert mine.offers == {f"tcp://{name}": Offer(name, 2, 1000, {"GPU": 1}) for name in "ab"}
    del client.workers["a"]
    assert mine.look() == []
    assert [*mine.offers] == ["tcp://b"]
    assert client.welcomed == ["a", "b"]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (answer(python="3.9.1"), f"it has Python 3.9.1, this session {platform.python_version()}"),
        (
            answer(versions={"pytest-ductaflow": None, "numpy": "2.0"}),
            "it has other packages: pytest-ductaflow is missing (here ",
        ),
        (ValueError("no"), "it does not answer (no)"),
    ],
    ids=["python", "package", "silent"],
)
def test_worker_that_differs_is_told_once_and_gets_nothing(told: Any, why: str) -> None:
    client = Client(a=answer(), b=told)
    mine = admission(client)
    (line,) = mine.look()
    assert line.startswith(f"worker b: {why}")
    assert [*mine.offers] == ["tcp://a"]
    assert mine.look() == []


def test_other_python_is_sent_no_code() -> None:
    client = Client(b=None)
    client.pythons["b"] = "3.9.1.final.0"
    (line,) = admission(client).look()
    assert line.startswith("worker b: it has Python 3.9.1, this session")


def test_worker_that_goes_while_it_is_asked_is_no_difference() -> None:
    mine = admission(Client(a=OSError("closed")))
    assert mine.look() == []
    assert mine.offers == {}


def test_worker_that_cannot_take_the_project_is_told_and_gets_nothing() -> None:
    client = Client(a=answer(), b=answer(), c=answer())
    client.takes = {"b": EngineError("/tmp/x cannot be written"), "c": OSError("closed")}
    mine = Admission(client, "s", [], {"numpy": "2.0"}, {}, {"/project": b""})
    assert mine.look() == ["worker b: it cannot take the project: /tmp/x cannot be written"]
    assert [*mine.offers] == ["tcp://a"]
    assert client.welcomed == ["a"]


@pytest.mark.parametrize(
    ("cores", "memory", "resources", "can"),
    [
        (1, None, {}, True),
        (2, 1000, {"GPU": 1}, True),
        (3, None, {}, False),
        (1, 1001, {}, False),
        (1, None, {"GPU": 2}, False),
        (1, None, {"TPU": 1}, False),
    ],
)
def test_an_offer_is_compared_with_what_is_asked_for(
    cores: int, memory: int | None, resources: dict[str, float], can: bool
) -> None:
    assert Offer("a", 2, 1000, {"GPU": 1}).has(cores, memory, resources) is can
