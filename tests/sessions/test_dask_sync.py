"""Workers that do not share the file system: the project goes there, and run directories come back."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from helpers.dask_cluster import scheduler, worker
from helpers.projects import lay, write_project
from helpers.sessions import run_pytest

from pytest_ductaflow.running.engines.sync import pack_project

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough,
    pytest.mark.skipif(os.name != "posix", reason="workers are ended as groups of processes"),
]

FILES = {
    "flows/first.py": """\
        from pathlib import Path
        import helper
        Path("sub").mkdir()
        Path("sub/out.txt").write_text(helper.doubled(Path(data).read_text()))
        """,
    "flows/second.py": """\
        from pathlib import Path
        text = (Path(config["_project_root"]) / source).read_text()
        Path("out.txt").write_text(text + Path("mine.txt").read_text())
        if len(text) > 100:
            Path("large.bin").write_bytes(b"0" * 3_000_000)
        """,
    "helper.py": "def doubled(text):\n    return text * 2\n",
    "data/input.txt": "ab",
    "data/ignored.txt": "not for workers",
    ".gitignore": "ignored.txt\nruns/\n",
    "pytest.ini": "[pytest]\nductaflow_sync_limit = 2\n",
    "conductor.py": """\
        from pathlib import Path
        from pytest_ductaflow import conduct
        data = str(Path(__file__).resolve().parent / "data/input.txt")
        conduct("flows/first.py", [{"instance_name": "one", "data": data}])
        conduct("flows/second.py", [{"instance_name": "one", "source": "runs/first/one/sub/out.txt"}])
        """,
}
ARGUMENTS = ("--ductaflow", "-v", "conductor.py")


def test_project_is_sent_and_run_directories_come_back(tmp_path: Path) -> None:
    root = write_project(tmp_path / "project", FILES)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    lay(root / "runs/second/one/mine.txt", "!")  # of the user
    apart = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{root}" && exec "$@"', "sh"]
    if subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        apart = []  # not allowed here: the worker could read the project itself
    with (
        scheduler(tmp_path / "dask") as (address, _),
        worker(address, tmp_path / "dask", "apart", before=apart),
    ):
        options = ("--ductaflow-engine", address, "--ductaflow-sync")
        result = run_pytest(root, *ARGUMENTS, *options, is_real=True)
        assert result.ret == pytest.ExitCode.OK, result.stdout.str() + result.stderr.str()
        first, second = root / "runs/first/one", root / "runs/second/one"
        assert (first / "sub/out.txt").read_text() == "abab"
        assert (second / "out.txt").read_text() == "abab!"
        assert json.loads((first / "first_config.json").read_text())["_project_root"] == str(root)
        record = json.loads((second / "second_record.json").read_text())
        assert record["worker"] == "apart"
        assert {*record["inputs"]} >= {"runs/first/one/sub/out.txt"}
        assert {*record["outputs"]} == {"out.txt"}
        assert not list(Path(tempfile.gettempdir()).glob(f"ductaflow-{record['lineage']['session']}*"))
        again = run_pytest(root, *ARGUMENTS)
        told = re.findall(r"^conductor\.py::\S+ (\w+)", again.stdout.str(), re.MULTILINE)
        assert told == ["UNCHANGED", "UNCHANGED"]
        lay(root / "data/input.txt", "ab" * 100)
        large = run_pytest(root, *ARGUMENTS, *options, is_real=True)
        large.assert_outcomes(passed=1, failed=1)
        line = "the run directory of second/one has 3.0 MB to be sent, more than 2 (ductaflow_sync_limit)"
        assert f"{line}; the largest file is large.bin" in large.stdout.str()
        lay(root / "data/other.bin", "0" * 2_500_000)
        refused = run_pytest(root, *ARGUMENTS, *options, "--ductaflow-force", is_real=True)
        assert refused.ret == pytest.ExitCode.USAGE_ERROR
        assert re.search(
            r"the project \S+ has 2\.5 MB to be sent, more than 2 .* data/other\.bin", refused.stderr.str()
        )
        assert (first / "sub/out.txt").read_text() == "ab" * 200


@pytest.mark.parametrize("with_git", [True, False])
def test_what_git_ignores_and_what_runs_have_left_is_not_sent(tmp_path: Path, with_git: bool) -> None:
    root = write_project(tmp_path, FILES)
    lay(root / "runs/first/one/sub/out.txt", "of a run")
    if with_git:
        subprocess.run(["git", "init", "-q", str(root)], check=True)
    with tarfile.open(fileobj=io.BytesIO(pack_project(str(root), 1.0))) as archive:
        names = set(archive.getnames())
    assert names == FILES.keys() - ({"data/ignored.txt"} if with_git else set())


def test_local_workers_have_the_project(tmp_path: Path) -> None:
    root = write_project(tmp_path, FILES)
    result = run_pytest(root, *ARGUMENTS, "--ductaflow-engine", "here", "--ductaflow-sync")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--ductaflow-sync: this engine sends no files; leave it out" in result.stderr.str()
