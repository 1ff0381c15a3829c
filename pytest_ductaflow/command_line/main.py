"""Provide the command `ductaflow`, and load each of its commands only if it is called.

So `ductaflow status` does not wait for pytest, pandas or papermill, which other commands import.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any

import click

from ..core.errors import DuctaflowError
from .shared.refusal import Refusal

# The commands in the order of the help: module, and what it does in one line.
COMMANDS = {
    "status": ("overview", "Count the instances of each step by how they ended."),
    "ls": ("overview", "List instances, the newest first."),
    "show": ("show", "Tell what is known of a run."),
    "logs": ("logs", "Print what a run has printed."),
    "why": ("why", "Tell why an instance would run, or not."),
    "diff": ("diff", "Compare config, results and outputs of two runs."),
    "lineage": ("lineage", "Show what a file was made from, and what depends on it."),
    "run": ("run", "Run a flow once, now."),
    "debug": ("debug", "Prepare a notebook, or VS Code, to look into a run."),
    "cancel": ("processes", "Stop a running session, or an instance in it."),
    "init": ("create", "Make a new project."),
    "new": ("create", "Make a new flow, build or conductor."),
    "schema": ("create", "Write a first JSON Schema from the configs of a flow."),
    "rm": ("remove", "Remove runs."),
    "gc": ("remove", "Remove the runs that nothing declares any more."),
    "restore": ("remove", "Restore the last good run of an instance."),
    "store": ("store", "Store runs in the repo, to replay and compare them in CI."),
    "merge": ("reports", "Merge the runs/ of jobs that shared the work."),
    "report": ("reports", "Make the report from the records in runs/."),
    "warm": ("processes", "List the processes that are kept warm, or stop them."),
}

_JSON = "--json"  # the option of those that print data


class _Commands(click.Group):
    """The group of all commands, each imported when it is needed."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[name][0]}", __package__)
        command: click.Command = getattr(module, name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from .shared.near import near

            what = f"there is no command {args[0]!r}{near(args[0], COMMANDS)}"
            raise Refusal(f"{what.removesuffix('?')}; all there are: ductaflow -h") from None

    def format_help(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the help on one screen; the commands are not imported for it."""
        formatter.write("Usage: ductaflow COMMAND … (ductaflow COMMAND -h tells more; --version)\n\n")
        for name, (_, text) in COMMANDS.items():
            formatter.write(f"  {name:<9}{text}\n")
        formatter.write("\nRUN is a path, step/instance, or a unique part of a name.\n")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = _JSON in args
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error is one message, with --json as data as well."""
        try:
            return self._invoke(ctx)
        except click.ClickException as error:
            if ctx.obj:
                from .shared.words import print_json

                print_json({"error": error.format_message()})
            raise

    def _invoke(self, ctx: click.Context) -> Any:
        """Run a command; whatever goes wrong is raised as an error with a message.

        Raises:
            ClickException: In that case.
        """
        try:
            return super().invoke(ctx)
        except DuctaflowError as error:
            raise Refusal(str(error)) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Refusal(f"{where}{error.strerror or error}") from None
        except Exception as error:
            if os.environ.get("DUCTAFLOW_TRACEBACK"):
                raise
            what = f"{type(error).__name__}: {error}"
            raise Refusal(
                f"an error of ductaflow itself, {what}; with DUCTAFLOW_TRACEBACK=1 in the environment the "
                "same command prints where, for a bug report"
            ) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pytest-ductaflow")
def main() -> None:
    """Look at what `pytest --ductaflow` leaves in runs/, and work with it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # ⚠️ in an output must not fail where the locale is C
            stream.reconfigure(errors="backslashreplace")


if "_DUCTAFLOW_COMPLETE" in os.environ:
    from .shared import completion  # noqa: F401 - registers itself with click
