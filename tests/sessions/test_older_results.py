"""Sessions over folders in which something has run before end as in a fresh clone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_python, run_session

from pytest_ductaflow.report.page import read

pytestmark = [pytest.mark.slow, pytest.mark.thorough]


def session(root: Path, *args: str) -> tuple[dict[str, str], str]:
    """Run a session; return the outcome of each instance, and the output."""
    done = run_session(
        root, "-v", "-p", "no:cacheprovider", "--ductaflow", *(args or ("conductor.py",)), timeout=300
    )
    output = done.stdout + done.stderr
    return dict(re.findall(r"::(\w+::\w+) (PASSED|FAILED|UNCHANGED|SKIPPED)", output)), output


def conductor(*calls: tuple[str, Mapping[str, object]]) -> str:
    lines = [
        f"conduct('flows/{flow}.py', [{{'instance_name': 'i', **{dict(row)!r}}}])" for flow, row in calls
    ]
    return "\n".join(["from pytest_ductaflow import conduct", *lines, ""])


READER = """
    from pathlib import Path
    total = int(Path(config["_project_root"], src).read_text())
    Path("twice.txt").write_text(str(2 * total))
    """


def test_a_file_that_an_upstream_does_not_write_any_more_is_told_before_the_run(tmp_path):
    """Whether it is gone or replaced: it is not what the upstream wrote."""
    calls = conductor(("a", {}), ("b", {"src": "runs/a/i/total.txt"}))
    files = {"flows/a.py": 'open("total.txt", "w").write("1")\n', "flows/b.py": READER, "conductor.py": calls}
    root = write_project(tmp_path, files)
    assert session(root)[0] == {"a::i": "PASSED", "b::i": "PASSED"}
    write_project(root, {"flows/a.py": 'open("sum.txt", "w").write("50")\n'})
    text = "config key 'src': runs/a/i/total.txt is not among what a/i wrote last"
    for _ in range(2):
        verdicts, output = session(root)
        assert verdicts["b::i"] == "FAILED"
        assert text in output
        (root / "runs/a/i/total.txt").write_text("7")
    assert (root / "runs/b/i/twice.txt").read_text() == "2"
    write_project(root, {"conductor.py": calls.replace("total.txt", "sum.txt")})
    assert session(root)[0] == {"a::i": "UNCHANGED", "b::i": "PASSED"}
    assert (root / "runs/b/i/twice.txt").read_text() == "100"


def test_what_reads_a_pattern_sees_only_what_was_written_last(tmp_path):
    etl = 'for zone in zones:\n    open(f"{zone}.csv", "w").write("1")\n'
    total = """
        import glob, os
        found = glob.glob(os.path.join(config["_project_root"], tables))
        open("total.txt", "w").write(f"{len(found)} zones")
        """
    root = write_project(tmp_path, {"flows/etl.py": etl, "flows/total.py": total})
    for zones in ("abc", "a"):
        calls = conductor(("etl", {"zones": list(zones)}), ("total", {"tables": "runs/etl/i/*.csv"}))
        write_project(root, {"conductor.py": calls})
        assert session(root)[0] == {"etl::i": "PASSED", "total::i": "PASSED"}
    assert (root / "runs/total/i/total.txt").read_text() == "1 zones"


TRAIN = """
    from pathlib import Path
    if not Path("model.txt").exists():
        Path("model.txt").write_text(str(config["rate"]))
    Path("forecast.txt").write_text("forecast with " + Path("model.txt").read_text())
    if config["rate"] > 1:
        raise ValueError("too much")
    """


def test_a_gate_that_is_stored_after_a_second_run_holds(tmp_path):
    """A run writes what a replay in an empty folder writes."""
    root = write_project(tmp_path, {"flows/train.py": TRAIN})
    for rate in (0.01, 0.08):
        write_project(root, {"conductor.py": conductor(("train", {"rate": rate}))})
        session(root)
    store = ("-m", "pytest_ductaflow.command_line", "store", "runs/train/i")
    assert run_python(root, *store).returncode == 0
    assert "1 passed" in session(root, "tests/instances")[1]


def test_a_failure_says_where_the_last_good_run_is_in_terminal_report_and_page(tmp_path):
    root = write_project(tmp_path, {"flows/train.py": TRAIN})
    for rate in (0.01, 2):
        write_project(root, {"conductor.py": conductor(("train", {"rate": rate}))})
        verdicts, output = session(root, "conductor.py", "--ductaflow-html=all")
    assert verdicts == {"train::i": "FAILED"}
    assert "last good run: runs/.earlier/train/i\n" in output
    assert "bring it back: ductaflow restore runs/train/i\n" in output
    (row,) = read(root / "runs/conductor_status_report.html")["rows"]
    assert row["last_good"] == ".earlier/train/i"
    assert "runs/.earlier/train/i" in (root / "runs/train/i/train_executed.html").read_text()
    assert json.loads((root / "runs/train/i/train_record.json").read_text())["last_good"] == (
        "runs/.earlier/train/i"
    )
    write_project(root, {"conductor.py": conductor(("train", {"rate": 0.01}))})
    restore = ("-m", "pytest_ductaflow.command_line", "restore", "runs/train/i")
    assert run_python(root, *restore).returncode == 0
    assert session(root)[0] == {"train::i": "UNCHANGED"}


@pytest.mark.parametrize("said", ["argument", "column", "ini"])
def test_what_is_kept_is_found_again_also_by_a_past_run_that_is_named(tmp_path, said):
    root = write_project(tmp_path, {"flows/train.py": TRAIN})
    if said == "ini":
        write_project(root, {"pytest.ini": "[pytest]\nductaflow_keep = cache model.*\n"})
    for rate in (0.01, 0.08):
        row = {"rate": rate} | ({"_keep": "model.txt, *.pt"} if said == "column" else {})
        calls = conductor(("train", row))
        if said == "argument":
            calls = calls.replace("}])", "}], keep=['model.*'])")
        write_project(root, {"conductor.py": calls})
        session(root)
    assert (root / "runs/train/i/forecast.txt").read_text() == "forecast with 0.01"
    assert session(root, "runs/train/i")[0] == {"train::i": "PASSED"}
    assert (root / "runs/train/i/forecast.txt").read_text() == "forecast with 0.01"


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("'../x'", "keep='../x': '../x': expected a pattern of files in the run directory"),
        ("3", "keep=3: 3: expected patterns of files, separated by commas"),
    ],
)
def test_patterns_that_lead_elsewhere_are_an_error_before_anything_runs(tmp_path, keep, said):
    calls = conductor(("train", {"rate": 1})).replace("}])", f"}}], keep={keep})")
    root = write_project(tmp_path, {"flows/train.py": TRAIN, "conductor.py": calls})
    assert said in session(root)[1]
    assert not (root / "runs").exists()


def test_a_build_comes_back_with_its_flows(tmp_path):
    files = {
        "flows/x.py": 'open("x.txt", "x").write(str(n))\n',
        "flows/y.py": 'open("y.txt", "x").write(str(n))\nassert n < 2\n',
        "builds/b.py": """
            from pytest_ductaflow import run_notebook
            for flow in "xy":
                run_notebook(f"flows/{flow}.py", config={"n": n}, execution_dir=f"runs/{flow}")
            """,
    }
    root = write_project(tmp_path, files)
    calls = conductor(("b", {"n": 1})).replace("flows/", "builds/")
    write_project(root, {"conductor.py": calls})
    assert session(root)[0] == {"b::i": "PASSED"}
    write_project(root, {"conductor.py": calls.replace("'n': 1", "'n': 2")})
    verdicts, output = session(root)
    assert verdicts == {"b::i": "FAILED"}
    assert "bring it back: ductaflow restore runs/b/i\n" in output
    assert (root / "runs/b/i/runs/x/x.txt").read_text() == "2"
    restore = ("-m", "pytest_ductaflow.command_line", "restore", "runs/b/i")
    assert run_python(root, *restore).returncode == 0
    write_project(root, {"conductor.py": calls})
    assert session(root)[0] == {"b::i": "UNCHANGED"}
    assert (root / "runs/b/i/runs/x/x.txt").read_text() == "1"


def test_a_fresh_clone_and_a_project_in_which_much_has_run_have_the_same_files(tmp_path):
    """One flow that makes a folder, appends, fills a database and trains once; a dozen edits."""
    flow = """
        import os, sqlite3
        from pathlib import Path
        os.mkdir("tables")
        for i in range(n):
            Path(f"tables/part_{i}.csv").write_text(str(i))
        with open("log.csv", "a") as log:
            log.write(f"{n}\\n")
        with sqlite3.connect("x.db") as db:
            db.execute("create table t (a)")
        if not Path("model.txt").exists():
            Path("model.txt").write_text(f"{n} SHIFT")
        """
    count = """
        from pathlib import Path
        folder = Path(config["_project_root"], folder)
        names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.csv"))
        Path("count.txt").write_text(" ".join(names))
        """
    root = write_project(tmp_path / "long", {"flows/count.py": count})
    for n, shift in ((3, 0), (1, 0), (1, 1), (2, 1)):
        calls = conductor(("make", {"n": n}), ("count", {"folder": "runs/make/i"}))
        write_project(root, {"flows/make.py": flow.replace("SHIFT", str(shift)), "conductor.py": calls})
        assert session(root)[0]["make::i"] == "PASSED"
    fresh = tmp_path / "fresh"
    shutil.copytree(root, fresh, ignore=shutil.ignore_patterns("runs"))
    session(fresh)

    def written(project: Path) -> dict[str, str]:
        folders = [project / "runs/make/i", project / "runs/count/i"]
        paths = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".csv", ".txt")]
        own = [path for path in paths if not path.name.endswith("_execution_output.txt")]
        return {path.relative_to(project).as_posix(): path.read_text() for path in own}

    assert written(root) == written(fresh)
    assert len(written(fresh)) == 5


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_run_that_is_killed_as_its_new_config_is_written_does_not_pass_for_the_run_before(tmp_path, place):
    """Killed just before or after the file is there: with the old config again, the instance runs again."""
    kills = f"""
        import os
        from pytest_ductaflow.core.run_directory import record_files
        write_config = record_files.write_config
        def write(files, config):
            if {place == "after"}:
                write_config(files, config)
            os._exit(9)
        record_files.write_config = write
        """
    flow = 'open("out.txt", "w").write(str(n))\n'
    root = write_project(tmp_path, {"flows/a.py": flow, "kills.py": kills})
    (root / "conductor.py").write_text(conductor(("a", {"n": 1})))
    assert session(root)[0] == {"a::i": "PASSED"}
    (root / "conductor.py").write_text(conductor(("a", {"n": 2})))
    session(root, "conductor.py", "-p", "kills", "-o", "pythonpath=.")
    (root / "conductor.py").write_text(conductor(("a", {"n": 1})))
    assert session(root)[0] == {"a::i": "PASSED"}
    assert json.loads((root / "runs/a/i/a_config.json").read_text())["n"] == 1
    assert (root / "runs/a/i/out.txt").read_text() == "1"
