"""Which of the files that a run used are its inputs, and which it has written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.projects import PARAMETERS, lay
from helpers.searched import FILES, FLOW, RUN, an_instance, edit, moment

from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory import layout, record_files
from pytest_ductaflow.core.system.file_state import stat_of
from pytest_ductaflow.kernels.inside.trace import DATABASE, LISTED, MODULE, NAMED, OPENED, WRITTEN
from pytest_ductaflow.tracking import used_files
from pytest_ductaflow.tracking.digests import ABSENT, UNSTABLE, file_digest, listing_digest
from pytest_ductaflow.tracking.inputs import InputSearch
from pytest_ductaflow.tracking.observed import Used
from pytest_ductaflow.tracking.used_files import Inputs

Uses = dict[str, str]


@pytest.fixture(autouse=True)
def _temporary_files_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Move the folder of temporary files: test projects lie in it, and temporary files are no inputs."""
    monkeypatch.setattr(used_files, "_temporary", lambda: ("/temporary/", "/real/temporary/"))


def finish(
    root: Path,
    uses: list[tuple[str, str]] | None = None,
    *,
    config: dict[str, object] | None = None,
    during: Callable[[], object] | None = None,
    since: dict[str, int] | None = None,
    lag: int = 0,
    outputs: tuple[str, ...] = ("out.csv",),
    upstream_files: tuple[str, ...] = (),
    earlier: Record | None = None,
    used: Used | None = None,
) -> Inputs:
    """Return what is found after a run.

    Args:
        root: The project.
        uses: Pairs of a use and a path relative to the project.
        config: The config.
        during: Action while the flow runs.
        since: Times of the first use of files, by path; by default the end of the run.
        lag: Lag of the file system's clock, in nanoseconds.
        outputs: Outputs, relative to the run directory.
        upstream_files: Files that upstreams wrote, relative to the project.
        earlier: The record of the earlier run.
        used: Further reports of the kernel.
    """
    instance = an_instance(root, **(config or {}))
    search = InputSearch(instance, [str(root / path) for path in upstream_files], earlier)
    began = moment()
    if during is not None:
        during()
    absolute = tuple((use, os.path.normpath(root / path)) for use, path in uses or [])
    moments = {os.path.normpath(root / path): when for path, when in (since or {}).items()}
    return search.finish(replace(used or Used(), uses=absolute, since=moments), outputs, began, lag)


def found(root: Path, *args: object, **more: object) -> set[str]:
    """Return the names of the inputs, without the flow."""
    return set(finish(root, *args, **more).digests) - {FLOW}  # type: ignore[arg-type]


# What counts


@pytest.mark.parametrize(
    ("use", "path", "expected"),
    [
        (OPENED, "data/zones.csv", "data/zones.csv"),
        (OPENED, "data/none.csv", "data/none.csv"),
        (OPENED, "data/years", "data/years/"),
        (OPENED, "conductor.py", "conductor.py"),
        (OPENED, ".env", ".env"),
        (OPENED, "runs/etl/B/etl.csv", "runs/etl/B/etl.csv"),
        (OPENED, f"{RUN}/restart.csv", f"{RUN}/restart.csv"),
        (DATABASE, "data/zones.csv", "data/zones.csv"),
        (NAMED, "data/zones.csv", "data/zones.csv"),
        (LISTED, "data", "data/"),
        (LISTED, "runs/etl", "runs/etl/"),
        (LISTED, ".", "./"),
        (MODULE, "flows/helper.py", "flows/helper.py"),
    ],
)
def test_what_is_read_is_an_input(root, use, path, expected):
    module_that_may_come = {"flows/helper/__init__.py"} if use == MODULE else set()
    assert found(root, [(use, path)]) == {expected} | module_that_may_come


@pytest.mark.parametrize(
    ("use", "path"),
    [
        (OPENED, f"{RUN}/out.csv"),
        (OPENED, f"{RUN}/model_config.json"),
        (OPENED, f"{RUN}/model_record.json"),
        (OPENED, f"{RUN}/model_executed.ipynb"),
        (OPENED, f"{RUN}/.cache/x"),
        (OPENED, f"{RUN}/runs/part/A/part.csv"),
        (LISTED, f"{RUN}/runs"),
        (LISTED, f"{RUN}/deep"),
        (LISTED, ".git"),
        (LISTED, ".."),
        (LISTED, "/"),
        (OPENED, "runs/conductor_status_report.html"),
        (OPENED, ".git/config"),
        (OPENED, "data/.ipynb_checkpoints/x.csv"),
        (OPENED, "data/__pycache__/x.pyc"),
        (OPENED, "venv/lib/x.py"),
        (MODULE, "venv/lib/x.py"),
        (LISTED, "venv/lib"),
        (OPENED, "/usr/share/zoneinfo/Europe/Paris"),
        (OPENED, "/etc/hosts"),
        (OPENED, "/var/lib/dpkg/status"),
        (OPENED, "/run/user/1000/bus"),
        (OPENED, "/temporary/x.csv"),
        (OPENED, "/real/temporary/x.csv"),
        (OPENED, os.path.expanduser("~/.cache/x/y")),
        (OPENED, os.path.expanduser("~/.config/matplotlib/matplotlibrc")),
        (MODULE, used_files.__file__),
        (WRITTEN, "data/new.csv"),
        (WRITTEN, f"{RUN}/out.csv"),
    ],
)
def test_what_is_the_runs_own_the_systems_or_a_tools_is_no_input(root, use, path):
    for name in (
        ".git/config",
        "venv/lib/x.py",
        f"{RUN}/.cache/x",
        f"{RUN}/deep/x",
    ):
        lay(root / name)
    used = Used(prefixes=(str(root / "venv"), "/opt/python"))
    assert found(root, [(use, path)], used=used, outputs=("out.csv", "deep/x")) == set()


@pytest.mark.parametrize(
    "path",
    [
        "../shared/links.csv",
        "../project2/data.csv",
        "../shared/.hidden/x.json",
        "/media/disk/x",
        "/run/media/me/x",
        "/run/user/1000/gvfs/share/x.csv",
        "/usr/src/data/x.csv",
        "/usr/local/share/data/x.csv",
        "/var/lib/jenkins/workspace/data/x.csv",
        "/var/tmp/data/x.csv",
        "/dev/shm/data/x.csv",
        "/etc/model/x.json",
        "/library/x.csv",
    ],
)
def test_files_outside_of_the_project_are_inputs_by_their_whole_path(root, path):
    assert found(root, [(OPENED, path)]) == {os.path.normpath(root / path)}


@pytest.mark.parametrize("prefix", ["", "..", "/"])
def test_a_project_within_the_folder_of_the_interpreter_has_inputs_all_the_same(root, prefix):
    used = Used(prefixes=(os.path.normpath(root / prefix),))
    assert found(root, [(OPENED, "data/zones.csv")], used=used) == {"data/zones.csv"}


def test_a_project_below_a_hidden_folder_has_inputs_also_beside_it(tmp_path):
    root = tmp_path / ".work" / "project"
    lay(root / FLOW, FILES[FLOW])
    lay(tmp_path / ".work" / "shared" / "x.csv")
    paths = [(OPENED, "../shared/x.csv"), (OPENED, "../shared/.x/x.csv"), (OPENED, "../../.other/x.csv")]
    names = (".work/shared/x.csv", ".work/shared/.x/x.csv", ".other/x.csv")
    assert found(root, paths) == {str(tmp_path / name) for name in names}


def test_temporary_files_are_no_inputs_under_either_name_of_their_folder(monkeypatch, tmp_path):
    monkeypatch.undo()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setattr(used_files.tempfile, "gettempdir", lambda: str(tmp_path / "link"))
    used_files._temporary.cache_clear()
    assert used_files._temporary() == (f"{tmp_path}/link/", f"{tmp_path}/real/")
    used_files._temporary.cache_clear()


# Digests, code and stats


def test_an_input_has_the_digest_of_its_content(root):
    result = finish(root, [(OPENED, "data/zones.csv"), (OPENED, "data/none.csv"), (LISTED, "data")])
    assert result.digests == {
        FLOW: file_digest(root / FLOW),
        "data/zones.csv": file_digest(root / "data/zones.csv"),
        "data/none.csv": ABSENT,
        "data/": listing_digest(root / "data"),
    }


def test_the_flow_is_an_input_even_if_its_kernel_is_silent(root):
    result = finish(root)
    assert set(result.digests) == set(result.code) == {FLOW}


def test_modules_have_a_digest_of_their_code_and_python_files_that_are_read_as_data_have_not(root):
    lay(root / "flows" / "other.py", "z = 3\n")
    used = Used(modules=(str(root / "flows/helper.py"),))
    result = finish(root, [(OPENED, "flows/other.py")], used=used)
    assert set(result.code) == {FLOW, "flows/helper.py"}
    assert "flows/other.py" in result.digests


def test_what_others_may_put_into_the_run_directory_is_an_input(root):
    """Files that were tried in vain, and the names in it, except those that the run has written."""
    lay(root / RUN / "deep/others.csv")
    uses = [(OPENED, f"{RUN}/gone.csv"), (LISTED, RUN), (LISTED, f"{RUN}/deep")]
    result = finish(root, uses, outputs=("out.csv", "deep/x"))
    assert result.digests[f"{RUN}/gone.csv"] == ABSENT
    for folder, name in ((RUN, "out.csv"), (RUN, "model_record.json"), (f"{RUN}/deep", "x")):
        lay(root / folder / name, "again")
        assert finish(root, uses, outputs=("out.csv", "deep/x")).digests == result.digests
    for folder in (RUN, f"{RUN}/deep"):
        lay(root / folder / "more.csv")
        now = finish(root, uses, outputs=("out.csv", "deep/x")).digests
        assert {name for name in now if now[name] != result.digests[name]} == {f"{folder}/"}
        (root / folder / "more.csv").unlink()


def test_data_of_a_package_have_no_code(root):
    lay(root / "flows" / "template.md", "Text.\n")
    result = finish(root, [(MODULE, "flows/template.md")])
    assert "flows/template.md" in result.digests
    assert set(result.code) == {FLOW}


def test_only_files_that_have_settled_have_a_stat(root, monkeypatch):
    monkeypatch.setattr(used_files, "settled", lambda stat: stat == stat_of(root / "data/zones.csv"))
    result = finish(root, [(OPENED, "data/zones.csv"), (OPENED, "data/trips.csv"), (LISTED, "data")])
    assert result.stats == {"data/zones.csv": stat_of(root / "data/zones.csv")}


# What changes while the flow runs


@pytest.mark.parametrize("use", [OPENED, MODULE])
@pytest.mark.parametrize("path", ["data/zones.csv", "flows/helper.py"])
def test_a_file_that_is_edited_after_it_was_read_is_unstable_and_has_no_code(root, use, path):
    began = moment()
    result = finish(root, [(use, path)], during=lambda: edit(root / path, "z = 3"), since={path: began})
    assert result.digests[path] == UNSTABLE
    assert path not in {*result.code, *result.stats}


def test_a_flow_that_is_edited_while_it_runs_is_unstable(root):
    result = finish(root, during=lambda: edit(root / FLOW, FILES[FLOW] + "x = 2\n"))
    assert result.digests[FLOW] == UNSTABLE
    assert result.code == {}


def test_a_file_that_is_edited_before_it_is_read_has_the_digest_of_what_was_read(root):
    result = finish(
        root,
        [(OPENED, "data/zones.csv")],
        during=lambda: edit(root / "data/zones.csv", "new"),
        since={"data/zones.csv": time.time_ns() + 10**9},
    )
    assert result.digests["data/zones.csv"] == file_digest(root / "data/zones.csv") != UNSTABLE


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_file_that_is_edited_after_it_was_read_is_unstable_also_by_the_clock_of_a_file_server(
    root, seconds
):
    """The kernel notes by this machine's clock when it has read a file; that is ahead of the server's."""
    lag = seconds * 10**9
    since = {"data/zones.csv": moment() + lag}
    result = finish(
        root,
        [(OPENED, "data/zones.csv")],
        during=lambda: edit(root / "data/zones.csv", "new"),
        since=since,
        lag=lag,
    )
    assert result.digests["data/zones.csv"] == UNSTABLE


def test_a_file_of_the_future_is_stable(root):
    future = time.time() + 10_000
    os.utime(root / "data/zones.csv", (future, future))
    result = finish(root, [(OPENED, "data/zones.csv")])
    assert result.digests["data/zones.csv"] == file_digest(root / "data/zones.csv")


@pytest.mark.usefixtures("windows")
def test_so_is_one_where_no_time_tells_of_the_move_if_the_config_names_it(root):
    """It may or may not have been there when the flow read it."""
    for name in ("new.csv", "data/zones.csv"):
        os.utime(lay(root / name), (1, 1))
    result = finish(
        root,
        [(OPENED, "data/zones.csv"), (OPENED, "data/trips.csv")],
        config={"zones": "data/zones.csv", "trips": "data/trips.csv"},
        during=lambda: (root / "new.csv").replace(root / "data/zones.csv"),
    )
    assert result.digests["data/zones.csv"] == UNSTABLE
    assert result.digests["data/trips.csv"] == file_digest(root / "data/trips.csv")


def test_a_file_that_is_moved_into_place_while_the_flow_runs_is_unstable(root):
    os.utime(lay(root / "new.csv"), (1, 1))
    began = moment()
    result = finish(
        root,
        [(OPENED, "data/zones.csv")],
        during=lambda: (root / "new.csv").replace(root / "data/zones.csv"),
        since={"data/zones.csv": began},
    )
    assert result.digests["data/zones.csv"] == UNSTABLE


def test_a_listing_is_as_the_run_left_it(root):
    result = finish(root, [(LISTED, "data")], during=lambda: lay(root / "data/new.csv"))
    assert result.digests["data/"] == listing_digest(root / "data")


# What the flow writes outside of its run directory

ELSEWHERE = "../../../data/trips.csv"


@pytest.mark.parametrize(
    "uses",
    [
        [(WRITTEN, "data/trips.csv")],
        [(WRITTEN, "data/trips.csv"), (OPENED, "data/trips.csv")],
        [(DATABASE, "data/trips.csv")],
    ],
)
def test_what_the_flow_writes_elsewhere_is_an_output(root, uses):
    result = finish(root, uses, during=lambda: edit(root / "data/trips.csv", "new"))
    assert set(result.digests) == {FLOW}
    assert result.written_elsewhere == (ELSEWHERE,)


def test_what_is_opened_for_both_and_left_as_it_was_is_an_input(root):
    result = finish(root, [(DATABASE, "data/trips.csv")])
    assert set(result.digests) == {FLOW, "data/trips.csv"}
    assert result.written_elsewhere == ()


@pytest.mark.parametrize("path", ["data/gone.csv", "/temporary/x", ".git/index", f"{RUN}/out.csv", RUN])
def test_what_is_gone_hidden_temporary_or_in_the_run_directory_is_no_output_elsewhere(root, path):
    lay(root / ".git/index")
    assert finish(root, [(WRITTEN, path)]).written_elsewhere == ()


def test_what_the_config_names_and_was_not_there_before_is_written_and_not_read(root):
    result = finish(root, config={"table": "data/new.parquet"}, during=lambda: lay(root / "data/new.parquet"))
    assert set(result.digests) == {FLOW}
    assert result.written_elsewhere == ("../../../data/new.parquet",)


def a_record(**more: object) -> Record:
    return Record(Status.SUCCESS, FLOW, "model", "A", RUN).with_(**more)


@pytest.mark.parametrize(
    ("uses", "config"),
    [
        ([], {"table": "data/trips.csv"}),  # a compiled writer
        ([(OPENED, "data/trips.csv")], {}),  # another program writes it, the flow reads it
    ],
    ids=["named", "read"],
)
def test_what_the_flow_writes_unseen_is_its_own_from_the_second_run_on(root, uses, config):
    def run(earlier: Record | None) -> Record:
        result = finish(
            root,
            uses,
            config=config,
            during=lambda: edit(root / "data/trips.csv", f"{time.time_ns()}"),
            since={path: time.time_ns() + 10**9 for _, path in uses},
            earlier=earlier,
        )
        return a_record(inputs=result.digests, outputs=dict.fromkeys(result.written_elsewhere, "sha256:1"))

    first = run(None)
    assert set(first.inputs) == {FLOW, "data/trips.csv"}
    second = run(first)
    assert set(second.inputs) == {FLOW}
    assert run(second) == second


def test_what_a_user_edited_while_the_flow_ran_is_an_input_again_when_it_is_left_alone(root):
    config = {"table": "data/trips.csv"}
    first = finish(root, config=config, during=lambda: edit(root / "data/trips.csv", "new"))
    assert first.digests["data/trips.csv"] == UNSTABLE
    earlier = a_record(inputs=first.digests, outputs=dict.fromkeys(first.written_elsewhere, "sha256:1"))
    second = finish(root, config=config, earlier=earlier)
    assert second.digests["data/trips.csv"] == file_digest(root / "data/trips.csv")
    assert second.written_elsewhere == ()


# Configs and code


def test_what_a_config_names_is_an_input(root):
    config = {"a": "data/zones.csv", "b": ["data/years", "new.csv"], "output_dir": "data"}
    assert found(root, config=config) == {"data/zones.csv", "data/years/2030.csv", "data/years/", "new.csv"}


@pytest.mark.parametrize("key", ["dest_zones", "gtfs_export", "output", "tmp", "save_to", "population_out"])
def test_a_file_under_a_key_that_sounds_like_an_output_is_an_input_unless_the_run_writes_it(root, key):
    assert found(root, config={key: "data/trips.csv"}) == {"data/trips.csv"}
    result = finish(root, [(WRITTEN, "data/trips.csv")], config={key: "data/trips.csv"})
    assert set(result.digests) == {FLOW}
    assert result.written_elsewhere == ("../../../data/trips.csv",)


def test_what_a_config_names_is_an_input_though_it_is_hidden(root):
    lay(root / ".data" / "a.csv")
    lay(root / "../.shared" / "b.csv")
    config = {"a": ".data", "b": "../.shared/b.csv", "c": f"{root}/.data/a.csv"}
    assert found(root, config=config) == {
        ".data/",
        ".data/a.csv",
        os.path.normpath(root / "../.shared/b.csv"),
    }


def test_a_folder_of_very_many_files_is_an_input_as_a_whole(root, monkeypatch):
    monkeypatch.setattr("pytest_ductaflow.tracking.paths_in_config.MANY", 1)
    assert found(root, config={"a": "data"}) == {"data/**"}


@pytest.mark.parametrize("source", [FLOW, "flows/helper.py"])
def test_what_code_names_is_an_input(root, source):
    lay(root / source, f"{FILES[source]}read(root / 'data' / 'zones.csv')\n")
    assert "data/zones.csv" in found(root, [(MODULE, "flows/helper.py")])


def test_what_code_names_and_the_run_writes_is_none(root):
    lay(root / FLOW, f"{PARAMETERS}# %%\nwrite('data/trips.csv')\n")
    assert found(root, during=lambda: edit(root / "data/trips.csv", "new")) == set()


def test_what_code_has_read_before_and_is_edited_while_the_flow_runs_is_unstable(root):
    lay(root / FLOW, f"{PARAMETERS}# %%\nread('data/trips.csv')\n")
    earlier = a_record(inputs=finish(root).digests)
    result = finish(root, earlier=earlier, during=lambda: edit(root / "data/trips.csv", "new"))
    assert result.digests["data/trips.csv"] == UNSTABLE


def test_a_name_in_code_is_that_of_the_runs_own_file_rather_than_of_one_beside_the_conductor(root):
    lay(root / "out.csv")
    lay(root / "zones.csv")
    lay(root / FLOW, f"{PARAMETERS}# %%\nwrite('out.csv')\nread('zones.csv')\n")
    assert found(root) == {"zones.csv"}


# Upstreams


def test_all_that_upstreams_wrote_are_inputs_read_or_not(root):
    hidden = lay(root / "runs/etl/B/.cache/x")
    upstream_files = ("runs/etl/B/etl.csv", "runs/etl/B/.cache/x", "runs/etl/B/gone.csv", f"{RUN}/out.csv")
    result = finish(root, upstream_files=upstream_files)
    assert result.digests == {
        FLOW: file_digest(root / FLOW),
        "runs/etl/B/etl.csv": file_digest(root / "runs/etl/B/etl.csv"),
        "runs/etl/B/.cache/x": file_digest(hidden),
        "runs/etl/B/gone.csv": ABSENT,
        f"{RUN}/out.csv": file_digest(root / RUN / "out.csv"),
    }


def test_what_an_upstream_wrote_and_the_flow_changes_counts_as_it_was_left(root):
    path = "runs/etl/B/etl.csv"
    result = finish(
        root,
        [(OPENED, path), (WRITTEN, path)],
        upstream_files=(path,),
        during=lambda: edit(root / path, "more"),
        since={path: moment()},
    )
    assert result.digests[path] == file_digest(root / path)
    assert result.written_elsewhere == ("../../etl/B/etl.csv",)


# Links


@pytest.mark.parametrize("linked", ["project", "runs", RUN])
def test_a_project_that_is_reached_through_a_link_has_the_same_inputs(tmp_path, root, linked):
    """The kernel reports real paths, because its working directory has its real name."""
    place = root if linked == "project" else root / linked
    place.rename(tmp_path / "real")
    place.symlink_to(tmp_path / "real")
    search = InputSearch(an_instance(root), [], None)
    uses = [
        (OPENED, os.path.realpath(root / "data" / "zones.csv")),
        (OPENED, os.path.join(os.path.realpath(root / RUN), "out.csv")),
        (OPENED, os.path.join(os.path.realpath(root / RUN), "restart.csv")),
        (OPENED, os.path.realpath(root / "runs" / "etl" / "B" / "etl.csv")),
        (LISTED, os.path.realpath(root / RUN)),
        (WRITTEN, os.path.realpath(root / "data" / "trips.csv")),
    ]
    result = search.finish(Used(uses=tuple(uses)), ["out.csv"], moment())
    own = {f"{RUN}/", f"{RUN}/restart.csv"}
    assert set(result.digests) == {FLOW, "data/zones.csv", "runs/etl/B/etl.csv", *own}
    assert result.written_elsewhere == (ELSEWHERE,)


def test_data_to_which_a_link_leads_are_inputs_by_the_name_that_the_project_has_for_them(tmp_path, root):
    (root / "data").rename(tmp_path / "disk")
    (root / "data").symlink_to(tmp_path / "disk")
    assert found(root, [(OPENED, "data/zones.csv")], config={"x": "data/years"}) == {
        "data/zones.csv",
        "data/years/",
        "data/years/2030.csv",
    }


def test_two_flows_that_share_a_run_directory_read_one_anothers_files(root):
    lay(root / RUN / "etl_executed.ipynb")
    record_files.write_record(
        layout.RunFiles(root / RUN, "etl"), a_record(flow="flows/etl.py", outputs={"etl.csv": "1"})
    )
    lay(root / RUN / "etl.csv")
    names = ("etl.csv", "etl_record.json", "etl_executed.ipynb")
    assert found(root, [(OPENED, f"{RUN}/{name}") for name in names]) == {f"{RUN}/{name}" for name in names}
