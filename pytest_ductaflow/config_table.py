"""A config as people read it: Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHOWN = 50  # characters of a value


def generate_config_markdown(config: Mapping[str, Any], flow_name: str | None = None) -> str:
    """A config as Markdown tables: one for the plain values, one for each nested group.

    Args:
        config: The config.
        flow_name: For the heading.
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
    rows = [f"| {_cell(key)} | {_cell(_shown(value))} |" for key, value in values.items()]
    return ["\n".join(["| Parameter | Value |", "|-----------|-------|", *rows])]


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
