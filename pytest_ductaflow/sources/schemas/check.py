"""Check a config against the JSON Schema of its flow, and say what was expected."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from ...core.number_text import listed
from ...core.problem import Problem
from ..tables import NAME

_KINDS = {
    "integer": "an integer",
    "number": "a number",
    "string": "a text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a group of values",
    "null": "nothing",
}
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "matching {!r}",
    "format": "as {}",
}


def problems_of_schema(
    config: Mapping[str, Any], schema: Any, where: str, kind: str = "column"
) -> list[Problem]:
    """Return how a config violates its JSON Schema; reserved keys and the name are ignored unless declared.

    A schema that is invalid, or has a reference that cannot be resolved, is a problem as well.

    Args:
        config: The config.
        schema: The schema.
        where: Where the config is, for messages.
        kind: What its values are to the user.
    """
    validator, wrong = _validator(json.dumps(schema))
    if wrong:
        return [Problem(where, f"the flow's JSON Schema is not valid: {wrong}")]
    known = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    plain_config = {
        key: value
        for key, value in config.items()
        if key in known or not (key.startswith("_") or key == NAME)
    }
    try:
        return [
            problem
            for error in validator.iter_errors(plain_config)
            for problem in _problems(error, where, kind)
        ]
    except Exception as error:  # from unresolvable references and invalid patterns
        return [Problem(where, f"the flow's JSON Schema cannot be used: {type(error).__name__}: {error}")]


def _problems(error: Any, where: str, kind: str) -> Iterator[Problem]:
    """Yield the problems of a violation: one for each column that is missing or not known, else one."""
    path = list(map(str, error.absolute_path))
    properties = error.schema.get("properties", {}) if isinstance(error.schema, Mapping) else {}
    if error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                column = ".".join([*path, name])
                yield Problem(f"{where}, {kind} {column!r}", "is missing", expected(properties.get(name)))
        return
    if error.validator == "additionalProperties" and error.validator_value is False:
        patterns = error.schema.get("patternProperties", {})
        unknown = [name for name in error.instance if name not in properties]
        for name in unknown if not patterns else ():
            near = difflib.get_close_matches(name, properties, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {listed(properties)}"
            column = ".".join([*path, name])
            yield Problem(f"{where}, {kind} {column!r}", "is not in the flow's JSON Schema", hint)
        if not patterns:
            return
    told = expected(error.schema)
    yield Problem(f"{where}, column {'.'.join(path) or '(all)'!r}", error.message, told if path else "")


def expected(schema: Any) -> str:
    """Return what a schema allows, in words: "expected an integer, at least 0"; "" if it does not say."""
    if not isinstance(schema, Mapping):
        return ""
    parts: list[str] = []
    if "const" in schema:
        parts = [repr(schema["const"])]
    elif isinstance(schema.get("enum"), list):
        parts = [f"one of {listed(map(repr, schema['enum']))}"]
    elif "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        parts = [" or ".join(_KINDS.get(str(kind), str(kind)) for kind in kinds)]
    parts += [text.format(schema[key]) for key, text in _LIMITS.items() if _is_limit(schema.get(key))]
    return f"expected {', '.join(parts)}" if parts else ""


def _is_limit(value: Any) -> bool:
    return value is not None and not isinstance(value, bool)  # as `exclusiveMinimum` is in draft 4


@lru_cache(maxsize=64)  # checking a schema takes longer than checking a config, and rows share schemas
def _validator(text: str) -> tuple[Any, str]:
    """Return the validator of a schema given as JSON, and what is wrong with it ("" if nothing)."""
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    schema = json.loads(text)
    dialect = schema.get("$schema", "") if isinstance(schema, dict) else ""
    if not isinstance(dialect, str):
        return None, f"$schema is {dialect!r}, expected a text"
    kind = validator_for(schema if isinstance(schema, dict) else True)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        return None, error.message
    return kind(schema), ""
