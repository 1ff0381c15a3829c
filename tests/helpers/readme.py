"""Read the README's code blocks: `python tests/helpers/readme.py NAME` prints the block of that name."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

README = Path(__file__).parents[2] / "README.md"
_BLOCK = re.compile(r"^( *)```(\w+)(?: (\S+))?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the word after it (a file's name, or its purpose), its text."""

    language: str
    name: str | None
    text: str


def blocks() -> list[Block]:
    """Return all code blocks, in the order of the README."""
    found = _BLOCK.findall(README.read_text(encoding="utf-8"))
    return [Block(language, name or None, dedent(text)) for _, language, name, text in found]


if __name__ == "__main__":
    print(next(block.text for block in blocks() if block.name == sys.argv[1]))
