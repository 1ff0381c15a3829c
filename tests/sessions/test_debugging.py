"""`--pdb` and `breakpoint()`: flows are debugged in their kernels, at the session's terminal."""

from __future__ import annotations

import json
import sys
import time

import nbformat
import pytest
from helpers.edited import Session, record
from helpers.projects import write_project
from helpers.sessions import run_python, run_session, wait_for
from helpers.terminal import AtTerminal

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals"),
]

RED = """\
# %% tags=["parameters"]
config = {}

# %%
def share(values):
    total = sum(values)
    return 1 / total

# %%
print("before")
doubled = config["x"] * 2
share([doubled])
"""
FAILING = {
    "flows/red.py": RED,
    "flows/killed.py": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n",
    "flows/orange.py": "print('warning: too fast')\n",
    "conductor.py": """\
        from pytest_ductaflow import conduct

        rows = [{"instance_name": name, "x": 0, "_retries": n} for n, name in enumerate(["a", "b", "c"])]
        conduct("flows/red.py", rows)
        conduct("flows/killed.py", [{"instance_name": "k"}], after=[])
        conduct("flows/orange.py", [{"instance_name": "o"}], after=[])
        """,
}


def interrupt_evaluation(session, folder):
    """Press Ctrl-C while the debugger evaluates something long."""
    began = folder / "began"
    session.enter(f"import time; open({str(began)!r}, 'w').close(); time.sleep(60)")
    wait_for(lambda: began.exists() or None, "the evaluation")
    session.press_ctrl_c()


def traces(root, name):
    """Return what a failed instance leaves that must not depend on a debugger."""
    folder = root / "runs/red" / name
    notebook = nbformat.read(folder / "red_executed.ipynb", as_version=4)
    shown = [cell.get("outputs") for cell in notebook.cells]
    log = (folder / "red_execution_output.txt").read_text(encoding="utf-8")
    names = ("status", "error", "inputs", "outputs", "code", "packages", "attempts", "warnings", "unknown")
    found = record(root, "red", name)
    left = {"shown": shown, "log": log, **{key: found.get(key) for key in names}}
    return {key: json.dumps(value).replace(str(root), "") for key, value in left.items()}


ORDINARY = pytest.param(("--no-ductaflow-fork",), marks=pytest.mark.thorough, id="ordinary")


@pytest.mark.parametrize("fork", [pytest.param((), id="forked"), ORDINARY])
def test_pdb_opens_where_a_flow_failed_and_changes_nothing_else(tmp_path, fork):
    root, other = (write_project(tmp_path / name / "p", FAILING) for name in ("with", "without"))
    with AtTerminal(root, "conductor.py", "--pdb", *fork) as session:
        entered = session.until_prompt()
        assert "post-mortem of red/a" in entered
        assert "ZeroDivisionError" in entered
        assert "----> 3     return 1 / total" in entered
        assert session.answer("p values, total") == "([0], 0)\n"
        session.answer("u")
        assert session.answer("p doubled, config['instance_name']") == "(0, 'a')\n"
        assert session.answer("import sys; print('told', file=sys.stderr)") == "told\n"
        session.answer("open(config['_project_root'] + '/conductor.py')")
        session.answer("import time; time.sleep(5)")
        session.enter("q")
        # The first attempt of b is not the last one.
        assert "post-mortem of red/b" in session.until_prompt()
        session.press_ctrl_d()
        assert "post-mortem of red/c" in session.until_prompt()
        interrupt_evaluation(session, tmp_path)
        assert "KeyboardInterrupt" in session.until_prompt()
        session.press_ctrl_c()
        rest = session.rest()
    assert "4 failed, 1 warned" in rest
    assert "nothing to debug: its kernel has ended: the kernel was killed by SIGKILL" in rest
    assert rest.count("post-mortem") == 0
    assert record(root, "red", "a")["duration"] < 5
    assert len(record(root, "red", "b")["failed_attempts"]) == 1
    Session(other, *fork)
    for name in ("a", "b", "c"):
        assert traces(root, name) == traces(other, name)


def test_breakpoint_stops_at_the_terminal_and_no_time_limit_runs_meanwhile(tmp_path):
    """It steps from statement to statement, and from cell to cell, as in a script."""
    files = {
        "flows/stop.py": '# %% tags=["parameters"]\nconfig = {}\n\n# %%\na = config["x"]\nbreakpoint()\n'
        'b = a + 1\nprint("b is", b)\n\n# %%\nc = b + 1\nbreakpoint()  # the last line\n',
        "conductor.py": "from pytest_ductaflow import conduct\n"
        "rows = [{'instance_name': name, 'x': 1, '_timeout': 2} for name in 'ab']\n"
        "conduct('flows/stop.py', rows)\n",
    }
    root = write_project(tmp_path, files)
    with AtTerminal(root, "conductor.py") as session:
        assert "----> 3 b = a + 1" in session.until_prompt()
        assert session.answer("p a") == "1\n"
        time.sleep(2.5)  # longer than the limit
        assert "----> 4 print" in session.answer("n")
        assert "----> 1 c = b + 1" in session.answer("n")
        assert "----> 2 breakpoint()" in session.answer("c")
        assert session.answer("p c") == "3\n"
        session.enter("c")
        session.until_prompt()
        session.enter("q")
        rest = session.rest()
    assert "1 failed, 1 passed" in rest
    assert "BdbQuit" in rest
    assert record(root, "stop", "a")["duration"] < 2.5
    assert (root / "runs/stop/a/stop_execution_output.txt").read_text() == "b is 2\n"
    # Without a terminal it is passed, as in a kernel of papermill.
    done = run_session(root, "--ductaflow", "conductor.py", "--ductaflow-force", timeout=60)
    assert "2 passed" in done.stdout
    assert "breakpoint() was passed: it needs a terminal" in done.stdout


BUILD = {
    "flows/red.py": RED,
    "builds/all.py": """\
        from ductaflow import run_notebook
        mine = 7
        run_notebook("flows/red.py", config={"x": 0}, execution_dir="runs/inner")
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct
        conduct("builds/all.py", [{"instance_name": name} for name in "ab"])
        """,
}


def test_breakpoint_in_a_task_stops_there_and_in_a_thread_is_passed_with_a_warning(tmp_path):
    files = {
        "flows/stop.py": """\
            import asyncio, threading

            async def double(x):
                breakpoint()
                twice = x * 2
                return twice

            print(await asyncio.gather(double(21)))
            thread = threading.Thread(target=lambda: breakpoint())
            thread.start()
            thread.join()
            """,
        "conductor.py": "from pytest_ductaflow import conduct\n"
        "conduct('flows/stop.py', [{'instance_name': 'a'}])\n",
    }
    root = write_project(tmp_path, files)
    with AtTerminal(root, "conductor.py") as session:
        assert "twice = x * 2" in session.until_prompt()
        assert "return twice" in session.answer("n")
        assert session.answer("p twice") == "42\n"
        session.enter("c")
        rest = session.rest()
    assert "breakpoint() was passed: it works in the flow's main thread only" in rest
    assert "1 passed" in rest


def test_pdb_at_a_syntax_error_has_the_variables_of_the_flow(tmp_path):
    files = {
        "flows/wrong.py": '# %% tags=["parameters"]\nconfig = {}\n# %%\nearlier = 6 * 7\n# %%\nx = = 3\n',
        "conductor.py": "from pytest_ductaflow import conduct\n"
        "conduct('flows/wrong.py', [{'instance_name': 'a'}])\n",
    }
    with AtTerminal(write_project(tmp_path, files), "conductor.py", "--pdb") as session:
        assert "SyntaxError" in session.until_prompt()
        assert session.answer("p earlier") == "42\n"
        assert "IPython" not in session.answer("w")
        session.enter("interact")
        session.until("In : ")
        session.enter("earlier + 1")
        assert "43" in session.until("In : ")
        session.press_ctrl_d()
        session.until_prompt()
        session.enter("q")
        assert "1 failed" in session.rest()


@pytest.mark.parametrize("fork", [pytest.param((), id="forked"), ORDINARY])
def test_in_a_build_the_debugger_opens_in_the_flow_that_failed(tmp_path, fork):
    root = write_project(tmp_path, BUILD)
    with AtTerminal(root, "conductor.py", "--pdb", "-k", "a or b", *fork) as session:
        assert "post-mortem of red/inner" in session.until_prompt()
        assert session.answer("p values") == "[0]\n"
        interrupt_evaluation(session, tmp_path)
        assert "KeyboardInterrupt" in session.until_prompt()
        session.enter("c")
        assert "post-mortem of red/inner" in session.until_prompt()
        session.enter("q")
        rest = session.rest()
    assert "2 failed" in rest
    assert "post-mortem" not in rest
    assert record(root, "all", "a")["error"]["type"] == "FlowFailed"


def test_ctrl_c_opens_the_debugger_in_the_running_cell_and_ends_the_session(tmp_path):
    files = {
        "flows/slow.py": "import time\nprint('began')\nfor step in range(600):\n    time.sleep(0.1)\n",
        "conductor.py": "from pytest_ductaflow import conduct\n"
        "conduct('flows/slow.py', [{'instance_name': name} for name in 'ab'])\n",
    }
    root = write_project(tmp_path, files)
    with AtTerminal(root, "conductor.py", "--pdb", "--trace", "-s") as session:
        header = session.until("began")
        assert "note: --trace is for tests" in header
        session.press_ctrl_c()
        session.until_prompt()
        assert session.answer("p step >= 0") == "True\n"
        session.enter("q")
        rest = session.rest()
    assert "the same command goes on with what has not ended" in rest
    assert "run_instance.py" not in rest, "no line of our code"
    assert record(root, "slow", "a")["error"]["type"] == "Interrupted"
    assert not (root / "runs/slow/b").exists()


@pytest.mark.thorough
def test_a_signal_that_ends_the_job_ends_the_session_at_a_debugger_too(tmp_path):
    files = {
        "flows/red.py": RED,
        "flows/stop.py": "breakpoint()\nprint('on')\n",
        "flows/build.py": "from pytest_ductaflow import run_notebook\n"
        "run_notebook('flows/red.py', config={'x': 0}, execution_dir='runs/red')\n",
        "conductor.py": "from pytest_ductaflow import conduct\n"
        "for flow in ('red', 'stop', 'build'):\n"
        "    conduct(f'flows/{flow}.py', [{'instance_name': name, 'x': 0} for name in 'ab'], after=[])\n",
    }
    root = write_project(tmp_path, files)
    for step in ("red", "stop", "build"):
        with AtTerminal(root, "conductor.py", "--pdb", "-k", f"{step}") as session:
            session.until_prompt()
            session.terminate()
            rest = session.rest()
        assert "the session goes on" not in rest
        assert "post-mortem" not in rest
        assert "stopped by SIGTERM" in rest
        assert "1 failed" in rest
        assert not (root / "runs" / step / "b").exists()


def test_a_kernel_that_ends_at_the_debugger_leaves_the_failure_as_it_was(tmp_path):
    root = write_project(tmp_path, FAILING)
    with AtTerminal(root, "conductor.py", "--pdb", "-k", "red and a") as session:
        session.until_prompt()
        session.enter("import os; os._exit(3)")
        assert "1 failed" in session.rest()
    assert record(root, "red", "a")["error"]["type"] == "ZeroDivisionError"


def test_a_terminal_that_is_closed_at_a_debugger_leaves_the_failure_as_it_was(tmp_path):
    root = write_project(tmp_path, FAILING)
    with AtTerminal(root, "conductor.py", "--pdb") as session:
        session.until_prompt()
        assert session.hang_up() == pytest.ExitCode.INTERRUPTED
    assert record(root, "red", "a")["error"]["type"] == "ZeroDivisionError"
    assert not (root / "runs/red/b").exists()


def test_pdb_is_pytests_own_for_tests_and_says_why_a_flow_cannot_be_debugged(tmp_path):
    """Without a terminal, the commands come from what it has as its input."""
    files = {
        "test_own.py": "def test_it():\n    x = 3\n    assert x == 4\n",
        "flows/red.py": RED,
        "conductor.py": "from pytest_ductaflow import conduct\n"
        "conduct('flows/red.py', [{'instance_name': 'a'}])\n",
    }
    root = write_project(tmp_path, files)
    command = ("-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "conductor.py", "test_own.py")
    done = run_python(root, *command, "--pdb", stdin="p config\nq\np x\nq\n")
    assert "KeyError" in done.stdout
    assert "'instance_name': 'a'" in done.stdout
    assert "(Pdb) 3" in done.stdout
    refused = run_python(root, *command, "--pdb", "-n", "2")
    assert "--pdb is incompatible with distributing tests" in refused.stdout + refused.stderr
