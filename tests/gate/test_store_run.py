"""Making a stored instance from a run that is on disk; no kernel runs here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_ductaflow.command_line.main import main
from pytest_ductaflow.core.errors import DuctaflowError
from pytest_ductaflow.core.record import Failure, Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.listing import digest
from pytest_ductaflow.core.run_directory.record_files import write_config, write_record
from pytest_ductaflow.gate.instance_file import read_stored
from pytest_ductaflow.gate.store_run import StoreOptions, store_run

OUTPUTS = {
    "result.csv": "a,b\n1,2\n",
    "sub/note.txt": "hello\n",
    "page.html": "<p>",
    "run.log": "x",
    "n.ipynb": "{}",
}


def make_run(
    root: Path,
    outputs: dict[str, str] = OUTPUTS,
    config: dict[str, object] | None = None,
    inputs: dict[str, str] | None = None,
    **record: object,
) -> Path:
    """Make a run directory as a session leaves it, and the files of others that it read."""
    run_dir = root / "runs/analysis/A"
    (root / "flows").mkdir(exist_ok=True)
    (root / "flows/analysis.py").write_text("")
    files = RunFiles(run_dir, "analysis")
    write_config(files, {**(config or {"year": 2040}), "_project_root": str(root)})
    for folder, contents in ((run_dir, outputs), (root, inputs or {})):
        for name, text in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    values = {
        "status": Status.SUCCESS,
        "flow": "flows/analysis.py",
        "step": "analysis",
        "instance": "A",
        "run_dir": "runs/analysis/A",
        "kernel": "python3",
        "duration": 2.5,
        "outputs": {name: digest(run_dir / name) for name in outputs},
        "inputs": dict.fromkeys(inputs or {}, "sha256:0"),
    }
    write_record(files, Record(**(values | record)))
    return run_dir


def store(root: Path, **wishes: object):
    return store_run(root / "runs/analysis/A", root, StoreOptions(to=root / "tests/instances", **wishes))


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_stored_instance_is_a_folder_that_a_reviewer_can_read(tmp_path):
    make_run(tmp_path)
    stored = store(tmp_path)
    assert stored.folder == tmp_path / "tests/instances/analysis/A"
    assert files_in(stored.folder) == {"instance.json", "expected/result.csv", "expected/sub/note.txt"}
    assert json.loads((stored.folder / "instance.json").read_text()) == {
        "schema": 1,
        "flow": "flows/analysis.py",
        "step": "analysis",
        "instance": "A",
        "duration": 2.5,
        "config": {"year": 2040},
        "outputs": ["*", "!*.ipynb", "!*.html", "!*.log"],
        "expected": ["result.csv", "sub/note.txt"],
        "tolerances": {"*": {"rtol": 1e-6, "atol": 0.0}},
    }
    assert stored.notes == ()


def test_outputs_can_be_chosen(tmp_path):
    make_run(tmp_path)
    stored = store(tmp_path, outputs=("*.csv", "page.html"))
    assert stored.stored.expected == ("page.html", "result.csv")
    assert stored.stored.outputs == ("*.csv", "page.html")


def test_a_pattern_without_an_output_is_refused(tmp_path):
    make_run(tmp_path)
    with pytest.raises(
        DuctaflowError, match=r"no output is called like '\*.parquet'; the run has written .*result.csv"
    ):
        store(tmp_path, outputs=("*.csv", "*.parquet"))
    assert not (tmp_path / "tests").exists()


def test_a_large_output_is_refused_with_advice_and_can_be_stored_as_a_digest(tmp_path):
    make_run(tmp_path, {"big.bin": "x" * 2_000_000, "result.csv": "a\n1\n"})
    with pytest.raises(DuctaflowError, match=r"larger than 1 MB: big.bin \(2.0 MB\). Store a digest"):
        store(tmp_path, limit=1)
    assert not (tmp_path / "tests").exists()
    stored = store(tmp_path, limit=1, digests=("*.bin",))
    assert stored.stored.digests == {"big.bin": digest(tmp_path / "runs/analysis/A/big.bin")}
    assert files_in(stored.folder) == {"instance.json", "expected/result.csv"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "result.csv").unlink(), "result.csv is not there any more"),
        (lambda d: (d / "result.csv").write_text("other"), "result.csv has been changed after the run"),
        (lambda d: (d / "analysis_config.json").write_text("{"), "analysis_config.json: cannot be read"),
        (lambda d: (d / "analysis_record.json").write_text("{"), "has no record"),
        (shutil.rmtree, "is not there: expected a run directory"),
    ],
)
def test_a_run_that_is_not_what_it_was_is_refused(tmp_path, damage, message):
    damage(make_run(tmp_path))
    with pytest.raises(DuctaflowError, match=message):
        store(tmp_path)
    assert not (tmp_path / "tests").exists()


def test_a_run_that_failed_is_refused(tmp_path):
    make_run(tmp_path, status=Status.ERROR, error=Failure("ValueError", "no"))
    with pytest.raises(DuctaflowError, match="this run ended with error: ValueError: no"):
        store(tmp_path)


def test_a_directory_of_several_flows_asks_which(tmp_path):
    run_dir = make_run(tmp_path)
    record = Record(Status.SUCCESS, "flows/other.py", "analysis", "A", "runs/analysis/A")
    write_record(RunFiles(run_dir, "other"), record)
    with pytest.raises(
        DuctaflowError, match=r"several flows \(analysis, other\): say which, --flow analysis"
    ):
        store(tmp_path)
    assert store(tmp_path, flow="analysis").stored.flow == "flows/analysis.py"


def test_what_is_stored_already_is_kept_unless_it_is_to_be_replaced(tmp_path):
    make_run(tmp_path)
    folder = store(tmp_path).folder
    data = json.loads((folder / "instance.json").read_text())
    data["tolerances"] = {"*": {"rtol": 0.5}}
    data["outputs"] = ["*.csv"]
    (folder / "instance.json").write_text(json.dumps(data))
    with pytest.raises(DuctaflowError, match=r"is there already.*--ductaflow-update.*--replace"):
        store(tmp_path)
    assert read_stored(folder).outputs == ("*.csv",)
    stored = store(tmp_path, replaces=True)
    assert stored.stored.tolerances == {"*": {"rtol": 0.5}}
    assert files_in(folder) == {"instance.json", "expected/result.csv"}
    assert not list(folder.parent.glob(".*"))


def test_outputs_outside_of_the_run_directory_are_not_stored(tmp_path):
    run_dir = make_run(tmp_path)
    record = json.loads((run_dir / "analysis_record.json").read_text())
    (tmp_path / "elsewhere.csv").write_text("a\n")
    record["outputs"]["../../../elsewhere.csv"] = digest(tmp_path / "elsewhere.csv")
    (run_dir / "analysis_record.json").write_text(json.dumps(record))
    assert store(tmp_path).stored.expected == ("result.csv", "sub/note.txt")


def test_without_outputs_it_says_what_the_gate_sees(tmp_path):
    make_run(tmp_path, {})
    assert store(tmp_path).notes == (
        "no output is stored: the gate only sees whether the flow runs to its end",
    )


def git(root: Path, *command: str) -> str:
    done = subprocess.run(["git", *command], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


def test_what_sweeps_write_is_ignored_by_git_and_what_is_stored_is_not(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("*.csv\nruns/\n")
    run_dir = make_run(tmp_path, {"result.csv": "a\n1\n", "runs/part/p/part.csv": "b\n"})
    assert store(tmp_path).notes == ()
    git(tmp_path, "add", ".")
    listed = git(tmp_path, "ls-files").split()
    folder = "tests/instances/analysis/A"
    assert {f"{folder}/expected/result.csv", f"{folder}/expected/runs/part/p/part.csv"} <= set(listed)
    assert not [name for name in listed if name.startswith("runs/")]
    assert run_dir.is_dir()


def test_where_git_ignores_the_whole_folder_that_is_told(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("tests/\n")
    make_run(tmp_path)
    (note,) = store(tmp_path).notes
    assert note.startswith("git ignores .gitignore, expected/result.csv")
    assert "git add -f" in note


# ---------------------------------------------------------------- paths


def test_paths_in_the_config_hold_in_any_clone(tmp_path):
    root = tmp_path / "clone"
    config = {
        "absolute": str(root / "data/x.csv"),
        "root": str(root),
        "of_root": "data/x.csv",
        "of_run_dir": "../../../data/x.csv",
        "elsewhere": str(tmp_path),
        "list": [{"deep": str(root / "data")}],
        "text": "..., and so on",
        "number": 3,
    }
    root.mkdir()
    make_run(root, config=config, inputs={"data/x.csv": "a\n"})
    stored = store(root)
    assert stored.stored.config == {
        "absolute": "${_project_root}/data/x.csv",
        "root": "${_project_root}",
        "of_root": "data/x.csv",
        "of_run_dir": "../../../../data/x.csv",
        "elsewhere": str(tmp_path),
        "list": [{"deep": "${_project_root}/data"}],
        "text": "..., and so on",
        "number": 3,
    }
    assert stored.notes == (f"its config names {tmp_path}, which lies outside of the project",)


def test_what_it_reads_of_other_instances_is_told(tmp_path):
    make_run(tmp_path, config={"x": "runs/etl/B/x.csv"}, inputs={"runs/etl/B/x.csv": "a\n"})
    (note,) = store(tmp_path).notes
    assert note == "it reads runs/etl/B/x.csv, which a fresh clone does not have: --inputs stores copies"


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("runs/etl/B/x.csv", "tests/instances/analysis/A/inputs/etl/B/x.csv"),
        ("runs/etl/B", "tests/instances/analysis/A/inputs/etl/B"),
        ("runs/etl/*/x.csv", "tests/instances/analysis/A/inputs/etl/*/x.csv"),
        ("../../etl/B/x.csv", "../../../../tests/instances/analysis/A/inputs/etl/B/x.csv"),
        ("{root}/runs/etl/B/x.csv", "${{_project_root}}/tests/instances/analysis/A/inputs/etl/B/x.csv"),
    ],
)
def test_copies_of_inputs_are_found_where_the_config_names_them(tmp_path, text, becomes):
    inputs = {"runs/etl/B/x.csv": "a\n1\n", "data/y.csv": "b\n"}
    config = {"x": text.format(root=tmp_path), "y": "data/y.csv"}
    make_run(tmp_path, config=config, inputs=inputs)
    stored = store(tmp_path, inputs=True)
    assert stored.stored.config == {"x": becomes.format(), "y": "data/y.csv"}
    assert (stored.folder / "inputs/etl/B/x.csv").read_text() == "a\n1\n"
    assert files_in(stored.folder / "inputs") == {"etl/B/x.csv"}
    assert stored.notes == ()


def test_of_an_upstream_only_what_the_config_names_is_copied(tmp_path):
    inputs = {"runs/etl/B/x.csv": "a\n1\n", "runs/etl/B/other.csv": "a\n"}
    make_run(tmp_path, config={"x": "runs/etl/B/x.csv"}, inputs=inputs)
    written = store(tmp_path, inputs=True)
    assert files_in(written.folder / "inputs") == {"etl/B/x.csv"}
    assert written.notes == ()


def test_what_no_text_in_the_config_names_is_told(tmp_path):
    config = {"etl_instance": "B", "z": "runs/prep/C/z.csv"}
    make_run(tmp_path, config=config, inputs={"runs/etl/B/x.csv": "a\n", "runs/prep/C/z.csv": "b\n"})
    written = store(tmp_path, inputs=True)
    assert files_in(written.folder / "inputs") == {"prep/C/z.csv"}
    (note,) = written.notes
    assert note.startswith(
        "it reads runs/etl/B/x.csv, which a fresh clone does not have: no text in its config"
    )


# ---------------------------------------------------------------- safety


def test_what_cannot_be_compared_is_not_stored(tmp_path):
    run_dir = make_run(tmp_path, {"empty.csv": "", "result.csv": "a\n1\n"})
    with pytest.raises(
        DuctaflowError, match=r"empty.csv: cannot be read as CSV.*--digest 'empty.csv'.*'!empty.csv'"
    ):
        store(tmp_path)
    assert not (tmp_path / "tests").exists()
    assert store(tmp_path, digests=("empty.csv",)).stored.expected == ("result.csv",)
    assert run_dir.is_dir()


def test_names_that_other_systems_could_not_hold_are_no_matter_here(tmp_path):
    make_run(tmp_path, {"out_12:30.csv": "a\n1\n", "x::y.txt": "z"})
    folder = store(tmp_path).folder
    assert read_stored(folder).expected == ("out_12:30.csv", "x::y.txt")


def test_a_pattern_of_digests_without_an_output_is_refused(tmp_path):
    make_run(tmp_path)
    with pytest.raises(DuctaflowError, match=r"no output is called like '\*\.npy'"):
        store(tmp_path, digests=("*.npy",))


def test_digests_are_chosen_beside_chosen_outputs(tmp_path):
    make_run(tmp_path, {"result.csv": "a\n1\n", "big.npy": "x", "more.txt": "y"})
    written = store(tmp_path, outputs=("*.csv",), digests=("*.npy",))
    assert (written.stored.expected, list(written.stored.digests)) == (("result.csv",), ["big.npy"])
    assert written.notes == ("it also wrote more.txt, which is not compared",)


def test_what_lies_elsewhere_is_told(tmp_path):
    run_dir = make_run(tmp_path)
    record = json.loads((run_dir / "analysis_record.json").read_text())
    record["outputs"]["../../../elsewhere.csv"] = "sha256:0"
    (run_dir / "analysis_record.json").write_text(json.dumps(record))
    (note,) = store(tmp_path).notes
    assert note == f"it also wrote {tmp_path}/elsewhere.csv, which is not compared"


def test_code_that_changed_after_the_run_is_told(tmp_path):
    make_run(tmp_path, code={"flows/analysis.py": "sha256:before"})
    (note,) = store(tmp_path).notes
    assert note == "flows/analysis.py changed after the run: what is stored is of the code before"


def test_reserved_names_are_stored_with_the_config(tmp_path):
    make_run(tmp_path, reserved={"_timeout": 600.0})
    assert store(tmp_path).stored.config == {"year": 2040, "_timeout": 600.0}


def test_a_folder_that_is_no_stored_instance_is_left_alone(tmp_path):
    make_run(tmp_path)
    precious = tmp_path / "tests/instances/analysis/A/thesis.csv"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    with pytest.raises(DuctaflowError, match="is there, and is no stored instance"):
        store(tmp_path, replaces=True)
    assert precious.read_text() == "precious"


def test_what_others_put_beside_a_stored_instance_stays_when_it_is_replaced(tmp_path):
    make_run(tmp_path)
    folder = store(tmp_path).folder
    (folder / "README.md").write_text("why")
    (folder / "expected/old.txt").write_text("old")
    store(tmp_path, replaces=True)
    assert files_in(folder) == {"README.md", "instance.json", "expected/result.csv", "expected/sub/note.txt"}


def test_a_stored_instance_that_cannot_be_read_is_not_replaced_without_its_tolerances(tmp_path):
    make_run(tmp_path)
    file = store(tmp_path).folder / "instance.json"
    file.write_text(file.read_text()[:-3])
    with pytest.raises(DuctaflowError, match=r"not JSON.*mend it, as its tolerances are kept"):
        store(tmp_path, replaces=True)


def test_what_was_stored_as_a_digest_still_is_when_it_is_replaced(tmp_path):
    make_run(tmp_path, {"big.bin": "x" * 2_000_000, "result.csv": "a\n1\n"})
    store(tmp_path, limit=1, digests=("big.bin",))
    assert list(store(tmp_path, limit=1, replaces=True).stored.digests) == ["big.bin"]


def test_if_a_replacement_fails_what_was_there_stays(tmp_path, monkeypatch):
    make_run(tmp_path)
    folder = store(tmp_path).folder
    before = files_in(folder)

    def fail(source, target):
        if str(source).endswith("new/expected"):
            raise PermissionError("open elsewhere")
        return real(source, target)

    real = os.rename
    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(DuctaflowError, match="cannot be written"):
        store(tmp_path, replaces=True)
    monkeypatch.undo()
    assert files_in(folder) == before


@pytest.mark.parametrize("step", ["build", "dist", ".hidden", "runs"])
def test_it_is_stored_where_pytest_looks(tmp_path, step):
    make_run(tmp_path, step=step)
    written = store(tmp_path, not_entered=("build", "dist", ".*"))
    assert written.folder == tmp_path / f"tests/instances/_{step}_/A"
    assert written.stored.step == step


def test_a_place_outside_of_the_project_is_refused(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    make_run(root)
    with pytest.raises(DuctaflowError, match="lies outside of the project"):
        store_run(root / "runs/analysis/A", root, StoreOptions(to=tmp_path / "outside"))


def checked(*arguments: object):
    return CliRunner().invoke(main, ["store", "--check", *map(str, arguments)])


def test_check_says_what_a_replay_would_compare_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = {
        "t.csv": "a,b\n1,2\n",
        "t.json": "1",
        "n.txt": "x",
        "raw.bin": "x",
        "big.nc": "x",
        "run.log": "",
    }
    run_dir = make_run(tmp_path, outputs)
    before = files_in(tmp_path)
    done = checked(run_dir, "--output", "*", "--output", "!*.log", "--digest", "*.nc")
    ways = [
        "  big.nc: byte by byte (digest)",
        "  n.txt: text",
        "  raw.bin: byte by byte",
        "  t.csv: CSV, rtol 1e-06, atol 0",
        "  t.json: JSON, rtol 1e-06, atol 0",
    ]
    first = "tests/instances/analysis/A: a replay would run flows/analysis.py and compare 5 outputs"
    assert done.exit_code == 0, done.output
    assert done.output.splitlines() == [first, *ways, "nothing has been run or written"]
    assert files_in(tmp_path) == before

    folder = store(tmp_path, outputs=("*", "!*.log"), digests=("*.nc",)).folder
    data = json.loads((folder / "instance.json").read_text())
    own = {"keys": ["a"], "columns": {"b [m]": {"atol": 0.5}}, "ignore": ["made*"], "decimal": ","}
    data["tolerances"] = {"*.csv": own, "*": {"rtol": 0.1}}
    (folder / "instance.json").write_text(json.dumps(data))
    way = "CSV, rtol 0.1, atol 0, keys a, column b [m]: rtol 1e-06 atol 0.5, ignore made*, decimal ,"
    for place in (folder, run_dir):  # also when it would be stored again
        assert f"  t.csv: {way}" in checked(place).output.splitlines()


def test_check_tells_of_tolerances_that_match_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path, {"t.csv": "name,speed\nx,2\n", "t.json": '{"made": 1}', "raw.bin": "x"})
    folder = store(tmp_path, digests=("raw.bin",)).folder
    data = json.loads((folder / "instance.json").read_text())
    data["tolerances"] = {
        "*.csv": {"columns": {"sped": {"atol": 1}, "speed": {"atol": 1}}, "ignore": ["na*"]},
        "t.json": {"ignore": ["maed", "made"]},
        "*.parquet": {"rtol": 1},
        "raw.bin": {"ignore": ["nothing is known of a digest"]},
    }
    (folder / "instance.json").write_text(json.dumps(data))
    done = checked(folder)
    assert done.exit_code == 0, done.output
    notes = [line for line in done.output.splitlines() if line.startswith("note: ")]
    misspelt = "names {!r}, which is in none of its files: did you mean {!r}?".format
    assert notes == [
        f"note: the tolerances of '*.csv': 'columns' {misspelt('sped', 'speed')}",
        f"note: the tolerances of 't.json': 'ignore' {misspelt('maed', 'made')}",
        "note: the tolerances of '*.parquet': no output that is compared has such a name",
    ]


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        (["nmae"], "'nmae' is a key, but no column of the expected table (columns: name, speed)"),
        (["name", "zz"], "'zz' is a key, but no column of the expected table (columns: name, speed)"),
        (["speed"], "in the expected table several rows have speed=2"),
        (["name"], None),
    ],
)
@pytest.mark.parametrize("pattern", ["t.csv", "*.csv", "*"])
def test_check_tells_of_keys_by_which_no_rows_can_be_matched(tmp_path, monkeypatch, pattern, keys, why):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path, {"t.csv": "name,speed\nx,2\ny,2\n", "raw.bin": "x"})
    folder = store(tmp_path).folder
    data = json.loads((folder / "instance.json").read_text())
    data["tolerances"] = {pattern: {"keys": keys}}
    (folder / "instance.json").write_text(json.dumps(data))
    done = checked(folder)
    told = f"note: with its tolerances t.csv differs even from itself: rows cannot be matched: {why}"
    assert done.exit_code == 0, done.output
    assert [line for line in done.output.splitlines() if line.startswith("note: ")] == [told] * bool(why)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "expected/result.csv").unlink(), "result.csv not there: is it ignored by git?"),
        (lambda d: (d / "expected/more.csv").write_text("a\n"), "more.csv not listed under `expected`"),
        (lambda d: (d / "expected/result.csv").write_text("a,a\n"), "column 'a' is there 2 times"),
        (lambda d: (d / "instance.json").write_text('{"flow": 1, "config": {}}'), "schema: expected 1"),
    ],
)
def test_check_tells_of_a_stored_instance_that_could_not_pass(tmp_path, damage, message):
    make_run(tmp_path)
    folder = store(tmp_path).folder
    damage(folder)
    done = checked(folder)
    assert done.exit_code == 2
    assert message in done.output
