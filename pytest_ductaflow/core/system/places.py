"""The exact places with files that belong to the system, to libraries or to tools, not to a flow.

Files that a config or the code names count wherever they lie; see `inputs`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

PACKAGE = os.path.join(Path(__file__).parents[2], "")  # how the paths of all files of this package begin
# By folder, the names in it that are not the user's; `*` matches anything, `~` is the home directory. What is
# not listed counts as an input: a file too many costs a run, one too few gives a wrong result.
_SHARED = """zoneinfo* fonts fontconfig locale i18n mime misc icons themes X11 xml sgml ca-certificates
    terminfo tabset perl* python* R proj gdal javascript texmf* texlive ghostscript poppler color
    glib-2.0 gtk-* dbus-1 p11-kit file java jupyter doc man info bash-completion zsh vim dotnet nodejs
    openal OpenCL vulkan alsa drirc.d libdrm hwdata pixmaps tcltk gcc* hunspell myspell dict glvnd egl
    julia octave matplotlib"""
_SETTINGS = """ld.so* localtime timezone passwd group nsswitch.conf host hosts host.conf hostname
    resolv.conf gai.conf services protocols networks mime.types locale* inputrc environment profile*
    bash.bashrc shells login.defs os-release lsb-release *_version *-release machine-id mtab fstab
    papersize fuse.conf vimrc pip.conf gitconfig wgetrc netrc odbc* OpenCL fonts ssl pki
    ca-certificates* alternatives security pam.d python* jupyter ipython R matplotlib X11 xdg skel
    terminfo default ssh openmpi* pmix* crypto-policies gss krb5* dpkg apt conda java*"""
_PLACES: Mapping[str, str] = {
    "/": "bin sbin lib lib32 lib64 libx32 proc sys boot Library System",
    "/usr": "bin sbin lib lib32 lib64 libx32 libexec include games",
    "/usr/local": "bin sbin lib lib32 lib64 libexec include games",
    "/usr/share": _SHARED,
    "/usr/local/share": _SHARED,
    "/etc": _SETTINGS,
    "/usr/local/etc": _SETTINGS,
    "/dev/shm": "sem.* psm_* pym-* joblib_memmapping* loky-*",  # noqa: S108
    "/run": "systemd nscd dbus lock resolvconf udev utmp sshd initctl log mount shm",
    "/run/user/*": "bus systemd dbus-1 pulse wayland* dconf keyring",
    "/var": "run log",
    "/var/cache": "fontconfig ldconfig man debconf apt",
    "/var/lib": "dpkg apt dbus sss snapd systemd ghostscript texmf misc nssdb",
    "/private/var": "db folders",
    "~": """.cache .ipython .jupyter .matplotlib .fontconfig .fonts .keras .nv .npm .cargo .rustup
        .pyenv .conda .condarc .vscode* .ssh .gnupg .mozilla .pki .dbus .duckdb .java .m2 .julia
        .bashrc .bash_* .profile .zsh* .zprofile .inputrc .gitconfig .netrc .pythonrc* .Rprofile
        .Renviron .pypirc .wgetrc .curlrc .odbc.ini .pgpass .my.cnf .ICEauthority .Xauthority
        .python_history .mambarc""",
    "~/.local": "lib bin state",
    "~/.local/share": "jupyter fonts icons mime virtualenv Trash recently-used*",
    "~/.config": """matplotlib pip jupyter ipython fontconfig git dask gtk* pulse dconf Code
        configstore htop conda pandas numba mambarc""",
    "~/Library": "Caches Fonts Preferences Jupyter Python",
}
# Folders in which tools keep their own files, wherever they lie.
_TOOLS = frozenset(
    (
        ".git",
        ".hg",
        ".svn",
        ".ipynb_checkpoints",
        ".venv",
        ".tox",
        ".nox",
        ".eggs",
        ".idea",
        ".vscode",
        ".pytest_cache",
        ".mypy_cache",
        ".ruff_cache",
        ".hypothesis",
        ".pixi",
        "__pycache__",
        "node_modules",
        ".duckdb_temp",
        ".numba_cache",
    )
)
_OF_INTERPRETERS = ("bin", "lib", "lib64", "libexec", "include", "Scripts", "Lib", "Library", "DLLs")
_EACH_USER = re.compile(r"^(/run/user/)\d+$")
_STAR = re.escape("*")
_SHARED_LIBRARY = re.compile(r"\.(?:so|dylib|dll)(?:\.[\d.]+)?$")


def belongs_to_others(path: str) -> bool:
    """Return whether a file or folder is the system's, a library's or a tool's.

    Args:
        path: Absolute, or relative to the project.
    """
    parts = path.replace(os.sep, "/").split("/")
    if not _TOOLS.isdisjoint(parts):
        return True
    around = "" if parts[0] else "/"
    for part in parts:
        if (names := _names().get(around)) is not None and names.match(part):
            return True
        around = f"{around.rstrip('/')}/{part}" if around else part
        around = "~" if around == _home() else _EACH_USER.sub(r"\1*", around)
    return False


@lru_cache(maxsize=1)
def _names() -> Mapping[str, re.Pattern[str]]:
    return {
        folder: re.compile("|".join(f"{re.escape(name).replace(_STAR, '.*')}$" for name in names.split()))
        for folder, names in _PLACES.items()
    }


@lru_cache(maxsize=1)
def _home() -> str:
    try:
        return Path.home().as_posix()
    except RuntimeError:  # no home directory is known
        return ""


def is_shared_library(path: str) -> bool:
    """Return whether a file is named like a compiled library; the system searches many places for them."""
    return bool(_SHARED_LIBRARY.search(path))


def is_in_environment(path: str, prefix: str) -> bool:
    """Return whether a file belongs to an installed interpreter or to packages installed for it.

    Every file in a virtual or conda environment does; under a shared prefix, such as `/usr/local`, only
    those in the folders for programs and libraries.
    """
    inside = os.path.join(prefix, "")
    if not path.startswith(inside):
        return False
    top = path[len(inside) :].partition(os.sep)[0]
    return top in _OF_INTERPRETERS or _is_environment(prefix)


@lru_cache(maxsize=100)
def _is_environment(prefix: str) -> bool:
    return any(os.path.exists(os.path.join(prefix, name)) for name in ("pyvenv.cfg", "conda-meta"))
