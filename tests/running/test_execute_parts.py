"""The parts of a run that need no kernel: parameters, the notebook, output, tracebacks."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.core.errors import DuctaflowError
from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Failure, Record, Status
from pytest_ductaflow.kernels.choose import choose_kernel
from pytest_ductaflow.kernels.inside.setup import marked
from pytest_ductaflow.running.failures import cell_failure
from pytest_ductaflow.running.failures.cell_failure import readable_traceback
from pytest_ductaflow.running.failures.run_failure import FlowExecutionError
from pytest_ductaflow.running.flow_run import warnings_before
from pytest_ductaflow.running.notebook.prepare import prepare_notebook
from pytest_ductaflow.running.output_log import KEPT_WARNINGS, Output, by_source
from pytest_ductaflow.sources.notebooks import Source, read_flow

FLOW = """\
# %% [markdown]
# # Title

# %% tags=["parameters"]
config = {}

# %%
print(config)
"""


# What is said before a run


def test_code_fences_that_are_not_run_are_told_with_what_to_write(tmp_path):
    fences = "\n".join(f"```{head}\nprint(x)\n```\n" for head in ("python", "py", "{python}"))
    source = a_source(tmp_path, f'```python tags=["parameters"]\nx = 0\n```\n\n{fences}', "fence.md")
    instance = Instance(str(source.path), "fence", "i", {}, str(tmp_path), str(tmp_path))
    (told,) = warnings_before(source, instance, choose_kernel(source, None, "python3"))
    what = "2 code fences are not run (line 9: ```py, line 13: ```{python}): write ```python"
    assert told == f"FenceWarning: fence.md: {what}"


# The notebook


def a_source(tmp_path: Path, text: str = FLOW, name: str = "01_fit.py") -> Source:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_flow(path)


def test_the_notebook_begins_with_the_config_and_has_the_parameters_behind_their_cell(tmp_path):
    config = {"year": 2040, "p": {"m": "ä"}, "_project_root": "/p"}
    notebook = prepare_notebook(a_source(tmp_path), config, "python3", "python")
    table, title, defaults, injected, code = notebook.cells
    assert table.cell_type == "markdown"
    assert "## Configuration for 01_fit" in table.source
    assert "| year | 2040 |" in table.source
    assert (title.source, defaults.source, code.source) == ("# Title", "config = {}", "print(config)")
    assert "injected-parameters" in injected.metadata.tags
    variables: dict[str, object] = {}
    exec(injected.source, variables)
    assert variables["config"] == config
    assert (variables["year"], variables["_project_root"]) == (2040, "/p")


def test_the_notebook_is_valid_its_ids_are_distinct_and_the_same_in_every_run(tmp_path):
    source = a_source(tmp_path)
    one, other = (prepare_notebook(source, {"a": 1}, "python3", "python") for _ in range(2))
    nbformat.validate(one)
    ids = [cell["id"] for cell in one.cells]
    assert ids == [cell["id"] for cell in other.cells]
    assert len(set(ids)) == len(ids)


def test_the_source_is_shared_and_therefore_left_as_it_is(tmp_path):
    source = a_source(tmp_path)
    before = json.dumps(source.notebook)
    prepare_notebook(source, {"a": 1}, "ir", "R")
    assert json.dumps(source.notebook) == before


def test_the_kernel_that_was_found_is_that_of_the_notebook(tmp_path):
    notebook = prepare_notebook(a_source(tmp_path), {}, "python3", "python")
    assert notebook.metadata.kernelspec == {
        "name": "python3",
        "language": "python",
        "display_name": "python3",
    }


@pytest.mark.parametrize(
    ("kernel", "language", "said"),
    [("ir", "R", "a = 1"), ("julia-1.10", "julia", "a = 1"), ("python3", "python", "a = 1")],
)
def test_parameters_are_written_in_the_language_of_the_kernel(tmp_path, kernel, language, said):
    notebook = prepare_notebook(a_source(tmp_path), {"a": 1}, kernel, language)
    assert said in notebook.cells[3].source


@pytest.mark.parametrize(
    "value",
    [
        "'\"\\\n\t",
        "'''",
        "{x}",
        "\\N{DEGREE SIGN}",
        None,
        True,
        -1,
        1e300,
        float("inf"),
        [],
        {"ä": [{}]},
        2**70,
    ],
)
def test_every_value_of_a_config_comes_back_from_the_injected_code(tmp_path, value):
    notebook = prepare_notebook(a_source(tmp_path), {"x": value}, "python3", "python")
    variables: dict[str, object] = {}
    exec(notebook.cells[3].source, variables)
    assert variables["config"] == {"x": value}


def test_a_config_is_never_put_in_front_of_the_defaults_that_would_win_over_it(tmp_path):
    source = a_source(tmp_path, "# %%\nrate = 0.01\n")
    with pytest.raises(DuctaflowError, match=r"no cell tagged `parameters`.*put `# %% tags="):
        prepare_notebook(source, {"rate": 0.5, "_project_root": "/p"}, "python3", "python")


def test_a_flow_without_a_parameters_cell_runs_as_it_is_where_there_is_no_config(tmp_path):
    source = a_source(tmp_path, "# %%\nprint(1)\n")
    notebook = prepare_notebook(source, {"_project_root": "/p"}, "python3", "python")
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code"] == ["print(1)"]


def test_parameters_of_an_earlier_run_are_taken_out(tmp_path):
    first = prepare_notebook(a_source(tmp_path), {"a": 1}, "python3", "python")
    path = tmp_path / "again.ipynb"
    nbformat.write(first, path)
    again = prepare_notebook(read_flow(path), {"a": 2}, "python3", "python")
    injected = [cell.source for cell in again.cells if "injected-parameters" in cell.metadata.tags]
    assert len(injected) == 1
    assert "a = 2" in injected[0]


# The kernel


def test_a_python_flow_that_names_no_kernel_gets_the_default(tmp_path):
    chosen = choose_kernel(a_source(tmp_path), None, "python3")
    assert (chosen.name, chosen.language) == ("python3", "python")


def naming(kernel: str, *more: str) -> str:
    header = ("jupyter:", "  kernelspec:", f"    name: {kernel}", "    display_name: P", *more)
    return "".join(f"# {line}\n" for line in ("---", *header, "---")) + "\n" + FLOW


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """Install kernels besides python3: of another environment, and of another language."""
    for name, language in (("other-env", "python"), ("my-julia", "Julia")):
        folder = tmp_path / "jupyter" / "kernels" / name
        folder.mkdir(parents=True)
        spec = {"argv": ["x", "{connection_file}"], "display_name": name, "language": language}
        (folder / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("flow", "wanted", "option", "expected"),
    [
        (FLOW, None, None, "python3"),
        (FLOW, None, "other-env", "other-env"),
        (FLOW, "other-env", "python3", "other-env"),
        (naming("other-env"), None, None, "other-env"),
        (naming("other-env"), None, "python3", "python3"),
        (naming("other-env"), "python3", None, "python3"),
        (naming("other-env"), None, "my-julia", "other-env"),
        (naming("other-env"), "my-julia", None, "my-julia"),
        (naming("my-julia", "    language: julia"), None, "other-env", "my-julia"),
        (naming("gone"), None, None, "python3"),
        (naming("gone", "    language: python"), None, None, "python3"),
        (naming("gone"), None, "other-env", "other-env"),
    ],
)
def test_what_is_asked_for_goes_before_what_the_flow_names_and_that_before_the_default(
    tmp_path, flow, wanted, option, expected
):
    assert choose_kernel(a_source(tmp_path, flow), wanted, option).name == expected


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("flow", "wanted", "option", "named"),
    [
        (naming("gone", "    language: R"), None, None, "gone"),
        (naming("other-env"), "gone", None, "gone"),
        (naming("other-env"), None, "gone", "gone"),
        (naming("gone"), "gone", None, "gone"),
    ],
)
def test_no_other_kernel_takes_the_place_of_one_that_was_asked_for_or_speaks_otherwise(
    tmp_path, flow, wanted, option, named
):
    with pytest.raises(DuctaflowError, match=f"'{named}'; installed: my-julia, other-env, python3. "):
        choose_kernel(a_source(tmp_path, flow), wanted, option)


@pytest.mark.parametrize(
    ("name", "wanted", "option", "kernel", "cure"),
    [
        ("x.py", "no-such", None, "'no-such'", "name another one by kernel_name=, a column `_kernel` or"),
        ("x.py", None, "no-such", "'no-such'", "name another one by kernel_name=, a column `_kernel` or"),
        ("x.jl", None, "python3", "for julia", "install one"),
    ],
)
def test_a_kernel_that_is_not_there_is_an_error_that_names_those_that_are(
    tmp_path, name, wanted, option, kernel, cure
):
    with pytest.raises(DuctaflowError) as caught:
        choose_kernel(a_source(tmp_path, FLOW, name), wanted, option)
    assert str(caught.value).startswith(f"{name}: no Jupyter kernel {kernel}; installed: ")
    assert "python3" in str(caught.value).partition("installed:")[2]
    assert f"What to do: {cure}" in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "stopped", "line", "is_at_the_end"),
    [
        (["a\nexit()\nb"], 0, 2, False),
        (["a\nexit()"], 0, 2, True),
        (["a\nexit()\n\n# bye"], 0, 2, True),
        (["a\nif b:\n    exit()\n"], 0, 3, True),
        (["a\nif b:\n    exit()\nc"], 0, 3, False),
        (["exit()", "b"], 0, 1, False),
        (["exit()", "", "# nothing\n"], 0, 1, True),
        (["%time 1\nexit()\n%time 2"], 0, 2, False),
        (["%time 1\nexit()\n# bye"], 0, 2, True),
        (["a", "exit()"], 1, None, True),
        (["exit()", "b"], 0, None, False),
        (["for a in b:\n    if a:\n        exit()\n    c"], 0, 3, False),
        (["for a in b: exit()"], 0, 1, False),
        (["while a:\n    exit()"], 0, 2, False),
        (["with a:\n    for b in c:\n        exit()"], 0, 3, False),
        (["for a in b:\n    c\nelse:\n    exit()"], 0, 4, True),
        (["for a in exit():\n    b"], 0, 1, True),
        (["while True:\n    if a:\n        exit()\n    b"], 0, 3, True),
        (["with a:\n    exit()"], 0, 2, True),
        (["with a:\n    if b:\n        exit()\n    c"], 0, 3, False),
        (["if a:\n    exit()\nelif b:\n    exit()\nelse:\n    c"], 0, 4, True),
        (["try:\n    a\nexcept b:\n    exit()\nfinally:\n    c"], 0, 4, True),
        (["match a:\n    case 1:\n        exit()\n        b\n    case 2:\n        c"], 0, 3, False),
        (["def a():\n    for b in c:\n        exit()\na()"], 0, 4, True),
        (['def a():\n    exit()\nif __name__ == "__main__":\n    a()'], 0, 4, True),
    ],
)
def test_an_exit_is_at_the_end_if_nothing_is_left_to_run_after_it(cells, stopped, line, is_at_the_end):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.cells[stopped].metadata["papermill"] = {"status": "failed"}
    assert cell_failure.is_at_the_end(notebook, Failure("SystemExit", "", 1, line=line)) is is_at_the_end


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("option", [None, "python3"])
def test_a_flow_of_another_language_gets_the_kernel_of_its_language(tmp_path, option):
    chosen = choose_kernel(a_source(tmp_path, FLOW, "x.jl"), None, option)
    assert (chosen.name, chosen.language) == ("my-julia", "Julia")


# Output


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "x_execution_output.txt"


def printed(log: Path, *pieces: str | tuple[str, str], echo: io.StringIO | None = None) -> Output:
    with Output(log, echo) as output:
        for piece in pieces:
            output.write(*piece if isinstance(piece, tuple) else ("stdout", piece))
    return output


def test_output_is_in_the_log_line_by_line_while_it_comes(log):
    with Output(log) as output:
        output.write("stdout", "größe ⚠️\nhal")
        assert log.read_text(encoding="utf-8") == "größe ⚠️\n"
        output.write("stdout", "f\n")
        assert log.read_text(encoding="utf-8") == "größe ⚠️\nhalf\n"


def test_pieces_of_two_streams_are_not_mixed_within_a_line(log):
    printed(log, ("stdout", "a"), ("stderr", "b"), ("stdout", "A\n"), ("stderr", "B\n"), ("other", "c"))
    assert log.read_text(encoding="utf-8") == "aA\nbB\nc\n"


def test_pieces_of_two_sources_are_not_mixed_within_a_line(log):
    text = f"iteration 22 of 100{marked('m', 'd', 'objective 1234')}⚠️ no end\n{marked('m', 'd', '.5')}\n"
    pieces = by_source(text, "m")
    assert pieces == [
        *(("", "iteration 22 of 100"), ("d", "objective 1234"), ("", "⚠️ no end\n")),
        *(("d", ".5"), ("", "\n")),
    ]
    with Output(log) as output:
        for source, piece in (("d", "objective 1234"), ("", "⚠️ no end\n"), ("d", ".5\n")):
            output.write("stdout", piece, source)
    assert output.warnings == ["⚠️ no end"]
    assert log.read_text(encoding="utf-8") == "⚠️ no end\nobjective 1234.5\n"


def test_colours_and_rewritten_lines_are_not_in_the_log_but_an_echo_has_the_colours(log):
    echo = io.StringIO()
    printed(log, "\x1b[31mred\x1b[0m\n", "10%\r", "20%\r\n", echo=echo)
    assert log.read_text(encoding="utf-8") == "red\n20%\n"
    assert echo.getvalue() == "\x1b[31mred\x1b[0m\n20%\n"


def test_warning_lines_are_kept_bare_and_counted(log):
    execution = printed(
        log, "fine\n", "\x1b[33m⚠️ low\x1b[0m  \n", "WARNING: high", ("stderr", "warning: x\n")
    )
    assert sorted(execution.warnings) == ["WARNING: high", "warning: x", "⚠️ low"]
    assert execution.warning_count == 3
    assert execution.python_warnings == []


def test_of_many_warning_lines_the_first_are_kept_and_all_are_counted(log):
    execution = printed(log, "".join(f"⚠️ {number}\n" for number in range(KEPT_WARNINGS + 50)))
    assert execution.warning_count == KEPT_WARNINGS + 50
    assert execution.warnings == [f"⚠️ {number}" for number in range(KEPT_WARNINGS)]


def test_what_the_warnings_module_prints_is_kept_once_and_turns_no_light(log):
    line = "/p/flows/x.py:7: DeprecationWarning: old\n  call()\n"
    execution = printed(log, ("stderr", line), ("stderr", line))
    assert execution.python_warnings == ["DeprecationWarning: old"]
    assert (execution.warnings, execution.warning_count) == ([], 0)


def test_of_many_and_long_warnings_a_bounded_part_is_kept(log):
    """The log has all of them; the record the first ones' texts, and their number."""
    lines = [f"/p/x.py:7: UserWarning: {n} {'y' * 5_000}\n" for n in range(KEPT_WARNINGS + 50)]
    execution = printed(log, *lines, *lines[:KEPT_WARNINGS], f"warning: {'z' * 50_000}\n")
    *kept, more = execution.python_warnings
    assert len(kept) == KEPT_WARNINGS
    assert more == "FlowWarning: 50 more lines of Python warnings are in the log"
    assert kept[3].startswith("UserWarning: 3 yyy")
    assert max(map(len, (*kept, *execution.warnings))) < 3_000
    assert log.stat().st_size > sum(map(len, lines))
    execution.add_logged([f"WARNING: warning: {'z' * 50_000}"])
    assert execution.warning_count == 1


@pytest.mark.parametrize(
    ("code", "text", "line"),
    [
        ("x = 1\nprint('⚠️ few data')", "⚠️ few data", 21),
        ("n = 3\nprint('⚠️', n)", "⚠️ 3", 21),
        ("if n:\n    print(f'Warning: {n} zones')", "Warning: 3 zones", 21),
        ("import logging\nlogging.warning('few data')", "WARNING: few data", 21),
        ("why = 'few data'\nprint(f'⚠️ {zone}: {why}')", "⚠️ north: few data", 21),
        ("print('⚠️', a)\nprint('⚠️', b)", "⚠️ 3", 20),
        ("import helper\nhelper.check(zones)", "⚠️ few data", 20),
    ],
)
def test_the_line_of_the_first_warning_is_known_or_else_that_of_its_cell(log, code, text, line):
    with Output(log) as output:
        output.begin_cell("print('all is well')", 10)
        output.write("stdout", "all is well\n")
        output.complete_cell()
        output.begin_cell(code, 20)
        output.write("stdout", f"{text}\n⚠️ later\n")
    assert output.warning_line == line


def test_a_warning_of_no_cell_of_the_flow_has_no_line(log):
    with Output(log) as output:
        output.begin_cell("config = {}", None)
        output.write("stdout", "⚠️ few data\n")
    assert output.warning_line is None


def test_a_note_ends_the_lines_before_it_and_has_no_light(log):
    with Output(log) as output:
        output.write("stdout", "half")
        output.note("⚠️ a traceback\x1b[0m")
        output.write("stdout", "after\n")
    assert log.read_text(encoding="utf-8") == "half\n⚠️ a traceback\nafter\n"
    assert output.warning_count == 0


def test_a_log_of_an_earlier_run_is_written_anew(log):
    log.write_text("old\n" * 9, encoding="utf-8")
    printed(log)
    assert log.read_text(encoding="utf-8") == ""


def test_half_a_character_in_the_output_is_not_the_end_of_the_run(log):
    printed(log, "\ud83d broken\n")
    assert "broken" in log.read_text(encoding="utf-8", errors="replace")


@given(st.text(st.sampled_from("a⚠\r\n\x1b[3m:")), st.integers(1, 5))
def test_the_log_has_as_many_lines_as_were_printed(tmp_path_factory, text, size):
    log = tmp_path_factory.mktemp("output") / "log.txt"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    printed(log, *pieces)
    lines = text.count("\n") + bool(text.rpartition("\n")[2].strip("\r").rpartition("\r")[2])
    assert log.read_text(encoding="utf-8").count("\n") in {lines, text.count("\n") + 1}


# Tracebacks

HEAD = "ValueError                                Traceback (most recent call last)"
CELL = "Cell In[3], line 2\n      1 x = 0\n----> 2 call(x)\n"
MINE = "File /p/lib/m.py:12, in call(x)\n     11 def call(x):\n---> 12     raise ValueError('no')\n"
OWN = f"File {cell_failure.PACKAGE}conductor.py:9, in run_notebook(flow)\n----> 9     raise error\n"
MACHINERY = "File /v/lib/python3.11/site-packages/{}/client.py:5, in run(self)\n----> 5 await it\n"
END = "ValueError: no"


def a_traceback(*frames: str, end: str = END) -> str:
    return "\n".join(["-" * 75, HEAD, *frames, end])


@pytest.mark.parametrize(
    ("frames", "kept"),
    [
        ([CELL], [CELL]),
        ([CELL, MINE], [CELL, MINE.replace("/p/", "")]),
        ([CELL, OWN, MINE], [CELL, MINE.replace("/p/", "")]),
        ([CELL, OWN], [CELL]),
        ([CELL, "File ductaflow:239, in write(self, text)\n"], [CELL]),
        ([CELL, OWN, MACHINERY.format("papermill")], [CELL]),
        ([CELL, MACHINERY.format("pandas")], [CELL, MACHINERY.format("pandas")]),
        *[
            ([CELL, MACHINERY.format(name), MINE], [CELL, MINE.replace("/p/", "")])
            for name in ("papermill", "nbclient", "nbformat", "jupyter_client", "jupyter_core")
        ],
        (
            [CELL, MACHINERY.format("papermill").replace("/", "\\"), MINE],
            [CELL, MINE.replace("/p/", "")],
        ),
        ([CELL + "\n    [... skipping hidden 3 frames]\n", MINE], [CELL, MINE.replace("/p/", "")]),
        ([CELL + "\n    [... skipping hidden 1 frame]\n", OWN], [CELL]),
        pytest.param([OWN], []),
    ],
    ids=lambda frames: f"{len(frames)} frames",
)
def test_a_traceback_has_no_ruler_no_machinery_and_the_exception_at_its_end(frames, kept):
    text = readable_traceback(a_traceback(*frames), Path("/p"))
    lines = [line for line in text.splitlines() if line]
    assert lines == [line for line in "\n".join([HEAD, *kept, END]).splitlines() if line]


def test_what_is_no_traceback_of_ipython_stays_as_it_is():
    assert readable_traceback("Error in f(): no such thing\n  at line 3", Path("/p")) == (
        "Error in f(): no such thing\n  at line 3"
    )
    assert readable_traceback("", Path("/p")) == ""


def test_a_syntax_error_keeps_its_line():
    text = "  Cell In[4], line 1\n    def g(:\n          ^\nSyntaxError: invalid syntax\n"
    assert readable_traceback(text, Path("/p")) == text.strip()


def test_a_chain_of_exceptions_of_the_project_stays_whole():
    cause = "\nThe above exception was the direct cause of the following exception:\n"
    text = a_traceback(CELL, MINE, "ZeroDivisionError: first", cause, HEAD, CELL, MINE)
    found = readable_traceback(text, Path("/p"))
    assert found.count("lib/m.py:12") == 2
    assert found.index("ZeroDivisionError: first") < found.index("direct cause") < found.index(END)


def test_a_chain_in_which_the_first_exception_ends_in_the_machinery_keeps_that_exception():
    cause = "\nThe above exception was the direct cause of the following exception:\n"
    text = a_traceback(CELL, OWN, "\nZeroDivisionError: first", cause, HEAD, CELL)
    found = readable_traceback(text, Path("/p"))
    assert found.index("ZeroDivisionError: first") < found.index("direct cause") < found.index(END)


def test_a_message_with_a_blank_line_is_kept_whole_behind_a_hidden_frame():
    text = a_traceback(CELL, OWN, end="\nValueError: first\n\nsecond")
    assert readable_traceback(text, Path("/p")).endswith("ValueError: first\n\nsecond")


def test_paths_under_the_home_directory_are_known_too(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(cell_failure, "PACKAGE", "/home/me/venv/lib/site-packages/pytest_ductaflow/")
    own = "File ~/venv/lib/site-packages/pytest_ductaflow/conductor.py:9, in f()\n----> 9 raise\n"
    mine = "File ~/project/lib/m.py:12, in call(x)\n---> 12 raise\n"
    found = readable_traceback(a_traceback(CELL, own, mine), Path("/home/me/project"))
    assert "conductor.py" not in found
    assert "File lib/m.py:12" in found


# The exception


def a_failure() -> FlowExecutionError:
    failure = Failure("ValueError", "no", 3, "boom()", 1, 12, "line 1\nline 2")
    record = Record(Status.ERROR, "flows/x.py", "x", "A", "runs/x/A", error=failure)
    return FlowExecutionError("x failed in cell 3", record)


def test_a_failed_flow_is_papermills_exception_with_papermills_attributes():
    from papermill.exceptions import PapermillExecutionError

    error = a_failure()
    assert isinstance(error, PapermillExecutionError)
    assert isinstance(error, DuctaflowError)
    assert str(error) == "x failed in cell 3"
    assert (error.exec_count, error.source, error.ename, error.evalue) == (3, "boom()", "ValueError", "no")
    assert error.traceback == ["line 1", "line 2"]
    assert error.record.error.file_line == 12


def test_a_failure_without_an_error_in_its_record_has_the_message_at_least():
    error = FlowExecutionError("x failed", Record(Status.ERROR, "flows/x.py", "x", "A", "runs/x/A"))
    assert (error.ename, error.evalue, error.exec_count) == ("Error", "x failed", None)


def test_a_failed_flow_comes_back_from_a_conductors_own_processes():
    back = pickle.loads(pickle.dumps(a_failure()))
    assert str(back) == "x failed in cell 3"
    assert back.record == a_failure().record
