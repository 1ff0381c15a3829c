"""Pages of notebooks that a separate process writes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from helpers.projects import write_project
from helpers.sessions import own_environment, run_python, run_session
from nbconvert.exporters import HTMLExporter

from pytest_ductaflow.core.instance import Instance
from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory.build_variable import build_environment
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.record_files import read_record, write_record
from pytest_ductaflow.core.settings import Settings
from pytest_ductaflow.report.page import read
from pytest_ductaflow.running.html import page_process as html_process
from pytest_ductaflow.running.html.instance_page import InstancePage, finish_pages
from pytest_ductaflow.running.html.notebook_html import write_full_html, write_html
from pytest_ductaflow.running.html.page_process import PageWriter, write_page


def files_of(root: Path, name: str) -> RunFiles:
    """Make a run directory with a notebook and a record."""
    files = RunFiles(root / "runs/x" / name, "x")
    files.directory.mkdir(parents=True)
    cell = nbformat.v4.new_markdown_cell(f"notebook {name}")
    files.notebook.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])))
    write_record(files, Record(Status.SUCCESS, "flows/x.py", "x", name, f"runs/x/{name}"))
    return files


def test_all_pages_are_there_when_the_writer_is_finished(tmp_path: Path) -> None:
    writer = PageWriter()
    asked = {name: files_of(tmp_path, name) for name in "abc"}
    for files in asked.values():
        writer.ask(files, tmp_path / "runs")
    assert writer.finish() == []
    assert all(f"notebook {name}" in files.html.read_text() for name, files in asked.items())
    assert (tmp_path / "runs/notebook.css").exists()
    assert writer.finish() == []


def test_a_notebook_without_a_page_is_told_in_its_record_and_on_the_page(tmp_path: Path) -> None:
    writer = PageWriter()
    broken, good = files_of(tmp_path, "broken"), files_of(tmp_path, "good")
    broken.notebook.write_text("{")
    for files in (broken, good):
        writer.ask(files, tmp_path / "runs")
    (problem,) = writer.finish()
    assert problem.startswith("NotebookWarning: x_executed.ipynb has no page: ")
    record, _ = read_record(broken.record)
    assert record is not None
    assert record.python_warnings == (problem,)
    assert "could not be made a page" in broken.html.read_text()
    assert "notebook good" in good.html.read_text()


def test_what_a_writer_that_died_has_left_is_written_at_the_end(tmp_path: Path) -> None:
    writer = PageWriter()
    first, second = files_of(tmp_path, "a"), files_of(tmp_path, "b")
    writer.ask(first, tmp_path / "runs")
    process = writer._process
    assert process is not None
    process.kill()
    process.wait()
    writer.ask(second, tmp_path / "runs")
    assert writer.finish() == []
    assert "notebook a" in first.html.read_text()
    assert "notebook b" in second.html.read_text()


def test_a_full_disk_at_the_end_leaves_a_warning_and_no_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the page, nor the report of the process, nor the record can be written."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = PageWriter()
    files = files_of(tmp_path, "a")
    files.notebook.write_text("{")
    writer.ask(files, tmp_path / "runs")
    Path(writer._told.name).write_text('[0, "torn')
    monkeypatch.setattr(html_process.atomic, "write_atomic", refuse)
    assert all("has no page: " in problem for problem in writer.finish())
    monkeypatch.setattr(PageWriter, "_started", refuse)
    assert "has no page: " in str(writer.ask(files, tmp_path / "runs"))
    assert writer.finish() == []
    record, _ = read_record(files.record)
    assert record is not None
    assert record.status is Status.SUCCESS


@pytest.mark.thorough
def test_many_pages_that_fail_hold_nobody_up(tmp_path: Path) -> None:
    writer = PageWriter()
    files = files_of(tmp_path, "a")
    files.notebook.write_text("{")
    for _ in range(2_000):  # more than a pipe can hold
        writer.ask(files, tmp_path / "runs")
    assert len(writer.finish()) == 2_000


def test_modules_of_the_project_are_not_those_of_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("html", "jinja2", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    writer = PageWriter()
    files = files_of(tmp_path, "a")
    writer.ask(files, tmp_path / "runs")
    process = writer._process
    assert writer.finish() == []
    assert process is not None
    assert process.returncode == 0


def test_a_writer_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from pytest_ductaflow.running.html.page_process import PageWriter
from pytest_ductaflow.core.run_directory.layout import RunFiles
writer = PageWriter()
writer.ask(RunFiles(Path({str(tmp_path)!r}, "runs/x/a"), "x"), Path({str(tmp_path)!r}, "runs"))
writer._process.stdout = None
os._exit(0)
"""
    files = files_of(tmp_path, "a")
    read, write = os.pipe()  # ends when no process holds it any more
    with subprocess.Popen([sys.executable, "-c", code], stdout=write, pass_fds=[write]):
        os.close(write)
    with os.fdopen(read) as stream:
        assert stream.read() == ""
    assert not files.html.exists() or "notebook a" in files.html.read_text()


def test_a_page_that_cannot_be_written_at_all_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(tmp_path, "a")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(html_process.atomic, "write_atomic", fail)
    monkeypatch.setattr("pytest_ductaflow.running.html.notebook_html.write_atomic", fail)
    problem = write_page(files, tmp_path / "runs")
    assert problem == "NotebookWarning: x_executed.ipynb has no page: OSError: no space left"


@pytest.mark.slow
@pytest.mark.parametrize("template", [None, "{{ 1 / 0 }}"], ids=["good", "broken"])
def test_a_session_with_an_idle_core_has_its_pages_and_warnings_at_the_end(
    tmp_path: Path, template: str | None
) -> None:
    write_project(
        tmp_path,
        {
            "flows/x.py": "print('seen on the page')",
            "conductor.py": """
                from pytest_ductaflow import conduct
                conduct("flows/x.py", [{"instance_name": "a"}])
                """,
        },
    )
    environment = own_environment(pages=True)
    if template is not None:
        name = "jupyter/nbconvert/templates/lab"
        write_project(
            tmp_path, {f"{name}/index.html.j2": template, f"{name}/conf.json": {"base_template": "base"}}
        )
        environment["JUPYTER_PATH"] = str(tmp_path / "jupyter")
    command = ("-p", "no:cacheprovider", "--ductaflow", "conductor.py")
    done = run_session(tmp_path, *command, environment=environment)
    assert done.returncode == 0, done.stdout
    page = (tmp_path / "runs/x/a/x_executed.html").read_text()
    assert ("seen on the page" in page) == (template is None)
    problem = "NotebookWarning: x_executed.ipynb has no page: ZeroDivisionError"
    assert (problem in done.stdout) == (template is not None)
    (row,) = read(tmp_path / "runs/conductor_status_report.html")["rows"]
    assert row["links"]["notebook"] == "x/a/x_executed.html"


HOSTILE = (
    "<script>alert(1)</script>",
    "'</pre></div><img src=x onerror=alert(2)>'",
    '# &lt;script&gt; "<b>" ☃',
)


@pytest.mark.parametrize("language", ["python", "r", "julia", "bash"])
def test_what_looks_like_markup_in_code_is_text_on_the_page(tmp_path: Path, language: str) -> None:
    cells = [nbformat.v4.new_code_cell(text) for text in HOSTILE]
    metadata = {"language_info": {"name": language, "pygments_lexer": language}}
    notebook, page = tmp_path / "a.ipynb", tmp_path / "a.html"
    notebook.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=metadata)))
    write_html(notebook, page, tmp_path)
    code = BeautifulSoup(page.read_text(), "html.parser").select("div.highlight")
    assert [element.get_text().strip() for element in code] == list(HOSTILE)
    assert {tag.name for element in code for tag in element.find_all(True)} <= {"pre", "span"}


def test_a_page_shows_the_cells_and_outputs_that_nbconvert_shows(tmp_path: Path) -> None:
    outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="one\n"),
        nbformat.v4.new_output("stream", name="stdout", text="two\n"),  # nbconvert's page joins both
        nbformat.v4.new_output("display_data", {"text/html": "<b>bold</b>", "text/plain": "bold"}),
        nbformat.v4.new_output("error", ename="E", evalue="e", traceback=["\x1b[31mE\x1b[0m: e"]),
    ]
    cells = [
        nbformat.v4.new_markdown_cell("# Title\n\n| a | b |\n|---|---|\n| 1 | $x$ |"),
        nbformat.v4.new_code_cell("%%bash\necho '<tag>'", outputs=outputs, execution_count=1),
        nbformat.v4.new_raw_cell("raw"),
    ]
    notebook, page = tmp_path / "a.ipynb", tmp_path / "a.html"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    write_html(notebook, page, tmp_path)
    theirs, _ = HTMLExporter(template_name="lab", exclude_anchor_links=True).from_filename(str(notebook))

    ours, theirs = (BeautifulSoup(text, "html.parser").main for text in (page.read_text(), theirs))
    assert list(ours.stripped_strings) == list(theirs.stripped_strings)
    assert [tag.name for tag in ours.find_all(True)] == [tag.name for tag in theirs.find_all(True)]


FIGURE = {"data": [{"y": [1, 2]}], "layout": {"title": {"text": "</script><b>x"}}, "other": 1}
PLOTLY = "application/vnd.plotly.v1+json"


def page_of(folder: Path, *outputs: dict[str, object]) -> tuple[str, list[str]]:
    """Return the page of a notebook with some outputs, and what it does not show."""
    shown = [nbformat.v4.new_output("display_data", data) for data in outputs]
    cells = [nbformat.v4.new_code_cell("x", outputs=shown, execution_count=3)]
    notebook, page = folder / "runs/x/a/a.ipynb", folder / "runs/x/a/a.html"
    notebook.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebook)
    lost = write_html(notebook, page, folder / "runs")
    return page.read_text(), lost


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a Plotly, and return its script."""
    script = tmp_path / "packages/plotly/package_data/plotly.min.js"
    script.parent.mkdir(parents=True)
    script.write_text("window.Plotly = {}")
    (tmp_path / "packages/plotly/__init__.py").touch()
    monkeypatch.delitem(sys.modules, "plotly", raising=False)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    return script


def test_a_plotly_figure_is_drawn_by_a_library_that_all_pages_share(tmp_path: Path, library: Path) -> None:
    page, lost = page_of(tmp_path, {PLOTLY: FIGURE, "text/plain": "Figure()"}, {PLOTLY: FIGURE})
    assert lost == []
    assert page.count("Plotly.newPlot(") == 2
    assert '<script src="../../plotly.min.js">' in page
    assert (tmp_path / "runs/plotly.min.js").read_text() == library.read_text()
    assert "Figure()" not in page
    assert '"\\u003c/script>\\u003cb>x"' in page
    library.write_text("window.Plotly = {new: 1}")  # another version
    page_of(tmp_path, {PLOTLY: FIGURE})
    assert (tmp_path / "runs/plotly.min.js").read_text() == library.read_text()


def test_a_page_that_stands_alone_has_the_library_in_itself(tmp_path: Path, library: Path) -> None:
    page_of(tmp_path, {PLOTLY: FIGURE})
    page = tmp_path / "full.html"
    write_full_html(tmp_path / "runs/x/a/a.ipynb", page, "lab")
    assert page.read_text().count(library.read_text()) == 1
    assert "Plotly.newPlot(" in page.read_text()


@pytest.mark.parametrize("other", ["text/html", "image/png", "image/svg+xml"])
def test_a_figure_that_has_another_form_is_shown_in_that(tmp_path: Path, library: Path, other: str) -> None:
    page, lost = page_of(tmp_path, {PLOTLY: FIGURE, other: "<b>form</b>"})
    assert lost == []
    assert "Plotly.newPlot(" not in page
    assert not (tmp_path / "runs/plotly.min.js").exists()


def test_without_the_library_a_sentence_is_in_the_place_of_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_ductaflow.running.html.notebook_html.plotly_script", lambda: None)
    page, (lost,) = page_of(tmp_path, {PLOTLY: FIGURE})
    cure = "install plotly beside pytest, or set PLOTLY_RENDERER=notebook"
    assert lost == f"an output of cell 3, {PLOTLY}, is only in the notebook: {cure}"
    assert f"This output, {PLOTLY}, is only in the notebook: {cure}." in page


def test_an_output_of_an_unknown_kind_is_told_on_the_page_and_in_a_warning(tmp_path: Path) -> None:
    files = files_of(tmp_path, "a")
    outputs = [
        nbformat.v4.new_output("display_data", data)
        for data in ({"application/geo+json": {}}, {"application/x": "x", "text/plain": "as text"}, {})
    ]
    cells = [nbformat.v4.new_code_cell("x", outputs=outputs, execution_count=2)]
    files.notebook.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))
    said = "an output of cell 2, application/geo+json, is only in the notebook"
    assert write_page(files, tmp_path / "runs") == f"NotebookWarning: x_executed.ipynb: {said}"
    assert "This output, application/geo+json, is only in the notebook." in files.html.read_text()
    assert "as text" in files.html.read_text()


DELIVERS = """\
    import os
    from pathlib import Path
    from pytest_ductaflow import conduct, run_step_flow

    Path("seen.txt").write_text("")
    def look(name):
        with open("seen.txt", "a") as file:
            print(name, os.path.exists(f"runs/step/{name}/one_executed.html"), file=file)

    for name in ("a", "b"):
        run_step_flow("flows/one.py", "step", name, {})
        look(name)
    conduct("flows/one.py", [{"instance_name": "c"}, {"instance_name": "d"}], step="step")
    for name in ("c", "d"):
        look(name)
    """


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [["conductor.py"], ["-m", "pytest", "--ductaflow", "--ductaflow-defer", "conductor.py"]],
    ids=["script", "pytest"],
)
def test_pages_are_there_for_what_a_conductor_does_with_them(tmp_path: Path, command: list[str]) -> None:
    """A script copies run directories after its calls, a session after its instances, including pages."""
    write_project(tmp_path, {"flows/one.py": "print(1)\n" * 50, "conductor.py": DELIVERS})
    done = run_python(tmp_path, *command, environment=own_environment(pages=True))
    assert done.returncode == 0, done.stdout
    seen = (tmp_path / "seen.txt").read_text().split()
    assert seen == ["a", "True", "b", "True", "c", "True", "d", "True"]


@pytest.mark.parametrize("may_follow", [True, False], ids=["in its process", "at once"])
def test_pages_of_a_builds_flows_are_written_once_the_build_has_ended(tmp_path, monkeypatch, may_follow):
    def page(name: str) -> InstancePage:
        instance = Instance(str(tmp_path / "x.py"), "x", name, {}, str(tmp_path), str(tmp_path))
        return InstancePage(instance, of[name], Settings(html="all"), may_follow=may_follow)

    of = {name: files_of(tmp_path, name) for name in ("outer", "inner", "good", "broken")}
    of["broken"].notebook.write_text("{")
    with monkeypatch.context() as inside:
        for name, value in build_environment(of["inner"], "{}", "/", {}).items():
            inside.setenv(name, value)
        for name in ("good", "broken", "good"):
            page(name).write()
    with monkeypatch.context() as inside:
        for name, value in build_environment(of["outer"], "{}", "/", {}).items():
            inside.setenv(name, value)
        page("inner").write_those_of_flows(hurry=False)
    assert not any(files.html.exists() for files in of.values())
    page("outer").write_those_of_flows(hurry=False)
    finish_pages()
    assert "notebook good" in of["good"].html.read_text()
    assert "could not be made a page" in of["broken"].html.read_text()
    record, _ = read_record(of["broken"].record)
    assert record is not None
    assert "has no page" in record.python_warnings[0]
    left = {file.name for name in ("outer", "inner") for file in of[name].directory.iterdir()}
    assert left == {"x_executed.ipynb", "x_record.json"}


def test_pages_are_written_by_their_process_after_an_interrupt(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "1000")  # no core is idle
    monkeypatch.setattr(html_process.PageWriter, "ask", lambda _self, files, _runs: asked.append(files))
    asked: list[RunFiles] = []
    build, flow = files_of(tmp_path, "build"), files_of(tmp_path, "flow")
    instance = Instance(str(tmp_path / "x.py"), "x", "i", {}, str(tmp_path), str(tmp_path))
    with monkeypatch.context() as inside:
        for name, value in build_environment(build, "{}", "/", {}).items():
            inside.setenv(name, value)
        InstancePage(instance, flow, Settings(html="all"), may_follow=True).write()
    InstancePage(instance, build, Settings(html="all"), may_follow=True).write_those_of_flows(hurry=True)
    assert asked == [flow]
    assert not build.list_of_pages.exists()
