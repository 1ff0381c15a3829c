"""Specify the hooks that other plugins, and a project's `conftest.py`, can implement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # every pytest run imports this module
    from ..core.record import Difference
    from ..gate.compare.tolerance import Tolerance


@pytest.hookspec(firstresult=True)
def pytest_ductaflow_compare(
    name: str, expected: Path, found: Path, tolerance: Tolerance
) -> Sequence[Difference] | None:
    """Compare an output of a stored instance, for kinds of files unknown to this package.

    Args:
        name: The output's name in the run directory; `Difference.file`.
        expected: The stored file.
        found: The file that the flow wrote.
        tolerance: What the stored instance allows in this file.

    Returns:
        Their differences; an empty list if there are none; None to leave it to others.
    """
