"""Bad input: exit code 4, one message that says where, no traceback of ours, nothing under runs/."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_pytest, run_python
from helpers.thorough import one_in

from pytest_ductaflow.planning import read_sources

PROJECT = {
    "flows/a.py": "print(1)\n",
    "conductor.py": """
        from pytest_ductaflow import conduct
        conduct("flows/a.py", [{"instance_name": "A"}])
        """,
}
SLOW = """
    import time
    from pytest_ductaflow import conduct
    time.sleep(2)
    conduct("flows/a.py", [{"instance_name": "B"}])
    """
CONDUCT = "from pytest_ductaflow import conduct\n"
CALLS = "from ductaflow import run_notebook, run_step_flow\n"
HEADER = "instance_name,flow,x\ngood_{stem},flows/a.py,1\n"

# The second row of a table whose first row is right, and what the message says of it.
ROWS = {
    "duplicate": (
        "good_duplicate,flows/a.py,2",
        ": has the same run directory as duplicate.csv, row 1: runs/a/good_duplicate",
    ),
    "leaves": ("../evil,flows/a.py,2", ", column 'instance_name': instance_name '../evil' would leave runs/"),
    "leaves_late": (
        "a/../../evil,flows/a.py,2",
        ", column 'instance_name': instance_name 'a/../../evil' would",
    ),
    "absolute": (
        "/tmp/evil,flows/a.py,2",
        ", column 'instance_name': instance_name '/tmp/evil' would leave runs/",
    ),
    "long": (
        f"{'n' * 300},flows/a.py,2",
        f", column 'instance_name': instance_name '{'n' * 40}…' is longer than",
    ),
    "nameless": (",flows/a.py,2", ", column 'instance_name': instance_name is empty"),
    "no_flow": ("bad,flows/nosuch.py,2", ", column 'flow': flow 'flows/nosuch.py' not found in"),
    "blank_flow": ("bad,,2", ", column 'flow': is empty (name the flow that the row runs)"),
    "outside": (
        "bad,../evil.py,2",
        ", column 'flow': flow '../evil.py' lies outside of the project (a table runs",
    ),
    "no_parameters": ("bad,plain.py,2", ", column 'flow': plain.py has no cell tagged `parameters`"),
    "schema": ("bad,flows/strict.py,9", ", column 'x': 9 is greater than the maximum of 5"),
}

# A table's columns and first row, and what the message says of it.
COLUMNS = {
    "unknown": ("_timeuot", "3", "names that begin with _ are reserved (did you mean '_timeout'?)"),
    "no_number": ("_timeout", "soon", "'soon': expected a number above 0"),
    "negative": ("_timeout", "-1", "-1: expected a number above 0"),
    "half": ("_retries", "1.5", "1.5: expected a whole number, 0 or more"),
    "no_mark": ("_marks", "no-mark", "'no-mark': expected names of marks, separated by commas"),
}

UNREADABLE = {
    "empty.csv": b"",
    "binary.csv": b"\xff\xfe\x00\x81" * 50,
    "ragged.csv": b"instance_name,flow\none,flows/a.py\ntwo,flows/a.py,3,4,5\n",
    "corrupt.xlsx": b"PK\x03\x04 this is no workbook",
    "corrupt.parquet": b"PAR1 and nothing",
    "corrupt.json": b'[{"instance_name": ',
}

CONDUCTORS = {
    "values": f"{CONDUCT}conduct('flows/a.py', [{{'x': 1}}, {{'x': {{1, 2}}}}, {{'x': float('inf')}}])\n",
    "several": f"{CONDUCT}conduct('flows/a.py', 'nosuch.csv')\nconduct('flows/b.py', [{{'x': 1}}])\n",
    "raises": "x = 1\n1 / 0\n",
    "helped": "import helper\nhelper.fail()\n",
    "syntax": "x = 1\nif x\n    pass\n",
    "escapes": "raise ValueError(chr(27) + '[2Jred ' + chr(27) + ']0;title' + chr(7))\n",
    "exits": "import sys\nsys.exit(3)\n",
    "kills_itself": "import os\nprint('last words', flush=True)\nos._exit(5)\n",
    "reads": f"""\
{CONDUCT}from pathlib import Path
conduct("flows/a.py", [{{"instance_name": "to_read"}}])
print(Path("runs/a/to_read/results.json").read_text())
""",
    "needs": f"""\
{CONDUCT}from pathlib import Path

conduct("flows/a.py", [{{"instance_name": "to_need"}}])
print(Path("summary.json").read_text())
""",
    "caught": f"""\
{CALLS}
try:
    run_notebook("flows/nosuch.py", config={{"instance_name": "one"}})
except Exception as error:
    print(error)
try:
    run_step_flow("flows/a.py", "a", "../evil")
except Exception as error:
    print(error)
try:
    run_step_flow("flows/a.py", "a", "caught", {{"_timeout": "soon"}})
except Exception as error:
    print(error)
""",
}


def refused(root: Path, *args: str) -> list[str]:
    """Return the lines of the message with which pytest refuses to run anything."""
    result = run_pytest(root, "--ductaflow", *args)
    output = result.stdout.str() + "\n" + result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR, output
    assert output.count("ERROR: nothing has run") == 1
    for forbidden in ("INTERNALERROR", "Traceback (most recent call last)", "pytest_ductaflow/"):
        assert forbidden not in output
    assert not (root / "runs").exists()
    _, _, message = output.partition("ERROR: nothing has run: what is to be run is not right\n")
    return [line.strip() for line in message.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Make a project with one of every mistake."""
    files: dict[str, object] = {
        "flows/a.py": "",
        "flows/strict.py": "",
        "flows/alone.py": "",
        "flows/listed.py": "",
        "flows/broken.py": "",
        "plain.py": "print(1)\n",
        "helper.py": "def fail():\n    raise KeyError('gone')\n",
        "config/flows/strict.schema.json": {"properties": {"x": {"type": "integer", "maximum": 5}}},
        "config/flows/listed.json": "[1, 2]",
        "config/flows/broken.json": "{'a': 1}",
        "needs_flow.csv": "name,x\none,1\n",
        "at_once.csv": "instance_name,flow,_retries\n../x,flows/a.py,many\none,nosuch.py,\n",
    }
    files |= {f"{stem}.csv": f"{HEADER.format(stem=stem)}{row}\n" for stem, (row, _) in ROWS.items()}
    files |= {
        f"{stem}.csv": f"instance_name,flow,{column}\n{stem},flows/a.py,{value}\n"
        for stem, (column, value, _) in COLUMNS.items()
    }
    files |= {f"{stem}.py": code for stem, code in CONDUCTORS.items()}
    root = write_project(tmp_path_factory.mktemp("mistakes"), files)
    write_project(root.parent, {"evil.py": "# %% tags=['parameters']\nconfig = {}\n"})
    for name, content in UNREADABLE.items():
        (root / name).write_bytes(content)
    return root


@pytest.fixture(scope="module")
def message(root) -> list[str]:
    """Return pytest's messages about all of them in one session."""
    tables = sorted(
        path.name for path in root.iterdir() if path.suffix in (".csv", ".xlsx", ".parquet", ".json")
    )
    flows = [f"flows/{stem}.py" for stem in ("alone", "listed", "broken")]
    return refused(root, *tables, *flows, *(f"{stem}.py" for stem in CONDUCTORS))


def about(message: list[str], name: str) -> list[str]:
    """Return the lines that begin with a file's name."""
    return [line for line in message if line.startswith((f"{name}:", f"{name},", f"{name} "))]


@pytest.mark.parametrize("stem", ROWS)
def test_row_that_is_wrong_is_named(message, stem):
    """A mistake in a row gives one line with file, row and column; right rows give none."""
    (line,) = about(message, f"{stem}.csv")
    assert line.startswith(f"{stem}.csv, row 2{ROWS[stem][1]}")


def test_message_says_what_to_do(message, root):
    """A message names the column to change, the place searched, or the cell to add."""
    assert "(give each its own 'instance_name')" in about(message, "duplicate.csv")[0]
    assert str(root) in about(message, "no_flow.csv")[0]
    assert '# %% tags=["parameters"]' in about(message, "no_parameters.csv")[0]
    assert "(255 bytes)" in about(message, "long.csv")[0]


@pytest.mark.parametrize("stem", COLUMNS)
def test_reserved_column_that_is_wrong_is_named(message, stem):
    """A reserved column that is unknown, or a value it cannot take, is named with what was expected."""
    column, _, says = COLUMNS[stem]
    assert about(message, f"{stem}.csv") == [f"{stem}.csv, row 1, column '{column}': {says}"]


@pytest.mark.parametrize("name", UNREADABLE)
def test_table_that_cannot_be_read_is_named(message, name):
    """A file that its reader refuses is named in one line that says so."""
    (line,) = about(message, name)
    assert "cannot be read as a table: " in line


def test_table_without_the_columns_that_it_needs(message):
    """A table's file that does not say what its rows run is refused with the missing columns."""
    (line,) = about(message, "needs_flow.csv")
    assert line == "needs_flow.csv: has no column `flow` (or `build`) that says what its rows run"


def test_several_problems_are_shown_at_once(message):
    """All problems of a table are shown at once, including two of the same row."""
    starts = [line.partition(": ")[0] for line in about(message, "at_once.csv")]
    assert sorted(starts) == [
        "at_once.csv, row 1, column '_retries'",
        "at_once.csv, row 1, column 'instance_name'",
        "at_once.csv, row 2, column 'flow'",
    ]
    first, second = about(message, "several.py")
    assert first.startswith("several.py:2: table 'nosuch.csv' not found in")
    assert second.startswith("several.py:3, row 1: flow 'flows/b.py' not found in")


def test_value_that_json_lacks(message):
    """A value that has no form in JSON is named with the conductor's line, row and column."""
    assert about(message, "values.py") == [
        "values.py:2, row 2, column 'x': {1, 2} (set) has no place in JSON",
        "values.py:2, row 3, column 'x': inf has no place in JSON",
    ]


@pytest.mark.parametrize(
    ("stem", "says"),
    [
        ("raises", "raises.py:2: ZeroDivisionError: division by zero"),
        ("helped", "helped.py:2: KeyError: 'gone'"),
        ("syntax", "syntax.py:2: SyntaxError: expected ':'"),
        ("escapes", r"escapes.py:1: ValueError: \x1b[2Jred \x1b]0;title\x07"),
        ("exits", "exits.py ended with exit code 3"),
        ("kills_itself", "kills_itself.py: its process ended with exit code 5 before it was done"),
        ("reads", "reads.py:4 reads runs/a/to_read/results.json, which a/to_read is going to write: put it"),
        ("needs", "needs.py:5: FileNotFoundError: "),
    ],
)
def test_conductor_that_does_not_come_to_its_end(message, stem, says):
    """A conductor that raises, exits or dies is named with its line or exit code."""
    (line,) = about(message, f"{stem}.py")
    assert line.startswith(says)


def test_conductor_that_fails_shows_where_and_what_it_printed(message, root):
    """The message includes the frames of the user's own files, and the last output."""
    assert f'File "{root / "helper.py"}", line 2, in fail' in message
    assert "last words" in message


def test_conductor_that_needs_what_is_not_there_yet(message):
    """The message of a conductor that looks for results during collection says why there are none."""
    number = next(n for n, line in enumerate(message) if line.startswith("needs.py:5: FileNotFoundError"))
    assert any("if not is_collecting():" in line for line in message[number:])


@pytest.mark.parametrize("line", [4, 8, 12])
def test_call_that_is_wrong_inside_try_except_is_not_lost(message, line):
    """A bad call is refused with its line, also where the conductor catches all exceptions."""
    assert about(message, f"caught.py:{line}")


@pytest.mark.parametrize(
    ("stem", "says"),
    [
        ("flows/alone.py", "flows/alone.py: has no matching config, expected config/flows/alone.json"),
        ("config/flows/listed.json", "config/flows/listed.json: not a config: expected an object with keys"),
        ("config/flows/broken.json", "config/flows/broken.json: not a config: "),
    ],
)
def test_flow_whose_config_is_missing_or_none(message, stem, says):
    """A flow without its config, or with one that is no JSON object, is refused, naming the config."""
    (line,) = about(message, stem)
    assert line.startswith(says)


def test_table_without_rows_is_no_error_but_nothing_to_run(tmp_path):
    """A table that has its columns but no rows ends as pytest does when there is nothing to run."""
    write_project(tmp_path, {"flows/a.py": "", "table.csv": "instance_name,flow\n"})
    result = run_pytest(tmp_path, "--ductaflow", "table.csv")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(
        ["ductaflow: 0 instances in table.csv", "nothing to run in table.csv: the table has no rows"]
    )
    assert not (tmp_path / "runs").exists()


def test_a_conductor_without_calls_and_a_folder_without_a_conductor_say_so(tmp_path):
    """They do so instead of silence and exit code 5."""
    write_project(tmp_path, {"flows/a.py": "", "conductor.py": "x = 1\n", "other/run_all.py": ""})
    result = run_pytest(tmp_path, "--ductaflow")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(
        ["nothing to run in conductor.py: it made no call of conduct or run_notebook*"]
    )
    result = run_pytest(tmp_path, "--ductaflow", "other")
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result.stdout.fnmatch_lines(["no conductor found: folders are searched for conductor.py or *"])


def test_of_many_sources_the_header_counts_those_that_it_does_not_name(tmp_path):
    tables = {f"t{number}.csv": f"instance_name,flow\ni{number},flows/a.py\n" for number in range(8)}
    write_project(tmp_path, {"flows/a.py": "", **tables})
    result = run_pytest(tmp_path, "--ductaflow", "--collect-only", *tables)
    lines = [line for line in result.outlines if line.startswith("ductaflow: ")]
    assert lines[4:] == ["ductaflow: 1 instance in t4.csv", "ductaflow: 3 instances in 3 more"]


def test_testmon_is_refused(tmp_path):
    """It would leave out instances whose flows have changed."""
    conftest = "def pytest_addoption(parser):\n    parser.addoption('--testmon', action='store_true')\n"
    table = "instance_name,flow\none,flows/a.py\n"
    write_project(tmp_path, {"flows/a.py": "", "table.csv": table, "conftest.py": conftest})
    result = run_pytest(tmp_path, "--ductaflow", "--testmon", "table.csv")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --testmon: it does not see what flows depend on*use --no-testmon*"])


def test_two_sources_with_one_run_directory(tmp_path):
    """Instances of two sources that would overwrite each other's files are refused, as in one source."""
    table = "instance_name,flow\none,flows/a.py\n"
    write_project(tmp_path, {"flows/a.py": "", "table.csv": table, "other.csv": table})
    (line,) = refused(tmp_path, "--collect-only", "table.csv", "other.csv")
    assert "has the same run directory as" in line


def test_project_root_that_is_not_there(tmp_path):
    """A project root that does not exist is named in one message with exit code 4."""
    write_project(tmp_path, {"flows/a.py": "", "table.csv": "instance_name,flow\none,flows/a.py\n"})
    result = run_pytest(tmp_path, "--ductaflow", "--ductaflow-root=nosuch", "table.csv")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*nosuch is not a folder"])


def test_workers_are_not_started_for_bad_input(tmp_path):
    """Under -n 2 bad input ends in the same way, before any worker starts."""
    write_project(tmp_path, {"flows/a.py": "", "table.csv": "instance_name,flow\none,nosuch.py\n"})
    (line,) = refused(tmp_path, "-n", "2", "table.csv")
    assert line.startswith("table.csv, row 1, column 'flow'")


def test_what_might_not_be_meant_in_tables_is_told_and_nothing_refused(tmp_path):
    """Notes on tables are shown with their location: of tables, conductors and scripts, also with -n."""
    files = {
        "flows/a.py": "",
        "empty.csv": "instance_name,flow\n",
        "index.csv": ",instance_name,flow\n0,one,flows/a.py\n",
        "conductor.py": f"{CONDUCT}conduct('flows/a.py', [])\nconduct('flows/a.py', 'empty.csv')\n",
    }
    root = write_project(tmp_path, files)
    notes = [
        "note: conductor.py:2: the table has no rows: nothing is run",
        "note: empty.csv: the table has a header, but no rows: nothing is run",
        "note: empty.csv: the table has a header, but no rows: nothing is run",
        "note: index.csv: column 1 has no name, and is left out (it holds 0)",
    ]
    for more in ((), ("-n", "1")):
        arguments = ("--ductaflow", "--collect-only", *more, "conductor.py", "empty.csv", "index.csv")
        result = run_pytest(root, *arguments)
        assert result.ret == 0, result.stdout.str()
        assert [line for line in result.outlines if line.startswith("note: ")] == notes
    done = run_python(root, "conductor.py")
    done.check_returncode()
    assert "conductor.py:2: UserWarning: conductor.py:2: the table has no rows: nothing is run" in done.stderr


@pytest.mark.parametrize(
    ("argument", "meant"),
    [
        ("t.csv::f::alhpa", "did you mean t.csv::f::alpha?"),
        ("t.csv::g::alpha", "did you mean t.csv::f::alpha?"),
        ("runs/f/alhpa", "did you mean runs/f/alpha?"),
        ("tt.csv::f::alpha", "did you mean t.csv?"),
        ("t.csv::f::quite_another", None),
    ],
)
def test_what_is_not_found_is_told_with_what_may_be_meant(tmp_path, argument, meant):
    table = "instance_name,flow\nalpha,flows/f.py\nbeta,flows/f.py\n"
    root = write_project(tmp_path, {"flows/f.py": "", "t.csv": table, "runs/f/alpha/x.txt": ""})
    result = run_pytest(root, "--ductaflow", argument)
    told = result.stderr.lines
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert told[0].startswith("ERROR: ")
    assert "not found: " in told[0]
    assert [line for line in told if "did you mean" in line] == ([f"ERROR: {meant}"] if meant else [])


@pytest.mark.parametrize(
    "spec", ["ssh=elsewhere//python=python3", "2*socket=127.0.0.1:8888", "popen//via=master", "ssh=a b"]
)
def test_workers_on_other_machines_are_refused(pytester, spec):
    """They would not find the plan or the run directories."""
    write_project(pytester.path, PROJECT)
    result = pytester.runpytest_inprocess("--ductaflow", "conductor.py", "--dist", "load", "--tx", spec)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --tx {spec}: a worker on another machine *--ductaflow-shard*"])
    assert not (pytester.path / "runs").exists()


def test_conductor_that_takes_long_is_named_while_it_does(pytester, monkeypatch):
    """Nothing else would show which of them hangs."""
    monkeypatch.setattr(read_sources, "STILL", 0.2)
    write_project(pytester.path, {**PROJECT, "slow_conductor.py": SLOW})
    result = pytester.runpytest_inprocess("--ductaflow", "--collect-only", "-q", ".")
    assert result.ret == 0
    told = [line for line in result.outlines if line.startswith("still collecting ")]
    assert "still collecting slow_conductor.py (0.4 s)" in told
    assert told.index("still collecting slow_conductor.py (0.2 s)") < len(told) - 1
    assert list(dict.fromkeys(told)) == told


ESCAPES = """
    from pytest_ductaflow import conduct, is_collecting
    conduct("flows/a.py", [{"instance_name": "A"}])
    if WHEN:
        raise ValueError("\x1b]0;title\x07 \x1b[31mred")
    is_collecting()
    """


@pytest.mark.parametrize("when", one_in(2, ["is_collecting()", "not is_collecting()"]))
def test_escape_sequences_of_a_conductor_do_not_reach_the_terminal(pytester, when):
    write_project(pytester.path, {**PROJECT, "conductor.py": ESCAPES.replace("WHEN", when)})
    result = pytester.runpytest_subprocess("--ductaflow", "conductor.py", "--color=no")
    assert result.ret != 0
    assert "ValueError" in result.stdout.str() + result.stderr.str()
    assert "\x1b" not in result.stdout.str() + result.stderr.str()
    assert "\x07" not in result.stdout.str() + result.stderr.str()
