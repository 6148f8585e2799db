"""The content-addressed cache: what was computed once is never computed again.

Every entry is written under a temporary name and renamed, its manifest last: a kill at any point
leaves either the whole entry or none.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.outputs import check_output

if TYPE_CHECKING:
    from compress.net import Net

PACKAGE = "compress"


def default_root() -> Path:
    """``$BEYONDNAS_STORE``, else ``runs/.store`` in the working directory."""
    return Path(os.environ.get("BEYONDNAS_STORE") or "runs/.store")


class Store:
    """Nets, JSON values and exported artifacts by key, below one folder.

    Raises:
        InputError: no ``root`` was given, and nothing can be written to the default one.
    """

    def __init__(self, root: Path | str | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()
        if root is None:
            named = "BEYONDNAS_STORE" if os.environ.get("BEYONDNAS_STORE") else "the store"
            check_output(
                self.root, named, folder=True, right="work in another folder, or set BEYONDNAS_STORE"
            )

    def net(self, key: str) -> Net | None:
        """The stored net, or None."""
        from compress.models.checkpoint import load_net

        path = self._net_path(key)
        return load_net(path) if path.exists() else None

    def put_net(self, key: str, net: Net) -> None:
        """Store a net; the stage's unfinished work under that key is dropped."""
        from compress.models.checkpoint import save_net

        path = self._net_path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_net(net, path)
        self.drop_work(key)

    def drop_work(self, key: str) -> None:
        """Remove the unfinished work of ``key``."""
        shutil.rmtree(self.root / "work" / key, ignore_errors=True)

    def has_net(self, key: str) -> bool:
        return self._net_path(key).exists()

    def value(self, kind: str, key: str) -> Any | None:
        """A stored JSON value, or None; a damaged file counts as absent."""
        try:
            return json.loads((self.root / kind / f"{key}.json").read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def put_value(self, kind: str, key: str, value: Any) -> None:
        write_text(self.root / kind / f"{key}.json", json.dumps(value, indent=1))

    def artifact(self, key: str) -> Path:
        """Where the exported artifact of ``key`` is or will be."""
        path = self.root / "artifacts" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def work(self, key: str) -> Path:
        """A folder for the unfinished work (checkpoints) of ``key``."""
        path = self.root / "work" / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def lock(self, key: str, wait: bool = True, log: Callable[[str], None] | None = None) -> Iterator[bool]:
        """Held while ``key`` is computed, so that two runs never compute it twice.

        Gives whether it is held: without ``wait`` it is not, where another process computes ``key`` now.
        ``log`` gets a line when there is something to wait for.
        """
        from filelock import FileLock, Timeout

        path = self.root / "locks" / f"{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                yield False
                return
            if log:  # it may take hours, and silence looks as if this process hung
                log("another process is computing what this one needs: waiting for it")
            lock.acquire()
        try:
            yield True
        finally:
            lock.release()

    def _net_path(self, key: str) -> Path:
        return self.root / "nets" / f"{key}.pt"


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing; what UTF-8 cannot hold, as of a file's name in Latin-1, is escaped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def move_aside(path: Path) -> Path:
    """Rename a file or folder to its name with the first free number after it, and give that."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return path.rename(aside)


@cache
def source_digest(module: str) -> str:
    """Digest of a module's source and of every module of ours, or of its own package, that it imports.

    Imports inside functions count. A stage whose code, or whose helpers' code, changed is another
    stage: its cached results no longer answer for it.
    """
    packages = {PACKAGE, module.split(".")[0]}
    seen: dict[str, str] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        path = _source_path(name)
        text = path.read_text(encoding="utf-8") if path else _typed_in(name)
        seen[name] = hashlib.sha256(text.encode()).hexdigest()
        todo += [m for m in _imports(text, name, packages) if _source_path(m)]
    return hashlib.sha256(json.dumps(sorted(seen.items())).encode()).hexdigest()[:20]


def _typed_in(name: str) -> str:
    """The cells of a notebook, which has no file; empty elsewhere."""
    return "\n".join(map(str, getattr(sys.modules.get(name), "In", ())))


def _source_path(name: str) -> Path | None:
    loaded = sys.modules.get(name)
    file = getattr(loaded, "__file__", None)
    if file is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        file = spec.origin if spec else None
    return Path(file) if file and Path(file).suffix == ".py" else None


def _imports(text: str, module: str, packages: set[str]) -> list[str]:
    """Modules of ``packages`` imported in ``text``; no other is looked at, let alone imported."""
    names = []
    for node in ast.walk(_parsed(text)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.split(".")[0] in packages]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = module.rsplit(".", node.level)[0]
                base = f"{parent}.{base}" if base else parent
            if base.split(".")[0] in packages:
                for alias in node.names:  # a module of a package, or a name in a module
                    inner = f"{base}.{alias.name}"
                    names.append(inner if _source_path(inner) else base)
    return names


def _parsed(text: str) -> ast.AST:
    try:
        return ast.parse(text)
    except SyntaxError:  # a notebook's cells may hold commands that are no Python
        return ast.Module([], [])
