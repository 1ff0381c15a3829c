"""Everything that projects for any release of ductaflow import exists, under the module names of then."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import ductaflow
import pytest

from pytest_ductaflow import DuctaflowError
from pytest_ductaflow.api import in_flow, older_names

MODULES = ("ductaflow", "ductaflow.ductaflow", "ductaflow.ductacore", "ductacore")
IMPORTS = (
    "from ductacore import run_notebook, setup_run_config",
    "import ductacore",
    "from ductaflow.ductaflow import run_notebook, load_config",
    "from ductaflow.ductacore import run_step_flow, setup_logging",
    "from ductaflow import run_notebook, get_param",
    "import ductaflow.ductaflow as df; from ductaflow import ductacore; df.conduct",
)


@pytest.mark.parametrize("line", IMPORTS)
def test_modules_have_the_names_of_all_ages(line):
    code = f"{line}\nimport sys\nprint(*sorted({{sys.modules[name].__name__ for name in {MODULES!r}}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "pytest_ductaflow.api.as_ductaflow\n"), done.stderr


def test_all_names_are_offered():
    assert set(older_names.__all__) <= set(dir(ductaflow))
    assert all(callable(getattr(ductaflow, name)) for name in older_names.__all__)
    assert not set(older_names.__all__) & set(ductaflow._api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'no_such'"):
        ductaflow.no_such  # noqa: B018


def test_configs_are_saved_and_loaded(tmp_path):
    file = tmp_path / "a/b.json"
    ductaflow.save_config({"x": Path("y"), "ä": 1}, file)
    assert ductaflow.load_config(str(file)) == {"x": "y", "ä": 1}
    file.write_text('{"x": 1,\n}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"b\.json:2: not JSON"):
        ductaflow.load_config(file)
    with pytest.raises(FileNotFoundError, match=r"none\.json not found"):
        ductaflow.load_config(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a/x", 1),
        ("b/x", 2),
        ("x", 1),
        ("y", 3),
        ("a/none", "-"),
        ("none/x", "-"),
        ("none", "-"),
        ("a/x/z", "-"),
    ],
)
def test_a_parameter_is_found_in_its_group_or_in_the_first_that_has_it(path, value):
    config = {"n": 0, "a": {"x": 1}, "b": {"x": 2, "y": 3}}
    assert ductaflow.get_param(path, config, "-") == value


def test_a_config_of_a_run_has_its_overrides_and_types():
    base = {
        "on": "True",
        "off": "FALSE",
        "table": "zones.csv",
        "folder": "a/b",
        "name": "base",
        "n": 1,
        "l": ["true"],
    }
    found = ductaflow.setup_run_config(base, {"n": 2}, {"n": str, "none": int, "name": str.upper})
    assert found == {
        "on": True,
        "off": False,
        "table": Path("zones.csv"),
        "folder": Path("a/b"),
        "name": "BASE",
        "n": "2",
        "l": ["true"],
    }
    assert base["on"] == "True"


def test_logging_goes_into_a_file_of_the_run(tmp_path):
    code = """
        import ductacore, logging
        ductacore.setup_logging('.').info('begun')
        logging.getLogger('other').warning('odd')
    """
    command = [sys.executable, "-c", "\n".join(map(str.strip, code.splitlines()))]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    logged = (tmp_path / "pipeline_execution.log").read_text(encoding="utf-8")
    assert printed == logged
    assert [line.split(" - ", 1)[1] for line in logged.splitlines()] == ["INFO - begun", "WARNING - odd"]


def test_what_made_projects_says_what_to_do_instead():
    with pytest.raises(DuctaflowError, match=r"make_new_ductaflow_instance\(\) is not needed any more"):
        ductaflow.make_new_ductaflow_instance("name", target_dir=".")
    with pytest.raises(DuctaflowError, match=r"python flows/x\.py --config"):
        ductaflow.create_flow_run_script("flows/x.py")


def test_a_conductor_that_saves_its_state_is_told_that_this_is_not_done(tmp_path):
    logger = in_flow.setup_conductor_logging(tmp_path, "conductor of a test")
    with pytest.warns(UserWarning, match="saves no copy of the conductor"):
        logger.info("built", extra={"save_state": True})
    logger.info("more")
    for handler in logger.handlers:
        handler.close()
    logging.getLogger("conductor of a test").handlers.clear()
    (file,) = tmp_path.iterdir()
    assert [line.rsplit(" - ", 1)[1] for line in file.read_text().splitlines()] == ["built", "more"]
