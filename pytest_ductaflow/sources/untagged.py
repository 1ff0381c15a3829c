"""Parameters of notebooks without a cell tagged `parameters`: papermill sets them in front of all code.

That works if the code reads parameters and assigns none; otherwise its own values would override them.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable
from itertools import chain

from .notebooks import Source
from .python_code import parsed, without_magics

CONFIG = "config"
INJECTED = "injected-parameters"  # the tag of the cell that papermill makes, and replaces
_BUILTINS = frozenset(dir(builtins))


def read_but_not_assigned(source: Source, keys: Iterable[str]) -> frozenset[str]:
    """Return the config keys that can be set in front of an untagged notebook; none if one is not safe.

    Args:
        source: A notebook; the result is empty unless it is in Python.
        keys: Keys of its config; those that begin with `_` are not for the flow.
    """
    wanted = frozenset(key for key in keys if not key.startswith("_"))
    if source.path.suffix != ".ipynb" or source.has_parameters or source.language != "python":
        return frozenset()
    cells = [cell for cell in source.code_cells if INJECTED not in cell.metadata.get("tags", ())]
    trees = [parsed(without_magics(cell.source)) for cell in cells]
    nodes = list(chain.from_iterable(ast.walk(tree) for tree in trees if tree is not None))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    assigned = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    assigned |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    read = {node.id for node in names} - assigned - _BUILTINS
    is_clear = None not in trees and not assigned & {*wanted, CONFIG}
    return wanted & read if is_clear else frozenset()
