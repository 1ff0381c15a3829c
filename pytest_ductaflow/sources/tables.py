"""Control tables: turn their rows into configs and names.

pandas is imported only for what needs it: DataFrames, files and filters, but not a list of dicts.
"""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import DuctaflowError, TableError
from ..core.instance import SHORT_HASH, TEXT_COLUMNS, config_hash, slug
from ..core.masking.config import names_by_value, with_references
from ..core.masking.names import is_secret, patterns_here
from ..core.number_text import listed
from ..core.problem import Problem
from ..core.run_directory.build_variable import references_of_build
from ..core.run_directory.layout import EARLIER, HISTORY, LOCKS
from .table_cells import is_a, is_mapping, is_sequence, is_unset, plain

if TYPE_CHECKING:
    import pandas as pd

NAME, STEP = TEXT_COLUMNS[:2]
FLOW_COLUMNS = TEXT_COLUMNS[2:]
DESIGN = "ductaflow_design"  # where a DataFrame's `attrs` keep how the table was made
_NAME_BYTES = 255  # limit for one part of a path, on every common file system
_PATH_BYTES = 1_000  # limit for a whole name: some systems stop at 1,024, and files go below it
_NAMELESS = re.compile(r"(?:Unnamed: \d+(?:_level_\d+)?)?")  # "" in a file, and pandas' name for that
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_READABLE = 80  # bytes of a name made from values; a hash replaces the rest
_READABLE_VALUE = 32  # the same for one value in it
_WINDOWS_FORBIDDEN = set('<>:"|?*\\')
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in "123456789"}


@dataclass(frozen=True)
class Table:
    """A control table, in whatever form it was given.

    Attributes:
        columns: Names of the columns, as text.
        rows: Cells for each column, with their own types.
        labels: Names of the rows from an index; empty if that only numbers them.
        file: File that it came from; "" if none.
        notes: Warnings about what may not be intended, a sentence each.
        texts: Texts of the cells of a CSV file, from which their types are only guessed; else empty.
        design: How the table was made, as `designs.scenario_table` describes it; empty if that is not known.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    labels: Sequence[str] = ()
    file: str = ""
    notes: tuple[str, ...] = ()
    texts: Sequence[Sequence[str]] = ()
    design: Mapping[str, Any] = field(default_factory=dict)

    def filled(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as dicts without their empty cells."""
        for row in self.rows:
            pairs = zip(self.columns, row, strict=True)
            yield {name: value for name, value in pairs if not is_unset(value)}

    def names(self) -> list[str]:
        """Return the instance names: from a column, else a labelled index, else made from the values."""
        if NAME in self.columns:
            place = self.columns.index(NAME)
            return ["" if is_unset(row[place]) else str(row[place]).strip() for row in self.rows]
        return list(self.labels) or readable_names(self.columns, self.rows)


def as_table(table: Any, roots: Sequence[Path]) -> Table:
    """Return a table given in any accepted form.

    Args:
        table: A DataFrame, a list of dicts or a file.
        roots: Folders to which a relative path may refer.

    Returns:
        The table, without blanks around the names of its columns, and without columns that have no name, such
        as the index that pandas and R write.

    Raises:
        TableError: If the file has errors; all are listed.
        DuctaflowError: If it is none of these, or has a column twice, even if as 1 and "1".
    """
    file, notes, texts = "", list[str](), list[Sequence[str]]()
    if isinstance(table, str | Path):
        file = str(_file_of(table, roots))
        table = _read(file, notes, texts)
    if is_a(table, "pandas", "DataFrame"):
        found = _of_frame(table, file)
    elif is_sequence(table) and all(map(is_mapping, table)):
        found = _of_dicts([dict(row) for row in table])
    else:
        raise DuctaflowError(
            f"a table must be a DataFrame, a list of dicts or a file, not {type(table).__name__}"
        )
    twice = next((name for name, count in Counter(found.columns).items() if count > 1), None)
    if twice is not None:
        what = f"column {twice!r} is there more than once"
        raise TableError([Problem(file, what)]) if file else DuctaflowError(f"table: {what}")
    notes += _notes_on(found)
    return _with_names(replace(found, notes=tuple(notes), texts=texts))


def _is_nameless(column: str) -> bool:
    return _NAMELESS.fullmatch(column.strip()) is not None


def _with_names(table: Table) -> Table:
    """Return the table without columns that have no name."""
    named = [not _is_nameless(column) for column in table.columns]
    if all(named):
        return table
    rows = [tuple(itertools.compress(row, named)) for row in table.rows]
    texts = [tuple(itertools.compress(row, named)) for row in table.texts]
    return replace(table, columns=list(itertools.compress(table.columns, named)), rows=rows, texts=texts)


def _notes_on(table: Table) -> Iterator[str]:
    """Yield a note if a table has no rows, and one for each filled column without a name."""
    if not table.rows:
        yield f"the table has {'a header, but ' if table.columns else ''}no rows: nothing is run"
    for place, column in enumerate(table.columns):
        if _is_nameless(column):
            cells = [str(row[place]) for row in table.rows if not is_unset(row[place])]
            if cells:
                yield f"column {place + 1} has no name, and is left out (it holds {listed(cells, 3)})"
    yield from _notes_on_design(table.design)


def _notes_on_design(design: Mapping[str, Any]) -> Iterator[str]:
    """Yield a note for each sample in a design of which several points gave the same row."""
    if design.get("kind") == "sample" and "rows" in design:
        yield f"sample({design['n']}) has {design['rows']} rows: other points gave the same values"
    for part in design.get("of", ()):
        yield from _notes_on_design(part)


def _file_of(table: str | Path, roots: Sequence[Path]) -> Path:
    # Not Path.is_file(): it raises if a text is too long for a path.
    path = next((root / table for root in roots if os.path.isfile(root / table)), None)
    if path is None:
        looked = " and ".join(dict.fromkeys(str(root) for root in roots))
        raise DuctaflowError(f"table {str(table)!r} not found in {looked}")
    return path


def _read(file: str, notes: list[str], texts: list[Sequence[str]]) -> pd.DataFrame:
    from .table_files import read_table

    return read_table(Path(file), notes.append, texts.append)


def _without_blanks(name: object) -> str:
    """Return a column's name without blanks around it and around the keys in it."""
    return ".".join(key.strip() for key in str(name).split("."))


def _of_frame(frame: Any, file: str) -> Table:
    columns = list(map(_without_blanks, frame.columns))
    values = [frame.iloc[:, place].tolist() for place in range(len(columns))]
    rows: Iterable[tuple[Any, ...]] = zip(*values, strict=True) if columns else [()] * len(frame)
    # Integers are not labels but row numbers, possibly with gaps left by a filter.
    has_labels = frame.index.inferred_type != "integer" and frame.index.is_unique
    labels = list(map(str, frame.index)) if has_labels else ()
    return Table(columns, list(rows), labels, file, design=frame.attrs.get(DESIGN) or {})


def _of_dicts(rows: Sequence[Mapping[Any, Any]]) -> Table:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return Table(list(map(_without_blanks, keys)), [tuple(row.get(key) for key in keys) for row in rows])


def readable_names(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return names made from a table's values, `year=2040,mode=rail`, each from its own row only.

    So a name does not change when rows are added, or an axis of a grid gets more values. Empty cells and
    secrets are left out. If a name cannot show all values of its row (forbidden characters, excess length), a
    hash of them is appended: `mode=light_rail~1b2c3d4e`.
    """
    secret = patterns_here()
    own = [
        name not in TEXT_COLUMNS and not name.startswith("_") and not is_secret(name, secret)
        for name in columns
    ]
    if not any(own):
        return ["1"] * len(rows)
    labels = _labels(list(itertools.compress(columns, own)))
    known = names_by_value(os.environ, references_of_build())
    rows = [tuple(itertools.compress(row, own)) for row in rows]
    if known:
        rows = [tuple(with_references(v, known) if isinstance(v, str) else v for v in row) for row in rows]
    return told_apart([_name_of(labels, row) for row in rows], rows)


def _labels(columns: Sequence[str]) -> list[str]:
    """Return the columns as used in names: a dotted one by its last part, unless another ends in the same."""
    ends = Counter(column.rpartition(".")[2] for column in columns)
    last = [column.rpartition(".")[2] for column in columns]
    return [
        _slug(end if end and ends[end] == 1 else column) for column, end in zip(columns, last, strict=True)
    ]


def _name_of(labels: Sequence[str], row: Sequence[Any]) -> str:
    words = [_word(value) for value in row]
    pairs = [f"{label}={word}" for label, (word, _) in zip(labels, words, strict=True) if word]
    name = ",".join(pairs or [f"{label}=None" for label in labels])
    if all(exact for _, exact in words) and len(name.encode()) <= _READABLE:
        return name
    return f"{_shortened(name, _READABLE - SHORT_HASH - 1)}~{hash_of(row)}"


def _shortened(name: str, most: int) -> str:
    """Return the beginning of a name, cut between pairs if possible."""
    if len(name.encode()) <= most:
        return name
    start = name.encode()[: most + 1].decode(errors="ignore")
    return start.rpartition(",")[0] or start[:-1]


def told_apart(names: list[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the names, with a hash where different values look the same: 1 and "1", 0.1 + 0.2 and 0.3."""
    if len(set(names)) == len(names):
        return names
    hashes = [hash_of(row) for row in rows]
    meanings = Counter(name for name, _ in set(zip(names, hashes, strict=True)))
    return [
        f"{name}~{row_hash}" if meanings[name] > 1 else name
        for name, row_hash in zip(names, hashes, strict=True)
    ]


def _word(value: Any) -> tuple[str, bool]:
    """Return a value as used in a name ("" if it is empty), and whether that represents it in full."""
    if is_unset(value):
        return "", True
    if isinstance(value, Mapping | list | tuple) or is_a(value, "numpy", "ndarray"):
        return hash_of(value), True
    if isinstance(value, float):
        value = f"{value:.12g}"
    text = str(value)
    word = _slug(text)
    is_told = word == text or not isinstance(value, str)  # distinct dates and the like stay distinct
    if len(word.encode()) <= _READABLE_VALUE:
        return word, is_told
    return word.encode()[: _READABLE_VALUE - 1].decode(errors="ignore"), False


def _slug(text: str) -> str:
    return slug(text).replace("/", "_")


def hash_of(value: Any) -> str:
    """Return a short hash of a value, by which 1 and "1" differ, but not 1 of NumPy and of Python."""
    return config_hash({"value": plain(value, lenient=True)})[:SHORT_HASH]


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested dicts: `{"a.b": 1}` gives `{"a": {"b": 1}}`; groups are merged.

    Raises:
        ValueError: If a key is both a value and a group, or a value twice; the message names it.
    """
    result: dict[str, Any] = {}
    for column, value in flat.items():
        inner, key = result, column
        if "." in column:
            *groups, key = column.split(".")
            for group in groups:
                inner = _group(inner, group, column)
        _put(inner, key, value, column)
    return result


def _put(config: dict[str, Any], key: str, value: Any, column: str) -> None:
    """Set a key that is not there yet; dicts are merged into copies, never shared with the caller."""
    if isinstance(value, dict):
        inner = _group(config, key, column)
        for name, item in value.items():
            _put(inner, name, item, column)
    elif key not in config:
        config[key] = value
    elif isinstance(config[key], dict):
        raise ValueError(f"{key!r} is a value and, in another column, a group")
    else:
        raise ValueError(f"{key!r} is a value in column {column!r} and in another one")


def _group(config: dict[str, Any], key: str, column: str) -> dict[str, Any]:
    group = config.setdefault(key, {})
    if isinstance(group, dict):
        return group
    raise ValueError(f"{key!r} is a value and, in column {column!r}, a group")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two configs group by group; the second overrides the first."""
    result = dict(base)
    for key, value in over.items():
        under = result.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        result[key] = merged(under, value) if both else value  # type: ignore[arg-type]
    return result


@lru_cache(maxsize=1024)  # a step has thousands of instances
def check_name(name: str, what: str) -> str | None:
    """Return why a name cannot be that of a folder under `runs/`, or None.

    Args:
        name: A step's or instance's name; `/` makes nested folders.
        what: Kind of name, for the message.
    """
    if not name:
        return f"{what} is empty"
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "." in parts or os.path.splitdrive(name)[0]:
        return f"{what} {name!r} would leave runs/"
    if {EARLIER, HISTORY, LOCKS} & set(parts):
        return f"{what} {name!r} is the name of a folder that runs/ has for itself"
    if "" in parts:
        return f"{what} {name!r} has an empty part"
    if _CONTROLS.search(name):
        return f"{what} {name!r} has a control character"
    if _SURROGATES.search(name):
        return f"{what} {name!r} has half of a character (a lone surrogate)"
    if any(len(os.fsencode(part)) > _NAME_BYTES for part in parts):
        return f"{what} {name[:40] + '…'!r} is longer than a file name can be ({_NAME_BYTES} bytes)"
    if len(os.fsencode(name)) > _PATH_BYTES:
        return f"{what} {name[:40] + '…'!r} is longer than a path should be ({_PATH_BYTES:,} bytes)"
    if os.name == "nt" and any(_windows_refuses(part) for part in parts):
        return f"{what} {name!r} is not a name that Windows allows"
    return None


def _windows_refuses(part: str) -> bool:
    device = part.partition(".")[0].lower() in _WINDOWS_DEVICES
    return device or part[-1] in " ." or bool(_WINDOWS_FORBIDDEN & set(part))
