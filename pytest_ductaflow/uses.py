"""What a kernel told of the files and packages that a flow used."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Used:
    """What a kernel told of a flow.

    Attributes:
        uses: Pairs of a use (one of `kernel_trace`) and an absolute path.
        since: By path, when it was first used, in nanoseconds since the epoch.
        modules: Source files of imported modules outside of the interpreter's own folders.
        packages: Top-level names of what was imported.
        python: Version of the interpreter; "" where the kernel speaks another language or has died.
        executable: The interpreter.
        prefixes: Where it is installed.
        path: Its `sys.path`.
    """

    uses: tuple[tuple[str, str], ...] = ()
    since: Mapping[str, int] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    python: str = ""
    executable: str = ""
    prefixes: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    @classmethod
    def told(cls, trace: Path, last_words: Mapping[str, Any]) -> Self:
        """From the file that `kernel_trace.begin` names and the answer of `kernel_trace.used`."""
        uses = set()
        since: dict[str, int] = {}
        with contextlib.suppress(OSError):  # a kernel of another language leaves none
            for line in trace.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
                with contextlib.suppress(ValueError, TypeError):  # torn: the kernel died over it
                    use, path, moment = json.loads(line)
                    uses.add((use, path))
                    since.setdefault(path, moment)
        lists = ("modules", "packages", "prefixes", "path")
        words: dict[str, Any] = {
            name: tuple(value) if name in lists else value for name, value in last_words.items()
        }
        return cls(uses=tuple(sorted(uses)), since=since, **words)

    def of(self, *uses: str) -> set[str]:
        return {path for use, path in self.uses if use in uses}

    def renamed(self, real_names: Mapping[str, str]) -> Self:
        """The same with paths as the project calls them, where links lead elsewhere."""

        def name(path: str) -> str:
            for real, given in real_names.items():
                if path == real or path.startswith(os.path.join(real, "")):
                    return given + path[len(real) :]
            return path

        if not real_names:
            return self
        return replace(
            self,
            uses=tuple((use, name(path)) for use, path in self.uses),
            since={name(path): moment for path, moment in self.since.items()},
            modules=tuple(name(path) for path in self.modules),
        )
