"""The page of a session that was killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from helpers.browser import Page
from helpers.projects import write_project
from helpers.sessions import own_environment, running

from pytest_ductaflow.report.page import read

pytestmark = pytest.mark.slow

FILES = {
    "pytest.ini": "[pytest]\n",
    "flows/x.py": "print('done')\n",
    "flows/waits.py": "import time\nprint('epoch 1', flush=True)\ntime.sleep(600)\n",
    "conductor.py": """\
        from pytest_ductaflow import conduct

        conduct("flows/x.py", [{"instance_name": "done"}])
        conduct("flows/waits.py", [{"instance_name": "cut"}])
        conduct("flows/x.py", [{"instance_name": "later"}], step="last")
        """,
}


@pytest.mark.skipif(os.name != "posix", reason="kills a process group")
def test_a_session_that_is_killed_is_told_with_what_it_has_reached(browser, tmp_path):
    root = write_project(tmp_path / "project", FILES)
    page = Page(browser, root / "runs")
    command = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "conductor.py")
    with running(root, *command, environment=own_environment()) as session:
        end = time.monotonic() + 90
        while time.monotonic() < end and not _is_waiting(root):
            assert session.poll() is None
            time.sleep(0.1)
        os.killpg(session.pid, signal.SIGKILL)
        session.wait(10)
    data = read(page.file)
    assert data["finished"] is None
    assert 60 <= data["patience"] <= 300
    page.go("#view=instances")
    assert page.one("#state").text == "running"
    assert "waits/cut" in page.one("#running").text
    assert "epoch 1" in page.one("#running").text
    # The same some minutes later.
    script = {"source": f"const now = Date.now; Date.now = () => now() + {1000 * (data['patience'] + 30)};"}
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)
    try:
        page.go("#view=instances")
        assert page.one("#state").text == "ended early"
        assert page.one("#done").text == "1 of 3 done"
        assert "the session has written nothing since 2" in page.one("#outlook").text
        assert not page.one("#running").text
        assert page.row("cut").find_element("css selector", ".message").text == (
            "was running when the session ended"
        )
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def _is_waiting(root: Path) -> bool:
    try:
        rows = read(root / "runs/conductor_status_report.html")["rows"]
    except (OSError, ValueError):
        return False
    return any(row.get("last_line") == "epoch 1" for row in rows)
