"""Decide which comments of a Python flow are magics and shell commands that a notebook runs.

Jupytext writes the magics of a notebook into a script as comments, and reads comments back as magics, even
those that begin with a word such as `copy`. To a reader of the script a comment is inactive code, so only
those count here that begin with `%` and the name of a magic, or with `!` and a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

# An assignment with a magic as its right-hand side: `files = !ls data`.
_ASSIGNED = r"[ \t]*(?:[A-Za-z_]\w*[ \t]*=[ \t]*)?"
_LINE_MAGIC = re.compile(rf"{_ASSIGNED}%(\w+)(?=[\s?;]|$)")
_CELL_MAGIC = re.compile(r"[ \t]*%%(\w+)(?=[\s?]|$)")
# `!pip install x`, `!{sys.executable} -m x`, `!C:\x.exe`; not `!important: …`, which is not a command.
_COMMAND = re.compile(rf"""{_ASSIGNED}![ \t]*(?:[A-Za-z]:\\)?[\w.~$\\/{{}}@%+=-]+(?=[\s;|&<>()'"*?]|$)""")
_PLAIN = re.compile(rf"{_ASSIGNED}[%!?][\s\w.~$\\/{{}}%!]")
# A flow that does one of these may use magics of any name.
_MAKES_MAGICS = re.compile(r"\b(?:re)?load_ext\b|\bregister_\w*magic\w*\b|%alias(?:_magic)?\b")
_CONTINUED = re.compile(r"\\\s*$")
# Magics of IPython 8 and 9 and of ipykernel, with the aliases of POSIX and of Windows.
_KNOWN = frozenset(
    """
    HTML SVG alias alias_magic autoawait autocall automagic autosave bash bookmark capture cat cd clear
    cmd code_wrap colors conda config connect_info copy cp ddir debug dhist dirs doctest_mode echo ed
    edit env file gui hist history html javascript js killbgscripts latex ldir less lf lk ll load
    load_ext loadpy logoff logon logstart logstate logstop ls lsmagic lx macro magic mamba man markdown
    matplotlib micromamba mkdir more mv notebook page pastebin pdb pdef pdoc perl pfile pinfo pinfo2 pip
    popd pprint precision profile prun psearch psource pushd pwd pycat pylab pypy python python2 python3
    qtconsole quickref recall rehashx reload_ext ren rep rerun reset reset_selective rm rmdir ruby run
    save sc script set_env sh subshell svg sx system tb time timeit unalias unload_ext uv who who_ls
    whos writefile xdel xmode
    """.split()  # noqa: SIM905 - one name a line would be 120 lines
)


def uses_magics(lines: Iterable[str]) -> bool:
    """Return whether some line of code is a magic that is not commented out."""
    return any(_PLAIN.match(line) for line in lines)


def makes_magics(sources: Iterable[str]) -> bool:
    """Return whether code loads or registers magics, whose names only the kernel knows."""
    return any(map(_MAKES_MAGICS.search, sources))


def with_comments(written: Sequence[str], read: Sequence[str], *, any_name: bool) -> list[str]:
    """Restore the comments of a cell that jupytext has mistaken for magics.

    Args:
        written: Lines of the cell as in the script.
        read: The same lines with everything uncommented that jupytext takes for magics.
        any_name: Whether there may be magics of any name.

    Returns:
        One of the two for each line.
    """
    return list(_chosen(written, read, any_name=any_name))


def _chosen(written: Sequence[str], read: Sequence[str], *, any_name: bool) -> Iterator[str]:
    is_top = True  # a cell magic is valid only here, or below another one
    is_continued = is_magic = False
    for comment, line in zip(written, read, strict=True):
        if comment == line:
            is_magic = False
        elif not is_continued:
            is_magic = _is_magic(line, is_top=is_top, any_name=any_name)
        yield line if is_magic else comment
        is_continued = comment != line and bool(_CONTINUED.search(line))
        is_top = is_top and (not line.strip() or (is_magic and _CELL_MAGIC.match(line) is not None))


def _is_magic(line: str, *, is_top: bool, any_name: bool) -> bool:
    if found := _CELL_MAGIC.match(line):
        return is_top and (any_name or found[1] in _KNOWN)
    if found := _LINE_MAGIC.match(line):
        return any_name or found[1] in _KNOWN
    return _COMMAND.match(line) is not None
