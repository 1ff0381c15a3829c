"""The text of a flow decides what runs: comments, cells that are not to be run, plain notebooks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_session

TAGGED = '# %% tags=["parameters"]\nx = 0\n\n# %%\n'
OLD = {
    "metadata": {"name": ""},
    "nbformat": 3,
    "nbformat_minor": 0,
    "worksheets": [
        {
            "metadata": {},
            "cells": [
                {
                    "cell_type": "code",
                    "collapsed": False,
                    "input": ["open('touched', 'w')\n", "print('of old')"],
                    "language": "python",
                    "metadata": {},
                    "outputs": [],
                }
            ],
        }
    ],
}
NULLS = {
    "metadata": {"kernelspec": None, "language_info": None},
    "nbformat": 4,
    "nbformat_minor": 4,
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "metadata": {"tags": None},
            "outputs": [],
            "source": "open('touched', 'w')",
        }
    ],
}
PROJECT = {
    "data/one.csv": "1",
    "data/two.csv": "2",
    "flows/removal.py": (
        f"{TAGGED}# rm ../../../data/one.csv\n\n# %%\n# !rm ../../../data/two.csv\nprint(x)\n"
    ),
    "flows/copy.py": f"{TAGGED}t = [3, 1]\n# copy the table before it is sorted\nprint(list(t), x)\n",
    "flows/silent.py": f"{TAGGED}cp = 1005.0\n# cp  = 1860.0\nprint('heat capacity', 2 * cp)\n",
    "flows/eval.Rmd": (
        '```{python, tags=c("parameters")}\nx = 0\n```\n\n```{python, eval=FALSE}\nprint("one")\n```\n\n'
        '```{python}\n#| eval: false\nprint("two")\n```\n\n```{python}\nprint("end", x)\n```\n'
    ),
    "conductor.py": (
        "from pytest_ductaflow import conduct\n"
        "for name in ('removal.py', 'copy.py', 'silent.py', 'eval.Rmd'):\n"
        "    conduct(f'flows/{name}', [{'instance_name': 'i', 'x': 7}], after=[])\n"
    ),
    "plain.ipynb": NULLS,
    "old.ipynb": OLD,
    "doc.md": "# A document\n\n```python\nprint('of a document')\n```\n",
    "cells.py": "# %%\nprint('of cells')\n",
}


def session(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_session(root, "-p", "no:cacheprovider", "-v", "--ductaflow", *arguments)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Run all flows of a project, and return it; the session's output is in `said`."""
    root = write_project(tmp_path_factory.mktemp("texts"), PROJECT)
    done = session(root, "conductor.py", "plain.ipynb", "old.ipynb", "doc.md", "cells.py")
    (root / "said").write_text(done.stdout, encoding="utf-8")
    return root


def log_of(root: Path, name: str) -> str:
    (log,) = (root / "runs" / name).glob("*_execution_output.txt")
    return log.read_text(encoding="utf-8")


@pytest.mark.slow
def test_all_of_them_end_well(run):
    said = (run / "said").read_text(encoding="utf-8")
    assert said.count(" PASSED") == 8, said


@pytest.mark.slow
def test_only_a_comment_that_is_a_command_is_run(run):
    assert [path.name for path in (run / "data").iterdir()] == ["one.csv"]
    assert log_of(run, "copy/i").split("\n")[0] == "[3, 1] 7"
    assert log_of(run, "silent/i").split("\n")[0] == "heat capacity 2010.0"


@pytest.mark.slow
def test_cells_that_are_not_to_be_run_are_shown_and_not_run(run):
    assert log_of(run, "eval/i").split() == ["end", "7"]
    cells = json.loads((run / "runs/eval/i/eval_executed.ipynb").read_text(encoding="utf-8"))["cells"]
    assert any("one" in "".join(cell["source"]) for cell in cells)


@pytest.mark.slow
def test_a_notebook_without_parameters_runs_in_a_folder_of_its_own(run):
    assert {path.relative_to(run).as_posix() for path in run.rglob("touched")} == {
        "runs/plain/plain/touched",
        "runs/old/old/touched",
    }
    assert "of old" in log_of(run, "old/old")
    assert "of a document" in log_of(run, "doc/doc")
    assert "of cells" in log_of(run, "cells/cells")


def test_a_notebook_that_is_only_collected_is_not_executed(tmp_path):
    write_project(tmp_path, {name: PROJECT[name] for name in ("plain.ipynb", "cells.py")})
    done = session(tmp_path, "--collect-only", "plain.ipynb", "cells.py")
    assert "<InstanceItem plain>" in done.stdout
    assert "<InstanceItem cells>" in done.stdout
    assert not list(tmp_path.rglob("touched"))


def test_with_a_config_the_cure_for_the_kind_of_file_is_told(tmp_path):
    write_project(
        tmp_path,
        {
            **{f"all/{name}": PROJECT[name] for name in ("plain.ipynb", "old.ipynb", "doc.md", "cells.py")},
            "all/growth.py": "# %% tags=[parameters]\nrate = 0.01\n",
            "all/fence.md": "```{python}\n#| tags: [parameters]\nx = 1\n```\n",
            "scenarios.csv": "instance_name,flow,rate\n"
            + "".join(
                f"i,all/{name},1\n"
                for name in ("plain.ipynb", "old.ipynb", "doc.md", "cells.py", "growth.py", "fence.md")
            ),
            "config/all/cells.json": {"rate": 1},
        },
    )
    done = session(tmp_path, "--ductaflow-root", ".", "scenarios.csv", "all/cells.py")
    said = done.stdout + done.stderr
    assert said.count("has no cell tagged `parameters`") == 7
    assert said.count("Add Cell Tag") == 2
    assert said.count("Property Inspector") == 2
    assert said.count('put `# %% tags=["parameters"]` above') == 3
    assert said.count('begin a cell that assigns `config = {}` with ```python tags=["parameters"]') == 2
    assert "all/growth.py has no cell tagged `parameters`: Jupytext reads no tag in line 1" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("sweep.py", "# %%\nfrom pytest_ductaflow import conduct\n", "conductor"),
        ("sweep.py", "# %%\nimport helper\nhelper.go()\n", "conductor"),
        ("sweep.py", "# %%\ntable = pd.DataFrame({'instance_name': [], 'flow': []})\n", "conductor"),
        ("sweep.py", "# %%\nprint(1)\n", "flow"),
        ("sweep.py", "print(1)\n", "conductor"),
        ("conductor.py", "# %%\nprint(1)\n", "conductor"),
        ("sweep.md", "```python\nfrom ductaflow import run_notebook\n```\n", "conductor"),
        ("sweep.md", "Of ductaflow.\n\n```python\nprint(1)\n```\n", "flow"),
        ("sweep.R", "# %%\nprint(1)\n", "flow"),
        ("sweep.ipynb", "{", "flow"),
    ],
)
def test_what_declares_instances_is_a_conductor_and_any_other_notebook_a_flow(tmp_path, name, text, kind):
    from pytest_ductaflow.core.settings import Settings
    from pytest_ductaflow.planning.discovery import discover

    write_project(tmp_path, {name: text, "helper.py": "from . import more\nimport parts.x\n"})
    write_project(tmp_path, {"parts/x.py": "from pytest_ductaflow import conduct\n"})
    (source,) = discover([name], tmp_path, Settings())
    assert source.kind == kind
