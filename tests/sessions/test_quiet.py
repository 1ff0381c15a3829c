"""What a session prints of failures, with the options by which users of pytest have more or less of it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from helpers.projects import write_project
from helpers.sessions import run_session

pytestmark = pytest.mark.slow

FILES = {
    "flows/zones.py": """
        print(1)
        if year > 2000:
            raise ValueError(f"no zones in {year}")
        print("warning: old")
        """,
    "conductor.py": """
        from pytest_ductaflow import conduct, grid
        conduct("flows/zones.py", grid(year=[1990, 2010, 2020, 2030]))
        """,
}
CAUSE = "3 failed: 3 \N{MULTIPLICATION SIGN} ValueError in zones cell 3"
TOTALS = r"3 failed, 1 warned in [\d.]+s"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("quiet"), FILES)


def printed(root: Path, *arguments: str) -> list[str]:
    done = run_session(root, "--ductaflow", "conductor.py", *arguments)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    return done.stdout.splitlines()


def test_quiet_leaves_the_failures_and_one_line_of_totals_and_xml_has_each_failure(root: Path) -> None:
    lines = printed(root, "-q", "--junitxml=told.xml")
    assert re.fullmatch(TOTALS, lines[-1])
    assert lines[1] == CAUSE
    assert sum(line.startswith("E   ValueError") for line in lines) == 1
    assert [line for line in lines if re.search("ductaflow -|^report:|^WARNED", line)] == []
    failures = ET.parse(root / "told.xml").getroot().iter("failure")
    texts = [failure.text or "" for failure in failures]
    assert [re.search(r"E   ValueError: (.*)", text)[1] for text in texts] == [
        f"no zones in {year}" for year in (2010, 2020, 2030)
    ]
    assert all("run directory:" in text for text in texts)


def test_quieter_has_no_totals_as_with_other_tests(root: Path) -> None:
    lines = printed(root, "-qq")
    assert not [line for line in lines if re.search(f"{TOTALS}|failed: |ductaflow -|^report:", line)]
    assert lines[-1].startswith("FAILED conductor.py::zones::")


def test_without_details_there_are_the_causes_and_pytests_summary(root: Path) -> None:
    lines = printed(root, "--tb=no", "-ra")
    assert CAUSE in lines
    assert not [line for line in lines if line.startswith("E   ")]
    assert sum(line.startswith("FAILED conductor.py::zones::") for line in lines) == 3
    assert "report: runs/conductor_status_report.html" in lines


def test_verbose_has_all_in_full_below_the_causes(root: Path) -> None:
    lines = printed(root, "-v")
    assert lines.index(CAUSE) < next(n for n, line in enumerate(lines) if "= FAILURES =" in line)
    assert sum(line.startswith("E   ValueError") for line in lines) == 3


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "workers"])
def test_without_pytests_terminal_instances_run_and_are_reported(tmp_path, options):
    root = write_project(
        tmp_path,
        {
            "flows/a.py": "assert config['year'] > 2030\n",
            "conductor.py": """\
                from pytest_ductaflow import conduct

                rows = [{"instance_name": f"y{year}", "year": year} for year in (2030, 2040)]
                conduct("flows/a.py", rows)
                """,
        },
    )
    for _ in range(2):
        done = run_session(root, "--ductaflow", "conductor.py", "-p", "no:terminal", *options)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
        page = (root / "runs/conductor_status_report.html").read_text(encoding="utf-8")
        assert '"exit_code":1' in page
    done = run_session(root, "--ductaflow", "conductor.py", "-p", "no:terminal", "--ductaflow-explain")
    assert done.returncode == 4
    assert "--ductaflow-explain needs pytest's terminal" in done.stderr
