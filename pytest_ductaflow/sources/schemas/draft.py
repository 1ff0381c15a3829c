"""Draft a first JSON Schema of a flow from the configs that exist."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.errors import DuctaflowError
from ...core.instance import RUNS, stem_of
from ...core.masking.names import is_secret, patterns_here
from ...core.run_directory import atomic, layout
from ..tables import NAME

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXAMPLES = 5  # values of a key that a draft shows
_LONGEST_EXAMPLE = 60  # characters
_ORDER = ("null", "boolean", "integer", "number", "string", "array", "object")


def schema_file(flow: Path, root: Path) -> Path:
    """Return where the JSON Schema of a flow's config is: `config/flows/{flow}.schema.json`."""
    return root / "config" / flow.parent.name / f"{flow.stem}.schema.json"


def known_configs(flow: Path, root: Path) -> list[Mapping[str, Any]]:
    """Return the configs of a flow: the one beside its schema, and those of its runs in `runs/`."""
    files = [root / "config" / flow.parent.name / f"{flow.stem}.json"]
    stem = stem_of(flow)
    files += [path for path in layout.past_configs(root / RUNS) if layout.stem_of_config(path) == stem]
    return list(_read(files))


def write_draft(flow: Path, root: Path, *, replace: bool = False) -> tuple[Path, int]:
    """Write a first schema for a flow; return its file, and of how many configs it was made.

    Raises:
        DuctaflowError: If the flow is not there, has no config, or has a schema that is not to be replaced.
    """
    path, configs = schema_file(flow, root), known_configs(flow, root)
    if not flow.is_file():
        raise DuctaflowError(f"{layout.display_path(flow, root)} is not there")
    if path.exists() and not replace:
        raise DuctaflowError(f"{layout.display_path(path, root)} is there already (--replace replaces it)")
    if not configs:
        beside = layout.display_path(path.with_name(f"{flow.stem}.json"), root)
        raise DuctaflowError(f"no config to make a schema of: neither {beside} nor one in {RUNS}/")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_json(path, draft_schema(configs, flow.stem))
    return path, len(configs)


def _read(files: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    for file in files:
        try:
            config = json.loads(file.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError):
            continue
        if isinstance(config, dict):
            yield config


def draft_schema(configs: Sequence[Mapping[str, Any]], title: str) -> dict[str, Any]:
    """Return a JSON Schema that all given configs meet, for a person to go on with.

    It has the types that were seen, examples of the values, and as required what all configs have; it allows
    further keys. Reserved keys, which begin with `_`, and `instance_name` are left out.

    Args:
        configs: At least one config.
        title: Name of the flow.
    """
    plain = [
        {key: value for key, value in config.items() if not key.startswith("_") and key != NAME}
        for config in configs
    ]
    return {"$schema": _DIALECT, "title": title, **_of_objects(plain)}


def _of_objects(objects: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    keys = list(dict.fromkeys(key for each in objects for key in each))
    properties = {key: _of_values([each[key] for each in objects if key in each]) for key in keys}
    patterns = patterns_here()
    for key in (each for each in keys if is_secret(each, patterns)):
        properties[key].pop("examples", None)
    required = [key for key in keys if all(key in each for each in objects)]
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": required} if required else schema


def _of_values(values: Sequence[Any]) -> dict[str, Any]:
    types = {_type_of(value) for value in values}
    if "number" in types:
        types.discard("integer")
    ordered = [name for name in _ORDER if name in types]
    schema: dict[str, Any] = {"type": ordered[0] if len(ordered) == 1 else ordered}
    if objects := [value for value in values if isinstance(value, dict)]:
        schema |= {key: part for key, part in _of_objects(objects).items() if key != "type"}
    if items := [item for value in values if isinstance(value, list) for item in value]:
        schema["items"] = _of_values(items)
    if examples := _examples(values):
        schema["examples"] = examples
    return schema


def _type_of(value: Any) -> str:
    kinds = (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "null")


def _examples(values: Sequence[Any]) -> list[Any]:
    """Return the first different values that are short: numbers and texts."""
    shown = [
        value
        for value in values
        if isinstance(value, int | float | str)
        and not isinstance(value, bool)
        and len(str(value)) <= _LONGEST_EXAMPLE
    ]
    return list({(type(value), value): value for value in shown}.values())[:_EXAMPLES]
