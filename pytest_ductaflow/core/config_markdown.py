"""Show a config to people as Markdown tables, shortened where it is too long to read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .masking.config import MASK
from .masking.names import is_secret, patterns_here

_SHOWN = 50  # characters of a value
_LONG_VALUE = 10_000  # characters beyond which only the beginning of a value is shown
_LONG_CONFIG = 100_000  # characters after which values are only counted
_BEGINNING = 1_000


def generate_config_markdown(config: Mapping[str, Any], flow_name: str | None = None) -> str:
    """Return a config as Markdown tables: one for the plain values, one for each nested group.

    Args:
        config: The config.
        flow_name: Name for the heading.
    """
    if not config:
        return "**No configuration provided**\n"
    title = f"## Configuration for {flow_name}" if flow_name else "## Configuration"
    groups = {key: value for key, value in config.items() if isinstance(value, Mapping) and value}
    values = {key: value for key, value in config.items() if key not in groups}
    parts = [title, *_table(values)]
    for key, group in groups.items():
        parts += [f"### {key.replace('_', ' ').title()}", *_table(group)]
    return "\n\n".join(parts) + "\n"


def _table(values: Mapping[str, Any]) -> list[str]:
    if not values:
        return []
    patterns = patterns_here()
    rows = [
        f"| {_cell(key)} | {_cell(_shown(_masked(key, value, patterns)))} |" for key, value in values.items()
    ]
    return ["\n".join(["| Parameter | Value |", "|-----------|-------|", *rows])]


def _masked(key: str, value: Any, patterns: tuple[str, ...]) -> Any:
    """Return a value, or a mask if its key is that of a secret that has not been taken out."""
    is_text = isinstance(value, str | int | float) and not isinstance(value, bool)
    is_known = isinstance(value, str) and "${env:" in value
    return MASK if is_text and not is_known and is_secret(key, patterns) else value


def _shown(value: Any) -> str:
    if value is None:
        return "*None*"
    if isinstance(value, bool):
        return "✓" if value else "✗"
    if isinstance(value, list | tuple):
        value = ", ".join(str(item) for item in value)
    if isinstance(value, Mapping):
        return f"*{len(value)} items*"
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def in_part(text: str) -> str:
    """Return a text, or only its beginning and its length if it is too long to read."""
    if len(text) <= _LONG_VALUE:
        return text
    return f"{text[:_BEGINNING]}… {len(text):,} characters; see the config file"


def readable_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config shortened for reading: long values cut to text, and only the first of very many."""
    room, patterns = _LONG_CONFIG, patterns_here()

    def readable(group: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal room
        shown: dict[str, Any] = {}
        for number, (key, value) in enumerate(group.items()):
            if room <= 0:
                shown["…"] = f"{len(group) - number:,} more values; see the config file"
                break
            room -= min(len(key), _LONG_VALUE)
            if isinstance(value, Mapping) and value:
                shown[in_part(key)] = readable(value)
                continue
            is_single = value is None or isinstance(value, str | int | float)  # most are, and need no JSON
            value = _masked(key, value, patterns)  # noqa: PLW2901 - of configs that were written with their secrets
            text = str(value) if is_single else json.dumps(value, default=str)
            brief = in_part(text)
            shown[in_part(key)] = value if brief == text else brief
            room -= len(brief)
        return shown

    return readable(config)
