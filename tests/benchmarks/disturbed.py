"""Check that disturbed sessions end in the files of an undisturbed one: random rounds over one project.

    python tests/benchmarks/disturbed.py [--rounds 50] [--seed N] [--kinds sessions,kills,edits] [--seconds N]

sessions: two sessions at the same time, with edits before each of them
kills: a session of which something is killed by SIGKILL at a random moment, then one to the end
edits: data, config and code edited while a session runs, then one to the end, and one that runs nothing

After each round the run directories are compared with those of a fresh copy of the sources in which one
session ran, and no process of the round may be left. The first difference ends
a kind, its project is kept, and the exit code is 1. POSIX only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from measure import environment, family

PARAMETERS = '# %% tags=["parameters"]\nconfig = {}\n\n# %%\nimport time\nfrom pathlib import Path\n\n'
START = PARAMETERS + 'root = Path(config["_project_root"])\n'
PROJECT = {
    "flows/helper.py": "UNIT = 1\n",
    "flows/etl.py": START
    + """\
import helper

with open("table.csv", "w") as table:
    for line in (root / source).read_text().splitlines():
        table.write(f"{int(line) * factor * helper.UNIT}\\n")
        table.flush()
        time.sleep(0.02)
print("table written")
""",
    "flows/total.py": START
    + """\
found = sorted(root.glob(tables))
time.sleep(0.05)
total = 1 * sum(int(line) for table in found for line in table.read_text().split())
print(f"{len(found)} tables, {total}")
Path("total.txt").write_text(f"{total}\\n")
""",
    "flows/log.py": START
    + """\
for line in (root / "data/notes.txt").read_text().splitlines():
    with open("log.txt", "a") as log:
        log.write(f"{line}\\n")
    time.sleep(0.02)
""",
    "flows/database.py": START
    + """\
import sqlite3

with sqlite3.connect("totals.db") as database:
    database.execute("create table totals (total integer)")
    time.sleep(0.05)
    database.execute("insert into totals values (?)", [int((root / total).read_text())])
database.close()
""",
    "flows/folder.py": START
    + """\
import os

os.mkdir("parts")
for number, line in enumerate((root / "data/a.csv").read_text().splitlines()):
    Path(f"parts/{line}_{number}.txt").write_text(line)
    time.sleep(0.02)
""",
    "flows/model.py": START
    + """\
import json

model = Path("model.json")
if not model.exists():
    weights = [int(line) for line in (root / "data/b.csv").read_text().split()]
    time.sleep(0.05)
    model.write_text(json.dumps({"weight": sum(weights)}))
Path("score.txt").write_text(str(json.loads(model.read_text())["weight"] * factor))
""",
    "flows/shell.py": START
    + """\
import subprocess

with open("copy.txt", "w") as copy:
    subprocess.run(f"sleep 0.05 && cat '{root}/data/notes.txt'", shell=True, check=True, stdout=copy)
""",
    "flows/inner.py": START
    + """\
Path("seen.txt").write_text(f"inner 1: {(root / source).read_text()}")
time.sleep(0.05)
print("inner is done")
""",
    "flows/outer.py": PARAMETERS
    + 'Path("sum.txt").write_text(f"outer: {Path(seen).read_text()}")\ntime.sleep(0.05)\n',
    "builds/town.py": PARAMETERS
    + """\
from pytest_ductaflow import run_notebook

run_notebook("flows/inner.py", config=config, execution_dir="runs/inner")
seen = str(Path("runs/inner/seen.txt").resolve())
run_notebook("flows/outer.py", config={"seen": seen}, execution_dir="runs/outer")
""",
    "conductor.py": """\
import json
from pathlib import Path
from pytest_ductaflow import conduct

base = json.loads((Path(__file__).parent / "base.json").read_text())
zones = [{"instance_name": zone, "source": f"data/{zone}.csv"} for zone in ("a", "b")]
conduct("flows/etl.py", zones, base=base, after=[])
conduct("flows/total.py", [{"instance_name": "all", "tables": "runs/etl/*/table.csv"}])
conduct("flows/database.py", [{"instance_name": "all", "total": "runs/total/all/total.txt"}])
for flow in ("flows/log.py", "flows/folder.py", "flows/model.py", "flows/shell.py"):
    conduct(flow, [{"instance_name": "one"}], base=base, after=[])
conduct("builds/town.py", [{"instance_name": "town", "source": "data/b.csv"}], base=base, after=[])
""",
    "base.json": '{"factor": 1}\n',
    "data/a.csv": "1\n12\n13\n14\n",
    "data/b.csv": "1\n22\n23\n",
    "data/notes.txt": "1 note\nanother\nand one more\n",
}
INSTANCES = 9
LOG_OF_BUILD = "town/town/town_execution_output.txt"  # it contains times, and which flows ran
CONFIG = "base.json"
# A 1 becomes a 2, or the other way round: the size stays the same.
EDITED = {
    CONFIG: ": {}",
    "data/a.csv": "{}\n12",
    "data/b.csv": "{}\n22",
    "data/notes.txt": "{} note",
    "flows/helper.py": "= {}",
    "flows/inner.py": "inner {}:",
    "flows/total.py": "total = {} *",
}
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--ductaflow", "conductor.py", "-v"]
PYTEST += ["--ductaflow-html", "none"]
PATIENCE = 180.0  # seconds that a session may take
FINAL_CALLS = 20.0  # seconds after which no process may be left


class Different(Exception):
    """The files, the processes or the outcome of a round are wrong."""


class Session:
    """A session that runs while its project is disturbed."""

    def __init__(self, project: Path, mark: str, *more: str) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115, as long as the session
        self.process = subprocess.Popen(
            [*PYTEST, *more],
            cwd=project,
            env=environment(mark),
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def end(self) -> tuple[int, str]:
        """Wait for the session to end, and return its exit code and output."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Different(f"a session did not end:\n{self._read()}") from None
        return self.process.returncode, self._read()

    def _read(self) -> str:
        self._output.seek(0)
        return self._output.read()


class Rounds:
    """Rounds of one kind over one project.

    Attributes:
        said: Log of what was done in the round.
    """

    def __init__(self, folder: Path, seed: str) -> None:
        self.chance = random.Random(seed)
        self.folder, self.project = folder, folder / "project"
        self.said: list[str] = []
        self._mark = f"disturbed {os.getpid()} {seed}"
        self._expected: dict[str, dict[str, str]] = {}
        write_sources(self.project, PROJECT)
        self.to_the_end()
        self.edit(len(EDITED))
        began = time.monotonic()
        self.to_the_end()
        self.typical = time.monotonic() - began

    def sessions(self) -> None:
        self.edit()
        first = self.start()
        self.pause(self.typical)
        edited = self.edit()
        second = self.start()
        first.end()
        self.expect_success(second)
        if CONFIG in edited:  # the first session knows the old one, and may run an instance last
            self.to_the_end()

    def kills(self) -> None:
        self.edit()
        session = self.start()
        self.pause(self.typical)
        self.kill(session)
        session.end()
        self.to_the_end()

    def edits(self) -> None:
        self.edit()
        session = self.start()
        for _ in range(self.chance.randint(1, 4)):
            self.pause(self.typical / 3)
            self.edit()
        session.end()
        self.to_the_end()
        output = self.to_the_end()
        if output.count("UNCHANGED") < INSTANCES:
            raise Different(f"not all is unchanged:\n{output}")

    def run(self, kind: Callable[[Rounds], None]) -> None:
        """Run a round, and check what must hold after it."""
        self.said = []
        kind(self)
        self.expect_no_process()
        found, expected = results(self.project), self.expected()
        if found != expected:
            raise Different(describe(expected, found))

    def edit(self, count: int = 0) -> set[str]:
        """Edit the given files, or else one to three, each in place or by replacing it."""
        names = self.chance.sample(list(EDITED), count or self.chance.randint(1, 3))
        for name in names:
            path = self.project / name
            new = toggled(path.read_text(), EDITED[name])
            if in_place := self.chance.random() < 0.5:
                path.write_text(new)
            else:
                path.with_name(".new").write_text(new)
                os.replace(path.with_name(".new"), path)
            self.say(f"{name} edited{' in place' if in_place else ''}")
        return set(names)

    def start(self) -> Session:
        more = ("-n", "2") if self.chance.random() < 0.5 else ()
        self.say(f"session {' '.join(more)}")
        return Session(self.project, self._mark, *more)

    def kill(self, session: Session) -> None:
        """Kill all of a session, its process group, pytest's process, or another one."""
        way = self.chance.choice(("all", "group", "pytest", "other", "other"))
        pid = session.process.pid
        others = sorted(family(self._mark, pid), key=lambda process: process.pid)
        if way == "group":
            os.killpg(pid, signal.SIGKILL)
        elif way == "pytest" or not others:
            session.process.kill()
        else:
            chosen = others if way == "all" else [self.chance.choice(others)]
            for process in [session.process, *chosen] if way == "all" else chosen:
                try:
                    process.send_signal(signal.SIGKILL)
                except psutil.Error:
                    continue
        self.say(f"killed: {way}")

    def pause(self, longest: float) -> None:
        seconds = self.chance.uniform(0, longest)
        time.sleep(seconds)
        self.say(f"{seconds:.2f} s later")

    def say(self, what: str) -> None:
        self.said.append(what)

    def to_the_end(self) -> str:
        return self.expect_success(self.start())

    def expect_success(self, session: Session) -> str:
        code, output = session.end()
        if code != 0:
            raise Different(f"a session ended with {code}:\n{output}")
        return output

    def expect_no_process(self) -> None:
        deadline = time.monotonic() + FINAL_CALLS
        while left := [process for process in family(self._mark, os.getpid()) if is_alive(process)]:
            if time.monotonic() > deadline:
                raise Different(f"processes are left: {left}")
            time.sleep(0.1)

    def expected(self) -> dict[str, str]:
        """Return the results of an undisturbed session over the present sources."""
        sources = {name: (self.project / name).read_text() for name in PROJECT}
        key = json.dumps(sources)
        if key not in self._expected:
            fresh = self.folder / "fresh"
            write_sources(fresh, sources)
            self.expect_success(Session(fresh, self._mark))
            self._expected[key] = results(fresh)
            shutil.rmtree(fresh)
        return self._expected[key]


def write_sources(project: Path, sources: dict[str, str]) -> None:
    for name, text in sources.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)


def toggled(text: str, form: str) -> str:
    one, two = form.format(1), form.format(2)
    return text.replace(one, two) if one in text else text.replace(two, one)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def results(project: Path) -> dict[str, str]:
    """Return the contents of the run directories by name; of a record, the status and the outputs."""
    found = {}
    runs = project / "runs"
    for path in sorted(runs.rglob("*")):
        name = path.relative_to(runs).as_posix()
        is_of_no_run = name.startswith(".") or path.parent == runs
        if is_of_no_run or name == LOG_OF_BUILD or path.suffix == ".ipynb" or not path.is_file():
            continue
        content = path.read_bytes().replace(os.fsencode(project), b"(project)")
        if name.endswith("_record.json"):
            record = json.loads(content)
            content = f"{record['status']} {sorted(record['outputs'])} {record['error']}".encode()
        found[name] = content.decode(errors="backslashreplace")
    return found


def describe(expected: dict[str, str], found: dict[str, str]) -> str:
    lines = ["files differ from those of an undisturbed run"]
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            lines += [
                f"  {name}",
                f"    expected {expected.get(name)!r:.300}",
                f"    found {found.get(name)!r:.300}",
            ]
    return "\n".join(lines)


KINDS = {"sessions": Rounds.sessions, "kills": Rounds.kills, "edits": Rounds.edits}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no round after these")
    options = parser.parse_args()
    failed = False
    for kind in options.kinds.split(","):
        began = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-"))
        rounds = Rounds(folder, f"{options.seed} {kind}")
        difference, number = "", 0
        while number < options.rounds and time.monotonic() - began < options.seconds and not difference:
            number += 1
            print(f"\r{kind} {number}", end="\r", file=sys.stderr, flush=True)
            try:
                rounds.run(KINDS[kind])
            except Different as error:
                difference = f"round {number} in {folder}: {'; '.join(rounds.said)}\n{error}"
        if not difference:
            shutil.rmtree(folder)
        seconds = time.monotonic() - began
        print(f"{kind:10}{number:4} rounds, {int(bool(difference))} differences, {seconds:.0f} s", flush=True)
        if difference:
            print(f"--seed {options.seed} --kinds {kind}, {difference}", flush=True)
            failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
