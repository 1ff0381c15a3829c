"""Projects of notebooks that ran in a papermill loop need one line in a conductor, and no other edit.

Their notebooks name a kernel that is not installed, have parameters that are dicts, and read project data
by relative paths; some have no cell tagged `parameters`, some are of older formats or were run before.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run

from pytest_ductaflow.sources.notebooks import read_flow
from pytest_ductaflow.sources.parameters_cell.flow_check import flow_problem
from pytest_ductaflow.sources.parameters_cell.parameters import assigned_in, unknown_parameters
from pytest_ductaflow.sources.parameters_cell.untagged_notebooks import read_but_not_assigned

PARAMETERS = "model = {'factor': 1}\nname = 'default'"
FIT = """\
import csv, json
with open("data/zones.csv", newline="") as file:
    trips = sum(int(row["trips"]) for row in csv.DictReader(file))
with open(f"results/{name}.json", "w") as file:
    json.dump({"total": trips * model["factor"], "model": model}, file)
"""
FOREST = {"name": "conda-env-forest", "display_name": "Forest", "language": "python"}
WIDGETS = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2, "version_minor": 0}}
HEADER = "kernelspec:\n  name: conda-env-forest\n  display_name: Forest\n"


def notebook(*cells: tuple[str, list[str]], minor: int = 4, **metadata: object) -> dict[str, object]:
    """Return a notebook of code cells with tags, without ids."""
    made = [
        {
            "cell_type": "code",
            "source": source,
            "outputs": [],
            "execution_count": None,
            "metadata": {"tags": tags},
        }
        for source, tags in cells
    ]
    return {
        "cells": made,
        "metadata": {"kernelspec": FOREST} | metadata,
        "nbformat": 4,
        "nbformat_minor": minor,
    }


TAGGED = (PARAMETERS, ["parameters"])
EARLIER = ("model = {'factor': 7}\nname = 'earlier'", ["injected-parameters"])
NOTEBOOKS = {
    "tagged.ipynb": notebook(TAGGED, (FIT, [])),
    "untagged.ipynb": notebook(("print('begins')", []), (FIT, [])),
    "untagged_run_before.ipynb": notebook(EARLIER, (FIT, [])),
    "old.ipynb": notebook(TAGGED, (FIT, []), minor=0),
    "without_ids.ipynb": notebook(TAGGED, (FIT, []), minor=5),
    "widgets.ipynb": notebook(TAGGED, (FIT, []), widgets=WIDGETS),
    "run_before.ipynb": notebook(TAGGED, EARLIER, (FIT, [])),
    "one_dict.ipynb": notebook(("config = {}", ["parameters"]), ("vars().update(config)", []), (FIT, [])),
    "light.py": f'# + tags=["parameters"]\n{PARAMETERS}\n# -\n\n{FIT}',
    "myst.md": "---\njupytext:\n  text_representation:\n    extension: .md\n    format_name: myst\n"
    f"{HEADER}---\n\n# Fit\n\n```{{code-cell}} ipython3\n:tags: [parameters]\n\n{PARAMETERS}\n```\n\n"
    f"```{{code-cell}} ipython3\n{FIT}```\n",
    "markdown.Rmd": f'---\ntitle: Fit\n---\n\n```{{python tags=c("parameters")}}\n{PARAMETERS}\n```\n\n'
    f"```{{python}}\n{FIT}```\n",
}
LOOP = """\
    import papermill as pm
    for stem in ("tagged", "untagged"):
        parameters = {"name": f"{stem}_papermill", "model": {"factor": 2}}
        pm.execute_notebook(f"notebooks/{stem}.ipynb", None, parameters=parameters, kernel_name="python3")
    """
ROWS = "[{'instance_name': f, 'name': f'{stem}_{f}', 'model': {'factor': f}} for f in (2, 3)]"


def read(path: Path) -> object:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.thorough
@pytest.mark.slow
def test_notebooks_of_all_kinds_get_the_parameters_that_papermill_gives_them(tmp_path):
    files = {f"notebooks/{name}": content for name, content in NOTEBOOKS.items()}
    lines = [
        f"stem = '{Path(name).stem}'; conduct('notebooks/{name}', {ROWS}, cwd='project')"
        for name in NOTEBOOKS
    ]
    conductor = "\n".join(["from pytest_ductaflow import conduct", *lines, ""])
    data = {"data/zones.csv": "zone,trips\na,10\nb,20\n", "results/none": ""}
    root = write_project(tmp_path / "project", {**files, **data, "conductor.py": conductor, "loop.py": LOOP})
    before = {name: (root / "notebooks" / name).read_bytes() for name in NOTEBOOKS}
    assert run(root, "loop.py").ret == 0
    result = run(root, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "conductor.py", "-n", "2")
    result.assert_outcomes(passed=2 * len(NOTEBOOKS))
    for name in NOTEBOOKS:
        for factor in (2, 3):
            found = read(root / f"results/{Path(name).stem}_{factor}.json")
            assert found == {"total": 30 * factor, "model": {"factor": factor}}
    for stem in ("tagged", "untagged"):
        assert read(root / f"results/{stem}_papermill.json") == read(root / f"results/{stem}_2.json")
    text = result.stdout.str()
    assert "untagged.ipynb has no cell tagged `parameters`: model, name set in front of its code" in text
    assert "myst.md names the kernel 'conda-env-forest', which is not installed: python3 runs it" in text
    assert {name: (root / "notebooks" / name).read_bytes() for name in NOTEBOOKS} == before


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("print(rate, model)", {"rate", "model"}),
        ("%matplotlib inline\nprint(rate)", {"rate"}),
        ("def f():\n    return rate", {"rate"}),
        ("def f(rate):\n    return rate\nprint(model)", set()),
        ("rate = 1\nprint(rate, model)", set()),
        ("for rate in (1, 2):\n    print(rate, model)", set()),
        ("config = {}\nprint(rate, model)", set()),
        ("print(1)", set()),
        ("print(rate", set()),
        ("import rate.tables\nprint(rate, model)", set()),
        ("import numpy as rate\nprint(rate, model)", set()),
        ("from settings import rate\nprint(rate, model)", set()),
        ("from settings import x as rate\nprint(rate, model)", set()),
        ("from settings import *\nprint(rate, model)", set()),
        ("def rate(): ...\nprint(rate, model)", set()),
        ("async def rate(): ...\nprint(rate, model)", set()),
        ("class rate: ...\nprint(rate, model)", set()),
        ("match 3:\n    case rate: print(rate, model)", set()),
        ("match [3]:\n    case [*rate]: print(rate, model)", set()),
        ("match {}:\n    case {**rate}: print(rate, model)", set()),
        ("try: 1\nexcept OSError as rate: ...\nprint(rate, model)", set()),
        ("globals().update(rate=3)\nprint(rate, model)", set()),
        ("globals()['rate'] = 3\nprint(rate, model)", set()),
        ("exec(text)\nprint(rate, model)", set()),
        ("%run settings.py\nprint(rate, model)", set()),
        ("%store -r rate\nprint(rate, model)", set()),
        ("%pylab\nprint(rate, model)", set()),
        ("rate = !ls\nprint(rate, model)", set()),
        ("a, rate = %time 1, 2\nprint(rate, model)", set()),
        ("%%capture rate\nprint(rate, model)", set()),
        ("%%bash --out rate\necho", set()),
        ("import settings.rate\nprint(rate)", {"rate"}),
        ("from rate import settings\nprint(rate)", {"rate"}),
        ("class A:\n    def rate(self): ...\nprint(rate)", {"rate"}),
        ("print(globals()['a'], vars().get('a'), rate)", {"rate"}),
        ("!echo {rate}\n%timeit f(rate)\nprint(rate)", {"rate"}),
        ("%%time\nprint(rate)", {"rate"}),
    ],
)
def test_parameters_are_set_in_front_only_where_nothing_takes_their_place(tmp_path, code, found):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(notebook((code, []))), encoding="utf-8")
    assert read_but_not_assigned(read_flow(path), ["rate", "model", "_cwd"]) == found


@pytest.mark.parametrize(
    ("cells", "advice"),
    [
        (["rate = 1\nmodel = {}", "print(rate, model)"], "tag the cell that assigns model, rate:"),
        (["from settings import rate", "print(rate, model)"], "tag the cell that assigns rate:"),
        (["from settings import *", "print(rate, model)"], "tag a cell that assigns model, rate:"),
        (["rate = 1", "model = {}", "rate, model"], "tag a single cell that assigns model, rate:"),
        (["print(1)"], "tag a cell that assigns `config = {}`:"),
    ],
)
def test_the_advice_for_an_untagged_notebook_names_what_the_cell_assigns(tmp_path, cells, advice):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(notebook(*((code, []) for code in cells))), encoding="utf-8")
    assert advice in str(flow_problem(path, "here", tmp_path, keys=["model", "rate"]))


def test_the_advice_for_an_untagged_script_names_what_the_cell_assigns(tmp_path):
    (tmp_path / "x.py").write_text("rate = 1\nprint(rate)\n", encoding="utf-8")
    problem = str(flow_problem(tmp_path / "x.py", "here", tmp_path, keys=["rate"]))
    assert 'put `# %% tags=["parameters"]` above the cell that assigns rate' in problem


def test_what_a_cell_that_is_not_run_assigns_does_not_count(tmp_path):
    path = tmp_path / "x.ipynb"
    cells = (("#| eval: false\nrate = 1", []), ("print(rate)", []))
    path.write_text(json.dumps(notebook(*cells)), encoding="utf-8")
    assert read_but_not_assigned(read_flow(path), ["rate"]) == {"rate"}


def test_a_key_that_an_untagged_notebook_does_not_know_is_told(tmp_path):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(notebook(("print(rate)", []))), encoding="utf-8")
    source, config = read_flow(path), {"rate": 1, "yeer": 2}
    told = unknown_parameters(config, source, assigned_in(source, "python", config))
    assert told[1:] == ["ParameterWarning: x.ipynb does not know the config key 'yeer'"]


def test_an_untagged_notebook_whose_own_values_would_win_is_refused(tmp_path):
    own = notebook((PARAMETERS, []), (FIT, []))
    conductor = (
        "from pytest_ductaflow import conduct\nconduct('flows/x.ipynb', [{'name': 'a', 'model': {}}])\n"
    )
    write_project(tmp_path, {"flows/x.ipynb": own, "conductor.py": conductor})
    result = run(tmp_path, "-m", "pytest", "--ductaflow", "conductor.py")
    assert "flows/x.ipynb has no cell tagged `parameters`" in result.stderr.str()
