"""Run a flow in this process, with a config, for a debugger.

`python -m pytest_ductaflow.api.debugging FLOW CONFIG [FOLDER]`; line numbers are those of the flow's file, so
that breakpoints work, and the working directory is FOLDER, or that of the config.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path
from types import CodeType, ModuleType

from ..core.errors import DuctaflowError
from ..core.masking.config import with_secrets
from ..report.failure_text import DEBUGGING
from ..sources.notebooks import project_root_of, read_flow
from ..sources.parameters_cell.parameters import assigned_in, parameters_of


def compiled(flow: Path, config: dict[str, object]) -> CodeType:
    """Return the code of a flow, with the config set after its parameters cell.

    Raises:
        DuctaflowError: If the flow is not a Python file, or has syntax that only notebooks understand.
    """
    if flow.suffix != ".py":
        raise DuctaflowError(f"{flow}: only .py flows run as a script, for a debugger")
    source = read_flow(flow)
    try:
        module = ast.parse(flow.read_text(encoding="utf-8-sig"), str(flow))
    except SyntaxError as error:
        what = f"{error.msg}; magics and `await` are for notebooks only"
        raise DuctaflowError(f"{flow}:{error.lineno}: {what}") from None
    tagged = [cell for cell in source.notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    first = source.lines.get(tagged[0]["id"]) if tagged else None
    last = first + len(tagged[0].source.splitlines()) - 1 if first else 1
    place = sum(statement.lineno <= last for statement in module.body)
    values = json.dumps(parameters_of(config, assigned_in(source, "python")))
    setting = ast.parse(f"globals().update(__import__('json').loads({values!r}))").body
    for node in ast.walk(setting[0]):
        if hasattr(node, "lineno"):
            vars(node).update(lineno=last, end_lineno=last)
    module.body[place:place] = setting
    return compile(module, str(flow), "exec")


def main() -> None:
    """Run the flow that the command line names."""
    if len(sys.argv) not in (3, 4):
        sys.exit(f"usage: python -m {DEBUGGING} FLOW CONFIG [FOLDER]")
    flow, config_file, *folder = (Path(argument).resolve() for argument in sys.argv[1:])
    try:
        config = with_secrets(json.loads(config_file.read_text(encoding="utf-8-sig")), (), os.environ)
        code = compiled(flow, config)
    except (OSError, ValueError, DuctaflowError) as error:
        sys.exit(str(error))
    sys.argv = [str(flow), "--config", str(config_file)]  # for a flow that reads its config itself
    sys.path += [str(flow.parent), str(project_root_of(flow))]
    os.chdir(folder[0] if folder else config_file.parent)
    module = sys.modules["__main__"] = ModuleType("__main__")
    vars(module)["__file__"] = str(flow)
    exec(code, vars(module))  # noqa: S102 - the flow itself


if __name__ == "__main__":
    main()
