"""Versions of installed distributions, by the names of metadata folders."""

from __future__ import annotations

import os
import platform
import stat
import sys
from pathlib import Path

import pytest

from pytest_ductaflow.sources import installed_versions
from pytest_ductaflow.sources.installed_versions import (
    installed,
    machinery,
    normalised_name,
    own_path,
    python_version,
    versions_of,
)


def install(
    site: Path, name: str, version: str, files: dict[str, str] | None = None, **metadata: str
) -> None:
    """Write the files of a distribution to a folder for packages.

    Args:
        site: The folder.
        name: Its name, as it writes it.
        version: Its version.
        files: Further files of its metadata, `RECORD` among them.
        metadata: Further fields of its metadata; lists by lines.
    """
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    fields = [("Metadata-Version", "2.1"), ("Name", name), ("Version", version)]
    fields += [(key.replace("_", "-"), line) for key, text in metadata.items() for line in text.splitlines()]
    text = "".join(f"{key}: {value}\n" for key, value in fields)
    for file, content in {"METADATA": text, **(files or {})}.items():
        (folder / file).write_text(content, encoding="utf-8")


def record(*paths: str) -> dict[str, str]:
    return {"RECORD": "".join(f"{path},,\n" for path in paths)}


@pytest.mark.parametrize(
    ("folder", "name", "version"),
    [
        ("numpy-2.1.0.dist-info", "numpy", "2.1.0"),
        ("scikit_learn-1.5.dist-info", "scikit-learn", "1.5"),
        ("scikit-learn-1.5.dist-info", "scikit-learn", "1.5"),
        ("ruamel.yaml-0.18.dist-info", "ruamel-yaml", "0.18"),
        ("zope.interface-6.0.post1.dev0.dist-info", "zope-interface", "6.0.post1.dev0"),
        ("torch-2.3.0+cu118.dist-info", "torch", "2.3.0+cu118"),
        ("PyYAML-6.0rc1.dist-info", "pyyaml", "6.0rc1"),
        ("old_style-1.0.egg-info", "old-style", "1.0"),
        ("old_style-1.0-py3.11.egg-info", "old-style", "1.0"),
        ("old_style-1.0-py3.11-linux-x86_64.egg-info", "old-style", "1.0"),
        ("old_style-1.0-py3.11-macosx-14.0-arm64.egg-info", "old-style", "1.0"),
    ],
)
def test_the_name_of_a_metadata_folder_tells_name_and_version(tmp_path, folder, name, version):
    (tmp_path / folder).mkdir()
    assert installed((str(tmp_path),)) == {name: version}


@pytest.mark.parametrize(
    "name", ["numpy", "numpy.libs", "mine.egg-info", "x-info", "-1.0.dist", "x.dist-info"]
)
def test_other_names_tell_of_nothing_that_is_installed(tmp_path, name):
    (tmp_path / name).mkdir()
    assert installed((str(tmp_path),)) == {}


def test_the_first_on_the_path_counts(tmp_path):
    install(tmp_path / "first", "x", "1")
    install(tmp_path / "second", "x", "2")
    install(tmp_path / "second", "y", "3")
    path = (str(tmp_path / "none"), str(tmp_path / "first"), str(tmp_path / "second"), "")
    assert installed(path) == {"x": "1", "y": "3"}


@pytest.mark.parametrize("name", ["Scikit_Learn", "scikit.learn", "SCIKIT--learn", "scikit-learn"])
def test_names_are_compared_as_the_standards_do(name):
    assert normalised_name(name) == "scikit-learn"


@pytest.mark.parametrize(
    ("files", "tops"),
    [
        ({"top_level.txt": "yaml\n_yaml\n"}, {"yaml", "_yaml"}),
        ({"top_level.txt": "yaml\n", **record("other/__init__.py")}, {"yaml"}),
        ({"top_level.txt": "", **record("yaml/__init__.py")}, {"yaml"}),
        (record("yaml/__init__.py", "yaml/parts/x.py", "../../bin/tool"), {"yaml"}),
        (record("six.py"), {"six"}),
        (record("_yaml.cpython-311-x86_64-linux-gnu.so", "_yaml.pyd"), {"_yaml"}),
        (record("google/cloud/storage/__init__.py"), {"google"}),
        (record("data/x.csv", "x-1.dist-info/METADATA"), set()),
        ({}, set()),
    ],
)
def test_a_distribution_provides_what_its_metadata_name(tmp_path, files, tops):
    install(tmp_path, "X", "1", files)
    asked = {"yaml", "_yaml", "six", "google", "other", "data", "x", ".."}
    path = (str(tmp_path),)
    provided = {top for top in asked if versions_of([top], path, is_build=False) == {"x": "1"}}
    assert provided == tops


def test_all_that_share_a_namespace_are_recorded(tmp_path):
    install(tmp_path, "google-cloud", "1", record("google/cloud/__init__.py"))
    install(tmp_path, "google-auth", "2", record("google/auth/__init__.py"))
    install(tmp_path, "other", "3", record("other/__init__.py"))
    found = versions_of(["google"], (str(tmp_path),), is_build=False)
    assert found == {"google-auth": "2", "google-cloud": "1"}


def test_the_name_in_the_metadata_finds_the_version_however_it_is_written(tmp_path):
    install(tmp_path, "Scikit_Learn", "1.5", record("sklearn/__init__.py"))
    assert versions_of(["sklearn"], (str(tmp_path),), is_build=False) == {"scikit-learn": "1.5"}


def test_modules_of_the_standard_library_and_of_the_project_have_no_version(tmp_path):
    install(tmp_path, "x", "1", record("x.py"))
    assert versions_of(["os", "helper"], (str(tmp_path),), is_build=False) == {}


def test_broken_metadata_are_passed_over(tmp_path):
    install(tmp_path, "good", "1", record("good.py"))
    (tmp_path / "~ood-1.0.dist-info").mkdir()
    (tmp_path / "empty-1.0.dist-info").mkdir()
    (tmp_path / "nameless-1.0.dist-info").mkdir()
    (tmp_path / "nameless-1.0.dist-info" / "METADATA").write_text("Version: 1.0\n", encoding="utf-8")
    (tmp_path / "file-1.0.dist-info").write_text("", encoding="utf-8")
    assert versions_of(["good"], (str(tmp_path),), is_build=False) == {"good": "1"}


def test_what_runs_the_flows_of_a_build_is_no_input_of_the_build(tmp_path):
    install(
        tmp_path,
        "pytest-ductaflow",
        "1",
        record("pytest_ductaflow/__init__.py"),
        Requires_Dist="papermill>=2\nPandas ; python_version > '3'\nextra ; extra == 'test'\nmissing",
    )
    install(tmp_path, "papermill", "2", record("papermill/__init__.py"), Requires_Dist="requests[socks]>=2")
    install(tmp_path, "requests", "3", record("requests/__init__.py"), Requires_Dist="papermill")
    install(tmp_path, "pandas", "4", record("pandas/__init__.py"), Requires_Dist="numpy")
    for name in ("numpy", "extra"):
        install(tmp_path, name, "5", record(f"{name}/__init__.py"))
    path = (str(tmp_path),)
    tops = ("pytest_ductaflow", "papermill", "requests", "pandas", "numpy", "extra")
    assert machinery(path) == {"pytest-ductaflow", "papermill", "requests", "missing"}
    assert set(versions_of(tops, path, is_build=True)) == {"pandas", "numpy", "extra"}
    assert set(versions_of(tops, path, is_build=False)) == {
        "papermill",
        "requests",
        "pandas",
        "numpy",
        "extra",
    }


def test_the_versions_of_this_interpreter_are_found():
    import numpy as np

    assert versions_of(["numpy"], own_path(), is_build=False) == {"numpy": np.__version__}


def test_our_own_path_is_absolute_and_has_no_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "lib", "/usr/lib/x"])
    assert own_path() == (str(tmp_path / "lib"), "/usr/lib/x")


def test_python_tells_its_own_version():
    assert python_version(sys.executable) == platform.python_version()


def interpreter(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.skipif(os.name == "nt", reason="the interpreters are shell scripts")
def test_another_interpreter_is_asked_once(tmp_path):
    executable = interpreter(tmp_path / "python", f"echo x >> {tmp_path}/asked\necho 3.99.1")
    installed_versions.python_version.cache_clear()
    assert [python_version(executable) for _ in range(3)] == ["3.99.1"] * 3
    assert (tmp_path / "asked").read_text(encoding="utf-8") == "x\n"


@pytest.mark.skipif(os.name == "nt", reason="the interpreters are shell scripts")
def test_an_interpreter_that_is_gone_or_broken_has_no_version(tmp_path):
    installed_versions.python_version.cache_clear()
    assert python_version(str(tmp_path / "gone")) is None
    assert python_version(str(tmp_path)) is None
    assert python_version(interpreter(tmp_path / "broken", "exit 1")) is None
