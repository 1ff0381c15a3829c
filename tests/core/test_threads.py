"""How many threads the numeric libraries of a kernel use."""

from __future__ import annotations

import pytest

from pytest_ductaflow.core import thread_variables
from pytest_ductaflow.core.thread_variables import VARIABLES, threads_in, with_threads

BLAS = {"OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"}


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_variables, "usable_cores", lambda: 8)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)


def said(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name in VARIABLES}


@pytest.mark.parametrize(
    ("workers", "setting", "cores", "expected"),
    [
        ("2", "auto", None, 4),
        ("3", "auto", None, 2),
        ("1", "auto", None, 8),
        ("16", "auto", None, 1),
        (None, "auto", None, None),
        (None, "auto", 3, 3),
        ("2", "auto", 1, 1),
        ("2", "auto", 99, 8),
        ("2", 3, None, 3),
        (None, 30, None, 30),
        ("2", 3, 5, 5),
        ("2", "off", None, None),
        ("2", "off", 5, None),
    ],
)
def test_the_number_comes_from_workers_setting_and_row(monkeypatch, workers, setting, cores, expected):
    if workers is not None:
        monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", workers)
    made = with_threads({"HOME": "/h"}, setting, cores)
    assert said(made) == ({} if expected is None else dict.fromkeys(VARIABLES, str(expected)))
    assert made["HOME"] == "/h"
    assert threads_in(made) == expected


@pytest.mark.parametrize(
    ("name", "untouched"),
    [
        ("OMP_NUM_THREADS", {*BLAS, "NUMEXPR_NUM_THREADS"}),
        ("GOTO_NUM_THREADS", {"OPENBLAS_NUM_THREADS"}),
        ("NUMEXPR_MAX_THREADS", {"NUMEXPR_NUM_THREADS"}),
        ("OPENBLAS_NUM_THREADS", set()),
        ("POLARS_MAX_THREADS", set()),
    ],
)
def test_what_the_user_has_set_holds_and_so_does_what_follows_from_it(name, untouched):
    made = with_threads({name: "7"}, "auto", 2)
    assert made[name] == "7"
    others = VARIABLES - {name} - untouched
    assert said(made) == {**dict.fromkeys(others, "2"), **({name: "7"} if name in VARIABLES else {})}


def test_what_the_user_has_set_to_nothing_is_set():
    assert with_threads({"NUMBA_NUM_THREADS": ""}, 4, None)["NUMBA_NUM_THREADS"] == ""


@pytest.mark.parametrize(
    ("cores", "expected"), [(None, "4"), (2, "2"), (4, "4"), (8, "4")], ids=["share", "less", "same", "more"]
)
def test_a_flow_in_a_build_shares_what_the_build_has(cores, expected):
    build = with_threads({"MKL_NUM_THREADS": "5"}, "auto", 4)
    made = with_threads(build, "auto", cores)
    assert said(made) == {**dict.fromkeys(VARIABLES, expected), "MKL_NUM_THREADS": "5"}
    assert said(with_threads(made, "auto", 1))["OMP_NUM_THREADS"] == "1"


def test_what_a_build_sets_for_its_flows_holds():
    build = {**with_threads({}, "auto", 4), "NUMBA_NUM_THREADS": "3"}
    made = with_threads(build, "auto", 2)
    assert said(made) == {**dict.fromkeys(VARIABLES, "2"), "NUMBA_NUM_THREADS": "3"}


@pytest.mark.parametrize(("text", "number"), [(None, None), ("", None), ("4,2", None), (" 3 ", 3)])
def test_a_record_has_the_number_of_openmp(text, number):
    assert threads_in({} if text is None else {"OMP_NUM_THREADS": text}) == number


def test_numexpr_gets_no_more_than_it_takes():
    made = with_threads({}, 100, None)
    assert said(made) == {**dict.fromkeys(VARIABLES, "100"), "NUMEXPR_NUM_THREADS": "64"}
