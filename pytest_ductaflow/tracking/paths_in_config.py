"""Find the files that a config names, as files opened by compiled readers are not observed."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from ..core.instance import RUNS, Instance
from ..core.record import Record
from ..core.run_directory import record_files
from ..sources.notebooks import FLOW_FOLDERS
from .digests import MANY, files_below

# Keys for the place of an output, so that what lies there is not an input: `output_dir`, `save_as`. Not
# `destinations`, `logsums` or `input_output_table`.
_OUTPUT_KEY = re.compile(
    r"^(?!.*input)(?:.*_)?"
    r"(?:out(?:put)?s?|save|dest|exports?|writes?|logs?$|(?:logs?|temp)_(?:dir|file|folder|path)|tmp|cache"
    r"|reports?|plots?|figures?|targets?|results?(?!_of))"
    r"(?:_|$)",
    re.IGNORECASE,
)
_NEW_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")
# Keys of a folder that a run writes to and does not read: `run_folder`, `work_dir`.
_WORKPLACE = re.compile(
    r"^(?:.*_)?(?:run|work|working|case|scratch)_?(?:dir|directory|folder|path|root)$|^(?:.*_)?scratch$"
    r"|^model_(?:root|runs?_dir)$",
    re.IGNORECASE,
)
_PATH_LIKE = re.compile(r"[/\\]|\.\w{1,8}$")
_LONGEST = 1_000  # characters of a text that may be a path


def places_of(text: str, instance: Instance) -> tuple[str, ...]:
    """Return the absolute paths that a text in a config may mean; the first is that from the project root."""
    text = os.path.expanduser(text)
    return tuple(os.path.normpath(os.path.join(base, text)) for base in instance.path_bases)


def named_places(instance: Instance) -> set[str]:
    """Return the absolute paths that the texts of a config may name, whether they exist or not."""
    texts = filter(_may_be_path, _texts(instance.config))
    return {path for text in texts if _PATH_LIKE.search(text) for path in places_of(text, instance)}


def files_named_exactly(instance: Instance) -> set[str]:
    """Return the existing files that a config names, under any key."""
    texts = filter(_may_be_path, _texts(instance.config))
    return {path for text in texts for path in places_of(text, instance) if os.path.isfile(path)}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, Iterable):
        for item in value:
            yield from _texts(item)


def named_files(instance: Instance) -> Iterator[str]:
    """Yield absolute paths of the files and folders that a config names, and of what is in these folders.

    Under a key for outputs (`output_dir`) only existing files count. Under other keys a path without a file
    counts, too, as the file may appear.
    """
    yield from files_named_exactly(instance)
    texts = (value for value in input_values(instance.config) if isinstance(value, str))
    for text in filter(_may_be_path, texts):
        places = places_of(text, instance)
        found = [path for path in places if os.path.exists(path)]
        for path in found:
            yield from what_is_at(path, instance)
        if not found and glob.has_magic(text) and _PATH_LIKE.search(text):
            for pattern in places_of(text, _escaped(instance)):
                yield from _matching(pattern, instance)
        elif not found and _PATH_LIKE.search(text) and " " not in text:
            yield places[0]


def _escaped(instance: Instance) -> Instance:
    """Return an instance with its own paths escaped for use in glob patterns."""
    run_dir, root = glob.escape(instance.run_dir), glob.escape(instance.project_root)
    return instance.with_(run_dir=run_dir, project_root=root, flow=glob.escape(instance.flow))


def is_output_key(key: str) -> bool:
    """Return whether a key of a config is for the place of an output, such as `save_to` and `SaveTo`."""
    return _OUTPUT_KEY.search(_NEW_WORD.sub("_", key)) is not None


def is_written_place(key: str) -> bool:
    """Return whether a dotted config key names something to be written or a folder for a run to work in."""
    last = key.rpartition(".")[2]
    return is_output_key(last) or _WORKPLACE.search(last) is not None


def input_values(value: Any) -> Iterator[str | int | float]:
    """Yield the texts and numbers in a config, except those under a key for outputs."""
    if isinstance(value, str | int | float):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not is_output_key(str(key)):
                yield from input_values(item)
    elif isinstance(value, Iterable):
        for item in value:
            yield from input_values(item)


def _may_be_path(text: str) -> bool:
    return 0 < len(text.strip()) <= _LONGEST and not any(sign in text for sign in ("\n", "\0", "://"))


def what_is_at(path: str, instance: Instance) -> Iterator[str]:
    """Yield a file; for a folder, it and what instances wrote there if it is theirs, else all files in it."""
    if os.path.isfile(path):
        yield path
        return
    root = instance.project_root
    holds_us = os.path.join(instance.run_dir, "").startswith(os.path.join(path, ""))
    if holds_us or path in {os.path.join(root, folder) for folder in (RUNS, *FLOW_FOLDERS)}:
        return  # a folder of the project's structure, not data
    records = list(record_files.records(Path(path))) if RUNS in Path(path).parts else []
    if records:
        below = [str(run_dir) for run_dir, _ in records if str(run_dir) != path]
        yield from folders_down_to(below, path) if below else ()
        yield from (file for _, record in records for file in output_files(record, root))
        return
    files = list(islice(files_below(path), MANY + 1))
    if len(files) > MANY:
        yield f"{path}/**"
        return
    yield from folders_down_to(files, path)
    yield from files


def folders_down_to(paths: Iterable[str], top: str) -> set[str]:
    """Return a folder and those between it and paths in it: new names in any of them matter, too."""
    folders = {top}
    for path in paths:
        folder = os.path.dirname(path)
        while folder not in folders:
            folders.add(folder)
            folder = os.path.dirname(folder)
    return folders


def _matching(pattern: str, instance: Instance) -> Iterator[str]:
    """Yield what matches a pattern, and the folders in which further matches may appear."""
    parts = pattern.split(os.sep)
    begin = next(depth for depth, part in enumerate(parts) if glob.has_magic(part))
    found = list(islice(glob.iglob(pattern, recursive=True), MANY + 1))
    if len(found) > MANY:
        yield f"{os.sep.join(parts[:begin])}/**"
        return
    for depth in range(begin, len(parts)):
        yield from filter(os.path.isdir, glob.iglob(os.sep.join(parts[:depth]), recursive=True))
    for path in found:
        yield from what_is_at(os.path.normpath(path), instance)


def output_files(record: Record, root: str) -> Iterator[str]:
    """Yield absolute paths of the files that an instance wrote, including the flows of a build."""
    for each in record.with_flows():
        for name in each.outputs:
            yield os.path.normpath(os.path.join(root, each.run_dir, name))
