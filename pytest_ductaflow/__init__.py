"""Run notebook-style flows over hundreds of scenarios, each instance a pytest item.

This is the public API. Names are loaded on first use, so that a flow that needs `unpack_config` does
not wait for papermill, and pytest does not wait for any of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The public names of each module.
_HOMES = {
    "core.config_markdown": ("generate_config_markdown",),
    "api.conduct": ("conduct",),
    "api.debug_flow": ("debug_flow",),
    "api.run_notebook": ("run_notebook", "run_step_flow"),
    "core.errors": ("DuctaflowError", "FlowNotFound", "InstanceFailed", "SweepFailed", "TableError"),
    "running.failures.run_failure": ("FlowExecutionError",),
    "api.in_flow": (
        "display_config_summary",
        "is_notebook_execution",
        "load_cli_config",
        "setup_conductor_logging",
        "setup_execution_logging",
        "unpack_config",
    ),
    "api.read_runs": (
        "analyze_execution_logs",
        "convert_notebook_to_html",
        "generate_status_report",
        "get_available_instances",
        "print_available_instances",
        "print_pipeline_status",
        "results",
    ),
    "gate.compare.tolerance": ("Tolerance",),
    "core.instance": ("Instance",),
    "core.record": ("Difference", "DifferingValue", "Record", "Status"),
    "planning.recorded_calls": ("is_collecting",),
    "sources.designs.combinations": ("grid", "one_at_a_time", "zipped"),
    "sources.designs.sampling": ("sample",),
    "sources.designs.scenario_table": ("ScenarioTable", "cross"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Difference",
    "DifferingValue",
    "DuctaflowError",
    "FlowExecutionError",
    "FlowNotFound",
    "Instance",
    "InstanceFailed",
    "Record",
    "ScenarioTable",
    "Status",
    "SweepFailed",
    "TableError",
    "Tolerance",
    "analyze_execution_logs",
    "conduct",
    "convert_notebook_to_html",
    "cross",
    "debug_flow",
    "display_config_summary",
    "generate_config_markdown",
    "generate_status_report",
    "get_available_instances",
    "grid",
    "is_collecting",
    "is_notebook_execution",
    "load_cli_config",
    "one_at_a_time",
    "print_available_instances",
    "print_pipeline_status",
    "results",
    "run_notebook",
    "run_step_flow",
    "sample",
    "setup_conductor_logging",
    "setup_execution_logging",
    "unpack_config",
    "zipped",
]

if TYPE_CHECKING:
    from .api.conduct import conduct
    from .api.debug_flow import debug_flow
    from .api.in_flow import (
        display_config_summary,
        is_notebook_execution,
        load_cli_config,
        setup_conductor_logging,
        setup_execution_logging,
        unpack_config,
    )
    from .api.read_runs import (
        analyze_execution_logs,
        convert_notebook_to_html,
        generate_status_report,
        get_available_instances,
        print_available_instances,
        print_pipeline_status,
        results,
    )
    from .api.run_notebook import run_notebook, run_step_flow
    from .core.config_markdown import generate_config_markdown
    from .core.errors import DuctaflowError, FlowNotFound, InstanceFailed, SweepFailed, TableError
    from .core.instance import Instance
    from .core.record import Difference, DifferingValue, Record, Status
    from .gate.compare.tolerance import Tolerance
    from .planning.recorded_calls import is_collecting
    from .running.failures.run_failure import FlowExecutionError
    from .sources.designs.combinations import grid, one_at_a_time, zipped
    from .sources.designs.sampling import sample
    from .sources.designs.scenario_table import ScenarioTable, cross


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
