"""Forked kernels: the fork must not be noticeable, and the end of a kernel is reported correctly."""

from __future__ import annotations

import ast
import contextlib
import gzip
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest
from helpers.projects import write_project
from helpers.sessions import wait_for
from helpers.thorough import one_in
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager, start_new_kernel
from jupyter_client.provisioning import KernelProvisionerFactory

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only"),
]

from pytest_ductaflow.core.errors import KernelStartError  # noqa: E402
from pytest_ductaflow.core.instance import Instance  # noqa: E402
from pytest_ductaflow.core.record import Record, Status  # noqa: E402
from pytest_ductaflow.core.settings import Settings  # noqa: E402
from pytest_ductaflow.kernels import server_pool  # noqa: E402
from pytest_ductaflow.kernels.forked import ForkedKernel, can_fork  # noqa: E402
from pytest_ductaflow.kernels.forkserver.protocol import BadRequest, check_request  # noqa: E402
from pytest_ductaflow.kernels.setup_calls import Setup  # noqa: E402
from pytest_ductaflow.running.client import FlowClient  # noqa: E402
from pytest_ductaflow.running.message_loop import MessageLoop  # noqa: E402
from pytest_ductaflow.running.run_instance import run  # noqa: E402

PATIENCE = 60.0  # seconds; only a bug waits that long


class Project:
    """Flows, each run from a code text."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, code: str, name: str = "a", settings: Settings | None = None, **more: Any) -> Record:
        """Run a flow in this process, without a page; `printed` returns the numbers that it prints."""
        write_project(self.root, {"flows/x.py": dedent(code)})
        settings = replace(settings or Settings(force=True), html="none")
        return run(self.instance(name, **more), settings)

    def instance(self, name: str, **more: Any) -> Instance:
        root = str(self.root)
        return Instance(
            flow=f"{root}/flows/x.py",
            step="x",
            name=name,
            run_dir=f"{root}/runs/x/{name}",
            project_root=root,
            **{"config": {}, **more},
        )

    def printed(self, name: str = "a") -> list[str]:
        return (self.root / f"runs/x/{name}/x_execution_output.txt").read_text().splitlines()

    def outputs(self, name: str = "a") -> list[dict[str, Any]]:
        notebook = json.loads((self.root / f"runs/x/{name}/x_executed.ipynb").read_text())
        return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


@pytest.fixture(autouse=True)
def _wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enable forking even where the whole suite runs without it."""
    monkeypatch.delenv("DUCTAFLOW_FORK", raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "flows").mkdir()
    return Project(tmp_path)


@pytest.fixture
def server() -> Iterator[server_pool.ForkServer]:
    server = server_pool.ForkServer(os.environ)
    yield server
    server.close()


def parent_of_kernel(project: Project, code: str = "", **more: Any) -> int:
    record = project.run(f"{code}\nimport os\nprint(os.getppid())", **more)
    assert record.status is Status.SUCCESS, record.error
    return int(project.printed()[-1])


STARTER = """\
import os
with open(f"/proc/{os.getppid()}/stat") as stat:
    print(stat.read().rpartition(")")[2].split()[1])
"""


def starter_of_kernel(project: Project, **more: Any) -> int:
    """Return the process that has started an ordinary kernel, with an observer in between."""
    record = project.run(f"{more.pop('code', '')}\n{STARTER}", **more)
    assert record.status is Status.SUCCESS, record.error
    return int(project.printed()[-1])


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        if time.monotonic() > end:
            pytest.fail(f"waited {PATIENCE:g} s for {what}")
        time.sleep(0.01)


def ends(pid: int) -> bool:
    """Wait until a process has ended, and return whether it has."""
    wait_until(lambda: not is_alive(pid), f"the end of process {pid}")
    return not is_alive(pid)


def test_a_kernel_is_a_child_of_the_server_and_two_of_a_flow_have_the_same_parent(project: Project) -> None:
    parents = {parent_of_kernel(project, "import csv"), parent_of_kernel(project, "import csv")}
    assert len(parents) == 1
    assert os.getpid() not in parents


def test_flows_that_import_other_things_have_other_parents(project: Project) -> None:
    assert parent_of_kernel(project, "import csv") != parent_of_kernel(project, "import pandas")


@pytest.mark.parametrize(
    ("code", "settings"),
    [
        ("", Settings(force=True, fork=False)),
        ("import os\nos.environ['MPLBACKEND'] = 'agg'\nimport pandas", Settings(force=True)),
    ],
    ids=["switched off", "environment set before an import"],
)
def test_an_ordinary_kernel_is_a_child_of_this_process(
    project: Project, code: str, settings: Settings
) -> None:
    assert starter_of_kernel(project, code=code, settings=settings) == os.getpid()


@pytest.mark.parametrize(
    "spec",
    [
        KernelSpec(argv=["/usr/bin/python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"]),
        KernelSpec(argv=[sys.executable, "-m", "bash_kernel", "-f", "{connection_file}"]),
        KernelSpec(argv=[sys.executable, "-O", "-m", "ipykernel_launcher", "-f", "{connection_file}"]),
        KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], env={"A": "1"}
        ),
    ],
    ids=["other interpreter", "other kernel", "other options", "own environment"],
)
def test_other_kernels_are_not_forked(spec: KernelSpec) -> None:
    assert not can_fork(spec)


def test_the_kernel_of_this_interpreter_is_forked() -> None:
    command = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
    assert can_fork(KernelSpec(argv=[sys.executable, *command]))
    assert can_fork(KernelSpec(argv=["python", "-Xfrozen_modules=off", *command]))


def test_the_environment_can_switch_it_off(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUCTAFLOW_FORK", "0")
    assert starter_of_kernel(project) == os.getpid()


@pytest.mark.parametrize(
    ("version", "can"),
    [
        ("6.29.5", False),
        ("7.1.0", False),
        ("7.2.0", True),
        ("7.10", True),
        ("8.0.0a1", False),
        ("10.1", False),
    ],
)
def test_releases_of_ipykernel_that_are_made_otherwise_are_not_forked(
    monkeypatch: pytest.MonkeyPatch, version: str, *, can: bool
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: version)
    server_pool._ipykernel_can_be_forked.cache_clear()
    try:
        assert server_pool.servers.are_wanted == can
    finally:
        server_pool._ipykernel_can_be_forked.cache_clear()


def test_on_other_systems_nothing_is_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    assert not can_fork(KernelSpec(argv=command))


def test_a_module_of_the_project_is_imported_anew_by_each_kernel(project: Project) -> None:
    for number in (1, 2):
        (project.root / "flows/helper.py").write_text(f"VALUE = {number}  # {'x' * number}\n")
        project.run("import pandas, helper\nprint(helper.VALUE)")
        assert project.printed()[-1] == str(number)


MISBEHAVING = {
    "prints": "print('hello from the import')",
    "prints_by_descriptor": "import os\nos.write(1, b'hello')",
    "warns": "import warnings\nwarnings.warn('mind the gap')",
    "starts_a_thread": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
}


@pytest.mark.parametrize("module", MISBEHAVING)
def test_a_module_that_does_more_than_being_imported_is_left_to_the_flow(
    project: Project, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    write_project(site, {f"{module}.py": MISBEHAVING[module], "quiet.py": ""})
    monkeypatch.setenv("PYTHONPATH", str(site))
    settings = Settings(force=True, preload=(module, "quiet"))
    record = project.run(
        f"import sys\nprint('there', sorted({{'quiet', '{module}'}} & set(sys.modules)))\nimport {module}",
        settings=settings,
    )
    assert record.status is Status.SUCCESS, record.error
    printed = project.printed()
    assert "there ['quiet']" in printed
    if module.startswith("prints"):
        assert any("hello" in line for line in printed)
    if module == "warns":
        assert record.python_warnings == ("UserWarning: mind the gap",)


def test_a_module_that_crashes_when_it_is_preloaded_is_left_to_the_flow(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = "import os\nif not os.path.exists('harmless_here'):\n    os.abort()\n"
    write_project(tmp_path / "site", {"deadly.py": deadly})
    (tmp_path / "runs/x/a").mkdir(parents=True)
    (tmp_path / "runs/x/a/harmless_here").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    settings = Settings(force=True, preload=("deadly", "csv"))
    parents = [parent_of_kernel(project, "import deadly", settings=settings) for _ in range(2)]
    assert parents[0] == parents[1]
    assert parents[0] != os.getpid()


LOUD_PARTNER = """
import importlib.abc, sys

class Loud(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "pandas.io.formats.string":
            print("hello from a partner")
        return None

sys.meta_path.insert(0, Loud())
"""


@pytest.mark.thorough
def test_a_partner_that_misbehaves_is_left_out_and_the_module_is_not(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path / "site", {"sitecustomize.py": LOUD_PARTNER})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    code = """
        import sys
        print("pandas" in sys.modules, "pandas.io.formats.string" in sys.modules)
        import pandas
        """
    record = project.run(code)
    assert record.status is Status.SUCCESS, record.error
    assert "True False" in project.printed()


KEEPS_STREAMS = """
import io, logging, os, sys, traceback
out, err, write, show = sys.stdout, sys.stderr, sys.stdout.write, sys.displayhook
number = err.fileno()
handler = logging.StreamHandler()
told = [stream.closed or stream.isatty() or stream.encoding for stream in (out, err)]
in_notebook = "ipykernel" in type(out).__module__ and "JPY_PARENT_PID" in os.environ

def report(text, file=sys.stdout):
    print(text, file=file)

class Wrapper:
    def __init__(self, stream):
        self.stream = stream
    def write(self, text):
        return self.stream.write(text.replace("plain", "wrapped"))
    def __getattr__(self, name):
        return getattr(self.stream, name)
"""
REPLACES_STREAM = "import sys, keeps_streams\nsys.stdout = keeps_streams.Wrapper(sys.stdout)\n"


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "ordinary"])
def test_what_packages_keep_of_the_streams_at_their_import_leads_to_the_notebook(
    project: Project,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    *,
    fork: bool,
) -> None:
    site = tmp_path_factory.mktemp("site")
    modules = {"keeps_streams.py": KEEPS_STREAMS, "replaces_stream.py": REPLACES_STREAM}
    write_project(site, modules)
    monkeypatch.setenv("PYTHONPATH", str(site))
    settings = Settings(force=True, fork=fork, preload=("keeps_streams", "replaces_stream") if fork else ())
    record = project.run(
        """
        import logging, os, sys
        was_there = "keeps_streams" in sys.modules
        import keeps_streams as kept
        print(was_there, kept.out is sys.stdout or "wrapped", kept.err is sys.stderr, kept.told)
        print(kept.in_notebook, kept.number == sys.stderr.fileno(), kept.show is sys.displayhook)

        # %%
        import replaces_stream
        print("plain")
        kept.report("⚠️ by a default argument")
        kept.write("⚠️ by a method\\n")
        kept.out.writelines(["⚠️ in", " pieces\\n"])
        print("between")
        kept.handler.emit(logging.makeLogRecord({"msg": "⚠️ by a handler"}))
        print("after", file=sys.stderr)

        # %%
        os.write(kept.number, b"by a number\\n")
        kept.write("last words\\n")
        os._exit(3)
        """,
        settings=settings,
    )
    printed = project.printed()
    assert printed[:2] == [
        f"{fork} {'wrapped' if fork else True} True ['UTF-8', 'UTF-8']",
        "True True True",
    ]
    ours = [line for line in printed[2:] if line not in ("⚠️ by a handler", "after")]
    assert ours[:5] == ["wrapped", "⚠️ by a default argument", "⚠️ by a method", "⚠️ in pieces", "between"]
    assert printed.index("⚠️ by a handler") < printed.index("after")
    assert {"by a number", "last words"} <= set(printed)
    assert record.warning_count == 4


def test_a_module_that_cannot_be_imported_is_the_flows_own_error(project: Project) -> None:
    record = project.run(
        "import no_such_module_here", settings=Settings(force=True, preload=("no_such_module_here",))
    )
    assert record.error is not None
    assert record.error.summary == "ModuleNotFoundError: No module named 'no_such_module_here'"


def test_what_an_import_sets_in_the_environment_is_there(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_project(tmp_path / "site", {"sets.py": "import os\nos.environ['SET_BY_IMPORT'] = 'yes'"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("SEEN", "1")
    project.run(
        "import sets, os\nprint(os.environ.get('SET_BY_IMPORT'), os.environ.get('SEEN'))",
        settings=Settings(force=True, preload=("sets",)),
    )
    assert project.printed()[-1] == "yes 1"
    monkeypatch.setenv("SEEN", "2")
    monkeypatch.delenv("PYTHONPATH")
    project.run("import os\nprint(os.environ.get('SET_BY_IMPORT'), os.environ.get('SEEN'))")
    assert project.printed()[-1] == "None 2"


def test_variables_that_packages_read_at_their_import_are_those_of_the_kernel(
    project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = '("READ_AT_IMPORT", "FORCE_COLOR", "_DUCTAFLOW_BUILD")'
    reader = f"import os\nREAD = [os.environ.get(name) for name in {names}]\n"
    site = write_project(tmp_path_factory.mktemp("site"), {"reader.py": reader})
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("FORCE_COLOR", "3")
    settings = Settings(force=True, preload=("reader",))
    code = "import sys\nwas_there = 'reader' in sys.modules\nimport reader\nprint(was_there, *reader.READ)"
    parents = []
    for value in ("1", "2", None, "1"):
        if value is None:
            monkeypatch.delenv("READ_AT_IMPORT")
        else:
            monkeypatch.setenv("READ_AT_IMPORT", value)
        parents.append(parent_of_kernel(project, code, settings=settings))
        assert project.printed()[0] == f"True {value} 1 None"
    assert parents[0] == parents[3]
    assert len(set(parents)) == 3


def test_random_numbers_and_unique_ids_differ_between_instances(project: Project) -> None:
    code = """
        import random, secrets, tempfile, uuid
        import numpy
        print(random.random(), numpy.random.rand(), numpy.random.default_rng().random())
        print(uuid.uuid4(), uuid.uuid1(), secrets.token_hex(), tempfile.mktemp())
        """
    seen: list[set[str]] = []
    for name in "abc":
        project.run(code, name)
        seen.append(set(" ".join(project.printed(name)).split()))
        assert len(seen[-1]) == 7
    assert len(seen[0] | seen[1] | seen[2]) == 21


def test_working_directory_arguments_umask_and_environment_are_the_instances_own(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
        import os, sys
        mask = os.umask(0)
        launcher = sys.argv[0].endswith("ipykernel_launcher.py")
        print(os.getcwd(), oct(mask), os.environ.get("ONLY_NOW"), len(sys.argv), launcher)
        """
    monkeypatch.setenv("ONLY_NOW", "first")
    before = os.umask(0o027)
    try:
        project.run(code)
        assert project.printed() == [f"{project.root}/runs/x/a 0o27 first 4 True"]
    finally:
        os.umask(before)
    monkeypatch.delenv("ONLY_NOW")
    project.run(code)
    assert project.printed() == [f"{project.root}/runs/x/a {oct(before)} None 4 True"]


@pytest.mark.parametrize("given", one_in(2, [None, "absolute", "relative", "missing"]))
def test_temporary_files_go_where_they_go_in_an_ordinary_kernel(
    project: Project, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    (project.root / "absolute").mkdir()
    monkeypatch.delenv("TMPDIR", raising=False)
    if given is not None:
        monkeypatch.setenv("TMPDIR", given if given == "relative" else str(project.root / given))
    code = "import os, tempfile\nprint(tempfile.gettempdir())\nos.makedirs('relative', exist_ok=True)"
    told = []
    for fork in (True, True, False):  # the relative folder exists from the second run on
        project.run(code, settings=Settings(force=True, fork=fork, keep=("relative",)))
        told.append(project.printed())
    assert told[1] == told[2]


@pytest.mark.parametrize("way", one_in(3, ["forked", "ordinary", "spare"]))
@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "x = b'x' * 150_000_000\nos.kill(os.getpid(), signal.SIGKILL)",
            """\
the kernel was killed by SIGKILL
(as the system does when memory runs out; the kernel had used up to MEMORY MB)""",
        ),
        ("os._exit(7)", "the kernel ended with exit code 7"),
        ("import ctypes\nctypes.string_at(0)", "the kernel was killed by SIGSEGV"),
        ("os.abort()", "the kernel was killed by SIGABRT"),
    ],
    ids=["SIGKILL", "exit code", "segmentation fault", "abort"],
)
def test_a_kernel_that_dies_is_told_by_name_and_what_it_printed_is_there(
    project: Project, monkeypatch: pytest.MonkeyPatch, code: str, told: str, way: str
) -> None:
    """What is printed just before is neither flushed nor sent by the kernel."""
    monkeypatch.setattr("pytest_ductaflow.running.failures.kernel_death.killed_for_memory", lambda: None)
    monkeypatch.setattr("pytest_ductaflow.kernels.start_kernel.has_idle_core", lambda: way == "spare")
    project.run("import os, signal, sys")  # after it, a spare is made
    code = f"import os, signal, sys\nprint('last words')\nprint('of woe', file=sys.stderr)\n{code}"
    record = project.run(code, settings=Settings(force=True, fork=way != "ordinary"))
    assert record.error is not None
    used = re.search(r"\d+(?= MB)", record.error.message)
    assert used is None or 150 < int(used[0]) < 400
    assert (record.error.type, re.sub(r"\d+ MB", "MEMORY MB", record.error.message)) == ("KernelDied", told)
    assert record.error.cell is not None
    assert {"last words", "of woe"} <= set(project.printed())
    texts = {output["name"]: "".join(output["text"]) for output in project.outputs()}
    assert texts == {"stdout": "last words\n", "stderr": "of woe\n"}


def test_what_was_sent_before_a_kernel_died_is_not_told_twice(project: Project) -> None:
    project.run(
        "import os, sys\nfor n in range(500):\n    print(n)\nsys.stdout.flush()\nprint('end')\nos._exit(1)"
    )
    assert [line for line in project.printed() if line.isdigit()] == [str(n) for n in range(500)]
    assert project.printed().count("end") == 1


STUBBORN = """
    import signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (2, 15)]; time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", child])
    print("child", process.pid, flush=True)
    while True:
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            print("not now", flush=True)
    """


@pytest.mark.thorough
@pytest.mark.parametrize("fork", [True, False], ids=["forked", "ordinary"])
def test_a_flow_that_never_stops_to_talk_is_out_of_time_too(project: Project, *, fork: bool) -> None:
    code = "from IPython.display import display\nwhile True:\n    display('x')"
    record = project.run(code, timeout=2.0 if fork else 4.0, settings=Settings(force=True, fork=fork))
    assert record.error is not None
    assert record.error.type == "Timeout"


def test_a_cell_that_ends_after_the_time_is_up_is_the_last_one(project: Project) -> None:
    record = project.run("print('done')\n# %%\nprint('never')", timeout=0.001)
    assert record.error is not None
    assert (record.error.type, record.error.message) == ("Timeout", "took longer than 0.001 s")
    assert "never" not in project.printed()


@pytest.mark.parametrize("fork", one_in(2, [True, False]), ids=["forked", "ordinary"])
def test_a_long_path_of_temporary_files_is_no_hindrance(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fork: bool
) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setattr("pytest_ductaflow.kernels.start_kernel.servers", server_pool.ForkServers())
    settings = Settings(force=True, fork=fork)
    assert (starter_of_kernel(project, settings=settings) == os.getpid()) != fork


@pytest.mark.thorough
def test_a_reader_that_is_slower_than_the_flow_loses_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = FlowClient.process_message

    def slowly(self: FlowClient, *arguments: Any) -> Any:
        time.sleep(0.0005)
        return take(self, *arguments)

    monkeypatch.setattr(FlowClient, "process_message", slowly)
    project.run("from IPython.display import display\nfor n in range(8000):\n    display(n)")
    shown = [int("".join(output["data"]["text/plain"])) for output in project.outputs()]
    assert shown == list(range(8000))


def test_a_kernel_that_ends_in_good_order_by_itself_is_told_with_its_exit_code(project: Project) -> None:
    code = """
        import asyncio, sys
        asyncio.get_running_loop().call_later(0.1, sys.exit, 3)
        await asyncio.sleep(60)
        """
    record = project.run(code)
    assert record.error is not None
    assert record.error.message == "the kernel ended with exit code 3"


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "ordinary"])
def test_a_time_out_interrupts_and_then_kills_all_that_the_flow_has_started(
    project: Project, monkeypatch: pytest.MonkeyPatch, *, fork: bool
) -> None:
    monkeypatch.setattr("pytest_ductaflow.running.deadline.INTERRUPT_GRACE", 0.3)
    limit = 2.0 if fork else 5.0  # of a cell, so that a machine that starts kernels slowly changes nothing
    record = project.run(STUBBORN, cell_timeout=limit, settings=Settings(force=True, fork=fork))
    assert record.error is not None
    assert record.error.type == "Timeout"
    assert "did not react to the interrupt" in record.error.message
    assert "not now" in project.printed()
    child = int(next(line for line in project.printed() if line.startswith("child")).split()[1])
    assert ends(child)


def test_a_process_that_the_flow_leaves_behind_ends_with_it(project: Project) -> None:
    project.run(
        "import subprocess, sys\n"
        "command = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "p = subprocess.Popen(command, start_new_session=True)\n"
        "print(p.pid)"
    )
    assert ends(int(project.printed()[-1]))


def test_atexit_handlers_destructors_and_unflushed_files_come_to_their_end(project: Project) -> None:
    (project.root / "flows/holder_of_archive.py").write_text(
        "import zipfile\narchive = zipfile.ZipFile('archive.zip', 'w')\narchive.writestr('a', 'b')\n"
    )
    record = project.run(
        """
        import atexit, gzip, pathlib, threading, time, weakref
        atexit.register(lambda: pathlib.Path("atexit").write_text("done"))
        plain = open("plain", "w"); plain.write("plain")
        packed = gzip.open("packed.gz", "wt"); packed.write("packed")
        class Thing:
            def __del__(self):
                open("deleted", "w").write("deleted")
        thing = Thing()
        weakref.finalize(Thing, lambda: open("finalized", "w").close())
        holder = []; holder.append((holder, open("in_a_circle", "w"))); holder[0][1].write("circle")
        gzip.held = weakref.proxy(set()), open("held", "w"); gzip.held[1].write("held")  # the set is gone
        import holder_of_archive
        threading.Thread(target=lambda: (time.sleep(0.2), open("thread", "w").write("late"))).start()
        """
    )
    assert record.status is Status.SUCCESS, record.error
    folder = project.root / "runs/x/a"
    assert gzip.decompress((folder / "packed.gz").read_bytes()) == b"packed"
    with zipfile.ZipFile(folder / "archive.zip") as archive:
        assert archive.read("a") == b"b"
    names = ("atexit", "plain", "deleted", "in_a_circle", "held", "thread")
    texts = {n: (folder / n).read_text() for n in names}
    assert texts == {
        "atexit": "done",
        "plain": "plain",
        "deleted": "deleted",
        "in_a_circle": "circle",
        "held": "held",
        "thread": "late",
    }
    assert {"atexit", "plain", "packed.gz", "thread"} <= record.outputs.keys()


def kernel_with_child(server: server_pool.ForkServer, folder: Path) -> tuple[ForkedKernel, list[int]]:
    """Start a kernel that has started processes; return it and the process ids."""
    forked = ForkedKernel(server.socket, preload=[], cwd=str(folder), env=dict(os.environ), spare=True)
    client = forked.client
    client.start_channels(hb=False)
    client.wait_for_ready(timeout=PATIENCE)
    client.execute(
        "import os, subprocess, sys, multiprocessing, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "q = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,)); q.start()\n"
        "os.system('sleep 600 & echo $! > third')\n"
        "r = int(open('third').read())\n"
        "open('pids.tmp', 'w').write(f'{os.getpid()} {p.pid} {q.pid} {r} {os.getppid()}')\n"
        "os.replace('pids.tmp', 'pids')\ntime.sleep(600)"
    )
    wait_until((folder / "pids").exists, "the processes of the flow")
    return forked, [int(pid) for pid in (folder / "pids").read_text().split()]


BAD_REQUESTS = [
    b"not JSON\n",
    b"\n",
    b"[]\n",
    b"{}\n",
    b"\xff\xfe\n",
    b"[" * 100_000 + b"\n",
    b'{"preload": ["os"]}\n',
    b'{"preload": 3}\n',
    b'{"preload": [], "spare": false, "cwd": "/"}\n',
]
BAD_SIGNALS = [
    b"not JSON\n",
    b"[]\n",
    b"{}\n",
    b'{"signal": "KILL"}\n',
    b'{"signal": true}\n',
    b'{"signal": 1e300}\n',
    b'{"signal": 10000000000000000000000}\n',
    b"x" * 200_000 + b"\n",
]


def test_lines_that_are_no_requests_harm_nobody(server: server_pool.ForkServer, tmp_path: Path) -> None:
    """The reply says what is wrong; clients that send nothing, or half a line, block no others."""
    forked, pids = kernel_with_child(server, tmp_path)
    quiet = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for number, client in enumerate(quiet):
        client.connect(server.socket)
        client.sendall(b'{"preload": ['[:number])
    for line in BAD_REQUESTS:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)  # less than a server once waited for each
            client.connect(server.socket)
            client.sendall(line)
            assert "error" in json.loads(client.makefile().read())
    for line in BAD_SIGNALS:
        forked._connection.sendall(line)
    with contextlib.closing(ForkedKernel(server.socket, preload=[], cwd=str(tmp_path), env={})) as other:
        assert other.pid not in pids
    assert all(is_alive(pid) for pid in pids)
    forked.kill()
    assert forked.exit_code == -signal.SIGKILL
    forked.client.stop_channels()
    forked.close()
    for client in quiet:
        client.close()


@pytest.mark.parametrize("victim", ["server", "template"])
def test_when_the_server_dies_no_kernel_and_no_child_of_one_stays(
    server: server_pool.ForkServer, tmp_path: Path, victim: str
) -> None:
    forked, pids = kernel_with_child(server, tmp_path)
    template = pids[-1]
    os.kill(template if victim == "template" else server._process.pid, signal.SIGKILL)
    wait_until(lambda: forked.wait(0.01), "word that the kernel is gone")
    for pid in pids:
        assert ends(pid)
    forked.client.stop_channels()
    forked.close()


def test_a_kernel_that_is_let_go_ends_with_all_that_it_has_started(
    server: server_pool.ForkServer, tmp_path: Path
) -> None:
    forked, (*own, template) = kernel_with_child(server, tmp_path)
    forked.client.stop_channels()
    forked.close()
    for pid in own:
        assert ends(pid)
    assert is_alive(template)


def test_threads_share_one_server() -> None:
    """No thread of several that ask at once starts, closes or reads another one's server."""
    servers = server_pool.ForkServers()
    barrier = threading.Barrier(6)

    def ask(_: int) -> str:
        barrier.wait()
        return servers.socket(os.environ)

    try:
        with ThreadPoolExecutor(6) as pool:
            found = set(pool.map(ask, range(6)))
        assert len(found) == len(servers._servers) == 1
        assert all(map(os.path.exists, found))
    finally:
        servers.close()


def test_kernels_with_other_numbers_of_threads_share_a_server_and_no_template() -> None:
    """Only a library that is loaded by the system, before all, has read the number at the server's start."""
    one, two = ({"OMP_NUM_THREADS": number, "HOME": "/h"} for number in "12")
    assert server_pool._start_of(one) == server_pool._start_of(two) == server_pool._start_of({"HOME": "/h"})
    assert server_pool.environment_of_imports(one) != server_pool.environment_of_imports(two)
    loaded = {"LD_PRELOAD": "libgomp.so"}
    assert server_pool._start_of({**one, **loaded}) != server_pool._start_of({**two, **loaded})


@pytest.mark.thorough
def test_processes_share_servers_of_another_one_and_start_their_own_once_these_are_gone():
    environment = server_pool.kernel_environment({})
    with (
        contextlib.closing(server_pool.ForkServers()) as starting,
        contextlib.closing(server_pool.ForkServers()) as using,
    ):
        given = [starting.start_for(process, environment) for process in range(5)]
        assert given[0] == given[3] != given[4], "four use the same"
        using.use(given[0])
        socket_given = json.loads(given[0])[0]
        assert using.socket(environment) == using.socket(environment) == socket_given
        assert using.start_for(0, environment) == given[0], "it passes on what it uses"
        starting.close()
        own = using.socket(environment)
        assert own != socket_given
        assert os.path.exists(own)


@pytest.mark.parametrize("killed", ["observer", "server"])
def test_a_server_that_was_killed_is_replaced(project: Project, killed: str) -> None:
    first = parent_of_kernel(project, "import csv")
    for server in filter(attrgetter("is_alive"), server_pool.servers._servers.values()):
        (child,) = psutil.Process(server._process.pid).children()
        os.kill(server._process.pid if killed == "observer" else child.pid, signal.SIGKILL)
    wait_until(
        lambda: not any(s.is_alive for s in server_pool.servers._servers.values()), "the end of the server"
    )
    assert parent_of_kernel(project, "import csv") not in (first, os.getpid())


def test_without_a_server_kernels_are_ordinary_and_that_is_said_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_ductaflow.kernels.start_kernel.servers", server_pool.ForkServers())
    monkeypatch.setattr(server_pool.ForkServer, "MODULE", "pytest_ductaflow.no_such_server", raising=True)
    monkeypatch.setattr("pytest_ductaflow.kernels.start_kernel._complaints", set())
    records = [project.run(STARTER, name) for name in "ab"]
    assert [record.status for record in records] == [Status.SUCCESS, Status.SUCCESS]
    assert {project.printed(name)[-1] for name in "ab"} == {str(os.getpid())}
    (told,) = records[0].python_warnings
    assert told.startswith("KernelWarning: the server of kernels did not start")
    assert told.endswith("ordinary kernels are used")
    assert records[1].python_warnings == ()


@pytest.mark.thorough
def test_a_server_that_is_frozen_while_it_starts_is_given_up_and_takes_no_files_along() -> None:
    server = server_pool.ForkServer(os.environ)
    others = Path(server.folder, "of-another-instance")
    others.touch()
    os.killpg(server._process.pid, signal.SIGSTOP)
    with pytest.raises(KernelStartError, match="its process is stopped"):
        server.socket  # noqa: B018
    assert not server.is_alive
    assert others.exists()
    server.close()
    assert not others.exists()


@pytest.mark.thorough
def test_the_folder_of_a_server_that_died_stays_while_its_process_lives() -> None:
    """The files of instances that run in other threads of the process are there."""
    servers = server_pool.ForkServers()
    try:
        first = Path(servers.socket(os.environ)).parent
        (server,) = servers._servers.values()
        os.killpg(server._process.pid, signal.SIGKILL)
        wait_until(lambda: not server.is_alive, "the end of the server")
        assert Path(servers.socket(os.environ)).parent != first
        assert first.is_dir()
    finally:
        servers.close()
    assert not first.exists()


CLIENT = """
    import os, sys
    from pytest_ductaflow.kernels.server_pool import servers
    from pytest_ductaflow.kernels.forked import ForkedKernel
    forked = ForkedKernel(
        servers.socket(os.environ), preload=[], cwd=os.getcwd(), env=dict(os.environ), spare=True
    )
    client = forked.client
    client.start_channels(hb=False)
    client.wait_for_ready(timeout=60)
    client.execute(
        "import os, subprocess, sys\\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\\n"
        "open('pids.tmp', 'w').write(f'{os.getpid()} {p.pid} {os.getppid()}')\\n"
        f"open('folder', 'w').write({servers.folder!r})\\n"
        "os.replace('pids.tmp', 'pids')"
    )
    sys.stdin.read()
    """


def test_when_the_process_around_is_killed_nothing_stays(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", dedent(CLIENT)], cwd=tmp_path, stdin=subprocess.PIPE
    ) as process:
        wait_until((tmp_path / "pids").exists, "the kernel")
        process.kill()
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        assert ends(pid)
    folder = Path((tmp_path / "folder").read_text())
    wait_until(lambda: not folder.exists(), "the removal of its sockets")
    assert not folder.exists()


@pytest.mark.thorough
def test_a_session_that_is_killed_leaves_no_temporary_files(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        code = "open('ready', 'w').close()\nimport time\ntime.sleep(600)"
        conductor = "from pytest_ductaflow import conduct\nconduct('flows/x.py', [{'instance_name': 'a'}])"
        write_project(tmp_path, {"flows/x.py": code, "conductor.py": conductor})
        command = [sys.executable, "-m", "pytest", "--ductaflow", "conductor.py"]
        with subprocess.Popen(
            command, cwd=tmp_path, env={**os.environ, "TMPDIR": short}, stdout=subprocess.DEVNULL
        ) as session:
            wait_until((tmp_path / "runs/x/a/ready").exists, "the flow")
            assert list(Path(short).glob("dk*/dk*/spill"))
            session.kill()
        wait_until(lambda: not list(Path(short).glob("dk*/*")), "the removal of temporary files")
        assert not list(Path(short).glob("dk*/*"))


@pytest.mark.thorough
def test_a_server_keeps_the_templates_that_were_used_last(
    server: server_pool.ForkServer, tmp_path: Path
) -> None:
    def fork(*modules: str) -> ForkedKernel:
        return ForkedKernel(
            server.socket, preload=modules, cwd=str(tmp_path), env=dict(os.environ), spare=True
        )

    def parent(forked: ForkedKernel) -> int:
        assert forked.pid is not None
        return int(Path(f"/proc/{forked.pid}/stat").read_text().rpartition(")")[2].split()[1])

    first = fork("wave")
    first_template, others = parent(first), []
    modules = ("bz2", "calendar", "cmd", "csv", "decimal", "gzip", "html", "lzma", "netrc", "sched", "shlex")
    for pair in itertools.islice(itertools.permutations(modules, 2), 66):  # more than in much memory
        other = fork(*pair)
        others.append(parent(other))
        other.close()
    assert ends(others[0])
    assert all(map(is_alive, others[-16:]))
    assert is_alive(first_template), "its kernel still runs"
    again = fork("wave")
    assert parent(again) != first_template
    assert first.pid is not None
    assert is_alive(first.pid)
    first.close()
    assert ends(first.pid)
    assert ends(first_template)
    again.close()


def processes_above(forked: ForkedKernel) -> list[int]:
    """Return the templates of a kernel, its own first, and the server."""
    assert forked.pid is not None
    found = [forked.pid]
    while b"pytest_ductaflow.kernels.forkserver" in Path(f"/proc/{found[-1]}/cmdline").read_bytes():
        found.append(int(Path(f"/proc/{found[-1]}/stat").read_text().rpartition(")")[2].split()[1]))
    return found[1:-1]


@pytest.fixture
def fork(server: server_pool.ForkServer, tmp_path: Path) -> Iterator[Callable[..., ForkedKernel]]:
    path = server.socket
    with contextlib.ExitStack() as stack:

        def fork(*modules: str) -> ForkedKernel:
            made = ForkedKernel(path, preload=modules, cwd=str(tmp_path), env=dict(os.environ))
            stack.callback(made.close)
            return made

        yield fork


@pytest.mark.thorough
def test_flows_with_different_imports_share_those_of_the_first_stages(fork):
    numpy = processes_above(fork("numpy"))
    pandas = processes_above(fork("csv", "pandas"))
    scipy = processes_above(fork("scipy.special", "numpy"))
    both = processes_above(fork("pandas", "scipy.special"))
    assert pandas[2:] == scipy[1:] == numpy, "csv, pandas | scipy | numpy, server"
    assert both[1:] == pandas[1:]
    assert len({*numpy, *pandas, *scipy, *both}) == len(numpy) + 2 + 1 + 1


@pytest.mark.thorough
def test_a_template_that_was_killed_is_made_again_and_those_forked_from_it_go_on(fork):
    first = fork("numpy", "csv")
    leaf, stem, *_ = processes_above(first)
    os.kill(stem, signal.SIGKILL)
    assert ends(stem)
    assert is_alive(leaf)
    assert processes_above(fork("numpy", "csv"))[0] == leaf
    again, *_ = processes_above(fork("numpy", "gzip"))
    assert is_alive(again)
    assert again not in (leaf, stem)
    assert first.pid is not None
    assert is_alive(first.pid)


@pytest.fixture
def import_that_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a module `waits`, whose import lasts until the pipe that is returned has been closed."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    write_project(tmp_path, {"waits.py": f"open({str(pipe)!r}).read()\n"})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return pipe


@pytest.mark.thorough
def test_a_template_that_takes_long_to_import_holds_up_no_other(import_that_waits, fork):
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(fork, "waits") for _ in range(2)]
        with open(import_that_waits, "w"):  # it is being imported
            assert is_alive(fork("csv").pid)
            assert [each.exception() for each in waiting if each.done()] == []
        first, second = (each.result(PATIENCE) for each in waiting)
    assert processes_above(first) == processes_above(second)


@pytest.mark.thorough
def test_a_server_ends_while_a_template_imports(import_that_waits, server, fork):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(fork, "waits")
        with open(import_that_waits, "w"):
            below = psutil.Process(server._process.pid).children(recursive=True)
            server.close()
            assert all(ends(each.pid) for each in below)
        with pytest.raises(KernelStartError):
            waiting.result(PATIENCE)


@pytest.mark.thorough
def test_all_templates_end_with_their_server(server, fork):
    found = [pid for modules in (["numpy"], ["numpy", "csv"]) for pid in processes_above(fork(*modules))]
    server.close()
    assert all(map(ends, found))


def test_the_flows_of_a_build_are_forked_from_the_same_server(project: Project) -> None:
    write_project(
        project.root,
        {"flows/inner.py": "import csv, os\nprint('parent', os.getppid())"},
    )
    code = """
        import os
        from pytest_ductaflow import run_notebook
        root = config["_project_root"]
        for name in "ab":
            run_notebook("flows/inner.py", config={"instance_name": name}, project_root=root)
        """
    record = project.run(code)
    assert record.status is Status.SUCCESS, record.error
    logs = list(project.root.rglob("inner_execution_output.txt"))
    assert len(logs) == 2
    parents = {int(log.read_text().split("parent ")[1].split()[0]) for log in logs}
    assert len(parents) == 1
    (parent,) = parents
    alive = filter(attrgetter("is_alive"), server_pool.servers._servers.values())
    started = {server._process.pid for server in alive}
    servers = started | {child.pid for pid in started for child in psutil.Process(pid).children()}
    assert int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1]) in servers


@pytest.fixture
def provisioned(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    """Yield a forked kernel started by jupyter_client, as its manager and client."""
    monkeypatch.setenv("JUPYTER_DEFAULT_PROVISIONER_NAME", "ductaflow-fork")
    KernelProvisionerFactory.clear_instance()
    try:
        manager, client = start_new_kernel(kernel_name="python3")
        yield manager, client
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    finally:
        KernelProvisionerFactory.clear_instance()


def test_any_jupyter_client_can_have_forked_kernels(
    provisioned: tuple[KernelManager, BlockingKernelClient],
) -> None:
    manager, client = provisioned
    told: list[str] = []
    client.execute_interactive(
        "import os; print(os.getppid())",
        timeout=PATIENCE,
        output_hook=lambda m: told.append(m["content"].get("text", "")),
    )
    assert int("".join(told)) != os.getpid()
    assert manager.is_alive()
    manager.shutdown_kernel()
    assert not manager.is_alive()


def test_the_kernels_of_other_clients_have_all_channels(
    provisioned: tuple[KernelManager, BlockingKernelClient],
) -> None:
    manager, client = provisioned
    client.execute_interactive(
        "print(input('which? '))",
        timeout=PATIENCE,
        allow_stdin=True,
        stdin_hook=lambda _: client.input("this one"),
        output_hook=(told := []).append,
    )
    assert "this one\n" in [message["content"].get("text") for message in told]
    os.kill(manager.provisioner.pid, signal.SIGINT)  # while there is nothing to interrupt
    client.execute_interactive("print('not interrupted')", timeout=PATIENCE, output_hook=told.append)
    assert "not interrupted\n" in [message["content"].get("text") for message in told]
    busy = client.execute("import time\nprint('runs', flush=True)\nwhile True:\n    time.sleep(0.01)")
    wait_until(
        lambda: client.get_iopub_msg(timeout=PATIENCE)["content"].get("text") == "runs\n", "a cell that runs"
    )
    question = client.session.msg("kernel_info_request")
    client.control_channel.send(question)  # must be answered while a cell runs
    answer = client.get_control_msg(timeout=PATIENCE)
    assert answer["parent_header"]["msg_id"] == question["header"]["msg_id"]
    manager.interrupt_kernel()
    wait_until(lambda: client.get_shell_msg(timeout=PATIENCE)["parent_header"]["msg_id"] == busy, "its end")
    wait_until(client.hb_channel.is_beating, "a heartbeat")
    assert client.is_alive()


def test_a_kernel_of_ours_has_no_thread_that_it_does_not_need(project: Project) -> None:
    project.run("import threading\nprint(sorted(thread.name for thread in threading.enumerate()))")
    assert project.printed() == ["['IOPub', 'MainThread']"]


@pytest.mark.parametrize("is_spare", [False, True])
def test_a_kernel_says_nothing_before_somebody_listens(
    server: server_pool.ForkServer, tmp_path: Path, is_spare: bool
) -> None:
    setup = Setup((), tmp_path / "spill", tmp_path / "trace", "all", tmp_path / "observed")
    environment = {**os.environ, **server_pool.server_environment(server.socket, os.environ)}
    for _ in range(1 + is_spare):
        forked = ForkedKernel(
            server.socket, preload=[], cwd=str(tmp_path), env=environment, setup=setup, spare=is_spare
        )
        client = forked.client
        request = client.execute("print('heard')")
        assert not client.shell_channel.socket.poll(300), "it has answered, and not waited for a reader"
        heard = client.iopub_channel
        client.get_shell_msg(timeout=PATIENCE)
        said = []
        while "idle" not in said:
            message = heard.get_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") == request:
                said.append(message["content"].get("execution_state") or message["msg_type"])
        assert said == ["busy", "execute_input", "stream", "idle"]
        client.stop_channels()
        forked.close()


@pytest.mark.thorough
def test_first_words_are_heard_of_each_of_many_kernels(project: Project) -> None:
    for number in range(40):
        project.run(f"print({number})")
        assert project.printed() == [str(number)]


def test_what_a_cell_means_is_found_out_once_and_changes_when_the_flow_changes_it(project: Project) -> None:
    project.run(
        """
        shell, texts = get_ipython(), []
        def louder(lines):
            texts.append("".join(lines))
            return [line.replace("quiet", "LOUD") for line in lines]
        def is_louder():
            return "lo".upper() + "UD" in shell.transform_cell(shell.history_manager.input_hist_raw[-1])
        shell.input_transformers_cleanup.append(louder)

        # %%
        print("quiet", sum(text.startswith("print") for text in texts))

        # %%
        before = is_louder()
        shell.input_transformers_cleanup.remove(louder)
        print(before, is_louder(), shell.should_run_async("quiet", transformed_cell="await x"))

        # %%
        print("quiet")

        # %%
        import asyncio
        await asyncio.sleep(0)
        before = is_louder()
        shell.input_transformers_cleanup.append(louder)
        print(before, is_louder())  # quiet
        """
    )
    assert project.printed() == ["LOUD 1", "True False True", "quiet", "False True"]


@pytest.mark.thorough
def test_clients_that_ask_at_once_get_kernels_that_have_been_told_where_they_are(
    server: server_pool.ForkServer, tmp_path: Path
) -> None:
    """Also for a spare that is still rehearsing when its request arrives."""
    environment = {**os.environ, **server_pool.server_environment(server.socket, os.environ)}

    def ask(name: str) -> str:
        spill, trace, report = (tmp_path / f"{name}.{end}" for end in ("spill", "trace", "observed"))
        setup = Setup((), spill, trace, "all", report)
        (tmp_path / name).mkdir()
        forked = ForkedKernel(
            server.socket, preload=[], cwd=str(tmp_path / name), env=environment, setup=setup, spare=True
        )
        assert forked.client.iopub_channel.socket  # subscribes from now on
        forked.client.execute("", user_expressions={"where": "__import__('os').getcwd()"})
        reply = forked.client.shell_channel.get_msg(timeout=PATIENCE)["content"]
        forked.close_channels()
        forked.close()
        return str(ast.literal_eval(reply["user_expressions"]["where"]["data"]["text/plain"]))

    with ThreadPoolExecutor(3) as pool:
        for turn in range(40):
            names = [f"{turn}-{number}" for number in range(3)]
            assert list(pool.map(ask, names)) == [str(tmp_path / name) for name in names]


STARTUP = """
import os
child = os.fork()
if not child:
    for number in range(20):
        print("child", number, flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
COUNTING = """
counted = []
def load_ipython_extension(shell):
    shell.counted = []
    shell.events.register("pre_execute", lambda: shell.counted.append("pre_execute"))
"""


def profile(folder: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Write an IPython profile of the user."""
    write_project(folder / "ipython/profile_default", files)
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))


@pytest.mark.thorough
def test_startup_code_may_fork_and_print(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    profile(project.root, monkeypatch, {"startup/00.py": STARTUP})
    record = project.run("print('here')")
    assert (record.status, project.printed()[-1]) == (Status.SUCCESS, "here")


@pytest.mark.thorough
def test_extensions_do_not_hear_of_rehearsals(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    extensions = "c.InteractiveShellApp.extensions = ['counting']"
    profile(project.root, monkeypatch, {"ipython_kernel_config.py": extensions})
    write_project(project.root, {"lib/counting.py": COUNTING})
    monkeypatch.setenv("PYTHONPATH", str(project.root / "lib"))
    monkeypatch.setattr("pytest_ductaflow.kernels.start_kernel.has_idle_core", lambda: True)
    code = "import linecache\nprint(len(get_ipython().counted), len(get_ipython().compile._filename_map))"
    heard = []
    for _ in range(3):
        project.run(code)
        heard.append(project.printed())
    project.run(code, settings=Settings(force=True, fork=False))
    (once,) = project.printed()
    assert heard == [[" ".join(str(int(count) - 1) for count in once.split())]] * 3, "less our setup"


def test_an_interrupt_before_a_cell_begins_is_for_that_cell(project: Project) -> None:
    record = project.run(
        """
        import os, signal
        # %%
        get_ipython().kernel.io_loop.add_callback(os.kill, os.getpid(), signal.SIGINT)
        # %%
        while True:
            pass
        """,
        timeout=30.0,
    )
    assert record.error is not None
    assert record.error.type == "KeyboardInterrupt"
    assert str(record.error.source).startswith("while True")
    assert [output["ename"] for output in project.outputs()] == ["KeyboardInterrupt"]


@pytest.mark.parametrize("date", ["nonsense", "2020-01-01", "2020-01-01T00:00:00Z", 5, None])
def test_the_date_of_a_message_may_be_anything(project: Project, date: object) -> None:
    record = project.run(
        f"""
        kernel = get_ipython().kernel
        message = kernel.session.msg("stream", {{"name": "stdout", "text": "dated"}}, kernel.get_parent())
        message["header"]["date"] = {date!r}
        kernel.session.send(kernel.iopub_socket, message)
        """
    )
    assert (record.status, project.printed()) == (Status.SUCCESS, ["dated"])


def test_ctrl_c_that_kills_a_kernel_is_ctrl_c(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        import signal
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print("ready", flush=True)
        while True:
            pass
        """

    def press(self: MessageLoop, request: Any) -> None:
        handle(self, request)
        log = project.root / "runs/x/a/x_execution_output.txt"
        if not (request.deadline and request.deadline.interrupted) and "ready" in log.read_text():
            raise KeyboardInterrupt

    handle = MessageLoop._handle_event
    monkeypatch.setattr(MessageLoop, "_handle_event", press)
    with pytest.raises(KeyboardInterrupt):
        project.run(code)


def test_what_others_than_python_print_is_there_when_their_cell_ends(project: Project) -> None:
    cells = [
        f"import os, subprocess\nwritten = os.write({1 + number % 2}, b'd{number} ')\n"
        f"done = subprocess.run(['echo', 's{number}'])"
        for number in range(20)
    ]
    project.run("\n\n# %%\n".join(cells))
    texts = ["".join(output["text"]) for output in project.outputs()]
    names = [output["name"] for output in project.outputs()]
    expected = [
        [("stdout", f"s{n}\n"), ("stderr", f"d{n} ")] if n % 2 else [("stdout", f"d{n} s{n}\n")]
        for n in range(20)
    ]
    assert sorted(zip(names, texts, strict=True)) == sorted(pair for pairs in expected for pair in pairs)
    notebook = json.loads((project.root / "runs/x/a/x_executed.ipynb").read_text())
    shown = [
        {"".join(output["text"]).split()[-1][1:] for output in cell["outputs"]}
        for cell in notebook["cells"]
        if cell.get("outputs")
    ]
    assert shown == [{str(number)} for number in range(20)]


GLUED = """
import os, sys, threading

# %%
heard = threading.Event()
write = sys.stdout.write

def tell(text):
    written = write(text)
    if "half" in text:
        heard.set()
    return written

sys.stdout.write = tell
os.write(1, b"solver: the first half of a line, ")
heard.wait()
sys.stdout.write = write
print("⚠️ did not converge")
written = os.write(1, b"warning: the second half\\n")

# %%
def print_beside():
    print("thread: the first half of a line, ", end="")
    there.set()
    printed.wait()
    print("warning: the second half")

there, printed = threading.Event(), threading.Event()
thread = threading.Thread(target=print_beside)
thread.start()
there.wait()
print("⚠️ did not converge either")
printed.set()
thread.join()

# %%
ready, parent = os.pipe()
go, child = os.pipe()
pid = os.fork()
if not pid:
    print("process: the first half of a line, ", end="", flush=True)
    os.write(parent, b"x")
    os.read(go, 1)
    print("warning: the second half", flush=True)
    os._exit(0)
os.read(ready, 1)
print("⚠️ nor now")
os.write(child, b"x")
done = os.waitpid(pid, 0)
"""


@pytest.mark.parametrize("fork", [True, False], ids=["forked", "ordinary"])
def test_lines_of_several_sources_are_not_joined_in_the_log_and_are_in_the_notebook_as_they_came(
    project: Project, *, fork: bool
) -> None:
    record = project.run(GLUED, settings=Settings(force=True, fork=fork))
    assert record.warnings == ("⚠️ did not converge", "⚠️ did not converge either", "⚠️ nor now")
    sources = ("solver", "thread", "process")
    whole = [f"{source}: the first half of a line, warning: the second half" for source in sources]
    assert sorted(project.printed()) == sorted([*record.warnings, *whole])
    texts = ["".join(output["text"]) for output in project.outputs()]
    text = "".join(texts)
    assert all(texts)
    assert "first half of a line, ⚠️ did not converge\nwarning: the second half\n" in text
    assert "\x1e" not in text


def test_what_is_displayed_in_place_of_printed_is_in_the_log_and_counts(project: Project) -> None:
    record = project.run(
        """
        from IPython.display import display
        print("no end of line", end="")
        display({"text/plain": "5 inhabitants\\n⚠️ too few\\n", "text/html": "<pre>5</pre>"}, raw=True)
        handle = display({"image/png": ""}, raw=True, display_id=True)
        "⚠️ a result, which a script does not print"
        """
    )
    assert record.warnings == ("⚠️ too few",)
    assert project.printed() == ["5 inhabitants", "⚠️ too few", "no end of line"]


def test_a_character_that_arrives_in_pieces_is_one_character(project: Project) -> None:
    project.run(
        """
        import os, sys, time
        for byte in "größe ☃\\n".encode():
            os.write(1, bytes([byte]))
            sys.stdout.flush()
        """
    )
    assert project.printed() == ["größe ☃"]


def test_a_process_that_prints_without_end_does_not_keep_its_cell_from_ending(project: Project) -> None:
    record = project.run(
        "import subprocess\nendless = subprocess.Popen(['yes'])\n\n# %%\nendless.kill()\nendless.wait()",
        timeout=PATIENCE,
    )
    assert record.status is Status.SUCCESS, record.error


def test_an_exception_in_the_midst_of_printing_leaves_a_kernel_that_prints(project: Project) -> None:
    """Signal handlers may raise anywhere."""
    record = project.run(
        """
        import sys
        class Now(Exception):
            pass
        def stop_at(line):
            def trace(frame, event, argument):
                if frame.f_code.co_name in ("schedule", "call_soon_threadsafe") and frame.f_lineno == line:
                    sys.settrace(None)
                    raise Now
                lines.setdefault(frame.f_code.co_name, set()).add(frame.f_lineno)
                return trace
            return trace
        def attempt(line):
            sys.settrace(stop_at(line))
            try:
                print(".", end="", flush=True)
            except Now:
                pass
            finally:
                sys.settrace(None)
        lines = {}
        attempt(None)
        interesting = sorted(lines["schedule"] | lines["call_soon_threadsafe"])
        assert len(interesting) > 4, lines
        for line in interesting:
            attempt(line)
        print("printed", flush=True)
        """,
        timeout=PATIENCE,
    )
    assert record.status is Status.SUCCESS, record.error
    assert project.printed()[-1].endswith("printed")


def test_what_cannot_be_published_does_not_keep_the_rest_from_it(project: Project) -> None:
    record = project.run(
        """
        def fail():
            raise ValueError
        thread = get_ipython().kernel.iopub_thread
        for _ in range(20):
            thread.schedule(fail)
        print("printed", flush=True)
        """,
        timeout=PATIENCE,
    )
    assert record.error is None
    assert "printed" in project.printed()


@pytest.mark.parametrize(
    "parts",
    [
        ["no delimiter"],
        ["topic", "<IDS|MSG>", "signature"],
        ["topic", "<IDS|MSG>", "signature", "{}", "{}", "{}", "{}"],
        ["topic", "<IDS|MSG>", "", "{}", "{}", "{}", "{}"],
        ["topic", "<IDS|MSG>", "signed", "{}", "{}", "{}", "{}"],
        ["topic", "<IDS|MSG>", "signed", "[]", "{}", "{}", "{}"],
        ["topic", "<IDS|MSG>", "signed", "{}", "[]", "{}", "{}"],
        ["topic", "<IDS|MSG>", "signed", "no JSON", "{}", "{}", "{}"],
    ],
)
def test_what_is_no_message_ends_the_instance_and_not_the_session(project: Project, parts: list[str]) -> None:
    record = project.run(
        f"""
        kernel = get_ipython().kernel
        parts = [part.encode() for part in {parts!r}]
        if b"signed" in parts:
            parts[2] = kernel.session.sign(parts[3:])
        kernel.iopub_socket.send_multipart(parts)
        """
    )
    assert record.error is not None
    assert (record.status, record.error.type) == (Status.ERROR, "RuntimeError")
    assert "the kernel sends what is no message" in record.message
    assert project.run("print('here')", name="b").status is Status.SUCCESS


def test_what_programs_printed_before_a_kernel_died_is_there_once(project: Project) -> None:
    record = project.run(
        "import os\ndone = os.system('echo ⚠️ from a program')\n\n# %%\nos.kill(os.getpid(), 9)"
    )
    assert record.error is not None
    assert project.printed().count("⚠️ from a program") == 1


@pytest.mark.parametrize(
    "mischief",
    [
        "sys.path.append(pathlib.Path('/tmp'))",
        "sys.modules[5] = sys",
        "sys.executable = None",
        "sys.modules['lazy'] = type('Lazy', (), {'__getattr__': lambda self, name: 1 / 0})()",
    ],
)
def test_a_flow_that_makes_a_mess_of_sys_still_tells_what_it_used(project: Project, mischief: str) -> None:
    record = project.run(f"import pathlib, sys\n{mischief}\nimport yaml")
    assert record.peak_memory
    assert "pyyaml" in {name.lower() for name in record.packages}
    assert record.python_warnings == ()


def test_a_kernel_that_cannot_tell_what_it_used_says_so(project: Project) -> None:
    record = project.run("import sys\nsys.modules['_ductaflow_trace'].used = lambda: 1 / 0")
    assert record.status is Status.SUCCESS
    assert record.peak_memory
    assert record.python_warnings == (
        "KernelWarning: what the flow imports is not noticed: the kernel did not tell",
    )


@pytest.mark.thorough
def test_a_kernel_that_loses_its_descriptors_ends_its_instance(project: Project) -> None:
    record = project.run("import os\nos.closerange(3, 256)\nprint('?', flush=True)", timeout=PATIENCE)
    assert record.error is not None
    assert record.error.type == "KernelDied"


def test_a_flow_may_close_its_output(project: Project) -> None:
    record = project.run(
        """
        import os, sys, time
        loop, pipe = sys.stdout._io_loop, sys.stdout._fid
        os.close(1)
        while pipe in loop.handlers:  # as long as it would be read in vain
            time.sleep(0.01)
        print("from Python")
        """,
        timeout=PATIENCE,
    )
    assert record.status is Status.SUCCESS, record.error
    assert project.printed() == ["from Python"]


def test_a_word_that_a_kernel_died_over_is_not_taken_for_the_next(tmp_path: Path) -> None:
    """The kernel and the process that knows how it ended use the same connection."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    here = {"pid": 1, "raw": "", "left_out": {}, "connection": {"ip": "x", "language_info": {}}}

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(65_536)
        connection.sendall(json.dumps(here).encode() + b'\n\n{"final_report": [1, \n{"exit": 9}\n')
        connection.close()

    threading.Thread(target=serve).start()
    with listener:
        forked = ForkedKernel(str(tmp_path / "s"), preload=[], cwd=str(tmp_path), env={})
        assert forked.wait_for_exit_code(PATIENCE) == -signal.SIGKILL
        forked.close()
    assert forked.final_report is None


@pytest.mark.thorough
@pytest.mark.parametrize("fork", [True, False])
def test_a_flow_has_time_for_its_threads_and_is_orange_if_they_do_not_end(
    project: Project, monkeypatch: pytest.MonkeyPatch, fork: bool
) -> None:
    code = """
        import os, pathlib, threading
        def write():
            threading.main_thread().join()
            if config["ends"]:
                pathlib.Path("late.txt").write_text("all of it")
            else:
                os.mkfifo("nobody_writes")
                open("nobody_writes").read()
        threading.Thread(target=write).start()
        """
    late, settings = project.root / "runs/x/a/late.txt", Settings(force=True, fork=fork)
    record = project.run(code, settings=settings, config={"ends": True})
    assert late.read_text() == "all of it"
    assert record.status is Status.SUCCESS

    monkeypatch.setattr("pytest_ductaflow.running.client._EXIT", 0.5)
    record = project.run(code, settings=settings, config={"ends": False})
    assert record.status is Status.WARNING
    assert "ran on for 0.5 s after the last cell" in record.warnings[0]
    assert not late.exists()


def test_a_process_that_a_flow_forks_prints_and_no_port_is_open_for_that(project: Project) -> None:
    """Any user of the machine could connect to a port."""
    record = project.run(
        """
        import multiprocessing, os
        import psutil
        def work(number):
            os.chdir("/")
            print("from child", number, flush=True)
        context = multiprocessing.get_context("fork")
        for number in range(2):
            process = context.Process(target=work, args=(number,))
            process.start()
            process.join()
        connections = psutil.Process().net_connections("inet")
        print([place.laddr for place in connections])
        """
    )
    assert record.status is Status.SUCCESS
    assert sorted(project.printed()) == ["[]", "from child 0", "from child 1"]


# Before the first request


def test_a_server_that_nobody_has_asked_ends_at_once_with_all_that_it_has_prepared():
    server = server_pool.ForkServer(os.environ)
    server.prepare(["json"], os.environ)
    own = psutil.Process(server._process.pid)
    server.close()
    assert not own.is_running()
    assert not Path(server.folder).exists()


def test_a_kernel_is_ready_before_it_is_requested():
    environment = server_pool.kernel_environment({})
    server = server_pool.ForkServer(environment)
    try:
        server.prepare(["json"], environment)
        observer = psutil.Process(server._process.pid)
        # The observer's child is the server, its child the template, and its child the kernel.
        ready = wait_for(lambda: descendants(observer, depth=3) or None, "a spare kernel")
        kernel = ForkedKernel(server.socket, preload=["json"], cwd=server.folder, env=environment, setup=None)
        assert kernel.pid in ready
        kernel.kill()
        kernel.close()
    finally:
        server.close()


def descendants(process: psutil.Process, depth: int) -> list[int]:
    """Return the processes so many generations below another one."""
    found = [process]
    for _ in range(depth):
        found = [child for each in found for child in each.children()]
    return [each.pid for each in found]


@pytest.mark.parametrize(
    "wrong",
    [{"prepare": "json"}, {"prepare": ["json"]}, {"prepare": [[1]]}, {"env_of_imports": None}, {"spare": 1}],
    ids=str,
)
def test_a_preparation_that_is_none_is_refused(wrong):
    right = {"prepare": [["json"]], "env_of_imports": {}, "spare": True}
    assert check_request(json.dumps(right).encode()) == right
    with pytest.raises(BadRequest):
        check_request(json.dumps(right | wrong).encode())
