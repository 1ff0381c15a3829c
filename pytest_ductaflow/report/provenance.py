"""Say in a line how an instance was sampled, and from which session, machine and commit its run comes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.number_text import listed

_COMMIT = 12  # digits of a commit that are shown
_VALUES = 5  # values of an axis that are shown


def design_text(design: Mapping[str, Any]) -> str | None:
    """Return how the table of an instance was made; None if that is not known."""
    return _told(design) if design else None


def _told(design: Mapping[str, Any]) -> str:
    kind, parts = design.get("kind", ""), [_told(part) for part in design.get("of", ())]
    if kind == "sum":
        return " + ".join(parts)
    if kind == "cross":
        return " x ".join(f"({part})" for part in parts)
    if kind in ("where", "drop"):
        return f"({', '.join(parts)}) {kind} {design.get('expression')}"
    if kind == "table":
        return f"table of {design.get('n')}"
    how = f" of {design['n']} ({design.get('design')}, seed {design.get('seed')})" if kind == "sample" else ""
    axes = "; ".join(f"{name} {_values(axis)}" for name, axis in design.get("axes", {}).items())
    return f"{kind.replace('_', ' ')}{how}: {axes}"


def _values(axis: Mapping[str, Any]) -> str:
    if "from" in axis:
        return f"{axis['from']} to {axis['to']}"
    if "value" in axis:
        return f"= {axis['value']}"
    values = [*map(str, axis.get("values", ()))]
    more = max(axis.get("n", 0), len(values)) - _VALUES
    return listed(values[:_VALUES]) + (f" and {more} more" if more > 0 else "")


def lineage_text(lineage: Mapping[str, Any]) -> str | None:
    """Return from where a run comes: tags, commit, session and machine; None if nothing is known."""
    parts = [", ".join(lineage.get("tags", ()))]
    if "commit" in lineage:
        changed = ", with changes that are not committed" if lineage.get("dirty") else ""
        parts.append(f"commit {lineage['commit'][:_COMMIT]}{changed}")
    parts += [
        f"{name} {lineage[key]}" for key, name in (("session", "session"), ("host", "on")) if key in lineage
    ]
    return "; ".join(filter(None, parts)) or None
