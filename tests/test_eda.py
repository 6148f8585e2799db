"""`data eda` from end to end: what was planted is found, whichever features there are."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from photos import KINDS, draw, make_set
from PIL import Image

from compress.__main__ import main
from compress.data.eda.findings import findings
from compress.eda import examine
from compress.errors import InputError
from compress.models.pretrained import WHEEL


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEYONDNAS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 photos a kind in train and 9 in test; a copy of one in test, and one under a wrong label."""
    root = make_set(tmp_path_factory.mktemp("planted") / "set", {"train": 36, "test": 9})
    copy = Image.open(root / "train/rings/0004.jpg").resize((100, 75))
    copy.save(root / "test/rings/copied.jpg", quality=60)
    shutil.move(root / "train/squares/0007.jpg", root / "train/bars/moved.jpg")
    return root


def without_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, WHEEL, None)  # as if the extra were not installed


@pytest.mark.parametrize("teacher", [True, False])
def test_a_planted_copy_and_a_planted_wrong_label_are_found(
    planted: Path, teacher: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if teacher:
        pytest.importorskip(WHEEL)
    else:
        without_teacher(monkeypatch)
    eda = examine(planted, size=64, log=lambda line: None)
    assert ("EfficientNet" in eda.features) == teacher
    (group,) = eda.groups
    assert {eda.photos[i].name for i in group.photos} == {"train/rings/0004.jpg", "test/rings/copied.jpg"}
    assert eda.splits_of(group) == ("train", "test")
    assert eda.leaked == {"test": 1}
    assert eda.labels is not None
    first = eda.labels.suspects[0]
    assert eda.photos[first.row].name == "train/bars/moved.jpg"
    assert eda.classes[first.looks_like] == "squares"
    assert len(eda.labels.suspects) <= 5
    assert eda.counts["bars"] == {"train": 37, "test": 9}
    mend = [one.text for one in findings(eda) if one.mend]
    assert mend[0].startswith("1 photo of test has a near-duplicate in train")
    assert "train/bars/moved.jpg, which looks like squares" in mend[1]
    assert len(mend) == 2


def test_planted_faults_are_found_among_real_photos(shared_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for split, count in (("train", 40), ("test", 8)):
        for folder in sorted((shared_data / "trashnet" / split).iterdir()):
            (root / split / folder.name).mkdir(parents=True)
            for path in sorted(folder.iterdir())[:count]:
                shutil.copy(path, root / split / folder.name)
    original = sorted((root / "train/plastic").iterdir())[20]
    copy = Image.open(original).crop((4, 3, 250, 188))
    copy.save(root / "test/plastic/copied.jpg", quality=70)
    moved = sorted((root / "train/cardboard").iterdir())[2]
    shutil.move(moved, root / "train/glass/moved.jpg")
    eda = examine(root, size=96, log=lambda line: None)
    groups = [{eda.photos[i].name for i in group.photos} for group in eda.groups]
    assert {f"train/plastic/{original.name}", "test/plastic/copied.jpg"} in groups
    assert eda.labels is not None
    suspects = {eda.photos[s.row].name: eda.classes[s.looks_like] for s in eda.labels.suspects}
    assert suspects["train/glass/moved.jpg"] == "cardboard"
    assert len(suspects) < 0.2 * len(eda.photos)


def test_odd_and_bad_files_missing_classes_and_two_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_teacher(monkeypatch)
    root = make_set(tmp_path / "set", {"train": 8, "val": 2, "test": 2})
    (root / "train/bars/broken.jpg").write_bytes(b"no image")
    shutil.copy(root / "train/bars/0001.jpg", root / "train/rings/same.jpg")
    Image.fromarray(np.zeros((40, 40), dtype=np.uint8)).save(root / "val/bars/black.png")
    shutil.rmtree(root / "test/squares")
    (root / "test/notes.txt").write_text("stray")
    (root / "train/empty").mkdir()
    (root / "train/rings/gone.jpg").symlink_to("nowhere.jpg")
    eda = examine(root, size=64, log=lambda line: None)
    assert [(p.name, p.bad) for p in eda.bad] == [
        ("train/bars/broken.jpg", "not an image that Pillow can read"),
        ("train/rings/gone.jpg", "No such file or directory"),
    ]
    assert {p.name: p.notes for p in eda.odd} == {"val/bars/black.png": ("grey", "nearly one colour")}
    assert eda.classes == ("bars", "empty", "rings", "squares")
    assert eda.counts["squares"] == {"train": 8, "val": 2, "test": 0}
    (group,) = eda.groups
    assert group.same
    assert eda.labels_of(group) == ("bars", "rings")
    assert eda.leaked == {"val": 0, "test": 0}
    text = "\n".join(one.text for one in findings(eda))
    for line in (
        "2 files cannot be read: train/bars/broken.jpg",
        "1 group of near-duplicates carries more than one label",
        "train has no photo of empty",
        "test has no photo of empty, squares",
        "1 file outside class folders: test/notes.txt",
        "1 photo: grey.",
    ):
        assert line in text, line


def test_class_folders_without_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_teacher(monkeypatch)
    root = make_set(tmp_path / "set", {"": 8})
    eda = examine(root, size=64, log=lambda line: None)
    assert eda.splits == ("all",)
    assert eda.counts == {kind: {"all": 8} for kind in KINDS}
    assert eda.leaked == {}


def test_the_second_look_computes_no_features(planted: Path, tmp_path: Path) -> None:
    pytest.importorskip(WHEEL)
    lines: list[str] = []
    first = examine(planted, size=64, log=lines.append)
    (kept,) = (tmp_path / "cache").glob("*/derived-efficientnet-lite0.npy")
    np.save(kept, np.load(kept)[::-1])  # planted features come back
    again = examine(planted, size=64, log=lines.append)
    assert len(lines) == 1
    assert again.labels != first.labels
    assert again.groups == first.groups


def test_the_command_writes_a_page_and_says_what_to_mend(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_teacher(monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "eda", str(planted), "--size", "64"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == "set-eda.html"
    assert out[0].startswith("mend: 1 photo of test has a near-duplicate in train")
    page = (tmp_path / "set-eda.html").read_text(encoding="utf-8")
    assert "moved.jpg" in page
    assert not list(tmp_path.glob(".*.part"))


def test_json_alone_leaves_no_page(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_teacher(monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "eda", str(planted), "--size", "64", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["photos"] == 136
    assert content["classes"]["squares"] == {"train": 35, "test": 9}
    assert content["sizes"][0] == {"width": 120, "height": 90, "photos": 135}
    assert content["duplicates"]["leaked"] == {"test": 1}
    assert content["duplicates"]["groups"][0]["splits"] == ["train", "test"]
    assert content["labels"]["suspicious"][0]["name"] == "train/bars/moved.jpg"
    assert sum(map(sum, content["labels"]["matrix"])) == content["labels"]["checked"] == 136
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.write_text(""), "is a file"),
        (lambda root: root.mkdir(), "no photos in class folders (found: nothing)"),
        (lambda root: (root / "train/a").mkdir(parents=True), "no photos in class folders (found: train)"),
        (lambda root: (root / "a").mkdir(parents=True), "no photos in class folders (found: a)"),
    ],
)
def test_a_folder_without_photos_is_one_clear_line(
    tmp_path: Path, make: object, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "photos"
    make(root)  # type: ignore[operator]
    assert main(["data", "eda", str(root)]) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.splitlines()) == 1


def test_only_unreadable_files_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").write_text("x")
    with pytest.raises(InputError, match="none of 1 files is a readable image"):
        examine(tmp_path, log=lambda line: None)


def test_without_the_teacher_torch_stays_out(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set", {"": 6})
    code = (
        f"import sys; sys.modules[{WHEEL!r}] = None\n"
        "from pathlib import Path; from compress.eda import examine\n"
        f"examine(Path({str(root)!r}), size=64, log=lambda line: None)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr


def test_drawn_photos_are_what_the_tests_take_them_for() -> None:
    """Different enough for no two to be near-duplicates, and the same again for the same seed."""
    one, same = (draw("rings", np.random.default_rng(3)) for _ in range(2))
    assert (one == same).all()
    out = io.BytesIO()
    Image.fromarray(one).save(out, "JPEG")
    assert one.std() > 20
