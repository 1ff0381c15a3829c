"""Let those workers run instances that are as the session's process is, and know what they offer.

A worker that is let in offers a resource that no other session knows, as much as it has threads; each task
asks for it. So workers that have come later, and are not looked at yet, get nothing to run.
"""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from ....core.errors import EngineError
from ....core.instance import RUNS
from ....core.run_directory.layout import LOCKS
from ..sync import receive
from . import on_worker, probe
from .by_value import by_value

_PACKAGE = "pytest-ductaflow"
_GONE = "it has gone in the meantime"


@dataclass(frozen=True)
class Offer:
    """What a worker that was let in offers.

    Attributes:
        name: Its name for people.
        threads: Number of instances of one core that it runs at a time.
        memory: Bytes that they may use together.
        resources: Amounts of its resources, by name.
    """

    name: str
    threads: int
    memory: int
    resources: Mapping[str, float] = field(default_factory=dict)

    def has(self, cores: int, memory: int | None, resources: Mapping[str, float]) -> bool:
        """Return whether it could run what asks for so much, if it ran nothing else."""
        has_others = all(amount <= self.resources.get(name, 0) for name, amount in resources.items())
        return cores <= self.threads and (memory or 0) <= self.memory and has_others


class Admission:
    """The workers of a cluster, as far as a session uses them.

    Args:
        client: Client of the scheduler.
        session: Id of the session.
        roots: The project roots.
        needed: Versions of the distributions that flows import, by name.
        variables: Environment variables to which configs refer.
        projects: Archives of the projects by their roots, for workers that do not share the file system; None
            if they do.

    Attributes:
        offers: The workers that were let in, by address.
        ticket: Name of the resource that only they have.
    """

    def __init__(
        self,
        client: Any,
        session: str,
        roots: Sequence[str],
        needed: Mapping[str, str],
        variables: Mapping[str, str],
        projects: Mapping[str, bytes] | None = None,
    ) -> None:
        self._client = client
        self._session = session
        self._roots = roots if projects is None else ()
        self._projects = projects
        self._needed = {**needed, _PACKAGE: metadata.version(_PACKAGE)}
        self._variables = variables
        self._refused: set[str] = set()
        self.offers: dict[str, Offer] = {}
        self.ticket = f"ductaflow-{session}"

    def look(self) -> list[str]:
        """Let in the workers that have come, and forget those that have gone.

        Returns:
            Why others are not let in, a line for each.
        """
        there = self._client.scheduler_info(n_workers=-1)["workers"]
        for gone in self.offers.keys() - there.keys():
            del self.offers[gone]
        new = [address for address in there if address not in self.offers.keys() | self._refused]
        if not new:
            return []
        wrong = self._differences(new)
        wrong |= self._let_in({address: there[address] for address in new if address not in wrong}, there)
        wrong = {address: why for address, why in wrong.items() if why != _GONE}
        self._refused |= wrong.keys()
        names = {address: on_worker.name_of(there[address].get("name"), address) for address in wrong}
        return [f"worker {names[address]}: {why}" for address, why in wrong.items()]

    def _let_in(self, new: Mapping[str, Any], there: Mapping[str, Any]) -> dict[str, str]:
        """Let workers in, and return why some cannot be."""
        if not new:
            return {}
        threads: Counter[str] = Counter()
        for each in there.values():
            threads[each["host"]] += each["nthreads"]
        sharing = {address: threads[told["host"]] for address, told in new.items()}
        arguments = (self._session, self.ticket, sharing, dict(self._variables))
        wrong = self._without_project([*new])
        ready = [address for address in new if address not in wrong]
        done = (
            self._client.run(on_worker.welcome, *arguments, workers=ready, on_error="return") if ready else {}
        )
        for address, answer in done.items():
            if isinstance(answer, OSError):
                continue  # it has gone in the meantime
            if isinstance(answer, BaseException):
                wrong[address] = f"it cannot run instances: {answer}"
                continue
            told = new[address]
            name = on_worker.name_of(told.get("name"), address)
            self.offers[address] = Offer(name, told["nthreads"], answer, told["resources"])
        return wrong

    def _without_project(self, addresses: Sequence[str]) -> dict[str, str]:
        """Send the projects to workers that need them, and return why some cannot take them."""
        if self._projects is None:
            return {}
        arguments = (self._session, dict(self._projects))
        done = self._client.run(receive, *arguments, workers=[*addresses], on_error="return")
        return {
            address: _GONE if isinstance(answer, OSError) else f"it cannot take the project: {answer}"
            for address, answer in done.items()
            if isinstance(answer, BaseException)
        }

    def _differences(self, addresses: Sequence[str]) -> dict[str, str]:
        """Return why workers cannot run what this process could."""
        pythons = self._other_pythons(addresses)
        rest = [address for address in addresses if address not in pythons]
        answers = self._asked(rest)
        wrong = {
            address: why for address in rest if (why := self._difference(answers.get(address))) is not None
        }
        return {**pythons, **wrong}

    def _other_pythons(self, addresses: Sequence[str]) -> dict[str, str]:
        """Return which workers have another Python, which might not even read what is sent to it."""
        here = ".".join(platform.python_version_tuple()[:2])
        told = self._client.get_versions()["workers"]
        found = {}
        for address in addresses:
            version = str(told.get(address, {}).get("host", {}).get("python", ""))
            if version and not version.startswith(f"{here}."):
                found[address] = _other_python(".".join(version.split(".")[:3]))
        return found

    def _asked(self, addresses: Sequence[str]) -> dict[str, Any]:
        """Return the answers of workers, each of which reads and writes files in all projects."""
        if not addresses:
            return {}
        with _tokens(self._roots) as files, by_value(probe):
            question = {"packages": [*self._needed], "files": [*files]}
            told = self._client.run(probe.look, question, workers=[*addresses], on_error="return")
            return {address: _with_answers(answer, files) for address, answer in told.items()}

    def _difference(self, told: Any) -> str | None:
        """Return the first difference between a worker and this process, with what to do."""
        if isinstance(told, OSError):
            return _GONE
        if not isinstance(told, Mapping):
            return f"it does not answer ({told})"
        if told["python"] != platform.python_version():
            return _other_python(told["python"])
        other = [
            f"{name} {told['versions'][name] or 'is missing'} (here {version})"
            for name, version in self._needed.items()
            if told["versions"][name] != version
        ]
        if other:
            return f"it has other packages: {', '.join(other)}; install the same versions there"
        for path, text in told["expected"].items():
            root = Path(path).parents[2]
            if told["files"][path] != text:
                return _not_shared(root, told["host"], told["files"][path])
            if not told["back"].get(path):
                return _not_shared(root, told["host"], "what it writes is not seen here")
        return None


def _with_answers(told: Any, files: Mapping[str, str]) -> Any:
    """Add to an answer what its worker has written, as it is seen here."""
    if isinstance(told, BaseException):
        return told
    back = {}
    for path, text in files.items():
        with contextlib.suppress(OSError):
            written = f"{path}.{told['id']}"
            back[path] = Path(written).read_text(encoding="utf-8") == f"{text}{told['id']}"
            os.unlink(written)
    return {**told, "back": back, "expected": dict(files)}


def _other_python(version: str) -> str:
    here = platform.python_version()
    return f"it has Python {version}, this session {here}; start the workers in the same environment"


def _not_shared(root: Path, host: str, why: str) -> str:
    return (
        f"{root} is not the same folder on {host} ({why}); put the project on a file system that both share, "
        "under the same path, or send it there with --ductaflow-sync"
    )


@contextlib.contextmanager
def _tokens(roots: Iterable[str]) -> Iterator[dict[str, str]]:
    """Write a token into each project; yield texts by path."""
    files: dict[str, str] = {}
    try:
        for root in roots:
            folder = Path(root, RUNS, LOCKS)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                path, text = folder / f"{secrets.token_hex(8)}.probe", secrets.token_hex(16)
                path.write_text(text, encoding="utf-8")
            except OSError as error:
                raise EngineError(f"{folder} cannot be written: {error.strerror}") from error
            files[str(path)] = text
        yield files
    finally:
        for name in files:
            with contextlib.suppress(OSError):
                os.unlink(name)
