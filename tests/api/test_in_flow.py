"""What a flow imports: its config as variables and as a table, and running it as a plain script."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_ductaflow.api import run_notebook as run_notebook_module
from pytest_ductaflow.api.in_flow import (
    PATH_KEYS,
    display_config_summary,
    generate_config_markdown,
    is_notebook_execution,
    load_cli_config,
    setup_conductor_logging,
    setup_execution_logging,
    unpack_config,
)
from pytest_ductaflow.core.errors import FlowNotFound
from pytest_ductaflow.planning import recorded_calls


@pytest.mark.parametrize("config", [None, {}])
def test_without_a_config_there_are_no_variables_and_a_hint(capsys, config):
    assert unpack_config(config, "Fit", names := {}) == {}
    assert names == {}
    assert "--config" in capsys.readouterr().out


def test_a_config_becomes_variables_with_its_groups_and_their_entries():
    config = {"a": 1, "p": {"m": "x", "deep": {"n": 2}}, "empty": {}, "none": None}
    assert unpack_config(config) == {**config, "m": "x", "deep": {"n": 2}}


@pytest.mark.parametrize("key", PATH_KEYS)
def test_well_known_keys_are_paths(key):
    assert unpack_config({key: "a/b"})[key] == Path("a/b")
    assert unpack_config({"group": {key: "a"}})[key] == Path("a")
    assert unpack_config({key: None, "x": 1})[key] is None


def test_the_config_itself_is_left_as_it_is():
    config = {"output_dir": "a", "p": {"data_dir": "b"}}
    unpack_config(config)
    assert config == {"output_dir": "a", "p": {"data_dir": "b"}}


def test_a_namespace_gets_the_variables_as_well():
    names = {"a": 0, "kept": 1}
    unpack_config({"a": 2, "p": {"b": 3}}, caller_locals=names)
    assert names == {"a": 2, "kept": 1, "p": {"b": 3}, "b": 3}


def test_with_a_name_the_config_is_shown(capsys):
    unpack_config({"größe": 1}, "My flow")
    out = capsys.readouterr().out
    assert "## Configuration for My flow" in out
    assert "| größe | 1 |" in out


def test_the_markdown_of_a_config_has_a_table_for_its_values_and_one_for_each_group():
    config = {"year": 2040, "cost_model": {"on": True, "off": False}, "path": None, "empty": {}}
    head = "| Parameter | Value |\n|-----------|-------|\n"
    assert generate_config_markdown(config, "fit").split("\n\n") == [
        "## Configuration for fit",
        f"{head}| year | 2040 |\n| path | *None* |\n| empty | *0 items* |",
        "### Cost Model",
        f"{head}| on | ✓ |\n| off | ✗ |\n",
    ]


def test_a_config_with_nothing_but_groups_has_no_empty_table():
    assert generate_config_markdown({"p": {"a": 1}}).count("| Parameter |") == 1


@pytest.mark.parametrize("config", [{}, None])
def test_the_markdown_of_no_config_says_so(config):
    assert generate_config_markdown(config) == "**No configuration provided**\n"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (0, "0"),
        (0.1, "0.1"),
        ("", ""),
        ([1, "a", None], "1, a, None"),
        ([], ""),
        ("x" * 50, "x" * 50),
        ("x" * 51, "x" * 47 + "..."),
        (list(range(100)), f"{', '.join(map(str, range(100)))[:47]}..."),
        ("a|b", "a\\|b"),
        ("a\nb", "a b"),
        ("<script>", "&lt;script>"),
    ],
    ids=repr,
)
def test_a_value_is_one_short_cell(value, cell):
    assert f"| x | {cell} |" in generate_config_markdown({"x": value}).splitlines()


def test_of_a_group_in_a_group_the_number_of_entries_is_shown():
    assert "| deep | *2 items* |" in generate_config_markdown({"p": {"deep": {"a": 1, "b": 2}}})


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text()), min_size=1, max_size=4))
def test_a_table_has_one_line_for_each_value_whatever_it_holds(config):
    rows = generate_config_markdown(config).split("\n")[4:-1]
    assert len(rows) == len(config)
    assert all(row.startswith("| ") and row.endswith(" |") for row in rows)


def test_outside_of_a_notebook_the_config_is_printed(capsys):
    display_config_summary({"a": 1})
    assert capsys.readouterr().out == generate_config_markdown({"a": 1}) + "\n"


def test_within_a_notebook_the_config_is_displayed(monkeypatch, capsys):
    shown: list[str] = []
    shell = SimpleNamespace(get_ipython=lambda: "a shell")
    display = SimpleNamespace(Markdown=lambda text: text, display=shown.append)
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    assert is_notebook_execution()
    display_config_summary({"a": 1}, "x")
    assert shown == [generate_config_markdown({"a": 1}, "x")]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("module", [None, SimpleNamespace(get_ipython=lambda: None)])
def test_a_plain_script_is_no_notebook_even_if_ipython_is_loaded(monkeypatch, module):
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    if module is not None:
        monkeypatch.setitem(sys.modules, "IPython", module)
    assert not is_notebook_execution()


# The flow as a script


@pytest.fixture
def project(write, monkeypatch) -> Path:
    root = write({"flows/x.py": "1", "config/x.json": {"a": 1}, "elsewhere/note.txt": ""})
    monkeypatch.chdir(root)
    monkeypatch.delenv(recorded_calls.VARIABLE, raising=False)
    return root


@contextlib.contextmanager
def script(project: Path, *arguments: str) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    """Hold the state of a run of `python flows/x.py …`, with its two streams; restore all afterwards."""
    streams = io.StringIO(), io.StringIO()
    root_logger = logging.getLogger()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(project / "flows" / "x.py"), *arguments])
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        patch.setattr(logging, "lastResort", logging.lastResort)
        patch.setattr(root_logger, "handlers", [])
        patch.setattr(root_logger, "level", root_logger.level)
        try:
            yield streams
        finally:
            for stream in (sys.stdout, sys.stderr):
                if hasattr(stream, "_file"):
                    stream._file.close()


def loaded(project: Path, *arguments: str) -> dict[str, object]:
    with script(project, *arguments):
        return load_cli_config("config/x.json")


def test_a_script_without_arguments_gets_its_default_config_and_the_project(project):
    assert loaded(project) == {"a": 1, "_project_root": str(project)}


def test_the_default_config_is_looked_for_in_the_working_directory_then_in_the_project(project, monkeypatch):
    monkeypatch.chdir(project / "elsewhere")
    assert loaded(project)["a"] == 1
    (project / "elsewhere" / "config").mkdir()
    (project / "elsewhere" / "config" / "x.json").write_text('{"a": 2}', encoding="utf-8")
    assert loaded(project)["a"] == 2


def test_a_config_of_the_command_line_goes_before_the_default(project):
    (project / "other.json").write_text('{"b": "ä", "_project_root": "/kept"}', encoding="utf-8")
    assert loaded(project, "--config", "other.json") == {"b": "ä", "_project_root": "/kept"}


def ended(project: Path, *arguments: str) -> tuple[object, str]:
    """Return exit code and stderr of a script that ends in the call."""
    with script(project, *arguments) as (_, err), pytest.raises(SystemExit) as caught:
        load_cli_config("config/x.json")
    return caught.value.code, err.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no file other.json"),
        ("{", "is not JSON"),
        ("[1]", "holds list"),
        ("", "is not JSON"),
        ("3", "holds int"),
        ("null", "holds null, expected an object"),
        ('{"a": "ä"}'.encode("latin-1"), "is not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "is not UTF-8"),
    ],
)
def test_a_config_that_is_none_ends_the_script_with_a_sentence(project, content, said):
    if content is not None:
        (project / "other.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    code, err = ended(project, "--config", "other.json")
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_script_gets_values_of_the_environment_and_is_told_which_are_missing(project, monkeypatch):
    monkeypatch.setenv("PLACE", "there")
    (project / "other.json").write_text('{"a": "x/${env:PLACE}"}', encoding="utf-8")
    assert loaded(project, "--config", "other.json")["a"] == "x/there"
    (project / "other.json").write_text('{"a": "${env:NOWHERE}", "token": "•••"}', encoding="utf-8")
    code, err = ended(project, "--config", "other.json")
    assert code == 2
    assert "environment variable NOWHERE is not set" in err
    assert "config key 'token' is masked" in err


def test_a_config_may_begin_with_a_byte_order_mark(project):
    (project / "config" / "x.json").write_text('{"a": 1}', encoding="utf-8-sig")
    try:
        assert loaded(project)["a"] == 1
    except SystemExit:
        pytest.fail("ended with 2")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("config", "config is a directory, expected a JSON file"),
        ("x" * 300, "no file xxx"),
        ("a\0b", "no file a"),
    ],
)
def test_a_config_that_cannot_be_a_file_ends_the_script_with_a_sentence(project, name, said):
    code, err = ended(project, "--config", name)
    assert code == 2
    assert f"error: --config: {said}" in err


def log_of(project: Path) -> str:
    return (project / "x_execution_output.txt").read_text(encoding="utf-8")


def test_what_the_script_prints_is_in_its_log_as_well(project):
    with script(project) as (out, err):
        load_cli_config("config/x.json")
        print("größe ⚠️")
        print("to stderr", file=sys.stderr)
        logging.getLogger("mine").warning("low")
    assert log_of(project).splitlines() == ["größe ⚠️", "to stderr", "WARNING: low"]
    assert (out.getvalue(), err.getvalue()) == ("größe ⚠️\n", "to stderr\nWARNING: low\n")


def test_lines_that_are_written_together_are_in_the_log_too(project):
    with script(project):
        load_cli_config("config/x.json")
        sys.stdout.writelines(["a\n", "b\n"])
    assert log_of(project) == "a\nb\n"


@pytest.mark.parametrize(
    ("arguments", "directory", "no_execute"),
    [
        (["--output-dir", "runs/x/A"], "runs/x/A", False),
        (["--output-dir", "runs/x/A", "--no-execute"], "runs/x/A", True),
        (["--no-execute"], ".", True),
    ],
)
def test_with_an_output_directory_the_script_runs_as_an_instance_and_ends(
    project, monkeypatch, arguments, directory, no_execute
):
    calls = []
    monkeypatch.setattr(
        run_notebook_module, "run_notebook", lambda flow, **more: calls.append({"flow": flow, **more})
    )
    assert ended(project, *arguments) == (0, "")
    assert calls == [
        {
            "flow": (project / "flows" / "x.py").resolve(),
            "config": {"a": 1, "_project_root": str(project)},
            "execution_dir": directory,
            "no_execute": no_execute,
        }
    ]


def test_a_script_that_is_collected_is_recorded_and_ends(project, monkeypatch, tmp_path):
    calls = tmp_path / "calls"
    monkeypatch.setenv(recorded_calls.VARIABLE, str(calls))
    assert ended(project) == (0, "")
    instances, problems = recorded_calls.read(calls)
    assert [instance.stem for instance in instances] == ["x"]
    assert problems == []


def test_a_flow_that_fails_as_an_instance_ends_the_script_with_1_and_the_reason(project, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise FlowNotFound("not there")

    monkeypatch.setattr(run_notebook_module, "run_notebook", fail)
    assert ended(project, "--output-dir", "d") == (1, "not there\n")


# Loggers


@pytest.fixture
def loggers() -> Iterator[list[logging.Logger]]:
    made: list[logging.Logger] = []
    yield made
    for logger in made:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()


def test_a_logger_writes_to_a_file_with_times_and_bare_to_the_console(tmp_path, capsys, loggers):
    logger = setup_execution_logging(tmp_path / "deep" / "run.txt", "test_ductaflow_a")
    loggers.append(logger)
    logger.info("größe %s", 3)
    logger.debug("unseen")
    (line,) = (tmp_path / "deep" / "run.txt").read_text(encoding="utf-8").splitlines()
    assert line.endswith(" - test_ductaflow_a - INFO - größe 3")
    assert capsys.readouterr().err == "größe 3\n"


def test_setting_a_logger_up_again_does_not_double_its_lines(tmp_path, loggers):
    for _ in range(2):
        logger = setup_execution_logging(tmp_path / "run.txt", "test_ductaflow_b", logging.WARNING)
    loggers.append(logger)
    logger.warning("once")
    logger.info("unseen")
    assert (tmp_path / "run.txt").read_text(encoding="utf-8").count("\n") == 1
    assert not logger.propagate


def test_a_conductors_log_has_the_day_in_its_name(tmp_path, loggers):
    logger = setup_conductor_logging(tmp_path / "logs", "test_ductaflow_c")
    loggers.append(logger)
    logger.info("begun")
    (path,) = (tmp_path / "logs").iterdir()
    assert path.name.startswith("conductor_20")
    assert len(path.stem) == len("conductor_20400229")


def test_a_config_travels_through_json_to_the_same_variables():
    config = {"a": [1, {"b": None}], "p": {"output_dir": "d"}}
    assert unpack_config(json.loads(json.dumps(config))) == unpack_config(config)
