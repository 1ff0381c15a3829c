"""What a run finds in its folder: nothing from its earlier runs, and all files of others."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
from click.testing import CliRunner
from helpers.projects import write_project

from pytest_ductaflow.api import read_runs
from pytest_ductaflow.command_line.main import main
from pytest_ductaflow.core.errors import DuctaflowError
from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Owner, Record, Status
from pytest_ductaflow.core.run_directory import atomic, layout, listing, record_files
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import read_record
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.running import clean_start, run_instance
from pytest_ductaflow.running.clean_start import CleanStart, is_kept
from pytest_ductaflow.running.earlier_runs import move_files
from pytest_ductaflow.running.earlier_runs.move_files import make_folder
from pytest_ductaflow.running.earlier_runs.restore import restore

TRAIN = """
    from pathlib import Path
    if not Path("model.txt").exists():  # train only once
        Path("model.txt").write_text(str(config["rate"]))
    Path("forecast.txt").write_text("forecast with " + Path("model.txt").read_text())
    """
HTML_OFF = Settings(html="none")


class Project:
    """A project with one instance, `train/base`, that runs in this process."""

    def __init__(self, root: Path, code: str) -> None:
        self.root = root
        self.run_dir = root / "runs/train/base"
        self.aside = root / "runs/.earlier/train/base"
        self.write(code)

    def write(self, code: str) -> None:
        write_project(self.root, {"flows/train.py": code})

    def run(self, settings: Settings = HTML_OFF, **more: object) -> Record:
        fields = {name: more.pop(name) for name in ("keep", "retries") if name in more}
        flow, run_dir = str(self.root / "flows/train.py"), str(self.run_dir)
        instance = Instance(flow, "train", "base", more, run_dir, str(self.root), **fields)
        return run_instance.run(instance, settings)

    def text(self, name: str) -> str:
        return (self.run_dir / name).read_text(encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Callable[[str], Project]:
    return lambda code: Project(tmp_path, code)


def lay(files: RunFiles, names: Mapping[str, str]) -> None:
    for name, text in names.items():
        path = files.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def tree(folder: Path) -> dict[str, str]:
    """Return the files in a folder, and the empty folders."""
    paths = [path for path in folder.rglob("*") if not (path.is_dir() and any(path.iterdir()))]
    return {
        path.relative_to(folder).as_posix(): "a folder" if path.is_dir() else path.read_text()
        for path in paths
    }


# --- with real flows


@pytest.mark.slow
def test_a_flow_that_trains_only_if_there_is_no_model_trains_anew(project):
    """Its result belongs to its config, not to that of the first run."""
    made = project(TRAIN)
    assert made.run(rate=0.01).status is Status.SUCCESS
    record = made.run(rate=0.08)
    assert made.text("forecast.txt") == "forecast with 0.08"
    assert set(record.outputs) == {"forecast.txt", "model.txt"}
    assert tree(made.aside)["forecast.txt"] == "forecast with 0.01"
    assert json.loads(tree(made.aside)["train_config.json"])["rate"] == 0.01
    assert read_record(made.aside / "train_record.json")[0].status is Status.SUCCESS
    assert made.run(rate=0.08).unchanged


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        'import os\nos.mkdir("tables")\nos.makedirs("a/b/c")\n',
        'import os\nos.mkdir("tables")\nopen("tables/t.csv", "x").write("1")\n',
        'import sqlite3\nwith sqlite3.connect("x.db") as db:\n    db.execute("create table t (a)")\n',
        'import os\nos.symlink("nowhere", "link")\nos.mkfifo("pipe")\n',
        'import os\nos.mkdir("real")\nos.symlink("real", "link")\n',
    ],
    ids=["folders", "folder and file", "sqlite", "link and pipe", "link to a folder"],
)
def test_a_flow_that_makes_what_must_not_be_there_can_run_again(project, code):
    made = project(code)
    for number in range(3):
        record = made.run(number=number)
        assert record.status is Status.SUCCESS, record.error


@pytest.mark.slow
def test_a_flow_that_appends_begins_anew_also_after_a_failure(project):
    code = 'with open("log.csv", "a") as log:\n    log.write(f"{n}\\n")\nassert n != 2\n'
    made = project(code)
    assert [made.run(n=n).status.value for n in (1, 2, 3)] == ["success", "error", "success"]
    assert made.text("log.csv") == "3\n"


@pytest.mark.slow
def test_a_run_that_writes_less_leaves_nothing_of_the_one_before(project):
    made = project('for i in range(n):\n    open(f"part_{i}.csv", "w").write("1")\n')
    for n in (5, 3):
        made.run(n=n)
    assert sorted(path.name for path in made.run_dir.glob("part_*")) == [f"part_{i}.csv" for i in range(3)]


@pytest.mark.slow
def test_what_others_have_put_there_stays(project):
    made = project('import os\nos.mkdir("out")\nopen("out/a.txt", "w").write(open("seed.txt").read())\n')
    lay(RunFiles(made.run_dir, "train"), {"seed.txt": "1"})
    assert made.run(n=1).status is Status.SUCCESS
    lay(RunFiles(made.run_dir, "train"), {"notes/mine.txt": "2"})
    assert made.run(n=2).status is Status.SUCCESS
    assert made.text("seed.txt") == "1"
    assert made.text("notes/mine.txt") == "2"


@pytest.mark.slow
def test_a_file_of_others_that_a_flow_changes_is_not_the_flows(project):
    """It stays in place, and the instance runs again if the file has changed since."""
    made = project('open("shared.txt", "a").write("x")\n')
    lay(RunFiles(made.run_dir, "train"), {"shared.txt": "a"})
    record = made.run()
    assert (record.altered, set(record.outputs)) == (("shared.txt",), {"shared.txt"})
    assert made.run().unchanged
    lay(RunFiles(made.run_dir, "train"), {"shared.txt": "b"})
    record = made.run()
    assert record.reason == "output shared.txt is not as it left it"
    assert made.text("shared.txt") == "bx"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["instance", "settings"])
def test_a_flow_finds_again_what_it_keeps(project, how):
    made = project(TRAIN)
    keep = {"keep": ("model.txt",)} if how == "instance" else {}
    settings = HTML_OFF if how == "instance" else Settings(html="none", keep=("*.txt",))
    made.run(settings, rate=1, **keep)
    record = made.run(settings, rate=2, **keep)
    assert made.text("forecast.txt") == "forecast with 1"
    assert set(record.outputs) == {"forecast.txt", "model.txt"}
    made.run(rate=3)
    assert made.text("forecast.txt") == "forecast with 3"


@pytest.mark.slow
def test_each_attempt_begins_as_the_first_one_did(project):
    code = """
        import os
        from pathlib import Path
        os.mkdir("tables")
        open("lines.txt", "a").write("x")
        count = Path(config["_project_root"], "count.txt")
        count.write_text(count.read_text() + "x" if count.exists() else "x")
        if len(count.read_text()) < 3:
            open("failed.txt", "w").write("x")
            raise OSError("licence server is busy")
        """
    made = project(code)
    record = made.run(retries=2)
    assert (record.status, record.attempts) == (Status.SUCCESS, 3), record.error
    assert [why.partition(" (line ")[0] for why in record.failed_attempts] == [
        "OSError: licence server is busy"
    ] * 2
    assert tree(made.run_dir)["lines.txt"] == "x"
    assert {name for name in record.outputs if not name.startswith("..")} == {"lines.txt"}


@pytest.mark.slow
def test_outputs_that_keep_the_time_of_a_copy_are_outputs_in_every_run(project):
    made = project(
        'import os, shutil\nshutil.copy2(os.path.join(config["_project_root"], "a.csv"), "b.csv")\n'
    )
    write_project(made.root, {"a.csv": "1\n"})
    for n in (1, 2):
        assert set(made.run(n=n).outputs) == {"b.csv"}


@pytest.mark.slow
def test_a_failed_run_leaves_its_files_and_the_last_good_ones_and_says_where(project):
    made = project('open("out.txt", "w").write(str(n))\nassert n < 2\n')
    made.run(n=1)
    for n in (2, 3):
        record = made.run(n=n)
        assert record.last_good == "runs/.earlier/train/base"
        assert made.text("out.txt") == str(n)
        assert tree(made.aside)["out.txt"] == "1"
        assert "runs/.earlier/train/base" in made.text("train_executed.ipynb")
    made.run(n=0)
    assert read_record(made.run_dir / "train_record.json")[0].last_good == ""
    assert tree(made.aside)["out.txt"] == "1"


@pytest.mark.slow
def test_restore_brings_the_last_good_run_back_as_it_was(project):
    made = project('import os\nos.mkdir("t")\nopen("t/out.txt", "w").write(str(n))\nassert n < 2\n')
    made.run(n=1)
    before = tree(made.run_dir)
    made.run(n=2)
    done = CliRunner().invoke(main, ["restore", str(made.run_dir)])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("runs/train/base: back is the run of ")
    assert "what the run that failed had written is deleted" in done.output
    assert tree(made.run_dir) == before
    assert not (made.root / "runs/.earlier").exists()
    assert made.run(n=1).unchanged
    done = CliRunner().invoke(main, ["restore", str(made.run_dir)])
    assert (done.exit_code, done.output) == (2, "Error: runs/train/base: no earlier good run is kept of it\n")


@pytest.mark.slow
def test_two_good_runs_change_places_by_restore(project):
    made = project('open(f"out{n}.txt", "w").write(str(n))\n')
    for n in (1, 2):
        made.run(n=n)
    second = tree(made.run_dir)
    for found in ("out1.txt", "out2.txt"):
        done = CliRunner().invoke(main, ["restore", str(made.run_dir)])
        assert "restore once more to change back" in done.output
        assert [path.name for path in made.run_dir.glob("out*")] == [found]
    assert tree(made.run_dir) == second


@pytest.mark.slow
@pytest.mark.parametrize("generations", [0, 1, 3])
def test_as_many_generations_are_kept_as_are_asked_for(project, generations):
    made = project('open(f"out.txt", "w").write(str(n))\nassert n >= 0\n')
    settings = Settings(html="none", generations=generations)
    for n in (1, 2, 3, 4, 5, -1):
        made.run(settings, n=n)
    root = made.root / "runs/.earlier"
    found = [root / "train/base", root / ".2/train/base", root / ".3/train/base", root / ".4/train/base"]
    texts = [(path / "out.txt").read_text() for path in found if path.exists()]
    assert texts == ["5", "4", "3"][:generations]
    if generations == 3:
        CliRunner().invoke(main, ["restore", str(made.run_dir)])
        assert made.text("out.txt") == "5"
        assert [(path / "out.txt").read_text() for path in found if path.exists()] == ["4", "3"]


@pytest.mark.parametrize(("generations", "left"), [(0, []), (1, ["2"]), (2, ["2", "1"])])
def test_fewer_generations_than_before_leave_no_older_ones(tmp_path, generations, left):
    """The last good run that a failure names is never an older one."""
    files = RunFiles(tmp_path / "runs/x/A", "x")
    for number, kept in ((1, 3), (1, 3), (2, generations), (3, generations)):
        if number < 3:
            lay(files, {"a.txt": str(number)})
            record_files.write_record(files, record_of(files, outputs={"a.txt": ""}, reason=str(number)))
        start = CleanStart(files, tmp_path, record_files.read_record(files.record)[0], generations=kept)
        running = start.announce(record_of(files).with_(status=Status.RUNNING))
        start.clear()
    assert running.last_good == ("runs/.earlier/x/A" if left else "")
    found = [tmp_path / "runs/.earlier" / more / "x/A/a.txt" for more in ("", ".2", ".3")]
    assert [path.read_text() for path in found if path.exists()] == left


@pytest.mark.slow
def test_nothing_looks_into_what_is_set_aside(project):
    made = project('import json\njson.dump({"value": n}, open("out.json", "w"))\n')
    for n in (1, 2):
        made.run(n=n)
    runs = made.root / "runs"
    assert (made.aside / "train_record.json").exists()
    assert [directory for directory, _ in record_files.records(runs)] == [made.run_dir]
    assert [path.parent for path in layout.past_configs(runs)] == [made.run_dir]
    assert list(read_runs.results(runs)["value"]) == [2]
    made.aside.joinpath("train_execution_output.txt").write_text("error: x")
    made.aside.joinpath("train_record.json").unlink()
    assert read_runs.analyze_execution_logs(runs) == "success"


@pytest.mark.slow
def test_flows_that_share_a_run_directory_move_only_their_own(tmp_path):
    code = 'open(f"{name}.txt", "x").write(str(n))\n'
    root = write_project(tmp_path, {"flows/a.py": code, "flows/b.py": code})

    def run(flow: str, n: int) -> Record:
        config, run_dir = {"name": flow, "n": n}, str(root / "runs/s/i")
        instance = Instance(str(root / f"flows/{flow}.py"), "s", "i", config, run_dir, str(root))
        return run_instance.run(instance, HTML_OFF)

    for flow, n in (("a", 1), ("b", 1), ("a", 2), ("a", 3), ("b", 2), ("b", 2)):
        assert run(flow, n).status is Status.SUCCESS
    texts = {name: text for name, text in tree(root / "runs/s/i").items() if name in ("a.txt", "b.txt")}
    assert texts == {"a.txt": "3", "b.txt": "2"}
    aside = tree(root / "runs/.earlier/s/i")
    assert (aside["a.txt"], aside["b.txt"]) == ("2", "1")
    done = CliRunner().invoke(main, ["restore", str(root / "runs/s/i")])
    assert "several flows have run there, say which: --flow a" in done.output
    assert CliRunner().invoke(main, ["restore", str(root / "runs/s/i"), "--flow", "b"]).exit_code == 0
    assert (root / "runs/s/i/b.txt").read_text() == "1"


# --- killed between any two steps


def record_of(files: RunFiles, **more: object) -> Record:
    return Record(
        Status.SUCCESS, "flows/x.py", "x", "A", "runs/x/A", started="2026-01-01T00:00+00:00", **more
    )


class Killed(BaseException):
    """Raised where the process is to be killed."""


STEPS = [
    (atomic, "write_atomic"),
    (move_files, "_is_file_or_link"),
    (shutil, "move"),
    (shutil, "copy2"),
    (Path, "unlink"),
    (Path, "rmdir"),
    (Path, "mkdir"),
]


def good_run(root: Path, *, with_earlier: bool) -> tuple[RunFiles, Record]:
    files = RunFiles(root / "runs/x/A", "x")
    if with_earlier:
        aside = RunFiles(root / "runs/.earlier/x/A", "x")
        lay(aside, {"a.txt": "older", "x_config.json": "{}", "x_executed.ipynb": "older"})
        record_files.write_record(aside, record_of(files, outputs={"a.txt": "1"}, reason="older"))
    names = {"a.txt": "good", "t/b.txt": "good", "theirs.txt": "theirs"}
    ours = {"x_config.json": '{"a": 1}', "x_executed.ipynb": "good", "x_execution_output.txt": "good"}
    lay(files, {**names, **ours})
    (files.directory / "empty").mkdir()
    record = record_of(files, outputs={"a.txt": "1", "t/b.txt": "2"}, made=("t/", "empty/"), reason="good")
    record_files.write_record(files, record)
    return files, record


def begin(files: RunFiles, root: Path) -> CleanStart:
    earlier, _ = record_files.read_record(files.record)
    start = CleanStart(files, root, earlier, generations=1)
    start.announce(record_of(files).with_(status=Status.RUNNING))
    start.clear()
    record_files.write_config(files, {"a": 2})
    return start


@pytest.mark.parametrize("with_earlier", [False, True], ids=["first", "second"])
@pytest.mark.parametrize(("module", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_kill_between_any_two_steps_loses_nothing(tmp_path, monkeypatch, module, name, with_earlier):
    """The good run is complete, in its place or aside, and its record is not beside another config."""
    original, kills = getattr(module, name), 0
    for number in range(200):
        root = tmp_path / str(number)
        files, record = good_run(root, with_earlier=with_earlier)
        whole = tree(files.directory)
        calls = iter(range(1_000))

        def dying(*args, calls=calls, number=number, **kwargs):
            if next(calls) == number:
                raise Killed
            return original(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, dying)
            try:
                begin(files, root)
                done = True
            except Killed:
                done = False
                kills += 1
        now, _ = record_files.read_record(files.record)
        if now is not None and now.status.good:
            assert now == record
            found = tree(files.directory)
            assert {key: text for key, text in found.items() if not key.endswith(".tmp")} == whole
        begin(files, root)
        kept = tree(root / "runs/.earlier/x/A")
        expected = {key: text for key, text in whole.items() if key != "theirs.txt"}
        assert kept == expected
        left = tree(files.directory)
        assert set(left) == {"theirs.txt", "x_config.json", "x_record.json"}
        assert json.loads(left["x_config.json"]) == {"a": 2}
        assert set(tree(root / "runs/.earlier/.moving").values()) <= {"a folder"}
        if done:
            break
    assert kills > 0
    assert done


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.ERROR], ids=["good", "failed"])
@pytest.mark.parametrize(("module", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_restore_that_is_killed_is_done_to_its_end_by_the_next(tmp_path, monkeypatch, module, name, status):
    """By the next restore, and by the next run: both runs are complete, and files of others are untouched."""
    original, kills = getattr(module, name), 0
    for number in range(200):
        root, calls = tmp_path / str(number), iter(range(1_000))

        def dying(*args, calls=calls, number=number, **kwargs):
            if next(calls) == number:
                raise Killed
            return original(*args, **kwargs)

        files, good = good_run(root, with_earlier=False)
        whole = tree(files.directory)
        begin(files, root)
        lay(files, {"a.txt": "now", "new.txt": "now"})
        now = record_of(files, outputs={"a.txt": "3", "new.txt": "4"}, reason="now").with_(status=status)
        record_files.write_record(files, now)
        second = tree(files.directory)
        with monkeypatch.context() as patch:
            patch.setattr(module, name, dying)
            try:
                restore(files, root)
                done = True
            except Killed:
                done = False
                kills += 1
        if number % 2 or done:
            if not done and (
                record_files.read_record(files.record)[0] != good or (files.directory / "new.txt").exists()
            ):
                restore(files, root)
            else:
                CleanStart(files, root, record_files.read_record(files.record)[0])
            found = tree(files.directory)
            assert {key: text for key, text in found.items() if not key.endswith(".tmp")} == whole
            aside = tree(root / "runs/.earlier/x/A")
            del second["theirs.txt"]
            assert aside == (second if status.good else {})
        else:
            begin(files, root)
            kept = tree(root / "runs/.earlier/x/A")
            expected = [tree_ for tree_ in (whole, second) if tree_.pop("theirs.txt")]
            assert kept in expected
            assert set(tree(files.directory)) == {"theirs.txt", "x_config.json", "x_record.json"}
        if done:
            break
    assert kills > 0 or (name == "copy2" and not status.good)  # nothing is copied in that case
    assert done


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"a.txt": "mine"}, "runs/x/A/a.txt"),
        ({"a.txt/mine": "mine"}, "runs/x/A/a.txt"),
        ({"t": "mine"}, "runs/x/A/t"),
        ({"model.pt": "kept"}, ""),
    ],
)
def test_restore_refuses_where_files_of_others_are_in_the_way(tmp_path, names, says):
    files, _ = good_run(tmp_path, with_earlier=False)
    begin(files, tmp_path)
    failed = record_of(files, reserved={"_keep": ["*.pt"]}).with_(status=Status.ERROR)
    record_files.write_record(files, failed)
    lay(files, names)
    before = tree(tmp_path)
    if says:
        with pytest.raises(DuctaflowError, match="is in the way of the earlier run: move it") as caught:
            restore(files, tmp_path)
        assert str(caught.value).startswith(f"{says} is in the way")
        assert tree(tmp_path) == before
    else:
        restore(files, tmp_path)
        assert tree(files.directory)["model.pt"] == "kept"


@pytest.mark.skipif(os.name == "nt", reason="there are no such files")
def test_pipes_and_sockets_do_not_stop_a_move_to_another_disk(tmp_path, monkeypatch):
    files = RunFiles(tmp_path / "runs/x/A", "x")
    lay(files, {"a.txt": "1"})
    os.mkfifo(files.directory / "pipe")
    record_files.write_record(files, record_of(files, outputs={"a.txt": ""}, made=("pipe",)))

    def another_disk(*_args: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    start = CleanStart(files, tmp_path, record_files.read_record(files.record)[0], generations=1)
    start.announce(record_of(files).with_(status=Status.RUNNING))
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", another_disk)
        patch.setattr(os, "replace", another_disk)
        start.clear()
    assert (tmp_path / "runs/.earlier/x/A/a.txt").read_text() == "1"
    assert not (files.directory / "pipe").exists()


def test_what_a_killed_run_has_left_is_deleted(tmp_path):
    """Everything new since its start is deleted; what it kept and what others made stays."""
    files = RunFiles(tmp_path / "runs/x/A", "x")
    lay(files, {"mine.txt": "1", "half.txt": "2", "t/half.txt": "3", ".x_record.json.abc.tmp": "{"})
    lay(files, {"model.pt": "4"})
    running = record_of(files, found=("mine.txt",), owner=Owner("elsewhere", 1, 0.0))
    record_files.write_record(files, running.with_(status=Status.RUNNING))
    start = CleanStart(files, tmp_path, record_files.read_record(files.record)[0], keep=("*.pt",))
    start.announce(running)
    start.clear()
    assert set(tree(files.directory)) == {"mine.txt", "model.pt", "x_record.json"}
    lay(files, {"new.txt": "5"})
    assert start.written() == clean_start.Written(("model.pt", "new.txt"), (), ())


def test_folders_with_files_of_others_stay(tmp_path):
    files = RunFiles(tmp_path / "runs/x/A", "x")
    lay(files, {"t/mine.txt": "1", "t/own.txt": "2", "u/own.txt": "3"})
    (files.directory / "u/__pycache__").mkdir()
    record = record_of(files, outputs={"t/own.txt": "", "u/own.txt": ""}, made=("t/", "u/"))
    record_files.write_record(files, record)
    begin(files, tmp_path)
    assert set(tree(files.directory)) == {"t/mine.txt", "x_config.json", "x_record.json"}


def test_what_was_written_elsewhere_is_left_alone(tmp_path):
    files = RunFiles(tmp_path / "runs/x/A", "x")
    lay(files, {"a.txt": "1"})
    published = write_project(tmp_path, {"shared/b.txt": "2"}) / "shared/b.txt"
    outputs = {"a.txt": "", "../../../shared/b.txt": "", str(published): ""}
    record_files.write_record(files, record_of(files, outputs=outputs))
    begin(files, tmp_path)
    assert published.read_text() == "2"
    assert not (files.directory / "a.txt").exists()


def test_a_run_directory_outside_of_runs_keeps_its_earlier_run_in_itself(tmp_path):
    files = RunFiles(tmp_path / "scratch", "x")
    lay(files, {"a.txt": "1"})
    record_files.write_record(files, record_of(files, outputs={"a.txt": ""}))
    begin(files, tmp_path / "project")
    assert (tmp_path / "scratch/.earlier/a.txt").read_text() == "1"
    assert listing.contents(files) == {}


@pytest.mark.parametrize(
    ("name", "patterns", "expected"),
    [
        ("model.pt", ["*.pt"], True),
        ("deep/model.pt", ["*.pt"], True),
        ("deep/model.pt", ["deep"], True),
        ("deep/model.pt", ["deep/"], True),
        ("deep/", ["deep/"], True),
        ("deep/er/model.pt", ["deep/er"], True),
        ("deep/er/model.pt", ["./deep/*.pt"], True),
        ("deep/model.pt", ["eep"], False),
        ("deep/model.pt", ["model.pt/deep"], False),
        ("a/deep/model.pt", ["deep/model.pt"], False),
        ("a.txt", [], False),
    ],
)
def test_patterns_of_what_is_kept(name, patterns, expected):
    assert is_kept(name, patterns) is expected


@pytest.fixture(autouse=True)
def _in_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- any history, compared with a run in an empty folder

ANY_HISTORY = """
    import os, shutil, sqlite3
    from pathlib import Path
    os.mkdir("tables")
    for i in range(n):
        Path(f"tables/part_{i}.csv").write_text(f"{i} VARIANT")
    if "VARIANT" == "b":
        os.makedirs("more/deep")
        os.symlink("tables", "link")
    with open("log.csv", "a") as log:
        log.write(f"{rate}\\n")
    with sqlite3.connect("x.db") as db:
        db.execute("create table t (a)")
        db.execute("insert into t values (?)", (rate,))
    if not Path("model.txt").exists():
        Path("model.txt").write_text(f"{rate} VARIANT")
    shutil.copy2(os.path.join(config["_project_root"], "data.csv"), "copied.csv")
    found = sorted(str(path) for path in Path().rglob("*") if path.suffix == ".csv")
    Path("found.txt").write_text("\\n".join(found))
    assert not fails, "as it is told to"
    """
STATES = {"rate": [1, 2], "n": [1, 3], "fails": [False, True], "variant": ["a", "b"]}
EDITS = st.one_of(
    *(st.tuples(st.just(key), st.sampled_from(values)) for key, values in STATES.items()),
    st.sampled_from([("delete", None), ("kill", None), ("force", None), ("restore", None)]),
)
_from_nothing: dict[str, tuple[str, dict[str, str]]] = {}


def what_was_written(run_dir: Path) -> dict[str, str]:
    found = {name: text for name, text in tree_of_bytes(run_dir).items() if not name.startswith("train_")}
    with sqlite3.connect(run_dir / "x.db") as database:
        found["x.db"] = str(database.execute("select a from t").fetchall())
    return found


def tree_of_bytes(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if not (path.is_dir() and any(path.iterdir()))]
    return {
        path.relative_to(folder).as_posix(): "a folder" if path.is_dir() else str(path.read_bytes())
        for path in paths
    }


def run_in(
    root: Path, state: Mapping[str, object], settings: Settings = HTML_OFF
) -> tuple[str, dict[str, str]]:
    config = {key: value for key, value in state.items() if key != "variant"}
    made = Project(root, ANY_HISTORY.replace("VARIANT", str(state["variant"])))
    (root / "data.csv").write_text("data")
    os.utime(root / "data.csv", (1, 1))
    return made.run(settings, **config).status.value, what_was_written(made.run_dir)


def from_nothing(root: Path, state: Mapping[str, object]) -> tuple[str, dict[str, str]]:
    """Return the result of a run in an empty folder, computed once for each state."""
    key = json.dumps(state)
    if key not in _from_nothing:
        _from_nothing[key] = run_in(root / f"nothing_{len(_from_nothing)}", state)
    return _from_nothing[key]


def leave_half_a_run(root: Path) -> None:
    """Write the files of a run whose process was killed halfway."""
    files = RunFiles(root / "runs/train/base", "train")
    start = CleanStart(files, root, read_record(files.record)[0], generations=1)
    start.announce(record_of(files).with_(status=Status.RUNNING))
    start.clear()
    lay(files, {"tables/part_0.csv": "half", "log.csv": "half", "model.txt": "half", "x.db-journal": "half"})


@pytest.mark.slow
@hypothesis.settings(
    max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
)
@hypothesis.given(st.lists(EDITS, min_size=2, max_size=5))
def test_whatever_has_run_before_the_result_is_that_of_a_run_from_nothing(tmp_path_factory, edits):
    base = tmp_path_factory.getbasetemp() / "any_history"
    root = Path(tempfile.mkdtemp(dir=base)) if base.exists() else base / "first"
    root.mkdir(parents=True, exist_ok=True)
    state: dict[str, object] = {key: values[0] for key, values in STATES.items()}
    run_in(root, state)
    for what, value in edits:
        settings = Settings(html="none", force=what == "force")
        if what in STATES:
            state[what] = value
        elif what == "delete":
            (root / "runs/train/base/copied.csv").unlink()
        elif what == "kill":
            leave_half_a_run(root)
        elif what == "restore":
            CliRunner().invoke(main, ["restore", str(root / "runs/train/base")])
        assert run_in(root, state, settings) == from_nothing(base, state)


def test_a_folder_is_made_although_another_worker_removes_the_empty_one_above_it(tmp_path, monkeypatch):
    make, shared, removed = os.mkdir, tmp_path / ".moving/step", []

    def interrupted(path: os.PathLike[str] | str, mode: int = 0o777) -> None:
        make(path, mode)
        if Path(path) == shared and len(removed) < 3:
            removed.append(path)
            shared.rmdir()

    monkeypatch.setattr(os, "mkdir", interrupted)
    make_folder(shared / "i1")
    assert len(removed) == 3
    assert (shared / "i1").is_dir()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path, monkeypatch):
    def lost(*_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone")

    monkeypatch.setattr(os, "mkdir", lost)
    with pytest.raises(FileNotFoundError):
        make_folder(tmp_path / "i1")
