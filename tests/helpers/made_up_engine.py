"""Install an engine of another package: a module, and the metadata that tells of its entry point."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

# Costs nothing: all ends well at once.
NOTHING = """\
    from pytest_ductaflow.core.record import Status
    from pytest_ductaflow.running.engines.attempt import Outcome
    from pytest_ductaflow.running.engines.protocol import Ended

    class Nothing:
        cores = None
        slots = 100
        syncs = False

        def __init__(self):
            self.taken = []

        def start(self, briefing):
            pass

        def submit(self, work):
            work.task.files.directory.mkdir(parents=True, exist_ok=True)
            record = work.task.running.with_(status=Status.SUCCESS, duration=0.001, worker="nobody")
            self.taken.append(Ended(work.number, Outcome(record, worker="nobody")))

        def wait(self, seconds):
            taken, self.taken = self.taken, []
            return taken

        def stop(self):
            return []

    def engine(text):
        return Nothing()
    """


def install_engine(folder: Path, name: str, code: str) -> None:
    """Write a distribution with an engine into a folder of `PYTHONPATH`.

    Args:
        folder: The folder.
        name: Name of the engine; its module is called `engine_{name}`.
        code: Code of the module, which has a function `engine`.
    """
    info = folder / f"engine_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / f"engine_{name}.py").write_text(dedent(code), encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: engine-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pytest_ductaflow.engines]\n{name} = engine_{name}:engine\n")
