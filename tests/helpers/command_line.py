"""Call the installed command `ductaflow`, and make projects with records as sessions leave them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from helpers.projects import write_project
from helpers.sessions import own_environment
from pytest_ductaflow.command_line.main import main
from pytest_ductaflow.core.record import Failure, Owner, Record, Status
from pytest_ductaflow.core.run_directory.layout import RunFiles
from pytest_ductaflow.core.run_directory.listing import digest
from pytest_ductaflow.core.run_directory.record_files import write_config, write_record

COMMAND = Path(sys.executable).with_name("ductaflow")


@dataclass(frozen=True)
class Done:
    """How a command ended: exit code, what it printed, and its error."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def ductaflow(
    folder: Path, *arguments: object, stdin: str = "", is_real: bool = False, **variables: str
) -> Done:
    """Call the command in a folder.

    Args:
        folder: The working directory.
        arguments: The command line.
        stdin: What is typed.
        is_real: Whether the installed command is started, as a user does; otherwise it is called in this
            process, which is the same and takes a tenth of the time.
        variables: Further environment variables.
    """
    words = list(map(str, arguments))
    if is_real:
        done = subprocess.run(
            [str(COMMAND), *words],
            cwd=folder,
            env=own_environment(PYTHONIOENCODING="utf-8", **variables),
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ductaflow", *words])
        patch.setenv("COLUMNS", "200")
        result = CliRunner().invoke(main, words, input=stdin, env=variables, prog_name="ductaflow")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


def make_run(
    root: Path,
    name: str,
    flow: str,
    *,
    config: Mapping[str, object] | None = None,
    outputs: Mapping[str, str] | None = None,
    log: str = "",
    **values: object,
) -> Record:
    """Make the run directory `runs/{name}` as a session leaves it, and return its record.

    Args:
        root: The project.
        name: `step/instance`.
        flow: Path of the flow.
        config: Its config.
        outputs: Texts by name of file.
        log: What it printed.
        values: Further fields of the record.
    """
    step, _, instance = name.rpartition("/")
    files = RunFiles(root / "runs" / name, Path(flow).stem)
    write_config(files, {**(config or {}), "_project_root": str(root)})
    files.log.write_text(log, encoding="utf-8")
    for file, text in (outputs or {}).items():
        path = files.directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    known = {
        "status": Status.SUCCESS,
        "flow": flow,
        "step": step,
        "instance": instance,
        "run_dir": f"runs/{name}",
        "started": "2026-03-01T12:00:00.000+00:00",
        "duration": 1.5,
        "source": "conductor.py",
        "line": 3,
        "outputs": {file: digest(files.directory / file) for file in outputs or {}},
    }
    record = Record(**(known | values))
    write_record(files, record)
    return record


def declare(root: Path, *records: str) -> None:
    """Note that `conductor.py` declares instances, by the paths of their records."""
    note = {"source": "conductor.py", "planned": sorted(records), "called": [], "earlier": [], "code": ""}
    folder = root / "runs/.declared"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "conductor.py.json").write_text(json.dumps(note), encoding="utf-8")


NOBODY = Owner("nowhere-near", 1, 0.0)  # runs on another machine, so that it counts as alive
FAILURE = Failure(
    "ValueError", "no zones in 2040", cell=3, source="read()\nraise ValueError()", line=2, file_line=7
)


def write_sample(root: Path) -> Path:
    """Write a project: `clean` makes tables of zones, `fit` reads them; each ended in another way."""
    write_project(
        root,
        {
            "flows/clean.py": "open('zones.csv', 'w').write('zone,people\\n')",
            "flows/fit.py": "open('results.json', 'w').write('{}')",
            "conductor.py": """\
                from pytest_ductaflow import conduct
                conduct("flows/clean.py", [{"instance_name": name, "year": 2030} for name in "AB"])
                """,
            "data/zones.csv": "zone,people\n1,10\n",
        },
    )
    zones = {"data/zones.csv": digest(root / "data/zones.csv"), "flows/clean.py": "sha256:0"}
    code = {"code": {"flows/clean.py": "sha256:0"}}
    make_run(
        root,
        "clean/A",
        "flows/clean.py",
        config={"year": 2030, "model": {"alpha": 0.5}},
        outputs={"zones.csv": "zone,people\n1,10\n", "results.json": '{"people": 10}'},
        inputs=zones,
        reason="new",
        log="reading\n10 people\n",
        **code,
    )
    make_run(
        root,
        "clean/B",
        "flows/clean.py",
        config={"year": 2040, "model": {"alpha": 0.5}},
        outputs={"zones.csv": "zone,people\n1,12\n", "results.json": '{"people": 12}'},
        inputs=zones,
        status=Status.WARNING,
        warnings=("⚠️ more than before",),
        warning_count=1,
        warning_line=6,
        started="2026-03-01T12:01:00.000+00:00",
        **code,
    )
    make_run(
        root,
        "fit/A",
        "flows/fit.py",
        config={"table": "runs/clean/A/zones.csv"},
        inputs={"runs/clean/A/zones.csv": digest(root / "runs/clean/A/zones.csv")},
        upstreams={"clean/A": "0"},
        status=Status.ERROR,
        error=FAILURE,
        attempts=2,
        failed_attempts=("OSError: busy",),
        started="2026-03-01T12:02:00.000+00:00",
    )
    make_run(root, "fit/B", "flows/fit.py", status=Status.RUNNING, duration=None, owner=NOBODY)
    make_run(root, "old/x", "flows/clean.py", started="2026-02-01T12:00:00.000+00:00")
    names = ("clean/A/clean", "clean/B/clean", "fit/A/fit", "fit/B/fit", "fit/C/fit")
    declare(root, *(f"runs/{name}_record.json" for name in names))
    return root
