"""Cells that are marked as not to be run are shown and skipped."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from pytest_ductaflow.sources.notebooks import read_flow
from pytest_ductaflow.sources.unevaluated import SKIP

TOP = "```{python, tags=c('parameters')}\nx = 0\n```\n\n"


def skipped(path: Path, text: str) -> list[bool]:
    """Return for each code cell whether it is not run."""
    path.write_text(text, encoding="utf-8")
    return [SKIP in cell.metadata.get("tags", ()) for cell in read_flow(path).code_cells]


@pytest.mark.parametrize(
    "head",
    [
        "{python, eval=FALSE}",
        "{python eval=FALSE}",
        "{python, eval = FALSE}",
        "{python, eval=F}",
        "{python, eval = F }",
        "{python, eval=false}",
        '{python, eval="false"}',
        "{python, slow, eval=FALSE, echo=TRUE}",
        "{python, echo=FALSE, eval=FALSE}",
        "{python}\n#| eval: false",
        "{python}\n#| eval: FALSE",
        "{python}\n#| eval: False  # slow",
        "{python}\n#| eval: no",
        "{python}\n#| eval: 'false'",
        "{python}\n#| eval: !expr FALSE",
        "{python}\n#|eval: false",
        "{python}\n#| eval=FALSE",
        "{python}\n#| echo = TRUE, eval = F",
        "{python}\n\n#| label: slow\n#| eval : false",
        "{python, eval=TRUE}\n#| eval: false",
        "{python}\n# | eval: false",
        "{python}\n#\t|eval: false",
        "{python}\n#  |  eval: false",
        '{python}\n# | "eval": false',
        "{python}\n# | {echo: true, eval: false}",
        "{python}\n# | eval:\n# |   false",
        "{python}\n# | tags:\n# |   - a\n# | eval: false",
        "{python}\n# | eval = FALSE",
    ],
)
def test_a_chunk_with_eval_false_in_any_spelling_is_not_run(tmp_path, head):
    assert skipped(tmp_path / "x.Rmd", f"{TOP}```{head}\nx = 1\n```\n") == [False, True]


@pytest.mark.parametrize(
    "head",
    [
        "{python, eval=TRUE}",
        "{python, eval=T}",
        "{python, echo=FALSE}",
        "{python}\n#| eval: true",
        "{python}\n#| echo: false",
        "{python}\n#| fig-cap: 'eval: false'",
        "{python}\n#| label: a\n# eval: false",
        "{python}\n# eval: false",
        "{python}\ny = 1\n#| eval: false",
        "{python, eval=FALSE}\n#| eval: true",
        "{python, eval=FALSE}\n# | eval: true",
        "{python}\n# | fig:\n# |   eval: false",
        "{python}\n# |\n# eval: false",
    ],
)
def test_other_chunks_are_run(tmp_path, head):
    assert skipped(tmp_path / "x.Rmd", f"{TOP}```{head}\nx = 1\n```\n") == [False, False]


@pytest.mark.parametrize(
    ("header", "is_off"),
    [
        ("execute:\n  eval: false", True),
        ("title: A\nexecute:\n  echo: true\n\n  eval: false  # slow\nother: 1", True),
        ("execute: {echo: true, eval: false}", True),
        ("execute:\n    eval: False", True),
        ("execute:\n  eval: true", False),
        ("execute:\n  echo: false", False),
        ("other:\n  eval: false", False),
        ("execute:\n  echo: true\nother:\n  eval: false", False),
        ("eval: false", False),
    ],
)
@pytest.mark.parametrize("name", ["x.Rmd", "x.md", "x.py", "x.ipynb"])
def test_a_document_can_switch_all_off_and_a_cell_itself_on(tmp_path, name, header, is_off):
    text = f"---\n{header}\n---"
    cells = ["x = 1", "#| eval: true\nx = 2"]
    if name == "x.ipynb":
        new = nbformat.v4
        code = map(new.new_code_cell, cells)
        content = nbformat.writes(new.new_notebook(cells=[new.new_raw_cell(text), *code]))
    elif name == "x.py":
        lines = [f"# {line}".rstrip() for line in text.split("\n")]
        content = "\n".join([*lines, "", *(f"# %%\n{code}\n" for code in cells)])
    else:
        fence = "```{python}" if name == "x.Rmd" else "```python"
        content = "\n".join([text, "", *(f"{fence}\n{code}\n```\n" for code in cells)])
    assert skipped(tmp_path / name, content) == [is_off, False]


def test_chunks_below_a_default_of_knitr_are_not_run(tmp_path):
    setup = "```{r setup, include=FALSE}\nknitr::opts_chunk$set(echo = TRUE, eval = FALSE)\n```\n\n"
    chunk = "```{python}\nx = 1\n```\n\n"
    on = "```{r}\nknitr::opts_chunk$set(\n  eval=TRUE\n)\n```\n\n"
    found = skipped(tmp_path / "x.Rmd", f"{TOP}{chunk}{setup}{chunk}{on}{chunk}")
    assert found == [False, False, False, True, True, False]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "x.py",
            "# %% eval=false\nx = 1\n\n# %%\n#| eval: false\nx = 2\n\n# %%\nx = 3\n",
            [True, True, False],
        ),
        ("x.md", "```python eval=false\nx = 1\n```\n", [True]),
        ("x.R", "# %% eval=FALSE\nx = 1\n\n# %%\n#| eval: false\nx = 2\n", [True, True]),
        (
            "x.py",
            "# %% Slow eval=F\nx = 1\n\n# %% eval: false\nx\n\n# %% retrieval=F\nx\n",
            [True, True, False],
        ),
        ("x.md", "```python eval = FALSE\nx = 1\n```\n\n```python {eval: false}\nx = 1\n```\n", [True, True]),
        ("x.md", "<!--\n\n```python\nx = 1\n```\n\n-->\n\n```python\nx = 2\n```\n", [True, False]),
        (
            "x.md",
            "Text <!-- so\n\n```python\nx = 1\n```\n\n--> and <!-- on -->\n\n```python\n2\n```\n",
            [True, False],
        ),
        ("x.Rmd", "<!--\n\n```{python}\nx = 1\n```\n\n-->\n\n```{python}\nx = 2\n```\n", [True, False]),
        ("x.md", "<!-- a -->\n\n```python\nx = 1\n```\n\n-->\n", [False]),
        ("x.md", "`<!--` begins one\n\n```python\nx = 1\n```\n\n`-->` ends it\n", [False]),
        ("x.md", "<!-- never closed\n\n```python\nx = 1\n```\n", [False]),
        ("x.py", "# %% [markdown]\n# <!--\n\n# %%\nx = 1\n\n# %% [markdown]\n# -->\n", [False]),
    ],
)
def test_other_formats_can_mark_cells_as_well(tmp_path, name, text, expected):
    assert skipped(tmp_path / name, text) == expected


@pytest.mark.parametrize("space", ["", " "])
@pytest.mark.parametrize(
    ("sign", "end"),
    [
        ("#", ""),
        ("//", ""),
        ("--", ""),
        ("%", ""),
        ("%%", ""),
        (";", ""),
        ("!", ""),
        ("/", ""),
        ("⍝", ""),
        ("*", ""),
        ("*", ";"),
        ("/*", "*/"),
        ("(*", "*)"),
    ],
)
def test_a_cell_can_be_marked_in_the_comments_of_any_language(tmp_path, sign, end, space):
    new = nbformat.v4
    cells = [new.new_code_cell(f"{sign}{space}| eval: {word}{space}{end}\nx") for word in ("false", "true")]
    assert skipped(tmp_path / "x.ipynb", nbformat.writes(new.new_notebook(cells=cells))) == [True, False]


FIRST = '```python tags=["parameters"]\nx = 0\n```\n\n'
MYST = "```{code-cell} ipython3\n:tags: [parameters]\nx = 0\n```\n\n"


def not_run(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    return read_flow(path).fences_not_run


@pytest.mark.parametrize(
    "head",
    [
        "py",
        "Python",
        "{python}",
        "{python, echo=FALSE}",
        "{ python }",
        "py title='a'",
    ],
)
def test_fences_that_look_like_code_and_are_none_for_jupytext_are_found(tmp_path, head):
    text = f"{FIRST}Text\n\n```{head}\nprint(x)\n```\n"
    assert not_run(tmp_path / "x.md", text) == [f"line 7: ```{head}"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("x.md", f"{FIRST}~~~python\nx\n~~~\n\n```py\nx\n```\n", ["line 5: ~~~python", "line 9: ```py"]),
        ("x.md", f"{FIRST}- first:\n\n  ```python\n  x\n  ```\n", ["line 7: ```python"]),
        ("x.md", f"{MYST}```python\nx\n```\n", ["line 6: ```python"]),
        ("x.md", "```R\nx\n```\n\n```{r}\nx\n```\n", ["line 5: ```{r}"]),
        ("x.md", "```python\nx\n```\n\n```{code-cell}\nx\n```\n", ["line 1: ```python"]),
        ("x.Rmd", f"{TOP}~~~{{python}}\nx\n~~~\n", ["line 5: ~~~{python}"]),
    ],
)
def test_they_are_found_in_all_kinds_of_markdown(tmp_path, name, text, expected):
    assert not_run(tmp_path / name, text) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.md", "```python\nx\n```"),
        ("x.md", "```text\nx\n```\n\n```\nx\n```"),
        ("x.md", "```python .noeval\nx\n```\n\n```py eval=false\nx\n```\n\n```py\n#| eval: false\nx\n```"),
        ("x.md", "```py\n>>> x\n1\n```\n\n```py\n\n```"),
        ("x.md", "<!--\n```py\nx\n```\n-->"),
        ("x.md", "````text\n```py\nx\n```\n````"),
        ("x.md", "```{python-repl}\nx\n```\n\n```pycon\nx\n```\n\n```{.python}\nx\n```"),
        ("x.Rmd", "```python\nx\n```"),
    ],
)
def test_fences_that_are_run_or_only_shown_are_not_among_them(tmp_path, name, text):
    assert not_run(tmp_path / name, f"{FIRST if name == 'x.md' else TOP}{text}\n") == []


@pytest.mark.parametrize("name", ["x.py", "x.ipynb"])
def test_fences_in_the_texts_of_scripts_and_notebooks_are_texts(tmp_path, name):
    text = "# %% [markdown]\n# ```py\n# x\n# ```\n\n# %%\nx = 1\n"
    if name == "x.ipynb":
        new = nbformat.v4
        text = nbformat.writes(new.new_notebook(cells=[new.new_markdown_cell("```py\nx\n```")]))
    assert not_run(tmp_path / name, text) == []


def test_the_tags_of_a_cell_are_kept(tmp_path):
    cell = {**nbformat.v4.new_code_cell("x"), "metadata": {"tags": ["a", SKIP], "eval": False}}
    (tmp_path / "x.ipynb").write_text(json.dumps(nbformat.v4.new_notebook(cells=[cell])))
    assert read_flow(tmp_path / "x.ipynb").code_cells[0].metadata.tags == ["a", SKIP]
