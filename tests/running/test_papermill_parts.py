"""papermill, imported without what it takes for storage on other machines."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pytest

IMPORT = "import json, sys, pytest_ductaflow.running.notebook.papermill_parts, papermill.iorw as iorw\n"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def address(tmp_path: Path):
    """Return the address of a notebook on a server of this machine."""
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "flow.ipynb")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/flow.ipynb"
    server.shutdown()
    thread.join()
    server.server_close()


def printed_by(code: str, *arguments: str) -> object:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT + code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_the_libraries_for_storage_are_not_imported():
    assert printed_by("print(json.dumps([n for n in ('requests', 'pyarrow') if n in sys.modules]))") == []


def test_papermill_reads_a_notebook_from_another_machine_all_the_same(address):
    code = "print(json.dumps([len(iorw.load_notebook_node(sys.argv[1]).cells), 'requests' in sys.modules]))"
    assert printed_by(code, address) == [0, True]


def test_a_release_that_does_more_with_them_gets_the_libraries_themselves(tmp_path):
    """As one would that makes a class of one of theirs."""
    package = tmp_path / "papermill"
    package.mkdir()
    (package / "__init__.py").write_text("from . import iorw\n")
    (package / "iorw.py").write_text("import requests\nclass Session(requests.Session): pass\n")
    names = ("clientwrap.PapermillNotebookClient", "engines.NotebookExecutionManager")
    more = ("exceptions.PapermillException", "exceptions.PapermillExecutionError")
    last = ("parameterize.parameterize_notebook", "translators.papermill_translators")
    for name in (*names, *more, *last):
        module, _, member = name.partition(".")
        with open(package / f"{module}.py", "a", encoding="utf-8") as file:
            file.write(f"{member} = None\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{IMPORT}"
    code += "print(iorw.__file__, iorw.Session.__mro__[1].__module__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(package / "iorw.py"), "requests.sessions"], done.stderr
