"""Configs without their secrets, and with them again for the flow.

A secret is taken out of a config where an instance is declared, so that whatever shows or writes the config
has only a mask. The value stays beside it, in the memory of the processes that run the instance.
`${env:NAME}` stays as it is until the flow starts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from ..errors import SecretMissing
from ..instance import Instance
from .names import is_secret, may_be_number, patterns_here

MASK = "•••"
LEAST = 4  # characters of a secret that is masked in texts; a shorter one would be found everywhere
_LEAST_ELSEWHERE = 8  # characters of a variable's value that is taken for it under any key
_REFERENCE = re.compile(r"\$\{env:([A-Za-z_][A-Za-z_0-9]*)\}")
_ROUNDS = 20_000  # of a digest, which takes about ten milliseconds
_NO_SECRETS = frozenset({"", "true", "false", "none", "null", "yes", "no", "auto"})

Path = tuple[str | int, ...]
Secrets = tuple[tuple[Path, Any], ...]


def names_by_value(environment: Mapping[str, str], referenced: Collection[str] = ()) -> dict[str, str]:
    """Return the environment variables that hold secrets: name by value, the longest value first.

    Args:
        environment: Environment variables.
        referenced: Names of further ones whose values are not to be written.
    """
    patterns = patterns_here()
    found = {
        value: name
        for name, value in environment.items()
        if (name in referenced or is_secret(name, patterns)) and _is_worth_masking(value)
    }
    return {value: found[value] for value in sorted(found, key=len, reverse=True)}


def _is_worth_masking(value: str) -> bool:
    return len(value) >= LEAST and value.lower() not in _NO_SECRETS


def without_secrets(config: Mapping[str, Any], known: Mapping[str, str]) -> tuple[dict[str, Any], Secrets]:
    """Return a config with masks, or references to the environment, in place of secrets, and the secrets.

    Args:
        config: Plain JSON.
        known: Environment variables as of `names_by_value`; their values are replaced by references.

    Returns:
        The config, and path and value of each secret that has been taken out.

    Raises:
        SecretMissing: If there is a mask in place of a value.
    """
    taken: list[tuple[Path, Any]] = []
    patterns = patterns_here()

    def bare(value: Any, path: Path, *, hidden: bool) -> Any:
        if isinstance(value, Mapping):
            return {
                key: bare(each, (*path, key), hidden=hidden or is_secret(dotted((*path, key)), patterns))
                for key, each in value.items()
            }
        if isinstance(value, list):
            return [bare(each, (*path, number), hidden=hidden) for number, each in enumerate(value)]
        if isinstance(value, str):
            if value == MASK:
                raise SecretMissing(_masked(dotted(path)))
            if not hidden:
                return with_references(value, known)
            if not value.strip() or _REFERENCE.search(value):
                return value
            if value in known:
                return f"${{env:{known[value]}}}"
        elif not hidden or not _is_number(value) or not may_be_number(dotted(path)):
            return value
        taken.append((path, value))
        return MASK

    return bare(config, (), hidden=False), tuple(taken)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def with_references(text: str, known: Mapping[str, str]) -> str:
    """Return a text with references in place of values of environment variables, as of `names_by_value`."""
    for value, name in known.items():
        if len(value) >= _LEAST_ELSEWHERE and value in text:
            text = text.replace(value, f"${{env:{name}}}")
    return text


def dotted(path: Path) -> str:
    """Return a path in a config as a name; positions in lists are left out."""
    if len(path) == 1:  # most are, in configs of thousands of rows
        return str(path[0])
    return ".".join(part for part in path if isinstance(part, str))


def with_secrets(config: Mapping[str, Any], found: Secrets, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return a config as its flow gets it: with the secrets, and with the values of environment variables.

    Raises:
        SecretMissing: If a variable is not set, or the value of a mask is not known; all are named.
    """
    values = dict(found)
    missing: list[str] = []

    def whole(value: Any, path: Path) -> Any:
        if path in values:
            return values[path]
        if isinstance(value, Mapping):
            return {key: whole(each, (*path, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [whole(each, (*path, number)) for number, each in enumerate(value)]
        if not isinstance(value, str):
            return value
        absent = [name for name in _REFERENCE.findall(value) if name not in environment]
        missing.extend(
            f"config key {dotted(path)!r}: environment variable {name} is not set" for name in absent
        )
        if value == MASK:
            missing.append(_masked(dotted(path)))
        return _REFERENCE.sub(lambda match: environment.get(match[1], ""), value)

    filled = whole(config, ())
    if missing:
        raise SecretMissing("; ".join(missing))
    return dict(filled)


def _masked(key: str) -> str:
    return (
        f"config key {key!r} is masked ({MASK}): values of secrets are not written. Run it by what declares "
        "it, or put ${env:NAME} there, with the value in an environment variable"
    )


def secret_in_name(name: str, what: str, found: Secrets, known: Mapping[str, str]) -> str | None:
    """Return why a name cannot be that of an instance or step: it contains a secret; None if it does not.

    Args:
        name: The name.
        what: What it is the name of, for the message.
        found: Path and value of each secret of the instance.
        known: Environment variables as of `names_by_value`.
    """
    if (other := with_references(name, known)) != name:
        return f"{what} contains the value of an environment variable that is a secret ({other})"
    for path, value in found:
        if len(str(value)) >= LEAST and str(value) in name:
            return f"{what} contains the value of {dotted(path)!r}, which is a secret"
    return None


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, each in items:
            yield from _leaves(each, (*path, key))
    else:
        yield path, value


def references_in(config: Mapping[str, Any]) -> list[str]:
    """Return the names of the environment variables to which a config refers, each once."""
    texts = (value for _, value in _leaves(config) if isinstance(value, str) and "${env:" in value)
    return list(dict.fromkeys(name for text in texts for name in _REFERENCE.findall(text)))


def environment_for(instance: Instance) -> dict[str, str]:
    """Return the environment variables of this process, as the conductor of an instance has changed them."""
    changed = dict(instance.variables)
    return {
        name: value
        for name, value in {**os.environ, **changed}.items()
        if value is not None and changed.get(name, "") is not None
    }


def values_to_mask(instances: Iterable[Instance], environment: Mapping[str, str]) -> set[str]:
    """Return the texts that must not appear in what is kept of runs.

    Args:
        instances: The instances, with their secrets.
        environment: Environment variables of their kernels: those with names of secrets, and those to which a
            config refers, except paths that exist.
    """
    patterns = patterns_here()
    names = {name for name in environment if is_secret(name, patterns)}
    values = set[str]()
    for instance in instances:
        referenced = (name for name in references_in(instance.config) if name not in names)
        names |= {name for name in referenced if not os.path.exists(environment.get(name, ""))}
        values |= {value if isinstance(value, str) else json.dumps(value) for _, value in instance.secrets}
    values |= {environment.get(name, "") for name in names}
    return {*filter(_is_worth_masking, values)}


_salt = secrets.token_hex(8)  # of the digests that this process makes


def digests_of_secrets(instance: Instance) -> dict[str, str]:
    """Return a salted digest of each secret that an instance is given, by its key or `${env:NAME}`."""
    return {name: _digest(value, _salt) for name, value in _named(instance)}


def changed_secrets(instance: Instance, digests: Mapping[str, str]) -> list[str]:
    """Return the names of secrets that are others than in an earlier run, by the digests that were kept."""
    now = dict(_named(instance))
    kept = [name for name in now if name in digests and _is_digest(now[name], digests[name])]
    return sorted({*now, *digests} - {*kept})


def _named(instance: Instance) -> Iterator[tuple[str, str]]:
    for path, value in instance.secrets:
        yield ".".join(map(str, path)), json.dumps(value)
    if references := references_in(instance.config):
        environment = environment_for(instance)
        for name in references:
            yield f"${{env:{name}}}", json.dumps(environment.get(name))


def _is_digest(value: str, digest: str) -> bool:
    return hmac.compare_digest(_digest(value, digest.partition(":")[0]), digest)


@lru_cache(maxsize=4_096)
def _digest(value: str, salt: str) -> str:
    made = hashlib.pbkdf2_hmac("sha256", value.encode(errors="surrogatepass"), salt.encode(), _ROUNDS)
    return f"{salt}:{made.hex()[:32]}"
