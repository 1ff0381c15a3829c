"""Which comments of a Python flow are magics and shell commands that a notebook runs.

Jupytext writes the magics of a notebook into a script as comments, and takes comments for magics when it
reads one, also those that begin with a word such as `copy`. To a reader of a script a comment is switched
off, so that here only those are taken that begin with `%` and the name of a magic, or with `!` and a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

# What a magic may be the right side of: `files = !ls data`.
_ASSIGNED = r"[ \t]*(?:[A-Za-z_]\w*[ \t]*=[ \t]*)?"
_LINE_MAGIC = re.compile(rf"{_ASSIGNED}%(\w+)(?=[\s?;]|$)")
_CELL_MAGIC = re.compile(r"[ \t]*%%(\w+)(?=[\s?]|$)")
# `!pip install x`, `!{sys.executable} -m x`, `!C:\x.exe`; not `!important: …`, which is no command.
_COMMAND = re.compile(rf"""{_ASSIGNED}![ \t]*(?:[A-Za-z]:\\)?[\w.~$\\/{{}}@%+=-]+(?=[\s;|&<>()'"*?]|$)""")
_PLAIN = re.compile(rf"{_ASSIGNED}[%!?][\s\w.~$\\/{{}}%!]")
# A flow that does one of these has magics of its own.
_MAKES_MAGICS = re.compile(r"\b(?:re)?load_ext\b|\bregister_\w*magic\w*\b|%alias(?:_magic)?\b")
_CONTINUED = re.compile(r"\\\s*$")
# Those of IPython 8 and 9 and of ipykernel, with the aliases of POSIX and of Windows.
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
    """Whether a magic stands among lines of code as it is, not as a comment."""
    return any(_PLAIN.match(line) for line in lines)


def makes_magics(sources: Iterable[str]) -> bool:
    """Whether code loads or registers magics, of which only the kernel knows the names."""
    return any(map(_MAKES_MAGICS.search, sources))


def with_comments(written: Sequence[str], read: Sequence[str], *, any_name: bool) -> list[str]:
    """Make the comments of a cell comments again that are no magics.

    Args:
        written: The lines of the cell as they stand in the script.
        read: The same lines after what jupytext takes for magics has been uncommented.
        any_name: Whether there may be magics of any name.

    Returns:
        For each line one of the two.
    """
    return list(_chosen(written, read, any_name=any_name))


def _chosen(written: Sequence[str], read: Sequence[str], *, any_name: bool) -> Iterator[str]:
    is_top = True  # only here, and below another one, a cell magic is one
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
