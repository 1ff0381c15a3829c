"""Changes that must not make a flow run again: each with a flow that reads, and could be misled by it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from helpers.ways_to_read import (
    DUCK,
    TABLE,
    Case,
    Change,
    Content,
    Link,
    Places,
    array,
    comes,
    compiled,
    duck,
    excel,
    folder,
    frame,
    goes,
    hdf,
    image,
    net_cdf,
    parquet,
    sqlite,
)

Edit = Callable[[Case, Places], object]

ONE = "n\n1\n"


# ---------------------------------------------------------------- edits


def in_flow(old: str, new: str) -> Edit:
    """Return an edit that replaces a text in the case's flow."""

    def edit(case: Case, places: Places) -> None:
        text = case.flow(places).read_text(encoding="utf-8")
        assert places.fill(old, case.id) in text
        case.flow(places).write_text(text.replace(places.fill(old, case.id), new, 1), encoding="utf-8")

    return edit


def touch(*names: str, seconds: float = 0) -> Edit:
    """Return an edit that only sets the times of files, to now or an offset from it."""

    def edit(case: Case, places: Places) -> None:
        moment = time.time() + seconds
        for name in names:
            path = case.path(name, places)
            for file in path.iterdir() if path.is_dir() else (path,):
                os.utime(file, (moment, moment))

    return edit


def rewrite(name: str) -> Edit:
    """Return an edit that writes a file's own content, in place."""

    def edit(case: Case, places: Places) -> None:
        path = case.path(name, places)
        path.write_bytes(path.read_bytes())

    return edit


def replace_by_copy(name: str) -> Edit:
    """Return an edit that replaces a file by one of the same content, as editors and `git checkout` do."""

    def edit(case: Case, places: Places) -> None:
        path = case.path(name, places)
        shutil.copyfile(path, path.with_name("copy of it"))
        path.with_name("copy of it").replace(path)

    return edit


def change_mode(case: Case, places: Places) -> None:
    case.path("a.txt", places).chmod(0o600)


def change_and_put_back(case: Case, places: Places) -> None:
    path = case.path("a.txt", places)
    text = path.read_text(encoding="utf-8")
    path.write_text("other\n", encoding="utf-8")
    path.write_text(text, encoding="utf-8")


def remove(name: str) -> Edit:
    def edit(case: Case, places: Places) -> None:
        path = case.path(name, places)
        assert path.exists(), path
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return edit


def touch_outputs(case: Case, places: Places) -> None:
    for path in case.run_dir(places).iterdir():
        os.utime(path)


def save_notebook(case: Case, places: Places) -> None:
    """Save the flow as Jupyter does after a run: with outputs and execution counts."""
    notebook = json.loads(case.flow(places).read_text(encoding="utf-8"))
    notebook["metadata"]["language_info"] = {"name": "python", "version": "3.11.0"}
    for number, cell in enumerate(notebook["cells"]):
        cell["execution_count"] = number
        cell["metadata"]["collapsed"] = False
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "1\n"}]
    case.flow(places).write_text(json.dumps(notebook, indent=1), encoding="utf-8")


def nothing(_case: Case, _places: Places) -> None:
    """Change nothing: that the flow has run may be enough to mislead."""


def reads_text(case: str, edit: Edit | None = None, **files: Content | Change) -> Case:
    """Return a case with a flow that reads `a.txt` in its folder with Python."""
    return Case(
        case, 'result = (root / "<here>" / "a.txt").read_text()', files={"a.txt": "1\n", **files}, edit=edit
    )


# ---------------------------------------------------------------- code

NOTEBOOK = json.dumps(
    {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}},
        "cells": [
            {
                "cell_type": "code",
                "id": f"cell{number}",
                "metadata": {"tags": tags},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for number, (tags, source) in enumerate(
                [
                    (["parameters"], "config = {}"),
                    ([], "from pathlib import Path"),
                    ([], "Path('result.txt').write_text('1')"),
                ]
            )
        ],
    }
)

CODE = (
    reads_text("comment_in_the_flow", in_flow("result =", "# what comes of it\nresult =")),
    reads_text("layout_of_the_flow", in_flow("result = (root", "\n\nresult  =  (\n    root")),
    reads_text("markdown_cell", in_flow("# %%\nresult", "# %% [markdown]\n# What is read\n\n# %%\nresult")),
    reads_text("title_of_a_cell", in_flow("# %%\nresult", "# %% What is read\nresult")),
    reads_text("flow_touched", touch("<project>/flows/<case>.py")),
    reads_text("flow_replaced_by_a_copy", replace_by_copy("<project>/flows/<case>.py")),
    Case("notebook_saved_with_outputs", NOTEBOOK, suffix=".ipynb", edit=save_notebook),
    Case(
        "comment_in_a_helper",
        "import helper_with_comment\n\nresult = helper_with_comment.RATE",
        files={"<project>/helper_with_comment.py": ("RATE = 1\n", "# per year\nRATE = 1  # of all\n")},
    ),
    Case(
        "quotes_in_a_helper",
        "import helper_with_quotes\n\nresult = helper_with_quotes.NAME",
        files={"<project>/helper_with_quotes.py": ("NAME = 'a'\n", 'NAME = (\n    "a"\n)\n')},
    ),
    Case(
        "helper_touched",
        "import helper_that_is_touched\n\nresult = helper_that_is_touched.RATE",
        files={"<project>/helper_that_is_touched.py": "RATE = 1\n"},
        edit=touch("<project>/helper_that_is_touched.py"),
    ),
    Case(
        "compiled_helper_goes",
        "import helper_once_compiled\n\nresult = helper_once_compiled.RATE",
        files={"<project>/helper_once_compiled.py": compiled("RATE = 1\n")},
        edit=lambda _, places: [
            path.unlink() for path in (places.project / "__pycache__").glob("helper_once_compiled.*.pyc")
        ],
    ),
    Case(
        "compiled_module_of_a_child_goes",
        """
        import subprocess, sys

        result = subprocess.check_output([sys.executable, root / "<here>" / "child.py"], text=True)
        """,
        files={
            "child.py": "import child_rates\nprint(child_rates.RATE)\n",
            "child_rates.py": "RATE = 1\n",
        },
        edit=remove("__pycache__"),
        is_seen_by_python=False,
    ),
    Case(
        "other_file_among_the_compiled",
        "import helper_among_others\n\nresult = helper_among_others.RATE",
        files={
            "<project>/helper_among_others.py": "RATE = 1\n",
            "<project>/__pycache__/unrelated.cpython-39.pyc": comes("x"),
        },
    ),
    Case(
        "module_that_nobody_imports",
        "import helper_that_is_imported\n\nresult = helper_that_is_imported.RATE",
        files={
            "<project>/helper_that_is_imported.py": "RATE = 1\n",
            "<project>/helper_that_is_not_imported.py": comes("RATE = 7\n"),
            "<project>/flows/another_helper_that_is_not_imported.py": comes("RATE = 7\n"),
        },
    ),
    Case(
        "other_module_of_a_package",
        "from package_of_two import used\n\nresult = used.RATE",
        files={
            "<project>/package_of_two/__init__.py": "",
            "<project>/package_of_two/used.py": "RATE = 1\n",
            "<project>/package_of_two/unused.py": ("RATE = 1\n", "RATE = 7\n"),
            "<project>/package_of_two/new.py": comes("RATE = 7\n"),
        },
    ),
    Case(
        "data_in_folder_of_modules",
        "from package_with_notes import used\n\nresult = used.RATE",
        files={
            "<project>/package_with_notes/__init__.py": "",
            "<project>/package_with_notes/used.py": "RATE = 1\n",
            "<project>/package_with_notes/notes.md": comes("notes\n"),
            "<project>/flows/notes.md": comes("notes\n"),
        },
    ),
    Case(
        "other_module_comes_after_import_error",
        """
        try:
            from settings_of_nobody import RATE
        except ImportError:
            RATE = 1
        result = RATE
        """,
        files={
            "<project>/settings_of_somebody.py": comes("RATE = 7\n"),
            "<project>/settings_of_nobody.txt": comes("RATE = 7\n"),
        },
    ),
    Case(
        "compiled_files_in_listed_package",
        """
        import pkgutil
        import package_listed_by_a_flow

        result = sorted(module.name for module in pkgutil.iter_modules(package_listed_by_a_flow.__path__))
        """,
        files={
            "<project>/package_listed_by_a_flow/__init__.py": "",
            "<project>/package_listed_by_a_flow/rail.py": "RATE = 1\n",
            "<project>/package_listed_by_a_flow/__pycache__/x.cpython-39.pyc": comes("x"),
        },
    ),
    reads_text("new_flow", **{"<project>/flows/flow_of_tomorrow.py": comes("print(1)\n")}),
    Case(
        "order_of_the_keys",
        'result = config["a"] + config["b"]["c"] + config["b"]["d"]',
        config={"a": 1, "b": {"c": 2, "d": 3}},
        edit=nothing,
    ),
)

# ---------------------------------------------------------------- the same content

CONTENT = (
    reads_text("data_touched", touch("a.txt")),
    reads_text("data_of_the_future", touch("a.txt", seconds=100_000)),
    reads_text("data_of_long_ago", touch("a.txt", seconds=-100_000_000)),
    reads_text("data_written_anew", rewrite("a.txt")),
    reads_text("data_replaced_by_a_copy", replace_by_copy("a.txt")),
    reads_text("data_with_another_mode", change_mode),
    reads_text("data_put_back", change_and_put_back),
    Case(
        "link_to_a_copy",
        'result = (root / "<here>" / "current" / "zones.csv").read_text()',
        files={"v1/zones.csv": ONE, "v2/zones.csv": ONE, "current": (Link("v1"), Link("v2"))},
        on="posix",
    ),
    Case(
        "database_touched",
        """
        import duckdb

        result = duckdb.connect(str(root / "<here>" / "a.duckdb"), read_only=True).sql("from t").fetchall()
        """,
        files={"a.duckdb": duck(1)},
        edit=touch("a.duckdb"),
        **DUCK,
    ),
    Case(
        "very_many_files_touched",
        """
        import subprocess

        result = subprocess.check_output("cat * | wc -l", shell=True, cwd=root / config["folder"])
        """,
        files={f"{number:04}.txt": "1\n" for number in range(1_050)},
        config={"folder": "<here>"},
        edit=touch("."),
        on="posix",
        is_seen_by_python=False,
    ),
)

# ---------------------------------------------------------------- files that are not read

NEIGHBOURS: dict[str, Content | Change] = {
    "notes.md": comes("notes\n"),
    "other.csv": TABLE,
    "old.csv": goes(ONE),
    ".DS_Store": comes("x"),
    "deep/other.csv": comes(ONE),
}


def beside(case: Case) -> Case:
    """Return the case with neighbouring files that appear, change and disappear."""
    return replace(case, files={**case.files, **NEIGHBOURS})


UNRELATED = (
    beside(reads_text("neighbours_of_a_text")),
    beside(
        Case(
            "neighbours_in_folder_of_config",
            """
            import csv

            with open(root / config["data_dir"] / "zones.csv", newline="") as file:
                result = list(csv.DictReader(file))
            """,
            files={"zones.csv": ONE},
            config={"data_dir": "<here>"},
        )
    ),
    beside(
        Case(
            "neighbours_of_pandas",
            """
            import pandas as pd

            folder = Path(config["data_dir"])
            result = pd.read_csv(root / folder / f"{config['name']}.csv")
            """,
            files={"zones.csv": ONE},
            config={"data_dir": "<here>", "name": "zones"},
        )
    ),
    beside(
        Case(
            "neighbours_of_excel",
            """
            import pandas as pd

            result = pd.read_excel(root / "<here>" / "zones.xlsx")
            """,
            files={"zones.xlsx": excel(1), "~$zones.xlsx": comes("x")},
            needs=("openpyxl",),
        )
    ),
    beside(
        Case(
            "neighbours_of_parquet",
            """
            import pandas as pd

            result = pd.read_parquet(root / config["data_dir"] / "zones.parquet")
            """,
            files={"zones.parquet": parquet(1), "other.parquet": comes(parquet(1))},
            config={"data_dir": "<here>"},
            needs=("pyarrow",),
            is_seen_by_python=False,
        )
    ),
    beside(
        Case(
            "neighbours_of_duckdb",
            """
            import duckdb

            result = duckdb.read_csv(f"{root}/{config['data_dir']}/zones.csv").fetchall()
            """,
            files={"zones.csv": ONE},
            config={"data_dir": "<here>"},
            **DUCK,
        )
    ),
    beside(
        Case(
            "neighbours_of_a_duckdb_database",
            """
            import duckdb

            result = duckdb.connect(f"{root}/<here>/a.duckdb", read_only=True).sql("from t").fetchall()
            """,
            files={"a.duckdb": duck(1), "b.duckdb": comes(duck(1))},
            **DUCK,
        )
    ),
    beside(
        Case(
            "neighbours_of_polars",
            """
            import polars as pl

            result = pl.scan_csv(root / config["data_dir"] / "zones.csv").collect()
            """,
            files={"zones.csv": ONE},
            config={"data_dir": "<here>"},
            needs=("polars",),
            is_seen_by_python=False,
        )
    ),
    beside(
        Case(
            "neighbours_of_sqlite",
            """
            import sqlite3

            result = sqlite3.connect(root / "<here>" / "a.db").execute("select n from t").fetchall()
            """,
            files={"a.db": sqlite(1), "b.db": comes(sqlite(1))},
        )
    ),
    beside(
        Case(
            "neighbours_of_h5py",
            """
            import h5py

            result = h5py.File(root / "<here>" / "a.h5")["n"][:]
            """,
            files={"a.h5": hdf(1), "b.h5": comes(hdf(1))},
            needs=("h5py",),
            is_seen_by_python=False,
        )
    ),
    beside(
        Case(
            "neighbours_of_netcdf",
            """
            import netCDF4

            result = netCDF4.Dataset(root / "<here>" / "a.nc")["n"][:]
            """,
            files={"a.nc": net_cdf(1), "b.nc": comes(net_cdf(1))},
            needs=("netCDF4",),
            is_seen_by_python=False,
        )
    ),
    beside(
        Case(
            "neighbours_of_an_image",
            """
            from PIL import Image

            result = list(Image.open(root / "<here>" / "a.png").tobytes())
            """,
            files={"a.png": image(1), "b.png": comes(image(1))},
            needs=("PIL",),
        )
    ),
    beside(
        Case(
            "neighbours_of_numpy",
            """
            import numpy as np

            result = np.load(root / "<here>" / "a.npy", mmap_mode="r").sum()
            """,
            files={"a.npy": array(1), "b.npy": comes(array(1))},
        )
    ),
    beside(
        Case(
            "neighbours_of_cat",
            """
            import subprocess

            result = subprocess.check_output(["cat", "a.txt"], cwd=root / "<here>", text=True)
            """,
            files={"a.txt": "1\n"},
            on="posix",
            is_seen_by_python=False,
        )
    ),
    beside(
        Case(
            "neighbours_of_a_child_script",
            """
            import subprocess, sys

            result = subprocess.check_output([sys.executable, root / "<here>" / "child.py"], text=True)
            """,
            files={"child.py": "print(1)\n"},
            is_seen_by_python=False,
        )
    ),
    beside(
        Case(
            "neighbours_of_a_pool",
            """
            from joblib import Parallel, delayed

            result = Parallel(n_jobs=2)(delayed(Path.read_text)(root / "<here>" / "a.txt") for _ in range(2))
            """,
            files={"a.txt": "1\n"},
            needs=("joblib",),
            is_seen_by_python=False,
        )
    ),
    Case(
        "neighbours_in_the_project",
        'result = (root / "a_table.txt").read_text()',
        files={
            "<project>/a_table.txt": "1\n",
            "<project>/README.md": comes("# A project\n"),
            "<project>/pyproject.toml": comes("[project]\nname = 'x'\nversion = '1'\n"),
            "<project>/tests/test_x.py": comes("def test_x(): pass\n"),
            "<project>/.DS_Store": comes("x"),
            "<project>/.git/HEAD": comes("ref: refs/heads/main\n"),
            "<project>/.idea/workspace.xml": comes("<x/>"),
            "<project>/flows/.flow.py.swp": comes("x"),
            "<project>/flows/.ipynb_checkpoints/flow-checkpoint.py": comes("x"),
            "<project>/.pytest_cache/README.md": comes("x"),
        },
    ),
    Case(
        "hidden_file_in_listed_folder",
        'result = [path.read_text() for path in sorted((root / "<here>").glob("*.csv"))]',
        files={"a.csv": ONE, ".~lock.a.csv#": comes("x"), ".ipynb_checkpoints/a-checkpoint.csv": comes(ONE)},
    ),
    Case(
        "content_where_only_names_are_asked_for",
        'result = sorted(path.name for path in (root / "<here>").iterdir())',
        files={"a.csv": TABLE},
    ),
    Case(
        "new_file_in_a_folder_that_is_asked_for",
        'result = [(root / "<here>").is_dir(), os.path.exists(root / "<here>")]',
        files={"a.csv": ONE, "b.csv": comes(ONE)},
        is_seen_by_python=False,
    ),
    Case(
        "content_of_a_file_that_is_asked_for",
        'result = [(root / "<here>" / "a.csv").is_file(), (root / "<here>" / "a.csv").exists()]',
        files={"a.csv": TABLE},
        is_seen_by_python=False,
    ),
    Case(
        "another_one_comes_than_asked_for",
        'result = (root / "<here>" / "overrides.csv").exists()',
        files={"a.csv": ONE, "overrides.bak": comes(ONE), "overrides2.csv": comes(ONE)},
        is_seen_by_python=False,
    ),
    Case(
        "folder_comes_without_the_file",
        'result = (root / "<here>" / "site" / "overrides.csv").exists()',
        files={"a.csv": ONE, "site": comes(folder)},
        is_seen_by_python=False,
    ),
    reads_text("other_runs", **{"<project>/runs/others/b/other.txt": comes("1\n")}),
    reads_text("another_row", nothing),
)

# ---------------------------------------------------------------- what a flow writes

WRITTEN = (
    Case(
        "reads_its_own_output",
        """
        Path("out").mkdir(exist_ok=True)
        Path("out/a.csv").write_text("n\\n1\\n")
        result = [path.read_text() for path in Path("out").glob("*.csv")] + sorted(os.listdir())[:0]
        """,
        edit=nothing,
    ),
    Case("own_outputs_touched", 'Path("out.csv").write_text("1")\nresult = 1', edit=touch_outputs),
    Case(
        "reads_its_own_output_by_duckdb",
        """
        import duckdb

        duckdb.sql("copy (select 1 as n) to 'out.parquet'")
        result = duckdb.sql("select n from 'out.parquet'").fetchall()
        """,
        edit=nothing,
        **DUCK,
    ),
    Case(
        "publishes_a_file",
        """
        (root / "public").mkdir(exist_ok=True)
        (root / "public" / "<case>.csv").write_text("n\\n1\\n")
        result = (root / "public" / "<case>.csv").read_text()
        """,
        files={"<project>/public/others.csv": comes(ONE)},
    ),
    Case(
        "publishes_a_database",
        """
        import duckdb

        (root / "public").mkdir(exist_ok=True)
        connection = duckdb.connect(str(root / "public" / "<case>.duckdb"))
        connection.execute("create or replace table t as select 1 as n")
        result = connection.sql("from t").fetchall()
        connection.close()
        """,
        files={"<project>/public/others.duckdb": comes(duck(1))},
        **DUCK,
    ),
    Case(
        "publishes_by_a_program",
        """
        import subprocess

        (root / "public").mkdir(exist_ok=True)
        subprocess.run(f"echo 1 > {root}/public/<case>.txt && cat {root}/public/<case>.txt", shell=True)
        result = 1
        """,
        on="posix",
        edit=nothing,
        is_seen_by_python=False,
    ),
    Case(
        "replaces_a_file",
        """
        (root / "public").mkdir(exist_ok=True)
        Path(root, "public", "<case>.tmp").write_text("1")
        Path(root, "public", "<case>.tmp").replace(root / "public" / "<case>.txt")
        result = Path(root, "public", "<case>.txt").read_text()
        """,
        edit=nothing,
    ),
    Case(
        "looks_before_it_writes",
        """
        figures = root / "figures_of_<case>"
        figures.mkdir(exist_ok=True)
        for figure in figures.glob("*.txt"):
            figure.unlink()
        if not (figures / "a.txt").exists():
            (figures / "a.txt").write_text("1")
        result = 1
        """,
        edit=nothing,
    ),
    Case(
        "appends_to_a_log",
        """
        with open(root / "<case>.log", "a") as file:
            file.write("it ran\\n")
        result = 1
        """,
        edit=nothing,
    ),
    Case(
        "writes_into_a_folder_of_others",
        """
        (root / config["figures"]).mkdir(exist_ok=True)
        (root / config["figures"] / "<case>.txt").write_text("1")
        result = 1
        """,
        files={"<project>/figures/of_others.txt": (ONE, "n\n7\n"), "<project>/figures/new.txt": comes("1\n")},
        config={"figures": "figures"},
    ),
    Case(
        "temporary_files",
        """
        import tempfile

        with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("w+") as file:
            Path(folder, "a.txt").write_text("1")
            file.write("1")
            file.seek(0)
            result = [Path(folder, "a.txt").read_text(), os.listdir(folder), file.read()]
        """,
        files={"<scratch>/of_others/a.txt": comes("1\n"), "<scratch>/of_others.txt": comes("1\n")},
    ),
    Case(
        "temporary_files_of_programs",
        """
        import subprocess

        command = 'f=$(mktemp) && echo 1 > $f && cat $f && sort $f && rm $f && cat <<END\\n1\\nEND\\n'
        result = subprocess.check_output(command, shell=True)
        """,
        on="posix",
        edit=nothing,
        is_seen_by_python=False,
    ),
    Case(
        "pipes_of_programs",
        """
        import subprocess

        command = ["bash", "-c", "cat <(echo 1) <(sort <(echo 2))"]
        result = subprocess.check_output(command)
        """,
        on="linux",
        edit=nothing,
        is_seen_by_python=False,
    ),
    Case(
        "temporary_database",
        """
        import sqlite3, tempfile

        with tempfile.TemporaryDirectory() as folder:
            connection = sqlite3.connect(Path(folder, "a.db"))
            connection.execute("create table t (n integer)")
            connection.commit()
            result = connection.execute("select * from t").fetchall()
            connection.close()
        """,
        edit=nothing,
    ),
    Case(
        "shared_memory",
        """
        from multiprocessing import Lock, shared_memory

        memory = shared_memory.SharedMemory(create=True, size=10)
        with Lock():
            result = len(bytes(memory.buf)) >= 10
        memory.close()
        memory.unlink()
        """,
        edit=nothing,
    ),
    Case(
        "large_array_in_a_pool",
        """
        import numpy as np
        from joblib import Parallel, delayed

        values = np.zeros(1_000_000)
        result = Parallel(n_jobs=2, max_nbytes=1_000)(delayed(np.sum)(values) for _ in range(2))
        """,
        needs=("joblib",),
        edit=nothing,
        is_seen_by_python=False,
    ),
)

# ---------------------------------------------------------------- files of libraries and the system

LIBRARIES = (
    Case(
        "figure_and_the_cache_of_fonts",
        """
        import matplotlib.pyplot as plt

        plt.plot([1, 2])
        plt.title("a title")
        plt.savefig("figure.png")
        result = 1
        """,
        needs=("matplotlib",),
        edit=lambda _, places: [
            path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
            for path in places.home.glob(".cache/matplotlib/*.json")
        ],
    ),
    Case(
        "caches_of_the_home_folder",
        "import pandas as pd\n\nresult = len(pd.DataFrame({'n': [1]}))",
        files={
            "<home>/.cache/a_library/index.json": comes("{}"),
            "<home>/.cache/fontconfig/x.cache-9": comes("x"),
            "<home>/.cache/pip/x": comes("x"),
            "<home>/.local/share/jupyter/runtime/kernel-1.json": comes("{}"),
            "<home>/.ipython/profile_default/security/x.json": comes("{}"),
            "<home>/.bash_history": comes("ls\n"),
            "<home>/.python_history": comes("1\n"),
        },
    ),
    Case(
        "history_of_ipython",
        "result = len(get_ipython().history_manager.session_number.__class__.__name__)",
        edit=lambda _, places: [
            os.utime(path) for path in places.home.glob(".ipython/profile_default/history.sqlite*")
        ],
    ),
    Case(
        "state_of_the_machine",
        """
        import psutil, time

        result = [psutil.virtual_memory().percent >= 0, psutil.cpu_percent() >= 0, os.getloadavg()[0] >= 0]
        """,
        needs=("psutil",),
        on="posix",
        edit=nothing,
    ),
    Case(
        "state_of_the_process",
        """
        fields = [Path("/proc/self/status"), Path("/proc/meminfo"), Path("/proc/stat")]
        result = [len(path.read_text()) > 0 for path in fields] + [len(os.listdir("/proc/self/fd")) > 0]
        """,
        on="linux",
        edit=nothing,
    ),
    Case(
        "devices",
        """
        with open("/dev/urandom", "rb") as random, open("/dev/null", "w") as nothing:
            result = len(random.read(4)) + nothing.write("")
        """,
        on="posix",
        edit=nothing,
    ),
    Case(
        "state_of_the_machine_by_programs",
        """
        import subprocess

        result = bool(subprocess.check_output("uptime; ps; df .; cat /proc/loadavg; nproc", shell=True))
        """,
        on="linux",
        edit=nothing,
        is_seen_by_python=False,
    ),
    Case(
        "time_zones_and_names_of_hosts",
        """
        import datetime, locale, mimetypes, socket, ssl, zoneinfo

        zone = zoneinfo.ZoneInfo("Europe/Zurich")
        hour = datetime.datetime(2040, 1, 1, tzinfo=zone).astimezone(datetime.timezone.utc).hour
        hosts = socket.getaddrinfo("localhost", 80) and mimetypes.guess_type("a.csv")
        result = [hour, bool(ssl.create_default_context())]
        """,
        on="linux",
        edit=nothing,
    ),
    Case(
        "threads_of_numeric_libraries",
        """
        import numpy as np
        from sklearn.cluster import KMeans

        result = KMeans(2, n_init=1, random_state=1).fit(np.arange(8.0).reshape(-1, 1)).inertia_
        """,
        needs=("sklearn",),
        edit=nothing,
        is_seen_by_python=False,
    ),
    Case(
        "threads_of_polars_and_duckdb",
        """
        import duckdb
        import polars as pl

        result = duckdb.sql("select 1 as n").pl()["n"].sum() + pl.DataFrame({"n": [1]})["n"].sum()
        """,
        files={"<home>/.duckdb/stored_secrets/x": comes("x"), "<home>/.polars/x": comes("x")},
        needs=("duckdb", "polars", "pyarrow"),
        is_seen_by_python=False,
    ),
    Case(
        "readers_that_are_imported_and_not_used",
        """
        import duckdb, h5py, polars, pyarrow.dataset

        result = (root / "<here>" / "a.txt").read_text()
        """,
        files={"a.txt": "1\n", "b.txt": comes("7\n")},
        needs=("duckdb", "h5py", "polars", "pyarrow"),
        is_seen_by_python=False,
    ),
    Case(
        "table_made_without_files",
        """
        import pandas as pd

        pd.DataFrame({"n": [1]}).to_parquet("out.parquet")
        result = pd.read_parquet("out.parquet")["n"].sum()
        """,
        files={"a.parquet": comes(frame(1, "to_parquet"))},
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
)

CHANGES_NOTHING = tuple(
    replace(case, runs=False) for case in (*CODE, *CONTENT, *UNRELATED, *WRITTEN, *LIBRARIES)
)


def touch_all(root: Path) -> None:
    """Set the times of all files in a project to now, as in a copy or a fresh clone."""
    for path in root.rglob("*"):
        if path.is_file() and "runs" not in path.relative_to(root).parts:
            os.utime(path)
