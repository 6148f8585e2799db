"""What lies in an ImageFolder, found without opening a single image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_LITTER = {"thumbs.db", "desktop.ini", "__macosx"}  # left by file managers; dot files are ignored too


@dataclass(frozen=True)
class Tree:
    """``files[split][class]`` are paths relative to ``root``, sorted; ``stray`` lie outside class folders."""

    root: Path
    files: Mapping[str, Mapping[str, tuple[str, ...]]]
    stray: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names: the folders of train/, sorted."""
        return tuple(self.files.get("train", ()))

    def __iter__(self) -> Iterator[tuple[str, str, str]]:
        """(split, class, relative path) of every file, in an order that depends on names only."""
        for split, classes in self.files.items():
            for label, names in classes.items():
                for name in names:
                    yield split, label, name


def scan(root: Path) -> Tree:
    """The tree under ``root``: train/CLASS/**, test/CLASS/** and, where it exists, val/CLASS/**."""
    files: dict[str, dict[str, tuple[str, ...]]] = {}
    stray: list[str] = []
    for split in ("train", "val", "test"):
        if not (root / split).is_dir():
            continue
        files[split] = class_files(root, root / split)
        stray += [f"{split}/{name}" for name in _beside_classes(root / split)]
    return Tree(root, files, tuple(stray))


def class_files(root: Path, folder: Path) -> dict[str, tuple[str, ...]]:
    """Of each class folder in ``folder``, by name, all files below it: sorted, relative to ``root``."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not litter(p.name))
    return {p.name: _files(root, p) for p in classes}


def _beside_classes(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(p.name for p in folder.iterdir() if not p.is_dir() and not litter(p.name)))


def scan_any(root: Path) -> Tree:
    """As ``scan``; without train/, val/ and test/ the class folders are one split, "all"."""
    tree = scan(root)
    if tree.files or not root.is_dir():
        return tree
    classes = class_files(root, root)
    return Tree(root, {"all": classes} if classes else {}, _beside_classes(root))


def problems(tree: Tree) -> list[str]:
    """One line for each reason why ``tree`` is no data set; empty when it looks like one."""
    root = tree.root
    if not root.is_dir():
        found = "is a file" if root.exists() else "does not exist"
        return [f"data folder {root} {found} (looked in {Path.cwd()}): give a folder with train/ and test/"]
    missing = [split for split in ("train", "test") if split not in tree.files]
    if missing:
        inside = ", ".join(sorted(p.name for p in root.iterdir() if not litter(p.name))[:8]) or "nothing"
        return [
            f"{root} has no {split}/ (found: {inside}): the layout is {split}/CLASS/photo.jpg"
            for split in missing
        ]
    lines = []
    if len(tree.labels) < 2:
        found = f"only the class {tree.labels[0]!r}" if tree.labels else "no class folder"
        lines.append(f"{root / 'train'} has {found}: give two or more, as train/CLASS/photo.jpg")
    for split, classes in tree.files.items():
        if tree.labels and not classes:
            remove = " or remove the folder" if split == "val" else ""
            lines.append(f"{root / split} has no photos: add some, as {split}/CLASS/photo.jpg{remove}")
        for label, names in classes.items():
            if label not in tree.labels:
                lines.append(
                    f"class {label!r} is in {root / split} but not in {root / 'train'}: "
                    "nothing can be learnt of it; add photos there or remove the folder"
                )
            elif not names:
                lines.append(f"class folder {root / split / label} is empty: add photos or remove the folder")
    return lines


def stat_of(path: Path) -> os.stat_result:
    """As ``Path.stat``; of a link to nothing that of the link, so that it counts as a file none can read."""
    try:
        return path.stat()
    except FileNotFoundError:
        return path.lstat()


def litter(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's: hidden, or left by a file manager."""
    return name.startswith(".") or name.lower() in _LITTER


def files_below(folder: Path) -> list[Path]:
    """Every file in a folder and those below it, in the order of their names."""
    found = []
    for base, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not litter(name))
        found += [Path(base, name) for name in sorted(names) if not litter(name)]
    return found


def _files(root: Path, folder: Path) -> tuple[str, ...]:
    return tuple(sorted(file.relative_to(root).as_posix() for file in files_below(folder)))
