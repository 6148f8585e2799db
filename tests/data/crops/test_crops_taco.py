"""TACO's real annotations, against a slow and obvious reading of them."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from compress.data.crops.coco import read_boxes
from compress.data.crops.make import Plan, make_crops, plan_crops
from compress.data.crops.spec import CropSpec, SplitSpec
from compress.errors import InputError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def annotations(shared_data: Path) -> Path:
    return shared_data / "taco" / "annotations.json"


@pytest.fixture(scope="module")
def taco(annotations: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(annotations.read_text())
    return data


@pytest.fixture(scope="module")
def plan(annotations: Path) -> Plan:
    return plan_crops(read_boxes(annotations), CropSpec())


def overlap(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (both - width * height)


def slow(taco: dict[str, Any], keep: str = "smaller") -> list[tuple[str, str]]:
    """Class and reason of each annotation, in the file's order."""
    config = yaml.safe_load((ROOT / "recipes/data/competition.yaml").read_text())
    class_of = {name: label for label, names in config["classes"].items() for name in names}
    category = {c["id"]: c["name"] for c in taco["categories"]}
    image = {i["id"]: i for i in taco["images"]}
    found: list[tuple[str, str]] = []
    good: dict[int, list[tuple[float, int, int, list[float]]]] = defaultdict(list)
    for i, one in enumerate(taco["annotations"]):
        name = category[one["category_id"]]
        assert (name in class_of) != (name in config["drop"]), name
        label = class_of.get(name, "")
        x, y, w, h = one["bbox"]
        size = image[one["image_id"]]
        box = [max(x, 0), max(y, 0), min(x + w, size["width"]), min(y + h, size["height"])]
        short, long = sorted([box[2] - box[0], box[3] - box[1]])
        reason = ""
        if not label:
            reason = "category"
        elif one["iscrowd"]:
            reason = "crowd"
        elif w <= 0 or h <= 0:
            reason = "empty"
        elif short <= 0:
            reason = "outside"
        elif short < config["min_side"]:
            reason = "small"
        elif long / short > config["max_aspect"]:
            reason = "aspect"
        else:
            area = (box[2] - box[0]) * (box[3] - box[1])
            good[one["image_id"]].append((area if keep == "smaller" else -area, one["id"], i, box))
        found.append((label, reason))
    for boxes in good.values():
        stay: list[list[float]] = []
        for _, _, i, box in sorted(boxes):
            if any(overlap(box, other) >= config["iou"] for other in stay):
                found[i] = (found[i][0], "overlap")
            else:
                stay.append(box)
    return found


def test_every_box_is_judged_as_by_the_slow_reading(plan: Plan, taco: dict[str, Any]) -> None:
    expected = slow(taco)
    assert list(zip(plan.labels.tolist(), plan.reasons.tolist(), strict=True)) == expected
    counts = Counter(reason for _, reason in expected)
    assert counts == {"": 3158, "category": 1491, "small": 16, "aspect": 79, "overlap": 40}
    kept = Counter(label for label, reason in expected if not reason)
    assert kept == {
        "Plastic": 1178, "Plasticbag": 830, "Metal": 535, "Paper": 341, "Styrofoam": 138, "Paperpack": 136,
    }  # fmt: skip


def test_the_larger_may_stay(annotations: Path, taco: dict[str, Any]) -> None:
    plan = plan_crops(read_boxes(annotations), CropSpec(keep="larger"))
    assert list(zip(plan.labels.tolist(), plan.reasons.tolist(), strict=True)) == slow(taco, "larger")


def test_photos_are_whole_and_classes_even(plan: Plan, annotations: Path) -> None:
    kept = plan.reasons == ""
    homes = defaultdict(set)
    for photo, split in zip(plan.boxes.photo[kept].tolist(), plan.splits[kept], strict=True):
        homes[photo].add(split)
    assert all(len(splits) == 1 for splits in homes.values())
    assert set(plan.splits[~kept]) == {""}
    for label in set(plan.labels[kept]):
        splits = Counter(plan.splits[kept & (plan.labels == label)])
        total = sum(splits.values())
        assert splits["test"] / total == pytest.approx(0.2, abs=0.02), label
        assert splits["val"] / total == pytest.approx(0.1, abs=0.02), label
    other = plan_crops(read_boxes(annotations), CropSpec(split=SplitSpec(seed=1)))
    assert (other.reasons == plan.reasons).all()
    assert (other.splits != plan.splits).any()


def test_files_are_each_other_s_only(plan: Plan) -> None:
    kept = [file for file in plan.files if file]
    assert len(kept) == len(set(kept)) == (plan.reasons == "").sum()
    row = kept.index(next(f for f in kept if f.endswith("/000001_000002.jpg")))
    assert kept[row] == "train/Paperpack/000001_000002.jpg"


def test_small_copies_of_the_photos(plan: Plan, annotations: Path, tmp_path: Path) -> None:
    """Flickr's 640 px copies, as `data download --size 640` gets them; most photos are missing."""
    photos = plan.boxes.photos[:25]
    for photo in photos:
        scale = 640 / max(photo.width, photo.height)
        path = tmp_path / "photos" / photo.name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = round(photo.width * scale), round(photo.height * scale)
        Image.new("RGB", size, (200, 30, 60)).save(path)
    made = make_crops(annotations, tmp_path / "photos", tmp_path / "set")
    reasons = Counter(row.reason for row in made.rows if row.image_id < 25)
    plans = Counter(plan.reasons[plan.boxes.photo < 25].tolist())
    assert reasons["size"] == reasons["missing"] == reasons["unreadable"] == 0
    assert reasons[""] + reasons["small"] == plans[""] + plans["small"]
    assert reasons["small"] > plans["small"]
    assert made.wrote == reasons[""] > 0
    for row in made.rows:
        if row.file:
            with Image.open(tmp_path / "set" / row.file) as crop:
                assert crop.width == crop.height
                scale = 640 / max(photos[row.image_id].width, photos[row.image_id].height)
                assert abs(crop.width - max(row.width, row.height) * scale) < 3
    assert {row.image_id for row in made.rows if row.reason == "missing"}.isdisjoint(range(25))
    with pytest.raises(InputError, match=r"of 1408 photos \(9\d\.\d%\) cannot be used, and max_bad is 0.01"):
        made.check()
