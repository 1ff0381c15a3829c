"""Texts as Prefect takes them."""

from __future__ import annotations

import json

import pytest

from pytest_ductaflow.report.prefect.names import LONGEST_LOG, artifact_key, flow_name, last_part, storable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("town: a/b & <c>%", "town: a-b - -c"),
        ("'", "ductaflow"),
        ("///", "ductaflow"),
        ("x" * 999, "x" * 200),
    ],
)
def test_names_of_flows_have_nothing_that_prefect_refuses(text, expected):
    assert flow_name(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("Town etl/A=1,b", "town-etl-a-1-b"), ("--", "ductaflow"), ("Zürich", "z-rich")]
)
def test_keys_of_artifacts_have_small_letters_digits_and_dashes(text, expected):
    assert artifact_key(text) == expected


def test_what_cannot_be_stored_is_taken_out_of_a_text():
    assert storable("a\0b\udcffc") == "ab\\udcffc"


@pytest.mark.parametrize(
    "text", ["x" * LONGEST_LOG, "⚠️" * 10_000, "\n" * 30_000, '"' * 19_000 + "end", "ab\n" * 40_000]
)
def test_of_a_long_text_the_last_part_is_kept(text):
    kept = last_part(text)
    assert len(json.dumps(kept)) <= LONGEST_LOG + 100
    assert kept.startswith("… (the beginning is left out)\n")
    assert text.endswith(kept.partition("\n")[2])
    assert len(kept) > 1_000


def test_a_short_text_is_kept_as_it_is():
    assert last_part("line\n" * 100) == "line\n" * 100
