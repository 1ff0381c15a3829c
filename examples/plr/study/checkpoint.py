"""The public database between the blocks: all of the analysis reads it here, and nothing else."""

import re
from pathlib import Path

import duckdb


def query(checkpoint, sql, **values):
    """Return what an SQL query finds, as a DataFrame; the database is open no longer than that takes.

    Args:
        checkpoint: Path of the database.
        sql: The query; `$name` in it stands for a value.
        values: The values.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        BlockingIOError: If another process has it open for writing.
    """
    with _opened(Path(checkpoint)) as database:
        return database.execute(sql, values).df()


def tables(checkpoint):
    """Return all tables as DataFrames, by name."""
    with _opened(Path(checkpoint)) as database:
        names = database.execute("SELECT table_name FROM duckdb_tables() ORDER BY table_name").fetchall()
        return {name: database.table(name).df() for (name,) in names}


def _opened(path):
    if not path.exists():
        raise FileNotFoundError(
            f"no checkpoint {path}: run block 1 (make extract), or put the published one there"
        )
    try:
        return duckdb.connect(str(path), read_only=True)
    except duckdb.IOException as error:
        holder = re.search(r"held in (.+?) \(PID (\d+)\)", str(error))
        if holder is None:
            raise
        program, pid = holder.groups()
        holder = f"process {pid} ({Path(program).name})"
        message = f"{path} is open for writing in {holder}: close it there, and try again"
        raise BlockingIOError(message) from None
