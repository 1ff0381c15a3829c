"""Complete names with `=` and `:` in bash, which takes these for the ends of words."""

from __future__ import annotations

import os
import re

from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

_BREAKS = re.compile(r"[=:]")


class _Bash(BashComplete):
    """The completion of click, with the words put together that bash has broken at `=` or `:`."""

    def get_completion_args(self) -> tuple[list[str], str]:
        words = split_arg_string(os.environ["COMP_WORDS"])
        place = int(os.environ["COMP_CWORD"])
        typed = words[1 : place + 1]
        if place >= len(words):
            typed.append("")
        joined: list[str] = []
        for number, word in enumerate(typed):
            is_break = _BREAKS.fullmatch(word) is not None
            follows_break = number > 0 and _BREAKS.fullmatch(typed[number - 1]) is not None
            if joined and (is_break or follows_break) and not joined[-1].startswith("--"):
                joined[-1] += word
            else:
                joined.append(word)
        incomplete = joined.pop() if joined else ""
        self._left_out = max((found.end() for found in _BREAKS.finditer(incomplete)), default=0)
        return joined, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """Return what bash is to put in place of the last part of the word."""
        value = item.value[self._left_out :] if item.type == "plain" else item.value
        return f"{item.type},{value}"


add_completion_class(_Bash, "bash")
