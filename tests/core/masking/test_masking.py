"""Secrets are known by their names, taken out of configs, given back to flows, and masked in texts."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import nbformat
import pytest

from pytest_ductaflow.core.config_markdown import generate_config_markdown, readable_config
from pytest_ductaflow.core.errors import SecretMissing
from pytest_ductaflow.core.instance import Instance, config_hash
from pytest_ductaflow.core.masking import names
from pytest_ductaflow.core.masking.config import (
    MASK,
    changed_secrets,
    digests_of_secrets,
    names_by_value,
    references_in,
    secret_in_name,
    values_to_mask,
    with_secrets,
    without_secrets,
)
from pytest_ductaflow.core.masking.masker import Masker
from pytest_ductaflow.core.masking.names import is_secret, patterns_here
from pytest_ductaflow.core.record import Failure
from pytest_ductaflow.running.notebook.cell_outputs import CellOutputs, mask_outputs
from pytest_ductaflow.running.output_log import Output
from pytest_ductaflow.sources.tables import readable_names

SECRET_NAMES = """
    password DB_PASSWORD dbPassword token accessToken GITHUB_TOKEN api_key apikey API-KEY privateKey
    aws_secret_access_key client.secret credentials passphrase secrets db_passwords passphrases apiKeys
    api_keys private_keys
"""
OTHER_NAMES = """
    key keys tokens tokenizer max_tokens token_file password_length secret_name pass PWD keyboard sort_key
    compass token_url DUCTAFLOW_SECRETS
"""


@pytest.fixture(autouse=True)
def no_patterns(monkeypatch):
    monkeypatch.setattr(names, "_told", ())
    monkeypatch.delenv(names.VARIABLE, raising=False)


@pytest.mark.parametrize(
    "name",
    SECRET_NAMES.split(),
)
def test_names_of_secrets_are_known(name):
    assert is_secret(name, patterns_here())


@pytest.mark.parametrize(
    "name",
    OTHER_NAMES.split(),
)
def test_other_names_are_not_taken_for_secrets(name):
    assert not is_secret(name, patterns_here())


def test_patterns_add_to_the_names_and_take_from_them(monkeypatch):
    names.use(["licen[cs]e*", "DB_*", "!*_token"])
    assert is_secret("License_No", patterns_here())
    assert is_secret("db_host", patterns_here())
    assert is_secret("group.licence", patterns_here())
    assert not is_secret("my_token", patterns_here())
    monkeypatch.setenv(names.VARIABLE, "my_token zone.*")
    assert is_secret("my_token", patterns_here())
    assert is_secret("zone.x", patterns_here())


CONFIG = {
    "token": "tok-12345",
    "max_token": 512,
    "password": 1234,
    "n": 5,
    "on": {"secret": True, "credentials": {"user": "me-myself", "list": ["one", {"x": 2}]}, "api_key": ""},
    "url": "https://me:hidden-in-env@host/${env:PLACE}",
    "copy": "short",
}
ENVIRONMENT = {"API_TOKEN": "hidden-in-env", "OTHER_TOKEN": "true", "PLACE": "there", "B_SECRET": "short"}


def test_secrets_are_taken_out_of_a_config_and_given_back():
    bare, secrets = without_secrets(CONFIG, names_by_value(ENVIRONMENT))
    assert bare == {
        "token": MASK,
        "max_token": 512,
        "password": MASK,
        "n": 5,
        "on": {"secret": True, "credentials": {"user": MASK, "list": [MASK, {"x": MASK}]}, "api_key": ""},
        "url": "https://me:${env:API_TOKEN}@host/${env:PLACE}",
        "copy": "short",
    }
    assert dict(secrets)["on", "credentials", "list", 1, "x"] == 2
    whole = {**CONFIG, "url": "https://me:hidden-in-env@host/there"}
    assert with_secrets(bare, secrets, ENVIRONMENT) == whole
    assert references_in(bare) == ["API_TOKEN", "PLACE"]


def test_what_is_taken_from_the_environment_becomes_a_reference_again():
    known = names_by_value({"PLACE": "somewhere-else", "X": "y"}, ["PLACE"])
    assert without_secrets({"a": "x/somewhere-else"}, known)[0] == {"a": "x/${env:PLACE}"}
    assert without_secrets({"token": "abcd"}, names_by_value({"A_TOKEN": "abcd"}))[0] == {
        "token": "${env:A_TOKEN}"
    }


def test_a_variable_that_is_missing_and_a_mask_are_told():
    with pytest.raises(SecretMissing, match=r"'a': environment variable NO is not set; .*'b.c' is masked"):
        with_secrets({"a": "${env:NO}", "b": {"c": MASK}}, (), {})
    with pytest.raises(SecretMissing, match="values of secrets are not written"):
        without_secrets({"b": [MASK]}, {})
    assert without_secrets({"b": f"{MASK}{MASK}"}, {}) == ({"b": f"{MASK}{MASK}"}, ())


def instance_with(config, environment=(), **more):
    bare, secrets = without_secrets(config, {})
    return Instance("f.py", "f", "a", bare, "r", ".", secrets=secrets, variables=tuple(environment), **more)


def test_an_instance_with_secrets_travels_and_does_not_show_them():
    instance = instance_with({"token": "tok-12345", "x": [1]})
    assert Instance.from_json(json.loads(json.dumps(instance.to_json()))) == instance
    assert "12345" not in repr(instance)
    assert "12345" not in json.dumps(instance.full_config)


def test_another_secret_is_noticed_by_a_digest_that_tells_nothing():
    one = instance_with({"token": "tok-12345", "u": "${env:X}"}, [("X", "one")])
    digests = digests_of_secrets(one)
    assert set(digests) == {"token", "${env:X}"}
    assert "12345" not in json.dumps(digests)
    assert config_hash({"value": "tok-12345"})[:8] not in json.dumps(digests)
    assert changed_secrets(one, digests) == []
    other = instance_with({"token": "tok-other", "u": "${env:X}"}, [("X", "two")])
    assert changed_secrets(other, digests) == ["${env:X}", "token"]
    assert changed_secrets(instance_with({"u": "${env:X}"}, [("X", "one")]), digests) == ["token"]
    assert changed_secrets(one, {}) == ["${env:X}", "token"]
    assert changed_secrets(instance_with({}), {}) == []


def test_values_to_mask_are_those_of_the_config_and_of_the_environment(tmp_path):
    instance = instance_with(
        {"token": "tok-12345", "pin.password": 12, "a": "${env:PLACE}", "b": "${env:DIR}"}
    )
    environment = {**ENVIRONMENT, "DIR": str(tmp_path)}
    assert values_to_mask([instance], environment) == {"tok-12345", "hidden-in-env", "short", "there"}


SECRET = 'pä"s+s/wörd\\1'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        repr(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        repr(SECRET.encode()),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        SECRET.encode().hex(),
    ],
)
def test_a_secret_is_masked_in_each_form(form):
    masked = Masker([SECRET])(f"before {form} after")
    assert MASK in masked
    assert form.strip("'\"") not in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")


def test_a_mask_is_for_what_is_long_enough_and_the_longest_first():
    assert not Masker(["abc", ""])
    assert Masker(["abc"])("abc") == "abc"
    assert Masker(["abcd", "abcdef"])("abcdef abcd") == f"{MASK} {MASK}"
    assert Masker(["first line\nsecond line"])("a second line here") == f"a {MASK} here"
    data = {"k-abcd": ["abcd", 1, {"x": None}]}
    assert Masker(["abcd"]).in_json(data) == {f"k-{MASK}": [MASK, 1, {"x": None}]}
    failure = Failure("E", "abcd", 1, "f('abcd')", traceback="abcd")
    assert "abcd" not in repr(Masker(["abcd"]).in_failure(failure))


def test_secrets_that_overlap_are_masked_together():
    mask = Masker(["abcdefgh", "efghijkl", "other"])
    assert mask("x abcdefghijkl y other") == f"x {MASK} y {MASK}"
    assert Masker(["abcabc"])("abcabcabc.") == f"{MASK}."


@pytest.mark.parametrize("before", ["", "u:", "me:", "user:"])
@pytest.mark.parametrize("after", ["", "@", ":x", "/db"])
def test_a_secret_within_a_text_in_base64_is_masked(before, after):
    """As in `Authorization: Basic …`, where the secret begins anywhere in a group of three bytes."""
    text = base64.b64encode(f"{before}{SECRET}{after}".encode()).decode()
    masked = Masker([SECRET])(f"Basic {text}")
    assert MASK in masked
    left = masked.removeprefix("Basic ").replace(MASK, "").rstrip("=")
    assert len(left) <= len(base64.b64encode(f"{before}{after}".encode())) + 4


def test_hexadecimal_digits_are_masked_in_either_case():
    text = SECRET.encode().hex()
    assert Masker([SECRET])(f"{text} {text.upper()}") == f"{MASK} {MASK}"


def test_a_log_masks_what_comes_in_pieces(tmp_path):
    log = tmp_path / "log.txt"
    with Output(log, mask=Masker(["s3cr3t-value"])) as output:
        for letter in "warning: s3cr3t-value\nthen s3cr3t-":
            output.write("stdout", letter)
        output.write("stderr", "s3cr3t-value in another stream\n")
        output.write("stdout", "value")
        output.note("note s3cr3t-value")
        output.add_logged(["WARNING: s3cr3t-value logged"])
        output.warn("⚠️ s3cr3t-value")
    assert "s3cr3t" not in log.read_text() + repr(output.warnings)
    assert log.read_text().count(MASK) == 5
    assert output.warnings[0] == f"warning: {MASK}"


def test_a_notebook_masks_what_comes_in_pieces():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print()")])
    outputs = notebook.cells[0].outputs
    outputs.append(nbformat.v4.new_output("stream", name="stdout", text="a s3cr3t"))
    growing = CellOutputs(outputs)
    mask = Masker(["s3cr3t-value"])
    for piece in ("-va", "lue b s3cr3t-", "value c"):
        assert growing.grow("stdout", piece)
        mask_outputs(notebook, mask)
    growing.complete()
    assert outputs[0].text == f"a {MASK} b {MASK} c"
    shown = {
        "text/html": "<b>s3cr3t-value</b>",
        "application/json": {"a": ["s3cr3t-value"]},
        "image/png": "x",
    }
    outputs.append(nbformat.v4.new_output("display_data", data=shown))
    error = {"ename": "E", "evalue": "s3cr3t-value", "traceback": ["s3cr3t-value"]}
    outputs.append(nbformat.v4.new_output("error", **error))
    mask_outputs(notebook, mask)
    assert "s3cr3t" not in nbformat.v4.writes(notebook)


def test_names_and_tables_for_people_do_not_show_secrets(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "tok-12345")
    (name,) = readable_names(["url"], [("x/tok-12345",)])
    assert "12345" not in name
    assert "A_TOKEN" in name
    rows = [("rail", "tok-12345")]
    assert readable_names(["mode", "token"], rows) == ["mode=rail"]
    assert readable_names(["token"], [("tok-12345",)]) == ["1"]
    assert "12345" not in generate_config_markdown({"token": "tok-12345", "g": {"password": "x12345"}})
    assert readable_config({"token": "tok-12345", "on": {"password": 12345}, "secret": True}) == {
        "token": MASK,
        "on": {"password": MASK},
        "secret": True,
    }
    assert secret_in_name("a=tok-12345", "instance_name", ((("x", "token"), "tok-12345"),), {}) == (
        "instance_name contains the value of 'x.token', which is a secret"
    )
    assert secret_in_name("abc", "instance_name", ((("token",), "abc"),), {}) is None
    assert "${env:A_TOKEN}" in str(secret_in_name("a=tok-12345", "step", (), {"tok-12345": "A_TOKEN"}))
