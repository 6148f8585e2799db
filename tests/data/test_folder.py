import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from compress.data.decode import decode
from compress.data.folder import FolderData, Group
from compress.data.images import Splits
from compress.errors import InputError

Make = Callable[..., Path]
TWO = {"train": {"a": 20, "b": 20}, "test": {"a": 3, "b": 3}}


def load(
    root: Path, seed: int = 0, log: Callable[[str], None] = lambda line: None, **options: object
) -> Splits:
    return FolderData(root=root, image_size=16, **options).load(seed, log)


def names(splits: Splits) -> list[set[str]]:
    return [set(s.names) for s in (splits.train, splits.tune, splits.val, splits.test)]


def test_splits_hold_every_photo_once_and_as_decoded(make_folder: Make) -> None:
    root = make_folder(**TWO)
    splits = load(root)
    parts = names(splits)
    assert sum(len(p) for p in parts) == len(set.union(*parts)) == 46
    assert [len(p) for p in parts[2:]] == [6, 6]
    assert parts[3] == {f"test/{c}/{c}{i}.jpg" for c in "ab" for i in (1, 2, 3)}
    assert splits.labels == ("a", "b")
    for data in (splits.train, splits.tune, splits.val, splits.test):
        for image, target, name in zip(data.images, data.targets, data.names, strict=True):
            assert (image == decode(root / name, 16)).all()
            assert name.split("/")[1] == "ab"[target]


def test_seed_moves_val_and_tune_but_never_test(make_folder: Make) -> None:
    root = make_folder(**TWO)
    first, again, other = (load(root, seed) for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.test.names == other.test.names
    assert first.val.names != other.val.names
    assert set(names(first)[0] | names(first)[1] | names(first)[2]) == set.union(*names(other)[:3])


def test_val_folder_is_used_where_it_exists(make_folder: Make) -> None:
    root = make_folder(**TWO, val={"a": 4, "b": 5})
    splits = load(root)
    assert {n.split("/")[0] for n in splits.val.names} == {"val"}
    assert len(splits.val) == 9
    assert len(splits.train) + len(splits.tune) == 40


def test_fingerprint_is_of_content_not_of_place_or_time(make_folder: Make, tmp_path: Path) -> None:
    root = make_folder(**TWO)
    copy = tmp_path / "elsewhere" / "copy"
    shutil.copytree(root, copy)
    for path in copy.rglob("*.jpg"):
        os.utime(path, (1, 1))
    assert load(copy).fingerprint == load(root).fingerprint
    larger = FolderData(root=root, image_size=17).load(0, lambda line: None)
    assert larger.fingerprint != load(root).fingerprint
    shutil.copy(root / "test/a/a1.jpg", root / "test/a/a2.jpg")
    assert load(root).fingerprint != load(copy).fingerprint


def test_second_load_decodes_nothing(make_folder: Make, cache: Path) -> None:
    root = make_folder(**TWO)
    lines: list[str] = []
    first = load(root, log=lines.append)
    assert any(line.startswith("decoded 46 files") for line in lines)
    lines.clear()
    again = load(root, log=lines.append)
    assert lines == []
    assert (again.train.images == first.train.images).all()
    assert again.fingerprint == first.fingerprint

    (stored,) = cache.glob("*/images.npy")  # planted pixels come back: nothing was decoded
    array = np.load(stored)
    np.save(stored, np.full_like(array, 7))
    assert (load(root).val.images == 7).all()


def test_changed_file_is_decoded_anew(make_folder: Make) -> None:
    root = make_folder(**TWO)
    before = load(root)
    path = root / "test/a/a1.jpg"
    time = path.stat()
    data = bytearray((root / "test/b/b1.jpg").read_bytes())
    path.write_bytes(data)
    os.utime(path, ns=(time.st_atime_ns, time.st_mtime_ns))
    after = load(root)
    i = after.test.names.index("test/a/a1.jpg")
    assert (after.test.images[i] == decode(path, 16)).all()
    assert not (after.test.images[i] == before.test.images[i]).all()


def test_damaged_or_half_written_cache_is_made_again(make_folder: Make, cache: Path) -> None:
    root = make_folder(**TWO)
    first = load(root)
    (stored,) = cache.glob("*/images.npy")
    stored.write_bytes(stored.read_bytes()[:1000])
    assert (load(root).train.images == first.train.images).all()
    (stored,) = cache.glob("*/files.json")
    stored.write_text("[")
    assert (load(root).train.images == first.train.images).all()
    assert not list(cache.glob(".part-*"))


def test_cache_that_cannot_be_written_is_an_input_error(
    make_folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("BEYONDNAS_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match="BEYONDNAS_CACHE"):
        load(make_folder(**TWO))


def test_beyond_the_limit_images_stay_on_disk(make_folder: Make, cache: Path) -> None:
    root = make_folder(**TWO)
    memory, mapped = load(root), load(root, memory_limit_mb=0)
    assert not isinstance(memory.train.images, np.memmap)
    for name in ("train", "tune", "val", "test"):
        a, b = getattr(memory, name), getattr(mapped, name)
        assert isinstance(b.images, np.memmap)
        assert b.images.base is not None  # a view of the file, not a copy
        assert (a.images == b.images).all()
    assert memory.fingerprint == mapped.fingerprint
    before = sorted(cache.rglob("*.npy"))
    load(root, memory_limit_mb=0)
    assert sorted(cache.rglob("*.npy")) == before


def test_groups_never_straddle(make_folder: Make) -> None:
    root = make_folder(train={"a": 43, "b": 31}, test={"a": 3, "b": 3})
    for seed in range(5):
        splits = load(root, seed, group={"pattern": r"(\d+)", "block": 5})
        blocks = [
            {(n.split("/")[1], (int(re.findall(r"\d+", n)[0]) - 1) // 5) for n in part}
            for part in names(splits)[:3]
        ]
        assert sum(len(b) for b in blocks) == len(set.union(*blocks))
        assert (
            len(np.unique(np.concatenate([splits.train.groups, splits.tune.groups, splits.val.groups]))) == 16
        )
    assert any("2 of test have photos in train" in note for note in splits.notes)  # a1-a3 and b1-b3 again


@pytest.mark.parametrize(("pattern", "line"), [("(", "no regular expression"), (r"\d+", "has 0 groups")])
def test_pattern_that_cannot_work_is_refused_with_the_recipe(pattern: str, line: str) -> None:
    with pytest.raises(ValidationError, match=line):
        FolderData(root="x", group={"pattern": pattern})


@pytest.mark.parametrize("pattern", [r"_(\d+)", "([ab])", r"b(\d+)", r"(\d+)?jpg"])
def test_pattern_that_finds_no_number_names_the_file(make_folder: Make, pattern: str) -> None:
    root = make_folder(**TWO)
    data = FolderData(root=root, group={"pattern": pattern})
    (line,) = data.check()
    assert "train/a/a1.jpg" in line
    assert f"of {46} names" in line
    with pytest.raises(InputError, match=re.escape("a1.jpg")):
        data.load(0)


def test_photo_without_suffix_needs_a_number_too(make_folder: Make) -> None:
    root = make_folder(**TWO)
    (root / "train/a/a1.jpg").rename(root / "train/a/odd")
    data = FolderData(root=root, group={"pattern": r"(\d+)"})
    assert data.check() == []  # only opening it shows that it is a photo
    with pytest.raises(InputError, match="train/a/odd"):
        data.load(0)


def test_trashnet(shared_data: Path) -> None:
    data = FolderData(root=shared_data / "trashnet", image_size=32, group={"pattern": r"(\d+)", "block": 5})
    assert data.check() == []
    splits = data.load(0, lambda line: None)
    assert splits.labels == ("cardboard", "glass", "metal", "paper", "plastic", "trash")
    assert len(splits.train) + len(splits.tune) + len(splits.val) == 1627
    assert len(splits.test) == 373
    groups = [set(s.groups.tolist()) for s in (splits.train, splits.tune, splits.val, splits.test)]
    assert sum(len(g) for g in groups) == len(set.union(*groups))
    total = np.bincount(np.concatenate([splits.train.targets, splits.tune.targets, splits.val.targets]))
    assert (np.abs(np.bincount(splits.val.targets) - 0.15 * total) <= 5).all()
    assert splits.notes == ()


@pytest.mark.parametrize("across", [True, False])
def test_a_number_may_mean_one_group_in_all_classes(across: bool, make_folder: Make) -> None:
    group = Group(pattern=r"(\d+)", block=2, across_classes=across)
    homes: dict[int, set[int]] = {}
    for home, found in enumerate(names(load(make_folder(**TWO), group=group))[:3]):
        for name in found:
            number = int(re.findall(r"(\d+)\.jpg", name)[0])
            homes.setdefault((number - 1) // 2, set()).add(home)
    assert all(len(where) == 1 for where in homes.values()) == across
