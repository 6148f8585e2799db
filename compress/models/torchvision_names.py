"""torchvision's classifiers and their weights by name, read from its sources.

Importing torchvision takes seconds, and a recipe is checked in a fraction of one.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def classifiers() -> dict[str, tuple[str, ...]]:
    """Weights (without ``DEFAULT``) of each classifier; empty if torchvision is not installed."""
    spec = find_spec("torchvision")
    found: dict[str, tuple[str, ...]] = {}
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for path in sorted(Path(root, "models").glob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            weights = {node.name: _members(node) for node in tree.body if isinstance(node, ast.ClassDef)}
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and (name := _registered(node)):
                    named = [n.id for n in ast.walk(node.args) if isinstance(n, ast.Name)]
                    found[name] = next((weights[n] for n in named if n in weights), ())
    return dict(sorted(found.items()))


def _members(node: ast.ClassDef) -> tuple[str, ...]:
    """Members of an enumeration of weights."""
    targets = [t for line in node.body if isinstance(line, ast.Assign) for t in line.targets]
    return tuple(t.id for t in targets if isinstance(t, ast.Name) and t.id != "DEFAULT")


def _registered(node: ast.FunctionDef) -> str | None:
    """The name under which ``@register_model()`` knows a function."""
    for call in node.decorator_list:
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("register_model"):
            given = [*call.args, *(k.value for k in call.keywords if k.arg == "name")]
            return str(given[0].value) if given and isinstance(given[0], ast.Constant) else node.name
    return None
