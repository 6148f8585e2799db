"""Who may import whom, and that reading a recipe stays fast."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import compress

ROOT = Path(__file__).resolve().parents[1]

LEAVES = {"errors", "htmltable", "spec", "net", "outputs", "yamlio", "gate", "ratio", "step", "data.images"}
ALLOWED = {  # the longest prefix of a module's name counts; what is not named may import anything of ours
    **dict.fromkeys(LEAVES, LEAVES),
    "ops": {"errors", "ops"},
    "models": LEAVES | {"ops", "models"},
    "data": LEAVES | {"ops", "data"},
    "measure": LEAVES | {"ops", "data", "measure"},
    "runtimes": LEAVES | {"ops", "measure", "runtimes"},
    "train": LEAVES | {"data", "training"},
    "training": LEAVES | {"data", "train", "training"},
    "stages": LEAVES
    | {"ops", "models", "train", "training", "stages.base", "stages.training", "data.loader"},
    "stages.base": LEAVES,
}
HEAVY = ("torch", "torchvision", "lightning_fabric", "onnx", "onnxruntime", "openvino", "sklearn", "cv2")
HEAVY += ("ncnn", "pnnx", "tensorrt")


def imports(path: Path) -> Iterator[str]:
    """Dotted names of what a file imports, wherever in it; names of packages and of what is in them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def under(name: str, prefixes: set[str]) -> bool:
    return any(name == p or name.startswith(f"{p}.") for p in prefixes)


def modules(package: str) -> dict[str, Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    return {".".join(f.relative_to(ROOT / package).with_suffix("").parts): f for f in files}


@pytest.mark.parametrize("prefix", sorted(ALLOWED))
def test_modules_import_only_what_lies_below(prefix: str) -> None:
    checked = 0
    for name, path in modules("compress").items():
        rules = [p for p in ALLOWED if under(name, {p})]
        if not rules or max(rules, key=len) != prefix:
            continue
        checked += 1
        ours = [i.removeprefix("compress.") for i in imports(path) if i.startswith("compress.")]
        wrong = [i for i in ours if not under(i, ALLOWED[prefix] | {name})]
        assert not wrong, f"compress/{name} imports {wrong}"
    assert checked, f"no module {prefix}"


def test_stages_never_import_each_other() -> None:
    for name, path in modules("compress").items():
        if name.startswith("stages."):
            ours = [i for i in imports(path) if i.startswith("compress.stages.")]
            assert all(under(i, {"compress.stages.base", "compress.stages.training"}) for i in ours), name


def test_search_imports_compress_and_never_the_reverse() -> None:
    for path in modules("compress").values():
        assert not [i for i in imports(path) if under(i, {"search"})], path


def fresh(code: str) -> str:
    """What a new interpreter prints; the variables of this one that change imports are left out."""
    env = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_compress_is_instant_and_sets_the_wait_policy() -> None:
    code = (
        "import time; t = time.process_time(); import compress, os, sys; t = time.process_time() - t;"
        "print(t, os.environ['OMP_WAIT_POLICY'], 'pydantic' in sys.modules)"
    )
    seconds, policy, pydantic = fresh(code).split()
    assert float(seconds) < 0.5
    assert (policy, pydantic) == ("passive", "False")


def test_reading_a_recipe_loads_nothing_heavy() -> None:
    code = (
        "import sys; from compress import Recipe; from compress.recipe import schema; schema();"
        "Recipe(name='x', stages=({'kind': 'prune'}, {'kind': 'distill'}, {'kind': 'quantize'})).to_yaml();"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert fresh(code).strip() == "[]"


def test_every_public_name_is_there() -> None:
    tree = ast.parse(Path(compress.__file__).read_text())
    block = next(n for n in tree.body if isinstance(n, ast.If))
    typed = {a.name: n.module for n in block.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert typed == compress._HOME
    for name in compress.__all__:
        assert getattr(compress, name) is not None
        assert name in dir(compress)
    with pytest.raises(AttributeError, match="no attribute 'Prun'"):
        _ = compress.Prun
