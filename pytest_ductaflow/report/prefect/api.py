"""Talk to the REST API of a Prefect server, with the standard library alone."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

TIMEOUT = 10.0  # seconds for the next piece of an answer
AUTH, KEY = "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY"  # variables that Prefect's own client reads
DISABLED = "PREFECT_DISABLED"
_LARGEST = 10_000_000  # bytes of an answer
_SHOWN = 300  # characters of an answer that a message has
_MAY_PASS = (408, 425, 429)  # what a server answers that may take the same later, beside 500 and above
_FORBIDDEN = 403


class Unreachable(Exception):
    """There is no answer, or one that says that the server is in trouble: it may be better later.

    Attributes:
        is_gone: Whether nothing listens there at all.
    """

    def __init__(self, message: str, *, is_gone: bool = False) -> None:
        super().__init__(message)
        self.is_gone = is_gone


class Rejected(Exception):
    """The server does not take what it was sent, and will not take it later.

    Attributes:
        status: HTTP status code.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class PrefectApi:
    """The API of one server.

    Args:
        address: Its address, which ends in `/api` or, at Prefect Cloud, in the workspace.
        environment: Environment variables, which may have a key or user and password.
    """

    def __init__(self, address: str, environment: Mapping[str, str]) -> None:
        self.address = address
        self._headers = {"Content-Type": "application/json", "User-Agent": "pytest-ductaflow"}
        if pair := environment.get(AUTH):
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif key := environment.get(KEY):
            self._headers["Authorization"] = f"Bearer {key}"
        # A redirection would turn a POST into a GET, and take the key to another server.
        self._open = urllib.request.build_opener(_NoRedirection).open

    def page_of(self, flow_run: str) -> str:
        """Return the address at which people see a flow run."""
        parts = urlsplit(self.address)
        host, place = parts.netloc, parts.path.removesuffix("/api")
        if host == "api.prefect.cloud":
            host, place = "app.prefect.cloud", parts.path.removeprefix("/api")
            place = place.replace("/accounts/", "/account/").replace("/workspaces/", "/workspace/")
        return f"{parts.scheme}://{host}{place}/runs/flow-run/{flow_run}"

    def post(self, path: str, data: object) -> Any:
        """Send data, and return the answer: plain JSON, or None if it is empty.

        Raises:
            Unreachable: If there is no answer, or the server is in trouble.
            Rejected: If the server does not take it.
        """
        try:
            return self._ask(path, data)
        except Rejected as error:
            if (
                error.status != _FORBIDDEN
                or "CSRF" not in str(error)
                or "Prefect-Csrf-Token" in self._headers
            ):
                raise
        client = str(uuid.uuid4())
        token = self._ask(f"/csrf-token?client={client}", None)
        self._headers |= {"Prefect-Csrf-Token": str(token.get("token")), "Prefect-Csrf-Client": client}
        return self._ask(path, data)

    def _ask(self, path: str, data: object | None) -> Any:
        body = None if data is None else json.dumps(data, ensure_ascii=False).encode()
        request = urllib.request.Request(f"{self.address}{path}", body, self._headers)  # noqa: S310 - http(s)
        try:
            with self._open(request, timeout=TIMEOUT) as answer:
                text = answer.read(_LARGEST)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
        except urllib.error.URLError as error:
            is_gone = isinstance(error.reason, ConnectionRefusedError | socket.gaierror)
            raise Unreachable(_first_line(error.reason), is_gone=is_gone) from None
        except TimeoutError:
            raise Unreachable(f"no answer within {TIMEOUT:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(_first_line(error)) from None
        try:
            return json.loads(text) if text else None
        except (ValueError, RecursionError):
            raise Rejected("what answers is no Prefect API", 200) from None


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """Handle a redirection as an error."""

    def redirect_request(
        self,
        req: urllib.request.Request,  # noqa: ARG002
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: Message,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        return None


def _refusal(error: urllib.error.HTTPError) -> Unreachable | Rejected:
    """Return what an answer with an error code means."""
    try:
        detail = error.read(_LARGEST).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        detail = ""
    said = f"it answers {error.code} {error.reason}"
    if error.code >= http.client.INTERNAL_SERVER_ERROR or error.code in _MAY_PASS:
        return Unreachable(said)
    if location := error.headers.get("Location"):
        return Rejected(f"{said}: it is at {location}", error.code)
    if error.code == http.client.UNAUTHORIZED:
        return Rejected(f"{said}: set {KEY}, or {AUTH}=USER:PASSWORD", error.code)
    return Rejected(f"{said}: {' '.join(detail.split())[:_SHOWN]}".rstrip(": "), error.code)


def _first_line(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {TIMEOUT:g} s"
    return (str(error).splitlines() or [type(error).__name__])[0]


def is_disabled(environment: Mapping[str, str]) -> bool:
    """Return whether `PREFECT_DISABLED` switches off all that has to do with Prefect."""
    return environment.get(DISABLED, "").strip().lower() not in ("", "0", "false", "no", "off")
