"""Reading sources: what a flow is, where its cells begin, which file is meant."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jupytext
import pytest

from pytest_ductaflow.core.errors import DuctaflowError, FlowNotFound
from pytest_ductaflow.sources.notebooks import (
    find_flow,
    is_plainly_flow,
    looks_like_flow,
    project_root_of,
    read_flow,
    source_as_script,
)

PERCENT = '# %% tags=["parameters"]\nconfig = {}\n\n# %%\nprint(1)\n'
NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "a1",
            "metadata": {"tags": ["parameters"]},
            "outputs": [],
            "source": ["config = {}"],
        },
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "b2",
            "metadata": {},
            "outputs": [],
            "source": ["print(1)"],
        },
    ],
    "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}
WITH_PARAMETERS = {
    "percent.py": PERCENT,
    "light.py": '# + tags=["parameters"]\nconfig = {}\n# -\n\nprint(1)\n',
    "markdown.md": '```python tags=["parameters"]\nconfig = {}\n```\n\n```python\nprint(1)\n```\n',
    "quarto.Rmd": '```{python tags=c("parameters")}\nconfig = {}\n```\n\n```{python}\nprint(1)\n```\n',
    "percent.R": '# %% tags=["parameters"]\nconfig = list()\n\n# %%\nprint(1)\n',
    "percent.jl": '# %% tags=["parameters"]\nconfig = Dict()\n\n# %%\nprint(1)\n',
    "indented.ipynb": json.dumps(NOTEBOOK, indent=1),
    "compact.ipynb": json.dumps(NOTEBOOK),
    "json.py": '# %% {"tags": ["a", "parameters"]}\nconfig = {}\n\n# %%\nprint(1)\n',
    "title.py": '#%% The config tags=["parameters"]\nconfig = {}\n\n# %%\nprint(1)\n',
    "region.py": '# region tags=["parameters"]\nconfig = {}\n# endregion\n\nprint(1)\n',
    "spin.R": '#\' The model\n\n#+ tags=c("parameters")\nconfig = list()\n\n#+\nprint(1)\n',
    "percent.scala": '// %% tags=["parameters"]\nval config = 1\n\n// %%\nprint(1)\n',
    "percent.lua": '-- %% tags=["parameters"]\nconfig = {}\n\n-- %%\nprint(1)\n',
    "percent.m": '% %% tags=["parameters"]\nconfig = 1\n\n% %%\nprint(1)\n',
    "percent.pro": '; %% tags=["parameters"]\nconfig = 1\n\n; %%\nprint(1)\n',
    "percent.clj": ';; %% tags=["parameters"]\nconfig\n\n;; %%\nprint(1)\n',
    "yaml.md": """\
```{code-cell} ipython3
---
name: top
tags:
- hide-input
- parameters
---
config = {}
```

```{code-cell} ipython3
print(1)
```
""",
    "myst.md": """\
```{code-cell} ipython3
:tags: [parameters]

config = {}
```

```{code-cell} ipython3
print(1)
```
""",
}


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_a_parameters_cell_is_found_in_every_kind_of_notebook(tmp_path, name):
    path = tmp_path / name
    path.write_text(WITH_PARAMETERS[name], encoding="utf-8")
    source = read_flow(path)
    assert source.has_parameters
    code = [cell for cell in source.notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code][1:] == ["print(1)"]


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_a_flow_is_told_from_a_conductor_by_its_text(tmp_path, name):
    path = tmp_path / name
    path.write_text(WITH_PARAMETERS[name], encoding="utf-8")
    assert looks_like_flow(path)


@pytest.mark.parametrize(
    "text",
    [
        "```{python}\n#| tags: [parameters]\nconfig = {}\n```\n",
        "```{python}\n#| label: top\n#| tags:\n#|   - a\n#|   - parameters\nconfig = {}\n```\n",
    ],
)
def test_a_flow_of_quarto_is_told_without_quarto(tmp_path, text):
    path = tmp_path / "x.qmd"
    path.write_text(text, encoding="utf-8")
    assert looks_like_flow(path)


TAG = 'tags=["parameters"]'
CODE = "rate = 0.01\n"
SCRIPT_HEADS = {  # jupytext decides whether it reads a tag
    "plain": f"# %% {TAG}",
    "no space": f"#%% {TAG}",
    "tab": f"#\t%%\t{TAG}",
    "tab after": f"# %%\t{TAG}",
    "indented": f"  # %% {TAG}",
    "title": f"# %% The parameters {TAG}",
    "sub cell": f"# %%%% {TAG}",
    "three": f"# %%% {TAG}",
    "no space after": f"# %%{TAG}",
    "spaces in the list": '# %% tags=[ "parameters" ]',
    "spaces around the sign": '# %% tags = ["parameters"]',
    "single quotes": "# %% tags=['parameters']",
    "among others": '# %% tags=["a", "parameters", "b"]',
    "with more": f'# %% {TAG} slideshow={{"slide_type": "slide"}}',
    "more before": f"# %% name='top' {TAG}",
    "json": '# %% {"tags": ["parameters"]}',
    "json with title": '# %% Top {"tags": ["parameters"]}',
    "json in single quotes": "# %% {'tags': ['parameters']}",
    "bare": "# %% tags=[parameters]",
    "text": '# %% tags="parameters"',
    "word": "# %% tags=parameters",
    "yaml": '# %% tags: ["parameters"]',
    "open": '# %% tags=["parameters"',
    "open json": '# %% {"tags": ["parameters"]',
    "bare key": '# %% {tags: ["parameters"]}',
    "bad neighbour": f"# %% {TAG} slideshow=slide",
    "bare among others": '# %% tags=["parameters", hide]',
    "curly quotes": "# %% tags=[\u201cparameters\u201d]",
    "no comma": '# %% tags=["parameters" "x"]',
    "dotted": '# %% metadata.tags=["parameters"]',
    "tuple": '# %% tags=("parameters",)',
    "set": '# %% tags={"parameters"}',
    "dict": '# %% tags={"parameters": 1}',
    "number": '# %% tags=["parameters", 1]',
    "longer word": '# %% tags=["hyperparameters"]',
    "capital": '# %% Tags=["parameters"]',
    "tag": '# %% tag=["parameters"]',
    "in a comment": f"# %% # {TAG}",
    "two lists": '# %% tags=["a"] tags=["parameters"]',
    "markdown": f"# %% [markdown] {TAG}",
    "md": f"# %% [md] {TAG}",
    "raw": f"# %% [raw] {TAG}",
    "code": f"# %% [code] {TAG}",
    "active elsewhere": f'# %% {TAG} active="py"',
    "light": f"# + {TAG}",
    "light without space": f"#+ {TAG}",
    "light json": '# + {"tags": ["parameters"]}',
    "region": f"# region {TAG}",
    "folding": f"# {{{{{{ {TAG}",
    "codecell": f"# <codecell> {TAG}",
    "input": f"# In[1]: {TAG}",
    "below": f"# %%\n# {TAG}",
    "quarto": "# %%\n#| tags: [parameters]",
    "two lines": '# %% tags=["a",\n#   "parameters"]',
    "shebang": f"#!/usr/bin/env python\n# %% {TAG}",
    "encoding": f"# -*- coding: utf-8 -*-\n# %% {TAG}",
    "docstring": f'"""About {TAG}."""\n\n# %% {TAG}',
    "within a docstring": f'"""\n# %% {TAG}\n"""\n# %%',
    "header": (
        "# ---\n# jupyter:\n#   kernelspec:\n#     name: python3\n#     display_name: Python\n# ---\n\n"
        f"# %% {TAG}"
    ),
    "light in a header": (
        "# ---\n# jupyter:\n#   jupytext:\n#     text_representation:\n#       extension: .py\n"
        f"#       format_name: light\n# ---\n\n# %% {TAG}"
    ),
    "cell markers": f'# ---\n# jupyter:\n#   jupytext:\n#     cell_markers: \'"""\'\n# ---\n\n# %% {TAG}',
    "sphinx": f"{'#' * 79}\n# text {TAG}\n\nx = 1\n\n{'#' * 79}\n# more\n\n# + {TAG}",
    "hydrogen": f"# %%\n%matplotlib inline\n\n# %% {TAG}",
    "magic": f"# %% {TAG}\n%%time",
}
DOCUMENT_HEADS = {
    "a.md": {
        "plain": f"```python {TAG}",
        "space": f"``` python {TAG}",
        "four": f"````python {TAG}",
        "tildes": f"~~~python {TAG}",
        "indented": f" ```python {TAG}",
        "bare": "```python tags=[parameters]",
        "braces": f"```python {{{TAG}}}",
        "json": '```python {"tags": ["parameters"]}',
        "quarto": "```{python}\n#| tags: [parameters]",
        "knitr": f"```{{python {TAG}}}",
        "short": f"```py {TAG}",
        "no language": f"``` {TAG}",
        "text": '```python tags="parameters"',
        "not run": f"```python .noeval {TAG}",
        "myst": "```{code-cell} ipython3\n:tags: [parameters]\n",
        "myst list": "```{code-cell} ipython3\n---\ntags:\n- a\n- parameters\n---",
        "myst text": "```{code-cell} ipython3\n:tags: parameters\n",
        "split": f"---\njupyter:\n  jupytext:\n    split_at_heading: true\n---\n\n# A\n\n```python {TAG}",
        "main language": f"---\njupyter:\n  jupytext:\n    main_language: R\n---\n\n```R {TAG}",
        "front matter": f"---\ntags: [parameters]\n---\n\n```python {TAG}",
    },
    "a.Rmd": {
        "r": '```{python tags=c("parameters")}',
        "comma": '```{python, tags=c("a", "parameters")}',
        "list": '```{python tags=list("parameters")}',
        "python": f"```{{python {TAG}}}",
        "bare": "```{python tags=c(parameters)}",
        "text": '```{python tags="parameters"}',
        "lines": "```{python}\n#| tags: [parameters]",
        "markdown": f"```python {TAG}",
    },
}
HEADS = [("a.py", name, head, "") for name, head in SCRIPT_HEADS.items()]
HEADS += [("a.py", f"{name} among cells", head, "\n# %%\n") for name, head in SCRIPT_HEADS.items()]
HEADS += [(file, name, head, "```") for file, heads in DOCUMENT_HEADS.items() for name, head in heads.items()]


@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize(
    ("name", "head", "end"),
    [(file, head, end) for file, _, head, end in HEADS],
    ids=[f"{file[2:]} {name}" for file, name, _, _ in HEADS],
)
def test_what_is_told_by_the_text_is_what_jupytext_reads(tmp_path, name, head, end, newline):
    path = tmp_path / name
    path.write_bytes(f"{head}\n{CODE}{end}\nprint(rate)\n".replace("\n", newline).encode())
    try:
        cells = jupytext.read(path).cells
    except Exception:  # jupytext itself refuses it, by nbformat's validation or a missing `startswith`
        with pytest.raises(DuctaflowError, match="cannot be read as a notebook"):
            read_flow(path)
        return
    tagged = any(cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", ()) for cell in cells)
    assert (looks_like_flow(path), read_flow(path).has_parameters) == (tagged, tagged)


@pytest.mark.parametrize(
    "after", ["", '\n\n# of the run\'s """\n', "# + a\n", "#%% b\n", "#  %% b\n", '# "\n']
)
@pytest.mark.parametrize(
    ("before", "is_plain"),
    [
        ("", True),
        ("\n\n#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n\n", True),
        ('"""About\n\nit."""\n\n# %% [markdown]\n# # Title\n# + a\n\n', True),
        ("'''About'''\n", True),
        (f'"""\n# %% {TAG}\n"""\n', False),
        ('r"""About\n', False),
        ("import os\n", True),
        ('# %% [markdown]\n# It\'s """a\n\n# %%\nimport os\nfrom a import (\n    b,\n)\n', True),
        ("# %%\nx = ['a', \"b\"][0]\n", True),
        ("# %%\nif __name__ == '__main__':\n    x = f\"{1} a\"\n\n    # it's\n", True),
        ("# %%\n@decorated\ndef f(): return 1\n \n\t\n", True),
        ("x = 1  # it\n", False),
        ("x = '#'\n", False),
        ("x = ''\n", False),
        ("x = 'a' \\\n    'b'\n", False),
        ('x = """a\n', False),
        (f'x = """a\n# %% {TAG}\n"""\n', False),
        ("x = 'a\n", False),
        ("x = r'a\\'\n", False),
        ("%matplotlib inline\n", False),
        ("!pip install x\n", False),
        ("ls -l\n", True),
        ("# region a\nx = 1\n# endregion\n", True),
        ("# {{{ a\nx = 1\n# }}}\n", True),
        ("# In[1]:\nx = 1\n", True),
        ("# +\nx = 1\n\n# -\n", True),
        ("# %%\nx = 1\n\n    # ---\n", False),
        ("# ---\n# a: 1\n# ---\n", False),
        (
            "#---\n# jupyter:\n#   jupytext:\n#     text_representation:\n#       format_name: light\n#---\n",
            False,
        ),
        ('# a\x0c"""\n', False),
        ('# a\u2028"""\n', False),
        ('# %% language="sql"\n# a """\n\n', False),
        ("# %% [markdown]\n# ```\n", False),
        ("# %% [raw]\n# ~~~\n", False),
        ("# coding: utf8\n", False),
        ("# -*- coding: utf-8-sig -*-\n", False),
        ("#" * 79 + "\n", False),
        (f"# %% {TAG}\n", False),
        ("# marimo\n", False),
    ],
)
def test_what_is_plainly_a_flow_is_one_for_jupytext(tmp_path, before, is_plain, after):
    """Whatever follows does not matter; the flows of most projects are recognised without jupytext."""
    path = tmp_path / "a.py"
    for end in (
        "rate = 1\n",
        'config = {}\n\n# %%\n"""\n# %%\n',
        "",
        "# x\n",
        "(\n",
        f"x = 1\n# %% {TAG}\ny = 2\n",
    ):
        path.write_text(f"{before}# %% {TAG}\n{after}{end}", encoding="utf-8")
        if is_plainly_flow(path):
            cells = read_flow(path).parameters_cells
            assert len(cells) == 1
            assert cells[0].source.strip()
        elif is_plain and end == "rate = 1\n":
            assert after in ("#%% b\n", "#  %% b\n")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", '# %%\nx = 1\n\n# %% tags="parameters"\ny = 2\n'),
        ("a.py", '# %% tags={"parameters"}\ny = 2\n'),
        ("a.Rmd", '```{python tags="parameters"}\ny = 2\n```\n'),
        ("a.md", "```{code-cell} ipython3\n:tags: parameters\n\ny = 2\n```\n"),
        ("a.ipynb", json.dumps(NOTEBOOK).replace('["parameters"]', '"parameters"')),
    ],
)
def test_tags_that_are_no_list_are_told_with_the_cure_in_one_line(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        DuctaflowError, match=r"'tags'.*expected a list, such as \[\"parameters\"\]"
    ) as caught:
        read_flow(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "from ductaflow import conduct\n",
        'parameters = {}\nconduct("fit", parameters)\n',
        '"""Spreads the parameters."""\n',
        "x = 1  # parameters of the sweep\n",
        "# %% hyperparameters\n",
        "# All parameters of the sweep\nconduct('fit', table)\n",
        "# %% The parameters\ntable = grid(a=[1])\n",
        "# %% Rows, tags and parameters\ntable = grid(a=[1])\n",
        '# %%\ntags=["parameters"]\n',
        '# tags=["parameters"]\nx = 1\n',
        'write("""\n    # %% tags=["parameters"]\n    config = {}\n    """)\n',
        '# %% [markdown] tags=["parameters"]\n# hello\n',
        '# %% tags=["injected-parameters"]\nx = 1\n',
        '# %% tags=["a"] name="parameters"\nx = 1\n',
        '"""\n```python tags=["parameters"]\n```\n"""\n',
    ],
)
def test_a_conductor_is_not_taken_for_a_flow(tmp_path, text):
    path = tmp_path / "conductor.py"
    path.write_text(text, encoding="utf-8")
    assert not looks_like_flow(path)


@pytest.mark.parametrize(
    "text",
    [
        "---\ntags: [parameters]\n---\nText\n",
        "```python\nx = 1\n```\n---\ntags: [parameters]\n---\n",
        '# + tags=["parameters"]\n',
        '<!-- #region tags=["parameters"] -->\nText\n<!-- #endregion -->\n',
        "```{code-cell}\n:name: parameters\n\nx = 1\n```\n",
    ],
)
def test_a_document_is_not_taken_for_a_flow(tmp_path, text):
    path = tmp_path / "x.md"
    path.write_text(text, encoding="utf-8")
    assert not looks_like_flow(path)
    assert not read_flow(path).has_parameters


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        "{}",
        '{"cells": null}',
        '{"cells": ["parameters", 1]}',
        '{"cells": [{"cell_type": "code", "metadata": {"tags": null}}]}',
        '{"cells": [{"cell_type": "code", "metadata": []}]}',
        '{"cells": [{"cell_type": "code", "source": "tags=[\\"parameters\\"]", "metadata": {}}]}',
        '{"cells": [{"cell_type": "markdown", "metadata": {"tags": ["parameters"]}}]}',
    ],
)
def test_a_notebook_without_the_tag_on_code_is_not_taken_for_a_flow(tmp_path, content):
    path = tmp_path / "x.ipynb"
    path.write_text(content, encoding="utf-8")
    assert not looks_like_flow(path)


@pytest.mark.parametrize("name", ["gone.py", "folder"])
def test_what_cannot_be_read_does_not_look_like_a_flow(tmp_path, name):
    (tmp_path / "folder").mkdir()
    assert not looks_like_flow(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "print(1)\n",
        "",
        '# %% tags=["hyperparameters"]\nconfig = {}\n',
        "# %% parameters\nconfig = {}\n",
        '# %% tags=["Parameters"]\nconfig = {}\n',
    ],
)
def test_without_the_very_tag_there_is_no_parameters_cell(tmp_path, text):
    path = tmp_path / "x.py"
    path.write_text(text, encoding="utf-8")
    assert not read_flow(path).has_parameters


def test_a_text_cell_is_no_parameters_cell(tmp_path):
    path = tmp_path / "x.py"
    path.write_text('# %% [markdown] tags=["parameters"]\n# hello\n', encoding="utf-8")
    assert not read_flow(path).has_parameters


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.ipynb", b"{"),
        ("x.ipynb", b"[]"),
        ("x.ipynb", b""),
        ("x.py", b"\xff\xfe\x00"),
        ("x.unknown", b"print(1)"),
    ],
)
def test_what_is_no_notebook_is_an_error_that_names_the_file(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DuctaflowError, match="cannot be read as a notebook") as caught:
        read_flow(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["gone.py", "gone/x.py", "a\0b", "x" * 300])
def test_a_flow_that_is_gone_cannot_be_read_either(tmp_path, name):
    with pytest.raises(FlowNotFound, match="cannot be found"):
        read_flow(tmp_path / name)


def test_cells_have_the_same_ids_in_every_run(tmp_path):
    path = tmp_path / "x.py"
    path.write_text(PERCENT, encoding="utf-8")
    assert [cell["id"] for cell in read_flow(path).notebook.cells] == ["cell-0", "cell-1"]


def test_a_flow_that_was_edited_is_read_again(tmp_path):
    path = tmp_path / "x.py"
    path.write_text("print(1)\n", encoding="utf-8")
    assert not read_flow(path).has_parameters
    path.write_text(PERCENT, encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert read_flow(path).has_parameters


def lines_of(path: Path, text: str) -> list[int | None]:
    path.write_bytes(text.encode())
    source = read_flow(path)
    return [source.lines.get(cell["id"]) for cell in source.notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("percent.py", PERCENT, [2, 5]),
        ("crlf.py", PERCENT.replace("\n", "\r\n"), [2, 5]),
        ("docstring.py", f'"""Title."""\n\n{PERCENT}', [1, 4, 7]),
        ("twice.py", "# %%\nx = 1\n\n# %%\nx = 1\n\n# %%\nx = 1\n", [2, 5, 8]),
        ("empty.py", "# %%\n\n# %%\ny = 2\n", [None, 4]),
        ("blank.py", "# %%\n\n\nx = 1\n\n\ny = 2\n", [2]),
        ("markdown.md", WITH_PARAMETERS["markdown.md"], [2, 6]),
        ("text.py", "# %% [markdown]\n# # Title\n# words\n\n# %%\nz = 3\n", [6]),
        ("unicode.py", "# %% größe ⚠️\nprint('ä')\n\n# %%\nb = 1\n", [2, 5]),
        ("magic.py", "# %%\n# %matplotlib inline\n\n# %%\n# !ls\ny = 1\n", [2, 5]),
        ("sheet.ipynb", json.dumps(NOTEBOOK), [None, None]),
        ("title.py", "# %%\nx = 1\n\n# %% show df\ndf\n", [2, 5]),
        ("same_title.py", "# %% df\ndf\n", [2]),
        ("part.py", "# %%\ndfs\n\n# %%\ndf\n", [2, 5]),
        ("trailing.py", "# %%\nx = 1  \n\n# %%\nx = 1\n", [2, 5]),
        ("explained.py", "# %% [markdown]\n# begin with x = 1\n\n# %%\nx = 1\n", [5]),
        ("quoted.py", "# %% [markdown]\n# x = 1\n\n# %%\nx = 1\n", [5]),
        ("docstring_text.py", '# %% [markdown]\n"""x = 1\n\ny"""\n\n# %%\nx = 1\n', [7]),
        ("block_text.py", '# %% [markdown]\n"""\nx = 1\n"""\n\n# %%\nx = 1\n', [7]),
        ("light.py", "# x = 1\n\nx = 1\n", [3]),
        ("prose.md", "x = 1\n\n```python\nx = 1\n```\n", [4]),
        ("myst.md", WITH_PARAMETERS["myst.md"], [4, 8]),
        ("yaml.md", WITH_PARAMETERS["yaml.md"], [8, 12]),
        ("crlf_text.md", "x = 1\r\n\r\n```python\r\nx = 1\r\n```\r\n", [4]),
        ("bom.py", f"\ufeff{PERCENT}", [2, 5]),
        ("bom_crlf.py", f"\ufeff{PERCENT}".replace("\n", "\r\n"), [2, 5]),
        ("no_marker.py", "\ufeffx = 1\n", [1]),
    ],
)
def test_the_line_of_each_cell_in_the_file_is_known(tmp_path, name, text, expected):
    assert lines_of(tmp_path / name, text) == expected


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_a_file_with_a_byte_order_mark_is_read_as_without(tmp_path, name):
    path = tmp_path / name
    path.write_text(WITH_PARAMETERS[name], encoding="utf-8-sig")
    assert (looks_like_flow(path), read_flow(path).has_parameters) == (True, True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_conductor_that_python_can_run_compiles_with_its_line_numbers(tmp_path, encoding):
    path = tmp_path / "conductor.py"
    path.write_bytes("# größe\r\n\r\nx = 'ä'\r\n".encode(encoding))
    code = compile(source_as_script(path), str(path), "exec")
    variables: dict[str, object] = {}
    exec(code, variables)
    assert variables["x"] == "ä"
    assert source_as_script(path).splitlines()[2] == "x = 'ä'"


def test_a_notebook_conductor_becomes_a_script(tmp_path):
    path = tmp_path / "conductor.ipynb"
    path.write_text(json.dumps(NOTEBOOK), encoding="utf-8")
    compile(source_as_script(path), str(path), "exec")
    assert "print(1)" in source_as_script(path).splitlines()


@pytest.fixture
def project(write) -> Path:
    return write(
        {
            "flows/01_prepare.py": "1",
            "flows/both.py": "1",
            "builds/both.py": "1",
            "builds/all.ipynb": "1",
            "flow/single.R": "1",
            "other/fit.py": "1",
            "top.py": "1",
            "flows/größe.md": "1",
            "flows/with.dots.py": "1",
        }
    )


@pytest.mark.parametrize(
    ("flow", "found"),
    [
        ("flows/01_prepare.py", "flows/01_prepare.py"),
        (Path("flows") / "01_prepare.py", "flows/01_prepare.py"),
        ("01_prepare", "flows/01_prepare.py"),
        ("01_prepare.py", "flows/01_prepare.py"),
        ("both", "flows/both.py"),
        ("all", "builds/all.ipynb"),
        ("single", "flow/single.R"),
        ("other/fit.py", "other/fit.py"),
        ("flows/../top.py", "top.py"),
        ("./top.py", "top.py"),
        ("top.py", "top.py"),
        ("größe", "flows/größe.md"),
        ("with.dots", "flows/with.dots.py"),
    ],
)
def test_a_flow_is_found_by_path_or_bare_name(project, flow, found):
    assert find_flow(flow, (project,)) == (project / found).resolve()


def test_an_absolute_flow_is_found_whatever_the_root(project):
    elsewhere = project / "flows"
    assert find_flow(str(project / "top.py"), (elsewhere,)) == (project / "top.py").resolve()


def test_the_first_root_that_has_the_flow_wins(project, tmp_path):
    nearer = tmp_path / "nearer"
    (nearer / "flows").mkdir(parents=True)
    (nearer / "flows" / "both.py").touch()
    assert find_flow("both", (nearer, project)).parent.parent == nearer.resolve()
    assert find_flow("all", (nearer, project)).parent.parent == project.resolve()


@pytest.mark.parametrize(
    "flow",
    [
        "fit",
        "flows",
        "",
        ".",
        "..",
        "a\0b",
        "/nowhere/x.py",
        "x" * 300,
    ],
)
def test_a_flow_that_is_not_there_is_an_error_that_names_the_places(project, flow):
    with pytest.raises(FlowNotFound) as caught:
        find_flow(flow, (project, project))
    assert str(caught.value) == f"flow {flow!r} not found in {project}"


@pytest.mark.parametrize(
    ("flow", "meant"),
    [
        ("flows/01_prepare", "'flows/01_prepare.py'?"),
        ("flows/01_prepar.py", "'flows/01_prepare.py'?"),
        ("prepare", "'flows/01_prepare.py'?"),
        ("01_prepar", "'flows/01_prepare.py'?"),
        ("flow/01_prepare.py", "'flows/01_prepare.py'?"),
        ("flows\\01_prepare.py", "'flows/01_prepare.py', with / on every system?"),
        ("flows\\01_prepar.py", "'flows/01_prepare.py', with / on every system?"),
    ],
)
def test_a_flow_that_is_called_nearly_so_is_suggested(project, flow, meant):
    with pytest.raises(FlowNotFound) as caught:
        find_flow(flow, (project,))
    assert str(caught.value) == f"flow {flow!r} not found in {project}; did you mean {meant}"


@pytest.mark.parametrize("flow", [5, None, float("nan"), ["fit"], {"flow": "fit"}, b"fit"])
def test_what_is_no_path_is_an_error_that_names_what_was_given(project, flow):
    with pytest.raises(FlowNotFound) as caught:
        find_flow(flow, (project,))
    said = f"flow {flow!r} not found: expected a name or a path, not {type(flow).__name__}"
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("folders", "file", "root"),
    [
        (["p/flows"], "p/conductor.py", "p"),
        (["p/flow"], "p/conductor.py", "p"),
        (["p/flows"], "p/flows/x.py", "p"),
        (["p/flows", "p/sub"], "p/sub/conductor.py", "p"),
        (["p/flows", "p/sub/flows"], "p/sub/conductor.py", "p/sub"),
        (["p/builds"], "p/conductor.py", "p"),
        (["p/flows", "p/deep/er"], "p/deep/er/c.py", "p"),
    ],
)
def test_the_project_is_the_nearest_parent_with_flows(tmp_path, folders, file, root):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / file).touch()
    assert project_root_of(tmp_path / file) == tmp_path / root


def test_a_folder_can_be_the_project_itself(tmp_path):
    (tmp_path / "flows").mkdir()
    assert project_root_of(tmp_path) == tmp_path


def test_a_step_called_flows_does_not_make_a_project_of_runs(tmp_path):
    (tmp_path / "flows").mkdir()
    (tmp_path / "runs" / "flows" / "A").mkdir(parents=True)
    assert project_root_of(tmp_path / "runs" / "flows" / "A") == tmp_path


def test_a_file_named_flows_is_no_sign_of_a_project(tmp_path):
    inner = tmp_path / "a"
    inner.mkdir()
    (tmp_path / "flows").touch()
    assert project_root_of(inner / "c.py") == inner


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({}, "python"),
        ({"language_info": {"name": "R"}}, "r"),
        ({"kernelspec": None, "language_info": None}, "python"),
        ({"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}}, "r"),
        ({"jupytext": {"main_language": "julia"}}, "julia"),
        ({"jupytext": {"main_language": "python3"}}, "python"),
        (
            {"kernelspec": {"name": "x", "display_name": "x"}, "jupytext": {"default_lexer": "ipython3"}},
            "python",
        ),
    ],
)
def test_the_language_of_a_notebook_is_what_any_of_its_metadata_says(tmp_path, metadata, language):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({**NOTEBOOK, "metadata": metadata}), encoding="utf-8")
    assert read_flow(path).language == language


@pytest.mark.parametrize("metadata", [{"kernelspec": "python3"}, {"jupytext": []}])
def test_metadata_of_another_type_is_told_in_one_sentence(tmp_path, metadata):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({**NOTEBOOK, "metadata": metadata}), encoding="utf-8")
    with pytest.raises(
        DuctaflowError, match=r"x\.ipynb cannot be read as a notebook: its metadata has no object"
    ):
        read_flow(path)


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"kernelspec": {"name": 5, "language": 7}}, "'kernelspec' 'name': 5"),
        ({"kernelspec": {"name": "x", "language": ["R"]}}, "'kernelspec' 'language': ['R']"),
        ({"kernelspec": {"name": "x", "display_name": {}}}, "'kernelspec' 'display_name': {}"),
        ({"language_info": {"name": 3.5}}, "'language_info' 'name': 3.5"),
        ({"jupytext": {"main_language": True}}, "'jupytext' 'main_language': True"),
    ],
)
def test_a_name_in_the_metadata_that_is_no_text_is_told_in_one_sentence(tmp_path, metadata, told):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({**NOTEBOOK, "metadata": metadata}), encoding="utf-8")
    with pytest.raises(DuctaflowError) as caught:
        read_flow(path)
    said = f"{path} cannot be read as a notebook: its metadata has {told}, where a text is expected"
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.md", '```python3 tags=["parameters"]\nx = 0\n```\n\n```python3\nprint(x)\n```\n'),
        ("x.md", '```python tags=["parameters"]\nx = 0\n```\n\n```python3\nprint(x)\n```\n'),
        ("x.md", '```ipython3 tags=["parameters"]\nx = 0\n```\n\n```ipython3\nprint(x)\n```\n'),
        ("x.Rmd", '```{python3 tags=c("parameters")}\nx = 0\n```\n\n```{python3}\nprint(x)\n```\n'),
    ],
)
def test_fences_of_python_3_in_a_document_are_cells_of_python(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    flow = read_flow(path)
    assert (flow.language, flow.has_parameters) == ("python", True)
    assert [cell.source for cell in flow.code_cells] == ["x = 0", "print(x)"]
    assert list(flow.lines.values()) == [2, 6]


def test_a_notebook_of_nbformat_3_is_read(tmp_path):
    cell = {
        "cell_type": "code",
        "collapsed": False,
        "input": ["x = 1\n", "x"],
        "language": "python",
        "metadata": {"tags": ["parameters"]},
        "outputs": [],
    }
    old = {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": [cell]}]}
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps(old), encoding="utf-8")
    assert [cell.source for cell in read_flow(path).code_cells] == ["x = 1\nx"]
    assert (looks_like_flow(path), read_flow(path).has_parameters) == (True, True)


def test_cells_without_ids_and_with_the_same_ids_are_read_without_a_warning(tmp_path, recwarn):
    first, second = NOTEBOOK["cells"]
    for number, cells in enumerate(
        ([first, {**second, "id": "a1"}], [{k: v for k, v in second.items() if k != "id"}])
    ):
        path = tmp_path / f"{number}.ipynb"
        path.write_text(json.dumps({**NOTEBOOK, "cells": cells}), encoding="utf-8")
        ids = [cell["id"] for cell in read_flow(path).notebook.cells]
        assert ids == [f"cell-{place}" for place in range(len(cells))]
    assert not recwarn.list
