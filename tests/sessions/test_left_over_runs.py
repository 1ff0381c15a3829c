"""Instances and flows that no longer exist: among results, in the summary, and how they are removed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_python

from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory import record_files
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.system import instance_lock
from pytest_ductaflow.planning.history.declared_history import Declaration

pytestmark = [pytest.mark.slow, pytest.mark.thorough]

GROW = """\
import json
with open("r.json", "w") as file:
    json.dump({"value": config["rate"] * config["years"]}, file)
"""
CONDUCTOR = """\
from pytest_ductaflow import conduct, grid, is_collecting, results

conduct("flows/a.py", grid(rate=[1, 2], years=[25]))
if not is_collecting():
    print(results()[["instance", "value"]].to_string(header=False, index=False))
"""


class Done:
    """A command run in a project, with its exit code and output."""

    def __init__(self, root: Path, *command: str, stdin: str = "") -> None:
        done = run_python(root, *command, stdin=stdin)
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
        words = re.findall(r"^\S+\.\w+::(\S+?)::(\S+) ([A-Z]+)", done.stdout, re.MULTILINE)
        of_workers = re.findall(r"^\[gw.*\] ([A-Z]+) \S+\.\w+::(\S+?)::(\S+)", done.stdout, re.MULTILINE)
        words += [(step, name, word) for word, step, name in of_workers]
        self.outcomes = {f"{step}/{name}": word for step, name, word in words}


def session(root: Path, *arguments: str) -> Done:
    named = [] if any(not argument.startswith("-") for argument in arguments) else ["conductor.py"]
    done = Done(root, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--ductaflow", *arguments, *named)
    assert "INTERNALERROR" not in done.out + done.err
    assert "Traceback" not in done.out + done.err
    return done


def script(root: Path, name: str = "conductor.py", *arguments: str) -> Done:
    done = Done(root, name, *arguments)
    assert done.code == 0, done.err
    return done


def rm(root: Path, *arguments: str, stdin: str = "") -> Done:
    return Done(root, "-m", "pytest_ductaflow.command_line", "rm", *arguments, stdin=stdin)


def gc(root: Path, *arguments: str, stdin: str = "") -> Done:
    return Done(root, "-m", "pytest_ductaflow.command_line", "gc", *arguments, stdin=stdin)


def table(root: Path, call: str = 'results("runs")') -> dict[str, bool]:
    """Return, from a separate process as in a plain notebook, the instances and whether they are declared."""
    code = (
        "import json, pytest_ductaflow as d\n"
        f"t = d.{call}\n"
        "told = t['declared'] if 'declared' in t else [None] * len(t)\n"
        "print(json.dumps({f'{s}/{i}': bool(d) for s, i, d in zip(t['step'], t['instance'], told)}))\n"
    )
    done = Done(root, "-c", code)
    assert done.code == 0, done.err
    return json.loads(done.out)


def edit(root: Path, file: str, old: str, new: str) -> None:
    text = (root / file).read_text(encoding="utf-8")
    assert old in text
    (root / file).write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture(scope="module")
def after_a_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("no_more") / "project"
    write_project(root, {"flows/a.py": GROW, "conductor.py": CONDUCTOR})
    done = session(root)
    assert done.outcomes == {"a/rate=1,years=25": "PASSED", "a/rate=2,years=25": "PASSED"}
    assert "any more" not in done.out
    return root


@pytest.fixture
def project(after_a_session: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(after_a_session, tmp_path / "project"))


# ---------------------------------------------------------------- results()


def test_a_wider_grid_keeps_its_names_and_runs_what_is_new(project: Path):
    """https://github.com/Yu-Group/simChef/issues/29: a new parameter renames all experiments."""
    edit(project, "conductor.py", "years=[25]", "years=[25, 50]")
    done = session(project)
    assert done.outcomes == {
        "a/rate=1,years=25": "UNCHANGED",
        "a/rate=1,years=50": "PASSED",
        "a/rate=2,years=25": "UNCHANGED",
        "a/rate=2,years=50": "PASSED",
    }
    assert "any more" not in done.out


def test_results_in_a_conductor_are_those_of_its_calls(project: Path):
    """https://github.com/nismod/smif/issues/366: results of what was removed stay."""
    edit(project, "conductor.py", "rate=[1, 2]", "rate=[3, 1]")
    told = script(project).lines
    assert told == ["rate=3,years=25 75", "rate=1,years=25 25"]
    assert table(project) == {
        "a/rate=1,years=25": True,
        "a/rate=2,years=25": False,
        "a/rate=3,years=25": True,
    }
    assert sorted(table(project, "results()")) == ["a/rate=1,years=25", "a/rate=3,years=25"]


def test_results_in_the_middle_of_a_conductor_are_those_of_the_calls_so_far(project: Path):
    write_project(
        project,
        {
            "conductor.py": """\
            from pytest_ductaflow import conduct, results, run_notebook, run_step_flow
            print(len(results()), "before any call")
            conduct("flows/a.py", [{"instance_name": "x", "rate": 1, "years": 1}])
            print(results()["instance"].tolist())
            run_step_flow("flows/a.py", "s", "y", {"rate": 2, "years": 1})
            run_notebook("flows/a.py", config={"rate": 3, "years": 1}, execution_dir="elsewhere/z")
            run_step_flow("flows/a.py", "s", "y", {"rate": 4, "years": 1})
            print(results()[["instance", "value"]].to_string(header=False, index=False))
            """
        },
    )
    told = script(project).lines
    assert told[:2] == ["2 before any call", "['x']"]
    assert [line for line in told if re.match(r"[xyz] \d", line)] == ["x 1", "z 3", "y 4"]
    assert table(project) == {
        "a/rate=1,years=25": False,
        "a/rate=2,years=25": False,
        "a/x": True,
        "s/y": True,
    }


def test_a_script_with_arguments_or_one_that_fails_may_have_left_something_out(project: Path):
    edit(project, "conductor.py", "rate=[1, 2]", "rate=[1]")
    script(project, "conductor.py", "--only=1")
    assert all(table(project).values())
    edit(project, "conductor.py", "if not", "raise ValueError('later')\nif not")
    assert Done(project, "conductor.py").code == 1
    assert all(table(project).values())


def test_what_only_a_script_runs_is_declared_as_long_as_the_script_is_the_same(project: Path):
    text = (
        CONDUCTOR
        + '    conduct("flows/a.py", [{"instance_name": "more", "rate": 0, "years": 0}], step="b")\n'
    )
    (project / "conductor.py").write_text(text, encoding="utf-8")
    script(project)
    assert "any more" not in session(project).out
    assert "any more" not in session(project).out
    assert table(project)["b/more"] is True
    (project / "conductor.py").write_text(CONDUCTOR, encoding="utf-8")
    assert "1 folder in runs/b is of no instance any more: more" in session(project).out


# ---------------------------------------------------------------- the summary


def test_folders_that_no_instance_has_any_more_are_told_with_what_removes_them(project: Path):
    edit(project, "conductor.py", "rate=[1, 2]", "rate=[2]")
    line = (
        "1 folder in runs/a is of no instance any more: rate=1,years=25; "
        "remove it with: ductaflow rm runs/a/rate=1,years=25"
    )
    for arguments in ([], ["-n", "2"], ["-k", "rate"], ["conductor.py::a::rate=2,years=25"]):
        assert line in session(project, *arguments).out
    for arguments in (["runs/a/rate=2,years=25"], ["runs/a/rate=1,years=25"], ["--ductaflow-explain"]):
        assert "any more" not in session(project, *arguments).out
    assert line in session(project).out  # though the run directory was named last, and its record says so
    page = (project / "runs/conductor_status_report.html").read_text(encoding="utf-8")
    assert "rate=2,years=25" in page
    assert "rate=1,years=25" not in page
    command = line.partition("ductaflow ")[2].split()
    assert rm(project, *command[1:], "--yes").code == 0
    assert not (project / "runs/a/rate=1,years=25").exists()
    assert "any more" not in session(project).out


def test_many_folders_are_one_line_and_one_command(project: Path):
    edit(project, "conductor.py", "rate=[1, 2]", "rate=[1, 2, 3, 4, 5]")
    session(project)
    edit(project, "conductor.py", "rate=[1, 2, 3, 4, 5]", "rate=[1]")
    told = session(project).out
    assert (
        "4 folders in runs/a are of no instance any more: rate=2,years=25, rate=3,years=25, "
        "rate=4,years=25, …; remove them with: ductaflow gc runs/a" in told
    )
    done = gc(project, "runs/a", stdin="y\n")
    assert done.code == 0
    assert done.out.count("removed runs/a/") == 4
    assert [path.name for path in (project / "runs/a").iterdir()] == ["rate=1,years=25"]
    assert "nothing to remove" in gc(project, "runs").out


def test_a_step_that_is_gone_as_a_whole_is_told_and_that_of_another_conductor_is_not(project: Path):
    row = '{"instance_name": "o", "rate": 1, "years": 1}'
    other = f'from pytest_ductaflow import conduct\nconduct("flows/a.py", [{row}], step="STEP")\n'
    (project / "other_conductor.py").write_text(other.replace("STEP", "other"), encoding="utf-8")
    session(project, "other_conductor.py")
    edit(project, "conductor.py", "years=[25])", "years=[25]), step='c'")
    told = session(project).out
    assert "2 folders in runs/a are of no instance any more" in told
    assert "runs/other" not in told
    (project / "other_conductor.py").write_text(other.replace("STEP", "a"), encoding="utf-8")
    told = session(project, "other_conductor.py").out
    assert "1 folder in runs/other is of no instance any more" in told
    assert "runs/a" not in told.replace("runs/a/o", "")
    assert table(project) == {
        "a/o": True,
        "a/rate=1,years=25": False,
        "a/rate=2,years=25": False,
        "c/rate=1,years=25": True,
        "c/rate=2,years=25": True,
        "other/o": False,
    }


def test_without_what_was_noted_the_records_tell_who_has_declared_them(project: Path):
    shutil.rmtree(project / "runs/.declared")
    edit(project, "conductor.py", "rate=[1, 2]", "rate=[1]")
    assert all(table(project).values())
    assert "1 folder in runs/a is of no instance any more: rate=2,years=25" in session(project).out
    (project / "conductor.py").rename(project / "sweep_conductor.py")
    shutil.rmtree(project / "runs/.declared")
    assert table(project) == {"a/rate=1,years=25": False, "a/rate=2,years=25": False}


# ---------------------------------------------------------------- ductaflow rm


def test_rm_asks_first(project: Path):
    for answer in ("n\n", ""):
        done = rm(project, "runs/a/rate=1,years=25", stdin=answer)
        assert done.code == 1
        assert "runs/a/rate=1,years=25" in done.out
        assert (project / "runs/a/rate=1,years=25/a_record.json").is_file()
    assert rm(project, "runs/a/rate=1,years=25", stdin="y\n").code == 0
    assert not (project / "runs/a/rate=1,years=25").exists()
    assert rm(project, "runs/a/rate=2,years=25", "--yes").lines == ["removed runs/a/rate=2,years=25"]
    assert not (project / "runs/a").exists()
    assert (project / "runs").is_dir()


@pytest.mark.parametrize(
    "name",
    [".", "flows", "runs", "runs/a", "runs/none", "data", "/", "..", "copy/x", "runs/link", "runs/.declared"],
)
def test_rm_refuses_what_is_no_run_directory_and_then_removes_nothing(project: Path, name: str):
    write_project(project, {"data/x_record.json": {"status": "success"}})
    shutil.copytree(project / "runs/a/rate=2,years=25", project / "copy/x")
    (project / "runs/link").symlink_to(project / "runs/a/rate=2,years=25")
    before = sorted(str(path) for path in project.rglob("*"))
    done = rm(project, "runs/a/rate=1,years=25", name, "--yes")
    assert done.code == 2
    assert done.err.startswith("Error: ")
    assert sorted(str(path) for path in project.rglob("*")) == before


def test_rm_removes_earlier_runs_as_well_and_nothing_that_is_being_run(project: Path):
    run_dir = project / "runs/a/rate=1,years=25"
    record = json.loads((run_dir / "a_record.json").read_text())
    earlier = [project / "runs/.earlier" / more / "a/rate=1,years=25" for more in ("", ".2", ".moving")]
    for folder in earlier:
        shutil.copytree(run_dir, folder)
    shutil.copytree(run_dir, project / "runs/.earlier/a/other")
    files = RunFiles(run_dir, "a")
    with instance_lock.held(files, project, "a", wait=False, say=print):
        done = rm(project, "runs/a/rate=1,years=25", "--yes")
        assert (done.code, done.err.strip()) == (2, "Error: runs/a/rate=1,years=25 is being run")
    record_files.write_record(files, Record.from_json(record).with_(status=Status.RUNNING))
    done = rm(project, "runs/a/rate=1,years=25", "--yes")
    assert done.lines == ["removed runs/a/rate=1,years=25 (its last run was killed)"]
    assert not run_dir.exists()
    assert sorted(path.name for path in (project / "runs/.earlier").rglob("*")) == sorted(
        ["a", "other", *(path.name for path in (project / "runs/.earlier/a/other").rglob("*"))]
    )


def test_rm_refuses_a_project_that_was_its_own_run_directory_and_folders_with_others_in_them(project: Path):
    write_project(
        project,
        {
            "nested.py": """\
            from pytest_ductaflow import run_notebook
            run_notebook("flows/a.py", config={"rate": 1, "years": 1}, execution_dir=".")
            run_notebook("flows/a.py", config={"rate": 1, "years": 1}, execution_dir="runs/outer")
            run_notebook("flows/a.py", config={"rate": 1, "years": 1}, execution_dir="runs/outer/inner")
            """
        },
    )
    script(project, "nested.py")
    assert (project / "a_record.json").is_file()
    assert rm(project, ".", "--yes").code == 2
    refused = rm(project, "runs/outer", "--yes")
    assert refused.code == 2
    assert "runs/outer holds another run directory: runs/outer/inner" in refused.err
    assert rm(project, "runs/outer", "runs/outer/inner", "--yes").code == 0
    assert not (project / "runs/outer").exists()


# ---------------------------------------------------------------- a flow with another name


def test_a_renamed_flow_is_one_step_with_a_hint(project: Path):
    (project / "flows/a.py").rename(project / "flows/01_a.py")
    edit(project, "conductor.py", "flows/a.py", "flows/01_a.py")
    (project / "flows/b.py").write_text("", encoding="utf-8")
    hint = (
        "flows/a.py is gone; flows/01_a.py writes into the same folders (2 in runs/a); "
        "remove what is left of it with: ductaflow gc runs/a"
    )
    for word in ("PASSED", "UNCHANGED"):
        done = session(project)
        assert set(done.outcomes.values()) == {word}
        assert hint in done.out
        assert "any more" not in done.out
    assert table(project) == {"a/rate=1,years=25": True, "a/rate=2,years=25": True}
    again = session(project, "runs/a/rate=1,years=25")
    assert "1 passed" in again.out
    assert gc(project, "runs/a", "--yes").code == 0
    left = {path.name for path in (project / "runs/a/rate=1,years=25").iterdir()}
    assert left == {"r.json", *(f"01_a_{end}" for end in ENDS)}
    done = session(project)
    assert "is gone" not in done.out
    assert set(done.outcomes.values()) <= {"UNCHANGED", "PASSED"}


ENDS = ("config.json", "executed.ipynb", "execution_output.txt", "record.json")  # without a page


def test_a_run_whose_flow_has_another_name_says_how_it_is_run(project: Path):
    (project / "flows/a.py").rename(project / "flows/02_a.py")
    edit(project, "conductor.py", "flows/a.py", "flows/02_a.py")
    told = session(project, "runs/a/rate=1,years=25")
    assert told.code == 4
    assert "its flow flows/a.py is gone; flows/02_a.py has its name, but for the number" in told.err
    node = told.err.partition("pytest --ductaflow ")[2].split(")")[0].strip("'\n")
    assert session(project, node).outcomes == {"a/rate=1,years=25": "PASSED"}


def test_a_flow_that_is_gone_for_good_does_not_count(project: Path):
    write_project(project, {"flows/b.py": GROW})
    edit(project, "conductor.py", "flows/a.py", "flows/b.py")
    (project / "flows/a.py").unlink()
    told = session(project)
    assert "2 folders in runs/a are of no instance any more" in told.out
    assert sorted(table(project)) == ["b/rate=1,years=25", "b/rate=2,years=25"]


# ---------------------------------------------------------------- what is noted


def test_what_is_declared_follows_plans_and_scripts():
    of = frozenset
    now = Declaration("c.py").after_plan(of("ab"), "1")
    assert (now.now, now.earlier) == (of("ab"), of())
    now = now.after_plan(of("bc"), "1")
    assert (now.now, now.earlier) == (of("bc"), of("a"))
    now = now.after_script(of("bcx"), "1", complete=True)
    assert (now.now, now.called, now.earlier) == (of("bcx"), of("x"), of("a"))
    now = now.after_plan(of("b"), "1")
    assert (now.now, now.earlier) == (of("bx"), of("ac"))
    now = now.after_script(of("a"), "1", complete=False)
    assert (now.now, now.earlier) == (of("abx"), of("c"))
    now = now.after_plan(of("b"), "2")
    assert (now.now, now.earlier) == (of("b"), of("acx"))
    now = now.after_script(of("c"), "2", complete=True)
    assert (now.now, now.earlier) == (of("c"), of("abx"))
    assert Declaration.from_json(json.loads(json.dumps(now.to_json()))) == now


# ---------------------------------------------------------------- upstreams that are out of date


CHAIN = {
    "flows/a.py": 'open("v.txt", "w").write(str(config["x"]))\n',
    "flows/b.py": """\
        from pathlib import Path
        Path("w.txt").write_text(Path(config["_project_root"], config["src"]).read_text())
        """,
    "conductor.py": """\
        from pytest_ductaflow import conduct
        conduct("flows/a.py", [{"instance_name": "i", "x": 1}])
        conduct("flows/b.py", [{"instance_name": "j", "src": "runs/a/i/v.txt"}])
        conduct("flows/b.py", [{"instance_name": "k", "src": "runs/b/j/w.txt"}], step="c")
        """,
}


@pytest.fixture(scope="module")
def after_a_chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_project(tmp_path_factory.mktemp("chain") / "project", CHAIN)
    done = session(root)
    assert done.outcomes == {"a/i": "PASSED", "b/j": "PASSED", "c/k": "PASSED"}
    assert "out of date" not in done.out
    return root


@pytest.fixture
def chain(after_a_chain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(after_a_chain, tmp_path / "chain"))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["conductor.py::b::j"], "UNCHANGED"),
        (["conductor.py::b::j", "--ductaflow-force"], "PASSED"),
        (["-k", "j"], "UNCHANGED"),
        (["--ductaflow-where", "step == 'b'"], "UNCHANGED"),
        (["-k", "j", "-n", "2"], "UNCHANGED"),
        (["conductor.py::c::k"], "UNCHANGED"),  # also if it is further upstream
    ],
)
def test_an_upstream_that_is_out_of_date_and_was_not_selected_is_told(
    chain: Path, arguments: list[str], word: str
):
    """https://github.com/ropensci/targets/issues/1495: one target asked for, its chain not rebuilt."""
    edit(chain, "conductor.py", '"x": 1', '"x": 2')
    line = (
        "upstream a/i is out of date (config: x 1 → 2) and was not selected; "
        "pytest --ductaflow conductor.py::a::i"
    )
    done = session(chain, *arguments)
    assert set(done.outcomes.values()) == {word}
    assert done.out.count("is out of date") == 1
    assert line in done.out
    told = session(chain, "--ductaflow-explain", *arguments)
    assert f"\n{line}\n" in told.out
    assert "out of date" not in session(chain, "conductor.py").out
    assert "out of date" not in session(chain, *arguments).out


def test_explain_also_tells_of_an_upstream_that_has_never_run(chain: Path):
    shutil.rmtree(chain / "runs/a")
    told = session(chain, "--ductaflow-explain", "-k", "j").out
    assert "upstream a/i is out of date (new) and was not selected" in told
    done = session(chain, "-k", "j")
    assert "upstream a/i was not selected and has no good record" in done.out
    assert "out of date" not in done.out


# ---------------------------------------------------------------- folders and several paths in a config

SLOW = """\
import time
time.sleep(config.get("sleep", 0))
if config["x"] < 0:
    raise ValueError("negative")
open("v.txt", "w").write(str(config["x"]))
"""
SUM = """\
import glob, json
from pathlib import Path
root = Path(config["_project_root"])
texts = [part for part in config["tables"].split(";")]
if "{" in texts[0]:
    texts = [f"runs/a/{name}/v.txt" for name in ("one", "two")]
paths = [root / text for text in texts]
files = [f for p in paths for f in (sorted(p.glob("*/v.txt")) if p.is_dir() else [p])]
print("read", [int(f.read_text()) for f in files])
"""
SECOND = '{"instance_name": "two", "x": 2, "sleep": 2}'
TWO = f'conduct("flows/a.py", [{{"instance_name": "one", "x": 1}}, {SECOND}])\n'


@pytest.mark.parametrize("tables", ["runs/a", "runs/a/one/v.txt;runs/a/two/v.txt", "runs/a/{one,two}/v.txt"])
def test_folders_lists_and_braces_wait_for_all_that_they_mean(tmp_path: Path, tables: str):
    """A folder of a step, a cell of CSV with two paths, braces: all of them are upstreams."""
    table = f'conduct("flows/sum.py", [{{"instance_name": "s", "tables": "{tables}"}}])\n'
    head = "from pytest_ductaflow import conduct\n"
    write_project(tmp_path, {"flows/a.py": SLOW, "flows/sum.py": SUM, "conductor.py": head + table + TWO})
    log = tmp_path / "runs/sum/s/sum_execution_output.txt"
    done = session(tmp_path, "-n", "2")  # though it is declared before what it reads
    assert done.outcomes["sum/s"] == "PASSED", done.out
    assert "read [1, 2]" in log.read_text()
    assert "undeclared" not in done.out
    (tmp_path / "conductor.py").write_text(head + TWO + table, encoding="utf-8")
    edit(tmp_path, "conductor.py", '"x": 2', '"x": 20')
    assert session(tmp_path, "-n", "2").outcomes["sum/s"] == "PASSED"
    assert "read [1, 20]" in log.read_text()
    edit(tmp_path, "conductor.py", '"x": 20', '"x": -1')
    done = session(tmp_path)
    assert done.outcomes["a/two"] == "FAILED"
    assert done.outcomes["sum/s"] == "SKIPPED"
    assert "upstream a/two failed" in done.out


# ---------------------------------------------------------------- one file of several instances

PUBLISH = """\
from pathlib import Path
folder = Path(config["_project_root"], "public")
folder.mkdir(exist_ok=True)
(folder / config["file"]).write_text(str(config["x"]))
"""


def published(*rows: str) -> str:
    return f'from pytest_ductaflow import conduct\nconduct("flows/p.py", [{", ".join(rows)}])\n'


def test_one_file_of_two_instances_is_told_and_is_what_the_later_one_wrote(tmp_path: Path):
    rows = [
        f'{{"instance_name": "{name}", "file": "r.csv", "x": {x}}}' for name, x in (("one", 1), ("two", 2))
    ]
    write_project(tmp_path, {"flows/p.py": PUBLISH, "conductor.py": published(*rows)})
    file = tmp_path / "public/r.csv"
    for word in ("PASSED", "UNCHANGED", "UNCHANGED"):
        done = session(tmp_path)
        assert done.outcomes == {"p/one": word, "p/two": word}
        assert "WRITTEN BY SEVERAL public/r.csv by p/one and p/two" in done.out
        assert file.read_text() == "2"
    edit(tmp_path, "conductor.py", '"x": 1', '"x": 10')
    told = session(tmp_path, "--ductaflow-explain").out
    assert "config: x 1 → 10" in told
    done = session(tmp_path)
    assert done.outcomes == {"p/one": "PASSED", "p/two": "PASSED"}
    assert file.read_text() == "2"
    file.write_text("edited")
    assert "output public/r.csv is not what it wrote" in session(tmp_path, "--ductaflow-explain").out
    assert session(tmp_path).outcomes == {"p/one": "UNCHANGED", "p/two": "PASSED"}
    assert file.read_text() == "2"


def test_files_of_their_own_in_one_folder_are_none_of_it(tmp_path: Path):
    rows = [f'{{"instance_name": "{name}", "file": "{name}.csv", "x": 1}}' for name in ("one", "two")]
    write_project(tmp_path, {"flows/p.py": PUBLISH, "conductor.py": published(*rows)})
    assert "WRITTEN" not in session(tmp_path).out
    (tmp_path / "public/one.csv").write_text("edited")
    assert session(tmp_path).outcomes == {"p/one": "PASSED", "p/two": "UNCHANGED"}


FIGURES = """\
from pathlib import Path
figures = Path(config["_project_root"], "figures")
figures.mkdir(exist_ok=True)
for old in figures.glob(f"{config['name']}_*.txt"):
    old.unlink()
(figures / f"{config['name']}_{config['x']}.txt").write_text("figure")
"""


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_a_shared_folder_that_all_list_leaves_all_unchanged(tmp_path: Path, workers: list[str]):
    """https://github.com/nextflow-io/nextflow/issues/949: each instance clears its old figures first."""
    text = (
        "from pytest_ductaflow import conduct\n"
        'conduct("flows/f.py", [{"instance_name": n, "name": n, "x": 1} for n in "abcd"])\n'
        'conduct("flows/g.py", [{"instance_name": n, "name": n, "x": 1} for n in "ef"])\n'
    )
    write_project(tmp_path, {"flows/f.py": FIGURES, "flows/g.py": FIGURES, "conductor.py": text})
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/legend.txt").write_text("")
    assert set(session(tmp_path, *workers).outcomes.values()) == {"PASSED"}
    for _ in range(2):
        assert set(session(tmp_path, *workers).outcomes.values()) == {"UNCHANGED"}
    edit(tmp_path, "conductor.py", '"x": 1} for n in "abcd"', '"x": 2 if n == "b" else 1} for n in "abcd"')
    done = session(tmp_path, *workers)
    assert {name for name, word in done.outcomes.items() if word == "PASSED"} >= {"f/b"}
    assert {done.outcomes[f"f/{n}"] for n in "acd"} == {"UNCHANGED"}
    (tmp_path / "figures/foreign.txt").write_text("")
    assert "other files in figures/" in session(tmp_path, "--ductaflow-explain").out
    done = session(tmp_path, *workers)
    assert {done.outcomes[f"f/{n}"] for n in "abcd"} == {"PASSED"}, done.out


def test_what_an_instance_reads_in_a_shared_folder_still_counts(tmp_path: Path):
    total = (
        FIGURES
        + """\
n = sum(1 for path in figures.glob("?_*.txt") if path.read_text() == "figure")
Path("n.txt").write_text(str(n))
"""
    )
    text = (
        "from pytest_ductaflow import conduct\n"
        'conduct("flows/f.py", [{"instance_name": n, "name": n, "x": 1} for n in "ab"])\n'
        'conduct("flows/g.py", [{"instance_name": "total", "name": "z", "x": 1}])\n'
    )
    write_project(tmp_path, {"flows/f.py": FIGURES, "flows/g.py": total, "conductor.py": text})
    session(tmp_path)
    assert set(session(tmp_path).outcomes.values()) == {"UNCHANGED"}
    edit(tmp_path, "conductor.py", '"ab"', '"abc"')
    assert session(tmp_path).outcomes["g/total"] == "PASSED"
    assert (tmp_path / "runs/g/total/n.txt").read_text() == "4"
