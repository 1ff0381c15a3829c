"""Run the command: `python -m pytest_ductaflow.command_line`."""

from __future__ import annotations

from .main import main

main(prog_name="ductaflow")
