"""Do once what each run of a flow does, so that processes that are forked afterwards need not begin with it.

Libraries import and compile much only when they are first used.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

from ...kernels.base import kernel_spec
from ...kernels.preloading.preload import preload_of
from ...kernels.self_test import has_untested_libraries
from ...sources.installed_versions import own_path, versions_of
from ...sources.notebooks import read_flow
from .. import run_instance  # noqa: F401 - for the processes that are forked
from ..attempts import environment_here
from ..notebook.prepare import prepare_notebook

_FLOW = """\
# %% tags=["parameters"]
config = {}

# %%
import numpy
"""


def rehearse() -> None:
    """Read a flow, and look up what is installed; what is broken is left to the run that needs it."""
    with contextlib.suppress(Exception):
        with tempfile.TemporaryDirectory() as folder:
            flow = Path(folder, "flow.py")
            flow.write_text(_FLOW, encoding="utf-8")
            source = read_flow(flow)
            preload_of(source, flow.parent, flow.parent)
            prepare_notebook(source, {"n": 1}, "python3", "python")
        kernel_spec("python3")
        has_untested_libraries()
        environment_here()
        versions_of((), own_path(), is_build=False)
