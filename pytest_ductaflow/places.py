"""The exact places whose files belong to the system, to libraries or to tools, and to no flow.

What a config or the code names counts wherever it lies; see `inputs`.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

# Of the system: programs, libraries, and what these read by themselves.
_SYSTEM = re.compile(
    r"""
    /(?: bin | sbin | lib(?:32|64|x32)? | proc | sys | boot )/
    | /usr/(?: local/ )?(?: bin | sbin | lib(?:32|64|x32|exec)? | include | games )/
    | /usr/(?: local/ )?share/(?: zoneinfo[\w-]* | fonts | fontconfig | locale | i18n | mime | misc | icons | themes
        | X11 | xml | sgml | ca-certificates | terminfo | tabset | perl\d* | python\d* | R | proj | gdal | javascript
        | texmf[\w-]* | texlive | ghostscript | poppler | color | glib-2\.0 | gtk-[\d.]+ | dbus-1 | p11-kit | file
        | java | jupyter | doc | man | info | bash-completion | zsh | vim | dotnet | nodejs | openal | OpenCL | vulkan
        | alsa | drirc\.d | libdrm | hwdata | pixmaps | tcltk | gcc[\w.-]* | libthai | hunspell | myspell
        | dict | glvnd | egl | julia | octave | matplotlib )/
    | /dev/(?!shm/)
    | /dev/shm/(?: sem\. | psm_ | pym- | joblib_memmapping | loky- )
    | /run/(?!user/|media/) | /var/run/
    | /run/user/\d+/(?: bus | systemd | dbus-1 | pulse | wayland | dconf | keyring )
    | /var/(?: cache/(?: fontconfig | ldconfig | man | debconf | apt ) | lib/(?: dpkg | apt | dbus | sss | snapd
        | systemd | ghostscript | texmf | misc | nssdb ) | log )/
    | /etc/(?: ld\.so[\w.]* | localtime | timezone | passwd | group | nsswitch\.conf | hosts? | host\.conf
        | hostname | resolv\.conf | gai\.conf | services | protocols | networks | mime\.types | locale[\w.]*
        | inputrc | environment | profile | bash\.bashrc | shells | login\.defs | os-release | lsb-release
        | [\w-]+_version | [\w-]+-release | machine-id | mtab | fstab | papersize | fuse\.conf | vimrc
        | pip\.conf | gitconfig | wgetrc | netrc | odbc[\w.]* | OpenCL | cpuinfo )$
    | (?:/usr/local)?/etc/(?: fonts | ssl | pki | ca-certificates | alternatives | profile\.d | security | pam\.d | ld\.so\.conf\.d
        | python[\d.]* | jupyter | ipython | R | matplotlib | X11 | xdg | skel | terminfo | default | ssh
        | openmpi[\w-]* | pmix[\w-]* | crypto-policies | gss | krb5\.conf\.d | dpkg | apt | conda | java[\w-]* )/
    | /Library/ | /System/ | /private/var/(?: db | folders )/
    """,
    re.VERBOSE,
)

# Below the home directory: caches, and the settings of tools.
_IN_HOME = re.compile(
    r"""
    \.(?: cache | ipython | jupyter | matplotlib | fontconfig | fonts | keras | nv | npm | cargo | rustup | pyenv
        | conda | condarc | vscode[\w-]* | ssh | gnupg | mozilla | pki | dbus | duckdb | theano | java | m2 | julia
        | local/(?: lib | bin | state | share/(?: jupyter | fonts | icons | mime | virtualenv | Trash | recently-used ) )
        | config/(?: matplotlib | pip | jupyter | ipython | fontconfig | git | dask | gtk[\w.-]* | pulse | dconf
            | Code | configstore | htop | conda | pandas | numba | mambarc )
        )(?: / | $ )
    | \.(?: bashrc | bash_profile | bash_login | bash_logout | bash_aliases | profile | zshrc | zshenv | zprofile
        | inputrc | gitconfig | netrc | pythonrc[\w.]* | Rprofile | Renviron | pypirc | condarc | wgetrc | curlrc
        | odbc\.ini | pgpass | my\.cnf | hushlogin | ICEauthority | Xauthority | python_history | mambarc )$
    | Library/(?: Caches | Fonts | Preferences | Jupyter | Python )/
    """,
    re.VERBOSE,
)

# Anywhere: folders in which tools keep what is theirs.
_TOOLS = re.compile(
    r"(?:^|/)(?:\.git|\.hg|\.svn|\.ipynb_checkpoints|\.venv|\.tox|\.nox|\.eggs|\.idea|\.vscode|\.pytest_cache"
    r"|\.mypy_cache|\.ruff_cache|\.hypothesis|\.pixi|__pycache__|node_modules|[\w.-]+\.egg-info"
    r"|\.duckdb_temp|\.numba_cache)(?:/|$)"
)
_OF_INTERPRETERS = ("bin", "lib", "lib64", "libexec", "include", "Scripts", "Lib", "Library", "DLLs", "Include")
_SHARED_LIBRARY = re.compile(r"\.(?:so|dylib|dll)(?:\.[\d.]+)?$")


def is_elsewhere_owned(path: str) -> bool:
    """Return whether a file or folder is the system's, a library's or a tool's.

    Args:
        path: Absolute.
    """
    slashed = path.replace(os.sep, "/")
    if _SYSTEM.match(slashed) or _SYSTEM.match(f"{slashed}/") or _TOOLS.search(slashed):
        return True
    home = _home()
    return slashed.startswith(home) and bool(_IN_HOME.match(slashed, len(home)))


def is_shared_library(path: str) -> bool:
    """Return whether a file is named as compiled libraries are: the system looks for them in many places."""
    return bool(_SHARED_LIBRARY.search(path))


def is_in_environment(path: str, prefix: str) -> bool:
    """Return whether a file belongs to an installed interpreter or what is installed for it.

    All of a virtual or conda environment does; of a prefix that others share, such as `/usr/local`, the
    folders for programs and libraries.
    """
    inside = os.path.join(prefix, "")
    if not path.startswith(inside):
        return False
    top = path[len(inside) :].partition(os.sep)[0]
    return top in _OF_INTERPRETERS or _is_environment(prefix)


@lru_cache(maxsize=100)
def _is_environment(prefix: str) -> bool:
    return any(os.path.exists(os.path.join(prefix, name)) for name in ("pyvenv.cfg", "conda-meta"))


@lru_cache(maxsize=1)
def _home() -> str:
    try:
        return f"{Path.home().as_posix().rstrip('/')}/"
    except RuntimeError:  # no home directory is known
        return "\0"
