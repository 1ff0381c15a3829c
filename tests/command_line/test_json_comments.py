"""JSON with comments is extended, and nothing else in it changes."""

from __future__ import annotations

import pytest

from pytest_ductaflow.command_line.shared.json_comments import read, with_item

ITEM = {"name": "new"}
TEXTS = {
    "empty list": '{\n    "version": "0.2.0",\n    "configurations": []\n}\n',
    "one line": '{"configurations": [{"name": "a"}]}',
    "comments": '//\n{\n  /* "configurations": [ */\n  "configurations": [\n  // 2\n  {"a": 1}\n  ]\n}',
    "trailing commas": '{"configurations": [\n\t{"name": "a",},\n],\n}\n',
    "brackets in texts": '{"a": "\\"configurations\\": [", "configurations": ["//", "]"]}',
    "nested": '{"inputs": {"configurations": [1]}, "configurations": [{"configurations": [2]}]}',
    "byte order mark": '\ufeff{"configurations": []}',
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_item_is_added_and_all_else_stays(text: str) -> None:
    before, extended = read(text), with_item(text, "configurations", ITEM)
    assert read(extended) == {**before, "configurations": [ITEM, *before["configurations"]]}
    place = next(n for n, (ours, theirs) in enumerate(zip(text, extended, strict=False)) if ours != theirs)
    assert extended.startswith(text[:place])
    rest = text[place:].lstrip()
    assert extended.endswith(rest)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"configurations": {}}', "{", '{"configurations": [}', "{'configurations': []}", "{} {}"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        with_item(text, "configurations", ITEM)
