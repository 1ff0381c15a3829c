"""Print how to attach a console to the kernels that `--ductaflow-keep-kernel` keeps."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from ...core.system.kept_kernels import IDLE, all_kept
from ...report.failure_text import quoted
from ..items import PLAN

_CONSOLE = "jupyter-console"


class KeptKernelHooks:
    """The hook that lists kept kernels at the end of the session."""

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        plan = config.stash.get(PLAN, None)
        roots = dict.fromkeys(instance.project_root for instance in plan.all) if plan is not None else ()
        found = [kept for root in roots for kept in all_kept(root)]
        if not found:
            return
        terminalreporter.section("kept kernels", "-")
        for kept in found:
            terminalreporter.write(kept.label, bold=True)
            console = f"jupyter console --existing {quoted(kept.connection_file)}"
            terminalreporter.line(f" (process {kept.owner.pid}): {console}")
        if shutil.which(_CONSOLE) is None and not Path(sys.executable).with_name(_CONSOLE).exists():
            terminalreporter.line(f"(the console is not installed: pip install {_CONSOLE})")
        terminalreporter.line(
            f"They end with exit in the console, by `ductaflow cancel {quoted(found[0].label)}`, when the "
            f"instance runs again, or after {IDLE / 3600:g} hours without use."
        )
