"""Compare NumPy files: one array, or several named ones."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ....core.errors import Unreadable
from ..findings import Findings
from ..tolerance import Tolerance
from ..values import Array, gaps_of_arrays

_MAGIC = b"\x93NUMPY"
Arrays: TypeAlias = dict[str, Array]


def read(path: Path, _tolerance: Tolerance) -> Arrays:
    """Read arrays by name; the single array of a .npy file has an empty name.

    Raises:
        Unreadable: If one is not in NumPy's format, or holds objects, which only pickle can read.
    """
    if path.suffix.lower() == ".npy":
        return {"": _array(path.read_bytes(), "")}
    with zipfile.ZipFile(path) as archive:
        return {
            name.removesuffix(".npy"): _array(archive.read(name), f"array {name.removesuffix('.npy')}: ")
            for name in archive.namelist()
        }


def _array(data: bytes, prefix: str) -> Array:
    if not data.startswith(_MAGIC):
        raise Unreadable(f"{prefix}it does not begin as a NumPy array does")
    stream = io.BytesIO(data)
    try:
        array = np.lib.format.read_array(stream, allow_pickle=False)
    except ValueError as error:
        if "Object arrays" in str(error):
            raise Unreadable(
                f"{prefix}it holds Python objects, which are not loaded for safety; "
                "save numbers or texts (array.astype(float)), or another kind of file"
            ) from error
        raise Unreadable(f"{prefix}{error}") from error
    if stream.read(1):
        raise Unreadable(f"{prefix}there is more in it than the array")
    return np.asarray(array)


def compare(expected: Arrays, found: Arrays, tolerance: Tolerance, findings: Findings) -> None:
    for name in [*expected, *(name for name in found if name not in expected)]:
        findings.names.add(name)
        if tolerance.ignores(name):
            continue
        if name in expected and name in found:
            compare_arrays(name, expected[name], found[name], tolerance.of_column(name), findings)
        else:
            findings.note(f"array {'missing' if name in expected else 'not expected'}: {name}")


def compare_arrays(
    name: str, expected: Array, found: Array, tolerance: Tolerance, findings: Findings
) -> None:
    """Compare two arrays, their shapes and types; byte order does not matter."""
    prefix = f"{name}: " if name else ""
    if expected.dtype.newbyteorder("=") != found.dtype.newbyteorder("="):
        findings.note(f"{prefix}type {expected.dtype} expected, {found.dtype} found")
    if expected.shape != found.shape:
        findings.note(f"{prefix}shape {expected.shape} expected, {found.shape} found")
        return
    fields = dict(_fields(expected)), dict(_fields(found))
    findings.names |= {*fields[0], *fields[1]}
    for field in fields[0].keys() & fields[1].keys():
        ours, theirs = fields[0][field], fields[1][field]
        if ours.shape == theirs.shape and _comparable(ours, theirs) and not tolerance.ignores(field):
            own = tolerance.of_column(field) if field else tolerance
            _compare_values(name, field, ours, theirs, own, findings)


def _fields(array: Array, name: str = "") -> Iterator[tuple[str, Array]]:
    """Yield a plain array, or the fields of a structured one, named as in `point.x`."""
    if not array.dtype.names:
        yield name, array
    for field in array.dtype.names or ():
        yield from _fields(array[field], f"{name}.{field}" if name else field)


def _comparable(expected: Array, found: Array) -> bool:
    """Return whether values of these types can be equal at all."""
    kinds = {expected.dtype.kind, found.dtype.kind}
    return len(kinds) == 1 or kinds <= set("biufc")


def _compare_values(
    name: str, field: str, expected: Array, found: Array, tolerance: Tolerance, findings: Findings
) -> None:
    ours, theirs = expected.reshape(-1), found.reshape(-1)

    def where(position: int) -> str:
        index = ", ".join(str(number) for number in np.unravel_index(position, expected.shape))
        place = f"{name}[{index}]" if index else name
        return ".".join(part for part in (place, field) if part) or "its value"

    findings.compared += ours.size
    findings.add(
        gaps_of_arrays(ours, theirs, tolerance),
        where,
        lambda position: (str(ours[position]), str(theirs[position])),
    )
