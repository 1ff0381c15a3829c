"""Names that earlier releases of ductaflow had and later ones dropped, for projects that still use them.

The modules `ductaflow` and `ductacore` offer them, `pytest_ductaflow` does not.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..core.errors import DuctaflowError

_TRUTH = {"true": True, "false": False}
_PATH_ENDS = (".json", ".csv", ".py", ".ipynb")

__all__ = [
    "create_flow_bat_runner",
    "create_flow_run_script",
    "create_standalone_python_script",
    "get_param",
    "load_config",
    "make_new_ductaflow_instance",
    "make_notebook_scriptable",
    "rename_conductor",
    "save_config",
    "setup_logging",
    "setup_run_config",
]


def load_config(config_path: str | Path) -> Any:
    """Read a config from a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, saying where.
    """
    path = Path(config_path)
    if not path.exists():
        raise FileNotFoundError(f"config {path} not found in {Path.cwd()}")
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None


def save_config(config: Mapping[str, Any], config_path: str | Path) -> None:
    """Write a config to a JSON file, creating its folder if missing; values that JSON lacks become text."""
    path = Path(config_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(config), indent=2, default=str), encoding="utf-8")


def get_param(param_path: str, config: Mapping[str, Any], default: Any = None) -> Any:
    """Return a value from one of a config's groups.

    Args:
        param_path: `group/name`, or `name` for the first group that has it.
        config: The config.
        default: Value to return if there is none.
    """
    group, slash, name = param_path.partition("/")
    if slash:
        return config.get(group, {}).get(name, default)
    groups = (values for values in config.values() if isinstance(values, Mapping))
    return next((values[param_path] for values in groups if param_path in values), default)


def setup_run_config(
    base_config: Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    config_processors: Mapping[str, Callable[[Any], Any]] | None = None,
) -> dict[str, Any]:
    """Return a config with overrides applied, and texts that stand for other values converted.

    Args:
        base_config: The config; not changed.
        overrides: Values that replace those in it.
        config_processors: Functions by key, each from the key's value to the one to use.

    Returns:
        The config, with `"true"` and `"false"` as booleans and texts that look like paths as paths.
    """
    config = {**base_config, **(overrides or {})}
    for key, process in (config_processors or {}).items():
        if key in config:
            config[key] = process(config[key])
    return {key: _meant(value) for key, value in config.items()}


def _meant(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if value.lower() in _TRUTH:
        return _TRUTH[value.lower()]
    is_path = value.endswith(_PATH_ENDS) or "/" in value or "\\" in value
    return Path(value) if is_path else value


def setup_logging(run_dir: str | Path) -> logging.Logger:
    """Make all loggers write to the console and to `pipeline_execution.log` in a folder.

    Returns:
        The logger `pipeline`.
    """
    file = logging.FileHandler(Path(run_dir) / "pipeline_execution.log", encoding="utf-8")
    form = "%(asctime)s - %(levelname)s - %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, handlers=[file, logging.StreamHandler()])
    return logging.getLogger("pipeline")


def _without_need(name: str, instead: str) -> Callable[..., NoReturn]:
    """Return a function that raises an error saying what to do instead of calling it."""

    def refuse(*_args: object, **_more: object) -> NoReturn:
        raise DuctaflowError(f"{name}() is not needed any more: {instead}")

    refuse.__name__ = name
    refuse.__doc__ = f"Raise an error that says what to do: {instead}."
    return refuse


_NEW_PROJECT = (
    "a project is a folder with flows/ and a conductor.py; nothing of this package is copied into it"
)
_SCRIPT = (
    "a flow that begins as load_cli_config() describes it runs as it is: python flows/x.py --config c.json"
)
make_new_ductaflow_instance = _without_need("make_new_ductaflow_instance", _NEW_PROJECT)
rename_conductor = _without_need("rename_conductor", _NEW_PROJECT)
make_notebook_scriptable = _without_need("make_notebook_scriptable", _SCRIPT)
create_standalone_python_script = _without_need("create_standalone_python_script", _SCRIPT)
create_flow_run_script = _without_need("create_flow_run_script", _SCRIPT)
create_flow_bat_runner = _without_need("create_flow_bat_runner", _SCRIPT)
