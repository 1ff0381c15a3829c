"""Options: declared once, read from the command line, then the ini file, then the defaults."""

from __future__ import annotations

from dataclasses import fields

import pytest

from pytest_ductaflow.core.settings import OPTIONS, Option, Settings

BY_NAME = {option.name: option for option in OPTIONS}


def resolved(given: dict[str, object] | None = None, ini: dict[str, str] | None = None) -> Settings:
    return Settings.resolve(
        lambda option: (given or {}).get(option.name), lambda option: (ini or {}).get(option.name, "")
    )


def test_each_field_of_the_settings_is_an_option_and_the_other_way_round():
    assert [option.name for option in OPTIONS] == [field.name for field in fields(Settings)]


def test_the_spellings_of_an_option_come_from_its_name():
    assert (BY_NAME["where"].flag, BY_NAME["where"].ini) == ("--ductaflow-where", "ductaflow_where")
    assert (BY_NAME["no_wait"].flag, BY_NAME["no_wait"].ini) == ("--ductaflow-no-wait", "ductaflow_no_wait")
    assert (BY_NAME["on"].flag, BY_NAME["on"].ini) == ("--ductaflow", "ductaflow")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_help_of_an_option_is_a_sentence(option):
    assert option.help[0].isupper()
    assert option.help.endswith((".", ")."))
    assert "%" not in option.help.replace("%%", "")


@pytest.mark.parametrize("name", BY_NAME)
def test_settings_made_of_nothing_are_the_defaults(name):
    assert getattr(Settings(), name) == getattr(resolved(), name)


@pytest.mark.parametrize(
    "name", [name for name, option in BY_NAME.items() if option.choices and option.default is not None]
)
def test_a_default_is_one_of_the_choices(name):
    assert BY_NAME[name].parse(BY_NAME[name].default) == BY_NAME[name].default


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        *[("on", text, True) for text in ("true", "True", " 1 ", "yes", "ON")],
        *[("on", text, False) for text in ("false", "0", "No", "off", " ")],
        ("where", "year == 2040", "year == 2040"),
        ("shard", "2/5", (2, 5)),
        ("shard", "1/1", (1, 1)),
        ("warnings", "pass", "pass"),
        ("html", "none", "none"),
        ("timeout", "1.5", 1.5),
        ("timeout", " 60 ", 60.0),
        ("timeout", "1e3", 1000.0),
        ("kernel", "ir", "ir"),
        ("keep", "*.pt  cache/\nlogs", ("*.pt", "cache/", "logs")),
        ("generations", " 0 ", 0),
        *[("threads", text, text) for text in ("auto", "off")],
        ("threads", " 2 ", 2),
        ("no_wait", "yes", True),
        ("root", "../a b", "../a b"),
        ("files", "a.py  b_*.py\nc.py", ("a.py", "b_*.py", "c.py")),
    ],
)
def test_a_text_is_parsed_the_same_from_the_command_line_and_the_ini_file(name, text, value):
    assert getattr(resolved({name: text}), name) == value
    assert getattr(resolved({}, {name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("on", "perhaps", "expected true or false"),
        ("warnings", "Xfail", "is not one of xfail, pass, fail"),
        ("warnings", "", "is not one of xfail, pass, fail"),
        ("html", "yes", "is not one of all, failed, none"),
        ("timeout", "soon", "expected a number of seconds"),
        ("timeout", "0", "expected more than 0 seconds"),
        ("timeout", "-1", "expected more than 0 seconds"),
        ("timeout", "nan", "expected more than 0 seconds"),
        ("memory", "9" * 400 + "GB", "expected a size such as 500 MB"),
        ("keep_warm", "9" * 400 + "h", "expected a time such as 90s"),
        *[("shard", text, "expected a part and their number") for text in ("2", "2/", "a/b", "-1/2")],
        ("keep", "../x", "expected a pattern of files in the run directory"),
        ("generations", "-1", "expected a whole number, 0 or more"),
        *[
            ("threads", text, "expected auto, off or a whole number, 1 or more")
            for text in ("0", "-1", "1.5", "Auto", "all")
        ],
        ("generations", "many", "expected a whole number, 0 or more"),
        ("shard", "6/5", "expected a part from 1 to 5"),
        ("shard", "0/5", "expected a part from 1 to 5"),
        ("shard", "0/0", "expected at least one part"),
    ],
)
def test_a_wrong_text_is_an_error_that_names_the_option_and_what_was_expected(name, text, said):
    with pytest.raises(ValueError, match=said) as caught:
        resolved({name: text})
    assert str(caught.value).startswith(f"{BY_NAME[name].ini}: {text!r}")


def test_the_command_line_goes_before_the_ini_file_and_that_before_the_default():
    ini = {"html": "failed", "timeout": "5"}
    settings = resolved({"html": "none", "on": True}, ini)
    assert (settings.html, settings.timeout, settings.kernel, settings.on) == ("none", 5.0, None, True)


def test_a_wrong_text_in_the_ini_file_does_not_matter_if_the_command_line_says_otherwise():
    assert resolved({"html": "none"}, {"html": "nonsense"}).html == "none"


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(
            on=True,
            where="a == 'ä'",
            shard=(2, 5),
            warnings="fail",
            html="none",
            timeout=0.5,
            kernel="ir",
            root="..",
            files=("a", "b"),
        ),
    ],
)
def test_settings_come_back_whole_from_text(settings):
    assert Settings.loads(settings.dumps()) == settings


def test_settings_of_another_version_are_read_as_far_as_they_are_known():
    assert Settings.loads('{"html": "none", "unheard_of": "yes"}') == Settings(html="none")
    assert Settings.loads("{}") == Settings()


def test_an_option_takes_text_as_it_is_if_nothing_else_is_said():
    assert Option("x", "Help.", default=None).parse(" a ") == " a "
