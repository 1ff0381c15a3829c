"""Flows that do not run in their run directory, and messages where a file is not found."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from helpers.projects import write_project
from helpers.sessions import as_result, own_environment, run_session

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Failure
from pytest_ductaflow.core.run_directory import record_files
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.running.failures.cell_failure import last_printed, users_traceback, with_hint_at_place

READ = """\
    import pandas as pd
    from pathlib import Path
    total = int(pd.read_csv({path!r})["trips"].sum())
    Path(f"{name}.txt").write_text(str(total))
    """
FILES = {
    "data/zones.csv": "zone,trips\n1,40\n2,2\n",
    "flows/read.py": READ.format(path="data/zones.csv", name="{out}"),
    "flows/beside.py": READ.format(path="../data/zones.csv", name="beside"),
    "flows/plain.py": "print(1)\n",
    "flows/step.py": "open(f'step_{n}.txt', 'w').write(str(n))\n",
    "flows/town.py": "print(1)\n",
    "builds/town.py": """\
        import os
        from pathlib import Path
        from ductaflow import run_notebook
        run_notebook("flows/step.py", config=config)
        assert Path("step_1.txt").exists()
        run_notebook("flows/step.py", config={**config, "n": 2})
        run_notebook("flows/town.py", config=config)
        run_notebook("flows/step.py", config={"instance_name": "own", "n": 4})
        os.makedirs("sub")
        os.chdir("sub")
        run_notebook("flows/step.py", config={**config, "n": 3})
        """,
    "builds/outer.py": """\
        from pathlib import Path
        from ductaflow import run_notebook
        read = {"out": config["instance_name"], "_cwd": "project"}
        run_notebook("flows/read.py", config=read, execution_dir="runs/inner")
        assert Path("data").is_dir()
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct
        conduct("flows/read.py", [{"instance_name": "lost", "out": "no"}], step="run")
        conduct("flows/read.py", [{"instance_name": "found", "out": "yes"}], step="project", cwd="project")
        conduct("flows/beside.py", [{"instance_name": "x", "_cwd": "flow"}], cwd="project")
        conduct("flows/plain.py", [{"instance_name": "x"}])
        conduct("builds/town.py", [{"instance_name": "t", "n": 1}])
        conduct("builds/outer.py", [{"instance_name": n} for n in ("a", "b")], cwd="project")
        """,
    "pytest.ini": "[pytest]\naddopts = -p no:cacheprovider\n",
}


def run_pytest(root: Path, *arguments: str) -> pytest.RunResult:
    environment = own_environment(pages=True)
    return as_result(run_session(root, "--ductaflow", "conductor.py", *arguments, environment=environment))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("workplaces") / "project", FILES)


@pytest.fixture(scope="module")
def first(root: Path) -> pytest.RunResult:
    """Run a session in which only flows that read nothing run in their run directory."""
    return run_pytest(root, "-o", "ductaflow_html=none")


@pytest.fixture(scope="module")
def second(root: Path, first: pytest.RunResult) -> list[str]:
    """Run the session with another default place, and return its output."""
    return run_pytest(root, "-o", "ductaflow_cwd=project", "--ductaflow-explain").outlines


def outputs(root: Path, record: str) -> dict[str, str]:
    return json.loads((root / "runs" / record).read_text(encoding="utf-8"))["outputs"]


@pytest.mark.slow
def test_flows_run_where_call_and_row_say(root, first):
    first.assert_outcomes(passed=6, failed=1)
    assert (root / "yes.txt").read_text() == "42"
    assert (root / "flows/beside.txt").read_text() == "42"


@pytest.mark.slow
def test_what_they_write_there_is_known_as_theirs(root, first):
    assert list(outputs(root, "project/found/read_record.json")) == ["../../../yes.txt"]
    assert list(outputs(root, "beside/x/beside_record.json")) == ["../../../flows/beside.txt"]


@pytest.mark.slow
def test_flows_of_a_build_that_runs_elsewhere_have_their_folders_in_that_of_the_build(root, first):
    for name in ("a", "b"):
        record = json.loads((root / f"runs/outer/{name}/runs/inner/read_record.json").read_text())
        assert (record["status"], record["instance"]) == ("success", "inner")
    assert not (root / "runs/inner").exists()


@pytest.mark.slow
def test_a_call_in_a_build_runs_where_the_build_is_and_never_over_another(root, first):
    town = root / "runs/town/t"
    assert sorted(path.relative_to(town).as_posix() for path in town.rglob("step_[0-9].txt")) == [
        "runs/step/own/step_4.txt",
        "runs/step/t/step_2.txt",
        "step_1.txt",
        "sub/step_3.txt",
    ]
    assert (town / "runs/town/t/town_record.json").is_file()
    assert len(json.loads((town / "town_record.json").read_text())["flows"]) == 5


@pytest.mark.slow
def test_flows_of_builds_are_no_instances_wherever_they_ran(root, first):
    found = [record.flow for _, record in record_files.records(root / "runs/town")]
    assert found == ["builds/town.py"]


@pytest.mark.slow
def test_a_file_that_is_found_from_the_root_is_told_with_the_cure(first):
    first.stdout.fnmatch_lines(
        [
            "E   FileNotFoundError: *No such file or directory: 'data/zones.csv'",
            'E   (data/zones.csv is looked for in the run directory, and is in the project root: cwd="pro*',
        ]
    )
    assert "pandas/io" not in first.stdout.str()


@pytest.mark.slow
def test_another_place_is_a_reason_to_run_and_the_same_is_none(second):
    assert [line.split("  ")[0] for line in second if line.startswith("conductor.py::")] == [
        "conductor.py::run::lost",
        "conductor.py::plain::x",
        "conductor.py::town::t",
    ]
    assert any(line.endswith("working directory: run → project") for line in second)
    assert any("4 unchanged" in line for line in second)


# Without a kernel


def an_instance(root: Path, **more: object) -> Instance:
    (root / "runs/read/a").mkdir(parents=True)
    (root / "flows/lookup").mkdir(parents=True)
    (root / "flows/lookup/types.xlsx").touch()
    (root / "data").mkdir()
    (root / "data/zones.csv").touch()
    return Instance(
        str(root / "flows/read.py"), "read", "a", {}, str(root / "runs/read/a"), str(root), **more
    )


@pytest.mark.parametrize(
    ("type_", "message", "where"),
    [
        ("FileNotFoundError", "[Errno 2] No such file or directory: 'data/zones.csv'", "project"),
        ("FileNotFoundError", "data/zones.csv", "project"),
        ("IOException", 'No files found that match the pattern "data/*.csv"', "project"),
        ("RasterioIOError", "data/zones.csv: No such file or directory", "project"),
        ("OSError", "data/zones.csv not found.", "project"),
        (
            "OSError",
            "Unable to open file (unable to open file: name = 'data/zones.csv', errno = 2)",
            "project",
        ),
        ("OSError", "Cannot save file into a non-existent directory: 'data'", "project"),
        ("FileNotFoundError", "[Errno 2] No such file or directory: 'data/new.csv'", "project"),
        ("FileNotFoundError", "[Errno 2] No such file or directory: './data/zones.csv'", "project"),
        ("FileNotFoundError", "[Errno 2] No such file or directory: 'lookup/types.xlsx'", "flow"),
        ("FileNotFoundError", "[Errno 2] No such file or directory: 'data/x/zones.csv'", ""),
        ("FileNotFoundError", "[Errno 2] No such file or directory: 'new.csv'", ""),
        ("FileNotFoundError", "[Errno 2] No such file or directory: '/data/zones.csv'", ""),
        ("ValueError", "data/zones.csv has no column 'x'", ""),
        ("KeyError", "'data/zones.csv'", ""),
        ("ValueError", "zone not found", ""),
    ],
)
def test_a_path_that_leads_somewhere_from_another_folder_is_told(tmp_path, type_, message, where):
    found = with_hint_at_place(Failure(type_, message), an_instance(tmp_path)).message
    first, _, hint = found.partition("\n")
    assert first == message
    assert (f'cwd="{where}"' in hint) if where else not hint


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "data/zones.csv",
            "data/zones.csv is looked for in the run directory, and is in the project root: cwd=",
        ),
        (
            "data/new.csv",
            "the run directory, which has no folder data; that is in the project root, without new.csv: cwd=",
        ),
        ("data/Zones.csv", "that is in the project root, without Zones.csv, but with zones.csv: cwd="),
        ("data/zone.csv", "that is in the project root, without zone.csv, but with zones.csv: cwd="),
    ],
)
def test_a_hint_says_whether_the_file_is_in_the_other_folder_or_only_its_own_folder(tmp_path, path, told):
    failure = Failure("FileNotFoundError", f"[Errno 2] No such file or directory: '{path}'")
    assert told in with_hint_at_place(failure, an_instance(tmp_path)).message


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("cannot open file 'data/zones.csv': No such file or directory", "project"),
        (
            "\N{LEFT DOUBLE QUOTATION MARK}cannot open file 'lookup/types.xlsx': No such file or directory",
            "flow",
        ),
        ("cat: data/zones.csv: No such file or directory", "project"),
        ("cat: data/zones.csv: Permission denied", ""),
        ("reading data/zones.csv", ""),
    ],
)
def test_a_path_that_only_a_printed_line_names_is_told(tmp_path, line, where):
    failure = Failure("ERROR", 'Error in file(file, "rt"): cannot open the connection')
    printed = ['Warning message in file(file, "rt"):', line]
    first, _, hint = with_hint_at_place(failure, an_instance(tmp_path), printed).message.partition("\n")
    assert first == failure.message
    assert (f'cwd="{where}"' in hint) if where else not hint


def test_the_last_lines_of_the_cell_that_failed_are_those_that_it_printed():
    shown = nbformat.v4.new_output("display_data", {"text/plain": "shown"})
    printed = [
        nbformat.v4.new_output("stream", text=text) for text in ("one\ntwo\n", "\x1b[31mthree\x1b[0m\n")
    ]
    cell = nbformat.v4.new_code_cell("x", outputs=[printed[0], shown, printed[1]])
    cell.metadata["papermill"] = {"status": "failed"}
    assert last_printed(nbformat.v4.new_notebook(cells=[cell])) == ["one", "two", "three"]
    assert last_printed(nbformat.v4.new_notebook()) == []


def test_what_is_in_the_run_directory_is_told_of_a_flow_that_runs_elsewhere(tmp_path):
    instance = an_instance(tmp_path, runs_in="project")
    (tmp_path / "runs/read/a/t.csv").touch()
    failure = Failure("FileNotFoundError", "[Errno 2] No such file or directory: 't.csv'")
    assert 'cwd="run"' in with_hint_at_place(failure, instance).message


@pytest.mark.parametrize(
    ("said", "project", "where"),
    [
        (None, "run", "runs/read/a"),
        (None, "flow", "flows"),
        ("run", "flow", "runs/read/a"),
        ("project", "run", ""),
    ],
)
def test_an_instance_runs_where_it_says_else_where_the_project_says(tmp_path, said, project, where):
    instance = Settings(cwd=project).placed(an_instance(tmp_path, cwd=said))
    assert Path(instance.working_directory) == tmp_path / where
    assert instance.reserved == ({"_cwd": said} if said else {})


LIBRARY = "File /v/lib/python3.11/site-packages/pandas/io/{0}.py:{1}, in f(x)\n----> {1} g(x)\n"
COMPILED = "File pandas/_libs/parsers.pyx:574, in pandas._libs.parsers.read()\n"
STANDARD = "File /usr/lib/python3.11/json/decoder.py:355, in decode(self)\n--> 355 raise\n"
CELL = "Cell In[3], line 2\n----> 2 pd.read_csv(name)\n"
MINE = "File helper.py:12, in call(x)\n---> 12     apply(x)\n"
END = "\nFileNotFoundError: no"


@pytest.mark.parametrize(
    ("frames", "shown"),
    [
        (
            [CELL, LIBRARY.format("a", 1), LIBRARY.format("b", 2), STANDARD],
            [CELL, "[… 3 frames in pandas, Python …]"],
        ),
        ([CELL, LIBRARY.format("a", 1), MINE, COMPILED], [CELL, "[… 1 frame in pandas …]", MINE]),
        ([CELL, MINE], [CELL, MINE]),
        ([LIBRARY.format("a", 1)], [LIBRARY.format("a", 1)]),
    ],
)
def test_a_traceback_shows_the_frames_of_the_user(frames, shown):
    text = users_traceback("\n".join(["FileNotFoundError   Traceback", *frames, END]), Path("/p"))
    assert all(part.strip() in text for part in (*shown, END))
    assert text.count("site-packages") == sum("site-packages" in part for part in shown)
    assert "parsers.pyx" not in text


def test_a_chain_of_exceptions_is_cut_in_each_part():
    cause = "\nThe above exception was the direct cause of the following exception:\n"
    text = "\n".join(
        [
            "KeyError",
            LIBRARY.format("a", 1),
            "\nKeyError: 'x'",
            cause,
            "KeyError",
            CELL,
            LIBRARY.format("b", 2),
            END,
        ]
    )
    found = users_traceback(text, Path("/p"))
    assert "site-packages" not in found
    assert (
        found.index("KeyError: 'x'")
        < found.index("direct cause")
        < found.index("Cell In[3]")
        < found.index("no")
    )
