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
        ({"categories": [3]}, "not a COCO file"),
        (
            {"images": [{"id": 3, "file_name": "a.jpg", "width": 0, "height": 4}]},
            "image 3 (a.jpg) has no width",
        ),
        ({"images": [{"id": "x", "file_name": "a.jpg"}]}, "must be a whole number, found 'x'"),
        ({"images": [{"id": 3, "width": 4, "height": 4}]}, "image 3 has no file_name"),
        ({"images": coco()["images"] * 2}, "image ids given more than once: 7, 3"),
        ({"categories": [{"id": 1, "name": "a"}]}, "1 annotations have an unknown category_id: 2"),
        ({"images": coco()["images"][:1]}, "1 annotations have an unknown image_id: 2"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_boxes(write(tmp_path, {**coco(), **change}))
    (line,) = error.value.problems
    assert said in line
    assert line.startswith(str(tmp_path / "annotations.json"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{\n,", ":2: not valid JSON"),
        ("[]", "not a COCO file"),
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
