"""Requests to a Prefect server: who asks, and what its answers mean."""

from __future__ import annotations

import base64

import pytest
from helpers.prefect_server import fake_prefect

from pytest_ductaflow.report.prefect.api import PrefectApi, Rejected, Unreachable, is_disabled


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"PREFECT_API_KEY": "pnu_1"}, "Bearer pnu_1"),
        ({"PREFECT_API_AUTH_STRING": "me:pä"}, f"Basic {base64.b64encode('me:pä'.encode()).decode()}"),
        ({"PREFECT_API_KEY": "pnu_1", "PREFECT_API_AUTH_STRING": "a:b"}, "Basic YTpi"),
    ],
)
def test_it_says_who_asks_as_prefects_client_does(variables, expected):
    with fake_prefect() as server:
        PrefectApi(server.address, variables).post("/flows/", {"name": "x"})
    assert server.headers[0].get("Authorization") == expected


def test_a_server_that_wants_a_token_against_forged_requests_gets_it():
    def answer(_number: int, path: str) -> tuple[int, object] | None:
        if path.startswith("/csrf-token?client="):
            return 200, {"token": "t1", "expiration": "2099-01-01T00:00:00Z"}
        is_known = server.headers[-1].get("Prefect-Csrf-Token") == "t1"
        return None if is_known else (403, {"detail": "Missing CSRF token."})

    with fake_prefect(answer) as server:
        api = PrefectApi(server.address, {})
        assert api.post("/flows/", {})["id"]
        assert api.post("/flows/", {})["id"]
    paths = [path.partition("=")[0] for path, _ in server.requests]
    assert paths == ["/flows/", "/csrf-token?client", "/flows/", "/flows/"]
    assert server.headers[-1]["Prefect-Csrf-Client"] in server.requests[1][0]


def test_a_redirection_takes_the_key_nowhere():
    with fake_prefect() as other, fake_prefect(lambda _n, _p: (307, None)) as server:
        api = PrefectApi(server.address, {"PREFECT_API_KEY": "pnu_1"})
        with pytest.raises(Rejected, match="307"):
            api.post("/flows/", {})
    assert not other.requests


@pytest.mark.parametrize(
    ("status", "kind"), [(500, Unreachable), (503, Unreachable), (429, Unreachable), (403, Rejected)]
)
def test_some_answers_may_be_others_later(status, kind):
    with fake_prefect(lambda _n, _p: (status, {"detail": "no"})) as server, pytest.raises(kind):
        PrefectApi(server.address, {}).post("/flows/", {})


def test_a_connection_that_ends_early_may_be_better_later():
    def answer(_number: int, _path: str) -> None:
        raise OSError("ends here")

    with fake_prefect(answer) as server, pytest.raises(Unreachable) as caught:
        PrefectApi(server.address, {}).post("/flows/", {})
    assert not caught.value.is_gone


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("http://127.0.0.1:4200/api", "http://127.0.0.1:4200/runs/flow-run/x"),
        ("https://host/prefect/api", "https://host/prefect/runs/flow-run/x"),
        (
            "https://api.prefect.cloud/api/accounts/a/workspaces/w",
            "https://app.prefect.cloud/account/a/workspace/w/runs/flow-run/x",
        ),
    ],
)
def test_the_page_of_a_flow_run_is_where_people_find_it(address, page):
    assert PrefectApi(address, {}).page_of("x") == page


@pytest.mark.parametrize(
    ("value", "expected"), [("", False), ("0", False), ("false", False), ("1", True), ("true", True)]
)
def test_prefect_is_switched_off_by_a_variable(value, expected):
    assert is_disabled({"PREFECT_DISABLED": value}) is expected
    assert not is_disabled({})
