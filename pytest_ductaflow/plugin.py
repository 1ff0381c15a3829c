"""pytest's entry point: options, and the hooks of each concern if `--ductaflow` is on.

Imported in every pytest run of everyone who has this package installed, so it imports next to
nothing itself.
"""

from __future__ import annotations

import pytest

from .settings import OPTIONS, Option, Settings


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("ductaflow", "notebook-style flows as test items")
    for option in OPTIONS:
        if option.name == "on":
            group.addoption(option.flag, dest=option.ini, action="store_true", default=None, help=option.help)
        else:
            group.addoption(
                option.flag,
                dest=option.ini,
                choices=option.choices,
                metavar=option.metavar,
                default=None,
                help=option.help,
            )
        text = f"{option.help} (as {option.flag})"
        if option.name == "on":
            parser.addini(option.ini, text, type="bool", default=False)
        else:
            parser.addini(option.ini, text, default="")


def settings_of(config: pytest.Config) -> Settings:
    """The session's settings.

    Raises:
        pytest.UsageError: If a value cannot be understood.
    """

    def given(option: Option) -> object:
        return config.getoption(option.ini)

    def ini(option: Option) -> str:
        return str(config.getini(option.ini))

    try:
        return Settings.resolve(given, ini)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_configure(config: pytest.Config) -> None:
    if not (config.getoption("ductaflow") or config.getini("ductaflow")):
        return
    settings = settings_of(config)
    if not settings.on:
        return
    from .collection import CollectionHooks
    from .items import SETTINGS, OutcomeHooks

    config.stash[SETTINGS] = settings
    config.pluginmanager.register(CollectionHooks(config), "ductaflow-collection")
    config.pluginmanager.register(OutcomeHooks(), "ductaflow-outcomes")
    if not hasattr(config, "workerinput"):
        from .reporting import ReportingHooks

        config.pluginmanager.register(ReportingHooks(config), "ductaflow-reporting")
