"""Servers that answer as Prefect's API does, or not, and a real one."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

START = 180.0  # seconds for the real one to start: it makes a database first

Answer = tuple[int, object]


class FakePrefect:
    """A server that takes what it is sent, and remembers it.

    Args:
        answer: Function from the number of a request, beginning with 1, and its path to a status and an
            answer; None for what Prefect answers. An exception closes the connection.
    """

    def __init__(self, answer: Callable[[int, str], Answer | None] = lambda _number, _path: None) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path = self.path.removeprefix("/api")
                fake.headers.append(dict(self.headers))
                fake.requests.append((path, json.loads(body) if body else None))
                status, data = answer(len(fake.requests), path) or (201, fake.made(path))
                text = b"" if data is None else data if isinstance(data, bytes) else json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}/api"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def made(self, path: str) -> object:
        if path == "/events":
            return None
        if path == "/task_runs/count":
            return len({event["resource"]["prefect.resource.id"] for event in self.events})
        return {"id": str(uuid.uuid5(uuid.NAMESPACE_URL, path))}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def sent(self, path: str) -> list[Any]:
        return [data for name, data in list(self.requests) if name == path]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for batch in self.sent("/events") for event in batch]

    @property
    def logs(self) -> list[dict[str, Any]]:
        return [entry for batch in self.sent("/logs/") for entry in batch]

    @property
    def states(self) -> dict[str, list[tuple[str, str]]]:
        """Type and name of all states of each task run, by its name."""
        found: dict[str, list[tuple[str, str]]] = {}
        for event in self.events:
            state = event["payload"]["validated_state"]
            found.setdefault(event["payload"]["task_run"]["name"], []).append((state["type"], state["name"]))
        return found

    @property
    def last(self) -> dict[str, str]:
        """Type of the last state of each flow run."""
        return {
            path: data["state"]["type"] for path, data in list(self.requests) if path.endswith("/set_state")
        }


@contextlib.contextmanager
def fake_prefect(answer: Callable[[int, str], Answer | None] = lambda _n, _p: None) -> Iterator[FakePrefect]:
    server = FakePrefect(answer)
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """Open a server that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/api"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class RealPrefect:
    """A Prefect server, and what it knows."""

    def __init__(self, address: str, home: Path) -> None:
        self.address = address
        self.variables = {"PREFECT_HOME": str(home), "PREFECT_API_URL": address, **_QUIET}

    def ask(self, path: str, data: object | None = None) -> Any:
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"{self.address}{path}", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def task_runs(self, flow_run: str, number: int) -> dict[str, dict[str, Any]]:
        """Return the task runs of a flow run by name, when there are so many and all have ended."""
        end = time.monotonic() + START
        while time.monotonic() < end:
            found = self.ask("/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run]}}})
            ended = [each for each in found if each["state_type"] not in ("PENDING", "RUNNING")]
            if len(ended) == number:
                return {each["name"]: each for each in ended}
            time.sleep(0.2)  # the server records events some time after it has taken them
        raise AssertionError(f"{len(ended)} of {number} task runs have ended")


_QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_ENABLED": "false",
}


@contextlib.contextmanager
def real_prefect(home: Path) -> Iterator[RealPrefect]:
    """Run a Prefect server with a database of its own."""
    port = free_port()
    server = RealPrefect(f"http://127.0.0.1:{port}/api", home)
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    given = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    given |= {name: value for name, value in server.variables.items() if name != "PREFECT_API_URL"}
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "server.txt", "wb") as log:
        process = subprocess.Popen(
            command, env=given, cwd=home, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        end = time.monotonic() + START
        while not _is_up(server):
            assert process.poll() is None, (home / "server.txt").read_text()
            assert time.monotonic() < end, f"Prefect's server has not started after {START:g} s"
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_up(server: RealPrefect) -> bool:
    with contextlib.suppress(OSError):
        return bool(server.ask("/health"))
    return False
