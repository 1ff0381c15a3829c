"""The report says in a line how an instance was sampled, and where its run comes from."""

from __future__ import annotations

import json

import pytest

from pytest_ductaflow.report.packed_rows import PackedRows, unpack
from pytest_ductaflow.report.provenance import design_text, lineage_text
from pytest_ductaflow.sources.designs.combinations import grid, one_at_a_time
from pytest_ductaflow.sources.designs.sampling import sample
from pytest_ductaflow.sources.designs.scenario_table import cross
from pytest_ductaflow.sources.tables import DESIGN

MORE = [{"y": 1}]
SAMPLE = sample(4, design="random", seed=2, rate=(0.0, 1.0), mode=["a", "b"], n=3)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (SAMPLE, "sample of 4 (random, seed 2): rate 0.0 to 1.0; mode a, b; n = 3"),
        (SAMPLE.where("rate < 2"), "(sample of 4 (random, seed 2): {}) where rate < 2"),
        (grid(x=range(9)), "grid: x 0, 1, 2, 3, 4 and 4 more"),
        (grid(x=[1]) + MORE, "grid: x 1 + table of 1"),
        (cross(grid(x=[1]), grid(y=[2])), "(grid: x 1) x (grid: y 2)"),
        (one_at_a_time({"x": 1}, x=[2]), "one at a time: x 2"),
    ],
)
def test_a_design_is_said_in_a_line(table, text):
    assert design_text(table.attrs[DESIGN]) == text.format("rate 0.0 to 1.0; mode a, b; n = 3")


def test_lineage_is_said_in_a_line():
    known = {"session": "s1", "host": "h", "commit": "0123456789abcdef", "dirty": True, "tags": ["x=1", "y"]}
    assert lineage_text(known) == (
        "x=1, y; commit 0123456789ab, with changes that are not committed; session s1; on h"
    )
    assert lineage_text({"commit": "0123", "dirty": False}) == "commit 0123"
    assert lineage_text({}) is design_text({}) is None


def test_rows_of_a_page_without_these_texts_can_be_read():
    row = {"id": "a", "instance": "a", "step": "s", "status": "success", "earlier": False, "design": "d"}
    pages = PackedRows()
    packed = pages.pack(row).text
    data = json.loads(f'{{"rows":[{packed}],{pages.dictionaries()}}}')
    assert unpack(data)[0]["design"] == "d"
    data["rows"][0][1] = data["rows"][0][1][:-2]
    assert unpack(data)[0]["instance"] == "a"
