"""What runs again after an edit, with workers; a file of its own, so that it runs beside the other one."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_plugin_unchanged import EDITS, after_a_run, project, session

__all__ = ["after_a_run", "project"]  # fixtures
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_does_the_same_with_workers(project: Path, kind: str):
    edit, expected = EDITS[kind]
    edit(project)
    assert session(project, "-n", "2")[0] == expected
