"""Secrets reach a flow and nothing that is kept or shown of it, also if it fails or is in a build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment, run, run_session

pytestmark = pytest.mark.slow

VALUES = ("tök&en/12345", 'pa"ss\nword-two', "inner.example.org/zzz", "from-environment", "licence-number-9")
VARIABLES = {"DB_PLACE": VALUES[2], "MY_API_TOKEN": VALUES[3]}
FLOW = """\
import base64, json, sys, time
from IPython.display import HTML, display
told = {"token": token, "password": config["db"]["password"], "url": url, "plain": plain, "lic": licence}
open("seen.json", "w").write(json.dumps([len(value) for value in told.values()]))
print(told, json.dumps(told), base64.b64encode(token.encode()).decode())
for letter in token:
    print(letter, end="", flush=True)
    time.sleep(0.01)
print()
print(f"warning: {token}", file=sys.stderr)
display(HTML(f"<b>{token}</b>"))

# %%
config

# %%
if config["fails"]:
    raise ValueError(f"{token} is wrong at {url}")
"""
BUILD = """\
from pytest_ductaflow import run_notebook
run_notebook("flows/use.py", config={**config, "fails": False}, execution_dir="runs/inner")
"""
CONDUCTOR = f"""\
from pytest_ductaflow import SweepFailed, conduct, is_collecting
row = {{
    "token": {VALUES[0]!r}, "db.password": {VALUES[1]!r}, "url": "http://${{env:DB_PLACE}}/x",
    "plain": {VALUES[3]!r}, "licence": {VALUES[4]!r},
}}
conduct("builds/all.py", [{{**row, "instance_name": "one"}}])
try:
    rows = [{{**row, "mode": mode, "fails": mode == "rail"}} for mode in ("rail", "road")]
    conduct("flows/use.py", rows, after=[])
except SweepFailed as error:
    print(error)
if not is_collecting():
    print("afterwards", row)
"""


def session(root, *arguments, **variables):
    """Run a session; return what it printed."""
    given = {**own_environment(pages=True), **VARIABLES, **variables}
    done = run_session(root, "-p", "no:cacheprovider", "--ductaflow", *arguments, environment=given)
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Return a project of which all instances have run."""
    files = {
        "flows/use.py": FLOW,
        "builds/all.py": BUILD,
        "conductor.py": CONDUCTOR,
        "pytest.ini": "[pytest]\nductaflow_secrets = licen[cs]e*\n",
    }
    root = write_project(tmp_path_factory.mktemp("secrets"), files)
    text = session(root, "conductor.py", "-v", "-n", "2", "--ductaflow-after=always", "--junitxml=junit.xml")
    (root / "terminal.txt").write_text(text, encoding="utf-8")
    return root


def forms(value):
    return {value, json.dumps(value)[1:-1], repr(value)[1:-1], value.splitlines()[-1]}


def test_no_secret_is_in_what_is_kept_or_shown(root):
    kept = [path for path in root.rglob("*") if path.is_file() and path.name != "conductor.py"]
    assert {path.suffix for path in kept} >= {".json", ".ipynb", ".html", ".txt", ".xml"}
    texts = {path: path.read_text(encoding="utf-8", errors="replace") for path in kept}
    places = [
        (str(path.relative_to(root)), value)
        for path, text in texts.items()
        for value in VALUES
        if any(form in text or form in str(path) for form in forms(value))
    ]
    assert places == []


def test_the_flow_had_them_all_the_same(root):
    expected = [len(value) for value in (*VALUES[:2], f"http://{VALUES[2]}/x", *VALUES[3:])]
    seen = [json.loads(path.read_text()) for path in (root / "runs").rglob("seen.json")]
    assert seen == [expected] * 3


def test_masks_and_references_stand_in_their_place(root):
    config = json.loads((root / "runs/all/one/runs/inner/use_config.json").read_text())
    assert config["token"] == config["db"]["password"] == config["licence"] == "•••"
    assert config["url"] == "http://${env:DB_PLACE}/x"
    assert config["plain"] == "${env:MY_API_TOKEN}"
    terminal = (root / "terminal.txt").read_text()
    assert "ValueError: ••• is wrong at http://•••/x" in terminal
    log = (root / "runs/.after/conductor/conductor_execution_output.txt").read_text()
    assert "'token': '•••'" in log


def test_what_is_unchanged_is_not_run_again_and_another_secret_is_a_reason(root):
    asked = ("conductor.py", "--ductaflow-explain")
    assert "2 unchanged" in session(root, *asked)
    text = session(root, *asked, DB_PLACE="another.example.org")
    assert "secret ${env:DB_PLACE} changed" in text
    conductor = root / "conductor.py"
    original = conductor.read_text()
    conductor.write_text(original.replace("tök&en/12345", "tök&en/12346"))
    text = session(root, *asked)
    conductor.write_text(original)
    assert "secret token changed" in text
    assert "12346" not in text


def test_a_repetition_from_the_folder_says_which_values_it_has_not(root):
    text = session(root, "runs/all/one")
    assert "config key 'token' is masked (•••): values of secrets are not written" in text


def test_with_references_alone_an_instance_is_repeated_from_its_folder(root):
    write_project(
        root,
        {
            "flows/plain.py": "print(len(token), token)",
            "plain_conductor.py": """\
            from pytest_ductaflow import conduct
            conduct("flows/plain.py", [{"instance_name": "a", "token": "${env:DB_PLACE}"}])
            """,
        },
    )
    log = root / "runs/plain/a/plain_execution_output.txt"
    assert "1 passed" in session(root, "plain_conductor.py")
    assert log.read_text() == f"{len(VALUES[2])} •••\n"
    assert "1 passed" in session(root, "runs/plain/a", DB_PLACE="other-value")
    assert log.read_text() == f"{len('other-value')} •••\n"
    environment = own_environment(pages=True)
    done = run_session(root, "-p", "no:cacheprovider", "--ductaflow", "runs/plain/a", environment=environment)
    assert "SecretMissing: config key 'token': environment variable DB_PLACE is not set" in done.stdout


def test_a_script_masks_them_as_well(root, monkeypatch):
    for name, value in {**VARIABLES, "DUCTAFLOW_SECRETS": "licen*"}.items():
        monkeypatch.setenv(name, value)
    write_project(
        root,
        {
            "flows/say.py": "print(licence)",
            "say.py": """\
            from pytest_ductaflow import run_step_flow
            run_step_flow("flows/say.py", "say", "a", {"licence": "licence-number-9"})
            """,
        },
    )
    run(root, "say.py")
    assert (root / "runs/say/a/say_execution_output.txt").read_text() == "•••\n"
    assert "licence-number" not in (root / "runs/say/a/say_executed.ipynb").read_text()


def test_a_name_with_a_secret_and_a_value_that_a_schema_refuses_do_not_show_it(root):
    write_project(
        root,
        {
            "flows/named.py": "",
            "config/flows/named.schema.json": {"properties": {"token": {"type": "integer"}}},
            "named_conductor.py": """\
            from pytest_ductaflow import conduct
            row = {"instance_name": "x-s3cr3t-9", "password": "s3cr3t-9", "token": "t0k3n-9"}
            conduct("flows/named.py", [row])
            """,
        },
    )
    text = session(root, "named_conductor.py")
    assert "column 'token': '•••' is not of type 'integer' (expected an integer)" in text
    assert "instance_name contains the value of 'password', which is a secret" in text
    assert "s3cr3t-9" not in text
