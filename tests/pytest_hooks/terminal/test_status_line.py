"""Sessions in terminals and logs: how far they are is seen while they run, and nothing of it stays."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

if os.name != "posix":
    pytest.skip("terminals are POSIX", allow_module_level=True)

from helpers.projects import write_project
from helpers.screen import PYTEST, Screen, Terminal
from helpers.sessions import run_session, wait_for
from helpers.thorough import one_in

from pytest_ductaflow.pytest_hooks.terminal.status_line import way_to_show

pytestmark = pytest.mark.slow

# Each instance waits for a file of its name; the first ones fail, and warn.
PROJECT = {
    "flows/wait.py": """
        import time
        from pathlib import Path

        root = Path(config["_project_root"])
        (root / f"began_{config['instance_name']}").touch()
        while not (root / f"go_{config['instance_name']}").exists() and not (root / "go").exists():
            time.sleep(0.01)
        if config["instance_name"] == "b":
            print("warning: b")
        if config["instance_name"] == "c":
            raise ValueError("no zones")
        """,
    "conductor.py": """
        from pytest_ductaflow import conduct
        conduct("flows/wait.py", [{"instance_name": name} for name in "abcdef"])
        """,
}
COUNTS = re.compile(r"\d+(/| of )\d+( done|\b)")


def status_of(screen: Screen) -> str:
    """Return the line below pytest's output, if it is the last one that is shown; empty if not."""
    last = screen.shown[-1] if screen.shown else ""
    return last if re.match(r"\d+(/| of )\d", last) else ""


def has(screen: Screen, *texts: str) -> bool:
    return all(text in status_of(screen) for text in texts)


@pytest.mark.parametrize("workers", one_in(2, [(), ("-n", "2")]), ids=["alone", "xdist"])
def test_the_line_follows_a_session_and_leaves_nothing(tmp_path: Path, workers: tuple[str, ...]) -> None:
    write_project(tmp_path, PROJECT)
    count = 2 if workers else 1
    with Terminal(tmp_path, [*PYTEST, "conductor.py", *workers], 100, 24) as terminal:
        terminal.read_until(
            lambda s: has(s, f"0 of 6 done, {count} running, {6 - count} waiting", "wait/"), "the first"
        )
        (tmp_path / "go_a").touch()
        (tmp_path / "go_b").touch()
        terminal.read_until(lambda s: has(s, "2 of 6 done", "1 passed", "1 warned"), "two that have ended")
        assert re.search(r"\x1b\[33m1 warned\x1b\[0m", terminal.written)
        terminal.resize(40)
        (tmp_path / "go_c").touch()
        screen = terminal.read_until(lambda s: has(s, "3/6 | 1. 1w 1F"), "a short line")
        assert len(status_of(screen)) < 40
        assert sum(bool(re.match(r"\d+(/| of )\d", line)) for line in screen.all) == 1
        terminal.resize(100)
        (tmp_path / "go").touch()
        assert terminal.read_to_the_end() == pytest.ExitCode.TESTS_FAILED
    lines = terminal.screen.all
    assert not [line for line in lines if "running" in line or COUNTS.match(line)]
    assert "4 passed, 1 warned in " in lines[-1]
    dots = next(line for line in lines if "[100%]" in line)
    assert sorted(re.sub(r"conductor.py |\s|\[100%\]", "", dots)) == sorted("....wF")


def test_verbose_in_a_narrow_terminal_ended_by_ctrl_c(tmp_path: Path) -> None:
    write_project(tmp_path, PROJECT)
    with Terminal(tmp_path, [*PYTEST, "conductor.py", "-v"], 40, 12) as terminal:
        (tmp_path / "go_a").touch()
        terminal.read_until(lambda s: has(s, "1/6 | 1."), "the second")
        wait_for(lambda: (tmp_path / "began_b").exists() or None, "the second instance")
        terminal.press(b"\x03")
        assert terminal.read_to_the_end() == pytest.ExitCode.INTERRUPTED
    lines = terminal.screen.all
    assert not [line for line in lines if COUNTS.match(line)]
    assert [line for line in lines if line.startswith("conductor.py::wait::a PASSED")]
    assert "stopped: conductor.py::wait::b" in "".join(lines)


@pytest.mark.parametrize(
    ("arguments", "variables", "way"),
    [
        ([], {}, "line"),
        (["-v"], {}, "line"),
        (["-q"], {}, None),
        (["-s"], {}, None),
        (["--collect-only"], {}, None),
        ([], {"TERM": "dumb"}, None),
        ([], {"CI": "true"}, "log"),
        (["-q"], {"CI": "true"}, None),
        (["-p", "no:terminal"], {}, None),
    ],
)
@pytest.mark.parametrize("is_terminal", one_in(2, [True, False]), ids=["terminal", "pipe"])
def test_where_there_is_a_line(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    variables: dict[str, str],
    way: str | None,
    is_terminal: bool,
) -> None:
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **variables}.items():
        monkeypatch.setenv(name, value)
    config = pytester.parseconfigure(*arguments)
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None:
        terminal.isatty = lambda: is_terminal
    assert way_to_show(config) == (None if way == "line" and not is_terminal else way)


def test_it_can_be_switched_off_as_a_plugin(tmp_path: Path) -> None:
    write_project(tmp_path, PROJECT)
    (tmp_path / "conftest.py").write_text(OFTEN, encoding="utf-8")
    (tmp_path / "go").touch()
    with Terminal(tmp_path, [*PYTEST, *ONE, "-p", "no:ductaflow-progress"]) as terminal:
        assert terminal.read_to_the_end() == 0
    assert "of 1 done" not in terminal.written
    assert not re.search(r"\x1b[^\[]|\x1b\[J", terminal.written)


ONE = ("conductor.py::wait::a",)
AT_ONCE = """
from pytest_ductaflow.pytest_hooks.terminal import status_line
status_line.DELAY, status_line.LOG_PAUSE = 0.0, 60.0
"""
OFTEN = AT_ONCE.replace("60.0", "0.05")


@pytest.mark.parametrize("arguments", one_in(2, [[], ["-v"], ["-n", "2", "-v"], ["-n", "2"]]), ids=" ".join)
def test_a_log_of_a_ci_has_lines_of_their_own(tmp_path: Path, arguments: list[str]) -> None:
    write_project(tmp_path, PROJECT)
    (tmp_path / "conftest.py").write_text(OFTEN, encoding="utf-8")
    (tmp_path / "go").touch()
    done = run_session(tmp_path, "--ductaflow", "conductor.py", *arguments, CI="true")
    lines = [line for line in done.stdout.splitlines() if " of 6 done" in line]
    assert lines
    line = r"\d of 6 done(, \d running)?(, \d \w+)*(, about .* left)?(; slowest: wait/\w \d+ s)?"
    assert [each for each in lines if not re.fullmatch(line, each)] == []
    assert "\x1b" not in done.stdout
    rest = "\n".join(each for each in done.stdout.splitlines() if each not in lines)
    of_tests = re.split("=== FAILURES|6 items]?", rest)[1]
    if "-v" in arguments:
        assert len(re.findall("PASSED|WARNED|FAILED", of_tests)) == 6
    else:
        assert sorted(re.sub(r"conductor.py|\s|\[ *\d+%\]|=", "", of_tests)) == sorted("....wF")


def test_a_pipe_and_a_short_session_of_a_ci_have_nothing_of_it(tmp_path: Path) -> None:
    write_project(tmp_path, PROJECT)
    (tmp_path / "go").touch()
    for variables in ({}, {"CI": "true"}):
        done = run_session(tmp_path, "--ductaflow", *ONE, **variables)
        assert done.returncode == 0, done.stdout
        assert not re.search(r"\x1b|of 1 done", done.stdout)
