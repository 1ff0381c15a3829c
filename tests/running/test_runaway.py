"""Flows that print or show faster than their output can be read."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import nbformat
import pytest
from helpers.projects import write_project
from helpers.sessions import own_environment

from pytest_ductaflow.core.number_text import in_bytes
from pytest_ductaflow.running import output_log, warning_lines
from pytest_ductaflow.running.notebook import cell_outputs
from pytest_ductaflow.running.notebook.cell_outputs import CellOutputs
from pytest_ductaflow.running.output_log import Output
from pytest_ductaflow.running.warning_lines import LineSplitter

pytestmark = pytest.mark.together("runaway")

TIME_OUT = 3.0
ENOUGH = 120.0  # seconds; an unbounded session would not end by itself
MOST_ADDRESSES = 6 << 30  # bytes of address space that a process may have
FLOWS = {
    "prints": 'while True: print("x" * 1_000_000)',
    "writes": 'import os\nwhile True: os.write(1, b"y" * 1_000_000)',
    "shows": 'from IPython.display import display\nwhile True: display("x" * 1_000_000)',
    "forks": """
        import multiprocessing

        def talk():
            while True:
                print("x" * 100_000)

        process = multiprocessing.get_context("fork").Process(target=talk)
        process.start()
        process.join()
        """,
    "calls": "import subprocess\nsubprocess.run(['yes', 'x' * 1000])",
}


def run_limited(root: Path, *options: str, **variables: str) -> tuple[str, int]:
    """Run a session in bounded memory and time.

    Args:
        root: Root of the project.
        options: Options of pytest.
        variables: Variables of its environment.

    Returns:
        What it printed, and the most memory that its own process used, in bytes.
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))

    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "conductor.py"]
    environment = own_environment(**variables)
    with (
        open(root / "printed", "w+b") as printed,
        subprocess.Popen(
            [*command, "--ductaflow-html=none", *options],
            cwd=root,
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
            preexec_fn=limit,  # noqa: PLW1509 - it makes one call to the system
        ) as session,
    ):
        watchdog = threading.Timer(ENOUGH, session.kill)
        watchdog.start()
        try:
            _, status, used = os.wait4(session.pid, 0)
            session.returncode = os.waitstatus_to_exitcode(status)
        finally:
            watchdog.cancel()
        printed.seek(0)
        text = printed.read().decode()
    assert session.returncode in (0, 1), text[-2000:]
    return text, used.ru_maxrss * 1024


@pytest.fixture(scope="module", params=["forked", pytest.param("ordinary", marks=pytest.mark.thorough)])
def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """Return a project with all these flows after one run, and the memory that pytest used."""
    root = tmp_path_factory.mktemp("runaway")
    names = [name for name in FLOWS if request.param == "forked" or name in ("prints", "writes")]
    write_project(root, {f"flows/{name}.py": FLOWS[name] for name in names})
    calls = [
        f"conduct('flows/{name}.py', [{{'instance_name': 'a', '_timeout': {TIME_OUT}}}])" for name in names
    ]
    (root / "conductor.py").write_text("\n".join(["from pytest_ductaflow import conduct", *calls]))
    text, memory = run_limited(root, *(["--no-ductaflow-fork"] if request.param == "ordinary" else []))
    assert "INTERNALERROR" not in text
    return root, memory


def records(root: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in root.glob("runs/*/a/*_record.json")]
    assert found
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")


@linux
@pytest.mark.slow
def test_a_time_out_holds_however_fast_a_flow_prints(session):
    for record in records(session[0]):
        assert (record["error"] or {}).get("type") == "Timeout", record
        assert "did not react" not in record["error"]["message"], record
        assert record["duration"] < TIME_OUT + 40, record  # how much is printed until then is the load's


@linux
@pytest.mark.slow
def test_memory_is_bounded_however_fast_a_flow_prints(session):
    assert session[1] < 500e6
    for record in records(session[0]):
        assert record["peak_memory"] < 250e6, record["flow"]


@linux
@pytest.mark.slow
def test_what_has_no_end_is_kept_up_to_a_limit_and_the_rest_is_told_in_place(session):
    for record in records(session[0]):
        name = Path(record["flow"]).stem
        folder = session[0] / f"runs/{name}/a"
        text = (folder / f"{name}_execution_output.txt").read_text()
        assert len(text) < 110e6
        notebook = nbformat.read(folder / f"{name}_executed.ipynb", 4)
        outputs = notebook.cells[-1].outputs
        assert (folder / f"{name}_executed.ipynb").stat().st_size < 25e6
        if name != "forks":  # each of its messages makes a connection, so it is slower than its reader
            deed = "shown" if name == "shows" else "printed"
            assert any(f"more were {deed} in this cell" in output.get("text", "") for output in outputs), name
        assert outputs[-1].output_type == "error"
        assert "KeyboardInterrupt" in text[-2000:]


LOUD_KERNEL = """
    import sys
    from ipykernel.kernelapp import IPKernelApp
    from ipykernel.kernelbase import Kernel

    class Loud(Kernel):
        implementation = "loud"
        implementation_version = "1"
        banner = ""
        language_info = {"name": "bash", "mimetype": "text/plain", "file_extension": ".sh"}

        async def do_execute(self, code, silent, *arguments, **options):
            number = 0
            publisher = self.iopub_thread
            publisher.schedule(lambda: setattr(publisher.socket, "sndhwm", 0))  # it drops nothing itself
            while ("count" in code and number < 2_000) or "without end" in code:
                text = ("x" * 100 + "\\n") * 10_000 if "without end" in code else f"{number}\\n"
                self.send_response(self.iopub_socket, "stream", {"name": "stdout", "text": text})
                number += 1
            return {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}

    IPKernelApp.launch_instance(kernel_class=Loud)
    """


@linux
@pytest.mark.slow
@pytest.mark.thorough
@pytest.mark.parametrize("observe", ["all", "off"])
def test_a_kernel_that_does_not_wait_by_itself_pauses_while_it_is_ahead(tmp_path, observe):
    kernel = {
        "argv": [sys.executable, str(tmp_path / "loud.py"), "-f", "{connection_file}"],
        "display_name": "loud",
        "language": "bash",
    }
    root = write_project(tmp_path / "project", {})
    write_project(tmp_path, {"loud.py": LOUD_KERNEL, "jupyter/kernels/loud/kernel.json": kernel})
    (root / "flows").mkdir(parents=True)
    for name, code in {"counts": "count", "shouts": "shout without end"}.items():
        (root / f"flows/{name}.sh").write_text(f'# %% tags=["parameters"]\nx=0\n\n# %%\n{code}\n')
    row = "{'instance_name': 'a', '_kernel': 'loud', '_timeout': SECONDS}"
    calls = [
        f"conduct('flows/{name}.sh', [{row.replace('SECONDS', seconds)}])"
        for name, seconds in {"counts": "60", "shouts": "8"}.items()
    ]
    (root / "conductor.py").write_text("\n".join(["from pytest_ductaflow import conduct", *calls]))
    _, memory = run_limited(root, f"--ductaflow-observe={observe}", JUPYTER_PATH=str(tmp_path / "jupyter"))
    assert log_of(root, "counts").split() == [str(number) for number in range(2_000)]
    assert json.loads((root / "runs/shouts/a/shouts_record.json").read_text())["error"]["type"] == "Timeout"
    assert memory < 800e6  # without the pauses 1.3 GB; the load decides how soon one takes effect


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell_outputs, "KEPT", 100)
    monkeypatch.setattr(output_log, "KEPT_IN_LOG", 100)
    monkeypatch.setattr(warning_lines, "LONGEST", 50)


@pytest.mark.usefixtures("few")
def test_a_log_keeps_of_each_cell_what_comes_first_and_all_warnings_count(tmp_path):
    with Output(tmp_path / "log") as log:
        for _ in range(40):
            log.write("stdout", "123456789\n")
        log.write("stdout", "warning: late\n")
        log.note("a traceback")
        log.write("stdout", "more\n")
        log.complete_cell()
        log.write("stdout", "the next cell\n")
    assert log.warnings == ["warning: late"]
    assert (tmp_path / "log").read_text().splitlines() == [
        *(["123456789"] * 10),
        "… 314 bytes more were printed in this cell and are left out",
        "a traceback",
        "… 5 bytes more were printed in this cell and are left out",
        "the next cell",
    ]


@pytest.mark.usefixtures("few")
def test_of_a_line_without_an_end_the_beginning_is_kept(tmp_path):
    echo = io.StringIO()
    with Output(tmp_path / "log", echo) as log:
        for _ in range(1000):
            log.write("stdout", "0123456789")
    assert echo.getvalue() == (
        "0123456789" * 5 + "\n… 9.95 kB more were printed in this cell and are left out\n"
    )


def test_a_line_that_is_written_anew_has_room_again(monkeypatch):
    monkeypatch.setattr(warning_lines, "LONGEST", 4)
    splitter = LineSplitter()
    splitter.feed("123456\r")
    assert splitter.feed("abc\n") == ["abc"]


def stream(name: str, text: str) -> Any:
    return nbformat.v4.new_output("stream", name=name, text=text)


@pytest.mark.usefixtures("few")
def test_a_notebook_keeps_what_comes_first_and_counts_the_rest():
    outputs = [stream("stdout", "")]
    cell = CellOutputs(outputs)
    assert cell.printed("x" * 70) == "x" * 70
    assert cell.printed("y" * 70) == "y" * 30
    assert cell.printed("z" * 70) == ""
    cell.complete()
    assert outputs[1].text.startswith("\n… 110 bytes more were printed in this cell and are left out")


def test_pieces_of_a_stream_become_one_output_and_other_outputs_stand_between_them():
    outputs: list[Any] = [stream("stdout", "0 ")]
    cell = CellOutputs(outputs)
    for number in range(1, 2500):
        assert cell.grow("stdout", f"{number} ")
    assert not cell.grow("stderr", "x")
    outputs.append(stream("stderr", "x"))
    assert not cell.grow("stdout", "x")
    cell.complete()
    assert [output.text for output in outputs] == ["".join(f"{number} " for number in range(2500)), "x"]


@pytest.mark.usefixtures("few")
def test_one_thing_that_is_shown_is_kept_whole_and_cleared_ones_do_not_count():
    cell = CellOutputs([])
    assert cell.keeps_shown(10_000)
    assert not cell.keeps_shown(1)
    cell.clear()
    assert cell.keeps_shown(1)


@pytest.mark.parametrize(
    ("number", "text"),
    [(7, "7 bytes"), (999, "999 bytes"), (9_950, "9.95 kB"), (3.2e9, "3.2 GB"), (2.5e13, "25,000 GB")],
)
def test_numbers_of_bytes_are_told_as_people_read_them(number, text):
    assert in_bytes(number) == text


TALKS = {
    "surrogate": """
        import sys
        from IPython.display import display
        print("half \\ud800 a character")
        display({"text/plain": "shown \\ud800 too"}, raw=True)
        """,
    "umlauts": """
        import os, sys, time
        os.write(1, b"a" + ("\\u00e4" * 20_000 + "\\n").encode())
        time.sleep(1)
        """,
    "clears": """
        from IPython.display import clear_output, display
        for number in range(30):
            clear_output(wait=True)
            display(str(number) * 1_000_000)
        """,
    "flushes": """
        import sys
        for number in range(300):
            print(number, flush=True)
        print("aside", file=sys.stderr, flush=True)
        print("end", flush=True)
        """,
}


@pytest.fixture(scope="module", params=["forked", pytest.param("ordinary", marks=pytest.mark.thorough)])
def talks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_project(
        tmp_path_factory.mktemp("talks"), {f"flows/{name}.py": code for name, code in TALKS.items()}
    )
    calls = [f"conduct('flows/{name}.py', [{{'instance_name': 'a'}}])" for name in TALKS]
    (root / "conductor.py").write_text("\n".join(["from pytest_ductaflow import conduct", *calls]))
    run_limited(root, *(["--no-ductaflow-fork"] if request.param == "ordinary" else []))
    return root


def log_of(root: Path, flow: str) -> str:
    return (root / f"runs/{flow}/a/{flow}_execution_output.txt").read_text(encoding="utf-8")


def outputs_of(root: Path, flow: str) -> list[Any]:
    return nbformat.read(root / f"runs/{flow}/a/{flow}_executed.ipynb", 4).cells[-1].outputs


def status_of(root: Path, flow: str) -> str:
    return json.loads((root / f"runs/{flow}/a/{flow}_record.json").read_text(encoding="utf-8"))["status"]


@linux
@pytest.mark.slow
def test_half_a_character_is_printed_as_its_number(talks):
    assert log_of(talks, "surrogate") == "half \\ud800 a character\nshown ? too\n"
    assert status_of(talks, "surrogate") == "success"


@linux
@pytest.mark.slow
def test_characters_that_are_written_to_the_descriptor_stay_whole(talks):
    assert log_of(talks, "umlauts") == "a" + "\u00e4" * 20_000 + "\n"


@linux
@pytest.mark.slow
def test_what_takes_the_place_of_earlier_outputs_is_never_left_out(talks):
    (shown,) = outputs_of(talks, "clears")
    assert shown.data["text/plain"] == repr("29" * 1_000_000)


@linux
@pytest.mark.slow
def test_pieces_of_a_stream_are_one_output_in_the_notebook_and_keep_their_order(talks):
    assert [(output.name, output.text.split()[-1]) for output in outputs_of(talks, "flushes")] == [
        ("stdout", "299"),
        ("stderr", "aside"),
        ("stdout", "end"),
    ]
