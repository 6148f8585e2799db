"""Annotation files: what is read, and what is wrong with them in one line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.data.crops.coco import read_boxes
from compress.errors import InputError


def coco() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "b/7.jpg", "width": 30, "height": 20},
            {"id": 3, "file_name": "3.jpg", "width": 10.0, "height": 10},
        ],
        "categories": [{"id": 1, "name": "Can"}, {"id": 5, "name": "Cup"}],
        "annotations": [
            {"id": 2, "image_id": 3, "category_id": 5, "bbox": [0, 1, 2.5, 3], "iscrowd": 0},
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [0, 1, 2], "iscrowd": 1},
            {"id": 1, "image_id": 7, "category_id": 1},
        ],
    }


def write(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "annotations.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_rows_are_in_the_order_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = read_boxes(write(tmp_path, coco()))
    assert boxes.ids.tolist() == [2, 1, 1]  # an annotation id given twice is no mistake: TACO has some
    assert [boxes.photos[i].name for i in boxes.photo] == ["3.jpg", "b/7.jpg", "b/7.jpg"]
    assert [boxes.categories[i] for i in boxes.category] == ["Cup", "Can", "Can"]
    assert boxes.crowd.tolist() == [False, True, False]
    assert boxes.xywh[0].tolist() == [0, 1, 2.5, 3]
    assert np.isnan(boxes.xywh[1:]).all()
    assert capsys.readouterr().out == ""


def test_nothing_annotated(tmp_path: Path) -> None:
    boxes = read_boxes(write(tmp_path, {**coco(), "annotations": []}))
    assert len(boxes) == 0
    assert boxes.corners().shape == (0, 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": {}}, "no list of images"),
        ({"categories": [3, {"id": 5}]}, "categories[0]: must be a mapping"),
        ({"images": [*coco()["images"], "x"]}, "images[2]: must be a mapping"),
        ({"annotations": [{"image_id": 7}]}, "annotations[0] has None"),
        ({"categories": [*coco()["categories"], {"id": 8}]}, "categories without a name: 8"),
        (
            {"images": [{"id": 3, "file_name": "/a.jpg", "width": 9, "height": 4}]},
            "file_name /a.jpg is not below",
        ),
        ({"images": [{"id": 3, "file_name": "b/../../a.jpg"}]}, "file_name b/../../a.jpg is not below"),
        (
            {"images": [{"id": 3, "file_name": "a.jpg", "width": 0, "height": 4}]},
            "image 3 (a.jpg) has no width",
        ),
        ({"images": [{"id": "x", "file_name": "a.jpg"}]}, "must be a whole number: images[0] has 'x'"),
        ({"images": [{"id": 3, "width": 4, "height": 4}]}, "image 3 has no file_name"),
        ({"images": coco()["images"] * 2}, "image ids given more than once: 7, 3"),
        (
            {"images": [*coco()["images"], {"id": 9, "file_name": "./3.jpg", "width": 10, "height": 10}]},
            "image file_names given more than once: 3.jpg",
        ),
        (
            {"categories": [{"id": 1, "name": "a"}]},
            "1 annotations have an unknown category_id: 5 (annotation 2)",
        ),
        ({"images": coco()["images"][:1]}, "1 annotations have an unknown image_id: 3 (annotation 2)"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_boxes(write(tmp_path, {**coco(), **change}))
    assert said in error.value.problems[0]
    assert all(line.startswith(f"{tmp_path / 'annotations.json'}: ") for line in error.value.problems)


def test_several_kinds_of_faults_are_named_at_once(tmp_path: Path) -> None:
    one, other = coco()["images"]
    change = {"images": [one, {**other, "width": None}], "categories": [{"id": 1, "name": ""}, {"id": 5}, 7]}
    with pytest.raises(InputError) as error:
        read_boxes(write(tmp_path, {**coco(), **change}))
    assert [line.split("json: ")[1] for line in error.value.problems] == [
        "categories[2]: must be a mapping with an id",
        "image 3 (3.jpg) has no width and height, found None x 10",
        "categories without a name: 1, 5",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{\n,", ":2: not valid JSON"),
        (
            '[{"id": 1}]',
            "not a COCO file: found a list of 1; must be a mapping with images, annotations, cat",
        ),
        ("null", "not a COCO file: found null; must be a mapping"),
        ("{}", "no list of images"),
        ("", "not valid"),
    ],
)
def test_other_files(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_boxes(write(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_boxes(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(InputError, match="not UTF-8"):
        read_boxes(tmp_path / "binary.json")
