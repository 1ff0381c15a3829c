"""What the reporting process makes of reports that carry no record."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_ductaflow.reporting import _first_line


@pytest.mark.parametrize(
    ("longrepr", "line"),
    [
        (SimpleNamespace(reprcrash=SimpleNamespace(message="Failed: too late\nmore")), "Failed: too late"),
        ("worker 'gw0' crashed\nwhile running", "worker 'gw0' crashed"),
        (SimpleNamespace(reprcrash=SimpleNamespace(message="")), "failed"),
        ("", "failed"),
    ],
)
def test_the_report_has_the_first_line_of_the_exception_not_of_the_code_around_it(longrepr: Any, line: str):
    assert _first_line(SimpleNamespace(longrepr=longrepr)) == line
