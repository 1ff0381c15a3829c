"""What is fixed once a process has started, and where processes that fork others have their sockets."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping

SERVER_VARIABLE = "_DUCTAFLOW_FORKSERVER"  # for flows run inside a kernel: the server that forked it
RUNNERS_VARIABLE = "_DUCTAFLOW_RUNNERS"  # for builds: an interpreter, and the process that runs their flows
_NUMERIC = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_", "NUMEXPR_")
_PLACES = ("HOME", "IPYTHON", "JUPYTER_", "LANG", "LC_", "MATPLOTLIB", "MPL", "XDG_")
_AT_START = ("PYTHON", "LD_", "MALLOC_", *_PLACES, *_NUMERIC)  # variables that a process reads only once
# Set by a kernel or scikit-learn, not by the user, so not meant for flows that run inside the kernel.
SET_BY_KERNELS = {
    ("MPLBACKEND", "module://matplotlib_inline.backend_inline"),
    ("KMP_DUPLICATE_LIB_OK", "True"),
    ("KMP_INIT_AT_FORK", "FALSE"),
}
_LONG_PATH = 70  # bytes


def variables_at_start(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the variables of an environment that a process or its libraries read only at the start."""
    given = environment.items() - SET_BY_KERNELS
    return tuple(sorted((name, value) for name, value in given if name.startswith(_AT_START)))


def folder_for_sockets() -> str:
    """Return the parent of folders with sockets; their paths are limited to about a hundred characters."""
    folder = tempfile.gettempdir()
    return "/tmp" if os.name == "posix" and len(os.fsencode(folder)) > _LONG_PATH else folder  # noqa: S108
