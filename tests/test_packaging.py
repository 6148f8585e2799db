"""What setup.cfg says is what the code needs, and what constraints.txt pins."""

from __future__ import annotations

import ast
import configparser
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import compress

ROOT = Path(__file__).resolve().parents[1]
# Needed at run time without an import of ours.
INDIRECT = {
    "onnxscript": "torch.onnx.export builds the graph with it",
    "setuptools": "nni imports pkg_resources",
}
# Extras of what is not built yet.
AHEAD = {"ray", "dashboard", "ncnn"}


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    return config


def requirements(text: str) -> dict[str, Requirement]:
    found = [Requirement(line) for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {canonicalize_name(r.name): r for r in found}


def imported(*folders: str) -> set[str]:
    """Distributions that what is in these folders imports, anywhere in it."""
    tops: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                tops |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                tops.add(node.module.split(".")[0])
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("import_module", "find_spec")
            ):
                tops |= {str(a.value).split(".")[0] for a in node.args if isinstance(a, ast.Constant)}
    owners = packages_distributions()
    known = {top for top in tops if top not in sys.stdlib_module_names} - {"compress", "search"}
    return {canonicalize_name(owners[top][0]) for top in known if top in owners}


def test_what_is_imported_is_declared_and_the_reverse(setup: configparser.ConfigParser) -> None:
    required = requirements(setup["options"]["install_requires"])
    extras = {name: requirements(text) for name, text in setup["options.extras_require"].items()}
    optional = {r for name, group in extras.items() if name not in ("test", "all") for r in group}
    used = imported("compress", "search") - {"pydantic-core"}  # part of pydantic
    assert used - set(required) - optional == set()
    assert set(required) - used - set(INDIRECT) == set()
    built = {r for name in ("nni", "teacher") for r in extras[name]}
    assert built - used - set(INDIRECT) == set()
    assert imported("tests") - set(required) - optional - set(extras["test"]) == set()


def test_every_extra_is_in_all_but_two(setup: configparser.ConfigParser) -> None:
    extras = dict(setup["options.extras_require"])
    (everything,) = requirements(extras.pop("all")).values()
    assert everything.extras == set(extras) - {"test", "tensorrt"}  # which only installs beside a GPU
    assert everything.extras > AHEAD


def test_lower_bounds_and_constraints_agree(setup: configparser.ConfigParser) -> None:
    pinned = requirements((ROOT / "constraints.txt").read_text())
    texts = [setup["options"]["install_requires"], *dict(setup["options.extras_require"]).values()]
    for text in texts:
        for name, requirement in requirements(text).items():
            lower = [s for s in requirement.specifier if s.operator in (">=", "<")]
            assert lower or name.startswith("types-") or name == "beyondnas", f"{name}: no bound"
            if name in pinned:
                (pin,) = pinned[name].specifier
                assert requirement.specifier.contains(pin.version), f"{name} {pin} is outside {requirement}"
    required = set(requirements(setup["options"]["install_requires"]))
    assert required <= set(pinned), f"not pinned: {required - set(pinned)}"
    assert not [name for name in pinned if name.startswith("nvidia-cu")]


def test_everything_in_the_packages_is_built(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for name in ("compress", "search"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    (source / "README.md").touch()
    command = [sys.executable, "-c", "import setuptools; setuptools.setup()", "build_py", "-d", str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = {
        path.relative_to(source)
        for name in ("compress", "search")
        for path in (source / name).rglob("*")
        if path.is_file()
    }
    assert {path.relative_to(out) for path in out.rglob("*") if path.is_file()} == files


def test_version_is_the_changelog_s() -> None:
    assert f"## {compress.__version__} " in (ROOT / "CHANGELOG.md").read_text()


def test_make_installs_once(tmp_path: Path) -> None:
    """With a fresh stamp nothing is installed; after a change of the constraints everything is again."""
    for name in ("Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    venv = tmp_path / "v"
    venv.mkdir()
    (venv / ".installed").touch()

    def plan() -> str:
        done = subprocess.run(
            ["make", "--no-print-directory", "--dry-run", "quickstart", f"VENV={venv}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert plan().splitlines() == [f"{venv}/bin/python -m compress recipes/quickstart.yaml"]
    (venv / ".installed").unlink()
    assert "--constraint constraints.txt --editable" in plan()
