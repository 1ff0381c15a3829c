"""Parameters of which a run of all tests takes only some."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def one_in(number: int, values: Iterable[Any]) -> list[Any]:
    """Return the values of a parameter, of which all but one in so many are for thorough runs."""
    return [
        pytest.param(value, marks=[pytest.mark.thorough] if place % number else [])
        for place, value in enumerate(values)
    ]
