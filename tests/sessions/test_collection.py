"""Collection through pytest: every way of declaring instances, node ids, the conductor's own process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.projects import write_project

from pytest_ductaflow.core.settings import OPTIONS
from pytest_ductaflow.pytest_hooks.items import InstanceItem

ROWS = [{"instance_name": "one", "x": 1}, {"instance_name": "two", "x": 2}]
TABLE = [{**row, "flow": "flows/a.py"} for row in ROWS]
CONDUCTOR = f"from pytest_ductaflow import conduct\n\nconduct('flows/a.py', {ROWS})\n"
PROJECT = {"flows/a.py": "print(config)\n", "conductor.py": CONDUCTOR}


@pytest.fixture(autouse=True)
def _plugins_load(monkeypatch):
    """Let the inner pytest find our entry point, whatever options the outer one was given."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


def collected(result: pytest.RunResult) -> list[str]:
    """Return the node ids of `--collect-only -q`."""
    assert result.ret == 0, result.stderr.str() + result.stdout.str()
    return [line for line in result.outlines if "::" in line]


def ids_of(pytester: pytest.Pytester, *args: str) -> list[str]:
    return collected(pytester.runpytest_inprocess("--ductaflow", "--collect-only", "-q", *args))


def items_of(pytester: pytest.Pytester, *args: str) -> list[InstanceItem]:
    items, _ = pytester.inline_genitems("--ductaflow", *args)
    return [item for item in items if isinstance(item, InstanceItem)]


def past_run(directory: str, stem: str, config: dict[str, object]) -> dict[str, object]:
    """Return the files that identify an earlier run: its config and its log."""
    return {f"{directory}/{stem}_config.json": config, f"{directory}/{stem}_execution_output.txt": ""}


@pytest.mark.parametrize(
    "conductor",
    [
        pytest.param(
            f"""\
            import pandas as pd
            from pytest_ductaflow import conduct

            conduct("flows/a.py", pd.DataFrame({ROWS}))
            """,
            id="conduct, a DataFrame",
        ),
        pytest.param(
            f"from pytest_ductaflow import conduct\nconduct('flows/a.py', {ROWS})",
            id="conduct, a list of dicts",
        ),
        pytest.param(
            "from pytest_ductaflow import conduct\nconduct('flows/a.py', 'rows.csv')", id="conduct, a file"
        ),
        pytest.param(
            """\
            from ductaflow import run_step_flow

            for name in ("one", "two"):
                run_step_flow("flows/a.py", "a", name, {"x": 1})
            """,
            id="run_step_flow in a loop",
        ),
        pytest.param(
            """\
            from ductaflow import run_notebook

            for name in ("one", "two"):
                run_notebook("flows/a.py", config={"instance_name": name})
            """,
            id="run_notebook in a loop",
        ),
        pytest.param(
            f"import pandas as pd\nscenarios = pd.DataFrame({TABLE})", id="a DataFrame of the module, no call"
        ),
    ],
)
def test_conductor_declares_instances_in_every_way(pytester, conductor):
    """Each way of declaring two instances gives the same two node ids, and writes nothing."""
    write_project(
        pytester.path, {**PROJECT, "conductor.py": conductor, "rows.csv": "instance_name,x\none,1\ntwo,2\n"}
    )
    assert ids_of(pytester, "conductor.py") == ["conductor.py::a::one", "conductor.py::a::two"]
    assert not (pytester.path / "runs").exists()


def test_ways_can_be_mixed_in_one_conductor(pytester):
    """`conduct`, single calls and a module's DataFrame add up, each instance once."""
    write_project(
        pytester.path,
        {
            "flows/a.py": "",
            "flows/b.py": "",
            "conductor.py": f"""\
            import pandas as pd
            from ductaflow import run_step_flow
            from pytest_ductaflow import conduct, grid

            conduct("flows/a.py", grid(k=[1, 2]))
            run_step_flow("flows/b.py", "late", "single", {{}})
            scenarios = pd.DataFrame({TABLE})
            """,
        },
    )
    assert sorted(ids_of(pytester, "conductor.py")) == [
        "conductor.py::a::k=1",
        "conductor.py::a::k=2",
        "conductor.py::a::one",
        "conductor.py::a::two",
        "conductor.py::late::single",
    ]


def test_tables_in_files_of_every_kind_are_sources(pytester):
    """A control table in .csv, .json, .jsonl, .parquet or .xlsx is collected without a conductor."""
    pytest.importorskip("pyarrow")
    pytest.importorskip("openpyxl")
    write_project(pytester.path, {"flows/a.py": ""})
    names = ["t.csv", "t.json", "t.jsonl", "t.parquet", "t.xlsx"]
    for name in names:
        table = pd.DataFrame(
            [{**row, "instance_name": f"{row['instance_name']}_{name[2:]}"} for row in TABLE]
        )
        path = pytester.path / name
        {
            "t.csv": lambda t, p: t.to_csv(p, index=False),
            "t.json": lambda t, p: t.to_json(p, orient="records"),
            "t.jsonl": lambda t, p: t.to_json(p, orient="records", lines=True),
            "t.parquet": lambda t, p: t.to_parquet(p, index=False),
            "t.xlsx": lambda t, p: t.to_excel(p, index=False),
        }[name](table, path)
    items = items_of(pytester, *names)
    assert [item.nodeid for item in items] == [
        f"{name}::a::{row}_{name[2:]}" for name in names for row in ("one", "two")
    ]
    assert [item.instance.config["x"] for item in items] == [1, 2] * len(names)


def test_flow_is_collected_with_its_matching_config(pytester):
    """`pytest --ductaflow flows/x.py` takes config/flows/x.json."""
    config = {"instance_name": "base case", "x": 7, "deep": {"y": 1}}
    write_project(pytester.path, {"flows/x.py": "", "config/flows/x.json": config})
    (item,) = items_of(pytester, "flows/x.py")
    assert item.nodeid == "flows/x.py::x::base_case"
    assert item.instance.config == config


def test_past_run_directory_is_collected_from_its_saved_config(pytester):
    """A run directory, or a folder of them, gives the instances that ran there."""
    past = {"x": 5, "_project_root": "/elsewhere"}
    write_project(
        pytester.path,
        {
            "flows/01_prep.py": "",
            **past_run("runs/prep/one", "01_prep", past),
            **past_run("runs/prep/two", "01_prep", past),
            **past_run("runs/prep/two/runs/inner/of_a_build", "01_prep", past),
        },
    )
    (item,) = items_of(pytester, "runs/prep/one")
    assert (item.instance.step, item.instance.name) == ("prep", "one")
    assert item.instance.config == {"x": 5}
    assert item.instance.run_dir == str(pytester.path / "runs/prep/one")
    assert len(items_of(pytester, "runs/prep")) == 2


def test_past_run_directory_is_collected_from_within(pytester):
    """A run directory can also be run again from within it."""
    write_project(pytester.path, {"flows/a.py": "", **past_run("runs/a/one", "a", {})})
    os.chdir(pytester.path / "runs/a/one")  # pytester restores it
    (item,) = items_of(pytester, ".")
    assert item.instance.project_root == str(pytester.path)


def test_past_run_of_a_step_called_flows_is_collected(pytester):
    """A step that is called `flows` does not make a project of `runs/`."""
    write_project(pytester.path, {"flows/a.py": "", **past_run("runs/flows/one", "a", {})})
    (item,) = items_of(pytester, "runs/flows/one")
    assert item.instance.project_root == str(pytester.path)


def test_folder_gives_its_conductors_and_nothing_of_runs(pytester):
    """`pytest --ductaflow .` finds the conductors by name, in folders too, but never in runs/."""
    named = {
        f"{name}.py": f"from ductaflow import run_step_flow\nrun_step_flow('flows/a.py', 's', '{name}')\n"
        for name in ("conductor", "sub/conductor_b", "c_conductor", "other")
    }
    past = {"runs/a/old/conductor.py": CONDUCTOR, **past_run("runs/a/old", "a", {})}
    write_project(pytester.path, {"flows/a.py": "", **named, **past})
    expected = ["c_conductor.py", "conductor.py", "sub/conductor_b.py"]
    assert sorted(node_id.partition("::")[0] for node_id in ids_of(pytester, ".")) == expected
    chosen = ids_of(pytester, ".", "-o", "ductaflow_files=oth*.py")
    assert chosen == ["other.py::s::other"]


def test_folder_is_searched_wherever_the_project_lies(pytester):
    """A folder `runs` around the project does not hide the project's conductors."""
    write_project(pytester.path / "runs/project", PROJECT)
    os.chdir(pytester.path / "runs/project")  # pytester restores it
    assert ids_of(pytester) == ["conductor.py::a::one", "conductor.py::a::two"]


def test_collect_only_shows_conductor_step_and_instance(pytester):
    """The tree is conductor, step, instance."""
    write_project(pytester.path, PROJECT)
    result = pytester.runpytest_inprocess("--ductaflow", "--collect-only", "conductor.py")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "ductaflow: 2 instances in conductor.py",
            "*<* conductor.py>",
            "    <* a>",
            "      <* one>",
            "      <* two>",
            "*2 tests collected*",
        ]
    )


PROBE = """\
import json, os, sys
from pathlib import Path
from ductaflow import run_step_flow
from pytest_ductaflow import is_collecting

print("NOISE of the conductor")
with open("said.jsonl", "a") as file:
    said = {"pid": os.getpid(), "cwd": os.getcwd(), "name": __name__, "collecting": is_collecting(),
            "argv": sys.argv, "file": __file__}
    file.write(json.dumps(said) + "\\n")
if __name__ == "__main__":
    for name in ("one", "two", "three"):
        run_step_flow("flows/a.py", "a", name, {"_marks": "skip"})
"""


def said_in(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "said.jsonl").read_text(encoding="utf-8").splitlines()]


def test_conductor_runs_as_a_script_in_its_own_process_in_the_project_root(pytester):
    """A conductor runs once, as `__main__`, in another process, in the project root, its output captured."""
    write_project(pytester.path, {"flows/a.py": "", "studies/conductor.py": PROBE})
    result = pytester.runpytest_inprocess("--ductaflow", "studies/conductor.py")
    result.assert_outcomes(skipped=4)  # and the code after the conductor's calls
    result.stdout.no_fnmatch_line("*NOISE*")
    (said,) = said_in(pytester.path)
    assert said["pid"] != os.getpid()
    assert said["cwd"] == str(pytester.path)
    assert said["name"] == "__main__"
    assert said["collecting"] is True
    assert said["argv"] == [said["file"]] == [str(pytester.path / "studies/conductor.py")]
    assert os.getcwd() == str(pytester.path)


def test_conductor_runs_once_for_all_workers(pytester):
    """Under -n 2 the conductor runs once for the whole session, and -s lets its output through."""
    write_project(pytester.path, {"flows/a.py": "", "conductor.py": PROBE})
    result = pytester.runpytest_subprocess("--ductaflow", "conductor.py", "-n", "2", "-s")
    result.assert_outcomes(skipped=4)  # and the code after the conductor's calls
    result.stdout.fnmatch_lines(["NOISE of the conductor"])
    assert len(said_in(pytester.path)) == 1


def test_is_collecting_is_false_in_a_script(pytester):
    """Outside of pytest `is_collecting()` is False."""
    code = "from pytest_ductaflow import is_collecting; print(is_collecting())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_location_is_the_line_that_declared_the_instance(pytester):
    """The location of an item is the conductor's line, counted from 0 as pytest does."""
    write_project(
        pytester.path,
        {
            "flows/a.py": "",
            "conductor.py": """\
            from ductaflow import run_step_flow
            from pytest_ductaflow import conduct

            def declare(name):
                run_step_flow("flows/a.py", "a", name)

            declare("called")
            conduct(
                "flows/a.py",
                [{"instance_name": "row"}],
            )
            """,
        },
    )
    assert [item.location for item in items_of(pytester, "conductor.py")] == [
        ("conductor.py", 4, "a/called"),
        ("conductor.py", 7, "a/row"),
    ]


NAMES = ["with space", "br[0]", "a::b", "<script>", "Zürich 東京", "it's $HOME", "deep/er"]


def test_names_of_any_kind_become_node_ids_that_select(pytester):
    """Spaces, brackets, `::`, markup and quotes in names give plain node ids, which select."""
    rows = [{"instance_name": name} for name in NAMES]
    conductor = f"from pytest_ductaflow import conduct\nconduct('flows/a.py', {rows})\n"
    write_project(pytester.path, {"flows/a.py": "", "conductor.py": conductor})
    items = items_of(pytester, "conductor.py")
    assert [item.instance.name for item in items] == NAMES
    assert [Path(item.instance.run_dir) for item in items] == [
        pytester.path / "runs/a" / name for name in NAMES
    ]
    node_ids = [item.nodeid for item in items]
    assert node_ids == ["conductor.py::a::" + re.sub(r"[^\w/]", "_", name) for name in NAMES]
    assert ids_of(pytester, *node_ids) == node_ids


def test_names_that_look_alike_in_a_node_id_are_told_apart(pytester):
    """Two names that differ only in what a node id cannot hold are two items in two directories."""
    rows = [{"instance_name": "a b"}, {"instance_name": "a?b"}]
    conductor = f"from pytest_ductaflow import conduct\nconduct('flows/a.py', {rows})\n"
    write_project(pytester.path, {"flows/a.py": "", "conductor.py": conductor})
    items = items_of(pytester, "conductor.py")
    assert len({item.nodeid for item in items}) == 2
    assert [Path(item.instance.run_dir).name for item in items] == ["a b", "a?b"]


def test_project_root_is_found_upwards(pytester):
    """The nearest parent of a conductor that holds flows/ is the project; runs/ is there."""
    write_project(pytester.path, {"flows/a.py": "", "studies/deep/conductor.py": CONDUCTOR})
    items = items_of(pytester, "studies/deep/conductor.py")
    assert [item.nodeid for item in items] == [f"studies/deep/conductor.py::a::{n}" for n in ("one", "two")]
    assert {item.instance.project_root for item in items} == {str(pytester.path)}
    assert items[0].instance.run_dir == str(pytester.path / "runs/a/one")


def test_project_root_is_the_same_from_a_subfolder(pytester):
    """Changing into the conductor's folder changes neither the project root nor its working directory."""
    write_project(pytester.path, {"flows/a.py": "", "studies/conductor.py": PROBE})
    os.chdir(pytester.path / "studies")  # pytester restores it
    items = items_of(pytester, "conductor.py")
    assert {item.instance.project_root for item in items} == {str(pytester.path)}
    assert (pytester.path / "said.jsonl").is_file()


@pytest.mark.parametrize(
    "source",
    [
        "table.csv",
        pytest.param(
            "conductor.py",
        ),
    ],
)
def test_project_root_can_be_set(pytester, source):
    """`ductaflow_root` sets the project's path, for tables and conductors alike."""
    write_project(
        pytester.path,
        {
            "work/flows/a.py": "",
            "table.csv": "instance_name,flow\none,flows/a.py\n",
            "conductor.py": CONDUCTOR.replace(str(ROWS), "[{'instance_name': 'one'}]"),
            "pytest.ini": "[pytest]\nductaflow_root = work\n",
        },
    )
    (item,) = items_of(pytester, source)
    assert item.instance.project_root == str(pytester.path / "work")
    assert item.instance.run_dir == str(pytester.path / "work/runs/a/one")


def test_ordinary_tests_beside_a_conductor_are_collected_as_ever(pytester):
    """Test files keep their items, named or found, with --ductaflow on."""
    write_project(pytester.path, {**PROJECT, "test_x.py": "def test_it(): pass\n"})
    both = ["conductor.py::a::one", "conductor.py::a::two", "test_x.py::test_it"]
    assert sorted(ids_of(pytester, ".")) == both
    assert ids_of(pytester, "test_x.py") == ["test_x.py::test_it"]


def test_without_the_option_nothing_changes(pytester):
    """Without --ductaflow neither conductors nor tables are read, and nothing is written."""
    write_project(
        pytester.path,
        {"flows/a.py": "", "conductor.py": PROBE, "pytest.ini": "[pytest]\nductaflow_warnings = loud\n"},
    )
    write_project(pytester.path, {"test_x.py": "def test_it(): pass\n"})
    result = pytester.runpytest_inprocess(".")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*ductaflow: *")
    assert not (pytester.path / "said.jsonl").exists()
    assert not (pytester.path / "runs").exists()


def test_ini_file_turns_it_on_and_sets_options(pytester):
    """`ductaflow = true` in pyproject.toml means --ductaflow, and the other options have ini equivalents."""
    write_project(
        pytester.path,
        {
            **PROJECT,
            "pyproject.toml": """\
            [tool.pytest.ini_options]
            ductaflow = true
            ductaflow_where = "x == 2"
            """,
        },
    )
    ids = collected(pytester.runpytest_inprocess("--collect-only", "-q"))
    assert ids == ["conductor.py::a::two"]
    given = pytester.runpytest_inprocess("--collect-only", "-q", "--ductaflow-where=x == 1")
    assert collected(given) == ["conductor.py::a::one"]


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="new in pytest 9")
def test_truth_in_the_native_table_of_pyproject_turns_it_on(pytester):
    """`[tool.pytest]`, which keeps TOML's types, takes `ductaflow = true` as well."""
    write_project(pytester.path, {**PROJECT, "pyproject.toml": "[tool.pytest]\nductaflow = true\n"})
    ids = collected(pytester.runpytest_inprocess("--collect-only", "-q"))
    assert ids == ["conductor.py::a::one", "conductor.py::a::two"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("ductaflow = perhaps", "*truth value 'perhaps'*"),
        ("ductaflow_warnings = loud", "*ductaflow_warnings: 'loud' is not one of xfail, pass, fail*"),
        ("ductaflow_html = pdf", "*ductaflow_html: 'pdf' is not one of all, failed, none*"),
        ("ductaflow_timeout = soon", "*ductaflow_timeout: 'soon': expected a number of seconds*"),
        ("ductaflow_timeout = -1", "*ductaflow_timeout: '-1': expected more than 0 seconds*"),
    ],
)
def test_bad_value_in_the_ini_file_is_a_usage_error(pytester, line, says):
    """A value that an option does not accept ends with exit code 4 and a message naming option and value."""
    on = "" if line.startswith("ductaflow =") else "ductaflow = true\n"
    write_project(pytester.path, {**PROJECT, "pytest.ini": f"[pytest]\n{on}{line}\n"})
    result = pytester.runpytest_inprocess("--collect-only")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {says}"])
    assert "pytest_ductaflow/" not in result.stderr.str()


@pytest.mark.parametrize(
    "given", ["--ductaflow-html=pdf", "--ductaflow-timeout=soon", "--ductaflow-warnings=x"]
)
def test_bad_value_on_the_command_line_is_a_usage_error(pytester, given):
    """A bad value on the command line ends with exit code 4 and names the value."""
    write_project(pytester.path, PROJECT)
    result = pytester.runpytest_inprocess("--ductaflow", given, "conductor.py")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{given.partition('=')[2]!r}*"])


def test_help_shows_each_option_and_its_ini_twin(pytester):
    """`--help` lists every option, each beginning with --ductaflow, and every ini key there is."""
    result = pytester.runpytest_inprocess("--help")
    assert result.ret == 0
    text = result.stdout.str()
    assert set(re.findall(r"^ +(--\S*ductaflow[\w-]*)", text, re.MULTILINE)) == {
        option.flag for option in OPTIONS if option.on_command_line
    }
    twins = {option.ini for option in OPTIONS if option.in_ini}
    assert set(re.findall(r"^ +(ductaflow\w*) ", text, re.MULTILINE)) == twins


CLEARED = {
    "flows/a.py": 'import os\nopen("ran.txt", "a").write("once ")\nprint(os.environ.get("HOME"))\n',
    "conductor.py": """
        import os
        from pytest_ductaflow import conduct, is_collecting

        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        os.environ.clear()
        os.environ.update(kept)
        conduct("flows/a.py", [{"instance_name": "A"}])
        if not is_collecting():
            print("after")
        """,
}


@pytest.mark.thorough
def test_conductor_that_clears_its_environment_runs_nothing_while_it_is_collected(pytester):
    """Nor when it continues after its instances; these get the environment that it has left."""
    write_project(pytester.path, CLEARED)
    assert ids_of(pytester, "conductor.py") == ["conductor.py::a::A", "conductor.py::after"]
    assert not (pytester.path / "runs/a").exists()
    pytester.runpytest_subprocess("--ductaflow", "conductor.py").assert_outcomes(passed=2)
    run_dir = pytester.path / "runs/a/A"
    assert (run_dir / "ran.txt").read_text() == "once "
    assert (run_dir / "a_execution_output.txt").read_text() == "None\n"
    record = json.loads((run_dir / "a_record.json").read_text())
    assert "DUCTAFLOW" not in json.dumps(record["variables"])
