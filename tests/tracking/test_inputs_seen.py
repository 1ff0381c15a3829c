"""Inputs and outputs of a run in which every open was observed, from the observer's report."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.projects import lay
from helpers.searched import FLOW, RUN, an_instance, edit, moment

from pytest_ductaflow.core.system.file_state import stat_of
from pytest_ductaflow.tracking import used_files
from pytest_ductaflow.tracking.digests import ABSENT, UNSTABLE, file_digest, listing_digest
from pytest_ductaflow.tracking.inputs import InputSearch
from pytest_ductaflow.tracking.observed import Used
from pytest_ductaflow.tracking.used_files import Inputs

FOLDERS = ("data", "flows", "runs", "data/years")


@pytest.fixture(autouse=True)
def _temporary_files_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(used_files, "_temporary", lambda: ("/temporary/", "/real/temporary/"))


def state_of(path: Path) -> str | None:
    return f"folder {path.stat().st_mtime_ns}" if path.is_dir() else stat_of(path)


def finish(
    root: Path,
    uses: dict[str, str],
    *,
    during: Callable[[], object] = lambda: None,
    config: dict[str, object] | None = None,
    **more: object,
) -> Inputs:
    """Return what is found after a run.

    Args:
        root: The project.
        uses: Kinds of `observer.access_log`, by path relative to the project.
        during: Action after all files were used for the first time.
        config: The config.
        more: Further reports of the kernel.
    """
    search = InputSearch(an_instance(root, **(config or {})), [], None)
    began = moment()
    paths = {os.path.normpath(root / name): kinds for name, kinds in uses.items()}
    observation = {
        "uses": [[path, began, state_of(Path(path)), kinds] for path, kinds in paths.items()],
        "listings": {path: 1 for path, kinds in paths.items() if "l" in kinds},
        "privileged": [],
        "unseen": [],
    }
    during()
    return search.finish(Used.from_reports(root / "no trace", dict(more), observation), ["out.csv"], began)


def digests(result: Inputs) -> dict[str, str]:
    return {name: digest for name, digest in result.digests.items() if name != FLOW}


@pytest.mark.parametrize(
    ("uses", "expected"),
    [
        ({"data/zones.csv": "r"}, {"data/zones.csv"}),
        ({"data/zones.csv": "ar"}, {"data/zones.csv"}),
        ({"data/zones.csv": "u"}, {"data/zones.csv"}),
        ({"data/zones.csv": "m"}, {"data/zones.csv"}),
        ({"data/zones.csv": "rw"}, {"data/zones.csv"}),
        ({"data/tool.sh": "x"}, {"data/tool.sh"}),
        ({"data/.params/p.json": "r"}, {"data/.params/p.json"}),
        ({"data": "l"}, {"data/"}),
        ({"data": "l", "data/zones.csv": "ar"}, {"data/", "data/zones.csv"}),
        ({"../shared/links.csv": "r"}, {"{shared}/links.csv"}),
        ({f"{RUN}/restart.csv": "r"}, {f"{RUN}/restart.csv"}),
        ({f"{RUN}/out.csv": "r"}, set()),
        ({f"{RUN}/model_config.json": "r"}, set()),
        ({RUN: "l"}, {f"{RUN}/"}),
        ({"..": "l"}, set()),
        ({"runs/conductor_status_report.html": "r"}, set()),
        ({".git/HEAD": "r"}, set()),
        ({"/usr/lib/x.so": "r", "/etc/hosts": "r", "/usr/share/zoneinfo/UTC": "r"}, set()),
    ],
)
def test_what_was_read_is_an_input(root, uses, expected):
    for name in ("data/tool.sh", "data/.params/p.json", ".git/HEAD"):
        lay(root / name)
    names = {name.format(shared=root.parent / "shared") for name in expected}
    assert set(digests(finish(root, uses))) == names


@pytest.mark.parametrize(
    ("name", "kinds", "digest"),
    [
        ("data/none.csv", "r", ABSENT),
        ("data/none.csv", "a", ABSENT),
        ("data/none.csv", "u", ABSENT),
        ("data/none", "l", ABSENT),
        ("data/zones.csv", "a", "file of 5 bytes"),
        ("data/years", "a", "folder"),
        (f"{RUN}/none.csv", "a", ABSENT),
        ("data/libx.so.1", "a", ABSENT),
    ],
)
def test_what_was_only_asked_for_is_an_input_as_it_was(root, name, kinds, digest):
    assert digests(finish(root, {name: kinds})) == {name: digest}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "/usr/bin/none",
            "/opt/libx.so.1",
            "/temporary/none",
            f"{RUN}/.none",
            f"{RUN}/A text\nthat is shown",
        ),
        os.path.expanduser("~/.config/none"),
    ],
)
def test_what_libraries_and_tools_ask_for_in_vain_is_no_input(root, name):
    assert digests(finish(root, {name: "a"})) == {}


def test_what_is_asked_for_in_vain_beside_the_project_is_an_input(root):
    path = f"{root.parent}/elsewhere/none.csv"
    assert digests(finish(root, {"../elsewhere/none.csv": "a"})) == {path: ABSENT}


def test_a_project_among_the_temporary_files_is_like_any_other(root, monkeypatch):
    monkeypatch.setattr(used_files, "_temporary", lambda: (f"{root.parent}/", f"{root.parent}/"))
    assert digests(finish(root, {"data/none.csv": "a", "../shared/none.csv": "a"})) == {
        "data/none.csv": ABSENT
    }


def test_a_place_beside_what_was_read_outside_of_the_project_is_near(root):
    shared = root.parent / "shared"
    result = finish(root, {"../shared/links.csv": "r", "../shared/override.csv": "a"})
    assert digests(result)[str(shared / "override.csv")] == ABSENT


def test_folders_around_what_was_used_are_no_inputs_of_their_own(root):
    uses = {"data/years/2030.csv": "r", "data": "a", "data/years": "a", ".": "a"}
    assert set(digests(finish(root, uses))) == {"data/years/2030.csv"}


def test_what_the_run_makes_is_an_output_wherever_it_lies_and_no_input(root):
    def write() -> None:
        lay(root / "data/new.db")
        edit(root / "data/trips.csv", "other")

    uses = {"data/new.db": "amr", "data/trips.csv": "rw", "data/zones.csv": "r"}
    result = finish(root, uses, during=write)
    assert set(digests(result)) == {"data/zones.csv"}
    assert result.written_elsewhere == ("../../../data/new.db", "../../../data/trips.csv")


def test_a_file_that_the_run_makes_and_deletes_is_neither(root):
    result = finish(root, {"data/scratch.csv": "wr"})
    assert digests(result) == {}
    assert result.written_elsewhere == ()


def test_what_somebody_else_changes_after_its_first_use_is_unstable(root):
    def change() -> None:
        edit(root / "data/zones.csv", "other")
        lay(root / "data/years/2050.csv")
        lay(root / "data/override.csv")

    uses = {"data/zones.csv": "r", "data/years": "l", "data/override.csv": "a", "data/late.csv": "r"}
    found = digests(finish(root, uses, during=change))
    assert found["data/zones.csv"] == found["data/years/"] == UNSTABLE
    assert found["data/override.csv"] == found["data/late.csv"] == ABSENT


def test_names_in_a_folder_into_which_the_run_itself_writes_are_as_they_are_left(root):
    uses = {"data": "l", "data/new.csv": "w"}
    found = digests(finish(root, uses, during=lambda: lay(root / "data/new.csv")))
    assert found == {"data/": listing_digest(root / "data")}


def test_what_is_read_through_a_link_that_the_run_makes_is_the_file_behind_it(root):
    def link() -> None:
        (root / RUN / "input.csv").symlink_to(root / "data/zones.csv")

    found = digests(finish(root, {f"{RUN}/input.csv": "wr"}, during=link))
    assert found == {"data/zones.csv": file_digest(root / "data/zones.csv")}


def test_a_folder_that_is_put_in_place_is_an_output_with_all_that_is_in_it(root):
    result = finish(root, {"public": "w"}, during=lambda: lay(root / "public/deep/x.csv"))
    assert result.written_elsewhere == ("../../../public/deep/x.csv",)


@pytest.mark.parametrize("how", ["config", "code", "opened"])
def test_a_place_of_the_systems_counts_if_it_is_named(root, how):
    path = "/etc/hosts"
    config = {"table": path} if how == "config" else {}
    if how == "code":
        lay(root / FLOW, (root / FLOW).read_text() + f"\n# %%\nread('{path}')\n")
    told = {"opened_by_code": [path]} if how == "opened" else {}
    assert set(digests(finish(root, {path: "r"}, config=config, **told))) == {path}


def test_of_a_folder_in_the_config_only_what_was_read_counts(root):
    found = digests(finish(root, {"data/zones.csv": "r"}, config={"data_dir": "data"}))
    assert set(found) == {"data/zones.csv"}


@pytest.mark.parametrize("key", ["table", "dest_table", "gtfs_export"])
def test_a_file_that_the_config_names_counts_though_nobody_was_seen_to_read_it(root, key):
    assert set(digests(finish(root, {}, config={key: "data/zones.csv"}))) == {"data/zones.csv"}
