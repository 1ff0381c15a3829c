"""Do without xdist's workers where nothing has to run: finding that out is faster than starting them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from ...core.instance import Instance
from ...core.settings import Settings
from ...planning.plan import Plan
from ..item_names import with_their_dots
from ..items import SETTINGS, node_id_of

_OF_XDIST = ("dsession", "terminaldistreporter")  # plugins of a session with workers


def needs_no_workers(config: pytest.Config, plan: Plan) -> bool:
    """Return whether workers would only find that everything is unchanged.

    Where there may be something else than instances, as tests in a folder, they are needed. What has to run
    after all, because it has changed in the meantime, is run by this process.
    """
    settings = config.stash[SETTINGS]
    if settings.accept or settings.force or settings.engine:
        return False
    if not config.getoption("numprocesses", None) or config.getoption("px", None):
        return False
    arguments = with_their_dots(config.args, config)
    if any(_file_of(argument, config) not in plan.instances for argument in arguments):
        return False
    asked_for = [[*_asked_for(argument, config, plan)] for argument in arguments]
    return all(asked_for) and all(
        _is_unchanged(*each, settings, plan) for found in asked_for for each in found
    )


def leave_workers_out(config: pytest.Config) -> None:
    """Have this process run everything; called at the beginning of the session, before xdist's own hook."""
    for name in _OF_XDIST:
        config.pluginmanager.unregister(name=name)
    config.option.dist = "no"
    config.pluginmanager.register(_NoNodes(), "ductaflow-no-nodes")
    if (terminal := config.pluginmanager.get_plugin("terminalreporter")) is not None:
        terminal.showfspath = None  # as it is without xdist


class _NoNodes:
    """The hooks that take from xdist, whose session has begun, what it would start, and tell so."""

    def pytest_report_header(self) -> str:
        return "ductaflow: no instance has to run, so no workers are started"

    @pytest.hookimpl(optionalhook=True, wrapper=True, tryfirst=True)
    def pytest_xdist_setupnodes(self, config: pytest.Config, specs: list[object]) -> Generator[None]:
        """Empty the list of workers after all others have seen it."""
        yield
        specs.clear()
        config.option.tx, config.option.numprocesses = [], 0


def _file_of(argument: str, config: pytest.Config) -> Path:
    return Path(os.path.abspath(config.invocation_params.dir / argument.partition("::")[0]))


def _is_unchanged(number: int, instance: Instance, settings: Settings, plan: Plan) -> bool:
    from ...running.run_instance import unchanged_record

    with contextlib.suppress(Exception):  # raised again where the instance is run, and told there
        return unchanged_record(instance, settings, plan.neighbours(number)) is not None
    return False


def _asked_for(argument: str, config: pytest.Config, plan: Plan) -> Iterator[tuple[int, Instance]]:
    """Yield the instances, with their numbers, that an argument names or whose source or step it names."""
    path, asked = _file_of(argument, config), argument.partition("::")[2]
    for number, instance in zip(plan.numbers[path], plan.instances[path], strict=True):
        own = node_id_of(path, instance, config.rootpath).partition("::")[2]
        if instance.selected and (not asked or f"{own}::".startswith(f"{asked}::")):
            yield number, instance
