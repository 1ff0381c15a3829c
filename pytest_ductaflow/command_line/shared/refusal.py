"""The error with which a command refuses to do something: one message, exit code 2."""

from __future__ import annotations

import click

REFUSED = 2  # exit code; 1 means that instances failed, or that runs differ


class Refusal(click.ClickException):
    """A message for the user: what is wrong, where, and what to do."""

    exit_code = REFUSED
