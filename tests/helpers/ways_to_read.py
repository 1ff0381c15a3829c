"""Ways in which flows read and name their inputs: each with its own flow, files, and changes to them.

`test_what_runs_again.py` runs them all in one session, changes their files, and asks what would run.
"""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import io
import json
import lzma
import os
import pickle
import py_compile
import shutil
import sqlite3
import sys
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from textwrap import dedent
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager


@dataclass(frozen=True)
class Link:
    """A symbolic link; its target may name one of `Places`."""

    target: str


Content = str | bytes | Link | Callable[[Path], object] | None
"""What a file holds: text, bytes, or what makes it; None if it is not there."""

Change = tuple[Content, Content]
"""Before and after."""


@dataclass(frozen=True)
class Places:
    """The folders of a test, written in code, configs and file names as `<project>`, `<home>` etc.

    Attributes:
        project: The project's root.
        outside: Shared data beside it.
        scratch: `$TMPDIR` of the sessions.
        home: Their `$HOME`.
        memory: Folder on a memory disk, where there is one.
        var_tmp: Folder below `/var/tmp`, where that exists.
    """

    project: Path
    outside: Path
    scratch: Path
    home: Path
    memory: Path | None
    var_tmp: Path | None

    def fill(self, text: str, case: str) -> str:
        """Replace the folders' names by their paths, each with a subfolder of the case."""
        text = text.replace("<here>", f"data/{case}").replace("<case>", case)
        for name in ("outside", "memory", "var_tmp"):
            text = text.replace(f"<{name}>", f"{getattr(self, name)}/{case}")
        for name in ("project", "scratch", "home"):
            text = text.replace(f"<{name}>", str(getattr(self, name)))
        return text

    def has(self, place: str) -> bool:
        return getattr(self, place) is not None


@dataclass(frozen=True)
class Case:
    """A flow, and what changes around it.

    Attributes:
        id: Its name, that of its flow and of its instance.
        code: Its code; it leaves what it has read as `result`. For flows that are not `.py`, the whole file.
        files: Contents by name, relative to `data/{id}/` or with one of `Places`: fixed, or before and after
            the change.
        config: Its config.
        needs: Modules without which it is skipped.
        on: Platforms that have what it needs: "", "posix" or "linux".
        place: The one of `Places` that it needs.
        kernel: The Jupyter kernel that it needs.
        is_seen_by_python: Whether all that it reads is opened by Python itself, in the flow's own process or
            a fork of it; without the kernel's report, nothing else is observed.
        suffix: Suffix of its flow.
        edit: Further actions that make the change.
        runs: Whether it has to run again.
    """

    id: str
    code: str
    files: Mapping[str, Content | Change] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    on: str = ""
    place: str = "project"
    kernel: str = "python3"
    is_seen_by_python: bool = True
    suffix: str = ".py"
    edit: Callable[[Case, Places], object] | None = None
    runs: bool = True

    def source(self, places: Places) -> str:
        code = places.fill(dedent(self.code).strip("\n"), self.id)
        if self.suffix != ".py":
            return code
        return (
            f'# %% tags=["parameters"]\nconfig = {{}}\n\n'
            f"# %%\nimport os\nfrom pathlib import Path\n\n"
            f'root = Path(config["_project_root"])\n\n'
            f'# %%\n{code}\n\n# %%\nPath("result.txt").write_text(str(result))\n'
        )

    def flow(self, places: Places) -> Path:
        return places.project / "flows" / f"{self.id}{self.suffix}"

    def run_dir(self, places: Places) -> Path:
        return places.project / "runs" / "ways" / self.id

    def path(self, name: str, places: Places) -> Path:
        return places.project / "data" / self.id / places.fill(name, self.id)

    def lay(self, places: Places) -> None:
        """Write the flow and its files as they are before the change."""
        self.flow(places).parent.mkdir(parents=True, exist_ok=True)
        self.flow(places).write_text(self.source(places), encoding="utf-8")
        for name, content in self.files.items():
            self._put(name, content[0] if isinstance(content, tuple) else content, places)

    def change(self, places: Places) -> dict[str, bytes]:
        """Make the change; return the previous contents of the files that it changed."""
        changed = {name: content[1] for name, content in self.files.items() if isinstance(content, tuple)}
        paths = {name: self.path(name, places) for name in changed}
        earlier = {
            name: path.read_bytes()
            for name, path in paths.items()
            if path.is_file() and not path.is_symlink()
        }
        for name, content in changed.items():
            self._put(name, content, places)
        if self.edit is not None:
            self.edit(self, places)
        return earlier

    def undo(self, places: Places, earlier: Mapping[str, bytes]) -> None:
        """Restore the files to what they were before `change`, byte for byte: some formats hold the time."""
        for name, content in self.files.items():
            if isinstance(content, tuple):
                self._put(name, earlier.get(name, content[0]), places)

    def _put(self, name: str, content: Content, places: Places) -> None:
        path = self.path(name, places)
        if content is None:
            _remove(path)
            while path.parent != places.project and path.parent.is_dir() and not any(path.parent.iterdir()):
                path = path.parent
                path.rmdir()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            _remove(path)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, str):
            path.write_text(places.fill(dedent(content), self.id), encoding="utf-8")
        elif isinstance(content, Link):
            _remove(path)
            path.symlink_to(places.fill(content.target, self.id))
        else:
            _remove(path)
            content(path)

    @property
    def reason_to_skip(self) -> str:
        """Return why the case cannot be tried here; "" if it can."""
        if self.on == "posix" and os.name != "posix":
            return "for POSIX"
        if self.on == "linux" and sys.platform != "linux":
            return "for Linux"
        if self.kernel not in kernels():
            return f"needs the kernel {self.kernel}"
        return next((f"needs {name}" for name in self.needs if importlib.util.find_spec(name) is None), "")


@lru_cache(maxsize=1)
def kernels() -> set[str]:
    """Return the kernels that are installed for all users of the machine or of the environment."""
    found = KernelSpecManager().find_kernel_specs()
    return {"python3"} | {
        name for name, place in found.items() if not Path(place).is_relative_to(Path.home())
    }


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


# ---------------------------------------------------------------- contents

TEXT: Change = ("1\n", "7\n")
TABLE: Change = ("n\n1\n", "n\n7\n")


def both(make: Callable[[int], Content]) -> Change:
    """Return a file with the number 1, and then with the number 7."""
    return make(1), make(7)


def comes(content: Content) -> Change:
    return None, content


def goes(content: Content) -> Change:
    return content, None


def folder(path: Path) -> None:
    path.mkdir()


def program(path: Path) -> None:
    path.write_text('#!/bin/sh\necho "$0"\n', encoding="utf-8")
    path.chmod(0o755)


def packed(pack: Callable[[bytes], bytes]) -> Change:
    return both(lambda n: pack(f"{n}\n".encode()))


def zipped(n: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", f"{n}\n")
    return buffer.getvalue()


def tarred(n: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("a.txt")
        member.size = 2
        archive.addfile(member, io.BytesIO(f"{n}\n".encode()))
    return buffer.getvalue()


def sqlite(n: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("create table t (n integer)")
            connection.execute("insert into t values (?)", [n])
        connection.close()

    return write


def frame(n: int, write: str, **options: Any) -> Callable[[Path], None]:
    """Return a function that writes a pandas table by its method `write`."""

    def make(path: Path) -> None:
        import pandas as pd

        getattr(pd.DataFrame({"n": [n]}), write)(path, **options)

    return make


def parquet(n: int) -> Callable[[Path], None]:
    return frame(n, "to_parquet")


def excel(n: int) -> Callable[[Path], None]:
    return frame(n, "to_excel", index=False)


def arrow_stream(n: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import pyarrow as pa

        table = pa.table({"n": [n]})
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)

    return write


def duck(n: int) -> Callable[[Path], None]:
    return duck_with(f"create table t as select {n} as n")


def duck_with(statement: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import duckdb

        with duckdb.connect(str(path)) as connection:
            connection.execute(statement.replace("{folder}", str(path.parent)))

    return write


def hdf(n: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import h5py

        with h5py.File(path, "w") as file:
            file["n"] = [n]

    return write


def hdf_that_links(name: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import h5py

        with h5py.File(path, "w") as file:
            file["n"] = h5py.ExternalLink(name, "/n")

    return write


def net_cdf(n: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import netCDF4

        with netCDF4.Dataset(path, "w") as data:
            data.createDimension("x", 1)
            data.createVariable("n", "i4", ("x",))[:] = n

    return write


def image(n: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from PIL import Image

        Image.new("L", (2, 2), n).save(path)

    return write


def array(n: int) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, np.array([n]))
    return buffer.getvalue()


def arrays(n: int) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, n=np.array([n]))
    return buffer.getvalue()


def matlab(n: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        from scipy.io import savemat

        savemat(path, {"n": n})

    return write


def dumped(n: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        import joblib

        joblib.dump({"n": n}, path)

    return write


def compiled(text: str) -> Callable[[Path], None]:
    """Return a function that writes a compiled module: Python only checks the times of its source."""

    def write(path: Path) -> None:
        path.write_text(text, encoding="utf-8")
        py_compile.compile(str(path), doraise=True)

    return write


def same_time(content: str) -> Callable[[Path], None]:
    """Return a function that writes content to a file with a fixed time."""

    def write(path: Path) -> None:
        path.write_text(content, encoding="utf-8")
        os.utime(path, (1_700_000_000, 1_700_000_000))

    return write


# ---------------------------------------------------------------- Python's own ways

PYTHON = (
    Case(
        "open_in_f_string_over_config",
        """
        with open(f"{root}/<here>/trips_{config['scenario']}.txt") as file:
            result = file.read()
        """,
        files={"trips_high.txt": TEXT},
        config={"scenario": "high"},
    ),
    Case("read_text_in_chain", 'result = (root / "<here>" / "a.txt").read_text()', files={"a.txt": TEXT}),
    Case(
        "read_bytes_joined",
        'result = Path(os.path.join(root, "data", "<case>", "a.bin")).read_bytes()',
        files={"a.bin": (b"\x00\x01", b"\x00\x07")},
    ),
    Case(
        "csv_in_loop_over_constants",
        """
        import csv

        result = []
        for year in (2020, 2021):
            with open(root / "<here>" / f"trips_{year}.csv", newline="") as file:
                result += csv.DictReader(file)
        """,
        files={"trips_2020.csv": "n\n1\n", "trips_2021.csv": TABLE},
    ),
    Case(
        "json_load",
        """
        import json

        with (root / "data" / "<case>" / (config["name"] + ".json")).open() as file:
            result = json.load(file)
        """,
        files={"zones.json": ('{"n": 1}', '{"n": 7}')},
        config={"name": "zones"},
    ),
    Case(
        "pickle_load",
        """
        import pickle

        with open(root / "<here>" / "a.pickle", "rb") as file:
            result = pickle.load(file)
        """,
        files={"a.pickle": both(lambda n: pickle.dumps({"n": n}))},
    ),
    Case(
        "gzip_open",
        """
        import gzip

        with gzip.open(root / "<here>" / "a.txt.gz", "rt") as file:
            result = file.read()
        """,
        files={"a.txt.gz": packed(gzip.compress)},
    ),
    Case(
        "bz2_and_xz",
        """
        import bz2, lzma

        result = [bz2.open(root / "<here>/a.bz2").read(), lzma.open(root / "<here>/a.xz").read()]
        """,
        files={"a.bz2": bz2.compress(b"1\n"), "a.xz": packed(lzma.compress)},
    ),
    Case(
        "member_of_zip",
        """
        import zipfile

        with zipfile.ZipFile(root / "<here>" / "a.zip") as archive:
            result = archive.read("a.txt")
        """,
        files={"a.zip": both(zipped)},
    ),
    Case(
        "member_of_tar",
        """
        import tarfile

        with tarfile.open(root / "<here>" / "a.tar") as archive:
            result = archive.extractfile("a.txt").read()
        """,
        files={"a.tar": both(tarred)},
    ),
    Case(
        "line_by_linecache",
        """
        import linecache

        result = linecache.getline(str(root / "<here>" / "a.txt"), 1)
        """,
        files={"a.txt": TEXT},
    ),
    Case(
        "lines_of_fileinput",
        """
        import fileinput

        with fileinput.input([root / "<here>" / name for name in ("a.txt", "b.txt")]) as lines:
            result = list(lines)
        """,
        files={"a.txt": "1\n", "b.txt": TEXT},
    ),
    Case(
        "tomllib_load",
        """
        import tomllib

        with open(root / "<here>" / "a.toml", "rb") as file:
            result = tomllib.load(file)
        """,
        files={"a.toml": ("n = 1\n", "n = 7\n")},
    ),
    Case(
        "configparser_read",
        """
        import configparser

        parser = configparser.ConfigParser()
        parser.read([root / "<here>" / "defaults.ini", root / "<here>" / "site.ini"])
        result = parser["a"]["n"]
        """,
        files={"defaults.ini": "[a]\nn = 1\n", "site.ini": ("[a]\nn = 2\n", "[a]\nn = 7\n")},
    ),
    Case(
        "xml_parse",
        """
        from xml.etree import ElementTree

        result = ElementTree.parse(root / "<here>" / "network.xml").getroot().get("n")
        """,
        files={"network.xml": ('<a n="1"/>', '<a n="7"/>')},
    ),
    Case(
        "yaml_load",
        """
        import yaml

        result = yaml.safe_load((root / "<here>" / "a.yaml").read_text())
        """,
        files={"a.yaml": ("n: 1\n", "n: 7\n")},
        needs=("yaml",),
    ),
    Case(
        "mmap",
        """
        import mmap

        with open(root / "<here>" / "a.txt", "rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
                result = memory[:]
        """,
        files={"a.txt": TEXT},
    ),
    Case(
        "os_open",
        """
        descriptor = os.open(root / "<here>" / "a.txt", os.O_RDONLY)
        result = os.read(descriptor, 100)
        os.close(descriptor)
        """,
        files={"a.txt": TEXT},
    ),
    Case(
        "os_open_in_folder_by_descriptor",
        """
        folder = os.open(root / "<here>", os.O_RDONLY)
        with open(os.open("a.txt", os.O_RDONLY, dir_fd=folder)) as file:
            result = file.read()
        os.close(folder)
        """,
        files={"a.txt": TEXT},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "relative_after_chdir",
        """
        run_dir = os.getcwd()
        os.chdir(root / "<here>")
        result = Path("a.txt").read_text()
        os.chdir(run_dir)
        """,
        files={"a.txt": TEXT},
    ),
    Case(
        "os_sendfile",
        """
        source = os.open(os.path.join(root, "<here>", "a.txt"), os.O_RDONLY)
        target = os.open("copy.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.sendfile(target, source, 0, 100)
        result = Path("copy.txt").read_text()
        """,
        files={"a.txt": TEXT},
        on="linux",
    ),
    Case(
        "shutil_copy",
        """
        import shutil

        shutil.copy(root / "<here>" / "a.txt", "a.txt")
        result = Path("a.txt").read_text()
        """,
        files={"a.txt": TEXT},
    ),
    Case(
        "shutil_copytree",
        """
        import shutil

        shutil.copytree(root / "<here>" / "model", "model", dirs_exist_ok=True)
        result = Path("model/deep/a.txt").read_text()
        """,
        files={"model/deep/a.txt": TEXT},
    ),
    Case(
        "link_that_the_flow_makes",
        """
        Path("input.txt").unlink(missing_ok=True)
        Path("input.txt").symlink_to(root / "<here>" / "a.txt")
        result = Path("input.txt").read_text()
        """,
        files={"a.txt": TEXT},
        on="posix",
    ),
    Case(
        "fopen_of_libc",
        """
        import ctypes

        libc = ctypes.CDLL(None)
        libc.fopen.restype = ctypes.c_void_p
        libc.fgets.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
        line = ctypes.create_string_buffer(100)
        libc.fgets(line, 100, libc.fopen(os.fsencode(root / "<here>" / f"{config['name']}.txt"), b"r"))
        result = line.value
        """,
        files={"zones.txt": TEXT},
        config={"name": "zones"},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "exec_of_code",
        """
        rates = {}
        exec((root / "<here>" / "rates.py").read_text(), rates)
        result = rates["RATE"]
        """,
        files={"rates.py": ("RATE = 1\n", "RATE = 7\n")},
    ),
    Case(
        "runpy_run_path",
        """
        import runpy

        result = runpy.run_path(str(root / "<here>" / "rates.py"))["RATE"]
        """,
        files={"rates.py": ("RATE = 1\n", "RATE = 7\n")},
    ),
    Case(
        "urlopen_of_file",
        """
        from urllib.request import urlopen

        result = urlopen((root / "<here>" / "a.txt").as_uri()).read()
        """,
        files={"a.txt": TEXT},
    ),
    Case(
        "sqlite_connect",
        """
        import sqlite3

        result = sqlite3.connect(root / "<here>" / "a.db").execute("select n from t").fetchall()
        """,
        files={"a.db": both(sqlite)},
    ),
    Case(
        "sqlite_by_uri",
        """
        import sqlite3

        connection = sqlite3.connect(f"file:{root}/<here>/{config['name']}.db?mode=ro", uri=True)
        result = connection.execute("select n from t").fetchall()
        """,
        files={"zones.db": both(sqlite)},
        config={"name": "zones"},
    ),
    Case(
        "sqlite_attach",
        """
        import sqlite3

        connection = sqlite3.connect(":memory:")
        connection.execute("attach ? as other", [str(root / "<here>" / f"{config['name']}.db")])
        result = connection.execute("select n from other.t").fetchall()
        """,
        files={"zones.db": both(sqlite)},
        config={"name": "zones"},
        is_seen_by_python=False,
    ),
)

# ---------------------------------------------------------------- threads, processes, other programs

PROCESSES = (
    Case(
        "cat_by_subprocess",
        """
        import subprocess

        command = ["cat", root / "<here>" / f"{config['name']}.txt"]
        result = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        """,
        files={"zones.txt": TEXT},
        config={"name": "zones"},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "cat_of_pattern_by_the_shell",
        """
        import subprocess

        command = 'cd "$FOLDER" && for year in 2020 2021; do cat trips_$year.t*; done'
        environment = {**os.environ, "FOLDER": str(root / "<here>")}
        result = subprocess.check_output(command, shell=True, env=environment)
        """,
        files={"trips_2020.txt": "1\n", "trips_2021.txt": TEXT},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "substitution_by_the_shell",
        """
        import subprocess

        folder = os.path.join(root, "<here>")
        result = subprocess.getoutput(f'cd {folder}; echo "n is $(cat a.txt)"')
        """,
        files={"a.txt": TEXT},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "redirection_in_os_system",
        """
        os.system(f"cd {root}/<here> && sort < a.txt > {os.getcwd()}/sorted.txt")
        result = Path("sorted.txt").read_text()
        """,
        files={"a.txt": TEXT},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "cat_magic",
        """
        folder = root / "<here>"
        result = !cat {folder}/a.txt
        """,
        files={"a.txt": TEXT},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "bash_magic",
        """
        # %%
        %%bash --out result
        cd ../../../<here>
        cat a.txt
        """,
        files={"a.txt": TEXT},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "run_magic",
        """
        script = root / "<here>" / "rates.py"
        %run -i $script
        result = rate
        """,
        files={"rates.py": ("rate = 1\n", "rate = 7\n")},
    ),
    Case(
        "load_ext_magic",
        """
        %load_ext extension_of_a_project
        result = rate
        """,
        files={
            "<project>/extension_of_a_project.py": both(
                lambda n: f"def load_ipython_extension(shell):\n    shell.push({{'rate': {n}}})\n"
            )
        },
    ),
    Case(
        "python_child",
        """
        import subprocess, sys

        code = "import pathlib, sys; print(pathlib.Path(sys.argv[1], 'deep', 'a.txt').read_text())"
        result = subprocess.check_output([sys.executable, "-c", code, root / "<here>"], text=True)
        """,
        files={"deep/a.txt": TEXT},
        is_seen_by_python=False,
    ),
    Case(
        "data_of_a_child_script",
        """
        import subprocess, sys

        result = subprocess.check_output([sys.executable, root / "<here>" / "child.py"], text=True)
        """,
        files={
            "child.py": "from pathlib import Path\nprint((Path(__file__).parent / 'a.txt').read_text())\n",
            "a.txt": TEXT,
        },
        is_seen_by_python=False,
    ),
    Case(
        "module_of_a_child_script",
        """
        import subprocess, sys

        result = subprocess.check_output([sys.executable, root / "<here>" / "child.py"], text=True)
        """,
        files={
            "child.py": "import child_rates\nprint(child_rates.RATE)\n",
            "child_rates.py": both(lambda n: compiled(f"RATE = {n}\n")),
        },
        is_seen_by_python=False,
    ),
    Case(
        "child_of_a_child",
        """
        import subprocess

        result = subprocess.check_output(["sh", "-c", "sh ./outer.sh"], cwd=root / "<here>", text=True)
        """,
        files={"outer.sh": "sh ./inner.sh\n", "inner.sh": "cat $(echo a).txt\n", "a.txt": TEXT},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "bash_kernel",
        """
        # %% tags=["parameters"]
        name=""

        # %%
        folder="../../../<here>"
        cat "$folder/$name.txt" > result.txt
        """,
        files={"zones.txt": TEXT},
        config={"name": "zones"},
        suffix=".sh",
        needs=("bash_kernel",),
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "r_kernel",
        """
        # %% tags=["parameters"]
        name <- ""

        # %%
        folder <- "../../../<here>"
        writeLines(readLines(file.path(folder, paste0(name, ".txt"))), "result.txt")
        """,
        files={"zones.txt": TEXT},
        config={"name": "zones"},
        suffix=".R",
        kernel="ir",
        is_seen_by_python=False,
    ),
    Case(
        "notebook_with_a_shell_line",
        json.dumps(
            {
                "nbformat": 4,
                "nbformat_minor": 5,
                "metadata": {
                    "kernelspec": {"name": "python3", "display_name": "Python", "language": "python"}
                },
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
                            ([], "folder = config['_project_root'] + '/data/' + config['case']"),
                            ([], "!cat {folder}/a.txt > result.txt"),
                        ]
                    )
                ],
            }
        ),
        files={"a.txt": TEXT},
        config={"case": "notebook_with_a_shell_line"},
        suffix=".ipynb",
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "thread",
        """
        import threading

        result = []
        path = root / "<here>" / "a.txt"
        thread = threading.Thread(target=lambda: result.append(path.read_text()))
        thread.start()
        thread.join()
        """,
        files={"a.txt": TEXT},
    ),
    Case(
        "thread_pool",
        """
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(2) as pool:
            result = list(pool.map(Path.read_text, [root / "<here>" / f"{name}.txt" for name in "ab"]))
        """,
        files={"a.txt": "1\n", "b.txt": TEXT},
    ),
    Case(
        "asyncio_to_thread",
        """
        import asyncio

        result = await asyncio.to_thread((root / "<here>" / "a.txt").read_text)
        """,
        files={"a.txt": TEXT},
    ),
    Case(
        "asyncio_subprocess",
        """
        import asyncio

        child = await asyncio.create_subprocess_exec(
            "cat", "a.txt", cwd=root / "<here>", stdout=asyncio.subprocess.PIPE
        )
        result, _ = await child.communicate()
        """,
        files={"a.txt": TEXT},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "os_fork",
        """
        receiver, sender = os.pipe()
        if os.fork() == 0:
            os.write(sender, (root / "<here>" / "a.txt").read_bytes())
            os._exit(0)
        os.wait()
        result = os.read(receiver, 100)
        """,
        files={"a.txt": TEXT},
        on="linux",
    ),
    Case(
        "os_posix_spawn",
        """
        to_file = [(os.POSIX_SPAWN_OPEN, 1, "out.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
        path = f"{root}/<here>/{config['name']}.txt"
        os.waitpid(os.posix_spawnp("cat", ["cat", path], os.environ, file_actions=to_file), 0)
        result = Path("out.txt").read_text()
        """,
        files={"zones.txt": TEXT},
        config={"name": "zones"},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "process_pool_forked",
        """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        def read(name):
            return (root / "<here>" / name).read_text()

        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            result = list(pool.map(read, ["a.txt", "b.txt"]))
        """,
        files={"a.txt": "1\n", "b.txt": TEXT},
        on="linux",
    ),
    Case(
        "process_pool_spawned",
        """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        from reading_in_spawned import read

        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            result = pool.submit(read, root / "<here>", "a").result()
        """,
        files={
            "<project>/reading_in_spawned.py": """\
                def read(folder, name):
                    return (folder / f"{name}.txt").read_text()
                """,
            "a.txt": TEXT,
        },
        is_seen_by_python=False,
    ),
    Case(
        "joblib_parallel",
        """
        from joblib import Parallel, delayed

        def read(name):
            return (root / "<here>" / f"{name}.txt").read_text()

        result = Parallel(n_jobs=2)(delayed(read)(name) for name in "ab")
        """,
        files={"a.txt": "1\n", "b.txt": TEXT},
        needs=("joblib",),
        is_seen_by_python=False,
    ),
)

# ---------------------------------------------------------------- pandas, numpy, pyarrow, DuckDB, polars, …

TABLES = (
    Case(
        "pandas_csv",
        """
        import pandas as pd

        result = pd.read_csv(root / "<here>" / "zones.csv")
        """,
        files={"zones.csv": TABLE},
    ),
    Case(
        "pandas_csv_by_arrow",
        """
        import pandas as pd

        result = pd.read_csv(root / "<here>" / f"zones_{config['year']}.csv", engine="pyarrow")
        """,
        files={"zones_2030.csv": TABLE},
        config={"year": 2030},
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
    Case(
        "pandas_excel",
        """
        import pandas as pd

        result = pd.read_excel(root / "<here>" / "zones.xlsx")
        """,
        files={"zones.xlsx": both(excel)},
        needs=("openpyxl",),
    ),
    Case(
        "openpyxl",
        """
        import openpyxl

        result = openpyxl.load_workbook(root / "<here>" / "zones.xlsx").active["A2"].value
        """,
        files={"zones.xlsx": both(excel)},
        needs=("openpyxl",),
    ),
    Case(
        "pandas_json_and_fixed_width",
        """
        import pandas as pd

        result = [pd.read_json(root / "<here>" / "a.json"), pd.read_fwf(root / "<here>" / "a.txt")]
        """,
        files={"a.json": '[{"n": 1}]', "a.txt": TABLE},
    ),
    Case(
        "pandas_pickle",
        """
        import pandas as pd

        result = pd.read_pickle(root / "<here>" / "a.pickle")
        """,
        files={"a.pickle": both(lambda n: frame(n, "to_pickle"))},
    ),
    Case(
        "pandas_sql",
        """
        import sqlite3
        import pandas as pd

        result = pd.read_sql("select * from t", sqlite3.connect(root / "<here>" / "a.db"))
        """,
        files={"a.db": both(sqlite)},
    ),
    Case(
        "pandas_parquet",
        """
        import pandas as pd

        zones = pd.read_csv(root / "<here>" / "zones.csv")
        result = [pd.read_parquet(root / "<here>" / f"trips_{year}.parquet") for year in (2020, 2021)]
        """,
        files={"zones.csv": "n\n1\n", "trips_2020.parquet": parquet(1), "trips_2021.parquet": both(parquet)},
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
    Case(
        "pandas_parquet_folder",
        """
        import pandas as pd

        DATA = root / "data" / "<case>"
        zones = pd.read_csv(DATA / "zones.csv")
        result = pd.read_parquet(DATA / "parts")
        """,
        files={"zones.csv": "n\n1\n", "parts/p0.parquet": parquet(1), "parts/p1.parquet": both(parquet)},
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
    Case(
        "pandas_feather_and_orc",
        """
        import pandas as pd

        folder = root / "<here>"
        result = [pd.read_feather(folder / "a.feather"), pd.read_orc(folder / "a.orc")]
        """,
        files={
            "a.feather": frame(1, "to_feather"),
            "a.orc": both(lambda n: frame(n, "to_orc")),
        },
        needs=("pyarrow",),
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "numpy_load",
        """
        import numpy as np

        result = np.load(root / "<here>" / "a.npy")
        """,
        files={"a.npy": both(array)},
    ),
    Case(
        "numpy_load_of_several",
        """
        import numpy as np

        result = np.load(root / "<here>" / "a.npz")["n"]
        """,
        files={"a.npz": both(arrays)},
    ),
    Case(
        "numpy_memmap",
        """
        import numpy as np

        result = int(np.memmap(root / "<here>" / "a.bin", dtype="u1", mode="r").sum())
        """,
        files={"a.bin": (b"\x01", b"\x07")},
    ),
    Case(
        "numpy_fromfile_and_loadtxt",
        """
        import numpy as np

        result = [np.fromfile(root / "<here>" / "a.bin", dtype="u1"), np.loadtxt(root / "<here>" / "a.txt")]
        """,
        files={"a.bin": (b"\x01", b"\x07"), "a.txt": "1\n"},
    ),
    Case(
        "matlab_file",
        """
        from scipy.io import loadmat

        result = loadmat(root / "<here>" / "a.mat")["n"]
        """,
        files={"a.mat": both(matlab)},
        needs=("scipy",),
    ),
    Case(
        "joblib_load",
        """
        import joblib

        result = joblib.load(root / "<here>" / "model.joblib")
        """,
        files={"model.joblib": both(dumped)},
        needs=("joblib",),
    ),
    Case(
        "arrow_parquet",
        """
        import pyarrow.parquet as pq

        result = pq.read_table(root / "<here>" / f"{config['name']}.parquet", memory_map=True)
        """,
        files={"zones.parquet": both(parquet)},
        config={"name": "zones"},
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
    Case(
        "arrow_dataset",
        """
        import pyarrow.dataset as ds

        DATA = root / "data" / "<case>"
        schema = (DATA / "schema.json").read_text()
        result = ds.dataset(DATA / "years", partitioning=["year"], format="parquet").to_table()
        """,
        files={
            "schema.json": "{}",
            "years/2020/a.parquet": parquet(1),
            "years/2021/a.parquet": both(parquet),
        },
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
    Case(
        "arrow_csv",
        """
        from pyarrow import csv

        schema = (root / "<here>" / "schema.json").read_text()
        result = csv.read_csv(os.path.join(root, "<here>", "zones_" + config["name"] + ".csv"))
        """,
        files={"schema.json": "{}", "zones_high.csv": TABLE},
        config={"name": "high"},
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
    Case(
        "arrow_stream_by_its_file_system",
        """
        import pyarrow as pa
        from pyarrow import fs

        with fs.LocalFileSystem().open_input_file(f"{root}/<here>/{config['name']}.arrow") as file:
            result = pa.ipc.open_file(file).read_all()
        """,
        files={"zones.arrow": both(arrow_stream)},
        config={"name": "zones"},
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
    Case(
        "duckdb_file",
        """
        import duckdb

        result = duckdb.read_csv(str(root / "<here>" / f"{config['name']}.csv")).fetchall()
        """,
        files={"zones.csv": TABLE},
        config={"name": "zones"},
        needs=("duckdb",),
        is_seen_by_python=False,
    ),
    Case(
        "duckdb_pattern",
        """
        import duckdb
        import json

        schema = json.loads((root / "<here>" / "schema.json").read_text())
        result = duckdb.sql(f"select sum(n) from '{root}/<here>/*.csv'").fetchall()
        """,
        files={"schema.json": "{}", "p0.csv": "n\n1\n", "p1.csv": TABLE},
        needs=("duckdb",),
        is_seen_by_python=False,
    ),
    Case(
        "duckdb_pattern_at_the_end_of_a_chain",
        """
        import duckdb

        result = duckdb.read_csv(str(root / "data" / "<case>" / "*.csv")).fetchall()
        """,
        files={"p0.csv": "n\n1\n", "p1.csv": TABLE},
        needs=("duckdb",),
        is_seen_by_python=False,
    ),
    Case(
        "duckdb_pattern_over_folders",
        """
        import duckdb

        result = duckdb.sql(f"select n from read_csv('{root}/<here>/**/part-*.csv')").fetchall()
        """,
        files={"2020/01/part-0.csv": "n\n1\n", "2020/02/part-0.csv": TABLE},
        needs=("duckdb",),
        is_seen_by_python=False,
    ),
    Case(
        "duckdb_loop",
        """
        import duckdb

        read = lambda path: duckdb.execute("select n from read_csv(?)", [path]).fetchall()
        result = [read(f"{root}/<here>/p{i}.csv") for i in range(2)]
        """,
        files={"p0.csv": "n\n1\n", "p1.csv": TABLE},
        needs=("duckdb",),
        is_seen_by_python=False,
    ),
    Case(
        "duckdb_database",
        """
        import duckdb

        name = "_".join(["zones", str(config["year"])])
        result = duckdb.connect(f"{root}/<here>/{name}.duckdb", read_only=True).sql("from t").fetchall()
        """,
        files={"zones_2030.duckdb": both(duck)},
        config={"year": 2030},
        needs=("duckdb",),
        is_seen_by_python=False,
    ),
    Case(
        "duckdb_view_that_leads_to_files",
        """
        import duckdb

        result = duckdb.connect(f"{root}/<here>/views.duckdb", read_only=True).sql("from v").fetchall()
        """,
        files={
            "zones.csv": TABLE,
            "views.duckdb": duck_with("create view v as select n from '{folder}/zones.csv'"),
        },
        needs=("duckdb",),
        is_seen_by_python=False,
    ),
    Case(
        "polars_csv",
        """
        import polars as pl

        result = pl.read_csv(root / "<here>" / f"{config['name']}.csv")
        """,
        files={"zones.csv": TABLE},
        config={"name": "zones"},
        needs=("polars",),
        is_seen_by_python=False,
    ),
    Case(
        "polars_scan_of_pattern",
        """
        import polars as pl

        result = pl.scan_csv(root / "<here>" / "trips_*.csv").collect()
        """,
        files={"trips_2020.csv": "n\n1\n", "trips_2021.csv": TABLE},
        needs=("polars",),
        is_seen_by_python=False,
    ),
    Case(
        "polars_scan_of_folder",
        """
        import polars as pl

        result = pl.scan_parquet(root / "<here>" / "parts").collect()
        """,
        files={"parts/p0.parquet": parquet(1), "parts/p1.parquet": both(parquet)},
        needs=("polars", "pyarrow"),
        is_seen_by_python=False,
    ),
    Case(
        "h5py",
        """
        import h5py

        result = h5py.File(root / "<here>" / f"{config['name']}.h5")["n"][:]
        """,
        files={"zones.h5": both(hdf)},
        config={"name": "zones"},
        needs=("h5py",),
        is_seen_by_python=False,
    ),
    Case(
        "h5py_link_to_another_file",
        """
        import h5py

        result = h5py.File(root / "<here>" / "index.h5")["n"][:]
        """,
        files={"index.h5": hdf_that_links("values.h5"), "values.h5": both(hdf)},
        needs=("h5py",),
        is_seen_by_python=False,
    ),
    Case(
        "netcdf",
        """
        import netCDF4

        result = netCDF4.Dataset(root / "<here>" / f"{config['name']}.nc")["n"][:]
        """,
        files={"rain.nc": both(net_cdf)},
        config={"name": "rain"},
        needs=("netCDF4",),
        is_seen_by_python=False,
    ),
    Case(
        "pillow",
        """
        from PIL import Image

        result = list(Image.open(root / "<here>" / "a.png").tobytes())
        """,
        files={"a.png": both(image)},
        needs=("PIL",),
    ),
    Case(
        "matplotlib_imread",
        """
        from matplotlib.image import imread

        result = imread(root / "<here>" / "a.png").tolist()
        """,
        files={"a.png": both(image)},
        needs=("matplotlib", "PIL"),
    ),
)

# ---------------------------------------------------------------- ways to name a path

DUCK = {"needs": ("duckdb",), "is_seen_by_python": False}

# What is used has another name than the one with the link in it.
THROUGH_LINKS = {
    "resolved": 'result = ((root / "<here>" / "current").resolve() / "zones.csv").read_text()',
    "read": 'result = os.readlink(root / "<here>" / "current")',
    "as_working_folder": """
        here = os.getcwd()
        os.chdir(root / "<here>" / "current")
        result = open("zones.csv").read()
        os.chdir(here)
        """,
    "as_working_folder_of_a_program": """
        import subprocess

        result = subprocess.check_output(["cat", "zones.csv"], cwd=root / "<here>" / "current")
        """,
    "as_open_folder": """
        folder = os.open(root / "<here>" / "current", os.O_RDONLY)
        result = os.read(os.open("zones.csv", os.O_RDONLY, dir_fd=folder), 9)
        """,
    "for_grep": """
        import subprocess

        result = subprocess.check_output(["grep", "-r", "n", str(root / "<here>" / "current") + "/"])
        """,
}

NAMES = (
    Case(
        "absolute_literal",
        """
        import duckdb

        result = duckdb.sql("select n from '<project>/<here>/zones.csv'").fetchall()
        """,
        files={"zones.csv": TABLE},
        **DUCK,
    ),
    Case(
        "path_in_config",
        """
        import duckdb

        result = duckdb.read_csv(str(root / config["data"]["zones"][0])).fetchall()
        """,
        files={"zones.csv": TABLE},
        config={"data": {"zones": ["<here>/zones.csv"]}},
        **DUCK,
    ),
    Case(
        "pattern_in_config",
        """
        import duckdb

        result = duckdb.read_csv(f"{root}/{config['tables']}").fetchall()
        """,
        files={"p0.csv": "n\n1\n", "p1.csv": TABLE},
        config={"tables": "<here>/*.csv"},
        **DUCK,
    ),
    Case(
        "format_and_percent",
        """
        import duckdb

        names = ["{}_{}.csv".format("zones", 2030), "%s_%d.csv" % ("trips", 2030)]
        result = [duckdb.read_csv(str(root / "<here>" / name)).fetchall() for name in names]
        """,
        files={"zones_2030.csv": "n\n1\n", "trips_2030.csv": TABLE},
        **DUCK,
    ),
    Case(
        "computed_name",
        """
        import duckdb

        name = "-".join(reversed(config["scenario"].lower().split()))
        result = duckdb.read_csv(str((root / "<here>" / name).with_suffix(".csv"))).fetchall()
        """,
        files={"rail-high.csv": TABLE},
        config={"scenario": "HIGH RAIL"},
        **DUCK,
    ),
    Case(
        "base_folder_outside",
        """
        import duckdb

        BASE = Path("<outside>")
        result = duckdb.read_csv(str(BASE / "zones.csv")).fetchall()
        """,
        files={"<outside>/zones.csv": TABLE},
        **DUCK,
    ),
    Case(
        "base_folder_and_joinpath",
        """
        import duckdb

        BASE = Path("<outside>")
        result = duckdb.read_csv(str(BASE.joinpath("share", "zones.csv"))).fetchall()
        """,
        files={"<outside>/share/zones.csv": TABLE},
        **DUCK,
    ),
    Case(
        "pattern_by_python_in_base_folder",
        """
        import duckdb
        import glob

        paths = sorted(glob.glob(os.path.join("<outside>", "trips_*.csv")))
        result = duckdb.read_csv(paths).fetchall()
        """,
        files={"<outside>/trips_1.csv": "n\n1\n", "<outside>/trips_2.csv": TABLE},
        **DUCK,
    ),
    Case(
        "helper_of_the_project",
        """
        from loaders_of_a_project import table

        result = table("trips_2020")
        """,
        files={
            "<project>/loaders_of_a_project.py": """\
                from pathlib import Path
                import pandas as pd

                DATA = Path(__file__).parent / "<here>"
                zones = pd.read_csv(DATA / "zones.csv")

                def table(name):
                    return pd.read_parquet(DATA / f"{name}.parquet")
                """,
            "zones.csv": "n\n1\n",
            "trips_2020.parquet": both(parquet),
        },
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
    Case(
        "constants_of_a_package",
        """
        import duckdb
        from package_with_places import places

        result = duckdb.read_csv(places.TABLES["zones"]).fetchall()
        """,
        files={
            "<project>/package_with_places/__init__.py": "",
            "<project>/package_with_places/places.py": """\
                import os

                FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "<here>")
                TABLES = {name: os.path.join(FOLDER, name + ".csv") for name in ("zones", "trips")}
                """,
            "zones.csv": TABLE,
        },
        **DUCK,
    ),
    Case(
        "read_when_a_helper_is_imported",
        """
        from rates_of_a_project import RATE

        result = RATE
        """,
        files={
            "<project>/rates_of_a_project.py": """\
                from pathlib import Path

                RATE = float((Path(__file__).parent / "<here>" / "rate.txt").read_text())
                """,
            "rate.txt": TEXT,
        },
    ),
    Case(
        "resource_of_a_package",
        """
        from importlib import resources

        result = (resources.files("package_with_resources") / "zones.csv").read_text()
        """,
        files={
            "<project>/package_with_resources/__init__.py": "",
            "<project>/package_with_resources/zones.csv": TABLE,
        },
    ),
    Case(
        "data_got_by_pkgutil",
        """
        import pkgutil

        result = pkgutil.get_data("package_with_data", "zones.csv")
        """,
        files={
            "<project>/package_with_data/__init__.py": "",
            "<project>/package_with_data/zones.csv": TABLE,
        },
    ),
    Case(
        "paths_told_by_data",
        """
        import duckdb

        names = (root / "<here>" / "index.txt").read_text().split()
        result = [duckdb.read_csv(str(root / "<here>" / name)).fetchall() for name in names]
        """,
        files={"index.txt": "deep/one deep/two\n", "deep/one": "n\n1\n", "deep/two": TABLE},
        **DUCK,
    ),
    Case(
        "path_in_an_environment_variable",
        """
        import duckdb

        result = duckdb.read_csv(os.environ["TABLE_OF_THE_ENVIRONMENT"]).fetchall()
        """,
        files={"zones.csv": TABLE},
        **DUCK,
    ),
    Case(
        "path_printed_by_a_program",
        """
        import duckdb
        import subprocess

        path = subprocess.check_output(["sh", "-c", "ls -d $PWD/*.csv"], cwd=root / "<here>", text=True)
        result = duckdb.read_csv(path.strip()).fetchall()
        """,
        files={"zones.csv": TABLE},
        on="posix",
        **DUCK,
    ),
    Case(
        "hidden_folder_by_python",
        'result = Path(root, "<here>", ".params", "p.json").read_text()',
        files={".params/p.json": TEXT},
    ),
    Case(
        "hidden_folder_by_duckdb",
        """
        import duckdb

        result = duckdb.read_csv(f"{root}/<here>/.tables/{config['name']}.csv").fetchall()
        """,
        files={".tables/zones.csv": TABLE},
        config={"name": "zones"},
        **DUCK,
    ),
    Case(
        "hidden_folder_in_config",
        'result = (root / config["table"]).read_text()',
        files={".data/zones.csv": TABLE},
        config={"table": "<here>/.data/zones.csv"},
    ),
    Case(
        "hidden_folder_of_home",
        'result = Path("~/.model/<case>.txt").expanduser().read_text()',
        files={"<home>/.model/<case>.txt": TEXT},
    ),
    Case(
        "outside_by_python",
        'result = Path("<outside>", "zones.csv").read_text()',
        files={"<outside>/zones.csv": TABLE},
    ),
    Case(
        "temporary_folder_by_python",
        """
        import tempfile

        result = Path(tempfile.gettempdir(), "<case>.txt").read_text()
        """,
        files={"<scratch>/<case>.txt": TEXT},
    ),
    Case(
        "temporary_folder_by_duckdb",
        """
        import duckdb

        result = duckdb.read_csv(f"<scratch>/<case>/{config['name']}.csv").fetchall()
        """,
        files={"<scratch>/<case>/zones.csv": TABLE},
        config={"name": "zones"},
        **DUCK,
    ),
    Case(
        "disk_in_memory_by_python",
        'result = Path(config["table"]).read_text()',
        files={"<memory>/zones.csv": TABLE},
        config={"table": "<memory>/zones.csv"},
        place="memory",
    ),
    Case(
        "disk_in_memory_by_duckdb",
        """
        import duckdb

        result = duckdb.read_csv(f"<memory>/{config['name']}.csv").fetchall()
        """,
        files={"<memory>/zones.csv": TABLE},
        config={"name": "zones"},
        place="memory",
        **DUCK,
    ),
    Case(
        "var_tmp_by_python",
        'result = Path(config["table"]).read_text()',
        files={"<var_tmp>/zones.csv": TABLE},
        config={"table": "<var_tmp>/zones.csv"},
        place="var_tmp",
    ),
    Case(
        "var_tmp_not_in_config",
        'result = Path("<var_tmp>", "zones.csv").read_text()',
        files={"<var_tmp>/zones.csv": TABLE},
        place="var_tmp",
    ),
    Case(
        "folder_called_library",
        'result = (root / "<here>" / "library" / "lib" / "usr" / "zones.csv").read_text()',
        files={"library/lib/usr/zones.csv": TABLE},
    ),
    Case(
        "link_to_a_file",
        """
        import duckdb

        result = duckdb.read_csv(str(root / "<here>" / "current.csv")).fetchall()
        """,
        files={"current.csv": Link("v1.csv"), "v1.csv": TABLE},
        on="posix",
        **DUCK,
    ),
    Case(
        "link_to_a_folder_outside",
        """
        import duckdb

        result = duckdb.read_csv(f"{root}/<here>/share/{config['name']}.csv").fetchall()
        """,
        files={"share": Link("<outside>"), "<outside>/zones.csv": TABLE},
        config={"name": "zones"},
        on="posix",
        **DUCK,
    ),
    Case(
        "link_that_leads_elsewhere",
        'result = (root / "<here>" / "current" / "zones.csv").read_text()',
        files={"v1/zones.csv": "n\n1\n", "v2/zones.csv": "n\n7\n", "current": (Link("v1"), Link("v2"))},
        on="posix",
    ),
    Case(
        "link_that_leads_elsewhere_by_duckdb",
        """
        import duckdb

        result = duckdb.read_csv(f"{root}/<here>/current/{config['name']}.csv").fetchall()
        """,
        files={"v1/zones.csv": "n\n1\n", "v2/zones.csv": "n\n7\n", "current": (Link("v1"), Link("v2"))},
        config={"name": "zones"},
        on="posix",
        **DUCK,
    ),
    *(
        Case(
            f"link_that_leads_elsewhere_{how}",
            code,
            files={"v1/zones.csv": "n\n1\n", "v2/zones.csv": "n\n7\n", "current": (Link("v1"), Link("v2"))},
            is_seen_by_python="subprocess" not in code,
            on="linux",
        )
        for how, code in THROUGH_LINKS.items()
    ),
    Case(
        "relative_with_dots",
        """
        import duckdb

        result = duckdb.read_csv("../../../<here>/" + config["name"] + ".csv").fetchall()
        """,
        files={"zones.csv": TABLE},
        config={"name": "zones"},
        **DUCK,
    ),
    Case(
        "key_dest_table",
        """
        import duckdb

        result = duckdb.read_csv(str(root / config["dest_table"])).fetchall()
        """,
        files={"zones.csv": TABLE},
        config={"dest_table": "<here>/zones.csv"},
        **DUCK,
    ),
    Case(
        "key_gtfs_export",
        """
        import pyarrow.csv

        result = pyarrow.csv.read_csv(root / config["gtfs_export"])
        """,
        files={"stops.txt": TABLE},
        config={"gtfs_export": "<here>/stops.txt"},
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
    Case(
        "key_output_of_another_model",
        """
        import pyarrow.csv

        result = pyarrow.csv.read_csv(root / config["population_out"]["save_dir"] / "zones.csv")
        """,
        files={"zones.csv": TABLE},
        config={"population_out": {"save_dir": "<here>"}},
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
    Case(
        "one_of_very_many_files",
        """
        import subprocess

        result = subprocess.check_output("cat * | sort -n | tail -n 1", shell=True, cwd=root / folder)
        """,
        files={
            **{f"{number:04}.txt": "1\n" for number in range(1_050)},
            "0500.txt": both(lambda n: same_time(f"{n}\n")),
        },
        config={"folder": "<here>"},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "mtime_and_size_kept",
        'result = (root / "<here>" / "a.txt").read_text()',
        files={"a.txt": both(lambda n: same_time(f"{n}\n"))},
    ),
)

# ---------------------------------------------------------------- what is created, and what is deleted

COMING = (
    Case(
        "exists_joined",
        'result = os.path.exists(os.path.join(root, "<here>", "overrides.csv"))',
        files={"zones.csv": "n\n1\n", "overrides.csv": comes("n\n7\n")},
    ),
    Case(
        "is_file_in_variable",
        """
        import pandas as pd

        DATA = root / "<here>"
        zones = pd.read_csv(DATA / "zones.csv")
        result = (DATA / f"overrides_{config['scenario']}.csv").is_file()
        """,
        files={"zones.csv": "n\n1\n", "overrides_high.csv": comes("n\n7\n")},
        config={"scenario": "high"},
    ),
    Case(
        "is_dir",
        'result = (root / "<here>" / "overrides").is_dir()',
        files={"zones.csv": "n\n1\n", "overrides": comes(folder)},
    ),
    Case(
        "exists_by_concatenation",
        'result = os.path.exists(os.path.join(root, "<here>", "override_" + config["name"] + ".csv"))',
        files={"zones.csv": "n\n1\n", "override_high.csv": comes("n\n7\n")},
        config={"name": "high"},
    ),
    Case(
        "access",
        'result = os.access(f"{root}/<here>/{name}.csv", os.R_OK)',
        files={"zones.csv": "n\n1\n", "overrides.csv": comes("n\n7\n")},
        config={"name": "overrides"},
    ),
    Case(
        "getsize",
        """
        try:
            result = os.path.getsize(root / "<here>" / "overrides")
        except FileNotFoundError:
            result = 0
        """,
        files={"zones.csv": "n\n1\n", "overrides": comes("n\n7\n")},
    ),
    Case(
        "stat_in_a_folder_that_is_not_there",
        'result = (root / "<here>" / "site" / "local.json").exists()',
        files={"zones.csv": "n\n1\n", "site/local.json": comes("{}")},
    ),
    Case(
        "open_in_vain",
        """
        try:
            result = open(root / "<here>" / f"overrides_{config['name']}").read()
        except FileNotFoundError:
            result = "none"
        """,
        files={"zones.csv": "n\n1\n", "overrides_high": comes("n\n7\n")},
        config={"name": "high"},
    ),
    Case(
        "configparser_in_vain",
        """
        import configparser

        parser = configparser.ConfigParser({"n": "1"})
        result = [parser.read([root / "<here>" / "local.ini"]), parser["DEFAULT"]["n"]]
        """,
        files={"zones.csv": "n\n1\n", "local.ini": comes("[DEFAULT]\nn = 7\n")},
    ),
    Case(
        "duckdb_in_vain",
        """
        import duckdb

        try:
            result = duckdb.read_csv(f"{root}/<here>/overrides_{config['name']}.csv").fetchall()
        except duckdb.Error:
            result = "none"
        """,
        files={"zones.csv": "n\n1\n", "overrides_high.csv": comes("n\n7\n")},
        config={"name": "high"},
        **DUCK,
    ),
    Case(
        "test_by_the_shell",
        'result = os.system(f"cd {root}/<here> && test -e overrides.csv")',
        files={"zones.csv": "n\n1\n", "overrides.csv": comes("n\n7\n")},
        on="posix",
        is_seen_by_python=False,
    ),
    Case(
        "exists_and_goes",
        'result = os.path.exists(os.path.join(root, "<here>", "with_rail"))',
        files={"zones.csv": "n\n1\n", "with_rail": goes("")},
    ),
    Case(
        "getsize_of_one_that_grows",
        'result = os.path.getsize(os.path.join(root, "<here>", "zones.csv"))',
        files={"zones.csv": ("n\n1\n", "n\n1\n7\n")},
    ),
    Case(
        "file_that_goes",
        """
        path = root / "<here>" / "overrides.csv"
        result = path.read_text() if path.exists() else "none"
        """,
        files={"zones.csv": "n\n1\n", "overrides.csv": goes("n\n7\n")},
    ),
    Case(
        "new_file_in_listed_folder",
        'result = sorted(os.listdir(root / "<here>"))',
        files={"a.csv": "n\n1\n", "b.csv": comes("n\n7\n")},
    ),
    Case(
        "new_file_in_globbed_folder",
        'result = [path.read_text() for path in sorted((root / "<here>").glob("*.csv"))]',
        files={"a.csv": "n\n1\n", "b.csv": comes("n\n7\n")},
    ),
    Case(
        "new_file_below_walked_folder",
        'result = sorted(name for _, _, names in os.walk(f"{root}/<here>") for name in names)',
        files={"deep/deeper/a.csv": "n\n1\n", "deep/deeper/b.csv": comes("n\n7\n")},
    ),
    Case(
        "new_folder_in_recursive_pattern",
        'result = [path.read_text() for path in sorted(root.joinpath("<here>").rglob("part.csv"))]',
        files={"2020/part.csv": "n\n1\n", "2021/part.csv": comes("n\n7\n")},
    ),
    Case(
        "file_that_goes_from_a_listed_folder",
        'result = len(list(os.scandir(root / "<here>")))',
        files={"a.csv": "n\n1\n", "b.csv": goes("n\n7\n")},
    ),
    Case(
        "listed_folder_that_comes",
        """
        import glob

        result = sorted(glob.glob(f"{root}/<here>/{config['name']}/*.csv"))
        """,
        files={"zones.csv": "n\n1\n", "overrides/a.csv": comes("n\n7\n")},
        config={"name": "overrides"},
    ),
    Case(
        "new_file_in_temporary_folder_of_config",
        'result = sorted(path.name for path in Path(config["folder"]).glob("*.csv"))',
        files={"<scratch>/<case>/a.csv": "n\n1\n", "<scratch>/<case>/b.csv": comes("n\n7\n")},
        config={"folder": "<scratch>/<case>"},
    ),
    Case(
        "new_file_in_folder_outside",
        'result = sorted(os.listdir("<outside>"))',
        files={"<outside>/a.csv": "n\n1\n", "<outside>/b.csv": comes("n\n7\n")},
    ),
    Case(
        "new_file_in_listed_hidden_folder",
        'result = sorted(os.listdir(root / "<here>" / ".tables"))',
        files={".tables/a.csv": "n\n1\n", ".tables/b.csv": comes("n\n7\n")},
    ),
    Case(
        "new_file_for_a_pattern_of_duckdb",
        """
        import duckdb

        result = duckdb.sql(f"select n from '{root}/<here>/*.csv'").fetchall()
        """,
        files={"a.csv": "n\n1\n", "b.csv": comes("n\n7\n")},
        **DUCK,
    ),
    Case(
        "new_file_for_a_dataset_of_arrow",
        """
        import pyarrow.dataset as ds

        result = ds.dataset(root / "<here>" / "parts").to_table()
        """,
        files={"parts/a.parquet": parquet(1), "parts/b.parquet": comes(parquet(7))},
        needs=("pyarrow",),
        is_seen_by_python=False,
    ),
    Case(
        "new_file_for_ls",
        """
        import subprocess

        result = subprocess.check_output(["ls"], cwd=root / "<here>", text=True)
        """,
        files={"a.csv": "n\n1\n", "b.csv": comes("n\n7\n")},
        on="posix",
        is_seen_by_python=False,
    ),
)

# ---------------------------------------------------------------- modules

MODULES = (
    Case(
        "module_changes",
        "import module_that_changes\n\nresult = module_that_changes.RATE",
        files={"<project>/module_that_changes.py": ("RATE = 1\n", "RATE = 7\n")},
    ),
    Case(
        "module_compiled_before",
        "import module_that_is_compiled\n\nresult = module_that_is_compiled.RATE",
        files={"<project>/module_that_is_compiled.py": both(lambda n: compiled(f"RATE = {n}\n"))},
    ),
    Case(
        "module_in_folder_of_the_path",
        """
        import sys

        sys.path.insert(0, str(root / "<here>" / "lib"))
        import module_in_lib

        result = module_in_lib.RATE
        """,
        files={"lib/module_in_lib.py": ("RATE = 1\n", "RATE = 7\n")},
    ),
    Case(
        "module_of_a_package_in_several_folders",
        """
        import sys

        sys.path[:0] = [str(root / "<here>" / "first"), str(root / "<here>" / "second")]
        import package_in_folders.part

        result = package_in_folders.part.RATE
        """,
        files={
            "first/package_in_folders/part.py": comes("RATE = 7\n"),
            "second/package_in_folders/part.py": "RATE = 1\n",
        },
    ),
    Case(
        "module_with_computed_name",
        """
        import importlib

        result = importlib.import_module(f"model_of_{config['mode']}").RATE
        """,
        files={"<project>/model_of_rail.py": ("RATE = 1\n", "RATE = 7\n")},
        config={"mode": "rail"},
    ),
    Case(
        "module_of_a_module_within_a_function",
        "from package_of_modules import outer\n\nresult = outer.rate()",
        files={
            "<project>/package_of_modules/__init__.py": "",
            "<project>/package_of_modules/outer.py": (
                "def rate():\n    from .inner import RATE\n    return RATE\n"
            ),
            "<project>/package_of_modules/inner.py": ("RATE = 1\n", "RATE = 7\n"),
        },
    ),
    Case(
        "module_from_a_file",
        """
        import importlib.util

        spec = importlib.util.spec_from_file_location("rates", "<outside>/rates.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        result = module.RATE
        """,
        files={"<outside>/rates.py": ("RATE = 1\n", "RATE = 7\n")},
    ),
    Case(
        "package_comes_before_a_module",
        "import demand_that_is_shadowed\n\nresult = demand_that_is_shadowed.TRIPS",
        files={
            "<project>/demand_that_is_shadowed.py": "TRIPS = 1\n",
            "<project>/demand_that_is_shadowed/__init__.py": comes("TRIPS = 7\n"),
        },
    ),
    Case(
        "module_beside_the_flow_comes_first",
        "import helper_at_the_root\n\nresult = helper_at_the_root.RATE",
        files={
            "<project>/helper_at_the_root.py": "RATE = 1\n",
            "<project>/flows/helper_at_the_root.py": comes("RATE = 7\n"),
        },
    ),
    Case(
        "fallback_after_import_error",
        """
        try:
            from local_settings import RATE
        except ImportError:
            from usual_settings import RATE
        result = RATE
        """,
        files={
            "<project>/usual_settings.py": "RATE = 1\n",
            "<project>/local_settings.py": comes("RATE = 7\n"),
        },
    ),
    Case(
        "fallback_in_a_module",
        "from module_with_fallback import RATE\n\nresult = RATE",
        files={
            "<project>/module_with_fallback.py": """\
                try:
                    from machine_settings import RATE
                except ModuleNotFoundError:
                    RATE = 1
                """,
            "<project>/machine_settings.py": comes("RATE = 7\n"),
        },
    ),
    Case(
        "submodule_that_comes",
        """
        try:
            from package_with_extras.extras import RATE
        except ImportError:
            RATE = 1
        result = RATE
        """,
        files={
            "<project>/package_with_extras/__init__.py": "",
            "<project>/package_with_extras/extras.py": comes("RATE = 7\n"),
        },
    ),
    Case(
        "find_spec",
        """
        from importlib.util import find_spec

        result = find_spec("optional_module") is not None
        """,
        files={"zones.csv": "n\n1\n", "<project>/optional_module.py": comes("RATE = 7\n")},
    ),
    Case(
        "pkgutil_lists_a_package",
        """
        import pkgutil
        import package_of_models

        result = sorted(module.name for module in pkgutil.iter_modules(package_of_models.__path__))
        """,
        files={
            "<project>/package_of_models/__init__.py": "",
            "<project>/package_of_models/rail.py": "RATE = 1\n",
            "<project>/package_of_models/road.py": comes("RATE = 7\n"),
        },
    ),
    Case(
        "pkgutil_walks_packages_and_imports_them",
        """
        import importlib, pkgutil
        import package_of_plugins

        walked = pkgutil.walk_packages(package_of_plugins.__path__, "package_of_plugins.")
        result = [getattr(importlib.import_module(found.name), "RATE", 0) for found in walked]
        """,
        files={
            "<project>/package_of_plugins/__init__.py": "",
            "<project>/package_of_plugins/deep/__init__.py": "",
            "<project>/package_of_plugins/deep/rail.py": "RATE = 1\n",
            "<project>/package_of_plugins/deep/road.py": comes("RATE = 7\n"),
        },
    ),
    Case(
        "resources_listed",
        """
        from importlib import resources

        result = sorted(entry.name for entry in resources.files("package_with_tables").iterdir())
        """,
        files={
            "<project>/package_with_tables/__init__.py": "",
            "<project>/package_with_tables/a.csv": "n\n1\n",
            "<project>/package_with_tables/b.csv": comes("n\n7\n"),
        },
    ),
    Case(
        "flow_itself",
        'result = (root / "<here>" / "a.txt").read_text()',
        files={
            "a.txt": "1\n",
            "<project>/flows/<case>.py": both(
                lambda n: (
                    '# %% tags=["parameters"]\nconfig = {}\n\n# %%\nfrom pathlib import Path\n\n'
                    f'Path("result.txt").write_text(str({n}))\n'
                )
            ),
        },
    ),
)

ELSEWHERE = (
    Case(
        "asked_beside_the_project_by_parts",
        'result = (root.parent / "outside" / "<case>" / "settings.yml").is_file()',
        files={"<outside>/settings.yml": comes("alpha: 2\n")},
    ),
    Case(
        "asked_in_the_home_folder_by_parts",
        'result = (Path.home() / "models" / "override.json").exists()',
        files={"<home>/models/override.json": comes("{}")},
    ),
    Case(
        "asked_for_its_size_beside_the_project",
        'result = os.path.getsize(root.parent / "outside" / "<case>" / "big.bin")',
        files={"<outside>/big.bin": ("one", "another")},
        is_seen_by_python=False,
    ),
    Case(
        "program_looked_for_in_the_home_folder",
        """
        import shutil

        result = shutil.which("fast_<case>", path=str(Path.home() / "programs"))
        """,
        files={"<home>/programs/fast_<case>": comes(program)},
        on="posix",
    ),
    Case(
        "pattern_in_the_folder_around_the_project",
        'result = sorted(path.name for path in root.parent.glob("<case>_*.csv"))',
        files={"<project>/../<case>_1.csv": "n\n1\n", "<project>/../<case>_2.csv": comes("n\n1\n")},
    ),
    Case(
        "asked_in_the_run_directory",
        'result = Path("override.json").exists()',
        files={"<project>/runs/ways/<case>/override.json": comes("{}")},
    ),
    Case(
        "opened_in_vain_in_the_run_directory",
        """
        try:
            result = open("local.json").read()
        except FileNotFoundError:
            result = "none"
        """,
        files={"<project>/runs/ways/<case>/local.json": comes("{}")},
    ),
    Case(
        "pattern_in_the_run_directory",
        'result = sorted(path.name for path in Path(".").glob("*.csv"))',
        files={"<project>/runs/ways/<case>/more.csv": comes("n\n1\n")},
    ),
    Case(
        "script_as_data",
        'result = (root / "<here>" / "example.py").read_text()',
        files={"example.py": ("x = 1  # old\n", "x = 1  # new\n")},
    ),
    Case(
        "script_as_data_of_a_program",
        """
        import subprocess

        result = subprocess.run(["cat", root / "<here>" / "example.py"], capture_output=True).stdout
        """,
        files={"example.py": ("x = 1  # old\n", "x = 1  # new\n")},
        is_seen_by_python=False,
        on="posix",
    ),
    Case(
        "library_that_is_missing",
        """
        import ctypes

        try:
            result = str(ctypes.CDLL(str(root / "<here>" / "libfast.so")))
        except OSError:
            result = "slow"
        """,
        files={"libfast.so": comes("no library")},
        is_seen_by_python=False,
        on="posix",
    ),
    Case(
        "library_asked_for",
        'result = (root / "<here>" / "libfast.so").exists()',
        files={"libfast.so": comes("no library")},
    ),
    Case(
        "kinds_of_what_is_in_a_folder",
        """
        with os.scandir(root / "<here>") as entries:
            result = sorted(entry.name for entry in entries if entry.is_dir())
        """,
        files={"a": folder, "b": ("a file", folder)},
    ),
    Case(
        "program_that_comes_earlier",
        """
        import subprocess

        folders = [str(root / "<here>" / name) for name in ("first", "second")]
        path = ":".join([*folders, os.environ["PATH"]])
        result = subprocess.run(["tool"], env={"PATH": path}, capture_output=True).stdout
        """,
        files={"first/tool": comes(program), "second/tool": program},
        is_seen_by_python=False,
        on="posix",
    ),
    Case(
        "folder_that_is_there_already",
        """
        try:
            (root / "<here>" / "lock").mkdir()
            (root / "<here>" / "lock").rmdir()
            result = "free"
        except FileExistsError:
            result = "taken"
        """,
        files={"lock": comes(folder), "other": "1"},
        is_seen_by_python=False,
        on="linux",
    ),
    Case(
        "file_removed_in_vain",
        """
        try:
            os.remove(root / "<here>" / "flag")
            result = "removed"
        except FileNotFoundError:
            result = "none"
        """,
        files={"flag": comes("1"), "other": "1"},
        is_seen_by_python=False,
        on="linux",
    ),
)

MUST_RUN = (*PYTHON, *PROCESSES, *TABLES, *NAMES, *COMING, *MODULES, *ELSEWHERE)
