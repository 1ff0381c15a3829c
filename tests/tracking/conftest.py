"""The project for the tests of inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.projects import lay
from helpers.searched import FILES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        lay(tmp_path / "project" / name, text)
    lay(tmp_path / "shared" / "links.csv", "links")
    return tmp_path / "project"
