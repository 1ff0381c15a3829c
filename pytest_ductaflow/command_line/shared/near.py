"""Name what may be meant by a name that is not found."""

from __future__ import annotations

import difflib
from collections.abc import Collection

_NAMED = 5


def near_names(name: str, names: Collection[str]) -> list[str]:
    """Return the most similar names, the best first."""
    lower = {each.lower(): each for each in names}
    found = difflib.get_close_matches(name.lower(), lower, _NAMED, cutoff=0.5)
    return [lower[each] for each in found]


def near(name: str, names: Collection[str]) -> str:
    """Return `; did you mean …?`, or "" if there is nothing similar."""
    found = near_names(name, names)
    return f"; did you mean {' or '.join(found)}?" if found else ""
