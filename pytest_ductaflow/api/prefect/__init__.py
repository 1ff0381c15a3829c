"""A Prefect flow that runs a conductor: `from pytest_ductaflow.api.prefect import conductor_flow`."""

from __future__ import annotations

from .run_conductor import conductor_flow

__all__ = ["conductor_flow"]
