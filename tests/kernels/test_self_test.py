"""A forked kernel is tried before flows get one, where libraries are newer than those known to work."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.projects import write_project

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.kernels import self_test, server_pool
from pytest_ductaflow.running.run_instance import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux"),
]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a server, with libraries that nobody has tried."""
    self_test.has_untested_libraries.cache_clear()
    monkeypatch.setattr(self_test, "_KNOWN", {"ipykernel": (7, 0)})
    servers = server_pool.ForkServers()
    yield servers.socket(os.environ)
    servers.close()
    self_test.has_untested_libraries.cache_clear()


def test_a_kernel_that_works_has_no_problem(server: str) -> None:
    assert self_test.problem_of(server) is None


def test_libraries_that_are_known_are_not_tried(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "_KNOWN", {"ipykernel": (99, 0), "no_such_library": (0, 0)})
    self_test.has_untested_libraries.cache_clear()
    monkeypatch.setattr(self_test, "ForkedKernel", None)
    assert self_test.problem_of(server) is None


STAYS = "import threading, time; threading.Thread(target=time.sleep, args=[600]).start()"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("x = 1", "what a cell prints is lost"),
        ("1 / 0", "a cell that prints ends with ZeroDivisionError"),
        (f"{STAYS}\n{self_test._PRINTS}", "it does not end"),
    ],
    ids=["lost", "error", "no end"],
)
def test_what_does_not_work_is_told(
    server: str, monkeypatch: pytest.MonkeyPatch, code: str, problem: str
) -> None:
    monkeypatch.setattr(self_test, "_PRINTS", code)
    monkeypatch.setattr(self_test, "_PATIENCE", 3.0)
    assert self_test.problem_of(server) == problem


def test_flows_get_ordinary_kernels_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_ductaflow.kernels.start_kernel.servers", server_pool.ForkServers())
    monkeypatch.setattr("pytest_ductaflow.kernels.start_kernel._complaints", set())
    monkeypatch.setattr(self_test, "problem_of", lambda _server: "it does not end")
    write_project(tmp_path, {"flows/x.py": "import os\nprint(os.getppid())\n"})

    def result(name: str) -> Record:
        run_dir = tmp_path / "runs/x" / name
        instance: Any = Instance(str(tmp_path / "flows/x.py"), "x", name, {}, str(run_dir), str(tmp_path))
        return run(instance, Settings(force=True, html="none"))

    first, second = result("a"), result("b")
    assert (first.status, second.status) == (Status.SUCCESS, Status.SUCCESS)
    told = (
        "forked kernels do not work with the installed libraries: it does not end; ordinary kernels are used"
    )
    assert first.python_warnings == (f"KernelWarning: {told}",)
    assert second.python_warnings == ()
