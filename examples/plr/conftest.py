"""Act on the marks that the conductor gives: what is off is deselected, what cannot run is skipped."""

from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager

HERE = Path(__file__).parent


def _has_r_kernel():
    specs = KernelSpecManager().get_all_specs().values()
    return any(spec["spec"]["language"] == "R" for spec in specs)


NEEDS = {
    "private": (
        "the private directory is not here: only the clinic has it",
        lambda: (HERE / "private").exists(),
    ),
    "r_kernel": ("no R kernel is installed (in R: IRkernel::installspec())", _has_r_kernel),
}


def pytest_configure(config):
    for mark, (reason, _) in NEEDS.items():
        config.addinivalue_line("markers", f"{mark}: skipped where {reason}")
    config.addinivalue_line("markers", "off: switched off in control.csv")


def pytest_collection_modifyitems(config, items):
    off = [item for item in items if item.get_closest_marker("off")]
    items[:] = [item for item in items if item not in off]
    config.hook.pytest_deselected(items=off)
    for mark, (reason, is_there) in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(mark)]
        if marked and not is_there():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=reason))
