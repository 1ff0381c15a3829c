"""Say how many threads the numeric libraries of a kernel use: environment variables that they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from .system.machine import usable_cores, workers_of_session

Threads = int | Literal["auto", "off"]

_OPENMP = "OMP_NUM_THREADS"
# Each variable, and those that its library reads in its place: what the user says there holds as well.
_READ_INSTEAD = {
    _OPENMP: (),
    "OPENBLAS_NUM_THREADS": (_OPENMP, "GOTO_NUM_THREADS"),
    "MKL_NUM_THREADS": (_OPENMP,),
    "BLIS_NUM_THREADS": (_OPENMP,),
    "NUMEXPR_NUM_THREADS": (_OPENMP, "NUMEXPR_MAX_THREADS"),
    "NUMBA_NUM_THREADS": (),
    "POLARS_MAX_THREADS": (),
    "RAYON_NUM_THREADS": (),
    "VECLIB_MAXIMUM_THREADS": (),
}
_MOST = {"NUMEXPR_NUM_THREADS": 64}  # numexpr complains at its import of more
VARIABLES = frozenset(_READ_INSTEAD)
_SET_HERE = "_DUCTAFLOW_THREADS"  # for flows run inside a kernel: the number, and the variables that have it


def with_threads(environment: Mapping[str, str], threads: Threads, cores: int | None) -> dict[str, str]:
    """Return the environment of a kernel with the number of threads in all variables that nobody has set.

    A flow that runs inside of a kernel shares what that one has.

    Args:
        environment: Its environment so far.
        threads: The setting.
        cores: `Instance.cores`.
    """
    around, *names = environment.get(_SET_HERE, "").split() or [""]
    number = _number(threads, cores, int(around) if around else None)
    if number is None:
        return dict(environment)
    given = {name: value for name, value in environment.items() if name not in names or value != around}
    said = {
        name: str(min(number, _MOST.get(name, number)))
        for name, others in _READ_INSTEAD.items()
        if not given.keys() & {name, *others}
    }
    return {**given, **said, _SET_HERE: " ".join([str(number), *said])}


def _number(threads: Threads, cores: int | None, around: int | None) -> int | None:
    """Return the number of threads for a kernel; None to leave it to the libraries."""
    if threads == "off":
        return None
    if around is not None:
        return min(cores or around, around)
    if cores is not None:
        return min(cores, usable_cores())
    if threads != "auto":
        return threads
    workers = workers_of_session()
    return None if workers is None else max(1, usable_cores() // workers)


def threads_in(environment: Mapping[str, str]) -> int | None:
    """Return the number of threads of OpenMP, and of linear algebra with it; None if none is said."""
    said = environment.get(_OPENMP, "").strip()
    return int(said) if said.isdecimal() else None
