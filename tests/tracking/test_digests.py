"""Content as short texts: equal exactly where the content is, in all that matters to a flow."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from helpers.projects import PARAMETERS, lay

from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory import layout, record_files
from pytest_ductaflow.core.run_directory.layout import REPORT, RunFiles
from pytest_ductaflow.sources.python_code import normalised, parsed
from pytest_ductaflow.tracking import digests
from pytest_ductaflow.tracking.digests import (
    ABSENT,
    code_cells,
    code_digest,
    config_digest,
    file_digest,
    files_below,
    input_digest,
    listing_digest,
    tree_digest,
    tree_stat,
)

SECOND = 1_000_000_000
NUL = "a\0b"


# Files


def test_files_with_the_same_content_have_the_same_digest(tmp_path):
    one, other = lay(tmp_path / "one", "x"), lay(tmp_path / "deep" / "other.csv", "x")
    assert file_digest(one) == file_digest(str(other)) != file_digest(lay(tmp_path / "third", "y"))


def test_a_digest_follows_the_content_also_where_two_writes_look_alike(tmp_path):
    path = lay(tmp_path / "x", "1")
    seen = {file_digest(path)}
    for number in range(2, 10):  # faster than the resolution of the file system's clock
        path.write_text(str(number), encoding="utf-8")
        seen.add(file_digest(path))
    assert len(seen) == 9


def test_a_file_that_looks_as_it_did_is_not_read_again(tmp_path, monkeypatch):
    path, read = lay(tmp_path / "x", "1"), []
    monkeypatch.setattr(digests, "settled", lambda _stat: True)
    monkeypatch.setattr(digests, "digest", lambda path: read.append(path) or "sha256:1")
    assert {file_digest(path) for _ in range(3)} == {"sha256:1"}
    assert len(read) == 1


@pytest.mark.parametrize(
    "what", ["nothing", "folder", "dangling link", "name that no file can have", "too long"]
)
def test_what_cannot_be_read_is_absent(tmp_path, what):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    path = {
        "nothing": "none",
        "folder": "folder",
        "dangling link": "link",
        "name that no file can have": NUL,
        "too long": "x" * 5_000,
    }[what]
    assert file_digest(f"{tmp_path}/{path}") == ABSENT


def test_a_link_has_the_content_to_which_it_leads(tmp_path):
    target = lay(tmp_path / "target", "x")
    (tmp_path / "link").symlink_to(target)
    before = file_digest(tmp_path / "link")
    assert before == file_digest(target)
    target.write_text("yy", encoding="utf-8")
    assert file_digest(tmp_path / "link") != before


# Records


def a_record(**more) -> Record:
    return Record(Status.SUCCESS, "flows/etl.py", "etl", "A", "runs/etl/A").with_(**more)


def lay_record(folder: Path, record: Record) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files = RunFiles(folder, "etl")
    record_files.write_record(files, record)
    return files.record


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"started": "2026-01-01T00:00:00+00:00", "duration": 3.0}, False),
        ({"peak_memory": 1, "reason": "forced", "attempts": 2}, False),
        ({"stats": {"x": "1 2 3 4"}, "inputs": {"x": "sha256:2"}}, False),
        ({"status": Status.ERROR}, True),
        ({"outputs": {"x.csv": "sha256:2"}}, True),
        ({"config_digest": "sha256:2"}, True),
    ],
)
def test_a_record_that_is_read_counts_by_what_came_of_the_run_and_not_by_its_times(tmp_path, change, counts):
    before = file_digest(lay_record(tmp_path / "1", a_record(outputs={"x.csv": "sha256:1"})))
    after = file_digest(lay_record(tmp_path / "2", a_record(**{"outputs": {"x.csv": "sha256:1"}, **change})))
    assert (before != after) == counts


def test_a_file_that_is_only_called_as_records_are_counts_by_its_content(tmp_path):
    one = file_digest(lay(tmp_path / "1_record.json", '{"a": 1}'))
    assert one != file_digest(lay(tmp_path / "2_record.json", '{"a": 2}'))
    assert one == file_digest(lay(tmp_path / "other.json", '{"a": 1}'))


# Folders


def test_a_listing_is_of_names_only(tmp_path):
    for name in ("b.csv", "a.csv"):
        lay(tmp_path / "1" / name, "x")
    for name in ("a.csv", "b.csv"):
        lay(tmp_path / "2" / name, "y")
    before = listing_digest(tmp_path / "1")
    assert before == listing_digest(tmp_path / "2")
    lay(tmp_path / "1" / "c.csv")
    assert listing_digest(tmp_path / "1") != before


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("c.csv", True),
        ("folder/c.csv", True),
        (".hidden", False),
        (".ipynb_checkpoints/c.ipynb", False),
        ("__pycache__/c.pyc", False),
        (REPORT, False),
        (layout.STYLESHEET, False),
    ],
)
def test_names_that_come_and_go_by_themselves_do_not_count(tmp_path, name, counts):
    lay(tmp_path / "data" / "a.csv")
    listing, tree = listing_digest(tmp_path / "data"), tree_digest(tmp_path / "data")
    lay(tmp_path / "data" / name)
    assert (listing_digest(tmp_path / "data") != listing) == counts
    assert (tree_digest(tmp_path / "data") != tree) == counts


@pytest.fixture
def looks(monkeypatch) -> list[str]:
    """Return the list of folders whose names were read, on a disk where times show changes of names."""
    read, scandir = [], os.scandir
    monkeypatch.setattr(digests, "settled", lambda _stat: True)
    monkeypatch.setattr(digests, "tracks_names", lambda _status: True)
    monkeypatch.setattr(os, "scandir", lambda folder: read.append(str(folder)) or scandir(folder))
    return read


def test_names_of_a_folder_are_read_once_while_its_state_is_the_same(tmp_path, looks):
    folder = lay(tmp_path / "data" / "a.csv").parent
    digests = {listing_digest(folder) for _ in range(3)}
    lay(folder / "a.csv", "other content")
    assert {listing_digest(folder)} == digests
    assert len(looks) == 1


@pytest.mark.parametrize("edit", ["new", "gone", "renamed", "folder", "its time is put back"])
def test_names_are_read_again_when_one_has_come_or_gone(tmp_path, looks, edit):
    folder = lay(tmp_path / "data" / "a.csv").parent
    os.utime(folder, (1, 1))
    before = listing_digest(folder)
    if edit in ("new", "its time is put back"):
        lay(folder / "b.csv")
    elif edit == "renamed":
        (folder / "a.csv").rename(folder / "b.csv")
    else:
        (folder / "a.csv").unlink()
    if edit == "folder":
        (folder / "a.csv").mkdir()
    if edit == "its time is put back":
        os.utime(folder, (1, 1))
    assert listing_digest(folder) != before
    assert len(looks) == 2


def test_names_are_read_each_time_where_links_may_lead_elsewhere(tmp_path, looks):
    (tmp_path / "target").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "target")
    before = listing_digest(tmp_path / "data")
    (tmp_path / "target").rmdir()
    lay(tmp_path / "target")
    assert listing_digest(tmp_path / "data") != before


@pytest.mark.parametrize("unknown", ["settled", "tracks_names"])
def test_names_are_read_each_time_where_the_state_of_a_folder_may_not_tell(
    tmp_path, monkeypatch, looks, unknown
):
    folder = lay(tmp_path / "data" / "a.csv").parent
    monkeypatch.setattr(digests, unknown, lambda _: False)
    assert listing_digest(folder) == listing_digest(folder)
    assert len(looks) == 2


def test_names_are_read_each_time_if_some_are_left_out(tmp_path, looks):
    folder = lay(tmp_path / "data" / "a.csv").parent
    lay(folder / "b.csv")
    only = {listing_digest(folder, {name}) for name in ("a.csv", "b.csv")}
    assert len(only | {listing_digest(folder)}) == 3


@pytest.mark.parametrize("digest", [listing_digest, tree_digest])
def test_a_folder_that_is_not_there_is_absent(tmp_path, digest):
    assert digest(tmp_path / "none") == digest(f"{tmp_path}/none") == ABSENT
    assert digest(lay(tmp_path / "file")) == ABSENT


@pytest.mark.parametrize("edit", ["content", "name", "new", "gone", "deep"])
def test_a_tree_changes_with_names_and_contents_at_any_depth(tmp_path, edit):
    path = lay(tmp_path / "t" / "a" / "b" / "x", "1")
    lay(tmp_path / "t" / "y")
    before = tree_digest(tmp_path / "t")
    edits: dict[str, Callable[[], object]] = {
        "content": lambda: path.write_text("2", encoding="utf-8"),
        "name": lambda: path.rename(path.with_name("z")),
        "new": lambda: lay(tmp_path / "t" / "z"),
        "gone": path.unlink,
        "deep": lambda: lay(tmp_path / "t" / "a" / "b" / "c" / "z"),
    }
    edits[edit]()
    assert tree_digest(tmp_path / "t") != before


def test_a_tree_is_the_same_wherever_it_lies_and_whenever_it_was_copied(tmp_path):
    for place in ("1", "2"):
        lay(tmp_path / place / "a" / "x", "1")
    os.utime(tmp_path / "1" / "a" / "x", (1, 1))
    assert tree_digest(tmp_path / "1") == tree_digest(tmp_path / "2")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert input_digest(str(tmp_path / "pipe")) == digests.SPECIAL


def test_files_of_a_tree_are_not_read_again_while_sizes_and_times_are_the_same(tmp_path, monkeypatch):
    path = lay(tmp_path / "t" / "a" / "x", "1")
    monkeypatch.setattr(digests, "settled", lambda _: True)
    before = tree_stat(tmp_path / "t")
    assert before is not None
    assert tree_stat(tmp_path / "t") == before
    os.utime(path, (1, 1))
    assert tree_stat(tmp_path / "t") != before
    monkeypatch.setattr(digests, "settled", lambda _: False)
    assert tree_stat(tmp_path / "t") is None
    assert tree_stat(tmp_path / "none") is None


def test_files_below_a_folder_are_in_the_order_of_their_names(tmp_path):
    for name in ("b", "a/z", "a/y", "c/x"):
        lay(tmp_path / name)
    assert [os.path.relpath(path, tmp_path) for path in files_below(tmp_path)] == ["b", "a/y", "a/z", "c/x"]


def test_links_to_folders_are_followed_and_never_in_circles(tmp_path):
    lay(tmp_path / "far" / "away" / "x")
    lay(tmp_path / "data" / "y")
    links = {"far": "far", "same": "far", "self": "data", "up": ""}
    for name, target in links.items():
        (tmp_path / "data" / name).symlink_to(tmp_path / target)
    (tmp_path / "far" / "back").symlink_to(tmp_path / "data")
    names = [os.path.relpath(path, tmp_path / "data") for path in files_below(tmp_path / "data")]
    assert names == ["y", "far/away/x"]


def test_an_input_is_a_file_a_listing_or_a_tree_by_how_it_ends(tmp_path):
    lay(tmp_path / "data" / "x", "1")
    assert input_digest(f"{tmp_path}/data/x") == file_digest(tmp_path / "data" / "x")
    assert input_digest(f"{tmp_path}/data/") == listing_digest(tmp_path / "data")
    assert input_digest(f"{tmp_path}/data/**") == tree_digest(tmp_path / "data")


# Configs


def test_the_order_of_keys_is_not_part_of_a_config():
    assert config_digest({"a": 1, "b": {"c": 1, "d": 2}}) == config_digest({"b": {"d": 2, "c": 1}, "a": 1})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {}),
        ({"a": None}, {"a": "None"}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"a": []}, {"a": {}}),
        ({"a": {"b": 1}}, {"a.b": 1}),
        ({"a": "ä"}, {"a": "a"}),
        ({"a": "\ud800"}, {"a": "\ud801"}),
        ({"a": 0.1}, {"a": 0.1 + 1e-17 * 2}),
    ],
)
def test_configs_that_differ_in_a_value_or_its_type_differ(one, other):
    assert (config_digest(one) != config_digest(other)) == (
        one != other or json.dumps(one) != json.dumps(other)
    )


# Code

KERNEL = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Other
#     language: python
#     name: other
# ---

"""
FLOW = """\
# %% tags=["parameters"]
config = {}

# %% [markdown]
# # Sums

# %%
# all of them
def total(values):
    \"\"\"The sum.\"\"\"
    return sum(values)


# %% tags=["slow"]
print(total([1, 2]))
"""


@pytest.mark.parametrize(
    ("old", "new", "counts"),
    [
        ("# all of them", "# of them all", False),
        ("# all of them\n", "", False),
        ("sum(values)", "sum( values )  # here", False),
        ("[1, 2]", "[\n    1,\n    2,\n]", False),
        ("[1, 2]", "[1, 2,]", False),
        ("# # Sums", "# # Totals", False),
        ("# %% [markdown]\n# # Sums\n\n", "", False),
        ("print(total([1, 2]))", "print(total([1, 2]))\n\n# %%\n# the end", False),
        ("[1, 2]", "[1, 3]", True),
        ("[1, 2]", "[1, 2.0]", True),
        ("[1, 2]", "(1, 2)", True),
        ("The sum.", "Its sum.", True),
        ('tags=["slow"]', 'tags=["skip"]', True),
        ('tags=["slow"]', 'tags=["slow", "remove-input"]', True),
        ("config = {}", "config = {'a': 1}", True),
        ("sum(values)", "sum(values", True),
        ("print(total([1, 2]))", "print(total([1, 2]))\n\n# %%\n# !ls", True),
        ("print(total([1, 2]))", 'print(total([1, 2]))\n\n# %% language="bash"\n# ls', True),
        ("# %% tags", f"{KERNEL}# %% tags", True),
    ],
)
def test_an_edit_of_a_flow_counts_if_it_may_change_what_runs(tmp_path, old, new, counts):
    assert old in FLOW
    before = code_digest(lay(tmp_path / "1" / "x.py", FLOW))
    after = code_digest(lay(tmp_path / "2" / "x.py", FLOW.replace(old, new, 1)))
    assert None not in (before, after)
    assert (before != after) == counts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("# !ls -a", "# !ls -b"),
        ("# !ls", "# !ls  # all"),
        ("# %matplotlib inline", "# %matplotlib agg"),
        ('# %% language="bash"\n# ls -l', '# %% language="bash"\n# ls - l'),
        ('# %% language="R"\n# x<-1', '# %% language="R"\n# x < -1'),
    ],
)
def test_magics_and_cells_of_other_languages_count_as_they_stand(tmp_path, one, other):
    digests = [
        code_digest(lay(tmp_path / name / "x.py", f"{PARAMETERS}# %%\n{text}\n"))
        for name, text in (("1", one), ("2", other))
    ]
    assert digests[0] != digests[1]


OTHERS = {
    ".R": ('# %% tags=["parameters"]\nconfig <- list()\n\n# %%\n', "x<-1", "x < -1"),
    ".jl": ('# %% tags=["parameters"]\nconfig = Dict()\n\n# %%\n', "x = 'a'", 'x = "a"'),
    ".sh": ('# %% tags=["parameters"]\nconfig=1\n\n# %%\n', "a=1", "a = 1"),
}


@pytest.mark.parametrize("suffix", OTHERS)
def test_flows_in_other_languages_are_never_taken_for_python(tmp_path, suffix):
    head, one, other = OTHERS[suffix]
    before = code_digest(lay(tmp_path / f"1{suffix}", head + one))
    assert before == code_digest(lay(tmp_path / f"2{suffix}", head + one))
    assert before != code_digest(lay(tmp_path / f"3{suffix}", head + other))


def notebook(*cells: str, kernel: str = "python3", language: str = "python") -> str:
    metadata = {"kernelspec": {"name": kernel, "language": language, "display_name": kernel}}
    parameters = nbformat.v4.new_code_cell("config = {}", metadata={"tags": ["parameters"]})
    code = [nbformat.v4.new_code_cell(cell) for cell in cells]
    return nbformat.writes(nbformat.v4.new_notebook(cells=[parameters, *code], metadata=metadata))


def test_outputs_and_numbers_of_a_notebook_do_not_count(tmp_path):
    before = lay(tmp_path / "1.ipynb", notebook("print(1)"))
    run = nbformat.reads(before.read_text(encoding="utf-8"), 4)
    run.cells[1].execution_count = 7
    run.cells[1].outputs = [nbformat.v4.new_output("stream", text="1\n")]
    run.cells.append(nbformat.v4.new_markdown_cell("The end."))
    after = lay(tmp_path / "2.ipynb", nbformat.writes(run))
    assert code_digest(before) == code_digest(after) is not None


def test_the_code_and_the_kernel_of_a_notebook_count(tmp_path):
    notebooks = [
        notebook("x < -1"),
        notebook("x < -2"),
        notebook("x < -1", kernel="other"),
        notebook("x < -1", kernel="ir", language="R"),
        notebook("x<-1", kernel="ir", language="R"),
    ]
    digests = {code_digest(lay(tmp_path / f"{n}.ipynb", text)) for n, text in enumerate(notebooks)}
    assert len(digests) == len(notebooks)


def test_the_text_around_the_cells_of_a_markdown_flow_does_not_count(tmp_path):
    flow = '# Sums\n\n```python tags=["parameters"]\nconfig = {}\n```\n\nText.\n\n```python\nx = 1\n```\n'
    before = code_digest(lay(tmp_path / "1.md", flow))
    assert before == code_digest(lay(tmp_path / "2.md", flow.replace("Text.", "More text.")))
    assert before != code_digest(lay(tmp_path / "3.md", flow.replace("x = 1", "x = 2")))


def test_moving_a_parameters_cell_that_is_only_a_comment_counts(tmp_path):
    head, rest = '# %% tags=["parameters"]\n# none\n', "# %%\nx = 1\n"
    assert code_digest(lay(tmp_path / "1.py", head + rest)) != code_digest(
        lay(tmp_path / "2.py", rest + head)
    )


def test_a_module_is_code_without_cells(tmp_path):
    before = code_digest(lay(tmp_path / "1.py", "# %%\nx = 1\n\n# %%\ny = 2\n"))
    assert before == code_digest(lay(tmp_path / "2.py", "x = 1; y = 2  # both\n"))
    assert before != code_digest(lay(tmp_path / "3.py", "y = 2; x = 1\n"))
    assert before == code_digest(lay(tmp_path / "4.py", "\ufeffx = 1\ny = 2\n"))


def test_a_module_with_a_syntax_error_counts_as_it_stands(tmp_path):
    before = code_digest(lay(tmp_path / "1.py", "x = (\n"))
    assert before == code_digest(lay(tmp_path / "2.py", "\nx = (\n\n"))
    assert before != code_digest(lay(tmp_path / "3.py", "x = (  # open\n"))


@pytest.mark.parametrize("name", ["none.py", "broken.ipynb", "latin1.py", "table.csv", "library.so"])
def test_what_is_no_code_has_no_digest_of_code(tmp_path, name):
    (tmp_path / "broken.ipynb").write_text("{", encoding="utf-8")
    (tmp_path / "latin1.py").write_bytes(b"x = '\xe4'")
    (tmp_path / "table.csv").write_text("a,b\n", encoding="utf-8")
    (tmp_path / "library.so").write_bytes(b"\x7fELF\x00\xff")
    assert code_digest(tmp_path / name) is None


def test_the_code_of_a_file_follows_its_content_also_where_two_writes_look_alike(tmp_path):
    path, seen = tmp_path / "x.py", set()
    for number in range(8):
        path.write_text(f"x = {number}", encoding="utf-8")
        seen.add(code_digest(path))
    assert len(seen) == 8


@pytest.mark.parametrize(
    "code",
    [
        "x = " + " + ".join(["a"] * 3_000),
        "\n".join(["if a: pass", *["elif a: pass"] * 900]),
        "x = 0x" + "f" * 5_000,
        "x = " + "(" * 300 + ")" * 300,
        "x = '\0'",
    ],
    ids=["long sum", "many branches", "long number", "deep brackets", "null character"],
)
def test_code_beyond_the_limits_of_the_parser_counts_as_it_stands(code):
    assert normalised(code) == code


def test_doubtful_syntax_of_a_flow_is_not_warned_of():
    assert parsed(r"x = '\d'") is not None


def test_code_cells_have_their_tags_and_name_the_kernel(tmp_path):
    assert code_cells(lay(tmp_path / "x.ipynb", notebook("x = 1"))) == [
        ("config = {}", ["parameters"]),
        ("x = 1", []),
        ("%kernel python3", []),
    ]
