"""Outcomes and files of real runs: green, orange, red, and all the ways in which a flow can end.

Most tests look at one session, run once for the whole module.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from helpers.projects import write_project
from helpers.sessions import as_result, own_environment, run_session

pytestmark = pytest.mark.slow

FLOWS = {
    "green": """\
        import json, logging, sys
        print("x is", x, "and nested", config["nested"]["y"])
        print("to stderr", file=sys.stderr)
        logging.getLogger("study").info("an informative line")
        with open("results.json", "w") as file:
            json.dump({"rmse": 1.5}, file)
        """,
    "orange": """\
        import logging
        if how == "sign":
            print("all is well\\n⚠️ few data")
        elif how == "word":
            print("Warning: few data")
        else:
            logging.warning("few data")
        """,
    "python_warning": """\
        import warnings
        warnings.warn("an old way")
        print("all is well, and this line says warning: too late to count")
        """,
    "red": """\
        def inverse(number):
            return 1 / number

        # %%
        print("before")
        inverse(0)

        # %%
        print("never")
        """,
    "exits": """\
        import sys
        sys.exit(code)

        # %%
        print("never")
        """,
    "exits_last": """\
        import sys
        print("all done")
        if code == 0:
            sys.exit(code)

        # %%
        # nothing follows
        """,
    "dies": """
        import os
        print("last words", flush=True)
        while "last words" not in open("dies_execution_output.txt").read():
            pass
        os._exit(7)
        """,
    "meant": """\
        # %% tags=["raises-exception"]
        raise ValueError("meant")

        # %%
        print("after it")
        """,
    "endless": 'print("begins", flush=True)\nwhile True:\n    pass\n',
    "no_python": "print('fine')\n\n# %%\nif True\n    pass\n",
    "second_time": """\
        from pathlib import Path
        if not Path("seen").exists():
            Path("seen").touch()
            raise RuntimeError("the first time")
        print("the second time")
        """,
}
CONDUCTOR = """\
from ductaflow import run_notebook
from pytest_ductaflow import conduct

conduct("flows/green.py", [{"instance_name": "one", "x": 1, "nested.y": 2}])
conduct("flows/orange.py", [{"instance_name": how, "how": how} for how in ("sign", "word", "log")])
conduct("flows/python_warning.py", [{"instance_name": "one"}])
conduct("flows/red.py", [{"instance_name": "it's [red]"}])
conduct("flows/exits.py", [{"instance_name": f"code_{code}", "code": code} for code in (0, 3)])
conduct("flows/exits_last.py", [{"instance_name": "code_0", "code": 0}])
conduct("flows/dies.py", [{"instance_name": "one"}])
conduct("flows/meant.py", [{"instance_name": "one"}])
conduct("flows/endless.py", [{"instance_name": "one", "_timeout": 4}])
conduct("flows/no_python.py", [{"instance_name": "one"}])
conduct("flows/second_time.py", [{"instance_name": "one", "_retries": 2, "_keep": "seen"}])
run_notebook("flows/green.py", config={"instance_name": "no_kernel"}, kernel_name="nosuch")
"""
OUR_FILES = (
    "{}_config.json",
    "{}_executed.ipynb",
    "{}_executed.html",
    "{}_execution_output.txt",
    "{}_record.json",
)
RED = "it's [red]"


def run_pytest(folder: Path, *args: str, is_real: bool = False) -> pytest.RunResult:
    environment = own_environment(pages=True)
    command = ("-p", "no:cacheprovider", *args)
    return as_result(run_session(folder, *command, is_real=is_real, environment=environment))


def warned(result: pytest.RunResult) -> int:
    """Return the number of WARNED in the summary line."""
    found = re.search(r"(\d+) warned", result.outlines[-1])
    return int(found[1]) if found else 0


def section(result: pytest.RunResult, title: str) -> str:
    """Return what the terminal shows of one failure."""
    text = result.stdout.str()
    found = re.search(
        rf"^_+ {re.escape(title)} _+\n(.*?)(?=^_{{3,}} |^={{3,}} )", text, re.DOTALL | re.MULTILINE
    )
    assert found, text
    return found[1]


class Project:
    """A project on disk after a session."""

    def __init__(self, root: Path, result: pytest.RunResult) -> None:
        self.root, self.result = root, result

    def file(self, step: str, name: str, ending: str, stem: str | None = None) -> Path:
        return self.root / "runs" / step / name / f"{stem or step}_{ending}"

    def record(self, step: str, name: str = "one") -> dict:
        return json.loads(self.file(step, name, "record.json").read_text(encoding="utf-8"))

    def log(self, step: str, name: str = "one") -> list[str]:
        return self.file(step, name, "execution_output.txt").read_text(encoding="utf-8").splitlines()

    def notebook(self, step: str, name: str = "one") -> nbformat.NotebookNode:
        notebook = nbformat.read(self.file(step, name, "executed.ipynb"), as_version=4)
        nbformat.validate(notebook)
        return notebook

    def printed(self, step: str, name: str = "one") -> str:
        """Return what the executed notebook shows of stdout and stderr."""
        outputs = [out for cell in self.notebook(step, name).cells for out in cell.get("outputs", ())]
        return "".join(out.text for out in outputs if out.output_type == "stream")


@pytest.fixture(scope="module")
def first(tmp_path_factory) -> Project:
    """Run the first session: all flows, options at their defaults."""
    files = {f"flows/{stem}.py": code for stem, code in FLOWS.items()}
    root = write_project(
        tmp_path_factory.mktemp("outcomes") / "project", {**files, "conductor.py": CONDUCTOR}
    )
    # From nothing, as a user would; most other sessions of tests are forked.
    return Project(root, run_pytest(root, "--ductaflow", "conductor.py", "-v", is_real=True))


@pytest.fixture(scope="module")
def again(first, tmp_path_factory) -> Project:
    """Run a second session in a copy of the project, with other options; green fails now."""
    root = tmp_path_factory.mktemp("again") / "project"
    shutil.copytree(first.root, root)
    write_project(root, {"flows/green.py": "raise OSError('disk full')\n"})
    conductor = CONDUCTOR.replace(', "_timeout": 4', "")
    write_project(root, {"conductor.py": conductor})
    chosen = ("green::one", "orange::word", "endless::one")
    options = ("--ductaflow-html=none", "--ductaflow-warnings=fail", "--ductaflow-timeout=5", "--color=yes")
    options += ("--ductaflow-force",)
    return Project(
        root, run_pytest(root, "--ductaflow", *options, *(f"conductor.py::{one}" for one in chosen))
    )


@pytest.fixture(scope="module")
def third(first, tmp_path_factory) -> Project:
    """Run a third session in another copy: a past run directory, warnings pass, HTML of failures only."""
    root = tmp_path_factory.mktemp("third") / "project"
    shutil.copytree(first.root, root)
    chosen = ("conductor.py::orange::sign", "conductor.py::red", "runs/python_warning/one")
    options = ("--ductaflow-html=failed", "--ductaflow-warnings=pass", "--color=no", "--ductaflow-force")
    return Project(root, run_pytest(root, "--ductaflow", *options, *chosen))


def test_outcomes_of_a_session(first):
    """Green passes, a warning line is WARNED, an exception, exit, death or time-out fails; exit code 1."""
    first.result.assert_outcomes(passed=5, failed=6)
    assert warned(first.result) == 4
    assert first.result.ret == pytest.ExitCode.TESTS_FAILED
    outcomes = dict(re.findall(r"^conductor\.py::(\S+) ([A-Z]+)", first.result.stdout.str(), re.MULTILINE))
    assert outcomes == {
        "green::one": "PASSED",
        "orange::sign": "WARNED",
        "orange::word": "WARNED",
        "orange::log": "WARNED",
        "python_warning::one": "PASSED",
        "red::it_s__red_": "FAILED",
        "exits::code_0": "WARNED",
        "exits::code_3": "FAILED",
        "exits_last::code_0": "PASSED",
        "dies::one": "FAILED",
        "meant::one": "PASSED",
        "endless::one": "FAILED",
        "no_python::one": "FAILED",
        "second_time::one": "PASSED",
        "green::no_kernel": "FAILED",
    }


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("green", "one"),
        ("orange", "log"),
        ("red", RED),
        ("exits", "code_3"),
        ("dies", "one"),
        ("endless", "one"),
        ("no_python", "one"),
        ("second_time", "one"),
    ],
)
def test_every_run_leaves_all_its_files(first, step, name):
    """Config, notebook, HTML, log and record are there however the run ended, and no temporary file."""
    found = {path.name for path in (first.root / "runs" / step / name).iterdir()}
    ours = {ending.format(step) for ending in OUR_FILES}
    assert found - {"results.json", "seen"} == ours
    assert first.notebook(step, name).cells[-1]


def test_config_is_exact_and_has_the_project_root(first):
    """The config on disk is the row, nested, with `_project_root`."""
    config = json.loads(first.file("green", "one", "config.json").read_text(encoding="utf-8"))
    expected = {"instance_name": "one", "x": 1, "nested": {"y": 2}, "_project_root": str(first.root)}
    assert config == expected


def test_log_has_all_that_was_printed_or_logged(first):
    """The log has stdout, stderr and logging, a line each."""
    assert sorted(first.log("green")) == ["an informative line", "to stderr", "x is 1 and nested 2"]
    assert first.log("orange", "log") == ["WARNING:root:few data"]


def test_executed_notebook_shows_config_and_outputs(first):
    """The notebook begins with the config's table, has the parameters injected as variables, and outputs."""
    cells = first.notebook("green").cells
    assert cells[0].cell_type == "markdown"
    assert "| x | 1 |" in cells[0].source
    injected = next(cell for cell in cells if "injected-parameters" in cell.metadata.tags)
    names: dict[str, object] = {}
    exec(injected.source, names)
    assert names["x"] == 1
    assert names["config"]["nested"] == {"y": 2}
    assert "nested" not in names
    assert "x is 1 and nested 2" in first.printed("green")


def test_pages_share_one_stylesheet(first):
    """Each HTML page links runs/notebook.css instead of containing the styles."""
    sheet = first.root / "runs" / "notebook.css"
    assert sheet.stat().st_size > 100_000
    page = first.file("red", RED, "executed.html")
    text = page.read_text(encoding="utf-8")
    link = re.search(r'<link href="([^"]+)" rel="stylesheet"', text)
    assert (page.parent / link[1]).resolve() == sheet
    assert page.stat().st_size < 50_000
    assert "ZeroDivisionError" in text


def test_record_tells_what_happened(first):
    """The record has status, times, what made it run, digests, environment and memory."""
    record = first.record("green")
    assert record["status"] == "success"
    assert record["error"] is None
    assert (record["flow"], record["step"], record["instance"]) == ("flows/green.py", "green", "one")
    assert (record["run_dir"], record["source"], record["line"]) == ("runs/green/one", "conductor.py", 4)
    assert (record["attempts"], record["reason"], record["schema"]) == (1, "new", 1)
    assert record["duration"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", record["started"])
    assert record["inputs"]["flows/green.py"].startswith("sha256:")
    assert list(record["outputs"]) == ["results.json"]
    assert record["environment"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert 10e6 < record["peak_memory"] < 2e9


@pytest.mark.parametrize(
    ("name", "line"),
    [("sign", "⚠️ few data"), ("word", "Warning: few data"), ("log", "WARNING:root:few data")],
)
def test_warning_lines_turn_orange(first, name, line):
    """`⚠️`, `Warning:` and logging.warning turn the light orange, and the line is in record and summary."""
    record = first.record("orange", name)
    assert record["status"] == "warning"
    assert record["warnings"] == [line]
    assert record["warning_count"] == 1
    first.result.stdout.fnmatch_lines([f"WARNED conductor.py::orange::{name} - {line}"])


def test_python_warning_does_not_turn_orange(first):
    """`warnings.warn` is kept in the record and in pytest's warnings summary; the run stays green."""
    record = first.record("python_warning")
    assert record["status"] == "success"
    assert record["python_warnings"] == ["UserWarning: an old way"]
    first.result.stdout.fnmatch_lines(
        ["*warnings summary*", "conductor.py::python_warning::one", "*an old way"]
    )


def test_failure_text_has_all_that_one_needs(first):
    """The text of a failure has flow, cell, marked line with the file's number, run directory, command."""
    text = section(first.result, f"red/{RED}")
    lines = (first.root / "flows/red.py").read_text(encoding="utf-8").splitlines()
    at = lines.index("inverse(0)") + 1
    assert re.search(rf"^red failed in cell \[4\], flows/red\.py:{at}$", text, re.MULTILINE)
    assert re.search(rf"^> +{at}  inverse\(0\)$", text, re.MULTILINE)
    assert "E   ZeroDivisionError: division by zero" in text
    assert f"flows/red.py:{lines.index('    return 1 / number') + 1} in cell [3]" in text
    assert f"run directory: runs/red/{RED}" in text
    assert "site-packages" not in text
    assert "pytest_ductaflow" not in text
    error = first.record("red", RED)["error"]
    assert (error["type"], error["cell"], error["file_line"]) == ("ZeroDivisionError", 4, at)


def test_repeat_command_works_when_pasted(first, tmp_path_factory):
    """The command of a failure, pasted into a shell, runs that one instance again."""
    root = tmp_path_factory.mktemp("repeat") / "project"
    shutil.copytree(first.root, root)
    command = re.search(r"^repeat: +(.*)$", section(first.result, f"red/{RED}"), re.MULTILINE)[1]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    environment.pop("PYTEST_DISABLE_PLUGIN_AUTOLOAD", None)
    done = subprocess.run(
        command,
        shell=True,
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    result = pytest.RunResult(done.returncode, done.stdout.splitlines(), done.stderr.splitlines(), 0.0)
    result.assert_outcomes(failed=1)
    assert json.loads((root / "runs/red" / RED / "red_record.json").read_text())["reason"] == "it failed"


def test_exit_without_error_in_the_middle_is_a_warning_that_says_where(first):
    """After sys.exit(0) the rest of a flow does not run, which must be reported."""
    record = first.record("exits", "code_0")
    assert record["status"] == "warning"
    lines = (first.root / "flows/exits.py").read_text(encoding="utf-8").splitlines()
    at = lines.index("sys.exit(code)") + 1
    assert record["warnings"] == [f"⚠️ SystemExit at line {at}: what comes after it has not run"]
    assert record["warnings"][0] in first.log("exits", "code_0")
    assert "never" not in "\n".join(first.log("exits", "code_0"))
    assert first.notebook("exits", "code_0").cells[-1].outputs == []


def test_exit_without_error_in_the_last_statement_is_the_end(first):
    record = first.record("exits_last", "code_0")
    assert (record["status"], record["warnings"]) == ("success", [])


def test_exit_gives_no_warning_of_the_machinery(first):
    """sys.exit() in a flow leaves no warning that the flow did not give."""
    assert first.record("exits", "code_0")["python_warnings"] == []


def test_exit_with_a_code_fails(first):
    """sys.exit(3) is a failure that names the code and the cell."""
    error = first.record("exits", "code_3")["error"]
    assert (error["type"], error["message"], error["cell"]) == ("SystemExit", "3", 3)
    lines = (first.root / "flows/exits.py").read_text(encoding="utf-8").splitlines()
    assert error["file_line"] == lines.index("sys.exit(code)") + 1
    assert "E   SystemExit: 3" in section(first.result, "exits/code_3")


def test_dead_kernel_is_named_with_its_exit_code(first):
    """A kernel that dies is a KernelDied with the exit code, the cell and the last output."""
    error = first.record("dies")["error"]
    assert (error["type"], error["message"]) == ("KernelDied", "the kernel ended with exit code 7")
    assert error["cell"] == 3
    text = section(first.result, "dies/one")
    assert "os._exit(7)" in text
    assert "last words" in text
    assert "last words" in first.printed("dies")


def test_dead_kernel_shows_no_words_of_the_machinery(first):
    """The failure text of a dead kernel is only ours, without a section of captured log."""
    assert "nbclient" not in section(first.result, "dies/one")
    assert "Captured log" not in section(first.result, "dies/one")


def test_exception_that_is_meant_does_not_fail(first):
    """A cell tagged `raises-exception` may raise; the flow continues and is green."""
    record = first.record("meant")
    assert record["status"] == "success"
    assert "after it" in first.log("meant")


def test_timeout_interrupts_and_saves(first):
    """`_timeout` interrupts an endless loop: a Timeout at its line, the notebook saved with its output."""
    error = first.record("endless")["error"]
    assert (error["type"], error["message"]) == ("Timeout", "took longer than 4 s")
    assert first.record("endless")["duration"] < 30
    lines = (first.root / "flows/endless.py").read_text(encoding="utf-8").splitlines()
    assert lines[error["file_line"] - 1] in ("while True:", "    pass")
    assert "begins" in first.printed("endless")


def test_syntax_error_of_a_flow_is_shown_at_its_line(first):
    """A flow that is not Python fails at the line of its file."""
    lines = (first.root / "flows/no_python.py").read_text(encoding="utf-8").splitlines()
    at = lines.index("if True") + 1
    error = first.record("no_python")["error"]
    assert error["message"].endswith(f"(flows/no_python.py, line {at})")
    assert (error["type"], error["file_line"]) == ("SyntaxError", at)
    assert re.search(rf"^> +{at}  if True$", section(first.result, "no_python/one"), re.MULTILINE)


def test_retries_until_it_works(first):
    """`_retries` runs a flow again until it ends well, and counts; kept files stay for the next attempt."""
    record = first.record("second_time")
    assert (record["status"], record["attempts"]) == ("success", 2)
    assert first.log("second_time") == ["the second time"]
    (why,) = record["failed_attempts"]
    assert re.fullmatch(r"\w+: .* \(line \d+\)", why)
    first.result.stdout.fnmatch_lines(
        [f"RETRIED *second_time::one - ended well in attempt 2; attempt 1: {why}"]
    )


def test_unknown_kernel_is_named_with_those_that_there_are(first):
    """A kernel that is not installed fails the instance with its name and the kernels that are."""
    error = first.record("green", "no_kernel")["error"]
    assert error["message"].startswith("green.py: no Jupyter kernel 'nosuch'; installed: python3")
    assert "jupyter kernelspec list" in section(first.result, "green/no_kernel")


def test_captured_output_is_not_coloured(first):
    """Without a terminal nothing is coloured."""
    assert "\x1b[" not in first.result.stdout.str()


def test_failure_leaves_nothing_of_an_earlier_success(again):
    """A flow that was green and fails now has record, log and notebook of the failure, and no old page."""
    again.result.assert_outcomes(failed=3)
    record = again.record("green")
    assert (record["status"], record["reason"]) == ("error", "run again")
    assert record["outputs"] == {}
    assert "x is 1" not in "\n".join(again.log("green"))
    assert "OSError" in again.file("green", "one", "executed.ipynb").read_text(encoding="utf-8")
    assert not again.file("green", "one", "executed.html").exists()


def test_no_pages_if_none_are_wanted(again):
    """--ductaflow-html=none writes no page, and removes the earlier run's."""
    assert not again.file("orange", "word", "executed.html").exists()
    assert again.file("orange", "log", "executed.html").exists()


def test_warnings_can_fail(again):
    """--ductaflow-warnings=fail makes an orange instance fail with its line; the record stays orange."""
    assert again.record("orange", "word")["status"] == "warning"
    assert warned(again.result) == 0
    again.result.stdout.fnmatch_lines(["*orange: warning*", "*Warning: few data*"])


def test_timeout_of_the_session(again):
    """--ductaflow-timeout applies to instances without a time-out of their own."""
    error = again.record("endless")["error"]
    assert (error["type"], error["message"]) == ("Timeout", "took longer than 5 s")


def test_colours_if_wanted(again):
    """--color=yes colours the failure text."""
    assert re.search(r"(\x1b\[(1|31)m){2}E   OSError: disk full\x1b\[0m", again.result.stdout.str())


def test_warnings_can_pass(third):
    """--ductaflow-warnings=pass makes an orange instance pass; the record stays orange."""
    third.result.assert_outcomes(passed=2, failed=1)
    assert warned(third.result) == 0
    assert third.record("orange", "sign")["status"] == "warning"


def test_pages_of_failures_only(third):
    """--ductaflow-html=failed writes only the pages of failures."""
    assert third.file("red", RED, "executed.html").exists()
    assert not third.file("orange", "sign", "executed.html").exists()


def test_past_run_directory_is_run_again(third):
    """A past run directory runs again in place, from its saved config, with warnings as usual."""
    record = third.record("python_warning")
    assert (record["status"], record["reason"]) == ("success", "run again")
    config = json.loads(third.file("python_warning", "one", "config.json").read_text(encoding="utf-8"))
    assert config["_project_root"] == str(third.root)


def test_no_colours_if_not_wanted(third):
    """--color=no writes no escape sequences."""
    assert "\x1b[" not in third.result.stdout.str()


def test_a_time_out_of_pytest_timeout_ends_a_flow_as_one_of_ours(tmp_path: Path) -> None:
    """The record says that it failed and where; a plugin that stops an item closes its record as well."""
    pytest.importorskip("pytest_timeout")
    slow = "import time\nprint('begun')\ntime.sleep(600)\n"
    write_project(
        tmp_path,
        {
            "flows/slow.py": slow,
            "flows/quick.py": "print('done')",
            "conductor.py": """\
                from pytest_ductaflow import conduct
                conduct("flows/slow.py", [{"instance_name": "a"}])
                conduct("flows/quick.py", [{"instance_name": "own", "_timeout": 300}])
                """,
        },
    )
    done = run_session(tmp_path, "--ductaflow", "conductor.py", "--timeout", "5")
    assert "1 failed, 1 passed" in done.stdout
    record = json.loads((tmp_path / "runs/slow/a/slow_record.json").read_text())
    assert (record["status"], record["error"]["type"], record["error"]["line"]) == ("error", "Timeout", 3)
    assert record.get("reserved", {}) == {}
    assert "CallInfo" not in done.stdout
    assert "Stack of" not in done.stdout
