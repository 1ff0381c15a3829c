"""Tell by their names which config keys and environment variables hold secrets."""

from __future__ import annotations

import fnmatch
import json
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

from ..run_directory.build_variable import surrounding_build

VARIABLE = "DUCTAFLOW_SECRETS"  # patterns for scripts, which read no ini file
_OURS = ("DUCTAFLOW_", "_DUCTAFLOW_")  # variables that are never secrets
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_WORDS = (
    *("password", "passwords", "passwd", "passphrase", "passphrases", "secret", "secrets"),
    *("apikey", "apikeys", "credential", "credentials"),
    "token",  # not `tokens`, which language models count
)
_BEFORE_KEY = {"api", "access", "private", "secret", "auth", "account", "encryption", "signing", "master"}
# Last words of names that are about a secret and not one: `password_file`, `token_url`, `secret_name`.
_ABOUT = {
    *("file", "files", "path", "dir", "directory", "folder", "url", "uri", "host", "name", "names", "type"),
    *(
        "kind",
        "count",
        "length",
        "size",
        "limit",
        "max",
        "min",
        "policy",
        "expiry",
        "ttl",
        "column",
        "pattern",
    ),
}

_told: tuple[str, ...] = ()


def use(patterns: Iterable[str]) -> None:
    """Take the patterns of `ductaflow_secrets` as those of this process."""
    global _told  # noqa: PLW0603 - a process has one session at a time
    _told = tuple(patterns)


def patterns_here() -> tuple[str, ...]:
    """Return the patterns of this process: of the session, the environment and a build around it."""
    build = surrounding_build()
    of_build = json.loads(build[1]).get("secrets", ()) if build is not None else ()
    return (*_told, *os.environ.get(VARIABLE, "").split(), *of_build)


@lru_cache(maxsize=4_096)
def is_secret(name: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a name is that of a secret.

    Args:
        name: A config key, dotted if it is in a group, or an environment variable.
        patterns: Patterns of further names; with `!` in front, of names that are not. They are compared with
            the whole name and with its last part, whatever the case; the last one that fits counts. Those of
            this process are `patterns_here`.
    """
    lower = name.lower()
    for pattern in reversed(patterns):
        bare = pattern.removeprefix("!").lower()
        if any(fnmatch.fnmatchcase(part, bare) for part in (lower, lower.rpartition(".")[2])):
            return not pattern.startswith("!")
    return not name.startswith(_OURS) and _looks_secret(name)


def _looks_secret(name: str) -> bool:
    words = [word.lower() for word in _WORD.findall(name.rpartition(".")[2])]
    if not words or words[-1] in _ABOUT:
        return False
    is_key = any(first in _BEFORE_KEY and second in ("key", "keys") for first, second in pairwise(words))
    return is_key or any(word.endswith(_WORDS) for word in words)


def may_be_number(name: str) -> bool:
    """Return whether a number under a secret's name is one: `password: 1234`, but not `max_token: 512`."""
    words = [word.lower() for word in _WORD.findall(name.rpartition(".")[2])]
    return not any(word.endswith("token") for word in words)
