"""Find the images among the outputs of an executed notebook."""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# By suffix of a file; where an output has several, the first one counts.
_KINDS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/svg+xml": ".svg",
}
_MARK = b'"image/'  # in the text of every notebook with an image
_MOST = 200  # images of a notebook
_LARGEST = 200_000_000  # bytes of a notebook


def may_have_images(notebook: Path) -> bool:
    """Return whether a notebook's text speaks of images, which is soon known."""
    try:
        with open(notebook, "rb") as file:
            return os.fstat(file.fileno()).st_size <= _LARGEST and _MARK in file.read()
    except OSError:
        return False


def images_of(notebook: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield the images that a notebook shows.

    Yields:
        What the image is called ("cell 5", "cell 5, image 2"), the same in every run of the notebook; the
        suffix for a file of its kind; its bytes, which may be anything.
    """
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        code_cells = [cell for cell in cells if cell["cell_type"] == "code"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return
    counts: Counter[str] = Counter()
    for position, cell in enumerate(code_cells, 1):
        for suffix, data in _images_in(cell):
            if counts.total() >= _MOST:
                return
            number = cell.get("execution_count")
            name = f"cell {number if isinstance(number, int) else position}"
            counts[name] += 1
            yield f"{name}, image {counts[name]}" if counts[name] > 1 else name, suffix, data


def _images_in(cell: Any) -> Iterator[tuple[str, bytes]]:
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        data = output.get("data") if isinstance(output, dict) else None
        for kind, suffix in _KINDS.items():
            if isinstance(data, dict) and kind in data:
                yield suffix, _bytes_of(data[kind], is_text=suffix == ".svg")
                break


def _bytes_of(data: Any, *, is_text: bool) -> bytes:
    text = "".join(map(str, data)) if isinstance(data, list) else str(data)
    if is_text:
        return text.encode(errors="replace")
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return b""
