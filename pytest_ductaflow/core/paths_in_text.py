"""Split a text of a config into the paths that it may hold.

CSV has no lists, so a cell may hold several paths: `runs/a/one/v.txt;runs/a/two/v.txt`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

# Separators of paths in a list or an SQL query. A comma within a name made from values is not one:
# `rate=0.01,years=25`.
_JOINT = re.compile(r"""[;|\s"'()]+|,(?![^/,;|\s]*=)|,(?=\s)""")
_SIGN_OF_LIST = re.compile(r"""[;|,\s"'()]""")
_SIGN = re.compile(r"""[;|,\s"'(){]|^\[""")  # marks a text that is not simply one path
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_MOST_VARIANTS = 1_000  # texts that braces may expand to; more are not paths
_MOST_CUTS = 8  # separators at which a path may end
_MOST_ABOVE = 1_000  # characters in the path of a project


def paths_in(text: str, may_begin: Callable[[str], bool]) -> Iterable[list[str]]:
    """Return the paths that a text may hold, in order.

    Args:
        text: A path, several, or a JSON list of such texts. Braces (`{one,two}`) are expanded as in a shell.
        may_begin: Predicate: whether a path of interest can begin with a text.

    Returns:
        For each path the ways to read it, the longest first: what follows a separator may belong to a name.
        A text without separators is one path.
    """
    if not _SIGN.search(text):
        return ([text],)
    return [path for single in _single_texts(text) for path in _separated(single, may_begin)]


def _single_texts(text: str) -> Iterator[str]:
    """Yield the texts of a list in JSON, or as Python prints it, with braces expanded."""
    inner = text.strip()
    if inner[:1] == "[" and inner[-1:] == "]":
        if (found := _json_texts(inner)) is not None:
            for each in found:
                yield from _single_texts(each)
            return
        if _SIGN_OF_LIST.search(inner):
            text = inner[1:-1]
    yield from _without_braces(text) if "{" in text else (text,)


def _json_texts(text: str) -> list[str] | None:
    """Return the texts in a list; None if the text is not a list."""
    for form in (text, text.replace("'", '"')):
        try:
            values = json.loads(form)
        except (ValueError, RecursionError):
            continue
        return [value for value in values if isinstance(value, str)] if isinstance(values, list) else None
    return None


def _without_braces(text: str) -> list[str]:
    """Expand braces as a shell does; return the text itself if that gives too many."""
    texts = [text]
    while any(_BRACES.search(each) for each in texts):
        texts = [variant for each in texts for variant in _first_braces_expanded(each)]
        if len(texts) > _MOST_VARIANTS:
            return [text]
    return list(dict.fromkeys(texts))


def _first_braces_expanded(text: str) -> Iterator[str]:
    match = _BRACES.search(text)
    if match is None:
        yield text
        return
    for choice in match[1].split(","):
        yield f"{text[: match.start()]}{choice}{text[match.end() :]}"


def _separated(text: str, may_begin: Callable[[str], bool]) -> list[list[str]]:
    """Return the paths in a text without lists and braces, each in all of its readings."""
    if not _SIGN_OF_LIST.search(text):
        return [[text]]
    joints = [match.span() for match in _JOINT.finditer(text)]
    begins = [0, *(end for _, end in joints)]
    ends = [*(start for start, _ in joints), len(text)]
    firsts = [
        number
        for number, (begin, end) in enumerate(zip(begins, ends, strict=True))
        # The project's own absolute path may contain separators.
        if begin < end and (may_begin(text[begin:end]) or may_begin(text[begin : begin + _MOST_ABOVE]))
    ]
    paths = []
    for first, following in pairwise([*firsts, len(begins)]):
        lasts = range(min(following, first + _MOST_CUTS) - 1, first - 1, -1)
        readings = [text[begins[first] : ends[last]] for last in lasts]
        if following - first > _MOST_CUTS:
            readings.insert(0, text[begins[first] : ends[following - 1]])
        paths.append(readings)
    return paths
