"""Provide pytest's entry point: options, and the hooks of each concern if `--ductaflow` is on.

Every pytest run imports this module where the package is installed, so it imports next to nothing
itself.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from .api.pytest_imports import importing
from .core.instance import RUNS
from .core.settings import OPTIONS, Option, Settings


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ductaflow", "notebook-style flows as test items")
    for option in OPTIONS:
        if option.on_command_line and option.is_switch:
            action = "store_false" if option.default else "store_true"
            group.addoption(option.flag, dest=option.ini, action=action, default=None, help=option.help)
        elif option.on_command_line:
            group.addoption(
                option.flag,
                dest=option.ini,
                action="append" if option.is_list else "store",
                choices=option.choices,
                metavar=option.metavar,
                default=None,
                help=option.help,
            )
        if option.in_ini:
            same = f" (as {option.flag}{', if false' if option.default is True else ''})"
            text = option.help + (same if option.on_command_line else "")
            if option.is_switch:
                parser.addini(option.ini, text, type="bool", default=option.default)
            else:
                parser.addini(option.ini, text, default="")


def settings_of(config: pytest.Config) -> Settings:
    """Return the session's settings.

    Raises:
        pytest.UsageError: If a value is invalid.
    """

    def given(option: Option) -> object:
        return config.getoption(option.ini) if option.on_command_line else None

    def ini(option: Option) -> str:
        return str(config.getini(option.ini)) if option.in_ini else ""

    try:
        return Settings.resolve(given, ini)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    from .pytest_hooks import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    if not config.getoption("ductaflow_graph"):
        return None
    from .pytest_hooks.explain import print_graph

    return print_graph(config)


def pytest_configure(config: pytest.Config) -> None:
    if not (config.getoption("ductaflow") or config.getini("ductaflow")):
        return
    settings = settings_of(config)
    if not settings.on:
        return
    if settings.keep_kernel:
        if os.name != "posix":
            raise pytest.UsageError("--ductaflow-keep-kernel works on Linux and macOS only")
        settings = replace(settings, fork=False)  # what is forked ends with the session
    from .core.masking.names import use as use_patterns
    from .core.run_directory import build_variable
    from .core.system.lineage import begin_session
    from .core.system.quick_exit import skip_last_collection
    from .pytest_hooks.collection import SESSION_KEY, CollectionHooks, add_stored_instances
    from .pytest_hooks.debugging.post_mortem import DebuggingHooks
    from .pytest_hooks.items import SETTINGS, OutcomeHooks, hurry
    from .pytest_hooks.ordering import OrderHooks
    from .pytest_hooks.retrying import RetryHooks
    from .pytest_hooks.stopping import StoppingHooks

    skip_last_collection()
    stack = contextlib.ExitStack()
    stack.enter_context(build_variable.outside_of_builds())  # a flow may start a session of its own
    config.add_cleanup(stack.close)
    config.stash[SETTINGS] = settings
    use_patterns(settings.secrets)
    begin_session(getattr(config, "workerinput", {}).get(SESSION_KEY, ""), settings.tag)
    add_stored_instances(config, settings)
    register = config.pluginmanager.register
    register(StoppingHooks(hurry), "ductaflow-stopping")
    register(CollectionHooks(config), "ductaflow-collection")
    register(OutcomeHooks(config), "ductaflow-outcomes")
    register(OrderHooks(), "ductaflow-order")
    register(DebuggingHooks(), "ductaflow-debugging")
    is_worker = hasattr(config, "workerinput")
    register(RetryHooks(is_distributed=is_worker), "ductaflow-retries")
    if settings.shard is not None:
        from .pytest_hooks.sharding import ShardHooks

        register(ShardHooks(config, settings.shard, is_worker=is_worker), "ductaflow-shard")
    if settings.explain:
        from .pytest_hooks.explain import ExplainHooks

        config.option.dist, config.option.tx = "no", []  # xdist: this process alone
        register(ExplainHooks(), "ductaflow-explaining")
        return
    from .pytest_hooks.unchanged import UnchangedHooks

    _register_distribution(config, settings, is_worker=is_worker)
    register(UnchangedHooks(config), "ductaflow-unchanged")
    if not is_worker:
        _register_reporting(config, settings)


def _register_distribution(config: pytest.Config, settings: Settings, *, is_worker: bool) -> None:
    """Register what has others run the instances: an engine, or xdist."""
    register = config.pluginmanager.register
    if settings.engine and not settings.accept and not is_worker:
        from .pytest_hooks.distribution.engine_hooks import EngineHooks

        register(EngineHooks(config, settings.engine), "ductaflow-engine")
    if config.pluginmanager.hasplugin("xdist"):
        from .pytest_hooks.distribution.xdist_scheduler import ControllerHooks, WorkerHooks

        register(WorkerHooks() if is_worker else ControllerHooks(), "ductaflow-xdist")


def _register_reporting(config: pytest.Config, settings: Settings) -> None:
    """Register what follows the whole session: in the only process, or in the controller of xdist."""
    from .pytest_hooks.reporting import ReportingHooks
    from .pytest_hooks.terminal.progress import Progress
    from .pytest_hooks.terminal.similar_failures import SimilarFailures
    from .pytest_hooks.terminal.status_line import ProgressHooks

    register, progress = config.pluginmanager.register, Progress()
    alike = SimilarFailures(config.get_verbosity(), config.getoption("tbstyle", "auto"))
    register(alike, "ductaflow-causes")
    register(ReportingHooks(config, progress, alike), "ductaflow-reporting")
    register(ProgressHooks(config, progress), "ductaflow-progress")
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from .pytest_hooks.mirrors.github import GithubHooks

        register(GithubHooks(config, os.environ), "ductaflow-github")
    if settings.keep_kernel:
        from .pytest_hooks.debugging.kept_kernels import KeptKernelHooks

        register(KeptKernelHooks(), "ductaflow-kept-kernels")
    if settings.prefect is not None:
        from .pytest_hooks.mirrors.prefect_hooks import register_mirror

        register_mirror(config, settings.prefect)
    if settings.keep_warm is not None and settings.fork:
        config.add_cleanup(partial(_keep_warm, settings.keep_warm))
    if settings.update:
        from .pytest_hooks.update import UpdateHooks, refuse_in_ci

        refuse_in_ci(settings, os.environ)
        register(UpdateHooks(), "ductaflow-updating")


def _keep_warm(seconds: float) -> None:
    from .planning.processes.stay_warm import leave_behind

    leave_behind(seconds)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore files that flows have left in run directories, unless these are named as arguments."""
    given = (Path(config.invocation_params.dir, name.partition("::")[0]) for name in config.args)
    if not _is_below_runs(collection_path, config) or any(_is_below_runs(path, config) for path in given):
        return None
    from .core.run_directory.layout import is_run_directory

    return True if is_run_directory(collection_path) else None


def _is_below_runs(path: Path, config: pytest.Config) -> bool:
    place = os.path.relpath(path, config.rootpath)
    return RUNS in Path(place).parts


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a conductor collected as a test module; it runs nothing, even if it catches exceptions."""
    with importing() as refused:
        report = yield
    if refused:
        from _pytest.reports import CollectErrorRepr

        report.outcome, report.result = "failed", []
        report.longrepr = CollectErrorRepr(_not_a_test(collector, refused))
    return report


def _not_a_test(collector: pytest.Collector, refused: Sequence[str]) -> str:
    """Return the message for a conductor collected as a test module, with the command to run instead."""
    from .report.failure_text import quoted

    config = collector.config
    path = os.path.relpath(collector.path, config.invocation_params.dir).replace(os.sep, "/")
    name = os.path.basename(path)
    what = f"{refused[0]} would run while pytest only looks for tests, so nothing has run."
    names = settings_of(config).files
    is_test = any(fnmatch.fnmatch(name, pattern) for pattern in config.getini("python_files"))
    if is_test and not any(fnmatch.fnmatch(name, pattern) for pattern in names):
        other = os.path.join(os.path.dirname(path), _conductor_name(name))
        rename = f"\n{name} is called as a file of tests is. If it is a conductor, rename it to {other}, and"
        return f"{what}{rename}\nrun it with: pytest --ductaflow {quoted(other)}"
    return f"{what}\nrun it with: pytest --ductaflow {quoted(path)}"


def _conductor_name(name: str) -> str:
    """Return a conductor's file name for a file that is named like a test."""
    stem = os.path.splitext(name)[0].removeprefix("test_").removesuffix("_test")
    return f"{stem}_conductor.py"
