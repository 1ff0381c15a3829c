"""A build's flows are checked by the process that runs them, or here, if that is lost."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from pytest_ductaflow.core.problem import Problem
from pytest_ductaflow.running.children import flows_of_build
from pytest_ductaflow.running.children.flows_of_build import checked_outside

PROBLEM = Problem("conductor.py:1", "no flow")
CHECK = partial(Problem, PROBLEM.where, PROBLEM.what)


class MadeUpChild:
    """A child that answers in a given way, or not at all."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.is_closed = False

    def send(self, *message: object) -> None:
        pass

    def receive(self) -> Any:
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def child_answers(monkeypatch):
    def made(answer: Any) -> MadeUpChild:
        child = MadeUpChild(answer)
        monkeypatch.setattr(flows_of_build, "Child", lambda _: child)
        runner = flows_of_build._Runner(None)
        monkeypatch.setattr(flows_of_build, "surrounding_build", lambda: ("journal", ""))
        monkeypatch.setattr(flows_of_build._runners, "take", lambda: runner)
        monkeypatch.setattr(flows_of_build._runners, "give_back", lambda _: None)
        return child

    return made


def test_its_answer_counts(child_answers):
    child = child_answers(None)
    assert checked_outside(CHECK) is None
    assert not child.is_closed


@pytest.mark.parametrize("error", [EOFError(), BrokenPipeError(), ConnectionResetError()])
def test_if_the_process_is_lost_the_check_is_made_here(child_answers, error):
    child = child_answers(error)
    assert checked_outside(CHECK) == PROBLEM
    assert child.is_closed


def test_ctrl_c_while_it_checks_is_passed_on(child_answers):
    child = child_answers(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        checked_outside(CHECK)
    assert child.is_closed
