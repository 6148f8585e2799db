"""What is wrong with a folder, and the one clear outcome of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from compress.data.folder import FolderData
from compress.errors import InputError

Make = Callable[..., Path]
TWO = {"train": {"a": 8, "b": 8}, "test": {"a": 2, "b": 2}}
MANY = {"train": {"a": 100, "b": 90}, "test": {"a": 5, "b": 5}}


def refused(root: Path, **options: object) -> str:
    """The line of ``check``, which ``load`` gives too."""
    data = FolderData(root=root, image_size=16, **options)
    (line,) = data.check()
    with pytest.raises(InputError) as caught:
        data.load(0)
    assert caught.value.problems == (line,)
    return line


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-150])
    return path


def test_no_folder(tmp_path: Path) -> None:
    assert "gone does not exist" in refused(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    assert "file is a file" in refused(tmp_path / "file")


def test_no_test_and_no_train(make_folder: Make) -> None:
    assert "no test/ (found: train)" in refused(make_folder("one", train={"a": 2, "b": 2}))
    assert "no train/ (found: test)" in refused(make_folder("two", test={"a": 2, "b": 2}))
    root = make_folder("three", **{"val": {"a": 2}})
    assert len(FolderData(root=root).check()) == 2


def test_fewer_than_two_classes(make_folder: Make, tmp_path: Path) -> None:
    assert "only the class 'a'" in refused(make_folder("one", train={"a": 9}, test={"a": 2}))
    for split in ("train", "test"):
        (tmp_path / "two" / split).mkdir(parents=True)
    assert "no class folder" in refused(tmp_path / "two")


@pytest.mark.parametrize("split", ["val", "test"])
def test_empty_split(make_folder: Make, split: str) -> None:
    root = make_folder(**{**TWO, split: {}})
    (root / split).mkdir(exist_ok=True)
    (root / split / "notes.txt").write_text("stray files are no photos of a class")
    line = refused(root)
    assert line.startswith(f"{root / split} has no photos: add some, as {split}/CLASS/photo.jpg")
    assert line.endswith("or remove the folder") == (split == "val")
    assert not list(root.parent.glob("cache/*"))  # nothing was decoded for it


@pytest.mark.parametrize("split", ["train", "test"])
def test_empty_class(make_folder: Make, split: str) -> None:
    root = make_folder(**TWO)
    for path in (root / split / "b").iterdir():
        path.unlink()
    (root / split / "b" / "Thumbs.db").write_text("litter is no photo")
    assert f"{split}/b is empty" in refused(root)


@pytest.mark.parametrize("split", ["test", "val"])
def test_class_that_train_lacks(make_folder: Make, split: str) -> None:
    splits = {**TWO, split: {"a": 2, "b": 2, "zebra": 1}}
    line = refused(make_folder(**splits))
    assert "class 'zebra'" in line
    assert split in line


def test_class_only_in_train_is_a_note(make_folder: Make) -> None:
    root = make_folder(train={"a": 9, "b": 9, "c": 9}, test={"a": 2, "b": 2})
    lines: list[str] = []
    splits = FolderData(root=root, image_size=16).load(0, lines.append)
    assert splits.notes == (
        "class 'c' has 7 images in train and none in test: "
        "macro F1 there counts it, as 0, only when it is predicted",
    )
    assert splits.notes[0] in lines


def test_class_of_one_image_stays_in_train(make_folder: Make) -> None:
    root = make_folder(train={"a": 9, "b": 9, "c": 1}, test={"a": 2, "b": 2, "c": 1})
    splits = FolderData(root=root, image_size=16).load(0, lambda line: None)
    assert splits.train.targets.tolist().count(2) == 1
    assert 2 not in splits.val.targets
    assert 2 not in splits.tune.targets
    assert splits.notes[0].startswith("class 'c' has 1 image in train and none in tune, val:")


def test_too_few_photos_to_split(make_folder: Make) -> None:
    root = make_folder(train={"a": 1, "b": 2}, test={"a": 1, "b": 1})
    with pytest.raises(InputError, match="too small: 2, 0, 1, 2 photos for train, tune, val, test"):
        FolderData(root=root, image_size=16).load(0)


def test_one_truncated_jpeg_in_many_is_named_and_skipped(make_folder: Make) -> None:
    root = make_folder(**MANY)
    bad = truncate(root / "train/a/a7.jpg")
    data = FolderData(root=root, image_size=16)
    for _ in range(2):  # decoded, then from the cache
        lines: list[str] = []
        splits = data.load(0, lines.append)
        assert any(line.startswith(f"skipped {bad}: ") and "truncated" in line for line in lines)
        assert "train/a/a7.jpg" in splits.notes[0]
        assert len(splits.train) + len(splits.tune) + len(splits.val) == 189
        assert not any("a7.jpg" in n for s in (splits.train, splits.tune, splits.val) for n in s.names)
    with pytest.raises(InputError, match=r"1 of 200 files are unreadable: train/a/a7\.jpg"):
        FolderData(root=root, image_size=16, on_bad_file="error").load(0)


def test_two_in_two_hundred_pass_and_three_do_not(make_folder: Make) -> None:
    root = make_folder(**MANY)
    (root / "train/a/a1.jpg").write_text("no photo")
    (root / "test/b/b1.jpg").write_text("no photo")
    splits = FolderData(root=root, image_size=16).load(0, lambda line: None)
    assert len(splits.test) == 9
    truncate(root / "train/b/b5.jpg")
    with pytest.raises(InputError, match=r"3 of 200 files \(1.5%\) are unreadable") as caught:
        FolderData(root=root, image_size=16).load(0)
    for name in ("train/a/a1.jpg", "test/b/b1.jpg", "train/b/b5.jpg"):
        assert name in str(caught.value)


def test_files_that_are_no_images(make_folder: Make) -> None:
    root = make_folder(**MANY)
    (root / "train/a/notes.txt").write_text("hello")
    for litter in ("train/a/.DS_Store", "train/b/Thumbs.db", "test/a/desktop.ini", "train/b/._b1.jpg"):
        (root / litter).write_bytes(b"litter")
    (root / "train" / "readme.md").write_text("hello")
    (root / "train" / ".cache").mkdir()
    data = FolderData(root=root, image_size=16, group={"pattern": r"(\d+)"})
    assert data.check() == []  # notes.txt needs no number: it is no photo
    splits = data.load(0, lambda line: None)
    assert splits.notes[0] == "ignored 1 files outside class folders: train/readme.md"
    assert splits.notes[1].startswith("skipped 1 of 201 files: train/a/notes.txt (not an image")


def test_class_without_a_readable_photo(make_folder: Make) -> None:
    root = make_folder(train={"a": 200, "b": 1}, test={"a": 2, "b": 2})
    (root / "train/b/b1.jpg").write_text("no photo")
    with pytest.raises(InputError, match="class 'b': no readable photo in"):
        FolderData(root=root, image_size=16).load(0)


def test_photos_in_subfolders_count_and_same_pixels_in_test_are_told(make_folder: Make) -> None:
    root = make_folder(**TWO)
    (root / "train/a/more").mkdir()
    (root / "train/a/a1.jpg").rename(root / "train/a/more/a1.jpg")
    (root / "test/a/copy.jpg").write_bytes((root / "train/a/more/a1.jpg").read_bytes())
    leak = [FolderData(root=root, image_size=16).load(seed, lambda line: None) for seed in range(4)]
    assert all(len(s.train) + len(s.tune) + len(s.val) == 16 for s in leak)
    told = [any("1 of test occur in train" in note for note in s.notes) for s in leak]
    assert told == ["train/a/more/a1.jpg" not in s.val.names for s in leak]
    assert any(told)


def test_fractions_and_sizes_out_of_range_are_refused() -> None:
    for wrong in ({"val_fraction": 0}, {"tune_fraction": 1}, {"image_size": 4}, {"on_bad_file": "hide"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            FolderData(root="x", **wrong)
