"""What runs again after an edit: each kind of input in a chain of three instances, with real kernels."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from helpers.projects import write_project
from helpers.sessions import run_session
from helpers.thorough import one_in

pytestmark = pytest.mark.slow

FILES = {
    "flows/etl.py": """\
        # %% tags=["parameters"]
        config = {}

        # %% [markdown]
        # Sums of all tables.

        # %%
        from pathlib import Path

        import duckdb
        import pandas as pd
        import pyarrow.parquet as pq
        from helper import scaled

        data = Path(config["_project_root"]) / "data"
        zones = pd.read_csv(data / "zones.csv")["inhabitants"].sum()
        links = sum(pq.read_table(links_table).column("length").to_pylist())
        trips = duckdb.sql(f"select sum(trips) from read_csv('{trips_table}')").fetchall()[0][0]

        # %%
        # the sum of the sums
        Path("sum.txt").write_text(str(scaled(zones + links + trips, factor)))
        """,
    "flows/helper.py": """\
        from deep.times import times

        def scaled(x, factor):
            # by a factor
            return times(x, factor)
        """,
    "deep/__init__.py": "",
    "deep/times.py": """\
        def times(x, factor):
            return float(x * factor)
        """,
    "flows/model.py": """\
        import sys
        from pathlib import Path

        sys.path.insert(0, config["_project_root"] + "/site")
        import rounding

        sum_ = float((Path(config["_project_root"]) / table).read_text())
        Path("model.txt").write_text(str(rounding.rounded(sum_)))
        """,
    "flows/report.py": """\
        from pathlib import Path

        model = Path(config["_project_root"], "runs/model", model_instance, "model.txt").read_text()
        Path("report.md").write_text(f"The model says {model}.")
        """,
    "conductor.py": """\
        from pathlib import Path
        from pytest_ductaflow import conduct

        data = Path("data").resolve()
        conduct("flows/etl.py", [{"instance_name": "A", "factor": 2}],
                base={"links_table": "../../../data/links.parquet", "trips_table": "../../../data/trips.csv"})
        conduct("flows/model.py", [{"instance_name": "A", "table": "runs/etl/A/sum.txt"}])
        conduct("flows/report.py", [{"instance_name": "A", "model_instance": "A"}])
        """,
    "data/zones.csv": "zone,inhabitants\na,100\nb,200\n",
    "data/trips.csv": "zone,trips\na,5\nb,6\n",
    # A package that Python takes for installed.
    "site/rounding.py": "def rounded(x):\n    return round(x)\n",
    "site/rounding-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: rounding\nVersion: 1.0\n",
    "site/rounding-1.0.dist-info/RECORD": "rounding.py,,\nrounding-1.0.dist-info/METADATA,,\n",
}
STEPS = ("etl", "model", "report")
ALL, NONE = set(STEPS), set()


def replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new), encoding="utf-8")

    return edit


def parquet(*lengths: float) -> Callable[[Path], None]:
    return lambda root: pd.DataFrame({"length": lengths}).to_parquet(root / "data/links.parquet")


def delete(file: str) -> Callable[[Path], None]:
    return lambda root: (root / file).unlink()


def new_version(root: Path) -> None:
    """Install the next version of the package, with the same code."""
    (root / "site/rounding-1.0.dist-info").rename(root / "site/rounding-1.1.dist-info")
    replace("site/rounding-1.1.dist-info/METADATA", "Version: 1.0", "Version: 1.1")(root)


def touch_all(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file() and "runs" not in path.parts:
            os.utime(path)


EDITS = {
    "nothing": (lambda _: None, NONE),
    "time stamps": (touch_all, NONE),
    "code of the first flow": (replace("flows/etl.py", "zones + links", "zones - links"), ALL),
    "code of the last flow": (replace("flows/report.py", "The model says", "It says"), {"report"}),
    "comment in a flow": (replace("flows/etl.py", "# the sum of the sums", "# the grand total"), NONE),
    "markdown cell of a flow": (replace("flows/etl.py", "# Sums of all tables.", "# Totals."), NONE),
    "layout of a flow": (replace("flows/etl.py", "zones + links + trips", "(zones  + links + trips)"), NONE),
    "module": (replace("flows/helper.py", "times(x, factor)", "times(x, factor) + 1"), ALL),
    "comment in a module": (replace("flows/helper.py", "# by a factor", "# times a factor"), NONE),
    "module of a module": (replace("deep/times.py", "x * factor", "x * factor * 2"), ALL),
    "module, for the same result": (replace("deep/times.py", "x * factor", "factor * x"), {"etl"}),
    "value in a config": (replace("conductor.py", '"factor": 2', '"factor": 3'), ALL),
    "CSV read by pandas": (replace("data/zones.csv", "200", "300"), ALL),
    "Parquet read by pyarrow": (parquet(1.0, 2.0, 4.0), ALL),
    "CSV read by DuckDB": (replace("data/trips.csv", "6", "7"), ALL),
    "row that changes no sum": (replace("data/zones.csv", "b,200", "b,150\nc,50"), {"etl"}),
    "output of the first that was deleted": (delete("runs/etl/A/sum.txt"), {"etl"}),
    "output of the second that was deleted": (delete("runs/model/A/model.txt"), {"model"}),
    "output that was edited by hand": (replace("runs/model/A/model.txt", "634", "635"), {"report"}),
    "version of a package": (new_version, {"model"}),
}


def session(root: Path, *args: str, knows_package: bool = False) -> tuple[set[str], str]:
    """Run a session; return the steps with instances that ran, and the output.

    Args:
        root: The project.
        args: Further options.
        knows_package: Whether the package is installed for Python itself, too. Its kernels are then forked
            from a server of its own.
    """
    command = ["-v", "-p", "no:cacheprovider", "--ductaflow", "conductor.py"]
    variables = {"PYTHONPATH": str(root / "site")} if knows_package else {}
    done = run_session(root, *command, *args, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if "conductor.py::" in line]
    words = [
        (word[0], step[1])
        for line in lines
        if (word := re.search(r"PASSED|UNCHANGED|WARNED", line)) and (step := re.search(r"::(\w+)::A", line))
    ]
    assert sorted(step for _, step in words) == sorted(STEPS), done.stdout
    return {step for word, step in words if word == "PASSED"}, done.stdout


@pytest.fixture(scope="module")
def after_a_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project in which all instances have run."""
    root = write_project(tmp_path_factory.mktemp("unchanged") / "project", FILES)
    parquet(1.0, 2.0, 3.0)(root)
    ran, _ = session(root)
    assert ran == ALL
    return root


@pytest.fixture
def project(after_a_run: Path, tmp_path: Path) -> Path:
    """Return the same elsewhere: the location of a project is no input."""
    return Path(shutil.copytree(after_a_run, tmp_path / "elsewhere"))


def edited(project: Path, kind: str) -> dict[str, bool]:
    """Make an edit; return what else its sessions need."""
    edit, _ = EDITS[kind]
    needs = {"knows_package": True} if edit is new_version else {}
    if needs:
        assert session(project, "--ductaflow-force", **needs)[0] == ALL
    edit(project)
    return needs


@pytest.mark.parametrize("kind", one_in(2, EDITS))
def test_an_edit_runs_what_depends_on_it_and_nothing_else(project: Path, kind: str):
    needs = edited(project, kind)
    assert session(project, **needs)[0] == EDITS[kind][1]
    assert session(project, **needs)[0] == NONE


WITH_WORKERS = ("row that changes no sum",)


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=() if kind in WITH_WORKERS else pytest.mark.thorough) for kind in EDITS],
)
def test_an_edit_does_the_same_with_workers(project: Path, kind: str):
    needs = edited(project, kind)
    assert session(project, "-n", "2", **needs)[0] == EDITS[kind][1]
