"""Comments of Python flows stay comments; commented magics and shell commands are run, as in notebooks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_ductaflow.sources.magics import _KNOWN
from pytest_ductaflow.sources.notebooks import read_flow

TAGGED = '# %% tags=["parameters"]\nx = 0\n\n'
WORDS = "cat cd cp mv rm rmdir mkdir copy ddir echo ls ldir ren".split()  # noqa: SIM905 - jupytext's list


def code_of(path: Path, text: str) -> list[str]:
    path.write_text(text, encoding="utf-8")
    return [cell.source for cell in read_flow(path).code_cells]


@pytest.mark.parametrize("comment", ["# ", "#", "# # ", "##"])
@pytest.mark.parametrize("rest", ["", " a b", " -r a", "\ta", "  = 3", " the table", ": a"])
def test_a_comment_that_begins_with_a_command_is_a_comment(tmp_path, comment, rest):
    lines = [f"{comment}{word}{rest}" for word in WORDS]
    text = "\n".join(["y = 1", *lines])
    alone = "\n\n".join(f"# %%\n{line}" for line in lines)
    found = code_of(tmp_path / "x.py", f"{TAGGED}# %%\n{text}\n\n{alone}\n")
    assert found == ["x = 0", text, *lines]


@pytest.mark.parametrize(
    "line",
    [
        "# %share of rail is 0.3",
        "# %-age",
        "# % of rail",
        "# 5 %",
        "# %s is the name",
        "# %%share",
        "# !important: do not change",
        "# !note, that",
        "# !!! careful",
        "# ! ",
        "# ?check this",
        "# ? why",
        "# why?",
        "# what is this?",
        "# df.head?",
        "# y = 5",
        "# y = %share",
        "# y == !x",
        "    # rm a",
        "#: rm a",
        "#%%Load data",
    ],
)
@pytest.mark.parametrize("around", ["y = 1\n{}\nz = 2", "{}\ny = 1", "{}"])
def test_prose_and_code_that_is_switched_off_stay_comments(tmp_path, line, around):
    cell = around.format(line)
    assert code_of(tmp_path / "x.py", f"{TAGGED}# %%\n{cell}\n") == ["x = 0", cell]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("# %timeit x", "%timeit x"),
        ("#%timeit x", "%timeit x"),
        ("# %matplotlib inline", "%matplotlib inline"),
        ("# %cd data", "%cd data"),
        ("# %env A=1", "%env A=1"),
        ("# %pwd", "%pwd"),
        ("# !ls", "!ls"),
        ("# !ls -l | head", "!ls -l | head"),
        ("# ! ls", "! ls"),
        ("# !./run.sh", "!./run.sh"),
        ("# !{command} a", "!{command} a"),
        ("# !$HOME/run", "!$HOME/run"),
        ("# !C:\\run.exe", "!C:\\run.exe"),
        ("# !cp a b; ls", "!cp a b; ls"),
        ("# files = !ls data", "files = !ls data"),
        ("# spent = %timeit -o x", "spent = %timeit -o x"),
        ("if x:\n    # !ls\n    pass", "if x:\n    !ls\n    pass"),
        ("# %%time\nx", "%%time\nx"),
        ("# %%capture out\n# %%time\nx", "%%capture out\n%%time\nx"),
        ("# %%bash\n# ls", "%%bash\n# ls"),
        ("# !ls \\\n#   -l", "!ls \\\n  -l"),
        ("# rm a \\\n#   b\n# !ls", "# rm a \\\n#   b\n!ls"),
        ("# %load_ext sql\n# %sql select 1", "%load_ext sql\n%sql select 1"),
        ("# %%cython\nx", "# %%cython\nx"),
        ("y = 1\n# %%time", "y = 1\n# %%time"),
        ("y = 1\n# %timeit y", "y = 1\n%timeit y"),
        ("cp  = 1\n# %timeit cp", "cp  = 1\n%timeit cp"),  # it does not depend on other lines
        ("%timeit x\n# %timeit y", "%timeit x\n# %timeit y"),  # Hydrogen's format: magics are no comments
        ('text = """\n# !ls\n# rm a\n"""', 'text = """\n# !ls\n# rm a\n"""'),
        ("print(1)  # !ls", "print(1)  # !ls"),
    ],
)
def test_a_commented_magic_that_exists_is_run(tmp_path, written, read):
    assert code_of(tmp_path / "x.py", f"{TAGGED}# %%\n{written}\n") == ["x = 0", read]


HEADER = "# ---\n# jupyter:\n#   jupytext:\n#     {}\n# ---\n\n"


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("x.py", "# + \n# copy a\n# !ls\n", "# copy a\n!ls"),
        ("x.py", HEADER.format("comment_magics: false") + "# %%\n# !ls\n", "# !ls"),
        ("x.py", HEADER.format("comment_magics: true") + "# %%\n# rm a\n# !ls\n", "# rm a\n!ls"),
        ("x.Rmd", "```{python}\n# rm a\n# !ls\n```\n", "# rm a\n!ls"),
        ("x.Rmd", "```{bash}\n# rm a\n# ls\n```\n", "# rm a\n# ls"),
        ("x.md", "```python\n# rm a\n# !ls\n```\n", "# rm a\n# !ls"),
        ("x.md", "```{code-cell} ipython3\n# rm a\n# !ls\n```\n", "# rm a\n# !ls"),
        ("x.py", '# %% language="bash"\n# rm a\n# ls\n', "%%bash\nrm a\nls"),
        ("x.R", "# %%\n# rm(a)\nx\n", "# rm(a)\nx"),
    ],
)
def test_other_formats_keep_their_comments_as_well(tmp_path, name, text, read):
    assert code_of(tmp_path / name, text) == [read]


def test_the_magics_of_ipython_are_known():
    code = (
        "from ipykernel.zmqshell import KernelMagics\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "found = InteractiveShell().magics_manager.lsmagic()\n"
        "print(*found['line'], *found['cell'], *KernelMagics.magics['line'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name for name in done.stdout.split() if name.isidentifier()} - _KNOWN == set()
