"""What a config refers to: paths into run directories, names of instances, nothing."""

from __future__ import annotations

import ntpath
from fnmatch import fnmatchcase
from itertools import zip_longest
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.graph import run_dir_index
from pytest_ductaflow.graph.references import References, references
from pytest_ductaflow.sources import instance_names
from pytest_ductaflow.sources.instance_names import with_distinct_names


def an_instance(label: str, config: object = None, *, root: str = "/p", **more) -> Instance:
    step, _, name = label.rpartition("/")
    values = {
        "flow": f"{root}/flows/{step}.py",
        "run_dir": f"{root}/runs/{label}",
        "source": f"{root}/c.py",
        **more,
    }
    return Instance(step=step, name=name, config=config or {}, project_root=root, **values)


def of_last(*instances: Instance) -> References:
    return references(instances)[-1]


def upstream_labels(*instances: Instance) -> list[str]:
    """Return the upstreams of the last of the instances."""
    numbers = sorted({number for _, found in of_last(*instances).upstreams for number in found})
    return [f"{instances[number].step}/{instances[number].name}" for number in numbers]


def messages(*instances: Instance) -> list[str]:
    return [str(problem) for problem in of_last(*instances).problems]


# Paths


@pytest.mark.parametrize(
    "text",
    [
        "runs/etl/A",
        "runs/etl/A/",
        "runs/etl/A/out/table.csv",
        "./runs/etl/A/x",
        "runs//etl/./A/x",
        "flows/../runs/etl/A/x",
        "runs/model/../etl/A",
        "../../etl/A/x",
        "sub/../../../etl/A/x",
        "/p/runs/etl/A",
        "/p/runs/etl/A/table.csv",
        "/p/./runs//etl/A/x",
        "/p/data/../runs/etl/A",
        "/q/../p/runs/etl/A",
        "runs/etl/A/*.csv",
    ],
)
def test_a_path_into_a_run_directory_makes_its_instance_an_upstream(text):
    assert upstream_labels(an_instance("etl/A"), an_instance("model/M", {"table": text})) == ["etl/A"]


@pytest.mark.parametrize("name", ["runs", "runs/x", "runs/etl/A", "runs/etl"])
def test_the_name_of_an_instance_refers_to_nothing_though_it_looks_like_a_path(name):
    named = an_instance(f"model/{name}", {"instance_name": name})
    found = of_last(an_instance("etl/A"), named)
    assert (found.upstreams, found.in_folders, found.orphans) == ([], [], [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "A",
        "etl/A",
        "table.csv",
        "runs/etl/AB/x",
        "runs/etl/a",
        "data/runs/etl/A",
        "runs_old/etl/A",
        "../etl/A",
        "/runs/etl/A",
        "/q/runs/etl/A",
        "http://host/runs/etl/A",
        "runs/etl/A/../B/x",
        "runs/etl/A\0/x",
        "runs/etl/A/" + "x" * 5000,
        "see runs/etl,A",
        "runs/etl/A,x=1",
        "runs/etl/{A/x",
        "[1, 2]",
        "[" * 5000,
    ],
)
def test_what_is_no_such_path_makes_none(text):
    assert upstream_labels(an_instance("etl/A"), an_instance("model/M", {"table": text})) == []


@pytest.mark.parametrize("text", ["runs/model/M/x", "../M/x", "/p/runs/model/M", "x/y.csv", "./x"])
def test_a_path_into_its_own_run_directory_is_the_instances_own_file(text):
    mine = of_last(an_instance("etl/A"), an_instance("model/M", {"table": text}))
    assert mine == References()


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"a": "runs/etl/A"}, "a"),
        ({"a": {"b": {"c": "runs/etl/A"}}}, "a.b.c"),
        ({"a": ["x", "runs/etl/A"]}, "a"),
        ({"a": [{"b": 1}, {"b": ["runs/etl/A"]}]}, "a.b"),
        ({"a": ("runs/etl/A",)}, "a"),
    ],
)
def test_paths_are_found_anywhere_in_a_config_and_the_key_is_named(config, key):
    mine = of_last(an_instance("etl/A"), an_instance("model/M", config))
    assert mine.upstreams == [(f"config key {key!r}", (0,))]


def test_a_config_may_be_nested_deeply():
    config: object = "runs/etl/A"
    for _ in range(5000):
        config = {"a": config}
    assert upstream_labels(an_instance("etl/A"), an_instance("model/M", config)) == ["etl/A"]


def test_all_flows_of_a_run_directory_are_upstreams():
    shared = [an_instance("etl/A", flow=f"/p/flows/{flow}.py") for flow in "xyz"]
    assert len(upstream_labels(*shared, an_instance("model/M", {"a": "runs/etl/A/t"}))) == 3


def test_flows_of_the_same_run_directory_do_not_become_upstreams_by_their_own_path():
    first = an_instance("etl/A", flow="/p/flows/x.py")
    assert upstream_labels(first, an_instance("etl/A", {"a": "runs/etl/A/t"}, flow="/p/flows/y.py")) == []


PATTERN_PARTS = st.sampled_from(["etl", "A", "AB", "x", "*", "A*", "?", "[AX]", "**", "e*", "model"])


def matches_part_by_part(run_dir: str, pattern: str) -> str | None:
    """Return whether a pattern can match files in a run directory, or matches a folder above it."""
    for part, wanted in zip_longest(run_dir.split("/"), pattern.split("/")):
        if wanted == "**" or part is None:
            return "inside"
        if wanted is None:
            return "below"
        if not fnmatchcase(part, wanted):
            return None
    return "inside"


@given(
    st.lists(st.lists(st.sampled_from(["etl", "model", "A", "AB", "x"]), min_size=1, max_size=4), min_size=1),
    st.lists(PATTERN_PARTS, min_size=1, max_size=4),
)
def test_a_pattern_means_the_run_directories_that_it_matches_part_by_part(labels, parts):
    run_dirs = list(dict.fromkeys(f"/p/runs/{'/'.join(label)}" for label in labels))
    pattern = f"/p/runs/{'/'.join(parts)}"
    tree = run_dir_index._Tree()
    for number, run_dir in enumerate(run_dirs):
        tree.add(run_dir, number)
    assert tree.matching(pattern.split("/")) == tuple(
        [run_dir for run_dir in run_dirs if matches_part_by_part(run_dir, pattern) == kind]
        for kind in ("inside", "below")
    )


def test_a_pattern_for_each_instance_is_not_compared_with_each_run_directory(monkeypatch):
    compared = []
    monkeypatch.setattr(
        run_dir_index.fnmatch, "fnmatchcase", lambda *pair: compared.append(pair) or fnmatchcase(*pair)
    )
    upstreams = [an_instance(f"etl/A{n}") for n in range(200)]
    downstreams = [an_instance(f"model/M{n}", {"tables": f"runs/etl/A{n}/*.csv"}) for n in range(200)]
    found = references([*upstreams, *downstreams])
    assert [each.upstreams for each in found[200:]] == [[("config key 'tables'", (n,))] for n in range(200)]
    assert len(compared) < 1_000


def test_the_innermost_run_directory_counts():
    nested = [an_instance("etl/A"), an_instance("etl/A/sub")]
    assert upstream_labels(*nested, an_instance("model/M", {"a": "runs/etl/A/sub/t"})) == ["etl/A/sub"]
    assert upstream_labels(*nested, an_instance("model/M", {"a": "runs/etl/A/other/t"})) == ["etl/A"]


def test_a_path_may_lead_from_a_run_directory_into_one_inside_of_it():
    outer = an_instance("etl/A", {"a": "sub/t"})
    assert upstream_labels(an_instance("etl/A/sub"), outer) == ["etl/A/sub"]


def test_run_directories_may_lie_outside_of_runs():
    work = an_instance("w/W", run_dir="/p/outside/W")
    assert upstream_labels(work, an_instance("model/M", {"a": "outside/W/t"})) == ["w/W"]
    far = an_instance("w/W", run_dir="/elsewhere/W")
    assert upstream_labels(far, an_instance("model/M", {"a": "/elsewhere/W/t"})) == ["w/W"]


def test_an_instance_of_another_project_is_found_by_its_absolute_path_only():
    other = an_instance("etl/A", root="/q")
    assert upstream_labels(other, an_instance("model/M", {"a": "/q/runs/etl/A/t"})) == ["etl/A"]
    assert upstream_labels(other, an_instance("model/M", {"a": "runs/etl/A/t"})) == []


@pytest.mark.parametrize(
    "text",
    [
        r"runs\etl\A\t.csv",
        "runs/etl/A/t.csv",
        r"RUNS\Etl\a",
        r"C:\p\runs\etl\A\t",
        "c:/p/runs/etl/A",
        r"..\..\etl\A",
    ],
)
def test_on_windows_both_slashes_separate_and_case_does_not_count(monkeypatch, text):
    windows = SimpleNamespace(path=ntpath, sep="\\", altsep="/")
    monkeypatch.setattr(run_dir_index, "os", windows)
    monkeypatch.setattr(instance_names, "sys", SimpleNamespace(platform="win32"))
    pair = [
        an_instance("etl/A", root="C:\\p"),
        an_instance("model/M", {"a": text}, root="C:\\p"),
    ]
    assert upstream_labels(*pair) == ["etl/A"]


# Several paths in one text


@pytest.mark.parametrize(
    "text",
    [
        "runs/etl/A/t.csv;runs/etl/B/t.csv",
        "runs/etl/A/t.csv,runs/etl/B/t.csv",
        "runs/etl/A/t.csv, runs/etl/B/t.csv",
        "runs/etl/A/t.csv | ../../etl/B/t.csv",
        "runs/etl/A runs/etl/B",
        "runs/etl/A\nruns/etl/B\n",
        " runs/etl/A ;; /p/runs/etl/B;",
        '["runs/etl/A/t.csv", "runs/etl/B/t.csv"]',
        "['runs/etl/A/t.csv', 'runs/etl/B/t.csv']",
        '["data/x.csv", ["runs/etl/B/t.csv"], "runs/etl/A"]',
        '["runs/etl/A/t.csv;runs/etl/B/t.csv"]',
        "[runs/etl/A/t.csv, runs/etl/B/t.csv]",
        "data/x.csv;runs/etl/A/t.csv;mean;runs/etl/B/t.csv;1,5",
        "select * from 'runs/etl/A/t.csv' join (read_csv('runs/etl/B/t.csv'))",
        "--input runs/etl/A/t.csv --input runs/etl/B/t.csv",
        "runs/etl/{A,B}/t.csv",
        "runs/{etl,none}/{A,B}/t.csv",
        "{runs/etl/A,runs/etl/B}/t.csv",
        "runs/etl/[AB]/t.csv;data/x.csv",
        ";".join(f"runs/etl/{name}/t{n}.csv" for n in range(1000) for name in "AB"),
    ],
)
def test_each_path_of_a_text_makes_an_upstream(text):
    etl = [an_instance("etl/A"), an_instance("etl/B"), an_instance("etl/C")]
    expected = ["etl/A"] if text.startswith('["data') else ["etl/A", "etl/B"]
    assert upstream_labels(*etl, an_instance("model/M", {"tables": text})) == expected


@pytest.mark.parametrize(
    "name", ["rate=0.01,years=25", "no toll", "a;b", "a, b", "(a)", "a|b", "rate=0.01,years=25,x y"]
)
def test_a_name_with_separators_is_not_taken_apart(name):
    etl = [an_instance(f"etl/{part}") for part in ("rate=0.01", "no", "a", "b", name)]
    assert upstream_labels(*etl, an_instance("model/M", {"t": f"runs/etl/{name}/t.csv"})) == [f"etl/{name}"]
    both = f"runs/etl/{name}/t.csv;runs/etl/b/t.csv"
    assert upstream_labels(*etl, an_instance("model/M", {"t": both})) == ["etl/b", f"etl/{name}"]


def test_the_project_may_lie_in_a_folder_with_separators_in_its_name():
    root = "/my, projects/p"
    pair = [an_instance("etl/A", root=root), an_instance("etl/B", root=root)]
    text = f"{root}/runs/etl/A/t.csv, {root}/runs/etl/B/t.csv"
    assert upstream_labels(*pair, an_instance("model/M", {"t": text}, root=root)) == ["etl/A", "etl/B"]
    hidden = an_instance("etl/no toll", root=root)
    text = "runs/etl/no toll/.cache/t.csv"
    assert upstream_labels(*pair, hidden, an_instance("m/M", {"t": text}, root=root)) == ["etl/no toll"]


@pytest.mark.parametrize(("cwd", "count"), [("run", 1), ("flow", 0), ("project", 0)])
def test_a_relative_path_is_an_orphan_only_if_the_flow_would_find_it_below_runs(cwd, count):
    assert len(of_last(an_instance("model/A", {"extra": "../extra.csv"}, runs_in=cwd)).orphans) == count


def test_of_a_list_each_path_that_nothing_produces_is_an_orphan_but_not_one_in_a_sentence():
    def orphans(text):
        return of_last(an_instance("etl/A"), an_instance("model/M", {"t": text})).orphans

    assert orphans("runs/etl/A/t.csv;runs/etl/Z/t.csv") == [("t", "runs/etl/Z/t.csv")]
    assert orphans('["runs/etl/Z/t.csv", "runs/etl/Y/t.csv"]') == [
        ("t", "runs/etl/Z/t.csv"),
        ("t", "runs/etl/Y/t.csv"),
    ]
    assert orphans("as in runs/old/Z") == []
    assert orphans("runs/etl/{Y,Z}/t.csv") == []


# Folders of run directories


def in_folders(*instances: Instance) -> list[list[str]]:
    """Return for each instance the upstreams due to the folders that it names."""
    labels = [f"{instance.step}/{instance.name}" for instance in instances]
    return [
        [labels[number] for _, members in mine.in_folders for number in members]
        for mine in references(instances)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "runs/etl",
        "runs/etl/",
        "/p/runs/etl",
        "../../etl",
        "runs/et*",
        "runs/etl;data",
        '["runs/etl"]',
        "runs",
    ],
)
def test_a_folder_of_run_directories_means_all_in_it(text):
    instances = [an_instance("etl/A"), an_instance("etl/B"), an_instance("model/M", {"results_of": text})]
    assert in_folders(*instances) == [[], [], ["etl/A", "etl/B"]]
    assert of_last(*instances).in_folders[0][0] == "config key 'results_of'"


def test_also_where_it_is_named_before_its_instances_but_for_all_of_runs():
    etl = [an_instance("etl/A"), an_instance("prep/etl/B")]
    assert in_folders(an_instance("model/M", {"a": "runs/etl"}), *etl)[0] == ["etl/A"]
    assert in_folders(an_instance("model/M", {"a": "runs/prep"}), *etl)[0] == ["prep/etl/B"]
    assert in_folders(an_instance("model/M", {"a": "runs"}), *etl)[0] == []


def test_who_names_the_folder_in_which_it_lies_waits_for_those_in_it_that_do_not():
    rows = [an_instance(f"a/{name}", {"around": "runs/a"}) for name in "XY"]
    other = an_instance("a/Z", flow="/p/flows/z.py")
    assert in_folders(*rows) == [[], []]
    assert in_folders(*rows, other) == [["a/Z"], ["a/Z"], []]
    shared = an_instance("a/X", flow="/p/flows/z.py")
    assert in_folders(rows[0], shared) == [[], []]


def test_rows_that_all_name_runs_wait_for_the_flows_before_theirs():
    a, b = ([an_instance(f"{step}/{name}", {"runs": "runs"}) for name in "XY"] for step in "ab")
    assert in_folders(*a, *b) == [[], [], [], []]
    plain = [an_instance("etl/A"), *b, an_instance("c/C")]
    assert in_folders(*plain) == [[], ["etl/A"], ["etl/A"], []]


@pytest.mark.parametrize(
    "key", ["output_dir", "save_to", "run_folder", "work_dir", "model_root", "scratch", "a.run_dir"]
)
def test_a_place_for_what_an_instance_makes_is_no_reference_to_what_is_in_it(key):
    assert in_folders(an_instance("etl/A"), an_instance("model/M", {key: "runs/etl"})) == [[], []]


# Paths into runs/ that belong to no instance


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("table", "runs/etl/Z/t.csv"),
        ("table", "/p/runs/etl/Z"),
        ("table", "../../etl/Z/t.csv"),
        ("a.b", "runs/old/t.csv"),
        ("folder", "runs/old"),
        ("etl_instance", "runs/etl/Z"),
        ("tables", "runs/etl/Z/t.csv and more"),
    ],
)
def test_a_path_into_runs_that_nothing_produces_is_an_orphan(key, text):
    config: object = text
    for part in reversed(key.split(".")):
        config = {part: config}
    mine = of_last(an_instance("etl/A"), an_instance("model/M", config))
    assert mine == References(orphans=[(key, text)])


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("table", "runs/etl/*/t.csv"),
        ("table", "runs/etl/?/t.csv"),
        ("table", "runs/etl/[AB]/t.csv"),
        ("table", "runs/{step}/t.csv"),
        ("output_dir", "runs/etl/Z"),
        ("SaveTo", "runs/etl/Z"),
        ("log_file", "runs/etl.log"),
        *[
            (key, "runs/etl/Z")
            for key in (
                "run_folder",
                "model_root",
                "model_runs_dir",
                "run_dir",
                "work_dir",
                "case_dir",
                "scratch",
                "scratch_dir",
                "working_directory",
                "p.run_dir",
            )
        ],
        ("table", "runs/etl/A/t.csv"),
        ("table", "runs/model/M/t.csv"),
        ("table", "data/t.csv"),
        ("table", "../../../data/t.csv"),
        ("table", "runs_of_others/t.csv"),
    ],
)
def test_patterns_outputs_and_all_that_belongs_to_an_instance_are_no_orphans(key, text):
    assert of_last(an_instance("etl/A"), an_instance("model/M", {key: text})).orphans == []


def test_only_the_last_part_of_a_key_says_that_it_is_an_output():
    mine = of_last(an_instance("model/M", {"outputs": {"base": "runs/etl/Z"}}))
    assert mine.orphans == [("outputs.base", "runs/etl/Z")]


# Keys that name an instance


@pytest.mark.parametrize(
    ("step", "key"),
    [
        ("etl", "etl_instance"),
        ("my step-2", "my_step_2_instance"),
        ("my step-2", "my step-2_instance"),
        ("prep/etl", "prep_etl_instance"),
        ("prep/etl", "etl_instance"),
    ],
)
def test_a_key_can_name_an_instance_by_its_step(step, key):
    pair = [an_instance(f"{step}/A"), an_instance("model/M", {"a": [{key: "A"}]})]
    assert of_last(*pair).upstreams == [(f"config key {f'a.{key}'!r}", (0,))]


def test_a_step_with_just_that_name_comes_before_one_that_ends_in_it():
    steps = [an_instance("prep/etl/A"), an_instance("etl/A")]
    assert upstream_labels(*steps, an_instance("model/M", {"etl_instance": "A"})) == ["etl/A"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("A", ["etl/A"]),
        (2030, ["etl/2030"]),
        (["A", 2030], ["etl/2030", "etl/A"]),
        (None, []),
        ("", []),
        (True, []),
        (False, []),
        ([], []),
        ("runs/etl/A", ["etl/A"]),
    ],
    ids=repr,
)
def test_the_value_is_a_name_or_a_list_of_names(value, expected):
    instances = [an_instance("etl/2030"), an_instance("etl/A"), an_instance("etl/True")]
    mine = an_instance("model/M", {"etl_instance": value})
    assert upstream_labels(*instances, mine) == expected
    assert messages(*instances, mine) == []


def test_names_that_were_made_distinct_are_found_by_what_they_were():
    instances = with_distinct_names(
        [
            an_instance("etl/A", flow="/p/flows/x.py"),
            an_instance("etl/A", flow="/p/flows/y.py"),
            an_instance("etl/B", flow="/p/flows/x.py"),
            an_instance("etl/C", run_dir="/p/runs/etl/C"),
            an_instance("etl/C", run_dir="/p/elsewhere/C"),
        ]
    )
    named = {name: an_instance("model/M", {"etl_instance": name}) for name in ("A", "A@y", "B", "C")}
    after = an_instance("model/M", after=("etl/A",))
    assert upstream_labels(*instances, named["A"]) == ["etl/A@x", "etl/A@y"]
    assert upstream_labels(*instances, named["A@y"]) == ["etl/A@y"]
    assert upstream_labels(*instances, named["B"]) == ["etl/B"]
    assert len(upstream_labels(*instances, named["C"])) == 2
    assert upstream_labels(*instances, after) == ["etl/A@x", "etl/A@y"]


@pytest.mark.parametrize("key", ["cloud_instance", "_instance", "instance", "instance_name", "etl_instances"])
def test_a_key_that_names_no_step_is_no_reference(key):
    mine = of_last(an_instance("etl/A"), an_instance("model/M", {key: "m5.large"}))
    assert mine == References()


def test_an_unknown_name_is_a_problem_that_suggests_a_similar_one():
    mine = an_instance("model/M", {"a": {"etl_instance": "nroth"}}, line=7, row=3)
    (found,) = messages(an_instance("etl/north"), mine)
    what = "config key 'a.etl_instance': there is no instance 'nroth' of step etl"
    assert found == f"c.py:7, row 3: {what} (did you mean 'north'?)"


def test_or_lists_the_names_that_there_are():
    instances = [an_instance(f"etl/scenario_{letter}") for letter in "ABCDEFG"]
    (found,) = messages(*instances, an_instance("model/M", {"etl_instance": "x"}))
    assert found.endswith("(known are scenario_A, scenario_B, scenario_C, scenario_D, scenario_E and 2 more)")


def test_thousands_of_unknown_names_are_each_a_problem():
    instances = [an_instance(f"etl/{n}", {"etl_instance": f"x{n}"}) for n in range(3000)]
    assert sum(len(mine.problems) for mine in references(instances)) == 3000


@pytest.mark.parametrize(
    "more", [{"config": {"etl_instance": "A"}}, {"after": ("etl/A",)}, {"after": ("etl",)}]
)
def test_no_instance_is_its_own_upstream(more):
    what = "config key 'etl_instance'" if "config" in more else "_after"
    assert messages(an_instance("etl/B"), an_instance("etl/A", **more)) == [
        f"c.py: etl/A is its own upstream ({what}) (an instance cannot wait for itself)"
    ]


# Labels in after


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (None, []),
        ((), []),
        (("etl/A",), ["etl/A"]),
        (("etl/A", "etl/B", "etl/A"), ["etl/A", "etl/B"]),
        (("etl",), ["etl/A", "etl/B"]),
        (("etl", "prep/x"), ["etl/A", "etl/B", "prep/x"]),
    ],
)
def test_after_names_instances_or_whole_steps(after, expected):
    instances = [an_instance("etl/A"), an_instance("etl/B"), an_instance("prep/x")]
    assert upstream_labels(*instances, an_instance("model/M", after=after)) == expected


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("etl/Z", "there is no instance 'Z' of step etl (known are A)"),
        ("prep/Z", "there is no step or instance 'prep/Z' (known are etl, model, etl/A, model/M)"),
        ("elt/A", "there is no step or instance 'elt/A' (did you mean 'etl/A'?)"),
        ("mdoel", "there is no step or instance 'mdoel' (did you mean 'model'?)"),
    ],
)
def test_an_unknown_label_is_a_problem(label, expected):
    assert messages(an_instance("etl/A"), an_instance("model/M", after=(label,))) == [
        f"c.py: _after: {expected}"
    ]


# Runs outside of the plan


@pytest.fixture
def root(tmp_path) -> str:
    for folder in ("runs/etl/old", "runs/raw/x", "runs/prep/etl/y", "other"):
        (tmp_path / folder).mkdir(parents=True)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"config": {"etl_instance": "old"}}, "runs/etl/old"),
        ({"config": {"raw_instance": "x"}}, "runs/raw/x"),
        ({"after": ("etl/old",)}, "runs/etl/old"),
        ({"after": ("raw/x",)}, "runs/raw/x"),
        ({"after": ("raw",)}, "runs/raw"),
    ],
)
def test_an_earlier_run_outside_of_the_plan_can_be_named(root, more, expected):
    mine = of_last(an_instance("etl/A", root=root), an_instance("model/M", root=root, **more))
    assert mine == References(externals=[f"{root}/{expected}"])


@pytest.mark.parametrize("key", ["_instance", "a._instance", "../raw_instance"])
def test_a_key_without_a_step_names_no_earlier_run(root, key):
    assert of_last(an_instance("m/M", {key: "etl"}, root=root)) == References()
    assert of_last(an_instance("m/M", {key: "x"}, root=root)) == References()


@pytest.mark.parametrize("name", ["z", ".", "..", "../etl/old", "../../other", "/", "x\0"])
def test_a_name_does_not_lead_out_of_its_step(root, name):
    mine = of_last(an_instance("etl/A", root=root), an_instance("m/M", {"raw_instance": name}, root=root))
    assert mine.externals == []
    assert mine.problems == []


@pytest.mark.parametrize("label", ["../other", ".", "etl/../../other", "/"])
def test_neither_does_a_label_lead_out_of_runs(root, label):
    mine = of_last(an_instance("etl/A", root=root), an_instance("m/M", root=root, after=(label,)))
    assert mine.externals == []
    assert len(mine.problems) == 1


def test_names_are_those_of_the_instances_own_project():
    other = an_instance("etl/A", root="/q")
    assert upstream_labels(other, an_instance("model/M", {"etl_instance": "A"})) == []
    assert messages(other, an_instance("model/M", after=("etl/A",))) != []
