"""A set of crops from start to end: what is in it, again, and after an accident."""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from crops_help import Boxes, scene, tree, write_set
from PIL import Image

from compress.__main__ import main
from compress.data.crops.make import make_crops
from compress.data.crops.spec import CropSpec, SplitSpec
from compress.data.folder import FolderData, Group
from compress.errors import CompressError, InputError

SPEC = CropSpec(classes="categories", drop=())
TWO = ((2.0, 2.0, 20.0, 20.0), (30.0, 4.0, 22.0, 30.0))
PHOTOS = {f"batch/{i}.jpg": TWO for i in range(12)}


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_reasons_in_their_order(tmp_path: Path) -> None:
    nan = float("nan")
    boxes = (
        (2, 2, 20, 20),  # stays
        (2, 2, 21, 21),  # overlaps it
        (30, 2, 10, 30),  # small
        (0, 22, 60, 17),  # stays: at most 4 times as long as high, cut at the edge
        (-5, 20, 70, 10),  # small
        (70, 2, 20, 20),  # outside
        (2, 2, 0, 20),  # empty
        (2, 2, 20, -20),  # empty
        (nan, 2, 20, 20),  # empty
        (-20, 10, 30, 10),  # small once cut
        (59.99, 2, 30, 30),  # small once cut
        (60, 2, 30, 30),  # outside
    )
    path, photos = write_set(tmp_path, {"a.jpg": boxes, "b.jpg": ((2, 2, 21, 21),)})
    made = make_crops(path, photos, tmp_path / "set", SPEC.model_copy(update={"max_aspect": 4.0}))
    assert [r.reason for r in made.rows] == [
        "", "overlap", "small", "", "small", "outside",
        "empty", "empty", "empty", "small", "small", "outside", "",
    ]  # fmt: skip
    assert made.rows[1].detail == "with annotation 0"
    listed = rows(tmp_path / "set")
    assert [r["reason"] for r in listed] == [r.reason for r in made.rows]
    assert (listed[8]["x"], listed[8]["y"]) == ("", "2.0")
    kept = [r for r in listed if not r["reason"]]
    assert {r["file"] for r in kept} == {f for f in tree(tmp_path / "set") if f.endswith(".jpg")}
    assert all(r["file"].startswith(f"{r['split']}/{r['class']}/") for r in kept)


def test_aspect_crowd_and_dropped_categories(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, {"a.jpg": ((0, 0, 60, 16), (0, 20, 20, 20), (30, 20, 20, 20))})
    path.write_text(path.read_text().replace('"id": 1, "image_id"', '"iscrowd": 1, "id": 1, "image_id"'))
    spec = CropSpec(classes="categories", drop=("can",), max_aspect=3.5)
    made = make_crops(path, photos, tmp_path / "set", spec)
    assert [(r.label, r.reason) for r in made.rows] == [("", "category"), ("cup", "crowd"), ("", "category")]
    spec = CropSpec(classes="categories", drop=(), max_aspect=3.5)
    made = make_crops(path, photos, tmp_path / "all", spec)
    assert [r.reason for r in made.rows] == ["aspect", "crowd", ""]


def test_the_same_input_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, PHOTOS)
    for name, workers in (("one", 1), ("four", 4)):
        assert make_crops(path, photos, tmp_path / name, SPEC, workers=workers).wrote == 24
    assert tree(tmp_path / "one") == tree(tmp_path / "four")
    assert make_crops(path, photos, tmp_path / "one", SPEC, progress=True).wrote == 0
    make_crops(path, photos, tmp_path / "other", SPEC.model_copy(update={"split": SplitSpec(seed=1)}))
    assert set(tree(tmp_path / "other")) != set(tree(tmp_path / "one"))


def test_again_does_what_is_missing_and_repairs(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, PHOTOS)
    out = tmp_path / "set"
    make_crops(path, photos, out, SPEC)
    first = tree(out)
    crops = sorted(out.rglob("*.jpg"))
    before = {p: p.stat().st_mtime_ns for p in crops}
    assert make_crops(path, photos, out, SPEC).wrote == 0
    half, gone, zeros = crops[:3]
    half.write_bytes(half.read_bytes()[:300])
    gone.unlink()
    zeros.write_bytes(b"\0" * zeros.stat().st_size)
    gone.with_name(f".{gone.name}.part").write_bytes(b"left by a killed run")
    assert make_crops(path, photos, out, SPEC).wrote == 3
    assert tree(out) == first
    assert {p for p in crops if p.stat().st_mtime_ns != before[p]} == {half, gone, zeros}


def test_a_photo_that_changed_is_cut_again_and_one_that_went_is_not_needed(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, PHOTOS)
    out = tmp_path / "set"
    made = make_crops(path, photos, out, SPEC)
    scene().transpose(Image.Transpose.ROTATE_180).save(photos / "batch/3.jpg", quality=95)
    (photos / "batch/4.jpg").unlink()
    again = make_crops(path, photos, out, SPEC)
    assert again.wrote == 2
    assert again.rows == made.rows


def test_crops_of_small_copies_are_cut_again_from_originals_that_are_older(tmp_path: Path) -> None:
    path, small = write_set(tmp_path, PHOTOS)
    out = tmp_path / "set"
    first = make_crops(path, small, out, SPEC)
    originals = tmp_path / "originals"
    (originals / "batch").mkdir(parents=True)
    for i in range(12):
        photo = originals / f"batch/{i}.jpg"
        scene().transpose(Image.Transpose.ROTATE_180).save(photo, quality=95)
        os.utime(photo, (946_684_800, 946_684_800))  # 2000, as unpacked from an archive
    (originals / "batch/7.jpg").unlink()  # not unpacked yet: its crops stay
    again = make_crops(path, originals, out, SPEC)
    assert again.wrote == 22
    assert again.rows == first.rows
    fresh = make_crops(path, originals, tmp_path / "fresh", SPEC)
    made, expected = tree(out), tree(tmp_path / "fresh")
    assert all(made[row.file] == expected[row.file] for row in fresh.rows if row.file)
    assert make_crops(path, originals, out, SPEC).wrote == 0
    shutil.copy2(originals / "batch/3.jpg", originals / "batch/7.jpg")
    assert make_crops(path, originals, out, SPEC).wrote == 2


def test_a_set_of_an_older_version_does_not_say_what_it_was_cut_from(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, PHOTOS)
    out = tmp_path / "set"
    make_crops(path, photos, out, SPEC)
    (out / ".crops.photos.json").unlink()
    for photo in photos.rglob("*.jpg"):
        os.utime(photo, (946_684_800, 946_684_800))
    assert make_crops(path, photos, out, SPEC).wrote == 0
    os.utime(photos / "batch/3.jpg", (978_307_200, 978_307_200))  # known from now on
    assert make_crops(path, photos, out, SPEC).wrote == 2
    (out / ".crops.photos.json").write_text("[")
    with pytest.raises(InputError, match=r"photos\.json: damaged; delete the folder"):
        make_crops(path, photos, out, SPEC)


def test_what_lies_there_is_what_the_manifest_lists_when_a_photo_is_damaged_later(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, PHOTOS)
    out = tmp_path / "set"
    make_crops(path, photos, out, SPEC)
    (photos / "batch/3.jpg").write_bytes(b"half a download")
    scene(50, 50).save(photos / "batch/4.jpg")
    again = make_crops(path, photos, out, SPEC)
    assert Counter(r.reason for r in again.rows) == {"": 20, "unreadable": 2, "size": 2}
    assert {f for f in tree(out) if f.endswith(".jpg")} == {r.file for r in again.rows if r.file}


def test_a_missing_photo_is_listed_and_cut_when_it_comes(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, PHOTOS)
    late = photos / "batch/5.jpg"
    late.rename(tmp_path / "late.jpg")
    whole = make_crops(path, photos, tmp_path / "set", SPEC)
    assert Counter(r.reason for r in whole.rows) == {"": 22, "missing": 2}
    assert whole.bad() == {"batch/5.jpg": "missing: no such file"}
    with pytest.raises(InputError, match=r"1 of 12 photos \(8\.3%\) cannot be used, and max_bad is 0\.01"):
        whole.check()
    (tmp_path / "late.jpg").rename(late)
    assert make_crops(path, photos, tmp_path / "set", SPEC).wrote == 2
    make_crops(path, photos, tmp_path / "fresh", SPEC).check()
    assert tree(tmp_path / "set") == tree(tmp_path / "fresh")


def test_other_settings_need_another_folder(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, PHOTOS)
    out = tmp_path / "set"
    make_crops(path, photos, out, SPEC)
    make_crops(path, photos, out, SPEC.model_copy(update={"max_bad": 0.5}))  # changes no crop
    with pytest.raises(InputError, match=r"made with other margin, quality; delete"):
        make_crops(path, photos, out, SPEC.model_copy(update={"margin": 0.1, "quality": 80}))
    path.write_text(path.read_text().replace("2.0", "3.0"))
    with pytest.raises(InputError, match="made with other annotations"):
        make_crops(path, photos, out, SPEC)
    (tmp_path / "foreign" / "train").mkdir(parents=True)
    with pytest.raises(InputError, match="has train/ that was not made here"):
        make_crops(path, photos, tmp_path / "foreign", SPEC)
    (out / "crops.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        make_crops(path, photos, out, SPEC)


def test_two_at_once(tmp_path: Path) -> None:
    from filelock import FileLock

    path, photos = write_set(tmp_path, PHOTOS)
    (tmp_path / "set").mkdir()
    with FileLock(tmp_path / "set" / ".crops.lock"), pytest.raises(CompressError, match="another run"):
        make_crops(path, photos, tmp_path / "set", SPEC)


def test_killed_half_way_the_same_call_goes_on(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, {f"{i}.jpg": TWO for i in range(150)})
    out = tmp_path / "set"
    code = (
        "import sys, pathlib; from compress.data.crops.make import make_crops; "
        "from compress.data.crops.spec import CropSpec; a, b, c = map(pathlib.Path, sys.argv[1:]); "
        "make_crops(a, b, c, CropSpec(classes='categories', drop=()), workers=1)"
    )
    running = subprocess.Popen([sys.executable, "-c", code, *map(str, (path, photos, out))])
    while len(list(out.rglob("*.jpg"))) < 5:
        assert running.poll() is None
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    there = len(list(out.rglob("[!.]*.jpg")))
    assert there < 300
    assert not (out / "manifest.csv").exists()
    assert make_crops(path, photos, out, SPEC).wrote == 300 - there
    make_crops(path, photos, tmp_path / "fresh", SPEC)
    assert tree(out) == tree(tmp_path / "fresh")


def test_an_annotation_id_twice_in_one_photo(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, {"a.jpg": TWO})
    path.write_text(
        path.read_text()
        .replace('"id": 1, "image_id"', '"id": 0, "image_id"')
        .replace(': 1, "bbox', ': 0, "bbox')
    )
    spec = SPEC.model_copy(update={"split": SplitSpec(val=0, test=0)})
    made = make_crops(path, photos, tmp_path / "set", spec)
    assert [r.file for r in made.rows] == ["train/can/000000_000000.jpg", "train/can/000000_000000_2.jpg"]


def test_training_keeps_the_crops_of_a_photo_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEYONDNAS_CACHE", str(tmp_path / "cache"))
    path, photos = write_set(tmp_path, {f"{i}.jpg": TWO for i in range(30)})
    spec = SPEC.model_copy(update={"split": SplitSpec(val=0, test=0.2)})
    made = make_crops(path, photos, tmp_path / "set", spec)
    assert not (tmp_path / "set" / "val").exists()
    group = Group(pattern=r"^(\d+)_", across_classes=True)
    data = FolderData(root=tmp_path / "set", image_size=16, group=group)
    assert data.check() == []
    notes: list[str] = []
    splits = data.load(0, notes.append)
    assert not [note for note in notes if "groups" in note]
    home: dict[str, set[str]] = {}
    for name, data_set in (
        ("train", splits.train),
        ("tune", splits.tune),
        ("val", splits.val),
        ("test", splits.test),
    ):
        for file in data_set.names:
            home.setdefault(Path(file).name.split("_")[0], set()).add(name)
    assert len(home) == 30
    assert all(len(splits) == 1 for splits in home.values())
    assert sum(not row.reason for row in made.rows) == 60


def test_annotations_without_a_box(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, {"a.jpg": ()})
    made = make_crops(path, photos, tmp_path / "set", SPEC)
    assert made.rows == ()
    with pytest.raises(InputError, match="none of 0 boxes is left"):
        made.check()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, photos = write_set(tmp_path, {**PHOTOS, "bad.jpg": TWO})
    (photos / "bad.jpg").write_bytes(b"no")
    out = tmp_path / "set"
    args = [
        "data",
        "crops",
        str(path),
        str(photos),
        str(out),
        "--set",
        "classes=categories",
        "--set",
        "drop=[]",
    ]
    assert main(args) == 2
    said = capsys.readouterr()
    assert "1 of 13 photos (7.7%) cannot be used" in said.err
    assert "bad.jpg (unreadable: not an image that Pillow can read)" in said.err
    assert "24 crops of 26 boxes" in said.out
    assert "24 files written now" in said.out
    assert main([*args, "--set", "max_bad=0.1"]) == 0
    assert "0 files written now" in capsys.readouterr().out
    assert main(["data", "crops", str(path), str(tmp_path / "none"), str(out)]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["data", "crops", str(path), str(photos), str(tmp_path / "new")]) == 2
    assert "2 categories are neither in classes nor in drop: 'can', 'cup'" in capsys.readouterr().err
    (tmp_path / "wrong.yaml").write_text("keep: smallest\nmargn: 0.1\n")
    assert main([*args, "--config", str(tmp_path / "wrong.yaml")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit("wrong.yaml:")[1].split(":")[0] for line in lines] == ["1", "2"]
    assert "did you mean 'smaller'?" in lines[0]
    assert os.listdir(tmp_path / "set")
    assert np.asarray(Image.open(next(out.rglob("*.jpg")))).shape[2] == 3


@pytest.mark.parametrize(
    ("boxes", "settings", "said"),
    [
        (TWO, ["drop=['can']", "min_side=25"], "none of 2 boxes is left (category: 1, small: 1)"),
        (TWO, ["drop=[]", "max_bad=1"], "none of 2 boxes is left (unreadable: 2)"),
        ((), ["drop=[]"], "none of 0 boxes is left"),
    ],
)
def test_a_set_without_a_crop_is_an_error_that_says_why(
    boxes: Boxes, settings: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, photos = write_set(tmp_path, {"a.jpg": boxes})
    if "unreadable" in said:
        (photos / "a.jpg").write_bytes(b"")
    args = ["data", "crops", str(path), str(photos), str(tmp_path / "set"), "--set", "classes=categories"]
    assert main([*args, *(word for one in settings for word in ("--set", one))]) == 2
    told = capsys.readouterr()
    assert told.err == f"no crop: {said}\n"
    assert "every box is in" in told.out


def test_the_wrong_folder_of_photos_leaves_nothing(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, {"a.jpg": TWO, "b/c.jpg": TWO})
    with pytest.raises(InputError, match=rf"photos/b: none of the 2 files of {path} is below it, e"):
        make_crops(path, photos / "b", tmp_path / "set", SPEC)
    assert not (tmp_path / "set").exists()


def test_other_settings_may_follow_where_the_first_left_no_crop(tmp_path: Path) -> None:
    path, photos = write_set(tmp_path, {"a.jpg": TWO})
    args = ["data", "crops", str(path), str(photos), str(tmp_path / "set"), "--set", "classes=categories"]
    assert main([*args, "--set", "min_side=25", "--set", "drop=['can']"]) == 2
    assert main([*args, "--set", "min_side=1"]) == 0
    assert len(list((tmp_path / "set").rglob("*.jpg"))) == 2
    assert main([*args, "--set", "min_side=2"]) == 2  # now there are crops to mix with
