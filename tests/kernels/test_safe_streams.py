"""Kernels reply to each cell, whatever a flow has made of `sys.stdout` and `sys.stderr`."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.thorough import one_in

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.running.run_instance import run

pytestmark = pytest.mark.slow

ONLY_WRITES = "class Only:\n    def write(self, text): pass\n"
RAISES = 'class Full:\n    def write(self, text): raise OSError("disk full")\n    flush = write\n'
SLOTS = "class Fixed(io.StringIO):\n    __slots__ = ()\n    write = property(lambda self: lambda text: 0)\n"
HARMLESS = {
    "no stderr": "sys.stderr = None",
    "no streams": "sys.stdout = sys.stderr = None",
    "deleted stderr": "del sys.stderr",
    "stdout without flush": f"{ONLY_WRITES}sys.stdout = Only()",
    "stdout that cannot be changed": f"{SLOTS}sys.stdout = Fixed()",
    "closed stderr": "with open('log.txt', 'w') as sys.stderr: pass",
    "no displayhook": "sys.displayhook = None",
}
FATAL = {
    "closed file": (
        "with open('log.txt', 'w') as f: sys.stdout = sys.stderr = f",
        "ValueError: I/O operation on closed file.",
    ),
    "closed": ("sys.stdout.close()", "ValueError: I/O operation on closed file"),
    "no stream": ("sys.stdout = 3", "AttributeError: 'int' object has no attribute 'write'"),
    "deleted": ("del sys.stdout", "RuntimeError: lost sys.stdout"),
    "raises": (f"{RAISES}sys.stdout = Full()", "OSError: disk full"),
}


@pytest.fixture(params=one_in(2, [True, False]), ids=["forked", "ordinary"])
def settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.delenv("DUCTAFLOW_FORK", raising=False)
    return Settings(force=True, fork=request.param, html="none", timeout=20)


def run_flow(root: Path, code: str, settings: Settings) -> Record:
    write_project(root, {"flows/x.py": code})
    return run(Instance(f"{root}/flows/x.py", "x", "a", {}, f"{root}/runs/x/a", str(root)), settings)


def log(root: Path) -> str:
    return (root / "runs/x/a/x_execution_output.txt").read_text()


@pytest.mark.parametrize("how", HARMLESS)
def test_a_flow_goes_on_as_a_script_if_nothing_is_printed_to_a_stream_that_it_has_spoiled(
    tmp_path, settings, how
):
    shows = "from IPython.display import display\ndisplay(1)\n[2]"
    code = f"import io, sys\n{HARMLESS[how]}\n\n# %%\n{shows}\n\n# %%\nopen('end', 'w').close()\n"
    record = run_flow(tmp_path, code, settings)
    assert record.status is Status.SUCCESS, record.error
    assert (tmp_path / "runs/x/a/end").exists()


@pytest.mark.parametrize("how", FATAL)
def test_a_flow_that_prints_to_a_stream_that_it_has_spoiled_fails_at_once_as_a_script(
    tmp_path, settings, how
):
    spoils, error = FATAL[how]
    code = f"import io, sys\n{spoils}\n\n# %%\nx = 1\n\n# %%\nprint('never')\n"
    record = run_flow(tmp_path, code, settings)
    assert record.error is not None
    assert (record.error.summary, record.error.cell) == (error, 5)


def test_what_a_flow_prints_is_logged_again_once_it_has_given_the_stream_back(tmp_path, settings):
    removes = "import sys\nkept, sys.stdout = sys.stdout, None\n"
    code = f"{removes}\n# %%\nprint('lost')\nsys.stdout = kept\nprint('kept')\n"
    record = run_flow(tmp_path, code, settings)
    assert record.status is Status.SUCCESS, record.error
    assert log(tmp_path) == "kept\n"


def test_log_records_of_a_flow_without_stderr_are_told_nowhere_as_in_a_script(tmp_path, settings):
    code = """
        import logging, sys, warnings
        sys.stderr = None
        logging.getLogger("own").error("nobody hears it")
        logging.captureWarnings(True)
        warnings.warn("nor this")
        """
    record = run_flow(tmp_path, code, settings)
    assert record.status is Status.SUCCESS, record.error
    assert log(tmp_path) == ""


def test_a_flow_that_takes_the_kernel_apart_fails_at_once(tmp_path, settings):
    record = run_flow(tmp_path, "get_ipython().display_pub = None\n\n# %%\nx = 1\n", settings)
    assert record.error is not None
    assert record.error.summary == "AttributeError: 'NoneType' object has no attribute 'set_parent'"
