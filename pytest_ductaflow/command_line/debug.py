"""Prepare what it takes to look into a run: `debug`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from ..core.instance import JSON, Instance
from ..core.run_directory.atomic import write_atomic
from ..core.run_directory.layout import RunFiles
from ..core.scalars import json_object
from ..report.failure_text import failed_first, quoted
from .shared import json_comments
from .shared.find_run import RUN, Run, find_run
from .shared.project import settings_and_root, shown
from .shared.refusal import Refusal

_DEBUG = "_debug.ipynb"


@click.command()
@click.argument("run", type=RUN)
@click.option("--vscode", is_flag=True, help="Add a configuration to .vscode/launch.json instead.")
@click.option("--no-open", "stays_closed", is_flag=True, help="Do not open the notebook.")
def debug(run: str, *, vscode: bool, stays_closed: bool) -> None:
    """Prepare a notebook with the exact config and working directory of a run, and open it in Jupyter.

    Of a build that failed it is the flow that failed. With --vscode, F5 runs the flow's .py in VS Code with
    that config, and breakpoints in it hold. What the flow writes goes into the run directory, as in the run.
    """
    whole = find_run(run)
    found = _where_it_failed(whole)
    config = json_object(found.files.config)
    flow = found.root / found.record.flow
    if not config:
        raise Refusal(f"{shown(found.files.config)} cannot be read: run the instance again")
    if not flow.is_file():
        raise Refusal(f"{found.label}: its flow {shown(flow)} is not there any more")
    instance = _instance(found, flow, dict(config))
    if vscode:
        _prepare_vscode(found, instance)
        return
    notebook = _write_notebook(found, instance)
    click.echo(f"notebook: {shown(notebook)}")
    if instance.runs_in != "run":
        click.echo(f"works in: {shown(instance.working_directory)}")
    if flow.suffix == ".py":
        from ..report.failure_text import debug_command

        folder = shown(instance.working_directory) if instance.runs_in != "run" else ""
        command = debug_command(shown(flow), shown(found.files.config), folder)
        click.echo(f"without a notebook: {command}")
    if whole.record.error is not None:
        click.echo(f"in its kernel: pytest --ductaflow {quoted(shown(whole.directory))} --pdb")
    if not stays_closed:
        _open(notebook)


def _where_it_failed(run: Run) -> Run:
    """Return the run to look into: of a build that failed, the flow in it that failed first."""
    failed = failed_first(run.record) if run.record.error is not None else run.record
    if failed is run.record:
        return run
    files = RunFiles(run.root / failed.run_dir, Path(failed.flow).stem)
    click.echo(f"{run.label} failed in its flow {failed.flow}, run directory {shown(files.directory)}")
    return Run(run.root, files)


def _instance(run: Run, flow: Path, config: dict[str, JSON]) -> Instance:
    config.pop("_project_root", None)
    record = run.record
    directory, root = str(run.directory), str(run.root)
    return Instance(
        str(flow), record.step, record.instance, config, directory, root,
        cwd=record.cwd, runs_in=record.cwd, kernel_name=record.kernel or None,
    )  # fmt: skip


def _write_notebook(run: Run, instance: Instance) -> Path:
    """Write the notebook beside the executed one, which stays as it is."""
    import nbformat

    from ..kernels.choose import choose_kernel
    from ..running.notebook.prepare import prepare_notebook
    from ..sources.notebooks import read_flow

    settings, _, _ = settings_and_root(run.root)
    source = read_flow(Path(instance.flow))
    choice = choose_kernel(source, instance.kernel_name, settings.kernel)
    notebook = prepare_notebook(source, instance.full_config, choice.name, choice.language)
    if choice.language == "python":
        notebook.cells.insert(0, _place(instance))
    path = run.directory / f"{run.files.stem}{_DEBUG}"
    write_atomic(path, nbformat.writes(notebook) + "\n")
    return path


def _place(instance: Instance) -> Any:
    """Return the cell that makes a kernel of Jupyter work where the run did."""
    import nbformat

    folders = [str(Path(instance.flow).parent), instance.project_root]
    code = (
        "# Working directory and search path as in the run.\n"
        "import os\nimport sys\n\n"
        f"os.chdir({instance.working_directory!r})\n"
        f"sys.path[:0] = {folders!r}"
    )
    return nbformat.v4.new_code_cell(code, id="ductaflow-place", metadata={"tags": []})


def _open(notebook: Path) -> None:
    """Open a notebook in Jupyter, if that is installed, until the user ends it."""
    beside = str(Path(sys.executable).parent)
    places = os.pathsep.join([beside, os.environ.get("PATH", "")])
    for program in ("jupyter-lab", "jupyter-notebook"):
        if (command := shutil.which(program, path=places)) is not None:
            click.echo(f"opening it with {program}; Ctrl-C ends that")
            try:
                subprocess.run([command, str(notebook)], check=False)
            except KeyboardInterrupt:
                click.echo()
            return
    click.echo("open it in VS Code, or install Jupyter: pip install jupyterlab")


def _prepare_vscode(run: Run, instance: Instance) -> None:
    """Add a configuration to the launch.json of the workspace, or print it where that is not safe."""
    from ..api.debugging import compiled

    compiled(Path(instance.flow), dict(instance.full_config))  # raises if it cannot be run as a script
    workspace = _workspace(run.root)
    configuration = _configuration(run, instance, workspace)
    file = workspace / ".vscode/launch.json"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    try:
        changed = _extended(text, configuration)
    except ValueError as error:
        click.echo(f"{shown(file)} is left as it is, {error}. Add this to its configurations:")
        click.echo(json.dumps(configuration, indent=4, ensure_ascii=False))
        return
    if changed is None:
        click.echo(f"{shown(file)} has {configuration['name']!r} already")
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, changed)
        click.echo(f"{shown(file)}: added {configuration['name']!r}")
    click.echo(f"set breakpoints in {shown(instance.flow)}, choose it in Run and Debug, and press F5")


def _workspace(root: Path) -> Path:
    """Return the folder that VS Code is likely to have open."""
    for folder in (root, *root.parents):
        if (folder / ".vscode").is_dir() or (folder / ".git").exists():
            return folder
    return root


def _configuration(run: Run, instance: Instance, workspace: Path) -> dict[str, Any]:
    from ..report.failure_text import DEBUGGING

    def seen(given: str | Path) -> str:
        path = Path(given)
        inside = path.is_relative_to(workspace)
        return f"${{workspaceFolder}}/{path.relative_to(workspace).as_posix()}" if inside else str(path)

    folder = [seen(instance.working_directory)] if instance.runs_in != "run" else []
    return {
        "name": f"ductaflow: {run.label}",
        "type": "debugpy",
        "request": "launch",
        "module": DEBUGGING,
        "args": [seen(instance.flow), seen(run.files.config), *folder],
        "cwd": seen(instance.working_directory),
        "console": "integratedTerminal",
        "justMyCode": False,
    }


def _extended(text: str, configuration: dict[str, Any]) -> str | None:
    """Return the text of a launch.json with a configuration added; None if it has it already.

    Raises:
        ValueError: If it cannot be extended safely.
    """
    if not text.strip():
        return (
            json.dumps({"version": "0.2.0", "configurations": [configuration]}, indent=4, ensure_ascii=False)
            + "\n"
        )
    data = json_comments.read(text)
    there = data.get("configurations") if isinstance(data, dict) else None
    for each in there if isinstance(there, list) else ():
        if isinstance(each, dict) and each.get("name") == configuration["name"]:
            if each == configuration:
                return None
            raise ValueError(f"as its {each['name']!r} has been changed")
    return json_comments.with_item(text, "configurations", configuration)
