"""Functions that a flow imports: unpack and show its config, and run as a plain script.

Cheap to import: nothing here loads pytest, papermill or pandas.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from ..core.config_markdown import generate_config_markdown
from ..core.errors import DuctaflowError, SecretMissing
from ..core.instance import stem_of
from ..core.masking.config import with_secrets
from ..sources.notebooks import project_root_of

PATH_KEYS = (
    "model_runs_dir",
    "run_folder",
    "output_dir",
    "data_dir",
    "input_dir",
    "results_dir",
    "_project_root",
)


def is_notebook_execution() -> bool:
    """Return whether this code runs in a notebook (Jupyter, papermill) rather than as a plain script."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and ipython.get_ipython() is not None


def unpack_config(
    config: dict[str, Any] | None = None,
    flow_name: str | None = None,
    caller_locals: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a config as variables: `vars().update(unpack_config(config, "My flow", locals()))`.

    Args:
        config: The config. Nested dicts are kept, and their entries become variables as well.
        flow_name: If given, the config is also shown as a table under this name.
        caller_locals: Namespace to update with the variables.

    Returns:
        The variables. `model_runs_dir`, `run_folder`, `output_dir`, `data_dir`, `input_dir`,
        `results_dir` and `_project_root` are Path objects.
    """
    if not config:
        print("No config: run with --config file.json, or through papermill")
        return {}
    if flow_name:
        display_config_summary(config, flow_name)
    variables: dict[str, Any] = {}
    for key, value in config.items():
        variables[key] = value
        if isinstance(value, Mapping):
            variables.update(value)
    for key in PATH_KEYS:
        if variables.get(key) is not None:
            variables[key] = Path(variables[key])
    print(f"Config: {', '.join(variables)}")
    if caller_locals is not None:
        caller_locals.update(variables)
    return variables


def display_config_summary(config: Mapping[str, Any], flow_name: str | None = None) -> None:
    """Show a config as a table in a notebook, or as text elsewhere."""
    markdown = generate_config_markdown(config, flow_name)
    if is_notebook_execution():
        from IPython.display import Markdown, display

        display(Markdown(markdown))  # type: ignore[no-untyped-call,unused-ignore]
    else:
        print(markdown)


def load_cli_config(default_config_path: str | Path, description: str = "Run this flow") -> dict[str, Any]:
    """Load the config of a flow that runs as a script: `python flows/x.py --config c.json`.

    With `--output-dir d` the flow runs there as an instance does under pytest, leaves the same
    files, and this call does not return: the script ends with exit code 0, or 1 if the flow failed.
    `--no-execute` only lays out the directory. Without `--output-dir` the flow continues in this
    process (for a debugger), with its output also in `{flow}_execution_output.txt`.

    Args:
        default_config_path: Path of the config to use without `--config`, relative to the working
            directory or else to the flow's project.
        description: Text for `--help`.

    Returns:
        The config, with `_project_root`.
    """
    script = Path(sys.argv[0]).resolve()
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", default=str(default_config_path), help="JSON file (default: %(default)s)")
    parser.add_argument("--output-dir", help="run here, as an instance, and leave all its files")
    parser.add_argument("--no-execute", action="store_true", help="set up the directory, run nothing")
    arguments = parser.parse_args()
    root = project_root_of(script)
    config = _read_config(parser, arguments.config, root)
    config.setdefault("_project_root", str(root))

    from ..planning import recorded_calls
    from ..planning.afterwards import answers

    is_instance = recorded_calls.is_recording() or answers.is_known(os.getcwd(), stem_of(script))
    if arguments.output_dir or arguments.no_execute or is_instance:
        sys.exit(_run_as_instance(script, config, arguments.output_dir, arguments.no_execute))
    try:
        config = with_secrets(config, (), os.environ)
    except SecretMissing as error:
        parser.error(f"--config: {arguments.config}: {error}")
    _print_log_records()
    _copy_output(Path(f"{stem_of(script)}_execution_output.txt"))
    return config


def _read_config(parser: argparse.ArgumentParser, name: str, root: Path) -> dict[str, Any]:
    path = _config_file(parser, name, root)
    try:
        config = json.loads(path.read_text(encoding="utf-8-sig"))  # with or without a byte order mark
    except UnicodeDecodeError as error:
        parser.error(f"--config: {path} is not UTF-8: {error}")
    except OSError as error:
        parser.error(f"--config: {path} cannot be read: {error}")
    except ValueError as error:
        parser.error(f"--config: {path} is not JSON: {error}")
    if not isinstance(config, dict):
        found = "null" if config is None else type(config).__name__
        parser.error(f"--config: {path} holds {found}, expected an object with keys")
    return config


def _config_file(parser: argparse.ArgumentParser, name: str, root: Path) -> Path:
    places = (Path(name), root / name)
    # unlike Path's methods, those of os.path return False for a name that no file can have
    if file := next(filter(os.path.isfile, places), None):
        return file
    if folder := next(filter(os.path.isdir, places), None):
        parser.error(f"--config: {folder} is a directory, expected a JSON file")
    return parser.error(f"--config: no file {name} here or in {root}")


def _run_as_instance(script: Path, config: dict[str, Any], directory: str | None, no_execute: bool) -> int:
    from .run_notebook import run_notebook

    try:
        run_notebook(script, config=config, execution_dir=directory or ".", no_execute=no_execute)
    except (DuctaflowError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _print_log_records() -> None:
    from ..kernels.inside.setup import print_log_records

    print_log_records()


class _Tee:
    """A stream that also writes to a file."""

    def __init__(self, stream: IO[str], file: IO[str]) -> None:
        self._stream, self._file = stream, file

    def write(self, text: str) -> int:
        self._file.write(text)
        self._file.flush()
        return self._stream.write(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:  # the stream's own method would bypass the file
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _copy_output(log: Path) -> None:
    """Copy all further output of this process into a log as well."""
    file = open(log, "w", encoding="utf-8")  # noqa: SIM115 - open to the end of the process
    sys.stdout, sys.stderr = _Tee(sys.stdout, file), _Tee(sys.stderr, file)


def setup_execution_logging(
    log_file_path: str | Path,
    logger_name: str = "ductaflow",
    level: int = logging.INFO,
    propagate: bool = False,
) -> logging.Logger:
    """Return a logger that writes to a file, with times and levels, and to the console, without them.

    Args:
        log_file_path: The file; its folder is created if missing.
        logger_name: Name of the logger.
        level: Lowest level that is written.
        propagate: Whether records also go to the logger's parents.
    """
    path = Path(log_file_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger(logger_name)
    logger.setLevel(level)
    logger.propagate = propagate
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    detailed = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
    handlers: list[tuple[logging.Handler, str]] = [
        (logging.FileHandler(path, mode="a", encoding="utf-8"), detailed),
        (logging.StreamHandler(), "%(message)s"),
    ]
    for handler, form in handlers:
        handler.setFormatter(logging.Formatter(form))
        logger.addHandler(handler)
    return logger


def setup_conductor_logging(
    session_outputs_dir: str | Path = "session_outputs",
    logger_name: str = "conductor",
    level: int = logging.INFO,
) -> logging.Logger:
    """Return a conductor's logger, which writes one file per day in `session_outputs_dir`.

    A record with `extra={"save_state": True}` is logged; a warning says that it saves no notebook.
    """
    from datetime import datetime

    day = datetime.now().astimezone().strftime("%Y%m%d")
    path = Path(session_outputs_dir) / f"conductor_{day}.txt"
    logger = setup_execution_logging(path, logger_name, level)
    logger.addFilter(_tell_of_state)
    return logger


def _tell_of_state(record: logging.LogRecord) -> bool:
    """Warn if a record asks to save the conductor's state, which is no longer done; keep the record."""
    if getattr(record, "save_state", False):
        warnings.warn(
            "save_state saves no copy of the conductor any more: what each instance has run, shown and "
            "written is in its folder in runs/",
            stacklevel=1,
        )
    return True
