"""Make a new project (`init`), a new file in one (`new`), or a schema of configs that exist (`schema`)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import click

from ..core.run_directory.layout import display_path
from ..core.scalars import json_object
from ..report.failure_text import quoted
from .shared.project import find_project, settings_and_root, shown
from .shared.refusal import Refusal

_TEMPLATES = Path(__file__).with_name("templates")
_END = ".template"
_DOT = "dot."  # beginning of the name of what begins with a dot
_ABOUT = "about"  # what the project of a template is for, a sentence for its README
_KINDS = ("data", "model", "report")
_NAME = re.compile(r"\w[\w-]*")  # what begins with a dash would be an option of `ductaflow run`
_SUFFIXES = (".py", ".ipynb", ".md", ".qmd")


@click.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--template", type=click.Choice(_KINDS), default="data", show_default=True, help="Its subject.")
def init(folder: Path, template: str) -> None:
    """Make a new project in FOLDER, by default in the working directory.

    It has flows, a build, a conductor, configs with a JSON schema, a stored instance and a CI workflow, and
    runs as it is. No file is overwritten: if one is there already, nothing is written and the exit code is 2.
    """
    folder = Path(os.path.abspath(folder))
    about = (_TEMPLATES / template / f"{_ABOUT}{_END}").read_text(encoding="utf-8").strip()
    texts: dict[Path, str] = {}
    for part in ("common", template):
        for name, text in _files(_TEMPLATES / part).items():
            if name != _ABOUT:
                texts[folder / name] = text
    readme = folder / "README.md"
    texts[readme] = texts[readme].replace("# NAME\n", f"# {folder.name}\n").replace("ABOUT\n", f"{about}\n")
    _write(texts)
    for path in texts:
        click.echo(shown(path))
    there = shown(folder)
    go = "" if folder == Path.cwd() else f"cd {quoted(f'./{there}' if there[0] == '-' else there)} && "
    click.echo(f"\nrun it:    {go}pytest --ductaflow conductor.py -n auto")
    click.echo(f"the gate:  {go}pytest --ductaflow tests/instances")


def _files(folder: Path) -> dict[str, str]:
    """Return the texts of a template by the names of the files to be made."""
    found = {}
    for path in sorted(folder.rglob(f"*{_END}")):
        parts = path.relative_to(folder).as_posix().removesuffix(_END).split("/")
        name = "/".join(f".{part.removeprefix(_DOT)}" if part.startswith(_DOT) else part for part in parts)
        found[name] = path.read_text(encoding="utf-8")
    return found


def _write(texts: dict[Path, str]) -> None:
    """Write new files, or none.

    Raises:
        Refusal: If one of them is there already, or lies below a file.
    """
    there = [path for path in texts if os.path.lexists(path)]
    there += [above for path in texts for above in path.parents if above.is_file()]
    if there:
        names = ", ".join(shown(path) for path in dict.fromkeys(there))
        verb = "are" if len(set(there)) > 1 else "is"
        raise Refusal(f"{names} {verb} there already; nothing has been written")
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@click.command()
@click.argument("kind", type=click.Choice(("flow", "build", "conductor")))
@click.argument("name")
@click.option("--flow", help="The flow that a build or conductor runs (by default the first in flows/).")
def new(kind: str, name: str, flow: str | None) -> None:
    """Make a new flow, build or conductor that is called NAME, and runs as it is.

    No file is overwritten: if it is there already, nothing is written and the exit code is 2.
    """
    stem = name.removesuffix(".py")
    if not _NAME.fullmatch(stem):
        raise Refusal(f"{name!r} cannot be a name: letters, digits, _ and - can be in it, without a folder")
    here = Path.cwd()
    root = find_project(here) or here
    text = (_TEMPLATES / "single" / f"{kind}.py{_END}").read_text(encoding="utf-8")
    if kind == "flow":
        path = root / "flows" / f"{stem}.py"
        command = f"ductaflow run {stem}"
        words = {"NAME": stem}
    elif kind == "build":
        path = root / "builds" / f"{stem}.py"
        command = f"ductaflow run {stem}"
        words = {"NAME": stem, "FLOW": _flow_in(root, flow).stem}
    else:
        is_named = stem == "conductor" or stem.startswith("conductor_") or stem.endswith("_conductor")
        path = root / (f"{stem}.py" if is_named else f"{stem}_conductor.py")
        command = f"pytest --ductaflow {shown(path)} -n auto"
        chosen = _flow_in(root, flow)
        step = stem.removeprefix("conductor_").removesuffix("_conductor")
        words = {
            "FILE": path.name,
            "STEP": chosen.stem if step == "conductor" else step,
            "FLOW": display_path(chosen.resolve(), root.resolve()),
            "BASE": _base_of(chosen, root),
        }
    _write({path: _filled(text, words)})
    click.echo(f"made {shown(path)}; run it: {command}")


def _filled(text: str, words: Mapping[str, str]) -> str:
    """Return the text of a template with its words replaced, which may be in what others are replaced by."""
    return re.sub("|".join(words), lambda found: words[found[0]], text)


def _base_of(flow: Path, root: Path) -> str:
    """Return the argument that gives a conductor the config with which `ductaflow run` runs a flow, or ""."""
    config = json_object(root / "config" / flow.parent.name / f"{flow.stem}.json")
    return f", base={dict(config)!r}" if config else ""


def _flow_in(root: Path, name: str | None) -> Path:
    """Return the flow of a project that is named, or its first.

    Raises:
        FlowNotFound: If there is none of that name.
        Refusal: If there is none at all.
    """
    if name is not None:
        from ..sources.notebooks import find_flow

        return find_flow(name, (Path.cwd(), root))
    folders = (root / "flows", root / "flow")
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    flows = [path for path in found if path.suffix in _SUFFIXES]
    if not flows:
        raise Refusal(
            f"there is no flow in {shown(root / 'flows')} yet; make one first: ductaflow new flow NAME"
        )
    return flows[0]


@click.command()
@click.argument("flow")
@click.option("--replace", is_flag=True, help="Replace a schema that is there.")
def schema(flow: str, *, replace: bool) -> None:
    """Write a first JSON Schema for the config of FLOW, a name or a path, from its configs so far.

    These are the one in config/ and those of its runs. The schema has the types that they have; limits and
    choices are for you to add. The exit code is 2 if there is no config, or a schema already.
    """
    from ..sources.notebooks import find_flow
    from ..sources.schemas.draft import write_draft

    here = Path.cwd()
    file = find_flow(flow, (here, find_project(here) or here))
    _, root, _ = settings_and_root(file)
    path, count = write_draft(file, root, replace=replace)
    click.echo(f"{shown(path)}: from {count} config{'s' * (count != 1)}")
