"""Instances, records and the like survive conversion to JSON and back."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.core.errors import FlowNotFound, InstanceFailed, TableError
from pytest_ductaflow.core.instance import Instance, config_hash, default_step, slug, stem_of
from pytest_ductaflow.core.problem import Problem
from pytest_ductaflow.core.record import (
    SCHEMA_VERSION,
    Difference,
    DifferingValue,
    Failure,
    Owner,
    Record,
    Status,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)

FAILED = Record(
    Status.ERROR,
    "flows/x.py",
    "x",
    "A",
    "runs/x/A",
    started="2040-01-01T00:00:00+00:00",
    duration=1.5,
    warnings=("⚠️ low",),
    warning_count=1,
    warning_line=7,
    python_warnings=("UserWarning: old",),
    error=Failure("ValueError", "no\nluck", 3, "boom()", 1, 12, "trace"),
    flows=(Record(Status.SUCCESS, "flows/y.py", "y", "B", "runs/x/A/runs/y/B"),),
    inputs={"data/ä.csv": "sha256:0"},
    outputs={"a": "sha256:1", "b": "sha256:2"},
    altered=("b",),
    made=("c/",),
    found=("b",),
    owner=Owner("host", 7, 1.5),
    last_good="runs/.earlier/x/A",
    attempts=2,
    failed_attempts=("OSError: busy",),
    variables={"MODEL_HOME": "0123456789abcdef", "GONE": ""},
    peak_memory=7,
    threads=2,
)


def an_instance(**changes) -> Instance:
    values = {
        "flow": "/p/flows/01_x.py",
        "step": "x",
        "name": "A",
        "config": {"a": {"b": [1, None]}},
        "run_dir": "/p/runs/x/A",
        "project_root": "/p",
    }
    return Instance(**values | changes)


@pytest.mark.parametrize(
    ("status", "good"),
    [("success", True), ("warning", True), ("error", False), ("blocked", False), ("running", False)],
)
def test_what_depends_on_an_instance_may_run_only_after_success_or_warning(status, good):
    assert Status(status).good is good


def test_an_error_is_worse_than_a_warning_and_that_worse_than_success():
    assert Status.ERROR.severity > Status.WARNING.severity > Status.SUCCESS.severity


@pytest.mark.parametrize(
    ("flow", "stem", "step"),
    [
        ("flows/01_prepare.py", "01_prepare", "prepare"),
        ("prepare", "prepare", "prepare"),
        (Path("/p/flows/prepare.ipynb"), "prepare", "prepare"),
        ("flows/10_2_fit.py", "10_2_fit", "2_fit"),
        ("flows/2040.py", "2040", "2040"),
        ("flows/01_.py", "01_", "01_"),
        ("flows/fit.v2.py", "fit.v2", "fit.v2"),
        ("flows/größe.R", "größe", "größe"),
        ("flows/fit_01.py", "fit_01", "fit_01"),
    ],
)
def test_stem_and_step_come_from_the_file_name(flow, stem, step):
    assert (stem_of(flow), default_step(flow)) == (stem, step)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("year=2040,mode=rail", "year=2040,mode=rail"),
        ("a/b", "a/b"),
        ("a::b", "a__b"),
        ("a[1] b", "a_1__b"),
        ("Größe", "Größe"),
        ("x\ny\t⚠️", "x_y___"),
        ("a@x~1+2.5-3", "a@x_1+2.5-3"),
    ],
)
def test_a_slug_has_nothing_that_a_node_id_cannot_hold(name, expected):
    assert slug(name) == expected


@given(st.text())
def test_a_slug_of_a_slug_is_itself(name):
    assert slug(slug(name)) == slug(name)
    assert not set(slug(name)) & set("[]: \n\t\\")


@given(st.dictionaries(st.text(), PLAIN, max_size=4), PLAIN)
def test_a_config_hash_knows_neither_order_nor_reserved_keys(config, reserved):
    digest = config_hash(config)
    assert len(digest) == 16
    assert int(digest, 16) >= 0
    assert config_hash({**dict(reversed(config.items())), "_project_root": reserved}) == config_hash(
        {**config, "_timeout": 5}
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, {"a": "1"}),
        ({"a": {}}, {"a": []}),
        ({}, {"a": None}),
    ],
)
def test_different_configs_have_different_hashes(one, other):
    assert config_hash(one) != config_hash(other)


def test_what_json_does_not_know_is_hashed_as_text():
    assert config_hash({"a": Path("x")}) == config_hash({"a": "x"})


def test_a_bare_instance_is_read_back_from_json():
    instance = an_instance()
    assert Instance.from_json(json.loads(json.dumps(instance.to_json()))) == instance


def test_an_instance_with_everything_is_read_back_from_json():
    instance = an_instance(
        source="/p/conductor.py",
        line=3,
        row=4,
        after=("etl/B",),
        timeout=1.5,
        retries=2,
        cores=2,
        marks=("slow", "nightly"),
        keep=("*.pt",),
        kernel_name="ir",
        output_suffix="_done",
        html=False,
        selected=False,
        variables=(("MODEL_HOME", "/opt/model"), ("GONE", None)),
    )
    assert Instance.from_json(json.loads(json.dumps(instance.to_json()))) == instance


@pytest.mark.parametrize("after", [None, (), ("a/b",)])
def test_upstreams_that_were_not_named_stay_apart_from_none_at_all(after):
    assert Instance.from_json(an_instance(after=after).to_json()).after == after


def test_fields_at_their_default_are_left_out_of_the_json_of_an_instance():
    assert set(an_instance().to_json()) == {"flow", "step", "name", "config", "run_dir", "project_root"}


@given(st.dictionaries(st.text(), PLAIN, max_size=4), st.text(), st.text())
def test_any_instance_survives_json(config, step, name):
    instance = an_instance(config=config, step=step, name=name)
    assert Instance.from_json(json.loads(json.dumps(instance.to_json()))) == instance


def test_two_flows_in_one_run_directory_are_not_the_same_instance():
    one, other = an_instance(), an_instance(flow="/p/flows/y.py")
    assert one.key != other.key
    assert one.key == an_instance(name="another name").key


@pytest.mark.parametrize(
    ("flow", "expected"),
    [("/p/builds/x.py", True), ("/p/build/x.py", True), ("/p/flows/x.py", False), ("/builds/p/x.py", False)],
)
def test_a_build_is_known_by_its_folder(flow, expected):
    assert an_instance(flow=flow).is_build is expected


def test_the_flow_gets_the_project_root_of_its_instance_and_the_config_is_left_as_it_is():
    instance = an_instance(config={"a": 1, "_project_root": "/old"})
    assert instance.full_config == {"a": 1, "_project_root": "/p"}
    assert instance.config == {"a": 1, "_project_root": "/old"}


def test_a_changed_instance_is_a_new_one():
    instance = an_instance()
    assert instance.with_(name="B").name == "B"
    assert instance.name == "A"


@pytest.mark.parametrize("record", [FAILED, FAILED.flows[0], FAILED.with_(found=())])
def test_a_record_is_read_back_from_json(record):
    for data in (record.to_json(), record.sparse_json()):
        assert Record.from_json(json.loads(json.dumps(data))) == record


def test_another_record_has_other_fields_and_its_own_digest():
    before, digest = FAILED, FAILED.digest_of_outputs
    other = before.with_(instance="B", outputs={"x.csv": "sha256:1"})
    assert (other.instance, other.step, before.instance) == ("B", before.step, FAILED.instance)
    assert other.digest_of_outputs != digest
    assert other.with_(instance=before.instance, outputs=before.outputs) == before
    with pytest.raises(TypeError, match="a record has no instanse"):
        before.with_(instanse="B")


def test_the_json_of_a_record_has_only_plain_types():
    data = FAILED.to_json()
    assert data == json.loads(json.dumps(data))
    assert type(data["status"]) is str
    assert type(data["flows"][0]["status"]) is str


def test_what_is_told_of_a_record_leaves_out_what_it_used():
    used = {"inputs": {"a.csv": "sha256:1"}, "stats": {"a.csv": "1 2"}, "code": {"f.py": "3"}}
    inner = FAILED.with_(**used, packages={"numpy": "2"})
    told = FAILED.with_(**used, outputs={"b.csv": "sha256:2"}, flows=(inner,)).brief()
    assert [(each.inputs, each.stats, each.code, each.packages) for each in told.with_flows()] == [
        ({},) * 4
    ] * 3
    assert (told.error, told.outputs) == (FAILED.error, {"b.csv": "sha256:2"})
    assert Record.from_json(told.to_json()) == told


FREE = {
    *("inputs", "outputs", "code", "stats", "packages", "environment", "variables", "reserved", "figures"),
    "upstreams",
}


def with_more(value: object) -> object:
    """Return JSON with a field more in each object, except those in `FREE`, which have the user's names."""
    if isinstance(value, list):
        return [with_more(item) for item in value]
    if not isinstance(value, dict):
        return value
    same = {name: item if name in FREE else with_more(item) for name, item in value.items()}
    return {**same, "weather": {"sky": ["blue"]}}


def test_a_record_of_the_same_schema_may_have_fields_at_all_levels_that_we_do_not_know():
    worst = (DifferingValue("zone=3", "1", "2", 1.0, 1.0),)
    differs = Difference("a.csv", "1 value", worst=worst, figures={"found": "a.png"})
    record = FAILED.with_(differences=(differs,), flows=(FAILED.with_(differences=(differs,)),))
    data = json.dumps(with_more(json.loads(json.dumps(record.to_json()))))
    assert data.count("weather") == 2 * len(("record", "error", "owner", "difference", "value")) + 1
    assert Record.from_json(json.loads(data)) == record


@pytest.mark.parametrize(
    "change",
    [
        {"schema": SCHEMA_VERSION + 1},
        {"schema": 0},
        {"schema": None},
        {"status": "excellent"},
        {"status": None},
        {"error": "text"},
        {"error": {"type": "E"}},
        {"flows": [{}]},
        {"flows": 3},
        {"warnings": 3},
        {"warnings": "text"},
        {"warnings": [3]},
        {"duration": "12.5"},
        {"duration": True},
        {"run_dir": None},
        {"inputs": None},
        {"inputs": ["a"]},
        {"inputs": {"a": 3}},
        {"outputs": []},
        {"packages": None},
        {"stats": None},
        {"environment": None},
        {"reserved": []},
        {"line": "3"},
        {"error": {"type": "E", "message": 3}},
        {"error": []},
        {"found": "text"},
        {"owner": {"host": "h", "pid": "1", "started": 0}},
        {"owner": ""},
        {"unknown": {}},
    ],
)
def test_what_is_not_a_record_of_this_schema_is_refused(change):
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        Record.from_json({**FAILED.to_json(), **change})


@pytest.mark.parametrize(
    "field", ["status", "flow", "step", "instance", "run_dir", "schema", "inputs", "outputs"]
)
def test_a_record_without_a_field_that_it_must_have_is_refused(field):
    data = FAILED.to_json()
    del data[field]
    with pytest.raises((TypeError, KeyError)):
        Record.from_json(data)


@pytest.mark.parametrize(
    ("message", "summary"),
    [("no\nluck", "E: no"), ("", "E"), ("\n\n  late\nmore", "E: late"), (" \n ", "E"), ("a\r\nb", "E: a")],
)
def test_the_summary_of_a_failure_is_one_line(message, summary):
    assert Failure("E", message).summary == summary


def test_the_message_of_a_record_is_its_error_then_its_first_warning_then_that_of_its_flows():
    good = FAILED.flows[0]
    assert FAILED.message == "ValueError: no"
    assert FAILED.with_(error=None).message == "⚠️ low"
    assert good.message is None
    assert good.with_(flows=(good, FAILED)).message == "ValueError: no"


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("t.csv, row 2", "is empty"), "t.csv, row 2: is empty"),
        (Problem("t.csv", "is empty", "fill it"), "t.csv: is empty (fill it)"),
    ],
)
def test_a_problem_says_where_what_and_what_to_do(problem, text):
    assert str(problem) == text
    assert Problem(**json.loads(json.dumps(problem.to_json()))) == problem


def test_a_table_error_shows_all_problems_one_line_each():
    problems = [Problem("a", "1"), Problem("b", "2", "3")]
    error = TableError(problems)
    assert str(error) == "a: 1\nb: 2 (3)"
    assert error.problems == problems


def test_a_missing_flow_is_a_missing_file_for_those_who_catch_that():
    with pytest.raises(FileNotFoundError, match=r"^flow 'x' not found$"):
        raise FlowNotFound("flow 'x' not found")


@pytest.mark.parametrize(
    "error",
    [
        TableError([Problem("a", "1"), Problem("b", "2")]),
        InstanceFailed("x failed", FAILED),
        FlowNotFound("flow 'x' not found"),
    ],
)
def test_errors_come_back_whole_from_a_conductors_own_processes(error):
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back)) == (type(error), str(error))
    assert getattr(back, "record", None) == getattr(error, "record", None)
